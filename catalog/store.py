"""
The catalog on disk: a Nautilus ``ParquetDataCatalog`` directory, changed atomically and by one writer at a time.

Every series (one bar type, the funding of one instrument, one instrument) is one directory with one parquet file whose
name carries its time range, as Nautilus wants. A change builds the complete new directory under ``.staging`` and
exchanges it with the old one in a single system call, so a reader, or a kill -9, meets the old state or the new one.
Where the file system cannot exchange directories, an intent note is written first and the next reader or writer
finishes what it says. ``.staging`` lies outside ``data/``: Nautilus globs everything below that.
"""

import ctypes
import errno
import fcntl
import json
import os
import shutil
import sys
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategies.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_CATALOG = Path("var/catalog")
"""Where commands look for the catalog, relative to the working directory."""

BARS, FUNDING, INSTRUMENTS = "bar", "funding_rate_update", "crypto_perpetual"
ROWS_PER_GROUP = 10_000
_FEW_GROUPS = 16
"""Up to so many row groups are read faster than threads are woken."""

_STAGING, _LOCK, _INTENT = ".staging", ".lock", "intent.json"
_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2
_POLL_SECONDS = 0.05


def raw_beside(catalog: Path) -> Path | None:
    """Return the raw store beside the catalog, None when there is none."""
    beside = raw_name(catalog)
    return beside if beside.is_dir() else None


def raw_name(catalog: Path) -> Path:
    """Return where the raw store of a catalog lies: ``var/raw`` for ``var/catalog``, ``X-raw`` for any other ``X``."""
    return catalog.with_name("raw" if catalog.name == "catalog" else f"{catalog.resolve().name}-raw")


def series_path(catalog: Path, kind: str, identifier: str) -> Path:
    """Return the directory of a series: `kind` is one of `BARS`, `FUNDING`, `INSTRUMENTS`."""
    return catalog / "data" / kind / identifier


def series_file(catalog: Path, kind: str, identifier: str) -> Path | None:
    """
    Return the parquet file of a series, or None when the catalog does not hold it.

    Raises
    ------
    DataError
        Propagate: several files, which Argonaut never writes; names the remedy.

    """
    recover(catalog)
    files = sorted(series_path(catalog, kind, identifier).glob("*.parquet"))
    if len(files) > 1:
        raise DataError(
            f"{files[0].parent}: {len(files)} parquet files where one is expected: another program wrote here; "
            "remove the directory and ingest the series again"
        )
    return files[0] if files else None


def read_table(
    catalog: Path,
    kind: str,
    identifier: str,
    columns: list[str] | None = None,
    span: tuple[int | None, int | None] = (None, None),
) -> "pa.Table | None":
    """
    Return the table of a series, or None when the catalog does not hold it.

    Parameters
    ----------
    catalog, kind, identifier
        See :func:`series_path`.
    columns : list[str], optional
        Only these.
    span : tuple[int or None, int or None]
        Leave out row groups that lie wholly outside ``[start, end)`` of ``ts_init``, UTC ns; at least one is returned.

    Raises
    ------
    DataError
        Propagate: the file is damaged; names it and the remedy.

    """
    import pyarrow as pa  # noqa: PLC0415 - commands answer --help before this import
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    for last_try in (False, True):
        file = series_file(catalog, kind, identifier)
        if file is None:
            return None
        try:
            with pq.ParquetFile(file) as parquet:
                if span == (None, None):
                    return parquet.read(columns=columns)
                groups = _groups(parquet, *span)
                return parquet.read_row_groups(groups, columns=columns, use_threads=len(groups) > _FEW_GROUPS)
        except FileNotFoundError:  # a writer exchanged the directory between the listing and the opening
            if last_try:
                raise
        except (OSError, pa.ArrowInvalid) as e:
            raise DataError(f"{file}: damaged: {e}; remove {file.parent} and ingest the series again") from None
    return None


