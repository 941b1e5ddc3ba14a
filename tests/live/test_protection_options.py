"""What protection can do beyond a fixed stop and target, live on the venue and in the backtest: the same fills."""

from collections import Counter
from typing import Any

import pytest
import yaml

from node.parity import compare

BY_BARS = {
    "trailing": {"by": "bars", "distance": 1.0, "unit": "atr", "activate_r": 0.5},
    "break_even": {"at_r": 0.7, "offset_bps": 8},
    "time_stop_bars": 6,
}
BY_VENUE = {"trailing": {"by": "venue", "callback": 0.002, "activate_r": 0.3}}


def _run(demo, options: dict[str, Any]) -> dict[str, Any]:
    demo.write(start="2025-09-08", end="2025-09-10")
    config = yaml.safe_load(demo.config.read_text())
    config["strategy"]["protection"] = options
    demo.config.write_text(yaml.safe_dump(config))
    live = demo.run("node.live", "--config", str(demo.config), "--json", str(demo.directory / "live.json"))
    summary = demo.result("live.json")
    failed = [c for c in summary["checks"] if not c["passed"]]
    assert failed == [], live.stdout + live.stderr
    return summary


def test_stops_moved_by_bars_fill_live_as_in_the_backtest(demo) -> None:
    summary = _run(demo, BY_BARS)
    backtest = demo.run(
        "node.backtest", "--config", str(demo.config), "--json", str(demo.directory / "backtest.json"), "--quiet"
    )
    assert backtest.returncode == 0, backtest.stderr
    found = compare(demo.result("backtest.json"), summary)
    assert found.differences == []
    reasons = Counter(trade["exit_reason"] for trade in summary["trades"])
    assert reasons["TIME_STOP"] > 0, reasons
    moved = [t for t in summary["trades"] if t["exit_reason"] == "STOP_LOSS" and t["gross_pnl"] > 0]
    assert moved, "no stop that was moved into profit was hit: this proves nothing"


@pytest.mark.soak
def test_the_venues_trailing_stop_takes_profits_and_leaves_no_orphan(demo) -> None:
    summary = _run(demo, BY_VENUE)
    reasons = Counter(trade["exit_reason"] for trade in summary["trades"])
    assert reasons["TRAILING_STOP"] > 0, reasons
