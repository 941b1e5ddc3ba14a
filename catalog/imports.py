"""
Candles and funding kept by other programs: ``python -m catalog.imports klines|funding --from FILE… --catalog DIR``.

Feather, parquet and CSV with any column names. Without ``--mapping`` the names freqtrade uses are taken (``date, open,
high, low, close, volume``; in its funding files the rate stands in ``open``). A mapping is a YAML file::

    columns: {open_time: Zeit, open: Erster, high: Hoch, low: Tief, close: Letzter, volume: Menge}
    separator: ";"        # CSV only

Rows pass the same rules as the exchange's own files. Floats are read as the shortest decimals that mean them. Such
programs often save the candle that is still open: ``--drop-last`` leaves the last row out.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from catalog.ingest import INSIST
from strategies.errors import DataError
from strategies.startup import run_command

DEFAULT_CATALOG = Path("var/catalog")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m catalog.imports", description="Bring in what other programs kept.")
    parser.add_argument("kind", choices=("funding", "klines"), help="what the files hold")
    parser.add_argument("--from", dest="paths", type=Path, nargs="+", required=True, metavar="PATH", help="files")
    parser.add_argument("--symbol", required=True, help="venue symbol, for example XRPUSDT")
    parser.add_argument("--interval", help="of klines, for example 15m")
    parser.add_argument("--mapping", type=Path, help="YAML with the file's column names; default freqtrade's")
    parser.add_argument("--drop-last", action="store_true", help="leave the last row out: it may have been open")
    parser.add_argument("--insist", action="store_true", help=INSIST)
    parser.add_argument("--replace", action="store_true", help="the files win over stored rows that differ")
    parser.add_argument("--catalog", type=Path, default=DEFAULT_CATALOG, help="catalog directory (%(default)s)")
    parser.add_argument("--raw", type=Path, help="raw store to write first (default: the one beside the catalog)")
    parser.add_argument("--cache-only", action="store_true", help="write the catalog alone")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    options = _parser().parse_args(arguments)
    from catalog import through_raw  # noqa: PLC0415 - --help stays fast
    from catalog.csv_files import FUNDING, KLINES, CsvFile  # noqa: PLC0415 - --help stays fast
    from catalog.progress import progress  # noqa: PLC0415 - as above
    from catalog.table_files import TableFile, load_mapping  # noqa: PLC0415 - as above

    if (options.kind == "klines") != bool(options.interval):
        raise DataError(f"{options.kind}: {'give' if options.kind == 'klines' else 'there is no'} --interval")
    layout = KLINES if options.kind == "klines" else FUNDING
    mapping = load_mapping(options.mapping, layout)

    def opened(path: Path) -> CsvFile:
        return TableFile(path, layout, mapping, drop_last=options.drop_last)

    with progress("reading", wanted=not options.json) as shown:
        report = through_raw.take(
            options.paths,
            catalog=options.catalog,
            symbol=options.symbol,
            interval=options.interval,
            raw=options.raw,
            cache_only=options.cache_only,
            replace=options.replace,
            insist=options.insist,
            progress=shown,
            opened=opened,
        )
    if options.json:
        sys.stdout.write(json.dumps(asdict(report)) + "\n")
        return 0
    for file in report.files:
        sys.stdout.write(
            "; ".join([f"{file.path}: {file.rows} rows, {file.first} to {file.last}", *file.warnings]) + "\n"
        )
    for text in report.findings:
        sys.stdout.write(f"quality: {text}\n")
    sys.stdout.write(f"{report.added} added, {report.replaced} replaced, {report.unchanged} already there\n")
    return 0


if __name__ == "__main__":
    run_command(main)
