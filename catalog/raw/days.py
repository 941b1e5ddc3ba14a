"""
The raw store on disk: ``<root>/<kind>/<symbol>[/<interval>]/<day>.parquet``, all days of a command visible at once.

A command writes its days under ``.staging``, then notes which file goes where, then renames one after the other. Killed
before the note: nothing happened. Killed after it: the next reader or writer finishes. Each file carries the content
hash of its day, which does not depend on how the rows came (one file or several, any compression).
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.raw.arrays import NO, scalar, to_numpy
from catalog.raw.kinds import KINDS, Kind
from catalog.store import flocked, write_json
from strategies.errors import DataError

DEFAULT_ROOT = Path("var/raw")
DAY_NS = 86_400_000_000_000
HASH = b"argonaut.sha256"

_STAGING, _LOCK, _INTENT = ".staging", ".lock", "intent.json"
_ROWS_PER_GROUP = 200_000


@dataclass(frozen=True, slots=True)
class Day:
    """One stored day: ISO date, rows, SHA-256 over its values, file."""

    day: str
    rows: int
    sha256: str
    path: Path


def series_path(root: Path, kind: Kind, symbol: str, interval: str | None) -> Path:
    """Return the directory of a series."""
    folder = root / kind.name / symbol
    return folder / interval if interval else folder


def day_name(day: int) -> str:
    """Return days since 1970 as an ISO date."""
    return str(np.datetime64(day, "D"))


def days(
    root: Path,
    kind: str,
    symbol: str,
    interval: str | None = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> list[Day]:
    """
    Return the stored days that ``[start, end)`` touches, oldest first.

    Raises
    ------
    DataError
        Propagate: a file is damaged.

    """
    recover(root)
    first = "" if start_ns is None else day_name(start_ns // DAY_NS)
    last = "~" if end_ns is None else day_name((end_ns - 1) // DAY_NS)
    files = sorted(series_path(root, KINDS[kind], symbol, interval).glob("*.parquet"))
    return [describe(file) for file in files if first <= file.stem <= last]


def load(
    root: Path,
    kind: str,
    symbol: str,
    interval: str | None = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
    columns: list[str] | None = None,
) -> Iterator[pa.Table]:
    """
    Yield the rows with time in ``[start, end)``, one table a day, oldest first.

    Raises
    ------
    DataError
        Propagate: a file is damaged.

    """
    time_name = KINDS[kind].columns[0].name
    for day in days(root, kind, symbol, interval, start_ns, end_ns):
        table = read(day.path)
        time = table[time_name].to_numpy()
        inside = np.ones(len(time), dtype=bool)
        if start_ns is not None:
            inside &= time >= start_ns
        if end_ns is not None:
            inside &= time < end_ns
        table = table if inside.all() else table.filter(pa.array(inside))
        yield table.select(columns) if columns else table


def dataset_hash(found: list[Day]) -> str:
    """Return one SHA-256 for a list of days."""
    return hashlib.sha256("\n".join(f"{day.day} {day.sha256}" for day in found).encode()).hexdigest()


def verify(day: Day) -> str | None:
    """Return what is wrong with a stored day, None when its rows still have the hash they were stored with."""
    try:
        content = ContentHash()
        with pq.ParquetFile(day.path) as parquet:
            for batch in parquet.iter_batches():
                content.update(pa.Table.from_batches([batch]))
    except (OSError, pa.ArrowInvalid) as e:
        return f"{day.path}: damaged: {e}: remove it and bring the day again"
    return None if content.hexdigest() == day.sha256 else other_rows(day)


def other_rows(day: Day) -> str:
    """Return what to tell of a stored day whose rows do not have the hash they were stored with."""
    if day.sha256 == former_hash(day.path):
        return f"{day.path}: its content hash has the form of before 2026-11-25: run `python -m catalog.raw rehash`"
    return f"{day.path}: its rows are not those that were stored: remove it and bring the day again"


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


def rehash(root: Path, wait_seconds: float = 60.0) -> tuple[list[Path], list[Path]]:
    """
    Give every day whose hash has the form of before 2026-11-25 the present one, all at once; rows stay as they are.

    Returns
    -------
    written, refused : list of Path
        Days that have a new hash, and days whose rows have neither hash: these are damaged and left as they are.

    Raises
    ------
    DataError
        Propagate: a file is damaged, disk full; the store is as before.

    """
    refused: list[Path] = []
    with changing(root, wait_seconds) as change:
        folders = [root / name for name in KINDS]
        for file in sorted(file for folder in folders for file in folder.rglob("*.parquet")):
            day, table = describe(file), read(file)
            content = ContentHash()
            content.update(table)
            if content.hexdigest() == day.sha256:
                continue
            if day.sha256 and day.sha256 != former_hash(file):
                refused.append(file)
                continue
            writer = DayWriter(change.new_file(), table.schema.remove_metadata())
            writer.add(table)
            writer.close()
            change.staged[file] = writer.file
        written = list(change.staged)
        change.commit()
    return written, refused


def read(file: Path) -> pa.Table:
    """
    Return a whole day.

    Raises
    ------
    DataError
        Propagate: the file is damaged.

    """
    try:
        with pq.ParquetFile(file) as parquet:
            return parquet.read()
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"{file}: damaged: {e}; remove it and bring the day again") from None


class ContentHash:
    """SHA-256 over the values of every column, whatever the blocks they come in."""

    def __init__(self) -> None:
        self._columns: dict[str, Any] = {}
        self.rows = 0

    def update(self, table: pa.Table) -> None:
        """Add rows."""
        self.rows += table.num_rows
        for field, column in zip(table.schema, table.columns, strict=True):
            digest = self._columns.setdefault(field.name, hashlib.sha256(str(field.type).encode()))
            # Apart from the values: one after the other in one hash, they would show where the blocks end.
            valid = self._columns.setdefault(f"{field.name}?", hashlib.sha256()) if field.nullable else None
            for chunk in column.chunks:
                if valid is not None:
                    valid.update(to_numpy(chunk.is_valid()).tobytes())
                digest.update(_values(chunk))

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
        integers = [field.name for field in schema if field.type == pa.int64()]
        file.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[field.name for field in schema if field.type == pa.string()],
            column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
            write_statistics=integers,
            store_decimal_as_integer=True,
        )

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


class Change:
    """
    Days being changed together; the caller holds the store's lock through :func:`changing`.

    Attributes
    ----------
    staged : dict[Path, Path]
        Live file to the file that will take its place.

    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staged: dict[Path, Path] = {}
        self._count = 0

    def new_file(self) -> Path:
        """Return a name for a file to be staged."""
        self._count += 1
        return self.root / _STAGING / f"{self._count:06d}.parquet"

    def current(self, live: Path) -> Path | None:
        """Return the file that holds a day now, staged or live, None when there is none."""
        found = self.staged.get(live, live)
        return found if found.exists() else None

    def commit(self) -> None:
        """Make everything staged visible."""
        if not self.staged:
            return
        for file in self.staged.values():
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())
        moves = [[file.name, str(live.relative_to(self.root))] for live, file in self.staged.items()]
        write_json(self.root / _STAGING / _INTENT, moves)
        _finish(self.root)


