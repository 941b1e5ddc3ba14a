"""
Where the node trades: what differs between the simulated venue, paper, the exchange's test environments and real money.

One object per environment answers the same few questions; ``node.live_run`` asks them and knows no environment by name.

===========  ============================  ==========================  ==========================================
environment  orders go to                  time                        journal
===========  ============================  ==========================  ==========================================
``venue``    a simulated venue (replay)    the replay's, by barriers   of the venue's session, replaceable
``paper``    a simulated venue (live data) the clock                   of the paper account, replaceable
``demo``     Binance's demo trading        the clock                   of the account, never replaced
``testnet``  Binance's futures testnet     the clock                   of the account, never replaced
``live``     Binance, real money           the clock                   of the account, never replaced
===========  ============================  ==========================  ==========================================

Errors: what prevents the start is raised (**fatal**) in one line.
"""

import asyncio
import hashlib
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from node.binance.config import BinanceSettings
from node.binance.rest import BinanceRest, VenueRequestError
from node.config import NodeConfig
from node.embedded_venue import EmbeddedVenue, VenueUrls
from strategies.errors import ConfigError, VenueError
from strategies.yaml_config import read_yaml

_MILLI_NS = 1_000_000
OPEN_SECS = 240.0
"""How long an exchange that does not answer is asked at start: longer than what a supervisor calls a fast failure."""
_FIRST_RETRY_SECS, _LONGEST_RETRY_SECS = 1.0, 30.0
_DEMO_KEY = "demo"  # what a simulated venue knows unless its configuration says otherwise


class Session(NamedTuple):
    """
    The account as found at start.

    Attributes
    ----------
    id : str
        What the journal is tied to.
    http, ws : str or None
        Base URLs; `ws` None: the adapter's own table of them.
    control : str or None
        Control interface of a simulated venue.
    market_time_ns : int
        UTC ns; rows that close until then only warm up.
    start_balance : float
        Wallet, USDT.

    """

    id: str
    http: str
    ws: str | None
    control: str | None
    market_time_ns: int
    start_balance: float


class Environment(ABC):
    """
    One environment.

    Attributes
    ----------
    replay : bool
        Market time is the venue's and moves by barriers; the run ends with the data.
    replaceable : bool
        The journal of another account may be set aside for this one's.
    title : str
        For people.

    """

    replay = False
    replaceable = False
    title = ""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config

    @abstractmethod
    async def open(self) -> Session:
        """
        Connect or start what the node needs.

        Raises
        ------
        ConfigError, VenueError
            Fatal: not there, or not what it should be.

        """

    @abstractmethod
    def settings(self, session: Session) -> BinanceSettings:
        """Return the settings of the clients."""

    async def close(self) -> None:  # noqa: B027 - most have nothing to end
        """End what :meth:`open` started."""

    def _common(self) -> dict[str, Any]:
        config, exchange = self._config, self._config.exchange
        return {
            "symbols": config.all_symbols,
            "leverages": dict.fromkeys(config.symbols, exchange.leverage),
            "recv_window_ms": exchange.recv_window_ms,
            "http_timeout_secs": exchange.http_timeout_secs,
        }


class SimulatedVenue(Environment):
    """The simulated venue on a replay: its own child process, or a running one."""

    replay = True
    replaceable = True
    title = "the simulated venue"
    module = "node.venue"

    def __init__(self, config: NodeConfig, url: str | None) -> None:
        super().__init__(config)
        self._url = url
        self._child: EmbeddedVenue | None = None

    async def open(self) -> Session:
        """See the base class. Blocks while the child starts: nothing else runs yet."""
        if self._url is None:
            if self._config.venue is None:
                raise ConfigError("venue: name the venue's configuration, or pass --venue-url")
            self._child = EmbeddedVenue(Path(self._config.venue), self._config.catalog, module=self.module)
            urls = self._child.start()
        else:
            urls = VenueUrls.of(self._url)
        found = await get_json(f"{urls.control}/books")
        try:
            market_ms, balance = int(found["market_time_ms"]), float(found["start_balance"])
            return Session(found["session"], urls.http, urls.ws, urls.control, self._market_time(market_ms), balance)
        except (KeyError, TypeError, ValueError):
            raise VenueError(f"{urls.control}/books: not the answer of a simulated venue") from None

    def _market_time(self, venue_ms: int) -> int:
        return venue_ms * _MILLI_NS

    def settings(self, session: Session) -> BinanceSettings:
        """See the base class."""
        key, secret = self._key_pair()
        return BinanceSettings(
            environment="venue",
            base_url_http=session.http,
            base_url_ws=session.ws,
            api_key=key,
            api_secret=secret,
            lift_rate_limits=self.replay,  # a minute of the wall clock holds days of a replay
            **self._common(),
        )

    async def close(self) -> None:
        """See the base class."""
        if self._child is not None:
            await asyncio.to_thread(self._child.stop)

    def _key_pair(self) -> tuple[str, str]:
        """Return the key pair of the venue's configuration: a person's real keys are never sent to a simulation."""
        if self._config.venue is None:
            return _DEMO_KEY, _DEMO_KEY
        tree = read_yaml(Path(self._config.venue)) or {}
        return str(tree.get("api_key", _DEMO_KEY)), str(tree.get("api_secret", _DEMO_KEY))


