"""Small real models for tests and benchmarks: trained, exported and sealed by the code that makes the large ones."""

import io
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import msgspec
import numpy as np

from actors.gate import SIGNAL_FEATURES
from actors.model_folder import (
    FORMAT_VERSION,
    ONNX,
    PROMOTION,
    REFERENCE,
    SELF_TEST,
    Manifest,
    PlattScaling,
    encode_manifest,
    format_time,
    manifest_digest,
)
from actors.promotion import PROMOTION_FORMAT, Promotion, encode, sign
from research.onnx_export import reference_probabilities, to_onnx
from research.train_config import BoosterConfig
from research.training import TrainedModel, fit_booster, load_booster, sha256
from strategies.kernel.columns import FEATURE_SCHEMA

FEATURES = ("rsi", "macd_hist_pct", "bb_pct", "stoch_k", "signal_strength", "adx_z")
"""Columns the small model looks at."""


def small_model(
    *,
    seed: int = 1,
    trained_until_ns: int = 0,
    valid_until_ns: int = 4_000_000_000 * 1_000_000_000,
    booster: BoosterConfig | None = None,
    calibration: PlattScaling | None = None,
    **changes: Any,
) -> TrainedModel:
    """
    Return a model that likes a high first feature, trained on seeded noise.

    Parameters
    ----------
    seed : int
        Seed of rows and training; other seeds give other files.
    trained_until_ns, valid_until_ns : int
        Market times of the manifest, UTC ns.
    booster : BoosterConfig, optional
        LightGBM settings.
    calibration : PlattScaling, optional
        Stored in the manifest.
    **changes
        Other fields of the manifest to replace, for making wrong ones.

    """
    random = np.random.default_rng(seed)
    rows = random.normal(size=(600, len(FEATURES))).astype(np.float32)
    rows[random.random(rows.shape) < 0.05] = np.nan
    label = (np.nan_to_num(rows[:, 0]) + random.normal(size=len(rows)) > 0).astype(np.int64)
    settings = booster or BoosterConfig(trees=20, learning_rate=0.2, min_data_in_leaf=20, seed=seed)
    text = fit_booster(rows, label, list(FEATURES), settings)
    reference = load_booster(text)
    buffer = io.BytesIO()
    np.savez(buffer, rows=rows[:64], probabilities=reference_probabilities(reference, rows[:64]))
    files = {ONNX: to_onnx(reference, len(FEATURES)), REFERENCE: text.encode(), SELF_TEST: buffer.getvalue()}
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        created=datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        schema=FEATURE_SCHEMA,
        features=list(FEATURES),
        dropped_features={},
        files={name: sha256(content) for name, content in files.items()},
        threshold=0.5,
        threshold_rule="fixed",
        calibration=calibration,
        trained_from=format_time(0),
        trained_until=format_time(trained_until_ns),
        valid_until=format_time(valid_until_ns),
        data={"source": {"description": "seeded noise", "synthetic": True}},
        strategy={"XRPUSDT": {"stop_atr": 1.5, "target_atr": 4.0}},
        training={},
        metrics={},
        parity={},
        libraries={"lightgbm": metadata.version("lightgbm")},
        warnings=["trained on noise, for tests"],
    )
    manifest = msgspec.structs.replace(manifest, **changes)
    return TrainedModel(msgspec.structs.replace(manifest, digest=manifest_digest(manifest)), files)


def signal_values(**values: float) -> np.ndarray:
    """Return the values of a Signal (float64, order of ``SIGNAL_FEATURES``), 0 but for those named."""
    row = np.zeros(len(SIGNAL_FEATURES))
    for name, value in values.items():
        row[SIGNAL_FEATURES.index(name)] = value
    return row


PRIVATE_KEY = bytes(range(32))
"""A private key everybody knows: for tests."""


def promoted(model: TrainedModel, *, private_key: bytes = PRIVATE_KEY, **changes: Any) -> tuple[TrainedModel, str]:
    """
    Return `model` with a promotion that is signed but says nothing, and the public key that signed it.

    `changes` replace fields of the promotion before it is signed.
    """
    raw = encode_manifest(model.manifest)
    promotion = Promotion(
        format_version=PROMOTION_FORMAT,
        passed=True,
        findings=[],
        model=sha256(raw),
        data_hash="",
        config_hash="",
        code_hash="",
        ledger="",
        synthetic=False,
        created="2025-01-01T00:00:00Z",
    )
    signed = sign(msgspec.structs.replace(promotion, **changes), private_key)
    return TrainedModel(model.manifest, model.files | {PROMOTION: encode(signed)}), signed.key
