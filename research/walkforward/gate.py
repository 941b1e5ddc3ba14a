"""The gate's model of one fold: fitted, cut and calibrated inside the training window."""

from pathlib import Path
from typing import Any

import msgspec

from catalog.instruments import interval_ns
from catalog.reader import coverage
from catalog.sample import describe
from node.config import format_time
from research.train_config import TrainConfig
from research.training import publish, train
from research.walkforward.config import GateTraining
from research.walkforward.folds import Fold
from research.walkforward.span import DAY_NS, Span
from strategies.errors import ArgonautError, DataError
from strategies.yaml_config import FrozenConfig


class FoldModel(FrozenConfig, frozen=True):
    """
    What training gave.

    Attributes
    ----------
    trained : bool
        There is a model folder.
    reason : str
        Why there is none; empty where there is one.
    fingerprint, threshold : str, float or None
        Of the model.
    features : list of str
        Names it uses.
    signals : dict of str to int
        Rows fitted on, chosen on.
    windows : dict of str to str
        Start and end of both, ISO-8601.
    warnings : list of str
        As the model folder has them, without those on the report window, which is the fold's test here.

    """

    trained: bool
    reason: str = ""
    fingerprint: str = ""
    threshold: float | None = None
    features: list[str] = msgspec.field(default_factory=list)
    signals: dict[str, int] = msgspec.field(default_factory=dict)
    windows: dict[str, str] = msgspec.field(default_factory=dict)
    warnings: list[str] = msgspec.field(default_factory=list)


def train_config(config: GateTraining, fold: Fold, catalog: Path, interval: str, params: Path) -> TrainConfig:
    """
    Return the training configuration of a fold.

    Fitting, then choosing, then a report window of one bar: all end with the training window, so that no row, label or
    background row of the test is read. A row counts only if its label ended before the next window began.
    """
    step = interval_ns(interval)
    begins = {s: coverage(catalog, s, interval)[0] for s in config.symbols}
    start = fold.train_start
    if config.train is not None:
        start = max(Span.parse(config.train).before(fold.train_end), min(begins.values()))
    end = fold.train_end - step
    cut = fold.train_end - int((fold.train_end - start) * config.threshold_share) // step * step
    text = {name: str(format_time(t)) for name, t in (("start", start), ("cut", cut), ("end", end))}
    return TrainConfig(
        symbols=[s for s in config.symbols if begins[s] < cut],
        interval=interval,
        strategy=str(params),
        train_start=text["start"],
        train_end=text["cut"],
        threshold_start=text["cut"],
        threshold_end=text["end"],
        report_start=text["end"],
        report_end=str(format_time(fold.train_end)),
        dataset=config.dataset,
        label=config.label,
        model=config.model,
        threshold=config.threshold,
        calibration=config.calibration,
        weights=config.weights,
        min_signals=config.min_signals,
        warmup_bars=config.warmup_bars,
        validity_days=min(-(-(fold.test_end - fold.train_end) // DAY_NS) + 2, 3_650),
    )


def train_fold(config: GateTraining, fold: Fold, catalog: Path, interval: str, *, params: Path, out: Path) -> FoldModel:
    """
    Train a fold's model and put its folder at `out`.

    Unavailable: where the window does not give enough rows or nothing to learn, there is no folder and `reason` says
    why. An enforcing gate then lets nothing through, as it would live.
    """
    settings = train_config(config, fold, catalog, interval, params)
    sample = describe(catalog)
    try:
        trained = train(settings, catalog, msgspec.to_builtins(sample) if sample else {})
        model, _ = publish(trained, out)
    except (DataError, ArgonautError) as e:
        return FoldModel(trained=False, reason=str(e))
    data: dict[str, Any] = model.manifest.data
    return FoldModel(
        trained=True,
        fingerprint=digest_of(model.manifest.files),
        threshold=model.threshold,
        features=list(model.manifest.features),
        signals={"fit": data["signals"]["train"], "threshold": data["signals"]["threshold"]},
        windows={"fit": f"{settings.train_start}/{settings.train_end}", "threshold": _threshold(settings)},
        warnings=[w for w in model.manifest.warnings if not w.startswith("report window")],
    )


def digest_of(files: dict[str, str]) -> str:
    """Return one hash over the model's files; the folder's own fingerprint also covers the time it was written."""
    from trials import config_hash  # noqa: PLC0415 - one use

    return config_hash(files)


def _threshold(settings: TrainConfig) -> str:
    return f"{settings.threshold_start}/{settings.threshold_end}"
