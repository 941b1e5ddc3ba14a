"""Whole studies on a generated market: same digits, killed and resumed, nothing of a test window in what was chosen."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from actors.model_folder import MANIFEST
from catalog.ingest import main as ingest
from catalog.reader import load_bars, load_funding
from node.backtest_run import run_backtest
from node.config import load_config
from research.doubt import on_bars
from research.doubt.__main__ import main as doubt
from research.doubt.result import read_trial_returns, read_variants
from research.doubt.verdict import stands
from research.labels import LabelConfig
from research.thresholds import ThresholdConfig
from research.train_config import BoosterConfig
from research.walkforward.config import FoldsConfig, GateTraining, SelectionConfig, load_walkforward
from research.walkforward.folds import Coverage, plan
from research.walkforward.outcome import joined
from research.walkforward.selection import choose, engine_scores
from research.walkforward.span import DAY_NS
from research.walkforward.study import Backend, collect, make_plan, partial_folder, run
from research.walkforward.sweeping import sweep_scores
from research.walkforward.trial import END_OF_FOLD, FoldResult, run_fold, window_config
from research.walkforward.tried import examine_tried, training_returns
from research.walkforward.work import Prepared, Task, prepare
from strategies.params_file import load_params

ROOT = Path(__file__).parents[2]
SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")

NODE = """
symbols: [XRPUSDT]
strategy: {file: params.yaml, warmup_bars: 60, history_bars: 1500, assumed_slippage: 0.0001}
risk:
  sizing: {method: risk_fraction, risk_fraction: 0.01}
  limits: {daily_loss: null, fast_kill_losses: null, slow_kill_trades: null}
backtest: {slippage_bps: 1, trigger_slippage_bps: 1}
"""
STUDY = """
name: small
node: node.yaml
accounts: [[XRPUSDT]]
gates: [off, enforce]
folds: {train: 40d, test: 16d, embargo_bars: 16}
selection: {method: grid, min_trades: 3, space: {target_atr: [2.0, 3.0]}}
gate:
  symbols: [ETHUSDT]
  min_signals: 40
  threshold: {min_signals: 20, min_passed: 5}
  model: {trees: 20, min_data_in_leaf: 20, learning_rate: 0.1}
