"""
From plain settings to the adapter's client configurations, with the values a production node needs.

The choices are those of `knowledge/live-binance.md` §7: no retries inside the adapter (a retried market order fills
twice), one-way mode without position ids, true commission rates, margin types left alone, one instrument-provider
configuration for both clients so that instruments are loaded once.
"""

import os
from typing import Any, Literal

import msgspec
from nautilus_trader.adapters.binance.common.enums import BinanceAccountType, BinanceEnvironment, BinanceKeyType
from nautilus_trader.adapters.binance.common.symbol import BinanceSymbol
from nautilus_trader.adapters.binance.common.urls import get_http_base_url, get_ws_base_url
from nautilus_trader.adapters.binance.config import (
    BinanceDataClientConfig,
    BinanceExecClientConfig,
    BinanceInstrumentProviderConfig,
)
from nautilus_trader.model.identifiers import InstrumentId

from node.binance.credentials import key_type, secret_from
from node.binance.http import is_loopback
from strategies.errors import ConfigError
from strategies.yaml_config import FrozenConfig

INFLIGHT_CHECK_RETRIES = 1_000_000
"""
Value for ``LiveExecEngineConfig.inflight_check_retries``.

After that many look-ups the engine *invents* a rejection or cancellation for an order it could not query. The
execution client decides instead, from a definite answer of the venue (see `node.binance.recovery`), so the engine's
guess must never be reached.
"""

_ENVIRONMENTS = {
    "live": BinanceEnvironment.LIVE,
    "testnet": BinanceEnvironment.TESTNET,
    "demo": BinanceEnvironment.DEMO,
    # Every URL of a local venue is overridden; TESTNET makes sure that a forgotten one cannot reach real money.
    "venue": BinanceEnvironment.TESTNET,
}
_ACCOUNT_TYPE = BinanceAccountType.USDT_FUTURES


class BinanceSettings(FrozenConfig, frozen=True, kw_only=True):
    """
    What a person writes about the exchange connection.

    Attributes
    ----------
    environment : {"live", "testnet", "demo", "venue"}
        Which exchange. ``venue`` is a simulated one and needs both base URLs.
    base_url_http, base_url_ws : str or None
        Overrides of scheme and host, e.g. ``http://127.0.0.1:8080`` and ``ws://127.0.0.1:8080``.
    api_key, api_secret : str
        Credentials (HMAC secret, or Ed25519 private key as PEM). Empty: read from `api_key_env`, `api_secret_env`.
    api_key_env, api_secret_env : str
        Names of the environment variables read when the credentials are empty; see `node.binance.credentials`.
    base_url_ws_api : str or None
        Override of the WebSocket API's address, which Ed25519 keys log on to. None: beside `base_url_ws` at a venue on
        this machine, else the adapter's own.
    symbols : tuple[str, ...]
        Venue symbols to load, e.g. ``("XRPUSDT",)``.
    leverages : dict[str, int]
        Leverage to set per symbol at start; symbols not named keep what the account has.
    recv_window_ms : int
        How late the venue may execute a signed request, ms (1000-60000).
    lift_rate_limits : bool
        Remove the client-side order limits. Only for a venue on this machine; refused otherwise.
    http_timeout_secs : int
        Total time one REST request may take, s (1-120).
    query_commission_rates : bool
        Ask the account's true fee rates at start.

    """

    environment: Literal["live", "testnet", "demo", "venue"] = "venue"
    base_url_http: str | None = None
    base_url_ws: str | None = None
    base_url_ws_api: str | None = None
    api_key: str = ""
    api_secret: str = ""
    api_key_env: str = "BINANCE_API_KEY"
    api_secret_env: str = "BINANCE_API_SECRET"  # noqa: S105 - the name of a variable, not a secret
    symbols: tuple[str, ...] = ()
    leverages: dict[str, int] = msgspec.field(default_factory=dict)
    recv_window_ms: int = 5_000
    lift_rate_limits: bool = False
    http_timeout_secs: int = 10
    query_commission_rates: bool = True

    def __repr__(self) -> str:
        return _redacted(self)

    def resolved(self) -> "BinanceSettings":
        """
        Return a copy with credentials and URLs filled in and every rule checked.

        Raises
        ------
        ConfigError
            Fatal: a missing credential or URL, lifted limits away from loopback, a value out of range.

        """
        if not self.symbols:
            raise ConfigError("binance.symbols: at least one symbol is needed, e.g. [XRPUSDT]")
        for symbol in self.symbols:
            if not symbol.isalnum() or symbol != symbol.upper():
                raise ConfigError(f"binance.symbols: {symbol!r} is not a venue symbol such as XRPUSDT")
        for symbol, leverage in self.leverages.items():
            if symbol not in self.symbols:
                raise ConfigError(f"binance.leverages: {symbol} is not among binance.symbols")
            if not 1 <= leverage <= 125:
                raise ConfigError(f"binance.leverages.{symbol}: must be 1-125, was {leverage}")
        if not 1_000 <= self.recv_window_ms <= 60_000:
            raise ConfigError(f"binance.recv_window_ms: must be 1000-60000, was {self.recv_window_ms}")
        if not 1 <= self.http_timeout_secs <= 120:
            raise ConfigError(f"binance.http_timeout_secs: must be 1-120, was {self.http_timeout_secs}")
        if self.environment == "venue" and not (self.base_url_http and self.base_url_ws):
            raise ConfigError("binance: environment `venue` needs base_url_http and base_url_ws")
        key = self.api_key or os.environ.get(self.api_key_env, "")
        secret = self.api_secret or secret_from(os.environ, self.api_secret_env)
        if not key or not secret:
            raise ConfigError(
                f"binance: no credentials: set {self.api_key_env} and {self.api_secret_env} in the environment"
            )
        environment = _ENVIRONMENTS[self.environment]
        http = (self.base_url_http or get_http_base_url(_ACCOUNT_TYPE, environment, is_us=False)).rstrip("/")
        if self.lift_rate_limits and not is_loopback(http):
            raise ConfigError(
                f"binance.lift_rate_limits: only allowed for a venue on this machine, but base_url_http is {http}"
            )
        ws = self.base_url_ws or get_ws_base_url(_ACCOUNT_TYPE, environment, is_us=False)
        return msgspec.structs.replace(
            self, api_key=key, api_secret=secret, base_url_http=http, base_url_ws=ws.rstrip("/")
        )


