"""Fold results put together: one line of equity per variant, and the doubt beside every figure."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from node.config import format_time
from node.statistics import Statistics, compute, daily_equity
from research.walkforward.folds import Fold
from research.walkforward.trial import FoldResult, Judged, Trade
from strategies.yaml_config import FrozenConfig

TOO_FEW = 30
"""Trades below which nothing may be concluded."""


class FoldLine(FrozenConfig, frozen=True):
    """One fold in a table; `months_own` profit factor is of that fold alone."""

    fold: Fold
    params: dict[str, dict[str, Any]]
    trades: int
    net_pnl: float
    profit_factor: float | None
    max_drawdown: float
    start_balance: float
    end_balance: float
    forced: int
    data_hash: str


class GateFigures(FrozenConfig, frozen=True):
    """
    What the ML gate said over all test windows, and what the signals were worth whatever it said (net R after costs).

    Attributes
    ----------
    reasons : dict of str to int
        Verdict reasons.
    scored, passed, blocked : int
        Signals with a score; at least the threshold; below.
    net_r_passed, net_r_blocked : float or None
        Mean counterfactual result.
    net_r_difference_95 : (float, float) or None
        95 % interval of mean passed minus mean blocked, blocks of days resampled.

    """

    reasons: dict[str, int]
    scored: int
    passed: int
    blocked: int
    net_r_passed: float | None
    net_r_blocked: float | None
    net_r_difference_95: tuple[float, float] | None


class Variant(FrozenConfig, frozen=True):
    """
    One account walked with one gate mode.

    Attributes
    ----------
    ended : str
        ``complete``, or ``ruin`` with the fold in `ended_fold`.
    tested_share : float
        Share of the account's history that lies in a test window that was run.
    intervals : dict of str to (float, float) or None
        95 % block-bootstrap intervals; None where there is too little to resample.
    statistics : Statistics
        Over the joined equity.
    equity : list of (int, float, float)
        Time, equity, balance, joined: compounding as it is; with fresh accounts profits are added up.

    """

    account: str
    symbols: list[str]
    gate: str
    ended: str
    ended_fold: int | None
    history: tuple[str, str]
    tested: tuple[str, str]
    tested_share: float
    start_balance: float
    statistics: Statistics
    intervals: dict[str, tuple[float, float] | None]
    lines: list[FoldLine]
    gate_figures: GateFigures | None
    verdicts: dict[str, int]
    incidents: dict[str, int]
    trades: list[Trade]
    judged: list[Judged]
    equity: list[tuple[int, float, float]]
    funding: list[tuple[int, str, float]]


def joined(results: Sequence[FoldResult], *, compound: bool) -> list[tuple[int, float, float]]:
    """Return the equity of consecutive windows as one line; nothing is open where they meet."""
    line: list[tuple[int, float, float]] = []
    shift = 0.0
    for result in results:
        line += [(t, e + shift, b + shift) for t, e, b in result.equity]
        if not compound:
            shift += result.end_balance - result.start_balance
    return line


def variant(
    symbols: list[str],
    gate: str,
    results: Sequence[FoldResult],
    history: tuple[int, int],
    *,
    compound: bool,
    ruined: bool,
    seed: int,
) -> Variant:
    """Return the figures of a walked account; `results` are its folds in order, at least one."""
    trades = [t for r in results for t in r.trades]
    line = joined(results, compound=compound)
    start = results[0].start_balance
    judged = [j for r in results for j in r.judged]
    tested = sum(r.fold.test_end - r.fold.test_start for r in results) / (history[1] - history[0])
    return Variant(
        account="-".join(symbols),
        symbols=symbols,
        gate=gate,
        ended="ruin" if ruined else "complete",
        ended_fold=results[-1].fold.index if ruined else None,
        history=(format_time(history[0]) or "", format_time(history[1]) or ""),
        tested=(format_time(results[0].fold.test_start) or "", format_time(results[-1].fold.test_end) or ""),
        tested_share=tested,
        start_balance=start,
        statistics=compute(start, [p[0] for p in line], [p[1] for p in line], trades),  # type: ignore[arg-type]
        intervals=intervals([t.net_pnl for t in trades], returns(start, line), seed),
        lines=[_line(r) for r in results],
        gate_figures=None if gate == "off" else gate_figures(judged, seed),
        verdicts=_sum(r.verdicts for r in results),
        incidents=_sum(r.incidents for r in results),
        trades=trades,
        judged=judged,
        equity=line,
        funding=[f for r in results for f in r.funding],
    )


def returns(start: float, line: Sequence[tuple[int, float, float]]) -> np.ndarray:
    """Return daily returns of an equity line that began with `start`."""
    _, daily = daily_equity([p[0] for p in line], [p[1] for p in line])
    levels = np.array([start, *daily], dtype=float)
    return np.diff(levels) / np.maximum(levels[:-1], 1e-12)


def intervals(net: Sequence[float], daily: np.ndarray, seed: int) -> dict[str, tuple[float, float] | None]:
    """Return 95 % intervals of profit factor, expectancy, Sharpe ratio and drawdown by block bootstrap."""
    from research.doubt.bootstrap import MIN_DAYS, daily_intervals, trade_intervals  # noqa: PLC0415 - slow import

    found: dict[str, tuple[float, float] | None] = dict.fromkeys(
        ("profit_factor", "expectancy", "sharpe", "max_drawdown")
    )
    sources: dict[str, Any] = {}
    if len(net) >= 5:
        sources |= trade_intervals(np.array(net, dtype=float), seed=seed)
    if len(daily) >= MIN_DAYS and np.std(daily) > 0:
        sources |= daily_intervals(daily, seed=seed)
    for name, i in sources.items():
        if math.isfinite(i.low) and math.isfinite(i.high):
            found[name] = (i.low, i.high)
    return found


def gate_figures(judged: Sequence[Judged], seed: int) -> GateFigures:
    """Return what a gate passed and blocked, with the counterfactual results."""
    from research.metrics import day_bootstrap  # noqa: PLC0415 - one use

    reasons: dict[str, int] = {}
    for j in judged:
        if j.ml is not None:
            reasons[j.ml] = reasons.get(j.ml, 0) + 1
    scored = [j for j in judged if j.score is not None and j.threshold is not None]
    passes = np.array([(j.score or 0.0) >= (j.threshold or 0.0) for j in scored], dtype=bool)
    known = np.array([j.net_r is not None for j in scored], dtype=bool)
    net_r = np.array([j.net_r if j.net_r is not None else np.nan for j in scored], dtype=float)
    times = np.array([j.time for j in scored], dtype=np.int64)
    passed, blocked = net_r[known & passes], net_r[known & ~passes]
    spread = None
    if len(passed) >= 5 and len(blocked) >= 5:
        x, p = net_r[known], passes[known]
        spread = day_bootstrap(lambda rows: _mean(x[rows][p[rows]]) - _mean(x[rows][~p[rows]]), times[known], seed)
    return GateFigures(
        reasons=dict(sorted(reasons.items())),
        scored=len(scored),
        passed=int(passes.sum()),
        blocked=int((~passes).sum()),
        net_r_passed=float(passed.mean()) if len(passed) else None,
        net_r_blocked=float(blocked.mean()) if len(blocked) else None,
        net_r_difference_95=spread,
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _line(r: FoldResult) -> FoldLine:
    return FoldLine(
        fold=r.fold,
        params=r.params,
        trades=r.statistics.trades,
        net_pnl=r.statistics.net_pnl,
        profit_factor=r.statistics.profit_factor,
        max_drawdown=r.statistics.max_drawdown,
        start_balance=r.start_balance,
        end_balance=r.end_balance,
        forced=sum(t.exit_reason == "END_OF_FOLD" for t in r.trades),
        data_hash=r.data_hash,
    )


def _sum(parts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return dict(sorted(total.items()))


def plain(variant_: Variant) -> dict[str, Any]:
    """Return a variant as plain data, times in ISO-8601."""
    data: dict[str, Any] = msgspec.to_builtins(variant_)
    for trade in data["trades"]:
        for name in ("entry_time", "exit_time"):
            trade[name] = format_time(trade[name])
    for line in data["lines"]:
        for name in ("train_start", "train_end", "test_start", "test_end"):
            line["fold"][name] = format_time(line["fold"][name])
    for judged in data["judged"]:
        judged["time"] = format_time(judged["time"])
    data["equity"] = [[format_time(t), e, b] for t, e, b in data["equity"]]
    data["funding"] = [[format_time(t), s, a] for t, s, a in data["funding"]]
    return data
