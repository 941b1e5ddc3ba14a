"""
What was known at an instant: nothing a backtest sees may have been published, or corrected, later.

Rules: a bar is known when it has closed; funding at its settlement; open interest and ratios when the exchange has
published them (their time stamp plus `PUBLICATION_DELAY_NS`); of several versions of a row, the last one received by
then, so that a restatement does not reach back before it was made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog import store
from catalog.csv_files import UNITS, unit_of
from catalog.instruments import interval_ns
from catalog.quality.findings import Floats, Int64s
from catalog.quality.series import held
from catalog.raw import days as raw_days
from catalog.raw import revisions
from catalog.raw.kinds import KINDS
from catalog.reader import BarArrays, FundingArrays, load_bars, load_funding
from strategies.errors import DataError

_MINUTE_NS = 60_000_000_000
_HOUR_NS = 60 * _MINUTE_NS

PUBLICATION_DELAY_NS: Mapping[str, int] = {
    "bars": 0,
    "funding": 0,
    "mark": 0,
    "open_interest": 5 * _MINUTE_NS,
    "ratios": 5 * _MINUTE_NS,
    "taker_ratio": 5 * _MINUTE_NS,
    "metrics": 5 * _MINUTE_NS,
}
"""
How long after its time stamp a figure can be had. The statistics endpoints answer for a period after it has ended: the
stamp is the period's start for 5-minute figures, so one period is added; a safe bound, not a measurement.
"""


@dataclass(frozen=True, slots=True)
class Known:
    """
    What the catalog held at an instant.

    Attributes
    ----------
    time : int
        The instant, UTC ns.
    bars : mapping of interval to BarArrays
        Closed by then; empty series are left out.
    funding : FundingArrays or None
        Settled by then; None when the catalog has none.

    """

    time: int
    bars: Mapping[str, BarArrays]
    funding: FundingArrays | None


def asof(
    catalog: Path, symbol: str, time_ns: int, intervals: tuple[str, ...] = (), *, root: Path | None = None
) -> Known:
    """
    Return what was known of `symbol` at `time_ns`; what has been corrected since (``--replace``) is as it was then.

    Parameters
    ----------
    catalog : Path
        Catalog directory.
    symbol : str
        Venue symbol.
    time_ns : int
        UTC nanoseconds; a bar that closes exactly then is known.
    intervals : tuple of str
        Default: all the catalog holds.
    root : Path, optional
        The raw store, which keeps what was corrected; default: the one beside the catalog when it is there.

    Raises
    ------
    DataError
        Propagate: a revision is damaged; the catalog holds no bars of `symbol`.

    """
    there = tuple(interval for s, interval in held(catalog) if s == symbol)
    if not there:
        raise DataError(f"{catalog}: no bars of {symbol}: ingest them with `python -m catalog.ingest klines`")
    root = store.raw_beside(catalog) if root is None else root
    bars = {}
    for interval in intervals or there:
        everything = load_bars(catalog, symbol, interval)
        count = int(np.searchsorted(everything.open_time + interval_ns(interval), time_ns, side="right"))
        if count:
            bars[interval] = _bars_then(_first(everything, count), root, symbol, interval, time_ns)
    try:
        settled = load_funding(catalog, symbol)
    except DataError:
        return Known(time_ns, bars, None)
    count = int(np.searchsorted(settled.time + PUBLICATION_DELAY_NS["funding"], time_ns, side="right"))
    return Known(time_ns, bars, _funding_then(settled.time[:count], settled.rate[:count], root, symbol, time_ns))


def _bars_then(bars: BarArrays, root: Path | None, symbol: str, interval: str, time_ns: int) -> BarArrays:
    end = int(bars.open_time[-1]) + 1
    old = _replaced_since(root, "klines", symbol, interval, int(bars.open_time[0]), end, time_ns)
    if old is None:
        return bars
    opened = old["open_time"].to_numpy()
    at = np.searchsorted(bars.open_time, opened)
    there = (at < len(bars.open_time)) & (bars.open_time[np.minimum(at, len(bars.open_time) - 1)] == opened)
    columns = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close", "volume")}
    for name, values in columns.items():
        values[at[there]] = np.array([float(value) for value in old[name].to_pylist()])[there]
    return BarArrays(bars.open_time, **columns)


def _funding_then(time: Int64s, rate: Floats, root: Path | None, symbol: str, time_ns: int) -> FundingArrays:
    old = None
    if len(time):
        span = int(time[0]) - _MINUTE_NS, int(time[-1]) + _MINUTE_NS
        old = _replaced_since(root, "funding", symbol, None, *span, time_ns)
    if old is not None:
        settled = (old["calc_time"].to_numpy() + _HOUR_NS // 2) // _HOUR_NS * _HOUR_NS
        rate = rate.copy()
        for at, value in zip(settled.tolist(), old["last_funding_rate"].to_pylist(), strict=True):
            rate[time == at] = float(value)
    return FundingArrays(time, rate)


def _replaced_since(
    root: Path | None, kind: str, symbol: str, interval: str | None, start_ns: int, end_ns: int, time_ns: int
) -> pa.Table | None:
    """Return the rows of ``[start, end)`` that were in force at `time_ns` and are not any more; None when none are."""
    old = None if root is None else revisions.load(root, kind, symbol, interval, start_ns, end_ns)
    if old is None:
        return None
    name = KINDS[kind].columns[0].name
    time, replaced = old[name].to_numpy(), old[revisions.REPLACED].to_numpy()
    old = old.filter(pa.array((replaced > time_ns) & (time >= start_ns) & (time < end_ns)))
    old = old.sort_by([(name, "ascending"), (revisions.REPLACED, "ascending")])
    time = old[name].to_numpy()
    first = np.append(True, np.diff(time) != 0)[: len(time)]  # of several versions, the first replaced after it
    return old.filter(pa.array(first)) if len(time) else None


def known_rows(
    kind: str, stamp: Int64s, time_ns: int, *, received: Int64s | None = None, available: Int64s | None = None
) -> Int64s:
    """
    Return the indices of the rows of a versioned series that were in force at `time_ns`, in order of their stamps.

    Parameters
    ----------
    kind : str
        A key of `PUBLICATION_DELAY_NS`.
    stamp : ndarray of int64, shape (n,)
        What identifies a row (bars: open), UTC ns, any order; repeated for versions.
    time_ns : int
        The instant, UTC ns.
    received : ndarray of int64, shape (n,), optional
        When each version arrived here; without it later rows are later versions, and none is thought to be late.
    available : ndarray of int64, shape (n,), optional
        When the first version could be had (bars: close); default `stamp`.

    Raises
    ------
    DataError
        Propagate: unknown kind.

    """
    if kind not in PUBLICATION_DELAY_NS:
        raise DataError(f"{kind}: unknown kind of data, known are {', '.join(PUBLICATION_DELAY_NS)}")
    known_from = (stamp if available is None else available) + PUBLICATION_DELAY_NS[kind]
    if received is not None:
        known_from = np.maximum(known_from, received)
    at = np.flatnonzero(known_from <= time_ns)
    version = at if received is None else received[at]
    order = np.lexsort((at, version, stamp[at]))
    at = at[order]
    last = np.append(np.diff(stamp[at]) != 0, True)
    return at[last[: len(at)]]


def _first(bars: BarArrays, count: int) -> BarArrays:
    return BarArrays(*(getattr(bars, name)[:count] for name in ("open_time", "open", "high", "low", "close", "volume")))


def known_from(kind: str, rows: pa.Table, interval: str | None = None) -> Int64s:
    """
    Return when each row of the raw store could be known, UTC ns.

    Candles of all kinds at their close; trades, forced orders and depth at their time; quotes at the exchange's event
    time where it is given; funding at its settlement; open interest, ratios and metrics after their publication delay.

    Parameters
    ----------
    kind : str
        One of :data:`catalog.raw.kinds.KINDS`.

    """
    stamp = np.asarray(rows[KINDS[kind].columns[0].name].to_numpy(), dtype=np.int64)
    if KINDS[kind].interval:
        return stamp + interval_ns(interval or "")
    if kind == "book_ticker":
        event = pc.fill_null(rows["event_time"], 0).to_numpy()
        unit = unit_of(int(event.max(initial=0)))
        return stamp if unit is None else np.maximum(stamp, event * UNITS[unit])
    return stamp + PUBLICATION_DELAY_NS.get(kind, 0)


def raw_asof(
    root: Path,
    kind: str,
    symbol: str,
    time_ns: int,
    interval: str | None = None,
    start_ns: int = 0,
) -> pa.Table | None:
    """
    Return the rows of the raw store that were known at `time_ns`, as they were known then; None when none were.

    A row that has been corrected since (``--replace``) is the old one for an instant before the correction.

    Parameters
    ----------
    root : Path
        The raw store.
    kind : str
        One of :data:`catalog.raw.kinds.KINDS`.
    time_ns : int
        UTC nanoseconds.
    start_ns : int
        Rows before it are left out.

    Raises
    ------
    DataError
        Propagate: a file is damaged.

    """
    end = time_ns + 1
    found = list(raw_days.load(root, kind, symbol, interval, start_ns, end))
    if not found:
        return None
    rows = pa.concat_tables(found)
    old = revisions.load(root, kind, symbol, interval, start_ns, end)
    if old is not None:
        rows = _as_it_was(kind, rows, old, time_ns, start_ns)
    rows = rows.filter(pa.array(known_from(kind, rows, interval) <= time_ns))
    return rows if rows.num_rows else None


def _as_it_was(kind: str, rows: pa.Table, old: pa.Table, time_ns: int, start_ns: int) -> pa.Table:
    """Put back the rows that had not been replaced by then: of several versions, the first replaced after it."""
    names = KINDS[kind].key
    old = old.filter(pa.array(old[revisions.REPLACED].to_numpy() > time_ns))
    time = old[KINDS[kind].columns[0].name].to_numpy()
    old = old.filter(pa.array((time >= start_ns) & (time <= time_ns))).sort_by(revisions.REPLACED)
    first: dict[tuple[object, ...], int] = {}
    for at, key in enumerate(zip(*(old[name].to_pylist() for name in names), strict=True)):
        first.setdefault(key, at)
    if not first:
        return rows
    keys = zip(*(rows[name].to_pylist() for name in names), strict=True)
    place = {key: at for at, key in enumerate(keys) if key in first}
    index = np.arange(rows.num_rows)
    for key, at in first.items():
        if key in place:
            index[place[key]] = rows.num_rows + at
    return pa.concat_tables([rows, old.drop_columns([revisions.REPLACED]).cast(rows.schema)]).take(pa.array(index))
