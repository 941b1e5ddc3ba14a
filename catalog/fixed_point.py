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

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)

type Int64s = NDArray[np.int64]
type Words = NDArray[np.uint64]


def encode(units: Int64s, precision: int) -> Words:
    """
    Return the stored form of non-negative `units` of 10^-`precision`.

    Parameters
    ----------
    units : ndarray of int64, shape (n,)
        Non-negative.
    precision : int
        Digits after the point, 0 to 16.

    Returns
    -------
    ndarray of uint64, shape (n, 2)
        Low and high word of ``units * 10**(16 - precision)``; its memory is the parquet column.

    """
    factor = 10 ** (SCALE_DIGITS - precision)
    factor_low, factor_high = np.uint64(factor & 0xFFFFFFFF), np.uint64(factor >> 32)
    value = units.astype(np.uint64)
    value_low, value_high = value & _LOW, value >> _HALF
    low_low, low_high = value_low * factor_low, value_low * factor_high
    high_low, high_high = value_high * factor_low, value_high * factor_high
    middle = (low_low >> _HALF) + (low_high & _LOW) + (high_low & _LOW)
    words = np.empty((len(units), 2), dtype=np.uint64)
    words[:, 0] = (low_low & _LOW) | (middle << _HALF)
    words[:, 1] = high_high + (low_high >> _HALF) + (high_low >> _HALF) + (middle >> _HALF)
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


def to_float(units: Int64s, precision: int) -> NDArray[np.float64]:
    """
    Return `units` as float64, bit-equal to ``float()`` of the Nautilus price or quantity.

    The engine divides the stored integer, rounded to float64, by 1e16; the product below is that integer rounded once.
    """
    return (units.astype(np.float64) * 10.0 ** (SCALE_DIGITS - precision)) / 10.0**SCALE_DIGITS
