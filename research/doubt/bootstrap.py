"""
Intervals by resampling blocks, so that runs of wins and losses stay together.

Stationary bootstrap of Politis and Romano (1994) or circular blocks, with the block length of Politis and White (2004,
corrected 2009), all from ``arch.bootstrap``.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from research.doubt.verdict import Doubt, Reason, falls, stands, unknown

Floats = npt.NDArray[np.float64]
Blocks = Literal["stationary", "circular"]

MIN_TRADES = 20
MIN_DAYS = 30
REPS = 2_000
_YEAR = math.sqrt(365)


class Interval(NamedTuple):
    """Estimate, 95 % percentile interval, share of resamples at or below the neutral value, block length."""

    estimate: float
    low: float
    high: float
    neutral_share: float
    block: float


def profit_factor(net: Floats) -> float:
    """Return gains over losses; infinite without a loss, NaN without a trade."""
    lost = float(-net[net < 0].sum())
    won = float(net[net > 0].sum())
    return won / lost if lost > 0 else (math.inf if won > 0 else math.nan)


def sharpe(returns: Floats) -> float:
    """Return the annualised ratio of daily returns; NaN without variance."""
    deviation = float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0
    return float(np.mean(returns)) / deviation * _YEAR if deviation > 1e-15 else math.nan


def max_drawdown(returns: Floats) -> float:
    """Return the largest fall of compounded returns from their maximum, as a fraction; ruin is 1."""
    level = np.concatenate([[1.0], np.cumprod(np.maximum(1.0 + returns, 0.0))])
    return float(np.max(1.0 - level / np.maximum.accumulate(level)))


def block_length(values: Floats, blocks: Blocks = "stationary") -> float:
    """Return the automatic block length of a series, between 1 and a third of it; 1 where it cannot be estimated."""
    from arch.bootstrap import optimal_block_length  # noqa: PLC0415 - two seconds that only resampling pays

    if len(values) < 10 or not np.std(values) > 0:
        return 1.0
    with np.errstate(all="ignore"):
        found = float(optimal_block_length(values)[blocks].iloc[0])
    return min(max(found, 1.0), len(values) / 3) if math.isfinite(found) else 1.0


def resample(
    values: Floats,
    statistics: Mapping[str, Callable[[Floats], float]],
    *,
    seed: int,
    reps: int = REPS,
    blocks: Blocks = "stationary",
    block: float | None = None,
) -> tuple[dict[str, Floats], float]:
    """
    Return the resampled values of statistics of one series, and the block length used.

    Parameters
    ----------
    values : np.ndarray
        float64, shape (n,) or (n, k): rows are resampled.
    statistics : dict[str, Callable]
        From a resampled array to a number.
    seed, reps, blocks, block
        Seed, replications, kind of blocks and their (mean) length; by default the automatic one of the first column.

    """
    from arch.bootstrap import CircularBlockBootstrap, StationaryBootstrap  # noqa: PLC0415 - see block_length

    length = block_length(values if values.ndim == 1 else values[:, 0], blocks) if block is None else block
    generator = np.random.default_rng(seed)
    drawn: Any
    if blocks == "stationary":
        drawn = StationaryBootstrap(length, values, seed=generator)  # type: ignore[arg-type]  # a mean may be a fraction
    else:
        drawn = CircularBlockBootstrap(max(1, round(length)), values, seed=generator)

    def every(sample: Floats) -> Floats:
        return np.array([f(sample) for f in statistics.values()])

    table = drawn.apply(every, reps)
    return {name: table[:, i] for i, name in enumerate(statistics)}, length


def interval(estimate: float, sample: Floats, neutral: float, block: float) -> Interval:
    """Return the 95 % percentile interval; resamples without a value are left out, infinite ones kept."""
    known = sample[~np.isnan(sample)]
    if len(known) < len(sample) / 2:
        return Interval(estimate, math.nan, math.nan, math.nan, block)
    low, high = np.percentile(known, [2.5, 97.5], method="nearest")
    return Interval(estimate, float(low), float(high), float((known <= neutral).mean()), block)


def trade_intervals(net: Floats, *, seed: int, reps: int = REPS, blocks: Blocks = "stationary") -> dict[str, Interval]:
    """Return intervals of ``profit_factor`` and ``expectancy`` over trades in order of time."""
    statistics = {"profit_factor": profit_factor, "expectancy": lambda x: float(x.mean())}
    samples, block = resample(net, statistics, seed=seed, reps=reps, blocks=blocks)
    neutral = {"profit_factor": 1.0, "expectancy": 0.0}
    return {n: interval(f(net), samples[n], neutral[n], block) for n, f in statistics.items()}


def daily_intervals(
    returns: Floats, *, seed: int, reps: int = REPS, blocks: Blocks = "stationary"
) -> dict[str, Interval]:
    """Return intervals of ``sharpe`` (annual) and ``max_drawdown`` over daily returns."""
    statistics = {"sharpe": sharpe, "max_drawdown": max_drawdown}
    samples, block = resample(returns, statistics, seed=seed, reps=reps, blocks=blocks)
    return {n: interval(f(returns), samples[n], 0.0, block) for n, f in statistics.items()}


def examine_intervals(net: Floats, returns: Floats, *, seed: int, reps: int = REPS) -> list[Doubt]:
    """Return the doubts on profit factor, expectancy and Sharpe ratio; the drawdown's interval has no hurdle."""
    found: list[Doubt] = []
    if len(net) < MIN_TRADES:
        text = f"{len(net)} trades, at least {MIN_TRADES} are needed"
        found += [unknown(f"interval of {n}", Reason.TOO_FEW, text) for n in ("profit factor", "expectancy")]
    else:
        for name, i in trade_intervals(net, seed=seed, reps=reps).items():
            found.append(_interval_doubt(name, i, 1.0 if name == "profit_factor" else 0.0, f"{len(net)} trades"))
    if len(returns) < MIN_DAYS or not np.std(returns) > 0:
        text = f"{len(returns)} daily returns, at least {MIN_DAYS} that vary are needed"
        found += [unknown(f"interval of {n}", Reason.TOO_FEW, text) for n in ("Sharpe", "max drawdown")]
        return found
    daily = daily_intervals(returns, seed=seed, reps=reps)
    found.append(_interval_doubt("Sharpe", daily["sharpe"], 0.0, f"{len(returns)} days"))
    worst = daily["max_drawdown"]
    text = f"{worst.estimate:.1%}, 95 % interval {worst.low:.1%} to {worst.high:.1%}: plan for the upper end"
    found.append(stands("interval of max drawdown", text, **worst._asdict()))
    return found


