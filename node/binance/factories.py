"""
Factories that put the corrected clients into a ``TradingNode``.

Register both under the name ``BINANCE``:

    node.add_data_client_factory("BINANCE", ArgonautBinanceLiveDataClientFactory)
    node.add_exec_client_factory("BINANCE", ArgonautBinanceLiveExecClientFactory)

The two clients of a node share one HTTP client (so one set of rate limits, one used-weight count) and one instrument
provider (so instruments are loaded once), as the stock factories do when their configurations agree.
"""

import asyncio
from functools import lru_cache
from typing import Any

from nautilus_trader.adapters.binance.common.constants import (
    BINANCE_FUTURES_ORDER_COUNT_1M_KEY,
    BINANCE_FUTURES_ORDER_COUNT_10S_KEY,
)
from nautilus_trader.adapters.binance.common.enums import BinanceEnvironment, BinanceKeyType
from nautilus_trader.adapters.binance.common.urls import (
    get_http_base_url,
    get_usdm_ws_route_base_url,
    get_ws_base_url,
    get_ws_public_base_url,
)
from nautilus_trader.adapters.binance.futures.providers import BinanceFuturesInstrumentProvider
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.core.nautilus_pyo3 import Quota
from nautilus_trader.live.factories import LiveDataClientFactory, LiveExecClientFactory

from node.binance.config import ArgonautDataClientConfig, ArgonautExecClientConfig
from node.binance.data import ArgonautBinanceFuturesDataClient
from node.binance.execution import ArgonautBinanceFuturesExecutionClient
from node.binance.http import ArgonautBinanceHttpClient, is_loopback
from node.binance.upstream import check_upstream
from strategies.errors import ConfigError
from strategies.request_budget import RequestBudget

_WEIGHT_PER_MINUTE = 2_400
_ORDERS_PER_MINUTE = 1_200


class ArgonautBinanceLiveDataClientFactory(LiveDataClientFactory):
    """Builds the Binance USD-M data client on the shared HTTP client."""

    @staticmethod
    def create(  # type: ignore[override]  # the base declares no arguments
        loop: asyncio.AbstractEventLoop,
        name: str,
        config: ArgonautDataClientConfig,
        msgbus: MessageBus,
        cache: Cache,
        clock: LiveClock,
    ) -> ArgonautBinanceFuturesDataClient:
        """
        Return a new data client.

        Raises
        ------
        ConfigError
            Fatal: lifted rate limits away from loopback.
        RuntimeVersionError
            Fatal: the installed adapter is not the one the corrections were written for.

        """
        check_upstream()
        client, provider = _shared(clock, config)
        environment = config.environment or BinanceEnvironment.LIVE
        if config.base_url_ws is None:
            market = get_ws_base_url(config.account_type, environment, is_us=False)
            public = get_ws_public_base_url(config.account_type, environment, is_us=False)
        elif environment == BinanceEnvironment.LIVE:
            market = get_usdm_ws_route_base_url(config.base_url_ws, "market")
            public = get_usdm_ws_route_base_url(config.base_url_ws, "public")
        else:
            market = public = config.base_url_ws
        return ArgonautBinanceFuturesDataClient(
            loop=loop,
            client=client,
            msgbus=msgbus,
            cache=cache,
            clock=clock,
            instrument_provider=provider,
            account_type=config.account_type,
            base_url_ws=market,
            base_url_ws_public=public,
            name=name,
            config=config,
        )


