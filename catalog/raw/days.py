"""
The raw store on disk: ``<root>/<kind>/<symbol>[/<interval>]/``, a parquet file a month, of ticks and books a day.

All files of a command become visible at once (:mod:`catalog.raw.change`). Each carries the content hash of its days
(:mod:`catalog.raw.day_files`), by which it is known what changed.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalog.raw.change import recover
from catalog.raw.day_files import (
    DAY_NS,
    ContentHash,
    Day,
    day_name,
    described,
    former_hash,
    pieces,
    tables,
)
from catalog.raw.kinds import KINDS, Kind
from strategies.errors import DataError

DEFAULT_ROOT = Path("var/raw")


def series_path(root: Path, kind: Kind, symbol: str, interval: str | None) -> Path:
    """Return the directory of a series."""
    folder = root / kind.name / symbol
    return folder / interval if interval else folder


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
    found: dict[str, Day] = {}
    for file in sorted(series_path(root, KINDS[kind], symbol, interval).glob("*.parquet")):
        if first[: len(file.stem)] <= file.stem <= last[: len(file.stem)]:  # a month's file comes before its days'
            for day in described(file):
                found.setdefault(day.day, day)
    return sorted((day for name, day in found.items() if first <= name <= last), key=lambda day: day.day)


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
    for _, table in tables(days(root, kind, symbol, interval, start_ns, end_ns)):
        time = table[time_name].to_numpy()
        inside = np.ones(len(time), dtype=bool)
        if start_ns is not None:
            inside &= time >= start_ns
        if end_ns is not None:
            inside &= time < end_ns
        part = table if inside.all() else table.filter(pa.array(inside))
        yield part.select(columns) if columns else part


def dataset_hash(found: list[Day]) -> str:
    """Return one SHA-256 for a list of days."""
    return hashlib.sha256("\n".join(f"{day.day} {day.sha256}" for day in found).encode()).hexdigest()


def verify(day: Day) -> str | None:
    """Return what is wrong with a stored day, None when its rows still have the hash they were stored with."""
    ((_, fault),) = verified([day])
    return fault


def verified(found: Iterable[Day]) -> Iterator[tuple[Day, str | None]]:
    """Yield every day with what is wrong with it: None when its rows still have the hash they were stored with."""
    for _, days_of_file in itertools.groupby(found, key=lambda day: day.path):
        held = list(days_of_file)
        contents = {day.day: ContentHash() for day in held}
        damaged = None
        try:
            for day, table in pieces(held):
                contents[day.day].update(table)
        except DataError as e:
            damaged = str(e)
        for day in held:
            same = contents[day.day].hexdigest() == day.sha256
            yield day, damaged or (None if same else other_rows(day))


def other_rows(day: Day) -> str:
    """Return what to tell of a stored day whose rows do not have the hash they were stored with."""
    if day.path.stem == day.day and day.sha256 == former_hash(day.path):
        return f"{day.path}: its content hash has the form of before 2026-11-25: run `python -m catalog.raw rehash`"
    return f"{day.path}: the rows of {day.day} are not those that were stored: remove it and bring them again"
