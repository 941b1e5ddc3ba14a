"""
Checked rows into the raw store, streamed: blocks are checked, cut at midnight UTC and appended to their file.

All files of a command or none: see :mod:`catalog.raw.days`. A day that is stored already is merged row by row by the
kind's key; rows that contradict refuse the command unless the files are declared right.
"""

import itertools
import time as wall
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from catalog.file_names import refuse_name, refuse_period
from catalog.instruments import interval_ns
from catalog.progress import Progress
from catalog.raw import days as raw_days
from catalog.raw import ledger, quality
from catalog.raw.arrays import to_numpy
from catalog.raw.aside import Aside
from catalog.raw.change import Change, changing
from catalog.raw.csv_blocks import CsvBlocks, schema_of
from catalog.raw.day_files import DAY_NS, DayWriter, MonthWriter, day_name, period_of, writer_of
from catalog.raw.day_merge import DayMerge
from catalog.raw.kinds import KINDS, Kind
from catalog.raw.row_blocks import RowBlocks
from catalog.raw.row_rules import RowRules
from catalog.raw.sources import Sources, digest_of
from strategies.errors import DataError


@dataclass(slots=True)
class RawReport:
    """
    What a command did: rows read per file, days written and days that were there already with the same content.

    ``scores`` and ``findings`` are what the inspection says of the days written (in full beside each day),
    ``quarantined`` the rows put aside, by the file that holds them.
    """

    kind: str
    symbol: str
    interval: str | None
    root: str
    rows: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    quarantined: dict[str, int] = field(default_factory=dict)

    def add(self, other: "RawReport") -> None:
        """Take up what a later command did to the same series."""
        self.rows |= other.rows
        self.warnings += other.warnings
        self.written += [day for day in other.written if day not in self.written]
        self.unchanged += [day for day in other.unchanged if day not in (*self.unchanged, *self.written)]
        self.scores |= other.scores
        self.findings += other.findings
        self.quarantined |= other.quarantined


def put_each(paths: Sequence[Path], *, root: Path, kind: str, symbol: str, **options: Any) -> RawReport:
    """
    Bring files in one after the other, each as :func:`put` does: what was brought stays when a later one fails.

    Raises
    ------
    DataError
        Propagate: of the file that failed nothing was stored; those before it are, and are passed over next time.

    """
    shown = options.pop("progress", None) or Progress()
    shown.expect(sum(path.stat().st_size for path in paths if path.is_file()))
    options["progress"] = Progress(advance=shown.advance)
    report = put(paths[:1], root=root, kind=kind, symbol=symbol, **options)
    for path in paths[1:]:
        report.add(put([path], root=root, kind=kind, symbol=symbol, **options))
    return report


def put(
    paths: Sequence[Path],
    *,
    root: Path,
    kind: str,
    symbol: str,
    interval: str | None = None,
    replace: bool = False,
    quarantine: bool = False,
    now_ns: int | None = None,
    wait_seconds: float = 60.0,
    progress: Progress | None = None,
) -> RawReport:
    """
    Bring files into the raw store; every day written is inspected and its findings lie beside it.

    A file that was brought before, and whose days have not changed since, is passed over
    (:mod:`catalog.raw.sources`).

    Parameters
    ----------
    paths : Sequence[Path]
        CSV, gzip or zip; each in its order, together in any order.
    kind : str
        One of :data:`catalog.raw.kinds.KINDS`.
    interval : str, optional
        For kinds that have one.
    replace : bool
        The files win over stored rows that differ; a day of a kind without key is taken from the file whole.
    quarantine : bool
        Rows that would refuse their file are put aside with source and reason (:mod:`catalog.raw.aside`), of rows in
        conflict all versions; the others are stored.
    now_ns : int, optional
        Wall time; rows of the future are refused, as are bars that close in it. Default: the system clock.
    progress : Progress, optional
        Told the bytes of all files and of each file done.

    Raises
    ------
    DataError
        Propagate: nothing was stored.

    """
    table = _kind_of(kind, interval)
    now = wall.time_ns() if now_ns is None else now_ns
    report = RawReport(kind, symbol, interval, str(root))
    progress = progress or Progress()
    progress.expect(sum(path.stat().st_size for path in paths if path.is_file()))
    with changing(root, wait_seconds) as change:
        sources = Sources(change, raw_days.series_path(change.root, table, symbol, interval), table)
        lines = []
        for path in paths:
            try:
                line = _bring(*(path, change, sources, report, now), replace=replace, quarantine=quarantine)
            except DataError as e:
                ledger.refused(root, [path], e, kind, symbol, interval)
                raise
            lines.append(line)
            progress.advance(path.stat().st_size)
        sources.stage()
        _commit(change, report)
        ledger.append(root, lines)
    return report


