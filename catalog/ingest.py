"""
Files into the catalog: ``python -m catalog.ingest klines|funding|instruments --from PATH… --catalog DIR``.

Rows go into the raw store first (``--raw``, else the one beside the catalog, which a new catalog gets), and the catalog
is made of it (:mod:`catalog.through_raw`); with ``--cache-only``, and beside a catalog that has rows and no store, they
go into the catalog alone (:mod:`catalog.writer`). A command that fails has changed nothing.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from strategies.startup import run_command

if TYPE_CHECKING:
    from catalog.writer import Report


INSIST = "take what looks like another unit, exchanged columns, or prices that move although nothing was traded"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m catalog.ingest", description="Bring files into the catalog.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("klines", "candles, CSV / CSV.gz / zip, official 12 columns or 6, with or without header"),
        ("funding", "funding settlements, official 3 columns or 2, with or without header"),
        ("instruments", "a saved GET /fapi/v1/exchangeInfo (.json) or a file like config/instruments.yaml"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--from", dest="paths", type=Path, nargs="+", required=True, metavar="PATH", help="files")
        command.add_argument(
            "--catalog", type=Path, default=Path("var/catalog"), help="catalog directory (%(default)s)"
        )
        command.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        command.add_argument(
            "--wait", type=float, default=60.0, metavar="SECONDS", help="for another writer to end (%(default)s)"
        )
        if name == "instruments":
            command.add_argument("--symbol", nargs="+", default=[], help="only these; default all in the file")
            continue
        command.add_argument("--symbol", required=True, help="venue symbol, for example XRPUSDT")
        command.add_argument("--instruments", type=Path, help="file with the instrument's figures")
        command.add_argument("--replace", action="store_true", help="the files win over stored rows that differ")
        command.add_argument("--insist", action="store_true", help=INSIST)
        command.add_argument("--raw", type=Path, help="raw store to write first (default: the one beside the catalog)")
        command.add_argument("--cache-only", action="store_true", help="write the catalog alone")
        if name == "klines":
            command.add_argument("--interval", required=True, help="for example 15m")
    return parser


def _print(report: "Report") -> None:
    for file in report.files:
        notes = "".join(f"; {text}" for text in file.warnings)
        span = f", {file.first} to {file.last}" if file.rows else ""
        sys.stdout.write(f"{file.path}: {file.rows} rows{span}{notes}\n")
    for text in report.findings:
        sys.stdout.write(f"quality: {text}\n")
    what = f"{report.symbol} {report.interval or 'funding'}"
    sys.stdout.write(
        f"{what}: {report.added} added, {report.replaced} replaced, {report.unchanged} already there; "
        f"{report.catalog} now holds {report.total}, {report.first} to {report.last}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    options = _parser().parse_args(arguments)
    from catalog.writer import ingest_instruments  # noqa: PLC0415 - --help stays fast

    if options.command == "instruments":
        done = ingest_instruments(
            options.paths, catalog=options.catalog, symbols=options.symbol, wait_seconds=options.wait
        )
        if options.json:
            sys.stdout.write(
                json.dumps({"kind": "instruments", "catalog": str(options.catalog), "symbols": done}) + "\n"
            )
        else:
            counts = {state: sum(s == state for s in done.values()) for state in ("added", "replaced", "unchanged")}
            text = ", ".join(f"{count} {state}" for state, count in counts.items())
            sys.stdout.write(f"instruments: {text}; {options.catalog}\n")
        return 0
    from catalog import through_raw  # noqa: PLC0415 - as above
    from catalog.progress import progress  # noqa: PLC0415 - as above

    with progress("reading", wanted=not options.json) as shown:
        report = through_raw.take(
            options.paths,
            catalog=options.catalog,
            symbol=options.symbol,
            interval=getattr(options, "interval", None),
            raw=options.raw,
            cache_only=options.cache_only,
            instruments=options.instruments,
            replace=options.replace,
            insist=options.insist,
            wait_seconds=options.wait,
            progress=shown,
        )
    if options.json:
        sys.stdout.write(json.dumps(asdict(report)) + "\n")
    else:
        _print(report)
    return 0


if __name__ == "__main__":
    run_command(main)
