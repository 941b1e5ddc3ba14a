"""
The queue: jobs in the database, taken under a lease, finished only by the one who holds the newest taking.

All functions are one transaction each. Errors of the database are `JournalError` (fatal for a command, 503 for a
request); a busy SQLite file is waited for.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from node.journal.database import ADVISORY_LOCK, Database
from research.service.models import JOBS, RESULTS

State = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: Final = ("queued", "running", "done", "failed", "cancelled")
MAX_ATTEMPTS: Final = 3
"""Takings after which a job that always takes its worker down is given up."""

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_SECOND: Final = 1_000_000_000


class Taken(NamedTuple):
    """A job as its worker holds it: id, configuration (JSON) and the number of this taking."""

    id: str
    config: str
    attempt: int


class Job(NamedTuple):
    """A job as others see it; columns of ``backtest_jobs``."""

    id: str
    created: int
    state: str
    config: str
    config_hash: str
    attempt: int
    worker: str | None
    lease_until: int | None
    cancel: bool
    progress: float
    started: int | None
    finished: int | None
    error: str | None
    trial: str | None


class Queue:
    """
    The jobs of one database.

    Parameters
    ----------
    url : str
        The journal's address, see ``node.journal.database.Database``.

    """

    def __init__(self, url: str) -> None:
        self.database = Database(url)

    def prepare(self) -> None:
        """
        Create or upgrade the tables; concurrent processes take turns.

        Raises
        ------
        JournalError
            Fatal: the database cannot be reached or written.

        """
        from alembic import command  # noqa: PLC0415 - once per process
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        try:
            with self.database.writing() as connection:
                if not self.database.is_sqlite:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
                    if not sa.inspect(connection).has_schema(self.database.schema or ""):
                        connection.exec_driver_sql(f'CREATE SCHEMA "{self.database.schema}"')
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except SQLAlchemyError as e:
            raise self.database.error("the service's tables cannot be prepared", e) from None

    def add(self, config: str, config_hash: str, *, most_waiting: int) -> str | None:
        """Queue a job and return its id; None when `most_waiting` jobs wait already."""
        identity = uuid.uuid4().hex
        with self._writing() as connection:
            waiting = connection.execute(
                sa.select(sa.func.count()).select_from(JOBS).where(JOBS.c.state == "queued")
            ).scalar_one()
            if waiting >= most_waiting:
                return None
            connection.execute(
                sa.insert(JOBS).values(
                    id=identity, created=time.time_ns(), state="queued", config=config, config_hash=config_hash,
                    attempt=0, cancel=False, progress=0.0,
                )
            )  # fmt: skip
        return identity

    def take(self, worker: str, lease_seconds: float) -> Taken | None:
        """
        Take the oldest job that waits, or whose worker let its lease run out; None if there is none.

        A job taken :data:`MAX_ATTEMPTS` times without an end is given up as failed; one whose cancelling was asked for
        while its worker died is cancelled.
        """
        now = time.time_ns()
        lapsed = sa.and_(JOBS.c.state == "running", JOBS.c.lease_until < now)
        with self._writing() as connection:
            given_up = sa.and_(lapsed, JOBS.c.attempt >= MAX_ATTEMPTS)
            error = f"its worker ended {MAX_ATTEMPTS} times without a result: killed, or out of memory"
            ended = {"finished": now, "worker": None, "lease_until": None}
            connection.execute(sa.update(JOBS).where(lapsed, JOBS.c.cancel).values(state="cancelled", **ended))
            connection.execute(sa.update(JOBS).where(given_up).values(state="failed", error=error, **ended))
            query = (
                sa.select(JOBS.c.id, JOBS.c.config, JOBS.c.attempt)
                .where(sa.or_(JOBS.c.state == "queued", lapsed))
                .order_by(JOBS.c.created)
                .limit(1)
            )
            if not self.database.is_sqlite:
                query = query.with_for_update(skip_locked=True)
            row = connection.execute(query).first()
            if row is None:
                return None
            connection.execute(
                sa.update(JOBS)
                .where(JOBS.c.id == row.id)
                .values(
                    state="running", worker=worker, attempt=row.attempt + 1, started=now, progress=0.0,
                    lease_until=now + int(lease_seconds * _SECOND),
                )
            )  # fmt: skip
            return Taken(row.id, row.config, row.attempt + 1)

    def renew(self, job: Taken, lease_seconds: float, progress: float) -> Literal["mine", "cancel", "lost"]:
        """Extend the lease and note the progress; say whether to go on, to cancel, or that it is another's now."""
        until = time.time_ns() + int(lease_seconds * _SECOND)
        with self._writing() as connection:
            changed = connection.execute(
                sa.update(JOBS).where(*_mine(job)).values(lease_until=until, progress=min(max(progress, 0.0), 1.0))
            ).rowcount
            if not changed:
                return "lost"
            cancel = connection.execute(sa.select(JOBS.c.cancel).where(JOBS.c.id == job.id)).scalar_one()
        return "cancel" if cancel else "mine"

    def finish(self, job: Taken, *, result: str, trial: str | None) -> bool:
        """Store the result; False (and nothing stored) when the job is no longer this taking's."""
        with self._writing() as connection:
            if not self._end(connection, job, state="done", progress=1.0, trial=trial):
                return False
            connection.execute(sa.insert(RESULTS).values(id=job.id, payload=result))
        return True

    def fail(self, job: Taken, error: str) -> bool:
        """End the job with an error; False when it is no longer this taking's."""
        with self._writing() as connection:
            return self._end(connection, job, state="failed", error=error)

    def cancelled(self, job: Taken) -> bool:
        """End the job as cancelled; False when it is no longer this taking's."""
        with self._writing() as connection:
            return self._end(connection, job, state="cancelled")

    def give_back(self, job: Taken) -> bool:
        """Queue the job again: its worker is told to stop. The taking does not count."""
        with self._writing() as connection:
            values = {
                "state": "queued",
                "worker": None,
                "lease_until": None,
                "progress": 0.0,
                "attempt": job.attempt - 1,
            }
            return bool(connection.execute(sa.update(JOBS).where(*_mine(job)).values(**values)).rowcount)

    def again(self, job: Taken, error: str) -> None:
        """Queue the job again after its run was killed; after :data:`MAX_ATTEMPTS` takings end it with `error`."""
        if job.attempt >= MAX_ATTEMPTS:
            self.fail(job, f"{error}; {MAX_ATTEMPTS} tries ended so")
            return
        with self._writing() as connection:
            values = {"state": "queued", "worker": None, "lease_until": None, "progress": 0.0}
            connection.execute(sa.update(JOBS).where(*_mine(job)).values(**values))

    def cancel(self, identity: str) -> Job | None:
        """Cancel a waiting job at once, ask the worker of a running one to; None if there is no such job."""
        with self._writing() as connection:
            mine = JOBS.c.id == identity
            waiting = sa.and_(mine, JOBS.c.state == "queued")
            connection.execute(
                sa.update(JOBS).where(waiting).values(state="cancelled", cancel=True, finished=time.time_ns())
            )
            connection.execute(sa.update(JOBS).where(mine, JOBS.c.state == "running").values(cancel=True))
            row = connection.execute(sa.select(JOBS).where(mine)).first()
        return None if row is None else Job(**row._asdict())

    def get(self, identity: str) -> Job | None:
        """Return a job, or None."""
        with self.database.reading() as connection:
            row = connection.execute(sa.select(JOBS).where(JOBS.c.id == identity)).first()
        return None if row is None else Job(**row._asdict())

    def result(self, identity: str) -> str | None:
        """Return a stored result, or None."""
        with self.database.reading() as connection:
            return connection.execute(sa.select(RESULTS.c.payload).where(RESULTS.c.id == identity)).scalar()

    def newest(self, *, state: str | None, limit: int, before: int | None) -> list[Job]:
        """Return jobs, newest first; `before` is the creation time to go on from."""
        query = sa.select(JOBS).order_by(JOBS.c.created.desc(), JOBS.c.id).limit(limit)
        if state is not None:
            query = query.where(JOBS.c.state == state)
        if before is not None:
            query = query.where(JOBS.c.created < before)
        with self.database.reading() as connection:
            return [Job(**row._asdict()) for row in connection.execute(query)]

    def close(self) -> None:
        """Close every connection."""
        self.database.close()

    def _end(self, connection: sa.Connection, job: Taken, **values: Any) -> bool:
        ended = {"finished": time.time_ns(), "worker": None, "lease_until": None, **values}
        return bool(connection.execute(sa.update(JOBS).where(*_mine(job)).values(**ended)).rowcount)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        try:
            with self.database.writing() as connection:
                yield connection
        except SQLAlchemyError as e:
            raise self.database.error("cannot be written", e) from None


def _mine(job: Taken) -> tuple[Any, ...]:
    return (JOBS.c.id == job.id, JOBS.c.state == "running", JOBS.c.attempt == job.attempt)