def _bring(
    path: Path, change: Change, sources: Sources, report: RawReport, now: int, *, replace: bool, quarantine: bool
) -> ledger.Line:
    """Stage the rows of one file and return what is to be noted of it."""
    kind, symbol, interval = KINDS[report.kind], report.symbol, report.interval
    refuse_name(path, symbol, interval)
    digest = digest_of(path)
    named = (path, kind.name, symbol, interval)
    known = sources.brought(digest)
    if known is not None:
        report.rows[str(path)] = known.rows
        report.unchanged += [d for d in known.days if d not in (*report.written, *report.unchanged)]
        return ledger.line(*named, "unchanged", rows=known.rows, sha256=digest)
    file = CsvBlocks(path, kind)
    file.refuse_shift(interval_ns(interval) if interval else 0)
    for careful in (False, True):
        before = change.state()
        aside = Aside(path, kind) if quarantine else None
        file.aside = aside
        part = _Part(
            *(file, change, report, symbol, interval, now),
            replace=replace,
            completes=bool(kind.key),  # rows without key cannot be told from those they would complete
            aside=aside,
        )
        try:
            part.run(careful=careful)
            break
        except pa.ArrowInvalid:
            part.abandon()
            change.back_to(before)
            if careful:
                raise
        except BaseException:
            part.abandon()
            raise
    rows = report.rows[str(path)]
    if not (replace or quarantine):
        sources.add(digest, path, rows, sorted(part.seen))
    kept = aside.stage(change, symbol) if aside is not None else None
    if aside is None or kept is None:
        return ledger.line(*named, "stored", rows=rows, sha256=digest)
    report.quarantined[str(kept)] = len(aside)
    return ledger.line(*named, "quarantined", rows=rows, sha256=digest, reason=f"{len(aside)} rows put aside in {kept}")


def _commit(change: Change, report: RawReport) -> None:
    found = quality.stage(change, kind=report.kind, symbol=report.symbol, interval=report.interval)
    report.scores = {day: one.score for day, one in sorted(found.items())}
    report.findings = quality.summary(found)
    change.commit()


def put_rows(
    columns: Mapping[str, Sequence[Any]],
    *,
    source: str,
    root: Path,
    kind: str,
    symbol: str,
    interval: str | None = None,
    replace: bool = False,
    now_ns: int | None = None,
    wait_seconds: float = 60.0,
) -> RawReport:
    """
    Bring rows that are in memory into the raw store: upsert by the kind's key.

    A row that differs from the stored one replaces it when it completes it: a bar with the same open, at least its
    range and more volume; a row of statistics that fills empty cells. Rows of a kind without key are added
    unless an equal one is stored. Everything else is as in :func:`put`.

    Parameters
    ----------
    columns : mapping of str to sequence
        See :class:`catalog.raw.row_blocks.RowBlocks`.
    source : str
        Where the rows came from, for messages.

    Raises
    ------
    DataError
        Propagate: nothing was stored.

    """
    table = _kind_of(kind, interval)
    now = wall.time_ns() if now_ns is None else now_ns
    report = RawReport(kind, symbol, interval, str(root))
    rows = RowBlocks(source, table, columns)
    with changing(root, wait_seconds) as change:
        part = _Part(rows, change, report, symbol, interval, now, replace=replace, completes=True)
        try:
            part.run(careful=True)
        except BaseException:
            part.abandon()
            raise
        _commit(change, report)
    return report


