"""
Trades of given entries under the live exits, on bars: what random entries and delayed entries are measured with.

The fill rules are those of ``research.labels``: entry at the signal bar's close moved by the slippage, levels measured
from there, stop before target within a bar, a bar that opens beyond a level fills at its open. One position at a time;
an entry while one is open is skipped. Exits by a reverse signal are left out, for real and random entries alike.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Prices(NamedTuple):
    """Bars of one symbol: open, high, low, close and ATR, float64 of equal length."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    atr: Floats


class ExitRules(NamedTuple):
    """Stop and target in multiples of ATR, slippage and fee per fill as fractions, bars after which a trade ends."""

    stop_atr: float
    target_atr: float
    slippage: float
    fee: float
    time_stop: int = 0


class Trades(NamedTuple):
    """
    Trades in order of time.

    Attributes
    ----------
    entry, exit : np.ndarray
        int64, index of the signal bar and of the bar the trade ended in.
    side : np.ndarray
        int64, +1 or -1.
    net_r, net_return : np.ndarray
        float64, result after costs in units of the planned stop distance, and as a fraction of the entry price.

    """

    entry: Ints
    exit: Ints
    side: Ints
    net_r: Floats
    net_return: Floats


def simulate(prices: Prices, at: Ints, side: Ints, rules: ExitRules, *, delay: int = 0) -> Trades:
    """
    Return the trades of signals; those still open at the end of the bars are left out.

    Parameters
    ----------
    prices : Prices
        The bars.
    at, side : np.ndarray
        int64, increasing indices of the signal bars, and +1 or -1.
    rules : ExitRules
        Distances and costs.
    delay : int
        Bars between the signal and the fill; the levels keep their distance (ATR of the signal bar) from the fill.

    """
    count = len(at)
    entry, leave, direction = (np.empty(count, dtype=np.int64) for _ in range(3))
    net_r, net_return = np.empty(count), np.empty(count)
    made = _simulate(
        prices.open, prices.high, prices.low, prices.close, prices.atr,
        np.ascontiguousarray(at, dtype=np.int64), np.ascontiguousarray(side, dtype=np.int64), delay,
        np.array([rules.stop_atr, rules.target_atr, rules.slippage, rules.fee]), rules.time_stop,
        entry, leave, direction, net_r, net_return,
    )  # fmt: skip
    return Trades(entry[:made], leave[:made], direction[:made], net_r[:made], net_return[:made])


@numba.njit(cache=True, nogil=True)
def _simulate(
    opens: Floats,
    highs: Floats,
    lows: Floats,
    closes: Floats,
    atr: Floats,
    at: Ints,
    side: Ints,
    delay: int,
    rules: Floats,
    time_stop: int,
    entry: Ints,
    leave: Ints,
    direction: Ints,
    net_r: Floats,
    net_return: Floats,
) -> int:
    made = 0
    free = -1
    for k in range(len(at)):
        begin = at[k] + delay
        if begin <= free or begin >= len(closes) or not atr[at[k]] > 0.0:
            continue
        s = side[k]
        price = closes[begin] * (1.0 + s * rules[2])
        distance = rules[0] * atr[at[k]]
        stop, target = price - s * distance, price + s * rules[1] * atr[at[k]]
        got = 0.0
        end = -1
        for i in range(begin + 1, len(closes)):
            against = lows[i] if s > 0 else highs[i]
            towards = highs[i] if s > 0 else lows[i]
            if s * against <= s * stop:
                got = s * min(s * opens[i], s * stop)
                end = i
                break
            if s * towards >= s * target:
                got = s * max(s * opens[i], s * target)
                end = i
                break
            if time_stop > 0 and i - begin >= time_stop:
                got = closes[i]
                end = i
                break
        if end < 0:
            break
        got *= 1.0 - s * rules[2]
        net = s * (got - price) - rules[3] * (price + got)
        entry[made], leave[made], direction[made] = at[k], end, s
        net_r[made], net_return[made] = net / distance, net / price
        made += 1
        free = end
    return made
