"""The replay barrier against a hand-written venue that asks and checks."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import OrderAccepted, OrderSubmitted
from nautilus_trader.model.identifiers import AccountId, ClientOrderId, InstrumentId, StrategyId, TraderId, VenueOrderId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.model.orders import MarketOrder

from node.binance.barrier import ReplayBarrier, ReplayOutcome, ReplayResult

BAR_TYPE = BarType.from_str("XRPUSDT-PERP.BINANCE-15-MINUTE-LAST-EXTERNAL")
DEADLINE_SECS = 5.0


class Venue:
    """The venue's end of the replay socket, driven by the test."""

    def __init__(self) -> None:
        self.connections = 0
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._ws: web.WebSocketResponse | None = None

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.connections += 1
        self._ws = ws
        async for frame in ws:
            if frame.type is WSMsgType.TEXT:
                message = json.loads(frame.data)
                if message["type"] == "hello":
                    await self.say(type="welcome", session="s", market_time_ms=0, interval_ms=900_000, symbols=["X"])
                self.heard.put_nowait(message)
        return ws

    async def say(self, **message: Any) -> None:
        assert self._ws is not None
        await self._ws.send_str(json.dumps(message))

    async def hang_up(self) -> None:
        assert self._ws is not None
        await self._ws.close()

    async def next(self, secs: float = DEADLINE_SECS) -> dict[str, Any]:
        return await asyncio.wait_for(self.heard.get(), secs)

    async def silent(self, secs: float = 0.1) -> bool:
        try:
            await self.next(secs)
        except TimeoutError:
            return True
        return False


class Replay:
    """A barrier of a real node's buses and engines, with the conditions in the test's hands."""

    def __init__(self, node: TradingNode, venue: Venue, url: str, timeout_secs: float) -> None:
        self.node = node
        self.venue = venue
        self.ready = True
        self.idle = True
        self.results: list[ReplayResult] = []
        self.barrier = ReplayBarrier(
            node,
            url,
            is_ready=lambda: self.ready,
            is_idle=lambda: self.idle,
            on_end=self.results.append,
            timeout_secs=timeout_secs,
            ready_timeout_secs=timeout_secs,
        )
        self.client = next(iter(node.kernel.exec_engine._clients.values()))
        self.task = self.barrier.start()

    def bar(self, bar_type: BarType = BAR_TYPE) -> None:
        price = Price.from_str("2.5000")
        bar = Bar(bar_type, price, price, price, price, Quantity.from_int(1), 900_000_000_000, 900_000_000_000)
        self.node.kernel.msgbus.publish(f"data.bars.{bar_type}", bar)

    def order(self) -> MarketOrder:
        order = MarketOrder(
            TraderId("TRADER-001"),
            StrategyId("S-001"),
            InstrumentId.from_str("XRPUSDT-PERP.BINANCE"),
            ClientOrderId(f"O-{UUID4()}"),
            OrderSide.BUY,
            Quantity.from_int(1),
            UUID4(),
            0,
        )
        self.node.kernel.msgbus.publish("events.order.S-001", order.init_event)
        self.node.kernel.cache.add_order(order)
        return order

    def advance(self, order: MarketOrder, kind: type, **extra: Any) -> None:
        event = kind(
            trader_id=order.trader_id,
            strategy_id=order.strategy_id,
            instrument_id=order.instrument_id,
            client_order_id=order.client_order_id,
            account_id=AccountId("BINANCE-1"),
            event_id=UUID4(),
            ts_event=0,
            ts_init=0,
            **extra,
        )
        order.apply(event)
        self.node.kernel.msgbus.publish("events.order.S-001", event)

    async def ended(self) -> ReplayResult:
        await asyncio.wait_for(asyncio.shield(self.task), DEADLINE_SECS)
        (result,) = self.results
        return result


