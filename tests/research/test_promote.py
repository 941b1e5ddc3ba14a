"""The whole way from training to a signed folder, and every condition that can stop it, by name."""

import io
import stat

import lightgbm
import msgspec
import numpy as np
import pytest

from actors.model_folder import load_model
from actors.promotion import Promotion, require_promotion
from research.onnx_export import to_onnx
from research.promote import main, new_key
from research.promotion.conditions import Condition, Hurdles
from research.promotion.evidence import effect
from research.promotion.examination import Request, examine
from research.training import publish, sha256, train
from strategies.errors import DataError
from strategies.kernel.columns import FEATURE_SCHEMA
from trials import read

HURDLES = """\
study: {folds: 3, seeds: 2}
min_signals: 30
"""


@pytest.fixture(name="config", scope="module")
def config_fixture(train_config):
    return msgspec.structs.replace(
        train_config,
        report_end="2025-06-01T00:00:00Z",
        holdout_start="2025-06-01T00:00:00Z",
        holdout_end="2025-06-09T00:00:00Z",
    )


@pytest.fixture(name="edge", scope="module")
def edge_fixture(config, edge_catalog):
    return train(config, edge_catalog, {"description": "planted edge", "synthetic": False})


@pytest.fixture(name="place")
def place_fixture(tmp_path, monkeypatch, edge):
    """Return a function that publishes a model as candidate; ledger, key and hurdles lie beside it."""
    monkeypatch.setenv("ARGONAUT_TRIALS", str(tmp_path / "trials.jsonl"))
    new_key(tmp_path / "key")
    monkeypatch.setenv("ARGONAUT_PROMOTION_KEY", (tmp_path / "key").read_text())
    (tmp_path / "hurdles.yaml").write_text(HURDLES)

    def publish_candidate(model=edge):
        publish(model, tmp_path / "candidate")
        return tmp_path

    return publish_candidate


def _promote(place, catalog, *options):
    return main(
        [
            str(place / "candidate"), "--to", str(place / "live"), "--catalog", str(catalog),
            "--hurdles", str(place / "hurdles.yaml"), *options,
        ]
    )  # fmt: skip


def _failed(place):
    verdict = msgspec.json.decode((place / "candidate" / "promotion.json").read_bytes(), type=Promotion)
    assert not verdict.passed
    return {f.name for f in verdict.findings if not f.passed}


def test_a_model_that_finds_a_planted_edge_is_promoted_once_on_its_holdout(place, edge_catalog, capsys):
    folder = place()
    # The catalog of a test has no recorded origin, so training again says so; the model says "not synthetic".
    assert _promote(folder, edge_catalog, "--allow-synthetic") == 0, capsys.readouterr().out
    out = capsys.readouterr().out
    assert "every condition holds" in out
    model = load_model(folder / "live", schema=FEATURE_SCHEMA)
    verdict = msgspec.json.decode(model.promotion, type=Promotion)
    assert require_promotion(folder / "live", model, verdict.key) == verdict
    figures = {f.name: f.figures for f in verdict.findings}
    assert figures[Condition.HOLDOUT_EFFECT]["gain_95"][0] > 0
    assert figures[Condition.HOLDOUT_EFFECT]["lift_95"][0] > 0
    assert figures[Condition.PARITY]["real_rows"] >= 10_000
    assert len(figures[Condition.STABLE_SEEDS]["parts"]) == 2
    entry, examined = read()
    assert (examined.kind, examined.trials, examined.best["passed"]) == ("examination", 0, True)
    assert entry.digest == verdict.ledger
    assert entry.best["holdout"]["model"] == model.fingerprint

    with pytest.raises(DataError, match="looked at 1 time"):
        _promote(folder, edge_catalog, "--allow-synthetic")
    assert _promote(folder, edge_catalog, "--allow-synthetic", "--again") == 0
    assert "look 2 at this window" in capsys.readouterr().out
    assert sum("holdout" in e.best for e in read()) == 2


def test_noise_is_not_promoted_and_its_holdout_stays_unseen(place, config, market_catalog, capsys):
    folder = place(train(config, market_catalog, {"description": "noise", "synthetic": True}))
    assert _promote(folder, market_catalog) == 1
    failed = _failed(folder)
    assert {Condition.ORIGIN, Condition.FOLD_EFFECT} <= failed
    assert "not looked at" in capsys.readouterr().out
    assert [(e.kind, e.best["passed"]) for e in read()] == [("examination", False)]
    assert not (folder / "live").exists()


