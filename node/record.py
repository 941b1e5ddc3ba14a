"""
``python -m node.record``: record the live market without trading. No key is needed.

Ends with SIGINT or SIGTERM. Exit code 1 when records were dropped or could not be written.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from strategies.startup import run_command


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(prog="python -m node.record", description="Record the live market without trading.")
    p.add_argument("--config", required=True, type=Path, metavar="FILE", help="what to record (YAML)")
    p.add_argument("--json", action="store_true", help="print one JSON document at the end")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    from node.recording.config import RecordConfig, checked  # noqa: PLC0415 - keeps --help fast
    from strategies.yaml_config import load_yaml  # noqa: PLC0415

    config = checked(load_yaml(args.config, RecordConfig))
    from node.recording.run import run_recorder  # noqa: PLC0415

    done = asyncio.run(run_recorder(config))
    if args.json:
        sys.stdout.write(json.dumps(done) + "\n")
    else:
        sys.stdout.write(f"{done['committed']} records, {done['dropped']} dropped; {config.record.directory}\n")
    return 1 if done["dropped"] or done["waiting"] else 0


if __name__ == "__main__":
    run_command(main)
