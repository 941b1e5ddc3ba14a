"""Setting a journal's content aside under a time-stamped name, and going on empty. Nothing is ever deleted for good."""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from node.journal.database import ADVISORY_LOCK, Database, introduction, upgrade
from node.journal.models import META, TABLES


def set_aside(database: Database, facts: dict[str, str]) -> str:
    """
    Move everything in the journal to an archive and give the empty journal new `facts` in its meta table.

    Atomic for writers and readers of other processes, which keep their connections: SQLite's content is copied to a
    file beside it, checked and flushed to disk, then removed from the live file in one transaction (renaming a file
    that others have open would let them damage its successor); PostgreSQL's schema is renamed.

    Returns
    -------
    str
        The archive: a file path, or a PostgreSQL schema name.

    Raises
    ------
    SQLAlchemyError, OSError
        Propagate: the journal is unchanged.

    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return _copy_and_empty(database, database.path, stamp, facts) if database.path else _rename(database, stamp, facts)


def _copy_and_empty(database: Database, path: Path, stamp: str, facts: dict[str, str]) -> str:
    archive = _unused(path, stamp)
    partial = archive.with_name(f".{archive.name}.partial")
    with database.writing() as connection:  # holds the write lock: nothing can come between copy and removal
        try:
            with closing(sqlite3.connect(path)) as source:
                source.execute("VACUUM INTO ?", (str(partial),))
            _check_copy(connection, partial)
            _flush_to_disk(partial)
            partial.replace(archive)
            _flush_to_disk(archive.parent)
        except sqlite3.Error as e:
            raise OSError(f"copying to {archive} failed: {e}") from e
        finally:
            partial.unlink(missing_ok=True)
        for table in TABLES.values():
            connection.execute(sa.delete(table))
        _start_anew(connection, facts, archive.name)
    return str(archive)


def _unused(path: Path, stamp: str) -> Path:
    count = 1
    while True:
        tail = "" if count == 1 else f"-{count}"
        archive = path.with_name(f"{path.stem}.{stamp}{tail}{path.suffix}")
        if not archive.exists():
            return archive
        count += 1


def _check_copy(connection: sa.Connection, copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as other:
        verdict = other.execute("PRAGMA quick_check").fetchone()[0]
        if verdict != "ok":
            raise OSError(f"the copy {copy} is damaged: {verdict}")
        for table in TABLES.values():
            query = sa.select(sa.func.count(), sa.func.max(table.c.seq)).select_from(table)
            if tuple(connection.execute(query).one()) != other.execute(str(query)).fetchone():
                raise OSError(f"the copy {copy} lacks rows of {table.name}")


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(database: Database, stamp: str, facts: dict[str, str]) -> str:
    with database.writing() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        taken = set(sa.inspect(connection).get_schema_names())
        # PostgreSQL cuts names at 63 bytes.
        base = f"{(database.schema or '')[:40]}_{stamp.lower()}"
        archive = next(
            name for count in range(1, 1000) if (name := base if count == 1 else f"{base}_{count}") not in taken
        )
        connection.exec_driver_sql(f'ALTER SCHEMA "{database.schema}" RENAME TO "{archive}"')
        connection.exec_driver_sql(f'CREATE SCHEMA "{database.schema}"')
        upgrade(connection, database)
        _start_anew(connection, facts, archive)
    return archive


def _start_anew(connection: sa.Connection, facts: dict[str, str], previous: str) -> None:
    connection.execute(sa.delete(META))
    facts = introduction() | facts | {"previous": previous}
    connection.execute(sa.insert(META), [{"key": key, "value": value} for key, value in facts.items()])
