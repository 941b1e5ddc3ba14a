"""
Fetch what the raw store lacks from the exchange's REST interface: ``python -m catalog.backfill``.

Every run looks for holes and fetches those, so it tops up, fills gaps and goes on after a kill alike. exchangeInfo is
stored, dated, whenever it has changed.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from strategies.errors import ConfigError
from strategies.startup import run_command

KINDS = (
    *("klines", "mark_klines", "index_klines", "premium_klines", "agg_trades", "funding", "open_interest", "ratios"),
)
_WITH_INTERVAL = frozenset({"klines", "mark_klines", "index_klines", "premium_klines"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m catalog.backfill", description="Fetch what the raw store lacks from the exchange."
    )
    parser.add_argument("kinds", nargs="+", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--symbol", nargs="+", required=True, help="venue symbols, for example XRPUSDT")
    parser.add_argument("--interval", nargs="+", default=["15m"], help="for klines of all kinds (15m)")
    parser.add_argument("--start", required=True, help="UTC date or time, for example 2025-03-01")
    parser.add_argument("--end", help="UTC, excluded; default: what is finished now")
    parser.add_argument("--root", type=Path, default=Path("var/raw"), help="the raw store (%(default)s)")
    parser.add_argument("--base-url", default="https://fapi.binance.com", help="the exchange (%(default)s)")
    parser.add_argument("--weight-share", type=float, default=0.5, help="of the exchange's weight (%(default)s)")
    parser.add_argument("--longest-silence", type=float, default=900.0, metavar="SECONDS", help="(%(default)s)")
    parser.add_argument("--replace", action="store_true", help="fetched rows win over stored rows that differ")
    parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="for another writer (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    options = _parser().parse_args(arguments)
    start, end = _time_ms(options.start, "--start"), _time_ms(options.end, "--end") if options.end else None
    if end is not None and end <= start:
        raise ConfigError("--end: must lie after --start")
    if start >= time.time_ns() // 1_000_000:
        raise ConfigError(f"--start: {options.start} lies in the future")
    if not 0 < options.weight_share <= 1:
        raise ConfigError(f"--weight-share: {options.weight_share} is not above 0 and at most 1")
    document = asyncio.run(_run(options, start, end))
    if options.json:
        sys.stdout.write(json.dumps(document) + "\n")
        return 0
    for row in document["series"]:
        name = " ".join(x for x in (row["kind"], row["symbol"], row["interval"]) if x)
        sys.stdout.write(f"{name}: {row['rows']} rows fetched, {len(row['days'])} days written\n")
        for note in row["notes"]:
            sys.stdout.write(f"note: {name}: {note}\n")
        for low, high in row["missing"][:10]:
            sys.stdout.write(f"note: {name}: the exchange has nothing from {low} to {high}\n")
        if len(row["missing"]) > 10:
            sys.stdout.write(f"note: {name}: {len(row['missing']) - 10} further holes the exchange does not fill\n")
    if document["exchange_info"]:
        sys.stdout.write(f"exchangeInfo has changed: {document['exchange_info']}\n")
    sys.stdout.write(f"{document['requests']} requests; {options.root}\n")
    return 0


async def _run(options: argparse.Namespace, start: int, end: int | None) -> dict[str, Any]:
    from catalog.instruments import interval_ns  # noqa: PLC0415 - --help stays fast
    from catalog.rest import exchange_info  # noqa: PLC0415 - as above
    from catalog.rest.client import PublicRest  # noqa: PLC0415 - as above
    from catalog.rest.fetch import Backfill  # noqa: PLC0415 - as above

    for interval in options.interval:
        interval_ns(interval)
    wanted = [
        (kind, symbol, interval)
        for symbol in dict.fromkeys(options.symbol)
        for kind in dict.fromkeys(options.kinds)
        for interval in (dict.fromkeys(options.interval) if kind in _WITH_INTERVAL else (None,))
    ]
    with _progress() as progress:
        rest = PublicRest(
            options.base_url,
            weight_share=options.weight_share,
            longest_silence_secs=options.longest_silence,
            say=lambda text: progress.console.print(text, highlight=False),
        )
        async with rest:
            info = await rest.open()
            known = {row["symbol"] for row in info["symbols"]}
            for symbol in options.symbol:
                if symbol not in known:
                    raise ConfigError(f"--symbol: {symbol} is not traded at {options.base_url}")
            changed = exchange_info.keep(options.root, info, rest.now_ms())
            done = []
            for kind, symbol, interval in wanted:
                span = (end or rest.now_ms()) - start
                task = progress.add_task(" ".join(x for x in (kind, symbol, interval) if x), total=span)
                filler = Backfill(
                    rest,
                    options.root,
                    replace=options.replace,
                    advance=lambda ms, task=task: progress.advance(task, ms),  # type: ignore[misc]
                    wait_seconds=options.wait,
                )
                done.append(await filler.series(kind, symbol, interval, start, end))
                progress.update(task, completed=span)
    return {
        "root": str(options.root),
        "requests": rest.requests,
        "waits": rest.waits,
        "exchange_info": str(changed) if changed else None,
        "series": [asdict(row) for row in done],
    }


def _progress() -> Any:
    from rich.console import Console  # noqa: PLC0415 - --help stays fast
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - as above

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _time_ms(text: str, option: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option}: {text!r} is not a UTC date or time such as 2025-03-01") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return round(moment.timestamp() * 1000)


if __name__ == "__main__":
    run_command(main)
