"""
A model folder: what training leaves behind, and the only way to get a usable model out of it.

    model.json     manifest: feature list and schema, hashes of the files below, threshold, validity, origin, metrics
    model.onnx     the model that is served: one tree ensemble, float32 in, probabilities out
    model.txt      the LightGBM model it was made from, with thresholds already rounded to float32 (reference)
    selftest.npz   rows and the reference model's probabilities for them
    promotion.json optional: the signed verdict of ``research.promote`` (``actors.promotion``)

Loading verifies everything and refuses the folder otherwise (**fail closed**). The folder is opened once and its files
are read relative to that handle, so an exchange of the folder during loading cannot mix two models. LightGBM is not
needed, and not imported, for serving.
"""

import errno
import hashlib
import io
import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum, unique
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime

from actors.distribution import Bins
from actors.gate import SIGNAL_FEATURES
from strategies.errors import ModelError
from strategies.yaml_config import FrozenConfig

FORMAT_VERSION = 2
MANIFEST = "model.json"
ONNX = "model.onnx"
REFERENCE = "model.txt"
SELF_TEST = "selftest.npz"
PROMOTION = "promotion.json"
FILES = (ONNX, REFERENCE, SELF_TEST)
INPUT = "features"
OUTPUT = "probabilities"

SELF_TEST_TOLERANCE = 1e-6
"""Largest accepted difference between served and reference probability (float32 rounding is about 2e-7)."""


@unique
class ModelFault(StrEnum):
    """Why a model folder was refused."""

    MISSING = "missing"
    MALFORMED = "malformed"
    HASH_MISMATCH = "hash_mismatch"
    SCHEMA_MISMATCH = "schema_mismatch"
    FEATURE_MISMATCH = "feature_mismatch"
    LEVELS_MISMATCH = "levels_mismatch"
    SELF_TEST = "self_test"
    EXPIRED = "expired"
    NOT_PROMOTED = "not_promoted"


class ModelFolderError(ModelError):
    """A model folder does not verify; `fault` says why (fail closed)."""

    def __init__(self, folder: Path, fault: ModelFault, detail: str) -> None:
        super().__init__(f"{folder}: {fault}: {detail}")
        self.fault = fault


class ModelInputError(ValueError):
    """The values to score have the wrong number or are infinite (fail closed)."""


class PlattScaling(FrozenConfig, frozen=True, tag_field="kind", tag="platt"):
    """Calibration applied after the graph: ``sigmoid(slope * logit(p) + intercept)``; `slope` is positive."""

    slope: float
    intercept: float

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities (same shape, float64)."""
        p = np.clip(np.asarray(probability, dtype=np.float64), 1e-12, 1 - 1e-12)
        return np.asarray(1 / (1 + np.exp(-(self.slope * np.log(p / (1 - p)) + self.intercept))))


class IsotonicScaling(FrozenConfig, frozen=True, tag_field="kind", tag="isotonic"):
    """Calibration applied after the graph: straight lines between corners, constant beyond the outer ones."""

    scores: list[float]
    probabilities: list[float]

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities (same shape, float64)."""
        return np.asarray(np.interp(np.asarray(probability, dtype=np.float64), self.scores, self.probabilities))


Calibration = PlattScaling | IsotonicScaling


def _usable(calibration: Calibration) -> bool:
    """Whether a calibration is finite and never turns the order of two scores around."""
    if isinstance(calibration, PlattScaling):
        return calibration.slope > 0 and math.isfinite(calibration.slope + calibration.intercept)
    x, y = np.array(calibration.scores), np.array(calibration.probabilities)
    if len(x) != len(y) or not len(x) or not np.isfinite(np.concatenate([x, y])).all():
        return False
    return bool((np.diff(x) > 0).all() and (np.diff(y) >= 0).all() and y[0] >= 0 and y[-1] <= 1)


