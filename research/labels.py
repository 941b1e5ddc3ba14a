"""
What a signal was worth: which of its two levels the market reached first, and what that paid after costs.

Triple barrier with the levels the live strategy sends: stop and target at fixed multiples of the signal bar's ATR from
the expected fill, on the price grid, and a time limit as third barrier. In a bar that reaches both, the one comes first
that the engine of record fills first; fees, slippage and funding are those of the backtest. A test holds labels equal
to the trades BacktestNode makes of the same signals.
"""

from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from strategies.barriers import Costs, Hit, Outcome, fills, met, on_grid
from strategies.barriers import net_r as result_of
from strategies.yaml_config import FrozenConfig

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class LabelConfig(FrozenConfig, frozen=True):
    """
    How signals are labelled.

    Parameters
    ----------
    horizon_bars : int
        Bars after the signal bar until the time barrier; where the strategy has a time stop, that.
    no_hit : {'negative', 'drop', 'sign'}
        Label of a signal that reached the time barrier: 0; left out of the data set; or 1 where the close there pays
        after costs.
    slippage : float
        Fraction by which each market fill is worse than its reference price.
    trigger_slippage : float or None
        The same for triggered stops and targets; None: as `slippage`.
    assumed_slippage : float or None
        What the strategy expects an entry to lose: levels are measured from there; None: as `slippage`.
    fee : float
        Fee per fill as a fraction of notional.
    funding : bool
        Charge the settlements the trade is open at, where they are known.
    both_hit : {'engine', 'stop'}
        A bar that reaches both: as the engine of record, which walks to the nearer of high and low first; or the worst.

    """

    horizon_bars: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 96
    no_hit: Literal["negative", "drop", "sign"] = "negative"
    slippage: Annotated[float, msgspec.Meta(ge=0, lt=0.1)] = 0.0001
    trigger_slippage: Annotated[float, msgspec.Meta(ge=0, lt=0.1)] | None = None
    assumed_slippage: Annotated[float, msgspec.Meta(ge=0, lt=0.1)] | None = None
    fee: Annotated[float, msgspec.Meta(ge=0, lt=0.1)] = 0.0005
    funding: bool = True
    both_hit: Literal["engine", "stop"] = "engine"

    @property
    def at_trigger(self) -> float:
        """Slippage of triggered fills."""
        return self.slippage if self.trigger_slippage is None else self.trigger_slippage

    @property
    def assumed(self) -> float:
        """Slippage the levels allow for."""
        return self.slippage if self.assumed_slippage is None else self.assumed_slippage

    def costs(self, tick: float | None = None) -> Costs:
        """Return what a round trip costs."""
        return Costs(
            fee=self.fee, slippage=self.slippage, trigger_slippage=self.at_trigger, tick=tick, funding=self.funding
        )


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


class Settlements(NamedTuple):
    """
    What funding cost.

    Attributes
    ----------
    close_time : np.ndarray
        int64, closes of the bars, UTC ns.
    time : np.ndarray
        int64, settlements, ascending, UTC ns.
    rate : np.ndarray
        float64, fractions; a long pays a positive one.

    """

    close_time: Ints
    time: Ints
    rate: Floats

    def paid(self, closes: Floats, at: int, last: int) -> float:
        """
        Return what a long of one unit pays, entered at the close of bar `at` and open at the close of bar `last`.

        As the backtest's module: each settlement at the close of the bar that ends at it or after it.
        """
        first = int(np.searchsorted(self.time, self.close_time[at], side="right"))
        stop = int(np.searchsorted(self.time, self.close_time[last], side="right"))
        if first >= stop:
            return 0.0
        bar = np.searchsorted(self.close_time, self.time[first:stop], side="left")
        return float(np.sum(closes[bar] * self.rate[first:stop]))


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
        float64, result after fees, slippage and funding in units of the planned stop distance; NaN where unresolved.
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
    *,
    tick: float | None = None,
    settlements: Settlements | None = None,
) -> Labels:
    """
    Label signals made at the close of bars.

    Entry is the close of the signal bar, moved against the trade by the slippage; its own range is not looked at, and
    the levels are measured from the expected fill, as the strategy does. A bar that opens beyond a level fills at its
    open, as at the venue; otherwise a level fills at its price. Exits are market orders and slip too. An earlier exit
    by a reverse signal is not modelled: whether one comes is not known when the signal is judged.

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
    tick : float, optional
        Price increment: levels and fills are rounded to it (half to even).
    settlements : Settlements, optional
        Funding; absent: not charged.

    Returns
    -------
    Labels
        One entry per signal, in the order given.

    """
    costs = config.costs(tick)
    count = len(signals.at)
    outcome, end, label = (np.zeros(count, dtype=np.int64) for _ in range(3))
    net_r = np.full(count, np.nan)
    for k in range(count):
        at, side, atr = int(signals.at[k]), int(signals.side[k]), float(signals.atr[k])
        close = float(bars[3][at])
        reference = close * (1 + side * config.assumed)
        stop = on_grid(reference - side * levels[0] * atr, tick)
        target = on_grid(reference + side * levels[1] * atr, tick)
        hit, end[k] = _follow(bars, at, (side, stop, target), config)
        outcome[k] = hit.outcome
        if hit.outcome is Outcome.UNRESOLVED:
            continue
        paid = 0.0
        if settlements is not None and config.funding:
            paid = settlements.paid(bars[3], at, int(end[k]) - (hit.outcome is not Outcome.HORIZON))
        net_r[k] = result_of(side, fills(side, close, hit, costs), stop, paid, costs)
    label[outcome == Outcome.TARGET] = 1
    label[(outcome == Outcome.UNRESOLVED) | np.isnan(net_r)] = -1
    timed_out = outcome == Outcome.HORIZON
    if config.no_hit == "drop":
        label[timed_out] = -1
    elif config.no_hit == "sign":
        label[timed_out] = net_r[timed_out] > 0
    return Labels(outcome, end, net_r, label)


def _follow(
    bars: tuple[Floats, Floats, Floats, Floats], at: int, trade: tuple[int, float, float], config: LabelConfig
) -> tuple[Hit, int]:
    """Return how the trade (side, stop, target) ended, and at which bar."""
    opens, highs, lows, closes = bars
    side, stop, target = trade
    last = min(at + config.horizon_bars, len(closes) - 1)
    window = slice(at + 1, last + 1)
    against, towards = (lows[window], highs[window]) if side > 0 else (highs[window], lows[window])
    reached = np.flatnonzero((side * against <= side * stop) | (side * towards >= side * target))
    if len(reached):
        index = at + 1 + int(reached[0])
        bar = (float(opens[index]), float(highs[index]), float(lows[index]))
        hit = met(side, (stop, target), bar, stop_wins=config.both_hit == "stop")
        if hit is not None:
            return hit, index
    if last < at + config.horizon_bars:
        return Hit(Outcome.UNRESOLVED, float("nan")), last
    return Hit(Outcome.HORIZON, float(closes[last])), last
