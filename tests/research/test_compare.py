"""Symbols side by side: the best of many noisy ones is called luck, one with an edge is named."""

import json

import numpy as np
import pytest

import trials
from research.compare.__main__ import main
from research.compare.ranking import SymbolRun, compare, holm

DAYS = [str(np.datetime64("2025-01-01") + i) for i in range(250)]


def run_of(symbol, seed, *, edge=0.0, trades=60):
    random = np.random.default_rng(seed)
    returns = random.normal(edge, 0.01, 250)
    net = random.normal(edge * 1e4, 100, trades)
    return SymbolRun(symbol=symbol, net=net.tolist(), days=DAYS, returns=returns.tolist(), tested_share=0.5)


def test_holm_by_hand():
    """The smallest of four counts four times, the next three times, and none may fall below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_the_best_of_twenty_noisy_symbols_is_luck():
    best_alone = 0
    for seed in range(3):
        found = compare([run_of(f"S{i}USDT", 100 * seed + i) for i in range(20)], min_trades=30, seed=1, reps=300)
        assert {r.verdict for r in found.rows} == {"luck"}, f"seed {seed}"
        assert found.superior == []
        best_alone += found.rows[0].p < 0.1
    assert best_alone >= 1, "by itself the best looked good"


def test_an_edge_is_named():
    runs = [run_of(f"S{i}USDT", i) for i in range(8)] + [run_of("EDGEUSDT", 99, edge=0.003)]
    found = compare(runs, min_trades=30, seed=1, reps=500)
    assert [r.symbol for r in found.rows if r.verdict == "stands"] == ["EDGEUSDT"]
    assert found.rows[0].symbol == "EDGEUSDT"
    assert found.superior == ["EDGEUSDT"]
    assert found.rows[0].p <= found.rows[0].bh <= found.rows[0].holm


def test_few_trades_are_listed_last_and_count():
    few = run_of("FEWUSDT", 5, edge=0.01, trades=3)
    good = run_of("EDGEUSDT", 99, edge=0.003)
    found = compare([few, good], min_trades=30, seed=1, reps=500)
    assert [(r.symbol, r.verdict) for r in found.rows] == [("EDGEUSDT", "stands"), ("FEWUSDT", "too_few")]
    assert found.rows[1].p is None
    assert found.rows[0].holm == pytest.approx(2 * found.rows[0].p)
    assert found.rows[0].tested_share == 0.5


def test_the_command_records_what_it_tried(market_catalog, tmp_path, capsys):
    (tmp_path / "params.yaml").write_text(
        "params: {signal_threshold: 2, adx_threshold: 15.0, volume_multiplier: 1.5}\n"
    )
    (tmp_path / "node.yaml").write_text(
        f"symbols: [XRPUSDT]\ncatalog: {market_catalog}\n"
        "strategy: {file: params.yaml, warmup_bars: 60, history_bars: 100}\n"
        'backtest: {start: "2025-05-10", end: "2025-05-17"}\n'
    )
    out, ledger = tmp_path / "c.json", tmp_path / "l.jsonl"
    arguments = ["--config", tmp_path / "node.yaml", "--symbols", "XRPUSDT", "ETHUSDT", "--min-trades", "1",
                 "--reps", "100", "--ledger", ledger, "--json", out]  # fmt: skip
    assert main(list(map(str, arguments))) == 0
    found = json.loads(out.read_text())
    assert {r["symbol"] for r in found["comparison"]["rows"]} == {"XRPUSDT", "ETHUSDT"}
    assert found["comparison"]["rows"][0]["tested_share"] == pytest.approx(7 / 70)
    (entry,) = trials.read(ledger)
    assert (entry.kind, entry.trials, entry.digest) == ("study", 2, found["trial"])
    assert "Holm" in capsys.readouterr().out
