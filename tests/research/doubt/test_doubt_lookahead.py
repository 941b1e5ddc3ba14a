"""Plants that know the future are caught by name, honest functions and strategies never are."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import trials
from catalog.reader import load_bars
from node.backtest_run import run_backtest
from node.config import load_config
from research.doubt import lookahead, pipeline, recursive
from research.doubt.lookahead import examine_foresight, examine_function
from research.doubt.pipeline import cut_catalog, examine_kernel, examine_kernel_warm_up, examine_strategy, kernel_data
from research.doubt.recursive import bars_needed, examine_warm_up
from research.doubt.tables import Series
from strategies.errors import DataError
from strategies.registry import STRATEGIES, StrategyEntry
from tests.research.doubt.peeking import Peeking

CONFIG = """\
symbols: [XRPUSDT]
context: [BTCUSDT, ETHUSDT]
catalog: {catalog}
strategy: {{name: {name}, file: params.yaml, warmup_bars: 60, history_bars: {history}}}
risk:
  sizing: {{method: risk_fraction, risk_fraction: 0.01}}
  limits: {{max_same_direction: null, daily_loss: null, fast_kill_losses: null, slow_kill_trades: null}}
backtest: {{start: "2025-05-10", end: "2025-05-17", slippage_bps: 1}}
"""


@pytest.fixture(name="bars", scope="module")
def bars_fixture():
    random = np.random.default_rng(41)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.003, 1_500)))
    opened = np.concatenate([[100.0], close[:-1]])
    wick = 0.002 * close * random.random((2, len(close)))
    high, low = np.maximum(opened, close) + wick[0], np.minimum(opened, close) - wick[1]
    return {"open": opened, "high": high, "low": low, "close": close, "volume": random.lognormal(5, 1, len(close))}


@pytest.fixture(name="config")
def config_fixture(tmp_path, market_catalog):
    def make(name="composite", history=100):
        (tmp_path / "params.yaml").write_text("params: {signal_threshold: 2, adx_threshold: 15.0}\n")
        (tmp_path / "node.yaml").write_text(CONFIG.format(catalog=market_catalog, name=name, history=history))
        return load_config(tmp_path / "node.yaml")

    return make


def frame(bars):
    return pd.DataFrame(bars)


def stamped(d):
    return pd.DataFrame({"t": pd.to_datetime(np.arange(len(d["close"])) * 15, unit="m"), "x": d["close"]})


def joined(direction, every):
    def function(d):
        s = stamped(d)
        return {"x": pd.merge_asof(s[["t"]], s.iloc[::every], on="t", direction=direction)["x"].to_numpy()}

    return function


HONEST = {
    "return": lambda d: {"ret": np.diff(np.log(d["close"]), prepend=np.nan)},
    "rolling mean": lambda d: frame(d).rolling(20).mean(),
    "exponential mean": lambda d: frame(d)["close"].ewm(span=20, adjust=False).mean(),
    "expanding z-score": lambda d: (frame(d) - frame(d).expanding().mean()) / frame(d).expanding().std(),
    "flag": lambda d: {"flag": (frame(d)["close"].pct_change() > 0.0075).astype(float)},
    "merged backward": joined("backward", 4),
    "several": lambda d: frame(d)[["close"]].assign(lag=frame(d)["close"].shift(3), volume=frame(d)["volume"]),
}


def two_pass(d):
    """Smoothed forwards and backwards: looks harmless, knows everything."""
    forward = frame(d)["close"].ewm(span=10).mean()
    return {"smooth": forward[::-1].ewm(span=10).mean()[::-1].to_numpy()}


def day_high(d):
    return {"day_high": frame(d)["high"].groupby(np.arange(len(d["high"])) // 96).transform("max")}


def turning_points(d):
    high = frame(d)["high"]
    return {"peak": (high == high.rolling(9, center=True).max()).astype(float)}


def filled_backwards(d):
    return frame(d)[["close"]].where(frame(d)["volume"] > 150).bfill()


def hour_before_its_end(d):
    """The hour's close, stamped with the hour's beginning and carried forward from there."""
    s = stamped(d).set_index("t")["x"]
    return {"hour": s.resample("1h").last().reindex(s.index, method="ffill").to_numpy()}


def fitted_on_the_beginning(d):
    """A scaler that takes the first 300 bars, for those bars too."""
    first = d["close"][:300]
    return {"z": (d["close"] - first.mean()) / first.std()}


def seldom(d):
    """Says one only before the largest moves of the next bar: once in some hundred bars."""
    c = d["close"]
    return {"flag": (np.append(c[1:], c[-1:]) / c > 1.0075).astype(float)}


def hidden_in_noise(d):
    noise = np.random.default_rng(5).normal(0, 1.0, len(d["close"]))
    return {"x": np.append(np.diff(np.log(d["close"])), np.nan) + 0.01 * noise}


def low_pass(d):
    spectrum = np.fft.rfft(d["close"])
    spectrum[20:] = 0
    return {"x": np.fft.irfft(spectrum, len(d["close"]))}


ALL = "the whole history"
PLANTS = {
    "shift -1": (lambda d: {"good": d["close"], "ret_1": frame(d)["close"].pct_change().shift(-1)}, "ret_1", "1 ahead"),
    "shift -5": (lambda d: {"ret_5": frame(d)["close"].shift(-5).to_numpy()}, "ret_5", "5 ahead"),
    "centred mean": (lambda d: frame(d)[["close"]].rolling(21, center=True).mean(), "close", "10 ahead"),
    "scaled by all": (lambda d: {"z": (d["close"] - d["close"].mean()) / d["close"].std()}, "z", ALL),
    "bounds of all": (lambda d: {"u": (d["close"] - d["close"].min()) / np.ptp(d["close"])}, "u", ALL),
    "ranked among all": (lambda d: {"rank": frame(d)["volume"].rank(pct=True)}, "rank", ALL),
    "clipped at quantiles of all": (lambda d: {"c": np.clip(d["volume"], 0, np.quantile(d["volume"], 0.7))}, "c", ALL),
    "filled backwards": (filled_backwards, "close", "ahead"),
    "forward and backward filter": (two_pass, "smooth", "ahead"),
    "the day's high": (day_high, "day_high", "ahead"),
    "turning points": (turning_points, "peak", "ahead"),
    "an hour before its end": (hour_before_its_end, "hour", "ahead"),
    "merged forward": (joined("forward", 4), "x", "ahead"),
    "merged to the nearest": (joined("nearest", 7), "x", "ahead"),
    "fitted on the beginning": (fitted_on_the_beginning, "z", "ahead"),
    "seldom": (seldom, "flag", "1 ahead"),
    "hidden in noise": (hidden_in_noise, "x", "1 ahead"),
    "low pass": (low_pass, "x", ALL),
    "interpolated": (lambda d: frame(d)[["close"]].where(frame(d)["volume"] > 100).interpolate(), "close", "ahead"),
    "counted over all": (
        lambda d: {"n": (s := frame(d)["close"].round(1)).map(s.value_counts()).to_numpy(float)},
        "n",
        ALL,
    ),
    "bounds of all, first extreme": (lambda d: {"x": d["close"] / d["close"][: len(d["close"]) // 3].max()}, "x", ALL),
}


class TestFunctions:
    @pytest.mark.parametrize("name", HONEST)
    def test_honest(self, bars, name):
        found = examine_function(HONEST[name], bars)
        assert found.passed is True, found.detail

    @pytest.mark.parametrize("name", PLANTS)
    def test_planted(self, bars, name):
        function, column, words = PLANTS[name]
        found = examine_function(function, bars)
        assert found.reason == "look_ahead"
        assert column in found.figures["columns"]
        assert "good" not in found.figures["columns"]
        assert words in found.detail

    def test_the_input_it_came_from_is_named(self, bars):
        found = examine_function(lambda d: {"x": d["close"] + frame(d)["volume"].shift(-1)}, bars)
        assert found.figures["inputs"] == ["volume"]

    def test_matrices_and_frames(self, bars):
        matrix = np.column_stack([bars["close"], bars["volume"]])
        assert examine_function(lambda m: np.cumsum(m, axis=0), matrix).passed is True
        found = examine_function(lambda m: np.roll(m, -1, axis=0), matrix, names=["close", "volume"])
        assert set(found.figures["columns"]) == {"close", "volume"}
        assert examine_function(lambda f: f.rolling(5).mean(), frame(bars)).passed is True
        assert examine_function(lambda f: f.shift(-2), frame(bars)).reason == "look_ahead"

    def test_rows_that_come_late_are_no_excuse(self, bars):
        with pytest.raises(ValueError, match="one row per bar"):
            examine_function(lambda d: d["close"][:-1], bars)

    def test_a_function_that_does_not_repeat_itself(self, bars):
        random = np.random.default_rng(1)
        assert "not repeatable" in examine_function(lambda d: random.normal(size=len(d["close"])), bars).detail

    def test_a_series_of_its_own_times(self, bars):
        """A settlement is known when it settles: joined a bar too early it is the future."""
        close = np.arange(1, 1_501) * 900
        settled = np.arange(1, 48) * 28_800
        data = {
            "bars": Series(close, {"close": bars["close"]}),
            "funding": Series(
                settled, {"time": settled, "rate": np.random.default_rng(3).normal(0, 1e-4, len(settled))}
            ),
        }

        def join(side, d):
            at = np.searchsorted(d["funding"].columns["time"], d["bars"].known + side, side="left") - 1
            rate = d["funding"].columns["rate"]
            return {"funding": np.where(at >= 0, rate[np.maximum(at, 0)], np.nan) if len(rate) else at * np.nan}

        assert examine_function(lambda d: join(0, d), data, primary="bars").passed is True
        found = examine_function(lambda d: join(28_800, d), data, primary="bars", cuts=40)
        assert found.reason == "look_ahead"
        assert found.figures["inputs"] == ["funding"]


class TestOurKernel:
    def test_it_is_honest(self, config):
        for seed in (1, 2):
            found = examine_kernel(config(), "XRPUSDT", cuts=6, seed=seed)
            assert found.passed is True, found.detail

    def test_a_side_series_joined_too_early_is_caught(self, config, monkeypatch):
        """The close of BTC's next bar."""
        honest = pipeline.join_closes
        monkeypatch.setattr(pipeline, "join_closes", lambda t, o, c: honest(t, o - 900_000_000_000, c))
        found = examine_kernel(config(), "XRPUSDT", cuts=4)
        assert found.reason == "look_ahead"
        assert "btc_ret_1" in found.figures["columns"]
        assert set(found.figures["inputs"]) == {"BTCUSDT", "ETHUSDT"}

    def test_funding_known_too_early_is_caught(self, config, monkeypatch):
        honest = pipeline.join_funding
        monkeypatch.setattr(pipeline, "join_funding", lambda t, s, r: honest(t, s - 8 * 3_600_000_000_000, r))
        found = examine_kernel(config(), "XRPUSDT", cuts=24)
        assert (found.reason, found.figures["inputs"]) == ("look_ahead", ["funding"])

    def test_warm_up(self, config):
        found = examine_kernel_warm_up(config(history=1_500), "XRPUSDT")
        assert found.passed is True, found.detail
        assert 300 < max(v for v in found.figures["bars_needed"].values()) <= 1_500

    def test_a_short_warm_up_is_named(self, config):
        needed = examine_kernel_warm_up(config(), "XRPUSDT").figures["bars_needed"]
        found = examine_warm_up(needed, 100)
        assert found.reason == "warm_up_dependent"
        assert "adx" in found.detail or "rsi" in found.detail

    def test_bars_needed_are_exact(self, bars):
        """A window of 20 needs 20; a sum since the beginning never forgets it."""
        needed = bars_needed(
            lambda d: {"window": frame(d)["close"].rolling(20).max(), "sum": np.cumsum(d["close"])}, bars
        )
        assert needed == {"window": 20, "sum": None}
        assert "sum (never)" in examine_warm_up(needed, 1_000).detail


