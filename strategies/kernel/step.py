"""
One bar through the kernel: indicators, features and the weighted vote, as compiled loops over flat arrays.

Definitions: `knowledge/cointrader-facts.md` §1-3. Everything compiled stands in this one file, longer than others for
it: numba's cache notices a change of the file a function stands in, not of the modules that file imports, and a stale
kernel would decide silently by yesterday's definitions.

Every window is summed anew each bar, oldest value first, so a value depends on the bars inside its window and not on
how many came before. Rings are stored twice, one copy behind the other, so that a window is always one straight run.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

# --- positions in the output row, in the order of columns.COLUMNS ---
RSI, MACD, MACD_SIGNAL, MACD_HIST, BB_UPPER, BB_LOWER, EMA9, EMA21, EMA50, ATR, ADX = range(11)
STOCH_K, STOCH_D, VOLUME_MEAN = 11, 12, 13
BB_PCT, EMA_ALIGN = 14, 15
ATR_PCT, VOL_RATIO, RET_1 = 16, 17, 18
SIGNAL_STRENGTH, SIDE = 21, 22
BTC_RET_1, ETH_RET_1, PRIMARY_BTC_RS, PRIMARY_ETH_RS = 23, 26, 29, 30
OI_CHANGE, FUNDING_RATE, OI_CHANGE_MA5, OI_PRICE_SPREAD, ADX_Z = 31, 32, 33, 34, 35
MACD_HIST_PCT, SCORE_LONG, SCORE_SHORT, SIGNAL = 36, 37, 38, 39
WIDTH = 40

# --- windows, in bars ---
BAND = 20
OSCILLATOR = 14
SMOOTH = 3
LAGS = 6
MEAN_OI = 5
Z_LONG = 288
Z_SHORT = 96

# --- z-scored series: the first N_LONG over Z_LONG bars, the rest over Z_SHORT ---
Z_ATR_PCT, Z_VOL_RATIO, Z_RET_1, Z_BTC_RET_1, Z_ETH_RET_1, Z_BTC_RS, Z_ETH_RS, Z_ADX = 0, 1, 2, 5, 8, 11, 12, 13
N_LONG = 14
Z_OI, Z_FUNDING, Z_OI_MA5 = 14, 15, 16
N_SERIES = 17
STD_FLOOR = 1e-8
EPSILON = 2.220446049250313e-16

# --- positions in the state array ---
COUNT, PREV_CLOSE, PREV_HIGH, PREV_LOW = 0, 1, 2, 3
EMA9_AT, EMA21_AT, EMA50_AT, EMA12_AT, EMA26_AT, EMA_SIGNAL_AT = range(4, 28, 4)
# each: value, first seed, sum of the seeds' distances from it, seeds so far
GAIN, LOSS, ATR_VALUE, ATR_SUM, ADX_ATR, ADX_ATR_SUM, PLUS, MINUS, DX_MEAN, DX_WEIGHT = range(28, 38)
PREV_MACD, PREV_MACD_SIGNAL = 38, 39
CLOSES = 40
VOLUMES = CLOSES + 2 * BAND
RSIS = VOLUMES + 2 * BAND
STOCHS = RSIS + 2 * OSCILLATOR
KS = STOCHS + 2 * SMOOTH
BTC = KS + 2 * SMOOTH
ETH = BTC + 2 * LAGS
OIS = ETH + 2 * LAGS
Z_RING = OIS + 2 * MEAN_OI
Z_COUNT = Z_RING + 2 * Z_LONG * N_SERIES
Z_MEAN = Z_COUNT + N_SERIES
Z_STD = Z_MEAN + N_SERIES
STATE_SIZE = Z_STD + N_SERIES

INPUTS = ("open", "high", "low", "close", "volume", "btc_close", "eth_close", "funding", "oi_change")
"""Order of a bar's inputs; a refused input is reported as its position here plus one."""
HIGH, LOW, CLOSE, VOLUME, BTC_CLOSE, ETH_CLOSE, FUNDING, OPEN_INTEREST = range(1, 9)


def _compile(function: Callable[..., Any]) -> Any:
    try:
        return njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no directory it may write its cache to: compile anew in each process
        return njit(error_model="numpy")(function)


