"""
What a signal was worth: which of its two levels the market reached first, and what that paid after costs.

Triple barrier with the levels the live strategy sends: stop and target at fixed multiples of the signal bar's ATR from
the expected fill, the stop checked before the target in every bar, a time limit as third barrier.
"""

from enum import IntEnum, unique
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from strategies.yaml_config import FrozenConfig

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@unique
class Outcome(IntEnum):
    """How a labelled signal ended."""

    UNRESOLVED = 0  # the data end before a barrier is reached
    TARGET = 1
    STOP = 2
    HORIZON = 3


class LabelConfig(FrozenConfig, frozen=True):
    """
    How signals are labelled.

    Parameters
    ----------
    horizon_bars : int
        Bars after the signal bar until the time barrier.
    no_hit : {'negative', 'drop', 'sign'}
        Label of a signal that reached the time barrier: 0; left out of the data set; or 1 where the close there pays
        after costs.
    slippage : float
        Fraction by which each market fill is worse than its reference price.
    fee : float
        Fee per fill as a fraction of notional.

    """

    horizon_bars: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 96
    no_hit: Literal["negative", "drop", "sign"] = "negative"
    slippage: Annotated[float, msgspec.Meta(ge=0, lt=0.1)] = 0.0001
    fee: Annotated[float, msgspec.Meta(ge=0, lt=0.1)] = 0.0005


class SignalBars(NamedTuple):
    """
    Signals of one symbol.

    Attributes
    ----------
    at : np.ndarray
        int64, indices of the signal bars.
    side : np.ndarray
        int64, +1 long, -1 short.
    atr : np.ndarray
        float64, ATR of the signal bar in price units, positive.

    """

    at: Ints
    side: Ints
    atr: Floats


class Labels(NamedTuple):
    """
    One entry per signal.

    Attributes
    ----------
    outcome : np.ndarray
        int64, values of :class:`Outcome`.
    end : np.ndarray
        int64, index of the last bar the label has seen (the horizon's bar where nothing was hit).
    net_r : np.ndarray
        float64, result after fees and slippage in units of the planned stop distance; NaN where unresolved.
    label : np.ndarray
        int64, 1 good, 0 bad, -1 to be left out.

    """

    outcome: Ints
    end: Ints
    net_r: Floats
    label: Ints


def label_signals(
    bars: tuple[Floats, Floats, Floats, Floats],
    signals: SignalBars,
    levels: tuple[float, float],
    config: LabelConfig,
) -> Labels:
    """
    Label signals made at the close of bars.

    Entry is the close of the signal bar, moved against the trade by the slippage; its own range is not looked at, and
    the levels are measured from there, as the strategy does. A bar that opens beyond a level fills at its open, as at
    the venue; otherwise a level fills at its price. Exits are market orders and slip too. An earlier exit by a reverse
    signal is not modelled.

    Parameters
    ----------
    bars : tuple of np.ndarray
        Open, high, low, close, float64, same length, oldest first, without gaps.
    signals : SignalBars
        What to label.
    levels : tuple[float, float]
        Distances of stop and target in multiples of ATR.
    config : LabelConfig
        Horizon, costs, and what no hit means.

    Returns
    -------
    Labels
        One entry per signal, in the order given.

    """
    count = len(signals.at)
    outcome, end, label = (np.zeros(count, dtype=np.int64) for _ in range(3))
    net_r = np.full(count, np.nan)
    for k in range(count):
        side = int(signals.side[k])
        entry = float(bars[3][signals.at[k]]) * (1 + side * config.slippage)
        stop = entry - side * levels[0] * float(signals.atr[k])
        target = entry + side * levels[1] * float(signals.atr[k])
        outcome[k], end[k], leave = _follow(bars, int(signals.at[k]), (side, stop, target), config.horizon_bars)
        got = leave * (1 - side * config.slippage)
        net_r[k] = (side * (got - entry) - config.fee * (entry + got)) / abs(entry - stop)
    label[outcome == Outcome.TARGET] = 1
    label[outcome == Outcome.UNRESOLVED] = -1
    timed_out = outcome == Outcome.HORIZON
    if config.no_hit == "drop":
        label[timed_out] = -1
    elif config.no_hit == "sign":
        label[timed_out] = net_r[timed_out] > 0
    return Labels(outcome, end, net_r, label)


def _follow(
    bars: tuple[Floats, Floats, Floats, Floats],
    at: int,
    trade: tuple[int, float, float],
    horizon: int,
) -> tuple[Outcome, int, float]:
    """Return how the trade (side, stop, target) ended, at which bar, and the price it left at before slippage."""
    opens, highs, lows, closes = bars
    side, stop, target = trade
    last = min(at + horizon, len(closes) - 1)
    window = slice(at + 1, last + 1)
    against, towards = (lows[window], highs[window]) if side > 0 else (highs[window], lows[window])
    stopped = np.flatnonzero(side * against <= side * stop)
    reached = np.flatnonzero(side * towards >= side * target)
    first_stop = int(stopped[0]) if len(stopped) else len(against)
    first_target = int(reached[0]) if len(reached) else len(against)
    if first_stop == first_target == len(against):
        if last < at + horizon:
            return Outcome.UNRESOLVED, last, float("nan")
        return Outcome.HORIZON, last, float(closes[last])
    if first_stop <= first_target:
        index = at + 1 + first_stop
        opened = float(opens[index])
        return Outcome.STOP, index, min(side * opened, side * stop) * side
    index = at + 1 + first_target
    opened = float(opens[index])
    return Outcome.TARGET, index, max(side * opened, side * target) * side
