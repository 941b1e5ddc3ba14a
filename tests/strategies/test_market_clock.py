"""Market time: read from bars on the grid, one clock to a bus, heard before anything else."""

import pytest
from nautilus_trader.common.component import MessageBus, TestClock
from nautilus_trader.model.data import Bar
from nautilus_trader.model.identifiers import TraderId
from nautilus_trader.model.objects import Price, Quantity

from catalog.instruments import bar_type
from strategies.market_clock import MILLIS_PER_DAY, MarketClock, bar_close_ns, market_clock

CLOSE_MS = 1_756_684_800_000  # 2025-09-01T00:00Z
CLOSE = CLOSE_MS * 1_000_000


def make(ts, interval="15m", symbol="XRPUSDT"):
    one = Price(1.0, 4)
    return Bar(bar_type(symbol, interval), one, one, one, one, Quantity(1, 1), ts, ts)


@pytest.mark.parametrize(
    "ts",
    [
        CLOSE,
        CLOSE - 1_000_000,  # the exchange's …59.999
        CLOSE - 1_000_000 + 64,  # the adapter's conversion through float64
        CLOSE - 1_000_000 - 128,
        int(float(CLOSE_MS - 1) * 1e6),
    ],
)
@pytest.mark.parametrize("interval", ["1m", "5m", "15m", "1h", "4h", "1d"])
def test_every_way_of_stamping_a_close_gives_the_close(ts, interval):
    assert bar_close_ns(make(ts, interval)) == CLOSE


def test_the_clock_never_runs_backwards_and_tells_each_advance_once():
    clock = MarketClock()
    heard = []
    clock.listen(lambda before, now: heard.append((before, now)))
    assert clock.now is None
    assert clock.day is None
    clock.on_bar(make(CLOSE))
    clock.on_bar(make(CLOSE, symbol="BTCUSDT"))
    clock.on_bar(make(CLOSE - 900_000_000_000))
    clock.advance(CLOSE + 5)
    assert heard == [(None, CLOSE), (CLOSE, CLOSE + 5)]
    assert clock.now == CLOSE + 5


def test_the_bar_that_completes_a_day_belongs_to_the_next():
    clock = MarketClock()
    clock.advance(CLOSE - 1)
    assert clock.day == CLOSE_MS // MILLIS_PER_DAY - 1
    clock.advance(CLOSE)
    assert clock.day == CLOSE_MS // MILLIS_PER_DAY


def test_there_is_one_clock_to_a_bus_and_it_hears_a_bar_first():
    bus = MessageBus(TraderId("T-1"), TestClock())
    order = []
    bus.subscribe("data.bars.*", lambda _: order.append(("early", market_clock(bus).now)), 999)
    clock = market_clock(bus)
    assert market_clock(bus) is clock
    bus.subscribe("data.bars.*", lambda _: order.append(("late", market_clock(bus).now)), 0)
    clock.listen(lambda *_: order.append(("listener", clock.now)))
    bar = make(CLOSE)
    bus.publish(f"data.bars.{bar.bar_type}", bar)
    assert order == [("listener", CLOSE), ("early", CLOSE), ("late", CLOSE)]
    other = MessageBus(TraderId("T-2"), TestClock())
    assert market_clock(other) is not clock
    assert market_clock(other).now is None
