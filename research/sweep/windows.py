"""Walk-forward windows of a sweep: they step by the test's length, and the tested share stands beside every figure."""

from dataclasses import dataclass

from node.config import format_time
from research.sweep.config import Windows
from strategies.errors import ConfigError

DAY_NS = 86_400_000_000_000
type Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """
    The windows of a sweep.

    Attributes
    ----------
    trains, tests : tuple of (int, int)
        Training windows (empty without walk-forward) and the test windows behind them, UTC ns.
    span : (int, int)
        All there is.

    """

    trains: tuple[Span, ...]
    tests: tuple[Span, ...]
    span: Span

    @property
    def tested_share(self) -> float:
        """Share of the history inside test windows."""
        return sum(b - a for a, b in self.tests) / (self.span[1] - self.span[0])

    @property
    def all(self) -> tuple[Span, ...]:
        """Test windows first, then training windows."""
        return (*self.tests, *self.trains)


def plan(windows: Windows | None, start_ns: int, end_ns: int) -> Plan:
    """
    Return the windows between `start_ns` and `end_ns`; the last test window may be shorter, so no day is left out.

    Raises
    ------
    ConfigError
        Fatal: the history is too short for one training window and a day of test.

    """
    if windows is None:
        return Plan((), ((start_ns, end_ns),), (start_ns, end_ns))
    train, test = windows.train_days * DAY_NS, windows.test_days * DAY_NS
    trains, tests = [], []
    begin = start_ns + train
    while begin + DAY_NS <= end_ns:
        trains.append((start_ns if windows.anchored else begin - train, begin))
        tests.append((begin, min(begin + test, end_ns)))
        begin += test
    if not tests:
        raise ConfigError(
            f"windows: {windows.train_days} training days and a day of test do not fit between "
            f"{format_time(start_ns)} and {format_time(end_ns)}: shorten them or take more history"
        )
    return Plan(tuple(trains), tuple(tests), (start_ns, end_ns))
