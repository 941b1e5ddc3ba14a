"""
``node.live`` with a stopwatch: takes its arguments after the name of the file that receives the measurements.

Part of ``bench_live_latency.py``; started by it as the node's process, so that what is timed is the production path.
Times are ``perf_counter_ns`` of this process. One JSON object per line: ``bar``, ``approved``, ``sent``, ``answered``,
``filled`` for every entry, ``rss`` for every simulated hour.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from nautilus_trader.adapters.binance.data import BinanceCommonDataClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from node import live_run
from node.binance.barrier import execution_client
from node.binance.taps import Send, tap_order_events, tap_requests
from node.live import main
from strategies.messages import APPROVAL, topic
from strategies.order_ids import Leg, decode

_HOUR_MS = 3_600_000
_CLOSED = b'"x":true'


class Stopwatch:
    """Notes when things pass; what it costs itself is one clock reading per event."""

    def __init__(self, file: Path) -> None:
        self._out = file.open("w", buffering=1)
        self._process = psutil.Process()
        self._bar = 0
        self._hour = 0
        self._approved = 0
        self._entries: dict[str, dict[str, int]] = {}

    def market(self, raw: bytes) -> None:
        """A market message arrives, before anybody reads it."""
        now = time.perf_counter_ns()
        if _CLOSED not in raw.replace(b" ", b""):
            return
        self._bar = now
        kline = json.loads(raw)["data"]["k"]
        if kline["T"] // _HOUR_MS != self._hour:
            self._hour = kline["T"] // _HOUR_MS
            self._write({"rss": self._process.memory_info().rss, "hour": self._hour, "at": time.time()})

    def approved(self, _: Any) -> None:
        """The last gate has said yes."""
        self._approved = time.perf_counter_ns()

    async def around(self, method: str, path: str, params: dict[str, str], send: Send) -> Any:
        """A request leaves and its answer arrives."""
        tag = decode(params.get("newClientOrderId", "")) if (method, path) == ("POST", "/fapi/v1/order") else None
        if tag is None or tag.leg is not Leg.ENTRY:
            return await send()
        entry = {"bar": self._bar, "approved": self._approved, "sent": time.perf_counter_ns()}
        self._entries[params["newClientOrderId"]] = entry
        answer = await send()
        entry["answered"] = time.perf_counter_ns()
        self._finish(params["newClientOrderId"])
        return answer

    def order_event(self, order: dict[str, Any]) -> None:
        """A user event arrives."""
        entry = self._entries.get(order["c"])
        if entry is not None and order["X"] == "FILLED":
            entry["filled"] = time.perf_counter_ns()
            self._finish(order["c"])

    def _finish(self, client_order_id: str) -> None:
        if {"answered", "filled"} <= self._entries[client_order_id].keys():
            self._write({"entry": self._entries.pop(client_order_id)})

    def _write(self, line: dict[str, Any]) -> None:
        self._out.write(json.dumps(line) + "\n")


def install(watch: Stopwatch) -> None:
    """Put the stopwatch where messages come in and requests go out."""
    receive = BinanceCommonDataClient._handle_ws_message  # noqa: SLF001 - no public seam
    build = live_run._LiveRun._build  # noqa: SLF001 - as above

    def received(self: Any, raw: bytes) -> None:
        watch.market(raw)
        receive(self, raw)

    def built(self: Any, *args: Any) -> Any:
        node = build(self, *args)
        client = execution_client(node.kernel.exec_engine)
        tap_requests(client, watch.around)
        tap_order_events(client, watch.order_event)
        node.kernel.msgbus.subscribe(topic(APPROVAL), watch.approved, 100)
        return node

    BinanceCommonDataClient._handle_ws_message = received  # noqa: SLF001 - as above
    live_run._LiveRun._build = built  # noqa: SLF001 - as above


if __name__ == "__main__":
    install(Stopwatch(Path(sys.argv[1])))
    sys.exit(main(sys.argv[2:]))
