"""LightGBM, fitted so that the same rows give the same bytes: one thread, deterministic, row-wise, seeded."""

from typing import Any, NamedTuple

import msgspec
import numpy as np

from research.labels import Floats, Ints
from research.onnx_export import Float32s, splits_of, with_float32_thresholds
from research.train_config import BoosterConfig
from strategies.errors import ModelError


class Fitted(NamedTuple):
    """
    A fitted model.

    Attributes
    ----------
    text : str
        The model in LightGBM's own format, thresholds rounded to float32.
    trees : int
        Trees kept (fewer than configured after early stopping).

    """

    text: str
    trees: int


class Watch(NamedTuple):
    """
    Rows that say when to stop adding trees.

    Attributes
    ----------
    rows : np.ndarray
        float32, shape (n, features).
    label : np.ndarray
        int64, 0 or 1.
    weight : np.ndarray or None
        float64, shape (n,).
    patience : int
        Trees without an improvement of the log loss after which fitting stops.

    """

    rows: Float32s
    label: Ints
    weight: Floats | None
    patience: int


def settings_of(config: BoosterConfig) -> dict[str, Any]:
    """Return LightGBM's parameters for a configuration, without the number of trees."""
    settings = msgspec.structs.asdict(config)
    settings.pop("trees")
    return {
        "objective": "binary",
        "metric": "binary_logloss",
        "bagging_freq": 1,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        **settings,
    }


def fit(
    rows: Float32s,
    label: Ints,
    names: list[str],
    config: BoosterConfig,
    *,
    weight: Floats | None = None,
    watch: Watch | None = None,
) -> Fitted:
    """
    Fit LightGBM.

    Parameters
    ----------
    rows : np.ndarray
        float32, shape (n, features).
    label : np.ndarray
        int64, 0 or 1, shape (n,).
    names : list[str]
        Names of the columns.
    config : BoosterConfig
        Settings.
    weight : np.ndarray, optional
        float64, shape (n,), positive; scaled to a mean of 1, so that regularisation keeps its meaning.
    watch : Watch, optional
        Rows of the *training window*, kept out of the fit, that stop it early.

    Raises
    ------
    ModelError
        Fail closed: nothing to split on, or the rewritten model does not predict as the fitted one.

    """
    import lightgbm  # noqa: PLC0415 - three seconds that only training pays

    data = lightgbm.Dataset(rows.astype(np.float64), label, weight=_scaled(weight), feature_name=names)
    extra: dict[str, Any] = {}
    if watch is not None:
        valid = lightgbm.Dataset(
            watch.rows.astype(np.float64), watch.label, weight=_scaled(watch.weight), reference=data
        )
        extra = {"valid_sets": [valid], "callbacks": [lightgbm.early_stopping(watch.patience, verbose=False)]}
    fitted = lightgbm.train(settings_of(config), data, num_boost_round=config.trees, **extra)
    kept = int(fitted.best_iteration) if watch is not None and fitted.best_iteration > 0 else fitted.current_iteration()
    text = with_float32_thresholds(fitted.model_to_string(num_iteration=kept))
    if not splits_of(text):
        raise ModelError(
            f"LightGBM found nothing to split on in {len(label)} rows: add data or lower model.min_data_in_leaf"
        )
    if not np.array_equal(
        fitted.predict(rows, num_iteration=kept, num_threads=1), load_booster(text).predict(rows, num_threads=1)
    ):
        raise ModelError("rounding the thresholds to float32 changed a prediction: nothing was written")
    return Fitted(text, kept)


def fit_booster(
    rows: Float32s, label: Ints, names: list[str], config: BoosterConfig, weight: Floats | None = None
) -> str:
    """Return the text of the model :func:`fit` gives; raises as it does."""
    return fit(rows, label, names, config, weight=weight).text


def load_booster(text: str) -> Any:
    """Return the LightGBM booster of a model's text."""
    import lightgbm  # noqa: PLC0415 - three seconds that only training pays

    return lightgbm.Booster(model_str=text)


def _scaled(weight: Floats | None) -> Floats | None:
    return None if weight is None else weight / weight.mean()
