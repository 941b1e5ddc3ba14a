"""
The one entry point: the same checks on files, at ingestion, on a catalog and (through the same rules) in live.

    inspect(bars, context) -> list[Finding]
"""

import numpy as np

from catalog.instruments import interval_ns
from catalog.quality.comparisons import check_digits, compare
from catalog.quality.findings import DAY_NS, Finding, Floats, Int64s, Kind, Mask, Severity, Where
from catalog.quality.market_checks import check_cut_short, check_outliers, check_silence, check_stale, check_status
from catalog.quality.row_checks import (
    check_candles,
    check_close_times,
    check_columns,
    check_duplicates,
    check_times,
    price_columns,
)
from catalog.quality.rows import BarColumns, Context, Rows, distances, distinct

_HOUR_NS = 3_600_000_000_000
_RATE_LIMIT = 0.05
_USUAL_RATE = 0.002


def inspect(bars: BarColumns, context: Context, *, mark: bool = False) -> list[Finding]:
    """
    Return every defect of `bars` that the context allows to see.

    Parameters
    ----------
    bars : BarColumns
        Rows of one symbol and interval in the order of their source: ``BarArrays`` of the catalog, or ``Rows`` of a
        file, which may be in any state.
    context : Context
        What is known beside them.
    mark : bool
        The rows are mark or index prices: volume means nothing.

    Returns
    -------
    list[Finding]
        Empty when nothing is wrong.

    """
    rows = Rows.of(bars)
    step, where = interval_ns(context.interval), context.where
    findings = check_times(rows.open_time, step, where, now_ns=context.now_ns)
    if not len(rows) or any(f.kind is Kind.WRONG_UNIT for f in findings):
        return findings
    repeated, conflict = check_duplicates(rows.open_time, rows.matrix(), where)
    findings += repeated
    if mark:
        rows = Rows(rows.open_time, rows.open, rows.high, rows.low, rows.close, np.ones(len(rows)))
    findings += check_candles(rows, where) + check_close_times(rows, step, where)
    columns = price_columns(rows)
    if mark:
        del columns["volume"]
    findings += check_columns(columns, where)
    good = trusted(rows, conflict)
    rows = rows if len(good) == len(rows) and (np.diff(good) == 1).all() else rows.take(good)
    if not len(rows):
        return findings
    findings += check_outliers(rows, context) + check_stale(rows, context) + check_status(rows, context)
    if not mark:
        findings += check_silence(rows, context, step)
        if not any(f.kind is Kind.UNFINISHED for f in findings):
            findings += check_cut_short(rows, context, step)
        findings += check_digits(rows, context)
    for reference in context.references:
        found = compare(rows, context, reference)
        findings += found
        if any(f.kind is Kind.MARKET_SWITCH for f in found):
            findings = [f for f in findings if f.kind is not Kind.MARKET_SWITCH] + [
                f for f in found if f.kind is Kind.MARKET_SWITCH
            ]
    return findings


def trusted(rows: Rows, conflict: Mask) -> Int64s:
    """Return the indices of rows that are whole, unique and unambiguous, in order of time."""
    good = ~conflict
    for column in (rows.open, rows.high, rows.low, rows.close):
        good &= np.isfinite(column) & (column > 0)
    at = np.flatnonzero(good)
    if (np.diff(rows.open_time[at]) > 0).all():
        return at
    _, first = np.unique(rows.open_time[at], return_index=True)
    return at[first]


