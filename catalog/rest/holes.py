"""What the raw store does not have: time ranges of series on a grid, identifier ranges of trades."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from catalog.raw import days as raw_days
from catalog.raw.day_files import DAY_NS, Day
from catalog.raw.kinds import KINDS

type Range = tuple[int, int]


def grid_holes(
    root: Path, kind: str, symbol: str, interval: str | None, step_ns: int, start_ns: int, end_ns: int
) -> list[Range]:
    """
    Return the missing ``[from, to)`` of a series with one row every `step_ns`, UTC ns, ascending.

    Whole days are told by their number of rows, without reading them.
    """
    first, end = -(-start_ns // step_ns) * step_ns, end_ns // step_ns * step_ns
    if first >= end:
        return []
    have = [np.array([first - step_ns, end], dtype=np.int64)]
    for day in raw_days.days(root, kind, symbol, interval, first, end):
        midnight = int(np.datetime64(day.day, "D").astype(np.int64)) * DAY_NS
        if day.rows == DAY_NS // step_ns and first <= midnight and midnight + DAY_NS <= end:
            have.append(np.arange(midnight, midnight + DAY_NS, step_ns, dtype=np.int64))
        else:
            time = _column(day, KINDS[kind].columns[0].name)
            have.append(time[(time >= first) & (time < end)])
    times = np.unique(np.concatenate(have))
    edges = np.flatnonzero(np.diff(times) > step_ns)
    return [(int(times[i]) + step_ns, int(times[i + 1])) for i in edges]


def id_holes(root: Path, kind: str, symbol: str, start_ns: int, end_ns: int) -> tuple[list[Range], Range | None]:
    """
    Return the missing identifiers between stored trades of ``[start, end)`` as ``[from, to)``, and what is stored.

    The second value is the first and last stored identifier of the range, None when nothing is stored.
    """
    table = KINDS[kind]
    if table.rising is None:
        raise ValueError(f"{kind} has no identifier")
    found: list[Range] = []
    first = last = None
    for day in raw_days.days(root, kind, symbol, None, start_ns, end_ns):
        ids, times = _column(day, table.rising), _column(day, table.columns[0].name)
        ids = ids[(times >= start_ns) & (times < end_ns)]
        if not len(ids):
            continue
        if last is not None and ids[0] > last + 1:
            found.append((last + 1, int(ids[0])))
        gaps = np.flatnonzero(np.diff(ids) > 1)
        found += [(int(ids[i]) + 1, int(ids[i + 1])) for i in gaps]
        first = int(ids[0]) if first is None else first
        last = int(ids[-1])
    return found, None if first is None or last is None else (first, last)


def _column(day: Day, name: str) -> np.ndarray:
    with pq.ParquetFile(day.path) as parquet:
        column = parquet.read([name])[name].slice(day.first, day.rows)
    return np.asarray(column.to_numpy(), dtype=np.int64)
