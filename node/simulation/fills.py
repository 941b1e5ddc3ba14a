"""
Slippage and fees of a backtest, by the same arithmetic as the simulated venue.

A market order fills at the last price moved against it by ``market_bps``. A triggered stop or target fills at its
trigger price, or at the bar's open when the bar opens beyond it, moved by ``trigger_bps``. The book is deep: on bar
data the engine would otherwise fill only a quarter of the bar's volume at the price and the rest one tick worse.
"""

from decimal import Decimal
from typing import Any

from nautilus_trader.backtest.config import FeeModelConfig, FillModelConfig
from nautilus_trader.backtest.models import FeeModel, FillModel
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import Bar, BookOrder
from nautilus_trader.model.enums import BookType, LiquiditySide, OrderSide, OrderType
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import Money, Price, Quantity

from node.simulation.pricing import slipped_price

_TRIGGERED = (OrderType.STOP_MARKET, OrderType.MARKET_IF_TOUCHED, OrderType.TRAILING_STOP_MARKET)
_DEPTH = 1_000_000_000


class SlippageFillModelConfig(FillModelConfig, frozen=True):
    """
    Slippage in basis points (1 bp = 0.01 %) of the price.

    Attributes
    ----------
    market_bps : str
        Against market orders.
    trigger_bps : str
        Against triggered stops and targets.

    """

    market_bps: str = "0"
    trigger_bps: str = "0"


class SlippageFillModel(FillModel):
    """
    See the module's docstring.

    Attributes
    ----------
    heard : list of Bar
        To be given every bar before the exchange walks through it; emptied by :meth:`sort`.
    instruments : int
        How many instruments the bars may be of; 0: not known.

    """

    def __init__(self, config: SlippageFillModelConfig) -> None:
        super().__init__(config=config)
        self._market_bps = Decimal(config.market_bps)
        self._trigger_bps = Decimal(config.trigger_bps)
        self._opens: dict[InstrumentId, Price] = {}
        self.heard: list[Bar] = []
        self.instruments = 0

    def sort(self) -> None:
        """Note the newest opens by instrument: put off, as few bars are ever asked for theirs."""
        fresh: dict[InstrumentId, Price] = {}
        for bar in reversed(self.heard):
            instrument_id = bar.bar_type.instrument_id
            if instrument_id not in fresh:
                fresh[instrument_id] = bar.open
                if len(fresh) == self.instruments:
                    break
        self._opens |= fresh
        self.heard.clear()

    def get_orderbook_for_fill_simulation(
        self, instrument: Any, order: Any, best_bid: Price, best_ask: Price
    ) -> OrderBook | None:
        """Return a one-level deep book at the slipped price; None (the engine's own rule) for resting limit orders."""
        is_buy = order.side == OrderSide.BUY
        if order.order_type == OrderType.MARKET:
            base, bps = (best_ask if is_buy else best_bid), self._market_bps
        elif order.order_type in _TRIGGERED:
            base, bps = self._trigger_base(instrument.id, order), self._trigger_bps
        else:
            return None
        tick = instrument.price_increment.as_decimal()
        price = instrument.make_price(slipped_price(base.as_decimal(), is_buy, bps, tick))
        size = Quantity(_DEPTH, instrument.size_precision)
        book = OrderBook(instrument.id, BookType.L2_MBP)
        book.add(BookOrder(OrderSide.SELL if is_buy else OrderSide.BUY, price, size, 1), 0, 0)
        return book

    def _trigger_base(self, instrument_id: InstrumentId, order: Any) -> Price:
        """Return the trigger price, or the bar's open where the bar opened beyond it (the stop gapped)."""
        trigger = order.trigger_price
        self.sort()
        opened = self._opens.get(instrument_id)
        if opened is None:
            return trigger
        falling = (order.order_type == OrderType.MARKET_IF_TOUCHED) == (order.side == OrderSide.BUY)
        beyond = opened < trigger if falling else opened > trigger
        return opened if beyond else trigger


class RateFeeModelConfig(FeeModelConfig, frozen=True):
    """Fees as fractions of notional; they replace those of the instrument."""

    maker: str
    taker: str


class RateFeeModel(FeeModel):
    """Charges fixed maker and taker rates, rounded to the settlement currency's precision."""

    def __init__(self, config: RateFeeModelConfig) -> None:
        super().__init__()
        self._maker = Decimal(config.maker)
        self._taker = Decimal(config.taker)

    def get_commission(self, order: Any, fill_quantity: Quantity, fill_price: Price, instrument: Any) -> Money:
        """Return the fee of one fill."""
        rate = self._maker if order.liquidity_side == LiquiditySide.MAKER else self._taker
        notional = instrument.notional_value(fill_quantity, fill_price).as_decimal()
        return Money(notional * rate, instrument.quote_currency)
