"""
CSV files of the exchange and of people, read exactly: no number passes through a float.

Taken: plain, gzip and zip files (recognised by content, not by name); with or without header; the official 12-column
kline form and the 6-column form; the official 3-column funding form and the 2-column form; times as seconds,
milliseconds, microseconds or nanoseconds (one unit per file) or ISO-8601. The fast path lets pyarrow parse numbers as
128-bit decimals with 16 digits, which is Nautilus's stored form; whatever it cannot take goes through a line-by-line
reader that either succeeds or names file, line, field, reason and remedy. A caller that can tell from the result that
floats were good enough may take them first (:meth:`CsvFile.floats`, twice as fast) and fall back to the exact numbers.
"""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from catalog.fixed_point import SCALE_DIGITS, Int64s
from catalog.packed import gunzipped, unzipped
from catalog.raw import kinds
from catalog.reader import words
from strategies.errors import DataError

KLINE_COLUMNS = kinds.KLINE_COLUMNS
FUNDING_COLUMNS = kinds.FUNDING_COLUMNS

UNITS = {"seconds": 1_000_000_000, "milliseconds": 1_000_000, "microseconds": 1_000, "nanoseconds": 1}
_EARLIEST = int(datetime(2008, 1, 1, tzinfo=UTC).timestamp())
_LATEST = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())
_GZIP, _ZIP, _BOM = b"\x1f\x8b", b"PK", b"\xef\xbb\xbf"
_HEAD = 1 << 18
_LIMIT = Decimal(10) ** 22
_SCALE = 10**SCALE_DIGITS
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Layout:
    """
    One kind of file: its columns by the names people give them, and the order without header.

    Attributes
    ----------
    name : str
        For messages.
    aliases : Mapping[str, tuple[str, ...]]
        Column to accepted header names (lower case, separators removed).
    required, optional : tuple[str, ...]
        Numeric columns; the time column is not among them.
    time : str
        The time column.
    bare : Mapping[int, tuple[str, ...]]
        Number of columns to column order for files without header.

    """

    name: str
    time: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]]
    bare: Mapping[int, tuple[str, ...]]


KLINES = Layout(
    name="klines",
    time="open_time",
    required=("open", "high", "low", "close", "volume"),
    optional=("close_time",),
    aliases={
        "open_time": ("opentime", "timestamp", "date", "datetime", "time", "starttime"),
        "open": ("open", "o", "openprice"),
        "high": ("high", "h", "highprice"),
        "low": ("low", "l", "lowprice"),
        "close": ("close", "c", "closeprice"),
        "volume": ("volume", "v", "vol", "basevolume"),
        "close_time": ("closetime",),
        "quote_volume": ("quotevolume", "quoteassetvolume"),
    },
    bare={12: KLINE_COLUMNS, 6: KLINE_COLUMNS[:6]},
)
FUNDING = Layout(
    name="funding",
    time="calc_time",
    required=("last_funding_rate",),
    optional=("funding_interval_hours",),
    aliases={
        "calc_time": ("calctime", "fundingtime", "timestamp", "date", "datetime", "time"),
        "funding_interval_hours": ("fundingintervalhours",),
        "last_funding_rate": ("lastfundingrate", "fundingrate", "rate"),
        "symbol": ("symbol",),
    },
    bare={3: FUNDING_COLUMNS, 2: ("calc_time", "last_funding_rate")},
)


