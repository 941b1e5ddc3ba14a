"""
Market time: what the bars say it is.

Everything that a replay must reproduce (daily resets, cooldowns, holding times, durations, funding) reads this clock.
Signatures, time-outs and heartbeats read wall time and never this. There is one clock to a message bus, fed before any
other listener hears the bar. See `knowledge/replay-on-live-node.md` §4 for the evidence.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

from nautilus_trader.model.data import Bar, BarType

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


class Nap(NamedTuple):
    """
    What a component slept through: bars during which the account did not move.

    Attributes
    ----------
    steps : list of tuple[int, int]
        Close of every step and the time its last bar was received (UTC ns), oldest first.
    newest : list of Bar
        The newest bar of every instrument.

    """

    steps: list[tuple[int, int]]
    newest: list[Bar]


class Sleeper(Protocol):
    """A component that need not hear every bar while nothing is open and no order is under way."""

    def may_rest(self) -> bool:
        """Return whether bars alone, whatever they say, would now leave this component as it is but for the time."""
        ...

    def rested(self, nap: Nap) -> None:
        """Become what the bars of `nap`, heard one by one, would have made of this component."""
        ...


class MarketClock:
    """
    Time as told by finished bars. Unset until the first bar; never runs backwards.

    Attributes
    ----------
    now : int or None
        Close of the newest bar seen, UTC nanoseconds; None before the first bar (guards must then refuse entries).
    resting : bool
        The account lies still and bars are only kept (``node.simulation.resting_clock``); never in live trading.

    """

    resting = False

    def __init__(self) -> None:
        self.now: int | None = None
        self._listeners: list[Callable[[int | None, int], None]] = []
        self._hearers: list[tuple[int, Callable[[Bar], None], Sleeper | None]] = []
        self._expected: dict[BarType, int] = {}

    def on_bar(self, bar: Bar) -> None:
        """Advance to the close of `bar`, tell the listeners ``(previous, now)`` if it moved, then the hearers."""
        to = bar_close_ns(bar)
        if self.now is None or to > self.now:
            self.advance(to)
        for _, hearer, _ in self._hearers:
            hearer(bar)

    def hear(self, hearer: Callable[[Bar], None], order: int, sleeper: Sleeper | None = None) -> None:
        """
        Call ``hearer(bar)`` for every bar after the listeners, before other subscribers of the bus; high `order` first.

        With a `sleeper` bars may be kept back from the hearer while the account rests, in a backtest.
        """
        self._hearers.append((order, hearer, sleeper))
        self._hearers.sort(key=lambda entry: -entry[0])

    def ignore(self, hearer: Callable[[Bar], None]) -> None:
        """Take back :meth:`hear`; whoever slept wakes up first."""
        self.wake()
        self._hearers = [entry for entry in self._hearers if entry[1] != hearer]

    def expect(self, bar_type: BarType) -> None:
        """Say that bars of this type will be decided upon."""
        self._expected[bar_type] = int(bar_type.spec.timedelta.value)

    def wake(self) -> None:
        """Say that the account is about to move: whoever slept hears what was kept back."""

    def advance(self, to: int) -> None:
        """Advance to `to` (UTC ns); earlier times are ignored."""
        before = self.now
        if before is not None and to <= before:
            return
        self.now = to
        for listener in self._listeners:
            listener(before, to)

    def listen(self, listener: Callable[[int | None, int], None]) -> None:
        """
        Call ``listener(previous, now)`` at every advance, before the bar reaches any other component.

        While the account rests in a backtest, one advance may cover many steps.
        """
        self._listeners.append(listener)

    @property
    def day(self) -> int | None:
        """Days since 1970-01-01 UTC; the bar that completes a day already belongs to the next one."""
        return None if self.now is None else self.now // NANOS_PER_DAY


def install(msgbus: Any, clock: MarketClock) -> None:
    """Make `clock` the one of this message bus, before anybody asked for it."""
    msgbus.register(_ENDPOINT, lambda box: box.append(clock))
    msgbus.subscribe(_BARS, clock.on_bar, _FIRST)


def market_clock(msgbus: Any) -> MarketClock:
    """Return the one clock of this message bus, creating and subscribing it on first use."""
    if _ENDPOINT not in msgbus.endpoints():
        install(msgbus, MarketClock())
    box: list[MarketClock] = []
    msgbus.send(_ENDPOINT, box)
    return box[0]