class ArgonautBinanceLiveExecClientFactory(LiveExecClientFactory):
    """Builds the corrected Binance USD-M execution client on the shared HTTP client."""

    @staticmethod
    def create(  # type: ignore[override]  # the base declares no arguments
        loop: asyncio.AbstractEventLoop,
        name: str,
        config: ArgonautExecClientConfig,
        msgbus: MessageBus,
        cache: Cache,
        clock: LiveClock,
    ) -> ArgonautBinanceFuturesExecutionClient:
        """
        Return a new execution client.

        Raises
        ------
        ConfigError
            Fatal: no credentials, or lifted rate limits away from loopback.
        RuntimeVersionError
            Fatal: the installed adapter is not the one the corrections were written for.

        """
        check_upstream()
        if not config.api_key or not config.api_secret:
            raise ConfigError("binance: the execution client needs api_key and api_secret")
        client, provider = _shared(clock, config)
        return ArgonautBinanceFuturesExecutionClient(
            loop=loop,
            client=client,
            msgbus=msgbus,
            cache=cache,
            clock=clock,
            instrument_provider=provider,
            base_url_ws=config.base_url_ws or "",
            account_type=config.account_type,
            name=name,
            config=config,
            environment=config.environment or BinanceEnvironment.LIVE,
            api_key=config.api_key,
            api_secret=config.api_secret,
        )


def _shared(
    clock: LiveClock, config: ArgonautDataClientConfig | ArgonautExecClientConfig
) -> tuple[ArgonautBinanceHttpClient, BinanceFuturesInstrumentProvider]:
    if not config.account_type.is_futures:
        raise ConfigError(f"binance: account type {config.account_type.value} is not supported, use USDT_FUTURES")
    if config.key_type == BinanceKeyType.RSA:
        raise ConfigError("binance: RSA keys cannot trade futures, create an Ed25519 or HMAC key")
    environment = config.environment or BinanceEnvironment.LIVE
    base_url = config.base_url_http or get_http_base_url(config.account_type, environment, is_us=False)
    client = _http_client(
        clock,
        api_key=config.api_key,
        api_secret=config.api_secret,
        ed25519=config.key_type == BinanceKeyType.ED25519,
        base_url=base_url,
        timeout_secs=config.http_timeout_secs,
        lift_rate_limits=config.lift_rate_limits,
        proxy_url=config.proxy_url,
    )
    return client, _provider(client, clock, config.account_type, config.instrument_provider, config.venue)


# Like the stock factories: one entry, because the two factories of one node run back to back with equal arguments.
@lru_cache(1)
def _http_client(
    clock: LiveClock,
    *,
    api_key: str | None,
    api_secret: str | None,
    ed25519: bool,
    base_url: str,
    timeout_secs: int,
    lift_rate_limits: bool,
    proxy_url: str | None,
) -> ArgonautBinanceHttpClient:
    if lift_rate_limits and not is_loopback(base_url):
        raise ConfigError(f"binance.lift_rate_limits: only allowed for a venue on this machine, but got {base_url}")
    default = Quota.rate_per_minute(_WEIGHT_PER_MINUTE)
    quotas = [
        ("binance:global", default),
        (BINANCE_FUTURES_ORDER_COUNT_10S_KEY, Quota.rate_per_second(30)),
        (BINANCE_FUTURES_ORDER_COUNT_1M_KEY, Quota.rate_per_minute(_ORDERS_PER_MINUTE)),
        ("binance:fapi/v1/order", Quota.rate_per_minute(_ORDERS_PER_MINUTE)),
        ("binance:fapi/v1/allOrders", Quota.rate_per_minute(_ORDERS_PER_MINUTE // 20)),
        ("binance:fapi/v1/commissionRate", Quota.rate_per_minute(_WEIGHT_PER_MINUTE // 20)),
        ("binance:fapi/v1/klines", Quota.rate_per_minute(600)),
    ]
    return ArgonautBinanceHttpClient(
        clock=clock,
        api_key=api_key,
        api_secret=api_secret,
        base_url=base_url,
        timeout_secs=timeout_secs,
        quotas=[] if lift_rate_limits else quotas,
        default_quota=None if lift_rate_limits else default,
        ed25519_private_key=api_secret if ed25519 else None,
        proxy_url=proxy_url,
        budget=RequestBudget(None) if lift_rate_limits else RequestBudget(),
    )


@lru_cache(1)
def _provider(
    client: ArgonautBinanceHttpClient, clock: LiveClock, account_type: Any, config: Any, venue: Any
) -> BinanceFuturesInstrumentProvider:
    return BinanceFuturesInstrumentProvider(
        client=client, clock=clock, account_type=account_type, config=config, venue=venue
    )
