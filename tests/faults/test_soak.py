"""The soak: 10 cycles of random trouble in the default run, 200 under ``make soak`` with the report on the terminal."""

import json
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from tests.faults.fork_server import ForkServer
from tests.faults.harness import ROOT, Run
from tests.faults.redis_server import RedisServer
from tests.faults.soak import Soak

FIRST, DAYS = date(2025, 4, 1), 180
"""Nearly the whole sample: 17 000 time steps, of which a cycle takes about ten."""


VENUE = {"execution": {"depth": "bar_quarter", "depth_share": 0.02}, "account": {"balance": 4_000_000}}
NODE = {
    "audit": {"in_replay": True, "interval_secs": 2.0},
    "backtest": {"balance": 4_000_000},
    "risk": {"limits": {"max_order_notional": 20_000_000, "max_total_notional": 60_000_000}},
}
"""Money enough that some orders take more than one price offers, little enough for the largest order allowed."""
BRIEF, FULL = 10, 200


@pytest.mark.parametrize("redis", [False, True], ids=["alone", "beside redis"])
@pytest.mark.parametrize("cycles", [BRIEF, pytest.param(FULL, marks=pytest.mark.soak)])
def test_random_trouble(
    make_run: Callable[[int], Run],
    forks: ForkServer,
    cycles: int,
    redis: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run(int(os.environ.get("ARGONAUT_SEED", "4")))
    if cycles == BRIEF or os.environ.get("ARGONAUT_FORKS"):
        run.forks = forks  # the times of restarts are those of real starts only in the full run
    server = RedisServer(tmp_path) if redis else None
    try:
        run.start(first=FIRST, days=DAYS, venue=VENUE, node=NODE | ({} if server is None else {"redis": server.tree}))
        report = Soak(run, int(os.environ.get("ARGONAUT_CYCLES", cycles)), server).play()
    finally:
        run.close()
        if server is not None:
            server.kill()
    text = json.dumps(report.plain(), indent=1)
    if cycles == FULL:
        folder = Path(os.environ.get("ARGONAUT_REPORTS", ROOT / "var" / "reports"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"soak-seed{run.seed}-{'with' if redis else 'without'}-redis.json").write_text(text + "\n")
        with capsys.disabled():
            print(text)  # noqa: T201 - the report is what a soak is for
    assert report.clean, text
