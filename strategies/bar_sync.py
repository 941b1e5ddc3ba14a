"""
Joins the bars of a symbol and its context (BTC, ETH) by time, so a decision never depends on which arrived first.

In live trading klines of different symbols that close together arrive within ms of each other, in any order; in
a backtest in configuration order. A row is complete when the bar of every symbol with the same close is there.
"""

import math
from typing import NamedTuple

from nautilus_trader.model.data import Bar


class BarRow(NamedTuple):
    """One time step: the primary bar's values and the context closes (NaN where the context bar never came)."""

    close_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    context: tuple[float, ...]

    @property
    def complete(self) -> bool:
        """True when every context bar was there."""
        for close in self.context:  # noqa: SIM110 - a generator would cost more than all the rest, on every bar
            if math.isnan(close):
                return False
        return True


class BarSync:
    """
    Collects bars and releases rows in time order.

    Parameters
    ----------
    symbols : tuple[str, ...]
        The context symbols, in the order of :attr:`BarRow.context`. The primary may itself be one of them.
    primary : str
        The symbol the rows are made for.

    """

    def __init__(self, primary: str, symbols: tuple[str, ...]) -> None:
        self._primary = primary
        self._symbols = symbols
        self._bars: dict[int, tuple[float, float, float, float, float]] = {}
        self._context: dict[int, dict[str, float]] = {}
        self._released = -1

    @property
    def last_close_ns(self) -> int | None:
        """Close of the newest released row; None before the first."""
        return None if self._released < 0 else self._released

    @property
    def waiting_for_context(self) -> bool:
        """True when a primary bar is held back because a context bar has not come yet."""
        return bool(self._bars)

    def add(self, symbol: str, close_ns: int, values: tuple[float, float, float, float, float]) -> list[BarRow]:
        """
        Add one finished bar and return the rows it completes, oldest first.

        A primary bar that comes while an older one still waits for context releases the older one as incomplete: time
        has moved on, and an incomplete row must not decide anything. Bars at or before the last released row are
        ignored (duplicates of a reconnect or of overlapping history).
        """
        if close_ns <= self._released:
            return []
        if not self._symbols:  # nothing to wait for
            if symbol != self._primary:
                return []
            self._released = close_ns
            return [tuple.__new__(BarRow, (close_ns, *values, ()))]  # _make and the class are a call in Python more
        if symbol in self._symbols:
            closes = self._context.get(close_ns)
            if closes is None:
                closes = self._context[close_ns] = {}
            closes[symbol] = values[3]
        if symbol == self._primary:
            self._bars[close_ns] = values
        if not self._bars:
            return []
        rows = []
        newest = max(self._bars, default=-1)
        for time in sorted(self._bars):
            if time == newest and not self._has_context(time):
                break
            rows.append(self._release(time))
        return rows

    def pass_alone(self, close_ns: int) -> bool:
        """Without context: note the bar that closed then as released; False if it or a newer one was before."""
        if close_ns <= self._released:
            return False
        self._released = close_ns
        return True

    def release_waiting(self) -> list[BarRow]:
        """Release what still waits, as incomplete rows (the waiting time is over)."""
        return [self._release(time) for time in sorted(self._bars)]

    def reset(self) -> None:
        """Forget everything."""
        self._bars.clear()
        self._context.clear()
        self._released = -1

    def _has_context(self, time: int) -> bool:
        return not self._symbols or len(self._context.get(time, ())) == len(self._symbols)

    def _release(self, time: int) -> BarRow:
        values = self._bars.pop(time)
        closes = self._context.get(time, {})
        self._released = time
        for old in [t for t in self._context if t <= time]:
            del self._context[old]
        return BarRow(time, *values, tuple([closes.get(s, math.nan) for s in self._symbols]))


def close_alone(bar: Bar) -> tuple[float, float, float, float, float]:
    """Return the values of a context bar: nobody reads more of it than the close."""
    return (math.nan, math.nan, math.nan, float(bar.close), math.nan)


def values_of(bar: Bar) -> tuple[float, float, float, float, float]:
    """Return open, high, low, close and volume."""
    return (float(bar.open), float(bar.high), float(bar.low), float(bar.close), float(bar.volume))
