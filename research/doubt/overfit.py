"""
Whether the best of many trials is the best out of sample too, and whether it beats doing nothing at all.

Both need what every trial earned in every period, not only the winner: a matrix of shape (periods, trials).

Sources: Bailey, Borwein, López de Prado and Zhu, "The probability of backtest overfitting" (2015) for CSCV; White
(2000) and Hansen (2005) for the reality check and the test for superior predictive ability (``arch.bootstrap``).
"""

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from research.doubt.verdict import Doubt, Reason, falls, stands, unknown

Floats = npt.NDArray[np.float64]

MIN_TRIALS = 10
MIN_PERIODS = 60
MAX_PBO = 0.2
"""Worthless trials give 0.5 on average and, over hundreds of days, 0.25 to 0.75; a real edge gives a few percent."""

MAX_LOSS = 0.5
LEVEL = 0.05
_REPS = 1_000


class Overfit(NamedTuple):
    """
    What CSCV found.

    Attributes
    ----------
    probability : float
        Share of splits in which the best in sample lies at or below the median out of sample.
    logits : np.ndarray
        float64, one per split.
    loss_probability : float
        Share of splits in which the best in sample has a ratio below zero out of sample.
    slope : float
        Of the chosen one's ratio out of sample on that in sample.

    """

    probability: float
    logits: Floats
    loss_probability: float
    slope: float