def _groups(parquet: Any, start_ns: int | None, end_ns: int | None) -> list[int]:
    metadata = parquet.metadata
    if metadata.num_row_groups < 2:
        return list(range(metadata.num_row_groups))
    at = parquet.schema_arrow.names.index("ts_init")

    def edge(group: int, name: str) -> int:
        statistics = metadata.row_group(group).column(at).statistics
        return int(getattr(statistics, name))

    count = metadata.num_row_groups
    if metadata.row_group(0).column(at).statistics is None:  # written by another program
        return list(range(count))
    first = 0 if start_ns is None else bisect_left(range(count), start_ns, key=lambda group: edge(group, "max"))
    last = count if end_ns is None else bisect_left(range(count), end_ns, key=lambda group: edge(group, "min"))
    return list(range(min(first, count - 1), max(last, min(first, count - 1) + 1)))


@contextmanager
def flocked(file: Path, wait_seconds: float) -> Iterator[None]:
    """
    Hold `file` as a lock; the kernel releases it when the process ends, however it ends.

    Raises
    ------
    DataError
        Defer: another process has held it for `wait_seconds`, or the directory cannot be written.

    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = file.open("a+")
    except OSError as e:
        raise DataError(
            f"{file.parent}: cannot be written: {e.strerror}; choose another directory with --catalog"
        ) from None
    with handle:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DataError(
                        f"{file.parent}: another process has been writing for {wait_seconds:g} s; "
                        "wait for it to end and run the command again"
                    ) from None
                time.sleep(_POLL_SECONDS)
        yield


@contextmanager
def locked(catalog: Path, wait_seconds: float = 60.0) -> Iterator[None]:
    """Hold the catalog for writing (see :func:`flocked`); finishes or discards what a killed writer left behind."""
    with flocked(catalog / _LOCK, wait_seconds):
        _finish(catalog)
        shutil.rmtree(catalog / _STAGING, ignore_errors=True)
        yield


def recover(catalog: Path) -> None:
    """Finish a directory exchange that a killed writer announced but did not complete; does nothing otherwise."""
    if (catalog / _STAGING / _INTENT).exists():
        with locked(catalog):
            pass


def write_series(catalog: Path, kind: str, identifier: str, table: "pa.Table") -> None:
    """
    Replace a series by `table`, which is sorted by ``ts_init``; the caller holds :func:`locked`.

    Raises
    ------
    DataError
        Propagate: disk full, no permission; the series is as before.

    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - commands answer --help before this import

    live = series_path(catalog, kind, identifier)
    staged = catalog / _STAGING / "new"
    times = table["ts_init"]
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        file = staged / file_name(times[0].as_py(), times[-1].as_py())
        pq.write_table(table, file, **parquet_options(table))
        _verify(file, table)
        exchange(catalog, staged, live)
    except OSError as e:
        raise DataError(f"{live}: cannot be written: {e.strerror or e}; the series is as it was before") from None
    shutil.rmtree(catalog / _STAGING, ignore_errors=True)


def write_pieces(catalog: Path, kind: str, identifier: str, pieces: "Iterable[pa.Table]") -> Path:
    """
    Replace a series by tables that follow each other, never holding all of them; the file is as of one table.

    Returns
    -------
    Path
        The file as it stands now. The caller holds :func:`locked`.

    Raises
    ------
    DataError
        Propagate: no row at all, disk full, no permission; the series is as before.

    """
    import pyarrow as pa  # noqa: PLC0415 - commands answer --help before this import
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    live = series_path(catalog, kind, identifier)
    staged = catalog / _STAGING / "new"
    first = last = rows = 0
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        beside, writer, waiting = staged / "beside", None, []
        try:
            for piece in pieces:
                if not piece.num_rows:
                    continue
                first, last = (first or piece["ts_init"][0].as_py()), piece["ts_init"][-1].as_py()
                rows += piece.num_rows
                writer = writer or pq.ParquetWriter(beside, piece.schema, **writer_options(piece.schema))
                waiting.append(piece)
                if sum(table.num_rows for table in waiting) >= ROWS_PER_GROUP:
                    full = pa.concat_tables(waiting)
                    whole = full.num_rows // ROWS_PER_GROUP * ROWS_PER_GROUP
                    writer.write_table(full.slice(0, whole).combine_chunks(), row_group_size=ROWS_PER_GROUP)
                    waiting = [full.slice(whole).combine_chunks()] if whole < full.num_rows else []
            if writer is not None and waiting:
                writer.write_table(pa.concat_tables(waiting).combine_chunks(), row_group_size=ROWS_PER_GROUP)
        finally:
            if writer is not None:
                writer.close()
        if not rows:
            raise DataError(f"{live}: no row to write; the series is as it was before")
        _refuse_lost_rows(beside, rows)
        beside.rename(staged / file_name(first, last))
        exchange(catalog, staged, live)
    except OSError as e:
        raise DataError(f"{live}: cannot be written: {e.strerror or e}; the series is as it was before") from None
    return live / file_name(first, last)


