"""The command and what it stands on: sets, windows, ranking, back ends, re-check, ledger."""

import dataclasses
import json
import os
import signal

import msgspec
import numpy as np
import pandas as pd
import pytest

from research.doubt.__main__ import main as doubt
from research.sweep import check
from research.sweep.__main__ import main
from research.sweep.config import RandomMethod, Range, SweepConfig, Windows, load_sweep_config, parameter_sets
from research.sweep.market import prepare
from research.sweep.ranking import order
from research.sweep.simulate import simulate, simulate_many
from research.sweep.windows import DAY_NS, plan
from research.sweep.work import Piece, do, encode
from research.workers import run
from strategies.errors import ConfigError, DataError
from strategies.kernel.params import CompositeParams
from tests.research.sweep.sweep_kit import DAY, ROOT, on
from trials import read

START = 20_179 * DAY
SPACE = {"stop_atr": [1.0, 2.0], "target_atr": [1.0, 3.0], "signal_threshold": [2.0, 3.0], "adx_threshold": [0.0, 20.0]}


@pytest.fixture(name="files")
def files_fixture(tmp_path, generated):
    """Return a sweep's configuration file on the generated market."""

    def make(**changes):
        node = {
            "symbols": ["XRPUSDT"], "context": [], "catalog": str(generated),
            "strategy": {"file": str(ROOT / "config" / "strategies" / "composite.yaml"), "history_bars": 1000},
            "backtest": {"start": "2025-04-15", "end": "2025-06-10", "slippage_bps": 1.0},
        }  # fmt: skip
        sweep = {
            "node": "node.yaml", "space": SPACE, "windows": {"train_days": 20, "test_days": 15}, "min_trades": 5,
            "check": {"best": 1, "sample": 1}, "out": str(tmp_path / "out"), "block": 5,
        } | changes  # fmt: skip
        (tmp_path / "node.yaml").write_text(json.dumps(node))
        (tmp_path / "sweep.yaml").write_text(json.dumps(sweep))
        return ["--config", str(tmp_path / "sweep.yaml"), "--ledger", str(tmp_path / "trials.jsonl"), "--workers", "1"]

    return make


def test_a_sweep_is_ranked_checked_by_the_engine_and_recorded(files, tmp_path, capsys):
    assert main(files()) == 0
    printed = capsys.readouterr().out
    assert "of the history tested" in printed
    assert "engine of record: 6 of 6 runs equal" in printed
    table = pd.read_parquet(tmp_path / "out" / "sets.parquet")
    assert len(table) == 16
    enough = table[table.trades >= 5]
    assert list(enough["rank"]) == list(range(1, len(enough) + 1)), "sets with few trades come last"
    assert enough.expectancy_r_low.is_monotonic_decreasing
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    (symbol,) = document["symbols"]
    assert len(symbol["nested"]["chosen"]) == len(symbol["tests"]) == 3
    (entry,) = read(tmp_path / "trials.jsonl")
    assert (entry.kind, entry.trials, entry.digest) == ("sweep", 16, symbol["ledger"])
    assert np.load(tmp_path / "out" / "trial_returns.npz")["returns"].shape == (36, 16)
    verdicts = {d["name"]: d for d in symbol["doubts"]}
    assert verdicts["parameter stability"]["passed"] is not None
    assert verdicts["parameter stability"]["figures"]["folds"][0]["neighbours"] == 15
    assert verdicts["reality check"]["reason"] == "too_few", "36 days are too few"
    assert verdicts["deflated Sharpe"]["figures"]["trials"] == pytest.approx(entry.sharpe.effective)
    assert [(m["parameter"], m["sets"]) for m in symbol["parameters"]] == [(n, 8) for n in SPACE for _ in range(2)]
    page = (tmp_path / "out" / "report.html").read_text()
    for text in ("Parameter stability map", "parameter stability", "chosen in training, tested after", entry.digest):
        assert text in page
    assert doubt([str(tmp_path / "out"), "--ledger", str(tmp_path / "trials.jsonl")]) == 1
    _, looked = read(tmp_path / "trials.jsonl")
    assert (looked.kind, looked.trials, looked.best) == ("examination", 0, {"of": [entry.digest]})
    assert "XRPUSDT: parameter stability" in capsys.readouterr().out


def test_a_trade_the_engine_does_not_make_fails_the_sweep(files, monkeypatch, capsys):
    honest = check.simulate

    def wrong(*arguments):
        result = honest(*arguments)
        price = result.trades.exit_price.copy()
        price[1] += 0.0001
        trades = dataclasses.replace(result.trades, exit_price=price)
        return dataclasses.replace(result, trades=trades)

    monkeypatch.setattr(check, "simulate", wrong)
    assert main([*files(windows=None, check={"best": 1, "sample": 0}), "--quiet"]) == 1
    assert "trade 2, entered 2025-" in (error := capsys.readouterr().err)
    assert "exit price" in error


@pytest.mark.filterwarnings("error::FutureWarning")
def test_optuna_goes_on_with_its_study_and_prunes(files, tmp_path):
    method = {"by": "optuna", "sets": 6, "seed": 3, "study": str(tmp_path / "study.sqlite")}
    space = {"stop_atr": {"low": 0.5, "high": 3.0}, "target_atr": {"low": 1, "high": 6, "step": 0.5}}
    arguments = [*files(method=method, space=space, check={"best": 1, "sample": 0}), "--quiet"]
    assert main(arguments) == 0
    assert main([*files(method=method | {"sets": 9}, space=space, check={"best": 0, "sample": 0}), "--quiet"]) == 0
    entries = read(tmp_path / "trials.jsonl")
    assert [e.trials for e in entries] == [6, 9], "the first six trials were not run again"