def backtest_overfitting(returns: Floats, splits: int = 16) -> Overfit:
    """
    Combinatorially symmetric cross-validation over `splits` blocks of equal length (leading rows left over are cut).

    Parameters
    ----------
    returns : np.ndarray
        float64, shape (periods, trials).
    splits : int
        Even number of blocks; 16 gives 12,870 combinations.

    Raises
    ------
    ValueError
        Propagate: `splits` is odd or larger than the number of periods, or there are fewer than two trials.

    """
    if splits % 2 or splits < 2:
        raise ValueError(f"splits: {splits} is not an even number")
    if returns.ndim != 2 or returns.shape[1] < 2 or returns.shape[0] < 2 * splits:
        raise ValueError(f"returns: shape {returns.shape} is too small for {splits} splits of two trials")
    size = len(returns) // splits
    blocks = returns[-size * splits :].reshape(splits, size, -1)
    sums, squares = blocks.sum(axis=1), (blocks**2).sum(axis=1)
    every = np.array(list(combinations(range(splits), splits // 2)))
    trials = returns.shape[1]
    inside_best, outside_best, logits = (np.empty(len(every)) for _ in range(3))
    # In slices: combinations x trials does not fit into memory for thousands of trials.
    step = max(1, 20_000_000 // (trials * 8))
    for first in range(0, len(every), step):
        chosen = np.zeros((len(every[first : first + step]), splits))
        np.put_along_axis(chosen, every[first : first + step], 1.0, axis=1)
        half = size * (splits // 2)
        inside = _ratios(chosen @ sums, chosen @ squares, half)
        outside = _ratios((1 - chosen) @ sums, (1 - chosen) @ squares, half)
        best = inside.argmax(axis=1)
        rows = np.arange(len(best))
        reached = outside[rows, best]
        below = (outside < reached[:, None]).sum(axis=1)
        equal = (outside == reached[:, None]).sum(axis=1)
        rank = below + (equal + 1) / 2
        share = rank / (trials + 1)
        part = slice(first, first + len(best))
        logits[part] = np.log(share / (1 - share))
        inside_best[part], outside_best[part] = inside[rows, best], reached
    spread = float(np.var(inside_best))
    slope = float(np.cov(inside_best, outside_best, bias=True)[0, 1] / spread) if spread > 0 else math.nan
    return Overfit(float((logits <= 0).mean()), logits, float((outside_best < 0).mean()), slope)


def examine_overfit(returns: Floats, splits: int = 16) -> Doubt:
    """Return the doubt on the choice of the best of many trials (CSCV)."""
    name = "probability of backtest overfitting"
    few = _too_few(name, returns)
    if few is not None:
        return few
    while splits > 2 and len(returns) < 4 * splits:
        splits -= 2
    found = backtest_overfitting(returns, splits)
    figures = {
        "probability": found.probability,
        "loss_probability": found.loss_probability,
        "slope": None if math.isnan(found.slope) else found.slope,
        "splits": splits,
        "trials": returns.shape[1],
    }
    text = (
        f"in {found.probability:.0%} of {len(found.logits)} splits the best of {returns.shape[1]} in sample was in the "
        f"lower half out of sample; it lost there in {found.loss_probability:.0%}"
    )
    if found.probability >= MAX_PBO or found.loss_probability >= MAX_LOSS:
        return falls(name, Reason.BACKTEST_OVERFIT, text, **figures)
    return stands(name, text, **figures)


class Superiority(NamedTuple):
    """P-values of Hansen's test (lower, consistent, upper = White's reality check), and what StepM lets stand."""

    lower: float
    consistent: float
    upper: float
    superior: tuple[int, ...]


def superiority(returns: Floats, seed: int, reps: int = _REPS) -> Superiority:
    """
    Test whether the best trial earns more than nothing, given that it is the best of all.

    Parameters
    ----------
    returns : np.ndarray
        float64, shape (periods, trials): what each earned above the benchmark. Trials that never moved are left out.
    seed : int
        Seed of the stationary bootstrap; its block length is chosen from the best trial's returns.
    reps : int
        Bootstrap replications.

    """
    from arch.bootstrap import SPA, StepM  # noqa: PLC0415 - two seconds that only this test pays

    from research.doubt.bootstrap import block_length  # noqa: PLC0415 - as above

    moving = np.flatnonzero(returns.std(axis=0) > 1e-15)
    if not len(moving):
        return Superiority(1.0, 1.0, 1.0, ())
    gains = returns[:, moving]
    best = int(np.argmax(gains.mean(axis=0) / gains.std(axis=0)))
    block = max(1, round(block_length(gains[:, best])))
    nothing = np.zeros(len(gains))
    test = SPA(nothing, -gains, block_size=block, reps=reps, seed=seed)  # arch compares losses
    test.compute()
    stepwise = StepM(nothing, -gains, size=LEVEL, block_size=block, reps=reps, seed=seed)
    stepwise.compute()
    superior = tuple(int(moving[int(str(m).rsplit(".", 1)[-1])]) for m in stepwise.superior_models)
    values = test.pvalues
    return Superiority(float(values["lower"]), float(values["consistent"]), float(values["upper"]), superior)


def examine_superiority(returns: Floats, seed: int, reps: int = _REPS) -> Doubt:
    """Return the doubt on the best trial being better than not trading (Hansen's SPA, White's reality check)."""
    name = "reality check"
    few = _too_few(name, returns)
    if few is not None:
        return few
    found = superiority(returns, seed, reps)
    figures = {
        "p_consistent": found.consistent,
        "p_white": found.upper,
        "superior": list(found.superior),
        "trials": returns.shape[1],
    }
    text = (
        f"p = {found.consistent:.3f} (Hansen), {found.upper:.3f} (White) that the best of {returns.shape[1]} trials "
        f"beats not trading by luck; {len(found.superior)} stand on their own (StepM, {LEVEL:.0%})"
    )
    if found.consistent <= LEVEL:
        return stands(name, text, **figures)
    return falls(name, Reason.NOT_BETTER_THAN_NONE, text, **figures)


def _ratios(sums: Floats, squares: Floats, count: int) -> Floats:
    mean = sums / count
    variance = np.maximum(squares / count - mean**2, 0.0) * count / max(count - 1, 1)
    idle = variance <= 1e-30
    return np.where(idle, 0.0, mean / np.sqrt(np.where(idle, 1.0, variance)))


def _too_few(name: str, returns: Floats) -> Doubt | None:
    if returns.ndim != 2 or returns.shape[1] < MIN_TRIALS or returns.shape[0] < MIN_PERIODS:
        return unknown(
            name,
            Reason.TOO_FEW,
            f"returns of {returns.shape[1] if returns.ndim == 2 else 0} trials over {len(returns)} days: at least "
            f"{MIN_TRIALS} over {MIN_PERIODS} are needed",
        )
    return None