@_compile
def reset(state: np.ndarray) -> None:
    """Bring `state` (float64, STATE_SIZE) to "no bar seen"."""
    state[:] = np.nan
    state[COUNT] = 0.0
    for at in (EMA9_AT, EMA21_AT, EMA50_AT, EMA12_AT, EMA26_AT, EMA_SIGNAL_AT):
        state[at + 2] = 0.0
        state[at + 3] = 0.0
    state[ATR_SUM] = 0.0
    state[ADX_ATR_SUM] = 0.0
    state[DX_WEIGHT] = 1.0


@_compile
def _ema(state: np.ndarray, at: int, length: int, value: float) -> float:
    """Exponential mean, alpha 2/(length+1), seeded with the simple mean of the first `length` values; NaN before."""
    seen = state[at + 3]
    if seen < length:
        if seen == 0.0:
            state[at + 1] = value
        # Summed as distances from the first value, so that the mean of equal values is that value to the last bit:
        # otherwise a market at rest would order its averages by rounding noise and earn points for it.
        state[at + 2] += value - state[at + 1]
        state[at + 3] = seen + 1.0
        if seen + 1.0 == length:
            state[at] = state[at + 1] + state[at + 2] / length
        return state[at]
    alpha = 2.0 / (length + 1.0)
    if state[at] != value:  # a constant series stays exactly constant
        state[at] = (1.0 - alpha) * state[at] + alpha * value
    return state[at]


@_compile
def _wilder(state: np.ndarray, at: int, value: float) -> float:
    """Exponential mean, alpha 1/14, starting at the first value."""
    alpha = 1.0 / OSCILLATOR
    if math.isnan(state[at]):
        state[at] = value
    elif state[at] != value:
        state[at] = (1.0 - alpha) * state[at] + alpha * value
    return state[at]


@_compile
def _push(state: np.ndarray, ring: int, length: int, count: int, value: float) -> int:
    """Store `value`; return where the window of the last `length` values, oldest first, begins."""
    slot = count % length
    state[ring + slot] = value
    state[ring + slot + length] = value
    return ring + slot + 1


@_compile
def _mean(state: np.ndarray, begin: int, length: int) -> float:
    """Simple mean as the ancestor's library forms it: each value times 1/length, then added, oldest first."""
    # The last bit decides here: K and D of the stochastic RSI are often equal but for it, and the vote compares them.
    weight = 1.0 / length
    total = 0.0
    for i in range(begin, begin + length):
        total += state[i] * weight
    return total


@_compile
def _change(value: float, before: float, first: bool) -> float:
    """Relative change; 0 where the reference lies before the first bar, NaN where either value is missing."""
    if math.isnan(value):
        return np.nan
    if first:
        return 0.0
    return value / before - 1.0


@_compile
def _ratio(numerator: float, denominator: float) -> float:
    """Relative strength: 0 where the other market did not move, NaN where it is missing."""
    if denominator == 0.0:
        return 0.0
    return numerator / denominator


@_compile
def _moments(state: np.ndarray, begin: int, rows: int, first: int, last: int) -> None:
    """Mean and population standard deviation of the series [first, last) over `rows` rows, missing values skipped."""
    for j in range(first, last):
        state[Z_COUNT + j] = 0.0
        state[Z_MEAN + j] = 0.0
        state[Z_STD + j] = 0.0
    # Rows outside, series inside: each sum keeps its order, and the series run side by side in one vector register.
    for i in range(rows):
        row = begin + i * N_SERIES
        for j in range(first, last):
            x = state[row + j]
            known = x == x  # noqa: PLR0124 - false for NaN only; compiles to a mask
            state[Z_COUNT + j] += 1.0 if known else 0.0
            state[Z_MEAN + j] += x if known else 0.0
    for j in range(first, last):
        state[Z_MEAN + j] /= state[Z_COUNT + j]
    for i in range(rows):
        row = begin + i * N_SERIES
        for j in range(first, last):
            x = state[row + j]
            d = x - state[Z_MEAN + j]
            known = x == x  # noqa: PLR0124 - false for NaN only; compiles to a mask
            state[Z_STD + j] += d * d if known else 0.0
    for j in range(first, last):
        state[Z_STD + j] = max(math.sqrt(state[Z_STD + j] / state[Z_COUNT + j]), STD_FLOOR)


@_compile
def _refused(bar: np.ndarray) -> int:
    """Return 0, or 1 + position in INPUTS of the first value that would poison the recursive means."""
    for i in range(len(INPUTS)):
        value = bar[i]
        if math.isnan(value):
            if i <= VOLUME:
                return i + 1
        elif math.isinf(value) or (i <= ETH_CLOSE and i != VOLUME and value <= 0.0) or (i == VOLUME and value < 0.0):
            return i + 1
    return 0


