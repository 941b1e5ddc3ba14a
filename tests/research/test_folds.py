"""One fold: the same bytes twice, nothing of outside its windows, and what a caller gets."""

import pickle
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from actors.model_folder import IsotonicScaling
from research.dataset import useful_features
from research.folds import fit_fold, rows_of
from research.thresholds import ThresholdConfig
from research.train_config import BoosterConfig, FitConfig, windows_of
from research.training import build_dataset
from strategies.errors import DataError
from strategies.kernel.columns import MODEL_FEATURES
from strategies.params_file import load_params_file

DAY = 86_400 * 10**9
FIT = FitConfig(
    model=BoosterConfig(trees=30, min_data_in_leaf=20, learning_rate=0.1),
    threshold=ThresholdConfig(min_signals=20, min_passed=5),
    min_signals=100,
)


@pytest.fixture(name="data", scope="module")
def data_fixture(market_catalog, train_config):
    params = load_params_file(Path(train_config.strategy))
    return build_dataset(train_config, params, market_catalog, windows_of(train_config))


@pytest.fixture(name="spans", scope="module")
def spans_fixture(train_config):
    windows = windows_of(train_config)
    return windows.train, windows.threshold


def test_two_fits_are_alike_to_the_last_byte_and_cross_processes(data, spans):
    one, two = (fit_fold(data, *spans, FIT) for _ in range(2))
    assert pickle.dumps(one) == pickle.dumps(two)
    sent = pickle.loads(pickle.dumps(one))  # noqa: S301 - our own object
    assert np.array_equal(sent.score(data.rows), one.score(data.rows))
    assert fit_fold(data, *spans, msgspec.structs.replace(FIT, weights="none")).booster != one.booster


def test_what_lies_outside_the_windows_changes_nothing(data, spans):
    model = fit_fold(data, *spans, FIT)
    outside = ~np.isin(np.arange(len(data)), np.concatenate([model.train, model.held]))
    assert outside.sum() > 50
    changed = replace(
        data,
        rows=np.where(outside[:, None], np.float32(9e9), data.rows),
        label=np.where(outside, 1 - data.label, data.label),
        net_r=np.where(outside, 99.0, data.net_r),
    )
    assert pickle.dumps(fit_fold(changed, *spans, FIT)) == pickle.dumps(model)
    assert model.last_seen <= spans[1][1]
    assert (data.label_end[model.train] <= spans[1][0]).all()
    for window, rows in (("train", model.train), ("threshold", model.held)):
        assert model.metrics[window]["signals"] == len(rows)
        assert 0 < model.metrics[window]["effective_signals"] < len(rows)


def test_purge_by_label_end_and_embargo_around_a_test_window(data, spans):
    (start, _), (_, end) = spans
    test = (start + 20 * DAY, start + 27 * DAY)
    kept = rows_of(data, [(start, end)], forbidden=[test], embargo_ns=DAY)
    before, after = data.open_time[kept] < test[0], data.open_time[kept] >= test[1]
    assert (before | after).all()
    assert (data.label_end[kept][before] <= test[0]).all()
    assert (data.open_time[kept][after] >= test[1] + DAY).all()
    everything = rows_of(data, [(start, test[0]), (test[1], end)])
    lost = np.setdiff1d(everything, kept)
    assert len(lost) > 0
    assert (data.open_time[lost] < test[1] + DAY).all()
    # Two training windows around a test window, as combinatorial CV has them.
    model = fit_fold(data, [(start, test[0]), (test[1], spans[0][1])], spans[1], FIT, forbidden=[test], embargo_ns=DAY)
    assert set(model.train) <= set(kept)
    figures = model.describe(data, rows_of(data, [test]), seed=1)
    assert figures["signals"] == len(rows_of(data, [test]))
    assert figures["net_r_lift_95"] is not None


def test_threshold_and_calibration_belong_to_the_held_window(data, spans):
    model = fit_fold(data, *spans, msgspec.structs.replace(FIT, calibration="isotonic"))
    assert isinstance(model.calibration, IsotonicScaling)
    scores = model.score(data.rows[model.held])
    assert (scores >= model.threshold).sum() == model.choice.passed == model.passes(data.rows[model.held]).sum()
    assert scores.mean() == pytest.approx(data.label[model.held].mean(), abs=0.05)
    bare = fit_fold(data, spans[0], None, FIT)
    assert bare.threshold is None
    with pytest.raises(DataError, match="no threshold"):
        bare.passes(data.rows[:3])


def test_early_stopping_looks_at_the_end_of_the_training_window_only(data, spans):
    long = msgspec.structs.replace(FIT, model=BoosterConfig(trees=400, min_data_in_leaf=10, learning_rate=0.2))
    stopped = fit_fold(data, *spans, msgspec.structs.replace(long, patience=10))
    assert stopped.trees < 400
    held = np.concatenate([stopped.held, np.flatnonzero(data.open_time >= spans[0][1])])
    label = data.label.copy()
    label[held] = 1 - label[held]
    again = fit_fold(replace(data, label=label), spans[0], None, msgspec.structs.replace(long, patience=10))
    assert again.booster == stopped.booster


def test_columns_that_say_nothing_are_named(data):
    rows = data.rows.copy()
    names = dict.fromkeys(("rsi", "stoch_k", "atr_pct", "ret_1"))
    at = {name: MODEL_FEATURES.index(name) for name in names}
    rows[:, at["rsi"]] = 1.5
    rows[:, at["stoch_k"]] = np.nan
    rows[:, at["atr_pct"]] = -2 * rows[:, at["ret_1"]] + 1
    used, dropped = useful_features(rows)
    assert dropped["rsi"] == "constant"
    assert dropped["stoch_k"] == "empty"
    assert dropped["ret_1"] == "duplicate of atr_pct"
    assert MODEL_FEATURES.index("adx_z") in used


def test_too_few_rows_are_refused(data, spans):
    with pytest.raises(DataError, match="at least 5000"):
        fit_fold(data, *spans, msgspec.structs.replace(FIT, min_signals=5_000))
