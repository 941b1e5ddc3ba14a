"""A whole backtest over a generated market: what it decides, what it charges, what it writes down."""

import io
import json
import re
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest

from catalog.ingest import main as ingest
from catalog.reader import load_funding
from node import backtest
from node.backtest_run import resolve_window, run_backtest
from node.config import load_config, parse_time
from node.report import print_result, result_to_plain, trade_to_plain
from research.features import build_features
from strategies.composite import Composite
from strategies.errors import ArgonautError, DataError
from strategies.kernel.columns import COLUMNS, EXTRAS, FEATURES
from strategies.order_ids import decode
from strategies.params_file import load_params
from strategies.records import TradeRecord
from tests.node.conftest import MARKET_START, SYMBOLS, write_market

STEP = 900_000_000_000
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")


@pytest.fixture(name="config", scope="module")
def config_fixture(market, tmp_path_factory):
    from tests.node.conftest import CONFIG, PARAMS

    folder = tmp_path_factory.mktemp("config")
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "node.yaml").write_text(CONFIG.format(catalog=market))
    return load_config(folder / "node.yaml")


@pytest.fixture(name="result", scope="module")
def result_fixture(config):
    return run_backtest(config, log_level="OFF")


def changed(config, **fields):
    own = {k: v for k, v in fields.items() if k in config.backtest.__struct_fields__}
    others = {k: v for k, v in fields.items() if k not in own}
    return msgspec.structs.replace(config, backtest=msgspec.structs.replace(config.backtest, **own), **others)


def facts(result):
    """Return what must be equal in two runs: everything but how long it took and what each machine's clock said."""
    plain = result_to_plain(result)
    del plain["run_seconds"]
    for records in plain.values():
        for record in records if isinstance(records, list) else []:
            if isinstance(record, dict):
                record.pop("wall_time", None)
                if record.get("kind") == "incident":
                    record.pop("id")
    return plain


def test_signals_and_their_features_are_those_of_research(config, market, result):
    window = resolve_window(config)
    params = load_params(Path(config.strategy.file), "XRPUSDT")
    table = build_features(market, "XRPUSDT", "15m", params, start_ns=window.start_ns, end_ns=window.end_ns)
    at = {name: i for i, name in enumerate(COLUMNS)}
    votes = table.rows[:, at["signal"]]
    closes = table.bars.open_time + STEP
    expected = [(int(closes[i]), "LONG" if votes[i] > 0 else "SHORT") for i in np.flatnonzero(votes)]
    assert len(expected) > 10
    assert {side for _, side in expected} == {"LONG", "SHORT"}
    assert [(s.market_time, s.side) for s in result.signals] == expected
    picked = [at[name] for name in (*FEATURES, *EXTRAS)]
    for signal, i in zip(result.signals, np.flatnonzero(votes), strict=True):
        ours = np.array([np.nan if x is None else x for x in signal.features])
        assert ours.tobytes() == np.where(np.isfinite(table.rows[i, picked]), table.rows[i, picked], np.nan).tobytes()


def test_every_signal_has_a_verdict_and_every_trade_a_signal(result):
    assert Counter(v.signal_id for v in result.verdict_records) == Counter(s.id for s in result.signals)
    assert sum(result.verdicts.values()) == len(result.signals)
    passed = {v.signal_id for v in result.verdict_records if v.passed}
    assert len(result.trades) + len(result.open_positions) == len(passed)
    assert {t.signal_id for t in result.trades} <= passed
    assert all(t.verdicts == ["risk:passed"] for t in result.trades)


def test_trades_obey_their_levels(result):
    assert len(result.trades) > 5
    for t in result.trades:
        sign = 1 if t.side == "LONG" else -1
        assert sign * (t.target - t.stop) > 0
        assert t.exit_time >= t.entry_time
        if t.exit_reason == "STOP_LOSS":
            assert sign * (t.exit_price - t.stop) <= 1e-9
        elif t.exit_reason == "TAKE_PROFIT":
            assert sign * (t.exit_price - t.target) >= -1e-9
        else:
            assert t.exit_reason == "REVERSE_SIGNAL"
        assert t.gross_pnl == pytest.approx(sign * t.quantity * (t.exit_price - t.entry_price), abs=1e-6)
        assert t.net_pnl == pytest.approx(t.gross_pnl - t.fees + t.funding, abs=1e-6)
        assert t.fees == pytest.approx(0.0005 * t.quantity * (t.entry_price + t.exit_price), rel=1e-6)


