"""
Series of the catalog that are one file for all days: bars and Nautilus's funding.

Rows that only the catalog has (ingested, repaired, resampled) stay; rows that contradict the raw store refuse their
series unless the raw store is declared right.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalog import manifest, store, tables
from catalog.build_plan import RawSeries
from catalog.checks import Grid, Series, iso
from catalog.instruments import bar_type_text, instrument_id_text
from catalog.manifest import BuiltSeries, Output
from catalog.raw.day_files import read
from catalog.types import tables as typed
from catalog.types.tables import Source
from strategies.errors import DataError

KINDS = ("klines", "funding")


def write_whole(
    catalog: Path, series: RawSeries, grid: Grid, old: BuiltSeries | None, *, replace: bool
) -> tuple[tuple[Output, ...], int]:
    """
    Write bars, or Nautilus's funding: one file for all days. Return its record and the rows only the catalog has.

    Parameters
    ----------
    old : BuiltSeries or None
        What the manifest says of the build before.
    replace : bool
        The raw store wins over rows of the catalog that contradict it.

    Raises
    ------
    DataError
        Propagate: rows contradict each other, a row does not fit the grid, a damaged day; the series is as it was.

    """
    if series.kind == "klines":
        folder, name = store.BARS, bar_type_text(series.symbol, series.interval or "")
    else:
        folder, name = store.FUNDING, instrument_id_text(series.symbol)
    file = store.series_file(catalog, folder, name)
    ours = old is not None and not old.others and [catalog / o.path for o in old.whole] == [file]
    if ours and old is not None and all(manifest.intact(catalog, o, thorough=True) for o in old.whole):
        file = None  # made of the raw store alone: nothing to keep
    pieces = _pieces(series, grid)
    others = 0
    if file is not None:
        table = store.read_table(catalog, folder, name)
        known = _from_table(table, series, grid, catalog)
        merged, others = _merged(Series(*_joined(list(pieces))), known, series, catalog, replace=replace)
        pieces = iter([merged])
    made = store.write_pieces(
        catalog,
        folder,
        name,
        (
            tables.bars_to_table(p, grid, series.interval or "")
            if series.kind == "klines"
            else tables.funding_to_table(p, series.symbol)
            for p in pieces
        ),
    )
    return (manifest.output(catalog, made),), others


def _pieces(series: RawSeries, grid: Grid) -> Iterator[Series]:
    last = -1
    for file, days in itertools.groupby(series.days, key=lambda day: day.path):
        whole = read(file)
        table = pa.concat_tables([whole.slice(day.first, day.rows) for day in days])
        if series.kind == "klines":
            piece = typed.bars(table, Source(grid, series.interval, str(file)))
        else:
            piece = _settled(typed.funding(table), file)
        if not len(piece.time):
            continue
        if int(piece.time[0]) <= last:  # a settlement just before midnight, and the same one after it
            piece = Series(piece.time[piece.time > last], piece.values[piece.time > last])
        last = int(piece.time[-1]) if len(piece.time) else last
        yield piece


def _settled(found: Series, file: Path) -> Series:
    """Return settlements once each: sources differ in milliseconds, which were rounded away."""
    again = np.diff(found.time) == 0
    if (again & (found.values[1:, 0] != found.values[:-1, 0])).any():
        at = iso(found.time[1:][again & (found.values[1:, 0] != found.values[:-1, 0])][0])
        raise DataError(f"{file}: the settlement of {at} stands there twice with other rates: keep one")
    keep = np.concatenate([~again, [True]]) if len(found.time) else np.empty(0, bool)
    return Series(found.time[keep], found.values[keep])


def _joined(pieces: list[Series]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([p.time for p in pieces]), np.concatenate([p.values for p in pieces])


def _from_table(table: pa.Table, series: RawSeries, grid: Grid, catalog: Path) -> Series:
    if series.kind == "klines":
        return tables.bars_from_table(table, grid, series.interval or "", catalog)
    return tables.funding_from_table(table)


def _merged(raw: Series, known: Series, series: RawSeries, catalog: Path, *, replace: bool) -> tuple[Series, int]:
    compared = 5 if series.kind == "klines" else 1  # of funding, the interval may be known to one source only
    _, a, b = np.intersect1d(raw.time, known.time, assume_unique=True, return_indices=True)
    differ = (raw.values[a, :compared] != known.values[b, :compared]).any(axis=1)
    if differ.any() and not replace:
        raise DataError(
            f"{catalog}: {int(differ.sum())} rows of {series.key} contradict the raw store, first "
            f"{iso(raw.time[a][differ][0])}: --replace takes the raw store's; the series is as it was before"
        )
    only = ~np.isin(known.time, raw.time)
    time = np.concatenate([raw.time, known.time[only]])
    values = np.concatenate([raw.values[:, : known.values.shape[1]], known.values[only]])
    order = np.argsort(time, kind="stable")
    return Series(time[order], values[order]), int(only.sum())