class ArgonautDataClientConfig(BinanceDataClientConfig, frozen=True, repr_omit_defaults=True):
    """The adapter's data-client configuration plus the shared HTTP client's; its text hides credentials."""

    http_timeout_secs: int = 10
    lift_rate_limits: bool = False

    def __repr__(self) -> str:
        return _redacted(self)


class ArgonautExecClientConfig(BinanceExecClientConfig, frozen=True, repr_omit_defaults=True):
    """The adapter's execution-client configuration plus the shared HTTP client's; its text hides credentials."""

    http_timeout_secs: int = 10
    lift_rate_limits: bool = False

    def __repr__(self) -> str:
        return _redacted(self)


def client_configs(settings: BinanceSettings) -> tuple[ArgonautDataClientConfig, ArgonautExecClientConfig]:
    """
    Return the data- and execution-client configurations for `settings`.

    Raises
    ------
    ConfigError
        Fatal: see :meth:`BinanceSettings.resolved`.

    """
    given_ws = settings.base_url_ws
    settings = settings.resolved()
    provider = BinanceInstrumentProviderConfig(
        load_ids=frozenset(InstrumentId.from_str(f"{symbol}-PERP.BINANCE") for symbol in settings.symbols),
        query_commission_rates=settings.query_commission_rates,
    )
    shared: dict[str, Any] = {
        "api_key": settings.api_key,
        "api_secret": settings.api_secret,
        "key_type": BinanceKeyType.ED25519 if key_type(settings.api_secret) == "Ed25519" else BinanceKeyType.HMAC,
        "account_type": _ACCOUNT_TYPE,
        "environment": _ENVIRONMENTS[settings.environment],
        "base_url_http": settings.base_url_http,
        "instrument_provider": provider,
        "http_timeout_secs": settings.http_timeout_secs,
        "lift_rate_limits": settings.lift_rate_limits,
    }
    # The exchange serves streams and WS-API from different hosts, so an override of one says nothing of the other.
    beside = settings.environment == "venue" or (given_ws is not None and is_loopback(given_ws))
    ws_api = settings.base_url_ws_api or (f"{settings.base_url_ws}/ws-fapi/v1" if beside else None)
    stream = settings.base_url_ws if given_ws else None
    data = ArgonautDataClientConfig(
        **shared,
        base_url_ws=stream,
        update_instruments_interval_mins=60,
    )
    execution = ArgonautExecClientConfig(
        **shared,
        base_url_ws=ws_api,
        base_url_ws_stream=stream,
        recv_window_ms=settings.recv_window_ms,
        futures_leverages={BinanceSymbol(s): leverage for s, leverage in settings.leverages.items()} or None,
        futures_margin_types=None,
        max_retries=None,
        use_reduce_only=True,
        use_position_ids=False,
        use_gtd=False,
        use_trade_lite=False,
        treat_expired_as_canceled=True,
    )
    return data, execution


def _redacted(struct: msgspec.Struct) -> str:
    parts = []
    for field in struct.__struct_fields__:
        value = getattr(struct, field)
        shown = "'…'" if field in {"api_key", "api_secret"} and value else repr(value)
        parts.append(f"{field}={shown}")
    return f"{type(struct).__name__}({', '.join(parts)})"
