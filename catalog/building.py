"""
The Nautilus catalog made from the raw store: incremental, one series at a time, each replaced in one step.

A raw day whose content hash is the one in the manifest, and whose file is there, is not read again. Trades, quotes and
books are one file a day, slower data one a month, bars and Nautilus's funding one a series, as :mod:`catalog.store` has
them. A series is put together beside, unchanged files as hard links, and exchanged with the old directory in one system
call. Killed anywhere, the catalog holds the old series or the new one, and the next run does the rest.

Rows that only the catalog has (ingested, repaired, resampled) stay; rows that contradict the raw store refuse their
series unless the raw store is declared right.
"""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalog import manifest, store, whole_series
from catalog.build_plan import Built, RawSeries, hashed_figures, plan, raw_series
from catalog.checks import Grid
from catalog.instruments import instrument_id_text
from catalog.manifest import BuiltSeries, Manifest, Output
from catalog.progress import Progress
from catalog.raw import days as raw_days
from catalog.raw import figures as kept_figures
from catalog.raw.day_files import ContentHash, Day, pieces
from catalog.raw.kinds import KINDS
from catalog.types import tables as typed
from catalog.types.tables import CONVERTERS, Source
from catalog.writer import keep_figures
from strategies.errors import DataError

_TICK_GROUP = 100_000

type Tick = Callable[[int], None]


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
        File with the instruments' figures; default those in the catalog, else those the raw store keeps
        (:mod:`catalog.raw.figures`), else `config/instruments.yaml`.
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
        lost = kept_figures.absent(root, catalog, symbols) if instruments is None else []
        if lost:
            kept_figures.restore(root, catalog, {s.symbol for s in raw_series(root, kinds, symbols)} & set(lost))
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
        kept_figures.keep(root, catalog, {series.symbol for series, _ in work})
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


def _build_series(
    catalog: Path, series: RawSeries, done: Built, instruments: Path | None, *, replace: bool, tick: Tick
) -> None:
    known = dict(manifest.read(catalog).series)
    old = known.get(series.key)
    grid, spec, hashed = hashed_figures(catalog, series.symbol, instruments)
    if spec is not None:
        keep_figures(catalog, spec)
    work = catalog / ".staging" / "days"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    whole: tuple[Output, ...] = ()
    if series.kind in whole_series.KINDS:
        whole, done.others = whole_series.write_whole(catalog, series, grid, old, replace=replace)
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
        for file, batch in _verified(days, monthly=KINDS[series.kind].monthly):
            for kind, table in CONVERTERS[series.kind](batch, Source(grid, series.interval, str(file))):
                if kind not in writers:
                    writers[kind] = _TypeWriter(work / f"{typed.folder(kind)}.parquet", table.schema)
                writers[kind].add(table)
            tick(batch.num_rows)
    finally:
        for writer in writers.values():
            writer.close()
    for kind, writer in writers.items():
        folder = store.series_path(catalog, typed.folder(kind), instrument_id_text(series.symbol))
        first = writer.first
        while str((folder / store.file_name(first, writer.last)).relative_to(catalog)) in taken:
            first -= 1  # another interval ends at the same instants; the name only says where to look
        yield writer.file, folder / store.file_name(first, writer.last)


def _verified(days: list[Day], *, monthly: bool) -> Iterator[tuple[Path, pa.Table]]:
    """Yield the rows of days in pieces that fit into memory; after the last one of a day its hash has been compared."""
    for file, group in itertools.groupby(days, key=lambda day: day.path):
        held = list(group)
        contents = {day.day: ContentHash() for day in held}
        gathered = []
        for day, table in pieces(held):
            contents[day.day].update(table)
            if monthly:
                gathered.append(table)
            else:
                yield file, table
        for day in held:
            if day.sha256 and contents[day.day].hexdigest() != day.sha256:
                raise DataError(raw_days.other_rows(day))
        if gathered:
            yield file, pa.concat_tables(gathered)


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


def as_json(done: list[Built], catalog: Path) -> dict[str, object]:
    """Return what was done, and the data-set hash of the catalog."""
    return {"series": [msgspec.to_builtins(d) for d in done], "sha256": manifest.read(catalog).sha256}
