"""The venue says there is nothing to reduce: protection waits until the venue's state has been read back."""

from collections.abc import Callable
from typing import Any

from strategies.alerts import set_alert

NOTHING_TO_REDUCE = ("-2022", "reduceonly order is rejected")
"""Fragments by which the venue says that it holds no position, or no such one, a reduce-only order could shrink."""
READ_BACK_SECS = 3.0
"""How long the first wait lasts if nobody reads the state back, s."""
_LONGEST_DELAY_SECS = 60.0


def nothing_to_reduce(reason: str) -> bool:
    """Return whether an order was refused because the venue holds nothing it would shrink."""
    return any(fragment in reason.lower() for fragment in NOTHING_TO_REDUCE)


class ReadBack:
    """
    Runs from such a refusal until there is reason to believe that another order would fare better.

    The position has most likely ended unheard (`knowledge/live-binance.md` §4 F11), and whatever is sent before the
    node knows is refused as well. After the first refusal the read-back ends the wait, or :data:`READ_BACK_SECS`. Where
    the position proves to be there and the venue refuses again, a read-back says nothing new: then time alone ends it.

    Parameters
    ----------
    strategy : Strategy
        Whose clock measures.
    name : str
        Of the timer; unique within the strategy.
    first_delay_secs : float
        Wait after the second refusal in a row, s; doubles up to a minute.

    Attributes
    ----------
    pending : bool
        Whether nothing may be sent for now.

    """

    def __init__(self, strategy: Any, name: str, first_delay_secs: float) -> None:
        self._strategy = strategy
        self._name = name
        self._first_delay_secs = first_delay_secs
        self._refusals = 0
        self.pending = False

    def refused(self, again: Callable[[Any], None]) -> None:
        """Begin to wait; `again` is called when it was time that ended it."""
        self._refusals += 1
        self.pending = True
        delay = READ_BACK_SECS
        if self._refusals > 1:
            delay = min(self._first_delay_secs * 2 ** min(self._refusals - 2, 10), _LONGEST_DELAY_SECS)
        set_alert(self._strategy.clock, self._name, delay, lambda event: self._on_time(event, again))

    def done(self) -> None:
        """The venue's state has been read back."""
        if self._refusals == 1:
            self._stop()

    def reset(self) -> None:
        """Forget everything: the position is gone, or another one begins."""
        self._stop()
        self._refusals = 0

    def _stop(self) -> None:
        if self.pending and self._name in self._strategy.clock.timer_names:
            self._strategy.clock.cancel_timer(self._name)
        self.pending = False

    def _on_time(self, event: Any, again: Callable[[Any], None]) -> None:
        self.pending = False
        again(event)
