"""
Where the stop should be by now: break-even, trailing by bars, time stop. Arithmetic only, from finished bars.

What is known of a position is read from the bars since its cycle began (the signal bar's close, which the entry's
client order id carries), so a restarted process that has read its history comes to the same levels.
"""

from collections import deque
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from typing import NamedTuple

from strategies.protection_plan import BarTrailing, ProtectionConfig

_BARS_KEPT = 5_000
_BASIS = Decimal(10_000)


class _Bar(NamedTuple):
    close_ns: int
    high: Decimal
    low: Decimal
    close: Decimal


class StopMove(NamedTuple):
    """A better stop price; `passed` when the last close lies beyond it: the stop would have been hit."""

    level: Decimal
    passed: bool


class StopMoves:
    """
    Remembers bars and says when and where the stop of a position should move.

    Parameters
    ----------
    config : ProtectionConfig
        What is switched on.

    """

    def __init__(self, config: ProtectionConfig) -> None:
        self._trailing = config.trailing if isinstance(config.trailing, BarTrailing) else None
        self._break_even = config.break_even
        self._time_stop_bars = config.time_stop_bars
        self._bars: deque[_Bar] = deque(maxlen=_BARS_KEPT)
        self._bar_ns = 0
        self.active = self._trailing is not None or self._break_even is not None or self._time_stop_bars is not None

    def reset(self) -> None:
        """Forget the bars."""
        self._bars.clear()

    def note_bar(self, close_ns: int, high: float, low: float, close: float, bar_ns: int) -> None:
        """Remember a finished bar; times in UTC ns, prices in quote currency."""
        if self.active:
            self._bar_ns = bar_ns
            self._bars.append(_Bar(close_ns, Decimal(repr(high)), Decimal(repr(low)), Decimal(repr(close))))

    def out_of_time(self, cycle: int) -> bool:
        """Return whether a position of `cycle` (UTC ns) has had its bars."""
        if self._time_stop_bars is None or not self._bars:
            return False
        return self._bars[-1].close_ns - cycle >= self._time_stop_bars * self._bar_ns

    def move(
        self, *, long: bool, entry: Decimal, first_stop: Decimal, stop: Decimal, cycle: int, tick: Decimal
    ) -> StopMove | None:
        """
        Return the better place for a stop now at `stop`, or None.

        Parameters
        ----------
        long : bool
            Direction of the position.
        entry, first_stop, stop : Decimal
            Average entry price, the stop it began with, and the stop now.
        cycle : int
            The signal bar's close, UTC ns; bars that close later count.
        tick : Decimal
            Price increment of the instrument.

        """
        bars = [bar for bar in self._bars if bar.close_ns > cycle]
        sign = 1 if long else -1
        unit = (entry - first_stop) * sign
        if not bars or unit <= 0:
            return None
        best = max(bar.high for bar in bars) if long else min(bar.low for bar in bars)
        profit = (best - entry) * sign
        wanted = (self._even(entry, profit, unit, sign), self._trail(best, profit, unit, sign))
        levels = [level for level in wanted if level is not None]
        if not levels:
            return None
        level = _to_grid(max(levels, key=lambda x: x * sign), tick)
        step = Decimal(repr(self._trailing.step_r)) * unit if self._trailing is not None else tick
        if (level - stop) * sign < max(step, tick):
            return None
        return StopMove(level, (bars[-1].close - level) * sign <= 0)

    def _even(self, entry: Decimal, profit: Decimal, unit: Decimal, sign: int) -> Decimal | None:
        rule = self._break_even
        if rule is None or profit < Decimal(repr(rule.at_r)) * unit:
            return None
        return entry * (1 + sign * Decimal(repr(rule.offset_bps)) / _BASIS)

    def _trail(self, best: Decimal, profit: Decimal, unit: Decimal, sign: int) -> Decimal | None:
        rule = self._trailing
        if rule is None or profit < Decimal(repr(rule.activate_r)) * unit:
            return None
        width = unit if rule.unit == "r" else self._true_range(rule.atr_bars)
        return None if width is None else best - sign * Decimal(repr(rule.distance)) * width

    def _true_range(self, count: int) -> Decimal | None:
        """Return the plain mean of the last `count` true ranges: the same figure whatever history came before."""
        bars = list(self._bars)[-count - 1 :]
        if len(bars) < count + 1:
            return None
        ranges = [max(b.high, a.close) - min(b.low, a.close) for a, b in pairwise(bars)]
        return sum(ranges, Decimal(0)) / count


def _to_grid(level: Decimal, tick: Decimal) -> Decimal:
    return (level / tick).quantize(Decimal(1), ROUND_HALF_EVEN) * tick
