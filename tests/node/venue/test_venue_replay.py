"""The lock-step protocol over sockets: nothing moves on before the node has settled."""

import asyncio
import time

import pytest

from node.venue.config import VenueConfig
from tests.node.venue.conftest import make_bars, make_instruments
from tests.node.venue.replay_node import ReplayNode

KLINES = "xrpusdt@kline_15m"


async def until(condition, secs=5.0):
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline, "not within the deadline"
        await asyncio.sleep(0.005)


async def test_every_bar_arrives_once_and_the_replay_ends(start_venue):
    running = await start_venue()
    node = await ReplayNode(running).attach(KLINES)
    await asyncio.wait_for(node.ended.wait(), 10)
    assert [b["t"] for b in node.bars] == running.venue.feed.series["XRPUSDT"].open_ms
    assert all(b["x"] for b in node.bars)
    assert node.welcome["symbols"] == ["XRPUSDT"]
    assert node.welcome["interval_ms"] == 900_000
    assert node.messages[-1]["type"] == "end"
    assert node.messages[-1]["market_time_ms"] == node.bars[-1]["T"] + 1
    barriers = [m for m in node.messages if m["type"] == "barrier"]
    assert [m["bars"] for m in barriers] == list(range(1, len(node.bars) + 1))
    assert (await running.client.books())["state"] == "finished"
    await node.detach()


async def test_orders_sent_on_a_bar_fill_at_its_close_and_stops_before_the_next_bar(start_venue):
    running = await start_venue()
    venue = running.venue

    async def on_bar(kline):
        if len(node.bars) % 4 == 1 and not venue.books.positions["XRPUSDT"].quantity:
            filled = await running.client.order("XRPUSDT", "BUY", "MARKET", "100")
            assert filled["avgPrice"].startswith(kline["c"])
            for kind, factor in (("STOP_MARKET", 0.997), ("TAKE_PROFIT_MARKET", 1.003)):
                await running.client.algo(
                    "XRPUSDT",
                    "SELL",
                    kind,
                    quantity="100",
                    reduceOnly="true",
                    triggerPrice=f"{float(kline['c']) * factor:.4f}",
                )

    async def on_event(event):
        if event["e"] == "ALGO_UPDATE" and event["o"]["X"] == "FINISHED":
            await running.client.call("DELETE", "/fapi/v1/algoOpenOrders", symbol="XRPUSDT")

    node = ReplayNode(running, on_bar, on_event)
    await node.attach(KLINES)
    await asyncio.wait_for(node.ended.wait(), 20)
    books = await running.client.books()
    exits = [f for f in books["fills"] if f["algo_id"]]
    assert len(exits) >= 5
    assert books["rejects"] == []
    assert books["open_algo_orders"] == [] or books["positions"]["XRPUSDT"]["quantity"] != "0.0"
    # Every exit was heard between the bar before the one it happened in and that bar itself.
    finished = [n for n, (what, status) in enumerate(node.order) if (what, status) == ("ALGO_UPDATE", "FINISHED")]
    for position, fill in zip(finished, exits, strict=True):
        bar_before = [t for what, t in node.order[:position] if what == "bar"][-1]
        assert bar_before + 900_000 == fill["market_ms"] - 900_000
    await node.detach()


async def test_the_venue_waits_for_an_answer_and_aborts_when_none_comes(start_venue):
    running = await start_venue({"replay": {"barrier_timeout_secs": 0.4, "mark_price_secs": 0}})
    node = ReplayNode(running)
    node.answering = False
    await node.attach(KLINES)
    await asyncio.wait_for(node.ended.wait(), 5)
    assert len(node.bars) == 1
    assert node.messages[-1]["type"] == "abort"
    assert "did not settle within 0.4 s" in node.messages[-1]["reason"]
    books = await running.client.books()
    assert books["state"] == "aborted"
    assert [i["what"] for i in books["incidents"]] == ["replay_aborted"]
    await node.detach()


