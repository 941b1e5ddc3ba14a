"""The search: the same twice, continued where it stopped, blind to what lies outside the training window."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml

from research.train_config import BoosterConfig, windows_of
from research.training import build_dataset
from research.tune import main
from research.tuning import SpaceConfig, TuneConfig, suggest, tune
from strategies.errors import ConfigError
from strategies.params_file import load_params_file
from trials import read

SEARCH = TuneConfig(trials=6, folds=2, max_trees=60, patience=10, warmup_trials=3)


@pytest.fixture(name="data", scope="module")
def data_fixture(edge_catalog, train_config):
    params = load_params_file(Path(train_config.strategy))
    return build_dataset(train_config, params, edge_catalog, windows_of(train_config))


@pytest.fixture(name="fit", scope="module")
def fit_fixture(train_config):
    return msgspec.structs.replace(
        train_config.fit, min_signals=50, threshold=msgspec.structs.replace(train_config.threshold, min_signals=10)
    )


def test_the_same_seed_finds_the_same_and_never_looks_outside_its_window(data, fit, train_config):
    window = windows_of(train_config).train
    one = tune(data, window, fit, SEARCH)
    assert one.trials == 6
    assert one.value >= one.baseline
    assert len(one.folds) == 2
    outside = (data.open_time >= window[1]) | (data.label_end > window[1])
    spoiled = replace(
        data, net_r=np.where(outside, 99.0, data.net_r), label=np.where(outside, 1 - data.label, data.label)
    )
    assert tune(spoiled, window, fit, SEARCH) == one
    assert one.model.num_leaves <= 2**one.model.max_depth


def test_a_study_goes_on_where_it_stopped(data, fit, train_config, tmp_path):
    window, storage = windows_of(train_config).train, f"sqlite:///{tmp_path}/study.sqlite"
    short = msgspec.structs.replace(SEARCH, trials=2)
    assert tune(data, window, fit, short, storage=storage).trials == 2
    told = []
    found = tune(data, window, fit, SEARCH, storage=storage, progress=lambda n, _: told.append(n))
    assert found.trials == 6
    assert told == [3, 4, 5, 6]
    assert tune(data, window, fit, SEARCH, storage=storage).value == found.value


def test_log_loss_is_minimised(data, fit, train_config):
    found = tune(data, windows_of(train_config).train, fit, msgspec.structs.replace(SEARCH, objective="log_loss"))
    assert 0 < found.value <= found.baseline


def test_nothing_to_fit_says_why(data, fit, train_config):
    with pytest.raises(ConfigError, match="no trial could be finished: fold 1"):
        tune(data, windows_of(train_config).train, msgspec.structs.replace(fit, min_signals=10_000), SEARCH)


def test_the_space_holds_no_tree_that_cannot_be():
    class Lowest:
        def suggest_int(self, name, low, high):  # noqa: ARG002 - optuna's signature
            return {"max_depth": 2, "num_leaves": 31}.get(name, low)

        def suggest_float(self, name, low, high, log=False):  # noqa: ARG002 - as above
            assert log == (name in ("learning_rate", "lambda_l1", "lambda_l2"))
            return low

    assert suggest(Lowest(), SpaceConfig(), BoosterConfig(), 10).num_leaves == 4
    with pytest.raises(ValueError, match="learning_rate"):
        SpaceConfig(learning_rate=[0.2, 0.1])


def test_command_prints_settings_and_leaves_a_line_in_the_ledger(
    edge_catalog, train_config, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("ARGONAUT_TRIALS", str(tmp_path / "trials.jsonl"))
    config = msgspec.to_builtins(msgspec.structs.replace(train_config, min_signals=50))
    config["threshold"]["min_signals"] = 10
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "search.yaml").write_text(yaml.safe_dump({"folds": 2, "max_trees": 30, "patience": 5}))
    options = [
        "--config", str(tmp_path / "train.yaml"), "--search", str(tmp_path / "search.yaml"), "--trials", "3",
        "--catalog", str(edge_catalog), "--storage", f"sqlite:///{tmp_path}/s.sqlite",
        "--out", str(tmp_path / "o.yaml"),
    ]  # fmt: skip
    assert main(options) == 0
    out = capsys.readouterr().out
    assert "net R per offered signal on unseen rows" in out
    msgspec.convert(yaml.safe_load((tmp_path / "o.yaml").read_text())["model"], BoosterConfig)
    (entry,) = read()
    assert entry.trials == 3
    assert entry.best["objective"] == "net_r"
