"""The same bars through the live node on the venue and through BacktestNode: the same decisions, the same fills."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from node.parity import compare


@contextmanager
def cpu_hogs(count: int) -> Iterator[None]:
    """Keep `count` processes busy."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


@pytest.mark.parametrize("hogs", [0, 4], ids=["idle", "under CPU load"])
def test_live_node_trades_exactly_as_the_backtest(demo, hogs: int) -> None:
    backtest = demo.run(
        "node.backtest", "--config", str(demo.config), "--json", str(demo.directory / "backtest.json"), "--quiet"
    )
    assert backtest.returncode == 0, backtest.stderr

    with cpu_hogs(hogs):
        live = demo.run("node.live", "--config", str(demo.config), "--json", str(demo.directory / "live.json"))

    assert live.returncode == 0, live.stdout + live.stderr
    found = compare(demo.result("backtest.json"), demo.result("live.json"))
    assert found.differences == []
    assert found.fills >= 40, "too few fills to prove anything"
    assert found.signals >= 30
    summary = demo.result("live.json")
    assert all(check["passed"] for check in summary["checks"])
    assert abs(summary["wallet"] - demo.result("backtest.json")["final_balance"]) <= 1e-7 * found.fills
    assert "ERROR" not in live.stderr + live.stdout
