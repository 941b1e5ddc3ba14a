"""Scenarios, stream faults, and books that survive a kill of the venue."""

import asyncio
import json
import sys
import time
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from node.venue.control import run_action
from node.venue.scenario import parse_scenario
from node.venue.state import Keeper, restore
from node.venue.venue import Venue
from strategies.errors import ArgonautError
from tests.node.venue.conftest import SignedClient

ROOT = Path(__file__).resolve().parents[3]
ORDER = {"symbol": "XRPUSDT", "side": "BUY", "type": "MARKET", "quantity": "100"}


async def until(condition, secs=5.0):
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


async def test_steps_run_at_bars_times_events_and_requests(venue):
    client = venue.client
    steps = [
        {"at": {"bar": 3}, "action": "order", "params": {**ORDER, "newClientOrderId": "human"}},
        {"at": {"time": "2025-09-01T01:15:00Z"}, "action": "price", "symbol": "XRPUSDT", "price": "1.0", "gap": True},
        {"at": {"event": "ORDER_TRADE_UPDATE", "status": "FILLED", "count": 2}, "action": "skew", "ms": 70},
        {"at": {"request": "GET /fapi/v1/time", "count": 2}, "action": "maintenance", "on": True},
    ]
    await client.control("scenario", steps=steps)
    await client.control("step", count=2)
    await until(lambda: venue.venue.replay.state == "paused")
    assert not venue.venue.books.fills
    await client.control("step", count=1)
    await until(lambda: venue.venue.replay.state == "paused")
    bars = venue.venue.feed.series["XRPUSDT"].bars
    (fill,) = venue.venue.books.fills
    assert fill.price == bars[1].close, "before the third bar the last price is the second's close"
    await client.control("step", count=2)
    await until(lambda: venue.venue.replay.state == "paused")
    assert venue.venue.clock.skew_ms == 0
    await client.call("POST", "/fapi/v1/order", **{**ORDER, "side": "SELL", "reduceOnly": "true"})
    await until(lambda: venue.venue.clock.skew_ms == 70)
    await client.call("GET", "/fapi/v1/time", signed=False)
    assert not venue.venue.maintenance
    await client.call("GET", "/fapi/v1/time", signed=False)
    await until(lambda: venue.venue.maintenance)
    assert [(s["done"], s["error"]) for s in (await client.books())["scenario"]] == [(True, "")] * 4


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({}, "a list of steps"),
        ([{"action": "pause"}], "step 1: needs `at`"),
        ([{"at": {"bar": 1}, "action": "explode"}], "unknown action 'explode'"),
        ([{"at": {"bar": 1, "event": "X"}, "action": "pause"}], "exactly one of"),
        ([{"at": {"time": "soon"}, "action": "pause"}], "not an ISO-8601 time"),
        ([{"at": {"minute": 1}, "action": "pause"}], "minute"),
    ],
)
def test_a_bad_scenario_is_refused_by_name(tree, words):
    with pytest.raises(ArgonautError, match=words):
        parse_scenario(tree, "scenario.yaml", {"pause"})


@pytest.mark.parametrize(("mode", "seen"), [("missing", 1), ("duplicate", 3), ("late", 2)])
async def test_closed_klines_are_lost_doubled_or_late(venue, mode, seen):
    stream = await venue.market_stream("xrpusdt@kline_15m")
    await venue.client.control("kline_fault", mode=mode, delay_ms=300)
    await venue.client.control("step", count=2)
    opens = []
    while True:
        try:
            opens.append(json.loads(await stream.ws.receive_str(timeout=0.8))["data"]["k"]["t"])
        except TimeoutError:
            break
    assert len(opens) == seen
    assert (opens == sorted(opens)) == (mode != "late")


async def test_a_half_open_stream_is_silent_and_stays_up(venue):
    await venue.client.control("price", symbol="XRPUSDT", price="2.5000")
    stream = await venue.user_stream()
    await venue.client.control("half_open", streams="user", secs=0.5)
    await venue.client.call("POST", "/fapi/v1/order", **ORDER)
    with pytest.raises(TimeoutError):
        await stream.ws.receive(timeout=0.3)
    assert not stream.ws.closed
    await until(lambda: not venue.venue.users.connections[0].muted)
    await venue.client.call("POST", "/fapi/v1/order", **ORDER, newClientOrderId="later")
    first = await stream.until(lambda _: True)
    assert first["o"]["c"] == "later", "what was sent into the dark is lost"


async def test_delayed_events_arrive_after_later_ones(venue):
    await venue.client.control("price", symbol="XRPUSDT", price="2.5000")
    stream = await venue.user_stream()
    await venue.client.control("event_fault", event="ORDER_TRADE_UPDATE", status="NEW", mode="delay", delay_ms=100)
    await venue.client.call("POST", "/fapi/v1/order", **ORDER)
    await stream.until(lambda m: m.get("o", {}).get("X") == "NEW")
    assert [m.get("o", {}).get("X", m["e"]) for m in stream.seen] == ["ACCOUNT_UPDATE", "FILLED", "NEW"]


async def test_a_trickling_answer_is_slow_and_whole(venue):
    await venue.client.control("fault", path="/fapi/v1/time", mode="trickle", piece=5, answer_delay_ms=40)
    began = time.monotonic()
    answer = await venue.client.call("GET", "/fapi/v1/time", signed=False)
    assert answer["serverTime"] > 0
    assert time.monotonic() - began > 0.15


