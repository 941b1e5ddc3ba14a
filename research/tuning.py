"""
Search of LightGBM's settings inside the training window: nested purged folds, persistent study, everything seeded.

The objective is what the gate is for, on rows the fold has not seen: net R per offered signal (a blocked signal earns
0), or the log loss of the scores. Never an AUC over all bars: the ancestor's 0.95 told signal bars from others. Its
search space is corrected: a tree of depth d has at most 2^d leaves (its lower bound forced 7 leaves on depth 2), and
`weight_scale` is gone, because scaling all weights only shifts what regularisation means.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np

from research.dataset import Dataset
from research.folds import Spans, fit_fold, rows_of, walk_forward
from research.metrics import log_loss_weighted
from research.train_config import BoosterConfig, FitConfig
from research.uniqueness import row_weights
from strategies.errors import ArgonautError, ConfigError
from strategies.yaml_config import FrozenConfig

Range = Annotated[list[float], msgspec.Meta(min_length=2, max_length=2)]


class SpaceConfig(FrozenConfig, frozen=True):
    """Bounds of the search, both included; `learning_rate`, `lambda_l1` and `lambda_l2` are sampled by logarithm."""

    learning_rate: Range = msgspec.field(default_factory=lambda: [0.01, 0.2])
    max_depth: Range = msgspec.field(default_factory=lambda: [2, 6])
    num_leaves: Range = msgspec.field(default_factory=lambda: [3, 31])
    min_data_in_leaf: Range = msgspec.field(default_factory=lambda: [20, 200])
    feature_fraction: Range = msgspec.field(default_factory=lambda: [0.4, 1.0])
    bagging_fraction: Range = msgspec.field(default_factory=lambda: [0.5, 1.0])
    lambda_l1: Range = msgspec.field(default_factory=lambda: [1e-4, 10.0])
    lambda_l2: Range = msgspec.field(default_factory=lambda: [1e-3, 30.0])

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name}: needs 0 < low <= high, is {low:g} to {high:g}")


class TuneConfig(FrozenConfig, frozen=True):
    """
    How settings are searched.

    Attributes
    ----------
    trials : int
        Sets tried in this study, the configured one first.
    folds : int
        Walk-forward folds inside the training window.
    objective : {"net_r", "log_loss"}
        Largest net R per offered signal, or smallest log loss (weighted by uniqueness), on rows not seen.
    max_trees, patience : int
        Trees at most; fitting stops after `patience` without improvement on the end of the fold's training rows.
    embargo_hours : float
        After each test window.
    warmup_trials, warmup_folds : int
        Trials, and folds of a trial, before the median pruner may end one.
    seed : int
        Of the sampler.
    space : SpaceConfig
        Bounds.

    """

    trials: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 40
    folds: Annotated[int, msgspec.Meta(ge=2, le=20)] = 4
    objective: Literal["net_r", "log_loss"] = "net_r"
    max_trees: Annotated[int, msgspec.Meta(ge=10, le=5_000)] = 400
    patience: Annotated[int, msgspec.Meta(ge=1)] = 30
    embargo_hours: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    warmup_trials: Annotated[int, msgspec.Meta(ge=0)] = 5
    warmup_folds: Annotated[int, msgspec.Meta(ge=0)] = 1
    seed: Annotated[int, msgspec.Meta(ge=0)] = 11
    space: SpaceConfig = SpaceConfig()


class Tuned(NamedTuple):
    """
    What a search found.

    Attributes
    ----------
    model : BoosterConfig
        The best settings; `trees` is the median over the folds of its best trial.
    value, baseline : float
        Objective of the best, and of the configured settings.
    folds, baseline_folds : list[float]
        The same per fold.
    trials, pruned, failed : int
        Of the whole study, earlier sessions included.

    """

    model: BoosterConfig
    value: float
    baseline: float
    folds: list[float]
    baseline_folds: list[float]
    trials: int
    pruned: int
    failed: int


def suggest(trial: Any, space: SpaceConfig, base: BoosterConfig, max_trees: int) -> BoosterConfig:
    """Return the settings of a trial; leaves never exceed what the depth can hold."""
    depth = trial.suggest_int("max_depth", *_whole(space.max_depth))
    low, high = _whole(space.num_leaves)
    leaves = trial.suggest_int("num_leaves", low, high)
    return msgspec.structs.replace(
        base,
        trees=max_trees,
        max_depth=depth,
        num_leaves=max(min(leaves, 2**depth), 2),
        learning_rate=trial.suggest_float("learning_rate", *space.learning_rate, log=True),
        min_data_in_leaf=trial.suggest_int("min_data_in_leaf", *_whole(space.min_data_in_leaf)),
        feature_fraction=trial.suggest_float("feature_fraction", *space.feature_fraction),
        bagging_fraction=trial.suggest_float("bagging_fraction", *space.bagging_fraction),
        lambda_l1=trial.suggest_float("lambda_l1", *space.lambda_l1, log=True),
        lambda_l2=trial.suggest_float("lambda_l2", *space.lambda_l2, log=True),
    )


def tune(
    data: Dataset,
    window: tuple[int, int],
    fit: FitConfig,
    config: TuneConfig,
    *,
    storage: str | None = None,
    identity: str = "study",
    progress: Callable[[int, float | None], None] | None = None,
) -> Tuned:
    """
    Search settings; nothing outside `window` is read.

    Parameters
    ----------
    data : Dataset
        May reach beyond the window.
    window : (start, end)
        The training window, UTC ns.
    fit : FitConfig
        Everything that is not searched; its model is tried first.
    config : TuneConfig
        The search.
    storage : str, optional
        SQLAlchemy URL of the study; absent: kept in memory. An unfinished study goes on where it stopped.
    identity : str
        Name of the study: hash what it depends on (data, labels, this configuration) into it.
    progress : Callable, optional
        Told number and value (None: pruned or failed) after every trial.

    Raises
    ------
    ConfigError
        Fatal: no trial could be finished; says why.

    """
    import optuna  # noqa: PLC0415 - a second that only tuning pays

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folds = walk_forward(*window, config.folds)
    base = msgspec.structs.replace(fit, patience=config.patience)
    study = optuna.create_study(
        study_name=identity,
        storage=storage,
        load_if_exists=True,
        direction="maximize" if config.objective == "net_r" else "minimize",
        sampler=optuna.samplers.TPESampler(seed=config.seed),
        pruner=optuna.pruners.MedianPruner(config.warmup_trials, config.warmup_folds),
    )
    done = len([t for t in study.trials if t.state.is_finished()])
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + done)  # a continued study does not repeat itself
    if not study.trials:
        study.enqueue_trial(_as_trial(fit.model, config.space), skip_if_exists=True)
    reasons: list[str] = []

    def objective(trial: Any) -> float:
        model = fit.model if trial.number == 0 else suggest(trial, config.space, fit.model, config.max_trees)
        if trial.number == 0:
            suggest(trial, config.space, fit.model, config.max_trees)
            settings = fit
        else:
            settings = msgspec.structs.replace(base, model=model)
        values, trees = [], []
        for number, spans in enumerate(folds):
            try:
                value, count = _score(data, spans, settings, config)
            except ArgonautError as e:
                reasons.append(f"fold {number + 1}: {e}")
                trial.set_user_attr("failed", reasons[-1])
                raise optuna.TrialPruned from None
            values.append(value)
            trees.append(count)
            trial.report(float(np.mean(values)), number)
            if number + 1 < len(folds) and trial.number and trial.should_prune():
                raise optuna.TrialPruned
        trial.set_user_attr("folds", values)
        trial.set_user_attr("model", msgspec.to_builtins(msgspec.structs.replace(model, trees=int(np.median(trees)))))
        return float(np.mean(values))

    def told(_: Any, trial: Any) -> None:
        if progress is not None:
            progress(trial.number + 1, trial.value)

    study.optimize(objective, n_trials=max(config.trials - done, 0), callbacks=[told])
    complete = [t for t in study.trials if t.state.name == "COMPLETE"]
    if not complete:
        raise ConfigError(f"no trial could be finished: {reasons[0] if reasons else 'the study is empty'}")
    best, first = study.best_trial, study.trials[0]
    return Tuned(
        model=msgspec.convert(best.user_attrs["model"], BoosterConfig),
        value=float(best.values[0]),
        baseline=float(first.value) if first.value is not None and first in complete else float("nan"),
        folds=best.user_attrs["folds"],
        baseline_folds=first.user_attrs.get("folds", []),
        trials=len(study.trials),
        pruned=sum(t.state.name == "PRUNED" and "failed" not in t.user_attrs for t in study.trials),
        failed=sum("failed" in t.user_attrs for t in study.trials),
    )


def _score(data: Dataset, spans: Spans, settings: FitConfig, config: TuneConfig) -> tuple[float, int]:
    embargo = int(config.embargo_hours * 3_600 * 1e9)
    model = fit_fold(data, spans.train, spans.threshold, settings, forbidden=[spans.test], embargo_ns=embargo)
    rows = rows_of(data, [spans.test])
    if not len(rows):
        raise ConfigError("no signal in the test window: use fewer folds")
    scores = model.score(data.rows[rows])
    if config.objective == "net_r":
        return float((data.net_r[rows] * (scores >= (model.threshold or 0.0))).mean()), model.trees
    weight = row_weights(data.symbol[rows], data.close_time[rows], data.label_end[rows])
    return log_loss_weighted(scores, data.label[rows], weight), model.trees


def _as_trial(model: BoosterConfig, space: SpaceConfig) -> dict[str, Any]:
    """Return the configured settings moved into the space: where the sampler begins to learn from."""
    found = {}
    for name in space.__struct_fields__:
        low, high = getattr(space, name)
        value = min(max(getattr(model, name), low), high)
        found[name] = int(value) if isinstance(getattr(model, name), int) else float(value)
    return found


def _whole(bounds: list[float]) -> tuple[int, int]:
    return int(bounds[0]), int(bounds[1])


def study_path(storage: str) -> Path | None:
    """Return the file of an SQLite URL, whose directory must exist before it is opened."""
    return Path(storage.removeprefix("sqlite:///")) if storage.startswith("sqlite:///") else None
