"""Importance finds the planted feature; a group that carries it is missed when gone."""

import json
from pathlib import Path

import msgspec
import pytest

import trials
from research.importance import GROUPS, ablation, main, permutation_importance, shap_importance
from research.promotion.evidence import StudyConfig, run_study
from research.train_config import windows_of
from research.training import build_dataset
from strategies.kernel.columns import MODEL_FEATURES
from strategies.params_file import load_params_file

STUDY = StudyConfig(folds=2, seeds=2)


@pytest.fixture(name="setting", scope="module")
def setting_fixture(edge_catalog, train_config):
    windows = windows_of(train_config)
    data = build_dataset(train_config, load_params_file(Path(train_config.strategy)), edge_catalog, windows)
    return data, (windows.train[0], windows.report[1]), msgspec.structs.replace(train_config.fit, min_signals=50)


def test_the_planted_feature_is_found_on_unseen_rows(setting):
    data, window, fit = setting
    results = run_study(data, window, fit, STUDY)
    assert len(results) == 4
    for found in (shap_importance(data, results, 1), permutation_importance(data, results, 1)):
        assert found[0].name == "funding_rate", "it says where prices go"
        assert found[0].low > 0
    assert permutation_importance(data, results, 1) == permutation_importance(data, results, 1)


def test_without_the_group_that_carries_it_the_model_is_worse(setting):
    data, window, fit = setting
    found = {w.name: w for w in ablation(data, window, fit, STUDY, 1)}
    assert found["open interest and funding"].low > 0
    assert found["open interest and funding"].value > found["volatility and volume"].value


def test_every_feature_belongs_to_one_group():
    names = [name for group in GROUPS.values() for name in group]
    assert sorted(names) == sorted(MODEL_FEATURES)


def test_the_command_records_what_it_tried(edge_catalog, train_config, tmp_path, capsys):
    plain = {k: v for k, v in msgspec.to_builtins(train_config).items() if v is not None}
    (tmp_path / "train.yaml").write_text(json.dumps(plain | {"min_signals": 50}))
    options = ["--config", str(tmp_path / "train.yaml"), "--catalog", str(edge_catalog), "--folds", "2", "--seeds", "1"]
    assert main([*options, "--ledger", str(tmp_path / "trials.jsonl")]) == 0
    assert "funding_rate" in (printed := capsys.readouterr().out)
    (entry,) = trials.read(tmp_path / "trials.jsonl")
    assert (entry.kind, entry.trials, entry.symbols) == ("study", 1, train_config.symbols)
    assert entry.digest[:12] in printed
