"""
Feather, parquet and CSV files with any column names, read like the exchange's own (command: ``catalog.imports``).

Rows pass the same rules as the exchange's own files. Floats are read as the shortest decimals that mean them.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv
from pyarrow import feather

from catalog.csv_files import FUNDING, KLINES, CsvFile, Layout
from catalog.fixed_point import Int64s
from strategies.errors import ConfigError, DataError
from strategies.yaml_config import FrozenConfig, load_yaml

_UNNAMED = "the mapping names no column, the file has"
_NUMBER = re.compile(r"[+-]?[\d.eE+-]*\d[\d.eE+-]*")

FREQTRADE = {
    KLINES.name: {"open_time": "date", **{name: name for name in KLINES.required}},
    FUNDING.name: {"calc_time": "date", "last_funding_rate": "open"},
}


class ImportMapping(FrozenConfig, frozen=True):
    """
    Where the columns are.

    Attributes
    ----------
    columns : dict[str, str]
        Our name (``open_time, open, high, low, close, volume``, or ``calc_time, last_funding_rate,
        funding_interval_hours``) to the file's.
    separator : str
        Of CSV files, one character.

    """

    columns: dict[str, str]
    separator: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = ","


def load_mapping(path: Path | None, layout: Layout) -> ImportMapping:
    """
    Return the mapping of a file, without one freqtrade's.

    Raises
    ------
    ConfigError
        Propagate: no such file, not YAML, an unknown key, a name of ours that the layout has not, one column for two.

    """
    if path is None:
        return ImportMapping(columns=FREQTRADE[layout.name])
    mapping = load_yaml(path, ImportMapping)
    known = (layout.time, *layout.required, *layout.optional)
    strange = sorted(set(mapping.columns) - set(known))
    if strange:
        raise ConfigError(f"{path}: columns: {strange[0]} is not one of {', '.join(known)}: correct the name")
    owner: dict[str, str] = {}
    for ours, theirs in mapping.columns.items():
        if theirs in owner:
            raise ConfigError(f"{path}: columns: {owner[theirs]} and {ours} are both {theirs!r}: name one column each")
        owner[theirs] = ours
    return mapping


class TableFile(CsvFile):
    """
    A feather, parquet or CSV file with named columns, read like a file of the exchange.

    Raises
    ------
    DataError
        Propagate: no such file, damaged, a column is missing.

    """

    def turnover(self) -> None:
        """Return None: such files are brought without it."""

    def __init__(self, path: Path, layout: Layout, mapping: ImportMapping, *, drop_last: bool = False) -> None:
        self.path, self.layout = path, layout
        table = _read(path, mapping.separator)
        self._lines = path.suffix.lower() not in (".feather", ".parquet")
        names = dict(mapping.columns)
        missing = [name for name in (layout.time, *layout.required) if name not in names]
        missing += [ours for ours, theirs in names.items() if theirs not in table.column_names]
        if missing:
            wanted = f"no column {names[missing[0]]!r} among" if missing[0] in names else _UNNAMED
            reason = f"{wanted}: {', '.join(table.column_names)[:200]}"
            raise self.fail(None, missing[0], reason, _remedy(table.column_names))
        for ours, theirs in names.items():
            if table.column_names.count(theirs) > 1:
                raise self.fail(None, ours, f"there are two columns {theirs!r}", "rename or remove one in the file")
        self.columns = {name: table.column_names.index(theirs) for name, theirs in names.items()}
        self._table_rows = table.select(list(names.values())).rename_columns(list(names))
        if drop_last:
            self._table_rows = self._table_rows.slice(0, max(table.num_rows - 1, 0))
        if self._table_rows.num_rows == 0:
            raise self.fail(None, "rows", "the file holds no data row", "check that the download completed")

    def fail(self, line: int | None, field: str, reason: str, remedy: str) -> DataError:
        """Return the error that refuses this file."""
        if line is None or self._lines:
            return super().fail(line, field, reason, remedy)
        return DataError(f"{self.path}: row {line}: {field}: {reason}: {remedy}; nothing was stored")

    def line_of(self, row: int) -> int:
        """Return the line of a CSV (under its header), else the 1-based row."""
        return row + 2 if self._lines else row + 1

    def symbols(self) -> set[str]:
        """Return nothing: a mapping does not name a symbol column."""
        return set()

    def floats(self) -> tuple[Int64s, dict[str, NDArray[Any]]] | None:
        """Return float columns as they are; see the base class."""
        table, time = self._table_rows, self.layout.time
        columns = {name: table[name] for name in table.column_names if name not in (time, "close_time")}
        if not all(pa.types.is_floating(column.type) and not column.null_count for column in columns.values()):
            return None
        return self._times(table[time]), {n: c.cast(pa.float64()).to_numpy() for n, c in columns.items()}

    def rows(self) -> tuple[Int64s, dict[str, NDArray[Any]]]:
        """Return the time column in UTC ns and exact numbers; see the base class."""
        table, time = self._table_rows, self.layout.time
        columns = {}
        for name in table.column_names:
            if name in (time, "close_time"):
                continue
            cells = ("" if value is None else _text(value) for value in table[name].to_pylist())
            numbers = [self._number(cell, self.line_of(row), name) for row, cell in enumerate(cells)]
            raw = b"".join(number.to_bytes(16, "little", signed=True) for number in numbers)
            columns[name] = np.frombuffer(raw, np.uint64).reshape(-1, 2)
        return self._times(table[time]), columns

    def _times(self, column: pa.ChunkedArray) -> Int64s:
        if column.null_count:
            row = int(np.argmax(column.is_null().to_numpy()))
            raise self.fail(self.line_of(row), self.layout.time, "is empty", "correct or remove the row")
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            try:
                nanos = column.cast(pa.timestamp("ns", getattr(column.type, "tz", None))).cast(pa.int64())
            except pa.ArrowInvalid:
                reason = f"holds times that ns cannot hold, {column.type}"
                raise self.fail(None, self.layout.time, reason, "is the unit right? correct the file") from None
            return np.asarray(nanos.to_numpy(), dtype=np.int64)
        if pa.types.is_integer(column.type):
            return self._to_ns(np.asarray(column.to_numpy(), dtype=np.int64))
        read = [self._time(_text(v), self.line_of(row), self.layout.time) for row, v in enumerate(column.to_pylist())]
        dates = {is_date for _, is_date in read}
        if len(dates) > 1:
            raise self.fail(None, self.layout.time, "dates and numbers are mixed", "use one time format")
        return self._to_ns(np.array([value for value, _ in read], dtype=np.int64))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value).strip()


def _remedy(names: list[str]) -> str:
    if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), "")):
        return f"the separator seems to be {other!r}: give it in --mapping"
    if sum(_NUMBER.fullmatch(name) is not None for name in names) > len(names) // 2:
        return "the first row holds numbers: add a row with names; files of the exchange go to catalog.ingest"
    return "say where it is with --mapping"


def _read(path: Path, separator: str) -> pa.Table:
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file: check --from")
        if not path.stat().st_size:
            raise DataError(f"{path}: content: the file is empty: was it fetched whole? nothing was stored")
        if path.suffix.lower() == ".feather":
            return feather.read_table(path)
        if path.suffix.lower() == ".parquet":
            with pq.ParquetFile(path) as parquet:
                return parquet.read()
        with path.open("rb") as handle:
            packed = handle.read(2) == b"\x1f\x8b"
        with pa.input_stream(str(path), compression="gzip" if packed else None) as stream:
            names = re.split(re.escape(separator), stream.read().split(b"\n", 1)[0].decode("utf-8-sig").strip())
        names = [name.strip().strip('"') for name in names]
        with pa.input_stream(str(path), compression="gzip" if packed else None) as stream:
            return arrow_csv.read_csv(
                stream,
                read_options=arrow_csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
                parse_options=arrow_csv.ParseOptions(delimiter=separator),
                convert_options=arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
            )
    except (OSError, pa.ArrowException, UnicodeDecodeError) as e:
        text = str(e).splitlines()[0][:200]
        raise DataError(f"{path}: content: cannot be read ({text}): is the form right? nothing was stored") from None
