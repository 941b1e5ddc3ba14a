"""``python -m node.venue``: the simulated venue as a process of its own."""

import argparse
import asyncio
import json
import signal
from pathlib import Path

from strategies.startup import run_command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m node.venue",
        description="A local Binance USD-M futures venue: real REST and WebSocket protocol, replayed market data. "
        "Prints one JSON line with its URLs when ready; ends on SIGTERM, SIGINT or the control action `shutdown`.",
    )
    parser.add_argument("--config", type=Path, default=Path("config/venue.yaml"), help="configuration file")
    parser.add_argument("--port", type=int, default=None, help="port to listen on (default: the configured one)")
    parser.add_argument("--catalog", default=None, help="market-data catalog (default: the configured one)")
    parser.add_argument("--start", default=None, help="first bar to replay, ISO-8601 (default: the configured one)")
    parser.add_argument("--end", default=None, help="end of the replay, exclusive (default: the configured one)")
    parser.add_argument("--speed", type=float, default=None, help="bars per second and symbol, 0 is unpaced")
    parser.add_argument("--state", type=Path, default=None, help="file that keeps the books across restarts")
    parser.add_argument("--scenario", type=Path, default=None, help="YAML file of faults and interventions to run")
    return parser


def main() -> int:
    """Run the venue until it is told to stop; return the exit code."""
    arguments = _parser().parse_args()
    from node.venue.config import VenueConfig  # noqa: PLC0415 - `--help` must not load the world
    from node.venue.loader import load_feed  # noqa: PLC0415
    from strategies.yaml_config import convert, read_yaml  # noqa: PLC0415

    tree = read_yaml(arguments.config) or {}
    if isinstance(tree, dict):
        _override(tree, arguments)
    config = convert(tree, VenueConfig, str(arguments.config))
    steps = read_yaml(arguments.scenario) if arguments.scenario is not None else None
    instruments, feed = load_feed(config)

    async def serve() -> int:
        from node.venue.app import Server  # noqa: PLC0415
        from node.venue.venue import Venue  # noqa: PLC0415

        venue = Venue(config, instruments, feed)
        if arguments.state is not None:
            from node.venue.state import Keeper, restore  # noqa: PLC0415

            arguments.state.parent.mkdir(parents=True, exist_ok=True)
            restore(venue, arguments.state)
            venue.keeper = Keeper(venue, arguments.state)
        server = Server(venue)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, venue.stopping.set)
        await server.start()
        if steps is not None:
            from node.venue.control import begin_scenario  # noqa: PLC0415

            begin_scenario(venue, steps, str(arguments.scenario))
        print(json.dumps(server.urls()), flush=True)
        await venue.stopping.wait()
        await server.stop()
        return 0

    return asyncio.run(serve())


def _override(tree: dict[str, object], arguments: argparse.Namespace) -> None:
    if arguments.port is not None:
        tree["port"] = arguments.port
    for section, name in (("data", "catalog"), ("data", "start"), ("data", "end"), ("replay", "speed")):
        value = getattr(arguments, name)
        if value is None:
            continue
        part = tree.setdefault(section, {})
        if isinstance(part, dict):
            part[name] = value


if __name__ == "__main__":
    run_command(main)
