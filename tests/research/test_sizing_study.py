"""The sizing study: the ancestor's rules to the letter, and blocks that keep streaks together."""

import json

import numpy as np
import pytest

import trials
from research.sizing.__main__ import main
from research.sizing.ancestor import Observed, draw, kelly, observe, ranges_of, study
from research.sizing.blocks import block_study, longest_runs, resampled
from research.sizing.paths import RISKS, best_level, run_level, streak_chance
from strategies.errors import ConfigError, DataError


class TestAncestorsRules:
    def test_ranges(self):
        found = ranges_of(Observed(0.387, 4.0, -1.2, 31))
        assert found.win_rate == pytest.approx((0.287, 0.457))
        assert found.win == pytest.approx((3.0, 5.2))
        assert found.loss == pytest.approx((-1.5, -0.9))

    def test_ranges_end_at_their_bounds(self):
        found = ranges_of(Observed(0.60, 2.2, -0.9, 31))
        assert found.win_rate == pytest.approx((0.50, 0.55))
        assert found.win == pytest.approx((2.0, 3.4))
        assert found.loss == pytest.approx((-1.2, -0.8))

    def test_kelly(self):
        assert kelly(0.4, 4.0, -1.2) == pytest.approx((0.4 * 4 - 0.6 * 1.2) / 4)

    def test_a_path_draws_once_and_takes_two_values(self):
        drawn = draw(ranges_of(Observed(0.4, 4.0, -1.2, 31)), paths=500, trades=200)
        assert drawn.shape == (500, 200)
        assert {len(np.unique(row)) for row in drawn} == {2}
        wins = (drawn > 0).mean(axis=1)
        assert 0.28 < wins.mean() < 0.50
        assert drawn[drawn > 0].min() >= 3.0
        assert drawn.max() <= 5.2
        np.testing.assert_array_equal(drawn, draw(ranges_of(Observed(0.4, 4.0, -1.2, 31)), paths=500, trades=200))

    def test_levels_against_a_loop(self):
        """One path at a time, as the rule is told: compounding, ruin at a fifth of the start."""
        drawn = draw(ranges_of(Observed(0.35, 3.0, -1.2, 31)), paths=200, trades=200, seed=1)
        finals, drawdowns, ruins = [], [], 0
        for path in drawn:
            balance = peak = 1.0
            drawdown = 0.0
            for r in path:
                balance *= 1 + 0.04 * r
                if balance <= 0.2:
                    balance, drawdown, ruins = 0.0, 1.0, ruins + 1
                    break
                peak = max(peak, balance)
                drawdown = max(drawdown, 1 - balance / peak)
            finals.append(balance - 1)
            drawdowns.append(drawdown)
        level = run_level(drawn, 0.04)
        assert 0 < ruins < 200
        assert level.ruin == ruins / 200
        assert level.median == pytest.approx(np.median(finals))
        assert level.drawdown_95 == pytest.approx(np.percentile(drawdowns, 95))

    def test_recommendation(self):
        trades = np.where(np.arange(300) % 5 < 2, 4.0, -1.0)
        found = study(trades, paths=2_000)
        assert [x.risk for x in found.robust] == list(RISKS)
        assert found.robust_risk == best_level(found.robust).risk
        assert all(x.bearable is False or x.median <= best_level(found.robust).median for x in found.robust)
        expected = min(found.robust_risk, found.worst_risk or 0.005, found.worst_kelly / 2)
        assert found.recommended == min(max(expected, 0.005), 0.05)
        assert found.margins == [(atr, min(found.recommended / (10 * atr), 0.5)) for atr in (0.010, 0.012, 0.015)]
        assert [n for n, _, _ in found.streaks] == [4, 6, 8, 10, 12]
        assert found.streaks[0][1] == pytest.approx(1 - (1 - found.recommended) ** 4)

    def test_a_losing_record_gets_the_floor(self):
        found = study(np.where(np.arange(100) % 5 == 0, 2.0, -1.0), paths=1_000)
        assert found.worst_kelly < 0
        assert (found.robust_risk, found.recommended) == (None, 0.005)

    @pytest.mark.parametrize("multiples", [[1.0, -1.0], [1.0] * 9, [-1.0] * 9, [np.nan] * 9])
    def test_too_few_trades(self, multiples):
        with pytest.raises(DataError, match="at least 5"):
            observe(np.array(multiples))


class TestStreaks:
    @pytest.mark.parametrize(("length", "rate", "trades"), [(4, 0.6, 28), (8, 0.571, 28), (8, 0.571, 100)])
    def test_chance_against_simulation(self, length, rate, trades):
        lost = np.random.default_rng(1).random((40_000, trades)) < rate
        assert streak_chance(length, rate, trades) == pytest.approx((longest_runs(lost) >= length).mean(), abs=0.01)

    def test_certainties(self):
        assert streak_chance(3, 1.0, 3) == 1.0
        assert streak_chance(3, 1.0, 2) == 0.0


class TestBlocks:
    def test_blocks_keep_neighbours_together(self):
        values = np.arange(1_000.0)
        together = resampled(values, block=20.0, paths=300, trades=100)
        assert (np.diff(together, axis=1) == 1).mean() == pytest.approx(0.95, abs=0.01)
        assert np.abs(np.sort(np.unique(together)) - np.round(np.unique(together))).max() == 0
        assert resampled(values, block=1.0, paths=50, trades=5_000).mean() == pytest.approx(499.5, abs=5)

    def test_clustered_losses_are_worse_than_the_same_losses_apart(self):
        clustered = np.repeat(np.random.default_rng(3).choice([2.5, -1.0], 60, p=[0.35, 0.65]), 10)
        apart = np.random.default_rng(4).permutation(clustered)
        one, two = (block_study(x, paths=2_000) for x in (clustered, apart))
        assert one.block > 3 > two.block
        assert one.levels[3].drawdown_95 > two.levels[3].drawdown_95
        assert one.longest > two.longest
        assert dict(one.streaks)[12] > dict(two.streaks)[12]


def test_the_command(tmp_path, capsys):
    trades = [
        {
            "symbol": "XRPUSDT", "side": "LONG", "entry_time": f"2025-05-{1 + i % 28:02d}T00:00:00Z",
            "exit_time": f"2025-05-{1 + i % 28:02d}T01:00:00Z", "entry_price": 100.0, "quantity": 2.0, "stop": 99.0,
            "target": 104.0, "net_pnl": 8.0 if i % 3 == 0 else -2.0, "fees": 0.1, "exit_reason": "STOP_LOSS",
        }
        for i in range(60)
    ]  # fmt: skip
    result = {"config": {"symbols": ["XRPUSDT"]}, "trades": trades, "daily_equity": [], "start": "2025-05-01"}
    (tmp_path / "r.json").write_text(json.dumps(result))
    out = tmp_path / "s.json"
    ledger = tmp_path / "trials.jsonl"
    assert main([str(tmp_path / "r.json"), "--paths", "500", "--json", str(out), "--ledger", str(ledger)]) == 0
    assert [(e.kind, e.trials) for e in trials.read(ledger)] == [("examination", 0)]
    found = json.loads(out.read_text())
    assert found["ancestor"]["observed"]["win"] == pytest.approx(4.0)
    assert len(found["blocks"]["levels"]) == len(RISKS)
    assert "losses in a row" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--paths"):
        main([str(tmp_path / "r.json"), "--paths", "0"])
    result["trades"] = trades[:2]
    (tmp_path / "r.json").write_text(json.dumps(result))
    with pytest.raises(DataError, match=r"r\.json: 2 trades"):
        main([str(tmp_path / "r.json")])
