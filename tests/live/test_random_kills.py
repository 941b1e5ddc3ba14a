"""The node is killed with SIGKILL at random moments of a replay and started again: asserted from the venue's books."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from node.live_run import get_json
from node.venue.audit import protection_gaps
from tests.live.conftest import ROOT, Demo, VenueProcess

RESTART_LIMIT_SECS = 20.0
"""Longest time a position may stay unprotected after the node was started again (start-up included: 3 s on
an idle machine, several times that beside a busy test suite)."""


def _books(url: str) -> dict[str, Any]:
    found = asyncio.run(get_json(f"{url}/argonaut/books"))
    assert isinstance(found, dict)
    return found


def _kill_randomly(demo: Demo, venue: VenueProcess, rng: random.Random, kills: int) -> list[float]:
    """Start and kill the node `kills` times; return the wall times of the starts."""
    starts = []
    for _ in range(kills):
        starts.append(time.time())
        with (demo.directory / "node.log").open("a") as log:
            node = subprocess.Popen(
                demo.command("node.live", "--config", str(demo.config), "--venue-url", venue.url),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
            bars = _books(venue.url)["bars"]
            deadline = time.monotonic() + 60
            # Kill at a random point of the replay, not of the start-up: wait until it moves, then some more bars.
            while _books(venue.url)["bars"] <= bars and node.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(rng.uniform(0.0, 0.6))
            assert node.poll() is None, (demo.directory / "node.log").read_text()[-3000:]
            os.kill(node.pid, signal.SIGKILL)
            node.wait()
    return starts


@pytest.mark.parametrize("kills", [pytest.param(5), pytest.param(25, marks=pytest.mark.soak)])
def test_killed_at_random_and_restarted(demo: Demo, kills: int) -> None:
    seed = int(os.environ.get("ARGONAUT_SEED", time.time_ns() % 1_000_000))
    sys.stdout.write(f"seed {seed} (repeat with ARGONAUT_SEED={seed})\n")
    demo.write(start="2025-09-08", end="2025-09-15" if kills < 10 else "2025-09-30")
    venue = VenueProcess(demo)
    try:
        starts = _kill_randomly(demo, venue, random.Random(seed), kills)
        starts.append(time.time())
        last = demo.run(
            "node.live",
            *("--config", str(demo.config), "--venue-url", venue.url, "--json", str(demo.directory / "live.json")),
        )
        books = _books(venue.url)
    finally:
        venue.stop()

    assert last.returncode in (0, 1), last.stderr
    summary = demo.result("live.json")
    # A gap that spans a death is judged from the restart on; every other check must hold as it stands.
    failed = [c for c in summary["checks"] if not c["passed"] and not c["name"].startswith("never naked")]
    assert failed == [], f"seed {seed}: {failed}"
    assert len(books["fills"]) >= 40
    for gap in protection_gaps(books):
        if gap.duration_ms < 1_000:
            continue
        restart = next((s for s in starts if s * 1000 > gap.start_ms), None)
        assert restart is not None, f"seed {seed}: {gap} and no restart after it"
        assert gap.end_ms / 1000 - restart < RESTART_LIMIT_SECS, f"seed {seed}: {gap}"
