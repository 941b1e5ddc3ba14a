"""A stock BacktestNode reads bars, funding and instruments from the catalog, one-shot."""

import os
from pathlib import Path

import pytest
from nautilus_trader.backtest.config import (
    BacktestDataConfig,
    BacktestEngineConfig,
    BacktestRunConfig,
    BacktestVenueConfig,
)
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.data import Bar, FundingRateUpdate

from catalog.instruments import bar_type, instrument_id, load_instruments, to_nautilus
from catalog.reader import load_bars, load_funding
from catalog.sample import prepare
from catalog.sample_sources import SHARED

WINDOW = ("2025-06-01T00:00:00Z", "2025-06-08T00:00:00Z")


def source() -> str:
    """Return the real data where there is any, else the generator."""
    return "auto" if os.environ.get("ARGONAUT_DATA") or SHARED.is_dir() else "synthetic"


@pytest.mark.parametrize("kind", sorted({source(), "synthetic"}))
def test_backtest_node_delivers_every_bar_and_settlement(kind: str, catalog: Path) -> None:
    prepare(catalog, symbols=["XRPUSDT", "BTCUSDT"], source=kind, window=WINDOW)
    kinds = [str(bar_type(symbol, "15m")) for symbol in ("XRPUSDT", "BTCUSDT")]
    run = BacktestRunConfig(
        engine=BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)),
        venues=[
            BacktestVenueConfig(
                name="BINANCE",
                oms_type="NETTING",
                account_type="MARGIN",
                starting_balances=["1000 USDT"],
                bar_adaptive_high_low_ordering=True,
            )
        ],
        data=[
            BacktestDataConfig(catalog_path=str(catalog), data_cls=Bar, bar_types=kinds),
            BacktestDataConfig(
                catalog_path=str(catalog), data_cls=FundingRateUpdate, instrument_id=instrument_id("XRPUSDT")
            ),
        ],
        raise_exception=True,
        dispose_on_completion=False,
    )
    node = BacktestNode([run])
    try:
        (result,) = node.run()
        engine = node.get_engine(run.id)
        bars, funding = load_bars(catalog, "XRPUSDT", "15m"), load_funding(catalog, "XRPUSDT")
        assert result.iterations == len(bars) + len(load_bars(catalog, "BTCUSDT", "15m")) + len(funding)
        seen = engine.cache.bars(bar_type("XRPUSDT", "15m"))[::-1]
        assert [float(bar.close) for bar in seen] == bars.close.tolist()
        last = engine.cache.funding_rate(instrument_id("XRPUSDT"))
        assert (last.ts_event, float(last.rate)) == (funding.time[-1], funding.rate[-1])
        stored, built = engine.cache.instrument(instrument_id("XRPUSDT")), to_nautilus(load_instruments()["XRPUSDT"])
        assert type(stored).to_dict(stored) == type(built).to_dict(built)
    finally:
        node.dispose()
