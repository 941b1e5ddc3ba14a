"""The exported graph decides as LightGBM does; where a conversion does not, nothing gets through."""

import re

import lightgbm
import numpy as np
import pytest

from research import onnx_export as export
from research.train_config import BoosterConfig
from research.training import fit_booster, load_booster
from strategies.errors import ModelError

SETTINGS = {
    "objective": "binary",
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
    "num_leaves": 8,
    "min_data_in_leaf": 20,
}


def _rows(seed=0, count=800, columns=4):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(count, columns)).astype(np.float32)
    rows[:, 1] = np.where(random.random(count) < 0.4, 0, rows[:, 1])  # zero is a threshold of its own in LightGBM
    rows[:, 2] = np.where(random.random(count) < 0.2, np.nan, rows[:, 2])
    rows[:, 3] = random.integers(-1, 2, count)
    signal = rows[:, 0] + (rows[:, 1] < 0) * 2 + np.isnan(rows[:, 2]) + (rows[:, 3] == 0)
    return rows, (signal + random.normal(size=count) > 1).astype(np.int64)


def _parity(booster, rows, threshold=0.5, seed=1, text=None):
    splits = export.splits_of(text or booster.model_to_string())
    tested, kinds = export.parity_rows(splits, rows, seed)
    graph = export.to_onnx(booster, rows.shape[1])
    return export.check_parity(
        export.reference_probabilities(booster, tested),
        export.served_probabilities(graph, tested),
        threshold,
        lambda p: p,
        (kinds, len(splits)),
    )


