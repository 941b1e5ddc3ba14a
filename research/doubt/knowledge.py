"""
Features that know what they cannot: the label, or the bars to come.

Numbers alone cannot tell a leak from an edge; what can is how much is known. Every association is judged by two
questions: is it more than what chance gives series that hang together in time as these do (all rotations of one against
the other are tried), and is it more than anything computed from the past of a liquid market was ever seen to tell?
Where the raw series are at hand, :mod:`research.doubt.recomputed` needs no such limit.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from research.doubt.columns import MIN_ROWS, Floats, Ints
from research.doubt.verdict import Doubt, Reason, falls, stands, unknown
from research.uniqueness import average_uniqueness

MIN_OF_EACH = 15
LEAK_AUC = 0.60
"""Single honest features of 15m BTC, ETH and XRP bars told the label with at most 0.58 in a window of three months."""

LEAK_TREE = 0.62
LEAK_TOGETHER = 0.70
CHANCE = 1e-3
"""Probability, for all columns of a table together, that chance alone accuses one."""

LEAK_SURE = 0.75
_SIGMA_SURE = 6.0
_TREES = 100
_SKIP = 20
"""One part in so many of a series lies too near to a rotation of zero to count as chance."""

HORIZONS = (1, 2, 4, 8, 16, 32, 64, 96)
NEXT_BAR = 0.2
NEXT_BARS = 0.15
"""Honest features correlated with the next 1 to 96 bars' return by at most 0.14 where chance could be excluded."""

_REACTS, _REACTS_SIZE = 0.08, 0.15
_LEADS = 1.5
"""So much more of the future than of the past no feature computed from the past knows."""

_LAGS = 8


class Told(NamedTuple):
    """How well something tells the label (area under the curve, 0.5 or more), and how far that lies above chance."""

    area: float
    sigmas: float


def examine_target(
    rows: npt.NDArray[Any],
    label: Ints,
    names: Sequence[str],
    *,
    independent: float | None = None,
    name: str = "features against label",
) -> Doubt:
    """
    Look for features that know the label: alone (monotone, by a small tree, or by being missing), or all together.

    Parameters
    ----------
    rows : np.ndarray
        Features in order of time, shape (rows, columns).
    label : np.ndarray
        int64, 0 or 1.
    names : sequence of str
        Column names.
    independent : float, optional
        How many labels there would be if none shared bars with another (:func:`independent_labels`); by default all
        count. In a fortnight's trend one side wins every trade, and whatever points to that side tells the label.

    Notes
    -----
    `target_leak` from an area under the curve of 0.60 (small tree 0.62, all together 0.70) that chance gives any of the
    columns less than once in a thousand tables, and from 0.75 that lies six standard errors of single rows above it.
    Trees are judged on the half they were not fitted on.

    """
    good = int((label == 1).sum())
    if len(label) < MIN_ROWS or min(good, len(label) - good) < MIN_OF_EACH:
        return unknown(name, Reason.TOO_FEW, f"{len(label)} rows, {good} good: too few to judge")
    values = np.asarray(rows, dtype=np.float64)
    # Labels that share bars are one label said several times: each counts for less.
    weight = np.sqrt(len(label) / max(min(independent or len(label), len(label)), 1.0))
    enough = _sigmas(3 * values.shape[1]) * weight
    found: dict[str, float] = {}
    best = 0.5
    for i, column in enumerate(names):
        x = values[:, i]
        of_tree = _told(_tree(x[:, None], label), label, directed=True)
        told = (_told(x, label), _told(np.isnan(x).astype(np.float64), label), of_tree)
        best = max(best, *(t.area for t in told))
        leaks = [
            t.area
            for t, limit in zip(told, (LEAK_AUC, LEAK_AUC, LEAK_TREE), strict=True)
            if (t.area >= limit and t.sigmas >= enough) or (t.area >= LEAK_SURE and t.sigmas >= _SIGMA_SURE)
        ]
        if leaks:
            found[column] = max(leaks)
    if found:
        listed = ", ".join(f"{c} ({a:.3f})" for c, a in sorted(found.items(), key=lambda x: -x[1])[:8])
        return falls(name, Reason.TARGET_LEAK, f"these tell the label by themselves (AUC): {listed}", columns=found)
    together = max(_told(_tree(values, label, grown=grown), label, directed=True) for grown in (False, True))
    sure = together.area >= LEAK_SURE and together.sigmas >= _SIGMA_SURE
    if sure or (together.area >= LEAK_TOGETHER and together.sigmas >= enough):
        text = f"all features together tell the label with an AUC of {together.area:.3f}"
        return falls(name, Reason.TARGET_LEAK, text, together=together.area)
    text = f"best single feature AUC {best:.3f}, all together {together.area:.3f}"
    return stands(name, text, best=best, together=together.area)


