"""How good scores are, on signal rows only, each figure with its count and its doubt."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from research.labels import Floats, Ints

Bools = npt.NDArray[np.bool_]

MEANINGFUL = 100
"""Signals below which no figure of a window means much."""

DAY_NS = 86_400_000_000_000
_RESAMPLES = 1_000
_CLIP = 1e-12


def auc(scores: Floats, label: Ints) -> float:
    """Return the probability that a good signal scores above a bad one, ties counted half; NaN without both kinds."""
    good, bad = np.count_nonzero(label == 1), np.count_nonzero(label == 0)
    if not good or not bad:
        return math.nan
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    return float((mean_rank[inverse][label == 1].sum() - good * (good + 1) / 2) / (good * bad))


def log_loss(scores: Floats, label: Ints) -> float:
    """Return the mean negative log likelihood, natural logarithm."""
    return float(np.mean(_losses(scores, label)))


def log_loss_weighted(scores: Floats, label: Ints, weight: Floats) -> float:
    """Return the log loss in which each row counts by its weight."""
    return float(np.average(_losses(scores, label), weights=weight))


def _losses(scores: Floats, label: Ints) -> Floats:
    p = np.clip(scores, _CLIP, 1 - _CLIP)
    return np.asarray(-np.where(label == 1, np.log(p), np.log(1 - p)))


def calibration_table(scores: Floats, label: Ints, bins: int = 5) -> list[dict[str, float]]:
    """Return, for bins of equal count by score: count, mean score, share of good signals."""
    order = np.argsort(scores, kind="stable")
    return [
        {"count": len(part), "mean_score": float(scores[part].mean()), "good_share": float(label[part].mean())}
        for part in np.array_split(order, min(bins, len(order)))
        if len(part)
    ]


def calibration_error(scores: Floats, label: Ints, bins: int = 5) -> float:
    """Return the mean absolute gap between score and share of good signals over the bins, weighted by count."""
    table = calibration_table(scores, label, bins)
    return sum(row["count"] * abs(row["mean_score"] - row["good_share"]) for row in table) / len(scores)


def block_days(days: int) -> int:
    """Return the length of the blocks that `days` days are resampled in: their cube root, the rate of Künsch (1989)."""
    return max(1, round(days ** (1 / 3)))


def day_bootstrap(
    statistic: Callable[[Ints], float], close_time: Ints, seed: int, resamples: int = _RESAMPLES
) -> tuple[float, float] | None:
    """
    Return the 95 % percentile interval of a statistic under resampling of blocks of consecutive UTC days.

    Signals of one day share their market, and neighbouring days their regime: single rows or single days would give
    intervals that are too narrow. Circular blocks of :func:`block_days` days that have signals (``arch.bootstrap``).

    Parameters
    ----------
    statistic : Callable
        Takes int64 row indices (with repeats), returns a number; NaN samples are left out.
    close_time : np.ndarray
        int64, close of each row's bar, UTC ns.
    seed : int
        Seed of the resampling.
    resamples : int
        Number of resamples.

    Returns
    -------
    tuple[float, float] or None
        None where fewer than two days, or half of the samples, give a number.

    """
    _, day = np.unique(close_time // DAY_NS, return_inverse=True)
    days = int(day.max()) + 1 if len(day) else 0
    if days < 2:
        return None
    from arch.bootstrap import CircularBlockBootstrap  # noqa: PLC0415 - two seconds that only resampling pays

    order = np.argsort(day, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(day))[:-1])
    drawn = CircularBlockBootstrap(block_days(days), np.arange(days), seed=np.random.default_rng(seed))
    samples = (np.asarray(data[0], dtype=np.int64) for data, _ in drawn.bootstrap(resamples))
    values = np.array([statistic(np.concatenate([members[d] for d in picked])) for picked in samples])
    values = values[np.isfinite(values)]
    if len(values) < resamples / 2:
        return None
    return float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5))


def describe(
    scores: Floats,
    label: Ints,
    net_r: Floats,
    close_time: Ints,
    *,
    threshold: float,
    weight: Floats | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """
    Return the figures of one window as plain data; NaN where a figure does not exist.

    ``net_r_gain_per_signal`` is what blocking saved; where signals lose on average, blocking at random gains too, so
    ``net_r_lift`` (mean of the passed minus mean of all) is the figure that says whether the model chooses.

    Parameters
    ----------
    scores, net_r : np.ndarray
        float64, calibrated probability and result in units of planned risk.
    label, close_time : np.ndarray
        int64, 0 or 1, and close of the signal bar in UTC ns.
    threshold : float
        Scores at least this pass.
    weight : np.ndarray, optional
        float64, uniqueness of each row: adds figures in which overlapping labels share one vote (``…_weighted``), and
        the number of signals they amount to (``effective_signals``).
    seed : int, optional
        Adds bootstrap intervals (``…_95``) with this seed.

    """
    count = len(scores)
    passed = scores >= threshold
    result: dict[str, Any] = {
        "signals": count,
        "good": int(label.sum()),
        "passed": int(passed.sum()),
        "passed_good": int(label[passed].sum()),
    }
    if not count:
        return result
    result |= {
        "base_rate": float(label.mean()),
        "auc": auc(scores, label),
        "precision": _mean(label[passed]),
        "recall": float(label[passed].sum() / label.sum()) if label.any() else math.nan,
        "log_loss": log_loss(scores, label),
        "log_loss_of_base_rate": log_loss(np.full(count, label.mean()), label),
        "brier": float(np.mean((scores - label) ** 2)),
        "calibration_error": calibration_error(scores, label),
        "calibration": calibration_table(scores, label),
        "net_r_all": _mean(net_r),
        "net_r_passed": _mean(net_r[passed]),
        "net_r_blocked": _mean(net_r[~passed]),
        "net_r_gain_per_signal": float(-net_r[~passed].sum() / count),
        "net_r_lift": _mean(net_r[passed]) - _mean(net_r),
    }
    if weight is not None:
        result |= {
            "effective_signals": float(weight.sum()),
            "effective_passed": float(weight[passed].sum()),
            "log_loss_weighted": log_loss_weighted(scores, label, weight),
            "net_r_all_weighted": _mean(net_r, weight),
            "net_r_passed_weighted": _mean(net_r[passed], weight[passed]),
        }
    if seed is not None:
        statistics: dict[str, Callable[[Ints], float]] = {
            "auc": lambda rows: auc(scores[rows], label[rows]),
            "precision": lambda rows: _mean(label[rows][passed[rows]]),
            "net_r_passed": lambda rows: _mean(net_r[rows][passed[rows]]),
            "net_r_lift": lambda rows: _mean(net_r[rows][passed[rows]]) - _mean(net_r[rows]),
            "net_r_gain_per_signal": lambda rows: float(-(net_r[rows] * ~passed[rows]).sum() / len(rows)),
        }
        for name, statistic in statistics.items():
            result[f"{name}_95"] = day_bootstrap(statistic, close_time, seed)
    return result


def _mean(values: npt.NDArray[Any], weight: Floats | None = None) -> float:
    return float(np.average(values, weights=weight)) if len(values) else math.nan
