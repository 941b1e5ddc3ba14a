"""
The writer thread: takes records from the event loop and commits them in batches, losing nothing it accepted.

``put`` never touches the database. Money records (fills, trades, funding, approvals) and incidents are always accepted
and committed at once; the others wait at most `batch_seconds` for company. While the database cannot be written, the
writer keeps what it has, tries again with growing pauses, and says so once `fail_after` seconds have passed.

With a write-ahead file (`node.journal.ahead`) every record is in the operating system's hands before ``put`` returns.
Then nothing is urgent: a commit right behind an approval would compete with the order it was granted for.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from sqlalchemy.exc import DataError, IntegrityError

from node.journal import rows
from node.journal.ahead import WriteAhead
from node.journal.database import Database
from strategies.errors import JournalError, JournalUnavailableError
from strategies.records import IncidentRecord

OVERFLOW: Final = "journal_degraded"
RECOVERED: Final = "journal_recovered"
LISTENER_ERROR: Final = "journal_listener_error"

_ALWAYS_ACCEPTED: Final = rows.MONEY | {"incident"}
_CHUNK: Final = 2_000
_CLEAR_BYTES: Final = 64 * 1024
"""Size beyond which the write-ahead file is emptied once the database has all of it: a start reads it back."""
_FORCE_SECONDS: Final = 10.0
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
_CONTENT_ERRORS: Final = (DataError, IntegrityError, OverflowError, UnicodeError)
"""Errors that lie in a record, not in the database: trying again cannot help."""


class Writer:
    """
    A bounded queue and the thread that empties it.

    Parameters
    ----------
    database : Database
        Where to write.
    capacity : int
        Records that may wait. Above it, money records and incidents are still accepted; for any other the caller is
        held up at most `full_wait_seconds` (not at all while the database fails: waiting cannot help then), after which
        the record is dropped, counted, and told in a ``journal_degraded`` incident.
    batch_seconds : float
        How long a record may wait for others to share its commit.
    fail_after : float
        Seconds of unsuccessful writing after which :attr:`failure` is set and `on_failure` called.
    ahead : WriteAhead or None
        Where records go before they go to the database.
    on_failure, on_recovery : callable or None
        Called on the writer thread, once for each failure: with the reason, and without arguments when it is over.

    """

    def __init__(
        self,
        database: Database,
        *,
        capacity: int = 100_000,
        batch_seconds: float = 0.03,
        fail_after: float = 2.0,
        full_wait_seconds: float = 0.05,
        ahead: WriteAhead | None = None,
        on_failure: Callable[[str], None] | None = None,
        on_recovery: Callable[[], None] | None = None,
    ) -> None:
        self.failure: str | None = None
        self.on_failure = on_failure
        self.on_recovery = on_recovery
        self._database = database
        self._capacity = capacity
        self._batch_seconds = batch_seconds
        self._fail_after = fail_after
        self._full_wait_seconds = full_wait_seconds
        self._ahead = ahead
        self._unsafe = 0  # records accepted when the last one that could not be written ahead came
        self.ahead_error: str | None = None
        """Why the write-ahead file could not be written last; None while it works."""
        self._lock = threading.Lock()
        self._progress = threading.Condition(self._lock)
        self._wake = threading.Event()
        self._urgent = threading.Event()
        self._pending: list[Any] = []
        self._accepted = 0
        self._written = 0
        self._dropped = 0
        self._give_up_at: float | None = None
        self._closed = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Records accepted and not yet committed."""
        with self._lock:
            return self._accepted - self._written

    @property
    def dropped(self) -> int:
        """Records refused because the queue was full, since the start."""
        with self._lock:
            return self._dropped

    def put(self, record: Any) -> None:
        """
        Accept `record` for writing; returns at once unless the queue is full.

        Raises
        ------
        JournalError
            Propagate: the journal is closed.

        """
        urgent = getattr(record, "kind", None) in _ALWAYS_ACCEPTED
        with self._lock:
            if self._closed:
                raise JournalError(f"journal {self._database.label}: closed; a record came too late")
            if self._accepted - self._written >= self._capacity and not urgent and not self._make_room():
                self._dropped += 1
                return
            self._pending.append(record)
            self._accepted += 1
            ahead = self._write_ahead(record)
        if urgent and not ahead:
            self._urgent.set()
        if not self._wake.is_set():
            self._wake.set()

    def settled(self) -> bool:
        """Return whether everything accepted is committed; if not, it no longer waits for company. Never blocks."""
        with self._lock:
            if self._pending:
                self._wake_now()
            return self._accepted == self._written

    def kept(self) -> bool:
        """Return whether everything accepted survives this process: written ahead, or committed. Never blocks."""
        with self._lock:
            return self._accepted == self._written or (self._ahead is not None and self._unsafe <= self._written)

    def force(self) -> None:
        """
        Return when everything accepted before the call survives a power loss too. Blocks.

        Raises
        ------
        JournalError
            Propagate: the disk does not take it.

        """
        if self._ahead is None:
            self.flush(_FORCE_SECONDS)
            return
        try:
            self._ahead.force()
        except OSError as e:
            raise JournalUnavailableError(
                f"journal {self._database.label}: write-ahead file: {e.strerror or e}"
            ) from None

    def restart_ahead(self, identity: str) -> None:
        """Empty the write-ahead file and go on for the journal `identity`; call when nothing is waiting."""
        if self._ahead is not None:
            with self._lock:
                self._ahead.restart(identity)

    def flush(self, timeout: float) -> None:
        """
        Return when everything accepted before the call is committed.

        Raises
        ------
        JournalError
            Propagate: not done within `timeout` seconds; the records stay queued.

        """
        with self._lock:
            target = self._accepted
            self._wake_now()
            done = self._progress.wait_for(lambda: self._written >= target, timeout)
            missing = target - self._written
        if not done:
            reason = self.failure or "the database is slow"
            raise JournalUnavailableError(
                f"journal {self._database.label}: {missing} records not written within {timeout:g} s: {reason}"
            )

    def close(self, timeout: float) -> None:
        """
        Write what is queued, stop the thread, refuse further records.

        Raises
        ------
        JournalError
            Fatal: records could not be written within `timeout` seconds and are lost with the process.

        """
        with self._lock:
            self._closed = True
            self._give_up_at = time.monotonic() + timeout
            self._closing.set()
            self._wake_now()
        # A commit that is under way may overrun the deadline by the database's own time-outs.
        self._thread.join(timeout + 60.0)
        if self._ahead is not None:
            if not self.waiting:
                with suppress(OSError):  # what stays is known already, and written again without effect
                    self._ahead.clear()
            self._ahead.close()
            self._ahead = None
        if self.waiting:
            reason = self.failure or "the database is slow"
            raise JournalUnavailableError(
                f"journal {self._database.label}: {self.waiting} records could not be written: {reason}"
            )

    def _write_ahead(self, record: Any) -> bool:
        """Append `record`, whose turn among the accepted it is; return whether that made it safe."""
        if self._ahead is None:
            return False
        try:
            self._ahead.append(rows.encode(record))
        except OSError as e:
            self._unsafe = self._accepted
            self.ahead_error = str(e.strerror or e)
            return False
        except Exception:  # noqa: BLE001 - not a record: the writer turns it into an incident that quotes it
            self._unsafe = self._accepted
            return False
        self.ahead_error = None
        return True

    def _wake_now(self) -> None:
        self._urgent.set()
        self._wake.set()

    def _make_room(self) -> bool:
        if self.failure is not None:
            return False
        self._wake_now()
        return self._progress.wait_for(lambda: self._accepted - self._written < self._capacity, self._full_wait_seconds)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as e:
            self._fail(e)  # a dead writer must be seen as a failing one
            raise

    def _work(self) -> None:
        told = 0
        while True:
            self._wake.wait()
            if not self._closed:
                self._urgent.wait(self._batch_seconds)
            self._wake.clear()
            self._urgent.clear()
            with self._lock:
                batch, self._pending = self._pending, []
            for start in range(0, len(batch), _CHUNK):
                if not self._persist(batch[start : start + _CHUNK]):
                    return
            dropped = self.dropped
            if dropped > told:
                self._tell(OVERFLOW, "critical", f"the queue was full: {dropped - told} records were dropped")
                told = dropped
            if self._closed:
                with self._lock:
                    if not self._pending:
                        return
                self._wake.set()

    def _persist(self, records: list[Any]) -> bool:
        """Commit `records`, however long it takes; False when told to give up."""
        started = time.monotonic()
        pause = _FIRST_PAUSE
        while True:
            try:
                self._commit(records)
            except Exception as e:  # noqa: BLE001 - whatever the reason, the records must not be lost
                now = time.monotonic()
                if now - started >= self._fail_after or self._give_up_at is not None:
                    self._fail(e)
                if self._give_up_at is not None and now >= self._give_up_at:
                    return False
                self._pause(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                break
        with self._lock:
            self._written += len(records)
            if self._ahead is not None and self._accepted == self._written and self._ahead.size > _CLEAR_BYTES:
                with suppress(OSError):  # tried again after the next commit
                    self._ahead.clear()
            self._progress.notify_all()
        if self.failure is not None:
            self._recover(time.monotonic() - started)
        return True

    def _commit(self, records: list[Any]) -> None:
        batch = rows.to_rows(records)
        try:
            with self._database.writing() as connection:
                rows.insert(connection, batch)
        except _CONTENT_ERRORS:
            for record in records:  # one of them cannot be stored; the others must not suffer
                self._commit_alone(record)

    def _commit_alone(self, record: Any) -> None:
        try:
            with self._database.writing() as connection:
                rows.insert(connection, rows.to_rows([record]))
        except _CONTENT_ERRORS as e:
            with self._database.writing() as connection:
                rows.insert(connection, rows.to_rows([rows.unwritable(record, getattr(e, "orig", None) or e)]))

    def _pause(self, seconds: float) -> None:
        if self._give_up_at is None:
            self._closing.wait(seconds)  # closing cuts the pause short
        else:
            time.sleep(_FIRST_PAUSE)

    def _fail(self, cause: BaseException) -> None:
        message = str(self._database.error("cannot be written", cause))
        first = self.failure is None
        self.failure = message
        if first and self.on_failure is not None:
            self._call(self.on_failure, message)

    def _recover(self, seconds: float) -> None:
        reason = self.failure
        self.failure = None
        self._tell(RECOVERED, "warning", f"written again after {seconds:.1f} s; it had failed with: {reason}")
        if self.on_recovery is not None:
            self._call(self.on_recovery)

    def _call(self, listener: Callable[..., None], *arguments: str) -> None:
        try:
            listener(*arguments)
        except Exception as e:  # noqa: BLE001 - a listener's defect must not stop the writing
            self._tell(LISTENER_ERROR, "critical", f"a listener of the journal raised {type(e).__name__}: {e}")

    def _tell(self, code: str, severity: str, message: str) -> None:
        now = time.time_ns()
        incident = IncidentRecord(
            id=f"{code}/{now}",
            market_time=None,
            wall_time=now,
            severity=severity,
            code=code,
            symbol=None,
            message=message,
        )
        with self._lock:
            self._pending.append(incident)
            self._accepted += 1
            self._write_ahead(incident)
        self._wake_now()
