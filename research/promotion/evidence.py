"""What a model's recipe does on signals it has not seen: seeds x folds of a walk-forward, with intervals."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from research.dataset import Bools, Dataset
from research.folds import FoldModel, Spans, fit_fold, rows_of, walk_forward
from research.labels import Floats, Ints
from research.metrics import day_bootstrap
from research.train_config import FitConfig
from strategies.errors import ArgonautError, DataError
from strategies.yaml_config import FrozenConfig


class StudyConfig(FrozenConfig, frozen=True):
    """
    How the recipe is examined.

    Attributes
    ----------
    folds, seeds : int
        Test windows, and seeds per window.
    first_share, threshold_share : float
        See :func:`research.folds.walk_forward`.
    embargo_hours : float
        After each test window (matters where training rows follow it).

    """

    folds: Annotated[int, msgspec.Meta(ge=2, le=50)] = 5
    seeds: Annotated[int, msgspec.Meta(ge=1, le=50)] = 5
    first_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.4
    threshold_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2
    embargo_hours: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class FoldResult(NamedTuple):
    """
    One seed on one fold.

    Attributes
    ----------
    seed, fold : int
        Which.
    spans : Spans
        Its windows.
    rows : np.ndarray
        int64, rows of the data set tested on.
    scores : np.ndarray
        float64, calibrated.
    passed : np.ndarray
        bool.
    model : FoldModel
        What was learned.

    """

    seed: int
    fold: int
    spans: Spans
    rows: Ints
    scores: Floats
    passed: Bools
    model: FoldModel


class Effect(NamedTuple):
    """
    What gating did to the signals, per offered signal, in units of planned risk.

    Attributes
    ----------
    signals, passed : int, float
        Offered, and passed (mean over seeds).
    gain, gain_95 : float, (float, float) or None
        Mean of "gate on minus gate off": a blocked signal counts 0 instead of its result.
    lift, lift_95 : float, (float, float) or None
        Mean result of the passed minus mean of all: where signals lose on average, blocking at random gains too, but
        does not lift.

    """

    signals: int
    passed: float
    gain: float
    gain_95: tuple[float, float] | None
    lift: float
    lift_95: tuple[float, float] | None

    @property
    def positive(self) -> bool:
        """Both lower bounds are above zero."""
        return all(interval is not None and interval[0] > 0 for interval in (self.gain_95, self.lift_95))

    def figures(self) -> dict[str, Any]:
        """Return plain data."""
        return self._asdict()


def run_study(data: Dataset, window: tuple[int, int], fit: FitConfig, study: StudyConfig) -> list[FoldResult]:
    """
    Fit every seed on every fold inside `window` and score what lies after.

    Raises
    ------
    DataError
        Propagate: a fold has too few rows, or nothing to choose a threshold on; names the fold.

    """
    embargo = int(study.embargo_hours * 3_600 * 1e9)
    results = []
    folds = walk_forward(*window, study.folds, first_share=study.first_share, threshold_share=study.threshold_share)
    for number, spans in enumerate(folds, start=1):
        rows = rows_of(data, [spans.test])
        for k in range(study.seeds):
            seed = fit.model.seed + k
            config = msgspec.structs.replace(fit, model=msgspec.structs.replace(fit.model, seed=seed))
            try:
                model = fit_fold(data, spans.train, spans.threshold, config, forbidden=[spans.test], embargo_ns=embargo)
            except ArgonautError as e:
                raise DataError(f"fold {number} of {study.folds}: {e}") from None
            scores = model.score(data.rows[rows])
            results.append(FoldResult(seed, number, spans, rows, scores, scores >= (model.threshold or 0.0), model))
    return results


def effect(net_r: Floats, passing: Floats, close_time: Ints, seed: int) -> Effect:
    """
    Return the effect of a gate.

    Parameters
    ----------
    net_r : np.ndarray
        float64, result of each signal.
    passing : np.ndarray
        float64 in 0..1, share of the seeds (or models) that pass it.
    close_time : np.ndarray
        int64, UTC ns; blocks of days are resampled.
    seed : int
        Of the resampling.

    """

    def gain(rows: Ints) -> float:
        return float(-(net_r[rows] * (1 - passing[rows])).mean())

    def lift(rows: Ints) -> float:
        weight = passing[rows]
        return float(np.average(net_r[rows], weights=weight) - net_r[rows].mean()) if weight.sum() > 0 else np.nan

    everything = np.arange(len(net_r))
    if not len(net_r):
        return Effect(0, 0.0, np.nan, None, np.nan, None)
    return Effect(
        signals=len(net_r),
        passed=float(passing.sum()),
        gain=gain(everything),
        gain_95=day_bootstrap(gain, close_time, seed),
        lift=lift(everything),
        lift_95=day_bootstrap(lift, close_time, seed),
    )


def pooled(data: Dataset, results: Sequence[FoldResult], seed: int) -> Effect:
    """Return the effect over all test windows, each signal weighed by the share of the seeds that pass it."""
    rows, passing = _mean_passing(results)
    return effect(data.net_r[rows], passing, data.close_time[rows], seed)


def by(data: Dataset, results: Sequence[FoldResult], key: str) -> dict[int, Effect]:
    """Return the effect per ``seed`` (all folds) or per ``fold`` (all seeds)."""
    parts: dict[int, list[FoldResult]] = {}
    for result in results:
        parts.setdefault(getattr(result, key), []).append(result)
    found = {}
    for value, part in parts.items():
        rows, passing = _mean_passing(part)
        found[value] = effect(data.net_r[rows], passing, data.close_time[rows], value)
    return found


def _mean_passing(results: Sequence[FoldResult]) -> tuple[Ints, Floats]:
    rows = np.unique(np.concatenate([r.rows for r in results]))
    total, count = np.zeros(len(rows)), np.zeros(len(rows))
    for result in results:
        at = np.searchsorted(rows, result.rows)
        total[at] += result.passed
        count[at] += 1
    return rows, total / count
