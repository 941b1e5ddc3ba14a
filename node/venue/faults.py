"""
Faults on demand: failed, delayed and executed-then-failed answers, a frozen venue, dropped and silent streams.

Everything here is set through ``POST /argonaut/control`` and acts on the wire; books and matching stay honest, so a
test can compare what a client believes with what is true.
"""

import asyncio
import re
import socket
import struct
from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta, field

from node.venue.events import Event
from node.venue.hub import Connection
from strategies.yaml_config import FrozenConfig

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
        ``execute_then_close``: the TCP connection is reset instead of an answer. ``delay``: only late.
    status, code, message : int, int, str
        The failing answer; with a `code` of 0 the body is `message` as plain text (a proxy's page).
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
    mode: Literal["fail", "execute_then_fail", "close", "execute_then_close", "delay"] = "fail"
    status: Annotated[int, Meta(ge=400, le=599)] = 503
    code: int = -1008
    message: str = "Server is currently overloaded with other requests. Please try again in a few minutes."
    headers: dict[str, str] = field(default_factory=dict)
    delay_ms: Annotated[float, Meta(ge=0)] = 0.0
    answer_delay_ms: Annotated[float, Meta(ge=0)] = 0.0


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
    mode : {"mute", "duplicate", "hold"}
        Lost, sent twice, or held back and sent in reverse order when the fault is used up.

    """

    event: str = ""
    status: str = ""
    times: Annotated[int, Meta(ge=1)] = 1
    mode: Literal["mute", "duplicate", "hold"] = "mute"


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

    def add_response(self, fault: ResponseFault) -> None:
        """Arm a response fault; earlier ones are tried first."""
        self._responses.append(_Armed(fault, fault.times, fault.skip))

    def add_event(self, fault: EventFault) -> None:
        """Arm an event fault; earlier ones are tried first."""
        self._events.append(_Armed(fault, fault.times))

    def clear(self) -> None:
        """Disarm everything and let a frozen venue run."""
        self._responses.clear()
        self._events.clear()
        self._held.clear()
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
            self._held.append(event)
            if armed.left:
                return []
            held, self._held = self._held[::-1], []
            return held
        return [event]


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
