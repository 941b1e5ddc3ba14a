"""Whether luck alone would do: the order of the trades, the moments of entry, the month that carries the profit."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from research.doubt.bootstrap import MIN_TRADES, max_drawdown, profit_factor
from research.doubt.exits import ExitRules, Ints, Prices, simulate
from research.doubt.verdict import Doubt, Reason, falls, stands, unknown

Floats = npt.NDArray[np.float64]

LEVEL = 0.05
_REPS = 1_000


class OrderLuck(NamedTuple):
    """Drawdown of the trades as they came, of their shuffles (5, 50, 95 %), and the share of shuffles no worse."""

    drawdown: float
    low: float
    median: float
    high: float
    share_below: float


def trade_order(returns: Floats, *, seed: int, reps: int = _REPS) -> OrderLuck:
    """
    Compare the drawdown of trades with that of the same trades in random order.

    Parameters
    ----------
    returns : np.ndarray
        float64, result of each trade as a fraction of the equity it started from.
    seed, reps : int
        Seed and number of shuffles.

    """
    random = np.random.default_rng(seed)
    actual = max_drawdown(returns)
    shuffled = np.array([max_drawdown(random.permutation(returns)) for _ in range(reps)])
    low, median, high = (float(x) for x in np.percentile(shuffled, [5, 50, 95]))
    return OrderLuck(actual, low, median, high, float((shuffled <= actual).mean()))


def examine_order(returns: Floats, *, seed: int, reps: int = _REPS) -> Doubt:
    """Return the doubt on the drawdown: an order luckier than 95 % of shuffles understates the risk."""
    name = "order of trades"
    if len(returns) < MIN_TRADES:
        return unknown(name, Reason.TOO_FEW, f"{len(returns)} trades, at least {MIN_TRADES} are needed")
    found = trade_order(returns, seed=seed, reps=reps)
    text = (
        f"drawdown {found.drawdown:.1%}; the same trades in random order: median {found.median:.1%}, "
        f"5 % above {found.high:.1%}"
    )
    if found.share_below <= LEVEL:
        return falls(name, Reason.LUCKY_ORDER, text, **found._asdict())
    return stands(name, text, **found._asdict())


class RandomEntries(NamedTuple):
    """Mean R of the real entries, of random ones (mean, 95 %), p-value, trades."""

    mean_r: float
    random_mean: float
    random_high: float
    p_value: float
    trades: int


class Entries(NamedTuple):
    """
    Entries of one symbol.

    Attributes
    ----------
    prices, at, side, rules
        See :func:`research.doubt.exits.simulate`.
    first : int
        Bars before this index never enter (warm-up).

    """

    prices: Prices
    at: Ints
    side: Ints
    rules: ExitRules
    first: int = 0


def random_entries(symbols: Sequence[Entries], *, seed: int, reps: int = _REPS) -> RandomEntries:
    """
    Compare entries with random ones: same number, same sides in the same order, same exits, same costs.

    Half of the replications shift all entries of a symbol together around the history (clusters stay), half scatter
    them. Several symbols are judged together, by the mean over all their trades.

    Parameters
    ----------
    symbols : sequence of Entries
        The entries of each symbol.
    seed, reps : int
        Seed and replications.

    """
    real = np.concatenate([simulate(e.prices, e.at, e.side, e.rules).net_r for e in symbols])
    mean_r = float(real.mean()) if len(real) else math.nan
    random = np.random.default_rng(seed)
    values = np.full(reps, np.nan)
    for k in range(reps):
        parts = [_random(e, random, scatter=bool(k % 2)) for e in symbols]
        together = np.concatenate(parts)
        if len(together):
            values[k] = together.mean()
    known = values[~np.isnan(values)]
    if not len(known) or math.isnan(mean_r):
        return RandomEntries(mean_r, math.nan, math.nan, math.nan, len(real))
    p_value = (1 + int((known >= mean_r).sum())) / (1 + len(known))
    return RandomEntries(mean_r, float(known.mean()), float(np.percentile(known, 95)), float(p_value), len(real))


def _random(e: Entries, random: np.random.Generator, *, scatter: bool) -> Floats:
    span = len(e.prices.close) - e.first
    if span < 2 or len(e.at) > span:
        return np.empty(0)
    if scatter:
        moved, sides = np.sort(e.first + random.choice(span, len(e.at), replace=False)), e.side
    else:
        turned = e.first + (e.at - e.first + int(random.integers(1, span))) % span
        order = np.argsort(turned)
        moved, sides = turned[order], e.side[order]
    return simulate(e.prices, moved, sides, e.rules).net_r


def examine_random_entries(symbols: Sequence[Entries], *, seed: int, reps: int = _REPS) -> Doubt:
    """Return the doubt on the entries: are they better than random ones with the same exits and frequency."""
    name = "random entries"
    count = sum(len(e.at) for e in symbols)
    if count < MIN_TRADES:
        return unknown(name, Reason.TOO_FEW, f"{count} entries, at least {MIN_TRADES} are needed")
    found = random_entries(symbols, seed=seed, reps=reps)
    if math.isnan(found.p_value):
        return unknown(name, Reason.TOO_FEW, "no trade of these entries ended within the data")
    text = (
        f"{found.mean_r:+.3f} R per trade ({found.trades}); random entries with the same exits {found.random_mean:+.3f}"
        f" R, p = {found.p_value:.3f}"
    )
    if found.p_value > LEVEL:
        return falls(name, Reason.NO_BETTER_THAN_RANDOM, text, **found._asdict())
    return stands(name, text, **found._asdict())


def examine_delay(symbols: Sequence[Entries], *, seed: int, reps: int = 200, most: int = 3) -> Doubt:
    """
    Return the doubt on the timing: mean R when entries come 1 to `most` bars late, and at random delays up to there.

    Falls when entries pay on time and lose with a random delay in at least half of the replications.
    """
    name = "entry delay"
    count = sum(len(e.at) for e in symbols)
    if count < MIN_TRADES:
        return unknown(name, Reason.TOO_FEW, f"{count} entries, at least {MIN_TRADES} are needed")

    def mean_r(delays: Callable[[Entries], Ints]) -> float | None:
        return _mean(np.concatenate([_late(e, delays(e)) for e in symbols]))

    by_bars = {str(d): mean_r(lambda e, d=d: np.full(len(e.at), d)) for d in range(most + 1)}  # type: ignore[misc]
    random = np.random.default_rng(seed)
    values = [mean_r(lambda e: random.integers(0, most + 1, len(e.at))) for _ in range(reps)]
    known = np.array([v for v in values if v is not None])
    on_time = by_bars["0"]
    if on_time is None or not len(known):
        return unknown(name, Reason.TOO_FEW, "no trade of these entries ended within the data")
    lost = float((known < 0).mean())
    figures = {"mean_r_by_delay": by_bars, "random_mean": float(known.mean()), "random_losing_share": lost}
    late_text = ", ".join(f"{d}: {v:+.3f}" for d, v in by_bars.items() if v is not None)
    text = f"R per trade by bars of delay {late_text}; random delays lose in {lost:.0%}"
    if on_time <= 0:
        return unknown(name, Reason.LOSES, f"{text}: loses on time already", **figures)
    if lost >= 0.5:
        return falls(name, Reason.DELAY_EATS_IT, text, **figures)
    return stands(name, text, **figures)


def _late(e: Entries, delay: Ints) -> Floats:
    moved = e.at + delay
    order = np.argsort(moved, kind="stable")
    order = order[moved[order] < len(e.prices.close)]
    return simulate(e.prices, moved[order], e.side[order], e.rules).net_r


def examine_months(month: list[str], net: Floats) -> Doubt:
    """Return the doubt that one month carries the profit: without the best month nothing is left."""
    name = "one month"
    total = float(net.sum())
    sums: dict[str, float] = {}
    for key, value in zip(month, net.tolist(), strict=True):
        sums[key] = sums.get(key, 0.0) + value
    if len(sums) < 3 or total <= 0:
        why = f"{len(sums)} months with trades, net {total:+.2f}: at least 3 and a profit are needed"
        return unknown(name, Reason.TOO_FEW, why)
    best = max(sums, key=lambda m: sums[m])
    text = f"{best} earned {sums[best]:+.2f} of {total:+.2f} in {len(sums)} months"
    figures = {"best_month": best, "best": sums[best], "total": total, "months": len(sums)}
    if total - sums[best] <= 0:
        return falls(name, Reason.ONE_MONTH_CARRIES_IT, f"{text}: without it nothing is left", **figures)
    return stands(name, text, **figures)


def examine_costs(net: Floats, fees: Floats, slippage: Floats) -> Doubt:
    """
    Return the doubt on costs: profit factor and net result with fees and slippage once, twice and three times.

    Sizes and exits stay as they were; a run with other costs (``--rerun``) also moves levels and sizes.

    Parameters
    ----------
    net, fees, slippage : np.ndarray
        float64, per trade: net result, fees paid and slippage suffered, all in the same currency, costs positive.

    """
    name = "costs"
    if len(net) < MIN_TRADES:
        return unknown(name, Reason.TOO_FEW, f"{len(net)} trades, at least {MIN_TRADES} are needed")
    table = {}
    for times in (1, 2, 3):
        values = net - (times - 1) * (fees + slippage)
        factor = profit_factor(values)
        table[f"x{times}"] = {"net": float(values.sum()), "profit_factor": factor if math.isfinite(factor) else None}
    text = ", ".join(f"{k}: {v['net']:+.2f}" for k, v in table.items())
    before = float((net + fees + slippage).sum())
    if before <= 0:
        return falls(name, Reason.LOSES, f"{before:+.2f} before costs; net at costs {text}", **table)
    if (table["x2"]["net"] or 0) <= 0:
        return falls(name, Reason.COSTS_EAT_IT, f"{before:+.2f} before costs; net at costs {text}", **table)
    return stands(name, f"net at costs {text}", **table)


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
