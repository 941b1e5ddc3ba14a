"""Every scenario against a whole live node: judged on the venue's books, three seeds each (two of them as soak)."""

from collections.abc import Callable

import pytest

from tests.faults.harness import Run, differences
from tests.faults.scenarios import SCENARIOS, Scenario

AFTERWARDS = 6
"""Bars replayed after the disturbance: the node must trade on, not only survive."""

SEEDS = (1, pytest.param(2, marks=pytest.mark.soak), pytest.param(3, marks=pytest.mark.soak))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: f"{s.row}: {s.name}")
def test_no_invariant_breaks(make_run: Callable[[int], Run], scenario: Scenario, seed: int) -> None:
    run = make_run(seed)
    try:
        run.start(venue=scenario.venue, node=scenario.node)
        for act in scenario.acts:
            act(run)
        run.step(AFTERWARDS)
        run.step_until(lambda books: bool(books["fills"]), what="a trade: else nothing is proved")
        summary = run.finish()
        books = run.books()
    finally:
        run.close()
    found = differences(run, books, summary, scenario.tolerates)
    untold = [code for code in scenario.told if code not in summary["incidents_by_code"]]
    assert not found + untold, (
        f"seed {seed}, invariant {scenario.invariant} attacked: {found}; not told: {untold}; "
        f"incidents {summary['incidents_by_code']}; {run.log_tail()}"
    )
