"""
Bars of other lengths than the replayed ones: longer ones put together, shorter ones cut out of the venue's own path.

The data hold one bar length. Inside a bar the venue's price walks open, nearer extreme, other extreme, close
(:mod:`node.venue.path`); a shorter bar is what that walk shows in its part of the time, the three legs taken as equally
long and the volume as evenly spread. Put together again, the pieces give the bar they were cut from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import gcd

from node.venue.errors import error
from node.venue.path import BarPath

MILLIS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")

_DAY_MS = MILLIS["d"]
_FIRST_MONDAY_MS = 4 * _DAY_MS
_LONGEST_MONTH_MS = 31 * _DAY_MS
_LEGS = 3


@dataclass(frozen=True, slots=True)
class Bar:
    """One finished bar; `open_ms` UTC ms, prices USDT, volume base currency."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


def interval_ms(interval: str) -> int:
    """Return a bar interval in ms, of a month the longest (-1120 for one the exchange does not know)."""
    if interval not in INTERVALS:
        raise error(-1120)
    return _LONGEST_MONTH_MS if interval == "1M" else int(interval[:-1]) * MILLIS[interval[-1]]


def opening(interval: str, time_ms: int) -> int:
    """Return when the bar that contains `time_ms` opens, UTC ms; weeks open on Mondays, months on their first."""
    if interval == "1M":
        day = datetime.fromtimestamp(time_ms / 1000, UTC)
        return round(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp() * 1000)
    length = interval_ms(interval)
    offset = _FIRST_MONDAY_MS if interval == "1w" else 0
    return (time_ms - offset) // length * length + offset


def closing(interval: str, open_ms: int) -> int:
    """Return when the bar that opens at `open_ms` ends, UTC ms: the open of the next."""
    if interval == "1M":
        return opening(interval, open_ms + _LONGEST_MONTH_MS)
    return open_ms + interval_ms(interval)


def merged(bars: Iterable[Bar], step_ms: int, interval: str, tick: Decimal, lot: Decimal) -> list[Bar]:
    """
    Return the bars of `interval` that `bars` of `step_ms` ms fill without a gap.

    `tick` and `lot` are the grids of prices and volumes that pieces of bars are put on, where pieces are needed.
    """
    length = interval_ms(interval)
    unit = step_ms if interval == "1M" else gcd(step_ms, length)
    if unit != step_ms:
        bars = [piece for bar in bars for piece in pieces(bar, step_ms, step_ms // unit, tick, lot)]
    found: list[Bar] = []
    group: list[Bar] = []
    begin = end = 0
    for bar in bars:
        if not group or bar.open_ms >= end:
            begin = opening(interval, bar.open_ms)
            end = closing(interval, begin)
            group = []
        group.append(bar)
        if len(group) * unit == end - begin:
            found.append(_merge(group))
            group = []
    return found


def pieces(bar: Bar, step_ms: int, count: int, tick: Decimal, lot: Decimal) -> list[Bar]:
    """Return `bar` of `step_ms` ms cut into `count` equally long bars."""
    path = BarPath(bar.open, bar.high, bar.low, bar.close, bar.volume, bar.open_ms + step_ms)
    points = (bar.open, *path.points())
    share = bar.volume / count // lot * lot
    found = []
    for number in range(count):
        turns = [points[leg] for leg in range(1, _LEGS) if number * _LEGS < leg * count < (number + 1) * _LEGS]
        first = _on_path(points, number, count, tick)
        last = _on_path(points, number + 1, count, tick)
        seen = (first, *turns, last)
        found.append(
            Bar(
                open_ms=bar.open_ms + number * (step_ms // count),
                open=first,
                high=max(seen),
                low=min(seen),
                close=last,
                volume=share if number + 1 < count else bar.volume - share * (count - 1),
            )
        )
    return found


def _on_path(points: Sequence[Decimal], number: int, count: int, tick: Decimal) -> Decimal:
    """Return the price after `number` of `count` parts of the bar's time, on the grid of `tick`."""
    leg, part = divmod(number * _LEGS, count)
    if not part:
        return points[leg]
    raw = points[leg] + (points[leg + 1] - points[leg]) * part / count
    return (raw / tick).quantize(Decimal(1)) * tick


def _merge(group: Sequence[Bar]) -> Bar:
    return Bar(
        open_ms=group[0].open_ms,
        open=group[0].open,
        high=max(b.high for b in group),
        low=min(b.low for b in group),
        close=group[-1].close,
        volume=sum((b.volume for b in group), Decimal(0)),
    )
