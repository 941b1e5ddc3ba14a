"""
Checks against other data of the same symbol: another source, another interval, or the rows already stored.

Where most bars agree exactly, the others are unfinished or restated; where hardly any agree but prices run together,
the other data is another market (spot is not futures); where agreement ends at one instant, the file changes market.
"""

import numpy as np

from catalog.instruments import interval_ns
from catalog.quality.findings import Finding, Floats, Int64s, Kind, Mask, Severity, iso
from catalog.quality.market_checks import decimals
from catalog.quality.resampling import add_up, complete_buckets
from catalog.quality.rows import Context, Reference, Rows, common

_PRICE_TOLERANCE = 1e-9
_VOLUME_TOLERANCE = 1e-6
_SWITCH_ROWS = 20
_SAME_MARKET = 0.9
_OTHER_MARKET = 0.1
_FOREIGN_SHARE = 0.5
_CLEAN_SHARE = 0.02
_HALF_HOUR_NS = 1_800_000_000_000
_ZONES = [z for z in range(-28, 29) if z]


def compare(rows: Rows, context: Context, reference: Reference) -> list[Finding]:
    """Return what `reference` says about `rows` (strictly increasing)."""
    aligned = _align(rows, context.interval, reference)
    if aligned is None:
        return []
    time, ours, theirs = aligned
    if len(time) < _SWITCH_ROWS:
        return _differences(time, ours, theirs, context, reference) if _agreement(ours, theirs).mean() > 0.5 else []
    same = _agreement(ours, theirs)
    zone = _time_zone(rows, context, reference) if same.mean() < _OTHER_MARKET else None
    if zone is not None:
        text = f"the rows equal {reference.name} when moved by {zone:+.1f} hours"
        remedy = "convert the times to UTC"
        span = (int(time[0]), int(time[-1]), len(time))
        return [context.where.at(Kind.TIMEZONE, Severity.ERROR, span, text, remedy)]
    at = _end_of_agreement(same)
    if at is not None:
        first, last = at
        return [
            _switch(time[first : last + 1], ours[first : last + 1], theirs[first : last + 1], context, reference),
            *_differences(
                np.delete(time, slice(first, last + 1)),
                np.delete(ours, slice(first, last + 1), axis=0),
                np.delete(theirs, slice(first, last + 1), axis=0),
                context,
                reference,
            ),
        ]
    if same.mean() < _OTHER_MARKET:
        basis, ratio = _basis(ours, theirs)
        text = (
            f"{same.mean():.1%} of {len(time)} bars equal {reference.name}: another market or symbol "
            f"(prices {basis:+.4%}, volume times {ratio:.3g})"
        )
        remedy = "do not mix the two sources"
        span = (int(time[0]), int(time[-1]), len(time))
        return [context.where.at(Kind.OTHER_MARKET, Severity.ERROR, span, text, remedy)]
    return _differences(time, ours, theirs, context, reference)


def _align(rows: Rows, interval: str, reference: Reference) -> tuple[Int64s, Floats, Floats] | None:
    """Bring both to the longer of the two intervals and to the times both have."""
    step, other = interval_ns(interval), interval_ns(reference.interval)
    ours_time, ours = rows.open_time, rows.matrix()
    theirs_time, theirs = reference.bars.open_time, Rows.of(reference.bars).matrix()
    if max(step, other) % min(step, other):
        return None
    if other < step:
        buckets = complete_buckets(theirs_time, other, step)
        theirs_time, theirs = buckets.open_time, add_up(theirs, buckets)
    elif other > step:
        buckets = complete_buckets(ours_time, step, other)
        ours_time, ours = buckets.open_time, add_up(ours, buckets)
    a, b = common(ours_time, theirs_time)
    return (ours_time[a], ours[a], theirs[b]) if len(a) else None


def _agreement(ours: Floats, theirs: Floats) -> Mask:
    with np.errstate(invalid="ignore"):
        difference = np.abs(ours - theirs)
        size = np.maximum(np.abs(theirs), 1e-12)
        prices = (difference[:, :4] <= _PRICE_TOLERANCE * size[:, :4]).all(axis=1)
        return prices & (difference[:, 4] <= _VOLUME_TOLERANCE * size[:, 4])


