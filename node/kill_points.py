"""
A test's trigger for SIGKILL at one named step between a signal and its confirmed stop. Inert in production.

The environment variable ``ARGONAUT_KILL_AT`` is read once, at start; without it nothing here is installed. Its value is
the name of a step of :data:`STEPS`, optionally with a count (``stop_answered:3``: the third time). The process then
ends itself with SIGKILL at that step: no handler runs, nothing is flushed, as in a power cut.

Three kinds of steps: ``*_sending`` before a request leaves, ``*_on_wire`` after it left and before its answer could be
read, ``*_answered`` when the venue has executed it and nobody in the node has looked at the answer yet. The others are
events of the node, met before any listener hears of them.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum, unique
from typing import Any

from nautilus_trader.model.events import (
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    PositionClosed,
    PositionOpened,
)

from node.binance.taps import Send, tap_order_events, tap_requests
from strategies.errors import ConfigError
from strategies.messages import APPROVAL, SIGNAL, VERDICT, topic
from strategies.order_ids import Leg, decode

VARIABLE = "ARGONAUT_KILL_AT"
_FIRST = 10_000
_ON_WIRE_SECS = 0.01
_LEG_STEPS = {Leg.ENTRY: "entry", Leg.STOP: "stop", Leg.TARGET: "target", Leg.TRAIL: "trail", Leg.EXIT: "exit"}


@unique
class Step(StrEnum):
    """The steps, in the order a trade meets them."""

    SIGNAL_PUBLISHED = "signal_published"
    VERDICT_PUBLISHED = "verdict_published"
    APPROVAL_PUBLISHED = "approval_published"
    JOURNAL_UNWRITTEN = "journal_unwritten"
    JOURNAL_WRITTEN = "journal_written"
    ENTRY_SENDING = "entry_sending"
    ENTRY_ON_WIRE = "entry_on_wire"
    ENTRY_ANSWERED = "entry_answered"
    ENTRY_EVENT_RECEIVED = "entry_event_received"
    ENTRY_ACCEPTED = "entry_accepted"
    ENTRY_FILLED = "entry_filled"
    POSITION_OPENED = "position_opened"
    STOP_SENDING = "stop_sending"
    STOP_ON_WIRE = "stop_on_wire"
    STOP_ANSWERED = "stop_answered"
    STOP_ACCEPTED = "stop_accepted"
    TARGET_SENDING = "target_sending"
    TARGET_ON_WIRE = "target_on_wire"
    TARGET_ANSWERED = "target_answered"
    TARGET_ACCEPTED = "target_accepted"
    LEG_FILLED = "leg_filled"
    POSITION_CLOSED = "position_closed"
    SIBLING_CANCEL_SENDING = "sibling_cancel_sending"
    SIBLING_CANCEL_ON_WIRE = "sibling_cancel_on_wire"
    SIBLING_CANCEL_ANSWERED = "sibling_cancel_answered"
    SIBLING_CANCELLED = "sibling_cancelled"
    EXIT_SENDING = "exit_sending"
    EXIT_ANSWERED = "exit_answered"


STEPS = tuple(Step)


class KillPoint:
    """
    The one step at which this process ends.

    Parameters
    ----------
    step : Step
        Where.
    count : int
        The how-manyth time.

    """

    def __init__(self, step: Step, count: int) -> None:
        self.step = step
        self._left = count
        self._armed = False

    def reached(self, step: str) -> None:
        """Die here if this is the place. What the start repeats of the last life (before a signal) does not count."""
        self._armed = self._armed or step == Step.SIGNAL_PUBLISHED
        if self._armed and step == self.step:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def install(self, node: Any, client: Any) -> None:
        """
        Listen on the bus of a built node and wrap its execution client.

        Parameters
        ----------
        node : TradingNode
            Built, not yet running.
        client : ArgonautBinanceFuturesExecutionClient
            Its execution client, with ``before_entry`` set.

        """
        bus = node.kernel.msgbus
        for data_type, step in ((SIGNAL, "signal"), (VERDICT, "verdict"), (APPROVAL, "approval")):
            bus.subscribe(topic(data_type), lambda _, step=step: self.reached(f"{step}_published"), _FIRST)
        bus.subscribe("events.order.*", self._on_order, _FIRST)
        bus.subscribe("events.position.*", self._on_position, _FIRST)
        self._wrap_journal(client)
        tap_requests(client, self._around)
        tap_order_events(client, self._on_order_event)

    # -- the node's own events ----------------------------------------------------------------------------------------

    def _on_order(self, event: Any) -> None:
        tag = decode(event.client_order_id.value)
        if tag is None:
            return
        name = _LEG_STEPS[tag.leg]
        if isinstance(event, OrderAccepted):
            self.reached(f"{name}_accepted")
        elif isinstance(event, OrderFilled):
            self.reached("leg_filled" if tag.leg in (Leg.STOP, Leg.TARGET, Leg.TRAIL) else f"{name}_filled")
        elif isinstance(event, OrderCanceled):
            self.reached("sibling_cancelled")

    def _on_position(self, event: Any) -> None:
        if isinstance(event, PositionOpened):
            self.reached(Step.POSITION_OPENED)
        elif isinstance(event, PositionClosed):
            self.reached(Step.POSITION_CLOSED)

    # -- what passes through the execution client ---------------------------------------------------------------------

    def _wrap_journal(self, client: Any) -> None:
        write: Callable[[], Awaitable[bool]] = client.before_entry

        async def before_entry() -> bool:
            self.reached(Step.JOURNAL_UNWRITTEN)
            written = await write()
            self.reached(Step.JOURNAL_WRITTEN)
            return written

        client.before_entry = before_entry

    async def _around(self, method: str, path: str, payload: Mapping[str, str], send: Send) -> Any:
        name = request_step(method, path, payload)
        if name is None:
            return await send()
        self.reached(f"{name}_sending")
        request = asyncio.ensure_future(send())
        if self.step == f"{name}_on_wire":
            await asyncio.sleep(0)  # lets the request begin; it leaves on a thread of its own
            time.sleep(_ON_WIRE_SECS)  # noqa: ASYNC251 - the loop must not see the answer
            self.reached(f"{name}_on_wire")
        answer = await request
        self.reached(f"{name}_answered")
        return answer

    def _on_order_event(self, order: Mapping[str, Any]) -> None:
        tag = decode(str(order.get("c", "")))
        if tag is not None and tag.leg is Leg.ENTRY and order.get("x") == "TRADE":
            self.reached(Step.ENTRY_EVENT_RECEIVED)


def request_step(method: str, path: str, payload: Mapping[str, str]) -> str | None:
    """Return the stem of the steps a request passes (``entry``, ``stop``, ``sibling_cancel``, …); None for the rest."""
    if path.endswith(("/v1/order", "/v1/algoOrder")):
        text = payload.get("newClientOrderId") or payload.get("clientAlgoId") or payload.get("origClientOrderId") or ""
        tag = decode(text)
        if method == "DELETE":
            return "sibling_cancel"
        if method == "POST" and tag is not None:
            return _LEG_STEPS[tag.leg]
    return None


def kill_point(environment: Mapping[str, str] = os.environ) -> KillPoint | None:
    """
    Return what :data:`VARIABLE` asks for, or None where it is not set.

    Raises
    ------
    ConfigError
        Fatal: not the name of a step.

    """
    text = environment.get(VARIABLE)
    if not text:
        return None
    name, _, count = text.partition(":")
    if name not in {s.value for s in STEPS} or (count and not (count.isdigit() and int(count) > 0)):
        raise ConfigError(f"{VARIABLE}={text!r}: not a step of node.kill_points; leave it unset outside of tests")
    return KillPoint(Step(name), int(count or 1))
