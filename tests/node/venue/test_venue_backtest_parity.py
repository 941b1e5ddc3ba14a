"""Random orders on random bars: the venue's engine and BacktestEngine must agree fill by fill."""

import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar as EngineBar
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide, OrderType
from nautilus_trader.model.identifiers import Venue as EngineVenue
from nautilus_trader.model.objects import Money
from nautilus_trader.trading.strategy import Strategy

from catalog.instruments import load_instruments, to_nautilus
from node.venue.books import AlgoOrder, Books, Order
from node.venue.clock import VenueClock
from node.venue.config import ExecutionConfig
from node.venue.errors import ApiError
from node.venue.feed import Bar
from node.venue.instruments import Instrument, instrument_of
from node.venue.matching import MatchingEngine
from node.venue.path import BarPath

SYMBOL = "XRPUSDT"
BAR_TYPE = BarType.from_str("XRPUSDT-PERP.BINANCE-15-MINUTE-LAST-EXTERNAL")
BARS = 400
STEP_NS = 900_000_000_000
KINDS = {
    OrderType.MARKET: "MARKET",
    OrderType.LIMIT: "LIMIT",
    OrderType.STOP_MARKET: "STOP_MARKET",
    OrderType.MARKET_IF_TOUCHED: "TAKE_PROFIT_MARKET",
}


@dataclass(frozen=True)
class Plan:
    """What to do at one bar's close, decided before either engine runs."""

    act: str
    buy: bool
    quantity: Decimal
    stop_ticks: int
    target_ticks: int


def make_plans(rng: random.Random, most: int) -> list[Plan]:
    return [
        Plan(
            act=rng.choice(("enter", "enter", "limit", "close", "wait")),
            buy=rng.random() < 0.5,
            quantity=Decimal(rng.randint(100, most)) / 10,
            stop_ticks=rng.randint(1, 150),
            target_ticks=rng.randint(1, 150),
        )
        for _ in range(BARS)
    ]


