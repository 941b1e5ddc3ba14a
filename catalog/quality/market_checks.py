"""Checks that ask whether rows are plausible as a market: jumps, silence, frozen prices, candles cut short."""

import numpy as np

from catalog.quality.findings import DAY_NS, Finding, Floats, Int64s, Kind, Mask, Severity, spans
from catalog.quality.rows import Context, Rows, local_scale

OUTLIER_SCALES = 30.0
"""Median magnitudes a close-to-close return may have; real 15-minute bars beyond are market-wide or real news."""
OTHER_UNIT = 5
"""A lasting change of price by this factor in one bar is no move of a market that trades all day."""
OUTLIER_FLOOR = 0.03
FROZEN_BARS, STALE_BARS = 3, 15
"""Consecutive equal bars; consecutive bars with equal prices that traded."""

_RETURNED = 0.7
_PEER_SCALES = 5.0
_CUT_VOLUME = 0.2
_CUT_GAP_SCALES = 4.0
_CUT_GAP_FLOOR = 2e-4


def check_outliers(rows: Rows, context: Context) -> list[Finding]:
    """
    Return returns and wicks that robust statistics do not explain.

    A price that comes back at once is a misprint unless other symbols jumped with it; a move that stays, or that is
    shared, is told as such.
    """
    if len(rows) < 50:
        return []
    with np.errstate(all="ignore"):
        log_close = np.log(np.where(rows.close > 0, rows.close, np.nan))
        change = np.diff(log_close, prepend=np.nan)
        body_top, body_bottom = np.maximum(rows.open, rows.close), np.minimum(rows.open, rows.close)
        wick = np.fmax(np.log(rows.high / body_top), -np.log(np.where(rows.low > 0, rows.low, np.nan) / body_bottom))
        scale = local_scale(change)
        limit = np.maximum(OUTLIER_SCALES * scale, OUTLIER_FLOOR)
        after = np.append(change[1:], np.nan)
        back = np.sign(after) == -np.sign(change)
        spike = (np.abs(change) > limit) & back & (np.abs(after) > _RETURNED * np.abs(change))
        jump = (np.abs(change) > limit) & ~spike & ~np.concatenate([[False], spike[:-1]])
        long_wick = wick > 2 * limit
        rescaled = jump & (np.abs(change) > np.log(OTHER_UNIT))
    odd = spike | long_wick
    shared = _shared(rows.open_time, odd | jump, context)
    where = context.where
    remedy = "compare with another source; do not trade on it before"
    misprint = "the price jumps and is back in the next bar, alone among the symbols compared"
    if not context.peers:
        misprint = "the price jumps and is back in the next bar (no other symbol to compare with)"
    findings = where.rows(
        Kind.OUTLIER,
        Severity.ERROR if context.peers else Severity.WARNING,
        rows.open_time,
        spike & ~shared,
        misprint,
        remedy,
    )
    text = "a wick far outside the usual range"
    findings += where.rows(Kind.OUTLIER, Severity.WARNING, rows.open_time, long_wick & ~spike & ~shared, text, remedy)
    text = "a move far outside the usual range that stays"
    stays = jump & ~long_wick & ~shared & ~rescaled
    findings += where.rows(Kind.OUTLIER, Severity.INFO, rows.open_time, stays, text, remedy)
    text = (
        f"the price is suddenly more than {OTHER_UNIT} times higher or lower and stays there: another unit or symbol?"
    )
    findings += where.rows(Kind.OUTLIER, Severity.ERROR, rows.open_time, rescaled, text, remedy)
    text = "a large move that other symbols share: a real event"
    mask = (odd | jump) & shared
    return findings + where.rows(Kind.MARKET_MOVE, Severity.INFO, rows.open_time, mask, text, "none")


def _shared(time: Int64s, mask: Mask, context: Context) -> Mask:
    """Return which of the marked rows come with an unusual range in at least half of the peers."""
    result = np.zeros(len(time), dtype=bool)
    at = np.flatnonzero(mask)
    if not len(at) or not context.peers:
        return result
    votes = np.zeros(len(at))
    asked = np.zeros(len(at))
    for bars in context.peers.values():
        with np.errstate(all="ignore"):
            span = np.log(bars.high / bars.low)
            unusual = span > _PEER_SCALES / 2 * local_scale(span)
        index = np.minimum(np.searchsorted(bars.open_time, time[at]), len(bars.open_time) - 1)
        there = bars.open_time[index] == time[at]
        votes += there & unusual[index]
        asked += there
    result[at] = (asked > 0) & (votes * 2 >= asked)
    return result


def check_silence(rows: Rows, context: Context, step: int) -> list[Finding]:
    """
    Return runs of bars without volume: an outage when other symbols are silent too, else a dead market.

    A run that reaches the end of the data, for a day or more, is told as a delisted symbol when others trade.
    """
    silent = rows.volume == 0
    where = context.where
    findings = []
    for first, last, count in spans(rows.open_time, silent):
        verdict = _others_silent(first, last, context)
        day_long = (last - first + step) >= DAY_NS
        span = (first, last, count)
        if day_long and last == rows.open_time[-1] and verdict is not True:
            text = "no trade until the end of the data: delisted, or being settled"
            findings.append(where.at(Kind.DELISTED, Severity.ERROR, span, text, "do not trade it; end the series here"))
        elif verdict is None:
            severity = Severity.WARNING if count >= 3 else Severity.INFO
            text = "no volume (no other symbol to compare with)"
            findings.append(where.at(Kind.ZERO_VOLUME, severity, span, text, "compare with another symbol"))
        elif verdict:
            text = "no volume in any symbol compared: the exchange was down"
            findings.append(where.at(Kind.OUTAGE, Severity.WARNING, span, text, "no entries in or right after it"))
        else:
            text = "no volume while other symbols trade: nobody wanted to trade it"
            findings.append(where.at(Kind.DEAD_MARKET, Severity.INFO, span, text, "require a minimum volume"))
    return findings


