"""
Defects of stored data or of files, named: ``python -m catalog.verify --catalog DIR | --raw DIR | --from FILE…``.

Exit code 0: no error; 1: findings of severity ``error``; 2: the command itself could not run.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from strategies.startup import run_command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m catalog.verify",
        description="Check a catalog, or files before ingestion, and name every defect.",
        epilog="exit code 1 when a finding has severity error",
    )
    parser.add_argument("--catalog", type=Path, default=Path("var/catalog"), help="catalog directory (%(default)s)")
    parser.add_argument("--from", dest="paths", type=Path, nargs="+", metavar="FILE", help="check files instead")
    parser.add_argument("--raw", type=Path, metavar="DIR", help="check a raw store instead, every data type")
    parser.add_argument("--kind", nargs="+", default=[], help="with --raw: only these data types")
    parser.add_argument("--symbol", nargs="+", default=[], help="only these; of files: what they hold")
    parser.add_argument("--interval", nargs="+", default=[], help="only these; of files: what they hold")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON (- for standard output)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a heat map and all findings as one page")
    parser.add_argument("--quarantine", type=Path, metavar="DIR", help="keep conflicting rows of files here")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    options = _parser().parse_args(arguments)
    from catalog.quality.findings import Severity, worst  # noqa: PLC0415 - --help stays fast
    from catalog.quality.quarantine import quarantine_file  # noqa: PLC0415 - as above
    from catalog.quality.report import as_html, as_json, as_text, dump, write_text  # noqa: PLC0415 - as above
    from catalog.quality.series import verify_catalog, verify_file  # noqa: PLC0415 - as above

    if options.paths:
        symbol, interval = "".join(options.symbol[:1]), "".join(options.interval[:1])
        reports = [verify_file(path, symbol=symbol, interval=interval)[0] for path in options.paths]
        if options.quarantine is not None:
            for path in options.paths:
                kept = quarantine_file(path, options.quarantine)
                if kept is not None:
                    sys.stderr.write(f"conflicting rows of {path} are kept in {kept}\n")
    elif options.raw is not None:
        from catalog.progress import progress  # noqa: PLC0415 - as above
        from catalog.quality.raw_series import verify_raw  # noqa: PLC0415 - as above

        with progress("verifying", wanted=str(options.json) != "-") as shown:
            reports = verify_raw(options.raw, options.kind, options.symbol, options.interval, advance=shown.advance)
    else:
        reports = verify_catalog(options.catalog, options.symbol, options.interval)
    if options.html is not None:
        write_text(options.html, as_html(reports))
    if options.json is not None and str(options.json) != "-":
        write_text(options.json, dump(as_json(reports)))
    if str(options.json) == "-":
        sys.stdout.write(dump(as_json(reports)))
    else:
        sys.stdout.write("\n".join(as_text(report) for report in reports) + "\n")
    return 1 if worst(f for r in reports for f in r.findings) is Severity.ERROR else 0


if __name__ == "__main__":
    run_command(main)
