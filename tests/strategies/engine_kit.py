"""A scripted strategy on scripted bars in the real BacktestEngine, with the venue as ``node.assembly`` sets it up."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import numpy as np
from nautilus_trader.backtest.config import BacktestEngineConfig, SimulationModuleConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.models import LatencyModel
from nautilus_trader.backtest.modules import SimulationModule
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide, OrderType, PositionSide
from nautilus_trader.model.identifiers import ClientOrderId, Venue
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.risk.config import RiskEngineConfig

from catalog.instruments import bar_type, instrument_id, load_instruments, to_nautilus
from node.simulation.fills import SlippageFillModel, SlippageFillModelConfig
from node.simulation.modules import VenueModule, VenueModuleConfig
from strategies.base import SignalStrategy, SignalStrategyConfig, Wish
from strategies.market_clock import market_clock
from strategies.messages import APPROVAL, SIGNAL, Approval, Side, Signal, topic
from strategies.order_ids import Leg, decode
from strategies.protection import Plan

BAR_NS = 900_000_000_000
START = 20_000 * 96 * BAR_NS
SYMBOL = "XRPUSDT"
INSTRUMENTS = {symbol: to_nautilus(spec) for symbol, spec in load_instruments().items()}
LEGS = (Leg.STOP, Leg.TARGET)


def close_of(index: int) -> int:
    """Return the close of bar `index`, UTC ns."""
    return START + (index + 1) * BAR_NS


def bars(
    candles: Iterable[Any], symbol: str = SYMBOL, volume: int = 1_000_000, skip: frozenset[int] = frozenset()
) -> list[Bar]:
    """Return bars from (open, high, low, close) or a close alone, which then opens at the close before."""
    kind, instrument = bar_type(symbol, "15m"), INSTRUMENTS[symbol]
    out, last = [], None
    for i, candle in enumerate(candles):
        if isinstance(candle, tuple):
            values = candle
        else:
            opened = candle if last is None else last
            values = (opened, max(opened, candle), min(opened, candle), candle)
        last = values[3]
        prices = (Price(p, instrument.price_precision) for p in values)
        if i not in skip:
            out.append(Bar(kind, *prices, Quantity(volume, instrument.size_precision), close_of(i), close_of(i)))
    return out


class ScriptedConfig(SignalStrategyConfig, frozen=True, kw_only=True):
    """`script`: bar index to (side, stop, target); `emergency`: (stop, target) for positions of a person."""

    script: dict[int, tuple[str, float, float]]
    emergency: tuple[float, float] | None = None


class Scripted(SignalStrategy):
    """Wishes what the script says; calls `actions[index]` after the bar of that index was digested."""

    def __init__(self, config: ScriptedConfig) -> None:
        super().__init__(config)
        self.rows: list[Any] = []
        self.fundings: list[float] = []
        self.events: list[tuple[str, str]] = []
        self.actions: dict[int, Callable[[Any], None]] = {}

    def on_bar(self, bar: Bar) -> None:
        super().on_bar(bar)
        if bar.bar_type == self.config.bar_type and (action := self.actions.get((bar.ts_event - START) // BAR_NS - 1)):
            action(self)

    def evaluate(self, row: Any, funding: float) -> Wish | None:
        self.rows.append(row)
        self.fundings.append(funding)
        step = self.config.script.get((row.close_ns - START) // BAR_NS - 1)
        if step is None:
            return None
        side, stop, target = step
        return Wish(Side(side), 3.0, row.close, stop, target, 0.01, np.array([1.0, np.nan]), "test")

    def emergency_levels(self, position: Any) -> Plan | None:
        levels = self.config.emergency
        if levels is None:
            return None
        instrument = self.cache.instrument(position.instrument_id)
        return Plan(self._last.close_ns, instrument.make_price(levels[0]), instrument.make_price(levels[1]))

    def on_order_event(self, event: Any) -> None:
        self.events.append((type(event).__name__.removeprefix("Order"), event.client_order_id.value))

    def person(self, side: str, quantity: float, number: int = 1) -> None:
        """Trade at market as a person does on the exchange's page."""
        self.submit_order(
            self.order_factory.market(
                instrument_id=self._id,
                order_side=OrderSide[side],
                quantity=self.cache.instrument(self._id).make_qty(quantity),
                client_order_id=ClientOrderId(f"web_{number}"),
            )
        )


class AuditorConfig(SimulationModuleConfig, frozen=True):
    """No settings."""


class Auditor(SimulationModule):
    """After every step of the exchange: nothing naked, no orphan. Findings are kept, the test asserts there is none."""

    def __init__(self) -> None:
        super().__init__(AuditorConfig())
        self.findings: list[str] = []

    def process(self, ts_now: int) -> None:
        cache = self.exchange.cache
        for instrument in cache.instruments():
            tagged = [(o, decode(o.client_order_id.value)) for o in cache.orders_open(instrument_id=instrument.id)]
            legs = [(o, t) for o, t in tagged if t is not None and t.leg in LEGS]
            positions = cache.positions_open(instrument_id=instrument.id)
            if not positions:
                self.findings += [f"{ts_now}: orphan {o.client_order_id}" for o, _ in legs]
                continue
            long = positions[0].side == PositionSide.LONG
            covered = sum(
                o.leaves_qty.as_decimal()
                for o, t in legs
                if t.leg is Leg.STOP and o.is_reduce_only and (o.side == OrderSide.SELL) == long
            )
            if covered < positions[0].quantity.as_decimal():
                self.findings.append(f"{ts_now}: {positions[0].quantity} open, {covered} covered")

    def log_diagnostics(self, logger: Any) -> None:
        """Nothing to say."""

    def reset(self) -> None:
        self.findings.clear()


