"""
The ancestor's Monte-Carlo, rule by rule (`knowledge/cointrader-facts.md` §7), with numpy over all paths at once.

Its weak points are kept and said: trades are independent, two-valued, and know no leverage or liquidation. The block
bootstrap beside it has none of the first two.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from research.sizing.paths import HIGHEST, LOWEST, RISKS, Level, best_level, run_level, streak_chance
from strategies.errors import DataError

Floats = npt.NDArray[np.float64]

PATHS, TRADES, SEED = 10_000, 200, 42
MIN_TRADES = 5
STREAKS = (4, 6, 8, 10, 12)
ATRS = (0.010, 0.012, 0.015)
LEVERAGE, MOST_MARGIN = 10, 0.50


class Observed(NamedTuple):
    """Win rate, mean R of winners and of losers (negative), number of trades."""

    win_rate: float
    win: float
    loss: float
    trades: int


class Ranges(NamedTuple):
    """What a path draws from, uniformly: win rate, R of a win, R of a loss; the pessimistic end first."""

    win_rate: tuple[float, float]
    win: tuple[float, float]
    loss: tuple[float, float]


class Study(NamedTuple):
    """
    The ancestor's answer.

    Attributes
    ----------
    observed, ranges : Observed, Ranges
        What went in.
    kelly, worst_kelly : float
        Kelly fraction of the observed figures and of the pessimistic ends.
    robust, worst : list[Level]
        Levels under drawn and under pinned pessimistic figures.
    robust_risk, worst_risk : float or None
        Chosen level of each; None when none is bearable.
    recommended : float
        ``min(robust, worst, worst Kelly / 2)``, between 0.5 % and 5 %; a level that is None counts as the lowest.
    streaks : list[tuple[int, float, float]]
        Losses in a row, fall of the balance at the recommended level, chance within 200 trades.
    margins : list[tuple[float, float]]
        ATR as a fraction of the price, and the margin cap ``risk / (10 * ATR)``, at most 0.5.

    """

    observed: Observed
    ranges: Ranges
    kelly: float
    worst_kelly: float
    robust: list[Level]
    worst: list[Level]
    robust_risk: float | None
    worst_risk: float | None
    recommended: float
    streaks: list[tuple[int, float, float]]
    margins: list[tuple[float, float]]


def observe(multiples: Floats) -> Observed:
    """
    Return the figures of real trades.

    Raises
    ------
    DataError
        Propagate: fewer than five trades with a known R, or no winner or no loser among them.

    """
    known = multiples[np.isfinite(multiples)]
    wins, losses = known[known > 0], known[known <= 0]
    if len(known) < MIN_TRADES or not len(wins) or not len(losses):
        raise DataError(
            f"{len(known)} trades with a known stop ({len(wins)} won): at least {MIN_TRADES} with winners and losers "
            "are needed: use a longer run"
        )
    return Observed(len(wins) / len(known), float(wins.mean()), float(losses.mean()), len(known))


def ranges_of(o: Observed) -> Ranges:
    """Return the ranges around the observed figures."""
    return Ranges(
        win_rate=(max(0.25, o.win_rate - 0.10), min(0.55, o.win_rate + 0.07)),
        win=(max(2.0, o.win - 1.0), o.win + 1.2),
        loss=(o.loss - 0.3, min(-0.8, o.loss + 0.3)),
    )


def kelly(win_rate: float, win: float, loss: float) -> float:
    """Return ``(w * win - (1 - w) * |loss|) / win``."""
    return (win_rate * win - (1.0 - win_rate) * abs(loss)) / win


def draw(ranges: Ranges, *, seed: int = SEED, paths: int = PATHS, trades: int = TRADES) -> Floats:
    """Return R multiples, shape (paths, trades): each path draws its three figures once, its trades take two values."""
    random = np.random.default_rng(seed)
    win_rate, win, loss = (low + (high - low) * random.random((paths, 1)) for low, high in ranges)
    return np.where(random.random((paths, trades)) < win_rate, win, loss)


def study(multiples: Floats, *, seed: int = SEED, paths: int = PATHS, trades: int = TRADES) -> Study:
    """
    Return the ancestor's study of real R multiples.

    Raises
    ------
    DataError
        Propagate: see :func:`observe`.

    """
    observed = observe(multiples)
    ranges = ranges_of(observed)
    pinned = Ranges(*((low, low) for low, _ in ranges))
    robust, worst = (
        [run_level(drawn, risk) for risk in RISKS]
        for drawn in (draw(r, seed=seed, paths=paths, trades=trades) for r in (ranges, pinned))
    )
    low_win_rate, low_win, low_loss = (pair[0] for pair in ranges)
    worst_kelly = kelly(low_win_rate, low_win, low_loss)
    chosen, pessimistic = best_level(robust), best_level(worst)
    candidates = [LOWEST if level is None else level.risk for level in (chosen, pessimistic)]
    recommended = min(max(min(*candidates, worst_kelly / 2), LOWEST), HIGHEST)
    fall = abs(observed.loss) * recommended
    return Study(
        observed=observed,
        ranges=ranges,
        kelly=kelly(observed.win_rate, observed.win, observed.loss),
        worst_kelly=worst_kelly,
        robust=robust,
        worst=worst,
        robust_risk=None if chosen is None else chosen.risk,
        worst_risk=None if pessimistic is None else pessimistic.risk,
        recommended=recommended,
        streaks=[(n, 1 - (1 - fall) ** n, streak_chance(n, 1 - observed.win_rate, trades)) for n in STREAKS],
        margins=[(atr, min(recommended / (LEVERAGE * atr), MOST_MARGIN)) for atr in ATRS],
    )
