"""Whether a model folder holds the model that was trained, and one that says anything at all."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from actors.model_folder import MANIFEST, ONNX, REFERENCE, Manifest, ModelFolderError, load_model, parse_time
from research.doubt.verdict import Doubt, Reason, falls, stands, unknown
from research.onnx_export import (
    Split,
    check_parity,
    parity_rows,
    reference_probabilities,
    served_probabilities,
    splits_of,
)
from research.train_config import TrainConfig
from research.training import load_booster
from strategies.errors import ModelError
from strategies.kernel.columns import FEATURE_SCHEMA

Float32s = npt.NDArray[np.float32]

_ROWS = 4_000
_SEED = 7


def examine_model(folder: Path, rows: Float32s | None = None, *, schema: str = FEATURE_SCHEMA) -> list[Doubt]:
    """
    Return the doubts on a model folder: its seals, its export against the reference model, its scores.

    The export is compared again, on rows around every threshold of the reference model: a graph that was altered and
    sealed anew, self-test included, still differs there.

    Parameters
    ----------
    folder : Path
        Written by ``python -m research.train``.
    rows : np.ndarray, optional
        float32 rows of the model's features, shape (rows, features); by default drawn around its thresholds.
    schema : str
        The kernel's feature schema.

    """
    seal = "model seals"
    doubts = []
    try:
        load_model(folder, schema=schema)
        doubts.append(stands(seal, "every file has its recorded hash, and the self-test passes"))
    except ModelFolderError as e:
        doubts.append(falls(seal, Reason.DOES_NOT_VERIFY, str(e), fault=e.fault.value))
    except ModelError as e:
        doubts.append(falls(seal, Reason.DOES_NOT_VERIFY, str(e)))
    try:
        graph, text = (folder / ONNX).read_bytes(), (folder / REFERENCE).read_text(encoding="utf-8")
        manifest = read_manifest(folder)
    except (OSError, ValueError) as e:
        why = f"{folder}: cannot be read: {e}"
        return [*doubts, unknown("model export", Reason.UNAVAILABLE, why)]
    return [*doubts, *_behaviour(graph, text, manifest, rows)]


def examine_training_period(manifest: Manifest, start_ns: int, name: str = "model against test period") -> Doubt:
    """Return the doubt that a run which begins at `start_ns` (UTC) was not seen by the model's training or choosing."""
    until = parse_time(manifest.trained_until)
    if until > start_ns:
        text = (
            f"the model has seen data until {manifest.trained_until}, the run begins before: its figures are in-sample"
        )
        return falls(name, Reason.TRAINED_ON_THE_FUTURE, text, trained_until=manifest.trained_until)
    return stands(name, f"trained until {manifest.trained_until}, before the run begins")


def examine_learned(folder: Path, config: TrainConfig, catalog: Path, *, own: bool = False) -> Doubt:
    """
    Return the doubt that the model is what training gives: files, features, threshold, calibration.

    Whoever alters a threshold, a calibration or the order of features, and seals the folder anew, leaves nothing in it
    that contradicts them; training again does. Unknown where configuration or data are others than the model's.

    Parameters
    ----------
    folder, config, catalog : Path, TrainConfig, Path
        The model, and what it may have been trained with.
    own : bool
        It must have been trained with that configuration: another one is a finding.

    Raises
    ------
    ConfigError, DataError
        Propagate: see ``research.training.train``.

    """
    from research.promotion.conditions import reproduced  # noqa: PLC0415 - only where a model is examined
    from research.training import train  # noqa: PLC0415 - as above

    name = "model trained again"
    try:
        manifest = read_manifest(folder)
    except (OSError, ValueError) as e:
        return unknown(name, Reason.UNAVAILABLE, f"{folder}: cannot be read: {e}")
    if changed := _changed(manifest.training, msgspec.to_builtins(config), placeless=own):
        text = f"the model was trained with another configuration than the one given: {changed}"
        return (falls if own else unknown)(name, Reason.NOT_REPRODUCED if own else Reason.UNAVAILABLE, text)
    again = train(config, catalog, {}).manifest
    if again.data["sha256"] != manifest.data["sha256"]:
        text = f"trained on {manifest.data['sha256'][:12]}, the catalog holds {again.data['sha256'][:12]}"
        return unknown(name, Reason.UNAVAILABLE, text)
    found = reproduced(manifest, again)
    if found.passed:
        return stands(name, "the same files, features, threshold and calibration")
    differs = found.figures["differs"]
    if any(again.libraries.get(n) != v for n, v in manifest.libraries.items()):
        return unknown(name, Reason.UNAVAILABLE, found.detail, differs=differs)
    return falls(name, Reason.NOT_REPRODUCED, found.detail, differs=differs)


