"""Figures against their definitions and against known distributions."""

import math

import numpy as np
import pytest

from research import metrics
from research.calibration import fit_platt


def test_auc_counts_pairs_and_ties_half():
    random = np.random.default_rng(1)
    scores, label = np.round(random.random(150), 1), random.integers(0, 2, 150)
    pairs = [(g > b) + 0.5 * (g == b) for g in scores[label == 1] for b in scores[label == 0]]
    assert metrics.auc(scores, label) == pytest.approx(np.mean(pairs))
    assert math.isnan(metrics.auc(scores, np.ones(150, dtype=np.int64)))


def test_log_loss_of_certain_error_is_finite():
    assert metrics.log_loss(np.array([0.5, 0.5]), np.array([0, 1])) == pytest.approx(math.log(2))
    assert math.isfinite(metrics.log_loss(np.array([0.0, 1.0]), np.array([1, 0])))


def test_describe_counts_what_passes():
    scores, label = np.array([0.9, 0.8, 0.3, 0.2]), np.array([1, 0, 1, 0])
    net_r, close = np.array([2.0, -1.0, 2.0, -1.0]), np.arange(4) * metrics.DAY_NS
    figures = metrics.describe(scores, label, net_r, close, threshold=0.8)
    assert (figures["signals"], figures["good"], figures["passed"], figures["passed_good"]) == (4, 2, 2, 1)
    assert (figures["precision"], figures["recall"], figures["base_rate"]) == (0.5, 0.5, 0.5)
    assert figures["net_r_gain_per_signal"] == -0.25
    assert figures["net_r_lift"] == 0.0
    assert "auc_95" not in figures
    assert metrics.describe(scores[:0], label[:0], net_r[:0], close[:0], threshold=0.5)["signals"] == 0


def test_blocks_of_days_are_wider_where_neighbouring_days_move_alike():
    """A regime of ten days: resampling single days would take every day for a new piece of evidence."""
    random = np.random.default_rng(3)
    regimes = np.repeat(random.normal(size=60), 10)
    close = np.arange(600) * metrics.DAY_NS
    assert metrics.block_days(600) == 8
    mixed = random.permutation(regimes)
    (low, high), (a, b) = (
        metrics.day_bootstrap(lambda rows, x=x: float(x[rows].mean()), close, 1) for x in (regimes, mixed)
    )
    assert high - low > 1.8 * (b - a)
    assert metrics.day_bootstrap(lambda rows: float(regimes[rows].mean()), close, 1) == (low, high)
    # Rows of a day stay together whatever their order, and every resample has as many days as there are.
    shuffled = random.permutation(600)
    sizes = []
    metrics.day_bootstrap(lambda rows: float(sizes.append(len(rows)) or len(rows)), close[shuffled] // 2, 1, 20)
    assert set(sizes) == {600}


def test_day_bootstrap_is_wider_where_days_move_together():
    random = np.random.default_rng(2)
    day = np.repeat(np.arange(40), 10)
    shared = random.normal(size=40)[day]
    close = day * metrics.DAY_NS
    together = metrics.day_bootstrap(lambda rows: float(shared[rows].mean()), close, 1)
    each = random.permutation(400) * metrics.DAY_NS
    alone = metrics.day_bootstrap(lambda rows: float(shared[rows].mean()), each, 1)
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])
    assert metrics.day_bootstrap(lambda _: 1.0, np.zeros(5, dtype=np.int64), 1) is None
    assert metrics.day_bootstrap(lambda _: math.nan, close, 1) is None


def test_platt_recovers_the_distortion_it_undoes():
    random = np.random.default_rng(3)
    logit = random.normal(0, 1.5, 40_000)
    label = (random.random(40_000) < 1 / (1 + np.exp(-(0.5 * logit - 1.0)))).astype(np.int64)
    fitted = fit_platt(1 / (1 + np.exp(-logit)), label)
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert fitted.intercept == pytest.approx(-1.0, abs=0.04)
    scores = np.array([0.0, 0.2, 0.7, 1.0])
    assert (np.diff(fitted(scores)) > 0).all()


def test_platt_never_turns_the_order_around():
    scores = np.linspace(0.01, 0.99, 200)
    fitted = fit_platt(scores, (scores < 0.5).astype(np.int64))
    assert (fitted.slope, fitted.intercept) == (1.0, 0.0)
    separable = fit_platt(scores, (scores > 0.5).astype(np.int64))
    assert np.isfinite(separable(scores)).all()
