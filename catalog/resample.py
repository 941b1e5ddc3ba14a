"""
Make longer bars from shorter ones, exactly, where every part is there.

Where each row came from is noted in ``provenance/`` of the catalog.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from strategies.startup import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m catalog.resample",
        description="Make longer bars from shorter ones, exactly, where every part is there.",
    )
    parser.add_argument("--catalog", type=Path, default=Path("var/catalog"), help="catalog directory (%(default)s)")
    parser.add_argument("--symbol", required=True, help="venue symbol, for example XRPUSDT")
    parser.add_argument("--raw", type=Path, help="raw store to write first (default: the one beside the catalog)")
    parser.add_argument("--cache-only", action="store_true", help="write the catalog alone")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--from", dest="short", required=True, metavar="INTERVAL", help="stored interval, e.g. 1m")
    parser.add_argument("--to", dest="long", required=True, nargs="+", metavar="INTERVAL", help="e.g. 5m 15m 1h 4h 1d")
    options = parser.parse_args(arguments)
    from catalog import through_raw  # noqa: PLC0415 - --help stays fast
    from catalog.derive import resample  # noqa: PLC0415 - --help stays fast

    root = through_raw.root_of(options.catalog, options.raw, cache_only=options.cache_only)
    done = [resample(options.catalog, options.symbol, options.short, long, root=root) for long in options.long]
    if options.json:
        sys.stdout.write(json.dumps([asdict(d) for d in done]) + "\n")
        return 0
    for d in done:
        differ = f", {d.differing} differ from native bars (first {d.first_differing})" if d.differing else ""
        sys.stdout.write(f"{d.symbol} {d.interval}: {d.added} bars added, {d.equal} equal native bars{differ}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
