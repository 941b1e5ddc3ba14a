"""Gate off against enforce in the engine of record; what blocked signals would have made is what they did make."""

import math

import msgspec
import numpy as np
import pytest

import trials
from node.backtest_run import run_backtest
from node.config import DriftConfig
from research.gate_effect import compare_gate, counterfactuals
from research.testing import small_model
from research.training import publish
from tests.research.test_labels_engine import node_config


@pytest.fixture(name="config")
def config_fixture(market_catalog, tmp_path):
    levels = {s: {"stop_atr": 1.0, "target_atr": 1.5} for s in ("BTCUSDT", "ETHUSDT", "XRPUSDT")}
    config = msgspec.structs.replace(node_config(market_catalog, tmp_path), symbols=("XRPUSDT",))
    model, _ = publish(small_model(strategy=levels), tmp_path / "model")
    rows = [[math.nan if x is None else x for x in s.features] for s in run_backtest(config).signals]
    middle = float(np.median([model.score(np.array(row)) for row in rows]))
    publish(small_model(strategy=levels, threshold=middle), tmp_path / "model")
    return msgspec.structs.replace(config, gate=msgspec.structs.replace(config.gate, model_dir=str(tmp_path / "model")))


def test_both_runs_and_every_blocked_signal(config, tmp_path):
    found = compare_gate(config, 3, ledger=tmp_path / "trials.jsonl")
    (entry,) = trials.read(tmp_path / "trials.jsonl")
    assert (entry.kind, entry.trials, entry.sharpe.known, entry.digest) == ("study", 2, 2, found["trial"])
    assert entry.data_hash == found["data"]["sha256"]
    assert found["runs"]["off"]["trades"] != found["runs"]["enforce"]["trades"] > 0
    blocked = found["by_blocker"]["ml:ml_below_threshold"]
    assert blocked["signals"] > 5
    assert found["per_signal"]["signals"] == sum(g["signals"] for g in found["by_blocker"].values())
    assert found["equity"] is not None

    # A signal the gate blocked did trade where the gate was off: there its result is known.
    off = run_backtest(config)
    made = {t.signal_id: t for t in off.trades if t.exit_reason in ("STOP_LOSS", "TAKE_PROFIT")}
    again = {c["signal_id"]: c for c in found["signals"]}
    both = [(t, again[s]) for s, t in made.items() if s in again and again[s]["blocked_by"].startswith("ml:")]
    assert len(both) >= 3
    for trade, told in both:
        risk = trade.quantity * abs(trade.entry_price - trade.stop)
        assert told["net_r"] == pytest.approx(trade.net_pnl / risk, rel=1e-6, abs=1e-6)
    assert counterfactuals(config, off.signals, off.verdict_records) == counterfactuals(
        config, off.signals, off.verdict_records
    )


def test_challenger_and_drift_change_no_decision(config, tmp_path):
    def decisions(**gate):
        changed = msgspec.structs.replace(config, gate=msgspec.structs.replace(config.gate, mode="enforce", **gate))
        result = run_backtest(changed)
        chosen = [(v.id, v.passed, v.reason, v.score) for v in result.verdict_records if v.gate != "challenger"]
        return chosen, [(f.symbol, f.side, f.quantity, f.price, f.market_time) for f in result.fills], result

    publish(small_model(seed=5, strategy={}), tmp_path / "challenger")
    plain, watched = decisions(), decisions(challenger=str(tmp_path / "challenger"), drift=DriftConfig(window=20))
    assert watched[:2] == plain[:2]
    assert len(plain[1]) > 20
    challenged = [v for v in watched[2].verdict_records if v.gate == "challenger"]
    assert len(challenged) == len(watched[2].signals)
    assert {v.reason for v in challenged} <= {"passed", "ml_below_threshold"}
    assert any(i.code == "drift_unmeasured" for i in watched[2].incidents), "the small model stores no distribution"
