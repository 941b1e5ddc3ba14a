"""
Redis as an option: the node's cache and its message streams, in an instance of its own.

Nothing the node needs to trade or to restart lies there (that is the journal's and the venue's part) and no start reads
it (:mod:`node.assembly`), so losing it, or finding it half empty, may cost history, never a decision. Left alone, an
absent Redis blocks the construction of the node without a word, and one that died in between hangs its end
(`knowledge/live-binance.md` §4 R1/R2): it is asked first, and watched.

Errors: absent or slow at start is asked again and then **fatal** with ``required: true``, else **degraded**: the node
runs without it.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import msgspec

from node.start_retries import START_DELAYS_SECS, until_available
from strategies.errors import ConfigError, UnavailableError
from strategies.yaml_config import FrozenConfig

_OLDEST = (6, 2)
_CLOSED = "the connection was closed"
_PASSING = (_CLOSED, "LOADING", "BUSY", "MASTERDOWN")
"""Answers of a Redis that will be there soon."""


class RedisConfig(FrozenConfig, frozen=True):
    """
    Where Redis is, and what for.

    Attributes
    ----------
    host, port : str, int
        Address. Nothing else may live in this instance.
    cache : bool
        Keep orders and positions there.
    streams : bool
        Publish order, position, account and bar events as streams, for dashboards.
    required : bool
        True: no start without it, and no entries while it is away. False: the node says so and goes on without it.
    timeout_secs : float
        An answer later than this counts as none.
    poll_secs : float
        Seconds between two questions whether it is there.
    autotrim_mins : int
        Age after which stream entries are dropped.
    password_env : str
        Name of the environment variable with the password, if it has one.

    """

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 6379
    cache: bool = True
    streams: bool = False
    required: bool = False
    timeout_secs: Annotated[float, msgspec.Meta(gt=0, le=30)] = 2.0
    poll_secs: Annotated[float, msgspec.Meta(gt=0, le=60)] = 2.0
    autotrim_mins: Annotated[int, msgspec.Meta(ge=1)] = 1440
    password_env: str = "ARGONAUT_REDIS_PASSWORD"  # noqa: S105 - the name of a variable, not a secret

    def __post_init__(self) -> None:
        if not (self.cache or self.streams):
            raise ValueError("switch on cache or streams, or leave redis out")

    @property
    def address(self) -> str:
        """Host and port, for messages."""
        return f"{self.host}:{self.port}"


class RedisError(ConfigError):
    """What is at that address is no Redis, is too old, or wants another password."""


class RedisUnavailableError(RedisError, UnavailableError):
    """Redis is not there, too slow, or still loading."""


async def ping(config: RedisConfig) -> None:
    """
    Return when Redis has answered that it is there and new enough.

    Raises
    ------
    RedisError
        Propagate: anything else, within `timeout_secs`.

    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(config.timeout_secs):
            reader, writer = await asyncio.open_connection(config.host, config.port)
            password = os.environ.get(config.password_env, "")
            if password:
                await _command(reader, writer, "AUTH", password)
            await _command(reader, writer, "PING")
            version = _version(await _command(reader, writer, "INFO", "server"))
    except TimeoutError:
        raise RedisUnavailableError(f"redis {config.address}: no answer within {config.timeout_secs:g} s") from None
    except (OSError, asyncio.IncompleteReadError, ValueError) as e:
        passing = not isinstance(e, ValueError) or str(e).startswith(_PASSING)
        kind = RedisUnavailableError if passing else RedisError
        raise kind(f"redis {config.address}: {e or type(e).__name__}") from None
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(config.timeout_secs):
                    await writer.wait_closed()
    if version < _OLDEST:
        raise RedisError(f"redis {config.address}: version {version[0]}.{version[1]} is too old, 6.2 is needed")


async def reachable(config: RedisConfig | None, delays: Sequence[float] = START_DELAYS_SECS) -> RedisConfig | None:
    """
    Return `config` if Redis is there; None if it is not and may be done without.

    One that is required is asked again after each of `delays` (s).

    Raises
    ------
    RedisError
        Fatal: not there, and required.

    """
    if config is None:
        return None
    try:
        await until_available(lambda: ping(config), delays if config.required else ())
    except RedisError as e:
        if config.required:
            raise type(e)(f"{e}; start it, or set redis.required: false") from None
        return None
    return config


async def _command(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *words: str) -> str:
    parts = [f"*{len(words)}\r\n"] + [f"${len(w.encode())}\r\n{w}\r\n" for w in words]
    writer.write("".join(parts).encode())
    await writer.drain()
    line = (await reader.readline()).decode().rstrip()
    if line.startswith("$"):
        return (await reader.readexactly(int(line[1:]) + 2)).decode()
    if not line.startswith("+"):
        raise ValueError(line.removeprefix("-") or _CLOSED)
    return line[1:]


def _version(info: str) -> tuple[int, int]:
    for line in info.splitlines():
        name, _, value = line.partition(":")
        if name == "redis_version":
            major, minor = value.split(".")[:2]
            return int(major), int(minor)
    raise ValueError("does not tell its version")


def engine_configs(config: RedisConfig | None) -> dict[str, Any]:
    """Return the ``cache`` and ``message_bus`` arguments of a ``TradingNodeConfig``; empty without Redis."""
    if config is None:
        return {}
    from nautilus_trader.cache.config import CacheConfig  # noqa: PLC0415 - `--help` must not load the engine
    from nautilus_trader.common.config import DatabaseConfig, MessageBusConfig  # noqa: PLC0415
    from nautilus_trader.model.data import OrderBookDeltas, QuoteTick, TradeTick  # noqa: PLC0415

    seconds = max(int(config.timeout_secs), 1)
    database = DatabaseConfig(
        host=config.host,
        port=config.port,
        password=os.environ.get(config.password_env) or None,
        connection_timeout=seconds,
        response_timeout=seconds,
        number_of_retries=1,
        max_delay=1,
    )
    found: dict[str, Any] = {}
    if config.cache:
        found["cache"] = CacheConfig(
            database=database, encoding="msgpack", persist_account_events=False, buffer_interval_ms=100
        )
    if config.streams:
        found["message_bus"] = MessageBusConfig(
            database=database,
            encoding="json",
            streams_prefix="argonaut",
            types_filter=[QuoteTick, TradeTick, OrderBookDeltas],
            autotrim_mins=config.autotrim_mins,
            heartbeat_interval_secs=5,
            buffer_interval_ms=100,
        )
    return found
