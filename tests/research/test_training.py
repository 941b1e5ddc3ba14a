"""A whole training over a real catalog: what lands in the folder, that it repeats, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml

import trials
from actors.model_folder import load_model, parse_time
from catalog.reader import data_hash
from research import training
from research.testing import small_model
from research.train import summary
from research.train_config import BoosterConfig, TrainConfig, load_train_config, windows_of
from research.training import build_dataset, publish, split, train
from strategies.errors import ConfigError, DataError, ModelError
from strategies.kernel.columns import FEATURE_SCHEMA, MODEL_FEATURES
from strategies.params_file import load_params_file

REAL = {"description": "seeded random walk", "synthetic": False}
ROOT = Path(training.__file__).resolve().parent.parent


@pytest.fixture(name="trained", scope="module")
def trained_fixture(market_catalog, train_config):
    return train(train_config, market_catalog, REAL)


def test_two_trainings_are_byte_identical(trained, market_catalog, train_config):
    again = train(train_config, market_catalog, REAL)
    assert again.files == trained.files
    plain = [msgspec.structs.replace(m.manifest, created="", digest="") for m in (again, trained)]
    assert msgspec.json.encode(plain[0]) == msgspec.json.encode(plain[1])
    other = train(msgspec.structs.replace(train_config, model=BoosterConfig(seed=8, trees=40)), market_catalog, REAL)
    assert other.files["model.txt"] != trained.files["model.txt"]


def test_manifest_tells_what_the_model_is(trained, market_catalog, train_config):
    m = trained.manifest
    assert m.schema == FEATURE_SCHEMA
    assert set(m.features) | set(m.dropped_features) == set(MODEL_FEATURES)
    assert {"oi_change", "oi_change_ma5", "oi_price_spread"} <= set(m.dropped_features)
    assert "macd_hist" not in m.features
    assert m.parity["rows"] >= 10_000
    assert m.parity["flips"] == 0
    assert m.parity["max_abs_diff"] <= 1e-6
    symbols, (start, end) = m.data["symbols"], (parse_time(m.data["start"]), parse_time(m.data["end"]))
    assert m.data["sha256"] == data_hash(market_catalog, symbols, "15m", start, end)
    windows = windows_of(train_config)
    assert parse_time(m.trained_until) >= windows.threshold[1]
    assert parse_time(m.trained_until) <= windows.report[0]
    assert parse_time(m.valid_until) - parse_time(m.trained_until) == train_config.validity_days * 86_400 * 10**9
    assert m.data["purged"]["train"] > 0
    assert m.strategy["XRPUSDT"]["target_atr"] == 3.0
    assert 0 < m.threshold < 1


def test_metrics_are_those_of_the_served_graph_on_signal_rows_only(trained, market_catalog, train_config, tmp_path):
    model, _ = publish(trained, tmp_path / "model")
    windows = windows_of(train_config)
    data = build_dataset(train_config, load_params_file(Path(train_config.strategy)), market_catalog, windows)
    rows = split(data, windows).report
    columns = [MODEL_FEATURES.index(name) for name in model.features]
    scores = model.probabilities(np.ascontiguousarray(data.rows[rows][:, columns]))
    figures = trained.manifest.metrics["report"]["all"]
    assert figures["signals"] == len(rows)
    assert figures["good"] == int(data.label[rows].sum())
    assert figures["passed"] == int((scores >= model.threshold).sum())
    assert figures["net_r_passed"] == pytest.approx(data.net_r[rows][scores >= model.threshold].mean())
    assert trained.manifest.metrics["report"]["traded"]["signals"] == int(data.traded[rows].sum())


def test_threshold_does_not_depend_on_the_report_window(trained, market_catalog, train_config):
    cut = msgspec.structs.replace(train_config, report_end="2025-05-28T00:00:00Z")
    other = train(cut, market_catalog, REAL)
    assert other.files["model.txt"] == trained.files["model.txt"]
    assert other.manifest.metrics["threshold_choice"] == trained.manifest.metrics["threshold_choice"]


def test_noise_is_called_noise_and_synthetic_data_synthetic(trained, market_catalog, train_config):
    # A random walk has nothing to learn: the report must not claim otherwise.
    text = "\n".join(trained.manifest.warnings)
    assert "auc is not distinguishable from 0.5" in text
    assert "SYNTHETIC" not in text
    assert "SYNTHETIC" in train(train_config, market_catalog, {"synthetic": True}).manifest.warnings[0]
    assert "SYNTHETIC" in train(train_config, market_catalog, {}).manifest.warnings[0], (
        "unknown origin: assume the worst"
    )
    shown = summary(trained.manifest)
    assert "in-sample" in shown
    assert all(warning in shown for warning in trained.manifest.warnings)


def test_calibration_is_stored_beside_the_graph_and_applied(market_catalog, train_config, trained, tmp_path):
    calibrated = train(msgspec.structs.replace(train_config, calibration="platt"), market_catalog, REAL)
    assert calibrated.files == trained.files
    assert calibrated.manifest.calibration is not None
    model, _ = publish(calibrated, tmp_path / "model")
    plain, _ = publish(trained, tmp_path / "plain")
    rows = np.random.default_rng(1).normal(size=(50, len(model.features))).astype(np.float32)
    assert np.array_equal(model.probabilities(rows), calibrated.manifest.calibration(plain.probabilities(rows)))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"min_signals": 100_000}, DataError, "training window: .* at least 100000"),
        ({"train_end": "2025-05-20T00:00:00Z"}, ConfigError, "threshold_start: must not lie before train_end"),
        ({"report_end": "2025-05-25T00:00:00Z"}, ConfigError, "report_end: .* no window may be empty"),
        ({"train_start": "2025-04-01"}, ConfigError, "train_start: '2025-04-01' is not a time"),
        ({"interval": "1h"}, DataError, "no 1h bars"),
        ({"symbols": ["DOGEUSDT"]}, DataError, "DOGEUSDT"),
        ({"model": BoosterConfig(min_data_in_leaf=5000)}, ModelError, "nothing to split on"),
    ],
)
def test_what_cannot_be_trained_is_refused(market_catalog, train_config, change, error, message):
    with pytest.raises(error, match=message):
        train(msgspec.structs.replace(train_config, **change), market_catalog, REAL)


def test_a_wrong_export_writes_no_folder(market_catalog, train_config, monkeypatch, tmp_path):
    convert = training.to_onnx

    def wrong(booster, columns):
        # The defect of a converter that forgets the last tree.
        text = booster.model_to_string(num_iteration=booster.num_trees() - 1)
        return convert(training.load_booster(text), columns)

    monkeypatch.setattr(training, "to_onnx", wrong)
    with pytest.raises(ModelError, match="parity"):
        publish(train(train_config, market_catalog, REAL), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_verify_never_replaces_one_that_does(tmp_path):
    out = tmp_path / "model"
    good, _ = publish(small_model(seed=1), out)
    bad = small_model(seed=2)
    bad.files["selftest.npz"] = small_model(seed=3).files["selftest.npz"]
    with pytest.raises(ModelError, match="hash_mismatch"):
        publish(bad, out)
    assert load_model(out, schema=FEATURE_SCHEMA).fingerprint == good.fingerprint
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    newer, previous = publish(small_model(seed=4), out)
    assert load_model(out, schema=FEATURE_SCHEMA).fingerprint == newer.fingerprint
    assert load_model(previous, schema=FEATURE_SCHEMA).fingerprint == good.fingerprint


def _run(*arguments):
    command = [sys.executable, "-m", "research.train", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_command_trains_and_says_what_it_did(market_catalog, train_config, tmp_path):
    config = tmp_path / "train.yaml"
    plain = msgspec.to_builtins(train_config)
    (tmp_path / "composite.yaml").write_text(Path(train_config.strategy).read_text())
    config.write_text(yaml.safe_dump(plain | {"strategy": "composite.yaml"}))
    out = tmp_path / "models" / "composite"
    command = ["--config", str(config), "--out", str(out)]
    run = _run(*command, "--catalog", str(market_catalog))
    assert run.returncode == 0, run.stderr
    assert f"written    {out}" in run.stdout
    manifest = load_model(out, schema=FEATURE_SCHEMA).manifest
    assert json.loads((out / "model.json").read_text())["digest"] == manifest.digest
    entry = trials.read()[-1]
    assert (entry.kind, entry.trials, entry.data_hash) == ("train", 1, manifest.data["sha256"])
    assert f"ledger line {entry.digest[:12]}" in run.stdout
    config.write_text(yaml.safe_dump(plain | {"validity_dais": 3}))
    run = _run(*command)
    assert run.returncode == 2
    assert "validity_dais: unknown key (did you mean `validity_days`?)" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_help():
    run = _run("--help")
    assert run.returncode == 0
    assert "--catalog" in run.stdout


def test_shipped_configuration_reads():
    config = load_train_config(ROOT / "config" / "train.yaml")
    assert isinstance(config, TrainConfig)
    assert load_params_file(Path(config.strategy)).params.stop_atr > 0