async def test_a_request_in_flight_holds_the_barrier(start_venue):
    running = await start_venue()
    release = asyncio.Event()

    async def on_bar(_kline):
        if len(node.bars) == 3:
            await running.client.control("fault", path="/fapi/v1/order", mode="delay", delay_ms=300)
            task = asyncio.create_task(running.client.order("XRPUSDT", "BUY", "MARKET", "100"))
            task.add_done_callback(lambda _: release.set())
            await until(lambda: running.venue.replay._requests == 1)

    node = ReplayNode(running, on_bar)
    await node.attach(KLINES)
    await asyncio.wait_for(release.wait(), 5)
    fill = (await running.client.books())["fills"][0]
    assert fill["price"] == node.bars[2]["c"], "the order sent on bar 3 must fill at its close, however late it arrives"
    await asyncio.wait_for(node.ended.wait(), 10)
    await node.detach()


async def test_losing_the_node_pauses_and_a_new_one_goes_on_with_fresh_counts(start_venue):
    running = await start_venue()

    async def on_bar(_kline):
        if len(node.bars) == 10:
            node.answering = False

    node = ReplayNode(running, on_bar)
    await node.attach(KLINES)
    await until(lambda: len(node.bars) == 10)
    await node.detach()
    await until(lambda: running.venue.replay.state == "paused")
    history = await running.client.call("GET", "/fapi/v1/klines", signed=False, symbol="XRPUSDT", interval="15m")
    assert len(history) == 10, "the bar published last is history for the next node"
    second = await ReplayNode(running).attach(KLINES)
    await asyncio.wait_for(second.ended.wait(), 10)
    assert next(m["bars"] for m in second.messages if m["type"] == "barrier") == 1
    assert len(second.bars) == 40
    await second.detach()


async def test_losing_the_node_may_leave_the_market_running(start_venue):
    running = await start_venue({"replay": {"on_node_loss": "continue", "mark_price_secs": 0}})

    async def on_bar(_kline):
        if len(node.bars) == 5:
            node.answering = False

    node = ReplayNode(running, on_bar)
    await node.attach(KLINES)
    await until(lambda: len(node.bars) == 5)
    await node.detach()
    await asyncio.wait_for(running.venue.replay.finished.wait(), 5)
    assert running.venue.replay.bars == 50


async def test_a_second_node_is_turned_away(start_venue):
    running = await start_venue()
    node = await ReplayNode(running).attach(KLINES, ready=False)
    await until(lambda: bool(node.welcome))
    other = await running.session.ws_connect(f"{running.ws}/argonaut/replay")
    await other.send_json({"type": "hello", "node": "second"})
    message = await other.receive(timeout=5)
    assert message.extra == "another node is attached"
    await node.detach()


@pytest.mark.parametrize("hard", [False, True])
async def test_a_dropped_user_stream_does_not_stall_the_barrier(start_venue, hard):
    running = await start_venue()

    async def on_bar(_kline):
        if len(node.bars) == 5:
            await running.client.order("XRPUSDT", "BUY", "MARKET", "100")
            await running.client.control("drop_user_stream", hard=hard)
        if len(node.bars) == 8:
            await running.client.order("XRPUSDT", "SELL", "MARKET", "100")

    node = ReplayNode(running, on_bar)
    await node.attach(KLINES)
    await asyncio.wait_for(node.ended.wait(), 10)
    assert len(node.bars) == 50
    assert len((await running.client.books())["fills"]) == 2
    await node.detach()


async def test_free_run_step_speed_and_pause(start_venue):
    running = await start_venue({"replay": {"start": "on_node", "mark_price_secs": 0}})
    client, replay = running.client, running.venue.replay
    await client.control("step", count=3)
    await until(lambda: replay.state == "paused")
    assert replay.bars == 3
    await client.control("speed", speed=100)
    began = time.monotonic()
    await client.control("resume")
    await until(lambda: replay.bars >= 23)
    assert time.monotonic() - began >= 0.18
    await client.control("pause")
    held = replay.bars
    for _ in range(30):  # at 100 bars/s a market that went on would be seen moving
        await client.call("GET", "/fapi/v1/ping", signed=False)
    assert replay.bars <= held + 1
    await client.control("speed", speed=0)
    await client.control("resume")
    await asyncio.wait_for(replay.finished.wait(), 5)
    assert replay.bars == 50