def _end_of_agreement(same: Mask) -> tuple[int, int] | None:
    """Return first and last index of the longest run of `_SWITCH_ROWS` or more differing rows beside equal ones."""
    padded = np.concatenate([[0], (~same).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(padded))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return None
    longest = int(np.argmax(ends - starts))
    first, last = int(starts[longest]), int(ends[longest] - 1)
    outside = np.concatenate([same[:first], same[last + 1 :]])
    if last - first + 1 < _SWITCH_ROWS or len(outside) < _SWITCH_ROWS or outside.mean() < _SAME_MARKET:
        return None
    return first, last


def _switch(time: Int64s, ours: Floats, theirs: Floats, context: Context, reference: Reference) -> Finding:
    basis, ratio = _basis(ours, theirs)
    text = (
        f"from {iso(int(time[0]))} to {iso(int(time[-1]))} the rows are not those of {reference.name} any more "
        f"(prices {basis:+.4%}, volume times {ratio:.3g}): another market"
    )
    span = (int(time[0]), int(time[-1]), len(time))
    remedy = "keep only the rows of the right market; fill the rest from another source"
    return context.where.at(Kind.MARKET_SWITCH, Severity.ERROR, span, text, remedy)


def _basis(ours: Floats, theirs: Floats) -> tuple[float, float]:
    with np.errstate(all="ignore"):
        return float(np.nanmedian(ours[:, 3] / theirs[:, 3] - 1)), float(np.nanmedian(ours[:, 4] / theirs[:, 4]))


def _differences(time: Int64s, ours: Floats, theirs: Floats, context: Context, reference: Reference) -> list[Finding]:
    differs = ~_agreement(ours, theirs)
    with np.errstate(invalid="ignore"):
        inside = (ours[:, 1] <= theirs[:, 1]) & (ours[:, 2] >= theirs[:, 2]) & (ours[:, 0] == theirs[:, 0])
        partial = differs & inside & (ours[:, 4] < theirs[:, 4]) & (ours[:, 4] > 0)
        partial &= (ours[:, 1:4] != theirs[:, 1:4]).any(axis=1) | (ours[:, 4] < _SAME_MARKET * theirs[:, 4])
    where = context.where
    text = f"less volume and range than in {reference.name}, same open: saved before it closed"
    remedy = f"take the bar of {reference.name}"
    found = where.rows(Kind.UNFINISHED, Severity.ERROR, time, partial, text, remedy)
    text = f"differs from {reference.name}: the exchange restated it, or one of the sources is wrong"
    remedy = "decide for one source and keep to it; both versions are known"
    return found + where.rows(Kind.RESTATED, Severity.WARNING, time, differs & ~partial, text, remedy)


def _time_zone(rows: Rows, context: Context, reference: Reference) -> float | None:
    for halves in _ZONES:
        time = rows.open_time + halves * _HALF_HOUR_NS
        moved = Rows(time, rows.open, rows.high, rows.low, rows.close, rows.volume)
        aligned = _align(moved, context.interval, reference)
        if aligned is not None and len(aligned[0]) >= _SWITCH_ROWS:
            _, ours, theirs = aligned
            if _agreement(ours, theirs).mean() > _SAME_MARKET:
                return halves / 2
    return None


def check_digits(rows: Rows, context: Context) -> list[Finding]:
    """
    Return the instant at which prices or volumes suddenly need more or fewer digits, and keep needing them.

    Futures and spot have different ticks and steps; a file that changes market changes its digits.
    """
    traded = rows.volume != 0
    if not traded.all():
        rows = rows.take(np.flatnonzero(traded))  # bars without trade repeat a price and say nothing
    if len(rows) < 4 * _SWITCH_ROWS:
        return []
    for name, values in (("prices", rows.close), ("volumes", rows.volume)):
        digits = decimals(values)
        candidates = []
        for level in np.unique(digits)[1:]:
            fine = (digits >= level).astype(np.float64)
            at = _level_change(fine)
            if at is not None:
                candidates.append((fine[at:].mean() - fine[:at].mean(), at, level))
        if not candidates:
            continue
        change, found, level = max(candidates, key=lambda c: abs(c[0]))
        text = f"{name} suddenly have {'more' if change > 0 else 'fewer'} digits ({level} after the point)"
        span = (int(rows.open_time[found]), int(rows.open_time[-1]), len(rows) - found)
        remedy = "another market (spot is not futures), or the exchange changed the tick: compare with a source"
        return [context.where.at(Kind.MARKET_SWITCH, Severity.WARNING, span, text, remedy)]
    return []


def _level_change(fine: Floats) -> int | None:
    """Return where a 0/1 column changes from almost never to mostly (or back) for good; None when it does not."""
    count = len(fine)
    total = np.concatenate([[0.0], np.cumsum(fine)])
    at = np.arange(_SWITCH_ROWS, count - _SWITCH_ROWS)
    before = total[at] / at
    after = (total[-1] - total[at]) / (count - at)
    appears = (before <= _CLEAN_SHARE) & (after >= _FOREIGN_SHARE)
    vanishes = (after <= _CLEAN_SHARE) & (before >= _FOREIGN_SHARE)
    candidates = np.flatnonzero(appears | vanishes)
    if not len(candidates):
        return None
    return int(at[candidates[np.argmax(np.abs(after - before)[candidates])]])
