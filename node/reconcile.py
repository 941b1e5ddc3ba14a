"""
``python -m node.reconcile``: compare the venue's account with the journal by hand, with or without a running node.

What the auditor does beside a node, once: two looks, so that what was on its way does not count. Orders of ours that
protect nothing are cancelled unless ``--dry-run`` is given; everything else is told with its remedy. Exit code 0: no
difference (any more); 1: differences, one line each; 2: a mistake in options, configuration, journal or account.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from strategies.startup import run_command

if TYPE_CHECKING:
    from node.audit.compare import Difference, Kind
    from node.binance.rest import BinanceRest
    from node.config import NodeConfig
    from node.journal import Journal

_BETWEEN_LOOKS_SECS = 1.0


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m node.reconcile", description="Compare the venue's positions and orders with the journal."
    )
    p.add_argument("--config", required=True, type=Path, metavar="FILE", help="node configuration (YAML)")
    p.add_argument("--venue-url", metavar="URL", help="address of a running simulated venue")
    p.add_argument("--journal", metavar="URL", help="journal database (default: the configuration's)")
    p.add_argument("--dry-run", action="store_true", help="change nothing at the venue")
    p.add_argument("--json", action="store_true", help="print JSON")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    import asyncio  # noqa: PLC0415 - keeps --help fast

    import msgspec  # noqa: PLC0415

    from node.config import load_config  # noqa: PLC0415
    from node.journal import open_journal  # noqa: PLC0415

    config = load_config(args.config)
    journal = open_journal(args.journal or config.journal, read_only=True)
    try:
        found, repaired = asyncio.run(_reconcile(config, journal, args.venue_url, dry_run=args.dry_run))
    finally:
        journal.close()
    left = [d for d in found if d not in repaired and not d.harmless]
    if args.json:
        rows = [_row(d, repaired) for d in found]
        sys.stdout.write(msgspec.json.encode({"clean": not left, "differences": rows}).decode() + "\n")
    else:
        print_differences(found, repaired, sys.stdout, checked=config.symbols)
    return 1 if left else 0


async def _reconcile(
    config: "NodeConfig", journal: "Journal", venue_url: str | None, *, dry_run: bool
) -> tuple[list["Difference"], list["Difference"]]:
    from node.binance.rest import BinanceRest  # noqa: PLC0415 - keeps --help fast
    from node.environments import environment_of  # noqa: PLC0415
    from strategies.errors import ConfigError  # noqa: PLC0415

    if config.environment in ("venue", "paper") and venue_url is None:
        raise ConfigError(f"--venue-url: environment {config.environment} is a simulated venue: name the running one")
    environment = environment_of(config, venue_url)
    try:
        settings = environment.settings(await environment.open())
        resolved = settings.resolved()
        async with BinanceRest(
            resolved.base_url_http or "",
            api_key=resolved.api_key,
            api_secret=resolved.api_secret,
            timeout_secs=settings.http_timeout_secs,
        ) as rest:
            return await reconcile(rest, journal, config.symbols, dry_run=dry_run)
    finally:
        await environment.close()


async def reconcile(
    rest: "BinanceRest", journal: "Journal", symbols: Sequence[str], *, dry_run: bool
) -> tuple[list["Difference"], list["Difference"]]:
    """
    Return the differences seen twice, and those of them that were repaired.

    Raises
    ------
    VenueRequestError
        Propagate: the venue cannot be asked.

    """
    import asyncio  # noqa: PLC0415 - keeps --help fast

    from node.audit.auditor import cancel  # noqa: PLC0415
    from node.audit.compare import Kind, compare  # noqa: PLC0415
    from node.audit.snapshot import JournalBooks, venue_state  # noqa: PLC0415

    books = JournalBooks(journal, symbols)
    since = books.since_ms

    async def look() -> tuple[list["Difference"], Any]:
        venue = await venue_state(rest, symbols, trades_since_ms=since)
        return compare(venue, symbols, journal=books.state()), venue

    first, venue = await look()
    if not first:
        return [], []
    await asyncio.sleep(_BETWEEN_LOOKS_SECS)
    second, venue = await look()
    seen = {d.key for d in first}
    found = [d for d in second if d.key in seen]
    repaired = []
    if not dry_run:
        repaired = [d for d in found if d.kind is Kind.ORPHAN_ORDER and await cancel(rest, d, venue)]
    return found, repaired


def print_differences(
    found: Sequence["Difference"], repaired: Sequence["Difference"], out: TextIO, *, checked: Sequence[str]
) -> None:
    """Print the result for a person."""
    from rich.console import Console  # noqa: PLC0415 - keeps --help fast
    from rich.table import Table  # noqa: PLC0415

    console = Console(file=out, highlight=False, width=None if out.isatty() else 160)
    if not found:
        console.print(f"no differences: {', '.join(checked)}")
        return
    table = Table("what", "found", "done or to do")
    for d in found:
        table.add_row(d.kind.value, d.text, "cancelled" if d in repaired else remedy(d.kind, harmless=d.harmless))
    console.print(table)


def remedy(kind: "Kind", *, harmless: bool) -> str:
    """Return what a person should do about a difference."""
    if harmless:
        return "nothing: it can only reduce a position"
    return {
        "position_mismatch": "restart the node: it reads the venue's state",
        "missing_stop": "start the node: it protects what it finds; or place a stop, or close the position, by hand",
        "wrong_size_stop": "start the node: it replaces the stop; or correct it by hand",
        "orphan_order": "run again without --dry-run: it is cancelled",
        "foreign_order": "cancel it, or let the node be: it could open a position the node did not decide on",
        "foreign_position": "close it or give it an account of its own: it shares this one's margin",
        "journal_gap": "start the node: it fetches missing trades; if the gap stays, the journal is another account's",
    }[kind.value]


def _row(difference: "Difference", repaired: Sequence["Difference"]) -> dict[str, Any]:
    return {
        "kind": difference.kind.value,
        "symbol": difference.symbol,
        "order": difference.order,
        "harmless": difference.harmless,
        "repaired": difference in repaired,
        "text": difference.text,
        "remedy": remedy(difference.kind, harmless=difference.harmless),
    }


if __name__ == "__main__":
    run_command(main)
