"""Every scenario against a whole live node, judged on the venue's books, with three seeds."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.bench import Bench
from tests.faults.harness import Run, differences
from tests.faults.redis_server import AVAILABLE
from tests.faults.scenarios import ROWS, SCENARIOS, Scenario
from tests.faults.scenarios.acts import in_order
from tests.faults.table import DOCUMENT, documented, table

AFTERWARDS = 6
"""Bars replayed after the disturbance: the node must trade on, not only survive."""
SEEDS = (1, 2, 3)
ALWAYS = frozenset({"F2", "F6b", "F6e", "F10b", "F16"})
"""Rows whose scenarios are played with every seed in the default run too; the others take turns with the seeds."""


def _params() -> list[Any]:
    found = []
    for seed in SEEDS:
        for number, scenario in enumerate(SCENARIOS):
            now = scenario.row in ALWAYS or SEEDS[number % len(SEEDS)] == seed
            name = f"{scenario.row}: {scenario.name}-{seed}"
            found.append(pytest.param(scenario, seed, id=name, marks=() if now else pytest.mark.soak))
    return found


def _play(run: Run, scenario: Scenario) -> None:
    for act in scenario.acts:
        act(run)
    run.step(AFTERWARDS)
    if scenario.trades_on:
        begun = run.since_ms
        run.step_until(lambda b: any(f["wall_ms"] >= begun for f in b["fills"]), what="a trade: else nothing is proved")
    run.until(in_order, what="order after it all", path="open")


@pytest.mark.parametrize(("scenario", "seed"), _params())
def test_no_invariant_breaks(bench: Bench, scenario: Scenario, seed: int) -> None:
    if scenario.row.startswith("R"):
        _need_redis()
    passed = False
    run = bench.take(scenario, seed)
    try:
        _play(run, scenario)
        found = run.judge(scenario.tolerates, scenario.told)
        assert not found, f"seed {seed}, invariant {scenario.invariant} attacked: {found}; {run.log_tail()}"
        passed = True
    finally:
        if passed:
            bench.give_back(scenario)
        else:
            bench.discard()


@pytest.mark.soak
@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if not s.kills_venue], ids=lambda s: f"{s.row}: {s.name}")
def test_no_invariant_breaks_in_a_life_of_its_own(make_run: Callable[[int], Run], scenario: Scenario) -> None:
    seed = 1
    if scenario.row.startswith("R"):
        _need_redis()
    run = make_run(seed)
    try:
        scenario.prepare(run)
        run.start(venue=scenario.venue, node=scenario.node)
        _play(run, scenario)
        summary = run.finish()
        books = run.books()
    finally:
        run.close()
    found = differences(run, books, summary, scenario.tolerates)
    found += [f"not told: {code}" for code in scenario.told if code not in summary["incidents_by_code"]]
    assert not found, f"seed {seed}, invariant {scenario.invariant} attacked: {found}; {run.log_tail()}"


def test_every_row_of_the_matrix_has_a_scenario() -> None:
    assert not set(ROWS) - {s.row for s in SCENARIOS}
    assert {s.row for s in SCENARIOS} <= {*ROWS, "-"}
    names = [(s.row, s.name) for s in SCENARIOS]
    assert len(set(names)) == len(names)


def test_the_documentation_lists_every_scenario() -> None:
    assert documented(DOCUMENT.read_text()) == table(), "run python -m tests.faults.table"


def _need_redis() -> None:
    """A machine without redis-server cannot show anything about Redis; CI must have it."""
    if not AVAILABLE:
        assert not os.environ.get("CI"), "redis-server is missing"
        pytest.skip("redis-server is not installed")