def test_optuna_takes_several_objectives(files, tmp_path):
    method = {"by": "optuna", "sets": 4, "objectives": ["net", "max_drawdown"], "study": str(tmp_path / "s.sqlite")}
    assert main([*files(method=method, check={"best": 0, "sample": 0}), "--quiet"]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"stop_atr": {"low": 1, "high": 2}}}, "a grid needs a list"),
        ({"space": {"stop": [1]}}, "space: stop is not one of"),
        ({"space": {}}, "nothing varies"),
        ({"space": {"stop_atr": [-1.0]}}, "space: stop_atr"),
        ({"windows": {"train_days": 90}}, "do not fit"),
        ({"symbols": ["DOGEUSDT"]}, "DOGEUSDT"),
    ],
)
def test_mistakes_are_named(files, change, message):
    with pytest.raises((ConfigError, DataError), match=message):
        main(files(**change))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("gate", "mode"), "shadow", "gate.mode"),
        (("backtest", "latency_ms"), 5.0, "latency_ms"),
        (("risk", "limits"), {"one_per_symbol": False}, "one_per_symbol"),
    ],
)
def test_what_cannot_be_simulated_is_refused(base, generated, path, value, message):
    plain = msgspec.to_builtins(on(base, generated, "XRPUSDT"))
    plain[path[0]][path[1]] = value
    with pytest.raises(ConfigError, match=message):
        prepare(msgspec.convert(plain, type(base)), "XRPUSDT")


def test_windows_step_by_the_test_and_leave_no_day_out():
    made = plan(Windows(train_days=20, test_days=10), 0, 57 * DAY_NS)
    assert made.tests == tuple((a * DAY_NS, min(a + 10, 57) * DAY_NS) for a in (20, 30, 40, 50))
    assert made.trains == tuple(((a - 20) * DAY_NS, a * DAY_NS) for a in (20, 30, 40, 50))
    assert made.tested_share == pytest.approx(37 / 57)


def test_few_trades_and_undefined_figures_rank_last():
    columns = {"trades": np.array([1.0, 50, 40, 60]), "profit_factor": np.array([99.0, 1.1, np.nan, 1.5])}
    assert order(columns, "profit_factor", 30) == [3, 1, 2, 0]


def test_random_sets_are_distinct_and_repeatable():
    config = SweepConfig(
        node="x", space={"stop_atr": Range(low=0.5, high=3.0), "signal_threshold": [2.0, 3.0]},
        method=RandomMethod(sets=40, seed=5),
    )  # fmt: skip
    sets = parameter_sets(config, CompositeParams())
    assert len(set(sets)) == 40
    assert sets == parameter_sets(config, CompositeParams())


def test_one_and_many_give_the_same_figures(base, generated):
    market = prepare(on(base, generated, "ETHUSDT"), "ETHUSDT", START + 20 * DAY, START + 60 * DAY)
    sets = [CompositeParams(signal_threshold=t, stop_atr=s) for t in (1, 2) for s in (0.7, 1.5)]
    grid = simulate_many(market, sets, returns=True)
    for i, params in enumerate(sets):
        one = simulate(market, params)
        assert grid.figures["trades"][i, 0] == len(one.trades)
        assert grid.figures["net"][i, 0] == pytest.approx(one.trades.net.sum())
        assert grid.figures["equity"][i, 0] == one.final_equity
        assert (grid.daily_returns[0][:, i] == one.daily_returns).all()


def _pieces(base, generated):
    config = on(base, generated, "XRPUSDT")
    span = (START + 20 * DAY, START + 80 * DAY)
    sets = [CompositeParams(signal_threshold=1 + i % 3, stop_atr=0.5 + 0.1 * i, adx_threshold=0.0) for i in range(24)]
    blocks = [tuple(sets[i : i + 2]) for i in range(0, 24, 2)]
    windows = plan(Windows(train_days=20, test_days=10), *span).all
    return [Piece(n, encode(config), "XRPUSDT", span, block, windows) for n, block in enumerate(blocks)]


def _equal(ours, theirs):
    ours, theirs = (sorted(x, key=lambda d: d.number) for x in (ours, theirs))
    assert [d.number for d in ours] == [d.number for d in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert all(np.array_equal(a.figures[name], b.figures[name], equal_nan=True) for name in a.figures)
        assert all(np.array_equal(x, y) for x, y in zip(a.returns, b.returns, strict=True))


def _slow(piece):
    import time

    time.sleep(0.3)  # long enough that a piece is under way when its worker is killed
    return do(piece)


def test_a_cluster_whose_worker_is_killed_loses_nothing(base, generated):
    from distributed import LocalCluster

    pieces = _pieces(base, generated)
    expected = [do(piece) for piece in pieces]
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        victim = next(iter(cluster.workers.values())).pid
        results = []
        for done in run(_slow, pieces, backend="dask", scheduler=cluster.scheduler_address):
            if not results:
                os.kill(victim, signal.SIGKILL)
            results.append(done)
    _equal(results, expected)


def test_processes_of_this_machine_give_the_same(base, generated):
    pieces = _pieces(base, generated)[:4]
    _equal(list(run(do, pieces, workers=2)), [do(piece) for piece in pieces])


def test_the_configuration_that_ships_is_the_ancestors_grid():
    config = load_sweep_config(ROOT / "config" / "sweep.yaml")
    assert len(parameter_sets(config, CompositeParams())) == 324
