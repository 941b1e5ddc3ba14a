"""An independent oracle in pandas and numpy, written from the definitions, and seeded markets to compare on."""

import warnings

import numpy as np
import pandas as pd
import pytest

INPUTS = ("open", "high", "low", "close", "volume", "btc_close", "eth_close", "funding", "oi_change")


def make_market(seed, n=1_500, *, price=2.5, tick=0.001, holes=True):
    """Return a random walk on a price grid, float64 (n, 9); with `holes`, side data missing here and there."""
    rng = np.random.default_rng(seed)
    calm = np.where(rng.random(n) < 0.15, 0.0, 1.0)  # some bars do not move at all
    regime = np.repeat(rng.choice([0.0015, 0.004, 0.009], n // 50 + 1), 50)[:n]
    close = price * np.exp(np.cumsum(rng.normal(0, 1, n) * regime * calm))
    close = np.maximum(np.round(close / tick), 1) * tick
    open_ = np.concatenate([[close[0]], close[:-1]])
    high = np.maximum(open_, close) + tick * rng.integers(0, 4, n) * calm
    low = np.maximum(np.minimum(open_, close) - tick * rng.integers(0, 4, n) * calm, tick / 2)
    volume = np.round(rng.lognormal(10, 1.2, n), 1) * np.where(rng.random(n) < 0.02, 0.0, 1.0)
    market = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    for name, level in (("btc_close", 60_000.0), ("eth_close", 3_000.0)):
        market[name] = np.round(level * np.exp(np.cumsum(rng.normal(0, 0.003, n) * calm)), 1)
    market["funding"] = np.repeat(np.round(rng.normal(0, 1e-4, n // 32 + 1), 5), 32)[:n]
    market["oi_change"] = np.round(rng.normal(0, 0.01, n), 4)
    if holes:
        for name in ("btc_close", "eth_close", "funding", "oi_change"):
            market[name][rng.random(n) < 0.03] = np.nan
        market["oi_change"][n // 3 : n // 3 + 150] = np.nan
        market["eth_close"][:7] = np.nan
    return np.column_stack([market[name] for name in INPUTS])


def _ema(values, length):
    out = values.copy()
    first = out.first_valid_index()
    if first is None or len(out) - first < length:
        return out * np.nan
    seed = out.iloc[first : first + length].mean()
    out.iloc[: first + length - 1] = np.nan
    out.iloc[first + length - 1] = seed
    return out.ewm(span=length, adjust=False).mean()


def _wilder(values):
    return values.ewm(alpha=1 / 14, adjust=False).mean()


def _simple(values, length):
    array = values.to_numpy()
    out = np.full(len(array), np.nan)
    if len(array) >= length:
        out[length - 1 :] = np.convolve(array, np.ones(length) / length)[length - 1 : len(array)]
    return pd.Series(out)


def _average_range(true_range):
    out = true_range.copy()
    out.iloc[:13] = np.nan
    out.iloc[13] = true_range.iloc[:14].mean()
    return _wilder(out)


def _z(values, window):
    array = np.asarray(values, dtype=np.float64)
    padded = np.concatenate([np.full(window - 1, np.nan), array])
    views = np.lib.stride_tricks.sliding_window_view(padded, window)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # windows without any value are NaN, as wanted
        mean = np.nanmean(views, axis=1)
        std = np.nanstd(views, axis=1)
    return (array - mean) / np.where(std < 1e-8, 1e-8, std)


def _change(values, lag):
    change = values / values.shift(lag) - 1
    change.iloc[:lag] = np.where(values.iloc[:lag].isna(), np.nan, 0.0)
    return change


def oracle(bars, threshold=3, adx_threshold=25.0, multiplier=2.5):
    """Return every column of the kernel, recomputed over whole series from the written definitions."""
    b = pd.DataFrame(bars, columns=INPUTS)
    o = pd.DataFrame(index=b.index)
    close = b.close
    with np.errstate(all="ignore"):
        _indicators(b, o)
        _votes(b, o, threshold, adx_threshold, multiplier)
    o["bb_pct"] = (close - o.bb_lower) / (o.bb_upper - o.bb_lower + 1e-8)
    o["macd_hist_pct"] = o.macd_hist / close
    o["atr_pct"] = _z(o.atr / (close + 1e-8), 288)
    o["vol_ratio"] = _z(b.volume / (o.vol_ma20 + 1e-8), 288)
    returns = {"": close, "btc_": b.btc_close, "eth_": b.eth_close}
    for prefix, series in returns.items():
        for lag in (1, 3, 5):
            o[f"{prefix}ret_{lag}"] = _z(_change(series, lag), 288)
    own = _change(close, 1)
    for name, series in (("btc", b.btc_close), ("eth", b.eth_close)):
        other = _change(series, 1)
        o[f"primary_{name}_rs"] = _z(np.where(other == 0, 0.0, own / other.where(other != 0)), 288)
    oi = b.oi_change.where(b.oi_change != 0)
    o["oi_change"] = _z(oi, 96)
    o["funding_rate"] = _z(b.funding.where(b.funding != 0), 96)
    o["oi_change_ma5"] = _z([oi.iloc[max(0, i - 4) : i + 1].mean() for i in range(len(oi))], 96)
    o["oi_price_spread"] = o.oi_change - o.ret_1
    o["adx_z"] = _z(o.adx, 288)
    return o


def _indicators(b, o):
    close = b.close
    difference = close.diff()
    gain = _wilder(difference.clip(lower=0))
    loss = _wilder((-difference).clip(lower=0))
    o["rsi"] = 100 * gain / (gain + loss)
    o["macd"] = _ema(close, 12) - _ema(close, 26)
    o["macd_signal"] = _ema(o.macd, 9)
    o["macd_hist"] = o.macd - o.macd_signal
    middle = close.rolling(20).mean()
    deviation = close.rolling(20).apply(lambda window: np.std(window, ddof=1), raw=True)
    o["bb_upper"], o["bb_lower"] = middle + 2 * deviation, middle - 2 * deviation
    for length in (9, 21, 50):
        o[f"ema{length}"] = _ema(close, length)

    previous = close.shift()
    parts = pd.concat([b.high - b.low, (b.high - previous).abs(), (b.low - previous).abs()], axis=1)
    true_range = parts.max(axis=1)
    o["atr"] = _average_range(true_range)
    for_adx = true_range.copy()
    for_adx.iloc[0] = np.nan
    scale = 100 / _average_range(for_adx)
    up, down = b.high.diff(), -b.low.diff()
    plus = scale * _wilder(up.where((up > down) & (up > 0), 0.0).where(up.notna()))
    minus = scale * _wilder(down.where((down > up) & (down > 0), 0.0).where(down.notna()))
    o["adx"] = _wilder(100 * (plus - minus).abs() / (plus + minus))

    lowest, highest = o.rsi.rolling(14).min(), o.rsi.rolling(14).max()
    span = (highest - lowest).where(highest != lowest, np.finfo(float).eps)
    stoch = (100 * (o.rsi - lowest) / span).where(lowest.notna())
    o["stoch_k"] = _simple(stoch, 3)
    o["stoch_d"] = _simple(o.stoch_k, 3)
    o["vol_ma20"] = _simple(b.volume, 20)


def _votes(b, o, threshold, adx_threshold, multiplier):
    up = (o.ema9 > o.ema21) & (o.ema21 > o.ema50)
    down = (o.ema9 < o.ema21) & (o.ema21 < o.ema50)
    o["ema_align"] = up.astype(float) - down.astype(float)
    crossed_up = (o.macd.shift() < o.macd_signal.shift()) & (o.macd > o.macd_signal)
    crossed_down = (o.macd.shift() > o.macd_signal.shift()) & (o.macd < o.macd_signal)
    long = (o.rsi < 35).astype(int) + (b.close < o.bb_lower) + up + ((o.stoch_k < 20) & (o.stoch_k > o.stoch_d))
    short = (o.rsi > 65).astype(int) + (b.close > o.bb_upper) + down + ((o.stoch_k > 80) & (o.stoch_k < o.stoch_d))
    long += 2 * crossed_up
    short += 2 * crossed_down
    o["score_long"], o["score_short"] = long.astype(float), short.astype(float)
    surge = b.volume > multiplier * o.vol_ma20
    long_wins = (long >= threshold) & (surge | (long >= threshold + 1))
    short_wins = (short >= threshold) & (surge | (short >= threshold + 1))
    signal = np.where(long_wins & ~short_wins, 1.0, np.where(short_wins & ~long_wins, -1.0, 0.0))
    signal[o.adx < adx_threshold] = 0.0
    o["signal"] = signal
    o["side"] = (signal > 0).astype(float)
    o["signal_strength"] = np.where(signal > 0, long, np.where(signal < 0, short, 0)).astype(float)


@pytest.fixture(name="oracle", scope="session")
def oracle_fixture():
    return oracle


@pytest.fixture(name="make_market", scope="session")
def make_market_fixture():
    return make_market


@pytest.fixture(scope="session")
def same_bits():
    """Equality of float64 arrays bit by bit, so that two NaN compare equal and 0.0 and -0.0 do not."""

    def compare(first, second):
        first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
        return first.shape == second.shape and np.array_equal(first.view(np.uint64), second.view(np.uint64))

    return compare