def test_floor32_is_the_largest_float32_not_above():
    random = np.random.default_rng(3)
    values = np.concatenate([random.normal(size=2000) * 10.0 ** random.integers(-30, 30, 2000), [0.0, 3e38, -3e38]])
    floors = export.floor32(values).astype(np.float64)
    largest = float(np.finfo(np.float32).max)
    assert export.floor32(np.array([1e300, -1e300, np.inf, -np.inf])).tolist() == [largest, -largest, np.inf, -np.inf]
    above = np.nextafter(floors.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    assert (floors <= values).all()
    assert (above > values).all()


@pytest.mark.parametrize("seed", range(3))
def test_float32_thresholds_leave_every_prediction_unchanged(seed):
    rows, label = _rows(seed)
    fitted = lightgbm.train(SETTINGS, lightgbm.Dataset(rows, label), 30)
    text = export.with_float32_thresholds(fitted.model_to_string())
    assert text != fitted.model_to_string()
    thresholds = np.array([s.threshold for s in export.splits_of(text)])
    assert (thresholds == thresholds.astype(np.float32)).all()
    tested, _ = export.parity_rows(export.splits_of(text), rows, seed)
    assert np.array_equal(fitted.predict(tested), lightgbm.Booster(model_str=text).predict(tested)), f"seed {seed}"


@pytest.mark.parametrize("seed", range(3))
def test_graph_equals_reference_on_every_threshold_and_beside_it(seed):
    rows, label = _rows(seed)
    text = fit_booster(rows, label, list("abcd"), BoosterConfig(trees=60, learning_rate=0.1, min_data_in_leaf=20))
    splits = export.splits_of(text)
    assert any(0 < -s.threshold < 1e-30 for s in splits), "the threshold just below zero must be among them"
    result = _parity(load_booster(text), rows, text=text)
    assert result.rows >= export.MIN_PARITY_ROWS
    assert result.kinds["on_threshold"] == 3 * len(splits) > 100
    assert result.max_abs_diff < 1e-6
    assert result.flips == 0


def test_parity_rows_hold_each_threshold_and_both_neighbours():
    splits = [export.Split(0, 0.5), export.Split(1, -2.0)]
    rows, kinds = export.parity_rows(splits, np.ones((5, 2), dtype=np.float32), 1)
    assert len(rows) == sum(kinds.values()) >= export.MIN_PARITY_ROWS
    start = kinds["real"]
    placed = rows[start : start + kinds["on_threshold"]]
    up, down = np.float32(np.inf), np.float32(-np.inf)
    half, two = np.float32(0.5), np.float32(-2.0)
    assert placed[:3, 0].tolist() == [half, np.nextafter(half, up), np.nextafter(half, down)]
    assert placed[3:, 1].tolist() == [two, np.nextafter(two, up), np.nextafter(two, down)]
    odd = rows[start + 6 + kinds["many_on_thresholds"] :]
    assert np.isnan(odd).any()
    assert np.isposinf(odd).any()
    assert np.isneginf(odd).any()


def test_a_model_with_zero_as_missing_is_caught():
    rows, label = _rows()
    booster = lightgbm.train({**SETTINGS, "zero_as_missing": True}, lightgbm.Dataset(rows, label), 30)
    with pytest.raises(ModelError, match=r"parity: the exported graph differs from LightGBM by 0\.\d+"):
        _parity(booster, rows)


def test_plain_conversion_without_float32_thresholds_is_caught():
    rows, label = _rows()
    booster = lightgbm.train(SETTINGS, lightgbm.Dataset(rows, label), 30)
    with pytest.raises(ModelError, match="parity"):
        _parity(booster, rows)


def test_one_threshold_moved_by_one_step_is_caught():
    rows, label = _rows()
    text = fit_booster(rows, label, list("abcd"), BoosterConfig(trees=10, learning_rate=0.3, min_data_in_leaf=20))
    split = next(s for s in export.splits_of(text) if abs(s.threshold) > 0.1)
    moved = float(np.nextafter(np.float32(split.threshold), np.float32(np.inf)))
    wrong = re.sub(r"(?m)^tree_sizes=.*\n", "", text.replace(repr(split.threshold), repr(moved)))
    assert repr(moved) in wrong
    tested, kinds = export.parity_rows(export.splits_of(text), rows, 1)
    served = export.served_probabilities(export.to_onnx(lightgbm.Booster(model_str=wrong), 4), tested)
    with pytest.raises(ModelError, match="parity"):
        export.check_parity(
            export.reference_probabilities(load_booster(text), tested), served, 0.5, lambda p: p, (kinds, 1)
        )


def test_flips_alone_and_too_few_rows_are_refused():
    same = np.full(export.MIN_PARITY_ROWS, 0.5)
    with pytest.raises(ModelError, match="10000 of 10000 decisions differ"):
        export.check_parity(same, same - 1e-9, 0.5, lambda p: p, ({}, 0))
    with pytest.raises(ModelError, match="at least 10000"):
        export.check_parity(same[:-1], same[:-1], 0.5, lambda p: p, ({}, 0))
    broken = same.copy()
    broken[7] = np.nan
    with pytest.raises(ModelError, match="differs from LightGBM by nan"):
        export.check_parity(same, broken, 0.5, lambda p: p, ({}, 0))


def test_models_that_cannot_be_exported_exactly_are_refused():
    rows, label = _rows()
    rows[:, 3] += 1
    categorical = lightgbm.train(SETTINGS, lightgbm.Dataset(rows, label, categorical_feature=[3]), 5)
    assert "num_cat=1" in categorical.model_to_string(), "the case needs a categorical split"
    with pytest.raises(ModelError, match="categorical"):
        export.with_float32_thresholds(categorical.model_to_string())
    with pytest.raises(ModelError, match="nothing to split on"):
        fit_booster(np.ones((50, 2), dtype=np.float32), np.arange(50) % 2, ["a", "b"], BoosterConfig())


def test_equal_trainings_give_equal_bytes():
    rows, label = _rows()
    config = BoosterConfig(trees=20, min_data_in_leaf=20)
    texts = [fit_booster(rows, label, list("abcd"), config) for _ in range(2)]
    graphs = [export.to_onnx(load_booster(text), 4) for text in texts]
    assert texts[0] == texts[1]
    assert graphs[0] == graphs[1]