def test_a_graph_altered_and_sealed_anew_is_caught_by_parity_and_by_training_again(place, edge, edge_catalog):
    text = edge.files["model.txt"].decode()
    wrong = lightgbm.Booster(model_str=text)
    wrong.set_leaf_output(0, 0, wrong.get_leaf_output(0, 0) + 0.3)
    graph = to_onnx(wrong, len(edge.manifest.features))
    random = np.random.default_rng(1)
    rows = random.normal(size=(64, len(edge.manifest.features))).astype(np.float32)
    test = io.BytesIO()
    np.savez(test, rows=rows, probabilities=wrong.predict(rows, num_threads=1))
    files = edge.files | {"model.onnx": graph, "selftest.npz": test.getvalue()}
    manifest = msgspec.structs.replace(edge.manifest, files={n: sha256(c) for n, c in files.items()})
    folder = place(type(edge)(manifest, files))  # it verifies: whoever did this knew the format
    assert _promote(folder, edge_catalog, "--allow-synthetic") == 1
    assert _failed(folder) == {Condition.PARITY, Condition.REPRODUCED}


@pytest.mark.parametrize(
    ("change", "condition"),
    [
        ({"threshold": 0.001}, Condition.REPRODUCED),
        ({"valid_until": "2030-01-01T00:00:00Z"}, Condition.REPRODUCED),
        ({"valid_until": "2025-06-05T00:00:00Z"}, Condition.NOT_EXPIRED),
        ({"data": {"sha256": "0" * 64}}, Condition.DATA),
    ],
)
def test_a_manifest_that_says_something_else_than_the_training_is_caught(place, edge, edge_catalog, change, condition):
    manifest = edge.manifest
    if "data" in change:
        change = {"data": manifest.data | change["data"]}
    changed = msgspec.structs.replace(manifest, **change)
    folder = place(type(edge)(changed, edge.files))
    hurdles = msgspec.json.decode(b'{"study": {"folds": 2, "seeds": 1}, "min_signals": 30}', type=Hurdles)
    verdict = examine(Request(folder / "candidate", edge_catalog, hurdles, allow_synthetic=True))
    assert condition in {f.name for f in verdict.findings if not f.passed}
    assert not verdict.passed


def test_without_a_holdout_or_with_too_few_signals_nothing_is_promoted(place, config, edge_catalog):
    bare = msgspec.structs.replace(config, holdout_start="", holdout_end="")
    folder = place(train(bare, edge_catalog, {}))
    (folder / "hurdles.yaml").write_text("study: {folds: 3, seeds: 1}\nmin_signals: 5000\n")
    assert _promote(folder, edge_catalog, "--allow-synthetic") == 1
    assert {Condition.HOLDOUT_DECLARED, Condition.FOLD_SIGNALS} <= _failed(folder)


def test_a_broken_folder_is_a_verdict_and_a_missing_key_a_mistake(place, edge_catalog, monkeypatch, tmp_path):
    folder = place()
    (folder / "candidate" / "model.txt").write_bytes(b"")
    assert _promote(folder, edge_catalog) == 1
    assert _failed(folder) == {Condition.FOLDER}
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    for value in ("", "abc"):
        monkeypatch.setenv("ARGONAUT_PROMOTION_KEY", value)
        with pytest.raises(Exception, match="ARGONAUT_PROMOTION_KEY"):
            _promote(folder, edge_catalog)


def test_effect_is_paired_blocked_signals_count_zero():
    net_r = np.array([1.0, -1.0, -1.0, 2.0] * 50)
    days = np.repeat(np.arange(50), 4) * 86_400 * 10**9
    found = effect(net_r, np.array([1.0, 0.0, 0.0, 1.0] * 50), days, 3)
    assert found.gain == pytest.approx(0.5)
    assert found.lift == pytest.approx(1.5 - 0.25)
    assert found.positive
    nothing = effect(net_r, np.ones(200), days, 3)
    assert (nothing.gain, nothing.lift) == (0.0, 0.0)
    assert not nothing.positive
    # Blocking half of what loses, blindly: a gain, but no choice.
    random = np.random.default_rng(5)
    blind = effect(np.full(200, -1.0), (random.random(200) < 0.5).astype(float), days, 3)
    assert blind.gain > 0
    assert not blind.positive
