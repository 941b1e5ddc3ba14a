"""
Recordings by hand: ``python -m catalog.recorded days|merge|replay``.

``days`` lists the tape, ``merge`` takes closed segments into tape and raw store, ``replay`` writes a range as a
Nautilus catalog that ``BacktestNode`` plays in the order it was heard.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from strategies.errors import DataError
from strategies.startup import run_command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m catalog.recorded", description="What a recorder heard.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("days", "list the days of the tape with records and content hash"),
        ("merge", "take closed segments into the tape and their rows into the raw store"),
        ("replay", "write a range as a Nautilus catalog in the order it was heard"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--root", type=Path, default=Path("var/recording"), help="recording (%(default)s)")
        command.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        if name == "merge":
            command.add_argument("--raw", type=Path, default=Path("var/raw"), help="the raw store (%(default)s)")
            command.add_argument("--no-raw", action="store_true", help="only the tape")
            command.add_argument(
                "--gently",
                action="store_true",
                help="beside a running node: with a low priority, and of the day under way only what is worth it",
            )
            command.add_argument("--wait", type=float, default=600.0, metavar="SECONDS", help="for another writer")
        if name == "replay":
            command.add_argument("--catalog", type=Path, required=True, help="an empty directory to write")
            command.add_argument("--start", help="UTC time of arrival")
            command.add_argument("--end", help="UTC time of arrival, excluded")
            command.add_argument("--instruments", type=Path, help="figures (default: those that come with the project)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    options = _parser().parse_args(arguments)
    from catalog.raw import days as raw_days  # noqa: PLC0415 - --help stays fast
    from catalog.recording import tape  # noqa: PLC0415 - as above

    document: dict[str, Any]
    if options.command == "merge":
        if options.gently:
            os.nice(10)
        raw = None if options.no_raw else options.raw
        done = tape.merge(options.root, raw, patient=options.gently, wait_seconds=options.wait)
        document = asdict(done)
        lines = [f"{done.segments} segments, {done.records} records, {len(done.days)} days written; {options.root}"]
        lines += [f"note: {note}" for note in done.notes]
    elif options.command == "days":
        found = tape.days(options.root)
        document = {
            "days": [{"day": d.day, "records": d.rows, "sha256": d.sha256} for d in found],
            "sha256": raw_days.dataset_hash(found),
        }
        lines = [f"{d.day} {d.rows:>10} {d.sha256}" for d in found]
        lines.append(f"{len(found)} days, {sum(d.rows for d in found)} records, {document['sha256']}")
    else:
        document = {"catalog": str(options.catalog), "events": _replay(options)}
        lines = [f"{name}: {count}" for name, count in document["events"].items()] + [str(options.catalog)]
    sys.stdout.write((json.dumps(document) if options.json else "\n".join(lines)) + "\n")
    return 0


def _replay(options: argparse.Namespace) -> dict[str, int]:
    from catalog.instruments import DEFAULT_PATH, find, load_instruments, to_nautilus  # noqa: PLC0415 - --help stays fast
    from catalog.recording import tape  # noqa: PLC0415 - as above
    from catalog.recording.events import write_catalog  # noqa: PLC0415 - as above

    start, end = (_time_ns(text, name) for text, name in ((options.start, "--start"), (options.end, "--end")))
    if options.catalog.exists() and any(options.catalog.iterdir()):
        raise DataError(f"{options.catalog}: is not empty: choose another directory for --catalog")
    symbols = sorted(
        {e.stream.replace("#", "@").partition("@")[0].upper() for e in tape.entries(options.root, start, end)} - {""}
    )
    if not symbols:
        raise DataError(f"{options.root}: nothing was heard in the range: see `python -m catalog.recorded days`")
    path = options.instruments or DEFAULT_PATH
    specs = load_instruments(path)
    instruments = {symbol: to_nautilus(find(specs, symbol, str(path))) for symbol in symbols}
    beside = options.catalog.with_name(f".{options.catalog.name}.part")
    counts = write_catalog(tape.entries(options.root, start, end), beside, instruments)
    if options.catalog.exists():
        options.catalog.rmdir()
    beside.replace(options.catalog)
    return counts


def _time_ns(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"{option}: {text!r} is not a UTC date or time such as 2025-03-01T08:00") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return round(moment.timestamp() * 1_000_000) * 1_000


if __name__ == "__main__":
    run_command(main)
