"""
The rules a row must satisfy before it may enter the catalog, and what else is worth telling about a file.

A broken rule refuses the whole file (:class:`DataError` naming the first bad line). Findings that leave the values
trustworthy are warnings: gaps, prices off the present tick (ticks change over the years), odd close times.
"""

import time as wall
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.csv_files import FUNDING, KLINES, UNITS, CsvFile, odd_close, unit_of
from catalog.fixed_point import MAX_UNITS, SCALE_DIGITS, Int64s, Words, decode
from catalog.instruments import interval_ns
from catalog.plausible import refuse_alone, refuse_rates
from strategies.errors import DataError

PRICES = ("open", "high", "low", "close")
HOUR_NS = 3_600_000_000_000
RATE_DIGITS = 8
"""Digits of a funding rate: the exchange prints eight."""

_JITTER_NS = 60_000_000_000
_MAX_RATE_UNITS = 10 ** (RATE_DIGITS - 1)
_MAX_VALUE = 17 * 10**12
_NOISE = Decimal("1e-12")
_QUICK_UNITS = 2**38
_NAMED = {60_000_000_000 * m: n for m, n in ((1, "1m"), (3, "3m"), (5, "5m"), (15, "15m"), (30, "30m"), (60, "1h"))} | {
    HOUR_NS * h: f"{h}h" for h in (2, 4, 6, 8, 12)
}


@dataclass(frozen=True, slots=True)
class Grid:
    """
    The decimal grid of an instrument.

    Attributes
    ----------
    symbol : str
        Venue symbol.
    price_precision, quantity_precision : int
        Digits after the point.
    tick_units : int
        Price tick in units of the last price digit (10 for a tick of 0.10).

    """

    symbol: str
    price_precision: int
    quantity_precision: int
    tick_units: int


@dataclass(slots=True)
class Series:
    """
    Checked rows, strictly increasing in time.

    Attributes
    ----------
    time : ndarray of int64, shape (n,)
        Open of the bar, or settlement of the funding; UTC nanoseconds.
    values : ndarray of int64, shape (n, k)
        Bars: open, high, low, close, volume in units of the last digit. Funding: rate in 10^-8, interval in minutes
        (0: not known).
    duplicates : int
        Equal repeated rows left out.
    warnings : list[str]
        Findings that do not refuse the file.

    """

    time: Int64s
    values: NDArray[np.int64]
    duplicates: int = 0
    warnings: list[str] = field(default_factory=list)


