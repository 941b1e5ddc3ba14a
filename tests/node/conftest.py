"""A generated market in a real catalog, and configurations that run on it."""

from pathlib import Path

import pytest

from catalog import tables
from catalog.generator import generate
from catalog.instruments import load_instruments
from catalog.writer import put_series

DAY_NS = 86_400_000_000_000
MARKET_START = 20_179 * DAY_NS  # 2025-04-01
MARKET_DAYS = 45
SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")

CONFIG = """\
symbols: [XRPUSDT]
context: [BTCUSDT, ETHUSDT]
interval: 15m
catalog: {catalog}
strategy:
  file: params.yaml
  warmup_bars: 60
  history_bars: 480
  assumed_slippage: 0.0001
risk:
  sizing: {{method: risk_fraction, risk_fraction: 0.01}}
  limits:
    max_positions: 3
    max_same_direction: null
    daily_loss: null
    fast_kill_losses: null
    slow_kill_trades: null
backtest:
  start: 2025-04-06
  end: 2025-05-16
  slippage_bps: 1
"""
PARAMS = "params: {signal_threshold: 2, adx_threshold: 15.0, volume_multiplier: 1.5, stop_atr: 1.5, target_atr: 3.0}\n"


def write_market(catalog: Path, seed: int, symbols: tuple[str, ...] = SYMBOLS, days: int = MARKET_DAYS) -> None:
    """Fill a catalog with `days` of generated bars and funding."""
    specs = load_instruments()
    grids = [tables.grid_of(specs[s]) for s in symbols]
    market = generate(grids, "15m", MARKET_START, MARKET_START + days * DAY_NS, seed)
    for symbol, (series, funding) in market.items():
        put_series(series, funding, catalog=catalog, symbol=symbol, interval="15m", origin="generator")


@pytest.fixture(name="market", scope="session")
def market_fixture(tmp_path_factory):
    """Return a catalog with 45 days of three symbols."""
    catalog = tmp_path_factory.mktemp("node_market")
    write_market(catalog, seed=7)
    return catalog


@pytest.fixture(name="write_config")
def write_config_fixture(tmp_path, market):
    """Return a function that writes a configuration, with texts replaced, and returns its path."""

    def write(*changes: tuple[str, str], params: str = PARAMS, base: str = CONFIG) -> Path:
        text = base.format(catalog=market)
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        (tmp_path / "params.yaml").write_text(params)
        path = tmp_path / "node.yaml"
        path.write_text(text)
        return path

    return write
