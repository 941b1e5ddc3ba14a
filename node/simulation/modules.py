"""
What BacktestEngine leaves out and an account feels: funding settlements and liquidation.

Both hear a bar on the message bus after the exchange has walked through it and before any strategy decides on it. That
is the venue simulator's order too: a position open when the bar that closes at the settlement time has finished is
charged at that bar's close, before orders sent on that close. The engine calls every module several times a bar, so
there is one of them, :class:`VenueModule`, and funding and liquidation are its parts.
"""

from bisect import bisect_right
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

from nautilus_trader.backtest.config import SimulationModuleConfig
from nautilus_trader.backtest.modules import SimulationModule
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar
from nautilus_trader.model.enums import PositionSide
from nautilus_trader.model.objects import Money, Price

from node.simulation.fills import SlippageFillModel
from node.simulation.resting_clock import resting_clock
from strategies.base import CONTROL_TOPIC
from strategies.market_clock import Nap, bar_close_ns
from strategies.records import FundingRecord, IncidentRecord
from strategies.yaml_config import FrozenConfig

_ORDER = 900  # among those that hear a bar: before the account is valued
_UNIT = Decimal("1e-8")
_NEVER = 2**63
_HEARD_MOST = 64


class FundingConfig(FrozenConfig, frozen=True, kw_only=True):
    """
    Where the settlements come from.

    Attributes
    ----------
    catalog : str
        Directory of the parquet catalog.
    symbols : tuple[str, ...]
        Venue symbols (``XRPUSDT``).
    start_ns, end_ns : int
        Settlement times loaded, UTC nanoseconds.

    """

    catalog: str
    symbols: tuple[str, ...]
    start_ns: int
    end_ns: int


class Funding:
    """Charges ``-quantity x close x rate`` (quantity signed: long pays a positive rate) at every settlement."""

    def __init__(self, config: FundingConfig, venue: "VenueModule") -> None:
        from catalog.reader import load_funding  # noqa: PLC0415 - pyarrow is not needed by importers of the config

        self._venue = venue
        self._settlements: dict[str, list[tuple[int, float]]] = {}
        self._next: dict[str, int] = {}
        self._due = 0  # nothing settles before, once every symbol's first bar has been seen
        for symbol in config.symbols:
            funding = load_funding(Path(config.catalog), symbol, config.start_ns, config.end_ns)
            self._settlements[symbol] = list(zip(funding.time.tolist(), funding.rate.tolist(), strict=True))

    def on_finished_bar(self, bar: Bar) -> None:
        """Settle what became due between the previous bar's close (excluded) and this one's (included)."""
        if self._venue.clock_of_market.now < self._due:  # which no bar's close is beyond
            return
        close = bar_close_ns(bar)
        symbol = bar.bar_type.instrument_id.symbol.value.removesuffix("-PERP")
        settlements = self._settlements.get(symbol, [])
        at = self._next.get(symbol)
        if at is None:
            at = bisect_right(settlements, close - 1, key=_time_of)
        while at < len(settlements) and settlements[at][0] <= close:
            self._settle(bar, symbol, *settlements[at])
            at += 1
        self._next[symbol] = at
        if all(name in self._next for name in self._settlements):
            waiting = [s[self._next[name]][0] for name, s in self._settlements.items() if self._next[name] < len(s)]
            self._due = min(waiting, default=_NEVER)

    def reset(self) -> None:
        """Forget which bars were seen."""
        self._next.clear()
        self._due = 0

    def _settle(self, bar: Bar, symbol: str, time: int, rate: float) -> None:
        venue = self._venue
        for position in venue.exchange.cache.positions_open(instrument_id=bar.bar_type.instrument_id):
            quantity = position.quantity.as_decimal() * (1 if position.side == PositionSide.LONG else -1)
            amount = -quantity * bar.close.as_decimal() * Decimal(repr(rate))
            amount = amount.quantize(_UNIT, ROUND_HALF_EVEN)
            venue.exchange.adjust_account(Money(amount, position.settlement_currency))
            record = FundingRecord(
                id=f"{symbol}/{time // 1_000_000}",
                market_time=venue.clock_of_market.now,
                wall_time=venue.clock.timestamp_ns(),
                symbol=symbol,
                amount=float(amount),
                rate=rate,
            )
            venue.msgbus.publish(record.topic, record)


