"""
Checked files into the catalog, one series at a time.

A call is all or nothing: every file is read and checked before anything is written, and each series is replaced
atomically (see :mod:`catalog.store`). Bringing the same data again changes nothing; data that contradicts what is
stored is refused unless the caller says that the files are right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from catalog import checks, plausible, store, tables
from catalog.checks import Grid, Series, iso
from catalog.csv_files import CsvFile
from catalog.file_names import refuse_name, refuse_period
from catalog.instruments import InstrumentSpec, bar_type_text, find, instrument_id_text, load_instruments
from catalog.quality import ingested
from catalog.quality.findings import Finding
from strategies.errors import DataError


@dataclass(frozen=True, slots=True)
class FileReport:
    """What one file held; times ISO-8601 UTC, the bar's open or the settlement."""

    path: str
    rows: int
    first: str
    last: str
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """
    What a command did to one series: rows added, replaced and already there, and what the catalog now holds.

    ``score`` (mean of the days) and ``findings`` are what the inspection says of the rows that were brought; in full
    in ``quality/`` of the catalog.
    """

    kind: str
    symbol: str
    interval: str | None
    catalog: str
    files: list[FileReport]
    added: int
    replaced: int
    unchanged: int
    total: int
    first: str
    last: str
    score: float = 100.0
    findings: list[str] = field(default_factory=list)


def ingest_klines(
    paths: Sequence[Path],
    *,
    catalog: Path,
    symbol: str,
    interval: str,
    instruments: Path | None = None,
    replace: bool = False,
    insist: bool = False,
    window: tuple[int, int] | None = None,
    now_ns: int | None = None,
    wait_seconds: float = 60.0,
    opened: Callable[[Path], Path | CsvFile] = Path,
) -> Report:
    """
    Bring bars into the catalog, with the instrument when the catalog does not hold it yet.

    Parameters
    ----------
    paths : Sequence[Path]
        Files; see :mod:`catalog.csv_files` for the forms.
    symbol, interval : str
        Venue symbol and exchange interval.
    instruments : Path, optional
        exchangeInfo JSON or YAML with the instrument's figures; default: the catalog's, then `config/instruments.yaml`.
    replace : bool
        The files win over stored bars that differ.
    insist : bool
        Take what :mod:`catalog.plausible` refuses.
    window : tuple[int, int], optional
        Take only bars that open in ``[start, end)``, UTC ns.
    now_ns : int, optional
        Wall time that decides what is unfinished; default the system clock.
    opened : Callable[[Path], Path or CsvFile]
        For files of other forms (:mod:`catalog.imports`).

    Raises
    ------
    DataError, ConfigError
        Propagate: nothing was stored.

    """
    grid, spec = figures(catalog, symbol, instruments)
    parts = [
        checked_part(
            path,
            symbol,
            interval,
            window,
            lambda p: checks.read_klines(opened(p), grid, interval, now_ns, insist=insist),
        )
        for path in paths
    ]
    return _commit_bars(parts, catalog, grid, spec, interval, replace=replace, insist=insist, wait_seconds=wait_seconds)


def ingest_funding(
    paths: Sequence[Path],
    *,
    catalog: Path,
    symbol: str,
    instruments: Path | None = None,
    replace: bool = False,
    insist: bool = False,
    window: tuple[int, int] | None = None,
    now_ns: int | None = None,
    wait_seconds: float = 60.0,
    opened: Callable[[Path], Path | CsvFile] = Path,
) -> Report:
    """Bring funding settlements into the catalog; parameters and errors as in :func:`ingest_klines`."""
    _, spec = figures(catalog, symbol, instruments)
    parts = [
        checked_part(
            path, symbol, None, window, lambda p: checks.read_funding(opened(p), symbol, now_ns, insist=insist)
        )
        for path in paths
    ]
    return _commit_funding(parts, catalog, symbol, spec, replace=replace, wait_seconds=wait_seconds)


def put_series(bars: Series, funding: Series, *, catalog: Path, symbol: str, interval: str, origin: str) -> Report:
    """
    Bring bars and funding that are in memory already (the generator's) into the catalog; `origin` stands in reports.

    Raises
    ------
    DataError
        Propagate: see :func:`ingest_klines`.

    """
    grid, spec = figures(catalog, symbol, None)
    report = _commit_bars([_described(Path(origin), bars)], catalog, grid, spec, interval)
    _commit_funding([_described(Path(origin), funding)], catalog, symbol, None)
    return report


def ingest_instruments(
    paths: Sequence[Path], *, catalog: Path, symbols: Sequence[str] = (), wait_seconds: float = 60.0
) -> dict[str, str]:
    """
    Bring instruments into the catalog from exchangeInfo JSON or our YAML; `symbols` empty takes all of them.

    Returns
    -------
    dict[str, str]
        Symbol to ``added``, ``replaced`` or ``unchanged``.

    Raises
    ------
    DataError, ConfigError
        Propagate: nothing was stored. Also when stored bars have other precisions than the new figures.

    """
    specs: dict[str, InstrumentSpec] = {}
    for path in paths:
        specs |= load_instruments(path)
    if symbols:
        specs = {symbol: find(specs, symbol, ", ".join(map(str, paths))) for symbol in symbols}
    with store.locked(catalog, wait_seconds):
        for spec in specs.values():
            _refuse_new_precision(catalog, spec)
        return {symbol: keep_figures(catalog, spec) for symbol, spec in specs.items()}