@_compile
def _trend(state: np.ndarray, count: int, bar: np.ndarray, out: np.ndarray) -> None:
    """Moving averages, MACD, bands and volume mean."""
    close = bar[CLOSE]
    out[EMA9] = _ema(state, EMA9_AT, 9, close)
    out[EMA21] = _ema(state, EMA21_AT, 21, close)
    out[EMA50] = _ema(state, EMA50_AT, 50, close)
    fast = _ema(state, EMA12_AT, 12, close)
    slow = _ema(state, EMA26_AT, 26, close)
    macd = fast - slow
    out[MACD] = macd
    out[MACD_SIGNAL] = np.nan if math.isnan(macd) else _ema(state, EMA_SIGNAL_AT, 9, macd)
    out[MACD_HIST] = macd - out[MACD_SIGNAL]

    begin = _push(state, CLOSES, BAND, count, close)
    distance = 0.0
    for i in range(begin, begin + BAND):
        distance += state[i] - state[begin]
    middle = state[begin] + distance / BAND
    squares = 0.0
    for i in range(begin, begin + BAND):
        squares += (state[i] - middle) * (state[i] - middle)
    width = 2.0 * math.sqrt(squares / (BAND - 1))
    out[BB_UPPER] = middle + width
    out[BB_LOWER] = middle - width
    out[VOLUME_MEAN] = _mean(state, _push(state, VOLUMES, BAND, count, bar[VOLUME]), BAND)


@_compile
def _oscillators(state: np.ndarray, count: int, close: float, out: np.ndarray) -> None:
    """RSI and stochastic RSI."""
    rsi = np.nan
    if count > 0:
        difference = close - state[PREV_CLOSE]
        gain = _wilder(state, GAIN, max(difference, 0.0))
        loss = _wilder(state, LOSS, max(-difference, 0.0))
        rsi = 100.0 * gain / (gain + loss)  # NaN until the price has moved once
    out[RSI] = rsi

    begin = _push(state, RSIS, OSCILLATOR, count, rsi)
    lowest = state[begin]
    highest = state[begin]
    for i in range(begin, begin + OSCILLATOR):
        value = state[i]
        if math.isnan(value):
            lowest = np.nan
            highest = np.nan
            break
        lowest = min(lowest, value)
        highest = max(highest, value)
    span = highest - lowest
    stoch = 100.0 * (rsi - lowest) / (EPSILON if span == 0.0 else span)
    out[STOCH_K] = _mean(state, _push(state, STOCHS, SMOOTH, count, stoch), SMOOTH)
    out[STOCH_D] = _mean(state, _push(state, KS, SMOOTH, count, out[STOCH_K]), SMOOTH)


@_compile
def _range_mean(state: np.ndarray, at: int, count: int, value: float, seeds: int) -> float:
    """Wilder mean of the true range; at the 14th bar it is the plain mean of the `seeds` values so far, before NaN."""
    if count < OSCILLATOR:
        state[at + 1] += value
        if count == OSCILLATOR - 1:
            state[at] = state[at + 1] / seeds
        return state[at]
    return _wilder(state, at, value)


@_compile
def _volatility(state: np.ndarray, count: int, bar: np.ndarray, out: np.ndarray) -> None:
    """ATR and ADX. ADX divides by an ATR of its own that leaves out the first bar, which has no previous close."""
    high, low = bar[HIGH], bar[LOW]
    if count == 0:
        out[ATR] = _range_mean(state, ATR_VALUE, count, high - low, OSCILLATOR)
        out[ADX] = np.nan
        return
    previous = state[PREV_CLOSE]
    true_range = max(high - low, abs(high - previous), abs(low - previous))
    out[ATR] = _range_mean(state, ATR_VALUE, count, true_range, OSCILLATOR)
    atr = _range_mean(state, ADX_ATR, count, true_range, OSCILLATOR - 1)

    up = high - state[PREV_HIGH]
    down = state[PREV_LOW] - low
    plus = 100.0 / atr * _wilder(state, PLUS, up if up > down and up > 0.0 else 0.0)
    minus = 100.0 / atr * _wilder(state, MINUS, down if down > up and down > 0.0 else 0.0)
    dx = 100.0 * abs(plus - minus) / (plus + minus)  # NaN until the range is known and the price has moved

    alpha = 1.0 / OSCILLATOR
    if math.isnan(state[DX_MEAN]):
        state[DX_MEAN] = dx
    else:
        # An undefined DX keeps the mean and lets the weight of the past decay, as in the ancestor.
        state[DX_WEIGHT] *= 1.0 - alpha
        if not math.isnan(dx):
            if state[DX_MEAN] != dx:
                weight = state[DX_WEIGHT]
                state[DX_MEAN] = (weight * state[DX_MEAN] + alpha * dx) / (weight + alpha)
            state[DX_WEIGHT] = 1.0
    out[ADX] = state[DX_MEAN]


