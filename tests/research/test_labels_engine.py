"""The label of a signal is what BacktestNode makes of it: outcome, time, and result in R to the last tick."""

from pathlib import Path

import msgspec
import pytest

from catalog.instruments import interval_ns, load_instruments
from catalog.reader import load_funding
from node.backtest_run import run_backtest
from node.config import NodeConfig, parse_time
from research.dataset import VoteConfig, kernel_inputs, symbol_dataset
from research.labels import LabelConfig
from research.live_labels import label_of
from strategies.barriers import Outcome
from strategies.errors import ConfigError
from strategies.params_file import load_params

LOOSE = "params: {signal_threshold: 2, adx_threshold: 15.0, volume_multiplier: 1.2, stop_atr: 1.0, target_atr: 1.5}\n"
OUTCOMES = {"STOP_LOSS": Outcome.STOP, "TAKE_PROFIT": Outcome.TARGET, "TIME_STOP": Outcome.HORIZON}
START, END = "2025-04-20", "2025-05-06"


def node_config(catalog, folder, **protection):
    (folder / "loose.yaml").write_text(LOOSE)
    tree = {
        "symbols": ["BTCUSDT", "ETHUSDT", "XRPUSDT"],
        "catalog": str(catalog),
        "strategy": {"file": str(folder / "loose.yaml"), "assumed_slippage": 0.0002, "protection": protection},
        "risk": {
            "sizing": {"method": "risk_fraction", "risk_fraction": 0.001},
            "limits": {"fast_kill_losses": None, "slow_kill_trades": None},
        },
        "backtest": {"start": START, "end": END, "slippage_bps": 1, "trigger_slippage_bps": 3, "balance": 1_000_000},
    }
    return msgspec.convert(tree, NodeConfig)


def labels_by_signal(config, symbol, base):
    """Return (outcome, label end, net R) by the signal bar's close and side."""
    step, catalog = interval_ns(config.interval), Path(config.catalog)
    params = load_params(Path(config.strategy.file), symbol)
    end = parse_time(END, "end")
    bars, inputs = kernel_inputs(catalog, symbol, config.interval, 0, end)
    data = symbol_dataset(
        bars,
        inputs,
        step,
        params=params,
        vote=VoteConfig(**{n: getattr(params, n) for n in ("signal_threshold", "adx_threshold", "volume_multiplier")}),
        label=label_of(config, symbol, base),
        warmup_bars=60,
        tick=float(load_instruments()[symbol].price_tick),
        funding=load_funding(catalog, symbol),
    )
    assert data.traded.all()
    rows = zip(data.close_time.tolist(), data.outcome.tolist(), data.label_end.tolist(), data.net_r, strict=True)
    return {close: row for close, *row in rows}


@pytest.mark.parametrize("time_stop", [None, 12], ids=["stop and target", "time stop"])
def test_label_is_what_the_engine_of_record_makes_of_the_signal(market_catalog, tmp_path, time_stop):
    config = node_config(market_catalog, tmp_path, **({"time_stop_bars": time_stop} if time_stop else {}))
    compare(config, LabelConfig(horizon_bars=5_000), 60)


def compare(config, base, at_least):
    """Hold labels against every trade of a backtest that did not end by a reverse signal; return how many."""
    result = run_backtest(config)
    compared, seen = 0, set()
    for symbol in config.symbols:
        labels = labels_by_signal(config, symbol, base)
        for trade in result.trades:
            if trade.symbol != symbol or trade.exit_reason not in OUTCOMES:
                continue
            outcome, end, net_r = labels[trade.entry_time]
            assert OUTCOMES[trade.exit_reason] == outcome, trade
            inside = 0 if outcome == Outcome.HORIZON else interval_ns(config.interval)
            assert trade.exit_time == end - inside, trade  # a stop inside a bar has the time of the bar's open
            risk = trade.quantity * abs(trade.entry_price - trade.stop)
            assert trade.net_pnl / risk == pytest.approx(net_r, rel=1e-6, abs=1e-6), trade
            compared += 1
            seen.add(outcome)
    assert compared >= at_least
    expected = {Outcome.STOP, Outcome.TARGET} | (
        {Outcome.HORIZON} if config.strategy.protection.time_stop_bars else set()
    )
    assert seen == expected
    return compared


def test_costs_and_time_stop_come_from_the_node(market_catalog, tmp_path):
    config = node_config(market_catalog, tmp_path, time_stop_bars=12)
    label = label_of(config, "XRPUSDT", LabelConfig())
    assert (label.slippage, label.at_trigger, label.assumed) == (0.0001, 0.0003, 0.0002)
    assert (label.fee, label.horizon_bars, label.no_hit) == (0.0005, 12, "sign")
    fees = msgspec.structs.replace(
        config, backtest=msgspec.convert({"fees": {"maker": "0.0002", "taker": "0.0004"}}, type(config.backtest))
    )
    assert label_of(fees, "XRPUSDT", LabelConfig()).fee == 0.0004
    trailing = node_config(market_catalog, tmp_path, break_even={"at_r": 1.0})
    with pytest.raises(ConfigError, match="break_even: outcomes follow fixed stops only"):
        label_of(trailing, "XRPUSDT", LabelConfig())
