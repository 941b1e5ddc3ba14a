"""Settings, factories, the shared HTTP client, and the guard against another upstream."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from nautilus_trader.adapters.binance.common.enums import BinanceEnvironment
from nautilus_trader.adapters.binance.http.error import BinanceClientError, BinanceServerError
from nautilus_trader.common.component import LiveClock
from nautilus_trader.core.nautilus_pyo3 import HttpMethod
from nautilus_trader.live.node import TradingNode

from node.binance import upstream
from node.binance.config import BinanceSettings, client_configs
from node.binance.factories import _shared
from node.binance.http import ArgonautBinanceHttpClient, is_loopback, outcome_unknown, throttled
from strategies.errors import ConfigError, RuntimeVersionError
from strategies.yaml_config import convert

KEY, SECRET = "the-api-key-of-this-test", "the-api-secret-of-this-test"


def settings(**changes: Any) -> BinanceSettings:
    base = {
        "base_url_http": "http://127.0.0.1:9",
        "base_url_ws": "ws://127.0.0.1:9",
        "api_key": KEY,
        "api_secret": SECRET,
        "symbols": ["XRPUSDT", "BTCUSDT"],
    }
    return convert({**base, **changes}, BinanceSettings, "test.yaml")


def test_settings_become_the_configuration_a_production_node_needs() -> None:
    data, execution = client_configs(settings(leverages={"XRPUSDT": 7}, recv_window_ms=3000))
    assert execution.max_retries is None  # a retried market order fills twice
    assert (execution.use_reduce_only, execution.use_position_ids, execution.use_gtd) == (True, False, False)
    assert (execution.use_trade_lite, execution.treat_expired_as_canceled) == (False, True)
    assert execution.futures_margin_types is None
    assert {str(k): v for k, v in execution.futures_leverages.items()} == {"XRPUSDT": 7}
    assert execution.recv_window_ms == 3000
    assert execution.environment is BinanceEnvironment.TESTNET
    assert data.instrument_provider == execution.instrument_provider
    assert {str(i) for i in data.instrument_provider.load_ids} == {"XRPUSDT-PERP.BINANCE", "BTCUSDT-PERP.BINANCE"}
    assert execution.base_url_ws_stream == "ws://127.0.0.1:9"


def test_live_keeps_the_exchanges_own_hosts() -> None:
    data, execution = client_configs(settings(environment="live", base_url_http=None, base_url_ws=None))
    assert data.base_url_ws is execution.base_url_ws is execution.base_url_ws_stream is None
    assert data.base_url_http == "https://fapi.binance.com"
    assert execution.environment is BinanceEnvironment.LIVE


def test_credentials_come_from_the_environment_and_never_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setenv("A_SECRET", SECRET)
    given = settings(api_key="", api_secret="", api_key_env="A_KEY", api_secret_env="A_SECRET")
    data, execution = client_configs(given)
    assert (data.api_key, execution.api_secret) == (KEY, SECRET)
    for shown in (given.resolved(), data, execution):
        assert KEY not in repr(shown) + str(shown)
        assert SECRET not in repr(shown) + str(shown)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"symbols": []}, "at least one symbol"),
        ({"symbols": ["xrp-perp"]}, "not a venue symbol"),
        ({"leverages": {"ETHUSDT": 3}}, "not among"),
        ({"leverages": {"XRPUSDT": 126}}, "1-125"),
        ({"recv_window_ms": 10}, "1000-60000"),
        ({"http_timeout_secs": 0}, "1-120"),
        ({"base_url_ws": None}, "base_url_ws"),
        ({"api_key": "", "api_key_env": "ARGONAUT_NO_SUCH_VARIABLE"}, "ARGONAUT_NO_SUCH_VARIABLE"),
        ({"lift_rate_limits": True, "base_url_http": "https://fapi.binance.com"}, "this machine"),
        ({"lift_rate_limits": True, "base_url_http": "http://127.0.0.1.example.com"}, "this machine"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        client_configs(settings(**changes))


def test_the_factory_itself_refuses_lifted_limits_elsewhere() -> None:
    data, _ = client_configs(settings())
    forged = type(data)(
        **{f: getattr(data, f) for f in data.__struct_fields__}
        | {"lift_rate_limits": True, "base_url_http": "https://fapi.binance.com"}
    )
    with pytest.raises(ConfigError, match="this machine"):
        _shared(LiveClock(), forged)


async def test_both_clients_of_a_node_share_http_client_and_instruments(built_node: TradingNode) -> None:
    execution = next(iter(built_node.kernel.exec_engine._clients.values()))
    data = next(iter(built_node.kernel.data_engine._clients.values()))
    assert execution._http_client is data._http_client
    assert execution._instrument_provider is data._instrument_provider
    assert isinstance(execution._http_client, ArgonautBinanceHttpClient)


def test_loopback_is_recognised() -> None:
    assert all(is_loopback(u) for u in ("http://127.0.0.1:1", "http://localhost:2", "http://[::1]:3", "ws://127.9.9.9"))
    assert not any(is_loopback(u) for u in ("https://fapi.binance.com", "http://10.0.0.1", "http://localhost.evil.com"))


def test_upstream_is_the_one_proven_and_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream.check_upstream.cache_clear()
    upstream.check_upstream()
    upstream.check_upstream.cache_clear()
    monkeypatch.setattr(upstream, "MODULES", upstream.MODULES[:-1])
    with pytest.raises(RuntimeVersionError, match="make setup"):
        upstream.check_upstream()
    upstream.check_upstream.cache_clear()


async def request_against(handler: Any, timeout_secs: int = 10, path: str = "/x") -> tuple[Any, Any]:
    """Return (answer, error) of one request of the shared client to a server with `handler`."""
    app = web.Application()
    app.router.add_get(path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = ArgonautBinanceHttpClient(
        clock=LiveClock(),
        api_key=KEY,
        api_secret=SECRET,
        base_url=f"http://127.0.0.1:{runner.addresses[0][1]}",
        timeout_secs=timeout_secs,
        quotas=[],
        default_quota=None,
    )
    try:
        return (await client.sign_request(HttpMethod.GET, path, payload={"a": "1"}), client), None
    except Exception as e:  # noqa: BLE001 - the error is the result
        return (None, client), e
    finally:
        await runner.cleanup()


async def test_a_frozen_venue_ends_in_a_venue_error_with_unknown_outcome() -> None:
    async def frozen(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.json_response({})

    _, error = await request_against(frozen, timeout_secs=1)
    assert isinstance(error, BinanceServerError)
    assert outcome_unknown(error)
    assert "timed out" in str(error)
    assert "signature" not in str(error)


async def test_a_reset_connection_ends_in_a_venue_error_with_unknown_outcome() -> None:
    async def reset(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.json_response({})

    _, error = await request_against(reset)
    assert isinstance(error, BinanceServerError)
    assert outcome_unknown(error)
    assert SECRET not in str(error)


@pytest.mark.parametrize(
    ("status", "text", "may_be_sent_again"),
    [
        (503, '{"code":-1008,"msg":"Request throttled by system-level protection."}', True),
        (503, "Service Unavailable.", True),
        (503, '{"code":-1007,"msg":"Timeout waiting for response"}', False),
        (503, '{"code":0,"msg":"Unknown error, please check your request or try again later."}', False),
        (504, '{"code":-1008,"msg":"busy"}', False),
        (400, '{"code":-1008,"msg":"busy"}', False),
    ],
)
async def test_only_what_binance_calls_a_failure_counts_as_throttled(
    status: int, text: str, may_be_sent_again: bool
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    _, error = await request_against(handler)
    assert throttled(error) is may_be_sent_again


@pytest.mark.parametrize(
    ("status", "text", "kind", "unknown"),
    [
        (503, '{"code":-1008,"msg":"busy"}', BinanceServerError, True),
        (504, "<html>", BinanceServerError, True),
        (200, "<html>", BinanceServerError, True),
        (408, "{}", BinanceClientError, True),
        (400, '{"code":-1007,"msg":"timeout"}', BinanceClientError, True),
        (400, '{"code":-2019,"msg":"margin"}', BinanceClientError, False),
        (429, '{"code":-1003,"msg":"slow"}', BinanceClientError, False),
        (400, '{"code":-1021,"msg":"late"}', BinanceClientError, False),
    ],
)
async def test_answers_keep_the_adapters_exception_types(status: int, text: str, kind: type, unknown: bool) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    _, error = await request_against(handler)
    assert type(error) is kind
    assert outcome_unknown(error) is unknown


async def test_the_used_weight_is_read_and_the_body_returned() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.headers["X-MBX-APIKEY"] == KEY
        return web.json_response({"ok": True}, headers={"X-MBX-USED-WEIGHT-1M": "412"})

    (body, client), error = await request_against(handler)
    assert error is None
    assert body == b'{"ok": true}'
    assert client.used_weight == 412
