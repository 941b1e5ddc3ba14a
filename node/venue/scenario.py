"""
Scenarios: faults and interventions at given moments of a replay, from a YAML file or over the control door.

A scenario is a list of steps; each names its moment (``at``) and an action of the control door with its parameters::

    - at: {bar: 3}                                       # before the third bar (all symbols counted) is walked
      action: fault
      path: /fapi/v1/order
      mode: execute_then_fail
    - at: {time: 2025-09-01T02:00:00Z}                   # before the first bar that closes at or after it
      action: price
      symbol: XRPUSDT
      price: "2.1"
      gap: true
    - at: {event: ORDER_TRADE_UPDATE, status: FILLED}    # when the account hears of it; `count: 2` for the second time
      action: drop_user_stream
    - at: {request: POST /fapi/v1/algoOrder, count: 2}   # when the second such request has been answered
      action: half_open
      streams: user
    - at: {after_secs: 2.5}                              # wall time after the scenario began
      action: expire_listen_key

Steps are armed together and each runs once. ``bar`` and ``time`` are exact in market time: the bar waits for the
action. Counts begin with the scenario.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from node.venue.config import NANOS_PER_MILLI, parse_time_ns
from node.venue.venue import Venue
from strategies.errors import ConfigError
from strategies.yaml_config import FrozenConfig, convert

type Body = dict[str, Any]
type Runner = Callable[[Venue, Body], Awaitable[None]]


class Moment(FrozenConfig, frozen=True):
    """
    When a step runs: exactly one of `bar`, `time`, `event`, `request` and `after_secs`.

    Attributes
    ----------
    bar : int or None
        Number of the bar, 1 for the first after the venue started; the step runs before it is walked.
    time : str
        ISO-8601 market time.
    event : str
        Type of a user event; `status` narrows it to an order status (``o.X``).
    status : str
        See `event`.
    request : str
        Method and path of a request, or ``WS order.place``; the step runs when it is answered.
    after_secs : float or None
        Wall seconds after the scenario began.
    count : int
        Which of the matching events or requests.

    """

    bar: Annotated[int, Meta(ge=1)] | None = None
    time: str = ""
    event: str = ""
    status: str = ""
    request: str = ""
    after_secs: Annotated[float, Meta(ge=0)] | None = None
    count: Annotated[int, Meta(ge=1)] = 1

    def __post_init__(self) -> None:
        named = [
            self.bar is not None,
            bool(self.time),
            bool(self.event),
            bool(self.request),
            self.after_secs is not None,
        ]
        if sum(named) != 1:
            raise ValueError("name exactly one of bar, time, event, request, after_secs")


@dataclass(slots=True)
class Step:
    """One step; `left` counts down to the event or request it waits for."""

    number: int
    at: Moment
    body: Body
    left: int
    time_ms: int = 0
    done: bool = False
    error: str = ""


def parse_scenario(tree: Any, place: str, actions: set[str]) -> list[Step]:
    """
    Return the steps of a scenario read from YAML or JSON.

    Raises
    ------
    ConfigError
        Fatal: not a list of steps, an unknown action, a malformed moment; names the step.

    """
    if not isinstance(tree, list) or not tree:
        raise ConfigError(f"{place}: a scenario is a list of steps, each with `at` and `action`")
    steps = []
    for number, row in enumerate(tree, start=1):
        where = f"{place}: step {number}"
        if not isinstance(row, dict) or "at" not in row or "action" not in row:
            raise ConfigError(f"{where}: needs `at` (when) and `action` (what)")
        moment = convert(row["at"], Moment, f"{where}: at")
        body = {str(k): v for k, v in row.items() if k != "at"}
        if body["action"] not in actions:
            raise ConfigError(f"{where}: unknown action {body['action']!r}; known: {', '.join(sorted(actions))}")
        time_ns = parse_time_ns(moment.time, f"{where}: at.time")
        steps.append(Step(number, moment, body, moment.count, 0 if time_ns is None else time_ns // NANOS_PER_MILLI))
    return steps


class Scenario:
    """
    Runs the steps at their moments.

    Parameters
    ----------
    venue : Venue
        What they act on.
    steps : list[Step]
        From :func:`parse_scenario`.
    run : Callable
        Executes one action of the control door.

    """

    def __init__(self, venue: Venue, steps: list[Step], run: Runner) -> None:
        self.steps = steps
        self._venue = venue
        self._run = run
        self._first_bar = venue.replay.bars
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Arm all steps."""
        self._venue.on_note.append(self._noted)
        self._venue.replay.before_bar.append(self._before_bar)
        loop = asyncio.get_running_loop()
        for step in self.steps:
            if step.at.after_secs is not None:
                loop.call_later(step.at.after_secs, self._soon, step)

    def report(self) -> list[Body]:
        """Return what became of every step."""
        return [{"step": s.number, "action": s.body["action"], "done": s.done, "error": s.error} for s in self.steps]

    async def _before_bar(self, close_ms: int) -> None:
        number = self._venue.replay.bars - self._first_bar + 1
        for step in self.steps:
            bar, time_ms = step.at.bar, step.time_ms
            due = (bar is not None and number >= bar) or (time_ms and close_ms >= time_ms)
            if due and not step.done:
                await self._execute(step)

    def _noted(self, entry: Body) -> None:
        for step in self.steps:
            if step.done or not _matches(step.at, entry):
                continue
            step.left -= 1
            if not step.left:
                self._soon(step)

    def _soon(self, step: Step) -> None:
        task = asyncio.get_running_loop().create_task(self._execute(step))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _execute(self, step: Step) -> None:
        step.done = True
        try:
            await self._run(self._venue, step.body)
        except Exception as e:  # noqa: BLE001 - a scenario that goes wrong must say so and not end the venue
            step.error = f"{type(e).__name__}: {e}"
        self._venue.books.incident("scenario", step=step.number, action=step.body["action"], error=step.error)


def _matches(at: Moment, entry: Body) -> bool:
    if at.request:
        return entry["kind"] == "request" and entry["endpoint"] == at.request
    if not at.event or entry["kind"] != "event":
        return False
    event = entry["event"]
    return event["e"] == at.event and at.status in ("", event.get("o", {}).get("X"))