@asynccontextmanager
async def replaying(node: TradingNode, timeout_secs: float = DEADLINE_SECS) -> AsyncIterator[Replay]:
    venue = Venue()
    app = web.Application()
    app.router.add_get("/argonaut/replay", venue.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"ws://127.0.0.1:{runner.addresses[0][1]}/argonaut/replay"
    replay = Replay(node, venue, url, timeout_secs)
    try:
        yield replay
    finally:
        await replay.barrier.stop()
        await runner.cleanup()


async def greeted(replay: Replay) -> None:
    assert (await replay.venue.next())["type"] == "hello"
    assert await replay.venue.next() == {"type": "ready"}


async def test_ready_waits_for_warm_up(built_node: TradingNode) -> None:
    async with replaying(built_node) as replay:
        replay.ready = False
        assert (await replay.venue.next())["type"] == "hello"
        assert await replay.venue.silent()
        replay.ready = True
        assert await replay.venue.next() == {"type": "ready"}


async def test_counts_start_at_ready_and_both_must_be_reached(built_node: TradingNode) -> None:
    async with replaying(built_node) as replay:
        replay.bar()  # before ready: not counted
        replay.client.user_messages += 3
        await greeted(replay)
        await replay.venue.say(type="barrier", id=1, bars=2, user_events=1)
        replay.bar()
        assert await replay.venue.silent()
        replay.bar()
        assert await replay.venue.silent()
        replay.client.user_messages += 1
        assert await replay.venue.next() == {"type": "ack", "id": 1, "bars": 2, "user_events": 1}
        await replay.venue.say(type="barrier", id=2, bars=2, user_events=1)
        assert await replay.venue.next() == {"type": "ack", "id": 2, "bars": 2, "user_events": 1}
        await replay.venue.say(type="end", market_time_ms=77)
        result = await replay.ended()
    assert (result.outcome, result.market_time_ms, result.barriers) == (ReplayOutcome.FINISHED, 77, 2)


async def test_bars_the_node_makes_itself_do_not_count(built_node: TradingNode) -> None:
    async with replaying(built_node) as replay:
        await greeted(replay)
        await replay.venue.say(type="barrier", id=1, bars=1, user_events=0)
        replay.bar(BarType.from_str("XRPUSDT-PERP.BINANCE-1-HOUR-LAST-INTERNAL"))
        assert await replay.venue.silent()
        replay.bar()
        assert (await replay.venue.next())["id"] == 1


async def test_an_order_without_final_answer_holds_the_barrier_from_its_first_moment(built_node: TradingNode) -> None:
    async with replaying(built_node) as replay:
        await greeted(replay)
        order = replay.order()
        await replay.venue.say(type="barrier", id=1, bars=0, user_events=0)
        assert await replay.venue.silent()
        replay.advance(order, OrderSubmitted)
        assert await replay.venue.silent()
        replay.advance(order, OrderAccepted, venue_order_id=VenueOrderId("1"))
        assert (await replay.venue.next())["id"] == 1


@pytest.mark.parametrize("busy", ["data", "risk", "execution", "pending work", "component"])
async def test_nothing_may_be_moving(built_node: TradingNode, busy: str) -> None:
    async with replaying(built_node) as replay:
        await greeted(replay)
        kernel = built_node.kernel
        release: Callable[[], object]
        if busy == "pending work":
            replay.client.pending_work += 1
            release = lambda: setattr(replay.client, "pending_work", 0)  # noqa: E731 - one line, used once
        elif busy == "component":
            replay.idle = False
            release = lambda: setattr(replay, "idle", True)  # noqa: E731 - as above
        else:
            # The engines do not run here, so what is on a queue stays on it.
            queue = {
                "data": lambda: kernel.data_engine._data_queue,
                "risk": lambda: kernel.risk_engine._evt_queue,
                "execution": lambda: kernel.exec_engine._evt_queue,
            }[busy]()
            queue.put_nowait(object())
            release = queue.get_nowait
        await replay.venue.say(type="barrier", id=1, bars=0, user_events=0)
        assert await replay.venue.silent()
        release()
        assert (await replay.venue.next())["id"] == 1


@pytest.mark.parametrize("stream", ["user", "market"])
async def test_what_died_with_a_socket_is_not_waited_for_and_named_in_the_answer(
    built_node: TradingNode, stream: str
) -> None:
    async with replaying(built_node) as replay:
        await greeted(replay)
        data = next(iter(built_node.kernel.data_engine._clients.values()))
        replay.client.user_messages += 3
        replay.bar()
        bars, events = (1, 5) if stream == "user" else (2, 3)
        await replay.venue.say(type="barrier", id=1, bars=bars, user_events=events)
        assert await replay.venue.silent()
        replay.client.pending_work += 1  # reconciliation
        if stream == "user":
            replay.client.stream_gaps += 1
        else:
            data.market_gaps += 1
        assert await replay.venue.silent()
        replay.client.pending_work -= 1
        assert await replay.venue.next() == {"type": "ack", "id": 1, "bars": 1, "user_events": 3}
        # One gap excuses one barrier only.
        await replay.venue.say(type="barrier", id=2, bars=2, user_events=4)
        replay.bar()
        assert await replay.venue.silent()
        replay.client.user_messages += 1
        assert await replay.venue.next() == {"type": "ack", "id": 2, "bars": 2, "user_events": 4}


@pytest.mark.parametrize("ending", ["abort", "hang up", "never asked", "garbage"])
async def test_every_other_ending_is_told(built_node: TradingNode, ending: str) -> None:
    async with replaying(built_node, timeout_secs=0.5) as replay:
        await greeted(replay)
        if ending == "abort":
            await replay.venue.say(type="abort", reason="no acknowledgement")
            expected, words = ReplayOutcome.ABORTED, "no acknowledgement"
        elif ending == "hang up":
            await replay.venue.hang_up()
            expected, words = ReplayOutcome.LOST, "closed the connection"
        elif ending == "garbage":
            await replay.venue.say(hello="?")
            expected, words = ReplayOutcome.LOST, "not a replay message"
        else:
            await replay.venue.say(type="barrier", id=9, bars=3, user_events=0)
            expected, words = ReplayOutcome.TIMED_OUT, "barrier 9 took longer than 0.5 s: 3 of 3 bars"
        result = await replay.ended()
    assert result.outcome is expected
    assert words in result.detail


async def test_no_venue_is_told_too(built_node: TradingNode) -> None:
    results: list[ReplayResult] = []
    barrier = ReplayBarrier(
        built_node, "ws://127.0.0.1:1/argonaut/replay", is_ready=lambda: True, on_end=results.append
    )
    await asyncio.wait_for(barrier.start(), DEADLINE_SECS)
    assert [r.outcome for r in results] == [ReplayOutcome.LOST]
