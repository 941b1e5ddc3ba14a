"""
The Nautilus catalog made from the raw store: incremental, one series at a time, each replaced in one step.

A raw day whose content hash is the one in the manifest, and whose file is there, is not read again. Trades, quotes and
books are one file a day, slower data one a month, bars and Nautilus's funding one a series, as :mod:`catalog.store` has
them. A series is put together beside, unchanged files as hard links, and exchanged with the old directory in one system
call. Killed anywhere, the catalog holds the old series or the new one, and the next run does the rest.

Rows that only the catalog has (ingested, repaired, resampled) stay; rows that contradict the raw store refuse their
series unless the raw store is declared right.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalog import manifest, store, tables
from catalog.checks import Grid, Series, iso
from catalog.instruments import InstrumentSpec, bar_type_text, instrument_id_text, interval_ns
from catalog.manifest import BuiltSeries, Manifest, Output
from catalog.progress import Progress
from catalog.raw import days as raw_days
from catalog.raw.days import Day
from catalog.raw.kinds import KINDS
from catalog.types import tables as typed
from catalog.types.tables import CONVERTERS, Source
from catalog.writer import figures, keep_figures
from strategies.errors import DataError

_BATCH = 200_000
_TICK_GROUP = 100_000
_WINNERS = {"trades": "agg_trades", "open_interest": "metrics", "ratios": "metrics"}
_BY_DAY = ("agg_trades", "trades", "book_ticker", "book_snapshots")
_ONE_INTERVAL = ("mark_klines", "index_klines", "premium_klines")

type Tick = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class RawSeries:
    """A series of the raw store and the days of it that go into the catalog."""

    kind: str
    symbol: str
    interval: str | None
    days: list[Day]

    @property
    def key(self) -> str:
        """Its name in the manifest."""
        return manifest.key_of(self.kind, self.symbol, self.interval)

    def file_of(self, day: str) -> str:
        """Return which file a day goes into."""
        return day if self.kind in _BY_DAY else day[:7]


@dataclass(slots=True)
class Built:
    """
    What a build did, or would do, to one series.

    Attributes
    ----------
    key : str
        ``kind/symbol[/interval]``.
    made, removed : list of str
        Raw days (re)made, and days whose files went.
    rows : int
        Rows of the raw days made.
    fresh : int
        Days that were up to date.
    others : int
        Rows that only the catalog has and that stay.
    refused : str
        Why the series was left as it was; empty when it was not.

    """

    key: str
    made: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    rows: int = 0
    fresh: int = 0
    others: int = 0
    refused: str = ""

    @property
    def stale(self) -> bool:
        """Whether there was something to do."""
        return bool(self.made or self.removed or self.refused)


def raw_series(root: Path, kinds: tuple[str, ...] = (), symbols: tuple[str, ...] = ()) -> list[RawSeries]:
    """
    Return what the raw store holds, each series with the days that count.

    Of two kinds with the same content the better one wins day by day (aggregate trades, the archive's metrics); of
    mark, index and premium candles the shortest interval is taken.

    Raises
    ------
    DataError
        Propagate: there is no raw store, or a file is damaged.

    """
    if not root.is_dir():
        raise DataError(f"{root}: no raw store: bring data with `python -m catalog.raw fetch` or `put`")
    found = []
    for kind in KINDS.values():
        for folder in sorted(p for p in (root / kind.name).glob("*") if p.is_dir()):
            if symbols and folder.name not in symbols:
                continue
            steps: list[str | None] = [None]
            if kind.interval:
                steps = sorted((p.name for p in folder.iterdir() if p.is_dir()), key=interval_ns)
            if kind.name in _ONE_INTERVAL:
                steps = steps[:1]
            for step in steps:
                days = raw_days.days(root, kind.name, folder.name, step)
                if days:
                    found.append(RawSeries(kind.name, folder.name, step, days))
    held = {(s.kind, s.symbol): {day.day for day in s.days} for s in found if s.interval is None}
    result = []
    for series in found:
        better = held.get((_WINNERS.get(series.kind, ""), series.symbol), set())
        days = [day for day in series.days if day.day not in better]
        if not kinds or series.kind in kinds:
            result.append(RawSeries(series.kind, series.symbol, series.interval, days))
    return [series for series in result if series.days]


def plan(
    root: Path,
    catalog: Path,
    *,
    kinds: tuple[str, ...] = (),
    symbols: tuple[str, ...] = (),
    instruments: Path | None = None,
    thorough: bool = False,
) -> tuple[list[tuple[RawSeries, Built]], list[str]]:
    """
    Return every series with what there is to do, and the series the catalog was built from that are gone from raw.

    Parameters
    ----------
    thorough : bool
        Compare the bytes of the catalog's files, not their sizes alone.

    Raises
    ------
    DataError
        Propagate: no raw store, a damaged manifest.

    """
    known = manifest.read(catalog).series
    wanted = raw_series(root, kinds, symbols)
    work = []
    for series in wanted:
        built, done = known.get(series.key), Built(series.key)
        current = None
        try:
            current = _figures(catalog, series.symbol, instruments)[2]
        except DataError as e:
            done.refused = str(e)
        usable = built is not None and built.version == manifest.VERSION and built.figures == current
        there = built if usable else None
        if there is not None and not all(manifest.intact(catalog, o, thorough=thorough) for o in there.whole):
            there = None
        good: dict[str, bool] = {}
        for day in series.days:
            part = series.file_of(day.day)
            same = there is not None and there.days.get(day.day) == day.sha256
            good[part] = good.get(part, True) and same
        left = set(there.days) - {day.day for day in series.days} if there is not None else set()
        for part, unchanged in good.items():
            files = there.files.get(part, ()) if there is not None else ()
            intact = unchanged and all(manifest.intact(catalog, o, thorough=thorough) for o in files)
            good[part] = intact and not any(series.file_of(day) == part for day in left)
        for day in series.days:
            if good[series.file_of(day.day)]:
                done.fresh += 1
            else:
                done.made.append(day.day)
                done.rows += day.rows
        done.removed = sorted(set(built.days) - {d.day for d in series.days}) if built is not None else []
        done.others = built.others if built is not None else 0
        work.append((series, done))
    keys = {series.key for series in wanted}

    def asked(key: str) -> bool:
        kind, symbol = key.split("/")[:2]
        return (not kinds or kind in kinds) and (not symbols or symbol in symbols)

    return work, sorted(key for key in known if key not in keys and asked(key))


def build(
    root: Path,
    catalog: Path,
    *,
    kinds: tuple[str, ...] = (),
    symbols: tuple[str, ...] = (),
    instruments: Path | None = None,
    replace: bool = False,
    progress: Progress | None = None,
    wait_seconds: float = 60.0,
) -> list[Built]:
    """
    Bring the catalog up to date with the raw store and return what was done to each series.

    Parameters
    ----------
    root, catalog : Path
        Raw store and catalog.
    kinds, symbols : tuple of str
        Only these; empty means all.
    instruments : Path, optional
        File with the instruments' figures; default those in the catalog, else `config/instruments.yaml`.
    replace : bool
        The raw store wins over rows of the catalog that contradict it.
    progress : Progress, optional
        Told the rows to do and the rows of every piece done.

    Raises
    ------
    DataError
        Propagate: no raw store, a damaged manifest, another writer. What concerns one series (figures not known, a row
        that does not fit, contradictions, a damaged day) stands in its :attr:`Built.refused`; the others are built.

    """
    with store.locked(catalog, wait_seconds):
        work, gone = plan(root, catalog, kinds=kinds, symbols=symbols, instruments=instruments)
        progress = progress or Progress()
        progress.expect(sum(done.rows for _, done in work))
        for series, done in work:
            if done.refused or not done.stale:
                continue
            try:
                _build_series(catalog, series, done, instruments, replace=replace, tick=progress.advance)
            except DataError as e:
                done.refused = str(e)
        for key in gone:
            known = manifest.read(catalog).series
            old = known.pop(key)
            _exchange_files(catalog, old, {}, {})
            for made in old.whole if not old.others else ():
                folder = (catalog / made.path).parent
                store.remove_series(catalog, folder.parent.name, folder.name)
            manifest.write(catalog, Manifest(known))
            work.append((RawSeries(key, "", None, []), Built(key, removed=sorted(old.days))))
        shutil.rmtree(catalog / ".staging", ignore_errors=True)
    return [done for _, done in work]


def _figures(catalog: Path, symbol: str, instruments: Path | None) -> tuple[Grid, InstrumentSpec | None, str]:
    grid, spec = figures(catalog, symbol, instruments)
    return grid, spec, manifest.combined({"grid": repr(grid)})


def _build_series(
    catalog: Path, series: RawSeries, done: Built, instruments: Path | None, *, replace: bool, tick: Tick
) -> None:
    known = dict(manifest.read(catalog).series)
    old = known.get(series.key)
    grid, spec, hashed = _figures(catalog, series.symbol, instruments)
    if spec is not None:
        keep_figures(catalog, spec)
    work = catalog / ".staging" / "days"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    whole: tuple[Output, ...] = ()
    if series.kind in ("klines", "funding"):
        whole, done.others = _write_whole(catalog, series, grid, old, replace=replace)
    stale = {series.file_of(day) for day in done.made}
    wanted = {series.file_of(day.day) for day in series.days}
    files = {} if old is None else {part: made for part, made in old.files.items() if part in wanted - stale}
    taken = {o.path for key, other in known.items() if key != series.key for made in other.files.values() for o in made}
    new: dict[Path, Path] = {}
    for part in sorted(stale):
        days = [day for day in series.days if series.file_of(day.day) == part]
        outputs = []
        for staged, live in _write_part(catalog, work / part, series, days, grid, taken, tick):
            outputs.append(manifest.output(catalog, staged, live))
            new[live] = staged
        files[part] = tuple(outputs)
    _exchange_files(catalog, old, files, new)
    known[series.key] = BuiltSeries(
        sha256=raw_days.dataset_hash(series.days),
        figures=hashed,
        days={day.day: day.sha256 for day in series.days},
        files=files,
        whole=whole,
        others=done.others,
    )
    manifest.write(catalog, Manifest(known))


def _write_part(
    catalog: Path, work: Path, series: RawSeries, days: list[Day], grid: Grid, taken: set[str], tick: Tick
) -> Iterator[tuple[Path, Path]]:
    """Yield the files made of a part's raw days: where they are staged and where they will stand."""
    writers: dict[type, _TypeWriter] = {}
    work.mkdir()
    try:
        for day in days:
            source, content = Source(grid, series.interval, str(day.path)), raw_days.ContentHash()
            for batch in _batches(day):
                content.update(batch)
                for kind, table in CONVERTERS[series.kind](batch, source):
                    if kind not in writers:
                        writers[kind] = _TypeWriter(work / f"{typed.folder(kind)}.parquet", table.schema)
                    writers[kind].add(table)
                tick(batch.num_rows)
            if day.sha256 and content.hexdigest() != day.sha256:
                raise DataError(
                    f"{day.path}: its rows are not those that were stored: remove it and bring the day again"
                )
    finally:
        for writer in writers.values():
            writer.close()
    for kind, writer in writers.items():
        folder = store.series_path(catalog, typed.folder(kind), instrument_id_text(series.symbol))
        first = writer.first
        while str((folder / store.file_name(first, writer.last)).relative_to(catalog)) in taken:
            first -= 1  # another interval ends at the same instants; the name only says where to look
        yield writer.file, folder / store.file_name(first, writer.last)


def _batches(day: Day) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(day.path) as parquet:
            for batch in parquet.iter_batches(_BATCH):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"{day.path}: damaged: {e}; remove it and bring the day again") from None


