"""
``python -m node.cli``, installed as ``argonaut``: control a live node, or its account when the node does not answer.

A command goes to the node over HTTP; if that fails, as a file into its run directory; if nobody takes that, ``flatten``
and ``kill`` act at the venue directly, and ``kill`` and ``pause`` are left for the next start. Exit code 0: done;
1: not done (one line says what is left); 2: a mistake in command or configuration.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node.control.quick import DOOR_COMMANDS, give, user_name
from strategies.errors import ConfigError
from strategies.startup import run_command

if TYPE_CHECKING:
    from node.control.access import AccountConfig

CLOSING = ("flatten", "kill")

COMMANDS = {
    "status": "what the node says of itself, and what the venue holds",
    "pause": "no new entries until resume; stops, targets and exits go on",
    "resume": "end a pause",
    "flatten": "cancel entries and close positions; entries stay allowed",
    "kill": "flatten, and no entries until rearm",
    "rearm": "clear kill switches",
    "stop": "end the node; its stops stay at the venue (with --flatten: close everything first)",
    "doctor": "examine account, configuration and machine",
    "reconcile": "compare the venue with the journal; cancel orphans (not with --dry-run)",
}


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m node.cli",
        description="Control a live node, or its account when the node does not answer.",
        epilog="commands: " + "; ".join(f"{name}: {text}" for name, text in COMMANDS.items()),
    )
    p.add_argument("command", nargs="?", default="status", choices=tuple(COMMANDS), metavar="COMMAND")
    p.add_argument("symbol", nargs="?", metavar="SYMBOL", help="for one symbol only, e.g. XRPUSDT")
    p.add_argument("--config", required=True, type=Path, metavar="FILE", help="node configuration (YAML)")
    p.add_argument("--venue-url", metavar="URL", help="address of a simulated venue (default: as the node tells)")
    p.add_argument("--run-dir", type=Path, metavar="DIR", help="run directory (default: the configuration's)")
    p.add_argument("--who", metavar="NAME", help="who gives the command, for the journal (default: the user's name)")
    p.add_argument("--flatten", action="store_true", help="with stop: close every position first")
    p.add_argument("--direct", action="store_true", help="with flatten or kill: do not ask the node, act at the venue")
    p.add_argument("--dry-run", action="store_true", help="with reconcile: change nothing at the venue")
    p.add_argument("--json", action="store_true", help="print JSON")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    if args.command == "reconcile":
        from node import reconcile  # noqa: PLC0415 - keeps --help fast

        options = ["--config", str(args.config), *(["--venue-url", args.venue_url] if args.venue_url else [])]
        return reconcile.main([*options, *(["--dry-run"] if args.dry_run else []), *(["--json"] if args.json else [])])
    answer = None
    if args.command in DOOR_COMMANDS and not args.direct and not args.flatten:
        answer = give(args.command, args.symbol, args.who or user_name(), args.config, args.run_dir)
        if answer is not None and args.command not in CLOSING:
            return _tell(answer, as_json=args.json)
    import asyncio  # noqa: PLC0415 - keeps --help fast, and a command ahead of what it loads

    if args.command in CLOSING:
        from node.control.config import load_control_config  # noqa: PLC0415 - the whole takes seconds to load

        return asyncio.run(_give(args, load_control_config(args.config), answer))
    from node.config import load_config  # noqa: PLC0415

    config = load_config(args.config)
    if args.command == "doctor":
        if args.venue_url is not None and config.environment == "live":
            # Else the stamp that lets the node trade real money would tell of another account.
            raise ConfigError("doctor: --venue-url: with environment: live the exchange itself is examined")
        from node.doctor.command import run_doctor  # noqa: PLC0415

        return asyncio.run(
            run_doctor(
                config,
                os.environ,
                venue_url=args.venue_url,
                run_dir=args.run_dir,
                as_json=args.json,
                out=sys.stdout,
            )
        )
    return asyncio.run(_give(args, config, answer))


async def _give(args: argparse.Namespace, config: "AccountConfig", answer: dict[str, Any] | None) -> int:
    from node.control.client import ControlClient  # noqa: PLC0415

    client = ControlClient(config, os.environ, venue_url=args.venue_url, run_dir=args.run_dir, who=args.who)
    if args.command == "status":
        return await client.status(as_json=args.json, out=sys.stdout)
    return await client.give(
        args.command,
        args.symbol,
        flatten_first=args.flatten,
        direct=args.direct,
        answer=answer,
        as_json=args.json,
        out=sys.stdout,
    )


def _tell(answer: dict[str, Any], *, as_json: bool) -> int:
    """Print a node's answer to a command that needs no look at the venue."""
    if "error" in answer:
        raise ConfigError(str(answer["error"]))
    sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\n" if as_json else f"{answer['detail']}\n")
    return 0 if answer["done"] else 1


def command() -> None:
    """Run as the installed ``argonaut``."""
    run_command(main)


if __name__ == "__main__":
    run_command(main)
