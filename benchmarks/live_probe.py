"""
``node.live`` with a stopwatch: takes its arguments after the name of the file that receives the measurements.

Part of ``bench_live_latency.py``; started by it as the node's process, so that what is timed is the production path.
One JSON object per line. ``entry``: per stage ``[perf_counter_ns, thread_time_ns]`` of this process' event loop (the
thread's time where it is needed: asking for it takes 10 to 25 us here, all outside of what is measured), the
stages being ``bar`` (the closing candle's message arrives, unread), ``fill`` (the last fill did), ``approved`` (the
last gate said yes), ``asked`` and ``written`` (around the journal's durability), ``sent`` (handed to the HTTP client),
``answered``, ``filled``.
``rss`` for every simulated hour. Thread time does not run while another process or thread has the core.

Orders of one bar are sent side by side as in live trading, not one after the other as in a replay.
"""

import json
import re
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from node import live_run
from node.binance.barrier import execution_client
from node.binance.data import ArgonautBinanceFuturesDataClient
from node.binance.execution import ArgonautBinanceFuturesExecutionClient
from node.binance.taps import tap_order_events
from node.live import main
from strategies.messages import APPROVAL, topic
from strategies.order_ids import Leg, decode

_HOUR_MS = 3_600_000
_CLOSED, _CLOSED_SPACED = b'"x":true', b'"x": true'
_CLOSE_TIME = re.compile(rb'"T":\s*(\d+)')

current: ContextVar[str] = ContextVar("current")
"""Client id of the entry a task is about; several of one bar run side by side."""


type Mark = tuple[int, int]


def begin() -> Mark:
    """Return wall and thread time, ns, where something measured begins."""
    thread = time.thread_time_ns()
    return time.perf_counter_ns(), thread


def end() -> Mark:
    """Return wall and thread time, ns, where something measured ends."""
    wall = time.perf_counter_ns()
    return wall, time.thread_time_ns()


def wall() -> Mark:
    """Return wall time, ns, alone."""
    return time.perf_counter_ns(), 0


class Stopwatch:
    """Notes when things pass; what it costs itself is two clock readings per event."""

    def __init__(self, file: Path) -> None:
        self._out = file.open("w", buffering=1)
        self._process = psutil.Process()
        self._bar = self._fill = (0, 0)
        self._hour = 0
        self._approved: dict[str, Mark] = {}
        self._entries: dict[str, dict[str, Mark]] = {}

    def market(self, raw: bytes) -> None:
        """A market message arrives, before anybody reads it."""
        if _CLOSED not in raw and _CLOSED_SPACED not in raw:
            return
        found = _CLOSE_TIME.search(raw)
        hour = int(found[1]) // _HOUR_MS if found else self._hour
        if hour != self._hour:
            self._hour = hour
            self._write({"rss": self._process.memory_info().rss, "hour": hour, "at": time.time()})
        self._bar = begin()

    def approved(self, approval: Any) -> None:
        """The last gate has said yes."""
        self._approved[str(approval.instrument_id.symbol.value).removesuffix("-PERP")] = wall()

    def submit(self, order: Any) -> None:
        """The execution client is given an entry."""
        symbol = order.instrument_id.symbol.value.removesuffix("-PERP")
        mark = wall()
        self._entries[order.client_order_id.value] = {
            "bar": self._bar,
            "fill": self._fill,
            "approved": self._approved.get(symbol, mark),
            "asked": mark,
            "written": mark,
        }

    async def gate(self, write: Any, client_order_id: str) -> bool:
        """The journal is made safe."""
        entry = self._entries[client_order_id]
        entry["asked"] = end()
        good = bool(await write())
        entry["written"] = begin()
        return good

    async def request(self, url: str, send: Callable[[], Awaitable[Any]]) -> Any:
        """A request is handed to the HTTP client and its answer arrives."""
        name = current.get(None)
        entry = self._entries.get(name) if name is not None and "/fapi/v1/order?" in url else None
        if name is None or entry is None or "sent" in entry:
            return await send()
        entry["sent"] = end()
        answer = await send()
        entry["answered"] = wall()
        self._finish(name)
        return answer

    def order_event(self, order: dict[str, Any]) -> None:
        """A user event arrives."""
        if order["X"] == "FILLED":
            self._fill = wall()
        entry = self._entries.get(order["c"])
        if entry is not None and order["X"] == "FILLED":
            entry["filled"] = wall()
            self._finish(order["c"])

    def _finish(self, client_order_id: str) -> None:
        if {"answered", "filled"} <= self._entries[client_order_id].keys():
            self._write({"entry": self._entries.pop(client_order_id)})

    def _write(self, line: dict[str, Any]) -> None:
        self._out.write(json.dumps(line) + "\n")


class _Transport:
    """What the HTTP client sends with, behind the stopwatch."""

    def __init__(self, inner: Any, watch: Stopwatch) -> None:
        self._inner = inner
        self._watch = watch

    async def request(self, method: Any, *, url: str, **options: Any) -> Any:
        """Send one request."""
        return await self._watch.request(url, lambda: self._inner.request(method, url=url, **options))


def install(watch: Stopwatch) -> None:
    """Put the stopwatch where messages come in and requests go out."""
    receive = ArgonautBinanceFuturesDataClient._handle_ws_message  # noqa: SLF001 - no public seam
    build = live_run._LiveRun._build  # noqa: SLF001 - as above
    submit = ArgonautBinanceFuturesExecutionClient._submit_order  # noqa: SLF001 - as above

    def received(self: Any, raw: bytes) -> None:
        watch.market(raw)
        receive(self, raw)

    async def submitted(self: Any, command: Any) -> None:
        order = command.order
        tag = decode(order.client_order_id.value)
        if tag is None or tag.leg is not Leg.ENTRY:
            await submit(self, command)
            return
        watch.submit(order)
        current.set(order.client_order_id.value)
        await submit(self, command)

    def built(self: Any, *args: Any) -> Any:
        node = build(self, *args)
        client = execution_client(node.kernel.exec_engine)
        client._turn = nullcontext()  # noqa: SLF001 - as in live trading
        http = client._http_client  # noqa: SLF001 - as above
        http._client = _Transport(http._client, watch)  # noqa: SLF001 - as above
        tap_order_events(client, watch.order_event)
        node.kernel.msgbus.subscribe(topic(APPROVAL), watch.approved, 100)
        node.kernel.loop.call_soon(_wrap_gate, client, watch)
        return node

    ArgonautBinanceFuturesDataClient._handle_ws_message = received  # noqa: SLF001 - as above
    ArgonautBinanceFuturesExecutionClient._submit_order = submitted  # noqa: SLF001 - as above
    live_run._LiveRun._build = built  # noqa: SLF001 - as above


def _wrap_gate(client: Any, watch: Stopwatch) -> None:
    """Time the journal; called once the run has put it in place."""
    write = client.before_entry

    async def timed() -> bool:
        return await watch.gate(write, current.get())

    client.before_entry = timed


if __name__ == "__main__":
    install(Stopwatch(Path(sys.argv[1])))
    sys.exit(main(sys.argv[2:]))
