"""Klines and statistics of every interval the exchange knows, whatever the length of the replayed bars."""

import asyncio
import itertools
import random
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from node.venue.config import VenueConfig
from node.venue.intervals import INTERVALS, Bar, closing, interval_ms, merged, opening, pieces
from strategies.yaml_config import convert
from tests.node.venue.conftest import START_MS, STEP_MS, make_bars, make_instruments
from tests.node.venue.replay_node import ReplayNode

TICK, LOT = Decimal("0.0001"), Decimal("0.1")
X = {"symbol": "XRPUSDT"}
KLINES = "/fapi/v1/klines"


def random_bar(rng: random.Random) -> Bar:
    open_, high, low, close = (Decimal(rng.randint(20_000, 30_000)) * TICK for _ in range(4))
    prices = (open_, high, low, close)
    return Bar(START_MS, open_, max(prices), min(prices), close, Decimal(rng.randint(0, 99_999)) * LOT)


@pytest.mark.parametrize("count", [2, 3, 5, 15, 60, 240])
def test_the_pieces_of_a_bar_make_that_bar_again(count):
    rng = random.Random(count)
    for _ in range(200):
        bar = random_bar(rng)
        step = count * 60_000
        found = pieces(bar, step, count, TICK, LOT)
        assert [p.open_ms for p in found] == [bar.open_ms + n * 60_000 for n in range(count)]
        assert found[0].open == bar.open
        assert found[-1].close == bar.close
        assert all(a.close == b.open for a, b in itertools.pairwise(found))
        assert max(p.high for p in found) == bar.high
        assert min(p.low for p in found) == bar.low
        assert sum(p.volume for p in found) == bar.volume
        assert all(p.low <= min(p.open, p.close) <= max(p.open, p.close) <= p.high for p in found)
        assert all(not p.volume % LOT and not p.high % TICK and not p.open % TICK for p in found)


def test_the_nearer_extreme_comes_first():
    rising = Bar(0, Decimal(10), Decimal(14), Decimal(9), Decimal(12), Decimal(6))
    found = pieces(rising, 900_000, 3, Decimal(1), Decimal(1))
    assert [(p.open, p.close) for p in found] == [(10, 9), (9, 14), (14, 12)]


def test_weeks_open_on_mondays_and_months_on_their_first():
    for text, week, month in (
        ("2025-09-03T10:07:00Z", "2025-09-01T00:00:00Z", "2025-09-01T00:00:00Z"),
        ("2024-02-29T23:59:59Z", "2024-02-26T00:00:00Z", "2024-02-01T00:00:00Z"),
        ("2025-08-31T23:59:59Z", "2025-08-25T00:00:00Z", "2025-08-01T00:00:00Z"),
    ):
        at = round(datetime.fromisoformat(text).timestamp() * 1000)
        for interval, wanted in (("1w", week), ("1M", month)):
            found = datetime.fromtimestamp(opening(interval, at) / 1000, UTC)
            assert found == datetime.fromisoformat(wanted)
            assert opening(interval, closing(interval, opening(interval, at))) == closing(
                interval, opening(interval, at)
            )
    february = opening("1M", round(datetime(2024, 2, 5, tzinfo=UTC).timestamp() * 1000))
    assert closing("1M", february) - february == 29 * 86_400_000


def test_a_bar_with_a_part_missing_is_not_made():
    rng = random.Random(3)
    hour = [Bar(START_MS + n * STEP_MS, *(Decimal(rng.randint(1, 9)),) * 4, Decimal(1)) for n in range(12)]
    assert len(merged(hour, STEP_MS, "1h", TICK, LOT)) == 3
    del hour[5]
    assert [b.open_ms for b in merged(hour, STEP_MS, "1h", TICK, LOT)] == [START_MS, START_MS + 8 * STEP_MS]


@pytest.fixture
async def walked(start_venue):
    """A venue with two months of quarter hours behind it."""
    instruments = make_instruments(convert({"data": {"symbols": ["XRPUSDT"]}}, VenueConfig, "test"))
    bars = {symbol: make_bars(symbol, instrument, 6_000, 1) for symbol, instrument in instruments.items()}
    return await start_venue(bars=bars, history=5_990)