type _Part = tuple[Path, Series, FileReport]


class _Merge:
    """Rows of files laid over stored rows. `compared` is the number of leading value columns that must agree."""

    def __init__(
        self, known: Series | None, replace: bool, show: Callable[[Any], str], compared: int | None = None
    ) -> None:
        self.known = known
        self.replace = replace
        self.show = show
        self.compared = compared
        self.added = self.replaced = self.unchanged = 0

    @property
    def changed(self) -> bool:
        return bool(self.added or self.replaced)

    @property
    def series(self) -> Series:
        if self.known is None:
            raise DataError("nothing was added yet")
        return self.known

    def add_all(self, parts: list[_Part]) -> None:
        if not any(len(series.time) for _, series, _ in parts):
            names = ", ".join(str(path) for path, _, _ in parts)
            raise DataError(f"{names}: no row lies in the range asked for; nothing was stored")
        for path, series, _ in parts:
            if len(series.time):
                self._add(path, series)

    def _add(self, path: Path, new: Series) -> None:

        if self.known is None:
            self.known, self.added = new, len(new.time)
            return
        old = self.known
        at = np.searchsorted(old.time, new.time)
        there = np.zeros(len(new.time), dtype=bool)
        inside = at < len(old.time)
        there[inside] = old.time[at[inside]] == new.time[inside]
        differs = np.zeros(len(new.time), dtype=bool)
        compared = slice(0, self.compared)
        differs[there] = (old.values[at[there], compared] != new.values[there, compared]).any(axis=1)
        if differs.any() and not self.replace:
            row = int(np.argmax(differs))
            raise DataError(
                f"{path}: {int(differs.sum())} rows contradict what is stored, first {iso(new.time[row])}: stored "
                f"{self.show(old.values[at[row]])}; file {self.show(new.values[row])}: "
                "--replace takes the file's rows; nothing was stored"
            )
        values = old.values.copy()
        values[at[differs]] = new.values[differs]
        fresh = ~there
        time = np.concatenate([old.time, new.time[fresh]])
        order = np.argsort(time, kind="stable")
        self.known = Series(time[order], np.concatenate([values, new.values[fresh]])[order])
        self.added += int(fresh.sum())
        self.replaced += int(differs.sum())
        self.unchanged += int((there & ~differs).sum())

    def report(
        self,
        kind: str,
        symbol: str,
        interval: str | None,
        catalog: Path,
        parts: list[_Part],
    ) -> Report:

        return Report(
            kind=kind,
            symbol=symbol,
            interval=interval,
            catalog=str(catalog),
            files=[report for _, _, report in parts],
            added=self.added,
            replaced=self.replaced,
            unchanged=self.unchanged,
            total=len(self.series.time),
            first=iso(self.series.time[0]),
            last=iso(self.series.time[-1]),
        )


def _commit_bars(
    parts: list[_Part],
    catalog: Path,
    grid: Grid,
    spec: InstrumentSpec | None,
    interval: str,
    *,
    replace: bool = False,
    insist: bool = True,
    wait_seconds: float = 60.0,
) -> Report:
    symbol, identifier = grid.symbol, bar_type_text(grid.symbol, interval)
    findings, per_day = inspected(parts, lambda series, name: ingested.inspect_series(series, grid, interval, name))
    with store.locked(catalog, wait_seconds):
        table = store.read_table(catalog, store.BARS, identifier)
        known = tables.bars_from_table(table, grid, interval, catalog) if table is not None else None
        if not insist:
            refuse_other_unit(parts, known, grid)
        merged = _Merge(known, replace, lambda row: _bar_text(row, grid))
        merged.add_all(parts)
        series = merged.series
        if spec is not None:
            keep_figures(catalog, spec)
        if merged.changed:
            store.write_series(catalog, store.BARS, identifier, tables.bars_to_table(series, grid, interval))
            ingested.record(catalog, symbol, interval, findings, per_day)
    return told(merged.report("klines", symbol, interval, catalog, parts), findings, per_day)


def _commit_funding(
    parts: list[_Part],
    catalog: Path,
    symbol: str,
    spec: InstrumentSpec | None,
    *,
    replace: bool = False,
    wait_seconds: float = 60.0,
) -> Report:
    findings, per_day = inspected(parts, lambda series, name: ingested.inspect_settlements(series, symbol, name))
    with store.locked(catalog, wait_seconds):
        table = store.read_table(catalog, store.FUNDING, instrument_id_text(symbol))
        known = tables.funding_from_table(table) if table is not None else None
        merged = _Merge(known, replace, lambda row: f"rate {row[0] / 10**checks.RATE_DIGITS:.8f}", compared=1)
        merged.add_all(parts)
        series = merged.series
        if spec is not None:
            keep_figures(catalog, spec)
        if merged.changed:
            store.write_series(
                catalog, store.FUNDING, instrument_id_text(symbol), tables.funding_to_table(series, symbol)
            )
            ingested.record(catalog, symbol, ingested.FUNDING, findings, per_day)
    return told(merged.report("funding", symbol, None, catalog, parts), findings, per_day)


