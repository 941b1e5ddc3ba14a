"""What a person can get wrong in a configuration or on the command line: one line, and the process ends with 2."""

import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import backtest
from node.config import format_time, load_config, parse_time
from strategies.errors import ArgonautError, ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["backtest", "demo", "golden"])
def test_the_shipped_configurations_load(name):
    config = load_config(ROOT / "config" / f"{name}.yaml")
    assert Path(config.strategy.file).is_file()
    assert config.all_symbols[-1] == "XRPUSDT"
    assert len(set(config.all_symbols)) == len(config.all_symbols)


# What is changed in a correct file, and what the line must name.
WRONG = [
    (("interval: 15m", "intervall: 15m"), ("intervall", "did you mean `interval`?")),
    (("warmup_bars: 60", "warmup_bar: 60"), ("strategy.warmup_bar", "did you mean `warmup_bars`?")),
    (("max_positions: 3", "max_position: 3"), ("risk.limits.max_position", "did you mean `max_positions`?")),
    (("slippage_bps: 1", "slippage_pbs: 1"), ("backtest.slippage_pbs", "slippage_bps")),
    (("warmup_bars: 60", "warmup_bars: many"), ("strategy.warmup_bars", "int", "str")),
    (("warmup_bars: 60", "warmup_bars: -1"), ("strategy.warmup_bars", ">= 0")),
    (("slippage_bps: 1", "slippage_bps: .inf"), ("backtest.slippage_bps",)),
    (("slippage_bps: 1", "balance: 0"), ("backtest.balance", "> 0")),
    (("slippage_bps: 1", "balance: .nan"), ("backtest.balance",)),
    (("slippage_bps: 1", "leverage: 126"), ("backtest.leverage", "<= 125")),
    (("slippage_bps: 1", "fees: {maker: 'x', taker: '0'}"), ("maker", "not a decimal number")),
    (("slippage_bps: 1", "fees: {maker: 'NaN', taker: '0'}"), ("maker", "not a plausible fee")),
    (("slippage_bps: 1", "fees: {maker: '4', taker: '0'}"), ("maker", "not a plausible fee")),
    (("slippage_bps: 1", "fees: {maker: 0.0004, taker: 0.0004}"), ("backtest.fees.maker", "str", "float")),
    (("start: 2025-04-06", "start: 2025-13-06"), ("backtest.start", "2025-13-06", "not a date")),
    (("end: 2025-05-16", "end: soon"), ("backtest.end", "soon", "not a date")),
    (("interval: 15m", "interval: 7m"), ("interval", "7m")),
    (("symbols: [XRPUSDT]", "symbols: []"), ("symbols", "length")),
    (("symbols: [XRPUSDT]", "symbols: [XRPUSDT, XRPUSDT]"), ("symbols", "twice")),
    (("symbols: [XRPUSDT]", "symbols: [xrpusdt]"), ("symbols", "regex")),
    (("context: [BTCUSDT, ETHUSDT]", "context: [BTCUSDT]"), ("context", "two symbols")),
    (("file: params.yaml", "file: parms.yaml"), ("strategy.file", "parms.yaml", "no such file")),
    (("file: params.yaml", "file: params.yaml\n  name: composit"), ("strategy.name", "composit", "composite")),
    (("interval: 15m", "interval: 15m\nvenue: nowhere.yaml"), ("venue", "nowhere.yaml", "no such file")),
    (("interval: 15m", "interval: 15m\ninterval: 1h"), ("duplicate key", "interval")),
    (("interval: 15m", "interval: [15m"), ("not valid YAML",)),
    (("method: risk_fraction,", "method: kelly,"), ("risk.sizing", "kelly")),
    (("risk_fraction: 0.01", "risk_fraction: 1.5"), ("risk.sizing", "1.0")),
    (("context:", "protection: {max_attempts: 0}\ncontext:"), ("protection",)),
    (("warmup_bars: 60", "protection: {trigger: index}"), ("strategy.protection.trigger", "index")),
    (("warmup_bars: 60", "protection: {max_attempts: 0}"), ("strategy.protection.max_attempts", ">= 1")),
]


@pytest.mark.parametrize(("change", "words"), WRONG, ids=[c[0][1][:40].replace("\n", " ") for c in WRONG])
def test_a_wrong_file_is_one_line_that_names_file_key_and_remedy(write_config, change, words):
    path = write_config(change)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path)), message
    for word in words:
        assert word in message, message


