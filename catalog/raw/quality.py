"""
What was found in a raw day, beside its file: ``<file>.quality.json``, staged and made visible together with it.

Slow kinds are inspected a month at a time, so that a gap at midnight shows; each finding stands at the days it touches.

A day whose findings are missing, or belong to other rows, is inspected again when they are asked for.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.instruments import interval_ns
from catalog.quality.findings import DAY_NS, Finding, Severity, part_of, scores, worst
from catalog.quality.kinds import CANDLES, TICKS, Columns, inspect_kind, usual_step
from catalog.quality.rows import Context
from catalog.raw.arrays import scalar, to_numpy
from catalog.raw.change import QUALITY, Change
from catalog.raw.day_files import Day, described, pieces, read
from catalog.raw.kinds import KINDS

_NAN = scalar(float("nan"), pa.float64())


class DayQuality(msgspec.Struct, frozen=True, kw_only=True):
    """
    Score and findings of one raw day.

    Attributes
    ----------
    sha256 : str
        Content hash of the rows that were inspected.
    rows : int
    score : float
        100 is spotless, 0 unusable (:func:`catalog.quality.findings.scores`).
    worst : str
        Highest severity found, empty when nothing was.
    findings : list of dict
        As :meth:`catalog.quality.findings.Finding.as_json` gives them.

    """

    sha256: str
    rows: int
    score: float
    worst: str
    findings: list[dict[str, Any]]


def columns_of(kind: str, table: pa.Table) -> Columns:
    """Return raw rows as columns for the checks; floats are good enough there."""
    declared = {column.name: column.form for column in KINDS[kind].columns}
    time, *others = declared
    spare = [column.name for column in KINDS[kind].columns if not column.needed]
    if kind == "klines" and all(table[name].null_count == table.num_rows for name in spare):
        others = [name for name in others if name not in spare]  # a source with six columns has no such figures
    values, texts = {}, {}
    for name in others:
        column = table[name]
        if declared[name] == "text":
            texts[name] = np.asarray(pc.fill_null(column, "").to_pylist(), dtype=str)
            continue
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        values[name] = to_numpy(pc.fill_null(column.cast(pa.float64()), _NAN))
    return Columns(kind, to_numpy(table[time]), values, texts)


def step_of(columns: Columns, interval: str | None) -> int:
    """Return the usual distance of rows in ns."""
    if columns.kind in CANDLES and interval:
        return interval_ns(interval)
    return 8 * 3_600_000_000_000 if columns.kind == "funding" else usual_step(columns)


def inspect_columns(columns: Columns, context: Context, interval: str | None) -> tuple[list[Finding], dict[str, float]]:
    """Return the findings and the score of every day of rows of any kind."""
    findings = inspect_kind(columns, context)
    return findings, scores(columns.time, step_of(columns, interval), findings)


def inspect_day(day: Day, context: Context, kind: str, interval: str | None) -> tuple[list[Finding], float]:
    """
    Return findings and score of a day with a file of its own; trades, quotes and books are read in pieces.

    Raises
    ------
    DataError
        Propagate: the file is damaged.

    """
    findings: list[Finding] = []
    whole: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    rows = count = 0
    spans: list[tuple[int, int]] = []
    for table in _overlapping(day, kind):
        columns = columns_of(kind, table)
        for finding in inspect_kind(columns, context):
            if finding.first is None and kind in TICKS:
                whole[(finding.kind.value, finding.message.split(" is ")[0])].append(finding)
            else:
                findings.append(finding)
        rows += table.num_rows - bool(count)
        count += 1
        spans.append((int(columns.time.min()), int(columns.time.max())))
        step = step_of(columns, interval)
    findings += [found[0] for found in whole.values() if len(found) == count]
    if kind in TICKS:
        step = max(DAY_NS // max(rows, 1), 1)
    time = np.array([min(first for first, _ in spans), max(last for _, last in spans)]) if spans else np.empty(0, int)
    per_day = scores(time, step, findings) if spans else {}
    return findings, round(sum(per_day.values()) / len(per_day), 2) if per_day else 0.0


def _overlapping(day: Day, kind: str) -> Iterator[pa.Table]:
    """Yield the rows of a day: of ticks in pieces that share a row, so that nothing hides between two."""
    if kind not in TICKS:
        yield read(day.path)
        return
    last: pa.Table | None = None
    for _, table in pieces([day]):
        yield table if last is None else pa.concat_tables([last, table])
        last = table.slice(table.num_rows - 1)


def _inspect(
    days: Sequence[Day], whole: Callable[[], pa.Table], live: Path, kind: str, symbol: str, interval: str | None
) -> dict[str, DayQuality]:
    """Return what there is to say of every day of a file; `whole` gives its rows where they are looked at together."""
    context = Context(symbol=symbol, interval=interval or kind, source=live.stem)
    if not KINDS[kind].monthly or live.stem == days[0].day:
        findings, score = inspect_day(days[0], context, kind, interval)
        return {live.stem: _told(days[0], score, findings)}
    columns = columns_of(kind, whole())
    found, per_day = inspect_columns(columns, context, interval)
    step = step_of(columns, interval)

    def told(day: Day) -> DayQuality:
        number = int(np.datetime64(day.day, "D").astype(np.int64))
        parts = (part_of(finding, number, step) for finding in found)
        return _told(day, per_day[day.day], [part for part in parts if part is not None])

    return {day.day: told(day) for day in days}


def _told(day: Day, score: float, findings: Sequence[Finding]) -> DayQuality:
    found = worst(findings)
    return DayQuality(
        sha256=day.sha256,
        rows=day.rows,
        score=score,
        worst="" if found is None else found.value,
        findings=[finding.as_json() for finding in findings],
    )


def beside(live: Path) -> Path:
    """Return where the findings of a file lie."""
    return live.with_name(f"{live.stem}{QUALITY}")


def findings_of(day: Day, *, kind: str, symbol: str, interval: str | None) -> DayQuality:
    """Return the findings of a stored day: those beside it, or fresh ones when they are missing or of other rows."""
    try:
        known = msgspec.json.decode(beside(day.path).read_bytes(), type=dict[str, DayQuality])
        if known[day.day].sha256 == day.sha256:
            return known[day.day]
    except (OSError, KeyError, msgspec.MsgspecError):
        pass
    days = described(day.path)
    return _inspect(days, lambda: read(day.path), day.path, kind, symbol, interval)[day.day]


def stage(change: Change, *, kind: str, symbol: str, interval: str | None) -> dict[str, DayQuality]:
    """Inspect every staged file and stage its findings beside it; return those of the days that are new, by day."""
    result: dict[str, DayQuality] = {}
    for live in list(change.staged):
        if live.suffix != ".parquet" or live.relative_to(change.root).parts[0] != kind:
            continue  # what corrections replaced is no day
        before = {day.day: day.sha256 for day in described(live)} if live.exists() else {}
        found = stage_file(change, live, symbol=symbol, interval=interval)
        result |= {day: one for day, one in found.items() if one.sha256 != before.get(day)}
    return result


def stage_file(change: Change, live: Path, *, symbol: str, interval: str | None) -> dict[str, DayQuality]:
    """Inspect what is staged for a file, stage the findings beside it, and return them by day."""
    kind = live.relative_to(change.root).parts[0]
    found = _inspect(described(change.staged[live]), lambda: change.rows(live), live, kind, symbol, interval)
    target = change.new_file().with_suffix(".json")
    target.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    change.staged[beside(live)] = target
    return found


def summary(found: dict[str, DayQuality], most: int = 8) -> list[str]:
    """Return lines for a person: the worst days first, and what was found there."""
    order = {severity.value: i for i, severity in enumerate(Severity)}
    lines = []
    for name, day in sorted(found.items(), key=lambda item: (item[1].score, item[0])):
        told = [f for f in day.findings if f["severity"] != Severity.INFO.value]
        if not told:
            continue
        told.sort(key=lambda f: order[f["severity"]])
        texts = [f"{f['kind']} {f['first'] or ''} ({f['count']}): {f['message']}" for f in told[:3]]
        more = f" and {len(told) - 3} more" if len(told) > 3 else ""
        lines.append(f"quality of {name}: score {day.score:g}; {'; '.join(texts)}{more}")
    return lines[:most] + ([f"… {len(lines) - most} more days with findings"] if len(lines) > most else [])


def quarantine_path(root: Path, kind: str, symbol: str) -> Path:
    """Return where rows that may not enter a series are kept."""
    return root / "quarantine" / kind / symbol
