"""
Nautilus's fixed-point numbers as arrays: 128-bit little-endian integers holding value times 10^16.

A column of them is converted to and from int64 *units* of the last digit (price 2.4533 at precision 4 is 24533 units)
without a Python loop: multiplication by a power of ten is done in two 64-bit words, exact division by multiplying with
the inverse modulo 2^64. Floats are made the way the engine makes them, so that they are bit-equal to ``float(price)``.
"""

import numpy as np
from numpy.typing import NDArray

SCALE_DIGITS = 16
"""Digits after the point of the stored integer (the high-precision build of Nautilus; the store checks it)."""
WORD_BYTES = 16
MAX_UNITS = 2**53
"""Largest number of units taken: above it a float64 cannot tell neighbours apart."""

_WORD_MAX = 2**64 - 1
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_EXACT_HIGH = 2**21
_MAX_INT64 = 2**63 - 1

type Int64s = NDArray[np.int64]
type Words = NDArray[np.uint64]


def encode(units: Int64s, precision: int) -> Words:
    """
    Return the stored form of non-negative `units` of 10^-`precision`.

    Parameters
    ----------
    units : ndarray of int64, shape (n,)
        Non-negative, at most `MAX_UNITS`.
    precision : int
        Digits after the point, 0 to 16.

    Returns
    -------
    ndarray of uint64, shape (n, 2)
        Low and high word of ``units * 10**(16 - precision)``; its memory is the parquet column.

    """
    factor = 10 ** (SCALE_DIGITS - precision)
    words = np.empty((len(units), 2), dtype=np.uint64)
    words[:, 0] = units.astype(np.uint64) * np.uint64(factor)
    if len(units) and units.max() > _WORD_MAX // factor:
        # The low word is the product modulo 2^64; what a float estimate of the whole leaves beside it is the high word,
        # off by far less than one half (the product is below 2^106, the estimate's error below 2^-10 of a high word).
        estimate = units.astype(np.float64) * (float(factor) / 2.0**64)
        words[:, 1] = np.rint(estimate - words[:, 0].astype(np.float64) / 2.0**64)
    else:
        words[:, 1] = 0
    return words


def decode(words: Words, precision: int) -> tuple[Int64s, NDArray[np.bool_]]:
    """
    Return the units of 10^-`precision` in stored numbers, and which of them are whole.

    Parameters
    ----------
    words : ndarray of uint64, shape (n, 2)
        Low and high words.
    precision : int
        Digits after the point, 0 to 16.

    Returns
    -------
    units : ndarray of int64, shape (n,)
        Meaningless where `whole` is False.
    whole : ndarray of bool, shape (n,)
        False: negative, above `MAX_UNITS`, or with more digits than `precision`.

    """
    digits = SCALE_DIGITS - precision
    low, high = words[:, 0], words[:, 1]
    if digits:
        low = (low >> np.uint64(digits)) | (high << np.uint64(64 - digits))
        low = low * np.uint64(pow(5**digits, -1, 2**64))
    units = low.astype(np.int64)
    in_range = (units >= 0) & (units <= MAX_UNITS)
    whole = in_range & (encode(np.where(in_range, units, 0), precision) == words).all(axis=1)
    return units, whole


def to_float(units: Int64s | NDArray[np.float64], precision: int) -> NDArray[np.float64]:
    """
    Return `units` as float64, bit-equal to ``float()`` of the Nautilus price or quantity.

    The engine divides the stored integer, rounded to float64, by 1e16; the product below is that integer rounded once.
    """
    return (units.astype(np.float64) * 10.0 ** (SCALE_DIGITS - precision)) / 10.0**SCALE_DIGITS


def stored_floats(words: Words, precision: int) -> NDArray[np.float64] | None:
    """
    Return stored numbers as :func:`to_float` of their units, without the units; None when one is not whole.

    Parameters
    ----------
    words : ndarray of uint64, shape (n, 2)
        Low and high words.
    precision : int
        Digits after the point, 0 to 16.

    """
    if len(words) == 0:
        return np.empty(0)
    low, high = words[:, 0], words[:, 1]
    highest = int(high.max())
    if highest < _EXACT_HIGH:
        if highest == 0 and int(low.max()) <= _MAX_INT64:
            floats = low.astype(np.int64).astype(np.float64)
        else:
            # Both summands are exact floats, so the sum is the 128-bit integer rounded once, as the engine rounds it.
            # In place and as int64, which processors turn into floats: this is most of what reading bars costs.
            top = high << _HALF
            top |= low >> _HALF
            floats = top.view(np.int64).astype(np.float64)
            floats *= 2.0**32
            floats += (low & _LOW).view(np.int64)
        floats /= 10.0**SCALE_DIGITS
        units = floats * 10.0**precision
        np.rint(units, out=units)
        if units.max() <= MAX_UNITS // 4 and np.array_equal(to_float(units, precision), floats):
            return floats
    exact, whole = decode(words, precision)
    return to_float(exact, precision) if whole.all() else None