def refuse_other_unit(parts: list[_Part], known: Series | None, grid: Grid) -> None:
    """
    Refuse files of bars whose prices are in another unit than stored ones, or than those of the other files.

    Raises
    ------
    DataError
        Propagate: see :func:`catalog.plausible.refuse_against`.

    """
    for path, series, _ in parts:
        plausible.refuse_against(path, series.time, series.values, known, grid.price_precision)
    for one, two in pairwise(sorted((p for p in parts if len(p[1].time)), key=lambda p: int(p[1].time[0]))):
        plausible.refuse_against(two[0], two[1].time, two[1].values, one[1], grid.price_precision)


def laid_over(parts: list[_Part], known: Series | None) -> "_Merge":
    """Return stored rows with the rows of files over them: what is added, replaced and the same; nothing is written."""
    merged = _Merge(known, replace=True, show=str)
    merged.add_all(parts)
    return merged


def inspected(
    parts: list[_Part], inspect: Callable[[Series, str], tuple[list[Finding], dict[str, float]]]
) -> tuple[list[Finding], dict[str, float]]:
    """Return what the inspection says of the rows of files, and the score of every day."""
    findings: list[Finding] = []
    per_day: dict[str, float] = {}
    for path, series, _ in parts:
        if len(series.time):
            found, scored = inspect(series, path.name)
            findings += found
            per_day |= scored
    return findings, per_day


def told(report: Report, findings: list[Finding], per_day: dict[str, float]) -> Report:
    """Return a report with what the inspection said."""
    score = round(sum(per_day.values()) / len(per_day), 2) if per_day else 0.0
    return replace_fields(report, score=score, findings=ingested.texts(findings))


def checked_part(
    path: Path, symbol: str, interval: str | None, window: tuple[int, int] | None, read: Callable[[Path], Series]
) -> _Part:
    """
    Return the checked rows of a file, those in `window`.

    Raises
    ------
    DataError
        Propagate: a row breaks a rule, or the file's name says another symbol.

    """
    refuse_name(path, symbol, interval)
    series = read(path)
    if len(series.time):
        refuse_period(path, int(series.time[0]))
    if window is not None:
        inside = (series.time >= window[0]) & (series.time < window[1])
        series = Series(series.time[inside], series.values[inside], series.duplicates, series.warnings)
    return _described(path, series)


def _described(path: Path, series: Series) -> _Part:
    rows = len(series.time)
    first, last = (iso(series.time[0]), iso(series.time[-1])) if rows else ("", "")
    return path, series, FileReport(str(path), rows, first, last, series.warnings)


def figures(catalog: Path, symbol: str, instruments: Path | None) -> tuple[Grid, InstrumentSpec | None]:
    """
    Return the grid of `symbol`, and its specification where that is not the one the catalog holds.

    Raises
    ------
    DataError, ConfigError
        Propagate: nobody has figures of this symbol, or other ones than bars were stored with.

    """
    stored = tables.stored_grid(catalog, symbol)
    if stored is not None and instruments is None:
        return stored, None
    if instruments is None:
        spec = find(load_instruments(), symbol)
    else:
        spec = find(load_instruments(instruments), symbol, str(instruments))
        _refuse_new_precision(catalog, spec)
    return tables.grid_of(spec), spec


def keep_figures(catalog: Path, spec: InstrumentSpec) -> str:
    """Store the instrument unless the catalog holds the same; the caller holds the lock. Returns what was done."""
    old = store.read_table(catalog, store.INSTRUMENTS, instrument_id_text(spec.symbol))
    new = tables.instrument_to_table(spec)
    if old is not None and old.to_pylist() == new.to_pylist():
        return "unchanged"
    store.write_series(catalog, store.INSTRUMENTS, instrument_id_text(spec.symbol), new)
    return "added" if old is None else "replaced"


def _refuse_new_precision(catalog: Path, spec: InstrumentSpec) -> None:

    wanted = (spec.price_precision, spec.quantity_precision)
    for file in sorted((catalog / "data" / store.BARS).glob(f"{instrument_id_text(spec.symbol)}-*/*.parquet")):
        metadata = pq.read_schema(file).metadata
        stored = (int(metadata[b"price_precision"]), int(metadata[b"size_precision"]))
        if stored != wanted:
            raise DataError(
                f"{file.parent}: bars are stored with {stored[0]} price and {stored[1]} quantity digits, "
                f"the new figures of {spec.symbol} have {wanted[0]} and {wanted[1]}: "
                "ingest everything into a new catalog"
            )


def _bar_text(row: Any, grid: Grid) -> str:
    prices = "/".join(f"{int(v) / 10**grid.price_precision:.{grid.price_precision}f}" for v in row[:4])
    return f"{prices} volume {int(row[4]) / 10**grid.quantity_precision:.{grid.quantity_precision}f}"
