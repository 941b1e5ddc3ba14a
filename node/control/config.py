"""Where the node keeps its run directory, the patience of watchdog and supervisor, and what a kill must know."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from strategies.yaml_config import FrozenConfig, load_yaml

Secs = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class WatchdogConfig(FrozenConfig, frozen=True):
    """
    When the watchdog acts.

    Attributes
    ----------
    api_key_env, api_secret_env : str
        Names of the environment variables with the watchdog's *own* key (trading allowed, no withdrawals).
    hang_secs : float
        A heartbeat older than this means that the event loop hangs: the node is killed.
    start_secs : float
        The same while the node starts (it compiles and loads).
    lag_secs : float
        Loop lag that is reported.
    feed_secs : float or None
        Age of the last market message after which the node is restarted; None: never. Not applied to a replay.
    naked_secs : float
        How long a position may be without a stop for its full size before the watchdog closes it.
    poll_secs : float
        Seconds between two looks at the account (request weight about 6 per symbol and look, 90 at most).
    blind_polls : int
        Failed looks in a row after which it reports that it is blind.
    clock_ms : int
        Clock offset beyond which entries are paused.
    max_failures : int
        Hangs and deaths within `failure_window_secs` after which the account is flattened and latched.
    failure_window_secs : float
        See above.

    """

    api_key_env: str = "BINANCE_WATCHDOG_API_KEY"
    api_secret_env: str = "BINANCE_WATCHDOG_API_SECRET"  # noqa: S105 - the name of a variable, not a secret
    hang_secs: Secs = 10.0
    start_secs: Secs = 120.0
    lag_secs: Secs = 1.0
    feed_secs: Secs | None = 60.0
    naked_secs: Secs = 10.0
    poll_secs: Secs = 5.0
    blind_polls: Count = 3
    clock_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = 1_000
    max_failures: Count = 3
    failure_window_secs: Secs = 600.0


class SupervisorConfig(FrozenConfig, frozen=True):
    """
    How a node that ended is started again.

    Attributes
    ----------
    first_delay_secs, longest_delay_secs : float
        Pause before a restart; doubles with every fast failure up to the longest.
    fast_failure_secs : float
        A life shorter than this counts as a fast failure; a longer one clears the count.
    max_fast_failures : int
        Fast failures in a row after which the supervisor flattens, latches and gives up.
    stop_secs : float
        How long a node that was told to stop may take before it is killed (its stops stay at the venue).

    """

    first_delay_secs: Secs = 1.0
    longest_delay_secs: Secs = 60.0
    fast_failure_secs: Secs = 60.0
    max_fast_failures: Count = 5
    stop_secs: Secs = 60.0


class OperateConfig(FrozenConfig, frozen=True):
    """
    Control of a live node.

    Attributes
    ----------
    run_dir : str or None
        Run directory; None: beside a SQLite journal (``<journal>.run``), else ``var/run/<trader_id>``.
    port : int
        Port of the control door on 127.0.0.1; 0: a free one, told in the run directory.
    loop_patience_secs : float
        How long a command waits for the event loop before ``flatten`` and ``kill`` go to the venue directly.
    flat_secs : float
        How long the venue may take to be flat after ``flatten`` or ``kill`` before the command line acts directly.
    watchdog : WatchdogConfig
        Separate process ``python -m node.watchdog``.
    supervisor : SupervisorConfig
        Separate process ``python -m node.supervisor``.

    """

    run_dir: str | None = None
    port: Port = 0
    loop_patience_secs: Secs = 1.0
    flat_secs: Secs = 3.0
    watchdog: WatchdogConfig = WatchdogConfig()
    supervisor: SupervisorConfig = SupervisorConfig()


class ControlExchange(msgspec.Struct, frozen=True, kw_only=True):
    """What control needs of the ``exchange`` section; see :class:`node.config.ExchangeConfig`."""

    recv_window_ms: int = 2000
    http_timeout_secs: int = 10
    api_key_env: str = "BINANCE_API_KEY"
    api_secret_env: str = "BINANCE_API_SECRET"  # noqa: S105 - the name of a variable, not a secret


class ControlConfig(msgspec.Struct, frozen=True, kw_only=True):
    """
    What ``flatten`` and ``kill`` need of a node's configuration: :class:`node.config.NodeConfig`, seen through a slit.

    The whole of it takes seconds to load, and a mistake elsewhere in the file must not keep anybody from closing.
    A test holds every field and default equal to the whole's.
    """

    symbols: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    environment: Literal["venue", "paper", "demo", "testnet", "live"] = "venue"
    trader_id: str = "ARGONAUT-001"
    journal: str = "sqlite:///var/journal.sqlite"
    exchange: ControlExchange = ControlExchange()
    operate: OperateConfig = OperateConfig()


def load_control_config(path: Path) -> ControlConfig:
    """
    Read what control needs of a node's configuration; other keys are not looked at.

    Raises
    ------
    ConfigError
        Fatal: missing file, no YAML, no symbols, a wrong type.

    """
    return load_yaml(path, ControlConfig)
