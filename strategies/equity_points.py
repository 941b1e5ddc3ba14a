"""Equity points as columns of numbers: a record for each of a year's steps is dear to make while the engine runs."""

from array import array
from typing import Any

from strategies.records import EquityRecord

EQUITY_ENDPOINT = "Argonaut.EquityPoints"
"""Where a backtest hands out its :class:`EquityPoints`; who writes there publishes no equity records."""


class EquityPoints:
    """The equity points of one run, in the order they were taken; the records are made when somebody reads them."""

    def __init__(self) -> None:
        self._times = array("q")
        self._walls = array("q")
        self._balances = array("d")
        self._unrealized = array("d")
        self._equities = array("d")
        self._positions = array("q")
        self._made: list[EquityRecord] = []

    def offer(self, msgbus: Any) -> None:
        """Let the recorder on `msgbus` find this object."""
        msgbus.register(EQUITY_ENDPOINT, lambda box: box.append(self))

    def add(self, time: int, wall: int, balance: float, unrealized: float, equity: float, positions: int) -> None:
        """Keep one point: UTC nanoseconds of market and wall, USDT, and the number of open positions."""
        self._times.append(time)
        self._walls.append(wall)
        self._balances.append(balance)
        self._unrealized.append(unrealized)
        self._equities.append(equity)
        self._positions.append(positions)

    def add_still(self, steps: list[tuple[int, int]], money: float) -> None:
        """Keep a point of every step ``(market time, wall time)`` at which nothing was open and `money` was there."""
        self._times.extend([time for time, _ in steps])
        self._walls.extend([wall for _, wall in steps])
        amounts, nothing = array("d", [money]) * len(steps), array("d", [0.0]) * len(steps)
        self._balances.extend(amounts)
        self._unrealized.extend(nothing)
        self._equities.extend(amounts)
        self._positions.extend(array("q", [0]) * len(steps))

    def records(self) -> list[EquityRecord]:
        """Return the points as the records that would have been published, bit for bit."""
        begin = len(self._made)
        columns = (self._times, self._walls, self._balances, self._unrealized, self._equities, self._positions)
        rows = zip(*(column[begin:] for column in columns), strict=True)
        self._made += [equity_record(*row) for row in rows]
        return self._made


def equity_points(msgbus: Any) -> EquityPoints | None:
    """Return the object offered on `msgbus`, or None: equity records are to be published then, as in live trading."""
    if EQUITY_ENDPOINT not in msgbus.endpoints():
        return None
    box: list[EquityPoints] = []
    msgbus.send(EQUITY_ENDPOINT, box)
    return box[0]


def equity_record(
    time: int, wall: int, balance: float, unrealized: float, equity: float, positions: int
) -> EquityRecord:
    """Return the record of a point, with the arguments of :meth:`EquityPoints.add`."""
    return EquityRecord(
        id=str(time),
        market_time=time,
        wall_time=wall,
        balance=balance,
        unrealized=unrealized,
        equity=equity,
        open_positions=positions,
    )
