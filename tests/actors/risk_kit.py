"""A small market and a scripted strategy, to run guard and recorder in the real BacktestEngine."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import numpy as np
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.config import StrategyConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId, Venue
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

from catalog.instruments import bar_type, instrument_id, load_instruments, to_nautilus
from strategies.market_clock import bar_close_ns
from strategies.messages import APPROVAL, SIGNAL, Side, Signal, signal_id, topic
from strategies.order_ids import Leg, OrderTag, encode

BAR_NS = 900_000_000_000
DAY_NS = 96 * BAR_NS
START = 20_000 * DAY_NS
INSTRUMENTS = {symbol: to_nautilus(spec) for symbol, spec in load_instruments().items()}
BALANCE = 10_000.0


def bars(
    symbol: str, candles: Iterable[tuple[float, float, float, float] | float], *, volume: int = 1_000_000
) -> list[Bar]:
    """Return bars from (open, high, low, close) or a close alone; bar ``i`` closes at ``START + (i+1) * BAR_NS``."""
    kind, precision = bar_type(symbol, "15m"), INSTRUMENTS[symbol].price_precision
    out, last = [], None
    for i, candle in enumerate(candles):
        if not isinstance(candle, tuple):
            opened = candle if last is None else last
            candle = (opened, max(opened, candle), min(opened, candle), candle)  # noqa: PLW2901 - completed in place
        last = candle[3]
        close = START + (i + 1) * BAR_NS
        prices = (Price(p, precision) for p in candle)
        out.append(Bar(kind, *prices, Quantity(volume, INSTRUMENTS[symbol].size_precision), close, close))
    return out


def close_of(bar_index: int) -> int:
    """Return the close of bar `bar_index`, UTC nanoseconds."""
    return START + (bar_index + 1) * BAR_NS


def make_signal(symbol: str, side: Side, levels: tuple[float, ...], bar_close: int, /, **changes: Any) -> Signal:
    """Return a Signal; `levels` are reference, stop and target."""
    fields: dict[str, Any] = {
        "instrument_id": instrument_id(symbol),
        "signal_id": signal_id("Scripted", instrument_id(symbol), bar_close, side.value),
        "strategy": f"Scripted-{symbol}",
        "side": side.value,
        "strength": 3.0,
        "reference_price": levels[0],
        "stop_price": levels[1],
        "target_price": levels[2],
        "atr": 0.01,
        "bar_close": bar_close,
        "schema": "test",
        "features": np.array([1.5, np.nan], dtype="<f8").tobytes(),
    }
    return Signal(bar_close, bar_close, **(fields | changes))


class ScriptedConfig(StrategyConfig, frozen=True):
    """`script` maps a bar's index to what is done at its close: (side, stop, target), "close", or "ignore" first."""

    instrument_id: InstrumentId
    bar_type: BarType
    script: dict[int, Any]
    obey: bool = True


