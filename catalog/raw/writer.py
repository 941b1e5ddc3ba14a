"""
Checked rows into the raw store, streamed: blocks are checked, cut at midnight UTC and appended to their day.

All files of a command or none: see :mod:`catalog.raw.days`. A day that is stored already is merged row by row by the
kind's key; rows that contradict refuse the command unless the files are declared right.
"""

import itertools
import re
import time as wall
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.checks import iso
from catalog.instruments import interval_ns
from catalog.progress import Progress
from catalog.raw import days as raw_days
from catalog.raw import quality, revisions
from catalog.raw.aside import Aside
from catalog.raw.comparing import completed, equal, equal_rows, filled
from catalog.raw.csv_blocks import CsvBlocks, schema_of
from catalog.raw.days import DAY_NS, Change, DayWriter
from catalog.raw.kinds import KINDS, Kind
from catalog.raw.row_blocks import RowBlocks
from strategies.errors import DataError

_COMPARE = {
    ">": (pc.greater, "not above"),
    ">=": (pc.greater_equal, "below"),
    "<=": (pc.less_equal, "above"),
}
_CLOCK_NS = 60_000_000_000


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
    with raw_days.changing(root, wait_seconds) as change:
        for path in paths:
            _refuse_name(path, symbol)
            file = CsvBlocks(path, table)
            for careful in (False, True):
                before = dict(change.staged)
                aside = Aside(path, table) if quarantine else None
                file.aside = aside
                part = _Part(file, change, report, symbol, interval, now, replace=replace, aside=aside)
                try:
                    part.run(careful=careful)
                    break
                except pa.ArrowInvalid:
                    part.abandon()
                    change.staged = before
                    if careful:
                        raise
                except BaseException:
                    part.abandon()
                    raise
            kept = aside.stage(change, symbol) if aside is not None else None
            if aside is not None and kept is not None:
                report.quarantined[str(kept)] = len(aside)
            progress.advance(path.stat().st_size)
        _commit(change, report)
    return report


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
    with raw_days.changing(root, wait_seconds) as change:
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
        self.symbol, self.replace, self.completes = symbol, replace, completes
        self.aside = aside
        self.bad: dict[int, str] = {}
        self.step = interval_ns(interval) if interval else 0
        self.now = now
        self.latest = now - self.step if self.step else now + _CLOCK_NS
        self.folder = raw_days.series_path(change.root, self.kind, symbol, interval)
        self.rows = self.repeated = self.skipped = self.backwards = 0
        self.last: pa.Table | None = None
        self.day: int | None = None
        self.seen: set[int] = set()
        self.nulls = dict.fromkeys((c.name for c in self.kind.columns if not c.needed), 0)
        self.writer: DayWriter | None = None

    def run(self, *, careful: bool) -> None:
        for block in self.file.blocks(careful=careful):
            rows = self._checked(block)
            for name in self.nulls:
                self.nulls[name] += block[name].null_count
            self.rows += block.num_rows
            for day, part in self._cut(rows):
                if day != self.day:
                    self._close()
                    if day in self.seen:
                        raise self.file.fail(None, self.kind.columns[0].name, "days are mixed", "sort the rows by time")
                    self.day, self.writer = day, DayWriter(self.change.new_file(), schema_of(self.kind))
                    self.seen.add(day)
                if self.writer is not None:
                    self.writer.add(part)
        self._close()
        self._tell()

    def abandon(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def _tell(self) -> None:
        path, notes = self.file.path, self.report.warnings
        self.report.rows[str(path)] = self.rows
        if self.repeated:
            notes.append(f"{path}: {self.repeated} repeated equal rows left out")
        if self.skipped:
            notes.append(f"{path}: {self.skipped} values of {self.kind.rising or 'open_time'} are missing between rows")
        if self.backwards:
            notes.append(f"{path}: time goes back {self.backwards} times while {self.kind.rising} rises; kept as it is")
        notes += [
            f"{path}: column {name} is empty in {'all' if count == self.rows else count} of {self.rows} rows"
            for name, count in self.nulls.items()
            if count and name in self.file.columns
        ]

    def _checked(self, block: pa.Table) -> pa.Table:
        if "symbol" in block.column_names:
            strange = pc.not_equal(block["symbol"], self.symbol)
            self._refuse(strange, "symbol", lambda row: f"{block['symbol'][row]}, --symbol says {self.symbol}")
            block = block.drop_columns(["symbol"])
        for name, comparison, other in self.kind.rules:
            compare, words = _COMPARE[comparison]
            left = block[name]
            right = block[other] if isinstance(other, str) else pa.scalar(Decimal(other)).cast(left.type)
            broken = pc.invert(pc.fill_null(compare(left, right), True))
            self._refuse(
                broken,
                name,
                lambda row, left=left, words=words, other=other: f"{_plain(left[row])} is {words} {other}",  # type: ignore[misc]
            )
        time_name = self.kind.columns[0].name
        time = block[time_name].to_numpy()
        late = time > self.latest
        remedy = "remove the row and bring it when it is complete" if self.step else "check the clock"
        self._refuse(pa.array(late), time_name, lambda row: f"{iso(time[row])} is in the future or unfinished", remedy)
        if self.step:
            off = pa.array(time % self.step != 0)
            self._refuse(off, time_name, lambda row: f"{iso(time[row])} is off the interval's grid", "check --interval")
        if self.aside is not None:
            block = self._set_aside(block, time_name)
            if not block.num_rows:
                return block
        return self._ordered(block, time_name)

    def _set_aside(self, block: pa.Table, time_name: str) -> pa.Table:
        """Put rows aside that break a rule, go back, or contradict each other; return the others."""
        by = self.kind.rising or time_name
        good = np.ones(block.num_rows, dtype=bool)
        good[list(self.bad)] = False
        values = block[by].to_numpy()
        floor = np.iinfo(np.int64).min if self.last is None else self.last[by].to_numpy()[0]
        highest = np.maximum.accumulate(np.where(good, values, floor))
        highest = np.maximum(highest, floor)
        for row in np.flatnonzero(good & (values < highest)).tolist():
            self.bad[row] = f"{by}: comes after {highest[row]}"
            good[row] = False
        if self.kind.key:
            kept = np.flatnonzero(good)
            pairs = np.flatnonzero(np.diff(values[kept]) == 0)
            left, right = block.take(pa.array(kept[pairs])), block.take(pa.array(kept[pairs + 1]))
            same = np.ones(len(pairs), dtype=bool)
            for name in self.kind.key:
                same &= equal(left[name], right[name])
            for pair in np.flatnonzero(same & ~equal_rows(left, right)).tolist():
                for row in (int(kept[pairs[pair]]), int(kept[pairs[pair] + 1])):
                    self.bad[row] = f"{by}: the same row stands there with other values"
            if self.last is not None and len(kept) and _same_key(self.last, block.slice(int(kept[0]), 1), self.kind):
                row = int(kept[0])
                if (
                    row not in self.bad
                    and not equal_rows(self.last, block.slice(row, 1).select(self.last.column_names))[0]
                ):
                    self.bad[row] = f"{by}: the row before has the same key and other values"
        if self.bad and self.aside is not None:
            rows = sorted(self.bad)
            for row in rows:
                self.aside.add(block.slice(row, 1), [f"row {self.rows + row + 1}"], self.bad[row])
            keep = np.ones(block.num_rows, dtype=bool)
            keep[rows] = False
            block = block.filter(pa.array(keep))
            self.bad = {}
        return block

    def _ordered(self, block: pa.Table, time_name: str) -> pa.Table:
        joined = block if self.last is None else pa.concat_tables([self.last, block])
        offset = 0 if self.last is None else 1
        self.last = block.slice(block.num_rows - 1)
        if joined.num_rows < 2:
            return block
        by = self.kind.rising or time_name
        values, time = joined[by].to_numpy(), joined[time_name].to_numpy()
        step = np.diff(values)
        again = np.zeros(len(step), dtype=bool)
        if self.kind.key:
            same = np.flatnonzero(step == 0)
            for name in self.kind.key:
                same = same[equal(joined[name].take(pa.array(same)), joined[name].take(pa.array(same + 1)))]
            differ = ~equal_rows(joined.take(pa.array(same)), joined.take(pa.array(same + 1)))
            if differ.any():
                row = self.rows + int(same[differ][0]) + 1 - offset
                raise self.file.fail_at(row, by, "the same row stands there already with other values", "keep one")
            again[same] = True
        if (step < 0).any():
            at = int(np.argmax(step < 0))
            reason = f"{values[at + 1]} comes after {values[at]}"
            if by == time_name:
                reason = f"{iso(values[at + 1])} comes after {iso(values[at])}"
            raise self.file.fail_at(self.rows + at + 1 - offset, by, reason, f"sort the rows by {by}")
        if self.kind.rising:
            self.skipped += int((step[step > 1] - 1).sum()) if self.kind.rising != "update_id" else 0
            self.backwards += int((np.diff(time) < 0).sum())
        elif self.step:
            self.skipped += int((step[step > self.step] // self.step - 1).sum())
        if not again.any():
            return block
        self.repeated += int(again.sum())
        keep = np.concatenate([[True], ~again])[offset:]
        return block.filter(pa.array(keep))

    def _refuse(self, mask: Any, field: str, reason: Callable[[int], str], remedy: str = "correct the row") -> None:
        if self.aside is not None:
            for row in np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False)).tolist():
                self.bad.setdefault(row, f"{field}: {reason(row)}")
        elif pc.any(mask).as_py():
            row = int(pc.index(mask, pa.scalar(True)).as_py())
            raise self.file.fail_at(self.rows + row, field, reason(row), remedy)

    def _cut(self, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        day = np.maximum.accumulate(rows[self.kind.columns[0].name].to_numpy() // DAY_NS)
        if self.day is not None:
            day = np.maximum(day, self.day)
        edges = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist(), len(day)]
        for first, last in itertools.pairwise(edges):
            if last > first:
                yield int(day[first]), rows.slice(first, last - first)

    def _close(self) -> None:
        if self.writer is None or self.day is None:
            return
        digest, writer = self.writer.close(), self.writer
        self.writer = None
        name = raw_days.day_name(self.day)
        live = self.folder / f"{name}.parquet"
        old = self.change.current(live)
        if old is None:
            self.change.staged[live] = writer.file
            self._note(self.report.written, name)
            return
        stored = raw_days.describe(old)
        if stored.sha256 == digest:
            writer.file.unlink()
            self._note(self.report.unchanged, name)
            return
        if not (self.replace and not self.kind.key):
            self._merge(old, writer)
            if writer.content.hexdigest() == stored.sha256:
                writer.file.unlink()
                self._note(self.report.unchanged, name)
                return
        self.change.staged[live] = writer.file
        self._note(self.report.written, name)

    def _note(self, where: list[str], name: str) -> None:
        if name not in self.report.written and name not in where:
            where.append(name)

    def _merge(self, old: Path, writer: DayWriter) -> None:
        path, known, new = self.file.path, raw_days.read(old), raw_days.read(writer.file)
        if not self.kind.key and self.completes:
            stored = {tuple(row.values()) for row in known.to_pylist()}
            fresh = [tuple(row.values()) not in stored for row in new.to_pylist()]
            self._rewrite(writer, pa.concat_tables([known, new.filter(pa.array(fresh, pa.bool_()))]))
            return
        if not self.kind.key:
            raise DataError(
                f"{path}: {old.stem} is stored with other rows, and {self.kind.name} have no key to merge them by: "
                "--replace takes the file's rows for the whole day; nothing was stored"
            )
        both = pa.concat_tables([known, new]).combine_chunks()
        is_new = np.arange(both.num_rows) >= known.num_rows
        keys = [both[name].cast(pa.float64()) if _decimal(both[name]) else both[name] for name in self.kind.key]
        order = np.lexsort([is_new, *(key.to_numpy() for key in reversed(keys))])
        both, is_new = both.take(pa.array(order)), is_new[order]
        same = np.ones(both.num_rows - 1, dtype=bool)
        for name in self.kind.key:
            same &= equal(both[name].slice(0, both.num_rows - 1), both[name].slice(1))
        pairs = np.flatnonzero(same)
        if self.completes:
            both = filled(self.kind, both, pairs)
        olds, news = both.take(pa.array(pairs)), both.take(pa.array(pairs + 1))
        differ = ~equal_rows(olds, news)
        may, certainly = completed(self.kind, olds, news) if self.completes else (~differ, ~differ)
        refused = differ & ~may
        if self.replace:
            refused = np.zeros(len(pairs), dtype=bool)
        if self.aside is not None:
            for pair in pairs[refused].tolist():  # the stored row stays; both versions are kept beside
                reason = f"{self.kind.key[0]}: contradicts the stored row"
                self.aside.add(both.slice(pair, 2), [f"stored in {old.name}", "of this file"], reason)
        elif refused.any():
            shown = both.slice(int(pairs[refused][0]), 2).to_pylist()
            at = iso(shown[0][self.kind.columns[0].name])
            raise DataError(
                f"{path}: {int(refused.sum())} rows contradict what is stored, first at {at}: "
                f"stored {_row_text(shown[0])}; file {_row_text(shown[1])}: "
                "--replace takes the file's rows; nothing was stored"
            )
        revised = differ & ~certainly & ~refused
        if revised.any():
            live = self.folder / f"{raw_days.day_name(self.day or 0)}.parquet"
            revisions.keep(self.change, self.kind, live, olds.filter(pa.array(revised)), self.now)
        keep = np.ones(both.num_rows, dtype=bool)
        keep[np.where(refused, pairs + 1, pairs)] = False
        self._rewrite(writer, both.filter(pa.array(keep)))

    def _rewrite(self, writer: DayWriter, both: pa.Table) -> None:
        if not self.kind.rising:
            both = both.take(pc.sort_indices(both[self.kind.columns[0].name]))
        fresh = DayWriter(writer.file, schema_of(self.kind))
        fresh.add(both.cast(schema_of(self.kind)))
        fresh.close()
        writer.content = fresh.content


def _same_key(one: pa.Table, other: pa.Table, kind: Kind) -> bool:
    return all(bool(equal(one[name], other[name])[0]) for name in kind.key)


def _decimal(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_decimal(column.type))


def _plain(value: pa.Scalar) -> str:
    content = value.as_py()
    return format(content.normalize(), "f") if isinstance(content, Decimal) else str(content)


def _row_text(row: dict[str, Any]) -> str:
    return ", ".join(f"{k} {format(v.normalize(), 'f') if isinstance(v, Decimal) else v}" for k, v in row.items())


def _refuse_name(path: Path, symbol: str) -> None:
    named = set(re.findall(r"(?<![A-Z0-9])[A-Z0-9]{2,15}(?:USDT|USDC|BUSD)(?![A-Z0-9])", path.name))
    if named and symbol not in named:
        raise DataError(
            f"{path}: the name says {min(named)}, --symbol says {symbol}: rename the file or use its symbol"
        )
