"""
The raw store by hand: ``python -m catalog.raw fetch|put|days|verify|ledger|rehash``.

``fetch`` downloads from the exchange's archive and brings in, ``put`` brings files in, ``days`` lists what is
stored with content hashes, ``verify`` reads everything again. ``ledger`` tells what became of every file that was
brought, the refused ones too; ``rehash`` renews content hashes of the form of before 2026-11-25.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from strategies.errors import DataError
from strategies.startup import run_command


def _parser() -> argparse.ArgumentParser:
    from catalog.raw.kinds import KINDS  # noqa: PLC0415 - kept beside the other imports of the command

    parser = argparse.ArgumentParser(prog="python -m catalog.raw", description="Every row as its source gave it.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("fetch", "download days or months from the exchange's archive, checksums verified, and bring them in"),
        ("put", "bring CSV, CSV.gz or zip files in"),
        ("days", "list stored days with rows and content hash"),
        ("verify", "read stored days again and compare their hashes"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("kind", choices=sorted(KINDS), help="data type")
        command.add_argument("--symbol", required=True, help="venue symbol, for example XRPUSDT")
        command.add_argument("--interval", help="for klines of all kinds, for example 1m")
        command.add_argument("--root", type=Path, default=Path("var/raw"), help="the store (%(default)s)")
        command.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        if name == "fetch":
            command.add_argument("--period", nargs="+", required=True, help="months (2025-03) or days (2025-03-05)")
            command.add_argument("--into", type=Path, default=Path("var/archive"), help="downloads (%(default)s)")
            command.add_argument("--base-url", default="https://data.binance.vision", help="archive (%(default)s)")
            command.add_argument("--seconds", type=float, default=3600.0, help="for all downloads (%(default)s)")
        if name == "put":
            command.add_argument("--from", dest="paths", type=Path, nargs="+", required=True, metavar="PATH")
        if name in ("put", "fetch"):
            command.add_argument("--replace", action="store_true", help="the files win over stored rows that differ")
            command.add_argument(
                "--each",
                action="store_true",
                help="make every file visible once it is whole: an interrupted command, repeated, goes on from there",
            )
            command.add_argument("--quarantine", action="store_true", help="put bad rows aside, store the others")
            command.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="for another writer")
    for name, text in (
        ("ledger", "list every file that was brought and what became of it"),
        ("rehash", "give days stored before 2026-11-25 the present content hash; rows stay as they are"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--root", type=Path, default=Path("var/raw"), help="the store (%(default)s)")
        command.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        if name == "ledger":
            command.add_argument("--refused", action="store_true", help="only files that were refused")
    return parser


def _ledger(options: argparse.Namespace) -> int:
    import msgspec  # noqa: PLC0415 - --help stays fast

    from catalog.raw import ledger  # noqa: PLC0415 - as above

    found = [line for line in ledger.read(options.root) if not options.refused or line.state == "refused"]
    if options.json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(found)) + "\n")
        return 0
    for line in found:
        what = " ".join(part for part in (line.kind, line.symbol, line.interval) if part)
        reason = f": {line.reason}" if line.reason else ""
        sys.stdout.write(f"{line.at} {line.state:<11} {what}: {line.file} ({line.rows} rows){reason}\n")
    sys.stdout.write(f"{len(found)} files; {options.root}\n")
    return 0


def _rehash(options: argparse.Namespace) -> int:
    from catalog.raw.renewal import rehash  # noqa: PLC0415 - --help stays fast

    if not options.root.is_dir():
        raise DataError(f"{options.root}: no raw store: give --root")
    written, refused = rehash(options.root)
    if options.json:
        document = {"written": [str(file) for file in written], "damaged": [str(file) for file in refused]}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        sys.stdout.write(f"{len(written)} files are new; {options.root}\n")
    if refused:
        names = ", ".join(map(str, refused[:5]))
        raise DataError(f"{len(refused)} days have other rows than were stored, first {names}: bring them again")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    options = _parser().parse_args(arguments)
    if options.command in ("ledger", "rehash"):
        return (_ledger if options.command == "ledger" else _rehash)(options)
    from catalog.progress import progress  # noqa: PLC0415 - as above
    from catalog.raw import days as raw_days  # noqa: PLC0415 - --help stays fast
    from catalog.raw.writer import put, put_each  # noqa: PLC0415 - as above

    if options.command == "fetch":
        from catalog.archive import fetch, raw_path  # noqa: PLC0415 - as above

        wanted = [raw_path(options.kind, options.symbol, period, options.interval) for period in options.period]
        with progress("fetching", wanted=not options.json) as shown:
            options.paths = fetch(wanted, options.into, options.base_url, options.seconds, progress=shown)
    if options.command in ("put", "fetch"):
        with progress("storing", wanted=not options.json) as shown:
            report = (put_each if options.each else put)(
                options.paths,
                root=options.root,
                kind=options.kind,
                symbol=options.symbol,
                interval=options.interval,
                replace=options.replace,
                quarantine=options.quarantine,
                wait_seconds=options.wait,
                progress=shown,
            )
        if options.json:
            sys.stdout.write(json.dumps(asdict(report)) + "\n")
            return 0
        for path, rows in report.rows.items():
            sys.stdout.write(f"{path}: {rows} rows\n")
        for text in report.warnings:
            sys.stdout.write(f"note: {text}\n")
        for text in report.findings:
            sys.stdout.write(f"{text}\n")
        for kept, rows in report.quarantined.items():
            sys.stdout.write(f"quarantine: {rows} rows put aside in {kept}\n")
        sys.stdout.write(f"{len(report.written)} days written, {len(report.unchanged)} already there; {report.root}\n")
        return 0
    found = raw_days.days(options.root, options.kind, options.symbol, options.interval)
    if not found:
        raise DataError(
            f"{options.root}: no {options.kind} of {options.symbol}: `python -m catalog.raw put` brings them"
        )
    wrong = []
    if options.command == "verify":
        with progress("verifying", wanted=not options.json) as shown:
            shown.expect(sum(day.rows for day in found))
            for one, fault in raw_days.verified(found):
                wrong += [fault] if fault else []
                shown.advance(one.rows)
    listed = [{"day": day.day, "rows": day.rows, "sha256": day.sha256} for day in found]
    if options.json:
        document = {"days": listed, "sha256": raw_days.dataset_hash(found), "damaged": wrong}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        for day in listed if options.command == "days" else []:
            sys.stdout.write(f"{day['day']} {day['rows']:>10} {day['sha256']}\n")
        sys.stdout.write(f"{len(found)} days, {sum(d.rows for d in found)} rows, {raw_days.dataset_hash(found)}\n")
    if wrong:
        raise DataError("; ".join(wrong))
    return 0


if __name__ == "__main__":
    run_command(main)
