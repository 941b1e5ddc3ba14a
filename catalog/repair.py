"""
Fill the holes of stored bars from other sources; never by interpolation.

Where each row came from is noted in ``provenance/`` of the catalog.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from strategies.errors import ConfigError
from strategies.startup import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m catalog.repair",
        description="Fill the holes of stored bars from other sources; never by interpolation.",
    )
    parser.add_argument("--catalog", type=Path, default=Path("var/catalog"), help="catalog directory (%(default)s)")
    parser.add_argument("--symbol", required=True, help="venue symbol, for example XRPUSDT")
    parser.add_argument("--raw", type=Path, help="raw store to write first (default: the one beside the catalog)")
    parser.add_argument("--cache-only", action="store_true", help="write the catalog alone")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--interval", required=True, help="the series to repair, for example 15m")
    parser.add_argument("--from", dest="files", type=Path, nargs="+", default=[], metavar="FILE", help="other sources")
    parser.add_argument("--finer", nargs="+", default=[], metavar="INTERVAL", help="stored shorter intervals, e.g. 5m")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be filled, store nothing")
    options = parser.parse_args(arguments)
    from catalog import through_raw  # noqa: PLC0415 - --help stays fast
    from catalog.derive import repair  # noqa: PLC0415 - --help stays fast

    if not options.files and not options.finer:
        raise ConfigError("nothing to repair from: give --from FILE or --finer INTERVAL")
    root = through_raw.root_of(options.catalog, options.raw, cache_only=options.cache_only)
    done = repair(
        options.catalog,
        options.symbol,
        options.interval,
        files=options.files,
        finer=options.finer,
        dry_run=options.dry_run,
        root=root,
    )
    if options.json:
        sys.stdout.write(json.dumps(asdict(done)) + "\n")
        return 0
    origins = ", ".join(f"{count} {name}" for name, count in done.origins.items()) or "nothing to fill"
    sys.stdout.write(
        f"{done.symbol} {done.interval}: {done.added} bars {'would be ' if options.dry_run else ''}added ({origins}); "
        f"{done.still_missing} still missing; sources agree in {done.equal} bars, differ in {done.differing}\n"
    )
    return 0


if __name__ == "__main__":
    run_command(main)
