"""Only a folder that verifies becomes a model; every way of being wrong has its own name."""

import io
import os
import shutil
import subprocess
import sys

import lightgbm
import msgspec
import numpy as np
import pytest

from actors.gate import SIGNAL_FEATURES
from actors.model_folder import (
    FILES,
    Manifest,
    ModelFault,
    ModelFolderError,
    ModelInputError,
    PlattScaling,
    encode_manifest,
    folder_state,
    load_model,
)
from research.testing import FEATURES, signal_values, small_model
from research.training import publish, sha256
from strategies.kernel.columns import FEATURE_SCHEMA

YEAR = 365 * 86_400 * 10**9


@pytest.fixture(name="folder")
def folder_fixture(tmp_path):
    publish(small_model(), tmp_path / "model")
    return tmp_path / "model"


def _fault(folder, **options):
    with pytest.raises(ModelFolderError) as caught:
        load_model(folder, schema=FEATURE_SCHEMA, **options)
    assert str(folder) in str(caught.value)
    return caught.value.fault


def _rewrite(folder, *, reseal=True, content=None, **changes):
    """Change fields of the manifest, as somebody would who knows the format (sealed) or not."""
    manifest = msgspec.json.decode((folder / "model.json").read_bytes(), type=Manifest)
    for name, data in (content or {}).items():
        (folder / name).write_bytes(data)
        changes["files"] = {**changes.get("files", manifest.files), name: sha256(data)}
    changed = msgspec.structs.replace(manifest, **changes)
    raw = encode_manifest(changed)
    if not reseal:
        raw = raw.replace(msgspec.json.decode(raw, type=Manifest).digest.encode(), manifest.digest.encode())
    (folder / "model.json").write_bytes(raw)


def test_scores_are_those_of_the_reference_model(folder):
    model = load_model(folder, schema=FEATURE_SCHEMA)
    reference = lightgbm.Booster(model_file=str(folder / "model.txt"))
    random = np.random.default_rng(5)
    assert model.features == FEATURES
    for _ in range(200):
        values = random.normal(size=len(SIGNAL_FEATURES))
        values[random.random(len(values)) < 0.1] = np.nan
        inputs = np.array([values[SIGNAL_FEATURES.index(n)] for n in FEATURES], dtype=np.float32).astype(np.float64)
        assert model.score(values) == pytest.approx(float(reference.predict([inputs])[0]), abs=1e-6)


def test_calibration_is_applied(tmp_path):
    scaling = PlattScaling(slope=0.5, intercept=-1.0)
    plain, _ = publish(small_model(), tmp_path / "plain")
    scaled, _ = publish(small_model(calibration=scaling), tmp_path / "scaled")
    values = signal_values(rsi=1.3)
    p = plain.score(values)
    assert scaled.score(values) == pytest.approx(1 / (1 + np.exp(-(0.5 * np.log(p / (1 - p)) - 1.0))))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e39])
def test_values_that_are_infinite_as_float32_are_refused(folder, bad):
    model = load_model(folder, schema=FEATURE_SCHEMA)
    with pytest.raises(ModelInputError, match="infinite: bb_pct"):
        model.score(signal_values(bb_pct=bad))
    assert 0 <= model.score(signal_values(bb_pct=np.nan)) <= 1
    assert 0 <= model.score(signal_values(btc_ret_1=np.inf)) <= 1, "a value the model does not look at"
    with pytest.raises(ModelInputError, match="26 values given, 27 expected"):
        model.score(np.zeros(26))


