"""
The examination of a candidate, in an order that spares the hold-out: it is looked at only when everything else holds.

Errors: what cannot be examined is a condition that does not hold (**fail closed**); a mistake in files or options is
raised.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

import trials
from actors.model_folder import ONNX, REFERENCE, LoadedModel, ModelFolderError, load_model, parse_time
from actors.promotion import PROMOTION_FORMAT, Finding, Promotion
from catalog.reader import coverage, data_hash
from catalog.sample import describe as describe_sample
from research.dataset import Dataset
from research.doubt.training_set import examine_training
from research.folds import rows_of
from research.holdout import consume
from research.promotion import conditions
from research.promotion.conditions import Condition, Hurdles
from research.promotion.evidence import by, effect, pooled, run_study
from research.train_config import TrainConfig, Windows, windows_of
from research.training import build_dataset, train
from strategies.errors import ArgonautError, ModelError
from strategies.kernel.columns import FEATURE_SCHEMA, MODEL_FEATURES
from strategies.params_file import load_params_file
from strategies.yaml_config import convert


class Request(NamedTuple):
    """
    What is to be examined, and how.

    Attributes
    ----------
    folder, catalog : Path
        Candidate and data.
    hurdles : Hurdles
        What is demanded.
    allow_synthetic : bool
        Data that are no market's do not fail the examination; the verdict says so and no real-money node accepts it.
    again : bool
        Look at a hold-out that was looked at before.
    command : sequence of str
        For the ledger.
    ledger : Path or None
        The trial ledger.

    """

    folder: Path
    catalog: Path
    hurdles: Hurdles = Hurdles()
    allow_synthetic: bool = False
    again: bool = False
    command: Sequence[str] = ()
    ledger: Path | None = None


def examine(request: Request) -> Promotion:
    """
    Return the verdict, not signed yet.

    Raises
    ------
    ConfigError, DataError
        Propagate: the configuration recorded in the folder cannot be used, data are missing, the ledger is damaged.

    """
    trials.ready(request.ledger)
    try:
        model = load_model(request.folder, schema=FEATURE_SCHEMA)
    except ModelFolderError as e:
        finding = Finding(name=Condition.FOLDER, passed=False, detail=str(e), figures={"fault": e.fault.value})
        return _verdict([finding], "", "", "", "", synthetic=True)
    manifest = model.manifest
    config = convert(manifest.training, TrainConfig, f"{request.folder}: training")
    windows = windows_of(config)
    findings = [Finding(name=Condition.FOLDER, passed=True, detail=f"{model.fingerprint[:12]} verifies")]
    newest = min(coverage(request.catalog, s, config.interval)[1] for s in config.symbols)
    findings.append(conditions.expiry(model, newest))
    findings.append(conditions.origin(manifest, allow_synthetic=request.allow_synthetic))
    findings.append(_same_data(model, config, request.catalog))
    data = build_dataset(config, load_params_file(Path(config.strategy)), request.catalog, windows)
    findings.append(_trained_again(model, config, request.catalog))
    findings.append(_parity(request, model, data))
    findings.append(_leaks(config, request.catalog))
    findings += _folds(request, config, windows, data)
    ledger = ""
    declared, held = _holdout_ahead(windows, findings)
    findings.append(declared)
    if held is not None:
        ledger, looked = _holdout(request, model, config, windows, held)
        findings += looked
    trials.record(
        "examination",
        command=request.command,
        symbols=config.symbols,
        interval=config.interval,
        config=[config, request.hurdles],
        data_hash=manifest.data["sha256"],
        trials=0,
        sharpe=trials.summarise([]),
        best={"model": model.fingerprint, "passed": all(f.passed for f in findings)},
        result=request.folder,
        ledger=request.ledger,
    )
    return _verdict(
        findings,
        model.fingerprint,
        manifest.data["sha256"],
        trials.config_hash(config),
        ledger,
        synthetic=bool(manifest.data["source"].get("synthetic", True)),
    )


def _verdict(findings: list[Finding], model: str, data: str, config: str, ledger: str, *, synthetic: bool) -> Promotion:
    return Promotion(
        format_version=PROMOTION_FORMAT,
        passed=all(f.passed for f in findings),
        findings=findings,
        model=model,
        data_hash=data,
        config_hash=config,
        code_hash=trials.code_version().files,
        ledger=ledger,
        synthetic=synthetic,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _same_data(model: LoadedModel, config: TrainConfig, catalog: Path) -> Finding:
    recorded = model.manifest.data
    start, end = parse_time(recorded["start"]), parse_time(recorded["end"])
    found = data_hash(catalog, recorded["symbols"], config.interval, start, end)
    same = found == recorded["sha256"]
    text = f"{found[:12]}" if same else f"trained on {recorded['sha256'][:12]}, the catalog now holds {found[:12]}"
    return Finding(name=Condition.DATA, passed=same, detail=text)


def _trained_again(model: LoadedModel, config: TrainConfig, catalog: Path) -> Finding:
    sample = describe_sample(catalog)
    try:
        again = train(config, catalog, msgspec.to_builtins(sample) if sample else {})
    except ModelError as e:
        return Finding(name=Condition.REPRODUCED, passed=False, detail=str(e))
    return conditions.reproduced(model.manifest, again.manifest)


def _parity(request: Request, model: LoadedModel, data: Dataset) -> Finding:
    columns = [MODEL_FEATURES.index(name) for name in model.features]
    real = np.ascontiguousarray(np.concatenate([data.rows, data.background])[:, columns])
    real = real[~np.isinf(real).any(axis=1)]  # the gate refuses those before any model sees them
    graph, text = (request.folder / ONNX).read_bytes(), (request.folder / REFERENCE).read_text(encoding="utf-8")
    return conditions.parity(model, graph, text, real, request.hurdles)


def _leaks(config: TrainConfig, catalog: Path) -> Finding:
    doubts = examine_training(config, catalog)
    falling = [d for d in doubts if not d.passed]
    text = "; ".join(f"{d.name}: {d.detail}" for d in falling) or f"{len(doubts)} examinations found none"
    return Finding(name=Condition.LEAKS, passed=not falling, detail=text, figures={"found": [d.name for d in falling]})


def _folds(request: Request, config: TrainConfig, windows: Windows, data: Dataset) -> list[Finding]:
    hurdles, seed = request.hurdles, config.model.seed
    try:
        results = run_study(data, (windows.train[0], windows.report[1]), config.fit, hurdles.study)
    except ArgonautError as e:
        return [Finding(name=Condition.FOLD_SIGNALS, passed=False, detail=str(e))]
    return [
        conditions.fold_signals(results, hurdles),
        conditions.positive(Condition.FOLD_EFFECT, pooled(data, results, seed)),
        conditions.stable(Condition.STABLE_FOLDS, by(data, results, "fold"), hurdles.stable_folds),
        conditions.stable(Condition.STABLE_SEEDS, by(data, results, "seed"), hurdles.stable_seeds),
    ]


def _holdout_ahead(windows: Windows, findings: list[Finding]) -> tuple[Finding, tuple[int, int] | None]:
    name = Condition.HOLDOUT_DECLARED
    if windows.holdout is None:
        text = "the training configuration names no holdout_start and holdout_end"
        return Finding(name=name, passed=False, detail=text), None
    if not all(f.passed for f in findings):
        return Finding(name=name, passed=True, detail="not looked at: the examination failed before"), None
    return Finding(name=name, passed=True, detail="declared before training, read by nothing in it"), windows.holdout


def _holdout(
    request: Request, model: LoadedModel, config: TrainConfig, windows: Windows, window: tuple[int, int]
) -> tuple[str, list[Finding]]:
    use = consume(
        command=request.command,
        symbols=config.symbols,
        interval=config.interval,
        window=window,
        model=model.fingerprint,
        config=trials.config_hash(config),
        data_hash=data_hash(request.catalog, config.symbols, config.interval, *window),
        again=request.again,
        ledger=request.ledger,
    )
    params = load_params_file(Path(config.strategy))
    data = build_dataset(config, params, request.catalog, windows, until=window[1])
    rows = rows_of(data, [window])
    columns = [MODEL_FEATURES.index(name) for name in model.features]
    scores = model.probabilities(np.ascontiguousarray(data.rows[rows][:, columns]))
    passing = (scores >= model.threshold).astype(np.float64)
    found = effect(data.net_r[rows], passing, data.close_time[rows], config.model.seed)
    count, needed = len(rows), request.hurdles.min_signals
    traded = int(data.traded[rows].sum())
    text = f"{count} signals (at least {needed}), {traded} of them the traded vote's; look {use.look} at this window"
    figures = {"signals": count, "traded": traded, "look": use.look}
    enough = Finding(name=Condition.HOLDOUT_SIGNALS, passed=count >= needed, detail=text, figures=figures)
    return use.digest, [enough, conditions.positive(Condition.HOLDOUT_EFFECT, found)]
