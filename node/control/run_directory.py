"""
The run directory: what the node tells its surroundings, and where orders to it are left.

=================  =====================================================================================================
``node.lock``      locked by the running node: two nodes with one run directory are refused
``node.json``      process id with start time, venue address, control port; gone after an orderly end
``heartbeat.json`` rewritten twice a second by the event loop
``token``          what the control door asks for (mode 0600)
``commands/``      a file named after a command (``pause``, ``kill`` …) is obeyed and removed
``inbox/``         incidents left by the command line, the watchdog and the supervisor for the journal
``doctor.json``    the last examination
=================  =====================================================================================================

Errors: what cannot be read counts as absent (**unavailable**); what cannot be written is **fatal** at start.
"""

import fcntl
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import IO

import msgspec

from strategies.errors import ConfigError
from strategies.records import IncidentRecord

_START_TICKS_FIELD = 19  # field 22 of /proc/<pid>/stat, counted after the command's closing parenthesis


class NodeProcess(msgspec.Struct, frozen=True, kw_only=True):
    """The process that runs; ``start_ticks`` tells it from a later one with the same id."""

    pid: int
    start_ticks: int
    started: int
    environment: str
    venue_url: str | None = None
    port: int = 0

    def alive(self) -> bool:
        """Return whether this very process still runs (a zombie does not)."""
        return start_ticks(self.pid) == self.start_ticks


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """
    One heartbeat.

    Attributes
    ----------
    monotonic : int
        CLOCK_MONOTONIC, ns: the same clock in every process of the machine.
    wall_time, market_time : int, int or None
        UTC ns.
    phase : str
        ``starting``, ``running`` or ``stopping``.
    loop_lag_secs : float
        How late the callback was called.
    feed_age_secs : float or None
        Since the last market message; None before the first.
    latches : list[str]
        Latches that hold, e.g. ``killed *``.
    positions : dict[str, str]
        Signed quantity by symbol as the node sees it.

    """

    pid: int
    start_ticks: int
    monotonic: int
    wall_time: int
    market_time: int | None
    phase: str
    replay: bool
    loop_lag_secs: float
    feed_age_secs: float | None
    latches: list[str] = []
    positions: dict[str, str] = {}

    def age_secs(self) -> float:
        """Return how long ago it was written, s."""
        return (time.monotonic_ns() - self.monotonic) / 1e9


def start_ticks(pid: int) -> int | None:
    """Return when process `pid` started (clock ticks since boot); None if there is none or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[_START_TICKS_FIELD])


def default_path(run_dir: str | None, journal: str, trader_id: str) -> Path:
    """Return the run directory a configuration means."""
    if run_dir is not None:
        return Path(run_dir)
    if journal.startswith("sqlite:///"):
        return Path(journal.removeprefix("sqlite:///").partition("?")[0]).with_suffix(".run")
    return Path("var/run") / trader_id


class RunDirectory:
    """
    Paths and files of one run directory.

    Parameters
    ----------
    path : Path
        Made when a node claims it.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commands = path / "commands"
        self.inbox = path / "inbox"
        self.doctor = path / "doctor.json"
        self._lock: IO[str] | None = None

    # -- the node's side ----------------------------------------------------------------------------------------------

    def claim(self, environment: str, venue_url: str | None) -> NodeProcess:
        """
        Make the directory this process's own.

        Raises
        ------
        ConfigError
            Fatal: another node runs with it, or it cannot be written.

        """
        try:
            self.make()
            lock = (self.path / "node.lock").open("a")
        except OSError as e:
            raise ConfigError(f"run directory {self.path}: cannot be written: {e.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            other = self.process()
            raise ConfigError(
                f"run directory {self.path}: in use by another node{f' (pid {other.pid})' if other else ''}: "
                "stop it, or give this node a journal and operate.run_dir of its own"
            ) from None
        self._lock = lock
        ticks = start_ticks(os.getpid()) or 0
        (self.path / "heartbeat.json").unlink(missing_ok=True)
        mine = NodeProcess(
            pid=os.getpid(),
            start_ticks=ticks,
            started=time.time_ns(),
            environment=environment,
            venue_url=venue_url,
        )
        self.write("node.json", mine)
        return mine

    def release(self) -> None:
        """Say that the node ended in good order."""
        if self._lock is not None:
            (self.path / "node.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def make(self) -> None:
        """Make the folders."""
        for folder in (self.path, self.commands, self.inbox):
            folder.mkdir(parents=True, exist_ok=True)

    def new_token(self) -> str:
        """Write a new token, readable by this user only, and return it."""
        token = secrets.token_urlsafe(32)
        write_beside(self.path / "token", token.encode(), durable=False)
        return token

    # -- both sides ---------------------------------------------------------------------------------------------------

    def write(self, name: str, value: msgspec.Struct, *, durable: bool = False) -> None:
        """Write `value` as JSON, beside and then renamed."""
        write_beside(self.path / name, msgspec.json.encode(value), durable=durable)

    def process(self) -> NodeProcess | None:
        """Return the node that runs or died without an orderly end; None if there is none."""
        return self._read("node.json", NodeProcess)

    def beat(self) -> Beat | None:
        """Return the last heartbeat."""
        return self._read("heartbeat.json", Beat)

    def token(self) -> str | None:
        """Return the control door's token."""
        try:
            return (self.path / "token").read_text(encoding="utf-8")
        except OSError:
            return None

    def leave(self, record: IncidentRecord) -> None:
        """Leave an incident for the journal; on disk when this returns."""
        self.make()
        name = f"{record.wall_time:020d}-{record.code}-{secrets.token_hex(4)}.json"
        write_beside(self.inbox / name, msgspec.json.encode(record), durable=True)

    def left(self) -> list[tuple[Path, IncidentRecord | None]]:
        """Return the incidents that wait, oldest first; None for a file that is not one."""
        found: list[tuple[Path, IncidentRecord | None]] = []
        for path in sorted(self.inbox.glob("*.json")) if self.inbox.is_dir() else ():
            try:
                found.append((path, msgspec.json.decode(path.read_bytes(), type=IncidentRecord)))
            except (OSError, msgspec.DecodeError):
                found.append((path, None))
        return found

    def _read[T](self, name: str, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode((self.path / name).read_bytes(), type=kind)
        except (OSError, msgspec.DecodeError):
            return None


def incident(severity: str, code: str, message: str, *, symbol: str | None = None, source: str) -> IncidentRecord:
    """Return an incident that did not happen on the node's bus; `source` keeps its id apart from all others."""
    now = time.time_ns()
    return IncidentRecord(
        id=f"{source}/{code}/{symbol or '-'}/{now}/{secrets.token_hex(3)}",
        market_time=None,
        wall_time=now,
        severity=severity,
        code=code,
        symbol=symbol,
        message=message,
    )


def write_beside(path: Path, data: bytes, *, durable: bool) -> None:
    """Write a file of mode 0600 beside `path` and rename it; `durable`: on disk before this returns."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
