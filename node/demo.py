"""
``python -m node.demo`` (``make run``): the main job from nothing to a readable result, step by step.

Market data → model → backtest → live node on the simulated venue → comparison of the two. Each step is an ordinary
command, shown before it runs, so that it can be repeated by hand. Exit code 0 only if every step succeeded.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from strategies.startup import run_command

_ROOT = Path(__file__).resolve().parent.parent


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m node.demo",
        description="Run everything once on real or synthetic data: no keys, no money, no network needed.",
    )
    p.add_argument("--config", type=Path, default=_ROOT / "config" / "demo.yaml", metavar="FILE", help="configuration")
    p.add_argument(
        "--train", type=Path, default=_ROOT / "config" / "train.yaml", metavar="FILE", help="training configuration"
    )
    p.add_argument("--out", type=Path, default=Path("var/demo"), metavar="DIR", help="results (%(default)s)")
    p.add_argument(
        "--source", default="auto", choices=("auto", "env", "shared", "archive", "synthetic"), help="market data"
    )
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    from node.config import load_config  # noqa: PLC0415 - keeps --help fast

    config = load_config(args.config)
    catalog, model = ["--catalog", config.catalog], config.gate.model_dir
    backtest, live = args.out / "backtest.json", args.out / "live.json"
    steps = [
        ("Market data", ["catalog.sample", *catalog, "--source", args.source]),
        ("Train the gate's model", ["research.train", "--config", str(args.train), *catalog, "--out", model]),
        ("Backtest", ["node.backtest", "--config", str(args.config), "--json", str(backtest)]),
        ("Live node on the simulated venue", ["node.live", "--config", str(args.config), "--json", str(live)]),
        ("Live = backtest?", ["node.parity", "--backtest", str(backtest), "--live", str(live)]),
    ]
    # What the demonstration tries is no study of anybody's: it stays out of the ledger that deflates real ones.
    environment = {"ARGONAUT_TRIALS": str(args.out / "trials.jsonl")} | os.environ
    began = time.monotonic()
    for number, (title, command) in enumerate(steps, 1):
        sys.stdout.write(f"\n[{number}/{len(steps)}] {title}\n    python -m {' '.join(command)}\n")
        sys.stdout.flush()
        code = subprocess.run([sys.executable, "-m", *command], env=environment, check=False).returncode
        if code != 0:
            sys.stdout.write(f"\nstep {number} ({title}) failed with exit code {code}\n")
            return code
    sys.stdout.write(f"\nDone in {time.monotonic() - began:.0f} s. Results: {backtest}, {live}, {config.journal}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
