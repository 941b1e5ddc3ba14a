"""The real R multiples, resampled in blocks: ruin and drawdown at each level, and the streaks that really occur."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from research.doubt.bootstrap import block_length
from research.sizing.ancestor import PATHS, SEED, STREAKS, TRADES
from research.sizing.paths import RISKS, Level, best_level, run_level

Floats = npt.NDArray[np.float64]


class BlockStudy(NamedTuple):
    """
    What the real trades say.

    Attributes
    ----------
    block : float
        Mean block length.
    levels : list[Level]
        At each risk level.
    risk : float or None
        The bearable level with the highest median; None if none is bearable.
    streaks : list[tuple[int, float]]
        Losses in a row, and the share of paths with at least one such run.
    longest : int
        Longest run of losses among the real trades.

    """

    block: float
    levels: list[Level]
    risk: float | None
    streaks: list[tuple[int, float]]
    longest: int


def resampled(multiples: Floats, *, block: float, seed: int = SEED, paths: int = PATHS, trades: int = TRADES) -> Floats:
    """
    Return paths of the stationary bootstrap, shape (paths, trades): blocks of geometric length around `block`.

    Source: Politis and Romano, "The stationary bootstrap" (1994).
    """
    random = np.random.default_rng(seed)
    count = len(multiples)
    at = random.integers(0, count, paths)
    result = np.empty((paths, trades))
    for k in range(trades):
        if k:
            fresh = random.random(paths) < 1.0 / block
            at = np.where(fresh, random.integers(0, count, paths), (at + 1) % count)
        result[:, k] = multiples[at]
    return result


def block_study(multiples: Floats, *, seed: int = SEED, paths: int = PATHS, trades: int = TRADES) -> BlockStudy:
    """Return the study of real R multiples in order of time; unknown ones (no stop) are left out."""
    known = multiples[np.isfinite(multiples)]
    block = block_length(known)
    drawn = resampled(known, block=block, seed=seed, paths=paths, trades=trades)
    levels = [run_level(drawn, risk) for risk in RISKS]
    chosen = best_level(levels)
    runs = longest_runs(drawn <= 0)
    return BlockStudy(
        block=block,
        levels=levels,
        risk=None if chosen is None else chosen.risk,
        streaks=[(n, float((runs >= n).mean())) for n in STREAKS],
        longest=int(longest_runs((known <= 0)[None, :])[0]),
    )


def longest_runs(lost: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the longest run of True in each row of a (paths, trades) array."""
    run = np.zeros(len(lost), dtype=np.int64)
    longest = run.copy()
    for column in lost.T:
        run = np.where(column, run + 1, 0)
        longest = np.maximum(longest, run)
    return longest
