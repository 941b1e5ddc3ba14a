"""
The replay: bars in market time, one after the other, in lock-step with a node if one is attached.

For every symbol of a time step, in configured order: advance the market clock; walk the bar (triggers, fills, user
events) and settle funding due at its close, without interruption; barrier if the user stream got anything; make the bar
public and publish its closed kline, then its mark price; barrier. See `knowledge/replay-on-live-node.md` §2.1 for why
nothing less is exact.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from node.venue.config import ReplayConfig
from node.venue.feed import Feed
from node.venue.matching import MatchingEngine
from node.venue.publisher import Publisher
from node.venue.streams import MarketStreams
from node.venue.user_stream import UserStreams

_encode = msgspec.json.encode


class ReplayAbortedError(Exception):
    """A barrier was not answered in time: going on would fake a result."""


class _Plugin:
    """The node's end of the barrier protocol: one WebSocket."""

    def __init__(self, socket: web.WebSocketResponse, node: str) -> None:
        self.socket = socket
        self.node = node
        self.ready = False
        self.answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.gone = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self.socket.send_str(_encode(message).decode())


class Replay:
    """
    Drives the market.

    Attributes
    ----------
    state : str
        ``waiting`` (for the first node), ``running``, ``paused``, ``finished``, ``aborted``, ``stopped``.
    speed : float
        Bars per second and symbol; 0 is unpaced. May change while running.
    bars : int
        Bars walked so far, all symbols.
    requests : int
        REST requests being executed right now.
    walked : dict[str, int]
        Bars of each symbol that have been walked, history counted.
    before_bar : list[Callable]
        Awaited with the close (UTC ms) of every bar before it is walked.

    """

    def __init__(
        self,
        config: ReplayConfig,
        feed: Feed,
        engine: MatchingEngine,
        markets: MarketStreams,
        users: UserStreams,
        session: str,
    ) -> None:
        self.state = "waiting" if config.start == "on_node" else "running"
        self.speed = config.speed
        self.bars = 0
        self.barriers = 0
        self.reason = ""
        self.publisher = Publisher(feed, engine, markets)
        self._config = config
        self._feed = feed
        self._engine = engine
        self._markets = markets
        self._users = users
        self.session = session
        self._requests = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._changed = asyncio.Event()
        self._plugin: _Plugin | None = None
        self._steps_left = 0
        self._base_bars = 0
        self._base_users = 0
        self._seen_bars = 0
        self._seen_users = 0
        self._next_at = 0.0
        self.finished = asyncio.Event()
        self.keep: Callable[[], None] = lambda: None
        self.walked: dict[str, int] = {}
        self.before_bar: list[Callable[[int], Awaitable[None]]] = []
        users.on_loss = self._forget_user_events

    # -- control -------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Hold before the next bar."""
        self.reason = ""  # asked for: a node that comes back does not end it
        if self.state in ("running", "waiting"):
            self._set("paused")

    def resume(self) -> None:
        """Go on; also starts a replay that waits for a node."""
        if self.state in ("paused", "waiting"):
            self._steps_left = 0
            self._next_at = 0.0
            self._set("running")

    def step(self, count: int = 1) -> None:
        """Replay `count` time steps, then pause."""
        if self.state in ("paused", "waiting"):
            self._steps_left = count
            self._next_at = 0.0
            self._set("running")

    def set_speed(self, speed: float) -> None:
        """Change the pace, effective at once."""
        self.speed = speed
        self._next_at = 0.0
        self._changed.set()

    def stop(self) -> None:
        """End the replay for good; the books stay readable."""
        if self.state not in ("finished", "aborted"):
            self._set("stopped")

    def request_began(self) -> None:
        """Count a REST request in."""
        self._requests += 1
        self._quiet.clear()

    def request_ended(self) -> None:
        """Count a REST request out."""
        self._requests -= 1
        if not self._requests:
            self._quiet.set()

    @property
    def node(self) -> str:
        """Identifier of the attached node, empty if none is ready."""
        return self._plugin.node if self._plugin is not None and self._plugin.ready else ""

    # -- the loop ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Replay everything; returns when the data end, the replay is stopped, or a barrier times out."""
        try:
            for close_ms, step in self._feed.steps():
                await self._pace()
                for symbol, index in step:
                    await self._may_go()
                    if self.state == "stopped":
                        return
                    await self._bar(symbol, index, close_ms)
                if self._steps_left:
                    self._steps_left -= 1
                    if not self._steps_left:
                        self.reason = ""  # a node lost during the last step must not set the market going again
                        self._set("paused")
            await self._may_go()
            self._set("finished")
            if self._plugin is not None and self._plugin.ready:
                await self._plugin.send(self._end())
        except ReplayAbortedError as e:
            await self._abort(str(e))
        except Exception as e:
            await self._abort(f"the venue failed: {e!r}")
            raise
        finally:
            self.finished.set()

    async def _abort(self, reason: str) -> None:
        self.reason = reason
        self._engine.books.incident("replay_aborted", reason=reason)
        self._set("aborted")
        if self._plugin is not None:
            await self._plugin.send({"type": "abort", "reason": reason})

    async def _bar(self, symbol: str, index: int, close_ms: int) -> None:
        for hook in self.before_bar:
            await hook(close_ms)
        clock = self._engine.books.clock
        before = self._users.delivered
        clock.advance(close_ms)
        self._engine.walk(symbol, self._feed.path(symbol, index))
        bar = self._feed.bar(symbol, index)
        for _, rate in self._feed.settlements(symbol, self._feed.previous_close_ms(symbol, index), close_ms):
            self._engine.settlement.fund(symbol, rate, bar.close)
        self.walked[symbol] = index + 1
        self.publisher.path(symbol)
        self.bars += 1
        self.keep()
        if self._users.delivered != before:
            await self._barrier()
        self._feed.reveal(symbol, index)
        self.keep()
        self.publisher.closed(symbol, bar)
        await self._barrier()

    async def _pace(self) -> None:
        await self._may_go()
        while self.speed > 0 and self.state == "running":
            wait = self._next_at - time.monotonic()
            if wait <= 0:
                break
            self._changed.clear()  # a new speed or a pause takes effect at once, not after the wait of the old speed
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)
        self._next_at = max(self._next_at, time.monotonic()) + 1.0 / self.speed if self.speed > 0 else 0.0

    async def _may_go(self) -> None:
        while self.state in ("paused", "waiting") or (self._plugin is not None and not self._plugin.ready):
            if self.state == "stopped":
                return
            self._changed.clear()
            await self._changed.wait()

    async def _barrier(self) -> None:
        plugin = self._plugin
        if plugin is None or not plugin.ready:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(self._config.barrier_timeout_secs):
                await self._settle(plugin)
        except TimeoutError:
            raise ReplayAbortedError(
                f"node {plugin.node!r} did not settle within {self._config.barrier_timeout_secs:g} s after bar "
                f"{self.bars} ({self._requests} REST requests in flight)",
            ) from None
        self._seen_bars = self._markets.closed_klines
        self._seen_users = self._users.delivered

    async def _settle(self, plugin: _Plugin) -> None:
        while not plugin.gone.is_set():
            await self._quiet.wait()
            emitted = self._users.delivered
            published = self._markets.closed_klines
            self.barriers += 1
            number = self.barriers
            await plugin.send(
                {
                    "type": "barrier",
                    "id": number,
                    "bars": published - self._base_bars,
                    "user_events": emitted - self._base_users,
                },
            )
            answer = await self._answer(plugin, number)
            if answer is None:
                return
            if self._requests or self._users.delivered != emitted:
                continue
            self._recount(published, emitted, answer)
            return

    def _recount(self, published: int, emitted: int, answer: dict[str, Any]) -> None:
        """Take the node's word for what has arrived for good: after a lost connection less, or more, than counted."""
        bars, events = published - self._base_bars, emitted - self._base_users
        seen_bars, seen_events = int(answer.get("bars", bars)), int(answer.get("user_events", events))
        if seen_bars < bars or seen_events < events:
            self._engine.books.incident("stream_gap", bars=bars - seen_bars, user_events=events - seen_events)
        self._base_bars, self._base_users = published - seen_bars, emitted - seen_events

    async def _answer(self, plugin: _Plugin, number: int) -> dict[str, Any] | None:
        gone = asyncio.create_task(plugin.gone.wait())
        try:
            while True:
                getter = asyncio.create_task(plugin.answers.get())
                done, _ = await asyncio.wait((getter, gone), return_when=asyncio.FIRST_COMPLETED)
                if getter not in done:
                    getter.cancel()
                    return None
                answer = getter.result()
                if answer.get("id") == number:
                    return answer
        finally:
            gone.cancel()

    # -- the node's end ------------------------------------------------------------------------------------------------

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Serve ``/argonaut/replay``: one node at a time."""
        ws = (
            web.WebSocketResponse()
        )  # no heartbeat: a node that computes for long is late, which barriers judge, not gone
        await ws.prepare(request)
        plugin: _Plugin | None = None
        try:
            async for message in ws:
                if message.type is not WSMsgType.TEXT:
                    continue
                body = msgspec.json.decode(message.data, type=dict[str, Any])
                match body.get("type"):
                    case "hello" if self._plugin is not None and plugin is None:
                        await ws.close(code=WSCloseCode.POLICY_VIOLATION, message=b"another node is attached")
                    case "hello":
                        plugin = self._plugin = _Plugin(ws, str(body.get("node", "")))
                        await plugin.send(self._welcome())
                    case "ready" if plugin is not None:
                        await self._ready(plugin)
                    case "ack" if plugin is not None:
                        plugin.answers.put_nowait(body)
        except msgspec.DecodeError:
            await ws.close(code=WSCloseCode.INVALID_TEXT, message=b"not a JSON object")
        finally:
            if plugin is not None:
                self._lost(plugin)
        return ws

    async def _ready(self, plugin: _Plugin) -> None:
        self._base_bars = self._seen_bars = self._markets.closed_klines
        self._base_users = self._seen_users = self._users.delivered
        plugin.ready = True
        if self.state == "waiting" or (self.state == "paused" and self.reason == "node lost"):
            self.reason = ""
            self._next_at = 0.0
            self._set("running")
        self._changed.set()
        if self.state == "finished":
            await plugin.send(self._end())
        elif self.state == "aborted":
            await plugin.send({"type": "abort", "reason": self.reason})

    def _lost(self, plugin: _Plugin) -> None:
        plugin.gone.set()
        if self._plugin is not plugin:
            return
        self._plugin = None
        if plugin.ready and self.state == "running" and self._config.on_node_loss == "pause":
            self.reason = "node lost"
            self._set("paused")
        self._changed.set()

    def _forget_user_events(self) -> None:
        """Do not ask for events sent since the last barrier on a connection that is gone: they may be lost."""
        self._base_users += self._users.delivered - self._seen_users
        self._seen_users = self._users.delivered

    def forget_klines(self) -> None:
        """The same for closed klines on a lost market connection."""
        self._base_bars += self._markets.closed_klines - self._seen_bars
        self._seen_bars = self._markets.closed_klines

    def _welcome(self) -> dict[str, Any]:
        return {
            "type": "welcome",
            "session": self.session,
            "market_time_ms": self._engine.books.clock.market_ms,
            "interval_ms": self._feed.step_ms,
            "interval": self._feed.interval,
            "symbols": list(self._feed.series),
            "state": self.state,
        }

    def _end(self) -> dict[str, Any]:
        return {"type": "end", "market_time_ms": self._engine.books.clock.market_ms}

    def _set(self, state: str) -> None:
        self.state = state
        self._changed.set()
