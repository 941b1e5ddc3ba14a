"""
One training run: data set, booster, exact export, threshold, figures, and the folder that holds them.

Three windows in order of time: the model is fitted on the first, its threshold (and calibration) chosen on the second,
the third is only reported on. Rows whose label has seen a bar of a later window are left out of the earlier one.
"""

import hashlib
import io
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from actors.distribution import Bins, bins_of
from actors.model_folder import (
    FORMAT_VERSION,
    MANIFEST,
    ONNX,
    REFERENCE,
    SELF_TEST,
    LoadedModel,
    Manifest,
    encode_manifest,
    format_time,
    load_model,
    manifest_digest,
)
from catalog.instruments import interval_ns, load_instruments
from catalog.reader import data_hash, load_funding
from research.booster import fit_booster, load_booster
from research.dataset import CONTEXT, Dataset, kernel_inputs, pool, select, symbol_dataset
from research.folder_swap import put_in_place, write_beside
from research.folds import FoldModel, fit_fold, fit_rows
from research.labels import Floats, Ints
from research.live_labels import labels_of
from research.metrics import MEANINGFUL, describe
from research.onnx_export import (
    SELF_TEST_ROWS,
    Float32s,
    check_parity,
    parity_rows,
    reference_probabilities,
    served_probabilities,
    splits_of,
    to_onnx,
)
from research.thresholds import RULE, Choice, place
from research.train_config import TrainConfig, Windows, windows_of
from research.uniqueness import row_weights
from strategies.errors import DataError
from strategies.kernel.columns import FEATURE_SCHEMA
from strategies.params_file import ParamsFile, load_params_file, params_dict

__all__ = [
    "FoldModel",
    "Sets",
    "TrainedModel",
    "build_dataset",
    "fit_booster",
    "fit_fold",
    "load_booster",
    "publish",
    "sha256",
    "split",
    "train",
]

HISTORY_BARS = 1_000
"""Bars read before the training window where the catalog has them: from then on the kernel's rows are exact."""

LIBRARIES = ("lightgbm", "onnx", "onnxmltools", "onnxruntime", "numpy", "numba")

_DAY_NS = 86_400_000_000_000


@dataclass(frozen=True)
class Sets:
    """Row indices of the three windows after purging."""

    train: Ints
    threshold: Ints
    report: Ints


@dataclass(frozen=True)
class TrainedModel:
    """A finished training run: the content of its folder."""

    manifest: Manifest
    files: dict[str, bytes]


def build_dataset(
    config: TrainConfig, params: ParamsFile, catalog: Path, windows: Windows, *, until: int | None = None
) -> Dataset:
    """
    Return the pooled data set of all symbols.

    No bar at or after the end of the report window, or `until` (UTC ns) where given, is read.
    """
    step = interval_ns(config.interval)
    end = windows.report[1] if until is None else until
    labels, specs = labels_of(config, params), load_instruments()
    parts = []
    for symbol in config.symbols:
        start = windows.train[0] - HISTORY_BARS * step
        bars, inputs = kernel_inputs(catalog, symbol, config.interval, start, end)
        try:
            part = symbol_dataset(
                bars,
                inputs,
                step,
                params=params.for_symbol(symbol),
                vote=config.dataset,
                label=labels[symbol],
                warmup_bars=config.warmup_bars,
                tick=float(specs[symbol].price_tick) if symbol in specs else None,
                funding=load_funding(catalog, symbol, start, end),
            )
        except DataError as e:
            raise DataError(f"{catalog}: {symbol} {config.interval}: {e}") from None
        parts.append(part)
    return pool(parts)


def split(data: Dataset, windows: Windows) -> Sets:
    """Return the rows of the three windows, each purged against the one that follows."""
    return Sets(
        train=select(data, windows.train, windows.threshold[0]),
        threshold=select(data, windows.threshold, windows.report[0]),
        report=select(data, windows.report, windows.report[1]),
    )


