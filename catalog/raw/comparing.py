"""Rows against rows: equal, completed, filled."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.raw.arrays import NO, to_numpy
from catalog.raw.kinds import Kind


def equal(left: pa.ChunkedArray, right: pa.ChunkedArray) -> np.ndarray:
    """Return which cells are equal; two empty ones are."""
    nulls = pc.and_(left.is_null(), right.is_null())
    return to_numpy(pc.or_(pc.fill_null(pc.equal(left, right), NO), nulls))


def equal_rows(left: pa.Table, right: pa.Table) -> np.ndarray:
    """Return which rows are equal in every column."""
    same = np.ones(left.num_rows, dtype=bool)
    for one, other in zip(left.columns, right.columns, strict=True):
        same &= equal(one, other)
    return same


def completed(kind: Kind, olds: pa.Table, news: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return which new rows may be the whole of what the old ones are a part of, and which certainly are."""
    full = np.ones(olds.num_rows, dtype=bool)
    for column in kind.columns:
        old, new = olds[column.name], news[column.name]
        full &= equal(old, new) | (np.asarray(old.is_null().to_numpy(), dtype=bool) & (not column.needed))
    if not kind.interval:
        return full, full

    def holds(compare: Callable[[Any, Any], Any], name: str) -> np.ndarray:
        return np.asarray(compare(news[name], olds[name]).to_numpy(), dtype=bool)

    whole = holds(pc.equal, "open") & holds(pc.greater_equal, "high") & holds(pc.less_equal, "low")
    if "volume" in news.column_names:
        grown = full | (whole & holds(pc.greater, "volume"))
        return grown, grown
    return full | whole, full | (whole & (holds(pc.greater, "high") | holds(pc.less, "low")))


def filled(kind: Kind, both: pa.Table, pairs: np.ndarray) -> pa.Table:
    """Return the rows with what a new row leaves empty taken from the old one of its pair."""
    for place, column in enumerate(kind.columns):
        if column.needed:
            continue
        values, index = both[column.name], np.arange(both.num_rows)
        empty = np.asarray(values.is_null().to_numpy(), dtype=bool)[pairs + 1]
        index[pairs[empty] + 1] = pairs[empty]
        both = both.set_column(place, both.schema.field(place), values.take(pa.array(index)))
    return both
