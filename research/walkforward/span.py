"""Lengths of windows: days, weeks, calendar months."""

import calendar
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_NS = 86_400_000_000_000


class Span(NamedTuple):
    """So many calendar months and so many days."""

    months: int
    days: int

    @classmethod
    def parse(cls, text: str) -> "Span":
        """Return the span of a text such as ``3mo``, ``4w`` or ``30d``."""
        count = int(text.rstrip("dwmo"))
        if text.endswith("mo"):
            return cls(count, 0)
        return cls(0, count * (7 if text.endswith("w") else 1))

    def times(self, count: int) -> "Span":
        """Return the span `count` times as long."""
        return Span(self.months * count, self.days * count)

    def after(self, time_ns: int) -> int:
        """Return `time_ns` plus the span; a day the month does not have becomes its last."""
        return _shift(time_ns, self.months, self.days)

    def before(self, time_ns: int) -> int:
        """Return `time_ns` minus the span."""
        return _shift(time_ns, -self.months, -self.days)


def _shift(time_ns: int, months: int, days: int) -> int:
    whole, rest = divmod(time_ns, DAY_NS)
    day = _EPOCH + timedelta(days=whole)
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    last = calendar.monthrange(year, month + 1)[1]
    moved = day.replace(year=year, month=month + 1, day=min(day.day, last)) + timedelta(days=days)
    return (moved - _EPOCH).days * DAY_NS + rest
