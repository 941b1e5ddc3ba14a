"""The model of every fold is examined by itself: a leaky, altered or exchanged one is named with its fold."""

import dataclasses
import json
import shutil

import msgspec
import numpy as np
import pytest

import research.dataset
import research.folds
import research.training
from actors.model_folder import MANIFEST, ONNX, SELF_TEST, Manifest, encode_manifest
from research.doubt.__main__ import main as doubt
from research.onnx_export import served_probabilities
from research.report.page import render
from research.report.studies import study_page
from research.testing import small_model
from research.training import publish, sha256, train
from research.walkforward.config import load_walkforward
from research.walkforward.gate import digest_of, train_config
from research.walkforward.models import examine_fold, pooled
from research.walkforward.study import Backend, make_plan, partial_folder, run
from research.walkforward.work import Prepared, Task, gate_settings, prepare
from strategies.kernel.columns import MODEL_FEATURES

NODE = """
symbols: [XRPUSDT]
strategy: {file: params.yaml, warmup_bars: 60, history_bars: 1500}
risk:
  sizing: {method: risk_fraction, risk_fraction: 0.01}
  limits: {daily_loss: null, fast_kill_losses: null, slow_kill_trades: null}
"""
STUDY = """
name: small
node: node.yaml
accounts: [[XRPUSDT]]
gates: [enforce]
folds: {train: 40d, test: 15d, embargo_bars: 16}
gate:
  symbols: [ETHUSDT]
  min_signals: 40
  threshold: {min_signals: 20, min_passed: 5}
  model: {trees: 20, min_data_in_leaf: 20, learning_rate: 0.1}
"""


@pytest.fixture(name="planned", scope="module")
def planned_fixture(tmp_path_factory, market_catalog):
    folder = tmp_path_factory.mktemp("study")
    (folder / "params.yaml").write_text("{signal_threshold: 2, adx_threshold: 15.0, volume_multiplier: 1.5}\n")
    (folder / "node.yaml").write_text(NODE)
    (folder / "study.yaml").write_text(STUDY)
    return make_plan(load_walkforward(folder / "study.yaml"), market_catalog)


