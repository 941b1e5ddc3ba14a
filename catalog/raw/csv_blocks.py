"""
CSV, gzip and zip files as a stream of typed blocks: a month of trades never lies in memory.

pyarrow parses block by block into decimals and integers; a file it cannot take (exponents, a plus sign, a damaged row)
is read again line by line, which succeeds or names line, field, reason and remedy.
"""

import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from catalog.csv_files import UNITS, odd_close, unit_of
from catalog.packed import Bounded, csv_member
from catalog.raw.arrays import from_numpy, to_numpy
from catalog.raw.kinds import Column, Kind
from strategies.errors import DataError

_HEAD_BYTES = 1 << 16
BLOCK_BYTES = 4 << 20
_ROWS_CAREFUL = 50_000
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,18}(\.0*)?", re.ASCII)
_FLAGS = {"true": True, "false": False, "1": True, "0": False}
TYPES: dict[str, pa.DataType] = {
    "time": pa.int64(),
    "integer": pa.int64(),
    "price": pa.decimal128(18, 8),
    "amount": pa.decimal128(28, 8),
    "wide": pa.decimal128(38, 16),
    "flag": pa.bool_(),
    "text": pa.string(),
}

BESIDE: dict[str, pa.DataType] = {"symbol": pa.string(), "close_time": pa.int64()}
"""Columns that are compared with what the rows should be, and not stored."""


def schema_of(kind: Kind) -> pa.Schema:
    """Return the stored columns of a kind."""
    return pa.schema([pa.field(c.name, TYPES[c.form], nullable=not c.needed) for c in kind.columns])


class Rejects(Protocol):
    """Where lines go that cannot be read as rows, instead of refusing the file."""

    def add_cells(self, line: int, cells: Sequence[str], reason: str) -> None:
        """Keep a line."""


