"""
Records to rows and into the tables, exactly once by id.

What counts as "the same content" are all fields but ``market_time`` and ``wall_time``: those say when this process saw
the fact, and a fill reported again after a restart is the same fill.
"""

import hashlib
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeGuard

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from node.journal.models import COLUMNS, TABLES
from strategies.records import AnyRecord, IncidentRecord, Record

CONFLICT: Final = "journal_conflict"
UNWRITABLE: Final = "journal_unwritable"

MONEY: Final = frozenset({"fill", "trade", "funding", "approval"})
"""Kinds that are never dropped and never wait for a batch."""

_OBSERVATION: Final = frozenset({"market_time", "wall_time"})
_YIELD_EVERY: Final = 16
_COMPARE_CHUNK: Final = 500  # below every database's limit on bound parameters

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyRecord).decode

Row = dict[str, Any]
Batch = dict[type[Record], list[Row]]


def to_rows(records: Iterable[Any]) -> Batch:
    """
    Return `records` as table rows grouped by kind; the order within a kind is kept.

    A record that could not be read back (a NaN amount, a wrong type) becomes a critical incident that quotes it.
    """
    batch: Batch = {}
    for count, record in enumerate(records, start=1):
        kept, row = to_row(record)
        batch.setdefault(kept, []).append(row)
        if count % _YIELD_EVERY == 0:
            time.sleep(0)  # hands the interpreter to the event loop, which would otherwise wait a whole switch interval
    return batch


def to_row(record: Any) -> tuple[type[Record], Row]:
    """Return the kind under which `record` is stored and its row."""
    try:
        payload = encode(record)
        kind = type(_decode(payload))  # what cannot be read back is not a record
        row: Row = {name: getattr(record, name) for name in COLUMNS[kind]}
        row["payload"] = payload.decode()
    except Exception as e:  # noqa: BLE001 - whatever was published must not stop the writer
        incident = unwritable(record, e)
        row = {name: getattr(incident, name) for name in COLUMNS[IncidentRecord]}
        row["payload"] = encode(incident).decode()
        return IncidentRecord, row
    return kind, row


def unwritable(record: Any, cause: BaseException) -> IncidentRecord:
    """Return the incident that stands for a record the tables cannot hold; its message quotes the whole record."""
    quoted = ascii(record)
    wall_time = getattr(record, "wall_time", None)
    market_time = getattr(record, "market_time", None)
    return IncidentRecord(
        id=f"{UNWRITABLE}/{hashlib.sha256(quoted.encode()).hexdigest()[:16]}",
        market_time=market_time if _is_time(market_time) else None,
        wall_time=wall_time if _is_time(wall_time) else time.time_ns(),
        severity="critical",
        code=UNWRITABLE,
        symbol=None,
        message=ascii(f"a record cannot be stored ({type(cause).__name__}: {cause}): ")[1:-1] + quoted,
    )


def insert(connection: sa.Connection, batch: Batch) -> None:
    """
    Insert `batch` in the open transaction; a known id is left as it is.

    The same id with other content leaves the first in place and adds a ``journal_conflict`` incident.
    """
    conflicts: list[Row] = []
    for kind, rows in batch.items():
        if _insert_new(connection, kind, rows) != len(rows):
            conflicts.extend(to_row(incident)[1] for incident in _conflicts(connection, kind, rows))
    if conflicts:
        _insert_new(connection, IncidentRecord, conflicts)


def _insert_new(connection: sa.Connection, kind: type[Record], rows: Sequence[Row]) -> int:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(TABLES[kind]).on_conflict_do_nothing(index_elements=["id"])
    return connection.execute(statement, list(rows)).rowcount


def _conflicts(connection: sa.Connection, kind: type[Record], rows: Sequence[Row]) -> list[IncidentRecord]:
    table = TABLES[kind]
    stored: dict[str, str] = {}
    ids = [row["id"] for row in rows]
    for start in range(0, len(ids), _COMPARE_CHUNK):
        chunk = ids[start : start + _COMPARE_CHUNK]
        found = connection.execute(sa.select(table.c.id, table.c.payload).where(table.c.id.in_(chunk)))
        stored.update({identity: payload for identity, payload in found})  # noqa: C416 - rows are not tuples to mypy
    incidents = []
    for row in rows:
        differing = _differences(stored[row["id"]], row["payload"])
        if differing:
            incidents.append(_conflict(kind, row, differing))
    return incidents


def _differences(kept: str, offered: str) -> list[str]:
    if kept == offered:
        return []
    first: Row = msgspec.json.decode(kept)
    second: Row = msgspec.json.decode(offered)
    # A field that only one of them has came with another program version, which is no contradiction.
    names = [name for name in first if name in second and name not in _OBSERVATION]
    return [f"{name} {first[name]!r} kept, {second[name]!r} refused" for name in names if first[name] != second[name]]


def _conflict(kind: type[Record], row: Row, differing: list[str]) -> IncidentRecord:
    digest = hashlib.sha256("\n".join(differing).encode()).hexdigest()[:16]
    return IncidentRecord(
        id=f"{CONFLICT}/{kind.kind}/{row['id']}/{digest}",
        market_time=row["market_time"],
        wall_time=row["wall_time"],
        severity="critical" if kind.kind in MONEY else "warning",
        code=CONFLICT,
        symbol=row.get("symbol"),
        message=f"{kind.kind} {row['id']} arrived again with other content: {'; '.join(differing)}",
    )


def _is_time(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
