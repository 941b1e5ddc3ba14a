"""
Faults on demand: failed, delayed and executed-then-failed answers, a frozen venue, dropped and silent streams.

Everything here is set through ``POST /argonaut/control`` and acts on the wire; books and matching stay honest, so a
test can compare what a client believes with what is true.
"""

import asyncio
import re
import socket
import struct
from collections.abc import Callable
from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta, field

from node.venue.events import Event
from node.venue.hub import Connection
from strategies.yaml_config import FrozenConfig

_ECHO_MS = 60_000
_RESET = struct.pack("ii", 1, 0)


class ResponseFault(FrozenConfig, frozen=True):
    """
    What happens to the next `times` requests that match.

    Attributes
    ----------
    method : str
        HTTP method, empty for any.
    path : str
        Regular expression the request path must match from its start, e.g. ``/fapi/v1/(order|algoOrder)$``.
    times : int
        Requests affected; then the fault is used up.
    skip : int
        Matching requests let through first.
    mode : str
        ``fail``: answer `status`, not executed. ``execute_then_fail``: executed, then answer `status`. ``close`` and
        ``execute_then_close``: the TCP connection is reset instead of an answer. ``delay``: only late. ``trickle``: the
        answer arrives in pieces of `piece` bytes, `answer_delay_ms` apart.
    status, code, message : int, int, str
        The wrong answer; with a `code` of 0 the body is `message` as it is: a proxy's page, or with a status of 200
        what only looks like an answer (empty, cut, of another account).
    headers : dict[str, str]
        Extra headers, e.g. Retry-After.
    delay_ms : float
        Wait before execution.
    answer_delay_ms : float
        Wait after execution, before the answer.

    """

    method: str = ""
    path: str = "/fapi/"
    times: Annotated[int, Meta(ge=1)] = 1
    skip: Annotated[int, Meta(ge=0)] = 0
    mode: Literal["fail", "execute_then_fail", "close", "execute_then_close", "delay", "trickle"] = "fail"
    status: Annotated[int, Meta(ge=200, le=599)] = 503
    code: int = -1008
    message: str = "Server is currently overloaded with other requests. Please try again in a few minutes."
    headers: dict[str, str] = field(default_factory=dict)
    delay_ms: Annotated[float, Meta(ge=0)] = 0.0
    answer_delay_ms: Annotated[float, Meta(ge=0)] = 0.0
    piece: Annotated[int, Meta(ge=1)] = 8


class KlineFault(FrozenConfig, frozen=True):
    """
    What happens to the next `times` closed klines on the market streams; REST klines stay complete.

    Attributes
    ----------
    symbol : str
        Venue symbol, empty for any.
    times : int
        Klines affected.
    skip : int
        Matching klines let through first.
    mode : {"missing", "duplicate", "late", "stripped"}
        Never sent, sent twice, sent `delay_ms` later, or sent without the candle. A replay's barrier waits for those
        that are sent whole and in time.
    delay_ms : float
        Delay of a late kline, wall ms.

    """

    symbol: str = ""
    times: Annotated[int, Meta(ge=1)] = 1
    skip: Annotated[int, Meta(ge=0)] = 0
    mode: Literal["missing", "duplicate", "late", "stripped"] = "missing"
    delay_ms: Annotated[float, Meta(ge=0)] = 500.0


class EventFault(FrozenConfig, frozen=True):
    """
    What happens to the next `times` user events that match.

    Attributes
    ----------
    event : str
        Event type, e.g. ``ORDER_TRADE_UPDATE``; empty for any.
    status : str
        Order status (``o.X``) to match; empty for any.
    times : int
        Events affected.
    mode : {"mute", "duplicate", "echo", "hold", "delay", "stripped"}
        Lost, sent twice, sent again `delay_ms` later with times of a minute ago, held back and sent in reverse order
        when the fault is used up, sent `delay_ms` later (and so after what happens meanwhile), or sent without what it
        tells of: nobody can read it.
    delay_ms : float
        Delay, wall ms.

    """

    event: str = ""
    status: str = ""
    times: Annotated[int, Meta(ge=1)] = 1
    mode: Literal["mute", "duplicate", "echo", "hold", "delay", "stripped"] = "mute"
    delay_ms: Annotated[float, Meta(ge=0)] = 200.0


