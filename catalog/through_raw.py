"""
Checked rows into the raw store first, then the part of the Nautilus catalog that is made of it.

The raw store is the truth: killed between the two steps it holds the rows, and the same command, or ``catalog.build``,
does the rest. A catalog whose rows all came this way can be deleted and built again, byte for byte.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import numpy as np

from catalog import building, checks, manifest, store, tables, writer
from catalog.checks import Grid, Series
from catalog.csv_files import CsvFile
from catalog.instruments import bar_type_text, instrument_id_text
from catalog.progress import Progress
from catalog.quality import ingested
from catalog.raw import days as raw_days
from catalog.raw import ledger
from catalog.raw.kinds import KINDS
from catalog.raw.writer import put, put_rows
from catalog.writer import Report
from strategies.errors import DataError


def root_of(catalog: Path, given: Path | None, *, cache_only: bool) -> Path | None:
    """
    Return the raw store a command writes through: the one given, else the one beside the catalog; None for no store.

    Beside a catalog that holds rows and has no store, none is made: what such rows are worth only a person knows (they
    may be generated), and a store would take them over as the truth. Standard error says so.

    Raises
    ------
    DataError
        Propagate: a store was given and is not to be used.

    """
    if cache_only:
        if given is not None:
            raise DataError("--raw and --cache-only exclude each other: give one")
        return None
    if given is not None:
        return given
    beside, name = store.raw_beside(catalog), store.raw_name(catalog)
    if beside is None and not (catalog / "data").exists():
        return name
    if beside is None:
        sys.stderr.write(
            f"note: {catalog} holds rows and has no raw store: what comes now goes into the catalog alone and cannot "
            f"be built again; `--raw {name}` begins a store, `--cache-only` says that this is meant\n"
        )
    return beside


def take(
    paths: Sequence[Path],
    *,
    catalog: Path,
    symbol: str,
    interval: str | None,
    raw: Path | None = None,
    cache_only: bool = False,
    progress: Progress | None = None,
    opened: Callable[[Path], CsvFile] | None = None,
    **options: Any,
) -> Report:
    """
    Bring files of candles (with `interval`) or of funding to where :func:`root_of` says; refusals are noted there.

    Parameters
    ----------
    raw, cache_only
        See :func:`root_of`.
    progress : Progress, optional
        Told the bytes of all files, twice when they go through the raw store, and of each file read.
    opened : Callable, optional
        For files of other forms.
    **options
        See :func:`bring`.

    Raises
    ------
    DataError, ConfigError
        Propagate: see :func:`bring`.

    """
    root, progress = root_of(catalog, raw, cache_only=cache_only), progress or Progress()
    progress.expect(sum(map(_size, paths)) * (1 if root is None else 2))
    shared: dict[str, Any] = options | {"catalog": catalog, "symbol": symbol}
    if root is not None:
        return bring(paths, root=root, interval=interval, opened=opened, progress=progress, **shared)

    def counted(path: Path) -> Path | CsvFile:
        progress.advance(_size(path))
        return path if opened is None else opened(path)

    try:
        if interval is None:
            return writer.ingest_funding(paths, opened=counted, **shared)
        return writer.ingest_klines(paths, interval=interval, opened=counted, **shared)
    except DataError as e:
        ledger.refused(catalog, paths, e, "klines" if interval else "funding", symbol, interval)
        raise


def bring(
    paths: Sequence[Path],
    *,
    root: Path,
    catalog: Path,
    symbol: str,
    interval: str | None = None,
    instruments: Path | None = None,
    replace: bool = False,
    insist: bool = False,
    now_ns: int | None = None,
    wait_seconds: float = 60.0,
    opened: Callable[[Path], CsvFile] | None = None,
    progress: Progress | None = None,
) -> Report:
    """
    Bring files of candles (with `interval`) or of funding into the raw store, and the catalog up to date with it.

    Parameters are those of :func:`catalog.writer.ingest_klines`. A bar that completes the stored one replaces it (same
    open, at least its range, more volume). Files read through `opened` bring the columns of the catalog alone.

    Raises
    ------
    DataError, ConfigError
        Propagate: nothing was stored; or, when the message says so, the rows are in the raw store and the catalog is
        as it was.

    """
    kind, progress = "klines" if interval else "funding", progress or Progress()
    grid, _ = writer.figures(catalog, symbol, instruments)

    def read(path: Path) -> Series:
        progress.advance(_size(path))
        file = path if opened is None else opened(path)
        if interval:
            return checks.read_klines(file, grid, interval, now_ns, insist=insist)
        return checks.read_funding(file, symbol, now_ns, insist=insist)

    try:
        parts = [writer.checked_part(path, symbol, interval, None, read) for path in paths]
        if interval and not insist:
            writer.refuse_other_unit(parts, _stored(catalog, grid, interval), grid)
    except DataError as e:
        root.mkdir(parents=True, exist_ok=True)
        ledger.refused(root, paths, e, kind, symbol, interval)
        raise
    merged = writer.laid_over(parts, _stored(catalog, grid, interval))
    adopt(root, catalog, grid, interval, wait_seconds=wait_seconds)
    shared: dict[str, Any] = {
        "root": root,
        "kind": kind,
        "symbol": symbol,
        "interval": interval,
        "now_ns": now_ns,
        "replace": replace,
    }
    if opened is None:
        put(paths, wait_seconds=wait_seconds, progress=Progress(advance=progress.advance), **shared)
    else:
        for path, series, _ in parts:
            put_rows(_columns(series, grid, interval), source=str(path), wait_seconds=wait_seconds, **shared)
    build(root, catalog, symbol, interval, instruments=instruments, replace=replace, wait_seconds=wait_seconds)
    if interval:
        findings, per_day = writer.inspected(parts, lambda s, name: ingested.inspect_series(s, grid, interval, name))
    else:
        findings, per_day = writer.inspected(parts, lambda s, name: ingested.inspect_settlements(s, symbol, name))
    if merged.changed:
        with store.locked(catalog, wait_seconds):
            ingested.record(catalog, symbol, interval or ingested.FUNDING, findings, per_day)
    told = writer.told(merged.report(kind, symbol, interval, catalog, parts), findings, per_day)
    now = _stored(catalog, grid, interval)
    if now is None:
        return told
    return replace_fields(
        told, total=len(now.time), first=checks.iso(int(now.time[0])), last=checks.iso(int(now.time[-1]))
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def adopt(root: Path, catalog: Path, grid: Grid, interval: str | None, *, wait_seconds: float = 60.0) -> int:
    """
    Put rows that only the catalog has (written before there was a raw store) into the raw store; return how many.

    Raises
    ------
    DataError
        Propagate: nothing was stored.

    """
    kind = "klines" if interval else "funding"
    built = manifest.read(catalog).series.get(manifest.key_of(kind, grid.symbol, interval))
    whole = built is not None and not built.others
    if built is not None and whole and all(manifest.intact(catalog, o) for o in built.whole):
        return 0
    known = _stored(catalog, grid, interval)
    if known is None:
        return 0
    name = KINDS[kind].columns[0].name
    there = [table[name].to_numpy() for table in raw_days.load(root, kind, grid.symbol, interval, columns=[name])]
    time = np.concatenate([np.empty(0, np.int64), *there])
    if not interval:  # stored with the exchange's milliseconds, in the catalog without
        time = (time + checks.HOUR_NS // 2) // checks.HOUR_NS * checks.HOUR_NS
    only = ~np.isin(known.time, time)
    if only.any():
        put_rows(
            _columns(Series(known.time[only], known.values[only]), grid, interval),
            source=f"{catalog} (rows the raw store lacks)",
            root=root,
            kind=kind,
            symbol=grid.symbol,
            interval=interval,
            wait_seconds=wait_seconds,
        )
    return int(only.sum())


def put_series(series: Series, grid: Grid, interval: str, *, root: Path, origin: str, wait_seconds: float) -> None:
    """
    Put bars that were made of others into the raw store; what `origin` names stands in errors.

    Raises
    ------
    DataError
        Propagate: nothing was stored.

    """
    put_rows(
        _columns(series, grid, interval),
        source=origin,
        root=root,
        kind="klines",
        symbol=grid.symbol,
        interval=interval,
        wait_seconds=wait_seconds,
    )


def build(
    root: Path,
    catalog: Path,
    symbol: str,
    interval: str | None,
    *,
    instruments: Path | None = None,
    replace: bool = False,
    wait_seconds: float = 60.0,
) -> None:
    """
    Bring the bars, or the funding, of a symbol up to date with the raw store.

    Raises
    ------
    DataError
        Propagate: the series cannot be built; the raw store is as it was before this call.

    """
    kind = "klines" if interval else "funding"
    done = building.build(
        root,
        catalog,
        kinds=(kind,),
        symbols=(symbol,),
        instruments=instruments,
        replace=replace,
        wait_seconds=wait_seconds,
    )
    key = manifest.key_of(kind, symbol, interval)
    for built in done:
        if built.key == key and built.refused:
            raise DataError(f"{root}: the rows are stored; {catalog} could not be built from them: {built.refused}")


def _stored(catalog: Path, grid: Grid, interval: str | None) -> Series | None:
    if interval:
        table = store.read_table(catalog, store.BARS, bar_type_text(grid.symbol, interval))
        return None if table is None else tables.bars_from_table(table, grid, interval, catalog)
    table = store.read_table(catalog, store.FUNDING, instrument_id_text(grid.symbol))
    return None if table is None else tables.funding_from_table(table)


def _columns(series: Series, grid: Grid, interval: str | None) -> dict[str, Sequence[Any]]:
    if not interval:
        minutes = series.values[:, 1].tolist()
        return {
            "calc_time": series.time.tolist(),
            "funding_interval_hours": [m // 60 if m else None for m in minutes],
            "last_funding_rate": [_decimal(v, checks.RATE_DIGITS) for v in series.values[:, 0].tolist()],
        }
    columns: dict[str, Sequence[Any]] = {"open_time": series.time.tolist()}
    for i, name in enumerate(tables.COLUMNS):
        digits = grid.quantity_precision if name == "volume" else grid.price_precision
        columns[name] = [_decimal(v, digits) for v in series.values[:, i].tolist()]
    return columns


def _decimal(units: int, digits: int) -> str:
    text = f"{abs(units):0{digits + 1}d}"
    whole, part = (text[:-digits], f".{text[-digits:]}") if digits else (text, "")
    return f"{'-' if units < 0 else ''}{whole}{part}"
