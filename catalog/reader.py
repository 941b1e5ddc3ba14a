"""
Market data as arrays, straight from the catalog's parquet columns.

The floats are bit-equal to ``float(bar.close)`` in the engine, so research and trading compute on identical numbers.
Ranges ``[start, end)`` are on the bar's OPEN time; funding on its settlement time. Times are UTC nanoseconds.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catalog import store
from catalog.fixed_point import WORD_BYTES, Words, stored_floats
from catalog.instruments import bar_type_text, instrument_id_text, interval_ns
from strategies.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_BAR_COLUMNS = ["open", "high", "low", "close", "volume", "ts_event"]

type Floats = NDArray[np.float64]
type Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BarArrays:
    """
    Bars as columns of equal length, strictly increasing in time.

    Attributes
    ----------
    open_time : ndarray of int64, shape (n,)
        Open of the bar, UTC nanoseconds.
    open, high, low, close : ndarray of float64, shape (n,)
        Prices, quote currency.
    volume : ndarray of float64, shape (n,)
        Base currency.

    """

    open_time: Int64s
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.open_time)


@dataclass(frozen=True, slots=True)
class FundingArrays:
    """
    Funding settlements, strictly increasing in time.

    Attributes
    ----------
    time : ndarray of int64, shape (n,)
        Settlement, UTC nanoseconds.
    rate : ndarray of float64, shape (n,)
        Fraction of notional that longs pay to shorts.

    """

    time: Int64s
    rate: Floats

    def __len__(self) -> int:
        return len(self.time)


def load_bars(
    catalog: Path, symbol: str, interval: str, start_ns: int | None = None, end_ns: int | None = None
) -> BarArrays:
    """
    Return the bars whose open lies in ``[start_ns, end_ns)``; None leaves that side open.

    Raises
    ------
    DataError
        Propagate: the catalog holds no such series, or none of its bars lies in the range; names the remedy.

    """
    step = interval_ns(interval)
    span = (None if start_ns is None else start_ns + step, None if end_ns is None else end_ns + step)
    table = _bars(catalog, symbol, interval, _BAR_COLUMNS, span)
    open_time = _times(table, "ts_event") - step
    rows = _range(open_time, start_ns, end_ns)
    if rows.start == rows.stop:
        first, last, _ = coverage(catalog, symbol, interval)
        raise DataError(
            f"{catalog}: {symbol} {interval}: no bar opens in [{_iso(start_ns)}, {_iso(end_ns)}); the catalog holds "
            f"{_iso(first)} to {_iso(last)}: ingest the missing range or choose another one"
        )
    metadata = table.schema.metadata
    precision, size = int(metadata[b"price_precision"]), int(metadata[b"size_precision"])
    return BarArrays(
        open_time=open_time[rows],
        open=_floats(table, "open", rows, precision),
        high=_floats(table, "high", rows, precision),
        low=_floats(table, "low", rows, precision),
        close=_floats(table, "close", rows, precision),
        volume=_floats(table, "volume", rows, size),
    )


def load_funding(catalog: Path, symbol: str, start_ns: int | None = None, end_ns: int | None = None) -> FundingArrays:
    """
    Return the settlements in ``[start_ns, end_ns)``, possibly none; None leaves that side open.

    Raises
    ------
    DataError
        Propagate: the catalog holds no funding of `symbol`; names the remedy.

    """
    table = store.read_table(catalog, store.FUNDING, instrument_id_text(symbol), ["rate", "ts_event"])
    if table is None:
        raise DataError(
            f"{catalog}: no funding of {symbol}: run "
            f"`python -m catalog.ingest funding --symbol {symbol} --from PATH --catalog {catalog}`"
        )
    time = _times(table, "ts_event")
    rows = _range(time, start_ns, end_ns)
    return FundingArrays(time[rows], rates(table)[rows])


def coverage(catalog: Path, symbol: str, interval: str) -> tuple[int, int, int]:
    """
    Return open of the first bar, open of the last bar (UTC ns) and the number of bars.

    Raises
    ------
    DataError
        Propagate: the catalog holds no such series; names the remedy.

    """
    times = _times(_bars(catalog, symbol, interval, ["ts_event"]), "ts_event") - interval_ns(interval)
    return int(times[0]), int(times[-1]), len(times)


def data_hash(
    catalog: Path, symbols: Sequence[str], interval: str, start_ns: int | None = None, end_ns: int | None = None
) -> str:
    """
    Return a SHA-256 over the values a run on this range uses: bars, and funding including the last one before it.

    The order of `symbols` matters; the layout of the files does not. Funding that is absent counts as absent.

    Raises
    ------
    DataError
        Propagate: see :func:`load_bars`.

    """
    digest = hashlib.sha256()
    for symbol in symbols:
        bars = load_bars(catalog, symbol, interval, start_ns, end_ns)
        digest.update(f"{symbol}|{interval}|{len(bars)}".encode())
        for column in (bars.open_time, bars.open, bars.high, bars.low, bars.close, bars.volume):
            digest.update(_bytes(column))
        if not store.series_path(catalog, store.FUNDING, instrument_id_text(symbol)).exists():
            digest.update(b"|no funding")
            continue
        funding = load_funding(catalog, symbol, None, end_ns)
        first = 0
        if start_ns is not None:
            first = max(int(np.searchsorted(funding.time, start_ns)) - 1, 0)
        digest.update(f"|{len(funding) - first}".encode())
        digest.update(_bytes(funding.time[first:]))
        digest.update(_bytes(funding.rate[first:]))
    return digest.hexdigest()


def words(column: "pa.ChunkedArray") -> Words:
    """Return a column of 16-byte numbers as uint64 words, shape (n, 2)."""
    chunks = [np.frombuffer(c.buffers()[1], np.uint64)[2 * c.offset : 2 * (c.offset + len(c))] for c in column.chunks]
    flat = chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0, np.uint64), *chunks])
    return flat.reshape(-1, WORD_BYTES // 8)


def rates(table: "pa.Table") -> Floats:
    """Return the ``rate`` column of a funding table (JSON texts) as fractions."""
    import pyarrow as pa  # noqa: PLC0415 - commands answer --help before this import
    import pyarrow.compute as pc  # noqa: PLC0415 - as above

    text = pc.utf8_trim(table["rate"].cast(pa.string()), '"')
    return np.asarray(text.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _bars(
    catalog: Path,
    symbol: str,
    interval: str,
    columns: list[str],
    span: tuple[int | None, int | None] = (None, None),
) -> "pa.Table":
    table = store.read_table(catalog, store.BARS, bar_type_text(symbol, interval), columns, span)
    if table is None:
        raise DataError(
            f"{catalog}: no {interval} bars of {symbol}: run `python -m catalog.sample --catalog {catalog}` or "
            f"`python -m catalog.ingest klines --symbol {symbol} --interval {interval} --from PATH --catalog {catalog}`"
        )
    return table


def _times(table: "pa.Table", name: str) -> Int64s:
    return np.asarray(table[name].to_numpy(), dtype=np.int64)


def _floats(table: "pa.Table", name: str, rows: slice, precision: int) -> Floats:
    floats = stored_floats(words(table[name])[rows], precision)
    if floats is None:
        raise DataError(f"column {name}: a stored number has more than {precision} digits; ingest the series again")
    return floats


def _range(times: Int64s, start_ns: int | None, end_ns: int | None) -> slice:
    first = 0 if start_ns is None else int(np.searchsorted(times, start_ns))
    last = len(times) if end_ns is None else int(np.searchsorted(times, end_ns))
    return slice(first, max(first, last))


def _bytes(column: NDArray[Any]) -> bytes:
    return column.astype(column.dtype.newbyteorder("<")).tobytes()


def _iso(time_ns: int | None) -> str:
    if time_ns is None:
        return "…"
    return str(np.datetime64(time_ns // 1_000_000_000, "s")) + "Z"