def test_the_wallet_is_the_sum_of_what_happened(config, result):
    fees = sum(float(f.fee) for f in result.fills)
    flows = sum((-1 if f.side == "BUY" else 1) * float(f.quantity) * float(f.price) for f in result.fills)
    held = sum((1 if p.side == "LONG" else -1) * p.quantity * p.entry_price for p in result.open_positions)
    funding = sum(f.amount for f in result.funding)
    assert result.final_balance == pytest.approx(config.backtest.balance + flows + held - fees + funding, abs=1e-4)
    unrealized = sum(p.unrealized_pnl for p in result.open_positions)
    assert result.final_equity == pytest.approx(result.final_balance + unrealized, abs=1e-4)
    for point in result.equity:
        assert point.equity == pytest.approx(point.balance + point.unrealized, abs=1e-6)


def test_funding_is_charged_on_what_was_open_at_each_settlement(result, market):
    rates = load_funding(market, "XRPUSDT")
    expected = set()
    for time, rate in zip(rates.time.tolist(), rates.rate.tolist(), strict=True):
        # An entry filled on the close at the settlement comes after it, an exit sent on that close does too; a stop
        # inside the bar that opens then has the same time and also comes after it.
        expected |= {(time, rate) for t in result.trades if t.entry_time < time <= t.exit_time}
    got = {(int(f.id.split("/")[1]) * 1_000_000, f.rate) for f in result.funding}
    assert expected <= got
    last_entry = max(f.market_time for f in result.fills if f.leg == "ENTRY")
    for time, _ in got - expected:
        assert result.open_positions, "charged while flat"
        assert time > last_entry
    assert expected, "the market must hold a position over a settlement"
    charged = [f.amount for f in result.funding if (int(f.id.split("/")[1]) * 1_000_000, f.rate) in expected]
    assert sum(t.funding for t in result.trades) == pytest.approx(sum(charged))


def test_the_same_run_twice_is_the_same(config, result):
    assert facts(run_backtest(config, log_level="OFF")) == facts(result)


def test_equity_covers_every_bar_of_the_window_once(config, result):
    window = resolve_window(config)
    times = [p.market_time for p in result.equity]
    assert times == list(range(window.start_ns + STEP, window.end_ns + 1, STEP))
    assert len(result.daily_equity) == 40
    assert result.daily_equity[0][0] == "2025-04-06"
    assert result.daily_equity[-1] == ("2025-05-15", result.final_equity)
    assert result.statistics.days == 40
    assert result.statistics.total_return == pytest.approx(result.final_equity / 10_000 - 1)
    assert result.statistics.trades == len(result.trades)
    assert result.statistics.net_pnl == pytest.approx(sum(t.net_pnl for t in result.trades))


def test_only_the_window_trades_and_history_before_it_is_used(config, market):
    part = run_backtest(changed(config, start="2025-04-20", end="2025-05-01"), log_level="OFF")
    low, high = parse_time("2025-04-20", "x"), parse_time("2025-05-01", "x")
    assert part.signals
    assert all(low < s.market_time <= high for s in part.signals)
    assert (part.start, part.end) == ("2025-04-20T00:00:00Z", "2025-05-01T00:00:00Z")
    window = resolve_window(changed(config, start="2025-04-20"))
    assert window.data_start_ns == low - 480 * STEP
    assert resolve_window(changed(config, start="2025-04-02")).data_start_ns == MARKET_START
    whole = resolve_window(changed(config, start=None, end=None))
    assert (whole.start_ns, whole.end_ns) == (MARKET_START, MARKET_START + 45 * 96 * STEP)


