"""The trial ledger: nothing recorded is lost, nothing altered goes unnoticed, and effort is counted from it."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import trials
from node.backtest import main as backtest
from research.trials import main
from strategies.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(name="ledger")
def ledger_fixture(tmp_path):
    return tmp_path / "deep" / "trials.jsonl"


def add(ledger, *, config="c", sharpes=(0.5, 1.5), symbols=("XRPUSDT",), data="d", **more):
    return trials.record(
        "sweep", command=["research.sweep"], symbols=symbols, interval="15m", config={"name": config},
        data_hash=data, trials=len(sharpes), sharpe=trials.summarise(sharpes), ledger=ledger, **more,
    )  # fmt: skip


class TestLedger:
    def test_what_is_recorded_is_read_back(self, ledger):
        first, second = add(ledger, seed=7, best={"stop_atr": 1.5}), add(ledger, config="other", result="var/x.json")
        assert trials.read(ledger) == [first, second]
        assert (first.sequence, second.sequence, second.previous) == (1, 2, first.digest)
        assert trials.verify(ledger).reason == "intact"

    def test_whole_numbers_where_decimals_are_kept_are_read_back(self, ledger):
        whole = trials.SharpeSummary(known=1, mean=2, variance=None, best=2, effective=1)
        entry = trials.record(
            "walkforward", command=["x"], symbols=["XRPUSDT"], interval="15m", config={}, data_hash="d", trials=4,
            sharpe=whole, best={"net_pnl": 0, "stop_atr": 2.0}, ledger=ledger,
        )  # fmt: skip
        assert trials.read(ledger) == [entry]

    def test_no_ledger_is_empty(self, ledger):
        assert trials.read(ledger) == []
        assert trials.verify(ledger).reason == "empty"

    def test_every_changed_byte_is_noticed(self, ledger):
        for name in "abc":
            add(ledger, config=name)
        content = ledger.read_bytes()
        random = np.random.default_rng(3)
        for at in random.integers(0, len(content), 300):
            changed = bytearray(content)
            changed[at] ^= 1 << int(random.integers(0, 7))
            ledger.write_bytes(bytes(changed))
            assert not trials.verify(ledger).passed, f"byte {at}"

    def test_a_figure_edited_in_place_is_named(self, ledger):
        add(ledger)
        add(ledger)
        ledger.write_bytes(ledger.read_bytes().replace(b'"trials":2', b'"trials":1', 1))
        found = trials.verify(ledger)
        assert (found.passed, found.reason, found.line) == (False, "edited", 1)
        with pytest.raises(DataError, match="line 1: edited"):
            trials.read(ledger)

    @pytest.mark.parametrize(("gone", "reason"), [(0, "removed"), (1, "removed"), (2, "truncated")])
    def test_a_removed_line_is_noticed(self, ledger, gone, reason):
        for name in "abc":
            add(ledger, config=name)
        lines = ledger.read_bytes().splitlines(keepends=True)
        ledger.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
        assert trials.verify(ledger).reason == reason

    def test_nothing_is_appended_after_lines_were_cut_off(self, ledger):
        add(ledger)
        add(ledger)
        ledger.write_bytes(ledger.read_bytes().splitlines(keepends=True)[0])
        with pytest.raises(DataError, match="some are gone"):
            add(ledger)

    def test_removed_altogether(self, ledger):
        add(ledger)
        ledger.unlink()
        assert trials.verify(ledger).reason == "truncated"

    def test_swapped_lines(self, ledger):
        add(ledger)
        add(ledger, config="b")
        one, two = ledger.read_bytes().splitlines(keepends=True)
        ledger.write_bytes(two + one)
        assert trials.verify(ledger).reason == "removed"

    def test_the_head_file_is_missed(self, ledger):
        add(ledger)
        add(ledger)
        ledger.with_name("trials.jsonl.head").unlink()
        assert trials.verify(ledger).reason == "head_missing"
        ledger.with_name("trials.jsonl.head").write_text("{")
        assert trials.verify(ledger).reason == "head_stale"

    def test_a_kill_between_line_and_head_loses_nothing(self, ledger):
        add(ledger)
        head = ledger.with_name("trials.jsonl.head")
        before = head.read_bytes()
        add(ledger)
        head.write_bytes(before)
        assert trials.verify(ledger).reason == "intact"
        assert add(ledger).sequence == 3
        assert trials.verify(ledger).reason == "intact"

    def test_an_unfinished_line_is_cut_off_by_the_next(self, ledger):
        first = add(ledger)
        with ledger.open("ab") as file:
            file.write(b'{"sequence":2,"time":"20')
        assert trials.verify(ledger).reason == "unfinished"
        assert trials.read(ledger) == [first]
        add(ledger)
        assert trials.verify(ledger).reason == "intact"

    def test_no_figure_without_a_ledger(self, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(DataError, match="cannot be written"):
            add(tmp_path / "file" / "trials.jsonl")


class TestCommands:
    """Whoever evaluates leaves a line; examinations try nothing."""

    def test_a_backtest_by_hand_is_a_trial_and_counts_once(self, market_catalog, ledger, tmp_path):
        (tmp_path / "params.yaml").write_text("{signal_threshold: 2, adx_threshold: 15.0}\n")
        (tmp_path / "node.yaml").write_text(
            "symbols: [XRPUSDT]\nstrategy: {file: params.yaml, warmup_bars: 60, history_bars: 100}\n"
            f"catalog: {market_catalog}\n"
        )
        elsewhere = tmp_path / "elsewhere"
        elsewhere.symlink_to(market_catalog)
        days = ["--start", "2025-05-10", "--end", "2025-05-14", "--quiet", "--ledger", str(ledger)]
        out = tmp_path / "result.json"
        assert backtest(["--config", str(tmp_path / "node.yaml"), *days, "--json", str(out)]) == 0
        (entry,) = trials.read(ledger)
        stored = json.loads(out.read_text())
        assert (entry.kind, entry.trials, entry.result) == ("backtest", 1, str(out))
        assert (entry.digest, entry.data_hash) == (stored["trial"], stored["data_hash"])
        assert (entry.code.files, entry.sharpe.best) == (trials.code_version().files, stored["statistics"]["sharpe"])
        assert backtest(["--config", str(tmp_path / "node.yaml"), *days, "--catalog", str(elsewhere)]) == 0
        # The service records the same run from the JSON.
        again = trials.record_backtest(
            config=stored["config"], strategy_params=stored["strategy_params"], data_hash=stored["data_hash"],
            sharpe=None, command=["service"], ledger=ledger,
        )  # fmt: skip
        assert {e.config_hash for e in trials.read(ledger)} == {again.config_hash}
        assert trials.effective_trials(symbols=["XRPUSDT"], ledger=ledger).trials == 1
        (tmp_path / "params.yaml").write_text("{signal_threshold: 1, adx_threshold: 15.0}\n")
        assert backtest(["--config", str(tmp_path / "node.yaml"), *days]) == 0
        assert trials.effective_trials(symbols=["XRPUSDT"], ledger=ledger).trials == 2

    def test_what_could_not_be_recorded_is_not_run(self, tmp_path):
        (tmp_path / "file").write_text("in the way")
        began = ["--config", str(ROOT / "config" / "backtest.yaml"), "--ledger", str(tmp_path / "file" / "t.jsonl")]
        with pytest.raises(DataError, match="ledger cannot be written"):
            backtest(began)

    def test_an_examination_holds_no_trial(self, ledger):
        settings = {
            "command": ["x"], "symbols": ["XRPUSDT"], "interval": "15m", "config": "c", "data_hash": "d",
            "sharpe": trials.summarise([]), "ledger": ledger,
        }  # fmt: skip
        trials.record("examination", trials=0, **settings)
        assert trials.effective_trials(ledger=ledger) == (0.0, pytest.approx(math.nan, nan_ok=True), 0, 0)
        for kind, count in (("examination", 1), ("backtest", 0)):
            with pytest.raises(ValueError, match="at least one set"):
                trials.record(kind, trials=count, **settings)


WRITER = """
import sys
from pathlib import Path
import trials
for i in range(int(sys.argv[2])):
    e = trials.record("study", command=["w"], symbols=["X"], interval="1m", config={"i": i}, data_hash="d", trials=1,
                      sharpe=trials.summarise([0.1]), ledger=Path(sys.argv[1]))
    print(e.digest, flush=True)
