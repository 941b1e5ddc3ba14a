"""
Names, order and groups of the values the kernel computes per bar.

The row layout itself lives in :mod:`strategies.kernel.step` as literal positions; the tests hold both together by
recomputing every column by name.
"""

import hashlib

INDICATORS = (
    "rsi",
    "macd",
    "macd_signal",
    "macd_hist",
    "bb_upper",
    "bb_lower",
    "ema9",
    "ema21",
    "ema50",
    "atr",
    "adx",
    "stoch_k",
    "stoch_d",
    "vol_ma20",
)
"""The 14 indicator columns, under the names of the golden file. Prices in quote currency, oscillators 0-100."""

FEATURES = (
    "rsi",
    "macd_hist",
    "bb_pct",
    "ema_align",
    "stoch_k",
    "stoch_d",
    "atr_pct",
    "vol_ratio",
    "ret_1",
    "ret_3",
    "ret_5",
    "signal_strength",
    "side",
    "btc_ret_1",
    "btc_ret_3",
    "btc_ret_5",
    "eth_ret_1",
    "eth_ret_3",
    "eth_ret_5",
    "primary_btc_rs",
    "primary_eth_rs",
    "oi_change",
    "funding_rate",
    "oi_change_ma5",
    "oi_price_spread",
    "adx_z",
)
"""
The 26 features of the ancestor's model, in its order (`knowledge/cointrader-facts.md` §3).

Its last feature is called ``adx`` there but is the z-score of ADX over 288 bars; here it is ``adx_z``, because ``adx``
is the indicator. ``rsi``, ``macd_hist``, ``stoch_k`` and ``stoch_d`` are the indicator columns themselves.
"""

EXTRAS = ("macd_hist_pct",)
"""``macd_hist / close``: the scale-free twin of ``macd_hist``, comparable between symbols and price levels."""

VOTES = ("score_long", "score_short", "signal")
"""Points of the weighted vote per side, and the decision: +1 long, -1 short, 0 hold."""

COLUMNS = tuple(dict.fromkeys(INDICATORS + FEATURES + EXTRAS + VOTES))
"""The row of the kernel: every value once, float64."""

MODEL_FEATURES = tuple("macd_hist_pct" if name == "macd_hist" else name for name in FEATURES)
"""What a model is trained on: the features with the price-unit ``macd_hist`` replaced by ``macd_hist_pct``."""

_GROUPS = {
    "indicators": INDICATORS,
    "features": FEATURES,
    "extras": EXTRAS,
    "votes": VOTES,
    "model_features": MODEL_FEATURES,
}
_POSITION = {name: index for index, name in enumerate(COLUMNS)}

DEFINITIONS_VERSION = 1
"""Raised whenever the meaning of any column changes, so that models trained on the old meaning are refused."""


def column_index(group: str, name: str) -> int:
    """
    Return the position of a value in the kernel row.

    Parameters
    ----------
    group : str
        ``indicators``, ``features``, ``extras``, ``votes`` or ``model_features``.
    name : str
        A name of that group.

    Raises
    ------
    KeyError
        Propagate: no such group, or no such name in it.

    """
    if name not in _GROUPS[group]:
        raise KeyError(f"{name!r} is not one of the {group}: {', '.join(_GROUPS[group])}")
    return _POSITION[name]


def column_indices(group: str) -> tuple[int, ...]:
    """Return the positions of all values of a group in the kernel row, in the order of the group."""
    return tuple(_POSITION[name] for name in _GROUPS[group])


FEATURE_SCHEMA = hashlib.sha256(f"{DEFINITIONS_VERSION}:{','.join(COLUMNS)}".encode()).hexdigest()
"""Hash of names, order and definitions of the row; a model folder stores it and is refused under another one."""
