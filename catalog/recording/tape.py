"""
The tape: everything that was heard, in the order it was heard, one parquet file a UTC day of arrival.

Merging takes closed segments into the days of the tape, their rows into the raw store, and removes them, in this order:
a kill in between is repaired by merging again, because a record is known by its sequence and a row by its key.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.raw.change import Change, changing, recover
from catalog.raw.day_files import DAY_NS, Day, DayWriter, day_name, described
from catalog.raw.writer import put_rows
from catalog.recording.rows import rows_of
from catalog.recording.segments import Entry, Reading, closed, segments
from strategies.errors import DataError

FOLDER = "tape"
SCHEMA = pa.schema(
    [
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("ts_init", pa.int64(), nullable=False),
        pa.field("stream", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)
_BATCH = 50_000
_WORTH = 4


@dataclass(slots=True)
class Merged:
    """What merging did: segments and records taken, days written, rows put by series, and what was refused or torn."""

    segments: int = 0
    records: int = 0
    days: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def days(root: Path, start_ns: int | None = None, end_ns: int | None = None) -> list[Day]:
    """Return the days of the tape that ``[start, end)`` of arrival touches, oldest first."""
    recover(root)
    first = "" if start_ns is None else day_name(start_ns // DAY_NS)
    last = "~" if end_ns is None else day_name((end_ns - 1) // DAY_NS)
    files = sorted((root / FOLDER).glob("*.parquet"))
    return [day for file in files if first <= file.stem <= last for day in described(file)]


def entries(root: Path, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[Entry]:
    """
    Yield what was heard in ``[start, end)`` of arrival, UTC ns, in order; merged, closed or being written.

    Raises
    ------
    DataError
        Propagate: a day is damaged.

    """
    newest = 0
    while True:
        try:
            for entry in _from(root, newest, start_ns, end_ns):
                newest = entry.sequence
                if (start_ns is None or entry.ts_init >= start_ns) and (end_ns is None or entry.ts_init < end_ns):
                    yield entry
        except FileNotFoundError:  # merged between the listing and the opening: it is on the tape now
            continue
        return


def _from(root: Path, newest: int, start_ns: int | None, end_ns: int | None) -> Iterator[Entry]:
    for day in days(root, start_ns, end_ns):
        for table in _batches(day.path):
            for entry in _entries(table):
                if entry.sequence > newest:
                    newest = entry.sequence
                    yield entry
    for file in segments(root):
        for entry in Reading(file):
            if entry.sequence > newest:
                newest = entry.sequence
                yield entry


def last_entry(root: Path) -> Entry | None:
    """Return the newest record, merged or not; None when there is none."""
    newest: Entry | None = None
    for day in days(root)[-1:]:
        with pq.ParquetFile(day.path) as parquet:
            table = parquet.read_row_group(parquet.metadata.num_row_groups - 1)
        (newest,) = _entries(table.slice(table.num_rows - 1))
    for file in closed(root):
        for entry in Reading(file):
            if newest is None or entry.sequence > newest.sequence:
                newest = entry
    return newest


def merge(root: Path, raw_root: Path | None, *, patient: bool = False, wait_seconds: float = 60.0) -> Merged:
    """
    Take closed segments into the tape and their rows into the raw store.

    Parameters
    ----------
    root : Path
        Recording directory.
    raw_root : Path or None
        The raw store; None: only the tape.
    patient : bool
        Leave segments of the day under way until they are a quarter of what the tape has of it: a day is written anew
        at each merge, and so all merges together cost a few times its rows instead of their square.

    Raises
    ------
    DataError
        Defer: another process merges. Propagate: disk full or no permission; segments are kept, nothing is lost.

    """
    done = Merged()
    files = closed(root)
    if not files:
        recover(root)
        return done
    by_day: dict[int, list[Path]] = {}
    for file in files:
        by_day.setdefault(_day_of(file), []).append(file)
    under_way = max(map(_day_of, segments(root)), default=0)
    if patient and not _enough(root, under_way, by_day.get(under_way, [])):
        left = by_day.pop(under_way, [])
        files = [file for file in files if file not in left]
    with changing(root, wait_seconds) as change:
        for day, found in sorted(by_day.items()):
            _take_day(change, day, found, done)
        change.commit()
    if raw_root is not None:
        for file in files:
            _put(file, raw_root, done, wait_seconds)
    for file in files:
        reading = Reading(file)
        for _ in reading:
            pass
        if reading.damaged:
            aside = file.rename(file.with_suffix(".damaged"))
            done.notes.append(
                f"{aside}: {reading.torn} bytes in it cannot be read; what stands before them is on the tape: "
                "check the disk, then remove the file"
            )
            continue
        if reading.torn:
            done.notes.append(f"{file.name}: {reading.torn} bytes of a record that was never committed left out")
        file.unlink()
    done.segments = len(files)
    return done


def _day_of(segment: Path) -> int:
    return int(segment.name.partition("-")[0]) // DAY_NS


def _enough(root: Path, day: int, files: list[Path]) -> bool:
    """Return whether the segments of a day are worth writing it anew."""
    live = root / FOLDER / f"{day_name(day)}.parquet"
    if not live.exists():
        return True
    with pq.ParquetFile(live) as parquet:
        groups = (parquet.metadata.row_group(i) for i in range(parquet.metadata.num_row_groups))
        held = sum(group.total_byte_size for group in groups)
    return sum(file.stat().st_size for file in files) * _WORTH >= held


def _take_day(change: Change, day: int, files: list[Path], done: Merged) -> None:
    name = day_name(day)
    live = change.root / FOLDER / f"{name}.parquet"
    old = live if live.exists() else None
    newest = _last_sequence(old) if old is not None else 0
    writer: DayWriter | None = None
    fresh: list[Entry] = []

    def write() -> None:
        nonlocal writer
        if writer is None:
            writer = DayWriter(change.new_file(), SCHEMA)
            for table in _batches(old) if old is not None else ():
                writer.add(table)
        writer.add(_table(fresh))
        done.records += len(fresh)
        fresh.clear()

    try:
        for file in files:
            for entry in Reading(file):
                if entry.sequence > newest:
                    newest = entry.sequence
                    fresh.append(entry)
                    if len(fresh) == _BATCH:
                        write()
        if fresh:
            write()
    finally:
        if writer is not None:
            writer.close()
            change.staged[live] = writer.file
            done.days.append(name)


def _put(file: Path, raw_root: Path, done: Merged, wait_seconds: float) -> None:
    batch: list[Entry] = []

    def put() -> None:
        for target, columns in rows_of(batch).items():
            count = len(next(iter(columns.values())))
            name = " ".join(part for part in target if part)
            try:
                put_rows(
                    columns,
                    source=f"recording {file.name}",
                    root=raw_root,
                    kind=target.kind,
                    symbol=target.symbol,
                    interval=target.interval,
                    wait_seconds=wait_seconds,
                )
            except DataError as e:
                if "cannot be written" in str(e) or "has been writing" in str(e):
                    raise
                done.notes.append(f"{name}: {e}")  # on the tape all the same
            else:
                done.rows[name] = done.rows.get(name, 0) + count
        batch.clear()

    for entry in Reading(file):
        batch.append(entry)
        if len(batch) == _BATCH:
            put()
    if batch:
        put()


def _batches(file: Path) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(_BATCH):
                yield pa.Table.from_batches([batch], SCHEMA)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"{file}: damaged: {e}; restore it from a backup or remove it") from None


def _last_sequence(file: Path) -> int:
    with pq.ParquetFile(file) as parquet:
        table = parquet.read_row_group(parquet.metadata.num_row_groups - 1, columns=["sequence"])
    return int(np.asarray(table["sequence"].to_numpy())[-1])


def _entries(table: pa.Table) -> Iterator[Entry]:
    columns = (table[name].to_pylist() for name in SCHEMA.names)
    for sequence, ts_init, stream, message in zip(*columns, strict=True):
        yield Entry(sequence, ts_init, stream, message.encode())


def _table(found: list[Entry]) -> pa.Table:
    return pa.Table.from_arrays(
        [
            pa.array([e.sequence for e in found], pa.int64()),
            pa.array([e.ts_init for e in found], pa.int64()),
            pa.array([e.stream for e in found], pa.string()),
            pa.array([e.message.decode(errors="replace") for e in found], pa.string()),
        ],
        schema=SCHEMA,
    )
