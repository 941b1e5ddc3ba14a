"""
What a check says: one typed record per defect, and the score of a symbol's day.

A finding covers one run of neighbouring rows; when one kind has more runs than `MAX_RUNS`, the runs of one UTC day are
one finding, so that a broken file does not drown its reader and a day is never left without its colour.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

type Int64s = NDArray[np.int64]
type Floats = NDArray[np.float64]
type Mask = NDArray[np.bool_]

DAY_NS = 86_400_000_000_000
MAX_RUNS = 100


class Kind(StrEnum):
    """The defects that are known."""

    UNFINISHED = "unfinished_candle"
    GAP = "gap"
    DUPLICATE = "duplicate"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    OUT_OF_ORDER = "out_of_order"
    NOT_A_NUMBER = "not_a_number"
    OHLC_RULE = "ohlc_rule"
    VOLUME_RULE = "volume_rule"
    ZERO_VOLUME = "zero_volume"
    OUTAGE = "zero_volume_outage"
    DEAD_MARKET = "zero_volume_dead_market"
    OUTLIER = "outlier"
    MARKET_MOVE = "market_wide_move"
    STALE_PRICE = "stale_price"
    MARKET_SWITCH = "market_switch"
    OTHER_MARKET = "other_market"
    RESTATED = "restated_bar"
    CONSTANT_COLUMN = "constant_column"
    EMPTY_COLUMN = "empty_column"
    TIME_JITTER = "time_jitter"
    OFF_GRID = "off_grid"
    CLOSE_TIME = "odd_close_time"
    CLOCK_SKEW = "clock_skew"
    WRONG_UNIT = "wrong_unit"
    TIMEZONE = "timezone"
    DELISTED = "delisted_or_settling"
    BROKEN_RULE = "broken_rule"
    CROSSED_BOOK = "crossed_book"
    UNREADABLE = "unreadable"


class Severity(StrEnum):
    """How bad: ``error`` must not be traded on, ``warning`` wants a look, ``info`` is worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


_WEIGHT = {Severity.ERROR: 20.0, Severity.WARNING: 5.0, Severity.INFO: 0.1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    One defect.

    Attributes
    ----------
    kind : Kind
        What.
    severity : Severity
        How bad.
    symbol, interval, source : str
        Where; `source` is a file or a catalog.
    first, last : int or None
        Times of the first and last row concerned, UTC ns (bars: open); None when the file as a whole is meant.
    count : int
        Rows concerned; for gaps, rows missing.
    message, remedy : str
        For a person.

    """

    kind: Kind
    severity: Severity
    symbol: str
    interval: str
    source: str
    first: int | None
    last: int | None
    count: int
    message: str
    remedy: str

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON with ISO-8601 times."""
        return asdict(self) | {
            "kind": self.kind.value,
            "severity": self.severity.value,
            "first": None if self.first is None else iso(self.first),
            "last": None if self.last is None else iso(self.last),
        }


@dataclass(frozen=True, slots=True)
class Where:
    """The series a check looks at; makes findings about it."""

    symbol: str
    interval: str
    source: str

    def whole(self, kind: Kind, severity: Severity, count: int, message: str, remedy: str) -> Finding:
        """Return a finding about the series as a whole."""
        return self.at(kind, severity, (None, None, count), message, remedy)

    def at(
        self, kind: Kind, severity: Severity, span: tuple[int | None, int | None, int], message: str, remedy: str
    ) -> Finding:
        """Return a finding about `span`: first time, last time (ns), count."""
        return Finding(
            kind=kind,
            severity=severity,
            symbol=self.symbol,
            interval=self.interval,
            source=self.source,
            first=span[0],
            last=span[1],
            count=span[2],
            message=message,
            remedy=remedy,
        )

    def rows(
        self, kind: Kind, severity: Severity, time: Int64s, mask: Mask, message: str, remedy: str
    ) -> list[Finding]:
        """Return one finding per run of rows in `mask`."""
        return [self.at(kind, severity, span, message, remedy) for span in spans(time, mask)]


def spans(time: Int64s, mask: Mask) -> list[tuple[int, int, int]]:
    """Return first time, last time and number of rows of every run in `mask`; by UTC day when there are many."""
    at = np.flatnonzero(mask)
    if not len(at):
        return []
    breaks = np.diff(at) > 1
    if int(breaks.sum()) >= MAX_RUNS:
        breaks = np.diff(time[at] // DAY_NS) != 0
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    ends = np.concatenate([starts[1:], [len(at)]])
    return [(int(time[at[a]]), int(time[at[b - 1]]), int(b - a)) for a, b in zip(starts, ends, strict=True)]


def iso(time_ns: int) -> str:
    """Return UTC nanoseconds as ISO-8601 with Z; milliseconds only where there are any."""
    milliseconds = int(time_ns) // 1_000_000
    unit = "ms" if milliseconds % 1000 else "s"
    return str(np.datetime64(milliseconds, "ms").astype(f"datetime64[{unit}]")) + "Z"


def worst(findings: Iterable[Finding]) -> Severity | None:
    """Return the highest severity, None when there is no finding."""
    found = {f.severity for f in findings}
    return next((s for s in Severity if s in found), None)


def by_day(finding: Finding, step: int) -> dict[int, float]:
    """Return the UTC days (since 1970) a finding with a place lies on, with the fraction of it that does, by time."""
    if finding.first is None or finding.last is None:
        raise ValueError("a finding about a series as a whole lies on no day")
    first, end = finding.first, finding.last + step
    days = range(first // DAY_NS, finding.last // DAY_NS + 1)
    if len(days) == 1:
        return {days[0]: 1.0}
    here = {day: min(end, (day + 1) * DAY_NS) - max(first, day * DAY_NS) for day in days}
    return {day: length / sum(here.values()) for day, length in here.items()}


def part_of(finding: Finding, day: int, step: int) -> Finding | None:
    """Return what of a finding lies on a UTC day, None when nothing does; one without a place lies on all."""
    if finding.first is None or finding.last is None:
        return finding
    part = by_day(finding, step).get(day)
    if part is None:
        return None
    return replace(
        finding,
        first=max(finding.first, day * DAY_NS),
        last=min(finding.last, (day + 1) * DAY_NS - 1),
        count=max(round(finding.count * part), 1),
    )


def scores(time: Int64s, step: int, findings: Iterable[Finding]) -> dict[str, float]:
    """
    Return the score of every UTC day from the first row to the last: 100 is spotless, 0 is unusable.

    A finding costs its weight (error 20, warning 5, info 0.1) times the share of the day's rows it concerns, at least
    one point for an error; findings over several days are spread over them by time.
    """
    if not len(time):
        return {}
    days = range(int(time.min()) // DAY_NS, int(time.max()) // DAY_NS + 1)
    loss: dict[int, float] = defaultdict(float)
    per_day = max(DAY_NS / step, 1.0)
    for finding in findings:
        if finding.first is None or finding.last is None:
            shares = dict.fromkeys(days, min(finding.count / max(len(time), 1), 1.0))
        else:
            parts = by_day(finding, step)
            shares = {day: min(finding.count * part / per_day, 1.0) for day, part in parts.items()}
        for day, share in shares.items():
            cost = 100.0 * share * _WEIGHT[finding.severity]
            loss[day] += max(cost, 1.0) if finding.severity is Severity.ERROR else cost
    return {str(np.datetime64(day, "D")): round(max(0.0, 100.0 - loss[day]), 2) for day in days}
