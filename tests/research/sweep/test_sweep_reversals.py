"""Votes that turn on every bar, and stops that follow closely: what one trade leaves behind bars the next but one."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest

from research.sweep.check import first_difference, node_run
from research.sweep.market import prepare
from research.sweep.simulate import simulate
from strategies.kernel.params import CompositeParams
from strategies.protection_plan import BarTrailing, ProtectionConfig
from tests.research.sweep.sweep_kit import START, STEP, on, script, scripted_catalog

BARS, FIRST = 150, 70
PARAMS = CompositeParams(signal_threshold=1, adx_threshold=0.0, volume_multiplier=0.0, stop_atr=1.0, target_atr=6.0)


def side_of(index):
    """Return the scripted vote of a bar: the other side each time."""
    return 0 if index < FIRST else 1 if index % 2 else -1


@pytest.fixture(name="scripted")
def scripted_fixture(monkeypatch):
    script(monkeypatch, PARAMS, [side_of(i) for i in range(BARS)])


@pytest.fixture(name="config")
def config_fixture(tmp_path, base):
    random = np.random.default_rng(3)
    close = np.round(2.5 * np.exp(0.01 * random.normal(size=BARS)), 4)
    opened = np.concatenate([[close[0]], close[:-1]])
    wick = 0.02 * random.random((2, BARS))
    high, low = np.round(np.maximum(opened, close) + wick[0], 4), np.round(np.minimum(opened, close) - wick[1], 4)
    catalog = scripted_catalog(tmp_path, "XRPUSDT", (opened, high, low, close), 4)
    limits = msgspec.structs.replace(
        base.risk.limits, daily_loss=None, fast_kill_losses=None, slow_kill_trades=None, enter_on_exit_bar=False
    )
    protection = ProtectionConfig(trailing=BarTrailing(distance=0.1, unit="r", activate_r=0.0, step_r=0.0))
    strategy = msgspec.structs.replace(base.strategy, protection=protection, warmup_bars=60, history_bars=0)
    strategy = msgspec.structs.replace(strategy, assumed_slippage=0.0)
    backtest = msgspec.structs.replace(base.backtest, start=None, end=None, funding=False)
    made = on(base, catalog, "XRPUSDT")
    risk = msgspec.structs.replace(base.risk, limits=limits)
    return msgspec.structs.replace(made, strategy=strategy, risk=risk, backtest=backtest)


def test_a_reversal_on_a_bar_that_the_exit_before_last_has_barred_is_refused(scripted, config):
    """
    Stops moved behind the market close two trades on two closes; the wish of the second close is refused.

    The first exit bars the bar to come, on which the second trade (a reversal) ends the same way, and reverses again.
    """
    market = prepare(config, "XRPUSDT")
    ours = simulate(market, PARAMS)
    node = node_run(config, "XRPUSDT", PARAMS, market.start_ns, market.end_ns)
    assert first_difference(ours, node) is None
    trades = node.trades
    pairs = [
        b.exit_time
        for a, b in pairwise(trades)
        if a.exit_reason == b.exit_reason == "STOP_LOSS"
        and a.exit_time == b.entry_time == b.exit_time - STEP
        and side_of((b.exit_time - START) // STEP - 1) == (-1 if b.side == "LONG" else 1)
    ]
    refused = {v.market_time for v in node.verdict_records if v.reason == "exit_bar"}
    entered = {t.entry_time for t in trades}
    reached = [t for t in pairs if t in refused and t not in entered]
    assert reached, "the path of bars no longer leads there"
