"""Taking over what a former life of the node had written ahead and not yet put into the database."""

import errno
import time
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from node.journal import rows
from node.journal.ahead import WriteAhead, leftover, put_away
from node.journal.database import Database
from node.journal.models import META
from strategies.errors import JournalError, JournalUnavailableError
from strategies.records import AnyRecord, IncidentRecord

FOREIGN = "journal_ahead_foreign"

_decode = msgspec.json.Decoder(AnyRecord).decode


def journal_identity(database: Database) -> str:
    """Return the identity in the journal's meta table."""
    with database.reading() as connection:
        return str(connection.execute(sa.select(META.c.value).where(META.c.key == "journal")).scalar())


def take_over(database: Database, path: Path) -> WriteAhead:
    """
    Put what lies in the write-ahead file into the database, and return the file, empty and open.

    Lines of another journal are never mixed in: the file is kept under another name, and an incident says so.

    Raises
    ------
    JournalError
        Fatal: the file cannot be read or opened, or the database cannot be written; the file is then as it was.

    """
    identity = journal_identity(database)
    try:
        found = leftover(path)
        if found is not None:
            records: list[Any]
            if found.identity == identity:
                records = [_record(line) for line in found.lines]
            else:
                records = [_foreign(path, put_away(path))]
            if records:
                with database.writing() as connection:
                    rows.insert(connection, rows.to_rows(records))
        return WriteAhead(path, identity)
    except SQLAlchemyError as e:
        raise database.error(f"what was written ahead in {path} cannot be taken over", e) from None
    except OSError as e:
        kind = JournalUnavailableError if e.errno == errno.ENOSPC else JournalError
        raise kind(f"journal {database.label}: write-ahead file {path}: {e.strerror or e}") from None


def _record(line: bytes) -> Any:
    try:
        return _decode(line)
    except msgspec.MsgspecError as e:
        return rows.unwritable(line, e)


def _foreign(path: Path, kept: Path) -> IncidentRecord:
    now = time.time_ns()
    return IncidentRecord(
        id=f"{FOREIGN}/{now}",
        market_time=None,
        wall_time=now,
        severity="warning",
        code=FOREIGN,
        symbol=None,
        message=f"{path.name} held records of another journal, or is damaged: kept as {kept.name}",
    )