def test_three_symbols_share_one_account_and_every_order_id_is_unique(config):
    result = run_backtest(changed(config, symbols=SYMBOLS, end="2025-04-26"), log_level="OFF")
    assert {t.symbol for t in result.trades} == set(SYMBOLS)
    entries = Counter(f.market_time for f in result.fills if f.leg == "ENTRY")
    assert entries.most_common(1)[0][1] > 1, "the symbols must enter on the same bar at least once"
    owner = {}
    for fill in result.fills:
        assert owner.setdefault(fill.client_order_id, fill.symbol) == fill.symbol
        assert decode(fill.client_order_id) is not None
    assert [i for i in result.incidents if i.severity != "info"] == []
    assert not result.config.context or len({f.symbol for f in result.funding}) > 1


def test_latency_leaves_no_position_without_its_exit(config):
    result = run_backtest(changed(config, latency_ms=250.0), log_level="OFF")
    assert len(result.trades) > 5
    for t in result.trades:
        sign = 1 if t.side == "LONG" else -1
        # A stop that could not be placed in time is closed at market, one bar late, not left to run to nowhere.
        assert sign * (t.exit_price - t.stop) > -0.03 * t.entry_price, t
    assert len({s.id for s in result.signals}) > len(result.trades) / 2, "trading goes on to the end"
    entries = [f for f in result.fills if f.leg == "ENTRY"]
    assert len(entries) == len(result.trades) + len(result.open_positions)


def test_given_fees_and_slippage_replace_the_defaults(config):
    from node.config import FeesConfig

    free = run_backtest(changed(config, fees=FeesConfig(maker="0", taker="0"), slippage_bps=0.0), log_level="OFF")
    assert free.statistics.fees == 0
    closes = {s.market_time: s.reference_price for s in free.signals}
    for t in free.trades:
        assert t.entry_price == pytest.approx(closes[t.entry_time], rel=1.1e-4)  # the reference assumes 1 bp


def test_an_account_ten_times_too_large_is_liquidated_and_ends_at_or_above_zero(config, market, tmp_path):
    from strategies.sizing import MarginRatio

    sizing = MarginRatio(max_ratio=1.0, min_ratio=1.0, step_per_usdt=0.0, leverage=120.0)
    (tmp_path / "wide.yaml").write_text(
        "params: {signal_threshold: 2, adx_threshold: 15.0, volume_multiplier: 1.5, stop_atr: 20.0, target_atr: 60.0}\n"
    )
    risky = changed(
        config,
        leverage=125,
        strategy=msgspec.structs.replace(config.strategy, file=str(tmp_path / "wide.yaml")),
        risk=msgspec.structs.replace(config.risk, sizing=sizing, max_notional_per_order=1_000_000_000),
    )
    result = run_backtest(risky, log_level="OFF")
    assert [i.code for i in result.incidents if i.code == "liquidation"] == ["liquidation"]
    assert result.final_balance >= 0
    assert result.final_equity >= 0
    assert min(p.equity for p in result.equity) >= 0
    assert result.trades[-1].exit_reason in ("LIQUIDATION", "STOP_LOSS")
    liquidated = next(i.market_time for i in result.incidents if i.code == "liquidation")
    assert all(f.market_time <= liquidated for f in result.fills)
    assert 0 <= result.statistics.max_drawdown <= 1


def test_a_defect_in_a_strategy_ends_the_run(config, monkeypatch):
    def broken(self, row, funding):
        raise ZeroDivisionError("defect")

    monkeypatch.setattr(Composite, "evaluate", broken)
    with pytest.raises(ZeroDivisionError, match="defect"):
        run_backtest(config, log_level="OFF")


class TestCatalogWithout:
    @pytest.fixture(name="bare")
    def bare_fixture(self, config, tmp_path):
        """Return a configuration whose catalog holds bars only."""
        rows = ["open_time,open,high,low,close,volume"]
        rows += [f"{MARKET_START // 1_000_000 + i * 900_000},1.0,1.01,0.99,1.0,1000" for i in range(96 * 8)]
        (tmp_path / "XRPUSDT.csv").write_text("\n".join(rows) + "\n")
        catalog = tmp_path / "bare"
        series = ["--symbol", "XRPUSDT", "--interval", "15m", "--from", str(tmp_path / "XRPUSDT.csv")]
        assert not ingest(["klines", *series, "--catalog", str(catalog)])
        return changed(config, catalog=str(catalog), context=(), start="2025-04-07", end=None)

    def test_funding_is_asked_for_by_name(self, bare):
        with pytest.raises(DataError, match=r"XRPUSDT.*funding|funding.*XRPUSDT"):
            run_backtest(bare, log_level="OFF")

    def test_funding_may_be_left_out(self, bare):
        result = run_backtest(changed(bare, funding=False), log_level="OFF")
        assert (result.trades, result.funding, result.final_equity) == ([], [], 10_000.0)
        assert result.statistics.sharpe is None

    def test_context_is_asked_for_by_name(self, bare):
        with pytest.raises(ArgonautError, match="BTCUSDT"):
            run_backtest(changed(bare, context=("BTCUSDT", "ETHUSDT")), log_level="OFF")