class TestForesight:
    def test_planted(self, bars):
        at = np.arange(10, 1_400, 20)
        side = np.sign(bars["close"][at + 1] - bars["close"][at]).astype(int)
        assert examine_foresight(bars["close"], at, side).reason == "foresight"
        later = np.sign(bars["close"][at + 8] - bars["close"][at]).astype(int)
        assert "next 8 bars" in examine_foresight(bars["close"], at, later).detail

    def test_honest_signals_are_never_accused(self):
        for seed in range(60):
            random = np.random.default_rng(seed)
            close = 100 * np.exp(np.cumsum(random.normal(0.0003, 0.003, 3_000)))  # a strong trend
            at = np.sort(random.choice(2_900, 200, replace=False))
            assert examine_foresight(close, at, np.ones(200, int)).passed is not False, f"seed {seed}"


class TestStrategies:
    @pytest.fixture(autouse=True)
    def registered(self, monkeypatch):
        entry = STRATEGIES["composite"]
        path = "tests.research.doubt.peeking:Peeking"
        monkeypatch.setitem(STRATEGIES, "peeking", StrategyEntry(path, entry.config_path, "PEK"))

    def test_honest(self, config):
        answers = examine_strategy(config(), cuts=2)
        assert answers[0].passed is True, answers[0].detail
        assert all(d.passed is not False for d in answers)

    def test_a_strategy_that_reads_the_next_bar_in_the_catalog(self, config, monkeypatch):
        def run(given, **more):
            Peeking.CATALOG = Path(given.catalog)
            return run_backtest(given, **more)

        monkeypatch.setattr(pipeline, "run_backtest", run)
        found, foresight = examine_strategy(config("peeking"), cuts=2)
        assert found.reason == "look_ahead"
        assert "XRPUSDT" in found.detail
        assert foresight.reason == "foresight"

    def test_a_strategy_that_knows_it_from_elsewhere(self, config, market_catalog, monkeypatch):
        """A file of its own is not cut; being right about the next bar nearly always gives it away."""
        monkeypatch.setattr(Peeking, "CATALOG", market_catalog)
        answers = {d.name: d for d in examine_strategy(config("peeking"), cuts=1)}
        assert answers["foresight of signals XRPUSDT"].reason == "foresight"

    def test_a_cut_catalog_ends_at_the_cut(self, config, market_catalog, tmp_path):
        data = kernel_data(config(), "XRPUSDT")
        cut = int(data["bars"].known[2_000])
        cut_catalog(market_catalog, tmp_path / "cut", cut)
        whole = load_bars(market_catalog, "XRPUSDT", "15m")
        part = load_bars(tmp_path / "cut", "XRPUSDT", "15m")
        assert part.open_time[-1] + 900_000_000_000 == cut
        for name in (f.name for f in dataclasses.fields(part)):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[: len(part)])


