"""The journal: one object that records, reads, restores, and keeps one venue session apart from the next."""

import atexit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from node.journal.archive import set_aside
from node.journal.database import Database, prepare
from node.journal.models import META
from node.journal.reader import JournalReader
from node.journal.takeover import journal_identity, take_over
from node.journal.writer import Writer
from strategies.errors import JournalError
from strategies.records import TOPIC, Record

_SESSION = "session"
_REPLACEABLE = "session_replaceable"


class Journal(JournalReader):
    """
    A journal open for writing (or for reading only); made by :func:`open_journal`.

    Attributes
    ----------
    failed : bool
        Whether the database could not be written for a while. Nothing accepted is lost; entries should stop.

    """

    def __init__(self, database: Database, writer: Writer | None) -> None:
        super().__init__(database)
        self._writer = writer
        self._buses: list[Any] = []
        if writer is not None:
            atexit.register(self.close)

    @property
    def read_only(self) -> bool:
        """Whether records are refused."""
        return self._writer is None

    @property
    def failed(self) -> bool:
        """Whether writing has been failing for longer than the configured patience."""
        return self._writer is not None and self._writer.failure is not None

    @property
    def failure(self) -> str | None:
        """Why writing fails, in one line without secrets; None while it works."""
        return None if self._writer is None else self._writer.failure

    @property
    def waiting(self) -> int:
        """Records accepted and not yet committed."""
        return 0 if self._writer is None else self._writer.waiting

    @property
    def dropped(self) -> int:
        """Records refused since opening because the queue was full (never money records nor incidents)."""
        return 0 if self._writer is None else self._writer.dropped

    def record(self, record: Record) -> None:
        """
        Queue `record`; returns at once and never touches the database.

        Written exactly once by ``(kind, id)``. The same id with other content keeps the first and adds a
        ``journal_conflict`` incident; a record that cannot be stored becomes a ``journal_unwritable`` incident that
        quotes it. When the queue is full (degraded): see :class:`node.journal.writer.Writer`.

        Raises
        ------
        JournalError
            Propagate: the journal is closed or read-only.

        """
        self._writing().put(record)

    def settled(self) -> bool:
        """
        Return whether everything recorded is committed, without blocking.

        Asking makes the writer commit what is queued at once, so polling this ends as soon as the disk allows;
        :attr:`waiting` only looks.
        """
        return self._writer is None or self._writer.settled()

    def kept(self) -> bool:
        """Return whether everything recorded survives the end of this process, however it ends. Never blocks."""
        return self._writer is None or self._writer.kept()

    def force(self) -> None:
        """
        Return when everything recorded before the call survives a power loss too. Blocks: call it on a thread.

        Raises
        ------
        JournalError
            Propagate: the disk does not take it.

        """
        if self._writer is not None:
            self._writer.force()

    def flush(self, timeout: float = 10.0) -> None:
        """
        Return when everything recorded before the call is committed.

        Raises
        ------
        JournalError
            Propagate: not done within `timeout` seconds. The records stay queued.

        """
        if self._writer is not None:
            self._writer.flush(timeout)

    def attach(self, msgbus: Any) -> None:
        """Record everything published on `msgbus` under ``argonaut.record.*``, until :meth:`close`."""
        self._writing()
        msgbus.subscribe(f"{TOPIC}.*", self.record)
        self._buses.append(msgbus)

    def bind_session(self, session: str, *, replaceable: bool = True) -> str | None:
        """
        Tie the journal to the account it tells of; call before recording.

        An empty journal takes `session` as its own, and the same session changes nothing. If the journal tells of
        another session (or has records of an unknown one), it is set aside whole (SQLite: copied to a file beside it;
        PostgreSQL: its schema renamed; either way with a time stamp, never deleted) and goes on empty.

        Parameters
        ----------
        session : str
            Identity of the simulated venue's run, or of a real account.
        replaceable : bool
            False for a real account: its journal is never set aside, another session is refused.

        Returns
        -------
        str or None
            Where the former content now lies; None if nothing was set aside.

        Raises
        ------
        JournalError
            Fatal: the journal tells of a real account, or could not be set aside (then it is unchanged).

        """
        writer = self._writing()
        self.flush()
        known = self.meta()
        facts = {_SESSION: session, _REPLACEABLE: "yes" if replaceable else "no"}
        bound = known.get(_SESSION)
        if bound == session:
            return None
        if known.get(_REPLACEABLE) == "no":
            raise JournalError(
                f"journal {self.label}: tells of the account {bound!r} and cannot be used for {session!r}; "
                "give this node another journal"
            )
        if not any(self.counts().values()):
            self._set_meta(facts)
            return None
        if bound is None and not replaceable:
            raise JournalError(f"journal {self.label}: has records of an unknown account; give this account another")
        try:
            archive = set_aside(self._database, facts)
            writer.restart_ahead(journal_identity(self._database))
        except (SQLAlchemyError, OSError) as e:
            raise self._database.error("cannot be set aside", e) from None
        return archive

    def close(self, timeout: float = 30.0) -> None:
        """
        Write what is queued, stop listening, close the connections. Further calls do nothing.

        Raises
        ------
        JournalError
            Fatal: records could not be written within `timeout` seconds.

        """
        atexit.unregister(self.close)
        for msgbus in self._buses:
            msgbus.unsubscribe(f"{TOPIC}.*", self.record)
        self._buses.clear()
        try:
            if self._writer is not None:
                self._writer.close(timeout)
        finally:
            super().close()

    def _writing(self) -> Writer:
        if self._writer is None:
            raise JournalError(f"journal {self.label}: open for reading only")
        return self._writer

    def _set_meta(self, facts: dict[str, str]) -> None:
        try:
            with self._database.writing() as connection:
                connection.execute(sa.delete(META).where(META.c.key.in_(facts)))
                connection.execute(sa.insert(META), [{"key": key, "value": value} for key, value in facts.items()])
        except SQLAlchemyError as e:
            raise self._database.error("cannot be written", e) from None


