"""
The files of the raw store: a day each, or, of slow kinds, a month each with every day's rows and content hash told.

A day's content hash does not depend on the file it lies in, on how its rows came (one file or several) or on any
compression.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.raw.arrays import NO, scalar, to_numpy
from catalog.raw.kinds import Kind
from strategies.errors import DataError

DAY_NS = 86_400_000_000_000
HASH = b"argonaut.sha256"
"""Metadata of a day's file: the content hash."""
DAYS = b"argonaut.days"
"""Metadata of a month's file: JSON, a list of day, rows and content hash in the order of the rows."""

_ROWS_PER_GROUP = 200_000


@dataclass(frozen=True, slots=True)
class Day:
    """One stored day: ISO date, rows, SHA-256 over its values, its file, and the place of its first row there."""

    day: str
    rows: int
    sha256: str
    path: Path
    first: int = 0


def day_name(day: int) -> str:
    """Return days since 1970 as an ISO date."""
    return str(np.datetime64(day, "D"))


def period_of(kind: Kind, day: str) -> str:
    """Return what the file of an ISO date is called: the day, or of slow kinds its month."""
    return day[:7] if kind.monthly else day


def described(file: Path) -> list[Day]:
    """
    Return the days of a file, oldest first.

    Raises
    ------
    DataError
        Propagate: the file is damaged.

    """
    try:
        metadata = pq.read_metadata(file)
        told = metadata.metadata or {}
        if DAYS not in told:
            return [Day(file.stem, metadata.num_rows, told.get(HASH, b"").decode(), file)]
        found, first = [], 0
        for day, rows, sha256 in json.loads(told[DAYS]):
            found.append(Day(str(day), int(rows), str(sha256), file, first))
            first += int(rows)
    except (OSError, pa.ArrowInvalid, ValueError, TypeError) as e:
        raise _damaged(file, e) from None
    if first != metadata.num_rows:
        raise _damaged(file, f"it holds {metadata.num_rows} rows and tells of {first}")
    return found


def read(file: Path) -> pa.Table:
    """
    Return all rows of a file.

    Raises
    ------
    DataError
        Propagate: the file is damaged.

    """
    try:
        with pq.ParquetFile(file) as parquet:
            return parquet.read().replace_schema_metadata()
    except (OSError, pa.ArrowInvalid) as e:
        raise _damaged(file, e) from None


def tables(found: Iterable[Day]) -> Iterator[tuple[Day, pa.Table]]:
    """
    Yield the rows of every day, each file read once for all its days that follow each other.

    Raises
    ------
    DataError
        Propagate: a file is damaged.

    """
    for file, days in itertools.groupby(found, key=lambda day: day.path):
        whole = read(file)
        for day in days:
            yield day, whole.slice(day.first, day.rows)


def pieces(found: Iterable[Day]) -> Iterator[tuple[Day, pa.Table]]:
    """
    Yield the rows of every day in pieces that fit into memory: a day's file in batches, a month's a day at a time.

    Raises
    ------
    DataError
        Propagate: a file is damaged.

    """
    for file, days in itertools.groupby(found, key=lambda day: day.path):
        held = list(days)
        if file.stem != held[0].day:
            yield from tables(held)
            continue
        try:
            with pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(_ROWS_PER_GROUP):
                    yield held[0], pa.Table.from_batches([batch]).replace_schema_metadata()
        except (OSError, pa.ArrowInvalid) as e:
            raise _damaged(file, e) from None


def _damaged(file: Path, why: object) -> DataError:
    return DataError(f"{file}: damaged: {why}; remove it and bring its rows again")


def former_hash(file: Path) -> str:
    """Return the content hash as it was until 2026-11-24: it mixed what is empty with the values, block by block."""
    digests: dict[str, Any] = {}
    with pq.ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group)
            for field, column in zip(table.schema, table.columns, strict=True):
                digest = digests.setdefault(field.name, hashlib.sha256(str(field.type).encode()))
                for chunk in column.chunks:
                    if field.nullable:
                        digest.update(to_numpy(chunk.is_valid()).tobytes())
                    digest.update(_values(chunk))
        lines = (f"{name} {digest.hexdigest()}" for name, digest in sorted(digests.items()))
        return hashlib.sha256("\n".join([str(parquet.metadata.num_rows), *lines]).encode()).hexdigest()


class ContentHash:
    """SHA-256 over the values of every column, whatever the blocks they come in."""

    def __init__(self) -> None:
        self._columns: dict[str, Any] = {}
        self.rows = 0

    def update(self, table: pa.Table) -> None:
        """Add rows."""
        self.rows += table.num_rows
        for field, column in zip(table.schema, table.columns, strict=True):
            for chunk in column.chunks:
                self.add(field, _values(chunk), to_numpy(chunk.is_valid()).tobytes() if field.nullable else None)
            if not column.num_chunks:
                self.add(field, b"", b"")

    def add(self, field: pa.Field, values: bytes | memoryview, valid: bytes | memoryview | None) -> None:
        """Add values of one column, and of one that may be empty, which of them are there; rows are not counted."""
        digest = self._columns.get(field.name)
        if digest is None:
            digest = self._columns[field.name] = hashlib.sha256(str(field.type).encode())
        digest.update(values)
        if field.nullable:
            # Apart from the values: one after the other in one hash, they would show where the blocks end.
            self._columns.setdefault(f"{field.name}?", hashlib.sha256()).update(valid or b"")

    def hexdigest(self) -> str:
        """Return the hash of everything so far."""
        lines = (f"{name} {digest.hexdigest()}" for name, digest in sorted(self._columns.items()))
        return hashlib.sha256("\n".join([str(self.rows), *lines]).encode()).hexdigest()