def examine_timing(
    rows: npt.NDArray[Any], names: Sequence[str], close: Floats, name: str = "features against the next bar"
) -> Doubt:
    """
    Look for features that know the bars to come, given one row per bar.

    Parameters
    ----------
    rows : np.ndarray
        Features of consecutive bars, shape (bars, columns).
    names : sequence of str
        Column names.
    close : np.ndarray
        float64, shape (bars,).

    Notes
    -----
    Three signs. A rank correlation of the feature, or of its change, with the next bar's return of at least 0.2 (or six
    standard errors). One of at least 0.15 with the return of the next 1 to 96 bars, beyond what chance gives any column
    once in a thousand tables, and half as much again as with the return of any as many bars before: what follows the
    market knows more of where it has been. And a change that goes with one of the next 8 bars' return, or its size,
    half as much again as with any of the last 8: it is a bar ahead of its time.

    """
    price = np.log(close)
    if len(price) <= 100:
        return unknown(name, Reason.TOO_FEW, f"{len(close)} bars are too few to judge")
    values = np.asarray(rows, dtype=np.float64)
    horizons = [h for h in HORIZONS if h * 10 < len(price)]
    ahead = {h: _ranked(np.append(price[h:] - price[:-h], np.full(h, np.nan))) for h in horizons}
    behind = {h: _ranked(np.append(np.full(h, np.nan), price[h:] - price[:-h])) for h in horizons}
    size = _ranked(np.append(np.abs(np.diff(price)), np.nan))
    enough = _sigmas(len(horizons) * values.shape[1])
    found: dict[str, str] = {}
    best = 0.0
    for i, column in enumerate(names):
        x, changed = _ranked(values[:, i]), _ranked(np.diff(values[:, i], prepend=np.nan))
        if not x.any():
            continue
        past = max(abs(float(x @ returns)) / len(x) for returns in behind.values())
        for horizon, returns in ahead.items():
            rho, sigmas = _rotated(x, returns)
            best = max(best, rho)
            if rho >= max(NEXT_BARS, _LEADS * past) and sigmas >= enough:
                found.setdefault(column, f"{rho:.2f} with the next {horizon}, {past:.2f} with those before")
        rho = max(abs(float(one @ ahead[1])) / len(x) for one in (x, changed))
        if rho >= max(NEXT_BAR, 6 / np.sqrt(len(x))):
            found.setdefault(column, f"{rho:.2f} with the next bar")
        for of, least, word in ((ahead[1], _REACTS, "return"), (size, _REACTS_SIZE, "size")):
            before, after = _mirror(changed, of)
            if after >= max(least, 6 / np.sqrt(len(price))) and after >= _LEADS * before:
                found.setdefault(column, f"changes with the {word} of later bars, {after:.2f}, not of those before")
    if found:
        listed = ", ".join(f"{c} ({r})" for c, r in list(found.items())[:8])
        return falls(name, Reason.KNOWS_NEXT_BAR, f"these know the bars to come: {listed}", columns=found)
    return stands(name, f"largest correlation with the return of bars to come {best:.3f}", best=best)


