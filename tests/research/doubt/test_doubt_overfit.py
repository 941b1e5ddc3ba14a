"""Cross-validated choice and the reality check: noise is found out, an edge is let stand."""

from itertools import combinations

import numpy as np
import pytest

from research.doubt.overfit import backtest_overfitting, examine_overfit, examine_superiority, superiority


@pytest.fixture(name="noise", scope="module")
def noise_fixture():
    """Return 1,000 strategies worth nothing: the best of them has an annual Sharpe ratio above 2."""
    returns = np.random.default_rng(21).normal(0, 0.01, (500, 1000))
    assert (returns.mean(axis=0) / returns.std(axis=0)).max() * np.sqrt(365) > 2
    return returns


@pytest.fixture(name="edge", scope="module")
def edge_fixture(noise):
    returns = noise[:, :200].copy()
    returns[:, 7] += 0.003
    return returns


class TestCrossValidation:
    def test_the_papers_case_of_no_skill(self):
        """Bailey et al. (2015): every trial's ratio over the whole sample forced to zero gives a probability of 1."""
        returns = np.random.default_rng(1).normal(size=(1000, 100))
        returns = (returns - returns.mean(axis=0)) / returns.std(axis=0)
        found = backtest_overfitting(returns, 8)
        assert (found.probability, found.loss_probability) == (1.0, 1.0)
        assert found.slope < 0

    def test_against_the_definition(self):
        """Every split by hand, as the paper's steps say."""
        returns = np.random.default_rng(2).normal(size=(60, 7))
        blocks = np.split(returns, 6)
        logits = []
        for chosen in combinations(range(6), 3):
            inside = np.concatenate([blocks[i] for i in chosen])
            outside = np.concatenate([blocks[i] for i in range(6) if i not in chosen])
            best = (inside.mean(axis=0) / inside.std(axis=0, ddof=1)).argmax()
            ratios = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
            share = (ratios <= ratios[best]).sum() / 8
            logits.append(np.log(share / (1 - share)))
        found = backtest_overfitting(returns, 6)
        np.testing.assert_allclose(found.logits, logits, rtol=1e-9)
        assert found.probability == np.mean(np.array(logits) <= 0)

    def test_best_of_a_thousand_is_overfit(self, noise):
        assert examine_overfit(noise).reason == "backtest_overfit"

    def test_noise_is_found_out_whatever_the_seed(self):
        for seed in range(12):
            returns = np.random.default_rng(seed).normal(0, 0.01, (365, 300))
            assert examine_overfit(returns, 10).passed is False, f"seed {seed}"

    def test_an_edge_stands(self, edge):
        assert examine_overfit(edge).passed is True

    @pytest.mark.parametrize("shape", [(500, 3), (20, 300)])
    def test_too_few(self, shape):
        assert examine_overfit(np.zeros(shape)).reason == "too_few"
        assert examine_superiority(np.zeros(shape), 1).reason == "too_few"


class TestRealityCheck:
    def test_best_of_a_thousand_does_not_beat_nothing(self, noise):
        found = examine_superiority(noise[:, :1000], seed=3, reps=200)
        assert found.reason == "not_better_than_none"
        assert found.figures["superior"] == []

    def test_an_edge_stands_and_is_named(self, edge):
        found = examine_superiority(edge, seed=3, reps=300)
        assert found.passed is True
        assert found.figures["superior"] == [7]

    def test_trials_that_never_traded_do_not_disturb(self, edge):
        padded = np.column_stack([np.zeros((len(edge), 5)), edge[:, :20]])
        assert superiority(padded, seed=3, reps=200).superior == (12,)
        assert superiority(np.zeros((100, 12)), seed=3).consistent == 1.0

    def test_same_seed_same_digits(self, edge):
        assert superiority(edge[:, :20], 5, 100) == superiority(edge[:, :20], 5, 100)
