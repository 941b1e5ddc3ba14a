"""
The rules every row passes on its way into the raw store: the kind's rules, the clock, the interval's grid, the order.

A block of rows is checked at once; the last row of a block is compared with the first of the next one.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.checks import iso
from catalog.csv_files import UNITS, unit_of
from catalog.raw.arrays import NO, YES, from_numpy, scalar, to_numpy
from catalog.raw.aside import Aside
from catalog.raw.comparing import equal, equal_rows
from catalog.raw.csv_blocks import CsvBlocks
from catalog.raw.kinds import Kind
from catalog.raw.row_blocks import RowBlocks

_COMPARE = {
    ">": (pc.greater, "not above"),
    ">=": (pc.greater_equal, "below"),
    "<=": (pc.less_equal, "above"),
}
_CLOCK_NS = 60_000_000_000
_SECOND_NS = 1_000_000_000


class RowRules:
    """
    The rules of one file's rows.

    Parameters
    ----------
    file : CsvBlocks or RowBlocks
        Whose rows they are; it names the place in errors.
    symbol : str
        What a symbol column must say.
    step : int
        Interval in ns; 0 for kinds without one.
    now : int
        Wall time, UTC ns: nothing is of the future, no bar closes in it.
    aside : Aside, optional
        Takes the rows that break a rule; without it they refuse the file.

    Attributes
    ----------
    rows : int
        Rows checked so far.
    repeated, skipped, backwards : int
        Equal rows left out, values missing between rows, rows whose time goes back while their number rises.

    """

    def __init__(
        self, file: CsvBlocks | RowBlocks, symbol: str, step: int, now: int, aside: Aside | None = None
    ) -> None:
        self.file, self.kind, self.symbol, self.step, self.aside = file, file.kind, symbol, step, aside
        self.latest = now - step if step else now + _CLOCK_NS
        self.bad: dict[int, str] = {}
        self.last: pa.Table | None = None
        self.shortest = 0
        self.rows = self.repeated = self.skipped = self.backwards = 0

    def passed(self, block: pa.Table) -> pa.Table:
        """
        Return the rows of a block that are to be stored.

        Raises
        ------
        DataError
            Propagate: a row breaks a rule, and there is nowhere to put it aside.

        """
        result = self._checked(block)
        self.rows += block.num_rows
        return result

    def refuse_longer_step(self) -> None:
        """
        Refuse a file of candles, no two of which are one interval apart: they are longer ones.

        Raises
        ------
        DataError
            Propagate: see above.

        """
        if self.step and isinstance(self.file, CsvBlocks) and self.rows > 2 and self.shortest > self.step:
            apart = f"no two rows are one interval apart, the nearest are {self.shortest // 60_000_000_000} minutes"
            raise self.file.fail(None, self.kind.columns[0].name, apart, "check --interval")

    def _checked(self, block: pa.Table) -> pa.Table:
        if "symbol" in block.column_names:
            strange = pc.not_equal(block["symbol"], self.symbol)
            self._refuse(strange, "symbol", lambda row: f"{block['symbol'][row]}, --symbol says {self.symbol}")
            block = block.drop_columns(["symbol"])
        if "close_time" in block.column_names:
            self._close_times(block)
            block = block.drop_columns(["close_time"])
        for name, comparison, other in self.kind.rules:
            compare, words = _COMPARE[comparison]
            left = block[name]
            right = block[other] if isinstance(other, str) else scalar(other, left.type)
            broken = pc.invert(pc.fill_null(compare(left, right), YES))
            self._refuse(
                broken,
                name,
                lambda row, left=left, words=words, other=other: f"{_plain(left[row])} is {words} {other}",  # type: ignore[misc]
            )
        time_name = self.kind.columns[0].name
        time = to_numpy(block[time_name])
        late = time > self.latest
        remedy = "remove the row and bring it when it is complete" if self.step else "check the clock"
        self._refuse(
            from_numpy(late), time_name, lambda row: f"{iso(time[row])} is in the future or unfinished", remedy
        )
        if self.step:
            off = from_numpy(time % self.step != 0)
            self._refuse(off, time_name, lambda row: f"{iso(time[row])} is off the interval's grid", "check --interval")
        if self.aside is not None:
            block = self._set_aside(block, time_name)
            if not block.num_rows:
                return block
        return self._ordered(block, time_name)

    def _close_times(self, block: pa.Table) -> None:
        time, close = to_numpy(block[self.kind.columns[0].name]), block["close_time"]
        values = to_numpy(pc.fill_null(close, scalar(0, pa.int64())))
        unit = unit_of(int(values[0]))
        if not self.step or unit is None:
            return
        late = values * UNITS[unit] - (time + self.step)
        shifted = to_numpy(close.is_valid()) & (np.abs(late) >= self.step + _SECOND_NS)
        self._refuse(
            from_numpy(shifted),
            "close_time",
            lambda row: f"is {late[row] / 3.6e12:+.2f} h from the end of the {iso(time[row])} bar",
            "check --interval; or one of the two times is in another zone or unit",
        )

    def _set_aside(self, block: pa.Table, time_name: str) -> pa.Table:
        """Put rows aside that break a rule, go back, or contradict each other; return the others."""
        by = self.kind.rising or time_name
        good = np.ones(block.num_rows, dtype=bool)
        good[list(self.bad)] = False
        values = to_numpy(block[by])
        floor = np.iinfo(np.int64).min if self.last is None else to_numpy(self.last[by])[0]
        highest = np.maximum.accumulate(np.where(good, values, floor))
        highest = np.maximum(highest, floor)
        for row in np.flatnonzero(good & (values < highest)).tolist():
            self.bad[row] = f"{by}: comes after {highest[row]}"
            good[row] = False
        if self.kind.key:
            kept = np.flatnonzero(good)
            pairs = np.flatnonzero(np.diff(values[kept]) == 0)
            left, right = block.take(from_numpy(kept[pairs])), block.take(from_numpy(kept[pairs + 1]))
            same = np.ones(len(pairs), dtype=bool)
            for name in self.kind.key:
                same &= equal(left[name], right[name])
            for pair in np.flatnonzero(same & ~equal_rows(left, right)).tolist():
                for row in (int(kept[pairs[pair]]), int(kept[pairs[pair] + 1])):
                    self.bad[row] = f"{by}: the same row stands there with other values"
            if self.last is not None and len(kept) and _same_key(self.last, block.slice(int(kept[0]), 1), self.kind):
                row = int(kept[0])
                if (
                    row not in self.bad
                    and not equal_rows(self.last, block.slice(row, 1).select(self.last.column_names))[0]
                ):
                    self.bad[row] = f"{by}: the row before has the same key and other values"
        if self.bad and self.aside is not None:
            rows = sorted(self.bad)
            for row in rows:
                self.aside.add(block.slice(row, 1), [f"row {self.rows + row + 1}"], self.bad[row])
            keep = np.ones(block.num_rows, dtype=bool)
            keep[rows] = False
            block = block.filter(from_numpy(keep))
            self.bad = {}
        return block

    def _ordered(self, block: pa.Table, time_name: str) -> pa.Table:
        joined = block if self.last is None else pa.concat_tables([self.last, block])
        offset = 0 if self.last is None else 1
        self.last = block.slice(block.num_rows - 1)
        if joined.num_rows < 2:
            return block
        by = self.kind.rising or time_name
        values, time = to_numpy(joined[by]), to_numpy(joined[time_name])
        step = np.diff(values)
        rising = step[step > 0]
        if len(rising):
            nearest = int(rising.min())
            self.shortest = min(self.shortest, nearest) if self.shortest else nearest
        again = np.zeros(len(step), dtype=bool)
        same = np.flatnonzero(step == 0) if self.kind.key else np.empty(0, np.int64)
        if len(same):
            for name in self.kind.key:
                same = same[equal(joined[name].take(from_numpy(same)), joined[name].take(from_numpy(same + 1)))]
            differ = ~equal_rows(joined.take(from_numpy(same)), joined.take(from_numpy(same + 1)))
            if differ.any():
                row = self.rows + int(same[differ][0]) + 1 - offset
                raise self.file.fail_at(row, by, "the same row stands there already with other values", "keep one")
            again[same] = True
        if (step < 0).any():
            at = int(np.argmax(step < 0))
            reason = f"{values[at + 1]} comes after {values[at]}"
            if by == time_name:
                reason = f"{iso(values[at + 1])} comes after {iso(values[at])}"
            raise self.file.fail_at(self.rows + at + 1 - offset, by, reason, f"sort the rows by {by}")
        if self.kind.rising:
            self.skipped += int((step[step > 1] - 1).sum()) if self.kind.rising != "update_id" else 0
            self.backwards += int((np.diff(time) < 0).sum())
        elif self.step:
            self.skipped += int((step[step > self.step] // self.step - 1).sum())
        if not again.any():
            return block
        self.repeated += int(again.sum())
        keep = np.concatenate([[True], ~again])[offset:]
        return block.filter(from_numpy(keep))

    def _refuse(self, mask: Any, field: str, reason: Callable[[int], str], remedy: str = "correct the row") -> None:
        if self.aside is not None:
            for row in np.flatnonzero(to_numpy(pc.fill_null(mask, NO))).tolist():
                self.bad.setdefault(row, f"{field}: {reason(row)}")
        elif pc.any(mask).as_py():
            row = int(pc.index(mask, pa.scalar(True)).as_py())
            raise self.file.fail_at(self.rows + row, field, reason(row), remedy)


def _same_key(one: pa.Table, other: pa.Table, kind: Kind) -> bool:
    return all(bool(equal(one[name], other[name])[0]) for name in kind.key)


def _plain(value: pa.Scalar) -> str:
    content = value.as_py()
    return format(content.normalize(), "f") if isinstance(content, Decimal) else str(content)