class _Cleaner:
    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> None:
        _finish(self._root)
        shutil.rmtree(self._root / _STAGING, ignore_errors=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self._root / _STAGING, ignore_errors=True)


@contextmanager
def changing(root: Path, wait_seconds: float = 60.0) -> Iterator[Change]:
    """
    Hold the store for one change; finishes or discards what a killed writer left behind. Commit is the caller's.

    Raises
    ------
    DataError
        Defer: another process holds it. Propagate: disk full or no permission; the store is as before.

    """
    with flocked(root / _LOCK, wait_seconds), _Cleaner(root):
        (root / _STAGING).mkdir(parents=True, exist_ok=True)
        try:
            yield Change(root)
        except OSError as e:
            raise DataError(f"{root}: cannot be written: {e.strerror or e}; the store is as it was before") from None


def recover(root: Path) -> None:
    """Finish a change that a killed writer had noted; does nothing otherwise."""
    if (root / _STAGING / _INTENT).exists():
        with flocked(root / _LOCK, 60.0):
            _finish(root)


def _finish(root: Path) -> None:
    note = root / _STAGING / _INTENT
    if not note.exists():
        return
    folders = set()
    for name, target in json.loads(note.read_text(encoding="utf-8")):
        file, live = root / _STAGING / name, root / target
        if file.exists():
            live.parent.mkdir(parents=True, exist_ok=True)
            file.replace(live)
        folders.add(live.parent)
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    note.unlink()


def describe(file: Path) -> Day:
    """
    Return a stored day.

    Raises
    ------
    DataError
        Propagate: the file is damaged.

    """
    try:
        metadata = pq.read_metadata(file)
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"{file}: damaged: {e}; remove it and bring the day again") from None
    return Day(file.stem, metadata.num_rows, (metadata.metadata or {}).get(HASH, b"").decode(), file)