@_compile
def decide(
    long: float,
    short: float,
    adx: float,
    volume: float,
    volume_mean: float,
    threshold: float,
    adx_threshold: float,
    volume_multiplier: float,
) -> float:
    """Return the vote, +1, -1 or 0: all that depends on the parameters, so that research may vary only this."""
    needed = threshold if volume > volume_multiplier * volume_mean else threshold + 1.0
    signal = 0.0
    if long >= needed and short < needed:
        signal = 1.0
    elif short >= needed and long < needed:
        signal = -1.0
    if adx < adx_threshold:
        signal = 0.0
    return signal


@_compile
def _vote(state: np.ndarray, params: np.ndarray, bar: np.ndarray, out: np.ndarray) -> None:
    """Weighted vote. Strict comparisons throughout: equality and NaN give no point."""
    close = bar[CLOSE]
    long = 0.0
    short = 0.0
    if out[RSI] < 35.0:
        long += 1.0
    if out[RSI] > 65.0:
        short += 1.0
    if close < out[BB_LOWER]:
        long += 1.0
    if close > out[BB_UPPER]:
        short += 1.0
    align = 0.0
    if out[EMA9] > out[EMA21] and out[EMA21] > out[EMA50]:
        align = 1.0
        long += 1.0
    elif out[EMA9] < out[EMA21] and out[EMA21] < out[EMA50]:
        align = -1.0
        short += 1.0
    out[EMA_ALIGN] = align
    if out[STOCH_K] < 20.0 and out[STOCH_K] > out[STOCH_D]:
        long += 1.0
    if out[STOCH_K] > 80.0 and out[STOCH_K] < out[STOCH_D]:
        short += 1.0
    if state[PREV_MACD] < state[PREV_MACD_SIGNAL] and out[MACD] > out[MACD_SIGNAL]:
        long += 2.0
    if state[PREV_MACD] > state[PREV_MACD_SIGNAL] and out[MACD] < out[MACD_SIGNAL]:
        short += 2.0
    out[SCORE_LONG] = long
    out[SCORE_SHORT] = short

    signal = decide(long, short, out[ADX], bar[VOLUME], out[VOLUME_MEAN], params[0], params[1], params[2])
    out[SIGNAL] = signal
    out[SIDE] = 1.0 if signal > 0.0 else 0.0
    out[SIGNAL_STRENGTH] = long if signal > 0.0 else (short if signal < 0.0 else 0.0)


