"""How long a position stood without a stop for its whole size, in wall time (simulated time in a backtest)."""

from collections.abc import Callable

NAKED_LIMIT_SECS = 5.0
_WORTH_A_WARNING_SECS = 1.0


class NakedClock:
    """
    Runs while a position is not covered; its sum is reported when the position is closed.

    Parameters
    ----------
    now : Callable[[], int]
        UTC ns.
    report : Callable[[str, str, str], None]
        Receives ``(severity, "naked", message)`` once per position that was naked at all.

    Attributes
    ----------
    worst_ns : int
        Longest stretch so far, ns.

    """

    def __init__(self, now: Callable[[], int], report: Callable[[str, str, str], None]) -> None:
        self._now = now
        self._report = report
        self._since: int | None = None
        self._worst_of_position = 0
        self._total_of_position = 0
        self.worst_ns = 0

    def begin(self) -> None:
        """Start, unless it runs."""
        if self._since is None:
            self._since = self._now()

    def end(self) -> None:
        """Stop, if it runs."""
        if self._since is None:
            return
        stretch = self._now() - self._since
        self._since = None
        self._total_of_position += stretch
        self._worst_of_position = max(self._worst_of_position, stretch)
        self.worst_ns = max(self.worst_ns, stretch)

    def position_closed(self) -> None:
        """Report the position that is gone."""
        self.end()
        if self._total_of_position > 0:
            worst = self._worst_of_position / 1e9
            severity = "info" if worst <= _WORTH_A_WARNING_SECS else "warning"
            severity = "critical" if worst > NAKED_LIMIT_SECS else severity
            text = f"naked_seconds {self._total_of_position / 1e9:.3f}, longest stretch {worst:.3f} s"
            self._report(severity, "naked", text)
        self._total_of_position = self._worst_of_position = 0

    def reset(self) -> None:
        """Forget everything (a new backtest run)."""
        self._since = None
        self._total_of_position = self._worst_of_position = self.worst_ns = 0
