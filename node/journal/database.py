"""
Opening the journal's database: addresses, connections, schema upgrades, and error texts without passwords.

SQLite runs in WAL mode (readers never wait for the writer) with ``synchronous=FULL``: a commit is on the disk, not only
in the operating system, when it returns. A killed process therefore loses nothing that was committed, nor does a power
loss, as long as the disk honours flushes. FULL costs one flush per commit, and the writer commits in batches on its own
thread, so nobody waits for it. With ``power_safe=False`` it is NORMAL: no flush per commit, and a power loss (not a
killed process) may take the last commits. PostgreSQL gives the same promise with its default
``synchronous_commit = on``.
"""

import errno
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError

from node.journal.models import META
from strategies.errors import JournalError, JournalUnavailableError

HEAD: Final = "0002"
"""Newest schema revision this version knows; a test holds it equal to the migrations folder."""

DEFAULT_SCHEMA: Final = "argonaut"
"""PostgreSQL schema of the journal unless the address says ``?schema=…``."""

ADVISORY_LOCK: Final = 0x4152474F  # "ARGO": serialises schema changes between processes on PostgreSQL

_SQLITE_PASSING: Final = ("database is locked", "disk is full", "disk i/o error")
_POSTGRESQL_MISTAKES: Final = (
    "authentication failed",
    "no password supplied",
    "pg_hba.conf",
    "does not exist",
    "denied",
)
_BUSY_SECONDS: Final = 5.0
_TURN_SECONDS: Final = 60.0
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_PLAIN_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Database:
    """
    One journal database: its engine, what kind it is, and how to name it without its password.

    Parameters
    ----------
    url : str
        ``sqlite:///relative.sqlite``, ``sqlite:////absolute.sqlite`` or ``postgresql+psycopg://user:…@host/name``
        (``postgresql://`` is taken as the latter; ``?schema=name`` chooses the PostgreSQL schema).
    read_only : bool
        Open for reading only; nothing is created or upgraded.
    power_safe : bool
        Whether a SQLite commit waits for the disk.

    Attributes
    ----------
    label : str
        The address without its password, for messages.
    path : Path or None
        The SQLite file; None for PostgreSQL.
    schema : str or None
        The PostgreSQL schema; None for SQLite.

    Raises
    ------
    JournalError
        Fatal: the address is malformed or names another kind of database.

    """

    def __init__(self, url: str, *, read_only: bool = False, power_safe: bool = True) -> None:
        self.read_only = read_only
        self._synchronous = "FULL" if power_safe else "NORMAL"
        address = _parse(url)
        self.path: Path | None = None
        self.schema: str | None = None
        self._secrets = _secrets(address)
        if address.get_backend_name() == "sqlite":
            self.path = _sqlite_path(address)
            self.label = f"sqlite:///{address.database}"
            self.engine = self._open_sqlite(self.path)
        else:
            address, self.schema = _postgresql_address(address)
            self.label = f"{_without_secrets(address)} (schema {self.schema})"
            self.engine = self._open_postgresql(address, self.schema)
        # One snapshot for all statements of a reader; a SQLite read transaction is one anyway.
        self._read_options: dict[str, Any] = (
            {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        )

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a SQLite file."""
        return self.path is not None

    def scrub(self, text: str) -> str:
        """Return `text` on one line and without this database's password."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())

    def error(self, what: str, cause: BaseException) -> JournalError:
        """Return a `JournalError` that names the journal, what was tried and why it failed, without secrets."""
        reason = str(cause.orig if isinstance(cause, DBAPIError) and cause.orig is not None else cause)
        if self.read_only and "readonly database" in reason:
            reason += "; while no node has the file open, SQLite readers need write access to its folder"
        kind = JournalUnavailableError if self._passing(cause, reason.lower()) else JournalError
        return kind(self.scrub(f"journal {self.label}: {what}: {reason}"))

    def _passing(self, cause: BaseException, reason: str) -> bool:
        """Whether `cause` may be over soon: server or disk, and no mistake in the address or the rights."""
        if isinstance(cause, OSError):
            return cause.errno == errno.ENOSPC
        if not isinstance(cause, OperationalError):
            return False
        if self.is_sqlite:
            return any(text in reason for text in _SQLITE_PASSING)
        return not any(text in reason for text in _POSTGRESQL_MISTAKES)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection whose statements all see the same moment; database errors become `JournalError`."""
        try:
            with self.engine.connect() as plain:
                connection = plain.execution_options(**self._read_options)
                with connection.begin():
                    yield connection
        except SQLAlchemyError as e:
            raise self.error("cannot be read", e) from None

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Give a connection in a write transaction; commits at the end. Database errors propagate as they are."""
        with self.engine.connect() as plain:
            connection = plain.execution_options(writing=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _open_sqlite(self, path: Path) -> sa.Engine:
        if self.read_only:
            if not path.is_file():
                raise JournalError(f"journal {path}: no such file; it is created by the first run that writes to it")
            # A quoted file URI, because only a URI can ask SQLite for a read-only connection.
            address = sa.URL.create("sqlite", database=path.as_uri(), query={"mode": "ro", "uri": "true"})
        else:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as e:
                raise self.error(f"the folder {path.parent} cannot be created", e) from None
            address = sa.URL.create("sqlite", database=str(path))
        engine = sa.create_engine(
            address, hide_parameters=True, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False}
        )

        @event.listens_for(engine, "connect")
        def _prepare(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # transactions are begun below, so that they also cover DDL
            writing = ["journal_mode = WAL", f"synchronous = {self._synchronous}"]
            pragmas = ["query_only = ON"] if self.read_only else writing
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            # IMMEDIATE waits for the lock up front: upgrading a read transaction fails at once instead of waiting.
            writing = connection.get_execution_options().get("writing", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

        return engine

    def _open_postgresql(self, address: sa.URL, schema: str) -> sa.Engine:
        engine = sa.create_engine(
            address,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=2,
            connect_args={
                "connect_timeout": 10,
                "tcp_user_timeout": 30_000,  # a vanished server must become an error the writer can retry
                "application_name": "argonaut-journal",
            },
        )

        @event.listens_for(engine, "connect")
        def _prepare(connection: Any, _: Any) -> None:
            connection.autocommit = True  # a SET inside a transaction would be undone by its rollback
            connection.execute(f'SET search_path TO "{schema}"')
            connection.execute(f"SET lock_timeout TO '{int(_BUSY_SECONDS)}s'")
            connection.autocommit = False

        return engine


def prepare(database: Database) -> None:
    """
    Bring the database to the schema this version knows, creating it if it is empty.

    A read-only database is only checked. Concurrent processes take turns; an interrupted upgrade leaves no trace.

    Raises
    ------
    JournalError
        Fatal: unreachable, not a journal, not writable, or written by a newer version.

    """
    try:
        with database.reading() as connection:
            found = _revision(connection)
        if found == HEAD:
            return
        if database.read_only:
            raise _unfit_for_reading(database, found)
        deadline = time.monotonic() + _TURN_SECONDS
        while True:
            try:
                _upgrade_in_turn(database)
            except OperationalError as e:
                if not _busy(e) or time.monotonic() > deadline:
                    raise
            else:
                return
    except SQLAlchemyError as e:
        raise database.error("cannot be opened for writing", e) from None


def _upgrade_in_turn(database: Database) -> None:
    with database.writing() as connection:
        if not database.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
            if not sa.inspect(connection).has_schema(database.schema or ""):
                connection.exec_driver_sql(f'CREATE SCHEMA "{database.schema}"')
        upgrade(connection, database)


def _busy(error: OperationalError) -> bool:
    """Whether another process holds the lock: its upgrade may take longer than one wait."""
    return any(text in str(error) for text in ("database is locked", "lock timeout"))


def upgrade(connection: sa.Connection, database: Database) -> None:
    """
    Run the pending schema revisions inside the transaction of `connection`.

    Raises
    ------
    JournalError
        Fatal: the schema is newer than this version knows.

    """
    from alembic import command  # noqa: PLC0415 - opening a journal that is up to date never needs Alembic
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    found = _revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise _too_new(database, found)
    command.upgrade(config, "head")
    if found is None:
        facts = introduction()
        connection.execute(sa.insert(META), [{"key": key, "value": value} for key, value in facts.items()])


def introduction() -> dict[str, str]:
    """Return the meta facts of a journal that begins now: its identity and when it was created."""
    return {"journal": str(uuid.uuid4()), "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def _revision(connection: sa.Connection) -> str | None:
    inspector = sa.inspect(connection)
    if not inspector.has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _unfit_for_reading(database: Database, found: str | None) -> JournalError:
    if found is None:
        return JournalError(f"journal {database.label}: holds no journal; check the address")
    if found > HEAD:  # revisions are numbered, so text order is their order
        return _too_new(database, found)
    return JournalError(
        f"journal {database.label}: schema {found} is older than {HEAD}; start the node on it once to upgrade it"
    )


def _too_new(database: Database, found: str) -> JournalError:
    return JournalError(
        f"journal {database.label}: schema {found} was written by a newer version (this one knows up to {HEAD}); "
        "install that version, or give this node another journal"
    )


def _parse(url: str) -> sa.URL:
    wanted = "use sqlite:///file.sqlite or postgresql+psycopg://user:password@host/database"
    try:
        address = sa.make_url(url)
        backend = address.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise JournalError(f"journal address is malformed (not shown, it may hold a password): {wanted}") from None
    if backend not in {"sqlite", "postgresql", "postgres"}:
        raise JournalError(f"journal address names {backend!r}: {wanted}")
    return address


def _sqlite_path(address: sa.URL) -> Path:
    name = address.database or ""
    if address.query or name in {"", ":memory:"} or name.startswith("file:"):
        raise JournalError("journal address names no plain file: use sqlite:///file.sqlite without options")
    return Path(name).absolute()  # connections opened later must not depend on the working directory


def _postgresql_address(address: sa.URL) -> tuple[sa.URL, str]:
    schema = address.query.get("schema", DEFAULT_SCHEMA)
    if not isinstance(schema, str) or not _PLAIN_NAME.fullmatch(schema):
        raise JournalError("journal address: schema must be one lower-case name of letters, digits and _")
    return address.set(drivername="postgresql+psycopg").difference_update_query(["schema"]), schema


def _secrets(address: sa.URL) -> list[str]:
    plain = {address.password} if address.password else set()
    for name in ("password", "sslpassword", "passfile"):
        values = address.query.get(name, ())
        plain.update([values] if isinstance(values, str) else values)
    quoted = {sa.URL.create("x", username="u", password=secret).render_as_string(False)[6:-1] for secret in plain}
    return sorted((plain | quoted) - {""}, key=len, reverse=True)


def _without_secrets(address: sa.URL) -> str:
    return address.difference_update_query(["password", "sslpassword"]).render_as_string(hide_password=True)
