"""Weights of overlapping labels against a count bar by bar, and rows that stand alone."""

import numpy as np
import pytest

from research.uniqueness import average_uniqueness, row_weights


def test_labels_that_overlap_share_their_bars():
    # Bars 1..4: the first label watches 1-2, the second 2-4; bar 2 is shared.
    weight = average_uniqueness(np.array([0, 1]), np.array([2, 4]))
    assert weight.tolist() == pytest.approx([(1 + 0.5) / 2, (0.5 + 1 + 1) / 3])


def test_labels_apart_and_labels_alike():
    assert average_uniqueness(np.array([0, 5]), np.array([5, 9])).tolist() == [1.0, 1.0]
    assert average_uniqueness(np.array([3, 3, 3]), np.array([7, 7, 7])).tolist() == pytest.approx([1 / 3] * 3)
    with pytest.raises(ValueError, match="end after"):
        average_uniqueness(np.array([3]), np.array([3]))


def test_a_count_bar_by_bar_gives_the_same():
    seed = 20_251
    random = np.random.default_rng(seed)
    start = random.integers(0, 300, 80)
    end = start + random.integers(1, 60, 80)
    open_at = [sum(s < bar <= e for s, e in zip(start, end, strict=True)) for bar in range(400)]
    by_hand = [np.mean([1 / open_at[bar] for bar in range(s + 1, e + 1)]) for s, e in zip(start, end, strict=True)]
    assert average_uniqueness(start, end).tolist() == pytest.approx(by_hand), f"seed {seed}"


def test_symbols_are_counted_apart():
    ones = row_weights(np.array([0, 1]), np.array([0, 0]), np.array([4, 4]))
    assert ones.tolist() == [1.0, 1.0]
