"""
The one configuration tree: a YAML file in, one frozen typed struct out, everything checked before anything starts.

Relative paths of other *configuration* files are relative to the file that names them; paths of data, models and
journals are relative to the working directory. Rates are fractions (0.0004), basis points where a key ends in ``_bps``.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from actors.risk_state import RiskLimits
from node.audit.config import AuditConfig, DeadManConfig
from node.control.config import OperateConfig
from node.recording.config import RecordingConfig
from node.redis_link import RedisConfig
from strategies.errors import ConfigError
from strategies.protection import ProtectionConfig
from strategies.registry import lookup
from strategies.sizing import MarginRatio, RiskFraction
from strategies.yaml_config import FrozenConfig, load_yaml

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e12)]
NonNegative = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Leverage = Annotated[int, msgspec.Meta(ge=1, le=125)]
Symbol = Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{4,20}$")]

GateMode = Literal["off", "shadow", "enforce"]
Environment = Literal["venue", "paper", "demo", "testnet", "live"]


class StrategyConfig(FrozenConfig, frozen=True):
    """
    Which strategy runs on every symbol.

    Attributes
    ----------
    name : str
        A name of ``strategies.registry``.
    file : str
        YAML with ``params`` and ``per_symbol`` overrides.
    warmup_bars : int
        Rows before the first signal may be made.
    history_bars : int
        Rows of history before the first row that may trade (15 m: 1,500 rows are 15.6 days; features need 1,000).
    assumed_slippage : float
        Fraction of the price an entry is expected to lose; stop and target are measured from there.
    context_wait_secs : float
        Wall seconds a row waits for the BTC and ETH bars that close with it (live only).
    protection : ProtectionConfig
        Retry budget and trigger price of stop and target.

    """

    file: str
    name: str = "composite"
    warmup_bars: Count = 60
    history_bars: Count = 1500
    assumed_slippage: NonNegative = 0.0
    context_wait_secs: NonNegative = 2.0
    protection: ProtectionConfig = ProtectionConfig()


class DriftConfig(FrozenConfig, frozen=True):
    """
    When the market counts as another one than the model's.

    Attributes
    ----------
    window, every : int
        Newest signals compared with the training's, and signals between two looks.
    psi_bound : float
        Population stability index above which a column counts as drifted, if chance does not give it.
    trades : int
        Newest closed trades whose results are held against their scores.
    trades_bound : float
        Standard deviations between promised and realised target hits.

    """

    window: Annotated[int, msgspec.Meta(ge=20, le=100_000)] = 200
    every: Annotated[int, msgspec.Meta(ge=1)] = 20
    psi_bound: Positive = 0.25
    trades: Annotated[int, msgspec.Meta(ge=10, le=10_000)] = 50
    trades_bound: Positive = 3.0


class CounterfactualConfig(FrozenConfig, frozen=True):
    """
    What blocked signals would have made. The whole section absent: not in the chain.

    Attributes
    ----------
    horizon_bars : int
        Bars a signal is followed at most; where the strategy has a time stop, that.

    """

    horizon_bars: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 96


class GateConfig(FrozenConfig, frozen=True):
    """
    The ML gate. ``off``: not in the chain; ``shadow``: scores, never blocks; ``enforce``: blocks below the threshold.

    Attributes
    ----------
    mode : {"off", "shadow", "enforce"}
        What the gate may do.
    model_dir : str
        Model folder written by ``python -m research.train``.
    promotion_key : str
        Public key whose promotions count (printed by ``python -m research.promote --new-key FILE``). With real money
        and ``enforce`` a model without a promotion signed by it is refused.
    challenger : str
        Folder of a second model that scores every signal beside the first and never decides; empty: none. Its answers
        are verdicts of gate ``challenger`` in the journal.
    drift : DriftConfig or None
        Whether what the model meets is compared with what it was trained on; absent: not in the chain.

    """

    mode: GateMode = "off"
    model_dir: str = "var/models/composite"
    promotion_key: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")] = ""
    challenger: str = ""
    drift: DriftConfig | None = None


class RiskConfig(FrozenConfig, frozen=True):
    """
    Limits and sizing of the risk guard.

    Attributes
    ----------
    limits : RiskLimits
        Each limit is absent when null.
    sizing : RiskFraction or MarginRatio
        Chosen with ``method: risk_fraction`` or ``method: margin_ratio``.
    max_orders_per_second : int
        Rate limit of Nautilus's RiskEngine (wall time; a replay needs 1000).
    max_notional_per_order : int
        Limit of Nautilus's RiskEngine, USDT. It does not check size on margin accounts; the guard's limit is the one
        that holds.

    """

    limits: RiskLimits = RiskLimits()
    sizing: RiskFraction | MarginRatio = RiskFraction()
    max_orders_per_second: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    max_notional_per_order: Annotated[int, msgspec.Meta(ge=1)] = 1_000_000


class DataQualityConfig(FrozenConfig, frozen=True):
    """
    When bars pause entries of their symbol. The whole section absent: not in the chain.

    Attributes
    ----------
    jump_scales, jump_floor : float
        A close-to-close return beyond so many median magnitudes and beyond this fraction of the price.
    release_bars : int
        Clean bars in a row that lift the pause.
    block_silence : bool
        A bar without volume pauses.
    stale_secs : float or None
        Wall seconds without a bar (live only, never in a replay).
    max_spread_bps : float or None
        Needs quotes.

    """

    jump_scales: Positive = 30.0
    jump_floor: NonNegative = 0.03
    release_bars: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 2
    block_silence: bool = True
    stale_secs: Positive | None = None
    max_spread_bps: Positive | None = None


class FeesConfig(FrozenConfig, frozen=True):
    """Fee rates as fractions of notional, written as strings so that they stay exact."""

    maker: str
    taker: str

    def __post_init__(self) -> None:
        for name in ("maker", "taker"):
            try:
                rate = Decimal(getattr(self, name))
            except ArithmeticError:
                raise ValueError(f"{name}: {getattr(self, name)!r} is not a decimal number") from None
            if not rate.is_finite() or not Decimal("-0.01") <= rate <= Decimal("0.05"):
                raise ValueError(f"{name}: {rate} is not a plausible fee fraction (0.0004 means 0.04 %)")


class BacktestConfig(FrozenConfig, frozen=True):
    """
    What a backtest simulates.

    Attributes
    ----------
    start, end : str or None
        UTC dates or instants, end excluded: rows whose bar *opens* in between may trade. None: all the catalog has.
    balance : float
        USDT at the start.
    leverage : int
        Account leverage for margin.
    fees : FeesConfig or None
        Replaces the instruments' own rates.
    slippage_bps, trigger_slippage_bps : float
        Against market orders; against triggered stops and targets.
    latency_ms : float
        Between sending an order and its arrival at the simulated exchange. On bar data anything above zero means that
        orders act on the next bar.
    funding, liquidation : bool
        Charge settlements; close everything when maintenance margin is gone.

    """

    start: str | None = None
    end: str | None = None
    balance: Positive = 10_000.0
    leverage: Leverage = 10
    fees: FeesConfig | None = None
    slippage_bps: NonNegative = 0.0
    trigger_slippage_bps: NonNegative = 0.0
    latency_ms: NonNegative = 0.0
    funding: bool = True
    liquidation: bool = True


class ExchangeConfig(FrozenConfig, frozen=True):
    """
    The connection of a live node. Credentials come from the environment, never from a file.

    Attributes
    ----------
    leverage : int
        Set for every symbol at start and verified.
    recv_window_ms : int
        How late the exchange may execute a request. Also how long a stop without an answer stays in doubt, and the
        position without one: no second stop is sent before.
    http_timeout_secs : int
        Time-out of every REST request.
    api_key_env, api_secret_env : str
        Names of the environment variables. The second holds an HMAC secret, an Ed25519 private key (PEM or base64), or
        the name of a file with one.
    account : str
        Name of the account, for the journal; empty: a fingerprint of the API key. Name it before you change keys.
    base_url_http, base_url_ws, base_url_ws_api : str or None
        Other addresses than the exchange's own; for ``testnet`` and ``demo`` only. The last is for Ed25519 keys.
    max_clock_offset_ms : int
        Difference between our clock and the exchange's beyond which nothing is opened.
    clock_poll_secs : float
        Seconds between two measurements of it.

    """

    leverage: Leverage = 10
    recv_window_ms: Annotated[int, msgspec.Meta(ge=1000, le=60000)] = 2000
    http_timeout_secs: Annotated[int, msgspec.Meta(ge=1, le=60)] = 10
    api_key_env: str = "BINANCE_API_KEY"
    api_secret_env: str = "BINANCE_API_SECRET"  # noqa: S105 - the name of a variable, not a secret
    account: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_.-]{0,40}$")] = ""
    base_url_http: str | None = None
    base_url_ws: str | None = None
    base_url_ws_api: str | None = None
    max_clock_offset_ms: Annotated[int, msgspec.Meta(ge=50, le=60_000)] = 1_000
    clock_poll_secs: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 15.0


class NodeConfig(FrozenConfig, frozen=True):
    """
    Everything a node, a backtest or a replay is told.

    Attributes
    ----------
    environment : {"venue", "paper", "demo", "testnet", "live"}
        Where orders go: the simulated venue on this machine (a replay, or live data), the exchange's test
        environments, or real money.
    trader_id : str
        Nautilus trader id, ``NAME-NUMBER``.
    symbols : tuple[str, ...]
        Symbols traded; also the order of everything that happens at the same instant.
    context : tuple[str, str] or ()
        The two symbols whose returns are features (BTC, ETH), in this order; empty to do without these features.
    interval : str
        Bar interval, e.g. ``15m``.
    catalog : str
        Directory of the parquet catalog.
    journal : str
        Database URL, e.g. ``sqlite:///var/journal.sqlite``.
    journal_durability : {"power", "process"}
        What an entry waits for. ``power``: what led to it is on the disk, and survives a power loss. ``process``: it is
        in the operating system's hands, and survives a killed process. Nothing else is different.
    venue : str or None
        Configuration of the simulated venue (environments ``venue`` and ``paper``).
    counterfactual : CounterfactualConfig or None
        Follow every blocked signal to what it would have made, for the journal; absent: not.
    record : RecordingConfig or None
        Record the market beside trading (live only); absent: not.
    redis : RedisConfig or None
        Redis for cache and message streams; absent: none.
    audit : AuditConfig
        The auditor, who compares venue, node and journal.
    dead_man : DeadManConfig
        The venue's own switch for a node that dies; off by default.

    """

    strategy: StrategyConfig
    symbols: Annotated[tuple[Symbol, ...], msgspec.Meta(min_length=1)]
    environment: Environment = "venue"
    trader_id: Annotated[str, msgspec.Meta(pattern="^[A-Z]+-[0-9]+$")] = "ARGONAUT-001"
    context: tuple[Symbol, ...] = ("BTCUSDT", "ETHUSDT")
    interval: Literal["1m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"] = "15m"
    catalog: str = "var/catalog"
    journal: str = "sqlite:///var/journal.sqlite"
    journal_durability: Literal["power", "process"] = "power"
    venue: str | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"
    gate: GateConfig = GateConfig()
    risk: RiskConfig = RiskConfig()
    data_quality: DataQualityConfig | None = None
    counterfactual: CounterfactualConfig | None = None
    backtest: BacktestConfig = BacktestConfig()
    exchange: ExchangeConfig = ExchangeConfig()
    record: RecordingConfig | None = None
    redis: RedisConfig | None = None
    operate: OperateConfig = OperateConfig()
    audit: AuditConfig = AuditConfig()
    dead_man: DeadManConfig = DeadManConfig()

    def __post_init__(self) -> None:
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("symbols: the same symbol is named twice")
        if len(self.context) not in (0, 2):
            raise ValueError("context: name two symbols (BTC, ETH) or none: []")
        if self.environment not in ("testnet", "demo"):
            for key in ("base_url_http", "base_url_ws", "base_url_ws_api"):
                if getattr(self.exchange, key) is not None:
                    raise ValueError(f"exchange.{key}: only for testnet and demo, not for {self.environment}")

    @property
    def all_symbols(self) -> tuple[str, ...]:
        """Context and traded symbols, each once, context first: the order of events at the same instant."""
        return tuple(dict.fromkeys((*self.context, *self.symbols)))


def load_config(path: Path) -> NodeConfig:
    """
    Read and check a node configuration.

    Raises
    ------
    ConfigError
        Fatal: missing file, unknown key, wrong type, impossible value, unknown strategy, missing strategy file.

    """
    config = load_yaml(path, NodeConfig)
    try:
        lookup(config.strategy.name)
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from None
    strategy_file = path.parent / config.strategy.file
    if not strategy_file.is_file():
        raise ConfigError(f"{path}: strategy.file: {strategy_file}: no such file")
    venue = None
    if config.venue is not None:
        venue_file = path.parent / config.venue
        if not venue_file.is_file():
            raise ConfigError(f"{path}: venue: {venue_file}: no such file")
        venue = str(venue_file)
    for key in ("start", "end"):
        value = getattr(config.backtest, key)
        if value is not None:
            parse_time(value, f"{path}: backtest.{key}")
    return msgspec.structs.replace(
        config, strategy=msgspec.structs.replace(config.strategy, file=str(strategy_file)), venue=venue
    )


def parse_time(text: str, what: str) -> int:
    """
    Return a UTC date or instant (ISO-8601, no zone means UTC) as nanoseconds.

    Raises
    ------
    ConfigError
        Fatal: not a date; `what` opens the message.

    """
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigError(f"{what}: {text!r} is not a date or time such as 2025-09-01 or 2025-09-01T08:00Z") from None
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000


def format_time(nanos: int | None) -> str | None:
    """Return UTC nanoseconds as ISO-8601 with ``Z``, whole seconds."""
    if nanos is None:
        return None
    return datetime.fromtimestamp(nanos // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