@pytest.mark.parametrize("interval", INTERVALS)
async def test_every_interval_is_answered_without_gaps_and_without_the_future(walked, interval):
    now = walked.venue.feed.public_ms("XRPUSDT")
    rows = await walked.client.call("GET", KLINES, signed=False, interval=interval, limit=1500, **X)
    assert rows
    assert rows[-1][6] < now
    assert now - rows[-1][6] <= interval_ms(interval)
    for row, after in itertools.pairwise(rows):
        assert row[0] == opening(interval, row[0])
        assert row[6] + 1 == after[0] == closing(interval, row[0])
    few = await walked.client.call("GET", KLINES, signed=False, interval=interval, limit=3, **X)
    assert few == rows[-3:]
    first, last = rows[0][0], rows[-1][0]
    from_first = await walked.client.call("GET", KLINES, signed=False, interval=interval, startTime=first, limit=2, **X)
    assert from_first == rows[:2]
    window = await walked.client.call(
        "GET", KLINES, signed=False, interval=interval, startTime=first + 1, endTime=last - 1, limit=1500, **X
    )
    assert window == rows[1:-1]


async def test_short_klines_of_a_window_make_the_long_one(walked):
    whole = await walked.client.call("GET", KLINES, signed=False, interval="15m", limit=40, **X)
    short = await walked.client.call(
        "GET", KLINES, signed=False, interval="1m", startTime=whole[0][0], endTime=whole[-1][6], limit=600, **X
    )
    for n, row in enumerate(whole):
        parts = short[15 * n : 15 * n + 15]
        assert [parts[0][1], parts[-1][4]] == [row[1], row[4]]
        assert max(Decimal(p[2]) for p in parts) == Decimal(row[2])
        assert min(Decimal(p[3]) for p in parts) == Decimal(row[3])
        assert sum(Decimal(p[5]) for p in parts) == Decimal(row[5])


async def test_short_klines_are_streamed_when_their_bar_is(venue):
    stream = await venue.market_stream("xrpusdt@kline_5m", "xrpusdt_perpetual@continuousKline_5m")
    await venue.client.control("step")
    for number in range(3):
        message = await stream.until(lambda m: m["data"]["e"] == "kline")
        assert message["data"]["k"]["t"] == START_MS + number * 300_000
        assert message["data"]["k"]["x"] is True
    for number in range(3):
        message = await stream.until(lambda m: m["data"]["e"] == "continuous_kline")
        assert message["data"]["k"]["t"] == START_MS + number * 300_000


@pytest.mark.parametrize("period", ["5m", "15m", "1h", "1d"])
async def test_statistics_know_every_period(walked, period):
    now = walked.venue.feed.public_ms("XRPUSDT")
    for name in ("openInterestHist", "topLongShortAccountRatio", "takerlongshortRatio"):
        path = f"/futures/data/{name}"
        rows = await walked.client.call("GET", path, signed=False, period=period, limit=20, **X)
        times = [r["timestamp"] for r in rows]
        assert times == [times[0] + n * interval_ms(period) for n in range(20)]
        assert now - interval_ms(period) < times[-1] <= now
        later = await walked.client.call("GET", path, signed=False, period=period, limit=4, startTime=times[3] - 1, **X)
        assert later == rows[3:7]
        until = await walked.client.call(
            "GET", path, signed=False, period=period, limit=5, startTime=times[1], endTime=times[4], **X
        )
        assert until == rows[1:5]


async def test_taker_volumes_are_those_of_their_period(walked):
    params = {"signed": False, "limit": 4, **X}
    rows = await walked.client.call("GET", "/futures/data/takerlongshortRatio", period="1h", **params)
    klines = await walked.client.call("GET", KLINES, interval="1h", **params)
    for row, kline in zip(rows, klines, strict=True):
        assert abs(Decimal(row["buyVol"]) + Decimal(row["sellVol"]) - Decimal(kline[5])) < Decimal("0.001")
        assert row["timestamp"] == kline[6] + 1


async def test_another_clients_klines_do_not_hold_the_node_up(start_venue):
    """A node in lock-step waits for the klines that were counted; a stranger's hourly and one-minute ones are not."""
    running = await start_venue({"replay": {"barrier_timeout_secs": 5}})
    stranger = await running.market_stream("xrpusdt@kline_1h", "xrpusdt@kline_1m")
    node = await ReplayNode(running).attach("xrpusdt@kline_15m")
    await asyncio.wait_for(node.ended.wait(), 20)
    assert node.messages[-1]["type"] == "end"
    assert [m["bars"] for m in node.messages if m["type"] == "barrier"] == list(range(1, len(node.bars) + 1))
    await stranger.until(lambda m: m["stream"] == "xrpusdt@kline_1h")
    await node.detach()


async def test_a_node_that_follows_another_interval_is_waited_for(start_venue):
    running = await start_venue({"replay": {"barrier_timeout_secs": 5}})
    node = await ReplayNode(running).attach("xrpusdt@kline_1h")
    await asyncio.wait_for(node.ended.wait(), 20)
    assert [m["bars"] for m in node.messages if m["type"] == "barrier"][-1] == len(node.bars) == 12
    await node.detach()