def train(config: TrainConfig, catalog: Path, source: dict[str, Any]) -> TrainedModel:
    """
    Run one training and return the content of its folder; nothing is written.

    Parameters
    ----------
    config : TrainConfig
        What to train.
    catalog : Path
        Catalog directory.
    source : dict
        Origin of the data as the catalog describes it (`description`, `synthetic`); empty where it does not know.

    Raises
    ------
    ConfigError
        Fatal: windows out of order, parameter file unusable.
    DataError
        Propagate: data missing, or too few signals.
    ModelError
        Fail closed: the export does not decide as the booster does.

    """
    windows = windows_of(config)
    params = load_params_file(Path(config.strategy))
    data = build_dataset(config, params, catalog, windows)
    sets = split(data, windows)
    fold = fit_rows(data, sets.train, sets.threshold, config.fit)
    if fold.choice is None:
        raise DataError("threshold window: no signal whose label has ended inside it: lengthen the window")
    booster = load_booster(fold.booster)
    rows = np.ascontiguousarray(data.rows[:, fold.columns])
    graph = to_onnx(booster, len(fold.features))

    splits = splits_of(fold.booster)
    tested, kinds = parity_rows(splits, np.concatenate([rows, data.background[:, fold.columns]]), config.model.seed)
    reference, served = reference_probabilities(booster, tested), served_probabilities(graph, tested)
    calibration, choice = fold.calibration, fold.choice
    raw = served_probabilities(graph, rows)
    scores = raw if calibration is None else calibration(raw)
    threshold = place(choice, served if calibration is None else calibration(served))
    calibrate = calibration if calibration is not None else _as_is
    parity = check_parity(reference, served, threshold, calibrate, (kinds, len(splits)))

    pick = np.random.default_rng(config.model.seed).choice(len(tested), SELF_TEST_ROWS, replace=False)
    files = {
        ONNX: graph,
        REFERENCE: fold.booster.encode(),
        SELF_TEST: _self_test(tested[pick], reference[pick]),
    }
    metrics = _metrics(data, sets, scores, threshold, config.model.seed)
    last_seen = max(windows.threshold[1], *(int(data.label_end[s].max()) for s in (sets.train, sets.threshold)))
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        created=datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        schema=FEATURE_SCHEMA,
        features=fold.features,
        dropped_features=fold.dropped,
        files={name: sha256(content) for name, content in files.items()},
        threshold=threshold,
        threshold_rule=RULE.format(min_recall=config.threshold.min_recall, min_passed=config.threshold.min_passed),
        calibration=calibration,
        trained_from=format_time(windows.train[0]),
        trained_until=format_time(last_seen),
        valid_until=format_time(last_seen + config.validity_days * _DAY_NS),
        data=_data_section(config, catalog, windows, data, sets, source),
        strategy={symbol: params_dict(params.for_symbol(symbol)) for symbol in config.symbols},
        training=msgspec.to_builtins(config),
        metrics=metrics | {"threshold_choice": choice._asdict()},
        parity=msgspec.to_builtins(parity),
        libraries={name: metadata.version(name) for name in LIBRARIES},
        warnings=_warnings(metrics, choice, fold.dropped, source),
        distribution=_distribution(fold, data, scores),
    )
    return TrainedModel(msgspec.structs.replace(manifest, digest=manifest_digest(manifest)), files)


def publish(model: TrainedModel, out: Path) -> tuple[LoadedModel, Path | None]:
    """
    Write the model folder beside `out`, verify it as the live gate would, and exchange it for the old one.

    Returns
    -------
    tuple[LoadedModel, Path or None]
        The verified model, and where the model before it is kept.

    Raises
    ------
    ModelError
        Fail closed: the folder cannot be written or does not verify; `out` is as it was.

    """
    beside = write_beside(out, model.files | {MANIFEST: encode_manifest(model.manifest)})
    try:
        loaded = load_model(beside, schema=FEATURE_SCHEMA)
        previous = put_in_place(beside, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return loaded, previous


def _as_is(values: Floats) -> Floats:
    return values


def sha256(content: bytes) -> str:
    """Return the SHA-256 of a file's content, hex."""
    return hashlib.sha256(content).hexdigest()


def _self_test(rows: Float32s, probabilities: Floats) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, rows=rows, probabilities=probabilities)
    return buffer.getvalue()