class TestCommands:
    def test_lookahead(self, config, tmp_path, capsys):
        config()
        code = lookahead.main(
            ["--config", str(tmp_path / "node.yaml"), "--cuts", "1", "--json", str(tmp_path / "o.json"),
             "--ledger", str(tmp_path / "trials.jsonl")]
        )  # fmt: skip
        assert code == 0
        (line,) = trials.read(tmp_path / "trials.jsonl")
        assert (line.kind, line.trials, line.command[0]) == ("examination", 0, "research.doubt.lookahead")
        assert line.symbols == ["XRPUSDT"]
        assert "look-ahead of strategy" in capsys.readouterr().out
        assert (tmp_path / "o.json").exists()

    def test_recursive(self, config, tmp_path, capsys):
        config(history=1_500)
        ledger = tmp_path / "trials.jsonl"
        assert recursive.main(["--config", str(tmp_path / "node.yaml"), "--ledger", str(ledger)]) == 0
        (line,) = trials.read(ledger)
        assert (line.kind, line.command[0]) == ("examination", "research.doubt.recursive")
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(DataError, match="cannot be written"):
            recursive.main(["--config", str(tmp_path / "node.yaml"), "--ledger", str(tmp_path / "file" / "t.jsonl")])
        assert "bars until a column is exact" in capsys.readouterr().out
