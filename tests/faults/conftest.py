"""Market data once per session, and the scenario runner."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalog.sample import prepare
from tests.faults.bench import Bench
from tests.faults.fork_server import ForkServer
from tests.faults.harness import ROOT, Run


@pytest.fixture(scope="session")
def fault_market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real data where they are present, else the seeded generator's."""
    catalog = tmp_path_factory.mktemp("faults") / "catalog"
    shared = ROOT.parent / "shared" / "data"
    source = "env" if os.environ.get("ARGONAUT_DATA") else "shared" if shared.is_dir() else "synthetic"
    prepare(catalog, source=source)
    return catalog


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """A process that has everything imported."""
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, fault_market: Path, forks: ForkServer) -> Iterator[Bench]:
    """Running nodes for scenario after scenario; the last of them is judged at the end."""
    made = Bench(tmp_path_factory.mktemp("bench"), fault_market, forks)
    yield made
    try:
        made.retire()
    finally:
        made.discard()


@pytest.fixture
def make_run(tmp_path: Path, fault_market: Path) -> Callable[[int], Run]:
    """Build a run for a seed, started as in production: it decides the market window and which trade is disturbed."""
    return lambda seed: Run(tmp_path, fault_market, seed)
