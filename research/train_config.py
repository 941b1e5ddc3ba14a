"""What a training run is told: windows, vote, labels, LightGBM, threshold."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from actors.model_folder import parse_time
from research.dataset import VoteConfig
from research.labels import LabelConfig
from research.thresholds import ThresholdConfig
from strategies.errors import ConfigError
from strategies.yaml_config import FrozenConfig, load_yaml


class BoosterConfig(FrozenConfig, frozen=True):
    """
    LightGBM settings; what makes training repeatable (one thread, deterministic, row-wise, seed) is not optional.

    Parameters are LightGBM's own of the same name; `trees` is ``num_iterations``.
    """

    trees: Annotated[int, msgspec.Meta(ge=1, le=5_000)] = 120
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.03
    num_leaves: Annotated[int, msgspec.Meta(ge=2, le=256)] = 8
    max_depth: Annotated[int, msgspec.Meta(ge=1, le=32)] = 4
    min_data_in_leaf: Annotated[int, msgspec.Meta(ge=1)] = 40
    feature_fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.6
    bagging_fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.8
    lambda_l1: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    lambda_l2: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 7


class FitConfig(FrozenConfig, frozen=True):
    """
    How a fold is fitted.

    Attributes
    ----------
    model : BoosterConfig
        LightGBM settings.
    threshold : ThresholdConfig
        What the threshold must leave over.
    calibration : {"none", "platt", "isotonic"}
        Fitted on the threshold window.
    weights : {"uniqueness", "none"}
        Whether rows count by the average uniqueness of their labels.
    min_signals : int
        Rows needed for fitting.
    patience : int
        Trees without improvement on the last fifth of the training rows after which fitting stops; 0: never.

    """

    model: BoosterConfig = BoosterConfig()
    threshold: ThresholdConfig = ThresholdConfig()
    calibration: Literal["none", "platt", "isotonic"] = "none"
    weights: Literal["uniqueness", "none"] = "uniqueness"
    min_signals: Annotated[int, msgspec.Meta(ge=20)] = 200
    patience: Annotated[int, msgspec.Meta(ge=0)] = 0


class TrainConfig(FrozenConfig, frozen=True, kw_only=True):
    """
    One training run.

    Parameters
    ----------
    symbols : list[str]
        Whose signals are pooled.
    interval : str
        Bar interval.
    strategy : str
        Parameter file of the traded strategy, relative to the file that names it: its stop and target make the labels,
        its vote marks the traded rows.
    node : str
        Configuration of the node the model is for, relative to the same file; empty: `label` says all. Its fees,
        slippage, funding and time stop then make the labels, in place of those of `label`.
    train_start, train_end, threshold_start, threshold_end, report_start, report_end : str
        Windows ``[start, end)`` on the signal bar's open, ISO-8601 with Z, quoted.
    holdout_start, holdout_end : str
        A window nothing of training reads: ``research.promote`` looks at it once, and the trial ledger remembers.
    dataset : VoteConfig
        The (usually looser) vote that decides which bars become rows.
    label : LabelConfig
        Horizon and costs.
    model : BoosterConfig
        LightGBM settings.
    threshold : ThresholdConfig
        What the chosen threshold must leave over.
    calibration : {'none', 'platt', 'isotonic'}
        Whether scores are calibrated on the threshold window.
    weights : {'uniqueness', 'none'}
        Whether rows count by the average uniqueness of their labels.
    min_signals : int
        Training rows needed.
    warmup_bars : int
        Bars the kernel must have seen before a signal becomes a row.
    validity_days : int
        Market days after the last bar used for fitting or choosing until which the model may be used.

    """

    symbols: Annotated[list[str], msgspec.Meta(min_length=1)]
    interval: str = "15m"
    strategy: str = "strategies/composite.yaml"
    node: str = ""
    train_start: str
    train_end: str
    threshold_start: str
    threshold_end: str
    report_start: str
    report_end: str
    holdout_start: str = ""
    holdout_end: str = ""
    dataset: VoteConfig = VoteConfig()
    label: LabelConfig = LabelConfig()
    model: BoosterConfig = BoosterConfig()
    threshold: ThresholdConfig = ThresholdConfig()
    calibration: Literal["none", "platt", "isotonic"] = "none"
    weights: Literal["uniqueness", "none"] = "uniqueness"
    min_signals: Annotated[int, msgspec.Meta(ge=20)] = 200
    warmup_bars: Annotated[int, msgspec.Meta(ge=60)] = 400
    validity_days: Annotated[int, msgspec.Meta(ge=1, le=3_650)] = 90

    @property
    def fit(self) -> FitConfig:
        """How one fold of this run is fitted."""
        return FitConfig(
            model=self.model,
            threshold=self.threshold,
            calibration=self.calibration,
            weights=self.weights,
            min_signals=self.min_signals,
        )


class Windows(FrozenConfig, frozen=True):
    """The windows, UTC ns, ``[start, end)`` on bar open."""

    train: tuple[int, int]
    threshold: tuple[int, int]
    report: tuple[int, int]
    holdout: tuple[int, int] | None = None


def load_train_config(path: Path) -> TrainConfig:
    """
    Read a training configuration; `strategy` and `node` are returned as paths usable from here.

    Raises
    ------
    ConfigError
        Fatal: missing file, unknown key, wrong type, windows out of order.

    """
    config = load_yaml(path, TrainConfig)
    try:
        windows_of(config)
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from None
    node = str(path.parent / config.node) if config.node else ""
    return msgspec.structs.replace(config, strategy=str(path.parent / config.strategy), node=node)


def windows_of(config: TrainConfig) -> Windows:
    """
    Return the windows of a configuration in nanoseconds.

    Raises
    ------
    ConfigError
        Fatal: a time is not ISO-8601 with zone, or the windows are empty or not in order.

    """
    names = ("train_start", "train_end", "threshold_start", "threshold_end", "report_start", "report_end")
    times = [_time(config, name) for name in names]
    for (one, a), (other, b), strict in zip(
        [("train_start", 0), ("train_end", 1), ("threshold_start", 2), ("threshold_end", 3), ("report_start", 4)],
        [("train_end", 1), ("threshold_start", 2), ("threshold_end", 3), ("report_start", 4), ("report_end", 5)],
        (True, False, True, False, True),
        strict=True,
    ):
        if times[a] > times[b] or (strict and times[a] == times[b]):
            raise ConfigError(f"{other}: must not lie before {one}, and no window may be empty")
    holdout = None
    if config.holdout_start or config.holdout_end:
        holdout = _time(config, "holdout_start"), _time(config, "holdout_end")
        if not times[5] <= holdout[0] < holdout[1]:
            raise ConfigError("holdout_start: must not lie before report_end, and the window may not be empty")
    return Windows(
        train=(times[0], times[1]), threshold=(times[2], times[3]), report=(times[4], times[5]), holdout=holdout
    )


def _time(config: TrainConfig, name: str) -> int:
    text = getattr(config, name)
    try:
        return parse_time(text)
    except ValueError:
        raise ConfigError(f"{name}: {text!r} is not a time such as 2025-07-01T00:00:00Z") from None
