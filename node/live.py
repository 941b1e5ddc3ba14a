"""
``python -m node.live``: run the live node.

With ``environment: venue`` it starts the simulated venue itself (or attaches to one with ``--venue-url``), runs the
whole chain on the replay and ends by itself with a summary. Exit code 0 only if every invariant held, 1 if one did not
or the node could not run (the exchange, a Redis that is required or the journal's server does not answer, too), 2 for a
mistake in the configuration.
"""

import argparse
import asyncio
import gc
import sys
from pathlib import Path

from strategies.errors import UnavailableError, VenueError
from strategies.startup import run_command

_SWITCH_SECS = 0.0005


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m node.live", description="Run the live node on the exchange or on the simulated venue."
    )
    p.add_argument("--config", required=True, type=Path, metavar="FILE", help="node configuration (YAML)")
    p.add_argument("--venue-url", metavar="URL", help="attach to a running simulated venue, e.g. http://127.0.0.1:8899")
    p.add_argument("--catalog", type=Path, metavar="DIR", help="parquet catalog (default: the configuration's)")
    p.add_argument("--journal", metavar="URL", help="journal database (default: the configuration's)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the summary to FILE")
    p.add_argument(
        "--flatten-on-stop", action="store_true", help="close every position when told to stop (else stops stay)"
    )
    p.add_argument("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), help="log level of the node")
    return p


def _hurry() -> None:
    """
    Make the start short: every second of it is one that a position found unprotected waits.

    The collector finds nothing in what is being imported (`node.restored.settle_memory` wakes it); the engine's charts,
    which a node never draws, load as if plotly were not installed. And the journal's writer must not keep the event
    loop from an order for Python's usual 5 ms.
    """
    gc.disable()
    sys.modules.setdefault("plotly", None)  # type: ignore[arg-type]  # None is how an import is refused
    sys.setswitchinterval(_SWITCH_SECS)


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    _hurry()
    import msgspec  # noqa: PLC0415 - keeps --help fast

    from node.config import load_config  # noqa: PLC0415

    config = load_config(args.config)
    changes = {"catalog": args.catalog and str(args.catalog), "journal": args.journal, "log_level": args.log_level}
    config = msgspec.structs.replace(config, **{k: v for k, v in changes.items() if v is not None})
    replays = config.environment == "venue"
    if replays:
        from trials import ready  # noqa: PLC0415 - no other environment tries anything

        ready()
    from node.live_run import run_live  # noqa: PLC0415
    from node.live_summary import print_summary  # noqa: PLC0415
    from node.report import write_file  # noqa: PLC0415

    import uvloop  # noqa: PLC0415  # isort: skip

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            summary = runner.run(run_live(config, args.venue_url, flatten_on_stop=args.flatten_on_stop))
    except (VenueError, UnavailableError) as e:
        # No mistake of the configuration: a supervisor shall try again, which it does not after a code of 2.
        sys.stderr.write(f"error: {' '.join(str(e).split())}\n")
        return 1
    if replays and summary.failure is None and summary.stopped_by is None:
        from node.replayed import record_replay  # noqa: PLC0415 - as above

        record_replay(config, summary, sys.argv[1:] if argv is None else argv, args.json)
    print_summary(summary, sys.stdout)
    if args.json is not None:
        write_file(args.json, msgspec.json.format(msgspec.json.encode(summary), indent=1))
    return 0 if summary.passed else 1


if __name__ == "__main__":
    run_command(main)