async def test_connections_are_refused_for_a_while(venue):
    await venue.client.control("refuse_connections", secs=0.5)

    async def probe():
        async with aiohttp.ClientSession() as fresh, fresh.get(f"{venue.http}/fapi/v1/time") as response:
            return response.status

    refused = False
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            status = await probe()
        except aiohttp.ClientConnectorError:
            refused = True
        else:
            if refused:
                break
        await asyncio.sleep(0.02)
    assert refused
    assert status == 200


async def test_funding_transfer_and_a_changed_margin_type_by_hand(venue):
    client = venue.client
    await client.control("price", symbol="XRPUSDT", price="2.5000")
    await client.call("POST", "/fapi/v1/order", **ORDER)
    before = venue.venue.books.wallet
    await client.control("funding", symbol="XRPUSDT", rate="0.001")
    assert venue.venue.books.wallet == before - Decimal("0.25")
    await client.control("transfer", amount="-100")
    assert venue.venue.books.wallet == before - Decimal("100.25")
    await client.control("margin_type", symbol="XRPUSDT", margin_type="ISOLATED")
    (row,) = await client.call("GET", "/fapi/v3/positionRisk")
    assert row["isolatedWallet"] == "12.50000000"


async def test_a_restored_venue_goes_on_where_the_saved_one_was(start_venue, tmp_path):
    path = tmp_path / "state.json"
    first = await start_venue(history=5)
    first.venue.keeper = Keeper(first.venue, path)
    client = first.client
    await client.control("step", count=4)
    await until(lambda: first.venue.replay.state == "paused")
    await client.call("POST", "/fapi/v1/order", **ORDER)
    price = first.venue.engine.prices["XRPUSDT"]
    trigger = (price * Decimal("0.5")).quantize(Decimal("0.0001"))
    await client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity="100", triggerPrice=str(trigger), reduceOnly="true")
    await client.call("POST", "/fapi/v1/leverage", symbol="XRPUSDT", leverage=7)
    again = Venue(
        first.venue.config,
        first.venue.instruments,
        type(first.venue.feed)(
            first.venue.instruments,
            {"XRPUSDT": first.venue.feed.series["XRPUSDT"].bars},
            "15m",
            first.venue.feed.start_ms,
            {},
        ),
    )
    assert restore(again, path)
    old, new = first.venue, again
    assert (new.session, new.clock.market_ms, new.replay.bars) == (old.session, old.clock.market_ms, 4)
    assert new.books.wallet == old.books.wallet
    assert new.books.positions == old.books.positions
    assert new.books.positions["XRPUSDT"].leverage == 7
    assert new.books.open_algos == old.books.open_algos
    assert new.books.fills == old.books.fills
    assert new.books.numbers() == old.books.numbers()
    assert new.engine.prices == old.engine.prices
    assert next(new.feed.steps())[0] == old.clock.market_ms + old.feed.step_ms
    await run_action(new, {"action": "price", "symbol": "XRPUSDT", "price": str(trigger / 2)})
    assert new.books.positions["XRPUSDT"].quantity == 0


@asynccontextmanager
async def venue_process(folder, *arguments):
    command = [sys.executable, "-m", "node.venue", "--config", str(folder / "venue.yaml"), *arguments]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        async with aiohttp.ClientSession() as session:
            yield process, ready, SignedClient(session, ready["http"])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_venue_killed_in_the_middle_comes_back_with_session_books_and_market(tmp_path):
    (tmp_path / "venue.yaml").write_text(
        f"data: {{catalog: {tmp_path / 'catalog'}, symbols: [XRPUSDT], history_bars: 10}}\n"
        "replay: {mark_price_secs: 0}\n"
    )
    (tmp_path / "scenario.yaml").write_text(
        "- at: {bar: 2}\n  action: order\n  params: {symbol: XRPUSDT, side: BUY, type: MARKET, quantity: 100}\n"
    )
    state = ("--state", str(tmp_path / "state" / "venue.json"))
    async with venue_process(tmp_path, *state, "--scenario", str(tmp_path / "scenario.yaml")) as running:
        process, first, client = running
        await client.control("step", count=3)
        deadline = time.monotonic() + 10
        while (await client.books())["state"] != "paused":
            assert time.monotonic() < deadline
        price = Decimal((await client.books())["prices"]["XRPUSDT"])
        trigger = str((price / 2).quantize(Decimal("0.0001")))
        await client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity="100", triggerPrice=trigger, reduceOnly="true")
        before = await client.books()
        process.kill()
        await process.wait()
    async with venue_process(tmp_path, *state) as (_, second, client):
        after = await client.books()
        assert second["session"] == first["session"]
        for key in ("wallet", "positions", "open_algo_orders", "fills", "market_time_ms", "bars", "prices", "timeline"):
            assert after[key] == before[key], key
        rows = await client.call("GET", "/fapi/v1/klines", signed=False, symbol="XRPUSDT", interval="15m", limit=1)
        assert rows[0][6] + 1 == before["market_time_ms"]
        await client.control("step", count=1)
        deadline = time.monotonic() + 10
        while (await client.books())["bars"] == before["bars"]:
            assert time.monotonic() < deadline
        assert (await client.books())["market_time_ms"] == before["market_time_ms"] + 900_000
