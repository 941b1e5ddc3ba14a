"""Every column against an oracle that knows only the written definitions."""

import numpy as np
import pytest

from strategies.kernel import columns
from strategies.kernel.columns import COLUMNS, FEATURES, INDICATORS, MODEL_FEATURES, column_index, column_indices
from strategies.kernel.composite import CompositeKernel, run_batch
from strategies.kernel.params import CompositeParams
from strategies.kernel.step import INPUTS, WIDTH

SEEDS = (1, 2, 3, 4)
LOOSE = {"signal_threshold": 2, "adx_threshold": 15.0, "volume_multiplier": 1.5}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_column_equals_the_oracle(seed, make_market, oracle):
    bars = make_market(seed)
    rows = run_batch(CompositeParams(**LOOSE), bars)
    expected = oracle(bars, 2, 15.0, 1.5)
    assert set(expected.columns) == set(COLUMNS)
    for i, name in enumerate(COLUMNS):
        np.testing.assert_allclose(
            rows[:, i], expected[name].to_numpy(), rtol=1e-9, atol=1e-9, err_msg=f"seed {seed}: {name}"
        )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("params", [{}, LOOSE, {"signal_threshold": 1, "adx_threshold": 0.0, "volume_multiplier": 0.0}])
def test_votes_and_signals_are_identical_not_merely_close(seed, params, make_market, oracle):
    bars = make_market(seed, 4_000, holes=False)
    params = CompositeParams(**params)
    rows = run_batch(params, bars)
    expected = oracle(bars, params.signal_threshold, params.adx_threshold, params.volume_multiplier)
    for name in ("score_long", "score_short", "signal", "side", "signal_strength", "ema_align"):
        differing = np.flatnonzero(rows[:, COLUMNS.index(name)] != expected[name].to_numpy())
        assert not differing.size, f"seed {seed}: {name} differs at {differing[:5]}"
    assert len(set(rows[:, column_index("votes", "signal")])) > 1, f"seed {seed}: the market made no signal at all"


def test_both_sides_qualifying_is_no_signal(make_market):
    bars = make_market(9, 4_000)
    rows = run_batch(CompositeParams(signal_threshold=1, adx_threshold=0.0, volume_multiplier=0.0), bars)
    long, short = rows[:, column_index("votes", "score_long")], rows[:, column_index("votes", "score_short")]
    # Threshold 1: with a surge one point is enough; bars without volume have no surge and need two.
    needed = np.where(bars[:, INPUTS.index("volume")] > 0, 1, 2)
    tie = (long >= needed) & (short >= needed)
    tie[:20] = False  # the volume mean is not known yet, so nothing is a surge
    assert tie.sum() > 20
    assert not rows[tie, column_index("votes", "signal")].any()


def test_unknown_adx_passes_and_known_low_adx_blocks(make_market):
    bars = make_market(5, 3_000)
    blocked = run_batch(CompositeParams(signal_threshold=1, adx_threshold=100.0, volume_multiplier=0.0), bars)
    known = ~np.isnan(blocked[:, column_index("indicators", "adx")])
    assert not blocked[known, column_index("votes", "signal")].any()
    # Closes fall inside an unchanging range: there is no directional movement, so ADX never becomes known.
    falling = np.full((40, 9), np.nan)
    falling[:, :5] = np.column_stack([np.full(40, x) for x in (95.0, 101.0, 89.0)] + [np.linspace(100, 90, 40)] * 2)
    rows = run_batch(CompositeParams(signal_threshold=1, adx_threshold=100.0, volume_multiplier=0.0), falling)
    assert np.isnan(rows[:, column_index("indicators", "adx")]).all()
    assert (rows[19:33, column_index("votes", "signal")] == 1.0).all()


def test_volume_surge_is_strict_and_includes_the_bar_itself(make_market):
    """On 19 bars of volume 1 and one of x the mean is (19 + x)/20; surge means x above the multiple of that."""
    bars = make_market(3, 500)
    bars[:, INPUTS.index("volume")] = 1.0
    rows = run_batch(CompositeParams(signal_threshold=2, adx_threshold=0.0, volume_multiplier=1.0), bars)
    strength = rows[:, column_index("features", "signal_strength")]
    # Volume equal to its mean is no surge, so every signal needs threshold + 1 = 3 points. The mean of twenty ones is
    # a hair above one in floating point, which is not a surge either.
    assert strength[strength > 0].size
    assert (strength[strength > 0] >= 3).all()