def _values(chunk: pa.Array) -> bytes | memoryview:
    if pa.types.is_string(chunk.type):
        return "\n".join(f"{text}" for text in chunk.to_pylist()).encode() + b"\n"
    if pa.types.is_boolean(chunk.type):
        return to_numpy(chunk.fill_null(NO)).tobytes()
    if chunk.null_count:
        chunk = chunk.fill_null(scalar(0, chunk.type))
    width = chunk.type.bit_width // 8
    return memoryview(chunk.buffers()[1])[chunk.offset * width : (chunk.offset + len(chunk)) * width]


class DayWriter:
    """One day being written, row groups as they come."""

    def __init__(self, file: Path, schema: pa.Schema) -> None:
        self.file = file
        self.content = ContentHash()
        self._writer = _parquet_writer(file, schema)

    def add(self, table: pa.Table) -> None:
        """Append rows."""
        self.content.update(table)
        self._writer.write_table(table, row_group_size=_ROWS_PER_GROUP)

    def close(self) -> str:
        """Complete the file and return its content hash."""
        digest = self.content.hexdigest()
        self._writer.add_key_value_metadata({HASH.decode(): digest})
        self._writer.close()
        return digest

    def digests(self, period: str) -> dict[str, str]:
        """Return the content hash of the day, which is called `period`."""
        return {period: self.content.hexdigest()}


class MonthWriter:
    """
    One month being written: rows ascending in time, kept until the end as a month of a slow kind is small.

    Attributes
    ----------
    rows : pa.Table or None
        What was written, once the file is complete.

    """

    def __init__(self, file: Path, schema: pa.Schema) -> None:
        self.file = file
        self.rows: pa.Table | None = None
        self._contents: dict[str, ContentHash] = {}
        self._parts: list[pa.Table] = []
        self._writer = _parquet_writer(file, schema)

    def add(self, table: pa.Table) -> None:
        """Append rows."""
        self._parts.append(table)

    def close(self) -> None:
        """Complete the file."""
        if self._parts:
            self.rows = pa.concat_tables(self._parts).combine_chunks()
            self._contents = _hashed_by_day(self.rows)
            self._writer.write_table(self.rows, row_group_size=_ROWS_PER_GROUP)
        told = [[day, content.rows, content.hexdigest()] for day, content in self._contents.items()]
        self._writer.add_key_value_metadata({DAYS.decode(): json.dumps(told)})
        self._writer.close()
        self._parts.clear()

    def digests(self, period: str) -> dict[str, str]:  # noqa: ARG002 - the days name themselves
        """Return the content hash of every day."""
        return {day: content.hexdigest() for day, content in self._contents.items()}


def _hashed_by_day(table: pa.Table) -> dict[str, ContentHash]:
    """Return the content hash of every day of rows ascending in time; the table has one chunk a column."""
    days = to_numpy(table.column(0)) // DAY_NS
    edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
    spans = [(first, last) for first, last in itertools.pairwise(edges) if last > first]
    contents = [ContentHash() for _ in spans]
    for content, (first, last) in zip(contents, spans, strict=True):
        content.rows = last - first
    for field, column in zip(table.schema, table.columns, strict=True):
        chunk = column.chunk(0)
        if pa.types.is_string(field.type):
            parts = [_values(chunk.slice(first, last - first)) for first, last in spans]
        else:
            whole = memoryview(_values(chunk)).cast("B")
            width = len(whole) // len(chunk)
            parts = [whole[first * width : last * width] for first, last in spans]
        valid = memoryview(to_numpy(chunk.is_valid()).tobytes()) if field.nullable else None
        for content, part, (first, last) in zip(contents, parts, spans, strict=True):
            content.add(field, part, None if valid is None else valid[first:last])
    return {day_name(int(days[first])): content for content, (first, _) in zip(contents, spans, strict=True)}


def writer_of(kind: Kind, file: Path, schema: pa.Schema) -> DayWriter | MonthWriter:
    """Return what writes a period of a kind."""
    return (MonthWriter if kind.monthly else DayWriter)(file, schema)


def _parquet_writer(file: Path, schema: pa.Schema) -> pq.ParquetWriter:
    integers = [field.name for field in schema if field.type == pa.int64()]
    file.parent.mkdir(parents=True, exist_ok=True)
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=[field.name for field in schema if field.type == pa.string()],
        column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
        write_statistics=integers,
        store_decimal_as_integer=True,
    )
