"""
Figures of a run, from its daily equity and its trades. Crypto trades every day: a year has 365.

All fractions, not percentages. Undefined figures (no loss, no trade, no variance) are None, never infinity: infinity
does not survive JSON and wins every ranking.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from strategies.records import TradeRecord

DAYS_PER_YEAR = 365
_DAY_NS = 86_400_000_000_000
_NOTHING = 1e-9
"""USDT below which a sum of losses is rounding, not a loss to divide by."""


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """
    Statistics of one run.

    Attributes
    ----------
    days : int
        Daily returns the ratios rest on.
    total_return, annual_return : float
        Of equity including unrealised profit; annual compounds over 365 days.
    volatility, sharpe, sortino : float or None
        Of daily returns, annualised by sqrt(365), sample standard deviation, no risk-free rate.
    max_drawdown : float
        Largest fall of *every* equity point from its running maximum, as a fraction of the maximum.
    max_drawdown_days : float
        Longest time below a previous maximum.
    trades, wins, losses : int
        Closed trades; a win has net profit above zero.
    profit_factor, payoff, win_rate, expectancy : float or None
        From net results; expectancy in USDT per trade.
    gross_pnl, fees, funding, net_pnl : float
        USDT over closed trades.

    """

    days: int
    total_return: float
    annual_return: float | None
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    max_drawdown: float
    max_drawdown_days: float
    trades: int
    wins: int
    losses: int
    win_rate: float | None
    profit_factor: float | None
    payoff: float | None
    expectancy: float | None
    gross_pnl: float
    fees: float
    funding: float
    net_pnl: float


def daily_equity(times_ns: Sequence[int], equity: Sequence[float]) -> tuple[list[int], list[float]]:
    """
    Return the last equity value of every UTC day between first and last point; days without a point repeat the last.

    Parameters
    ----------
    times_ns : sequence of int
        Increasing UTC nanoseconds.
    equity : sequence of float
        USDT, same length.

    Returns
    -------
    tuple[list[int], list[float]]
        Day numbers since 1970-01-01 and values.

    """
    days: list[int] = []
    values: list[float] = []
    for time, value in zip(times_ns, equity, strict=True):
        day = (time - 1) // _DAY_NS  # a point at midnight closes the day before
        while days and days[-1] < day - 1:
            days.append(days[-1] + 1)
            values.append(values[-1])
        if days and days[-1] == day:
            values[-1] = value
        else:
            days.append(day)
            values.append(value)
    return days, values


def compute(
    start_balance: float, times_ns: Sequence[int], equity: Sequence[float], trades: Sequence[TradeRecord]
) -> Statistics:
    """Return the statistics of a run that began with `start_balance` USDT."""
    _, daily = daily_equity(times_ns, equity)
    levels = np.array([start_balance, *daily], dtype=float)
    returns = np.diff(levels) / np.maximum(levels[:-1], 1e-12)
    total = float(levels[-1] / start_balance - 1.0)
    drawdown, below = _drawdown(start_balance, times_ns, equity)
    nets = [t.net_pnl for t in trades]
    wins = [n for n in nets if n > 0]
    losses = [n for n in nets if n <= 0]
    lost = -sum(losses)
    deviation = _std(returns)
    return Statistics(
        days=len(returns),
        total_return=total,
        annual_return=_annual(total, len(returns)),
        volatility=None if deviation is None else deviation * math.sqrt(DAYS_PER_YEAR),
        sharpe=_ratio(returns, deviation),
        sortino=_ratio(returns, _downside(returns)),
        max_drawdown=drawdown,
        max_drawdown_days=below,
        trades=len(nets),
        wins=len(wins),
        losses=len(losses),
        win_rate=len(wins) / len(nets) if nets else None,
        profit_factor=sum(wins) / lost if lost > _NOTHING else None,
        payoff=(sum(wins) / len(wins)) / (lost / len(losses)) if wins and lost > _NOTHING else None,
        expectancy=sum(nets) / len(nets) if nets else None,
        gross_pnl=sum(t.gross_pnl for t in trades),
        fees=sum(t.fees for t in trades),
        funding=sum(t.funding for t in trades),
        net_pnl=sum(nets),
    )


def _std(returns: np.ndarray) -> float | None:
    if len(returns) < 2:
        return None
    deviation = float(np.std(returns, ddof=1))
    return deviation if deviation > 1e-15 else None


def _downside(returns: np.ndarray) -> float | None:
    if len(returns) < 2:
        return None
    deviation = float(np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2)))
    return deviation if deviation > 1e-15 else None


def _ratio(returns: np.ndarray, deviation: float | None) -> float | None:
    return None if deviation is None else float(np.mean(returns)) / deviation * math.sqrt(DAYS_PER_YEAR)


def _annual(total: float, days: int) -> float | None:
    if days == 0:
        return None
    if total <= -1.0:
        return -1.0
    try:
        return float((1.0 + total) ** (DAYS_PER_YEAR / days) - 1.0)
    except OverflowError:  # a good day extrapolated to a year
        return None


def _drawdown(start: float, times_ns: Sequence[int], equity: Sequence[float]) -> tuple[float, float]:
    peak, worst, longest = start, 0.0, 0
    peak_time = times_ns[0] if times_ns else 0
    for time, value in zip(times_ns, equity, strict=True):
        if value >= peak:
            peak, peak_time = value, time
        else:
            worst = max(worst, (peak - value) / peak if peak > 0 else 0.0)
            longest = max(longest, time - peak_time)
    return worst, longest / _DAY_NS
