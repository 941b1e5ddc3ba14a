"""The venue's two clocks: wall time for everything an account sees, market time for what the bars say."""

import time

NANOS_PER_MILLI = 1_000_000


class VenueClock:
    """
    Wall time (with a skew that faults may set) and market time (advanced by the replay, never backwards).

    Attributes
    ----------
    market_ms : int
        Close of the bar being walked or last published, UTC ms; before the first bar, the open of that bar.
    skew_ms : int
        Added to wall time in every payload and check: what a venue with a wrong clock would say.

    """

    def __init__(self, market_ms: int = 0) -> None:
        self.market_ms = market_ms
        self.skew_ms = 0
        self._last_ms = 0

    def wall_ms(self) -> int:
        """Return wall time in UTC ms, skew included."""
        return time.time_ns() // NANOS_PER_MILLI + self.skew_ms

    def event_ms(self) -> int:
        """Return wall time in UTC ms that never runs backwards from one account event to the next."""
        self._last_ms = max(self._last_ms, self.wall_ms())
        return self._last_ms

    def advance(self, market_ms: int) -> None:
        """Move market time forward to `market_ms`; earlier times are ignored."""
        self.market_ms = max(self.market_ms, market_ms)
