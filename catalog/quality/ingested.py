"""
What was found in bars and funding as they were ingested, by UTC day.

It stands in ``<catalog>/quality/SYMBOL-INTERVAL.json``, of funding in ``SYMBOL-funding.json``.

A day that is brought again has its entry replaced. ``catalog.verify`` inspects the stored series anew, with peers and
other intervals beside it; this is what the files themselves showed.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from catalog.checks import RATE_DIGITS, Grid, Series
from catalog.fixed_point import to_float
from catalog.instruments import interval_ns
from catalog.quality.findings import DAY_NS, Finding, Severity, Where, scores
from catalog.quality.inspection import inspect, inspect_funding
from catalog.quality.report import write_text
from catalog.quality.rows import Context, Rows

FOLDER = "quality"
FUNDING = "funding"
"""Stands for the interval of funding."""
_USUAL_NS = 8 * 3_600_000_000_000


def inspect_series(series: Series, grid: Grid, interval: str, source: str) -> tuple[list[Finding], dict[str, float]]:
    """Return findings and day scores of checked bars in integer units."""
    digits = [grid.price_precision] * 4 + [grid.quantity_precision]
    o, h, low, c, volume = (to_float(series.values[:, i], digits[i]) for i in range(5))
    context = Context(symbol=grid.symbol, interval=interval, source=source)
    findings = inspect(Rows(series.time, o, h, low, c, volume), context)
    return findings, scores(series.time, interval_ns(interval), findings)


def inspect_settlements(series: Series, symbol: str, source: str) -> tuple[list[Finding], dict[str, float]]:
    """Return findings and day scores of checked funding settlements, rates in units of the last digit."""
    rate = to_float(series.values[:, 0], RATE_DIGITS)
    findings = inspect_funding(series.time, rate, Where(symbol, FUNDING, source))
    step = int(np.median(np.diff(series.time))) if len(series.time) > 1 else _USUAL_NS
    return findings, scores(series.time, step, findings)


def record(catalog: Path, symbol: str, interval: str, findings: list[Finding], per_day: dict[str, float]) -> Path:
    """Replace the entries of the days that were inspected; the file is replaced whole, beside-then-rename."""
    path = catalog / FOLDER / f"{symbol}-{interval}.json"
    days: dict[str, Any] = read(catalog, symbol, interval)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    first = min(per_day, default="")
    for finding in findings:
        day = first if finding.first is None else _day(finding.first)
        found[day].append(finding.as_json())
    days |= {day: {"score": score, "findings": found.get(day, [])} for day, score in per_day.items()}
    write_text(path, json.dumps(dict(sorted(days.items())), ensure_ascii=False) + "\n")
    return path


def read(catalog: Path, symbol: str, interval: str) -> dict[str, Any]:
    """Return score and findings by day; empty when nothing was recorded or the note is damaged."""
    try:
        content = json.loads((catalog / FOLDER / f"{symbol}-{interval}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def texts(findings: list[Finding], most: int = 5) -> list[str]:
    """Return lines for a person, errors first; what is only worth knowing is left out."""
    order = list(Severity)
    told = sorted((f for f in findings if f.severity is not Severity.INFO), key=lambda f: order.index(f.severity))
    lines = [f"{f.kind.value}{_when(f)} ({f.count}): {f.message}" for f in told[:most]]
    return lines + ([f"… {len(told) - most} more findings"] if len(told) > most else [])


def _when(finding: Finding) -> str:
    return "" if finding.first is None else f" {finding.as_json()['first']}"


def _day(time_ns: int) -> str:
    return str(np.datetime64(time_ns // DAY_NS, "D"))