def file_name(first_ns: int, last_ns: int) -> str:
    """Return the name Nautilus gives a file that covers these times."""
    return f"{_file_time(first_ns)}_{_file_time(last_ns)}.parquet"


def exchange(catalog: Path, staged: Path, live: Path) -> None:
    """Put a complete directory below ``.staging`` in the place of `live`, in one step; the old one is removed."""
    for file in staged.iterdir():
        sync(file)
    sync(staged)
    live.parent.mkdir(parents=True, exist_ok=True)
    if live.exists():
        _exchange(catalog, staged, live)
        shutil.rmtree(staged, ignore_errors=True)
    else:
        staged.rename(live)
    sync(live.parent)


def writer_options(schema: "pa.Schema") -> dict[str, Any]:
    """Return :func:`parquet_options` for a writer of pieces."""
    return {
        "use_dictionary": [field.name for field in schema if str(field.type) == "string"],
        "compression": "lz4",
        "write_statistics": [name for name in schema.names if name.startswith("ts_")],
    }


def parquet_options(table: "pa.Table", rows_per_group: int = ROWS_PER_GROUP) -> dict[str, Any]:
    """Return how parquet is written here: fast to write and read; statistics on times, which range queries use."""
    return {"row_group_size": rows_per_group, **writer_options(table.schema)}


def _refuse_lost_rows(file: Path, rows: int) -> None:
    import pyarrow.parquet as pq  # noqa: PLC0415 - commands answer --help before this import

    if pq.read_metadata(file).num_rows != rows:
        raise OSError("what was written reads back differently")


def _verify(file: Path, table: "pa.Table") -> None:
    import pyarrow.parquet as pq  # noqa: PLC0415 - commands answer --help before this import

    with pq.ParquetFile(file) as written:
        if not written.read().equals(table):
            raise OSError("what was written reads back differently")


def remove_series(catalog: Path, kind: str, identifier: str) -> None:
    """Remove a series in one step; absent is fine. The caller holds :func:`locked`."""
    live, staged = series_path(catalog, kind, identifier), catalog / _STAGING / "removed"
    if live.exists():
        shutil.rmtree(staged, ignore_errors=True)
        staged.parent.mkdir(parents=True, exist_ok=True)
        live.rename(staged)
        shutil.rmtree(staged, ignore_errors=True)


def write_json(file: Path, content: Any) -> None:
    """Write `content` beside `file` and rename it there; the old content stays until the new one is durable."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as handle:
        json.dump(content, handle, indent=2, sort_keys=True)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    beside.replace(file)
    sync(file.parent)


def _exchange(catalog: Path, staged: Path, live: Path) -> None:
    try:
        _exchange_names(staged, live)
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV):
            raise
        write_json(catalog / _STAGING / _INTENT, {"staged": staged.name, "live": str(live.relative_to(catalog))})
        _finish(catalog)


def _finish(catalog: Path) -> None:
    note = catalog / _STAGING / _INTENT
    if not note.exists():
        return
    intent = json.loads(note.read_text(encoding="utf-8"))
    staged, live, old = catalog / _STAGING / intent["staged"], catalog / intent["live"], catalog / _STAGING / "old"
    if staged.exists():
        if live.exists():
            shutil.rmtree(old, ignore_errors=True)
            live.rename(old)
        staged.rename(live)
        sync(live.parent)
    note.unlink()


def _exchange_names(one: Path, other: Path) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        code = library.renamex_np(first, second, _RENAME_SWAP)
    elif hasattr(library, "renameat2"):
        code = library.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _file_time(time_ns: int) -> str:
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime(seconds))}-{nanos:09d}Z"


def sync(path: Path) -> None:
    """Make a file, or the names in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
