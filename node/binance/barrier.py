"""
The lock-step barrier of a replay, node side.

A replayed bar must not overtake the fills of the bar before it. After every bar the venue asks "have you digested N
bars and M user events?"; this plugin answers once nothing in the node is moving any more. Strategies know nothing of
it, and it exists in replays only. Rules and evidence: `knowledge/replay-on-live-node.md` §2.

Wire protocol (JSON text frames on ``/argonaut/replay``)::

    plugin → venue  {"type":"hello","node":ID}  {"type":"ready"}  {"type":"ack","id":N,"bars":B,"user_events":U}
    venue → plugin  {"type":"welcome",…}  {"type":"barrier","id":N,"bars":B,"user_events":U}
                    {"type":"end","market_time_ms":T}  {"type":"abort","reason":TEXT}

Counts run since ``ready``. An ``ack`` names what has really arrived: after a lost socket that is less than the venue
has sent, and the venue then asks for no more than can come.
"""

import asyncio
import contextlib
from collections.abc import Callable
from enum import StrEnum, unique
from typing import Any, NoReturn

import aiohttp
import msgspec
from nautilus_trader.model.data import Bar
from nautilus_trader.model.enums import OrderStatus
from nautilus_trader.model.events import OrderEvent, OrderInitialized
from nautilus_trader.model.identifiers import ClientOrderId

from node.binance.data import ArgonautBinanceFuturesDataClient
from node.binance.execution import ArgonautBinanceFuturesExecutionClient

QUIET_ITERATIONS = 3
SPINS = 20
# uvloop rounds anything below a millisecond to zero, which would be a busy loop.
NAP_SECS = 0.0011
SETTLE_SECS = 0.05
"""Silence of the user stream required before `ready`, so that the venue's counters and ours start together, s."""
GAP_GRACE_SECS = 0.5
"""Wait for what a re-established socket may still deliver, s."""

_MOVING = frozenset(
    {OrderStatus.INITIALIZED, OrderStatus.SUBMITTED, OrderStatus.PENDING_UPDATE, OrderStatus.PENDING_CANCEL}
)


@unique
class ReplayOutcome(StrEnum):
    """How a replay ended."""

    FINISHED = "finished"
    ABORTED = "aborted"
    LOST = "lost"
    TIMED_OUT = "timed_out"


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """
    Outcome of a replay.

    Attributes
    ----------
    outcome : ReplayOutcome
        Only ``finished`` is success.
    detail : str
        For people: the venue's reason, or what the node was still waiting for.
    market_time_ms : int or None
        Market time the venue named at the end.
    barriers : int
        Barriers answered.

    """

    outcome: ReplayOutcome
    detail: str
    market_time_ms: int | None
    barriers: int


class _Message(msgspec.Struct, frozen=True):
    type: str
    id: int = 0
    bars: int = 0
    user_events: int = 0
    market_time_ms: int | None = None
    reason: str = ""


class _End(Exception):  # noqa: N818 - control flow, not an error
    def __init__(self, outcome: ReplayOutcome, detail: str, market_time_ms: int | None = None) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail
        self.market_time_ms = market_time_ms