async def test_klines_never_show_what_market_time_has_not_closed(start_venue):
    running = await start_venue(history=20)
    client = running.client
    seen = await client.call("GET", "/fapi/v1/klines", signed=False, symbol="XRPUSDT", interval="15m", limit=1500)
    assert len(seen) == 20
    assert seen[-1][6] + 1 == running.venue.clock.market_ms
    hours = await client.call("GET", "/fapi/v1/klines", signed=False, symbol="XRPUSDT", interval="1h")
    assert len(hours) == 5
    assert hours[0][2] == max(r[2] for r in seen[:4])
    assert hours[0][6] == seen[3][6]
    peeks = []

    async def on_event(event):
        if event["e"] == "ORDER_TRADE_UPDATE" and event["o"]["X"] == "FILLED":
            rows = await client.call("GET", "/fapi/v1/klines", signed=False, symbol="XRPUSDT", interval="15m")
            peeks.append((len(rows), 20 + len(node.bars)))

    async def on_bar(kline):
        if len(node.bars) % 5 == 0:
            await client.order("XRPUSDT", "BUY", "MARKET", "100")
            await client.algo(
                "XRPUSDT", "SELL", "STOP_MARKET", quantity="100", triggerPrice=f"{float(kline['c']) * 0.999:.4f}"
            )

    node = ReplayNode(running, on_bar, on_event)
    await node.attach(KLINES)
    await asyncio.wait_for(node.ended.wait(), 10)
    assert len(peeks) >= 6
    assert all(rows == published for rows, published in peeks), "a fill inside a bar must not reveal that bar"
    await node.detach()


async def trade_through(start_venue):
    """One replay with orders on bars and reactions to fills; returns the books without wall times."""
    running = await start_venue({"data": {"symbols": ["BTCUSDT", "XRPUSDT"]}, "replay": {"mark_price_secs": 0}})

    async def on_bar(kline):
        if kline["s"] == "XRPUSDT" and len(node.bars) % 6 == 0:
            await running.client.order("XRPUSDT", "BUY", "MARKET", "100", newClientOrderId=f"e{len(node.bars)}")
            await running.client.algo(
                "XRPUSDT", "SELL", "STOP_MARKET", quantity="100", triggerPrice=f"{float(kline['c']) * 0.996:.4f}"
            )

    node = ReplayNode(running, on_bar)
    await node.attach("btcusdt@kline_15m", KLINES)
    await asyncio.wait_for(node.ended.wait(), 10)
    await node.detach()
    books = await running.client.books()
    assert node.order[0][0] == "bar"
    return without_wall_times({k: books[k] for k in ("wallet", "fills", "orders", "algo_orders", "timeline")})


def without_wall_times(value):
    if isinstance(value, dict):
        return {k: without_wall_times(v) for k, v in value.items() if k not in ("wall_ms", "created_ms", "updated_ms")}
    return [without_wall_times(v) for v in value] if isinstance(value, list) else value


async def test_the_same_input_gives_the_same_books_ids_included(start_venue):
    one = await trade_through(start_venue)
    other = await trade_through(start_venue)
    assert one == other
    assert len(one["fills"]) > 10


async def test_symbols_are_published_in_configured_order_and_missing_bars_are_skipped(start_venue):
    instruments = make_instruments(VenueConfig())
    bars = {s: make_bars(s, instruments[s], 12, 3) for s in ("ETHUSDT", "BTCUSDT")}
    del bars["BTCUSDT"][4]
    running = await start_venue(
        {"data": {"symbols": ["ETHUSDT", "BTCUSDT"]}, "replay": {"mark_price_secs": 0}}, bars=bars
    )
    node = await ReplayNode(running).attach("btcusdt@kline_15m", "ethusdt@kline_15m")
    await asyncio.wait_for(node.ended.wait(), 10)
    expected = sorted((b.open_ms, order, s) for order, s in enumerate(("ETHUSDT", "BTCUSDT")) for b in bars[s])
    assert [(k["t"], k["s"]) for k in node.bars] == [(t, s) for t, _, s in expected]
    await node.detach()


async def test_a_bar_lost_on_the_way_is_told_and_does_not_stall(start_venue):
    running = await start_venue()

    async def on_bar(_kline):
        if len(node.bars) == 5:
            node.lose_next = True

    node = ReplayNode(running, on_bar)
    await node.attach(KLINES)
    await asyncio.wait_for(node.ended.wait(), 10)
    gaps = [i for i in (await running.client.books())["incidents"] if i["what"] == "stream_gap"]
    assert [(g["bars"], g["user_events"]) for g in gaps] == [(1, 0)]
    assert len(node.bars) == 49
    await node.detach()