def _changed(before: dict[str, Any], now: dict[str, Any], *, placeless: bool) -> str:
    """Return the first settings that differ; a study's folder is renamed, so where its files lie may say nothing."""
    skipped = {"strategy", "node"} if placeless else set()
    keys = [k for k in now if k not in skipped and before.get(k) != now[k]]
    return ", ".join(f"{k} {before.get(k)!r} instead of {now[k]!r}" for k in keys[:3])


def _behaviour(graph: bytes, text: str, manifest: Manifest, rows: Float32s | None) -> list[Doubt]:
    name = "model export"
    splits = splits_of(text)
    booster = load_booster(text)
    columns = booster.num_feature()
    real = _drawn(splits, columns) if rows is None or not len(rows) else rows
    tested, kinds = parity_rows(splits, np.ascontiguousarray(real, dtype=np.float32), _SEED)
    reference = reference_probabilities(booster, tested)
    try:
        served = served_probabilities(graph, tested)
    except Exception as e:  # noqa: BLE001 - onnxruntime's errors share no base
        return [falls(name, Reason.EXPORT_DIFFERS, f"the graph does not run on the reference's rows: {e}")]
    calibrate = manifest.calibration if manifest.calibration is not None else _as_is
    doubts = []
    worst = float(np.max(np.abs(reference - served)))
    try:
        parity = check_parity(reference, served, manifest.threshold, calibrate, (kinds, len(splits)))
        detail = f"{parity.rows} rows, {len(splits)} thresholds: largest difference {parity.max_abs_diff:.1e}, no flip"
        doubts.append(stands(name, detail, max_abs_diff=worst, rows=parity.rows))
    except ModelError:
        flips = int(
            np.count_nonzero((calibrate(reference) >= manifest.threshold) != (calibrate(served) >= manifest.threshold))
        )
        detail = f"graph and reference differ by {worst:.3g} in probability and in {flips} of {len(tested)} decisions"
        doubts.append(falls(name, Reason.EXPORT_DIFFERS, detail, max_abs_diff=worst, flips=flips))
    names = list(booster.feature_name())
    if names != manifest.features:
        detail = f"the reference model was trained on {names[:4]}…, the manifest lists {manifest.features[:4]}…"
        doubts.append(falls("model features", Reason.EXPORT_DIFFERS, detail))
    scores = served[: kinds["real"]]
    if len(np.unique(np.round(scores, 9))) == 1:
        detail = f"every row scores {scores[0]:.6f}"
        doubts.append(falls("model scores", Reason.CONSTANT_SCORE, detail))
    else:
        detail = f"scores from {scores.min():.3f} to {scores.max():.3f}"
        doubts.append(stands("model scores", detail))
    return doubts


def _drawn(splits: list[Split], columns: int) -> Float32s:
    """Return rows whose values lie around the model's own thresholds."""
    random = np.random.default_rng(_SEED)
    rows = random.normal(size=(_ROWS, columns))
    for column in range(columns):
        at = np.array([s.threshold for s in splits if s.column == column and np.isfinite(s.threshold)])
        if len(at):
            spread = np.std(at) + abs(float(np.mean(at))) * 0.1 + 1e-9
            rows[:, column] = random.choice(at, _ROWS) + spread * random.normal(size=_ROWS)
    return np.clip(rows, -1e30, 1e30).astype(np.float32)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a folder unverified; raises OSError or ValueError (propagate)."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except msgspec.MsgspecError as e:
        raise ValueError(f"{MANIFEST}: {e}") from None


def _as_is(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return values