class _TypeWriter:
    """One file of one type, in pieces; `ts_init` never goes back."""

    def __init__(self, file: Path, schema: pa.Schema) -> None:
        self.file = file
        self.first = self.last = -1
        self._writer = pq.ParquetWriter(file, schema, **store.writer_options(schema))

    def add(self, table: pa.Table) -> None:
        if not table.num_rows:
            return
        at = table.schema.get_field_index("ts_init")
        known = table["ts_init"].to_numpy()
        if int(known[0]) < self.last:
            known = np.maximum(known, known.dtype.type(self.last))
            table = table.set_column(at, table.schema.field(at), pa.array(known, table.schema.field(at).type))
        self.first = int(known[0]) if self.first < 0 else self.first
        self.last = int(known[-1])
        self._writer.write_table(table, row_group_size=_TICK_GROUP)

    def close(self) -> None:
        self._writer.close()


def _exchange_files(
    catalog: Path, old: BuiltSeries | None, files: dict[str, tuple[Output, ...]], new: dict[Path, Path]
) -> None:
    """Bring the directories concerned from the old set of files to the new one, each in one step."""
    before = set() if old is None else {o.path for made in old.files.values() for o in made}
    after = {o.path for made in files.values() for o in made}
    leaving = {catalog / path for path in before - after}
    for folder in sorted({file.parent for file in (*leaving, *new)}):
        staged = catalog / ".staging" / "series"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        for file in sorted(folder.glob("*.parquet")) if folder.exists() else []:
            if file not in leaving and file not in new:
                _link(file, staged / file.name)
        for live, made in new.items():
            if live.parent == folder:
                made.replace(staged / live.name)
        if any(staged.iterdir()):
            store.exchange(catalog, staged, folder)
        else:
            store.remove_series(catalog, folder.parent.name, folder.name)


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # a file system without hard links
        shutil.copy2(file, target)