class CsvFile:
    """
    One file in memory: its text, where its columns are, and its rows as exact numbers.

    Attributes
    ----------
    path : Path
        For messages.
    columns : dict[str, int]
        Known column to position.

    Raises
    ------
    DataError
        Propagate: no such file, damaged archive, not a CSV, unknown header, wrong number of columns, empty.

    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        self._content = _read(path)
        self._header_lines, self.columns, self._width = self._sniff()

    def fail(self, line: int | None, field: str, reason: str, remedy: str) -> DataError:
        """Return the error that refuses this file: file, line, field, reason, remedy."""
        where = f"{self.path}:{line}" if line is not None else str(self.path)
        return DataError(f"{where}: {field}: {reason}: {remedy}; nothing was stored")

    def line_of(self, row: int) -> int:
        """Return the 1-based line of a 0-based data row; blank lines do not count as rows."""
        for number, (line, _) in enumerate(self._rows()):
            if number == row:
                return line
        raise IndexError(row)

    def rows(self) -> tuple[Int64s, dict[str, NDArray[Any]]]:
        """
        Return the time column in UTC nanoseconds and the numeric columns as stored 128-bit numbers.

        Returns
        -------
        time : ndarray of int64, shape (n,)
        columns : dict of ndarray
            uint64, shape (n, 2), except ``close_time``: int64, shape (n,), in the file's own unit.

        Raises
        ------
        DataError
            Propagate: the first line that is not a row of numbers, or times in more than one unit.

        """
        try:
            time, columns = self._slow() if self._hexadecimal else self._fast()
        except pa.ArrowInvalid:
            time, columns = self._slow()
        if len(time) == 0:
            raise self.fail(None, "rows", "the file holds no data row", "check that the download completed")
        return self._to_ns(time), columns

    def floats(self) -> tuple[Int64s, dict[str, NDArray[Any]]] | None:
        """
        Return what :meth:`rows` returns with float64 of shape (n,) for numbers, None when pyarrow cannot read it so.

        The floats are the nearest to the decimals in the file, which the caller has to prove sufficient. None also for
        times that are refused: :meth:`rows` names the first fault of any kind.

        """
        if self._hexadecimal:
            return None
        try:
            table = self._table(pa.float64())
        except pa.ArrowInvalid:
            return None
        if table.num_rows == 0:
            return None
        time, columns = self._split({name: table[str(self.columns[name])].to_numpy() for name in self._wanted()})
        try:
            return self._to_ns(time), columns
        except DataError:
            return None

    def turnover(self) -> NDArray[np.float64] | None:
        """Return the turnover of the first rows (a quarter of a megabyte), None where no column of numbers holds it."""
        if "quote_volume" not in self.columns:
            return None
        head, name = self._content[:_HEAD], str(self.columns["quote_volume"])
        head = head[: head.rfind(b"\n") + 1] if len(self._content) > _HEAD else head
        names = [str(i) for i in range(self._width)]
        reading = arrow_csv.ReadOptions(column_names=names, skip_rows=self._header_lines)
        taking = arrow_csv.ConvertOptions(include_columns=[name], column_types={name: pa.float64()})
        try:
            table = arrow_csv.read_csv(pa.BufferReader(head), read_options=reading, convert_options=taking)
        except pa.ArrowInvalid:
            return None
        return np.asarray(table[name].to_numpy(), dtype=np.float64)

    def symbols(self) -> set[str]:
        """Return the values of the ``symbol`` column, empty when there is none."""
        if "symbol" not in self.columns:
            return set()
        return {cells[self.columns["symbol"]].strip() for _, cells in self._rows() if len(cells) == self._width}

    @cached_property
    def _hexadecimal(self) -> bool:
        # pyarrow takes 0x10 for 16; the careful reader names it. One byte is found several times faster than two.
        return any(x in self._content and b"0" + x in self._content for x in (b"x", b"X"))

    @cached_property
    def _text(self) -> str:
        return self._content.decode("utf-8", errors="replace")

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(io.StringIO(self._text, newline=""))
        skipped = 0
        try:
            for cells in reader:
                if not cells:
                    continue
                if skipped < self._header_lines:
                    skipped += 1
                    continue
                yield reader.line_num, cells
        except csv.Error as e:
            raise self.fail(reader.line_num + 1, "row", str(e), "the file is damaged: download it again") from None

    def _wanted(self) -> list[str]:
        layout = self.layout
        return [name for name in (layout.time, *layout.required, *layout.optional) if name in self.columns]

    def _sniff(self) -> tuple[int, dict[str, int], int]:
        head = self._content[:65536]
        if b"\x00" in head:
            raise self.fail(None, "content", "not a text file", "give a CSV, CSV.gz or zip file")
        first = next((line for line in head.decode("utf-8", errors="replace").splitlines() if line.strip()), None)
        if first is None:
            raise self.fail(None, "rows", "the file is empty", "check that the download completed")
        try:
            cells = [cell.strip() for cell in next(csv.reader([first]))]
        except csv.Error as e:
            raise self.fail(1, "rows", str(e), "is this a CSV file?") from None
        other = {"<": "a web page (HTML)", "{": "JSON", "[": "JSON"}.get(first.lstrip()[:1])
        if other is not None:
            remedy = "an error answer? candles of the API: one row per line, without brackets"
            raise self.fail(1, "content", f"{other}, no CSV: {first.strip()[:80]}", remedy)
        if len(cells) == 1 and re.search(r"[;\t|]", first):
            raise self.fail(1, "columns", "columns are not separated by commas", "save the file as comma-separated")
        layout = self.layout
        if cells[0][:1].isdigit() or _NUMBER.fullmatch(cells[0]):
            if len(cells) not in layout.bare:
                counts = " or ".join(str(n) for n in layout.bare)
                raise self.fail(
                    1, "columns", f"{len(cells)} columns, {counts} expected", f"is this a {layout.name} file?"
                )
            return 0, {name: i for i, name in enumerate(layout.bare[len(cells)])}, len(cells)
        columns: dict[str, int] = {}
        keys = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in cells]
        for name, aliases in layout.aliases.items():
            found = [alias for alias in aliases if alias in keys]
            if found:
                if keys.count(found[0]) > 1:
                    raise self.fail(1, name, "stands twice in the header", "remove the column that is wrong")
                columns[name] = keys.index(found[0])
        missing = [name for name in (layout.time, *layout.required) if name not in columns]
        if missing:
            raise self.fail(
                1,
                missing[0],
                f"no such column among: {', '.join(cells)[:200]}",
                f"is this a {layout.name} file? without header, start with the first row",
            )
        return 1, columns, len(cells)

    def _table(self, number: pa.DataType) -> pa.Table:
        types = {str(self.columns[name]): number for name in self._wanted()}
        for name in (self.layout.time, "close_time"):
            if str(self.columns.get(name)) in types:
                types[str(self.columns[name])] = pa.int64()
        return arrow_csv.read_csv(
            pa.BufferReader(self._content),
            read_options=arrow_csv.ReadOptions(
                column_names=[str(i) for i in range(self._width)],
                skip_rows=self._header_lines,
                block_size=max(len(self._content), 1),
            ),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=list(types), column_types=types, null_values=[], strings_can_be_null=False
            ),
        )

    def _fast(self) -> tuple[Int64s, dict[str, NDArray[Any]]]:
        number = pa.decimal128(38, SCALE_DIGITS)
        table, wanted = self._table(number), self._wanted()
        result: dict[str, Any] = {}
        for name in wanted:
            column = table[str(self.columns[name])]
            if column.type == number:
                flat = pa.chunked_array(
                    [
                        pa.Array.from_buffers(pa.binary(16), len(c), [None, c.buffers()[1]], offset=c.offset)
                        for c in column.chunks
                    ],
                    pa.binary(16),
                )
                result[name] = words(flat)
            else:
                result[name] = np.asarray(column.to_numpy(), dtype=np.int64)
        return self._split(result)

    def _slow(self) -> tuple[Int64s, dict[str, NDArray[Any]]]:
        wanted = self._wanted()
        values: dict[str, list[int]] = {name: [] for name in wanted}
        dates: list[bool] = []
        for line, cells in self._rows():
            if len(cells) != self._width:
                raise self.fail(
                    line, "columns", f"{len(cells)} columns, {self._width} expected", "the row is cut or damaged"
                )
            for name in wanted:
                cell = cells[self.columns[name]].strip()
                if name in (self.layout.time, "close_time"):
                    value, is_date = self._time(cell, line, name)
                    if name == self.layout.time:
                        dates.append(is_date)
                else:
                    value = self._number(cell, line, name)
                values[name].append(value)
        if any(dates) and not all(dates):
            row = dates.index(not dates[0])
            raise self.fail(self.line_of(row), self.layout.time, "dates and numbers are mixed", "use one time format")
        result: dict[str, Any] = {}
        for name, column in values.items():
            if name in (self.layout.time, "close_time"):
                result[name] = np.array(column, dtype=np.int64)
            else:
                raw = b"".join(value.to_bytes(16, "little", signed=True) for value in column)
                result[name] = np.frombuffer(raw, np.uint64).reshape(-1, 2)
        return self._split(result)

    def _split(self, result: dict[str, Any]) -> tuple[Int64s, dict[str, NDArray[Any]]]:
        time = result.pop(self.layout.time)
        return time, result

    def _time(self, cell: str, line: int, name: str) -> tuple[int, bool]:
        if _NUMBER.fullmatch(cell):
            value = Decimal(cell)
            if value == value.to_integral_value() and abs(value) < 2**63:
                return int(value), False
        else:
            try:
                moment = datetime.fromisoformat(cell)
            except ValueError:
                pass
            else:
                moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                return round(moment.timestamp() * 1_000_000) * 1_000, True
        raise self.fail(line, name, f"{cell!r} is not a time", "use Unix time or ISO-8601 in UTC")

    def _number(self, cell: str, line: int, name: str) -> int:
        if not _NUMBER.fullmatch(cell):
            what = "is empty" if not cell else f"{cell[:40]!r} is not a finite number"
            raise self.fail(line, name, what, "correct or remove the row")
        try:
            value = Decimal(cell)
            if abs(value) < _LIMIT:
                return int((value * _SCALE).to_integral_value())
        except InvalidOperation:
            pass
        raise self.fail(line, name, f"{cell[:40]!r} is out of range", "correct or remove the row")

    def _to_ns(self, time: Int64s) -> Int64s:
        field = self.layout.time
        unit = unit_of(int(time[0]))
        if unit is None:
            raise self.fail(
                self.line_of(0), field, f"{time[0]} is not a time of the years 2008 to 2099", "check the column order"
            )
        scale = 1_000_000_000 // UNITS[unit]
        wrong = (time < _EARLIEST * scale) | (time >= _LATEST * scale)
        if wrong.any():
            row = int(np.argmax(wrong))
            other = unit_of(int(time[row]))
            reason = f"{time[row]} is in {other}" if other else f"{time[row]} is not a time of the years 2008 to 2099"
            raise self.fail(
                self.line_of(row), field, f"{reason}, the rows before are in {unit}", "use one unit in a file"
            )
        return time * UNITS[unit]


def unit_of(value: int) -> str | None:
    """Return the unit in which `value` is a time of the years 2008 to 2099, None when there is none."""
    for unit, nanos in UNITS.items():
        scale = 1_000_000_000 // nanos
        if _EARLIEST * scale <= value < _LATEST * scale:
            return unit
    return None


def odd_close(open_time: int, close_time: int, step: int) -> str:
    """
    Return what is wrong when a candle closes whole minutes beside the end of its interval; empty when it does not.

    Parameters
    ----------
    open_time, close_time : int
        As the file has them, each in its own unit.
    step : int
        The interval, ns.

    """
    units = unit_of(open_time), unit_of(close_time)
    if units[0] is None or units[1] is None:
        return ""
    minute = 60_000_000_000
    lasts = close_time * UNITS[units[1]] - open_time * UNITS[units[0]]
    whole = round(lasts / minute)
    if abs(lasts - whole * minute) > max(UNITS[units[1]], 1_000_000) or whole in (0, step // minute):
        return ""
    return f"the bar closes {whole} minutes after it opens, --interval says {step // minute}"


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise DataError(f"{path}: is a directory: name the files, for example {path}/*.csv.gz")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file: check --from") from None
    except OSError as e:
        raise DataError(f"{path}: cannot be read: {e.strerror}") from None
    try:
        if content[:2] == _GZIP:
            content = gunzipped(path, content)
        elif content[:2] == _ZIP:
            content = unzipped(path, content)
        elif path.suffix in (".gz", ".zip"):
            raise DataError(f"{path}: content: not a {path.suffix[1:]} archive: download the file again")
    except (EOFError, OSError, zlib.error, zipfile.BadZipFile, RuntimeError) as e:
        raise DataError(
            f"{path}: content: the archive is cut or damaged ({e}): download the file again; nothing was stored"
        ) from None
    return content.removeprefix(_BOM)