def iso(time_ns: int) -> str:
    """Return UTC nanoseconds as ISO-8601 with Z, whole seconds."""
    return str(np.datetime64(int(time_ns) // 1_000_000_000, "s")) + "Z"


def read_klines(
    path: Path | CsvFile, grid: Grid, interval: str, now_ns: int | None = None, *, insist: bool = False
) -> Series:
    """
    Return the bars of a file.

    Parameters
    ----------
    path : Path or CsvFile
        CSV, gzip or zip; or a file opened by the caller.
    grid : Grid
        Precision and tick of the instrument.
    interval : str
        For example ``15m``.
    now_ns : int, optional
        Wall time; a bar that closes later is unfinished. Default: the system clock.
    insist : bool
        Take what :mod:`catalog.plausible` refuses.

    Raises
    ------
    DataError
        Propagate: the first row that breaks a rule; nothing of the file may be used.

    """
    file = path if isinstance(path, CsvFile) else CsvFile(path, KLINES)
    step = interval_ns(interval)
    now = wall.time_ns() if now_ns is None else now_ns
    read = _quick_klines(file, grid)
    if read is None or _broken(read[0], read[1], step, now).any():
        time, columns = file.rows()
        values, whole = _exact_klines(columns, grid)
        bad = ~whole | _broken(time, values, step, now)
        if bad.any():
            row = int(np.argmax(bad))
            cells = {name: Decimal(_signed(columns[name][row])).scaleb(-SCALE_DIGITS) for name in (*PRICES, "volume")}
            raise _kline_error(file, row, time=time, cells=cells, grid=grid, interval=interval, now=now)
        close_time = columns.get("close_time")
    else:
        time, values, close_time = read
    _refuse_wrong_step(file, time, step)
    if close_time is not None and len(time):
        text = odd_close(int(time[0]), int(close_time[0]), step)
        if text:
            raise file.fail(file.line_of(0), "close_time", text, "check --interval and the time zone")
    series = _ordered(file, time, values, "open_time")
    if not insist:
        refuse_alone(file, time, values, grid.price_precision, grid.quantity_precision)
    _warn_gaps(series, step)
    off_tick = _any(series.values[:, i] % grid.tick_units != 0 for i in range(4) if grid.tick_units > 1)
    if off_tick is not None and off_tick.any():
        tick = Decimal(grid.tick_units).scaleb(-grid.price_precision)
        series.warnings.append(
            f"{int(off_tick.sum())} bars with prices off the present tick {tick}, first {iso(_first(series, off_tick))}"
        )
    if close_time is not None:
        _warn_close_times(file, series, time, close_time, step)
    return series


def read_funding(path: Path | CsvFile, symbol: str, now_ns: int | None = None, *, insist: bool = False) -> Series:
    """
    Return the funding settlements of a file, times rounded from the exchange's milliseconds of jitter to the hour.

    Raises
    ------
    DataError
        Propagate: the first row that breaks a rule; nothing of the file may be used.

    """
    file = path if isinstance(path, CsvFile) else CsvFile(path, FUNDING)
    others = file.symbols() - {symbol}
    if others:
        raise file.fail(None, "symbol", f"rows of {', '.join(sorted(others)[:3])}", f"--symbol says {symbol}")
    time, columns = file.rows()
    now = wall.time_ns() if now_ns is None else now_ns
    settled = (time + HOUR_NS // 2) // HOUR_NS * HOUR_NS
    units, whole = _rate_units(columns["last_funding_rate"])
    bad_time = np.abs(time - settled) > _JITTER_NS
    bad_rate = ~whole | (np.abs(units) > _MAX_RATE_UNITS)
    bad = bad_time | bad_rate | (settled > now + _JITTER_NS)
    hours = np.zeros(len(time), dtype=np.int64)
    if "funding_interval_hours" in columns:
        hours, known = decode(columns["funding_interval_hours"], 0)
        bad |= ~known | (hours < 1) | (hours > 24)
    if bad.any():
        row = int(np.argmax(bad))
        line = file.line_of(row)
        if bad_time[row]:
            raise file.fail(line, "calc_time", f"{iso(time[row])} is not on the hour", "is this a funding file?")
        if bad_rate[row]:
            rate = Decimal(_signed(columns["last_funding_rate"][row])).scaleb(-SCALE_DIGITS).normalize()
            remedy = "give fractions (0.0001 is 0.01 %) with at most 8 digits, within ±0.1"
            raise file.fail(line, "last_funding_rate", f"{rate} is not a funding rate", remedy)
        if settled[row] > now:
            raise file.fail(line, "calc_time", f"{iso(settled[row])} is in the future", "remove the row")
        raise file.fail(line, "funding_interval_hours", "not a number of hours from 1 to 24", "correct the row")
    if not insist:
        refuse_rates(file, units, RATE_DIGITS)
    series = _ordered(file, settled, np.column_stack([units, hours * 60]), "calc_time")
    _warn_hours(series)
    return series


def _warn_hours(series: Series) -> None:
    said, apart = series.values[1:, 1], np.diff(series.time) // (60 * 1_000_000_000)
    known = said > 0
    wrong = known & (said != apart)
    if len(wrong) >= 3 and wrong.sum() * 2 > known.sum():
        usual = int(np.median(apart[known]))
        series.warnings.append(
            f"funding_interval_hours contradicts the times of {int(wrong.sum())} rows, which are mostly {usual / 60:g} "
            f"hours apart, first {iso(_first(Series(series.time[1:], series.values[1:]), wrong))}"
        )


def _quick_klines(file: CsvFile, grid: Grid) -> tuple[Int64s, NDArray[np.int64], Int64s | None] | None:
    # Below _QUICK_UNITS the nearest float of a decimal tells its units, and what is not whole, beyond doubt.
    read = file.floats()
    if read is None:
        return None
    time, columns = read
    values = np.empty((len(time), 5), dtype=np.int64, order="F")
    for i, name in enumerate((*PRICES, "volume")):
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite fails the comparison below
            scaled = columns[name] * 10.0 ** (grid.quantity_precision if name == "volume" else grid.price_precision)
            nearest = np.rint(scaled)
            scaled = np.abs(scaled - nearest)
        if not (scaled <= nearest * float(_NOISE)).all() or not nearest.max() <= _QUICK_UNITS:
            return None
        values[:, i] = nearest
    return time, values, columns.get("close_time")


def _exact_klines(columns: dict[str, Any], grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    count = len(columns["open"])
    values = np.empty((count, 5), dtype=np.int64, order="F")
    whole = np.ones(count, dtype=bool)
    for i, name in enumerate((*PRICES, "volume")):
        precision = grid.quantity_precision if name == "volume" else grid.price_precision
        values[:, i], ok = _units(columns[name], precision)
        whole &= ok
    return values, whole


def _broken(time: Int64s, values: NDArray[np.int64], step: int, now: int) -> NDArray[np.bool_]:
    opened, high, low, close, volume = values.T
    bad = (low <= 0) | (opened <= 0) | (close <= 0) | (volume < 0)
    bad |= (high < np.maximum(opened, close)) | (low > np.minimum(opened, close))
    return bad | (time % step != 0) | (time > now - step)


def _any(masks: Iterable[NDArray[np.bool_]]) -> NDArray[np.bool_] | None:
    found = None
    for mask in masks:
        found = mask if found is None else found | mask
    return found


def _ordered(file: CsvFile, time: Int64s, values: NDArray[np.int64], name: str) -> Series:
    step = np.diff(time)
    if (step > 0).all():
        return Series(time, values)
    again = step == 0
    conflict = again & (values[1:] != values[:-1]).any(axis=1)
    bad = (step < 0) | conflict
    if bad.any():
        row = int(np.argmax(bad)) + 1
        if conflict[row - 1]:
            reason = f"{iso(time[row])} stands in line {file.line_of(row - 1)} already, with other values"
            raise file.fail(file.line_of(row), name, reason, "keep the row that is right")
        reason = f"{iso(time[row])} comes after {iso(time[row - 1])}"
        raise file.fail(file.line_of(row), name, reason, "sort the rows by time")
    keep = np.concatenate([[True], ~again])
    series = Series(time[keep], values[keep], duplicates=int(again.sum()))
    if series.duplicates:
        first = time[1:][again][0]
        series.warnings.append(f"{series.duplicates} repeated equal rows left out, first {iso(first)}")
    return series


def _kline_error(
    file: CsvFile, row: int, *, time: Int64s, cells: dict[str, Decimal], grid: Grid, interval: str, now: int
) -> DataError:
    open_time = int(time[row])
    line = file.line_of(row)
    step = interval_ns(interval)
    if open_time % step:
        named = _NAMED.get(_usual_step(time))
        remedy = f"the rows are {named} apart: --interval {named}?" if named else "check --interval and the time zone"
        return file.fail(line, "open_time", f"{iso(open_time)} is not the start of a {interval} bar", remedy)
    for name in PRICES:
        if cells[name] <= 0:
            return file.fail(line, name, f"{_plain(cells[name])} is not above zero", "correct or remove the row")
    if cells["volume"] < 0:
        return file.fail(line, "volume", f"{_plain(cells['volume'])} is negative", "correct or remove the row")
    top, bottom = max(cells["open"], cells["close"]), min(cells["open"], cells["close"])
    if cells["high"] < top:
        reason = f"{_plain(cells['high'])} is below open or close {_plain(top)}"
        return file.fail(line, "high", reason, "correct or remove the row")
    if cells["low"] > bottom:
        reason = f"{_plain(cells['low'])} is above open or close {_plain(bottom)}"
        return file.fail(line, "low", reason, "correct or remove the row")
    if open_time + step > now:
        reason = f"the bar closes at {iso(open_time + step)}, in the future: it is unfinished"
        return file.fail(line, "open_time", reason, "remove the row and ingest it when it is complete")
    for name in (*PRICES, "volume"):
        precision = grid.quantity_precision if name == "volume" else grid.price_precision
        digits = _exponent(cells[name])
        if digits > precision:
            reason = f"{_plain(cells[name])} has {digits} digits after the point, {grid.symbol} has {precision}"
            return file.fail(line, name, reason, "is this another symbol, or the spot market?")
    name = max((*PRICES, "volume"), key=lambda n: cells[n])
    return file.fail(line, name, f"{_plain(cells[name])} is out of range", "correct or remove the row")


def _refuse_wrong_step(file: CsvFile, time: Int64s, step: int) -> None:
    usual = _usual_step(time)
    if len(time) >= 3 and usual > step and not (np.diff(time) == step).any():
        named = _NAMED.get(usual, f"{usual / HOUR_NS:g} h")
        raise file.fail(None, "open_time", f"no two rows are one interval apart, most are {named}", "check --interval")


def _usual_step(time: Int64s) -> int:
    steps, counts = np.unique(np.diff(time), return_counts=True)
    return int(steps[np.argmax(counts)]) if len(steps) else 0


def _warn_gaps(series: Series, step: int) -> None:
    jumps = np.diff(series.time)
    gaps = jumps > step
    if gaps.any():
        missing = int((jumps[gaps] // step - 1).sum())
        first = int(series.time[1:][gaps][0] - jumps[gaps][0] + step)
        series.warnings.append(f"{int(gaps.sum())} gaps, {missing} bars missing, first {iso(first)}")


def _warn_close_times(file: CsvFile, series: Series, time: Int64s, close_time: Int64s, step: int) -> None:
    unit = unit_of(int(close_time[0]))
    if unit is None:
        series.warnings.append("close_time is not a time and was ignored")
        return
    late = close_time * UNITS[unit] - (time + step)
    shifted = np.abs(late) >= step + HOUR_NS // 3_600
    if shifted.any():
        row = int(np.argmax(shifted))
        reason = f"is {late[row] / HOUR_NS:+.2f} h from the end of the {iso(time[row])} bar"
        raise file.fail(
            file.line_of(row), "close_time", reason, "check --interval; or one of the two times is in another zone"
        )
    odd = (late > 0) | (late < -HOUR_NS // 3_600)  # 23:59:59 is the second before the end, written without milliseconds
    if odd.any():
        series.warnings.append(f"{int(odd.sum())} odd close times, first at open {iso(time[odd][0])}")


def _first(series: Series, mask: NDArray[np.bool_]) -> int:
    return int(series.time[mask][0])


def _units(words: Words, precision: int) -> tuple[Int64s, NDArray[np.bool_]]:
    units, whole = decode(words, precision)
    factor = 10 ** (SCALE_DIGITS - precision)
    limit = min(_MAX_VALUE * 10**precision, MAX_UNITS)
    whole &= units <= limit
    for row in np.flatnonzero(~whole):  # 0.30000000000000004 is 0.3 written by a program that went through floats
        value = _signed(words[row])
        nearest = (value + factor // 2) // factor
        if abs(value - nearest * factor) <= _NOISE * abs(value) and 0 <= nearest <= limit:
            units[row], whole[row] = nearest, True
    return units, whole


def _rate_units(words: Words) -> tuple[Int64s, NDArray[np.bool_]]:
    factor = 10 ** (SCALE_DIGITS - RATE_DIGITS)
    raw = words[:, 0].astype(np.int64)
    fits = np.where(raw < 0, ~np.uint64(0), np.uint64(0)) == words[:, 1]
    units = (raw + factor // 2) // factor
    noise = np.abs(raw - units * factor)
    return units, fits & (noise <= np.abs(raw) * float(_NOISE))


def _signed(words: Any) -> int:
    return int.from_bytes(np.ascontiguousarray(words).tobytes(), "little", signed=True)


def _exponent(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def _plain(value: Decimal) -> str:
    return format(value.normalize(), "f")
