"""
Every file of a directory through the checks, as a table: ``python -m catalog.quality.survey --data DIR --out FILE.md``.

``--json FILE`` writes every finding of every file, with counts, for programs (``-`` prints it).

Files of the same symbol are compared with the trusted series of the directory (``um_klines_*``). The table holds
findings, no data.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategies.errors import DataError
from strategies.startup import run_command

if TYPE_CHECKING:
    from catalog.quality.findings import Finding
    from catalog.quality.report import SeriesReport
    from catalog.quality.rows import Reference, Rows

_BEGIN, _END = "<!-- survey: begin -->", "<!-- survey: end -->"


def survey(data: Path) -> list[tuple[Path, str, "SeriesReport"]]:
    """
    Return every file below `data` with its kind and report, in the order of their paths.

    Raises
    ------
    DataError
        Propagate: no such directory, or it is empty.

    """
    from catalog.quality.series import verify_file  # noqa: PLC0415 - --help stays fast

    files = sorted(p for p in data.rglob("*") if p.is_file() and not p.name.startswith("."))
    if not files:
        raise DataError(f"{data}: no files: give the directory with --data")
    trusted = _trusted(data)
    result = []
    for path in files:
        folder = path.relative_to(data).parts[0]
        interval = folder.rsplit("_", 1)[-1] if folder.startswith(("um_", "spot_")) and "klines" in folder else ""
        symbol = path.name.split(".")[0] if folder.startswith(("um_", "spot_")) else ""
        references, peers = _beside(path, folder, interval, symbol, trusted)
        report, kind = verify_file(path, symbol=symbol, interval=interval, references=references, peers=peers)
        result.append((path.relative_to(data), kind, report))
    return result


def _trusted(data: Path) -> dict[tuple[str, str], "Rows"]:
    from catalog.quality.files import read_raw  # noqa: PLC0415 - --help stays fast

    found = {}
    for interval in ("1m", "5m", "15m", "1h"):
        for path in sorted((data / f"um_klines_{interval}").glob("*.csv.gz")):
            symbol = path.name.split(".")[0]
            found[(symbol, interval)] = read_raw(path, symbol=symbol, interval=interval).rows()[0]
    return found


def _beside(
    path: Path, folder: str, interval: str, symbol: str, trusted: dict[tuple[str, str], "Rows"]
) -> tuple[tuple["Reference", ...], dict[str, "Rows"]]:
    """Return what to compare a file with: the trusted series itself for raw files, the finer one for trusted ones."""
    from catalog.quality.files import read_raw  # noqa: PLC0415 - --help stays fast
    from catalog.quality.rows import Reference  # noqa: PLC0415 - as above

    if "klines" not in folder and not interval:
        try:
            raw = read_raw(path)
        except DataError:
            return (), {}
        if raw.kind != "bars":
            return (), {}
        symbol, interval = raw.symbol, raw.interval
    peers = {s: rows for (s, i), rows in trusted.items() if i == interval and s != symbol}
    finer = {"15m": "5m", "5m": "1m", "1h": "15m"}.get(interval, interval)
    other = finer if folder.startswith("um_klines") else interval
    rows = trusted.get((symbol, other))
    if rows is None or (folder.startswith("um_klines") and other == interval):
        return (), peers
    return (Reference(name=f"um_klines_{other}", interval=other, bars=rows),), peers


def table(result: Sequence[tuple[Path, str, "SeriesReport"]]) -> str:
    """Return the findings as a Markdown table; files that are no market-data tables are counted by folder."""
    lines = ["| file | kind | rows | findings |", "|---|---|---:|---|"]
    others: dict[str, list[str]] = defaultdict(list)
    for path, kind, report in result:
        if report.rows == 0 and not report.findings:
            others["/".join(path.parts[:2])].append(kind)
            continue
        what = kind if len(kind) < 60 else kind[:57] + "..."
        lines.append(f"| `{path}` | {what} | {report.rows} | {_cell(report.findings)} |")
    for folder, kinds in sorted(others.items()):
        lines.append(f"| `{folder}/…` | {len(kinds)} answers, payloads and notes | | no table of market data |")
    return "\n".join(lines) + "\n"


def document(result: Sequence[tuple[Path, str, "SeriesReport"]]) -> dict[str, Any]:
    """Return all findings as one JSON document: what `catalog.verify --json` gives, with file and kind of each."""
    from catalog.quality.report import as_json  # noqa: PLC0415 - --help stays fast

    whole = as_json([report for _, _, report in result])
    files = [
        {"file": path.as_posix(), "kind": kind} | series
        for (path, kind, _), series in zip(result, whole.pop("series"), strict=True)
    ]
    return whole | {"files": files}


def _cell(findings: Sequence["Finding"]) -> str:
    from catalog.quality.findings import iso  # noqa: PLC0415 - --help stays fast

    if not findings:
        return "none"
    grouped: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        grouped[(finding.severity.value, finding.kind.value)].append(finding)
    order = ("error", "warning", "info")
    parts = []
    for (severity, kind), group in sorted(grouped.items(), key=lambda item: order.index(item[0][0])):
        first = min((f.first for f in group if f.first is not None), default=None)
        when = "" if first is None else f", first {iso(first)}"
        text = group[0].message if severity == "error" else ""
        more = f": {text}" if text else ""
        parts.append(f"**{severity}** {kind} ({sum(f.count for f in group)} rows{when}){more}".replace("|", "/"))
    return "<br>".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m catalog.quality.survey", description="Findings of every file.")
    parser.add_argument("--data", type=Path, required=True, help="directory with files")
    parser.add_argument("--out", type=Path, help="Markdown file whose marked part is replaced; default: print")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every finding as JSON; - prints it")
    options = parser.parse_args(arguments)
    from catalog.quality.report import dump, write_text  # noqa: PLC0415 - --help stays fast

    old = f"{_BEGIN}\n{_END}\n"
    if options.out is not None and options.out.exists():
        old = options.out.read_text(encoding="utf-8")
    if _BEGIN not in old or _END not in old:
        raise DataError(f"{options.out}: the lines `{_BEGIN}` and `{_END}` are missing: add them where the table goes")
    result = survey(options.data)
    printed = str(options.json) == "-"
    if printed:
        sys.stdout.write(dump(document(result)))
    elif options.json is not None:
        write_text(options.json, dump(document(result)))
    text = table(result)
    if options.out is None:
        if not printed:
            sys.stdout.write(text)
        return 0
    head, rest = old.split(_BEGIN, 1)
    write_text(options.out, f"{head}{_BEGIN}\n{text}{_END}{rest.split(_END, 1)[1]}")
    return 0


if __name__ == "__main__":
    run_command(main)
