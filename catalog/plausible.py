"""
What no market does, and what therefore refuses a file of candles although every row obeys the rules: another unit.

A price five times higher or lower from one close to the next open, against rows of the file or stored ones; a turnover
that is not price times volume; prices that move while nothing is traded in the whole file; opens and closes exchanged;
closes given out as candles; funding in percent. ``--insist`` takes it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.fixed_point import Int64s
from strategies.errors import DataError

FACTOR = 5.0
"""Close to next open; the widest one of all real futures candles at hand (1m to 1h, since 2019) is 1.18."""
NEAR_NS = 7 * 86_400_000_000_000
"""Rows further apart are not held against each other: within weeks a price may go anywhere."""

USUAL_RATE = 0.002
"""Median funding rate of a settlement; the usual one is 0.0001."""

_LEAST_ROWS = 3
_SOME_ROWS, _MANY_ROWS = 20, 100
_SPREAD, _NEARLY_ALL = 0.2, 0.9
_OPEN, _HIGH, _LOW, _CLOSE, _VOLUME = range(5)
_INSIST = "or --insist"
_OTHER_UNIT = f"prices in another unit, or of another symbol? bring them in the unit of the others, {_INSIST}"

type Values = NDArray[np.int64]


def jump(time: Int64s, values: Values) -> int | None:
    """Return the first row whose open is far from the close of the row before, None when there is none."""
    before, after = values[:-1, _CLOSE], values[1:, _OPEN]
    with np.errstate(divide="ignore"):
        far = (after > FACTOR * before) | (before > FACTOR * after)
    far &= np.diff(time) <= NEAR_NS
    return int(np.argmax(far)) + 1 if far.any() else None


def moves_untraded(values: Values) -> int | None:
    """Return the first row in which the price moves, of a file in which nothing was traded; else None."""
    if len(values) < _LEAST_ROWS or values[:, _VOLUME].any():
        return None
    moved = values[:, _HIGH] != values[:, _LOW]
    moved[1:] |= values[1:, _CLOSE] != values[:-1, _CLOSE]
    return int(np.argmax(moved)) if moved.any() else None


def exchanged(values: Values) -> bool:
    """
    Return whether opens and closes stand in each other's place.

    A market opens where it closed. Here the next close is where this open was, and the next open is not where this
    close was.
    """
    if len(values) < _SOME_ROWS:
        return False
    opens, closes = values[:, _OPEN].astype(np.float64), values[:, _CLOSE].astype(np.float64)
    right = float(np.median(np.abs(opens[1:] / closes[:-1] - 1)))
    wrong = float(np.median(np.abs(closes[1:] / opens[:-1] - 1)))
    return right > 0 and wrong < right / 20


def closes_only(values: Values) -> bool:
    """Return whether no candle has a range of its own although the price moves from one to the next."""
    if len(values) < _MANY_ROWS or (values[:, _HIGH] != values[:, _LOW]).any():
        return False
    return bool((values[1:, _CLOSE] != values[:-1, _CLOSE]).mean() > 0.5)


def refuse_rates(file: Any, units: Int64s, digits: int) -> None:
    """
    Refuse funding that is usually above :data:`USUAL_RATE`.

    Raises
    ------
    DataError
        Propagate: names file, line, field, remedy.

    """
    if len(units) < _SOME_ROWS:
        return
    usual = float(np.median(np.abs(units))) / 10**digits
    if usual > USUAL_RATE:
        row = int(np.argmax(np.abs(units) > USUAL_RATE * 10**digits))
        reason = f"the usual rate is {usual:.3%} of a position at every settlement"
        remedy = f"percentages instead of fractions (0.0001 is 0.01 %)? divide by 100, {_INSIST}"
        raise file.fail(file.line_of(row), "last_funding_rate", reason, remedy)


def turnover_factor(values: Values, units: float, turnover: NDArray[np.float64]) -> float | None:
    """
    Return how many times the turnover the price times the volume is, where it is that in (nearly) every row.

    Parameters
    ----------
    values : ndarray
        int64, shape (n, 5), the first rows of a file.
    units : float
        What a price times a volume in units of the last digit is worth.
    turnover : ndarray
        float64, shape (n,), as the file has it.

    """
    volume, quote = values[:, _VOLUME] * units, turnover
    known = (volume > 0) & (quote > 0)
    if known.sum() < _SOME_ROWS:
        return None
    ratio = values[known, _CLOSE] * volume[known] / quote[known]
    factor = float(np.median(ratio))
    # Figures that were made up have no factor; another unit has one.
    alike = float((np.abs(ratio / factor - 1) < _SPREAD).mean()) >= _NEARLY_ALL
    return factor if alike and not 0.5 < factor < 2 else None


def refuse_against(path: Path, time: Int64s, values: Values, known: Any, price_digits: int) -> None:
    """
    Refuse rows whose prices are in another unit than stored ones of the same or of neighbouring times.

    Parameters
    ----------
    path, time, values : Path, ndarray of int64, ndarray of int64
        The file and its rows.
    known : Series or None
        Stored rows.
    price_digits : int
        Digits of a price, for messages.

    Raises
    ------
    DataError
        Propagate: names file, row, both prices and the remedy.

    """
    if known is None or not len(known.time) or not len(time):
        return
    at = np.searchsorted(known.time, time)
    there = np.zeros(len(time), dtype=bool)
    there[at < len(known.time)] = known.time[at[at < len(known.time)]] == time[at < len(known.time)]
    old, new = known.values[at[there], _CLOSE], values[there, _CLOSE]
    far = (new > FACTOR * old) | (old > FACTOR * new)
    if far.any():
        row = int(np.flatnonzero(there)[np.argmax(far)])
        _refuse(
            path, time, row, values[row, _CLOSE], old[np.argmax(far)], "close", "stored for that time", price_digits
        )
    merged_time = np.concatenate([known.time, time[~there]])
    order = np.argsort(merged_time, kind="stable")
    merged = np.concatenate([known.values[:, :5], values[~there, :5]])[order]
    fresh = order >= len(known.time)
    border = np.flatnonzero(fresh[1:] != fresh[:-1])
    for left in border.tolist():
        pair = slice(left, left + 2)
        if jump(merged_time[order][pair], merged[pair]) is not None:
            mine = left + 1 if fresh[left + 1] else left
            own, other = (_OPEN, _CLOSE) if mine > left else (_CLOSE, _OPEN)
            row = int(np.searchsorted(time, merged_time[order][mine]))
            stored = merged[left if mine > left else left + 1, other]
            name = ("open", "", "", "close")[own]
            _refuse(path, time, row, merged[mine, own], stored, name, "stored beside it", price_digits)


def _refuse(
    path: Path, time: Int64s, row: int, mine: int, other: int, field: str, where: str, price_digits: int
) -> None:
    own, stored = (f"{int(v) / 10**price_digits:.{price_digits}f}" for v in (mine, other))
    when = str(np.datetime64(int(time[row]) // 1_000_000_000, "s")) + "Z"
    factor = max(mine, other) / max(min(mine, other), 1)
    raise DataError(
        f"{path}: row {row + 1} ({when}): {field}: {own}, and {stored} is {where}, a factor of {factor:.4g}: "
        f"{_OTHER_UNIT}; nothing was stored"
    )


def refuse_alone(file: Any, time: Int64s, values: Values, price_digits: int, volume_digits: int) -> None:
    """
    Refuse a file that by itself shows another unit, or prices that move without a trade.

    Parameters
    ----------
    file : CsvFile
        Names line and file, knows the turnover of the first rows.
    time, values : ndarray of int64
        Its rows, times increasing.
    price_digits, volume_digits : int
        Digits after the point of a unit.

    Raises
    ------
    DataError
        Propagate: names file, line, field, remedy.

    """
    row = moves_untraded(values)
    if row is not None:
        reason = f"is 0 in all {len(values)} rows, while the price moves here"
        remedy = (
            f"mark or index prices are no candles of trades (catalog.raw put mark_klines); bring volumes, {_INSIST}"
        )
        raise file.fail(file.line_of(row), "volume", reason, remedy)
    row = jump(time, values)
    if row is not None:
        price, before = (int(v) / 10**price_digits for v in (values[row, _OPEN], values[row - 1, _CLOSE]))
        reason = f"{price:.{price_digits}f} after a close of {before:.{price_digits}f}"
        raise file.fail(file.line_of(row), "open", reason, _OTHER_UNIT)
    if exchanged(values):
        reason = "every bar closes where the bar before opened"
        raise file.fail(
            file.line_of(1), "close", reason, f"open and close exchanged? check the order of the columns, {_INSIST}"
        )
    if closes_only(values):
        reason = f"equals low, open and close in all {len(values)} rows, while the price moves from row to row"
        raise file.fail(
            file.line_of(0), "high", reason, f"closes alone are no candles: bring all four prices, {_INSIST}"
        )
    turnover = file.turnover()
    if turnover is not None:
        count = min(len(turnover), len(values))
        factor = turnover_factor(values[:count], 10.0 ** -(price_digits + volume_digits), turnover[:count])
        if factor is not None:
            reason = f"prices times volumes are {factor:.3g} times it in every row"
            raise file.fail(
                file.line_of(0), "quote_volume", reason, f"one of the three is in another unit: correct it, {_INSIST}"
            )
