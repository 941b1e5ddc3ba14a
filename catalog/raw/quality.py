"""
What was found in a raw day, beside the day: ``<day>.quality.json``, staged and made visible together with it.

A day whose findings are missing, or belong to other rows, is inspected again when they are asked for.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog.instruments import interval_ns
from catalog.quality.findings import DAY_NS, Finding, Severity, scores, worst
from catalog.quality.kinds import CANDLES, TICKS, Columns, inspect_kind, usual_step
from catalog.quality.rows import Context
from catalog.raw import days as raw_days
from catalog.raw.arrays import scalar, to_numpy
from catalog.raw.days import Day
from catalog.raw.kinds import KINDS
from strategies.errors import DataError

SUFFIX = ".quality.json"
_PIECE = 200_000
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


def inspect_file(
    file: Path, *, kind: str, symbol: str, interval: str | None, source: str
) -> tuple[list[Finding], float, int]:
    """
    Return findings, score and rows of a day's file; trades, quotes and books are read in pieces that share a row.

    Raises
    ------
    DataError
        Propagate: the file is damaged.

    """
    findings: list[Finding] = []
    whole: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    rows = pieces = 0
    spans: list[tuple[int, int]] = []
    context = Context(symbol=symbol, interval=interval or kind, source=source)
    for table in _pieces(file, kind):
        columns = columns_of(kind, table)
        for finding in inspect_kind(columns, context):
            if finding.first is None and kind in TICKS:
                whole[(finding.kind.value, finding.message.split(" is ")[0])].append(finding)
            else:
                findings.append(finding)
        rows += table.num_rows - bool(pieces)
        pieces += 1
        spans.append((int(columns.time.min()), int(columns.time.max())))
        step = step_of(columns, interval)
    findings += [found[0] for found in whole.values() if len(found) == pieces]
    if kind in TICKS:
        step = max(DAY_NS // max(rows, 1), 1)
    time = np.array([min(first for first, _ in spans), max(last for _, last in spans)]) if spans else np.empty(0, int)
    per_day = scores(time, step, findings) if spans else {}
    return findings, round(sum(per_day.values()) / len(per_day), 2) if per_day else 0.0, rows


def _pieces(file: Path, kind: str) -> Iterator[pa.Table]:
    if kind not in TICKS:
        yield raw_days.read(file)
        return
    last: pa.Table | None = None
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(_PIECE):
                table = pa.Table.from_batches([batch])
                yield table if last is None else pa.concat_tables([last, table])
                last = table.slice(table.num_rows - 1)
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"{file}: damaged: {e}; remove it and bring the day again") from None


def quality_of(file: Path, sha256: str, *, kind: str, symbol: str, interval: str | None, source: str) -> DayQuality:
    """Return what is to be written beside a day."""
    findings, score, rows = inspect_file(file, kind=kind, symbol=symbol, interval=interval, source=source)
    found = worst(findings)
    return DayQuality(
        sha256=sha256,
        rows=rows,
        score=score,
        worst="" if found is None else found.value,
        findings=[finding.as_json() for finding in findings],
    )


def beside(live: Path) -> Path:
    """Return where the findings of a day lie."""
    return live.with_name(f"{live.stem}{SUFFIX}")


def read(day: Day, *, kind: str, symbol: str, interval: str | None) -> DayQuality:
    """Return the findings of a stored day: those beside it, or fresh ones when they are missing or of other rows."""
    try:
        known = msgspec.json.decode(beside(day.path).read_bytes(), type=DayQuality)
        if known.sha256 == day.sha256:
            return known
    except (OSError, msgspec.MsgspecError):
        pass
    return quality_of(day.path, day.sha256, kind=kind, symbol=symbol, interval=interval, source=day.day)


def stage(change: raw_days.Change, *, kind: str, symbol: str, interval: str | None) -> dict[str, DayQuality]:
    """Inspect every staged day and stage its findings beside it; return them by day."""
    result = {}
    for live, file in list(change.staged.items()):
        if live.suffix != ".parquet" or live.relative_to(change.root).parts[0] != kind:
            continue  # what corrections replaced is no day
        day = raw_days.describe(file)
        found = quality_of(file, day.sha256, kind=kind, symbol=symbol, interval=interval, source=live.stem)
        target = change.new_file().with_suffix(".json")
        target.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
        change.staged[beside(live)] = target
        result[live.stem] = found
    return result


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
