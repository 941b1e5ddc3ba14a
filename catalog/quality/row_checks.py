"""Checks that need nothing but the rows themselves: times, numbers, the rules of a candle, columns."""

import numpy as np

from catalog.quality.findings import DAY_NS, Finding, Floats, Int64s, Kind, Mask, Severity, Where, iso
from catalog.quality.rows import PRICES, Rows, distances, distinct

EARLIEST_NS, LATEST_NS = 1_199_145_600_000_000_000, 4_102_444_800_000_000_000
UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}

_JITTER_NS = 60_000_000_000
_SECOND_NS = 1_000_000_000
_CONSTANT_ROWS = 20
_IGNORED = ("ignore",)
_TOLERANCE = 1e-6
_QUARTER_HOUR_NS = 900_000_000_000


def unit_of(time: Int64s) -> tuple[str | None, Mask]:
    """Return the unit that puts most values into 2008..2099 (``s``, ``ms``, ``us``, ``ns``), and which it does not."""
    best: tuple[str | None, Mask] = (None, np.ones(len(time), dtype=bool))
    for unit, nanos in UNITS.items():
        wrong = (time < EARLIEST_NS // nanos) | (time >= LATEST_NS // nanos)
        if wrong.sum() < best[1].sum():
            best = (unit, wrong)
    return best


def to_ns(time: Int64s, where: Where) -> tuple[Int64s, list[Finding]]:
    """
    Return raw times as UTC nanoseconds, each row in the unit its size tells, and what is wrong with the units.

    Milliseconds are the exchange's unit; another one is told, a mixture is an error.
    """
    if not len(time):
        return time, []
    unit, wrong = unit_of(time)
    if unit is None:
        remedy = "check the column order; times are Unix times or ISO-8601"
        text = f"{time[0]} is not a time of the years 2008 to 2099 in any unit"
        return time, [where.whole(Kind.WRONG_UNIT, Severity.ERROR, len(time), text, remedy)]
    result = time.copy()
    result[~wrong] *= UNITS[unit]
    findings = []
    if unit != "ms":
        text = f"times are in {unit}, the exchange's candle files have ms"
        findings.append(where.whole(Kind.WRONG_UNIT, Severity.INFO, len(time), text, "none: they were converted"))
    if wrong.any():
        other, still = unit_of(time[wrong])
        if other is not None and not still.any():
            result[wrong] *= UNITS[other]
        text = f"{int(wrong.sum())} of {len(time)} times are not in {unit}, first {time[np.argmax(wrong)]}"
        findings.append(where.whole(Kind.WRONG_UNIT, Severity.ERROR, int(wrong.sum()), text, "use one unit in a file"))
    return result, findings


def check_times(time: Int64s, step: int, where: Where, *, now_ns: int | None = None) -> list[Finding]:
    """Return findings about bar opens: years, order, grid, jitter, time zone, gaps and the future."""
    if not len(time):
        return [where.whole(Kind.UNREADABLE, Severity.ERROR, 0, "no rows", "check that the download completed")]
    absurd = (time < EARLIEST_NS) | (time >= LATEST_NS)
    if absurd.any():
        text = f"{int(absurd.sum())} times outside 2008..2099 when read as ns, first {time[np.argmax(absurd)]}"
        remedy = "the unit is wrong: give the right one (s, ms, us, ns)"
        return [where.whole(Kind.WRONG_UNIT, Severity.ERROR, int(absurd.sum()), text, remedy)]
    findings = _grid(time, step, where)
    steps, counts = distances(time)
    if len(time) > 2 and step not in steps and steps[np.argmax(counts)] > step:
        text = f"no two rows are {where.interval} apart, most are {steps[np.argmax(counts)] / 60_000_000_000:g} minutes"
        span = (int(time.min()), int(time.max()), len(time))
        return [*findings, where.at(Kind.OFF_GRID, Severity.ERROR, span, text, "these are bars of another interval")]
    backwards = np.concatenate([[False], np.diff(time) < 0])
    findings += where.rows(
        Kind.OUT_OF_ORDER, Severity.ERROR, time, backwards, "earlier than the row before", "sort the rows by time"
    )
    findings += _gaps(time, step, where)
    if now_ns is not None:
        findings += where.rows(
            Kind.UNFINISHED,
            Severity.ERROR,
            time,
            time + step > now_ns,
            f"closes after the fetch at {iso(now_ns)}",
            "remove the row and fetch it again when it is complete",
        )
    return findings


def _grid(time: Int64s, step: int, where: Where) -> list[Finding]:
    off = time % step
    if len(time) >= 3 and off[0] and (off == off[0]).all() and off[0] % _QUARTER_HOUR_NS == 0:
        text = f"every {where.interval} bar opens {int(off[0]) // 60_000_000_000} minutes off the UTC grid"
        remedy = "the times are in another time zone, or the bars have other boundaries: convert to UTC"
        return [where.at(Kind.TIMEZONE, Severity.ERROR, (int(time[0]), int(time[-1]), len(time)), text, remedy)]
    distance = np.minimum(off, step - off)
    jitter = (distance > 0) & (distance <= min(_JITTER_NS, step // 4))
    findings = []
    if jitter.any():
        worst_ms = int(distance[jitter].max()) // 1_000_000
        text = f"{int(jitter.sum())} times up to {worst_ms} ms off the grid"
        span = (int(time[jitter][0]), int(time[jitter][-1]), int(jitter.sum()))
        findings.append(where.at(Kind.TIME_JITTER, Severity.WARNING, span, text, "round to the interval's grid"))
    return findings + where.rows(
        Kind.OFF_GRID,
        Severity.ERROR,
        time,
        (distance > 0) & ~jitter,
        f"not the start of a {where.interval} bar",
        "check the interval; remove the row",
    )


def _gaps(time: Int64s, step: int, where: Where) -> list[Finding]:
    ordered = distinct(time)
    jump = np.diff(ordered)
    at = np.flatnonzero(jump >= 2 * step - min(_JITTER_NS, step // 4))
    missing = np.rint(jump[at] / step).astype(np.int64) - 1
    parts = [(int(ordered[i] + step), int(ordered[i + 1] - step), int(n)) for i, n in zip(at, missing, strict=True)]
    if len(parts) > 100:
        by_day: dict[int, tuple[int, int, int]] = {}
        for first, last, n in parts:
            known = by_day.get(first // DAY_NS)
            by_day[first // DAY_NS] = (first, last, n) if known is None else (known[0], last, known[2] + n)
        parts = list(by_day.values())
    remedy = "fill it from another source or interval: python -m catalog.repair"
    return [where.at(Kind.GAP, Severity.WARNING, part, f"{part[2]} rows missing", remedy) for part in parts]


def check_duplicates(time: Int64s, values: Floats, where: Where) -> tuple[list[Finding], Mask]:
    """
    Return findings about repeated times, and the rows in conflict (all versions: they belong in quarantine).

    Parameters
    ----------
    time : ndarray of int64, shape (n,)
        UTC ns, any order.
    values : ndarray of float64, shape (n, k)
        What must agree.

    """
    if (np.diff(time) > 0).all():
        return [], np.zeros(len(time), dtype=bool)
    order = np.argsort(time, kind="stable")
    sorted_time, sorted_values = time[order], values[order]
    again = np.diff(sorted_time) == 0
    left, right = sorted_values[:-1], sorted_values[1:]
    same = ((left == right) | (np.isnan(left) & np.isnan(right))).all(axis=1)
    group = np.concatenate([[0], np.cumsum(~again)]) if len(time) else np.empty(0, np.int64)
    bad_groups = np.unique(group[1:][again & ~same])
    conflict = np.zeros(len(time), dtype=bool)
    conflict[order] = np.isin(group, bad_groups)
    repeated = np.zeros(len(time), dtype=bool)
    repeated[order[1:]] = again & same
    findings = where.rows(
        Kind.DUPLICATE, Severity.INFO, time, repeated, "repeats an equal row", "none: one of them is kept"
    )
    if len(bad_groups):
        sort = np.sort(time[conflict])
        text = f"{len(bad_groups)} times carry different values, {int(conflict.sum())} rows, in {where.source}"
        remedy = "all versions are kept in quarantine; keep the row that another source confirms"
        span = (int(sort[0]), int(sort[-1]), int(conflict.sum()))
        findings.append(where.at(Kind.CONFLICTING_DUPLICATE, Severity.ERROR, span, text, remedy))
    return findings, conflict


def check_candles(rows: Rows, where: Where) -> list[Finding]:
    """Return findings about the rules every candle obeys."""
    time, error = rows.open_time, Severity.ERROR
    remedy = "correct or remove the row"
    matrix = rows.matrix()
    broken = ~np.isfinite(matrix).all(axis=1)
    if np.isnan(rows.volume).all():  # told as an empty column
        broken = ~np.isfinite(matrix[:, :4]).all(axis=1)
    findings = where.rows(Kind.NOT_A_NUMBER, error, time, broken, "empty, NaN or infinite", remedy)
    with np.errstate(invalid="ignore"):
        positive = (matrix[:, :4] > 0).all(axis=1)
        findings += where.rows(Kind.OHLC_RULE, error, time, ~broken & ~positive, "price not above zero", remedy)
        top, bottom = np.maximum(rows.open, rows.close), np.minimum(rows.open, rows.close)
        findings += where.rows(Kind.OHLC_RULE, error, time, rows.high < top, "high is below open or close", remedy)
        findings += where.rows(Kind.OHLC_RULE, error, time, rows.low > bottom, "low is above open or close", remedy)
        findings += where.rows(Kind.VOLUME_RULE, error, time, rows.volume < 0, "negative volume", remedy)
        moved = (rows.volume == 0) & (rows.high != rows.low)
        text = "the price moved without volume"
        findings += where.rows(Kind.VOLUME_RULE, Severity.WARNING, time, moved, text, "compare with another source")
        findings += _volumes(rows, where)
    return findings


def _volumes(rows: Rows, where: Where) -> list[Finding]:
    findings, remedy = [], "compare with another source"
    taker, quote = rows.extra.get("taker_buy_volume"), rows.extra.get("quote_volume")
    slack = 1 + _TOLERANCE
    if taker is not None:
        bad = (taker > rows.volume * slack) | (taker < 0)
        text = "taker-buy volume is negative or above the volume"
        findings += where.rows(Kind.VOLUME_RULE, Severity.ERROR, rows.open_time, bad, text, remedy)
    if quote is not None:
        low, high = rows.low * rows.volume / slack - 1, rows.high * rows.volume * slack + 1
        bad = (quote < low) | (quote > high)
        with np.errstate(all="ignore"):
            traded = (rows.volume > 0) & (quote > 0)
            ratio = rows.close[traded] * rows.volume[traded] / quote[traded]
            factor = float(np.median(ratio)) if traded.any() else 1.0
        if bad.any() and bad.mean() > 0.9 and (factor > 2 or 0 < factor < 0.5):
            text = f"prices times volume are {factor:.3g} times the quote volume in every row: a price in another unit"
            span = (int(rows.open_time.min()), int(rows.open_time.max()), len(rows))
            return [*findings, where.at(Kind.VOLUME_RULE, Severity.ERROR, span, text, remedy)]
        text = "quote volume does not lie between low and high times volume"
        findings += where.rows(Kind.VOLUME_RULE, Severity.WARNING, rows.open_time, bad, text, remedy)
    return findings


def check_columns(columns: dict[str, Floats], where: Where) -> list[Finding]:
    """Return findings about columns that say nothing: all empty, or the same value in every row."""
    findings = []
    for name, column in columns.items():
        if name in _IGNORED or not len(column):
            continue
        if np.isnan(column).all():
            text, remedy = f"column {name} is empty in all {len(column)} rows", "do not use it; look for another source"
            findings.append(where.whole(Kind.EMPTY_COLUMN, Severity.WARNING, len(column), text, remedy))
        elif len(column) >= _CONSTANT_ROWS and np.nanmin(column) == np.nanmax(column):
            text = f"column {name} is {np.nanmin(column):g} in all {len(column)} rows"
            remedy = "do not use it as a feature: it was never filled"
            findings.append(where.whole(Kind.CONSTANT_COLUMN, Severity.WARNING, len(column), text, remedy))
    return findings


def check_close_times(rows: Rows, step: int, where: Where) -> list[Finding]:
    """Return bars whose close time is not the next open or in the second before it (the exchange: one ms before)."""
    if rows.close_time is None:
        return []
    late = rows.close_time - (rows.open_time + step)
    shifted = np.abs(late) >= step + _SECOND_NS
    text, remedy = "close time is more than an interval from the end of the bar", "bring both times to UTC"
    findings = where.rows(Kind.TIMEZONE, Severity.ERROR, rows.open_time, shifted, text, remedy)
    text, remedy = "close time is not the end of the interval: cut short by an outage or unfinished", "look at the bar"
    odd = ((late > 0) | (late < -_SECOND_NS)) & ~shifted
    return findings + where.rows(Kind.CLOSE_TIME, Severity.WARNING, rows.open_time, odd, text, remedy)


def check_clock(event: Int64s, received: Int64s, where: Where, *, limit_ns: int = 500_000_000) -> list[Finding]:
    """
    Return a finding when the receiver's clock disagrees with the exchange's.

    Nothing arrives before it happened, and most things arrive quickly: a median age below zero, or above `limit_ns`,
    means the local clock is behind, or ahead (or the connection slow).
    """
    if not len(event):
        return []
    age = received - event
    middle = int(np.median(age))
    if 0 <= middle <= limit_ns:
        return []
    side = "behind" if middle < 0 else "ahead of (or the connection slow towards)"
    text = f"the local clock is {abs(middle) / 1e9:.2f} s {side} the exchange's; {int((age < 0).sum())} events arrive"
    span = (int(event.min()), int(event.max()), len(event))
    remedy = "synchronise the clock (NTP); use the exchange's event time"
    return [where.at(Kind.CLOCK_SKEW, Severity.WARNING, span, f"{text} before they happen", remedy)]


def price_columns(rows: Rows) -> dict[str, Floats]:
    """Return all columns of `rows` by name."""
    return {name: getattr(rows, name) for name in (*PRICES, "volume")} | dict(rows.extra)