class TestOutput:
    def test_the_command_writes_a_complete_result_and_prints_tables(self, result, tmp_path, capsys, write_config):
        out = tmp_path / "deep" / "result.json"
        assert backtest.main(["--config", str(write_config()), "--json", str(out), "--quiet"]) == 0
        assert capsys.readouterr().out == ""
        written = json.loads(out.read_text())
        assert [p.name for p in out.parent.iterdir()] == ["result.json"], "no temporary file is left"
        wanted = {f for f in TradeRecord.__struct_fields__ if f != "wall_time"}
        for trade, ours in zip(written["trades"], result.trades, strict=True):
            assert wanted <= trade.keys()
            assert TIME.match(trade["entry_time"])
            assert TIME.match(trade["exit_time"])
            assert parse_time(trade["entry_time"], "x") == ours.entry_time
            assert trade["net_pnl"] == ours.net_pnl
        assert written["config"]["backtest"]["start"] == "2025-04-06"
        assert written["strategy_params"]["XRPUSDT"]["signal_threshold"] == 2
        assert re.fullmatch(r"[0-9a-f]{64}", written["data_hash"])
        assert written["data_hash"] == result.data_hash
        assert written["versions"]["nautilus_trader"] == "1.231.0"
        assert written["statistics"]["trades"] == len(result.trades)
        for name in ("equity", "signals", "verdict_records", "fills", "funding"):
            assert all(TIME.match(r["market_time"]) for r in written[name]), name
        assert "NaN" not in out.read_text()
        assert "Infinity" not in out.read_text()

    def test_tables_name_the_window_the_figures_and_synthetic_data(self, result):
        text = io.StringIO()
        print_result(msgspec.structs.replace(result, synthetic=True), text)
        assert "SYNTHETIC DATA" in text.getvalue()
        assert "2025-04-06T00:00:00Z to 2025-05-16T00:00:00Z" in text.getvalue()
        assert f"{result.statistics.net_pnl:+,.2f} USDT" in text.getvalue()
        real = io.StringIO()
        print_result(result, real)
        assert "SYNTHETIC" not in real.getvalue()

    def test_a_place_that_cannot_be_written_is_said(self, write_config, tmp_path):
        (tmp_path / "file").write_text("")
        out = str(tmp_path / "file" / "result.json")
        with pytest.raises(ArgonautError, match=r"file/result\.json: cannot be written"):
            backtest.main(["--config", str(write_config()), "--json", out, "--quiet"])


def test_the_data_hash_tells_markets_apart(config, result, tmp_path):
    write_market(tmp_path / "other", seed=8)
    other = run_backtest(changed(config, catalog=str(tmp_path / "other"), end="2025-04-08"), log_level="OFF")
    same = run_backtest(changed(config, end="2025-04-08"), log_level="OFF")
    assert len({other.data_hash, same.data_hash, result.data_hash}) == 3


@pytest.mark.parametrize(
    ("reason", "opened"),
    [("STOP_LOSS", "01:00"), ("TAKE_PROFIT", "01:00"), ("TRAILING_STOP", "01:00"), ("REVERSE_SIGNAL", "00:45")],
)
def test_the_bar_of_an_exit_is_the_one_it_fell_into(result, reason, opened):
    """What fills inside a bar carries the close of the bar before; what is sent on a close, that close."""
    hour = MARKET_START // (4 * STEP) * 4 * STEP + 4 * STEP
    trade = msgspec.structs.replace(result.trades[0], exit_reason=reason, exit_time=hour)
    assert trade_to_plain(trade, STEP)["exit_bar"].endswith(f"T{opened}:00Z")