def _kind_of(kind: str, interval: str | None) -> Kind:
    table = KINDS[kind]
    if table.interval != bool(interval):
        raise DataError(f"{kind}: {'give' if table.interval else 'there is no'} --interval")
    return table


class _Part:
    """One file on its way into the store."""

    def __init__(
        self,
        file: CsvBlocks | RowBlocks,
        change: Change,
        report: RawReport,
        symbol: str,
        interval: str | None,
        now: int,
        *,
        replace: bool,
        completes: bool = False,
        aside: Aside | None = None,
    ) -> None:
        self.file, self.kind, self.change, self.report = file, file.kind, change, report
        self.replace = replace
        self.rules = RowRules(file, symbol, interval_ns(interval) if interval else 0, now, aside)
        self.merging = DayMerge(change, self.kind, file.path, now, replace, completes, aside)
        self.folder = raw_days.series_path(change.root, self.kind, symbol, interval)
        self.day: int | None = None
        self.period = ""
        self.seen: set[str] = set()
        self.nulls = dict.fromkeys((c.name for c in self.kind.columns if not c.needed), 0)
        self.writer: DayWriter | MonthWriter | None = None

    def run(self, *, careful: bool) -> None:
        for block in self.file.blocks(careful=careful):
            if not self.rules.rows and isinstance(self.file, CsvBlocks):
                refuse_period(self.file.path, int(block.column(0)[0].as_py()))
            rows = self.rules.passed(block)
            for name in self.nulls:
                self.nulls[name] += block[name].null_count
            for day, part in self._cut(rows):
                if day != self.day:
                    self._begin(day)
                if self.writer is not None:
                    self.writer.add(part)
        self._close()
        self.rules.refuse_longer_step()
        self._tell()

    def abandon(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def _begin(self, day: int) -> None:
        self.day, name = day, day_name(day)
        if name in self.seen:
            raise self.file.fail(None, self.kind.columns[0].name, "days are mixed", "sort the rows by time")
        self.seen.add(name)
        period = period_of(self.kind, name)
        if period != self.period:
            self._close()
            self.period, self.writer = period, writer_of(self.kind, self.change.new_file(), schema_of(self.kind))

    def _tell(self) -> None:
        path, notes, rules = self.file.path, self.report.warnings, self.rules
        self.report.rows[str(path)] = rules.rows
        if rules.repeated:
            notes.append(f"{path}: {rules.repeated} repeated equal rows left out")
        if rules.skipped:
            notes.append(
                f"{path}: {rules.skipped} values of {self.kind.rising or 'open_time'} are missing between rows"
            )
        if rules.backwards:
            notes.append(
                f"{path}: time goes back {rules.backwards} times while {self.kind.rising} rises; kept as it is"
            )
        notes += [
            f"{path}: column {name} is empty in {'all' if count == rules.rows else count} of {rules.rows} rows"
            for name, count in self.nulls.items()
            if count and name in self.file.columns
        ]

    def _cut(self, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        day = np.maximum.accumulate(to_numpy(rows[self.kind.columns[0].name]) // DAY_NS)
        if self.day is not None:
            day = np.maximum(day, self.day)
        edges = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist(), len(day)]
        for first, last in itertools.pairwise(edges):
            if last > first:
                yield int(day[first]), rows.slice(first, last - first)

    def _close(self) -> None:
        if self.writer is None:
            return
        writer, self.writer = self.writer, None
        writer.close()
        live = self.folder / f"{self.period}.parquet"
        stored = self.change.stored(self.folder, self.kind, self.period)
        before = {day.day: day.sha256 for day in stored}
        brought = writer.digests(self.period)
        if any(day not in brought or brought[day] != sha256 for day, sha256 in before.items()) and (
            self.kind.key or not self.replace
        ):
            writer = self.merging.merge(stored, live, writer)
        after = writer.digests(self.period)
        if after == before:
            writer.file.unlink()
        else:
            self.change.stage(live, writer, self.kind)
        for day in brought:
            self._note(self.report.unchanged if after[day] == before.get(day) else self.report.written, day)

    def _note(self, where: list[str], name: str) -> None:
        if name not in self.report.written and name not in where:
            where.append(name)
