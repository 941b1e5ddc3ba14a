"""``python -m node.paper``: the paper venue as a process of its own."""

import argparse
import asyncio
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from strategies.startup import run_command

if TYPE_CHECKING:
    from node.paper.config import PaperConfig


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m node.paper",
        description="A paper account: the exchange's live public data, orders matched on this machine, books kept in a "
        "file. Prints one JSON line with its URLs when ready; ends on SIGTERM or SIGINT.",
    )
    parser.add_argument("--config", type=Path, default=Path("config/paper-venue.yaml"), help="configuration file")
    parser.add_argument("--port", type=int, default=None, help="port to listen on (default: the configured one)")
    parser.add_argument("--state", default=None, metavar="FILE", help="books of the account (default: the configured)")
    return parser


def main() -> int:
    """Run the paper venue until it is told to stop; return the exit code."""
    arguments = _parser().parse_args()
    import msgspec  # noqa: PLC0415 - `--help` must not load the world

    from node.paper.config import PaperConfig  # noqa: PLC0415
    from strategies.yaml_config import load_yaml  # noqa: PLC0415

    config = load_yaml(arguments.config, PaperConfig)
    changes = {"port": arguments.port, "state": arguments.state}
    config = msgspec.structs.replace(config, **{k: v for k, v in changes.items() if v is not None})
    return asyncio.run(_serve(config))


async def _serve(config: "PaperConfig") -> int:
    from catalog.instruments import DEFAULT_PATH, find, load_instruments  # noqa: PLC0415
    from node.paper.market import LiveFeed, Mirror  # noqa: PLC0415
    from node.paper.state import seen_of  # noqa: PLC0415
    from node.paper.upstream import upstream_of  # noqa: PLC0415
    from node.venue.app import Server  # noqa: PLC0415
    from node.venue.feed import interval_ms  # noqa: PLC0415
    from node.venue.instruments import instrument_of  # noqa: PLC0415
    from node.venue.state import Keeper, restore  # noqa: PLC0415
    from node.venue.venue import Venue  # noqa: PLC0415

    path = Path(config.state)
    seen = seen_of(path)
    specs = load_instruments(DEFAULT_PATH)
    instruments = {s: instrument_of(find(specs, s, str(DEFAULT_PATH)), config.execution) for s in config.symbols}
    upstream = upstream_of(config)
    try:
        await upstream.check_instruments(instruments)
        bars = {s: await upstream.history(s) for s in config.symbols}
        funding = {s: await upstream.settlements(s) for s in config.symbols}
        prices = {s: await upstream.price(s) for s in config.symbols}
    except BaseException:
        await upstream.stop()
        raise
    # A restart takes up where the books end: bars that closed meanwhile are walked, so what they reached is hit.
    step = interval_ms(config.interval)
    newest_ms = max(rows[-1].open_ms for rows in bars.values()) + step
    start_ms, market_ms = (newest_ms, newest_ms) if seen is None else seen
    feed = LiveFeed(
        instruments,
        {s: [b for b in rows if b.open_ms + step <= market_ms] for s, rows in bars.items()},
        config.interval,
        start_ms,
        {s: [row for row in rows if row[0] <= market_ms] for s, rows in funding.items()},
    )
    venue = Venue(config.venue(), instruments, feed)
    path.parent.mkdir(parents=True, exist_ok=True)
    restore(venue, path)
    venue.keeper = Keeper(venue, path)
    mirror = Mirror(venue, feed)
    for symbol in config.symbols:
        mirror.catch_up(symbol, [b for b in bars[symbol] if b.open_ms + step > market_ms])
        venue.engine.set_price(symbol, prices[symbol])
    venue.keep()
    server = Server(venue)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, venue.stopping.set)
    await server.start()
    upstream.start(mirror, {s: rows[-1].open_ms for s, rows in bars.items()})
    print(json.dumps(server.urls()), flush=True)
    await venue.stopping.wait()
    await upstream.stop()
    await server.stop()
    venue.keep()
    return 0


if __name__ == "__main__":
    run_command(main)