class LiquidationConfig(FrozenConfig, frozen=True, kw_only=True):
    """
    When the account is liquidated.

    Attributes
    ----------
    maintenance : dict[str, float]
        Maintenance margin rate by venue symbol (fraction of notional; the lowest bracket's).
    fee : float
        Liquidation fee, fraction of notional.
    close_cost : float
        What a market order costs in this backtest, fee and slippage, fraction of notional.

    """

    maintenance: dict[str, float]
    fee: float = 0.0125
    close_cost: float = 0.001


class Liquidation:
    """
    Closes everything when equity at a bar's worst price no longer covers maintenance margin, and ends trading.

    The engine's own liquidation fields are read by nothing (`knowledge/engine-v1-v2.md` §5), so without this a backtest
    trades on with a negative balance. Worst price: the low for a long, the high for a short, of the bar just finished;
    the other positions are valued at their last close. The account never ends below zero.
    """

    def __init__(self, config: LiquidationConfig, venue: "VenueModule") -> None:
        self._venue = venue
        self._maintenance = config.maintenance
        self._fee = config.fee
        self._close_cost = config.close_cost
        self._closes: dict[Any, Price] = {}
        self._heard: list[Bar] = []
        self._checked: Any = None
        self._done = False
        self._cache: Any = None

    def begin(self) -> None:
        """Keep the cache at hand: it is asked on every bar."""
        self._cache = self._venue.exchange.cache

    def on_finished_bar(self, bar: Bar) -> None:
        """Compare equity at the bar's worst price with maintenance margin."""
        self._heard.append(bar)
        if not self._cache.positions_open_count():
            if len(self._heard) > _HEARD_MOST:
                self._sort()
            account = self._cache.account_for_venue(self._venue.exchange.id)
            if account.last_event is not self._checked:
                self._checked = account.last_event
                self._refill()
            return
        self._sort()
        if self._done:
            return
        worst, margin, notional, at_close = self._state(bar)
        if worst > margin:
            return
        # Before the kill, which closes too: the reason of these exits is not that somebody flattened.
        self._venue.msgbus.publish(CONTROL_TOPIC, {"action": "liquidate", "who": "liquidation"})
        self._end(f"equity {worst:.2f} at the bar's worst price, maintenance margin {margin:.2f}: account liquidated")
        # The strategies close at the bar's close; the exchange would have done so at the worst price, for a fee. What
        # that costs beyond the account the insurance fund carries, and it does so before the equity point is taken.
        self._adjust(max(worst - notional * self._fee, 0.0) + self._cost_of_closing() - at_close)

    def may_rest(self) -> bool:
        """Return whether the account is the one already looked at."""
        return self._cache.account_for_venue(self._venue.exchange.id).last_event is self._checked

    def rested(self, newest: list[Bar]) -> None:
        """Note the closes slept through."""
        self._heard.extend(newest)
        self._sort()

    def reset(self) -> None:
        """Forget the last run."""
        self._closes.clear()
        self._heard.clear()
        self._checked = None
        self._done = False

    def _sort(self) -> None:
        for bar in self._heard:
            self._closes[bar.bar_type.instrument_id] = bar.close
        self._heard.clear()

    def _end(self, message: str) -> None:
        self._done = True
        record = IncidentRecord(
            id=f"liquidation/{self._venue.clock_of_market.now}",
            market_time=self._venue.clock_of_market.now,
            wall_time=self._venue.clock.timestamp_ns(),
            severity="critical",
            code="liquidation",
            symbol=None,
            message=message,
        )
        self._venue.msgbus.publish(record.topic, record)
        self._venue.msgbus.publish(CONTROL_TOPIC, {"action": "kill", "who": "liquidation"})

    def _refill(self) -> None:
        """Let the insurance fund carry what a stop that gapped lost beyond the account."""
        total = self._balance()
        if total >= 0:
            return
        if not self._done:
            self._end(f"balance {total:.2f} after a fill beyond the bankruptcy price: account liquidated")
        self._adjust(-total)

    def _cost_of_closing(self) -> float:
        cost = 0.0
        for position in self._cache.positions_open():
            close = float(self._closes.get(position.instrument_id, position.avg_px_open))
            tick = float(self._cache.instrument(position.instrument_id).price_increment)
            cost += float(position.quantity) * (close * self._close_cost + tick)
        return cost

    def _adjust(self, amount: float) -> None:
        self._venue.exchange.adjust_account(Money(Decimal(repr(amount)).quantize(_UNIT, ROUND_HALF_EVEN), USDT))

    def _balance(self) -> float:
        account = self._cache.account_for_venue(self._venue.exchange.id)
        return float(account.balance_total(USDT).as_double())

    def _state(self, bar: Bar) -> tuple[float, float, float, float]:
        """Return equity at the worst price, maintenance margin and notional there, and equity at the close."""
        worst = at_close = self._balance()
        margin = notional = 0.0
        for position in self._cache.positions_open():
            is_long = position.side == PositionSide.LONG
            quantity = float(position.quantity) * (1 if is_long else -1)
            close = price = float(self._closes.get(position.instrument_id, position.avg_px_open))
            if position.instrument_id == bar.bar_type.instrument_id:
                price = float(bar.low if is_long else bar.high)
            worst += (price - position.avg_px_open) * quantity
            at_close += (close - position.avg_px_open) * quantity
            symbol = position.instrument_id.symbol.value.removesuffix("-PERP")
            margin += abs(quantity) * price * self._maintenance.get(symbol, 0.0)
            notional += abs(quantity) * price
        return worst, margin, notional, at_close


