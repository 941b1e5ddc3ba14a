"""Which funding rate a bar may know: that of the last settlement strictly before its close."""

import math


class FundingMemory:
    """Settlements of one instrument. They may come late, twice and in any order; bars only go forward in time."""

    def __init__(self) -> None:
        self._settlements: list[tuple[int, float]] = []

    def add(self, time_ns: int, rate: float) -> None:
        """Remember a settlement; one of the same time is known already."""
        if all(time_ns != time for time, _ in self._settlements):
            self._settlements.append((time_ns, rate))
            self._settlements.sort()

    def before(self, close_ns: int) -> float:
        """Return the rate of the last settlement strictly before `close_ns`, NaN if none; older ones are dropped."""
        known = self._settlements
        if not known or known[0][0] >= close_ns:
            return math.nan
        if len(known) > 1 and known[1][0] < close_ns:
            del known[: sum(time < close_ns for time, _ in known) - 1]
        return known[0][1]

    def clear(self) -> None:
        """Forget everything."""
        self._settlements.clear()