class ReplayBarrier:
    """
    Answers the venue's barriers from inside the node process.

    Construct it after ``node.build()`` and before the node runs; call :meth:`start` (or await :meth:`run`) on the
    node's event loop.

    Parameters
    ----------
    node : TradingNode or NautilusKernel
        The node being replayed. Its execution client must come from `node.binance.factories`.
    url : str
        ``ws://host:port/argonaut/replay``.
    is_ready : Callable[[], bool]
        Whether all streams are subscribed and warm-up is done.
    is_idle : Callable[[], bool]
        Further conditions for "nothing moves", e.g. no REST poll in flight.
    on_end : Callable[[ReplayResult], None]
        Called once, on the event loop, whatever the outcome. Never called after a cancellation.
    timeout_secs : float
        Longest time one barrier, the connection, or getting ready may take; then the replay ends as ``timed_out``.
    node_id : str
        Name told to the venue.

    """

    def __init__(
        self,
        node: Any,
        url: str,
        *,
        is_ready: Callable[[], bool],
        on_end: Callable[[ReplayResult], None],
        is_idle: Callable[[], bool] = lambda: True,
        timeout_secs: float = 60.0,
        ready_timeout_secs: float = 120.0,
        node_id: str = "argonaut",
    ) -> None:
        kernel = getattr(node, "kernel", node)
        self._url = url
        self._is_ready = is_ready
        self._is_idle = is_idle
        self._on_end = on_end
        self._timeout_secs = timeout_secs
        self._ready_timeout_secs = ready_timeout_secs
        self._node_id = node_id
        self._cache = kernel.cache
        self._client = execution_client(kernel.exec_engine)
        self._data_clients = _data_clients(kernel.data_engine)
        data, risk, execution = kernel.data_engine, kernel.risk_engine, kernel.exec_engine
        self._queues: dict[str, Callable[[], int]] = {
            "data": data.data_qsize,
            "data commands": data.cmd_qsize,
            "data requests": data.req_qsize,
            "data responses": data.res_qsize,
            "risk commands": risk.cmd_qsize,
            "risk events": risk.evt_qsize,
            "execution commands": execution.cmd_qsize,
            "execution events": execution.evt_qsize,
        }
        self._bars = 0
        self._bars_at_ready = 0
        self._messages_at_ready = 0
        self._known_gaps = (0, 0)
        self._quiet_since: float | None = None
        self._quiet_messages = 0
        self._moving: set[ClientOrderId] = set()
        self._task: asyncio.Task[None] | None = None
        self.barriers = 0
        kernel.msgbus.subscribe("data.bars.*", self._on_bar)
        kernel.msgbus.subscribe("events.order.*", self._on_order_event)

    def start(self) -> asyncio.Task[None]:
        """Start :meth:`run` as a task on the running event loop and return the task."""
        self._task = asyncio.get_running_loop().create_task(self.run(), name="replay_barrier")
        return self._task

    async def stop(self) -> None:
        """Stop answering; `on_end` is not called."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def run(self) -> None:
        """Connect, get ready, answer barriers until the venue ends the replay or something goes wrong."""
        try:
            await self._converse()
        except _End as end:
            result = ReplayResult(
                outcome=end.outcome, detail=end.detail, market_time_ms=end.market_time_ms, barriers=self.barriers
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as e:
            result = self._failed(ReplayOutcome.LOST, f"{self._url}: {e or type(e).__name__}")
        except (msgspec.MsgspecError, TypeError) as e:
            result = self._failed(ReplayOutcome.LOST, f"{self._url}: not a replay message: {e}")
        self._on_end(result)

    def _failed(self, outcome: ReplayOutcome, detail: str) -> ReplayResult:
        return ReplayResult(outcome=outcome, detail=detail, market_time_ms=None, barriers=self.barriers)

    async def _converse(self) -> NoReturn:
        """Hold the conversation; always ends with an exception."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_secs)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.ws_connect(self._url, heartbeat=None, max_msg_size=0) as ws,
        ):
            await ws.send_str(_encode(type="hello", node=self._node_id))
            await self._welcome(ws)
            self._quiet_since = None
            await self._until(self._startable, self._ready_timeout_secs, "getting ready")
            self._bars_at_ready = self._bars
            self._messages_at_ready = self._client.user_messages
            self._known_gaps = self._gaps()
            await ws.send_str(_encode(type="ready"))
            async for frame in ws:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    break
                message = msgspec.json.decode(frame.data, type=_Message)
                if message.type == "end":
                    raise _End(ReplayOutcome.FINISHED, "end of data", message.market_time_ms)
                if message.type == "abort":
                    raise _End(ReplayOutcome.ABORTED, message.reason or "no reason given", message.market_time_ms)
                if message.type == "barrier":
                    bars, user_events = await self._digest(message)
                    await ws.send_str(_encode(type="ack", id=message.id, bars=bars, user_events=user_events))
                    self.barriers += 1
        raise _End(ReplayOutcome.LOST, f"{self._url}: the venue closed the connection")

    async def _welcome(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        frame = await asyncio.wait_for(ws.receive(), self._timeout_secs)
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise _End(ReplayOutcome.LOST, f"{self._url}: the venue closed the connection before its welcome")
        message = msgspec.json.decode(frame.data, type=_Message)
        if message.type == "abort":
            raise _End(ReplayOutcome.ABORTED, message.reason, message.market_time_ms)
        if message.type != "welcome":
            raise _End(ReplayOutcome.LOST, f"{self._url}: expected a welcome, got {message.type!r}")

    async def _digest(self, barrier: _Message) -> tuple[int, int]:
        """Wait until everything asked for has arrived and nothing moves; return how many bars and events came."""

        def arrived() -> tuple[int, int]:
            return self._bars - self._bars_at_ready, self._client.user_messages - self._messages_at_ready

        loop = asyncio.get_running_loop()
        since = loop.time()
        gaps = self._gaps()

        def obstacle() -> str:
            nonlocal since, gaps
            if self._gaps() != gaps:
                since, gaps = loop.time(), self._gaps()
            bars, user_events = arrived()
            # What was sent into a socket that died will not come; what the new one carries may still be on its way.
            late = loop.time() - since > GAP_GRACE_SECS
            if bars < barrier.bars and not (late and gaps[0] != self._known_gaps[0]):
                return f"{barrier.bars - bars} of {barrier.bars} bars have not arrived"
            if user_events < barrier.user_events and not (late and gaps[1] != self._known_gaps[1]):
                return f"{barrier.user_events - user_events} of {barrier.user_events} user events have not arrived"
            return self._movement()

        await self._until(obstacle, self._timeout_secs, f"barrier {barrier.id}")
        self._known_gaps = self._gaps()
        return arrived()

    def _gaps(self) -> tuple[int, int]:
        return sum(c.market_gaps for c in self._data_clients), self._client.stream_gaps

    async def _until(self, obstacle: Callable[[], str], timeout_secs: float, what: str) -> None:
        """Return after three consecutive loop iterations without an obstacle; end the replay at the time-out."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_secs
        quiet = spins = 0
        while quiet < QUIET_ITERATIONS:
            found = obstacle()
            quiet = 0 if found else quiet + 1
            if found and loop.time() > deadline:
                raise _End(ReplayOutcome.TIMED_OUT, f"{what} took longer than {timeout_secs:g} s: {found}")
            spins += 1
            await asyncio.sleep(0 if spins <= SPINS or quiet else NAP_SECS)

    def _startable(self) -> str:
        if not self._is_ready():
            self._quiet_since = None
            return "streams or warm-up are not ready"
        movement = self._movement()
        now = asyncio.get_running_loop().time()
        if movement or self._quiet_since is None or self._client.user_messages != self._quiet_messages:
            self._quiet_since = now
            self._quiet_messages = self._client.user_messages
            return movement or "the user stream has only just become silent"
        return "" if now - self._quiet_since >= SETTLE_SECS else "the user stream has only just become silent"

    def _movement(self) -> str:
        """Return what is still moving in the node, or an empty string."""
        for name, size in self._queues.items():
            if size():
                return f"the {name} queue is not empty"
        if self._moving:
            return f"orders without a final answer: {', '.join(sorted(i.value for i in self._moving))}"
        if self._client.pending_work:
            return f"{self._client.pending_work} task(s) of the execution client"
        if not self._is_idle():
            return "a component of the node is busy"
        return ""

    def _on_bar(self, bar: Bar) -> None:
        if bar.bar_type.is_externally_aggregated():
            self._bars += 1

    def _on_order_event(self, event: OrderEvent) -> None:
        order = self._cache.order(event.client_order_id)
        # The strategy publishes the initialised order before anyone has cached it.
        if isinstance(event, OrderInitialized) or (order is not None and order.status in _MOVING):
            self._moving.add(event.client_order_id)
        else:
            self._moving.discard(event.client_order_id)


def execution_client(engine: Any) -> ArgonautBinanceFuturesExecutionClient:
    """Return the corrected Binance client of a live execution engine."""
    clients = [c for c in engine._clients.values() if isinstance(c, ArgonautBinanceFuturesExecutionClient)]  # noqa: SLF001 - no accessor
    if len(clients) != 1:
        raise ValueError(f"the node needs exactly one corrected Binance execution client, has {len(clients)}")
    return clients[0]


def _data_clients(engine: Any) -> list[ArgonautBinanceFuturesDataClient]:
    return [c for c in engine._clients.values() if isinstance(c, ArgonautBinanceFuturesDataClient)]  # noqa: SLF001 - no accessor


def _encode(**fields: Any) -> str:
    return msgspec.json.encode(fields).decode()