def _distribution(fold: FoldModel, data: Dataset, scores: Floats) -> dict[str, Bins]:
    """Features as the fit saw them; scores of rows it did not see, for in-sample ones are too sure of themselves."""
    seen = data.rows[fold.train]
    features = zip(fold.features, fold.columns, strict=True)
    return {name: bins_of(seen[:, column]) for name, column in features} | {"score": bins_of(scores[fold.held])}


def _data_section(
    config: TrainConfig, catalog: Path, windows: Windows, data: Dataset, sets: Sets, source: dict[str, Any]
) -> dict[str, Any]:
    symbols = list(dict.fromkeys([*config.symbols, *CONTEXT]))
    start = windows.train[0] - HISTORY_BARS * interval_ns(config.interval)
    inside = {
        name: int(np.count_nonzero((data.open_time >= window[0]) & (data.open_time < window[1])))
        for name, window in (("train", windows.train), ("threshold", windows.threshold), ("report", windows.report))
    }
    kept = {"train": len(sets.train), "threshold": len(sets.threshold), "report": len(sets.report)}
    return {
        "source": source,
        "symbols": symbols,
        "interval": config.interval,
        "start": format_time(start),
        "end": format_time(windows.report[1]),
        "sha256": data_hash(catalog, symbols, config.interval, start, windows.report[1]),
        "signals": kept,
        "purged": {name: inside[name] - kept[name] for name in kept},
        "left_out": data.dropped,
    }


def _metrics(data: Dataset, sets: Sets, scores: Floats, threshold: float, seed: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, rows in (("train", sets.train), ("threshold", sets.threshold), ("report", sets.report)):
        traded = rows[data.traded[rows]]
        for kind, part in (("all", rows), ("traded", traded)):
            result.setdefault(name, {})[kind] = describe(
                scores[part],
                data.label[part],
                data.net_r[part],
                data.close_time[part],
                threshold=threshold,
                weight=row_weights(data.symbol[part], data.close_time[part], data.label_end[part]),
                seed=seed if name == "report" else None,
            )
    return result


def _warnings(metrics: dict[str, Any], choice: Choice, dropped: dict[str, str], source: dict[str, Any]) -> list[str]:
    found = []
    synthetic = source.get("synthetic")
    if synthetic:
        found.append("SYNTHETIC data: no figure says anything about a market")
    elif synthetic is None:
        found.append("the origin of the data is not recorded: they may be SYNTHETIC")
    report, traded = metrics["report"]["all"], metrics["report"]["traded"]
    for name, figures in (("signals", report), ("signals the traded vote gives", traded)):
        if figures["signals"] < MEANINGFUL:
            found.append(
                f"report window holds {figures['signals']} {name}: below {MEANINGFUL} no figure on them means much"
            )
    if choice.signals < MEANINGFUL:
        found.append(
            f"threshold was chosen on {choice.signals} signals, among {choice.candidates} cuts: it is largely noise"
        )
    if choice.net_r_per_signal <= 0:
        found.append(f"no cut paid on the threshold window: the best earned {choice.net_r_per_signal:.3f} R per signal")
    for name, neutral in (("auc", 0.5), ("net_r_lift", 0.0)):
        interval = report.get(f"{name}_95")
        if interval is None or interval[0] <= neutral <= interval[1]:
            found.append(
                f"report window: {name} is not distinguishable from {neutral:g} (95 % interval {_interval(interval)})"
            )
    if dropped:
        found.append(f"features without content were left out: {', '.join(sorted(dropped))}")
    return found


def _interval(interval: tuple[float, float] | None) -> str:
    return "not available" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
