"""Bars of a longer interval from shorter ones, exactly: only where every part is there."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.quality.findings import Int64s


@dataclass(frozen=True, slots=True)
class Buckets:
    """
    Which short bars make which long ones.

    Attributes
    ----------
    open_time : ndarray of int64, shape (m,)
        Opens of the complete long bars, UTC ns.
    starts : ndarray of int64, shape (m,)
        Index of each one's first part.
    parts : int
        Short bars in a long one.

    """

    open_time: Int64s
    starts: Int64s
    parts: int


def complete_buckets(time: Int64s, short: int, long: int) -> Buckets:
    """
    Return the long bars of which every part is there.

    Parameters
    ----------
    time : ndarray of int64, shape (n,)
        Strictly increasing opens, UTC ns.
    short, long : int
        Intervals in ns.

    Raises
    ------
    ValueError
        `long` is not a multiple of `short`.

    """
    if long <= short or long % short:
        raise ValueError(f"{long} is not a multiple of {short}")
    parts = long // short
    starts = np.flatnonzero(time % long == 0)
    starts = starts[starts + parts <= len(time)]
    whole = time[starts + parts - 1] - time[starts] == long - short
    starts = starts[whole]
    return Buckets(time[starts], starts, parts)


def add_up(columns: NDArray[Any], buckets: Buckets) -> NDArray[Any]:
    """
    Return open, high, low, close, volume of the long bars.

    Parameters
    ----------
    columns : ndarray, shape (n, 5)
        The short bars; integers stay exact.
    buckets : Buckets
        From :func:`complete_buckets`.

    Returns
    -------
    ndarray, shape (m, 5)
        Same type as `columns`.

    """
    starts, parts = buckets.starts, buckets.parts
    result = np.empty((len(starts), 5), dtype=columns.dtype)
    if not len(starts):
        return result
    index = starts[:, None] + np.arange(parts)
    result[:, 0] = columns[starts, 0]
    result[:, 1] = columns[:, 1][index].max(axis=1)
    result[:, 2] = columns[:, 2][index].min(axis=1)
    result[:, 3] = columns[starts + parts - 1, 3]
    result[:, 4] = columns[:, 4][index].sum(axis=1)
    return result
