"""
A seeded market for machines without data: plausible enough to exercise every part, and labelled SYNTHETIC everywhere.

Volatility clusters (GARCH(1,1) for the market and for each symbol), trends (a drift that switches between up, flat and
down), jumps with bursts of volume, a daily rhythm, funding that follows the trend, and three symbols that move
together. It proves that the machinery works; no figure earned on it says anything about a strategy.

The same seed gives the same data on every machine: numbers come from the raw PCG64 stream and pass only through
addition, multiplication, division and square root, whose results IEEE 754 fixes. No exp, no log, no library normals.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.checks import HOUR_NS, RATE_DIGITS, Grid, Series
from catalog.instruments import interval_ns
from strategies.errors import DataError

SEED = 20250305
VERSION = 1
"""Raised whenever the same seed begins to give other data."""
DESCRIPTION = "seeded generator: stochastic volatility, trends, jumps, funding, correlated symbols"

FUNDING_STEP_NS = 8 * HOUR_NS

_SUBSTEPS = 8
_DAY_NS = 24 * HOUR_NS
_REFERENCE_BAR_NS = HOUR_NS // 4
_ALPHA, _BETA = 0.09, 0.895
_SHOCK_CAP = 36.0
_REGIME_DRIFT = (0.13, 0.0, -0.13)
_REGIME_LEAVE = 1.0 / 56.0
_JUMP_CHANCE = 1.0 / 130.0
_PULL = 0.0008
_BASE_FUNDING = 0.0001
_FUNDING_SLOPE = 0.006
_FUNDING_CAP = 0.00375
_HOURS = (
    *(0.95, 0.90, 0.85, 0.82, 0.80, 0.80, 0.85, 0.95),
    *(1.05, 1.00, 0.95, 0.95, 1.05, 1.20, 1.40, 1.35),
    *(1.25, 1.15, 1.05, 1.00, 0.98, 0.95, 0.92, 0.92),
)

type Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Character:
    """How a symbol moves: first price, deviation of 15-minute returns, share of the market's moves, usual volume."""

    price: float
    deviation: float
    market_share: float
    volume: float


CHARACTERS = {
    "BTCUSDT": Character(price=88_000.0, deviation=0.0021, market_share=0.90, volume=1_500.0),
    "ETHUSDT": Character(price=2_200.0, deviation=0.0034, market_share=0.86, volume=55_000.0),
    "XRPUSDT": Character(price=2.45, deviation=0.0038, market_share=0.82, volume=7_500_000.0),
}