# Faults that show only when the run is prepared.
WRONG_RUNS = [
    ((("end: 2025-05-16", "end: 2025-04-06"),), (), ("start", "is not before end")),
    (
        (("start: 2025-04-06", "start: 2025-03-01"),),
        (),
        ("2025-04-01T00:00:00Z to 2025-05-16T00:00:00Z", "ingest"),
    ),
    ((("end: 2025-05-16", "end: 2025-05-17"),), (), ("2025-05-17T00:00:00Z", "asked for")),
    ((("symbols: [XRPUSDT]", "symbols: [DOGEUSDT]"),), (), ("DOGEUSDT", "ingest")),
    ((), ("--start", "yesterday"), ("--start", "yesterday", "not a date")),
    ((), ("--end", "2025-04-06"), ("is not before end",)),
    ((), ("--catalog", "no/such/place"), ("no/such/place",)),
]


@pytest.mark.parametrize(("changes", "options", "words"), WRONG_RUNS)
def test_a_run_that_cannot_be_made_is_one_line(write_config, tmp_path, changes, options, words):
    out = tmp_path / "result.json"
    with pytest.raises(ArgonautError) as caught:
        backtest.main(["--config", str(write_config(*changes)), "--json", str(out), *options])
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_a_typo_in_the_parameter_file_is_one_line(write_config):
    path = write_config(params="params: {signal_treshold: 2}\n")
    with pytest.raises(ConfigError, match=r"params\.yaml: params: signal_treshold: unknown key .*signal_threshold"):
        backtest.main(["--config", str(path)])


@pytest.mark.parametrize(
    ("change", "word"),
    [(("interval: 15m", "intervall: 15m"), "intervall"), (("end: 2025-05-16", "end: 2026-05-16"), "asked for")],
)
def test_the_command_prints_one_line_and_ends_with_2(write_config, change, word):
    path = write_config(change)
    run = subprocess.run(
        [sys.executable, "-m", "node.backtest", "--config", str(path)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 2, run.stderr
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert line.startswith("error: ")
    assert word in line


def test_a_missing_file_ends_with_2_and_help_is_quick():
    run = subprocess.run(
        [sys.executable, "-m", "node.backtest", "--config", "no-such.yaml"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (2, "error: no-such.yaml: no such file\n")
    times = []
    for _ in range(3):
        before = time.perf_counter()
        run = subprocess.run(
            [sys.executable, "-m", "node.backtest", "--help"],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        times.append(time.perf_counter() - before)
    assert "--config" in run.stdout
    assert min(times) < 1.0, times


def test_the_command_line_wins_over_the_file(write_config, market):
    config = load_config(write_config())
    changed = backtest.with_options(config, Path("elsewhere"), "2025-04-10", None)
    assert (changed.catalog, changed.backtest.start, changed.backtest.end) == ("elsewhere", "2025-04-10", "2025-05-16")
    assert backtest.with_options(config, None, None, None) == config
    assert config.catalog == str(market)


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("1970-01-01", 0),
        ("2025-09-01", 1_756_684_800_000_000_000),
        ("2025-09-01T08:00Z", 1_756_713_600_000_000_000),
        ("2025-09-01T10:00+02:00", 1_756_713_600_000_000_000),
        ("2025-09-01T08:00:00.000001", 1_756_713_600_000_001_000),
        ("1969-12-31T23:59:59.5", -500_000_000),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(text, nanos):
    assert parse_time(text, "x") == nanos


@pytest.mark.parametrize("text", ["", "soon", "2025-02-30", "01.09.2025", "0001-01-01T00:00+05:00", "1756684800"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ConfigError, match=r"key: .* is not a date or time"):
        parse_time(text, "key")


@given(st.integers(0, 4_102_444_800))
def test_whole_seconds_go_out_and_come_back(seconds):
    assert parse_time(format_time(seconds * 1_000_000_000), "x") == seconds * 1_000_000_000


def test_a_configuration_is_immutable_and_survives_json(write_config):
    config = load_config(write_config())
    with pytest.raises(AttributeError):
        config.interval = "1h"
    assert msgspec.json.decode(msgspec.json.encode(config), type=type(config)) == config
