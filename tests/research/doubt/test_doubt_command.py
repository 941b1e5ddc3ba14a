"""``python -m research.doubt``: a result in, verdicts out; nothing that could not be judged counts as passed."""

import json

import msgspec
import numpy as np
import pytest

import trials
from node.backtest_run import run_backtest
from node.config import load_config
from node.report import write_json
from research.doubt.__main__ import main
from research.doubt.result import read_run
from research.report.__main__ import main as report
from strategies.errors import ConfigError, DataError

CONFIG = """\
symbols: [XRPUSDT, ETHUSDT]
context: [BTCUSDT, ETHUSDT]
catalog: {catalog}
strategy: {{name: composite, file: params.yaml, warmup_bars: 60, history_bars: 100}}
risk:
  sizing: {{method: risk_fraction, risk_fraction: 0.01}}
  limits: {{max_same_direction: null, daily_loss: null, fast_kill_losses: null, slow_kill_trades: null}}
backtest: {{start: "2025-04-10", end: "2025-05-18", slippage_bps: 1}}
"""


@pytest.fixture(name="result", scope="module")
def result_fixture(tmp_path_factory, market_catalog):
    folder = tmp_path_factory.mktemp("run")
    (folder / "params.yaml").write_text("params: {signal_threshold: 2, adx_threshold: 15.0, volume_multiplier: 1.5}\n")
    (folder / "node.yaml").write_text(CONFIG.format(catalog=market_catalog))
    path = folder / "out" / "result.json"
    path.parent.mkdir()
    write_json(run_backtest(load_config(folder / "node.yaml"), log_level="OFF"), path)
    return path


def examine(result, ledger, *more):
    out = ledger.with_name("doubt.json")
    code = main([str(result), "--ledger", str(ledger), "--reps", "200", "--json", str(out), *map(str, more)])
    return code, {d["name"]: d for d in json.loads(out.read_text())["doubts"]}


def test_every_doubt_is_answered(result, tmp_path, capsys):
    code, found = examine(result, tmp_path / "l.jsonl")
    assert code == 1  # noise does not stand
    assert {
        "probabilistic Sharpe", "minimum track record", "deflated Sharpe", "probability of backtest overfitting",
        "reality check", "interval of profit factor", "interval of expectancy", "interval of Sharpe",
        "interval of max drawdown", "order of trades", "one month", "costs", "random entries", "entry delay",
        "foresight XRPUSDT", "foresight ETHUSDT", "regimes of trend", "regimes of volatility",
    } <= set(found)  # fmt: skip
    assert found["deflated Sharpe"]["reason"] == "unavailable"
    assert found["deflated Sharpe"]["passed"] is None
    assert found["random entries"]["passed"] is not None
    assert "deflated Sharpe" in capsys.readouterr().out


def test_same_digits_twice(result, tmp_path):
    assert examine(result, tmp_path / "l.jsonl") == examine(result.parent, tmp_path / "l.jsonl")


def test_a_look_is_a_line_that_names_the_run_it_looked_at(result, tmp_path, capsys):
    ledger, plain = tmp_path / "l.jsonl", json.loads(result.read_text())
    examine(result, ledger)
    assert "in no line of this trial ledger" in capsys.readouterr().out
    own = trials.record_backtest(
        config=plain["config"], strategy_params=plain["strategy_params"], data_hash=plain["data_hash"],
        sharpe=plain["statistics"]["sharpe"], command=["x"], ledger=ledger,
    )  # fmt: skip
    (tmp_path / "r.json").write_text(json.dumps(plain | {"trial": own.digest}))
    examine(tmp_path / "r.json", ledger)
    assert "in no line" not in capsys.readouterr().out
    assert json.loads((tmp_path / "doubt.json").read_text())["run_lines"] == [own.sequence]
    assert report([str(tmp_path / "r.json"), "--ledger", str(ledger)]) == 0
    assert own.digest in (tmp_path / "r.html").read_text()
    first, _, second, third = trials.read(ledger)
    assert [e.kind for e in (first, second, third)] == ["examination"] * 3
    assert [e.best["of"] for e in (first, second, third)] == [[], [own.digest], [own.digest]]
    assert third.command[0] == "research.report"
    assert trials.effective_trials(ledger=ledger).runs == 1, "looking again is no trial"


def test_the_ledger_deflates(result, tmp_path):
    ledger = tmp_path / "l.jsonl"
    random = np.random.default_rng(1)
    trials.record(
        "sweep", command=["x"], symbols=["ETHUSDT"], interval="15m", config={}, data_hash="d", trials=324,
        sharpe=trials.summarise(random.normal(0, 3, 324).tolist()), ledger=ledger,
    )  # fmt: skip
    found = examine(result, ledger)[1]["deflated Sharpe"]
    assert found["reason"] == "sharpe_explained_by_trials"
    assert found["figures"]["trials"] == 324
    assert found["figures"]["hurdle_annual"] > 5