class Manifest(FrozenConfig, frozen=True):
    """
    The content of ``model.json``. Times are ISO-8601 with Z; market time, except `created`.

    Parameters
    ----------
    format_version : int
        Layout of the folder; another one is refused.
    created : str
        Wall time of training.
    schema : str
        ``FEATURE_SCHEMA`` of the kernel the training rows came from.
    features : list[str]
        Input columns of the graph, in order.
    dropped_features : dict[str, str]
        Features left out because they carried nothing in the training rows, with the reason.
    files : dict[str, str]
        SHA-256 of every file of the folder but the manifest.
    threshold : float
        A signal passes when its (calibrated) probability is at least this.
    threshold_rule : str
        How the threshold was chosen.
    calibration : PlattScaling or IsotonicScaling, optional
        Applied to the graph's output.
    trained_from, trained_until : str
        First and last market time of data that fitting or choosing has seen; scores inside are in-sample.
    valid_until : str
        Market time from which the model is refused.
    data, strategy, training, metrics, parity, libraries : dict
        Origin and hash of the data, parameters the labels used, settings, measured quality, export check, versions.
    warnings : list[str]
        What a reader of the metrics must know.
    distribution : dict[str, Bins]
        How each feature, and the calibrated score (``score``), was spread in training; what drift is measured against.
    digest : str
        SHA-256 of the manifest with this field empty. Guards against accidents, not against an attacker.

    """

    format_version: int
    created: str
    schema: str
    features: list[str]
    dropped_features: dict[str, str]
    files: dict[str, str]
    threshold: float
    threshold_rule: str
    calibration: Calibration | None
    trained_from: str
    trained_until: str
    valid_until: str
    data: dict[str, Any]
    strategy: dict[str, Any]
    training: dict[str, Any]
    metrics: dict[str, Any]
    parity: dict[str, Any]
    libraries: dict[str, str]
    warnings: list[str]
    distribution: dict[str, Bins] = msgspec.field(default_factory=dict)
    digest: str = ""


def manifest_digest(manifest: Manifest) -> str:
    """Return the SHA-256 (hex) of `manifest` without its digest, in canonical JSON."""
    plain = msgspec.to_builtins(msgspec.structs.replace(manifest, digest=""))
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of ``model.json``, digest filled in."""
    sealed = msgspec.structs.replace(manifest, digest=manifest_digest(manifest))
    return msgspec.json.format(msgspec.json.encode(sealed), indent=2) + b"\n"


def parse_time(text: str) -> int:
    """Return UTC nanoseconds of an ISO-8601 time with Z; raises ValueError (propagate)."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1_000


def format_time(nanoseconds: int) -> str:
    """Return ISO-8601 with Z of UTC nanoseconds (whole seconds)."""
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """Return a session with one thread that never spins: default threads cost 8 ms in the tail."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    for kind in ("intra", "inter"):
        options.add_session_config_entry(f"session.{kind}_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def run_session(session: onnxruntime.InferenceSession, rows: np.ndarray) -> np.ndarray:
    """Return the probability of class 1 (float64, shape (n,)) for float32 `rows` of shape (n, features)."""
    return np.asarray(session.run([OUTPUT], {INPUT: rows})[0][:, 1], dtype=np.float64)


class LoadedModel:
    """
    A verified model, ready to score.

    Attributes
    ----------
    manifest : Manifest
        The verified manifest.
    fingerprint : str
        SHA-256 of ``model.json``; identifies the folder's content.
    threshold : float
        Signals score at least this to pass.
    features : tuple[str, ...]
        Input columns, in order.
    expires_ns : int
        Market time, UTC ns, from which the model may no longer be used.
    trained_until_ns : int
        Market time, UTC ns, up to which the model has seen the data.
    promotion : bytes or None
        Content of ``promotion.json`` as found beside the model, not verified here.

    """

    def __init__(
        self,
        manifest: Manifest,
        fingerprint: str,
        session: onnxruntime.InferenceSession,
        promotion: bytes | None = None,
    ) -> None:
        self.manifest = manifest
        self.fingerprint = fingerprint
        self.promotion = promotion
        self.threshold = manifest.threshold
        self.features = tuple(manifest.features)
        self.expires_ns = parse_time(manifest.valid_until)
        self.trained_until_ns = parse_time(manifest.trained_until)
        self._session = session
        self._pick = np.array([SIGNAL_FEATURES.index(name) for name in self.features])
        self._input = np.empty((1, len(self.features)), dtype=np.float32)

    def score(self, values: np.ndarray) -> float:
        """
        Return the probability that the signal reaches its target first.

        Parameters
        ----------
        values : np.ndarray
            Float64 values in the order of ``SIGNAL_FEATURES`` (what a Signal carries); NaN means unknown.

        Raises
        ------
        ModelInputError
            Fail closed: wrong number of values, or one that is infinite as float32.

        """
        if values.shape != (len(SIGNAL_FEATURES),):
            raise ModelInputError(f"{values.size} values given, {len(SIGNAL_FEATURES)} expected")
        with np.errstate(over="ignore"):
            self._input[0] = values[self._pick]
        if np.isinf(self._input).any():
            names = [n for n, bad in zip(self.features, np.isinf(self._input[0]), strict=True) if bad]
            raise ModelInputError(f"infinite: {', '.join(names)}")
        return float(self.probabilities(self._input)[0])

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities (float64, (n,)) for float32 `rows` (n, features), ordered as `features`."""
        raw = run_session(self._session, rows)
        calibration = self.manifest.calibration
        return raw if calibration is None else calibration(raw)