"""


@pytest.fixture(name="study_file", scope="module")
def study_file_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "params.yaml").write_text("{signal_threshold: 2, adx_threshold: 15.0, volume_multiplier: 1.5}\n")
    (folder / "node.yaml").write_text(NODE)
    (folder / "study.yaml").write_text(STUDY)
    return folder / "study.yaml"


@pytest.fixture(name="planned", scope="module")
def planned_fixture(study_file, market_catalog):
    return make_plan(load_walkforward(study_file), market_catalog)


@pytest.fixture(name="done", scope="module")
def done_fixture(planned, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return run(planned, out, Backend(), ["test"], lambda *_: None), partial_folder(out, planned)


def command(study_file, catalog, out, *more):
    arguments = ["--config", study_file, "--catalog", catalog, "--out", out, "--workers", "1", *more]
    return [sys.executable, "-m", "research.walkforward", *map(str, arguments)]


def test_a_killed_study_is_completed_and_its_digits_are_those_of_one_that_was_not(
    study_file, planned, done, market_catalog, tmp_path
):
    _, whole = done
    process = subprocess.Popen(command(study_file, market_catalog, tmp_path, "--quiet"), cwd=ROOT)
    unfinished = partial_folder(tmp_path, planned)
    first = unfinished / "XRPUSDT" / "off-01.json"
    deadline = time.monotonic() + 600
    while not first.is_file():
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (unfinished / "result.json").exists()
    kept = {
        f: (f.stat().st_ino, f.read_bytes()) for f in unfinished.rglob("*.json") if f.parent.name != unfinished.name
    }
    assert first in kept

    ended = subprocess.run(
        command(study_file, market_catalog, tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    final = tmp_path / planned.folder_name
    assert not unfinished.exists()
    for file, (inode, content) in kept.items():
        now = final / file.relative_to(unfinished)
        assert (now.stat().st_ino, now.read_bytes()) == (inode, content), f"{file} was done again"
    assert (final / "result.json").read_bytes() == (whole / "result.json").read_bytes()
    for name in ("trades.csv", "folds.csv", "config.json", "run.json", "report.html"):
        assert (final / name).stat().st_size > 100
    page = (final / "report.html").read_text()
    assert "Doubt on the test windows" in page
    assert page.count("random entries") >= len(planned.config.gates)
    for gate in ("off", "enforce"):
        assert gate in ended.stdout
    assert "share of" in ended.stdout


def test_a_finished_study_is_shown_and_a_digit_that_differs_is_told(
    study_file, planned, done, market_catalog, tmp_path
):
    """A key of the stored result is changed: --again, here with all folds already there, must notice."""
    _, whole = done
    final = tmp_path / planned.folder_name
    shutil.copytree(whole, final)
    shutil.copytree(whole, partial_folder(tmp_path, planned))
    shown = subprocess.run(
        command(study_file, market_catalog, tmp_path, "--quiet"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (shown.returncode, shown.stdout.strip()) == (0, str(final))
    result = final / "result.json"
    result.write_bytes(result.read_bytes().replace(b'"tested_share"', b'"tested_share_"', 1))
    again = subprocess.run(
        command(study_file, market_catalog, tmp_path, "--again"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert again.returncode == 1, again.stderr
    assert "DIGITS DIFFER" in again.stdout
    assert (final / "result.json").read_bytes() == (whole / "result.json").read_bytes()
    assert (tmp_path / f"{final.name}.previous" / "result.json").is_file()


def test_equity_goes_on_where_it_was_and_nothing_is_counted_twice(done):
    study, _ = done
    assert [v.gate for v in study.variants] == ["off", "enforce"]
    for v in study.variants:
        assert v.lines[0].start_balance == 10_000.0
        for a, b in pairwise(v.lines):
            assert b.start_balance == a.end_balance
            assert b.fold.test_start == a.fold.test_end
        assert v.statistics.net_pnl == pytest.approx(v.lines[-1].end_balance - 10_000.0, abs=1e-6)
        assert v.equity[-1][1] == pytest.approx(v.lines[-1].end_balance, abs=1e-6)
        times = [p[0] for p in v.equity]
        assert times == sorted(times)
        assert len(set(times)) == len(times)
        opened = [(t.symbol, t.entry_time, t.exit_time) for t in v.trades]
        assert all(a[2] <= b[1] for a, b in pairwise(opened)), "positions overlap"
    off, enforce = study.variants
    assert len(off.trades) > 15
    assert off.gate_figures is None
    assert enforce.gate_figures.blocked > 0
    assert enforce.trades != off.trades


def test_a_shadow_gate_scores_and_changes_no_trade(done, planned):
    study, folder = done
    fold = planned.accounts[0].folds[0]
    home = folder / "XRPUSDT" / f"fold-{fold.index:02d}"
    config = window_config(planned.node, ["XRPUSDT"], (fold.test_start, fold.test_end), 10_000.0, home / "params.yaml")
    gate = msgspec.structs.replace(config.gate, mode="shadow", model_dir=str(home / "model"))
    result = run_fold(msgspec.structs.replace(config, gate=gate), fold, planned.config.gate.label)
    off = [t for t in study.variants[0].trades if t.entry_time <= fold.test_end]
    assert result.trades == off
    assert all(j.score is not None for j in result.judged)
    assert {j.ml for j in result.judged} == {"passed", "shadow"}
    resolved = [j for j in result.judged if j.outcome in ("stop", "target")]
    assert len(resolved) > 5
    assert all((j.net_r > 0) == (j.outcome == "target") for j in resolved)
    earned = {t.entry_time: t.r for t in off if t.exit_reason in ("STOP_LOSS", "TAKE_PROFIT")}
    both = [(j.net_r, earned[j.time]) for j in resolved if j.time in earned]
    assert len(both) > 5
    assert all(a == pytest.approx(b, abs=0.15) for a, b in both), "what a signal was worth is what its trade earned"


def test_the_compiled_simulation_scores_sets_as_the_engine_does(planned, tmp_path):
    own = load_params(Path(planned.node.strategy.file), "XRPUSDT")
    sets = [own, msgspec.structs.replace(own, stop_atr=1.0, target_atr=2.0)]
    fold = planned.accounts[0].folds[0]
    window = (fold.train_end - 12 * DAY_NS, fold.train_end)
    engine = engine_scores(planned.node, "XRPUSDT", window, sets, folder=tmp_path)
    sweep = sweep_scores(planned.node, "XRPUSDT", window, sets)
    for a, b in zip(engine, sweep, strict=True):
        assert a.trades == b.trades > 3
        for name in ("net_pnl", "profit_factor", "net_r", "sharpe"):
            assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-6), name


def test_what_a_fold_chose_is_stored_with_its_windows(done, planned):
    _, folder = done
    (account,) = planned.accounts
    for fold in account.folds:
        home = folder / "XRPUSDT" / f"fold-{fold.index:02d}"
        kept = msgspec.json.decode((home / "prepared.json").read_bytes(), type=Prepared)
        assert kept.choices["XRPUSDT"].tried == 2
        assert kept.model.trained, kept.model.reason
        manifest = json.loads((home / "model" / MANIFEST).read_bytes())
        until = datetime.fromisoformat(manifest["trained_until"]).timestamp() * 1e9
        assert until <= fold.train_end < fold.test_start
        assert datetime.fromisoformat(manifest["valid_until"]).replace(tzinfo=UTC).timestamp() * 1e9 >= fold.test_end
        result = msgspec.json.decode((folder / "XRPUSDT" / f"off-{fold.index:02d}.json").read_bytes(), type=FoldResult)
        assert result.params["XRPUSDT"] == kept.choices["XRPUSDT"].params
        assert len(result.data_hash) == 64


def test_all_that_was_tried_is_stored_and_examined(done, planned, capsys):
    study, folder = done
    (account,) = planned.accounts
    (tried,) = study.tried["XRPUSDT"]
    with np.load(folder / "XRPUSDT" / "trial_returns.npz") as content:
        days, returns = content["days"], content["returns"]
    trained = {d for f in account.folds for d in range(f.train_start // DAY_NS, -(-f.train_end // DAY_NS))}
    assert set(days.tolist()) == trained
    assert max(days) * DAY_NS < account.folds[-1].train_end <= account.folds[-1].test_start
    assert returns.shape == (len(trained), 2) == (tried.days, tried.sets)
    # Where windows overlap the later one counts: its account began anew.
    last = account.folds[-1]
    sets = [
        msgspec.structs.replace(load_params(Path(planned.node.strategy.file), "XRPUSDT"), target_atr=t)
        for t in (2.0, 3.0)
    ]
    _, alone = training_returns(planned.node, "XRPUSDT", [(last.train_start, last.train_end)], sets)
    assert np.array_equal(returns[-len(alone) :], alone)
    assert np.abs(returns).sum(axis=0).min() > 0
    assert [d.name for d in tried.doubts] == [
        "probability of backtest overfitting", "reality check", "parameter stability"
    ]  # fmt: skip
    assert {d.reason for d in tried.doubts} == {"too_few"}, "two sets say nothing"
    assert [(m.parameter, m.value, m.sets) for m in tried.parameters] == [
        ("target_atr", t, len(account.folds)) for t in (2.0, 3.0)
    ]
    assert doubt([str(folder)]) in (0, 1)
    assert capsys.readouterr().out.count("probability of backtest") == 1, "once per account, not once per gate"


def test_doubts_on_bars_see_the_test_windows_and_nothing_else(planned, done, market_catalog, monkeypatch, tmp_path):
    _, folder = done
    run_ = read_variants(folder)["XRPUSDT off"]
    seen = {}
    foresight = on_bars.examine_foresight

    def entries_seen(entries, **_):
        seen["entries"] = entries
        return stands("random entries")

    def closes_seen(close, *more):
        seen["close"] = close
        return foresight(close, *more)

    monkeypatch.setattr(on_bars, "examine_random_entries", entries_seen)
    monkeypatch.setattr(on_bars, "examine_foresight", closes_seen)
    found = {d.name: d for d in on_bars.examine_on_bars(run_, None, 7)}
    assert {d.reason.value for d in found.values()}.isdisjoint({"unavailable"})
    bars = load_bars(market_catalog, "XRPUSDT", "15m")
    step = 900 * 10**9
    windows = [w for w in run_.windows if any(w[0] < t <= w[1] for t in run_.trades.entry_time)]
    assert len(seen["entries"]) == len(windows) > 1
    for (start, end), entries in zip(windows, seen["entries"], strict=True):
        inside = (bars.open_time >= start) & (bars.open_time < end)
        np.testing.assert_array_equal(entries.prices.close, bars.close[inside])
        when = bars.open_time[inside][entries.at] + step
        assert when.tolist() == sorted(t for t in run_.trades.entry_time.tolist() if start < t <= end)
    tested = (bars.open_time >= run_.windows[0][0]) & (bars.open_time < run_.windows[-1][1])
    np.testing.assert_array_equal(seen["close"], bars.close[tested])
    other = dataclasses.replace(run_, data_hash="0" * 64)
    assert "holds other data" in on_bars.examine_on_bars(other, None, 7)[0].detail
    shutil.copy2(folder / "result.json", tmp_path)
    alone = on_bars.examine_on_bars(read_variants(tmp_path)["XRPUSDT off"], market_catalog, 7)
    assert all(d.reason == "unavailable" and "plan" in d.detail for d in alone), "without the plan nothing is guessed"


def test_the_best_of_many_worthless_sets_is_named_in_the_walk_forward(planned, tmp_path):
    """Plant: 60 sets on a market without anything to find; the choice and what it stands on are examined by name."""
    selection = SelectionConfig(
        method="grid",
        min_trades=3,
        space={"target_atr": [1.0, 2.0, 3.0, 4.0], "stop_atr": [0.5, 1.0, 1.5], "adx_threshold": [0.0, 10, 15, 20, 25]},
    )
    shape = FoldsConfig(train="30d", test="16d", embargo_bars=0)
    folds = plan(shape, Coverage(*planned.accounts[0].history), 900 * 10**9, trains=True)
    chosen = [choose(selection, planned.node, "XRPUSDT", f, sweep_scores) for f in folds]
    windows = [(f.train_start, f.train_end) for f in folds]
    found = examine_tried(planned.node, ["XRPUSDT"], "XRPUSDT", windows, chosen, selection, tmp_path, 7)
    verdicts = {d.name: d for d in found.doubts}
    assert (found.sets, found.note) == (60, "")
    assert 1.0 <= found.effective < 60
    assert verdicts["reality check"].reason == "not_better_than_none"
    for name in ("probability of backtest overfitting", "parameter stability"):
        assert verdicts[name].passed is not None, verdicts[name].detail
    assert len(verdicts["parameter stability"].figures["folds"]) == len(folds)
    read = read_trial_returns(tmp_path / "trial_returns.npz")
    assert read.shape == (found.days, 60)
    refused = msgspec.structs.replace(planned.node, gate=msgspec.structs.replace(planned.node.gate, mode="shadow"))
    found = examine_tried(refused, ["XRPUSDT"], "XRPUSDT", windows, chosen, selection, tmp_path / "none", 7)
    assert [d.reason for d in found.doubts[:2]] == ["unavailable"] * 2
    assert "gate" in found.note
    assert not (tmp_path / "none").exists()


def cut_catalog(source, target, end_ns):
    """Copy a catalog up to an instant through the files people ingest."""
    target.mkdir()
    for symbol in SYMBOLS:
        bars, funding = load_bars(source, symbol, "15m", None, end_ns), load_funding(source, symbol, None, end_ns)
        columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
        rows = [
            f"{t // 10**6}," + ",".join(f"{c[i]:.8f}" for c in columns) for i, t in enumerate(bars.open_time.tolist())
        ]
        prices, rates = target / f"{symbol}.csv", target / f"{symbol}-funding.csv"
        prices.write_text("\n".join(["open_time,open,high,low,close,volume", *rows]) + "\n")
        settled = [f"{t // 10**6},{r:.8f}" for t, r in zip(funding.time.tolist(), funding.rate.tolist(), strict=True)]
        rates.write_text("\n".join(["calc_time,last_funding_rate", *settled]) + "\n")
        common = ["--symbol", symbol, "--catalog", str(target / "catalog")]
        assert not ingest(["klines", *common, "--interval", "15m", "--from", str(prices)])
        assert not ingest(["funding", *common, "--from", str(rates)])
    return target / "catalog"


def test_choice_and_model_are_the_same_when_nothing_after_training_exists(done, planned, market_catalog, tmp_path):
    """The strongest test of a leak: the fold is prepared once more on data that end with its training window."""
    _, folder = done
    fold = planned.accounts[0].folds[1]
    catalog = cut_catalog(market_catalog, tmp_path / "cut", fold.train_end)
    task = Task(
        kind="prepare",
        config=planned.config,
        node=msgspec.structs.replace(planned.node, catalog=str(catalog)),
        symbols=["XRPUSDT"],
        gate="",
        folds=[fold],
        folder=str(tmp_path / "again"),
    )
    prepare(task)
    name = Path("XRPUSDT", f"fold-{fold.index:02d}", "prepared.json")
    assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_features_of_a_window_are_bit_identical_to_those_of_a_continuous_run(done, planned):
    _, folder = done
    fold = planned.accounts[0].folds[-1]
    params = folder / "XRPUSDT" / f"fold-{fold.index:02d}" / "params.yaml"
    node = planned.node

    def signals(start):
        config = window_config(node, ["XRPUSDT"], (start, fold.test_end), 10_000.0, params)
        return {s.id: s for s in run_backtest(config, log_level="OFF").signals if s.market_time > fold.test_start}

    alone, continuous = signals(fold.test_start), signals(planned.accounts[0].history[0])
    assert len(alone) > 5
    assert alone.keys() == continuous.keys()
    for identity, signal_ in alone.items():
        ours = np.array(signal_.features, dtype=float)
        assert np.array_equal(ours, np.array(continuous[identity].features, dtype=float), equal_nan=True), identity


def test_a_position_open_at_the_end_is_closed_there_with_its_costs(planned, done):
    """The window ends inside a trade of the study: half of it, cut in its middle bar."""
    study, folder = done
    trade = next(t for t in study.variants[0].trades if t.exit_time - t.entry_time >= 8 * 900 * 10**9)
    line = next(x for x in study.variants[0].lines if x.fold.test_start < trade.entry_time <= x.fold.test_end)
    middle = trade.entry_time + 4 * 900 * 10**9
    fold = msgspec.structs.replace(line.fold, test_end=middle)
    params = folder / "XRPUSDT" / f"fold-{fold.index:02d}" / "params.yaml"
    config = window_config(planned.node, ["XRPUSDT"], (fold.test_start, middle), line.start_balance, params)
    result = run_fold(config, fold, LabelConfig())

    forced = result.trades[-1]
    assert (forced.exit_reason, forced.exit_time) == (END_OF_FOLD, middle)
    assert (forced.entry_time, forced.entry_price, forced.quantity) == (
        trade.entry_time,
        trade.entry_price,
        trade.quantity,
    )
    close = load_bars(Path(planned.node.catalog), "XRPUSDT", "15m", None, middle).close[-1]
    worse = -1 if forced.side == "LONG" else 1
    assert forced.exit_price == pytest.approx(close * (1 + worse * 1e-4), abs=1e-4)
    assert (forced.exit_price - close) * worse > 0
    assert forced.fees == pytest.approx(0.0005 * forced.quantity * (forced.entry_price + forced.exit_price), rel=1e-6)
    total = sum(t.net_pnl for t in result.trades)
    assert result.end_balance - result.start_balance == pytest.approx(total, abs=1e-6)
    assert result.equity[-1][1:] == (result.end_balance, result.end_balance)


def test_a_ruined_account_stops_the_walk(planned, tmp_path):
    reckless = msgspec.structs.replace(
        planned,
        config=msgspec.structs.replace(planned.config, gates=["off"], ruin=0.99, selection=SelectionConfig()),
        key="0" * 64,
    )
    node = reckless.node
    limits = msgspec.structs.replace(node.risk.limits, max_leverage=None, fast_kill_losses=None)
    sizing = msgspec.structs.replace(node.risk.sizing, risk_fraction=0.05)
    reckless = msgspec.structs.replace(
        reckless,
        node=msgspec.structs.replace(node, risk=msgspec.structs.replace(node.risk, sizing=sizing, limits=limits)),
    )
    study = run(reckless, tmp_path, Backend(), ["test"], lambda *_: None)
    (v,) = study.variants
    assert v.ended == "ruin"
    assert v.ended_fold == len(v.lines) < len(reckless.accounts[0].folds)
    assert v.lines[-1].end_balance <= 9_900
    assert collect(reckless, partial_folder(tmp_path, reckless)).variants == study.variants


def test_fresh_accounts_add_up_their_profits(done):
    study, folder = done
    results = [
        msgspec.json.decode((folder / "XRPUSDT" / f"off-{line.fold.index:02d}.json").read_bytes(), type=FoldResult)
        for line in study.variants[0].lines
    ]
    apart = [msgspec.structs.replace(r, start_balance=10_000.0) for r in results]
    line = joined(apart, compound=False)
    shift = sum(r.end_balance - r.start_balance for r in apart[:-1])
    assert line[-1][1] == pytest.approx(apart[-1].equity[-1][1] + shift)


def test_two_processes_do_not_fill_the_same_folder(study_file, planned, market_catalog, tmp_path):
    import fcntl

    folder = partial_folder(tmp_path, planned)
    folder.mkdir()
    handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    refused = subprocess.run(
        command(study_file, market_catalog, tmp_path), cwd=ROOT, capture_output=True, text=True, check=False
    )
    os.close(handle)
    assert refused.returncode == 2
    assert "another process is working on this study" in refused.stderr


def test_a_fold_without_enough_signals_has_no_model_and_says_why(planned, market_catalog, tmp_path):
    fold = planned.accounts[0].folds[0]
    starved = msgspec.structs.replace(
        planned.config,
        selection=SelectionConfig(),
        gate=GateTraining(
            symbols=["XRPUSDT"], min_signals=5_000, model=BoosterConfig(trees=5), threshold=ThresholdConfig()
        ),
    )
    task = Task(
        kind="prepare",
        config=starved,
        node=planned.node,
        symbols=["XRPUSDT"],
        gate="",
        folds=[fold],
        folder=str(tmp_path),
    )
    prepare(task)
    home = tmp_path / "XRPUSDT" / f"fold-{fold.index:02d}"
    kept = msgspec.json.decode((home / "prepared.json").read_bytes(), type=Prepared)
    assert not kept.model.trained
    assert "at least 5000" in kept.model.reason
    assert not (home / "model").exists()
    params = home / "params.yaml"
    config = window_config(
        planned.node, ["XRPUSDT"], (fold.test_start, fold.test_start + 5 * 86_400 * 10**9), 1e4, params
    )
    gate = msgspec.structs.replace(config.gate, mode="enforce", model_dir=str(home / "model"))
    result = run_fold(msgspec.structs.replace(config, gate=gate), fold, LabelConfig())
    assert result.trades == []
    assert {j.ml for j in result.judged} == {"ml_no_model"}


def test_the_shipped_studies_load():
    for name in ("walkforward.yaml", "ancestor_months.yaml"):
        config = load_walkforward(ROOT / "config" / name)
        assert load_config(Path(config.node)).strategy.name == "composite"
        assert isinstance(config.folds, FoldsConfig)