class _Stream:
    """Numbers from the raw PCG64 stream; numpy fixes that stream for good, its distributions may change."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def uniform(self, *shape: int) -> Floats:
        """Return numbers in [0, 1)."""
        raw = self._bits.random_raw(math.prod(shape))
        return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)

    def bell(self, *shape: int) -> Floats:
        """Return numbers of mean 0 and variance 1: four uniforms added."""
        parts = self.uniform(4, *shape)
        return (parts[0] + parts[1] + parts[2] + parts[3] - 2.0) * math.sqrt(3.0)


def generate(
    grids: Sequence[Grid], interval: str, start_ns: int, end_ns: int, seed: int = SEED
) -> dict[str, tuple[Series, Series]]:
    """
    Return bars and funding of correlated symbols.

    Parameters
    ----------
    grids : Sequence[Grid]
        The symbols with their precision and tick.
    interval : str
        Bar length, for example ``15m``.
    start_ns, end_ns : int
        Bars open in ``[start, end)``, UTC ns; funding settles in the same range every eight hours.
    seed : int
        Same seed, same data. A symbol's data does not depend on which other symbols are asked for.

    Returns
    -------
    dict[str, tuple[Series, Series]]
        Symbol to bars and funding, as :mod:`catalog.checks` returns them.

    Raises
    ------
    DataError
        Propagate: a symbol the generator has no character for, or an empty range.

    """
    step = interval_ns(interval)
    time = np.arange(-(-start_ns // step) * step, end_ns, step, dtype=np.int64)
    if len(time) == 0:
        raise DataError("the generator was asked for an empty range: end must lie after start")
    unknown = [g.symbol for g in grids if g.symbol not in CHARACTERS]
    if unknown:
        raise DataError(f"the generator knows {', '.join(CHARACTERS)}, not {', '.join(unknown)}")
    rhythm = np.asarray(_HOURS)[(time % _DAY_NS) // HOUR_NS]
    market = _Stream(seed)
    moves = _moves(market, rhythm) + _trends(market, len(time)) + _jumps(market, len(time))
    result = {}
    for grid in grids:
        own = _Stream(seed * 1_000 + 1 + list(CHARACTERS).index(grid.symbol))
        result[grid.symbol] = _symbol(own, grid, time, step, moves, rhythm)
    return result


def _moves(stream: _Stream, rhythm: Floats) -> Floats:
    shocks = stream.bell(len(rhythm), _SUBSTEPS) / math.sqrt(_SUBSTEPS)
    totals = _across(shocks)
    variance, deviations = 1.0, np.empty(len(rhythm))
    for i, total in enumerate(totals.tolist()):
        deviations[i] = math.sqrt(variance)
        square = min(total * total, _SHOCK_CAP) * variance
        variance = min((1.0 - _ALPHA - _BETA) + _ALPHA * square + _BETA * variance, 25.0)
    return shocks * (deviations * rhythm)[:, np.newaxis]


def _trends(stream: _Stream, count: int) -> Floats:
    leave, choice = stream.uniform(count), stream.uniform(count)
    regime, drift = 1, np.empty((count, 1))
    for i in range(count):
        if leave[i] < _REGIME_LEAVE:
            regime = (regime + 1 + int(choice[i] * 2.0)) % 3
        drift[i, 0] = _REGIME_DRIFT[regime] / _SUBSTEPS
    return drift


def _jumps(stream: _Stream, count: int) -> Floats:
    chance, size, side, place = (stream.uniform(count) for _ in range(4))
    jumps = np.zeros((count, _SUBSTEPS))
    rows = np.flatnonzero(chance < _JUMP_CHANCE)
    jumps[rows, (place[rows] * _SUBSTEPS).astype(np.int64)] = (3.0 + 4.0 * size[rows]) * np.sign(side[rows] - 0.5)
    echo = rows[rows + 1 < count]
    jumps[echo + 1] -= _across(jumps[echo])[:, np.newaxis] * (0.35 / _SUBSTEPS)
    return jumps


def _symbol(
    stream: _Stream, grid: Grid, time: NDArray[np.int64], step: int, market: Floats, rhythm: Floats
) -> tuple[Series, Series]:
    character = CHARACTERS[grid.symbol]
    share = character.market_share
    own = _moves(stream, rhythm) + _jumps(stream, len(time))
    deviation = character.deviation * math.sqrt(step / _REFERENCE_BAR_NS)
    returns = (market * share + own * math.sqrt(1.0 - share * share)) * deviation
    returns -= (_pull(_across(returns)) / _SUBSTEPS)[:, np.newaxis]
    tick = grid.tick_units
    unit = 10.0**grid.price_precision
    path = np.cumprod(1.0 + returns.ravel()).reshape(returns.shape) * (character.price * unit / tick)
    ticks = np.maximum(np.rint(path), 1.0).astype(np.int64)
    close = ticks[:, -1]
    before = np.concatenate([[round(character.price * unit / tick)], close[:-1]])
    opened = np.maximum(before + np.rint(stream.uniform(len(time)) * 2.0 - 1.0).astype(np.int64), 1)
    high = np.maximum(ticks.max(axis=1), opened)
    low = np.minimum(ticks.min(axis=1), opened)
    volume = _volume(stream, character, (high - low) / close / deviation, rhythm, step)
    units = np.maximum(np.rint(volume * 10.0**grid.quantity_precision), 1.0).astype(np.int64)
    bars = np.column_stack([opened * tick, high * tick, low * tick, close * tick, units])
    return Series(time, bars), _funding(time, step, close)


def _pull(returns: Floats) -> Floats:
    distance, pull = 0.0, np.empty(len(returns))
    for i, value in enumerate(returns.tolist()):
        pull[i] = _PULL * distance
        distance += value - pull[i]
    return pull


def _volume(stream: _Stream, character: Character, spread: Floats, rhythm: Floats, step: int) -> Floats:
    noise = 0.6 + 0.8 * stream.uniform(len(spread))
    burst = np.where(stream.uniform(len(spread)) < 0.015, 1.5 + 2.0 * stream.uniform(len(spread)), 1.0)
    activity = 0.25 + 0.30 * spread + 0.12 * spread * spread
    return activity * noise * burst * rhythm * (character.volume * step / _REFERENCE_BAR_NS)


def _funding(time: NDArray[np.int64], step: int, close: NDArray[np.int64]) -> Series:
    first = -(-int(time[0]) // FUNDING_STEP_NS) * FUNDING_STEP_NS
    settled = np.arange(first, int(time[-1]) + step, FUNDING_STEP_NS, dtype=np.int64)
    last = np.maximum((settled - int(time[0])) // step - 1, 0)
    day = np.maximum(last - _DAY_NS // step, 0)
    trend = close[last] / close[day] - 1.0
    rate = np.clip(_BASE_FUNDING + _FUNDING_SLOPE * trend, -_FUNDING_CAP, _FUNDING_CAP)
    units = np.rint(rate * 10.0**RATE_DIGITS).astype(np.int64)
    minutes = np.full(len(settled), FUNDING_STEP_NS // 60_000_000_000, dtype=np.int64)
    return Series(settled, np.column_stack([units, minutes]))


def _across(table: Floats) -> Floats:
    total = table[:, 0].copy()
    for column in range(1, table.shape[1]):  # numpy's own sum may add in another order on another processor
        total += table[:, column]
    return total