def test_constant_prices_give_no_points_and_no_infinities():
    bars = np.full((400, 9), 2.4533)
    bars[:, INPUTS.index("volume")] = 0.0
    bars[:, INPUTS.index("funding")] = 0.0001
    rows = run_batch(CompositeParams(signal_threshold=1, adx_threshold=0.0), bars)
    at = {name: i for i, name in enumerate(COLUMNS)}
    assert np.isnan(rows[:, at["rsi"]]).all(), "neither gain nor loss: undefined, as in the ancestor"
    assert np.isnan(rows[:, at["stoch_k"]]).all()
    assert not rows[:, [at["score_long"], at["score_short"], at["signal"]]].any()
    assert rows[-1, at["atr"]] == 0
    assert rows[-1, at["ema50"]] == rows[-1, at["bb_lower"]] == rows[-1, at["bb_upper"]] == 2.4533
    assert rows[-1, at["macd"]] == rows[-1, at["macd_signal"]] == 0.0
    assert abs(rows[-1, at["funding_rate"]]) < 1e-9, "a constant window has z-score zero, not rounding noise"
    assert not np.isinf(rows).any()


def test_stochastic_rsi_of_a_flat_window_is_zero():
    """After one fall the price stands still: RSI stays at 0, its range is zero, K and D are 0."""
    bars = np.full((60, 9), 100.0)
    bars[:, INPUTS.index("volume")] = 1.0
    bars[5:, :4] = 99.0
    rows = run_batch(None, bars)
    at = {name: i for i, name in enumerate(COLUMNS)}
    assert (rows[30:, at["rsi"]] == 0.0).all()
    assert (rows[30:, at["stoch_k"]] == 0.0).all()
    assert (rows[30:, at["stoch_d"]] == 0.0).all()


def test_zero_funding_and_zero_open_interest_change_count_as_missing(make_market, same_bits):
    bars = make_market(6, 600)
    zero, missing = bars.copy(), bars.copy()
    for name in ("funding", "oi_change"):
        zero[200:260, INPUTS.index(name)] = 0.0
        missing[200:260, INPUTS.index(name)] = np.nan
    assert same_bits(run_batch(None, zero), run_batch(None, missing))
    rows = run_batch(None, zero)
    assert np.isnan(rows[200:260, column_index("features", "funding_rate")]).all()


def test_missing_side_data_touches_only_the_features_made_of_it(make_market, same_bits):
    bars = make_market(7, 700, holes=False)
    bare = bars.copy()
    bare[:, 5:] = np.nan
    full, without = run_batch(None, bars), run_batch(None, bare)
    side_data = ("btc_", "eth_", "primary_", "oi_", "funding_")
    for i, name in enumerate(COLUMNS):
        if name.startswith(side_data):
            assert np.isnan(without[:, i]).all(), name
        else:
            assert same_bits(full[:, i], without[:, i]), name


def test_the_groups_name_the_row():
    assert len(COLUMNS) == len(set(COLUMNS)) == WIDTH == 40
    assert (len(INDICATORS), len(FEATURES), len(MODEL_FEATURES)) == (14, 26, 26)
    assert MODEL_FEATURES[1] == "macd_hist_pct"
    assert "macd_hist" not in MODEL_FEATURES
    assert column_indices("features")[0] == column_index("indicators", "rsi")
    with pytest.raises(KeyError, match="is not one of the votes"):
        column_index("votes", "rsi")
    assert len(columns.FEATURE_SCHEMA) == 64


def test_a_refused_bar_names_its_field_and_leaves_the_kernel_as_it_was(make_market, same_bits):
    bars = make_market(8, 400)
    kernel, twin = CompositeKernel(), CompositeKernel()
    for bar in bars[:300]:
        kernel.step(*bar)
        twin.step(*bar)
    row = kernel.row.copy()
    for i, name in enumerate(INPUTS):
        bad_values = [np.inf, -np.inf] if i >= 7 else [np.inf, -1.0] if i >= 4 else [np.nan, np.inf, 0.0, -1.0]
        for bad in bad_values:
            if name == "volume" and np.isnan(bad):
                continue
            bar = bars[300].copy()
            bar[i] = bad
            with pytest.raises(ValueError, match=name):
                kernel.step(*bar)
            with pytest.raises(ValueError, match=f"row 300: {name}"):
                run_batch(None, np.vstack([bars[:300], bar]))
    assert kernel.bars_seen == 300
    assert same_bits(kernel.row, row)
    assert same_bits(kernel.step(*bars[300]), twin.step(*bars[300]))


@pytest.mark.parametrize(
    ("bars", "message"),
    [
        (np.ones((5, 8)), r"shape \(n, 9\)"),
        (np.ones(9), r"shape \(n, 9\)"),
        ({"open": [1.0], "high": [1.0], "low": [1.0], "close": [1.0]}, r"missing \['volume'\]"),
        ({name: [1.0] for name in ("open", "high", "low", "close", "volume", "clsoe")}, r"unknown \['clsoe'\]"),
        ({"open": [1.0], "high": [1.0], "low": [1.0], "close": [1.0], "volume": [1.0, 1.0]}, "volume has shape"),
    ],
)
def test_a_batch_of_the_wrong_form_is_refused(bars, message):
    with pytest.raises(ValueError, match=message):
        run_batch(None, bars)
