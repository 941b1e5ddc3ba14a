"""P-values of symbols, their corrections, and the order they give."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from research.doubt.bootstrap import profit_factor, resample, sharpe, trade_intervals
from research.doubt.overfit import superiority
from strategies.yaml_config import FrozenConfig

Floats = npt.NDArray[np.float64]

LEVEL = 0.05


class SymbolRun(FrozenConfig, frozen=True):
    """
    One symbol's run.

    Attributes
    ----------
    symbol : str
        Whose.
    net : list[float]
        Net result of each trade in order of time, USDT.
    days, returns : list[str], list[float]
        UTC days, and daily returns of equity.
    tested_share : float
        Part of the symbol's history in the catalog that the run covers.

    """

    symbol: str
    net: list[float]
    days: list[str]
    returns: list[float]
    tested_share: float


class Row(FrozenConfig, frozen=True):
    """
    One line of the comparison.

    Attributes
    ----------
    symbol, trades, tested_share
        As in :class:`SymbolRun`.
    profit_factor, profit_factor_low, profit_factor_high, win_rate, payoff, expectancy, sharpe : float or None
        Figures, with the 95 % block-bootstrap interval of the profit factor.
    net : float
        USDT.
    p, holm, bh : float or None
        Probability of such a mean daily return without any edge; corrected for the number of symbols. None where the
        symbol is not ranked.
    verdict : str
        ``stands``, ``luck`` or ``too_few``.

    """

    symbol: str
    trades: int
    net: float
    profit_factor: float | None
    profit_factor_low: float | None
    profit_factor_high: float | None
    win_rate: float | None
    payoff: float | None
    expectancy: float | None
    sharpe: float | None
    p: float | None
    holm: float | None
    bh: float | None
    tested_share: float
    verdict: str


class Comparison(FrozenConfig, frozen=True):
    """The lines, best first; p-value of the best against not trading, and the symbols StepM lets stand."""

    rows: list[Row]
    spa_p: float | None
    superior: list[str]
    min_trades: int


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down method."""
    order = np.argsort(p, kind="stable")
    corrected, running = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        corrected[int(i)] = running
    return corrected


def compare(runs: Sequence[SymbolRun], *, min_trades: int, seed: int, reps: int = 2_000) -> Comparison:
    """
    Return the comparison.

    Parameters
    ----------
    runs : sequence of SymbolRun
        One per symbol.
    min_trades : int
        Symbols with fewer closed trades are listed last and not ranked; they count in the corrections all the same,
        because they were looked at.
    seed, reps : int
        Seed and resamples.

    """
    ranked = [r for r in runs if len(r.net) >= min_trades and np.std(r.returns) > 0]
    p = {r.symbol: _p_value(np.array(r.returns), seed, reps) for r in ranked}
    every = [p.get(r.symbol, 1.0) for r in runs]
    by_holm = dict(zip([r.symbol for r in runs], holm(every), strict=True))
    controlled = stats.false_discovery_control(every) if every else []
    by_bh = dict(zip([r.symbol for r in runs], [float(x) for x in controlled], strict=True))
    rows = [_row(r, p.get(r.symbol), by_holm[r.symbol], by_bh[r.symbol], (seed, reps)) for r in runs]
    rows.sort(key=lambda r: (r.p is None, r.p or 0.0, -(r.profit_factor or 0.0), r.symbol))
    matrix, names = _aligned(ranked)
    if len(names) < 2 or len(matrix) < 30:
        return Comparison(rows=rows, spa_p=None, superior=[], min_trades=min_trades)
    found = superiority(matrix, seed, min(reps, 1_000))
    superior = [names[i] for i in found.superior]
    return Comparison(rows=rows, spa_p=found.consistent, superior=superior, min_trades=min_trades)


def _row(run: SymbolRun, p: float | None, by_holm: float, by_bh: float, draws: tuple[int, int]) -> Row:
    net = np.array(run.net, dtype=np.float64)
    wins, losses = net[net > 0], net[net <= 0]
    low = high = None
    if len(net) >= 5:
        i = trade_intervals(net, seed=draws[0], reps=draws[1])["profit_factor"]
        low, high = _finite(i.low), _finite(i.high)
    verdict = "too_few" if p is None else ("stands" if by_holm <= LEVEL else "luck")
    return Row(
        symbol=run.symbol,
        trades=len(net),
        net=float(net.sum()),
        profit_factor=_finite(profit_factor(net)),
        profit_factor_low=low,
        profit_factor_high=high,
        win_rate=len(wins) / len(net) if len(net) else None,
        payoff=_finite(wins.mean() / -losses.mean()) if len(wins) and len(losses) and losses.mean() < 0 else None,
        expectancy=float(net.mean()) if len(net) else None,
        sharpe=_finite(sharpe(np.array(run.returns))),
        p=p,
        holm=None if p is None else by_holm,
        bh=None if p is None else by_bh,
        tested_share=run.tested_share,
        verdict=verdict,
    )


def _p_value(returns: Floats, seed: int, reps: int) -> float:
    """Return the one-sided block-bootstrap p-value of the mean, under returns shifted to a mean of zero."""
    mean = float(returns.mean())
    sample, _ = resample(returns - mean, {"mean": lambda x: float(x.mean())}, seed=seed, reps=reps)
    return float((1 + int((sample["mean"] >= mean).sum())) / (1 + reps))


def _aligned(runs: Sequence[SymbolRun]) -> tuple[Floats, list[str]]:
    """Return daily returns on the days all runs have, shape (days, runs)."""
    if not runs:
        return np.empty((0, 0)), []
    days = sorted(set.intersection(*(set(r.days) for r in runs)))
    columns = []
    for r in runs:
        by_day = dict(zip(r.days, r.returns, strict=True))
        columns.append([by_day[d] for d in days])
    return np.array(columns, dtype=np.float64).T, [r.symbol for r in runs]


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