class VenueModuleConfig(SimulationModuleConfig, frozen=True):
    """What of an account's life is simulated; None leaves it out."""

    funding: FundingConfig | None = None
    liquidation: LiquidationConfig | None = None


class VenueModule(SimulationModule):
    """Tells the fill model of every bar before the exchange walks through it, and its parts once it has."""

    def __init__(self, config: VenueModuleConfig) -> None:
        super().__init__(config)
        self._funding = None if config.funding is None else Funding(config.funding, self)
        self._liquidation = None if config.liquidation is None else Liquidation(config.liquidation, self)
        self._model: SlippageFillModel | None = None
        self.clock_of_market: Any = None

    def register_venue(self, exchange: Any) -> None:
        """Take the fill model's ear, if it has one, and subscribe as soon as the bus is known."""
        super().register_venue(exchange)
        model = exchange.fill_model
        self._model = model if isinstance(model, SlippageFillModel) else None
        self.clock_of_market = resting_clock(self.msgbus)
        if self._liquidation is not None:
            self._liquidation.begin()
        if self._funding is not None or self._liquidation is not None:
            self.clock_of_market.hear(self.on_finished_bar, _ORDER, self)

    def pre_process(self, data: Any) -> None:
        """Pass a bar on that the exchange is about to walk through."""
        model = self._model
        if model is not None and isinstance(data, Bar):
            heard = model.heard
            heard.append(data)
            if len(heard) > _HEARD_MOST:
                model.instruments = len(self.exchange.instruments)
                model.sort()

    def on_finished_bar(self, bar: Bar) -> None:
        """Act on a bar the exchange has walked through: what settles first may be what liquidates."""
        if self._funding is not None:
            self._funding.on_finished_bar(bar)
        if self._liquidation is not None:
            self._liquidation.on_finished_bar(bar)

    def may_rest(self) -> bool:
        """Return whether bars change nothing here but the last closes and which settlements are behind."""
        cache = self.exchange.cache
        if cache.positions_open_count() or cache.orders_open_count() or cache.orders_inflight_count():
            return False
        return self._liquidation is None or self._liquidation.may_rest()

    def rested(self, nap: Nap) -> None:
        """Pass the settlements slept through, which charged nobody, and note the closes."""
        if self._funding is not None:
            for bar in nap.newest:
                self._funding.on_finished_bar(bar)
        if self._liquidation is not None:
            self._liquidation.rested(nap.newest)

    def process(self, ts_now: int) -> None:
        """Nothing to do on the exchange's own clock."""

    def log_diagnostics(self, logger: Any) -> None:
        """Nothing to say beyond the records."""

    def reset(self) -> None:
        """Forget the last run."""
        for part in (self._funding, self._liquidation):
            if part is not None:
                part.reset()


def _time_of(settlement: tuple[int, float]) -> int:
    return settlement[0]
