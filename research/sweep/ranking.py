"""
One row per set: figures over all windows together, and the order in which they are worth reading.

A set with few trades ranks behind all others whatever its figures, and a figure that is not defined (a profit factor
without a loss) behind every one that is. Beside the mean stands its lower confidence bound.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float64]

_NOTHING = 1e-9
_SUMS = (
    "trades", "wins", "net", "gross_won", "gross_lost", "gross", "fees", "funding", "r_sum", "r_squares", "bars_held",
)  # fmt: skip
LOWER_IS_BETTER = ("max_drawdown",)


@dataclass(frozen=True, slots=True)
class Totals:
    """
    Figures of N sets over some windows together.

    Attributes
    ----------
    columns : dict of str to ndarray of float64, shape (N,)
        Sums over the windows; ``profit_factor``, ``win_rate``, ``expectancy_r``, its 95 % lower bound
        ``expectancy_r_low`` (Student's t over trades; NaN below two trades), ``sharpe`` of all windows' daily returns
        one behind the other, the largest ``max_drawdown``, and ``windows_won``: windows with a net profit.
    returns : ndarray of float64, shape (days, N)
        Daily returns of all windows.

    """

    columns: dict[str, Floats]
    returns: Floats


def total(figures: dict[str, Floats], returns: list[Floats], windows: list[int]) -> Totals:
    """Return the figures of `windows` (columns of `figures`) together."""
    picked = {name: values[:, windows] for name, values in figures.items()}
    columns = {name: picked[name].sum(axis=1) for name in _SUMS}
    columns["max_drawdown"] = picked["max_drawdown"].max(axis=1)
    columns["windows_won"] = (picked["net"] > 0).sum(axis=1).astype(np.float64)
    columns["ended_early"] = (picked["ended"] > 0).sum(axis=1).astype(np.float64)
    trades, lost = columns["trades"], columns["gross_lost"]
    some = np.maximum(trades, 1.0)
    columns["profit_factor"] = np.where(lost > _NOTHING, columns["gross_won"] / np.maximum(lost, _NOTHING), np.nan)
    columns["win_rate"] = np.where(trades > 0, columns["wins"] / some, np.nan)
    columns["expectancy_r"] = np.where(trades > 0, columns["r_sum"] / some, np.nan)
    columns["expectancy_r_low"] = _lower_bound(trades, columns["r_sum"], columns["r_squares"])
    together = np.concatenate([returns[w] for w in windows], axis=0)
    columns["sharpe"] = _sharpe(together)
    return Totals(columns, together)


def order(columns: dict[str, Floats], objective: str, min_trades: int) -> list[int]:
    """Return the rows from best to worst; equal rows keep their order."""
    values = columns[objective] * (-1.0 if objective in LOWER_IS_BETTER else 1.0)
    undefined = ~np.isfinite(values)
    few = columns["trades"] < min_trades
    rank = np.lexsort((np.where(undefined, 0.0, -values), undefined, few))  # the last key counts first; stable
    return [int(i) for i in rank]


def _lower_bound(n: Floats, total_r: Floats, squares: Floats, level: float = 0.95) -> Floats:
    from scipy.stats import t  # noqa: PLC0415 - heavy

    enough = n >= 2
    count = np.where(enough, n, 2.0)
    mean = total_r / count
    variance = np.maximum(squares - count * mean**2, 0.0) / (count - 1.0)
    return np.where(enough, mean - t.ppf(level, count - 1.0) * np.sqrt(variance / count), np.nan)


def _sharpe(returns: Floats) -> Floats:
    if len(returns) < 2:
        return np.full(returns.shape[1], np.nan)
    deviation = returns.std(axis=0, ddof=1)
    moves = deviation > 1e-15
    return np.where(moves, returns.mean(axis=0) / np.where(moves, deviation, 1.0) * math.sqrt(365.0), np.nan)