def make_bars(rng: random.Random, instrument: Instrument, volume: int) -> list[Bar]:
    price = 25_000  # ticks
    bars = []
    for n in range(BARS):
        open_ = price + rng.choice((0, 0, 0, rng.randint(-120, 120)))
        path = [open_ + rng.randint(-100, 100) for _ in range(3)]
        bars.append(
            Bar(
                open_ms=n * 900_000,
                open=open_ * instrument.tick,
                high=max(open_, *path) * instrument.tick,
                low=min(open_, *path) * instrument.tick,
                close=path[-1] * instrument.tick,
                volume=Decimal(rng.randint(volume // 2, volume)) / 10,
            )
        )
        price = path[-1]
    return bars


class Player(Strategy):
    """Plays the plans in BacktestEngine."""

    def __init__(self, instrument: Any, plans: list[Plan]) -> None:
        super().__init__(StrategyConfig(oms_type="NETTING"))
        self.instrument = instrument
        self.plans = plans
        self.fills: list[tuple[Any, ...]] = []
        self.bar = -1
        self.exits: list[Any] = []

    def on_start(self) -> None:
        self.subscribe_bars(BAR_TYPE)

    def on_bar(self, bar: EngineBar) -> None:
        self.bar += 1
        plan = self.plans[self.bar]
        inst = self.instrument
        side = OrderSide.BUY if plan.buy else OrderSide.SELL
        net = self.cache.positions_open()
        if plan.act == "close" and net:
            position = net[0]
            closing = OrderSide.SELL if position.is_long else OrderSide.BUY
            self.submit_order(self.order_factory.market(inst.id, closing, position.quantity, reduce_only=True))
        elif plan.act in ("enter", "limit") and not net and not self.waiting():
            quantity = inst.make_qty(plan.quantity)
            if plan.act == "enter":
                self.submit_order(self.order_factory.market(inst.id, side, quantity))
            else:
                offset = plan.stop_ticks * inst.price_increment.as_decimal() * (-1 if plan.buy else 1)
                price = inst.make_price(bar.close.as_decimal() + offset)
                self.submit_order(self.order_factory.limit(inst.id, side, quantity, price))
        elif plan.act == "wait":
            for order in self.cache.orders_open():
                if order.order_type == OrderType.LIMIT:
                    self.cancel_order(order)

    def waiting(self) -> bool:
        """Whether an order rests; a cancel sent while the bar was walked takes effect after on_bar in this engine."""
        return any(not o.is_pending_cancel for o in self.cache.orders_open())

    def on_order_filled(self, event: Any) -> None:
        order = self.cache.order(event.client_order_id)
        self.fills.append(
            (
                self.bar,
                KINDS[order.order_type],
                "BUY" if event.is_buy else "SELL",
                event.last_qty.as_decimal(),
                event.last_px.as_decimal(),
            )
        )
        if not order.is_closed:
            return
        if order.is_reduce_only:
            for other in self.exits:
                if other.is_open:
                    self.cancel_order(other)
            return
        plan = self.plans[self.bar]
        inst = self.instrument
        tick = inst.price_increment.as_decimal()
        sign = 1 if order.is_buy else -1
        entry = event.last_px.as_decimal()
        closing = OrderSide.SELL if order.is_buy else OrderSide.BUY
        stop = inst.make_price(entry - sign * plan.stop_ticks * tick)
        target = inst.make_price(entry + sign * plan.target_ticks * tick)
        self.exits = [
            self.order_factory.stop_market(inst.id, closing, order.quantity, stop, reduce_only=True),
            self.order_factory.market_if_touched(inst.id, closing, order.quantity, target, reduce_only=True),
        ]
        for exit_order in self.exits:
            self.submit_order(exit_order)


def play_engine(bars: list[Bar], plans: list[Plan]) -> list[tuple[Any, ...]]:
    instrument = to_nautilus(load_instruments()[SYMBOL])
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        venue=EngineVenue("BINANCE"),
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        starting_balances=[Money(10_000_000, USDT)],
        base_currency=USDT,
        bar_adaptive_high_low_ordering=True,
    )
    engine.add_instrument(instrument)
    data = []
    for bar in bars:
        close_ns = bar.open_ms * 1_000_000 + STEP_NS
        prices = [instrument.make_price(p) for p in (bar.open, bar.high, bar.low, bar.close)]
        data.append(EngineBar(BAR_TYPE, *prices, instrument.make_qty(bar.volume), close_ns, close_ns))
    engine.add_data(data)
    player = Player(instrument, plans)
    engine.add_strategy(player)
    engine.run()
    engine.dispose()
    return player.fills


class VenuePlayer:
    """Plays the same plans on the venue's matching engine, reacting after each bar as a node behind a barrier does."""

    def __init__(self, instrument: Instrument, config: ExecutionConfig, plans: list[Plan]) -> None:
        self.instrument = instrument
        self.plans = plans
        self.books = Books(VenueClock(), Decimal(10_000_000), {SYMBOL: 20})
        self.engine = MatchingEngine(self.books, {SYMBOL: instrument}, config, lambda _event: None)
        self.bar = -1
        self.seen = 0
        self.labels: dict[int, int] = {}
        self.exits: list[AlgoOrder] = []

    def play(self, bars: list[Bar]) -> list[tuple[Any, ...]]:
        for index, bar in enumerate(bars):
            self.engine.walk(SYMBOL, BarPath(bar.open, bar.high, bar.low, bar.close, bar.volume, 0))
            self.react()
            self.bar = index
            self.decide(bar)
            self.react()
        return [(self.labels[f.trade_id], f.kind, f.side, f.quantity, f.price) for f in self.books.fills]

    def react(self) -> None:
        while self.seen < len(self.books.fills):
            fill = self.books.fills[self.seen]
            self.seen += 1
            self.labels[fill.trade_id] = self.bar
            order = self.books.orders[fill.order_id]
            if order.is_open or fill.trade_id != max(
                f.trade_id for f in self.books.fills if f.order_id == fill.order_id
            ):
                continue
            if order.reduce_only:
                for other in self.exits:
                    if other.is_open:
                        self.engine.cancel_algo(other)
                continue
            plan = self.plans[self.bar]
            sign = 1 if order.is_buy else -1
            closing = "SELL" if order.is_buy else "BUY"
            self.exits = [
                self.algo(closing, "STOP_MARKET", order.quantity, fill.price - sign * plan.stop_ticks * self.tick),
                self.algo(
                    closing, "TAKE_PROFIT_MARKET", order.quantity, fill.price + sign * plan.target_ticks * self.tick
                ),
            ]

    @property
    def tick(self) -> Decimal:
        return self.instrument.tick

    def decide(self, bar: Bar) -> None:
        plan = self.plans[self.bar]
        side = "BUY" if plan.buy else "SELL"
        position = self.books.positions[SYMBOL]
        if plan.act == "close" and position.quantity:
            self.order("SELL" if position.quantity > 0 else "BUY", "MARKET", abs(position.quantity), reduce_only=True)
        elif plan.act in ("enter", "limit") and not position.quantity and not self.open():
            if plan.act == "enter":
                self.order(side, "MARKET", plan.quantity)
            else:
                price = bar.close + plan.stop_ticks * self.tick * (-1 if plan.buy else 1)
                self.order(side, "LIMIT", plan.quantity, price)
        elif plan.act == "wait":
            for order in list(self.books.open_orders.values()):
                self.engine.cancel(order)

    def open(self) -> bool:
        return bool(self.books.open_orders or self.books.open_algos)

    def order(self, side: str, kind: str, quantity: Decimal, price: Decimal = Decimal(0), **more: Any) -> None:
        number = self.books.next_order_id()
        order = Order(
            order_id=number,
            client_order_id=str(number),
            symbol=SYMBOL,
            side=side,
            kind=kind,
            quantity=quantity,
            price=price,
            time_in_force="GTC",
            reduce_only=more.get("reduce_only", False),
            created_ms=0,
            updated_ms=0,
            market_ms=0,
        )
        self.engine.submit(order)

    def algo(self, side: str, kind: str, quantity: Decimal, trigger: Decimal) -> AlgoOrder:
        number = self.books.next_algo_id()
        algo = AlgoOrder(
            algo_id=number,
            client_algo_id=str(number),
            symbol=SYMBOL,
            side=side,
            kind=kind,
            quantity=quantity,
            trigger_price=trigger,
            price=Decimal(0),
            time_in_force="GTC",
            reduce_only=True,
            close_position=False,
            working_type="CONTRACT_PRICE",
            created_ms=0,
            updated_ms=0,
            market_ms=0,
        )
        last = self.engine.prices[SYMBOL]
        on_rise = algo.is_buy == algo.is_stop
        if (last >= trigger) if on_rise else (last <= trigger):
            return algo  # -2021 at the venue, rejected in BacktestEngine: either way it never rests
        if not self.books.positions[SYMBOL].closing(algo.is_buy, quantity):
            return algo  # -2022 and REDUCE_ONLY rejected
        self.engine.submit_algo(algo)
        return algo


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("depth", "most", "volume"),
    [("unlimited", 1_000, 10_000_000), ("bar_quarter", 200_000, 400_000)],
    ids=["deep", "bar_quarter"],
)
def test_the_same_orders_on_the_same_bars_fill_alike(seed, depth, most, volume):
    rng = random.Random(f"{seed}/{depth}")
    instrument = instrument_of(load_instruments()[SYMBOL], ExecutionConfig())
    bars = make_bars(rng, instrument, volume)
    plans = make_plans(rng, most)
    expected = play_engine(bars, plans)
    try:
        found = VenuePlayer(instrument, ExecutionConfig(depth=depth), plans).play(bars)
    except ApiError as e:  # pragma: no cover - tells the seed
        pytest.fail(f"seed {seed}: {e}")
    for number, (one, other) in enumerate(zip(expected, found, strict=False)):
        assert one == other, f"seed {seed}, fill {number}"
    assert len(expected) == len(found), f"seed {seed}"
    kinds = {row[1] for row in expected}
    assert kinds == set(KINDS.values()), f"seed {seed}: the draw must exercise every kind of order"