class Scripted(Strategy):
    """Publishes scripted signals, enters on approval, protects with stop and target, cancels the sibling."""

    def __init__(self, config: ScriptedConfig) -> None:
        super().__init__(config)
        self.approvals: list[Any] = []
        self.seen_trades_at_fill: list[int] = []
        self.trades = 0
        self._levels: tuple[str, str] = ("", "")
        self._cycle = 0
        self._exits = 0

    def on_start(self) -> None:
        self.subscribe_bars(self.config.bar_type)
        self.msgbus.subscribe(topic(APPROVAL), self._on_approval)
        self.msgbus.subscribe("argonaut.record.trade", self._count_trade)

    def _count_trade(self, trade: Any) -> None:
        self.trades += trade.symbol == self.config.instrument_id.symbol.value.removesuffix("-PERP")

    def on_bar(self, bar: Bar) -> None:
        close = bar_close_ns(bar)
        step = self.config.script.get((close - START) // BAR_NS - 1)
        if step is None:
            return
        if step == "close":
            self._close("FLATTEN")
            return
        side, stop, target = step
        symbol = self.config.instrument_id.symbol.value.removesuffix("-PERP")
        signal = make_signal(symbol, Side(side), (float(bar.close), stop, target), close, strategy=self.id.value)
        self.publish_data(SIGNAL, signal)

    def _on_approval(self, approval: Any) -> None:
        if approval.strategy != self.id.value:
            return
        self.approvals.append(approval)
        if not self.config.obey:
            return
        instrument = self.cache.instrument(self.config.instrument_id)
        tick = instrument.price_increment.as_decimal()
        self._levels = (approval.stop_price, approval.target_price)
        self._cycle = approval.bar_close
        ticks = [int(Decimal(p) / tick) for p in self._levels]
        order = self.order_factory.market(
            instrument_id=self.config.instrument_id,
            order_side=OrderSide.BUY if approval.side == "LONG" else OrderSide.SELL,
            quantity=Quantity.from_str(approval.quantity),
            tags=[f"signal:{approval.signal_id}", f"stop:{self._levels[0]}", f"target:{self._levels[1]}"],
            client_order_id=self._id(Leg.ENTRY, *ticks),
        )
        self.submit_order(order)

    def on_order_filled(self, _: Any) -> None:
        self.seen_trades_at_fill.append(self.trades)

    def on_position_opened(self, event: Any) -> None:
        position = self.cache.position(event.position_id)
        side = OrderSide.SELL if position.is_long else OrderSide.BUY
        make = self.order_factory
        for factory, level, leg, reason in (
            (make.stop_market, self._levels[0], Leg.STOP, "STOP_LOSS"),
            (make.market_if_touched, self._levels[1], Leg.TARGET, "TAKE_PROFIT"),
        ):
            order = factory(
                instrument_id=self.config.instrument_id,
                order_side=side,
                quantity=position.quantity,
                trigger_price=Price.from_str(level),
                reduce_only=True,
                tags=[f"exit:{reason}"],
                client_order_id=self._id(leg),
            )
            self.submit_order(order)

    def on_position_closed(self, _: Any) -> None:
        for order in self.cache.orders_open(instrument_id=self.config.instrument_id):
            self.cancel_order(order)

    def _close(self, reason: str) -> None:
        for position in self.cache.positions_open(instrument_id=self.config.instrument_id):
            order = self.order_factory.market(
                instrument_id=position.instrument_id,
                order_side=OrderSide.SELL if position.is_long else OrderSide.BUY,
                quantity=position.quantity,
                reduce_only=True,
                tags=[f"exit:{reason}"],
                client_order_id=self._id(Leg.EXIT),
            )
            self.submit_order(order)

    def _id(self, leg: Leg, *levels: int) -> ClientOrderId:
        self._exits += 1
        code = self.config.instrument_id.symbol.value[:3]
        return ClientOrderId(encode(OrderTag(code, self._cycle, leg, self._exits, *levels)))


class Run:
    """An engine with the given actors; records of all kinds are collected in the order they were published."""

    def __init__(
        self,
        market: dict[str, list[Bar]],
        scripts: dict[str, dict[int, Any]],
        actors: Iterable[Any],
        *,
        obey: bool = True,
        balance: float = BALANCE,
        setup: Callable[["Run"], None] | None = None,
    ) -> None:
        self.engine = BacktestEngine(
            BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False)
        )
        self.engine.add_venue(
            venue=Venue("BINANCE"),
            oms_type=OmsType.NETTING,
            account_type=AccountType.MARGIN,
            starting_balances=[Money(balance, USDT)],
            default_leverage=Decimal(10),
            bar_adaptive_high_low_ordering=True,
            reject_stop_orders=True,
            use_position_ids=False,
        )
        self.records: list[Any] = []
        self.msgbus = self.engine.kernel.msgbus
        self.hear = self.records.append
        self.msgbus.subscribe("argonaut.record.*", self.hear, 100)
        for symbol in market:
            self.engine.add_instrument(INSTRUMENTS[symbol])
        for symbol_bars in market.values():
            self.engine.add_data(symbol_bars, sort=False)
        self.engine.sort_data()
        self.actors = list(actors)
        for actor in self.actors:
            self.engine.add_actor(actor)
        self.strategies = {}
        for symbol, script in scripts.items():
            config = ScriptedConfig(
                instrument_id=instrument_id(symbol),
                bar_type=bar_type(symbol, "15m"),
                script=script,
                order_id_tag=symbol,
                oms_type="NETTING",
                obey=obey,
            )
            self.strategies[symbol] = Scripted(config)
            self.engine.add_strategy(self.strategies[symbol])
        if setup is not None:
            setup(self)

    def go(self) -> "Run":
        """Run to the end of the data."""
        self.engine.run()
        account = self.engine.cache.account_for_venue(Venue("BINANCE"))
        self.final_balance = account.balance_total(USDT).as_double()
        self.engine.dispose()
        return self

    def of(self, kind: str) -> list[Any]:
        """Return the records of one kind."""
        return [r for r in self.records if r.kind == kind]

    def at(self, bar_index: int, action: Callable[[], None]) -> None:
        """Do `action` when bar `bar_index` has closed, after the clock and before everybody else."""

        def hear(bar: Bar) -> None:
            if bar_close_ns(bar) == close_of(bar_index):
                pending, actions[:] = list(actions), []
                for do in pending:
                    do()

        actions = [action]
        self.msgbus.subscribe("data.bars.*", hear, 950)
