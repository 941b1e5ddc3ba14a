"""The best of a thousand worthless runs, and every way to make it look like the only one: deflated all the same."""

import json

import numpy as np
import pytest

import trials
from research.doubt.__main__ import main as doubt
from strategies.errors import DataError
from trials.memory import MEMORY, remembered

DAY_MS = 86_400_000
RUNS, DAYS = 1_000, 300


@pytest.fixture(name="worthless", scope="module")
def worthless_fixture():
    """Return daily returns of a thousand strategies worth nothing, best first: its annual Sharpe ratio is above 3."""
    returns = np.random.default_rng(5).normal(0, 0.01, (RUNS, DAYS))
    ratios = returns.mean(axis=1) / returns.std(axis=1, ddof=1) * np.sqrt(365)
    assert ratios.max() > 3
    return returns[np.argsort(-ratios)], np.sort(ratios)[::-1]


@pytest.fixture(name="place")
def place_fixture(tmp_path):
    (tmp_path / "catalog").mkdir()
    return tmp_path


def config_of(place, number, what):
    """Return the configuration of a try: what is varied differs, all else is as in every other."""
    varied = {
        "symbols": {"symbols": [f"A{number}USDT"]},
        "windows": {"backtest": {"balance": 10_000.0, "start": f"2024-01-01T00:{number % 60:02d}", "n": number}},
        "exits": {"protection": {"trailing": number}},
        "seeds": {"backtest": {"balance": 10_000.0, "seed": number}},
    }.get(what, {"backtest": {"balance": 10_000.0, "threshold": number}})
    base = {"symbols": ["XRPUSDT"], "interval": "15m", "catalog": str(place / "catalog"), "strategy": {}}
    return {"backtest": {"balance": 10_000.0}} | base | varied


def record(place, number, ratio, what, ledger):
    return trials.record_backtest(
        config=config_of(place, number, what),
        strategy_params={},
        data_hash="d",
        sharpe=float(ratio),
        command=["x"],
        ledger=ledger,
    )


def write(place, number, returns, what, entry):
    """Write the result of a try as ``node.backtest --json`` does, as far as a Sharpe ratio needs it."""
    equity = 10_000 * np.cumprod(1 + returns)
    days = [f"{np.datetime64('2024-01-01') + i}" for i in range(len(equity))]
    plain = {
        "config": config_of(place, number, what),
        "trades": [],
        "daily_equity": list(zip(days, equity.tolist(), strict=True)),
        "trial": entry.digest,
    }
    (place / "result.json").write_text(json.dumps(plain))
    return place / "result.json"


def deflated(place, result, ledger):
    doubt([str(result), "--reps", "100", "--json", str(place / "o.json"), "--ledger", str(ledger)])
    return next(d for d in json.loads((place / "o.json").read_text())["doubts"] if d["name"] == "deflated Sharpe")


def test_taken_for_the_only_one_the_best_looks_real(worthless, place):
    """What the plants below are made of: nothing but the count tells it from skill."""
    returns, ratios = worthless
    ledger = place / "l.jsonl"
    result = write(place, 0, returns[0], "thresholds", record(place, 0, ratios[0], "thresholds", ledger))
    assert deflated(place, result, ledger)["passed"] is True


@pytest.mark.parametrize("what", ["thresholds", "symbols", "windows", "exits", "seeds"])
def test_the_best_of_a_thousand(worthless, place, what):
    returns, ratios = worthless
    ledger = place / "l.jsonl"
    entries = [record(place, n, ratios[n], what, ledger) for n in range(RUNS)]
    found = deflated(place, write(place, 0, returns[0], what, entries[0]), ledger)
    assert (found["reason"], found["figures"]["trials"]) == ("sharpe_explained_by_trials", RUNS), found["detail"]


def test_a_search_spread_over_many_ledgers(worthless, place):
    returns, ratios = worthless
    entries = [record(place, n, ratios[n], "thresholds", place / f"{n % 50}.jsonl") for n in range(RUNS)]
    found = deflated(place, write(place, 0, returns[0], "thresholds", entries[0]), place / "0.jsonl")
    assert len(trials.read(place / "0.jsonl")) == RUNS // 50 + 1, "with the look itself"
    assert (found["reason"], found["figures"]["trials"]) == ("sharpe_explained_by_trials", RUNS)


def test_a_ledger_thrown_away_before_the_winner_is_run_again(worthless, place):
    returns, ratios = worthless
    ledger = place / "l.jsonl"
    for n in range(RUNS):
        record(place, n, ratios[n], "exits", ledger)
    for file in place.glob("l.jsonl*"):
        file.unlink()
    again = record(place, 0, ratios[0], "exits", ledger)
    found = deflated(place, write(place, 0, returns[0], "exits", again), ledger)
    assert found["reason"] == "sharpe_explained_by_trials"
    assert found["figures"]["trials"] == RUNS, "the winner run again counts once"


@pytest.mark.parametrize("how", ["copies of an idle set", "the winner again and again"])
def test_a_search_thinned_by_runs_that_say_nothing(worthless, place, how):
    """Ratios that lie close together would make the best of the others look far away."""
    returns, ratios = worthless
    ledger = place / "l.jsonl"
    entries = [record(place, n, ratios[n * 10], "symbols", ledger) for n in range(100)]
    for n in range(100, 600 if how == "copies of an idle set" else 103):
        thinned = config_of(place, n, "thresholds") | {"symbols": ["A0USDT"]}
        ratio = 0.001 * (n % 7) if how == "copies of an idle set" else ratios[0] - 0.001 * n
        trials.record_backtest(
            config=thinned, strategy_params={}, data_hash="d", sharpe=float(ratio), command=["x"], ledger=ledger
        )
    found = deflated(place, write(place, 0, returns[0], "symbols", entries[0]), ledger)
    assert found["reason"] == "sharpe_explained_by_trials", found["detail"]


def test_lines_taken_out_of_the_ledger(worthless, place):
    returns, ratios = worthless
    ledger = place / "l.jsonl"
    entries = [record(place, n, ratios[n], "thresholds", ledger) for n in range(20)]
    result = write(place, 0, returns[0], "thresholds", entries[0])
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join([lines[0], *lines[15:]]))
    with pytest.raises(DataError, match="removed"):
        deflated(place, result, ledger)


def test_skill_among_a_few_tries_stands(worthless, place):
    returns, ratios = worthless
    ledger = place / "l.jsonl"
    for n in range(1, 8):
        record(place, n, ratios[100 * n], "thresholds", ledger)
    skilled = returns[500] - returns[500].mean() + 0.003
    ratio = float(skilled.mean() / skilled.std(ddof=1) * np.sqrt(365))
    result = write(place, 0, skilled, "thresholds", record(place, 0, ratio, "thresholds", ledger))
    found = deflated(place, result, ledger)
    assert (found["passed"], found["figures"]["trials"]) == (True, 8)


def test_what_a_catalog_remembers(place):
    ledger, memory = place / "l.jsonl", place / "catalog" / MEMORY
    entry = record(place, 1, 0.5, "thresholds", ledger)
    assert remembered(place / "catalog") == [entry] == trials.read(ledger)
    memory.write_bytes(memory.read_bytes() + memory.read_bytes().replace(b'"trials":1', b'"trials":9') + b'{"seq')
    assert remembered(place / "catalog") == [entry], "an edited line and one never finished are passed over"
    memory.unlink()
    memory.mkdir()  # cannot be written: the ledger's line stands all the same
    record(place, 2, 0.5, "thresholds", ledger)
    assert len(trials.read(ledger)) == 2
    assert remembered(place / "catalog") == []
    assert remembered(None) == []
