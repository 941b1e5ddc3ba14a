"""
``python -m node.watchdog``: watch a node from outside.

Kills it when its event loop hangs (the supervisor starts it again), closes a position that nobody protects, flattens
and latches after repeated failures. Ends on SIGTERM with exit code 0; 2 for a mistake in the configuration.
"""

import argparse
import os
import sys
from pathlib import Path

from strategies.startup import run_command


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m node.watchdog", description="Watch a live node from outside; see docs/operations.md."
    )
    p.add_argument("--config", required=True, type=Path, metavar="FILE", help="node configuration (YAML)")
    p.add_argument("--venue-url", metavar="URL", help="address of a simulated venue (default: as the node tells)")
    p.add_argument("--run-dir", type=Path, metavar="DIR", help="run directory (default: the configuration's)")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    import asyncio  # noqa: PLC0415 - keeps --help fast

    from node.config import load_config  # noqa: PLC0415
    from node.watchdog.watch import watch  # noqa: PLC0415

    config = load_config(args.config)
    asyncio.run(watch(config, os.environ, venue_url=args.venue_url, run_dir=args.run_dir, out=sys.stdout))
    return 0


if __name__ == "__main__":
    run_command(main)
