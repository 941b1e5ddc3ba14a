"""
The market clock of a backtest, which lets the account rest: most bars meet no position and no order.

A bar that meets nothing changes nothing but the time, prices and the list of equity points. While every component that
values the account says so (:class:`strategies.market_clock.Sleeper`), bars are kept back from them and handed over
together, when the account is about to move or when somebody asks for the time. Strategies hear every bar all the same:
they alone know whether one of them is the next to act upon. What a run produces is the same either way (tested bit for
bit); `docs/research.md` tells what it saves.
"""

from typing import Any

from nautilus_trader.model.data import Bar, BarType

from strategies.market_clock import MarketClock, Nap, Sleeper, bar_close_ns, install

_MOVING = ("events.order.*", "events.position.*", "events.account.*")
_FIRST = 1_000
_SLEPT_MOST = 4_096


class RestingClock(MarketClock):
    """
    Rests from the first bar of a step on before which nobody had anything to do, until the account moves.

    Attributes
    ----------
    now : int or None
        As of every market clock: whoever asks wakes the sleepers up to the present.

    """

    def __init__(self) -> None:
        self._kept: list[Bar] = []
        self._time: int | None = None
        super().__init__()

    @property
    def now(self) -> int | None:
        """Close of the newest bar, UTC ns: an attribute of other clocks, on which nobody sleeps."""
        if self._kept:
            self._catch_up()
        return self._time

    @now.setter
    def now(self, time: int | None) -> None:
        self._time = time

    def on_bar(self, bar: Bar) -> None:
        """Keep the bar while the account rests, else do as every market clock."""
        if self.resting:
            self._kept.append(bar)
            if len(self._kept) >= _SLEPT_MOST:
                self._catch_up()
        elif self._may_rest(bar):
            self.resting = True
            self._kept.append(bar)
        else:
            super().on_bar(bar)

    def wake(self) -> None:
        """Let everybody hear what was kept back; bars are passed on at once from here on."""
        if self.resting:
            if self._kept:
                self._catch_up()
            self.resting = False

    def on_event(self, _: Any) -> None:
        """Something moves that no strategy of ours announced."""
        if self.resting:
            self.wake()

    def _sleepers(self) -> list[Sleeper] | None:
        """Return who sleeps, or None if anybody here wants to hear every bar."""
        sleepers = [sleeper for _, _, sleeper in self._hearers if sleeper is not None]
        return sleepers if sleepers and len(sleepers) == len(self._hearers) else None

    def _may_rest(self, bar: Bar) -> bool:
        time, steps = self._time, set(self._expected.values())
        if time is None or bar.ts_event <= time or len(steps) != 1:  # of a step begun all bars are heard
            return False
        sleepers = self._sleepers()
        return sleepers is not None and all(sleeper.may_rest() for sleeper in sleepers)

    def _catch_up(self) -> None:
        kept, self._kept = self._kept, []
        before, steps, newest = self._time, self._steps(kept), self._newest(kept)
        sleepers = self._sleepers() or ()
        if steps[0][0] == before:  # somebody asked for the time in the middle of this step
            for sleeper in sleepers:
                sleeper.rested(Nap(steps[:1], newest))
            del steps[0]
        if not steps:
            return
        self._time = now = steps[-1][0]
        for listener in self._listeners:
            listener(before, now)
        for sleeper in sleepers:
            sleeper.rested(Nap(steps, newest))

    def _steps(self, bars: list[Bar]) -> list[tuple[int, int]]:
        (step,) = set(self._expected.values())
        now = self._time or 0
        steps: list[tuple[int, int]] = []
        for bar in bars:
            close = bar.ts_event
            if close % step:
                close = bar_close_ns(bar)
            if steps and close <= now:
                steps[-1] = (now, bar.ts_init)
            else:
                now = max(now, close)
                steps.append((now, bar.ts_init))
        return steps

    def _newest(self, bars: list[Bar]) -> list[Bar]:
        newest: dict[BarType, Bar] = {}
        awaited = set(self._expected)
        for bar in reversed(bars):
            bar_type = bar.bar_type
            if bar_type not in newest:
                newest[bar_type] = bar
                awaited.discard(bar_type)
                if not awaited:
                    break
        return list(newest.values())


def resting_clock(msgbus: Any) -> RestingClock:
    """Put a clock that may rest on `msgbus`, before anybody asked for one there, and return it."""
    clock = RestingClock()
    install(msgbus, clock)
    for name in _MOVING:
        msgbus.subscribe(name, clock.on_event, _FIRST)
    return clock
