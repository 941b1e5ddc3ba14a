"""The account as seen from outside the node: a REST client of one's own for command line, doctor and watchdog."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from node.binance.addresses import REST
from node.binance.credentials import secret_from
from node.binance.rest import BinanceRest
from node.control.config import ControlConfig
from node.control.run_directory import RunDirectory, default_path
from strategies.errors import ConfigError

if TYPE_CHECKING:  # it loads Nautilus, and a kill must not wait for that
    from node.config import NodeConfig

type AccountConfig = "NodeConfig | ControlConfig"
"""A whole configuration of a node, or what control needs of one."""

_DEMO_KEY = "demo"  # what the simulated venue knows unless its configuration says otherwise


def run_directory(config: AccountConfig, override: Path | None = None) -> RunDirectory:
    """Return the run directory of `config`, or the one a person names."""
    operate = config.operate
    return RunDirectory(override or default_path(operate.run_dir, config.journal, config.trader_id))


def venue_rest(
    config: AccountConfig,
    environ: Mapping[str, str],
    *,
    venue_url: str | None,
    directory: RunDirectory | None = None,
    key_env: str | None = None,
    secret_env: str | None = None,
) -> BinanceRest:
    """
    Return a client for the account of `config`.

    Parameters
    ----------
    config : NodeConfig or ControlConfig
        The node's configuration.
    environ : Mapping[str, str]
        Where credentials are looked up.
    venue_url : str or None
        Address of a simulated venue; None: as the node tells in its run directory.
    directory : RunDirectory or None
        Where the node tells it.
    key_env, secret_env : str or None
        Other names of the variables than the configuration's, for a key of one's own.

    Raises
    ------
    ConfigError
        Fatal: no credentials, or a simulated venue whose address nobody told.

    """
    exchange = config.exchange
    names = (key_env or exchange.api_key_env, secret_env or exchange.api_secret_env)
    key, secret = environ.get(names[0], ""), secret_from(environ, names[1])
    environment = config.environment
    if environment == "venue" or environment == "paper":  # noqa: PLR1714 - the type checker narrows by these
        process = directory.process() if directory is not None else None
        venue_url = venue_url or (process.venue_url if process is not None else None)
        if venue_url is None:
            raise ConfigError(
                "the simulated venue's address is not known: pass --venue-url, e.g. http://127.0.0.1:8899"
            )
        return BinanceRest(
            venue_url,
            api_key=key or _DEMO_KEY,
            api_secret=secret or _DEMO_KEY,
            recv_window_ms=exchange.recv_window_ms,
            timeout_secs=exchange.http_timeout_secs,
        )
    if not key or not secret:
        raise ConfigError(f"no credentials: set {names[0]} and {names[1]} in the environment")
    return BinanceRest(
        venue_url or REST[environment],
        api_key=key,
        api_secret=secret,
        recv_window_ms=exchange.recv_window_ms,
        timeout_secs=exchange.http_timeout_secs,
    )
