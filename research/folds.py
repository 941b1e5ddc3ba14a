"""
One fold: a model fitted, cut and calibrated inside its own windows, for walk-forward, tuning and combinatorial CV.

Nothing outside the windows given is looked at. A row belongs to a window if its signal bar opens inside it *and* its
label has ended when the window ends; rows whose label has seen a bar of a test window are purged, rows that open within
the embargo after a test window are left out (López de Prado, 2018, §7.4). The same input gives the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np

from actors.model_folder import Calibration
from research.booster import Watch, fit, load_booster
from research.calibration import fit_calibration
from research.dataset import Bools, Dataset, useful_features
from research.labels import Floats, Ints
from research.metrics import describe
from research.onnx_export import reference_probabilities
from research.thresholds import Choice, choose
from research.train_config import FitConfig
from research.uniqueness import row_weights
from strategies.errors import DataError
from strategies.kernel.columns import MODEL_FEATURES

Span = tuple[int, int]
"""``[start, end)`` on the signal bar's open, UTC ns."""


@dataclass(frozen=True)
class FoldModel:
    """
    What a fold learned; it can be pickled and sent to another process.

    Attributes
    ----------
    booster : str
        The model in LightGBM's text format, float32 thresholds.
    features : list[str]
        Columns it uses, in order.
    dropped : dict[str, str]
        Columns left out, with the reason.
    calibration : PlattScaling or IsotonicScaling or None
        Applied to the booster's probability.
    threshold : float or None
        A score of at least this passes; None where no threshold window was given.
    choice : Choice or None
        The cut the threshold stands for.
    train, held : np.ndarray
        int64 rows of the data set that were fitted on, and those the threshold was chosen on.
    trees : int
        Trees of the model.
    last_seen : int
        UTC ns: the last market time that fitting or choosing has seen.
    metrics : dict
        ``train`` (in-sample) and ``threshold`` (chosen on), as :func:`research.metrics.describe`.

    """

    booster: str
    features: list[str]
    dropped: dict[str, str]
    calibration: Calibration | None
    threshold: float | None
    choice: Choice | None
    train: Ints
    held: Ints
    trees: int
    last_seen: int
    metrics: dict[str, Any]

    @cached_property
    def columns(self) -> list[int]:
        """Positions of the features in a row of the data set."""
        return [MODEL_FEATURES.index(name) for name in self.features]

    def score(self, rows: np.ndarray) -> Floats:
        """Return calibrated probabilities, float64 (n,), for float32 rows (n, len(MODEL_FEATURES))."""
        raw = reference_probabilities(load_booster(self.booster), np.ascontiguousarray(rows[:, self.columns]))
        return raw if self.calibration is None else self.calibration(raw)

    def passes(self, rows: np.ndarray) -> Bools:
        """
        Return which rows the gate lets through.

        Raises
        ------
        DataError
            Propagate: the fold was fitted without a threshold window.

        """
        if self.threshold is None:
            raise DataError("this fold has no threshold: give fit_fold a threshold window")
        return self.score(rows) >= self.threshold

    def describe(self, data: Dataset, rows: Ints, *, seed: int | None = None) -> dict[str, Any]:
        """Return the figures on other rows of the data set, as :func:`research.metrics.describe`."""
        return describe(
            self.score(data.rows[rows]),
            data.label[rows],
            data.net_r[rows],
            data.close_time[rows],
            threshold=0.5 if self.threshold is None else self.threshold,
            weight=row_weights(data.symbol[rows], data.close_time[rows], data.label_end[rows]),
            seed=seed,
        )


def rows_of(data: Dataset, spans: Sequence[Span], *, forbidden: Sequence[Span] = (), embargo_ns: int = 0) -> Ints:
    """
    Return the rows of windows that know nothing of others.

    Parameters
    ----------
    data : Dataset
        The pooled data set.
    spans : sequence of (start, end)
        Windows wanted; a row's label must have ended when its window ends.
    forbidden : sequence of (start, end)
        Windows nothing may be known of: rows whose label overlaps one are purged.
    embargo_ns : int
        Rows that open within this time after a forbidden window are left out too.

    Returns
    -------
    np.ndarray
        int64 indices, in order of time.

    """
    keep = np.zeros(len(data), dtype=bool)
    for start, end in spans:
        keep |= (data.open_time >= start) & (data.open_time < end) & (data.label_end <= end)
    for start, end in forbidden:
        keep &= (data.label_end <= start) | (data.open_time >= end + embargo_ns)
    return np.flatnonzero(keep)


class Spans(NamedTuple):
    """Windows of one fold of a walk-forward."""

    train: Span
    threshold: Span
    test: Span