def test_missing_folder_and_missing_files(folder, tmp_path):
    assert _fault(tmp_path / "nowhere") is ModelFault.MISSING
    assert _fault(folder / "model.txt") is ModelFault.MISSING
    for name in ("model.json", *FILES):
        copy = tmp_path / f"without-{name}"
        shutil.copytree(folder, copy)
        (copy / name).unlink()
        assert _fault(copy) is ModelFault.MISSING


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_in_any_file_is_found(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert _fault(folder) is ModelFault.HASH_MISMATCH


@pytest.mark.parametrize(
    "change", [{"threshold": 0.01}, {"valid_until": "2100-01-01T00:00:00Z"}, {"metrics": {"x": 1}}]
)
def test_an_edited_manifest_is_found(folder, change):
    _rewrite(folder, reseal=False, **change)
    assert _fault(folder) is ModelFault.HASH_MISMATCH


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"schema": "0" * 64}, ModelFault.SCHEMA_MISMATCH),
        ({"features": [*FEATURES[:-1], "moon_phase"]}, ModelFault.FEATURE_MISMATCH),
        ({"features": [*FEATURES[:-1], FEATURES[0]]}, ModelFault.FEATURE_MISMATCH),
        ({"features": list(FEATURES[:-1])}, ModelFault.FEATURE_MISMATCH),
        ({"features": []}, ModelFault.FEATURE_MISMATCH),
        ({"format_version": 99}, ModelFault.MALFORMED),
        ({"threshold": 1.5}, ModelFault.MALFORMED),
        ({"threshold": float("nan")}, ModelFault.MALFORMED),
        ({"valid_until": "tomorrow"}, ModelFault.MALFORMED),
        ({"valid_until": "1960-01-01T00:00:00Z"}, ModelFault.MALFORMED),
        ({"calibration": PlattScaling(slope=-1.0, intercept=0.0)}, ModelFault.MALFORMED),
        ({"files": {}}, ModelFault.HASH_MISMATCH),
    ],
)
def test_a_sealed_but_wrong_manifest_is_named(folder, change, fault):
    _rewrite(folder, **change)
    assert _fault(folder) is fault


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"format_version": 1}', b'{"format_version": 1, "surprise": 2}'])
def test_a_manifest_that_is_none_is_malformed(folder, raw):
    (folder / "model.json").write_bytes(raw)
    assert _fault(folder) is ModelFault.MALFORMED


def test_a_graph_of_another_model_fails_the_self_test(folder):
    _rewrite(folder, content={"model.onnx": small_model(seed=2).files["model.onnx"]})
    assert _fault(folder) is ModelFault.SELF_TEST


def test_a_graph_that_is_no_graph_is_malformed(folder):
    _rewrite(folder, content={"model.onnx": b"not a graph"})
    assert _fault(folder) is ModelFault.MALFORMED


def _arrays(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        _arrays(rows=np.zeros((3, len(FEATURES)), dtype=np.float32)),
        _arrays(rows=np.zeros((0, len(FEATURES)), dtype=np.float32), probabilities=np.zeros(0)),
        _arrays(rows=np.zeros((3, 2), dtype=np.float32), probabilities=np.zeros(3)),
        _arrays(rows=np.zeros((3, len(FEATURES)), dtype=np.float32), probabilities=np.full(3, np.nan)),
        _arrays(rows=np.array([{"pickled": 1}], dtype=object), probabilities=np.zeros(1)),
    ],
)
def test_a_self_test_that_proves_nothing_is_refused(folder, content):
    _rewrite(folder, content={"selftest.npz": content})
    assert _fault(folder) is ModelFault.SELF_TEST


def test_expiry_is_measured_in_market_time(tmp_path):
    publish(small_model(valid_until_ns=YEAR), tmp_path / "model")
    model = load_model(tmp_path / "model", schema=FEATURE_SCHEMA, market_time_ns=YEAR - 1)
    assert model.expires_ns == YEAR
    assert _fault(tmp_path / "model", market_time_ns=YEAR) is ModelFault.EXPIRED
    assert load_model(tmp_path / "model", schema=FEATURE_SCHEMA).expires_ns == YEAR, "without a time the caller judges"


def test_a_folder_exchanged_while_it_is_read_does_not_mix(folder, monkeypatch):
    first = load_model(folder, schema=FEATURE_SCHEMA).fingerprint
    opened = os.open

    def exchange_after_the_manifest(path, flags, *rest, **options):
        handle = opened(path, flags, *rest, **options)
        if path == "model.json":
            monkeypatch.setattr(os, "open", opened)
            publish(small_model(seed=9), folder)
        return handle

    monkeypatch.setattr(os, "open", exchange_after_the_manifest)
    assert load_model(folder, schema=FEATURE_SCHEMA).fingerprint == first
    assert load_model(folder, schema=FEATURE_SCHEMA).fingerprint != first


def test_folder_state_changes_with_every_exchange(folder, tmp_path):
    before = folder_state(folder)
    assert before == folder_state(folder)
    publish(small_model(), folder)
    assert folder_state(folder) not in (before, None)
    assert folder_state(tmp_path / "nowhere") is None


def test_serving_does_not_import_lightgbm(folder):
    code = (
        "import sys, pathlib; from actors.ml_filter import MlFilter; from actors.model_folder import load_model; "
        f"load_model(pathlib.Path({str(folder)!r}), schema={FEATURE_SCHEMA!r}); "
        "print(sorted({'lightgbm', 'sklearn', 'onnx', 'onnxmltools'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "[]", run.stderr