def load_model(folder: Path, *, schema: str, market_time_ns: int | None = None) -> LoadedModel:
    """
    Verify a model folder and return its model.

    Parameters
    ----------
    folder : Path
        Directory written by ``python -m research.train``.
    schema : str
        The kernel's ``FEATURE_SCHEMA``.
    market_time_ns : int, optional
        Market time, UTC ns, at which the model is to be used; None leaves the expiry to the caller.

    Raises
    ------
    ModelFolderError
        Fail closed: the folder is missing, incomplete, tampered with, made for other features, expired, or its graph
        does not reproduce the reference model. `fault` says which.

    """
    content = _read_folder(folder)
    manifest = _decode_manifest(folder, content[MANIFEST])
    for name in FILES:
        if hashlib.sha256(content[name]).hexdigest() != manifest.files.get(name):
            raise ModelFolderError(folder, ModelFault.HASH_MISMATCH, f"{name} is not the file that was trained")
    if manifest.schema != schema:
        detail = f"trained on feature schema {manifest.schema[:12]}, the kernel has {schema[:12]}: train again"
        raise ModelFolderError(folder, ModelFault.SCHEMA_MISMATCH, detail)
    unknown = [name for name in manifest.features if name not in SIGNAL_FEATURES]
    if unknown or not manifest.features or len(set(manifest.features)) != len(manifest.features):
        raise ModelFolderError(
            folder, ModelFault.FEATURE_MISMATCH, f"feature list not usable: {unknown or 'empty or doubled'}"
        )
    session = _open_graph(folder, content[ONNX], manifest.features)
    model = LoadedModel(manifest, hashlib.sha256(content[MANIFEST]).hexdigest(), session, content.get(PROMOTION))
    _self_test(folder, content[SELF_TEST], model, session)
    if market_time_ns is not None and market_time_ns >= model.expires_ns:
        raise ModelFolderError(
            folder, ModelFault.EXPIRED, f"valid until {manifest.valid_until} market time: train again"
        )
    return model


def folder_state(folder: Path) -> tuple[int, ...] | None:
    """
    Return what changes when the folder is replaced; None while there is none.

    Identity and time of the manifest and of the promotion: one that is taken away or rewritten is noticed.
    """
    try:
        found = os.stat(os.path.join(folder, MANIFEST))  # noqa: PTH116, PTH118 - asked at every signal; pathlib costs twice
    except OSError:
        return None
    state = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
    try:
        promoted = os.stat(os.path.join(folder, PROMOTION))  # noqa: PTH116, PTH118 - as above
    except OSError:
        return state
    return (*state, promoted.st_ino, promoted.st_mtime_ns, promoted.st_size)


