"""The same bars through the live node on the venue and through BacktestNode: the same decisions, the same fills."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import trials
from node.backtest_run import run_backtest
from node.config import load_config
from node.parity import compare
from research.testing import small_model
from research.training import publish
from tests.live.conftest import LOOSE

SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")


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


def watch(demo, **window) -> None:
    """Add a gate that chooses, a challenger, the drift monitor, and what follows blocked signals."""
    levels = {s: {"stop_atr": LOOSE["stop_atr"], "target_atr": LOOSE["target_atr"]} for s in SYMBOLS}
    gate = {"mode": "enforce", "model_dir": str(demo.directory / "model"), "drift": {"window": 20}}
    demo.write(
        gate=gate | {"challenger": str(demo.directory / "challenger")}, counterfactual={"horizon_bars": 24}, **window
    )
    publish(small_model(seed=5, strategy=levels), demo.directory / "challenger")
    publish(small_model(strategy=levels, threshold=0.0), demo.directory / "model")
    scores = [v.score for v in run_backtest(load_config(demo.config)).verdict_records if v.gate == "ml"]
    publish(small_model(strategy=levels, threshold=sorted(scores)[len(scores) // 3]), demo.directory / "model")


@pytest.mark.parametrize("hogs", [0, 4], ids=["idle, all that watches on", "under CPU load"])
def test_live_node_trades_exactly_as_the_backtest(demo, hogs: int) -> None:
    if not hogs:
        watch(demo)
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
    if not hogs:
        assert {"challenger", "ml", "risk"} == {v["gate"] for v in summary["verdict_records"]}
        assert summary["verdicts"]["ml:ml_below_threshold"] >= 5
        assert len(summary["outcomes"]) >= 10
        assert "drift_unmeasured" in summary["incidents_by_code"], "the small model stores no distribution"
        assert "what they would have made" in live.stdout
    assert all(check["passed"] for check in summary["checks"])
    (line,) = trials.lines_of([demo.result("backtest.json")["trial"]])
    alike = [e for e in trials.read() if (e.config_hash, e.data_hash) == (line.config_hash, line.data_hash)]
    assert {e.command[0] for e in alike} == {"node.backtest", "node.live"}, "the same settings and bars: one try"
    assert all(e.sharpe.known for e in alike)
    assert abs(summary["wallet"] - demo.result("backtest.json")["final_balance"]) <= 1e-7 * found.fills
    assert "ERROR" not in live.stderr + live.stdout