class CsvBlocks:
    """
    One file, opened anew for every pass.

    Raises
    ------
    DataError
        Propagate: no such file, damaged archive, not a CSV, unknown header, wrong number of columns, empty.

    """

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path = path
        self.kind = kind
        self.columns: dict[str, int] = {}
        self.aside: Rejects | None = None
        self._unit: str | None = None
        self._close_at: int | None = None
        self._first, self._header = self._sniff()

    def fail(self, line: int | None, field: str, reason: str, remedy: str) -> DataError:
        """Return the error that refuses this file."""
        where = f"{self.path}:{line}" if line is not None else str(self.path)
        return DataError(f"{where}: {field}: {reason}: {remedy}; nothing was stored")

    def fail_at(self, row: int, field: str, reason: str, remedy: str) -> DataError:
        """Return the error that refuses this file because of a 0-based data row."""
        for number, (line, _) in enumerate(self._lines()):
            if number == row:
                return self.fail(line, field, reason, remedy)
        return self.fail(None, field, reason, remedy)

    def refuse_shift(self, step: int) -> None:
        """
        Refuse candles whose first row says, by its close time, that it opened by another clock or lasts another time.

        Parameters
        ----------
        step : int
            The interval, ns; 0 for kinds without one.

        Raises
        ------
        DataError
            Propagate: see above.

        """
        if not step or self._close_at is None or self._close_at >= len(self._first):
            return
        opened, closed = self._first[self.columns[self.kind.columns[0].name]], self._first[self._close_at]
        if not (opened.isascii() and closed.isascii() and opened.isdigit() and closed.isdigit()):
            return
        text = odd_close(int(opened), int(closed), step)
        if text:
            raise self.fail(1 + self._header, "close_time", text, "check --interval and the time zone")

    def blocks(self, *, careful: bool) -> Iterator[pa.Table]:
        """
        Yield the rows in order, as tables of :func:`schema_of` (and ``symbol`` where the file has one); time in UTC ns.

        Raises
        ------
        DataError
            Propagate: a row is not what it should be.
        pyarrow.ArrowInvalid
            Defer: read the file again with `careful`.

        """
        row = 0
        for table in self._slow() if careful else self._fast():
            full = self._complete(table, row)
            row += full.num_rows
            yield full
        if row == 0:
            raise self.fail(None, "rows", "the file holds no data row", "check that the download completed")

    def _complete(self, table: pa.Table, row: int) -> pa.Table:
        time_name = self.kind.columns[0].name
        columns = []
        for column in self.kind.columns:
            if column.name not in table.column_names:
                columns.append(pa.chunked_array([pa.nulls(table.num_rows, TYPES[column.form])]))
                continue
            values = table[column.name]
            if column.needed and values.null_count:
                if self.aside is not None:
                    raise pa.ArrowInvalid("an empty cell: the careful reader puts the row aside")
                at = int(pc.index(values.is_null(), True).as_py())
                raise self.fail_at(row + at, column.name, "is empty", "correct or remove the row")
            columns.append(self._to_ns(values, row) if column.name == time_name else values)
        result = pa.Table.from_arrays(columns, schema=schema_of(self.kind))
        for name in BESIDE:
            if name in table.column_names:
                result = result.append_column(name, table[name])
        return result

    def _to_ns(self, values: pa.ChunkedArray, row: int) -> pa.ChunkedArray:
        name = self.kind.columns[0].name
        if pa.types.is_timestamp(values.type):
            return pc.multiply(values.cast(pa.int64()), 1_000)
        time = to_numpy(values)
        self._unit = self._unit or unit_of(int(time[0]))
        if self._unit is None:
            reason = f"{time[0]} is not a time of the years 2008 to 2099"
            raise self.fail_at(row, name, reason, "check the column order")
        scale = UNITS[self._unit]
        low, high = 1_199_145_600_000_000_000 // scale, 4_102_444_800_000_000_000 // scale
        wrong = (time < low) | (time >= high)
        if wrong.any():
            if self.aside is not None:
                raise pa.ArrowInvalid("another unit: the careful reader puts the row aside")
            at = int(np.argmax(wrong))
            other = unit_of(int(time[at]))
            reason = f"{time[at]} is " + (f"in {other}" if other else "not a time of the years 2008 to 2099")
            raise self.fail_at(
                row + at, name, f"{reason}, the rows before are in {self._unit}", "use one unit in a file"
            )
        return pa.chunked_array([from_numpy(time * scale)])

    def _wanted(self) -> list[Column]:
        return [column for column in self.kind.columns if column.name in self.columns]

    def _beside(self) -> list[tuple[str, int]]:
        found = [("symbol", self.columns["symbol"])] if "symbol" in self.columns else []
        at = self._close_at
        if at is not None and at < len(self._first) and self._first[at].isascii() and self._first[at].isdigit():
            found.append(("close_time", at))
        return found

    def _fast(self) -> Iterator[pa.Table]:
        types = {str(self.columns[c.name]): TYPES[c.form] for c in self._wanted()}
        time_at = self.columns[self.kind.columns[0].name]
        if not self._first[time_at].isdigit():
            if not re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?", self._first[time_at]):
                raise pa.ArrowInvalid("a form of dates pyarrow does not take")
            types[str(time_at)] = pa.timestamp("us")
        names = {str(self.columns[c.name]): c.name for c in self._wanted()}
        for name, at in self._beside():
            types[str(at)], names[str(at)] = BESIDE[name], name
        with self._open() as stream:
            reader = arrow_csv.open_csv(
                pa.PythonFile(_NoHexadecimal(stream), mode="r"),
                read_options=arrow_csv.ReadOptions(
                    column_names=[str(i) for i in range(len(self._first))],
                    skip_rows=self._header,
                    block_size=BLOCK_BYTES,
                    use_threads=False,
                ),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=list(types), column_types=types, null_values=[""], strings_can_be_null=True
                ),
            )
            for batch in reader:
                if batch.num_rows:
                    yield pa.Table.from_batches([batch]).rename_columns([names[n] for n in batch.schema.names])

    def _slow(self) -> Iterator[pa.Table]:
        rows: list[tuple[int, list[str]]] = []
        for row in self._lines():
            rows.append(row)
            if len(rows) == _ROWS_CAREFUL:
                yield self._parsed(rows)
                rows = []
        if rows:
            yield self._parsed(rows)

    def _parsed(self, rows: list[tuple[int, list[str]]]) -> pa.Table:
        wanted, width = self._wanted(), len(self._first)
        values: dict[str, list[Any]] = {column.name: [] for column in wanted}
        taken = []
        for line, cells in rows:
            try:
                row = self._row(wanted, width, line, cells)
            except DataError as e:
                if self.aside is None:
                    raise
                self.aside.add_cells(line, cells, str(e).removeprefix(f"{self.path}:{line}: ").split("; nothing")[0])
                continue
            taken.append((line, cells))
            for name, value in row.items():
                values[name].append(value)
        rows = taken
        arrays = {column.name: pa.array(values[column.name], TYPES[column.form]) for column in wanted}
        if "symbol" in self.columns:
            arrays["symbol"] = pa.array([cells[self.columns["symbol"]].strip() for _, cells in rows], pa.string())
        for name, at in self._beside():
            if name == "close_time":
                texts = [cells[at].strip() for _, cells in rows]
                times = [int(t) if t.isascii() and t.isdigit() and len(t) < 19 else None for t in texts]
                arrays[name] = pa.array(times, pa.int64())
        return pa.table(arrays)

    def _row(self, wanted: list[Column], width: int, line: int, cells: list[str]) -> dict[str, Any]:
        if len(cells) != width:
            raise self.fail(line, "columns", f"{len(cells)} columns, {width} expected", "the row is cut or damaged")
        row = {column.name: self._cell(column, cells[self.columns[column.name]].strip(), line) for column in wanted}
        if self.aside is None:  # the block is checked as a whole, which names the first row all the same
            return row
        empty = [column.name for column in wanted if column.needed and row[column.name] is None]
        if empty:
            raise self.fail(line, empty[0], "is empty", "correct or remove the row")
        name = self.kind.columns[0].name
        unit = unit_of(row[name])
        self._unit = self._unit or unit
        if unit is None or unit != self._unit:
            what = f"in {unit}" if unit else "not a time of the years 2008 to 2099"
            raise self.fail(line, name, f"{row[name]} is {what}", "use one unit in a file")
        return row

    def _cell(self, column: Column, cell: str, line: int) -> Any:
        if not cell:
            return None
        if column.form == "text":
            return cell
        if column.form == "flag":
            if cell.lower() in _FLAGS:
                return _FLAGS[cell.lower()]
            raise self.fail(line, column.name, f"{cell[:40]!r} is neither true nor false", "correct the row")
        if column.form in ("time", "integer"):
            if _INTEGER.fullmatch(cell) or (_NUMBER.fullmatch(cell) and Decimal(cell) % 1 == 0):
                whole = int(Decimal(cell))
                if abs(whole) < 2**63:
                    return whole
            if column.form == "time":
                return self._date(cell, line, column.name)
            raise self.fail(line, column.name, f"{cell[:40]!r} is not a whole number", "correct or remove the row")
        if not _NUMBER.fullmatch(cell):
            raise self.fail(line, column.name, f"{cell[:40]!r} is not a finite number", "correct or remove the row")
        value, kind = Decimal(cell), TYPES[column.form]
        exponent = value.normalize().as_tuple().exponent
        if isinstance(exponent, int) and -exponent > kind.scale:
            reason = f"{cell[:40]} has {-exponent} digits after the point, {kind.scale} are kept"
            raise self.fail(line, column.name, reason, "is this the right column?")
        if abs(value) >= Decimal(10) ** (kind.precision - kind.scale):
            raise self.fail(line, column.name, f"{cell[:40]!r} is out of range", "correct or remove the row")
        return value

    def _date(self, cell: str, line: int, field: str) -> int:
        try:
            moment = datetime.fromisoformat(cell)
        except ValueError:
            raise self.fail(line, field, f"{cell[:40]!r} is not a time", "use Unix time or ISO-8601 in UTC") from None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1_000_000) * 1_000

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        with self._open() as stream:
            reader = csv.reader(io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline=""))
            skipped = 0
            try:
                for cells in reader:
                    if not cells:
                        continue
                    if skipped < self._header:
                        skipped += 1
                        continue
                    yield reader.line_num, cells
            except csv.Error as e:
                raise self.fail(reader.line_num + 1, "row", str(e), "the file is damaged: download it again") from None

    def _sniff(self) -> tuple[list[str], int]:
        with self._open(_HEAD_BYTES) as stream:
            head = stream.read(_HEAD_BYTES)
        if b"\x00" in head:
            raise self.fail(None, "content", "not a text file", "give a CSV, CSV.gz or zip file")
        try:
            rows = [row for row in csv.reader(head.decode("utf-8", errors="replace").splitlines()[:50]) if row]
        except csv.Error as e:
            raise self.fail(None, "rows", str(e), "is this a CSV file?") from None
        if not rows:
            raise self.fail(None, "rows", "the file is empty", "check that the download completed")
        cells = [cell.strip() for cell in rows[0]]
        kind = self.kind
        if len(cells) == 1 and re.search(r"[;\t|]", cells[0]):
            raise self.fail(1, "columns", "columns are not separated by commas", "save the file as comma-separated")
        if cells[0][:1].isdigit() or _NUMBER.fullmatch(cells[0]):
            if len(cells) not in kind.bare:
                counts = " or ".join(map(str, kind.bare)) or "a header and other"
                raise self.fail(1, "columns", f"{len(cells)} columns, {counts} expected", f"are these {kind.name}?")
            self.columns = {name: i for i, name in enumerate(kind.bare[len(cells)])}
            self._close_at = self.columns.get("close_time") if kind.interval else None
            return cells, 0
        keys = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in cells]
        for column in kind.columns:
            found = [n for n in (column.name.replace("_", ""), *column.aliases) if n in keys]
            if found:
                if keys.count(found[0]) > 1:
                    raise self.fail(1, column.name, "stands twice in the header", "remove the column that is wrong")
                self.columns[column.name] = keys.index(found[0])
        missing = [column.name for column in kind.columns if column.needed and column.name not in self.columns]
        if kind.at_least_one and not any(name in self.columns for name in kind.at_least_one):
            missing.append(" or ".join(kind.at_least_one))
        if missing:
            reason = f"no such column among: {', '.join(cells)[:200]}"
            raise self.fail(1, missing[0], reason, f"are these {kind.name}? without header, start with the first row")
        if kind.interval and keys.count("closetime") == 1:
            self._close_at = keys.index("closetime")
        if "symbol" in keys:
            self.columns["symbol"] = keys.index("symbol")
        if len(rows) < 2:
            raise self.fail(None, "rows", "the file holds no data row", "check that the download completed")
        first = [cell.strip() for cell in rows[1]]
        return first if len(first) == len(cells) else cells, 1

    @contextmanager
    def _open(self, ahead: int = 1 << 20) -> Iterator[IO[bytes]]:
        path = self.path
        if path.is_dir():
            raise DataError(f"{path}: is a directory: name the files, for example {path}/*.zip")
        try:
            with path.open("rb") as handle:
                magic = handle.read(2)
                handle.seek(0)
                if magic == b"PK":
                    with zipfile.ZipFile(handle) as archive, archive.open(csv_member(path, archive)) as member:
                        yield _after_mark(Bounded(member, path), ahead)
                elif magic == b"\x1f\x8b":
                    with gzip.open(handle) as member:
                        yield _after_mark(Bounded(member, path), ahead)
                elif path.suffix in (".gz", ".zip"):
                    raise DataError(f"{path}: content: not a {path.suffix[1:]} archive: download the file again")
                else:
                    yield _after_mark(handle, ahead)
        except FileNotFoundError:
            raise DataError(f"{path}: no such file: check --from") from None
        except (EOFError, OSError, zlib.error, zipfile.BadZipFile, RuntimeError) as e:
            raise DataError(
                f"{path}: content: cannot be read, cut or damaged ({e}): download the file again; nothing was stored"
            ) from None


class _NoHexadecimal:
    """A stream for pyarrow, which takes 0x10 for 16; the careful reader refuses it."""

    closed = False

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size)
        if (b"x" in chunk and b"0x" in chunk) or (b"X" in chunk and b"0X" in chunk):
            raise pa.ArrowInvalid("hexadecimal")
        return chunk

    def close(self) -> None:
        """The opener closes the stream."""


def _after_mark(stream: Any, ahead: int) -> IO[bytes]:
    buffered = io.BufferedReader(stream, ahead)
    if buffered.peek(3)[:3] == b"\xef\xbb\xbf":
        buffered.read(3)
    return buffered
