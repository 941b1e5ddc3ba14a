"""
Live nodes that serve several scenarios in a row: a start costs more than most scenarios.

A scenario gets a running node and venue with the configuration it wants. What the scenario before has left behind is
part of the trial: the books are judged from its own beginning on, and when a node is retired its whole life is judged
once more, by the summary it writes. A node that failed, or holds entries for now, serves nobody else.
"""

import json
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from tests.faults.fork_server import ForkServer
from tests.faults.harness import Run, differences
from tests.faults.scenarios.acts import in_order
from tests.faults.scenarios.scenario import Scenario
from tests.faults.verdicts import held_entries

FIRST_DAY, DAYS = date(2025, 4, 1), 30
MOST_SCENARIOS = 20


@dataclass
class _Life:
    run: Run
    key: str
    names: list[str] = field(default_factory=list)
    tolerates: set[str] = field(default_factory=set)


class Bench:
    """
    Hands out runs.

    Parameters
    ----------
    directory : Path
        Where each run gets a folder.
    market : Path
        Catalog.
    forks : ForkServer
        Starts processes.

    """

    def __init__(self, directory: Path, market: Path, forks: ForkServer) -> None:
        self._directory = directory
        self._market = market
        self._forks = forks
        self._life: _Life | None = None
        self._made = 0

    def take(self, scenario: Scenario, seed: int) -> Run:
        """Return a started run for a scenario, judged from now on."""
        key = json.dumps([scenario.venue, scenario.node], sort_keys=True)
        life = self._life
        if life is not None and (life.key != key or scenario.alone or len(life.names) >= MOST_SCENARIOS):
            self.retire()
        if self._life is None:
            self._life = _Life(self._started(scenario, seed), key)
        life = self._life
        life.names.append(f"{scenario.row} {scenario.name} (seed {seed})")
        life.tolerates |= scenario.tolerates
        life.run.seed = seed
        life.run.begin(scenario.name)
        if scenario.alone:
            life.run.since_ms = 0.0  # its start is part of it
        return life.run

    def _started(self, scenario: Scenario, seed: int) -> Run:
        self._made += 1
        folder = self._directory / f"life{self._made}"
        folder.mkdir()
        run = Run(folder, self._market, seed, self._forks)
        first = FIRST_DAY + timedelta(days=(37 * seed + 11 * self._made) % 120)
        try:
            scenario.prepare(run)
            return run.start(first=first, days=DAYS, venue=scenario.venue, node=scenario.node)
        except BaseException:
            run.close()
            raise

    def give_back(self, scenario: Scenario) -> None:
        """The scenario passed: get the run ready for the next one, or retire it."""
        life = self._life
        assert life is not None
        if scenario.alone or held_entries(life.run):
            self.retire()
            return
        for action in ("clear_faults", "accept"):
            life.run.control(action)
        life.run.until(in_order, what="order before the next scenario", path="open")

    def discard(self) -> None:
        """The scenario failed: nobody else gets its run."""
        if self._life is not None:
            self._life.run.close()
            self._life = None

    def retire(self) -> None:
        """End the node as a service manager does and judge its whole life."""
        life = self._life
        if life is None:
            return
        self._life = None
        try:
            summary = life.run.finish()
            found = differences(life.run, life.run.books(), summary, frozenset(life.tolerates))
        finally:
            life.run.close()
        assert not found, f"{found} at the end of a life of {life.names}: {life.run.log_tail()}"
