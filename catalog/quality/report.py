"""What was found, for programs (JSON) and for people (one HTML file with a heat map, nothing to load)."""

import html
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.quality.findings import Finding, Severity, iso, worst

_CELL, _GAP = 11, 2
_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:2rem;color:#1c2430}h1{font-size:1.3rem}h2{font-size:1rem;"
    "margin:1.6rem 0 .3rem}table{border-collapse:collapse;margin-top:.5rem}td,th{border-bottom:1px solid #dde3ea;"
    "padding:.2rem .6rem;text-align:left;vertical-align:top}th{font-weight:600}.error{color:#b3261e;font-weight:600}"
    ".warning{color:#8a5a00}.info{color:#4b5b6b}.muted{color:#66727f}"
)


@dataclass(frozen=True, slots=True)
class SeriesReport:
    """One series: rows, span (ISO), findings, and the score of every UTC day (100 is spotless)."""

    symbol: str
    interval: str
    source: str
    rows: int
    first: str
    last: str
    findings: list[Finding]
    scores: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "symbol": self.symbol,
            "interval": self.interval,
            "source": self.source,
            "rows": self.rows,
            "first": self.first,
            "last": self.last,
            "score": self.score,
            "findings": [f.as_json() for f in self.findings],
            "scores": self.scores,
        }

    @property
    def score(self) -> float:
        """Mean score of the days; 0 when there is no row."""
        return round(sum(self.scores.values()) / len(self.scores), 2) if self.scores else 0.0


def as_json(reports: Sequence[SeriesReport]) -> dict[str, Any]:
    """Return all reports as one JSON document."""
    findings = [f for report in reports for f in report.findings]
    found = worst(findings)
    return {
        "worst": None if found is None else found.value,
        "counts": dict(sorted(Counter(f.kind.value for f in findings).items())),
        "series": [report.as_json() for report in reports],
    }


def as_text(report: SeriesReport, most: int = 20) -> str:
    """Return a few lines for a terminal."""
    head = (
        f"{report.symbol} {report.interval}: {report.rows} rows, {report.first} to {report.last}, score {report.score}"
    )
    lines = [head]
    ranked = sorted(report.findings, key=lambda f: list(Severity).index(f.severity))
    for finding in ranked[:most]:
        when = "" if finding.first is None else f" {iso(finding.first)}"
        what = f"{finding.kind.value}{when} ({finding.count})"
        lines.append(f"  {finding.severity.value:7} {what}: {finding.message}; {finding.remedy}")
    if len(ranked) > most:
        lines.append(f"  … {len(ranked) - most} more: --json FILE or --html FILE has them all")
    return "\n".join(lines)


def as_html(reports: Sequence[SeriesReport]) -> str:
    """Return one self-contained page: a calendar of scores for every series, and its findings."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Data quality</title>",
        f"<style>{_STYLE}</style><h1>Data quality</h1>",
        "<p class=muted>One square is one UTC day, one line a month; green is spotless, red unusable.</p>",
    ]
    for report in reports:
        title = html.escape(f"{report.symbol} {report.interval}")
        span = html.escape(f"{report.rows} rows, {report.first} to {report.last}, score {report.score}")
        parts.append(f"<h2>{title}</h2><div class=muted>{span}</div>{_calendar(report.scores)}")
        if report.findings:
            parts.append(_table(report.findings))
    parts.append("</html>\n")
    return "".join(parts)


def write_text(path: Path, text: str) -> None:
    """Write beside, then rename: readers see the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def dump(document: Any) -> str:
    """Return `document` as JSON text with a final line break."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _calendar(scores: dict[str, float]) -> str:
    months = sorted({day[:7] for day in scores})
    step = _CELL + _GAP
    cells = []
    for y, month in enumerate(months):
        cells.append(f'<text x=0 y={y * step + _CELL - 1} font-size=10 fill="#66727f">{month}</text>')
        for d in range(1, 32):
            score = scores.get(f"{month}-{d:02d}")
            if score is None:
                continue
            cells.append(
                f"<rect x={56 + (d - 1) * step} y={y * step} width={_CELL} height={_CELL} rx=2 "
                f'fill="{_colour(score)}"><title>{month}-{d:02d}: {score:g}</title></rect>'
            )
    return f"<svg width={60 + 31 * step} height={max(len(months), 1) * step} role=img>{''.join(cells)}</svg>"


def _colour(score: float) -> str:
    hue = 130 * (score / 100) ** 2
    return f"hsl({hue:.0f} 60% 45%)"


def _table(findings: Sequence[Finding]) -> str:
    head = "<table><tr><th>severity<th>kind<th>first<th>last<th>count<th>what<th>remedy</tr>"
    rows = []
    for f in sorted(findings, key=lambda x: (list(Severity).index(x.severity), x.first or 0)):
        texts = [
            f.kind.value,
            "" if f.first is None else iso(f.first),
            "" if f.last is None else iso(f.last),
            str(f.count),
            f.message,
            f.remedy,
        ]
        cells = "".join(f"<td>{html.escape(text)}" for text in texts)
        rows.append(f'<tr><td class="{f.severity.value}">{f.severity.value}{cells}</tr>')
    return head + "".join(rows) + "</table>"
