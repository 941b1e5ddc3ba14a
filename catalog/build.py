"""
The Nautilus catalog from the raw store: ``python -m catalog.build [--check]``.

Only raw days whose content hash changed are made again. Deleting the catalog and building it anew gives the same
files. Exit code 1: ``--check`` found something stale; 2: a series could not be built (the others were).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from strategies.errors import DataError
from strategies.startup import run_command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m catalog.build", description="Build or update the Nautilus catalog from the raw store."
    )
    parser.add_argument("--raw", type=Path, default=Path("var/raw"), help="the raw store (%(default)s)")
    parser.add_argument("--catalog", type=Path, default=Path("var/catalog"), help="catalog directory (%(default)s)")
    parser.add_argument("--kind", nargs="+", default=[], metavar="KIND", help="only these data types; default all")
    parser.add_argument("--symbol", nargs="+", default=[], metavar="SYMBOL", help="only these; default all")
    parser.add_argument("--instruments", type=Path, help="file with the instruments' figures")
    parser.add_argument("--replace", action="store_true", help="raw wins over rows of the catalog that contradict it")
    parser.add_argument("--check", action="store_true", help="say what is stale, build nothing; exit code 1 if any")
    parser.add_argument("--thorough", action="store_true", help="with --check: compare hashes of files too")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="for another writer (%(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    options = _parser().parse_args(arguments)
    from catalog import building, manifest  # noqa: PLC0415 - --help stays fast
    from catalog.build_plan import Built, plan  # noqa: PLC0415 - as above
    from catalog.progress import progress  # noqa: PLC0415 - as above
    from catalog.raw.kinds import KINDS  # noqa: PLC0415 - as above

    for kind in options.kind:
        if kind not in KINDS:
            raise DataError(f"--kind {kind}: not a data type; known are {', '.join(sorted(KINDS))}")
    asked = {"kinds": tuple(options.kind), "symbols": tuple(options.symbol), "instruments": options.instruments}
    if options.check:
        work, gone = plan(options.raw, options.catalog, **asked, thorough=options.thorough)
        done = [built for _, built in work] + [Built(key, removed=["all"]) for key in gone]
    else:
        with progress("building", wanted=not options.json) as shown:
            done = building.build(
                options.raw,
                options.catalog,
                **asked,
                replace=options.replace,
                progress=shown,
                wait_seconds=options.wait,
            )
    if options.json:
        sys.stdout.write(json.dumps(building.as_json(done, options.catalog)) + "\n")
    else:
        for built in done:
            sys.stdout.write(_line(built, check=options.check) + "\n")
        sys.stdout.write(f"{options.catalog}: data set {manifest.read(options.catalog).sha256}\n")
    if options.check:
        return int(any(built.stale for built in done))
    refused = [built for built in done if built.refused]
    if refused:
        raise DataError("; ".join(f"{built.key}: {built.refused}" for built in refused))
    return 0


def _line(built: object, *, check: bool) -> str:
    from catalog.build_plan import Built  # noqa: PLC0415 - --help stays fast

    assert isinstance(built, Built)  # noqa: S101 - tells mypy what the late import hides
    if built.refused:
        return f"{built.key}: REFUSED: {built.refused}"
    if not built.stale:
        return f"{built.key}: {built.fresh} days, up to date"
    verb = "stale" if check else "built"
    span = f" ({built.made[0]} to {built.made[-1]})" if built.made else ""
    parts = [f"{len(built.made)} days {verb}{span}, {built.rows} rows", f"{built.fresh} up to date"]
    parts += [f"{len(built.removed)} gone from raw"] if built.removed else []
    parts += [f"{built.others} rows only the catalog has stay"] if built.others else []
    return f"{built.key}: {'; '.join(parts)}"


if __name__ == "__main__":
    run_command(main)