class _Armed[T]:
    def __init__(self, fault: T, left: int, skip: int = 0) -> None:
        self.fault = fault
        self.left = left
        self.skip = skip


class Faults:
    """All faults that are armed now."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.running.set()
        self._responses: list[_Armed[ResponseFault]] = []
        self._events: list[_Armed[EventFault]] = []
        self._held: list[Event] = []
        self._klines: list[_Armed[KlineFault]] = []
        self.deliver_late: Callable[[Event], None] = lambda _event: None

    def add_response(self, fault: ResponseFault) -> None:
        """Arm a response fault; earlier ones are tried first."""
        self._responses.append(_Armed(fault, fault.times, fault.skip))

    def add_event(self, fault: EventFault) -> None:
        """Arm an event fault; earlier ones are tried first."""
        self._events.append(_Armed(fault, fault.times))

    def add_kline(self, fault: KlineFault) -> None:
        """Arm a kline fault; earlier ones are tried first."""
        self._klines.append(_Armed(fault, fault.times, fault.skip))

    def clear(self) -> None:
        """Disarm everything and let a frozen venue run."""
        self._responses.clear()
        self._events.clear()
        self._held.clear()
        self._klines.clear()
        self.running.set()

    def match(self, method: str, path: str) -> ResponseFault | None:
        """Return the fault for a request and use it up by one."""
        for armed in self._responses:
            fault = armed.fault
            if fault.method and fault.method.upper() != method:
                continue
            if not re.match(fault.path, path):
                continue
            if armed.skip:
                armed.skip -= 1
                continue
            armed.left -= 1
            if not armed.left:
                self._responses.remove(armed)
            return fault
        return None

    def kline(self, symbol: str) -> KlineFault | None:
        """Return the fault for a closed kline and use it up by one."""
        for armed in self._klines:
            if armed.fault.symbol not in ("", symbol):
                continue
            if armed.skip:
                armed.skip -= 1
                continue
            armed.left -= 1
            if not armed.left:
                self._klines.remove(armed)
            return armed.fault
        return None

    def transform(self, event: Event) -> list[Event]:
        """Return what becomes of a user event."""
        for armed in self._events:
            fault = armed.fault
            if fault.event and fault.event != event["e"]:
                continue
            if fault.status and fault.status != event.get("o", {}).get("X"):
                continue
            armed.left -= 1
            if not armed.left:
                self._events.remove(armed)
            if fault.mode == "mute":
                return []
            if fault.mode == "duplicate":
                return [event, event]
            if fault.mode == "stripped":
                return [stripped(event)]
            if fault.mode in ("delay", "echo"):
                late = event if fault.mode == "delay" else older(event)
                asyncio.get_running_loop().call_later(fault.delay_ms / 1000, self.deliver_late, late)
                return [] if fault.mode == "delay" else [event]
            self._held.append(event)
            if armed.left:
                return []
            held, self._held = self._held[::-1], []
            return held
        return [event]


def stripped(event: Event) -> Event:
    """Return an event with nothing in what it tells of."""
    return {name: {} if isinstance(value, dict) else value for name, value in event.items()}


def older(event: Event) -> Event:
    """Return an event as if it had happened a minute ago."""
    return {name: value - _ECHO_MS if name in ("E", "T") else value for name, value in event.items()}


def reset(request: web.Request) -> None:
    """End the TCP connection of a request with a reset instead of an answer."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


async def drop(connections: list[Connection], *, hard: bool) -> int:
    """Close WebSockets in good order, or reset them; return how many."""
    for connection in connections:
        if hard:
            reset(connection.request)
            connection.abort()
        else:
            await connection.close(reason="dropped")
    return len(connections)
