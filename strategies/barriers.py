"""
Which of its two levels a signal met first, and what that paid: one implementation for labels and for what is live.

Triple barrier: stop and target on the price grid, and a time limit. A bar that opens beyond a level fills at its open,
as at the venue; otherwise a level fills at its price; in a bar that reaches both, the one comes first that the engine
of record fills first. Fills are market orders and slip against the trade.
"""

from enum import IntEnum, unique
from typing import Annotated, NamedTuple

import msgspec

from strategies.yaml_config import FrozenConfig


@unique
class Outcome(IntEnum):
    """How a followed signal ended."""

    UNRESOLVED = 0  # the data end, or have a gap, before a barrier is reached
    TARGET = 1
    STOP = 2
    HORIZON = 3


class Costs(FrozenConfig, frozen=True):
    """
    What a round trip costs.

    Attributes
    ----------
    fee : float
        Per fill, fraction of notional.
    slippage, trigger_slippage : float
        Fractions by which a market fill, and that of a triggered stop or target, is worse than its reference.
    tick : float or None
        Price increment that levels and fills are rounded to; None: not rounded.
    funding : bool
        Whether settlements are charged.

    """

    fee: Annotated[float, msgspec.Meta(ge=0, lt=0.1)]
    slippage: Annotated[float, msgspec.Meta(ge=0, lt=0.1)]
    trigger_slippage: Annotated[float, msgspec.Meta(ge=0, lt=0.1)]
    tick: float | None = None
    funding: bool = True


class Hit(NamedTuple):
    """A level that was met, and the price the position left at before slippage."""

    outcome: Outcome
    price: float


def on_grid(price: float, tick: float | None) -> float:
    """Return `price` on the grid, half to even, as the float that the decimal text of a bar's price gives."""
    return price if tick is None else round(round(price / tick) * tick, 10)


def met(
    side: int, levels: tuple[float, float], bar: tuple[float, float, float], *, stop_wins: bool = False
) -> Hit | None:
    """
    Return which level a bar meets first; None if it meets neither.

    Parameters
    ----------
    side : int
        +1 long, -1 short.
    levels : (float, float)
        Stop and target, on the grid.
    bar : (float, float, float)
        Open, high, low.
    stop_wins : bool
        A bar that reaches both counts as stopped, whichever the engine fills first.

    """
    stop, target = levels
    opened, high, low = bar
    stopped = (low if side > 0 else high) * side <= stop * side
    reached = (high if side > 0 else low) * side >= target * side
    if stopped and reached:
        stopped = stop_wins or _stop_first(side, bar, levels)
    if stopped:
        return Hit(Outcome.STOP, min(side * opened, side * stop) * side)
    if reached:
        return Hit(Outcome.TARGET, max(side * opened, side * target) * side)
    return None


def fills(side: int, close: float, hit: Hit, costs: Costs) -> tuple[float, float]:
    """Return entry (at the signal bar's close) and exit price after slippage, on the grid."""
    at_market = hit.outcome is Outcome.HORIZON
    slip = costs.slippage if at_market else costs.trigger_slippage
    entry = on_grid(close * (1 + side * costs.slippage), costs.tick)
    return entry, on_grid(hit.price * (1 - side * slip), costs.tick)


def net_r(side: int, prices: tuple[float, float], stop: float, funding: float, costs: Costs) -> float:
    """
    Return the result after fees and funding in units of the planned stop distance; NaN where there is none.

    Parameters
    ----------
    side : int
        +1 long, -1 short.
    prices : (float, float)
        From :func:`fills`.
    stop : float
        On the grid.
    funding : float
        What a long of one unit paid.

    """
    entry, got = prices
    if entry == stop:
        return float("nan")
    pnl = side * (got - entry) - costs.fee * (entry + got)
    if costs.funding:
        pnl -= side * funding
    return pnl / abs(entry - stop)


def _stop_first(side: int, bar: tuple[float, float, float], levels: tuple[float, float]) -> bool:
    """Whether the stop fills first in a bar that reaches both: the engine walks to the nearer extreme first."""
    opened, high, low = bar
    if side * opened <= side * levels[0]:
        return True
    if side * opened >= side * levels[1]:
        return False
    high_first = _distance(high - opened) < _distance(low - opened)
    return high_first == (side < 0)


def _distance(difference: float) -> int:
    """
    Return a distance as the engine compares it.

    Raw prices are integers of 1e-16, and nautilus_trader 1.231.0 cuts their difference to 64 bits: one of more than
    922 units of the quote currency is taken for another.
    """
    raw = round(difference * 1e8) * 10**8
    return abs((raw + 2**63) % 2**64 - 2**63)