def open_journal(
    url: str,
    *,
    read_only: bool = False,
    ahead: Path | None = None,
    power_safe: bool = True,
    on_failure: Callable[[str], None] | None = None,
    on_recovery: Callable[[], None] | None = None,
    **options: Any,
) -> Journal:
    """
    Open the journal at `url`; one opened for writing is created and upgraded as needed.

    Parameters
    ----------
    url : str
        ``sqlite:///var/journal.sqlite`` (relative to the working directory; folders are created) or
        ``postgresql+psycopg://user:password@host/database`` (schema ``argonaut``, or ``?schema=name``).
    read_only : bool
        Nothing is written or upgraded; for dashboards and commands beside a running node.
    ahead : Path, optional
        Write-ahead file, on a disk of this machine; what a killed process left in it is taken over. None: records are
        safe once they are committed.
    power_safe : bool
        Whether a commit to SQLite waits for the disk. False: it survives a killed process, not a power loss.
    on_failure : callable, optional
        Called with the reason when writing has failed for a while. Runs on the writer thread: hand over to the event
        loop with ``loop.call_soon_threadsafe``.
    on_recovery : callable, optional
        Called (on the writer thread) when writing works again.
    **options
        Of :class:`node.journal.writer.Writer`: ``capacity``, ``batch_seconds``, ``fail_after``, ``full_wait_seconds``.

    Raises
    ------
    JournalError
        Fatal: malformed address, unreachable, not a journal, or written by a newer version; an unusable write-ahead
        file.

    """
    database = Database(url, read_only=read_only, power_safe=power_safe)
    try:
        prepare(database)
        if read_only:
            return Journal(database, None)
        file = None if ahead is None else take_over(database, ahead)
        writer = Writer(database, ahead=file, on_failure=on_failure, on_recovery=on_recovery, **options)
        return Journal(database, writer)
    except BaseException:
        database.close()
        raise
