"""Rows under inspection: bars as floats, not yet trusted, and what is known beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from catalog.quality.findings import Floats, Int64s, Mask, Where

PRICES = ("open", "high", "low", "close")


class BarColumns(Protocol):
    """Anything with the columns of a bar, for example :class:`catalog.reader.BarArrays`."""

    @property
    def open_time(self) -> Int64s:
        """Opens, UTC nanoseconds."""

    @property
    def open(self) -> Floats:
        """First prices."""

    @property
    def high(self) -> Floats:
        """Highest prices."""

    @property
    def low(self) -> Floats:
        """Lowest prices."""

    @property
    def close(self) -> Floats:
        """Last prices."""

    @property
    def volume(self) -> Floats:
        """Volumes, base currency."""


@dataclass(frozen=True, slots=True)
class Rows:
    """
    Bars as columns of equal length, in the order of their source.

    Attributes
    ----------
    open_time : ndarray of int64, shape (n,)
        UTC nanoseconds.
    open, high, low, close, volume : ndarray of float64, shape (n,)
        NaN where the source has nothing or nonsense.
    close_time : ndarray of int64, shape (n,), or None
        As the source says it, UTC nanoseconds.
    extra : mapping of str to ndarray of float64, shape (n,)
        Further columns (``taker_buy_volume``, ``quote_volume``, ``count``, ``oi_change`` …).

    """

    open_time: Int64s
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    close_time: Int64s | None = None
    extra: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.open_time)

    @classmethod
    def of(cls, bars: BarColumns) -> "Rows":
        """Return `bars` as rows; extra columns are kept when there are any."""
        if isinstance(bars, Rows):
            return bars
        return cls(bars.open_time, bars.open, bars.high, bars.low, bars.close, bars.volume)

    def take(self, index: Int64s | Mask | slice) -> "Rows":
        """Return the rows `index` selects."""
        return Rows(
            self.open_time[index],
            self.open[index],
            self.high[index],
            self.low[index],
            self.close[index],
            self.volume[index],
            close_time=None if self.close_time is None else self.close_time[index],
            extra={name: column[index] for name, column in self.extra.items()},
        )

    def matrix(self) -> Floats:
        """Return prices and volume, shape (n, 5)."""
        return np.column_stack([getattr(self, name) for name in (*PRICES, "volume")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """
    Other data about the same symbol and time.

    Attributes
    ----------
    name : str
        For messages.
    interval : str
        Of `bars`; finer ones are added up, coarser ones are compared with added-up rows.
    bars : BarColumns
        Trusted rows, strictly increasing.

    """

    name: str
    interval: str
    bars: BarColumns


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """
    What is known beside the rows.

    Attributes
    ----------
    symbol, interval, source : str
        Where they come from.
    now_ns : int or None
        When they were fetched, UTC ns; a bar that closes later is unfinished.
    references : tuple of Reference
        Overlapping data of the same symbol.
    peers : mapping of symbol to bars of the same interval
        Other symbols, to tell an outage from a dead market and a crash from a misprint.
    status : str or None
        The exchange's word at `now_ns`: ``TRADING``, ``SETTLING``, …
    delivery_ns : int or None
        When trading ends or ended.

    """

    symbol: str
    interval: str
    source: str
    now_ns: int | None = None
    references: tuple[Reference, ...] = ()
    peers: Mapping[str, BarColumns] = field(default_factory=dict)
    status: str | None = None
    delivery_ns: int | None = None

    @property
    def where(self) -> Where:
        """The maker of findings about these rows."""
        return Where(self.symbol, self.interval, self.source)


def distinct(time: Int64s) -> Int64s:
    """Return times ascending and once each; those of most series are so already, which is seen sooner than sorted."""
    return time if (np.diff(time) > 0).all() else np.unique(time)


def distances(time: Int64s) -> tuple[Int64s, Int64s]:
    """Return how far neighbouring times are apart, ascending, and how often each distance is there."""
    jumps = np.diff(distinct(time))
    if len(jumps) and (jumps == jumps[0]).all():
        return jumps[:1], np.array([len(jumps)])
    return np.unique(jumps, return_counts=True)


def common(left: Int64s, right: Int64s) -> tuple[Int64s, Int64s]:
    """Return the indices of equal times in two strictly increasing columns."""
    _, a, b = np.intersect1d(left, right, assume_unique=True, return_indices=True)
    return a, b


def local_scale(values: Floats, block: int = 96, quantile: float = 0.5) -> Floats:
    """
    Return a robust scale beside every value: median (or `quantile`) of magnitudes in its block and the two around it.

    Never below half of the whole column's median, so that a quiet hour does not make everything an outlier.
    """
    size = np.abs(values)
    count = len(size)
    if count == 0:
        return size
    with np.errstate(invalid="ignore"):
        overall = np.nanquantile(size, quantile) if np.isfinite(size).any() else 0.0
    blocks = -(-count // block)
    padded = np.full((blocks + 2) * block, np.nan)
    padded[block : block + count] = size
    grid = np.lib.stride_tricks.sliding_window_view(padded.reshape(-1, block), 3, axis=0)
    flat = grid.transpose(0, 2, 1).reshape(blocks, 3 * block)
    known = np.isfinite(flat).any(axis=1)
    medians = np.full(blocks, overall)
    full = np.isfinite(flat).all(axis=1)  # numpy is many times faster where it need not look for NaN
    if full.any():
        medians[full] = np.quantile(flat[full], quantile, axis=1)
    rest = known & ~full
    if rest.any():
        medians[rest] = np.nanquantile(flat[rest], quantile, axis=1)
    return np.maximum(np.repeat(medians, block)[:count], max(overall / 2, 1e-12))