class Paper(SimulatedVenue):
    """Live public data, orders matched by the simulated venue, books kept across restarts (``node.paper``)."""

    replay = False
    title = "the paper account"
    module = "node.paper"

    def _market_time(self, venue_ms: int) -> int:  # noqa: ARG002 - the venue's market time is the last bar, ours is now
        return time.time_ns()


class Exchange(Environment):
    """Binance itself: real money, testnet or demo trading. URLs are those of the official adapter's tables."""

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        self.title = {"live": "Binance (real money)", "testnet": "the testnet", "demo": "demo trading"}[
            config.environment
        ]

    async def open(self) -> Session:
        """See the base class."""
        settings = self._settings().resolved()
        http = settings.base_url_http or ""
        async with BinanceRest(
            http, settings.api_key, settings.api_secret, timeout_secs=settings.http_timeout_secs
        ) as rest:
            try:
                account = await self._account(rest)
                balance = float(account["totalWalletBalance"])
            except (KeyError, TypeError, ValueError):
                raise VenueError(f"{self.title}: /fapi/v2/account does not tell a wallet balance") from None
        exchange = self._config.exchange
        name = exchange.account or hashlib.sha256(settings.api_key.encode()).hexdigest()[:16]
        identity = f"binance:{self._config.environment}:{name}"
        return Session(identity, http, exchange.base_url_ws, None, time.time_ns(), balance)

    async def _account(self, rest: BinanceRest) -> Any:
        """
        Return the account, asking again while the exchange gives no clear answer.

        An exchange that is down for minutes is no reason to give up: whoever restarts a node that ends at once soon
        stops doing so, and then nobody looks after what is open.
        """
        delay = _FIRST_RETRY_SECS
        until = time.monotonic() + OPEN_SECS
        while True:
            try:
                return await rest.get("/fapi/v2/account", signed=True)
            except VenueRequestError as e:
                hopeless = not (e.outcome_unknown or e.status in (418, 429))
                delay = max(delay, min(e.retry_after_secs or 0.0, _LONGEST_RETRY_SECS))
                if hopeless or time.monotonic() + delay > until:
                    raise VenueError(f"{self.title}: the account cannot be read: {e}") from None
                sys.stderr.write(f"{self.title} does not answer ({e}): again in {delay:.0f} s\n")
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_RETRY_SECS)

    def settings(self, session: Session) -> BinanceSettings:  # noqa: ARG002 - everything is known beforehand
        """See the base class."""
        return self._settings()

    def _settings(self) -> BinanceSettings:
        exchange = self._config.exchange
        return BinanceSettings(
            environment=self._config.environment,  # type: ignore[arg-type]  # never `paper` here, see environment_of
            base_url_http=exchange.base_url_http,
            base_url_ws=exchange.base_url_ws,
            base_url_ws_api=exchange.base_url_ws_api,
            api_key_env=exchange.api_key_env,
            api_secret_env=exchange.api_secret_env,
            **self._common(),
        )


def environment_of(config: NodeConfig, venue_url: str | None) -> Environment:
    """
    Return the environment a configuration names.

    Raises
    ------
    ConfigError
        Fatal: ``--venue-url`` together with an exchange.

    """
    if config.environment == "venue":
        return SimulatedVenue(config, venue_url)
    if config.environment == "paper":
        return Paper(config, venue_url)
    if venue_url is not None:
        raise ConfigError(f"--venue-url: environment {config.environment} is the exchange's own, not a simulated venue")
    return Exchange(config)


async def get_json(url: str) -> Any:
    """
    Return what the venue's control interface answers.

    Raises
    ------
    VenueError
        Propagate: unreachable, or not JSON.

    """
    try:
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            response.raise_for_status()
            return await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as e:
        raise VenueError(f"{url}: the simulated venue does not answer: {e or type(e).__name__}") from None
