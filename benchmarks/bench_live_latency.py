"""
How quick and how heavy the live node is. Run: ``python benchmarks/bench_live_latency.py [--days 20]``.

The production node runs against the venue in a process of its own; ratios are to what the machine itself takes in the
same run: a bare HTTP round trip to that venue and the start of a bare interpreter with Nautilus imported. Only figures
of an idle machine say whether a target is met: the load is printed beside them. ``time on the core`` does not count
what other processes took from the event loop.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import live_runs  # noqa: E402 - needs the repository on the path
from benchmarks.live_runs import Row  # noqa: E402 - as above
from catalog.sample import prepare  # noqa: E402 - as above

PARTS = ("long", "process", "gated", "starts", "restart", "kill", "dead")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=20, help="simulated days of the long runs")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="measure these parts only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        market = directory / "catalog"
        shared = ROOT.parent / "shared" / "data"
        prepare(
            market, source="env" if os.environ.get("ARGONAUT_DATA") else "shared" if shared.is_dir() else "synthetic"
        )
        bare = live_runs.bare_start()
        parts: dict[str, Callable[[Path], list[Row]]] = {
            "long": lambda d: [
                Row("journal_durability: power (the default)", ""),
                *live_runs.long_run(d, market, options.days, {}, memory=True),
            ],
            "process": lambda d: [
                Row("journal_durability: process", ""),
                *live_runs.long_run(d, market, options.days, {"journal_durability": "process"}, memory=False),
            ],
            "gated": lambda d: [
                Row("gate enforced by a model that lets everything pass, journal_durability: process", ""),
                *live_runs.gated(d, market, options.days),
            ],
            "starts": lambda d: live_runs.starts(d, market, bare),
            "restart": lambda d: [live_runs.restart(d, market, bare)],
            "kill": lambda d: live_runs.kill_to_flat(d, market),
            "dead": lambda d: live_runs.kill_without_node(d, market),
        }
        for part in options.only:
            folder = directory / part
            folder.mkdir()
            print(f"-- {part}: {live_runs.load()}")
            show(parts[part](folder))


def show(rows: list[Row]) -> None:
    """Print one part of the table."""
    for row in rows:
        verdict = "" if row.met is None else "met" if row.met else "MISSED"
        print(f"{row.name:54}  {row.value:32}  {row.ratio:10}  {row.target:12} {verdict}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
