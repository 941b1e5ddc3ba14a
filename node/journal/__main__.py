"""Look into a journal: ``python -m node.journal show|counts|export`` (read-only, safe beside a running node)."""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from strategies.errors import JournalError
from strategies.startup import run_command

_KINDS = ("signal", "verdict", "approval", "order", "fill", "funding", "trade", "equity", "incident", "outcome")
_URL_VARIABLE = "ARGONAUT_JOURNAL_URL"


def main(arguments: list[str] | None = None) -> int:
    """
    Run the command.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    JournalError
        Fatal: no such journal, or it cannot be read.

    """
    options = _parser().parse_args(arguments)
    if not options.url:
        raise JournalError(f"no journal given: use --url or set {_URL_VARIABLE}")

    from node.journal import open_journal  # noqa: PLC0415 - --help must not wait for SQLAlchemy

    journal = open_journal(options.url, read_only=True)
    try:
        options.run(journal, options)
    finally:
        journal.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m node.journal", description="Look into a journal; never writes.")
    commands = parser.add_subparsers(required=True, metavar="show|counts|export")
    url_help = (
        f"sqlite:///file.sqlite or postgresql+psycopg://… (default: ${_URL_VARIABLE}, keeps passwords off screens)"
    )
    for name, run, what in (
        ("show", _show, "print the newest records as a table"),
        ("counts", _counts, "print how many records of each kind there are"),
        ("export", _export, "write records as JSON lines, oldest first, with their kind"),
    ):
        command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        command.set_defaults(run=run)
        command.add_argument("--url", default=os.environ.get(_URL_VARIABLE), help=url_help)
        if name != "counts":
            kind_help = "one kind of record" + (" (default: trade)" if name == "show" else " (default: all)")
            command.add_argument("--kind", choices=_KINDS, help=kind_help)
            command.add_argument("--symbol", help="only this venue symbol, such as XRPUSDT")
            command.add_argument("--start", type=_time, help="only from this market time on (ISO-8601, UTC if no zone)")
            command.add_argument("--end", type=_time, help="only before this market time")
        if name == "show":
            command.add_argument("--limit", type=_positive, default=50, help="newest records to show (default: 50)")
        if name == "export":
            command.add_argument("--out", metavar="FILE", help="write to FILE, in one step, instead of standard output")
        else:
            command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _time(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an ISO-8601 time") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _counts(journal: Any, options: argparse.Namespace) -> None:
    counts: dict[str, int] = journal.counts()
    if options.json:
        _print_json(counts)
        return
    _print_table(journal.label, ("kind", "records"), ([kind, str(count)] for kind, count in counts.items()))


def _show(journal: Any, options: argparse.Namespace) -> None:
    from node.journal.reader import kind_named  # noqa: PLC0415

    kind = kind_named(options.kind or "trade")
    records = journal.records(kind, symbol=options.symbol, start=options.start, end=options.end, limit=options.limit)
    if options.json:
        _print_json(records)
        return
    hidden = {"features"} if kind.kind == "incident" else {"features", "wall_time"}
    names = [name for name in kind.__struct_fields__ if name not in hidden]
    rows = ([_text(name, getattr(record, name)) for name in names] for record in records)
    _print_table(f"{journal.label}: newest {kind.kind} records", names, rows)


def _export(journal: Any, options: argparse.Namespace) -> None:
    lines = _lines(journal, options)
    if options.out is None:
        for line in lines:
            sys.stdout.write(line)
        return

    from pathlib import Path  # noqa: PLC0415
    from tempfile import NamedTemporaryFile  # noqa: PLC0415

    out = Path(options.out)
    try:
        with NamedTemporaryFile("w", encoding="utf-8", dir=out.parent, prefix=f".{out.name}.", delete=False) as file:
            partial = Path(file.name)
            try:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
                partial.replace(out)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
    except OSError as e:
        raise JournalError(f"{out}: cannot be written: {e}") from None


def _lines(journal: Any, options: argparse.Namespace) -> Iterator[str]:
    import msgspec  # noqa: PLC0415

    from node.journal.reader import kind_named  # noqa: PLC0415

    for kind in [options.kind] if options.kind else _KINDS:
        for record in journal.records(kind_named(kind), symbol=options.symbol, start=options.start, end=options.end):
            yield f"{msgspec.json.encode(record).decode()}\n"


def _print_json(value: Any) -> None:
    import msgspec  # noqa: PLC0415

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def _print_table(title: str, names: Iterable[str], rows: Iterable[list[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*names, title=Text(title))
    for row in rows:
        table.add_row(*map(Text, row))  # Text: recorded words must not be read as markup
    # A pipe has no width: without one, every value is printed in full.
    Console(width=None if sys.stdout.isatty() else 400).print(table)


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name.endswith("_time"):
        return datetime.fromtimestamp(value // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.8g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run_command(main)
