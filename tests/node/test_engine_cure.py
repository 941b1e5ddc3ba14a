"""The engine's cured trade recording gives the figures of the shipped one, and knows what it replaces."""

import random

import pandas as pd
import pytest
from nautilus_trader.analysis.analyzer import PortfolioAnalyzer
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.identifiers import PositionId
from nautilus_trader.model.objects import Money

from catalog.instruments import load_instruments
from node.assembly import backtest_run_config
from node.backtest_run import resolve_window
from node.config import load_config
from node.simulation.analyzer import LinearAnalyzer, cure
from strategies.errors import RuntimeVersionError


def run(config, *, cured):
    """Run a backtest and return what its engine says, the analysis included."""
    from nautilus_trader.backtest.node import BacktestNode

    window = resolve_window(config)
    run_config = backtest_run_config(config, window, load_instruments(), log_level="OFF")
    node = BacktestNode([run_config])
    try:
        node.build()
        engine = node.get_engine(run_config.id)
        analyzer = engine.kernel.portfolio.analyzer
        if cured:
            cure(analyzer)
        node.run()
        (account,) = engine.cache.accounts()
        positions = [*engine.cache.positions(), *engine.cache.position_snapshots()]
        fills = [
            (str(e.client_order_id), str(e.last_px), str(e.last_qty), str(e.commission), e.ts_event)
            for order in sorted(engine.cache.orders(), key=lambda o: o.client_order_id.value)
            for e in order.events
            if type(e).__name__ == "OrderFilled"
        ]
        recorded = analyzer.realized_pnls(USDT)
        analyzer.calculate_statistics(account, positions)
        return {
            "fills": fills,
            "balance": str(account.balance_total(USDT)),
            # Random parts of position ids (snapshots carry a UUID) are not facts of a run.
            "recorded": [(i, v) for i, v in recorded.items()],
            "pnls": analyzer.get_performance_stats_pnls(USDT),
            "returns": analyzer.get_performance_stats_returns(),
            "general": analyzer.get_performance_stats_general(),
            "type": type(analyzer),
        }
    finally:
        node.dispose()


def test_a_cured_backtest_has_every_figure_of_the_engine_as_shipped(write_config):
    config = load_config(write_config())
    shipped, cured = run(config, cured=False), run(config, cured=True)
    assert shipped.pop("type") is PortfolioAnalyzer
    assert cured.pop("type") is LinearAnalyzer
    assert len(cured["recorded"]) > 20
    assert repr(cured) == repr(shipped)


def test_series_are_those_of_concatenation():
    random.seed(11)
    shipped, cured = PortfolioAnalyzer(), PortfolioAnalyzer()
    cure(cured)
    for i in range(200):
        currency = random.choice((USDT, BTC))
        trade = (PositionId(f"P-{i % 7}"), Money(random.gauss(0, 50), currency), random.choice((None, i * 10**9)))
        shipped.record_trade(*trade)
        cured.record_trade(*trade)
        if i % 50 == 0:
            assert cured.realized_pnls(currency).equals(shipped.realized_pnls(currency))
    for currency in (USDT, BTC):
        pd.testing.assert_series_equal(cured.realized_pnls(currency), shipped.realized_pnls(currency))
        for name in ("_recorded_realized_pnls", "_recorded_realized_pnl_timestamps"):
            pd.testing.assert_series_equal(getattr(cured, name)[currency], getattr(shipped, name)[currency])
    cured.reset()
    assert cured.realized_pnls(USDT) is None


def test_another_engine_is_refused():
    with pytest.raises(RuntimeVersionError, match=r"1\.232\.0 found.*make setup"):
        cure(PortfolioAnalyzer(), version="1.232.0")


def test_an_analyzer_that_has_recorded_is_refused():
    analyzer = PortfolioAnalyzer()
    analyzer.record_trade(PositionId("P-1"), Money(1, USDT), 1)
    with pytest.raises(RuntimeVersionError, match="recorded trades already"):
        cure(analyzer)


def test_curing_twice_changes_nothing():
    analyzer = PortfolioAnalyzer()
    cure(analyzer)
    analyzer.record_trade(PositionId("P-1"), Money(1, USDT), 1)
    cure(analyzer)
    assert list(analyzer.realized_pnls(USDT)) == [1.0]
