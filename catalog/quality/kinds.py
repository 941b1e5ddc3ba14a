"""
The checks of every data type, on columns: the same for a file before it is brought in, a raw day, and a raw series.

Candles go through :func:`catalog.quality.inspection.inspect`; here are trades, quotes, books, depth, figures, funding
and forced orders.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from catalog.instruments import interval_ns
from catalog.quality.comparisons import compare
from catalog.quality.findings import DAY_NS, Finding, Floats, Int64s, Kind, Mask, Severity, Where, iso, spans
from catalog.quality.inspection import inspect, inspect_funding, inspect_values
from catalog.quality.market_checks import check_status, long_runs
from catalog.quality.row_checks import EARLIEST_NS, LATEST_NS, check_clock, check_columns, check_duplicates, check_times
from catalog.quality.rows import Context, Rows, distances, distinct, local_scale
from catalog.raw.kinds import KINDS
from catalog.raw.kinds import Kind as RawKind

CANDLES = ("klines", "mark_klines", "index_klines", "premium_klines")
FIGURES = ("metrics", "open_interest", "ratios")
TICKS = ("agg_trades", "trades", "book_ticker", "book_snapshots", "liquidations")

_MINUTE_NS = 60_000_000_000
_SPIKE = 0.03
_SPIKE_SCALES = 30.0
_RETURNED = 0.7
_FROZEN_TICKS = 200
_FROZEN_FIGURES = 24
_CONSTANT_TICKS = 200
_SILENCE_NS = 30 * _MINUTE_NS
_SILENCE_SCALES = 20
_EMPTY_OK = ("order_type", "time_in_force", "order_status", "event_time")


@dataclass(frozen=True, slots=True)
class Columns:
    """
    Rows of one data type in the order of their source, in any state.

    Attributes
    ----------
    kind : str
        A key of :data:`catalog.raw.kinds.KINDS`.
    time : ndarray of int64, shape (n,)
        UTC ns.
    values : mapping of str to ndarray of float64, shape (n,)
        The other columns by their names in the raw store; NaN where empty or not a number; flags as 0 and 1.
    texts : mapping of str to ndarray of str, shape (n,)
        Columns of text.

    """

    kind: str
    time: Int64s
    values: Mapping[str, Floats]
    texts: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def table(self) -> RawKind:
        """The data type."""
        return KINDS[self.kind]


def inspect_kind(columns: Columns, context: Context) -> list[Finding]:
    """
    Return every defect of rows of any data type that the context allows to see.

    Parameters
    ----------
    columns : Columns
        The rows.
    context : Context
        Symbol, interval (candles), source, clock, references (candles and trades), peers (candles), status.

    """
    where = context.where
    if not len(columns.time):
        return [where.whole(Kind.UNREADABLE, Severity.ERROR, 0, "no rows", "check that the download completed")]
    if columns.kind in CANDLES:
        return _candles(columns, context)
    absurd = (columns.time < EARLIEST_NS) | (columns.time >= LATEST_NS)
    if absurd.any():
        text = f"{int(absurd.sum())} times outside 2008..2099, first {columns.time[np.argmax(absurd)]}"
        return [where.whole(Kind.WRONG_UNIT, Severity.ERROR, int(absurd.sum()), text, "give the right unit")]
    if columns.kind == "funding":
        return inspect_funding(columns.time, columns.values["last_funding_rate"], where, now_ns=context.now_ns)
    findings = _future(columns.time, where, context.now_ns)
    if context.status is not None or context.delivery_ns is not None:
        nothing = np.zeros(len(columns.time))
        findings += check_status(Rows(columns.time, nothing, nothing, nothing, nothing, nothing), context)
    if columns.kind in FIGURES:
        return findings + _figures(columns, where)
    findings += _rules(columns, where)
    if columns.kind == "book_depth":
        return findings + _depth(columns, where)
    findings += _ticks(columns, where)
    if columns.kind == "book_ticker" and "event_time" in columns.values:
        findings += _event_times(columns, where)
    if columns.kind in ("agg_trades", "trades"):
        findings += _against_bars(columns, context)
    return findings


def usual_step(columns: Columns) -> int:
    """Return the usual distance of rows in ns, by which scores count what a day should have."""
    if columns.kind in TICKS:
        days = distinct(columns.time // DAY_NS)
        return max(DAY_NS * len(days) // max(len(columns.time), 1), 1)
    steps = np.diff(distinct(columns.time))
    return int(np.median(steps)) if len(steps) else DAY_NS


def _candles(columns: Columns, context: Context) -> list[Finding]:
    o, h, low, c = (columns.values[name] for name in ("open", "high", "low", "close"))
    if columns.kind == "premium_klines":
        return _premiums(columns, context)
    nothing = np.full(len(columns.time), np.nan)
    body = ("open", "high", "low", "close", "volume")
    close_time = columns.values.get("close_time")
    extra = {n: v for n, v in columns.values.items() if n not in (*body, "close_time")}
    rows = Rows(
        columns.time,
        o,
        h,
        low,
        c,
        columns.values.get("volume", nothing),
        None if close_time is None else close_time.astype(np.int64),
        {} if columns.kind != "klines" else extra,
    )
    return inspect(rows, context, mark=columns.kind != "klines")


def _premiums(columns: Columns, context: Context) -> list[Finding]:
    where, time = context.where, columns.time
    findings = check_times(time, interval_ns(context.interval), where, now_ns=context.now_ns)
    if any(f.kind is Kind.WRONG_UNIT for f in findings):
        return findings
    o, h, low, c = (columns.values[name] for name in ("open", "high", "low", "close"))
    matrix = np.column_stack([o, h, low, c])
    findings += check_duplicates(time, matrix, where)[0]
    findings += check_columns({"open": o, "high": h, "low": low, "close": c}, where)
    broken = ~np.isfinite(matrix).all(axis=1)
    remedy = "correct or remove the row"
    findings += where.rows(Kind.NOT_A_NUMBER, Severity.ERROR, time, broken, "empty, NaN or infinite", remedy)
    with np.errstate(invalid="ignore"):
        text = "high is below, or low above, open or close"
        bad = (h < np.fmax(o, c)) | (low > np.fmin(o, c))
        findings += where.rows(Kind.OHLC_RULE, Severity.ERROR, time, bad, text, remedy)
        large = ~broken & (np.abs(matrix).max(axis=1) > np.maximum(0.02, 60 * local_scale(c)))
    text = "premium far outside the usual range"
    findings += where.rows(Kind.OUTLIER, Severity.WARNING, time, large, text, "compare with another source")
    same = np.concatenate([[False], (matrix[1:] == matrix[:-1]).all(axis=1)])
    stale = long_runs(same[1:], 15)
    return findings + _stale(time, stale, where)


def _figures(columns: Columns, where: Where) -> list[Finding]:
    time, values = columns.time, dict(columns.values)
    steps, counts = distances(time)
    step = int(steps[np.argmax(counts)]) if len(steps) else DAY_NS
    if step % _MINUTE_NS and len(time) > 2:
        step = max(round(step / _MINUTE_NS), 1) * _MINUTE_NS
    off = time % min(step, 300_000_000_000)
    late = np.minimum(off, min(step, 300_000_000_000) - off)
    findings = []
    jitter = (late > 0) & (late <= _MINUTE_NS)
    if jitter.any() and not jitter.all():
        text = f"{int(jitter.sum())} times up to {int(late[jitter].max()) // 1_000_000} ms off the grid"
        span = (int(time[jitter][0]), int(time[jitter][-1]), int(jitter.sum()))
        findings.append(where.at(Kind.TIME_JITTER, Severity.WARNING, span, text, "round to the grid"))
    text = "off the grid of the other rows"
    findings += where.rows(Kind.OFF_GRID, Severity.ERROR, time, late > _MINUTE_NS, text, "check the time zone")
    near = np.where(jitter, (time + step // 2) // step * step, time) if not jitter.all() else time
    findings += inspect_values(near, values, where, step)
    for name, column in values.items():
        if np.isnan(column).all() or len(column) < 2:
            continue
        stale = long_runs(column[1:] == column[:-1], _FROZEN_FIGURES)
        if not stale.all():
            text = f"{name} does not change: the source stopped"
            findings += where.rows(Kind.STALE_PRICE, Severity.WARNING, time, stale, text, "fetch the range again")
    return findings


def _rules(columns: Columns, where: Where) -> list[Finding]:
    table, time, findings = columns.table, columns.time, []
    for column in table.columns[1:]:
        values = columns.values.get(column.name)
        if values is None or (not column.needed and np.isnan(values).all()):
            continue
        bad = ~np.isfinite(values) if column.needed else np.isinf(values)
        text = f"{column.name} is empty or not a number"
        findings += where.rows(Kind.NOT_A_NUMBER, Severity.ERROR, time, bad, text, "correct or remove the row")
    for name, comparison, other in table.rules:
        left = columns.values.get(name)
        right = columns.values.get(other) if isinstance(other, str) else np.full(len(time), float(other))
        if left is None or right is None:
            continue
        with np.errstate(invalid="ignore"):
            bad = {">": left <= right, ">=": left < right, "<=": left > right}[comparison]
        crossed = name in ("best_ask_price", "ask_price_0") and isinstance(other, str)
        text = "the bid is above the ask, or on it in a full book" if crossed else f"{name} is not {comparison} {other}"
        kind = Kind.CROSSED_BOOK if crossed else Kind.BROKEN_RULE
        findings += where.rows(kind, Severity.ERROR, time, bad, text, "correct or remove the row")
    side = columns.texts.get("side")
    if side is not None:
        text = "side is neither BUY nor SELL"
        bad = ~np.isin(side, ("BUY", "SELL"))
        findings += where.rows(Kind.BROKEN_RULE, Severity.ERROR, time, bad, text, "correct or remove the row")
    return findings


def _ticks(columns: Columns, where: Where) -> list[Finding]:
    table, time, values = columns.table, columns.time, columns.values
    matrix = np.column_stack([v for n, v in values.items() if n != table.rising and n not in _EMPTY_OK])
    findings = []
    order = np.ones(len(time), dtype=bool)
    if table.rising:
        numbers = values[table.rising]
        whole = np.where(np.isfinite(numbers), numbers, -1).astype(np.int64)
        repeated, _ = check_duplicates(whole, np.column_stack([matrix, time]), where)
        findings += [_with_times(found, whole, time) for found in repeated]
        step = np.diff(whole)
        order = np.concatenate([[True], step >= 0])
        text = f"{table.rising} goes back"
        findings += where.rows(Kind.OUT_OF_ORDER, Severity.ERROR, time, ~order, text, f"sort by {table.rising}")
        if columns.kind != "book_ticker":
            findings += _missing_numbers(whole, time, where)
    if columns.kind == "agg_trades":
        findings += _missing_parts(columns, where)
    backwards = np.concatenate([[False], np.diff(time) < 0])
    severity = Severity.WARNING if table.rising else Severity.ERROR
    text = "earlier than the row before"
    findings += where.rows(Kind.OUT_OF_ORDER, severity, time, backwards & order, text, "sort the rows")
    findings += _silence(np.sort(time) if backwards.any() else time, where)
    price = values[next(n for n in ("price", "best_bid_price", "bid_price_0") if n in values)]
    findings += _tick_spikes(time, price, where)
    if columns.kind in ("book_ticker", "book_snapshots"):
        ask = values[next(n for n in ("best_ask_price", "ask_price_0") if n in values)]
        findings += _tick_spikes(time, ask, where)
    if len(time) > 1:
        frozen = long_runs((matrix[1:] == matrix[:-1]).all(axis=1), _FROZEN_TICKS)
        if columns.kind in ("agg_trades", "trades"):
            same = (price[1:] == price[:-1]) & (values["quantity"][1:] == values["quantity"][:-1])
            frozen = long_runs(same, _FROZEN_TICKS)
        findings += _stale(time, frozen, where)
    told = {n: v for n, v in values.items() if n not in _EMPTY_OK and not n.endswith("id")}
    long = len(time) >= _CONSTANT_TICKS
    return findings + [f for f in check_columns(told, where) if long or f.kind is Kind.EMPTY_COLUMN]


def _with_times(found: Finding, numbers: Int64s, time: Int64s) -> Finding:
    """Return a finding about row numbers with the times of those rows instead."""
    where = Where(found.symbol, found.interval, found.source)
    at = np.isin(numbers, [n for n in (found.first, found.last) if n is not None])
    span = (int(time[at].min()), int(time[at].max()), found.count) if at.any() else (None, None, found.count)
    what = f"ids {found.first} to {found.last}: {found.message}"
    return where.at(found.kind, found.severity, span, what, found.remedy)


def _missing_numbers(numbers: Int64s, time: Int64s, where: Where) -> list[Finding]:
    if (np.diff(numbers) == 1).all():
        return []
    order = np.argsort(numbers, kind="stable")
    jump = np.diff(numbers[order])
    findings = []
    for i in np.flatnonzero(jump > 1)[:100]:
        span = (int(time[order[i]]), int(time[order[i + 1]]), int(jump[i]) - 1)
        text = f"{int(jump[i]) - 1} rows missing after id {numbers[order[i]]}"
        findings.append(where.at(Kind.GAP, Severity.WARNING, span, text, "download the file again"))
    return findings


def _missing_parts(columns: Columns, where: Where) -> list[Finding]:
    first, last = columns.values["first_trade_id"], columns.values["last_trade_id"]
    ids = columns.values["agg_trade_id"]
    with np.errstate(invalid="ignore"):
        hole = np.concatenate([[False], (first[1:] - last[:-1] > 1) & (np.diff(ids) == 1)])
    with np.errstate(invalid="ignore"):
        again = np.concatenate([[False], (first[1:] <= last[:-1]) & (np.diff(ids) == 1)])
    text = "first_trade_id does not lie behind last_trade_id of the row before"
    findings = where.rows(Kind.BROKEN_RULE, Severity.ERROR, columns.time, again, text, "correct or remove the row")
    missing = int(np.where(hole, first - np.concatenate([[0.0], last[:-1]]) - 1, 0).sum()) if hole.any() else 0
    if not missing:
        return findings
    at = columns.time[hole]
    text = f"{missing} single trades missing between consecutive aggregate trades (the exchange leaves some out)"
    return [*findings, where.at(Kind.GAP, Severity.INFO, (int(at[0]), int(at[-1]), missing), text, "none")]


def _silence(time: Int64s, where: Where) -> list[Finding]:
    if len(time) < 100:
        return []
    wait = np.diff(time)
    if wait.max() <= _SILENCE_NS:  # the quantile of a busy day takes longer than everything else here
        return []
    limit = max(_SILENCE_NS, int(_SILENCE_SCALES * np.quantile(wait, 0.99)))
    text, remedy = "no row for {:.0f} minutes: an outage, or a part is missing", "compare with the candles"
    return [
        where.at(
            Kind.GAP,
            Severity.WARNING,
            (int(time[i]), int(time[i + 1]), 1),
            text.format(wait[i] / _MINUTE_NS),
            remedy,
        )
        for i in np.flatnonzero(wait > limit)[:100]
    ]


def _tick_spikes(time: Int64s, price: Floats, where: Where) -> list[Finding]:
    with np.errstate(all="ignore"):
        log = np.log(np.where(price > 0, price, np.nan))
        change = np.diff(log, prepend=np.nan)
        if not (np.abs(change) > _SPIKE).any():
            return []
        limit = np.maximum(_SPIKE_SCALES * local_scale(change), _SPIKE)
        away = np.zeros(len(price), dtype=bool)
        for i in np.flatnonzero(np.abs(change) > limit):
            level, size = log[i - 1], change[i]
            ahead = log[i : i + 50] - level
            back = np.flatnonzero(np.abs(ahead) < (1 - _RETURNED) * abs(size))
            if len(back) and not away[i]:
                away[i : i + int(back[0])] = True
    text, remedy = "the price jumps and is back at once", "compare with another source; do not trade on it before"
    return where.rows(Kind.OUTLIER, Severity.WARNING, time, away, text, remedy)


def _stale(time: Int64s, frozen: Mask, where: Where) -> list[Finding]:
    text, remedy = "the rows repeat: a frozen feed", "fetch the range again"
    return where.rows(Kind.STALE_PRICE, Severity.WARNING, time, frozen, text, remedy)


def _future(time: Int64s, where: Where, now_ns: int | None) -> list[Finding]:
    if now_ns is None:
        return []
    text = f"later than the fetch at {iso(now_ns)}"
    late = time > now_ns + _MINUTE_NS
    return where.rows(Kind.CLOCK_SKEW, Severity.ERROR, time, late, text, "check the clock and the unit")


def _event_times(columns: Columns, where: Where) -> list[Finding]:
    event = columns.values["event_time"]
    if not np.isfinite(event).all() or not len(event):
        return []
    scale = next((s for s in (10**9, 10**6, 10**3, 1) if EARLIEST_NS <= event[0] * s < LATEST_NS), 0)
    if not scale:
        text = f"event_time {event[0]:.0f} is not a time in any unit"
        return [where.whole(Kind.WRONG_UNIT, Severity.ERROR, len(event), text, "check the column order")]
    return check_clock(columns.time, event.astype(np.int64) * scale, where)


def depth_keys(time: Int64s, percentage: Floats) -> Int64s:
    """Return what tells depth rows apart: the millisecond, and in its nanoseconds the level."""
    shift = np.rint(np.where(np.isfinite(percentage), percentage, 0) * 1_000).astype(np.int64)
    return time // 1_000_000 * 1_000_000 + shift


def _depth(columns: Columns, where: Where) -> list[Finding]:
    time, percent = columns.time, columns.values["percentage"]
    key = depth_keys(time, percent)
    matrix = np.column_stack([columns.values["depth"], columns.values["notional"]])
    findings = check_duplicates(key, matrix, where)[0]
    backwards = np.concatenate([[False], np.diff(time) < 0])
    text = "earlier than the row before"
    findings += where.rows(Kind.OUT_OF_ORDER, Severity.ERROR, time, backwards, text, "sort the rows by time")
    moments, counts = np.unique(time, return_counts=True)
    usual = int(np.bincount(counts).argmax())
    for first, last, n in spans(moments, counts < usual):
        text = f"{n} snapshots lack levels ({usual} are usual)"
        findings.append(where.at(Kind.GAP, Severity.WARNING, (first, last, n), text, "fetch the range again"))
    steps = np.diff(moments)
    if len(steps) > 2:
        step = int(np.median(steps))
        for i in np.flatnonzero(steps > 3 * step)[:100]:
            span = (int(moments[i]) + step, int(moments[i + 1]) - step, int(steps[i] // step) - 1)
            findings.append(where.at(Kind.GAP, Severity.WARNING, span, f"{span[2]} snapshots missing", "fetch again"))
    findings += _depth_columns(columns, where)
    return findings


def _depth_columns(columns: Columns, where: Where) -> list[Finding]:
    findings = check_columns({n: columns.values[n] for n in ("depth", "notional")}, where)
    time, depth, percent = columns.time, columns.values["depth"], columns.values["percentage"]
    frozen = np.zeros(len(time), dtype=bool)
    spike = np.zeros(len(time), dtype=bool)
    for level in np.unique(percent[np.isfinite(percent)]):
        at = np.flatnonzero(percent == level)
        if len(at) < 3:
            continue
        own = depth[at]
        frozen[at] = long_runs(own[1:] == own[:-1], _FROZEN_FIGURES)
        with np.errstate(all="ignore"):
            change = np.diff(np.log(np.where(own > 0, own, np.nan)), prepend=np.nan)
            large = np.abs(change) > max(30 * float(np.nanmedian(np.abs(change))), 2.0)
            after = np.append(change[1:], np.nan)
            spike[at] = large & (np.sign(after) == -np.sign(change)) & (np.abs(after) > _RETURNED * np.abs(change))
    if not frozen.all():
        findings += _stale(time, frozen, where)
    text = "the depth of a level jumps and is back in the next snapshot"
    return findings + where.rows(Kind.OUTLIER, Severity.WARNING, time, spike, text, "compare with another source")


def _against_bars(columns: Columns, context: Context) -> list[Finding]:
    """Return what candles of the same symbol say about trades: another market, a switch of it, another time zone."""
    findings = []
    for reference in context.references:
        step = interval_ns(reference.interval)
        rows = bars_of_trades(columns.time, columns.values["price"], columns.values["quantity"], step)
        if len(rows) < 3:
            continue
        whole = rows.take(np.arange(1, len(rows) - 1))  # the first and the last may be cut
        where = Context(symbol=context.symbol, interval=reference.interval, source=context.source)
        found = compare(whole, where, reference)
        findings += [f for f in found if f.kind in (Kind.MARKET_SWITCH, Kind.OTHER_MARKET, Kind.TIMEZONE)]
    return findings


def bars_of_trades(time: Int64s, price: Floats, quantity: Floats, step: int) -> Rows:
    """Return the candles that trades make; times without trade have none."""
    good = np.isfinite(price) & np.isfinite(quantity)
    order = np.argsort(time[good], kind="stable")
    time, price, quantity = time[good][order], price[good][order], quantity[good][order]
    starts = np.flatnonzero(np.diff(time // step, prepend=-1) != 0)
    if not len(starts):
        nothing = np.empty(0)
        return Rows(np.empty(0, np.int64), nothing, nothing, nothing, nothing, nothing)
    ends = np.append(starts[1:], len(time)) - 1
    return Rows(
        time[starts] // step * step,
        price[starts],
        np.maximum.reduceat(price, starts),
        np.minimum.reduceat(price, starts),
        price[ends],
        np.add.reduceat(quantity, starts),
    )