def _others_silent(first: int, last: int, context: Context) -> bool | None:
    silent, asked = 0, 0
    for bars in context.peers.values():
        a, b = np.searchsorted(bars.open_time, (first, last + 1))
        if a == b:
            continue
        asked += 1
        silent += bool((bars.volume[a:b] == 0).mean() > 0.5)
    return None if not asked else silent * 2 > asked


def check_stale(rows: Rows, context: Context) -> list[Finding]:
    """
    Return runs of bars that repeat: prices and volume `FROZEN_BARS` times, or the prices alone `STALE_BARS` times.

    Illiquid symbols repeat their prices for some minutes with volumes that differ; that is not told.
    """
    same = rows.volume[1:] != 0
    for column in (rows.open, rows.high, rows.low, rows.close):
        same &= column[1:] == column[:-1]
    stale = long_runs(same, STALE_BARS)
    frozen = long_runs(same & (rows.volume[1:] == rows.volume[:-1]), FROZEN_BARS)
    text, remedy = "the bars repeat although there is volume: a frozen feed", "fetch the range again"
    return context.where.rows(Kind.STALE_PRICE, Severity.WARNING, rows.open_time, frozen | stale, text, remedy)


def long_runs(same: Mask, least: int) -> Mask:
    """Return the members of runs of at least `least` rows, given which rows equal the one before."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], same.astype(np.int8), [0]])))
    result = np.zeros(len(same) + 1, dtype=bool)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start >= least - 1:
            result[start : end + 1] = True
    return result


def cut_short(rows: Rows, step: int) -> Mask:
    """
    Return candles that look as if they were saved before they closed.

    In a market that trades without pause the next open is next to this close. A candle with a small part of the usual
    volume whose close is far from the next open lacks its end.
    """
    result = np.zeros(len(rows), dtype=bool)
    if len(rows) < 100:
        return result
    with np.errstate(all="ignore"):
        jump = np.abs(np.log(rows.open[1:] / rows.close[:-1]))
        if not (jump > _CUT_GAP_FLOOR).any():
            return result  # most of an ordinary file: the scales below take longest of all
        usual = np.maximum(_CUT_GAP_SCALES * local_scale(jump, quantile=0.9), _CUT_GAP_FLOOR)
        change = np.abs(np.log(rows.close / rows.open))
        usual = np.maximum(usual, 0.25 * local_scale(change)[:-1])
        volume = local_scale(rows.volume)
        small = (rows.volume[:-1] < _CUT_VOLUME * volume[:-1]) & (rows.volume[:-1] > 0)
        result[:-1] = small & (jump > usual) & (np.diff(rows.open_time) == step)
    return result


def check_cut_short(rows: Rows, context: Context, step: int) -> list[Finding]:
    """Return candles that look saved before their close; see :func:`cut_short`."""
    text = "little volume, and the next bar opens far from this close: saved before it closed?"
    remedy = "fetch the bar again, or compare with another interval"
    where = context.where
    found = cut_short(rows, step)
    findings = where.rows(Kind.UNFINISHED, Severity.WARNING, rows.open_time, found, text, remedy)
    if len(rows) >= 100 and context.now_ns is None:
        recent = rows.volume[-97:-1]
        if 0 < rows.volume[-1] < np.nanmin(np.where(recent > 0, recent, np.nan), initial=np.inf) / 2:
            text = "the last row has less volume than half of any of the 96 before: fetched before it closed?"
            span = (int(rows.open_time[-1]), int(rows.open_time[-1]), 1)
            findings.append(where.at(Kind.UNFINISHED, Severity.WARNING, span, text, remedy))
    return findings


def check_status(rows: Rows, context: Context) -> list[Finding]:
    """Return findings about a symbol that the exchange no longer trades."""
    findings, where = [], context.where
    if context.status is not None and context.status != "TRADING":
        text = f"the exchange says {context.status}"
        findings.append(where.whole(Kind.DELISTED, Severity.ERROR, len(rows), text, "do not trade it"))
    if context.delivery_ns is not None:
        late = rows.open_time >= context.delivery_ns
        text = "after the end of trading"
        findings += where.rows(Kind.DELISTED, Severity.ERROR, rows.open_time, late, text, "end the series before")
    return findings


def decimals(values: Floats, most: int = 8) -> Int64s:
    """Return the digits after the point each value needs, at most `most`."""
    result = np.full(len(values), most, dtype=np.int64)
    rest = np.arange(len(values))
    for digits in range(most):  # upwards: after a few rounds nothing is left to look at
        scaled = values[rest] * 10.0**digits
        with np.errstate(invalid="ignore"):
            exact = np.abs(scaled - np.rint(scaled)) <= np.maximum(1e-15 * np.abs(scaled), 1e-9)
        result[rest[exact]] = digits
        rest = rest[~exact]
        if not len(rest):
            break
    return result
