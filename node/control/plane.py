"""
The control plane of a running node: commands in, effects on the bus, every one of them in the journal.

A command waits for the event loop as long as ``operate.loop_patience_secs``. If the loop does not take it, ``flatten``
and ``kill`` go to the venue directly from the control thread, latches are written to the journal at once (the next
start restores them), and the command stays queued for the moment the loop wakes.

Errors: a mistake in a command is refused with one line (**propagate**); a direct flatten that did not succeed is a
critical incident and the answer says what is left open (**degraded**).
"""

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Any

from node.control.commands import CLOSING, LATCHING, Action, Command, Outcome
from node.control.config import OperateConfig
from node.control.direct import FlattenReport
from node.control.door import FileDoor, HttpDoor
from node.control.heartbeat import Heartbeat
from node.control.run_directory import NodeProcess, RunDirectory, incident
from strategies.errors import JournalError
from strategies.records import IncidentRecord

CONTROL_TOPIC = "argonaut.control"

Bus = Any
FlattenDirect = Callable[[tuple[str, ...]], FlattenReport]


class ControlPlane:
    """
    Everything that may command one run of the node.

    Parameters
    ----------
    directory : RunDirectory
        Claimed by this process.
    process : NodeProcess
        This process.
    config : OperateConfig
        Port and patience.
    symbols : tuple[str, ...]
        What is traded.
    record : Callable[[IncidentRecord], None]
        Writes to the journal; thread-safe.
    flatten_direct : FlattenDirect
        Flattens over REST; blocks; called on a control thread.
    stop : Callable[[str], None]
        Ends the run; called on the loop with whose wish it was.
    facts : Callable[[], dict[str, Any]]
        For the heartbeat.

    """

    def __init__(
        self,
        *,
        directory: RunDirectory,
        process: NodeProcess,
        config: OperateConfig,
        symbols: tuple[str, ...],
        record: Callable[[IncidentRecord], None],
        flatten_direct: FlattenDirect,
        stop: Callable[[str], None],
        facts: Callable[[], dict[str, Any]],
    ) -> None:
        self._directory = directory
        self._config = config
        self._symbols = symbols
        self._record = record
        self._flatten_direct = flatten_direct
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._bus: Bus = None
        self._held: list[Command] = []
        self._direct = threading.Lock()
        self.heartbeat = Heartbeat(directory, process, self._loop, facts)
        self._files = FileDoor(directory, self.submit, self._refused, self._take_inbox)
        self._http = HttpDoor(config.port, directory.new_token(), self.submit, self.status)
        self.port = self._http.port

    def start(self) -> None:
        """Open the doors. Call on the loop's (main) thread."""
        self._files.discard_stale()
        self._files.watch_signals()
        self.heartbeat.start()
        self._files.start()

    def run(self, bus: Bus) -> None:
        """Deliver commands to `bus` from now on, beginning with those that were held while the node started."""
        self._bus = bus
        self.heartbeat.phase = "running"
        held, self._held = self._held, []
        for command in held:
            self._deliver(command)

    def close(self) -> None:
        """Close the doors."""
        self._files.close()
        self._http.close()
        self.heartbeat.stop()

    # -- any thread ---------------------------------------------------------------------------------------------------

    def submit(self, command: Command) -> Outcome:
        """
        Carry out `command`; returns when it took effect on the bus, or went to the venue.

        Raises
        ------
        ConfigError
            Propagate: unknown symbol, or one where none is possible.

        """
        command = command.checked(self._symbols)
        if command.action is Action.STATUS:
            return Outcome(done=True, detail=str(self.status()))
        taken: concurrent.futures.Future[Outcome] = concurrent.futures.Future()
        try:
            self._loop.call_soon_threadsafe(self._apply, command, taken)
            outcome = taken.result(self._config.loop_patience_secs)
        except (TimeoutError, RuntimeError):  # RuntimeError: the loop is closed
            return self._without_loop(command)
        if outcome.direct:  # the node is starting: nobody listens yet
            return self._without_loop(command)
        return outcome

    def status(self) -> dict[str, Any]:
        """Return what is known without asking the loop."""
        beat = self.heartbeat.last
        if beat is None:
            return {"phase": "starting", "loop_answers": False}
        age = beat.age_secs()
        return {
            "phase": self.heartbeat.phase,
            "pid": beat.pid,
            "loop_answers": age < self._config.loop_patience_secs + 1.0,
            "heartbeat_age_secs": round(age, 3),
            "loop_lag_secs": beat.loop_lag_secs,
            "feed_age_secs": beat.feed_age_secs,
            "market_time": beat.market_time,
            "latches": beat.latches,
            "positions": beat.positions,
        }

    # -- the loop -----------------------------------------------------------------------------------------------------

    def _apply(self, command: Command, taken: "concurrent.futures.Future[Outcome]") -> None:
        if command.action is Action.STOP:
            self._note("info", command.text)
            self._stop(command.who)
            outcome = Outcome(done=True, detail="stopping; stops stay at the venue")
        elif self._bus is None:
            self._held.append(command)
            direct = command.action in CLOSING
            outcome = Outcome(done=True, detail=f"{command.action} is held until the node has started", direct=direct)
            if command.action in LATCHING and not direct:
                self._latch(command)
        else:
            self._deliver(command)
            outcome = Outcome(done=True, detail=f"{command.action} delivered")
        taken.set_result(outcome)

    def _deliver(self, command: Command) -> None:
        self._note("warning" if command.action in CLOSING else "info", command.text, symbol=command.symbol)
        message = {"action": command.action.value, "symbol": command.symbol, "who": f"{command.who} via {command.via}"}
        self._bus.publish(CONTROL_TOPIC, message)

    # -- control threads ----------------------------------------------------------------------------------------------

    def _without_loop(self, command: Command) -> Outcome:
        if command.action in LATCHING:
            self._latch(command)
        if command.action not in CLOSING:
            detail = f"{command.action}: the event loop does not answer; it is queued for when it does"
            latched = command.action in LATCHING
            return Outcome(done=latched, detail=detail + (", and recorded for the next start" if latched else ""))
        with self._direct:
            symbols = self._symbols if command.symbol is None else (command.symbol,)
            report = self._flatten_direct(symbols)
        text = f"{command.text}: the node could not take it: venue asked directly: {report.text}"
        self._note("warning" if report.flat else "critical", text, symbol=command.symbol, code="control_direct")
        return Outcome(done=report.flat, detail=report.text, direct=True)

    def _latch(self, command: Command) -> None:
        """Write the latch where a restart finds it, whatever becomes of this process."""
        text = f"by {command.who} via {command.via}, before the node could take it"
        self._note("warning", text, symbol=command.symbol, code=command.action.value)

    def _take_inbox(self) -> None:
        """Take incidents left by others to the journal; those that latch are also commands."""
        for path, record in self._directory.left():
            if record is not None:
                self._write(record)
                if record.code in LATCHING and record.symbol in (None, *self._symbols):
                    command = Command(action=Action(record.code), symbol=record.symbol, who=record.message, via="inbox")
                    self.submit(command)
            path.unlink(missing_ok=True)

    def _refused(self, text: str) -> None:
        self._note("warning", text, code="control_refused")

    def _note(self, severity: str, text: str, *, symbol: str | None = None, code: str = "control") -> None:
        self._write(incident(severity, code, text, symbol=symbol, source="control"))

    def _write(self, record: IncidentRecord) -> None:
        try:
            self._record(record)
        except JournalError:  # closed: the process is ending, or the journal failed: keep it for the next start
            self._directory.leave(record)


def adopt_inbox(directory: RunDirectory, journal: Any) -> int:
    """
    Take what was left while no node ran into the journal; call before it is restored from. Returns how many.

    Error contract: propagate :class:`JournalError`; nothing left is removed before it is on disk.
    """
    found = directory.left()
    for _, record in found:
        if record is not None:
            journal.record(record)
    if found:
        journal.flush()
        for path, _ in found:
            path.unlink(missing_ok=True)
    return len(found)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether `condition` came true within `seconds`. Blocks."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