def _write_whole(
    catalog: Path, series: RawSeries, grid: Grid, old: BuiltSeries | None, *, replace: bool
) -> tuple[tuple[Output, ...], int]:
    """Write bars, or Nautilus's funding: one file for all days. Return its record and the rows only the catalog has."""
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
    for day in series.days:
        table = raw_days.read(day.path)
        if series.kind == "klines":
            piece = typed.bars(table, Source(grid, series.interval, str(day.path)))
        else:
            piece = _settled(typed.funding(table), day)
        if not len(piece.time):
            continue
        if int(piece.time[0]) <= last:  # a settlement just before midnight, and the same one after it
            piece = Series(piece.time[piece.time > last], piece.values[piece.time > last])
        last = int(piece.time[-1]) if len(piece.time) else last
        yield piece


def _settled(found: Series, day: Day) -> Series:
    """Return settlements once each: sources differ in milliseconds, which were rounded away."""
    again = np.diff(found.time) == 0
    if (again & (found.values[1:, 0] != found.values[:-1, 0])).any():
        at = iso(found.time[1:][again & (found.values[1:, 0] != found.values[:-1, 0])][0])
        raise DataError(f"{day.path}: the settlement of {at} stands there twice with other rates: keep one")
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


def as_json(done: list[Built], catalog: Path) -> dict[str, object]:
    """Return what was done, and the data-set hash of the catalog."""
    return {"series": [msgspec.to_builtins(d) for d in done], "sha256": manifest.read(catalog).sha256}
