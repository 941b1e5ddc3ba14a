"""An hour of the venue's market, recorded by a live node through real sockets, played again by BacktestNode."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.backtest.config import (
    BacktestDataConfig,
    BacktestEngineConfig,
    BacktestRunConfig,
    BacktestVenueConfig,
)
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig, ImportableActorConfig, LoggingConfig
from nautilus_trader.model.data import Bar, MarkPriceUpdate, QuoteTick, TradeTick

from catalog import recorded
from catalog.instruments import bar_type, instrument_id, load_instruments
from catalog.raw.days import load
from catalog.recording import tape
from catalog.types import FundingSettlement, IndexPrice, Liquidation, LongShortRatios, OpenInterest
from node.recording.actor import MarketRecorder
from node.recording.config import RecordConfig
from node.recording.run import recording_node
from node.venue import rest_orders
from node.venue.app import Server
from node.venue.config import VenueConfig
from node.venue.feed import Bar as VenueBar
from node.venue.feed import Feed
from node.venue.instruments import instrument_of
from node.venue.interventions import liquidate
from node.venue.params import Params
from node.venue.venue import Venue
from strategies.yaml_config import convert

SYMBOLS = ("BTCUSDT", "XRPUSDT")
STEP_MS = 60_000
HISTORY, HOUR = 40, 60
START_MS = 1_756_684_800_000  # 2025-09-01T00:00Z
NAUTILUS = (Bar, TradeTick, QuoteTick, MarkPriceUpdate)
CUSTOM = (FundingSettlement, IndexPrice, OpenInterest, LongShortRatios, Liquidation)

heard: list[Any] = []


class Listener(Actor):
    """Remembers everything that is published as market data."""

    def on_start(self) -> None:
        self.msgbus.subscribe("data.*", heard.append)

    def on_stop(self) -> None:
        self.msgbus.unsubscribe("data.*", heard.append)


class ListenerConfig(ActorConfig, frozen=True):
    """Nothing to say."""


LISTENER = ImportableActorConfig(
    actor_path=f"{__name__}:Listener", config_path=f"{__name__}:ListenerConfig", config={"component_id": "Listener"}
)


def plain(event: Any) -> tuple[Any, ...]:
    """Return what an event says, but not when it arrived."""
    if isinstance(event, Bar):
        prices = (event.open, event.high, event.low, event.close, event.volume)
        return ("Bar", str(event.bar_type), event.ts_event, *map(str, prices))
    name, symbol = type(event).__name__, str(event.instrument_id)
    match event:
        case TradeTick():
            rest = (str(event.price), str(event.size), str(event.trade_id), int(event.aggressor_side))
        case QuoteTick():
            rest = tuple(map(str, (event.bid_price, event.ask_price, event.bid_size, event.ask_size)))
        case MarkPriceUpdate():
            rest = (str(event.value),)
        case _:
            fields = {k: v for k, v in event.to_dict().items() if k not in ("ts_init", "ts_event", "instrument_id")}
            rest = tuple(sorted((k, "nan" if isinstance(v, float) and math.isnan(v) else v) for k, v in fields.items()))
    return (name, symbol, event.ts_event, *rest)


def events() -> list[Any]:
    return [event for event in heard if isinstance(event, (*NAUTILUS, *CUSTOM))]


def make_venue(speed: float = 0) -> Server:
    config = convert(
        {
            "data": {"symbols": list(SYMBOLS), "interval": "1m"},
            "replay": {"speed": speed, "start": "on_node", "mark_price_secs": 0.05},
        },
        VenueConfig,
        "test",
    )
    specs = load_instruments()
    instruments = {s: instrument_of(specs[s], config.execution) for s in SYMBOLS}
    bars = {}
    for symbol, instrument in instruments.items():
        base = 1_000_000 if symbol == "BTCUSDT" else 25_000
        rows = []
        for n in range(HISTORY + HOUR):
            o, c = base + (n * 37) % 50, base + (n * 53) % 50
            figures = (o, max(o, c) + 3, min(o, c) - 3, c)
            rows.append(VenueBar(START_MS + n * STEP_MS, *(instrument.tick * x for x in figures), Decimal(1000 + n)))
        bars[symbol] = rows
    funding = {s: [(START_MS, Decimal("0.0001")), (START_MS + 70 * STEP_MS, Decimal("0.0002"))] for s in SYMBOLS}
    feed = Feed(instruments, bars, "1m", START_MS + HISTORY * STEP_MS, funding)
    return Server(Venue(config, instruments, feed))


async def until(condition: Callable[[], bool], what: str, secs: float = 60.0) -> None:
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {secs} s"
        await asyncio.sleep(0.02)


async def record(root: Path, raw: Path) -> MarketRecorder:
    server = make_venue()
    await server.start()
    urls = server.urls()
    config = convert(
        {
            "environment": "venue",
            "symbols": list(SYMBOLS),
            "base_url_http": urls["http"],
            "base_url_ws": urls["ws"],
            "log_level": "ERROR",
            "record": {"directory": str(root), "raw": str(raw), "intervals": ["1m", "5m"], "poll_secs": 0.2},
        },
        RecordConfig,
        "test",
    )
    node = recording_node(config, more=(LISTENER,))
    running = asyncio.create_task(node.run_async())
    (recorder,) = [a for a in node.trader.actors() if isinstance(a, MarketRecorder)]
    venue = server.venue
    try:
        wanted = {f"{s.lower()}@{x}" for s in SYMBOLS for x in ("aggTrade", "bookTicker", "kline_1m", "forceOrder")}
        await until(lambda: wanted <= venue.markets.streams(), "subscriptions")
        venue.replay.set_speed(30)
        venue.replay.resume()
        await until(lambda: venue.replay.bars >= HOUR, "half of the hour")
        venue_liquidates(venue)
        await until(lambda: venue.replay.state == "finished", "the end of the hour")
        await until(lambda: sum(isinstance(e, Bar) for e in events()) >= 2 * (HOUR + HOUR // 5), "the last bars")
        await until(lambda: any(isinstance(e, Liquidation) for e in events()), "the forced order")
        await until(lambda: sum(isinstance(e, OpenInterest) for e in events()) >= 24, "the last open interest")
    finally:
        await node.stop_async()
        await running
        await server.stop()
        node.kernel.dispose()
    return recorder


def venue_liquidates(venue: Venue) -> None:
    order = {"symbol": "XRPUSDT", "side": "BUY", "type": "MARKET", "quantity": "100"}
    rest_orders.place(venue, Params.of(order))
    liquidate(venue, {"symbol": "XRPUSDT"})


def backtest(catalog: Path, chunk: int | None) -> None:
    data = [
        BacktestDataConfig(
            catalog_path=str(catalog),
            data_cls=kind if kind in NAUTILUS else f"catalog.types:{kind.__name__}",
            instrument_id=None if kind is Bar else instrument_id(symbol),
            bar_types=[str(bar_type(symbol, i)) for i in ("1m", "5m")] if kind is Bar else None,
            client_id=None if kind in NAUTILUS else "CATALOG",
        )
        for symbol in SYMBOLS
        for kind in (*NAUTILUS, *CUSTOM)
        if kind is not Liquidation or symbol == "XRPUSDT"
    ]
    run = BacktestRunConfig(
        venues=[
            BacktestVenueConfig(
                name="BINANCE",
                oms_type="NETTING",
                account_type="MARGIN",
                starting_balances=["10000 USDT"],
                book_type="L1_MBP",
            )
        ],
        data=data,
        engine=BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), actors=[LISTENER], run_analysis=False),
        raise_exception=True,
        dispose_on_completion=False,
        chunk_size=chunk,
    )
    node = BacktestNode([run])
    try:
        node.run()
    finally:
        node.dispose()


async def test_an_hour_of_the_venue_replays_with_the_same_events_in_the_same_order(tmp_path: Path) -> None:
    heard.clear()
    root, raw, catalog = tmp_path / "recording", tmp_path / "raw", tmp_path / "catalog"
    recorder = await record(root, raw)
    live = [plain(event) for event in events()]
    counts = {kind.__name__: sum(row[0] == kind.__name__ for row in live) for kind in (*NAUTILUS, *CUSTOM)}
    assert all(counts.values()), counts
    assert counts["Bar"] == 2 * (HOUR + HOUR // 5)
    assert counts["TradeTick"] == counts["QuoteTick"] >= 2 * HOUR * 3
    assert recorder.writer is None

    found = list(tape.entries(root))
    assert [e.sequence for e in found] == list(range(1, len(found) + 1))
    assert all(a.ts_init < b.ts_init for a, b in pairwise(found))

    assert recorded.main(["replay", "--root", str(root), "--catalog", str(catalog)]) == 0
    for chunk in (None, 100):
        heard.clear()
        backtest(catalog, chunk)
        played = [plain(event) for event in events()]
        assert Counter(row[0] for row in played) == Counter(row[0] for row in live)
        for number, (once, again) in enumerate(zip(live, played, strict=True)):
            assert once == again, f"event {number} of {len(live)}, chunks of {chunk}"
        times = [event.ts_init for event in events()]
        assert all(a < b for a, b in pairwise(times))
        assert times[0] == found[0].ts_init
    heard.clear()


async def test_what_was_recorded_reaches_the_raw_store(tmp_path: Path) -> None:
    heard.clear()
    root, raw = tmp_path / "recording", tmp_path / "raw"
    await record(root, raw)
    before = list(tape.entries(root))
    done = tape.merge(root, raw)
    assert not done.notes
    assert list(tape.entries(root)) == before, "merging changes nothing of what is read"
    assert not list((root / "segments").iterdir())
    rows = {
        kind: sum(t.num_rows for t in load(raw, kind, "XRPUSDT", "1m" if kind == "klines" else None))
        for kind in ("klines", "agg_trades", "book_ticker", "funding", "open_interest", "ratios", "liquidations")
    }
    assert rows["klines"] == HOUR
    assert rows["liquidations"] == 1
    assert rows["agg_trades"] == sum(isinstance(e, TradeTick) and "XRP" in str(e.instrument_id) for e in events())
    assert all(rows.values()), rows
    bars = [row for table in load(raw, "klines", "XRPUSDT", "1m") for row in table.to_pylist()]
    assert [b["open_time"] for b in bars] == [(START_MS + (HISTORY + n) * STEP_MS) * 1_000_000 for n in range(HOUR)]
    assert all(b["count"] == 100 and b["taker_buy_volume"] == b["volume"] / 2 for b in bars)
    heard.clear()


@pytest.fixture(autouse=True)
def _no_merging_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests merge themselves."""
    monkeypatch.setattr(MarketRecorder, "_merge_later", lambda _self: None)
