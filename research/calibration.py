"""Calibration of scores outside the graph: fitted here, stored in the manifest, applied by ``actors.model_folder``."""

from typing import Any, Literal

import numpy as np

from actors.model_folder import Calibration, IsotonicScaling, PlattScaling
from research.labels import Floats, Ints

_CLIP = 1e-12


def fit_calibration(
    kind: Literal["none", "platt", "isotonic"], scores: Floats, label: Ints, weight: Floats | None = None
) -> Calibration | None:
    """
    Return the calibration of that kind, None for ``none``.

    Parameters
    ----------
    kind : str
        ``platt`` needs some forty rows to mean something, ``isotonic`` some hundreds.
    scores : np.ndarray
        float64, shape (n,), probabilities before calibration.
    label : np.ndarray
        int64, 0 or 1.
    weight : np.ndarray, optional
        float64, how much each row counts.

    """
    if kind == "none":
        return None
    return (fit_platt if kind == "platt" else fit_isotonic)(scores, label, weight)


def fit_platt(scores: Floats, label: Ints, weight: Floats | None = None) -> PlattScaling:
    """
    Return ``sigmoid(slope * logit(score) + intercept)`` fitted by regularised maximum likelihood.

    Targets are smoothed as Platt proposed, so that few rows cannot make the fit run away; a slope that is not positive
    would turn the order of the scores around and is replaced by no scaling (slope 1, intercept 0).
    """
    rows = np.ones(len(scores)) if weight is None else weight / weight.mean()
    good, bad = float(rows[label == 1].sum()), float(rows[label == 0].sum())
    target = np.where(label == 1, (good + 1) / (good + 2), 1 / (bad + 2))
    p = np.clip(scores, _CLIP, 1 - _CLIP)
    design = np.column_stack([np.log(p / (1 - p)), np.ones(len(p))])
    weights = np.array([1.0, 0.0])
    for _ in range(100):
        fitted = 1 / (1 + np.exp(-(design @ weights)))
        gradient = design.T @ (rows * (fitted - target)) + 1e-3 * (weights - [1.0, 0.0])
        curvature = (design * (rows * fitted * (1 - fitted))[:, None]).T @ design + 1e-3 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - np.clip(step, -2, 2)
        if float(np.abs(step).max()) < 1e-10:
            break
    if not (weights[0] > 0 and np.isfinite(weights).all()):
        return PlattScaling(slope=1.0, intercept=0.0)
    return PlattScaling(slope=float(weights[0]), intercept=float(weights[1]))


def fit_isotonic(scores: Floats, label: Ints, weight: Floats | None = None) -> IsotonicScaling:
    """
    Return the non-decreasing step function of best squared fit, joined by straight lines between its corners.

    Corners of equal height are thinned to their ends. Labels that only fall give a constant: then no score says
    anything, and the threshold search finds that nothing can be cut.
    """
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - two seconds that only this pays

    found: Any = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    found.fit(scores, label.astype(np.float64), sample_weight=weight)
    x, y = found.X_thresholds_, found.y_thresholds_
    return IsotonicScaling(scores=[float(v) for v in x], probabilities=[float(v) for v in y])