class Paired(NamedTuple):
    """Mean daily difference, its interval, and the share of resamples in which it is not positive."""

    difference: Interval
    sharpe_difference: Interval


def paired(on: Floats, off: Floats, *, seed: int, reps: int = REPS) -> Paired:
    """
    Compare two runs on the same days, resampling days together (gate on against off).

    Parameters
    ----------
    on, off : np.ndarray
        float64, daily returns of both runs, same days, shape (days,).
    seed, reps : int
        Seed and replications.

    Raises
    ------
    ValueError
        Propagate: the runs have different lengths.

    """
    if on.shape != off.shape:
        raise ValueError(f"the runs cover {len(on)} and {len(off)} days: compare the same days")
    both = np.column_stack([on - off, on, off])
    statistics: dict[str, Callable[[Floats], float]] = {
        "difference": lambda x: float(x[:, 0].mean()),
        "sharpe_difference": lambda x: sharpe(x[:, 1]) - sharpe(x[:, 2]),
    }
    samples, block = resample(both, statistics, seed=seed, reps=reps)
    return Paired(*(interval(f(both), samples[n], 0.0, block) for n, f in statistics.items()))


def examine_paired(on: Floats, off: Floats, *, seed: int, reps: int = REPS, name: str = "paired effect") -> Doubt:
    """Return the doubt on one run being better than the other on the same days."""
    if len(on) < MIN_DAYS:
        return unknown(name, Reason.TOO_FEW, f"{len(on)} days, at least {MIN_DAYS} are needed")
    if not np.std(on - off) > 0:
        return falls(name, Reason.NO_PAIRED_EFFECT, "both runs earned the same on every day", days=len(on))
    found = paired(on, off, seed=seed, reps=reps).difference
    text = (
        f"mean daily difference {found.estimate:.3e}, 95 % interval {found.low:.3e} to {found.high:.3e} "
        f"over {len(on)} days"
    )
    make = stands if found.low > 0 else _no_effect
    return make(name, text, **found._asdict(), days=len(on))


def _no_effect(name: str, detail: str, **figures: object) -> Doubt:
    return falls(name, Reason.NO_PAIRED_EFFECT, detail, **figures)


def _interval_doubt(name: str, i: Interval, neutral: float, over: str) -> Doubt:
    title = f"interval of {name.replace('_', ' ')}"
    if math.isnan(i.low):
        return unknown(title, Reason.TOO_FEW, f"half of the resamples give no {name} ({over})")
    text = f"{i.estimate:.3f}, 95 % interval {i.low:.3f} to {i.high:.3f} over {over}, blocks of {i.block:.1f}"
    figures = {k: (v if math.isfinite(v) else None) for k, v in i._asdict().items()}
    if i.low > neutral:
        return stands(title, text, **figures)
    where = f"lies below {neutral:g}" if i.high < neutral else f"includes {neutral:g}"
    return falls(title, Reason.INTERVAL_INCLUDES_NOTHING, f"{text}: {where}", **figures)