@_compile
def _series(state: np.ndarray, count: int, bar: np.ndarray, out: np.ndarray) -> None:
    """Push this bar's values of the series that are z-scored. After the indicators and the close ring of this bar."""
    close, btc_close, eth_close = bar[CLOSE], bar[BTC_CLOSE], bar[ETH_CLOSE]
    out[BB_PCT] = (close - out[BB_LOWER]) / (out[BB_UPPER] - out[BB_LOWER] + 1e-8)
    out[MACD_HIST_PCT] = out[MACD_HIST] / close

    # Zero stands for "not fetched" in the ancestor's stored funding and open interest, and its models were trained with
    # zero as missing. The rule sits here so that research and live cannot differ in it. Price: a rate that truly
    # settled at exactly zero (1 of 6,284 for XRPUSDT) counts as unknown until the next one.
    funding = np.nan if bar[FUNDING] == 0.0 else bar[FUNDING]
    oi_change = np.nan if bar[OPEN_INTEREST] == 0.0 else bar[OPEN_INTEREST]

    slot = count % Z_LONG
    row = Z_RING + slot * N_SERIES
    state[row + Z_ATR_PCT] = out[ATR] / (close + 1e-8)
    state[row + Z_VOL_RATIO] = bar[VOLUME] / (out[VOLUME_MEAN] + 1e-8)
    state[row + Z_ADX] = out[ADX]
    now = CLOSES + count % BAND + BAND
    btc_now = _push(state, BTC, LAGS, count, btc_close) + LAGS - 1
    eth_now = _push(state, ETH, LAGS, count, eth_close) + LAGS - 1
    for i in range(3):
        lag = 1 + 2 * i
        state[row + Z_RET_1 + i] = _change(close, state[now - lag], count < lag)
        state[row + Z_BTC_RET_1 + i] = _change(btc_close, state[btc_now - lag], count < lag)
        state[row + Z_ETH_RET_1 + i] = _change(eth_close, state[eth_now - lag], count < lag)
    state[row + Z_BTC_RS] = _ratio(state[row + Z_RET_1], state[row + Z_BTC_RET_1])
    state[row + Z_ETH_RS] = _ratio(state[row + Z_RET_1], state[row + Z_ETH_RET_1])

    state[row + Z_OI] = oi_change
    state[row + Z_FUNDING] = funding
    begin = _push(state, OIS, MEAN_OI, count, oi_change)
    total = 0.0
    known = 0
    for i in range(begin, begin + MEAN_OI):
        if not math.isnan(state[i]):
            total += state[i]
            known += 1
    state[row + Z_OI_MA5] = total / known if known > 0 else np.nan

    twin = row + Z_LONG * N_SERIES
    for j in range(N_SERIES):
        state[twin + j] = state[row + j]
    out[ATR_PCT:SIGNAL_STRENGTH] = np.nan
    out[BTC_RET_1:MACD_HIST_PCT] = np.nan


@_compile
def complete(state: np.ndarray, out: np.ndarray) -> None:
    """
    Add the z-scored features of the newest bar to the row :func:`advance` wrote: most of a step's work.

    It sums windows that are there already and keeps nothing for later: a bar whose scores nobody asks for costs none.
    """
    row = Z_RING + (int(state[COUNT]) - 1) % Z_LONG * N_SERIES
    _moments(state, row + N_SERIES, Z_LONG, 0, N_LONG)
    _moments(state, row + (1 + Z_LONG - Z_SHORT) * N_SERIES, Z_SHORT, N_LONG, N_SERIES)
    for j in range(N_SERIES):
        state[Z_MEAN + j] = (state[row + j] - state[Z_MEAN + j]) / state[Z_STD + j]  # from here on the z-score itself
    out[ATR_PCT] = state[Z_MEAN + Z_ATR_PCT]
    out[VOL_RATIO] = state[Z_MEAN + Z_VOL_RATIO]
    for i in range(3):
        out[RET_1 + i] = state[Z_MEAN + Z_RET_1 + i]
        out[BTC_RET_1 + i] = state[Z_MEAN + Z_BTC_RET_1 + i]
        out[ETH_RET_1 + i] = state[Z_MEAN + Z_ETH_RET_1 + i]
    out[PRIMARY_BTC_RS] = state[Z_MEAN + Z_BTC_RS]
    out[PRIMARY_ETH_RS] = state[Z_MEAN + Z_ETH_RS]
    out[ADX_Z] = state[Z_MEAN + Z_ADX]
    out[OI_CHANGE] = state[Z_MEAN + Z_OI]
    out[FUNDING_RATE] = state[Z_MEAN + Z_FUNDING]
    out[OI_CHANGE_MA5] = state[Z_MEAN + Z_OI_MA5]
    out[OI_PRICE_SPREAD] = out[OI_CHANGE] - out[RET_1]


@_compile
def _remember(state: np.ndarray, bar: np.ndarray, out: np.ndarray) -> None:
    """Keep what the next bar compares itself with."""
    state[PREV_CLOSE] = bar[CLOSE]
    state[PREV_HIGH] = bar[HIGH]
    state[PREV_LOW] = bar[LOW]
    state[PREV_MACD] = out[MACD]
    state[PREV_MACD_SIGNAL] = out[MACD_SIGNAL]


@_compile
def advance(state: np.ndarray, params: np.ndarray, bar: np.ndarray, out: np.ndarray) -> int:
    """Take one finished bar as :func:`step` does, but leave its z-scored features, NaN so far, to :func:`complete`."""
    refused = _refused(bar)
    if refused:
        return refused
    count = int(state[COUNT])
    _trend(state, count, bar, out)
    _oscillators(state, count, bar[CLOSE], out)
    _volatility(state, count, bar, out)
    _vote(state, params, bar, out)
    _series(state, count, bar, out)
    _remember(state, bar, out)
    state[COUNT] = count + 1.0
    return 0


