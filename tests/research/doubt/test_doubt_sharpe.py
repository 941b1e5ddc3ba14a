"""The Sharpe ratio's doubts, against the worked examples of the papers."""

import math

import numpy as np
import pytest

import trials
from research.doubt.sharpe import (
    Moments,
    deflated_sharpe,
    examine_sharpe,
    expected_maximum,
    minimum_track_record,
    moments,
    probabilistic_sharpe,
)

NORMAL = (0.0, 3.0)


class TestDeflatedSharpe:
    """Bailey and López de Prado (2014): 100 trials, variance 1/2 a year, ratio 2.5, 1,250 days of 250 a year."""

    FOUND = Moments(2.5 / math.sqrt(250), -3.0, 10.0, 1250)
    VARIANCE = 0.5 / 250

    def test_expected_maximum(self):
        assert expected_maximum(100, self.VARIANCE) == pytest.approx(0.1132, abs=5e-5)

    def test_deflated(self):
        assert deflated_sharpe(self.FOUND, 100, self.VARIANCE) == pytest.approx(0.9004, abs=5e-5)

    def test_with_46_trials_it_would_have_stood(self):
        assert deflated_sharpe(self.FOUND, 46, self.VARIANCE) == pytest.approx(0.9505, abs=5e-5)

    def test_normal_returns_would_have_stood_with_88(self):
        normal = self.FOUND._replace(skew=0.0, kurtosis=3.0)
        assert deflated_sharpe(normal, 88, self.VARIANCE) == pytest.approx(0.9505, abs=5e-5)

    def test_one_trial_is_no_choice(self):
        assert expected_maximum(1, self.VARIANCE) == 0.0
        assert deflated_sharpe(self.FOUND, 1, self.VARIANCE) == probabilistic_sharpe(self.FOUND)


class TestProbabilisticSharpe:
    """Bailey and López de Prado (2012): 24 monthly returns, ratio 0.458 a month."""

    def test_normal(self):
        assert probabilistic_sharpe(Moments(0.458, *NORMAL, 24)) == pytest.approx(0.982, abs=5e-4)

    def test_skewed_with_fat_tails(self):
        assert probabilistic_sharpe(Moments(0.458, -2.448, 10.164, 24)) == pytest.approx(0.913, abs=5e-4)

    @pytest.mark.parametrize(
        ("per_year", "shape", "years"),
        [(252, NORMAL, 2.73), (52, NORMAL, 2.83), (12, NORMAL, 3.24), (12, (-0.72, 5.78), 4.99)],
    )
    def test_years_needed_for_a_ratio_of_2_to_be_above_1(self, per_year, shape, years):
        found = Moments(2 / math.sqrt(per_year), *shape, 0)
        needed = minimum_track_record(found, 1 / math.sqrt(per_year))
        assert needed / per_year == pytest.approx(years, abs=6e-3)

    def test_a_losing_record_is_never_long_enough(self):
        assert minimum_track_record(Moments(-0.1, *NORMAL, 1000)) == math.inf

    def test_the_needed_length_gives_the_confidence(self):
        found = Moments(0.08, -0.7, 6.0, 0)
        needed = minimum_track_record(found)
        assert probabilistic_sharpe(found._replace(observations=needed)) == pytest.approx(0.95)


class TestExamination:
    def test_best_of_a_thousand_random_strategies_is_explained_by_the_trials(self):
        returns = np.random.default_rng(11).normal(0, 0.01, (500, 1000))
        best = returns[:, returns.mean(axis=0).argmax()]
        ratios = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
        alone = {d.name: d for d in examine_sharpe(best, 1, 0.0)}
        assert alone["deflated Sharpe"].passed, "taken for the only one, it looks real"
        found = {d.name: d for d in examine_sharpe(best, 1000, ratios.var(ddof=1))}
        assert found["deflated Sharpe"].reason == "sharpe_explained_by_trials"

    def test_through_the_ledger(self, tmp_path):
        """The number of trials need not be remembered: it is what the ledger says."""
        ledger = tmp_path / "trials.jsonl"
        returns = np.random.default_rng(12).normal(0, 0.01, (500, 1000))
        ratios = returns.mean(axis=0) / returns.std(axis=0, ddof=1) * math.sqrt(365)
        trials.record(
            "sweep", command=["x"], symbols=["XRPUSDT"], interval="15m", config={}, data_hash="d", trials=1000,
            sharpe=trials.summarise(ratios.tolist(), returns=returns), ledger=ledger,
        )  # fmt: skip
        effort = trials.effective_trials(symbols=["XRPUSDT"], ledger=ledger)
        assert effort.trials == pytest.approx(1000, rel=0.01)
        best = returns[:, ratios.argmax()]
        assert examine_sharpe(best, effort.trials, effort.daily_variance)[2].passed is False

    def test_a_real_edge_stands(self):
        returns = np.random.default_rng(13).normal(0.003, 0.01, 500)
        assert all(d.passed for d in examine_sharpe(returns, 1000, 1 / 499))

    def test_too_few(self):
        assert {d.reason.value for d in examine_sharpe(np.zeros(400), 10, 0.1)} == {"too_few"}
        assert {d.reason.value for d in examine_sharpe(np.ones(5), 10, 0.1)} == {"too_few"}

    def test_moments_are_those_of_scipy(self):
        m = moments(np.random.default_rng(1).normal(size=100_000))
        assert (m.skew, m.kurtosis) == (pytest.approx(0, abs=0.03), pytest.approx(3, abs=0.06))
