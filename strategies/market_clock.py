"""
Market time: what the bars say it is.

Everything that a replay must reproduce (daily resets, cooldowns, holding times, durations, funding) reads this clock.
Signatures, time-outs and heartbeats read wall time and never this. There is one clock to a message bus, fed before any
other listener hears the bar. See `knowledge/replay-on-live-node.md` §4 for the evidence.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from nautilus_trader.model.data import Bar

NANOS_PER_MILLI = 1_000_000
MILLIS_PER_DAY = 86_400_000
NANOS_PER_DAY = MILLIS_PER_DAY * NANOS_PER_MILLI

_ENDPOINT = "Argonaut.MarketClock"
_BARS = "data.bars.*"
_ONE_MILLI = timedelta(milliseconds=1)
_FIRST = 1_000  # message-bus priority: the clock hears a bar before any component does


class _Newest:
    """The bar asked for last, held so that its identity cannot be another's, and its close."""

    bar: Bar | None = None
    close_ns = 0


_newest = _Newest()
_STEPS_MS: dict[tuple[int, int], int] = {}


def bar_close_ns(bar: Bar) -> int:
    """
    Return the close of `bar` in UTC nanoseconds, on the grid of its interval.

    Absorbs the exchange's ``…59.999`` convention and the float64 error of the adapter's ms conversion (+64 ns).
    """
    # Every component asks for the bar that all of them hear now, and a bar type's length is dear to work out.
    if bar is _newest.bar:
        return _newest.close_ns
    spec = bar.bar_type.spec
    key = (spec.step, spec.aggregation)
    step_ms = _STEPS_MS.get(key)
    if step_ms is None:
        step_ms = _STEPS_MS[key] = spec.timedelta // _ONE_MILLI
    close_ms = round(bar.ts_event / NANOS_PER_MILLI)
    _newest.bar = bar
    _newest.close_ns = close_ns = -(-close_ms // step_ms) * step_ms * NANOS_PER_MILLI
    return close_ns


class MarketClock:
    """
    Time as told by finished bars. Unset until the first bar; never runs backwards.

    Attributes
    ----------
    now : int or None
        Close of the newest bar seen, UTC nanoseconds; None before the first bar (guards must then refuse entries).

    """

    def __init__(self) -> None:
        self.now: int | None = None
        self._listeners: list[Callable[[int | None, int], None]] = []

    def on_bar(self, bar: Bar) -> None:
        """Advance to the close of `bar` and tell the listeners ``(previous, now)`` if that moved the clock."""
        to = bar_close_ns(bar)
        if self.now is None or to > self.now:
            self.advance(to)

    def advance(self, to: int) -> None:
        """Advance to `to` (UTC ns); earlier times are ignored."""
        before = self.now
        if before is not None and to <= before:
            return
        self.now = to
        for listener in self._listeners:
            listener(before, to)

    def listen(self, listener: Callable[[int | None, int], None]) -> None:
        """Call ``listener(previous, now)`` at every advance, before the bar reaches any other component."""
        self._listeners.append(listener)

    @property
    def day(self) -> int | None:
        """Days since 1970-01-01 UTC; the bar that completes a day already belongs to the next one."""
        return None if self.now is None else self.now // NANOS_PER_DAY


def market_clock(msgbus: Any) -> MarketClock:
    """Return the one clock of this message bus, creating and subscribing it on first use."""
    if _ENDPOINT not in msgbus.endpoints():
        clock = MarketClock()
        msgbus.register(_ENDPOINT, lambda box: box.append(clock))
        msgbus.subscribe(_BARS, clock.on_bar, _FIRST)
    box: list[MarketClock] = []
    msgbus.send(_ENDPOINT, box)
    return box[0]