def _read_folder(folder: Path) -> dict[str, bytes]:
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as e:
        raise ModelFolderError(folder, ModelFault.MISSING, f"{e.strerror}: run `python -m research.train`") from None
    content = {}
    try:
        for name in (MANIFEST, *FILES, PROMOTION):
            try:
                with open(os.open(name, os.O_RDONLY, dir_fd=handle), "rb") as file:  # noqa: PTH123 - a descriptor
                    content[name] = file.read()
            except OSError as e:
                if name == PROMOTION and e.errno == errno.ENOENT:
                    continue
                raise ModelFolderError(folder, ModelFault.MISSING, f"{name}: {e.strerror}") from None
    finally:
        os.close(handle)
    return content


def _decode_manifest(folder: Path, raw: bytes) -> Manifest:
    try:
        head = msgspec.json.decode(raw)
        version = head.get("format_version") if isinstance(head, dict) else None
        if version != FORMAT_VERSION:
            raise ModelFolderError(folder, ModelFault.MALFORMED, f"format version {version}, {FORMAT_VERSION} expected")
        manifest = msgspec.json.decode(raw, type=Manifest)
        times = [parse_time(t) for t in (manifest.trained_from, manifest.trained_until, manifest.valid_until)]
    except (ValueError, msgspec.MsgspecError) as e:
        raise ModelFolderError(folder, ModelFault.MALFORMED, f"{MANIFEST}: {e}") from None
    if manifest_digest(manifest) != manifest.digest:
        raise ModelFolderError(folder, ModelFault.HASH_MISMATCH, f"{MANIFEST} was changed after training")
    if times != sorted(times):
        raise ModelFolderError(
            folder, ModelFault.MALFORMED, f"{MANIFEST}: trained_from, trained_until, valid_until not in order"
        )
    if not 0 <= manifest.threshold <= 1:
        raise ModelFolderError(
            folder, ModelFault.MALFORMED, f"{MANIFEST}: threshold {manifest.threshold} is no probability"
        )
    if manifest.calibration is not None and not _usable(manifest.calibration):
        raise ModelFolderError(folder, ModelFault.MALFORMED, f"{MANIFEST}: calibration must be finite and increasing")
    return manifest


def _open_graph(folder: Path, graph: bytes, features: Sequence[str]) -> onnxruntime.InferenceSession:
    try:
        session = open_session(graph)
        inputs, outputs = session.get_inputs(), session.get_outputs()
    except Exception as e:  # noqa: BLE001 - onnxruntime raises a family of unrelated classes
        raise ModelFolderError(folder, ModelFault.MALFORMED, f"{ONNX}: {e}") from None
    shape = [(i.name, i.type, i.shape[-1]) for i in inputs]
    if shape != [(INPUT, "tensor(float)", len(features))] or [o.name for o in outputs] != [OUTPUT]:
        raise ModelFolderError(
            folder, ModelFault.FEATURE_MISMATCH, f"{ONNX} takes {shape}, the manifest has {len(features)} features"
        )
    return session


def _self_test(folder: Path, raw: bytes, model: LoadedModel, session: onnxruntime.InferenceSession) -> None:
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            rows, expected = arrays["rows"], arrays["probabilities"]
        served = run_session(session, rows)
    except Exception as e:  # noqa: BLE001 - a damaged archive fails in many ways, all of them mean: do not use it
        raise ModelFolderError(folder, ModelFault.SELF_TEST, f"{SELF_TEST}: {e}") from None
    if rows.shape != (len(expected), len(model.features)) or not len(rows):
        raise ModelFolderError(folder, ModelFault.SELF_TEST, f"{SELF_TEST}: shape {rows.shape} does not fit")
    worst = float(np.max(np.abs(served - expected)))
    if not worst <= SELF_TEST_TOLERANCE:
        raise ModelFolderError(
            folder, ModelFault.SELF_TEST, f"graph and reference model differ by {worst:.2g} in probability"
        )