def test_a_damaged_ledger_is_refused(result, tmp_path):
    ledger = tmp_path / "l.jsonl"
    ledger.write_text('{"trials": 1}\n')
    with pytest.raises(DataError, match="malformed"):
        examine(result, ledger)


def test_trials_beside_the_result(result, tmp_path):
    random = np.random.default_rng(2)
    np.savez(tmp_path / "t.npz", returns=random.normal(0, 0.01, (300, 50)))
    found = examine(result, tmp_path / "l.jsonl", "--trials", tmp_path / "t.npz")[1]
    assert found["probability of backtest overfitting"]["reason"] == "backtest_overfit"
    assert found["reality check"]["reason"] == "not_better_than_none"
    assert found["deflated Sharpe"]["passed"] is False


def test_another_catalog_is_not_taken_for_the_one_of_the_result(result, tmp_path):
    plain = json.loads(result.read_text())
    (tmp_path / "r.json").write_text(json.dumps(plain | {"data_hash": "0" * 64}))
    found = examine(tmp_path / "r.json", tmp_path / "l.jsonl")[1]
    assert found["random entries"]["reason"] == "unavailable"
    assert "holds other data" in found["random entries"]["detail"]


def test_a_model_trained_on_the_test_period(result, tmp_path):
    from research.testing import small_model
    from research.training import publish

    publish(small_model(trained_until_ns=1_790_000_000_000_000_000), tmp_path / "model")
    plain = json.loads(result.read_text())
    plain["config"]["gate"] = {"mode": "enforce", "model_dir": str(tmp_path / "model")}
    (tmp_path / "r.json").write_text(json.dumps(plain))
    found = examine(tmp_path / "r.json", tmp_path / "l.jsonl")[1]
    assert found["model against test period"]["reason"] == "trained_on_the_future"


@pytest.mark.parametrize(
    ("content", "words"),
    [("[]", "an object is expected"), ("{", "cannot be read"), ("{}", "config: missing"),
     ('{"config": {"symbols": ["X"]}, "trades": [{"entry_time": 1, "exit_time": 2}], "daily_equity": []}', "lacks")],
)  # fmt: skip
def test_what_is_no_result_is_named(tmp_path, content, words):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(DataError, match=words):
        read_run(tmp_path / "r.json")


def test_options(result, tmp_path):
    with pytest.raises(ConfigError, match="--reps"):
        main([str(result), "--reps", "3"])
    with pytest.raises(DataError, match="no such file"):
        main([str(tmp_path / "none")])
    (tmp_path / "t.csv").write_text("a,b\n1,x\n")
    with pytest.raises(DataError, match="matrix"):
        main([str(result), "--trials", str(tmp_path / "nothing.npz")])


def test_rerun_in_the_engine(result, tmp_path):
    plain = json.loads(result.read_text())
    plain["config"]["backtest"] |= {"start": "2025-05-10", "end": "2025-05-16"}
    plain["data_hash"] = ""
    (tmp_path / "r.json").write_text(msgspec.json.encode(plain).decode())
    found = examine(tmp_path / "r.json", tmp_path / "l.jsonl", "--rerun")[1]
    costs = found["costs in the engine"]["figures"]
    assert costs["x1"]["net"] > costs["x2"]["net"] > costs["x3"]["net"]
    assert found["one bar late in the engine"]["passed"] is not None


def test_a_walk_forward_is_examined_by_variant_and_its_gate_as_a_pair(tmp_path):
    random = np.random.default_rng(4)
    off = random.normal(0, 0.01, 120)

    def variant(gate, returns):
        level = 1_000 * np.cumprod(1 + returns)
        days = np.arange("2025-01-01T12", "2025-05-01T12", np.timedelta64(1, "D"), dtype="datetime64[s]")
        return {
            "account": "XRPUSDT", "gate": gate, "symbols": ["XRPUSDT"], "start_balance": 1_000.0, "trades": [],
            "equity": [[f"{d}Z", float(x), float(x)] for d, x in zip(days, level, strict=True)],
        }  # fmt: skip

    variants = [variant("off", off), variant("enforce", off + 0.001 + random.normal(0, 0.001, 120))]
    (tmp_path / "result.json").write_text(json.dumps({"name": "x", "variants": variants}))
    found = examine(tmp_path, tmp_path / "l.jsonl")[1]
    assert found["XRPUSDT: gate enforce against off"]["passed"] is True
    assert found["XRPUSDT off: interval of Sharpe"]["reason"] == "interval_includes_nothing"
    assert found["XRPUSDT enforce: random entries"]["reason"] == "unavailable"
