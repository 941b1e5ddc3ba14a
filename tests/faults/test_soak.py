"""The soak: 10 cycles of random trouble in the default run, 200 under ``make soak`` with the report on the terminal."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.harness import Run
from tests.faults.soak import Soak


@pytest.mark.parametrize("cycles", [10, pytest.param(200, marks=pytest.mark.soak)])
def test_random_trouble(
    make_run: Callable[[int], Run], cycles: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(int(os.environ.get("ARGONAUT_SEED", "4")))
    try:
        run.start(days=2 + cycles // 4, node={"audit": {"in_replay": True, "interval_secs": 2.0}})
        report = Soak(run, int(os.environ.get("ARGONAUT_CYCLES", cycles))).play()
    finally:
        run.close()
    text = json.dumps(report.plain(), indent=1)
    with capsys.disabled():
        print(text if cycles > 10 else "", end="")  # noqa: T201 - the report is what a soak is for
    assert report.clean, text