"""


class TestProcesses:
    def test_writers_take_turns(self, ledger):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, ledger, "25"], cwd=ROOT, stdout=subprocess.DEVNULL)
            for _ in range(3)
        ]
        assert [w.wait(timeout=120) for w in writers] == [0, 0, 0]
        assert trials.verify(ledger).reason == "intact"
        assert len(trials.read(ledger)) == 75

    def test_a_killed_writer_loses_nothing_it_acknowledged(self, ledger):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, ledger, "100000"], cwd=ROOT, stdout=subprocess.PIPE)
        acknowledged = [writer.stdout.readline().decode().strip() for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += [line for line in writer.stdout.read().decode().split() if len(line) == 64]
        writer.wait()
        assert trials.verify(ledger).passed
        assert set(acknowledged) <= {e.digest for e in trials.read(ledger)}
        add(ledger)
        assert trials.verify(ledger).reason == "intact"


class TestEffort:
    def test_pooled_variance_is_that_of_all_ratios(self, ledger):
        random = np.random.default_rng(5)
        parts = [random.normal(m, s, n) for m, s, n in ((0.1, 1.0, 40), (1.0, 0.3, 7), (-2.0, 0.5, 90))]
        for i, part in enumerate(parts):
            add(ledger, config=str(i), sharpes=part.tolist())
        effort = trials.effective_trials(ledger=ledger)
        everything = np.concatenate(parts)
        assert effort.counted == effort.trials == len(everything)
        assert effort.variance == pytest.approx(everything.var(ddof=1), rel=1e-12)
        assert effort.daily_variance == pytest.approx((everything / math.sqrt(365)).var(ddof=1), rel=1e-12)

    def test_the_same_run_again_is_no_new_trial(self, ledger):
        for _ in range(3):
            add(ledger)
        assert trials.effective_trials(ledger=ledger)[0] == 2

    def test_scope(self, ledger):
        add(ledger, symbols=["XRPUSDT", "BTCUSDT"], sharpes=[1.0] * 3)
        add(ledger, symbols=["ETHUSDT"], sharpes=[1.0] * 5, data="e")
        assert trials.effective_trials(ledger=ledger).counted == 8
        assert trials.effective_trials(symbols=["BTCUSDT"], ledger=ledger).counted == 3
        assert trials.effective_trials(data_hash="e", ledger=ledger).counted == 5
        nothing = trials.effective_trials(symbols=["DOGEUSDT"], ledger=ledger)
        assert (nothing.trials, nothing.counted) == (0, 0)
        assert math.isnan(nothing.variance)

    def test_trials_without_a_ratio_count(self, ledger):
        add(ledger, sharpes=[1.0, None, math.nan, 2.0])
        effort = trials.effective_trials(ledger=ledger)
        assert (effort.trials, effort.variance) == (4, 0.5)

    def test_alike_trials_are_one(self):
        random = np.random.default_rng(1)
        one = random.normal(size=(500, 1))
        assert trials.effective_number(np.repeat(one, 50, axis=1)) == pytest.approx(1.0)
        assert trials.effective_number(random.normal(size=(5_000, 50))) == pytest.approx(50, rel=0.02)
        common = np.sqrt(0.5) * one + np.sqrt(0.5) * random.normal(size=(500, 50))
        assert trials.effective_number(common) == pytest.approx(0.5 + 0.5 * 50, rel=0.15)
        assert trials.effective_number(np.zeros((10, 4))) == 1.0


class TestHashes:
    def test_the_order_of_keys_does_not_matter(self):
        assert trials.config_hash({"a": 1, "b": 2}) == trials.config_hash({"b": 2, "a": 1})
        assert trials.config_hash({"a": 1}) != trials.config_hash({"a": 2})

    def test_code_is_hashed_without_git_too(self, monkeypatch):
        with_git = trials.code_version()
        monkeypatch.setenv("PATH", "/nonexistent")
        without = trials.code_version.__wrapped__()
        assert without.commit is None
        assert without.files == with_git.files


class TestCommand:
    def test_show_verify_effort(self, ledger, capsys):
        digest = add(ledger).digest
        assert main(["--ledger", str(ledger), "show", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["digest"] == digest
        assert main(["--ledger", str(ledger), "verify", "--digest", digest]) == 0
        assert "intact" in capsys.readouterr().out
        assert main(["--ledger", str(ledger), "verify", "--digest", "0" * 64]) == 1
        assert main(["--ledger", str(ledger), "effort"]) == 0
        assert "2.0 independent trials" in capsys.readouterr().out
        assert main(["--ledger", str(ledger), "show"]) == 0

    def test_an_edited_ledger_is_exit_code_1(self, ledger, capsys):
        add(ledger)
        ledger.write_bytes(ledger.read_bytes().replace(b"XRPUSDT", b"BTCUSDT"))
        assert main(["--ledger", str(ledger), "verify"]) == 1
        assert "edited, line 1" in capsys.readouterr().out
