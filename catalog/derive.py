"""Bars made from other bars: longer intervals, and holes filled. Exact integers throughout; nothing is interpolated."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalog import checks, provenance, store, tables, through_raw
from catalog.checks import Grid, Series
from catalog.instruments import bar_type_text, interval_ns
from catalog.quality.findings import Int64s, iso, spans
from catalog.quality.resampling import add_up, complete_buckets
from strategies.errors import DataError

FIELDS = 5

type _Made = tuple[str, Series, dict[str, object]]


@dataclass(frozen=True, slots=True)
class Derived:
    """What a derivation did: rows added, rows that were there and equal, rows that were there and differ."""

    symbol: str
    interval: str
    added: int
    equal: int
    differing: int
    first_differing: str
    still_missing: int
    origins: dict[str, int]


def load_exact(catalog: Path, symbol: str, interval: str) -> tuple[Series, Grid]:
    """
    Return a stored series in integer units, and its grid.

    Raises
    ------
    DataError
        Propagate: the catalog does not hold it.

    """
    grid = tables.stored_grid(catalog, symbol)
    table = store.read_table(catalog, store.BARS, bar_type_text(symbol, interval))
    if grid is None or table is None:
        raise DataError(
            f"{catalog}: no {interval} bars of {symbol}: run "
            f"`python -m catalog.ingest klines --symbol {symbol} --interval {interval} --from PATH --catalog {catalog}`"
        )
    return tables.bars_from_table(table, grid, interval, catalog), grid


def resampled(series: Series, short: str, long: str) -> Series:
    """
    Return the complete longer bars of a series.

    Raises
    ------
    DataError
        Propagate: `long` is no multiple of `short`.

    """
    try:
        buckets = complete_buckets(series.time, interval_ns(short), interval_ns(long))
    except ValueError:
        raise DataError(f"{long} bars cannot be made from {short} bars: choose a multiple") from None
    return Series(buckets.open_time, add_up(series.values[:, :FIELDS], buckets))


def resample(
    catalog: Path, symbol: str, short: str, long: str, *, root: Path | None = None, wait_seconds: float = 60.0
) -> Derived:
    """
    Store the complete `long` bars of the stored `short` bars; native bars that are there stay as they are.

    With `root` they go into that raw store first, and the catalog is built from it.

    Raises
    ------
    DataError
        Propagate: no such series, not one complete bar; nothing was stored.

    """
    with store.locked(catalog, wait_seconds):
        series, grid = load_exact(catalog, symbol, short)
        new = resampled(series, short, long)
        if not len(new.time):
            raise DataError(f"{catalog}: {symbol}: no {long} bar of which every {short} part is there")
        done, made = _store(
            catalog, grid, long, [(f"resampled from {short}", new)], only_missing_between=False, root=root
        )
    _into_raw(root, catalog, grid, long, made, wait_seconds)
    return done


def repair(
    catalog: Path,
    symbol: str,
    interval: str,
    *,
    files: Sequence[Path] = (),
    finer: Sequence[str] = (),
    dry_run: bool = False,
    root: Path | None = None,
    wait_seconds: float = 60.0,
) -> Derived:
    """
    Fill the holes of a stored series from files (first) and from shorter stored intervals, in the order given.

    Only bars that another source really has are used; what nobody has stays missing. A source must agree with the
    stored rows where both have bars (99 %), or it is another market and is refused. With `root` the rows go into that
    raw store first, and the catalog is built from it.

    Raises
    ------
    DataError
        Propagate: no such series, a source that disagrees; nothing was stored.

    """
    with store.locked(catalog, wait_seconds):
        known, grid = load_exact(catalog, symbol, interval)
        sources = [(path.name, checks.read_klines(path, grid, interval)) for path in files]
        sources += [
            (f"resampled from {short}", resampled(load_exact(catalog, symbol, short)[0], short, interval))
            for short in finer
        ]
        for name, series in sources:
            _refuse_stranger(name, known, series)
        done, made = _store(catalog, grid, interval, sources, only_missing_between=True, dry_run=dry_run, root=root)
    _into_raw(root, catalog, grid, interval, made, wait_seconds)
    return done


def _refuse_stranger(name: str, known: Series, series: Series) -> None:
    _, a, b = np.intersect1d(known.time, series.time, assume_unique=True, return_indices=True)
    if not len(a):
        raise DataError(
            f"{name}: has no bar in common with the stored series, so it cannot be trusted to be the same "
            "market: ingest it with catalog.ingest if you know that it is; nothing was stored"
        )
    same = (known.values[a, :FIELDS] == series.values[b, :FIELDS]).all(axis=1)
    if same.mean() < 0.99:
        first = iso(int(known.time[a][~same][0]))
        raise DataError(
            f"{name}: {int((~same).sum())} of {len(a)} common bars differ, first {first}: another market or symbol; "
            "give a source that agrees; nothing was stored"
        )


def _store(
    catalog: Path,
    grid: Grid,
    interval: str,
    sources: list[tuple[str, Series]],
    *,
    only_missing_between: bool,
    root: Path | None,
    dry_run: bool = False,
) -> tuple[Derived, list[_Made]]:
    identifier, step = bar_type_text(grid.symbol, interval), interval_ns(interval)
    table = store.read_table(catalog, store.BARS, identifier)
    known = Series(np.empty(0, np.int64), np.empty((0, FIELDS), np.int64))
    if table is not None:
        known = tables.bars_from_table(table, grid, interval, catalog)
    origins: dict[str, int] = {}
    equal, differing, first_differing = 0, 0, ""
    entries: list[dict[str, object]] = []
    made: list[_Made] = []
    for name, series in sources:
        there = np.isin(series.time, known.time)
        at = np.searchsorted(known.time, series.time[there])
        same = (known.values[at, :FIELDS] == series.values[there, :FIELDS]).all(axis=1)
        equal += int(same.sum())
        differing += int((~same).sum())
        if not same.all() and not first_differing:
            first_differing = iso(int(series.time[there][~same][0]))
        fresh = ~there
        if only_missing_between:
            fresh &= (series.time > known.time[0]) & (series.time < known.time[-1])
        if not fresh.any():
            continue
        origins[name] = int(fresh.sum())
        ranges = [[iso(a), iso(b), n] for a, b, n in spans(series.time, fresh)]
        entries.append({"origin": name, "rows": int(fresh.sum()), "ranges": ranges})
        made.append((name, Series(series.time[fresh], series.values[fresh, :FIELDS]), entries[-1]))
        time = np.concatenate([known.time, series.time[fresh]])
        order = np.argsort(time, kind="stable")
        values = np.concatenate([known.values[:, :FIELDS], series.values[fresh, :FIELDS]])[order]
        known = Series(time[order], values)
    if entries and not dry_run and root is None:
        for entry in entries:  # before the data: a note without rows does no harm, rows without a note would
            provenance.note(catalog, grid.symbol, interval, entry)
        store.write_series(catalog, store.BARS, identifier, tables.bars_to_table(known, grid, interval))
    missing = int((np.diff(known.time) // step - 1).sum())
    done = Derived(grid.symbol, interval, sum(origins.values()), equal, differing, first_differing, missing, origins)
    return done, [] if dry_run else made


def _into_raw(
    root: Path | None, catalog: Path, grid: Grid, interval: str, made: list[_Made], wait_seconds: float
) -> None:
    if root is None or not made:
        return
    through_raw.adopt(root, catalog, grid, interval, wait_seconds=wait_seconds)
    for name, series, entry in made:
        provenance.note(root, grid.symbol, interval, entry)  # before the data, as in the catalog
        through_raw.put_series(series, grid, interval, root=root, origin=name, wait_seconds=wait_seconds)
    through_raw.build(root, catalog, grid.symbol, interval, wait_seconds=wait_seconds)
    for _, _, entry in made:
        provenance.note(catalog, grid.symbol, interval, entry)


def holes(time: Int64s, step: int) -> list[tuple[int, int]]:
    """Return first and last missing open of every hole."""
    at = np.flatnonzero(np.diff(time) > step)
    return [(int(time[i]) + step, int(time[i + 1]) - step) for i in at]
