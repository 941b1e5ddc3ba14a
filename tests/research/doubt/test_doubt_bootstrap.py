"""Intervals cover what they should, and pairs are compared as pairs."""

import numpy as np
import pytest

from research.doubt.bootstrap import (
    block_length,
    daily_intervals,
    examine_intervals,
    examine_paired,
    max_drawdown,
    paired,
    profit_factor,
    trade_intervals,
)


def test_figures():
    assert profit_factor(np.array([3.0, -1.0, -1.0])) == 1.5
    assert profit_factor(np.array([1.0])) == np.inf
    assert max_drawdown(np.array([0.1, -0.5, 0.2])) == pytest.approx(0.5)
    assert max_drawdown(np.array([-2.0, 5.0])) == 1.0  # ruin is not undone


def test_intervals_cover_the_truth():
    """Over 60 samples with a true expectancy of 0.2 the 95 % interval holds it in 85 % to 100 %."""
    inside = 0
    for seed in range(60):
        net = np.random.default_rng(seed).normal(0.2, 1.0, 80)
        found = trade_intervals(net, seed=seed, reps=300)["expectancy"]
        inside += found.low <= 0.2 <= found.high
    assert 51 <= inside <= 60


def test_runs_of_losses_widen_the_interval():
    random = np.random.default_rng(4)
    sticky = np.repeat(random.normal(0, 0.01, 60), 8) + random.normal(0, 0.001, 480)
    assert block_length(sticky) > 4
    shuffled = random.permutation(sticky)
    wide, narrow = (daily_intervals(x, seed=1, reps=400)["sharpe"] for x in (sticky, shuffled))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


@pytest.mark.parametrize("blocks", ["stationary", "circular"])
def test_same_seed_same_digits(blocks):
    net = np.random.default_rng(5).normal(0.1, 1, 60)
    one, two = (trade_intervals(net, seed=9, reps=200, blocks=blocks) for _ in range(2))
    assert one == two


def test_an_edge_stands_and_noise_does_not():
    random = np.random.default_rng(6)
    good = examine_intervals(random.normal(0.5, 1, 300), random.normal(0.003, 0.01, 300), seed=1, reps=300)
    assert [d.passed for d in good] == [True] * 4
    bad = examine_intervals(random.normal(0, 1, 300), random.normal(0, 0.01, 300), seed=1, reps=300)
    assert [d.reason.value for d in bad[:3]] == ["interval_includes_nothing"] * 3


def test_few_trades_are_not_judged():
    assert {d.reason.value for d in examine_intervals(np.ones(5), np.ones(3), seed=1)} == {"too_few"}


class TestPaired:
    def test_a_small_but_steady_gain_is_seen_through_common_noise(self):
        random = np.random.default_rng(7)
        off = random.normal(0, 0.03, 300)
        on = off + random.normal(0.0005, 0.001, 300)
        assert examine_paired(on, off, seed=1, reps=300).passed is True

    def test_no_effect(self):
        random = np.random.default_rng(8)
        off = random.normal(0, 0.03, 300)
        assert examine_paired(off + random.normal(0, 0.01, 300), off, seed=1, reps=300).reason == "no_paired_effect"
        assert examine_paired(off, off, seed=1).reason == "no_paired_effect"

    def test_other_days_are_refused(self):
        with pytest.raises(ValueError, match="same days"):
            paired(np.ones(4), np.ones(5), seed=1)
