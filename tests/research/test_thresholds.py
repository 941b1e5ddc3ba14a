"""The cut that is chosen against trying every one of them, and what it refuses."""

import numpy as np
import pytest

from research.thresholds import MIN_GAP, ThresholdConfig, choose, place
from strategies.errors import DataError

EASY = ThresholdConfig(min_recall=0.0, min_passed=1, min_signals=2)


@pytest.mark.parametrize("seed", range(6))
def test_no_allowed_cut_earns_more(seed):
    random = np.random.default_rng(seed)
    scores = np.round(random.random(120), 2)  # ties
    label = (random.random(120) < 0.3).astype(np.int64)
    net_r = np.where(label == 1, 2.0, -1.0) + random.normal(0, 0.1, 120)
    config = ThresholdConfig(min_recall=0.4, min_passed=20, min_signals=40)
    choice = choose(scores, label, net_r, config)
    threshold = place(choice, random.random(5000))
    passed = scores >= threshold
    assert passed.sum() == choice.passed >= 20
    assert label[passed].sum() / label.sum() == pytest.approx(choice.recall)
    assert choice.recall >= 0.4
    best = max(
        net_r[scores >= t].sum()
        for t in np.unique(scores)
        if (scores >= t).sum() >= 20 and label[scores >= t].sum() >= 0.4 * label.sum()
    )
    assert net_r[passed].sum() == pytest.approx(best), f"seed {seed}"


def test_blocking_nearly_everything_is_not_rewarded():
    # The one best-looking signal has the highest mean, but passing all four earns more per offered signal.
    choice = choose(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 1, 1, 1]), np.array([3.0, 1.0, 1.0, 1.0]), EASY)
    assert choice.passed == 4
    assert choice.net_r_per_signal == 1.5


def test_scores_that_nearly_coincide_are_not_cut_apart():
    scores = np.array([0.5, 0.5 - MIN_GAP / 10, 0.2])
    choice = choose(scores, np.array([1, 0, 0]), np.array([2.0, -1.0, -1.0]), EASY)
    assert choice.passed == 2
    assert 0.2 < place(choice, scores) < 0.5 - MIN_GAP / 10


def test_threshold_keeps_away_from_scores_of_the_export_check():
    choice = choose(np.array([0.9, 0.1]), np.array([1, 0]), np.array([2.0, -1.0]), EASY)
    assert place(choice, np.linspace(0.1, 0.7, 1000)) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("count", "good", "message"), [(39, 10, "39 signals, at least 40"), (40, 0, "no signal reached its target")]
)
def test_too_little_to_choose_on_is_refused(count, good, message):
    label = np.zeros(count, dtype=np.int64)
    label[:good] = 1
    with pytest.raises(DataError, match=message):
        choose(np.linspace(0, 1, count), label, np.ones(count), ThresholdConfig())