@pytest.fixture(name="done", scope="module")
def done_fixture(planned, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return run(planned, out, Backend(), ["test"], lambda *_: None), partial_folder(out, planned)


@pytest.fixture(name="folder")
def folder_fixture(done, tmp_path):
    """Return a copy of the study, renamed as a finished one is."""
    shutil.copytree(done[1], tmp_path / "finished")
    return tmp_path / "finished"


def verdicts(folder, tmp_path):
    doubt([str(folder), "--reps", "100", "--json", str(tmp_path / "o.json"), "--ledger", str(tmp_path / "l.jsonl")])
    head = "XRPUSDT: fold models: "
    found = json.loads((tmp_path / "o.json").read_text())["doubts"]
    return {d["name"].removeprefix(head): d for d in found if d["name"].startswith(head)}


def home_of(folder, number):
    return folder / "XRPUSDT" / f"fold-{number:02d}"


def reseal(model, **changes):
    """Make every seal of a folder fit what lies in it, with other fields in its manifest."""
    with np.load(model / SELF_TEST) as content:
        rows = content["rows"]
    served = served_probabilities((model / ONNX).read_bytes(), rows)
    with (model / SELF_TEST).open("wb") as file:
        np.savez(file, rows=rows, probabilities=served)
    manifest = msgspec.json.decode((model / MANIFEST).read_bytes(), type=Manifest)
    files = {name: sha256((model / name).read_bytes()) for name in manifest.files}
    (model / MANIFEST).write_bytes(encode_manifest(msgspec.structs.replace(manifest, files=files, **changes)))


def rewritten(home, model):
    """Let the fold's own record say what the folder now holds."""
    kept = msgspec.json.decode((home / "prepared.json").read_bytes(), type=Prepared)
    manifest = msgspec.json.decode((model / MANIFEST).read_bytes(), type=Manifest)
    now = msgspec.structs.replace(
        kept.model,
        fingerprint=digest_of(manifest.files),
        threshold=manifest.threshold,
        features=manifest.features,
    )
    (home / "prepared.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(kept, model=now)))


def test_honest_models_stand(done, folder, tmp_path):
    found = verdicts(folder, tmp_path)
    assert {
        "model seals", "model export", "model scores", "model the fold trained", "model against test period",
        "model trained again", "rows learned from", "folds", "duplicate rows", "scaling", "content of features",
        "features against label", "features computed again", "look-ahead of training features ETHUSDT",
        "scores of the walk",
    } <= set(found)  # fmt: skip
    assert {n: d["detail"] for n, d in found.items() if d["passed"] is False} == {}
    assert found["scores of the walk"]["passed"] is True
    assert set(found["model export"]["figures"]["folds"]) == {str(f.index) for f in done[0].plan.accounts[0].folds}
    stored = json.loads((folder / "result.json").read_text())["models"]["XRPUSDT"]
    assert {d["name"]: d["reason"] for d in stored} == {f"fold models: {n}": d["reason"] for n, d in found.items()}
    page = render(study_page(done[0], [])).decode()
    assert "Doubt on the models of the folds" in page
    assert "fold models: scores of the walk" in page


def test_a_result_that_leaves_losers_out(folder, tmp_path):
    arguments = [
        str(folder),
        "--reps",
        "100",
        "--json",
        str(tmp_path / "o.json"),
        "--ledger",
        str(tmp_path / "l.jsonl"),
    ]

    def answer():
        doubt(arguments)
        found = json.loads((tmp_path / "o.json").read_text())["doubts"]
        return next(d for d in found if d["name"] == "result against its folds")

    assert answer()["passed"] is True
    plain = json.loads((folder / "result.json").read_text())
    (variant,) = plain["variants"]
    variant["trades"] = [t for t in variant["trades"] if t["net_pnl"] > 0]
    (folder / "result.json").write_text(json.dumps(plain))
    found = answer()
    assert (found["reason"], found["figures"]["differs"]) == ("not_reproduced", ["variants"])


def test_a_graph_altered_and_sealed_anew(folder, tmp_path):
    import onnx

    model = home_of(folder, 2) / "model"
    graph = onnx.load_from_string((model / ONNX).read_bytes())
    (node,) = graph.graph.node
    (weights,) = (a for a in node.attribute if a.name == "class_weights")
    weights.floats[0] += 0.05
    (model / ONNX).write_bytes(graph.SerializeToString(deterministic=True))
    reseal(model)
    rewritten(home_of(folder, 2), model)
    found = verdicts(folder, tmp_path)
    assert found["model seals"]["passed"] is True
    assert (found["model export"]["reason"], found["model export"]["figures"]["fallen"]) == ("export_differs", [2])
    assert found["model export"]["detail"].startswith("fold 2: ")


def test_a_threshold_lowered_after_the_walk(folder, tmp_path):
    model = home_of(folder, 1) / "model"
    manifest = msgspec.json.decode((model / MANIFEST).read_bytes(), type=Manifest)
    reseal(model, threshold=manifest.threshold * 0.9)
    found = verdicts(folder, tmp_path)
    for name in ("model the fold trained", "model trained again", "scores of the walk"):
        assert (found[name]["reason"], found[name]["figures"]["fallen"]) == ("not_reproduced", [1]), name


def test_another_folds_model(folder, tmp_path):
    """The later model in the earlier fold has seen its test, whatever the fold's record is made to say."""
    first, second = home_of(folder, 1), home_of(folder, 2)
    shutil.rmtree(first / "model")
    shutil.copytree(second / "model", first / "model")
    rewritten(first, first / "model")
    found = verdicts(folder, tmp_path)
    assert found["model the fold trained"]["passed"] is True, "the record was rewritten"
    assert found["model against test period"]["reason"] == "trained_on_the_future"
    for name in ("model against test period", "model trained again", "scores of the walk"):
        assert found[name]["figures"]["fallen"] == [1], name


def test_a_model_trained_on_its_test_window(planned, done, folder, market_catalog, tmp_path):
    """Trained in earnest, sealed in earnest, the period in its manifest set back: training again finds it."""
    fold, home = planned.accounts[0].folds[1], home_of(folder, 2)
    settings = gate_settings(planned.config, planned.node, ["XRPUSDT"])
    late = msgspec.structs.replace(fold, train_end=fold.test_end)
    config = train_config(settings, late, market_catalog, "15m", home / "params.yaml")
    honest = msgspec.json.decode((home / "model" / MANIFEST).read_bytes(), type=Manifest)
    shutil.rmtree(home / "model")
    publish(train(config, market_catalog, {}), home / "model")
    rewritten(home, home / "model")
    found = verdicts(folder, tmp_path)
    assert found["model against test period"]["figures"]["fallen"] == [2]
    reseal(home / "model", trained_until=honest.trained_until, training=honest.training, data=honest.data)
    found = verdicts(folder, tmp_path)
    assert found["model against test period"]["passed"] is True, "so it says"
    assert found["model trained again"]["figures"]["fallen"] == [2]


def test_a_model_that_never_was_and_one_that_is_gone(folder, tmp_path):
    shutil.rmtree(home_of(folder, 2) / "model")
    publish(small_model(), home_of(folder, 1) / "model")
    found = verdicts(folder, tmp_path)
    assert found["model seals"]["reason"] == "does_not_verify"
    assert found["model seals"]["figures"]["fallen"] == [2]
    assert 1 in found["model the fold trained"]["figures"]["fallen"]


def test_data_that_are_not_the_studys(folder, edge_catalog, tmp_path):
    code = doubt([
        str(folder), "--reps", "100", "--json", str(tmp_path / "o.json"), "--ledger", str(tmp_path / "l.jsonl"),
        "--catalog", str(edge_catalog),
    ])  # fmt: skip
    assert code in (0, 1)
    found = {d["name"]: d for d in json.loads((tmp_path / "o.json").read_text())["doubts"]}
    again = found["XRPUSDT: fold models: model trained again"]
    assert (again["passed"], "holds other data" in again["detail"]) == (None, True)
    assert found["XRPUSDT: fold models: model export"]["passed"] is True


def noisy(honest):
    def planted(*arguments, **settings):
        data = honest(*arguments, **settings)
        rows = data.rows.copy()
        rows[:, MODEL_FEATURES.index("rsi")] += 3 * data.label
        return dataclasses.replace(data, rows=rows)

    return planted


def keeping(honest):
    def planted(rows):
        used, dropped = honest(rows)
        return [*used, MODEL_FEATURES.index("oi_change")], {k: v for k, v in dropped.items() if k != "oi_change"}

    return planted


def unpurged(data, window, closes_before):
    return np.flatnonzero((data.open_time >= window[0]) & (data.open_time < window[1]))


@pytest.mark.parametrize(
    ("module", "name", "plant", "examined", "reason"),
    [
        (research.training, "symbol_dataset", noisy, "features computed again", "not_recomputed"),
        (research.folds, "useful_features", keeping, "content of features", "empty_feature"),
        (research.training, "select", lambda _: unpurged, "folds", "label_overlap"),
    ],
    ids=["label in a feature", "empty feature", "labels not purged"],
)
def test_a_leak_in_the_training_of_a_fold(
    planned, market_catalog, tmp_path, monkeypatch, module, name, plant, examined, reason
):
    """The plant sits in the code itself, so whatever trains again plants it again."""
    monkeypatch.setattr(module, name, plant(getattr(module, name)))
    fold = planned.accounts[0].folds[1]
    task = Task(
        kind="prepare",
        config=planned.config,
        node=planned.node,
        symbols=["XRPUSDT"],
        gate="",
        folds=[fold],
        folder=str(tmp_path),
    )
    prepare(task)
    found = {d.name: d for d in pooled({2: examine_fold(task, [], market_catalog)})}
    assert found["fold models: model trained again"].passed is True
    answer = found[f"fold models: {examined}"]
    assert (answer.reason, answer.figures["fallen"]) == (reason, [2]), answer.detail