def inspect_funding(time: Int64s, rate: Floats, where: Where, *, now_ns: int | None = None) -> list[Finding]:
    """
    Return the defects of a funding series.

    Parameters
    ----------
    time : ndarray of int64, shape (n,)
        Settlements, UTC ns.
    rate : ndarray of float64, shape (n,)
        Fractions.

    """
    if not len(time):
        return [where.whole(Kind.UNREADABLE, Severity.ERROR, 0, "no rows", "check that the download completed")]
    settled = (time + _HOUR_NS // 2) // _HOUR_NS * _HOUR_NS
    usual = int(np.median(np.diff(distinct(settled)))) if len(distinct(settled)) > 1 else 8 * _HOUR_NS
    findings = _jitter(time, settled, where)
    findings += check_duplicates(settled, rate[:, None], where)[0]
    findings += check_columns({"last_funding_rate": rate}, where)
    if usual == 8 * _HOUR_NS and ((settled % usual) != 0).mean() > 0.9:
        text = "settlements are not at 00, 08 and 16 h UTC"
        span = (int(settled.min()), int(settled.max()), len(time))
        findings.append(where.at(Kind.TIMEZONE, Severity.ERROR, span, text, "convert the times to UTC"))
    backwards = np.concatenate([[False], np.diff(settled) < 0])
    text = "earlier than the row before"
    findings += where.rows(Kind.OUT_OF_ORDER, Severity.ERROR, settled, backwards, text, "sort the rows by time")
    findings += series_gaps(settled, usual, where)
    bad = ~np.isfinite(rate)
    remedy = "correct or remove the row"
    findings += where.rows(Kind.NOT_A_NUMBER, Severity.ERROR, settled, bad, "rate is empty or not finite", remedy)
    with np.errstate(invalid="ignore"):
        large = np.abs(rate) > _RATE_LIMIT
    text = f"rate beyond {_RATE_LIMIT:.0%}: a percentage instead of a fraction?"
    findings += where.rows(Kind.OUTLIER, Severity.WARNING, settled, large, text, "compare with the exchange")
    usual_rate = float(np.median(np.abs(rate[np.isfinite(rate)]))) if len(rate) > 2 and np.isfinite(rate).any() else 0.0
    if usual_rate > (_USUAL_RATE if len(rate) >= 10 else 3 * _USUAL_RATE):
        text = f"the usual rate is {usual_rate:.2%} at a settlement: percentages instead of fractions?"
        findings.append(where.whole(Kind.WRONG_UNIT, Severity.WARNING, len(rate), text, "compare with the exchange"))
    if now_ns is not None:
        text = "settles after it was fetched"
        findings += where.rows(Kind.UNFINISHED, Severity.ERROR, settled, settled > now_ns + _HOUR_NS, text, remedy)
    return findings


def inspect_values(
    time: Int64s, columns: dict[str, Floats], where: Where, step: int | None = None, *, positive: bool = True
) -> list[Finding]:
    """
    Return the defects of a series of figures (open interest, ratios): one time column, any number of values.

    `step` is the usual distance in ns; None takes the most frequent one.
    """
    if not len(time):
        return [where.whole(Kind.UNREADABLE, Severity.ERROR, 0, "no rows", "check that the download completed")]
    matrix = np.column_stack(list(columns.values()))
    findings, conflict = check_duplicates(time, matrix, where)
    findings += check_columns(columns, where)
    if step is None:
        jumps, counts = distances(time)
        step = int(jumps[np.argmax(counts)]) if len(jumps) else DAY_NS
    backwards = np.concatenate([[False], np.diff(time) < 0])
    text = "earlier than the row before"
    findings += where.rows(Kind.OUT_OF_ORDER, Severity.ERROR, time, backwards, text, "sort the rows by time")
    findings += series_gaps(time, step, where)
    for name, column in columns.items():
        if np.isnan(column).all():
            continue
        with np.errstate(invalid="ignore"):
            bad = ~np.isfinite(column) | ((column < 0) if positive else np.zeros(len(column), dtype=bool))
        text = f"{name} is empty, not finite or negative"
        findings += where.rows(Kind.NOT_A_NUMBER, Severity.ERROR, time, bad, text, "remove the row")
        findings += _value_spikes(time[~conflict], name, column[~conflict], where)
    return findings


def _value_spikes(time: Int64s, name: str, column: Floats, where: Where) -> list[Finding]:
    if len(column) < 50:
        return []
    with np.errstate(all="ignore"):
        change = np.diff(np.log(np.where(column > 0, column, np.nan)))
        if not np.isfinite(change).any():
            return []
        scale = np.nanmedian(np.abs(change - np.nanmedian(change)))
        large = np.abs(change) > max(60 * scale, 0.3)
        back = np.append((np.sign(change[1:]) == -np.sign(change[:-1])) & large[1:], False)
    mask = np.concatenate([[False], large & back])
    text = f"{name} jumps and is back in the next row"
    return where.rows(Kind.OUTLIER, Severity.WARNING, time, mask, text, "compare with another source")


def _jitter(time: Int64s, grid: Int64s, where: Where) -> list[Finding]:
    distance = np.abs(time - grid)
    off = distance > 60_000_000_000
    late = (distance > 0) & ~off
    findings = where.rows(
        Kind.OFF_GRID, Severity.ERROR, time, off, "not on the hour", "is this a funding file? check the time zone"
    )
    if late.any():
        text = f"{int(late.sum())} times up to {int(distance[late].max()) // 1_000_000} ms off the hour"
        span = (int(time[late][0]), int(time[late][-1]), int(late.sum()))
        remedy = "none: ingestion rounds to the hour"
        findings.append(where.at(Kind.TIME_JITTER, Severity.INFO, span, text, remedy))
    return findings


def series_gaps(time: Int64s, step: int, where: Where) -> list[Finding]:
    """Return the holes of a series whose rows are usually `step` ns apart."""
    ordered = distinct(time)
    jump = np.diff(ordered)
    at = np.flatnonzero(jump > 1.5 * step)
    remedy = "fetch the missing range"
    return [
        where.at(
            Kind.GAP,
            Severity.WARNING,
            (int(ordered[i]) + step, int(ordered[i + 1]) - step, round(int(jump[i]) / step) - 1),
            f"{round(int(jump[i]) / step) - 1} rows missing",
            remedy,
        )
        for i in at[:200]
    ]