@_compile
def step(state: np.ndarray, params: np.ndarray, bar: np.ndarray, out: np.ndarray) -> int:
    """
    Take one finished bar.

    Parameters
    ----------
    state : np.ndarray
        float64, shape (STATE_SIZE,), prepared by :func:`reset`; changed in place.
    params : np.ndarray
        float64, shape (3,): signal threshold, ADX threshold, volume multiplier.
    bar : np.ndarray
        float64, shape (9,), in the order of INPUTS: prices finite and positive, volume finite and not negative; closes
        of BTC and ETH of the same bar, last funding rate settled strictly before the bar's close (a fraction) and
        relative change of open interest since the bar before, each NaN where missing.
    out : np.ndarray
        float64, shape (WIDTH,): the row of :data:`strategies.kernel.columns.COLUMNS`, overwritten.

    Returns
    -------
    int
        0, or 1 + position in INPUTS of a refused value; then `state` and `out` are unchanged.

    """
    refused = advance(state, params, bar, out)
    if refused:
        return refused
    complete(state, out)
    return 0


@_compile
def advance_by(
    state: np.ndarray,
    params: np.ndarray,
    bar: np.ndarray,
    out: np.ndarray,
    open_: float,
    high: float,
    low: float,
    close: float,
    volume: float,
    btc_close: float,
    eth_close: float,
    funding: float,
    oi_change: float,
) -> int:
    """:func:`advance` for a caller in Python, for whom nine numbers are cheaper than an array of nine; fills `bar`."""
    bar[0] = open_
    bar[HIGH] = high
    bar[LOW] = low
    bar[CLOSE] = close
    bar[VOLUME] = volume
    bar[BTC_CLOSE] = btc_close
    bar[ETH_CLOSE] = eth_close
    bar[FUNDING] = funding
    bar[OPEN_INTEREST] = oi_change
    return advance(state, params, bar, out)


@_compile
def batch(state: np.ndarray, params: np.ndarray, bars: np.ndarray, out: np.ndarray) -> tuple[int, int]:
    """
    Loop :func:`step` over `bars`, float64 (n, 9), into `out`, float64 (n, WIDTH).

    Returns
    -------
    tuple[int, int]
        Rows taken and the code of :func:`step` for the row after them (0 when all were taken).

    """
    for i in range(bars.shape[0]):
        refused = step(state, params, bars[i], out[i])
        if refused:
            return i, refused
    return bars.shape[0], 0


@_compile
def batch_votes(state: np.ndarray, params: np.ndarray, bars: np.ndarray, out: np.ndarray) -> tuple[int, int]:
    """
    Do as :func:`batch` without the features, on which no vote depends: what a parameter sweep needs, ten times faster.

    `out`, float64 (n, 5), takes points of the long and the short side, ADX, mean volume and ATR. `state` must not be
    used to go on with :func:`step`.
    """
    row = np.empty(WIDTH)
    for i in range(bars.shape[0]):
        refused = _refused(bars[i])
        if refused:
            return i, refused
        _trend(state, i, bars[i], row)
        _oscillators(state, i, bars[i, CLOSE], row)
        _volatility(state, i, bars[i], row)
        _vote(state, params, bars[i], row)
        _remember(state, bars[i], row)
        out[i, 0] = row[SCORE_LONG]
        out[i, 1] = row[SCORE_SHORT]
        out[i, 2] = row[ADX]
        out[i, 3] = row[VOLUME_MEAN]
        out[i, 4] = row[ATR]
    return bars.shape[0], 0


@_compile
def votes_of(
    votes: np.ndarray,
    volume: np.ndarray,
    first: int,
    threshold: float,
    adx_threshold: float,
    volume_multiplier: float,
    rows: np.ndarray,
    sides: np.ndarray,
) -> int:
    """Fill `rows` and `sides` with the votes from row `first` on that have a known ATR; return how many."""
    count = 0
    for i in range(first, len(votes)):
        if max(votes[i, 0], votes[i, 1]) < threshold or not votes[i, 4] > 0.0:
            continue
        signal = decide(
            votes[i, 0],
            votes[i, 1],
            votes[i, 2],
            volume[i],
            votes[i, 3],
            threshold,
            adx_threshold,
            volume_multiplier,
        )
        if signal != 0.0:
            rows[count] = i
            sides[count] = 1 if signal > 0.0 else -1
            count += 1
    return count
