"""Shared by the adapter's tests: a built (not running) node and the settings of a local venue."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from nautilus_trader.config import LoggingConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode

from node.binance.config import BinanceSettings, client_configs
from node.binance.factories import ArgonautBinanceLiveDataClientFactory, ArgonautBinanceLiveExecClientFactory


def local_settings(port: int = 1, **changes: object) -> BinanceSettings:
    values: dict[str, object] = {
        "environment": "venue",
        "base_url_http": f"http://127.0.0.1:{port}",
        "base_url_ws": f"ws://127.0.0.1:{port}",
        "api_key": "demo-key-of-tests",
        "api_secret": "demo-secret-of-tests",
        "symbols": ("XRPUSDT",),
    }
    return BinanceSettings(**{**values, **changes})  # type: ignore[arg-type]  # values are of the fields' types


@pytest.fixture
async def built_node() -> AsyncIterator[TradingNode]:
    data, execution = client_configs(local_settings())
    config = TradingNodeConfig(
        data_clients={"BINANCE": data},
        exec_clients={"BINANCE": execution},
        logging=LoggingConfig(log_level="OFF"),
    )
    node = TradingNode(config, loop=asyncio.get_running_loop())
    node.add_data_client_factory("BINANCE", ArgonautBinanceLiveDataClientFactory)
    node.add_exec_client_factory("BINANCE", ArgonautBinanceLiveExecClientFactory)
    node.build()
    yield node
    node.kernel.dispose()