def walk_forward(
    start: int, end: int, folds: int, *, first_share: float = 0.4, threshold_share: float = 0.2
) -> list[Spans]:
    """
    Return anchored folds that step by the test length and together test everything after the first training window.

    Parameters
    ----------
    start, end : int
        What may be used, UTC ns.
    folds : int
        Number of test windows.
    first_share : float
        Share of the whole that is only trained on.
    threshold_share : float
        Share of each training window, its end, on which threshold and calibration are chosen.

    """
    first = start + int((end - start) * first_share)
    edges = [first + (end - first) * k // folds for k in range(folds + 1)]
    cuts = [test - int((test - start) * threshold_share) for test in edges]
    return [
        Spans((start, cut), (cut, test), (test, stop)) for cut, test, stop in zip(cuts, edges, edges[1:], strict=False)
    ]


def fit_fold(
    data: Dataset,
    train_span: Span | Sequence[Span],
    threshold_span: Span | None,
    config: FitConfig,
    *,
    forbidden: Sequence[Span] = (),
    embargo_ns: int = 0,
) -> FoldModel:
    """
    Fit one fold.

    Parameters
    ----------
    data : Dataset
        From :func:`research.training.build_dataset`; may reach beyond the windows.
    train_span : (start, end), or a sequence of them
        Where the model is fitted; several for combinatorial CV.
    threshold_span : (start, end) or None
        Where threshold and calibration are chosen; None: the fold has neither.
    config : FitConfig
        How.
    forbidden : sequence of (start, end)
        Test windows: purged from both (see :func:`rows_of`).
    embargo_ns : int
        After each test window and after the threshold window.

    Raises
    ------
    DataError
        Propagate: too few rows of both kinds, or none that allows a threshold.
    ModelError
        Fail closed: nothing to learn.

    """
    spans = cast("list[Span]", [train_span] if _is_span(train_span) else list(train_span))
    held_out = [*forbidden, *([] if threshold_span is None else [threshold_span])]
    train = rows_of(data, spans, forbidden=held_out, embargo_ns=embargo_ns)
    held = np.empty(0, dtype=np.int64)
    if threshold_span is not None:
        held = rows_of(data, [threshold_span], forbidden=forbidden, embargo_ns=embargo_ns)
    return fit_rows(data, train, held, config)


def fit_rows(data: Dataset, train: Ints, held: Ints, config: FitConfig) -> FoldModel:
    """Fit on the rows `train`, choose threshold and calibration on `held` (may be empty); raises as `fit_fold`."""
    if len(train) < config.min_signals or len(np.unique(data.label[train])) < 2:
        raise DataError(
            f"training window: {len(train)} signals ({int(data.label[train].sum())} good), at least "
            f"{config.min_signals} of both kinds are needed: lengthen it, add symbols or loosen dataset.vote"
        )
    used, dropped = useful_features(data.rows[train])
    names = [MODEL_FEATURES[i] for i in used]
    watched, fitted_on = _watch(data, train, used, config)
    fitted = fit(
        _columns(data, fitted_on, used),
        data.label[fitted_on],
        names,
        config.model,
        weight=weights_of(data, fitted_on, config),
        watch=watched,
    )
    seen = np.concatenate([train, held])
    model = FoldModel(
        booster=fitted.text,
        features=names,
        dropped=dropped,
        calibration=None,
        threshold=None,
        choice=None,
        train=train,
        held=held,
        trees=fitted.trees,
        last_seen=int(data.label_end[seen].max()),
        metrics={},
    )
    if len(held):
        label, net_r = data.label[held], data.net_r[held]
        raw = model.score(data.rows[held])
        calibration = fit_calibration(config.calibration, raw, label, weights_of(data, held, config))
        scores = raw if calibration is None else calibration(raw)
        choice = choose(scores, label, net_r, config.threshold)
        middle = (choice.below + choice.above) / 2
        model = replace(model, calibration=calibration, choice=choice, threshold=middle)
    windows = {"train": train, **({"threshold": held} if len(held) else {})}
    return replace(model, metrics={name: model.describe(data, rows) for name, rows in windows.items()})


def weights_of(data: Dataset, rows: Ints, config: FitConfig) -> Floats | None:
    """Return the weights of rows as configured; None: all alike."""
    if config.weights == "none":
        return None
    return row_weights(data.symbol[rows], data.close_time[rows], data.label_end[rows])


def _watch(data: Dataset, train: Ints, used: list[int], config: FitConfig) -> tuple[Watch | None, Ints]:
    """Return the last fifth of the training rows as watch, and the rows before it whose labels end before it begins."""
    if not config.patience:
        return None, train
    last = train[len(train) - max(len(train) // 5, 1) :]
    first = train[data.label_end[train] <= data.open_time[last].min()]
    if len(np.unique(data.label[last])) < 2 or len(np.unique(data.label[first])) < 2:
        return None, train
    rows = _columns(data, last, used)
    return Watch(rows, data.label[last], weights_of(data, last, config), config.patience), first


def _columns(data: Dataset, rows: Ints, used: list[int]) -> np.ndarray:
    return np.ascontiguousarray(data.rows[rows][:, used])


def _is_span(span: Any) -> bool:
    return len(span) == 2 and not isinstance(span[0], Sequence)
