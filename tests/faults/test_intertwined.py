"""Two disturbances at once, in an order the seed decides: what no scenario foresaw, judged by the same invariants."""

import random
from dataclasses import replace

import pytest

from tests.faults.bench import Bench
from tests.faults.harness import Run
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.scenarios.acts import in_order
from tests.faults.scenarios.scenario import AUDITED, Act
from tests.faults.verdicts import BLIND_CLOSE, CRITICAL, OVERTAKEN

SEEDS = range(7000, 7060)
AFTERWARDS = 6
"""Bars replayed after it all."""


SHUT = "maintenance for two seconds"
"""The venue answers nothing until an act of its own: a bar replayed in between would wait for the node in vain."""


def _mixable(scenario: Scenario) -> bool:
    """Leave out those that need a node or venue of their own kind, or end trading by design."""
    plain = not scenario.alone and not scenario.venue and set(scenario.node) <= {"audit"}
    return plain and scenario.trades_on and scenario.name != SHUT


def intertwined(seed: int) -> Scenario:
    """Return a scenario made of the acts of two, each in its own order."""
    chance = random.Random(seed)
    pair = chance.sample([s for s in SCENARIOS if _mixable(s)], 2)
    left = [list(scenario.acts) for scenario in pair]
    acts: list[Act] = []
    while any(left):
        acts.append(chance.choice([some for some in left if some]).pop(0))
    name = " + ".join(f"{s.row} {s.name}" for s in pair)
    tolerates = pair[0].tolerates | pair[1].tolerates | {CRITICAL, BLIND_CLOSE, OVERTAKEN}
    return replace(pair[0], name=name, acts=tuple(acts), told=(), tolerates=tolerates, node=AUDITED)


def _play(run: Run, scenario: Scenario) -> bool:
    """
    Do what can be done; return whether that was all of it.

    An act may find that the other disturbance has taken away what it waits for; the invariants must hold all the same.
    """
    whole = True
    try:
        for act in scenario.acts:
            act(run)
    except (AssertionError, LookupError):
        whole = False
        for action in ("clear_faults", "accept"):
            run.control(action)
        for symbol in run.books()["positions"]:
            run.control("symbol_status", symbol=symbol, status="TRADING")
        if run.node is None or run.node.poll() is not None:
            run.start_node()
    run.step(AFTERWARDS)
    run.until(in_order, what="order after it all", path="open")
    return whole


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
def test_no_invariant_breaks_under_two_disturbances(bench: Bench, seed: int) -> None:
    scenario = intertwined(seed)
    run = bench.take(scenario, seed)
    unspoilt = False
    try:
        whole = _play(run, scenario)
        found = run.judge(scenario.tolerates, ())
        assert not found, f"seed {seed}, {scenario.name}: {found}; {run.log_tail()}"
        unspoilt = whole  # else something may be left switched off, and not be the next one's fault
    finally:
        if unspoilt:
            bench.give_back(scenario)
        else:
            bench.discard()