class Run:
    """One engine run; read what came of it from the attributes."""

    def __init__(
        self,
        candles: Iterable[Any],
        script: dict[int, tuple[str, float, float]],
        *,
        quantity: str = "100",
        refuse: tuple[int, ...] = (),
        latency_ns: int = 0,
        slippage: tuple[str, str] = ("0", "0"),
        fee_model: Any = None,
        rate: str = "1000/00:00:01",
        balance: float = 10_000.0,
        modules: Iterable[Any] = (),
        data: Iterable[Any] = (),
        actions: dict[int, Callable[[Any], None]] | None = None,
        volume: int = 1_000_000,
        skip: Iterable[int] = (),
        **config: Any,
    ) -> None:
        self.quantity, self.refuse = quantity, refuse
        self.auditor = Auditor()
        self.signals: list[Signal] = []
        self.records: list[Any] = []
        self.engine = BacktestEngine(
            BacktestEngineConfig(
                logging=LoggingConfig(bypass_logging=True),
                run_analysis=False,
                risk_engine=RiskEngineConfig(max_order_submit_rate=rate),
            )
        )
        self.engine.add_venue(
            Venue("BINANCE"),
            OmsType.NETTING,
            AccountType.MARGIN,
            [Money(balance, USDT)],
            default_leverage=Decimal(20),
            bar_adaptive_high_low_ordering=True,
            reject_stop_orders=True,
            use_position_ids=False,
            fill_model=SlippageFillModel(SlippageFillModelConfig(market_bps=slippage[0], trigger_bps=slippage[1])),
            fee_model=fee_model,
            latency_model=LatencyModel(base_latency_nanos=latency_ns) if latency_ns else None,
            modules=[*(modules or [VenueModule(VenueModuleConfig())]), self.auditor],
        )
        contexts = config.get("context_bar_types", ())
        for symbol in dict.fromkeys([*(c.instrument_id.symbol.value.removesuffix("-PERP") for c in contexts), SYMBOL]):
            self.engine.add_instrument(INSTRUMENTS[symbol])
        self.candles = bars(candles, volume=volume, skip=frozenset(skip))
        self.engine.add_data([*data, *self.candles])
        self.id = instrument_id(SYMBOL)
        defaults = {
            "instrument_id": self.id,
            "bar_type": bar_type(SYMBOL, "15m"),
            "code": "CMPXRP",
            "warmup_bars": 0,
            "order_id_tag": SYMBOL,
            "oms_type": "NETTING",
            "external_order_claims": [self.id],
        }
        self.strategy = Scripted(ScriptedConfig(script=script, **(defaults | config)))
        self.strategy.actions = actions or {}
        self.engine.add_strategy(self.strategy)
        bus = self.engine.kernel.msgbus
        market_clock(bus)
        bus.subscribe(topic(SIGNAL), self._grant)
        bus.subscribe("argonaut.record.*", self.records.append)

    def _grant(self, signal: Signal) -> None:
        self.signals.append(signal)
        if (signal.bar_close - START) // BAR_NS - 1 in self.refuse:
            return
        self.engine.kernel.msgbus.publish(topic(APPROVAL), self.approval(signal))

    def approval(self, signal: Signal) -> Approval:
        """Return the Approval of `signal` for the run's quantity."""
        return Approval(
            signal.ts_event,
            signal.ts_init,
            instrument_id=signal.instrument_id,
            signal_id=signal.signal_id,
            strategy=signal.strategy,
            side=signal.side,
            quantity=self.quantity,
            stop_price=f"{signal.stop_price:.4f}",
            target_price=f"{signal.target_price:.4f}",
            risk_amount=1.0,
            bar_close=signal.bar_close,
        )

    def go(self) -> "Run":
        """Run to the end of the data."""
        self.engine.run()
        return self

    @property
    def cache(self) -> Any:
        """The engine's cache."""
        return self.engine.cache

    @property
    def incidents(self) -> list[tuple[str, str]]:
        """Severity and code of every incident."""
        return [(r.severity, r.code) for r in self.records if r.kind == "incident"]

    @property
    def position(self) -> Any:
        """The open position or None."""
        positions = self.cache.positions_open()
        return positions[0] if positions else None

    @property
    def fills(self) -> list[tuple[str, str, float, float]]:
        """Leg, side, quantity and price of every fill, in order."""
        found = []
        for order in self.cache.orders():
            for event in order.events:
                if type(event).__name__ == "OrderFilled":
                    tag = decode(order.client_order_id.value)
                    leg = "PERSON" if tag is None else tag.leg.name
                    row = (leg, event.order_side.name, float(event.last_qty), float(event.last_px))
                    found.append((event.ts_event, len(found), row))
        return [row for *_, row in sorted(found, key=lambda x: x[0])]

    def open_legs(self) -> dict[str, tuple[str, str, str]]:
        """Leg to (side, quantity, trigger price) of our resting orders."""
        result = {}
        for order in self.cache.orders_open():
            tag = decode(order.client_order_id.value)
            if tag is not None:
                result[tag.leg.name] = (order.side.name, str(order.leaves_qty), str(order.trigger_price))
        return result

    def exit_tags(self) -> list[str]:
        """Return the exit tags of filled orders."""
        orders = [o for o in self.cache.orders() if o.filled_qty > 0 and o.tags]
        return [tag for o in orders for tag in o.tags if tag.startswith("exit:")]

    def entries(self) -> list[Any]:
        """Return our entry orders."""
        tags = [(o, decode(o.client_order_id.value)) for o in self.cache.orders() if o.order_type == OrderType.MARKET]
        return [o for o, t in tags if t is not None and t.leg is Leg.ENTRY]
