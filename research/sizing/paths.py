"""Compounding paths of R multiples, vectorised over paths: ruin, returns, drawdowns."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RISKS = (0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.07)
"""Fractions of the current balance risked per trade (`knowledge/cointrader-facts.md` §7)."""

RUIN = 0.2
MAX_RUIN, MAX_DRAWDOWN = 0.01, 0.30
LOWEST, HIGHEST = 0.005, 0.05


class Level(NamedTuple):
    """
    What a risk level does to the paths, all as fractions.

    Attributes
    ----------
    risk, ruin : float
        Fraction risked per trade; share of paths that fell to a fifth of their start.
    p5, p25, median, p75, p95 : float
        Percentiles of the final return; a ruined path counts as -1.
    drawdown, drawdown_95 : float
        Median and 95 % largest drawdown; a ruined path counts as 1.

    """

    risk: float
    ruin: float
    p5: float
    p25: float
    median: float
    p75: float
    p95: float
    drawdown: float
    drawdown_95: float

    @property
    def bearable(self) -> bool:
        """Ruin of at most 1 % and a 95 % drawdown of at most 30 %."""
        return self.ruin <= MAX_RUIN and self.drawdown_95 <= MAX_DRAWDOWN


def run_level(multiples: Floats, risk: float) -> Level:
    """
    Return what risking `risk` of the current balance does.

    Parameters
    ----------
    multiples : np.ndarray
        float64, shape (paths, trades): R multiple of each trade.
    risk : float
        Fraction of the balance at each trade.

    """
    growth = np.maximum(1.0 + risk * multiples, 0.0)
    balance = np.cumprod(growth, axis=1)
    ruined = (balance <= RUIN).any(axis=1)
    peak = np.maximum(np.maximum.accumulate(balance, axis=1), 1.0)
    drawdown = np.where(ruined, 1.0, (1.0 - balance / peak).max(axis=1))
    final = np.where(ruined, 0.0, balance[:, -1]) - 1.0
    p5, p25, median, p75, p95 = (float(x) for x in np.percentile(final, [5, 25, 50, 75, 95]))
    worst = float(np.percentile(drawdown, 95))
    return Level(risk, float(ruined.mean()), p5, p25, median, p75, p95, float(np.median(drawdown)), worst)


def best_level(levels: list[Level]) -> Level | None:
    """Return the bearable level with the highest median return; None if none is bearable."""
    return max((x for x in levels if x.bearable), key=lambda x: x.median, default=None)


def streak_chance(length: int, loss_rate: float, trades: int) -> float:
    """Return the probability of at least one run of `length` losses within `trades` independent trades."""
    states = np.zeros(length + 1)
    states[0] = 1.0
    for _ in range(trades):
        after = np.zeros(length + 1)
        after[0] = states[:length].sum() * (1.0 - loss_rate)
        after[1 : length + 1] = states[:length] * loss_rate
        after[length] += states[length]
        states = after
    return float(states[length])