def independent_labels(open_time: Ints, label_end: Ints) -> float:
    """
    Return to how many labels that share no bar these amount, whatever their symbols: symbols share their market.

    Parameters
    ----------
    open_time, label_end : np.ndarray
        int64, UTC ns: open of the signal's bar, and close of the last bar its label has seen.

    """
    return float(average_uniqueness(open_time, label_end).sum())


def _sigmas(tests: int) -> float:
    """Return how many standard errors chance exceeds in one of so many tests with a probability of `CHANCE`."""
    return float(stats.norm.isf(CHANCE / (2 * max(tests, 1))))


def _told(x: Floats, label: Ints, *, directed: bool = False) -> Told:
    known = ~np.isnan(x)
    good, bad = int((label[known] == 1).sum()), int((label[known] == 0).sum())
    if min(good, bad) < MIN_OF_EACH or not np.ptp(x[known]) > 0:
        return Told(0.5, 0.0)
    ranks = stats.rankdata(x[known])
    area = float((ranks[label[known] == 1].sum() - good * (good + 1) / 2) / (good * bad))
    _, sigmas = _rotated(_ranked(x), _ranked(np.where(known, label, np.nan)))
    return Told(area if directed else max(area, 1 - area), sigmas)


def _ranked(x: Floats) -> Floats:
    """Return ranks of mean 0 and deviation 1; what is unknown is 0, and so is everything where nothing varies."""
    known = ~np.isnan(x)
    ranked = np.zeros(len(x))
    if known.any() and np.ptp(x[known]) > 0:
        ranks = stats.rankdata(x[known])
        ranked[known] = (ranks - ranks.mean()) / ranks.std()
    return ranked


def _crossed(x: Floats, y: Floats) -> Floats:
    """Return the correlation of ``x[t]`` with ``y[t + s]`` for every rotation ``s``."""
    return np.fft.irfft(np.conj(np.fft.rfft(x)) * np.fft.rfft(y), len(x)) / len(x)


def _rotated(x: Floats, y: Floats) -> tuple[float, float]:
    """Return the size of a correlation, and in how many deviations of the same with one side rotated."""
    every = _crossed(x, y)
    far = every[max(len(x) // _SKIP, 1) : -max(len(x) // _SKIP, 1)]
    # Never less than independent rows would give: few rotations of a short series may all lie near zero.
    spread = max(float(far.std()), 1 / np.sqrt(len(x)))
    return abs(float(every[0])), abs(float(every[0])) / spread


def _mirror(changed: Floats, of: Floats) -> tuple[float, float]:
    """Return the largest correlation of a change with the last bars and with the next ones."""
    every = np.abs(_crossed(changed, of))
    return float(every[-_LAGS:].max()), float(every[:_LAGS].max())


def _tree(values: Floats, label: Ints, *, grown: bool = False) -> Floats:
    """Return what a small tree says of the half it was not fitted on, or (`grown`) a hundred boosted ones, as ranks."""
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415 - a second that only this check pays

    score = np.zeros(len(label))
    clean = np.where(np.isnan(values), 1e30, np.clip(values, -1e29, 1e29)).astype(np.float32)
    half = len(label) // 2
    for train, test in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        if len(np.unique(label[train])) < 2:
            return np.zeros(len(label))
        if grown:
            told = _grown(clean[train], label[train], clean[test])
        else:
            tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=1)
            told = tree.fit(clean[train], label[train]).predict_proba(clean[test])[:, 1]
        score[test] = _ranked(told)  # per half: the scores of two trees are not comparable
    return score


def _grown(rows: npt.NDArray[np.float32], label: Ints, asked: npt.NDArray[np.float32]) -> Floats:
    import lightgbm  # noqa: PLC0415 - three seconds that only this check pays

    settings = {
        "objective": "binary", "num_leaves": 15, "max_depth": 4, "learning_rate": 0.1, "min_data_in_leaf": 10,
        "num_threads": 1, "seed": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1,
    }  # fmt: skip
    fitted = lightgbm.train(settings, lightgbm.Dataset(rows, label), num_boost_round=_TREES)
    return np.asarray(fitted.predict(asked, num_threads=1), dtype=np.float64)
