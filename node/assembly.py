"""
The one seam: a :class:`~node.config.NodeConfig` becomes a BacktestRunConfig or a TradingNodeConfig.

All strategies, gates and listeners are wired here, once, for both. What differs between the modes is an argument of
:func:`components` and nothing else, so the same bars meet the same objects.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
from nautilus_trader.backtest.config import (
    BacktestDataConfig,
    BacktestEngineConfig,
    BacktestRunConfig,
    BacktestVenueConfig,
    ImportableFeeModelConfig,
    ImportableFillModelConfig,
    ImportableLatencyModelConfig,
)
from nautilus_trader.common.config import ImportableActorConfig, LoggingConfig, resolve_config_path
from nautilus_trader.live.config import (
    LiveDataEngineConfig,
    LiveExecEngineConfig,
    LiveRiskEngineConfig,
    TradingNodeConfig,
)
from nautilus_trader.model.data import Bar, FundingRateUpdate
from nautilus_trader.risk.config import RiskEngineConfig
from nautilus_trader.trading.config import ImportableStrategyConfig

from actors.data_quality import DataQualityConfig as DataQualityActorConfig
from actors.ledger import RestoredLedger
from actors.ml_filter import MlFilterConfig
from actors.recorder import RecorderConfig
from actors.risk_guard import RiskGuardConfig
from actors.risk_state import RestoredRisk
from catalog.instruments import InstrumentSpec, bar_type, instrument_id, interval_ns, load_instruments
from node.binance.config import INFLIGHT_CHECK_RETRIES, ArgonautDataClientConfig, ArgonautExecClientConfig
from node.binance.side_data import FundingPollerConfig
from node.config import DataQualityConfig, NodeConfig
from node.redis_link import RedisConfig, engine_configs
from node.simulation.fills import RateFeeModelConfig, SlippageFillModelConfig
from node.simulation.modules import FundingConfig, LiquidationConfig, VenueModuleConfig
from node.watching import RestoredWatch, counterfactuals_config, drift_config
from strategies.errors import ConfigError
from strategies.order_ids import symbol_tag
from strategies.params_file import load_params
from strategies.registry import lookup

VENUE = "BINANCE"
_DAY_NS = 86_400_000_000_000
_VERBOSE = ("DEBUG", "INFO")
"""Log levels that show single events and commands of the engine."""
_FUNDING_LOOKBACK_NS = 10 * _DAY_NS


@dataclass(frozen=True, kw_only=True)
class Mode:
    """
    What a backtest and a live node do differently.

    Attributes
    ----------
    live : bool
        History is requested and side data polled; otherwise both are part of the data.
    trade_from_ns : int
        Rows closing at or before this time only warm up.
    market_time_ns : int or None
        Live on a replay: the venue's market time at start, the end of the history requested.
    start_balance : float
        USDT at the start of the account's history.
    restored : RestoredRisk
        What the journal remembers of the guard.
    ledger : RestoredLedger
        What the journal remembers of open positions and fills.
    poller : FundingPollerConfig or None
        Live: where settled funding rates are asked for.
    replay : bool
        Market time runs at another speed than wall time: staleness is not judged by comparing them.
    verbose : bool
        Somebody reads the engine's log of single events: otherwise their texts are not even made.

    """

    live: bool
    trade_from_ns: int = 0
    market_time_ns: int | None = None
    start_balance: float = 10_000.0
    restored: RestoredRisk = field(default_factory=RestoredRisk)
    ledger: RestoredLedger = field(default_factory=RestoredLedger)
    watch: RestoredWatch = field(default_factory=RestoredWatch)
    poller: FundingPollerConfig | None = None
    replay: bool = False
    verbose: bool = False


def components(config: NodeConfig, mode: Mode) -> tuple[list[ImportableActorConfig], list[ImportableStrategyConfig]]:
    """
    Return actors and strategies, in the order they are started.

    Raises
    ------
    ConfigError
        Fatal: unknown strategy, strategy file with an unknown key or symbol.

    """
    ids = tuple(instrument_id(s) for s in config.symbols)
    tags = {symbol_tag(s): s for s in config.symbols}
    if len(tags) < len(config.symbols):
        shared = next(s for s in config.symbols if tags[symbol_tag(s)] != s)
        raise ConfigError(f"symbols: {shared} and {tags[symbol_tag(shared)]} cannot be traded by one node: same id tag")
    actors = [
        _actor(
            "actors.recorder:Recorder",
            RecorderConfig(
                component_id="Recorder", instrument_ids=ids, restored=mode.ledger, raise_errors=not mode.live
            ),
        )
    ]
    if config.gate.mode != "off":
        actors.append(
            _actor(
                "actors.ml_filter:MlFilter",
                MlFilterConfig(
                    component_id="MlFilter",
                    model_dir=config.gate.model_dir,
                    mode=config.gate.mode,
                    levels={s: _levels(config, s) for s in config.symbols},
                    promotion=_promotion(config, mode),
                    promotion_key=config.gate.promotion_key,
                    challenger_dir=config.gate.challenger,
                ),
            )
        )
    limits = config.risk.limits
    if mode.replay or not mode.live:
        limits = msgspec.structs.replace(limits, stale_after_bars=None)
    actors.append(
        _actor(
            "actors.risk_guard:RiskGuard",
            RiskGuardConfig(
                component_id="RiskGuard",
                upstream="" if config.gate.mode == "off" else "ml",
                instrument_ids=ids,
                limits=limits,
                sizing=config.risk.sizing,
                market_max_quantity={s: spec.market_max_quantity for s, spec in load_instruments().items()},
                start_balance=mode.start_balance,
                restored=mode.restored,
                raise_errors=not mode.live,
            ),
        )
    )
    monitor = drift_config(config, mode.watch, live=mode.live)
    if monitor is not None:  # behind the gates, as is what follows
        actors.append(_actor("actors.drift:DriftMonitor", monitor))
    follower = counterfactuals_config(config, mode.watch, live=mode.live)
    if follower is not None:
        actors.append(_actor("actors.counterfactual:Counterfactuals", follower))
    if config.data_quality is not None:
        actors.append(_data_quality(config, config.data_quality, mode))
    if mode.poller is not None:
        actors.append(_actor("node.binance.side_data:FundingPoller", mode.poller))
    if mode.live and config.record is not None:
        from node.recording.run import recorder_config  # noqa: PLC0415 - most runs record nothing

        actors.append(recorder_config(config.all_symbols, config.record, mode.poller.base_url if mode.poller else ""))
    return actors, [_strategy(config, symbol, mode) for symbol in config.symbols]


def _data_quality(config: NodeConfig, section: DataQualityConfig, mode: Mode) -> ImportableActorConfig:
    watched = DataQualityActorConfig(
        component_id="DataQuality",
        bar_types=tuple(bar_type(s, config.interval) for s in config.symbols),
        jump_scales=section.jump_scales,
        jump_floor=section.jump_floor,
        release_bars=section.release_bars,
        block_silence=section.block_silence,
        stale_secs=section.stale_secs if mode.live and not mode.replay else None,
        max_spread_bps=section.max_spread_bps,
        raise_errors=not mode.live,
    )
    return _actor("actors.data_quality:DataQuality", watched)


def _promotion(config: NodeConfig, mode: Mode) -> Literal["ignore", "warn", "require"]:
    if not mode.live:
        return "ignore"
    return "require" if config.environment == "live" and config.gate.mode == "enforce" else "warn"


def _levels(config: NodeConfig, symbol: str) -> tuple[float, float]:
    params = load_params(Path(config.strategy.file), symbol)
    return params.stop_atr, params.target_atr


def _strategy(config: NodeConfig, symbol: str, mode: Mode) -> ImportableStrategyConfig:
    entry = lookup(config.strategy.name)
    settings = config.strategy
    config_type = resolve_config_path(entry.config_path)
    typed = config_type(
        order_id_tag=symbol,
        oms_type="NETTING",
        external_order_claims=[instrument_id(symbol)],
        manage_stop=False,
        instrument_id=instrument_id(symbol),
        bar_type=bar_type(symbol, config.interval),
        context_bar_types=tuple(bar_type(s, config.interval) for s in config.context),
        code=entry.code + symbol_tag(symbol),
        trade_from_ns=mode.trade_from_ns,
        warmup_bars=settings.warmup_bars,
        history_bars=settings.history_bars if mode.live else 0,
        history_end_ns=mode.market_time_ns,
        context_wait_secs=settings.context_wait_secs if mode.live and not mode.replay else 0.0,
        wait_for_funding=mode.poller is not None,
        protection=settings.protection,
        params=load_params(Path(settings.file), symbol),
        assumed_slippage=settings.assumed_slippage,
        log_events=mode.verbose,
        log_commands=mode.verbose,
    )
    return ImportableStrategyConfig(
        strategy_path=entry.strategy_path, config_path=entry.config_path, config=typed.json_primitives()
    )


def _actor(path: str, typed: Any) -> ImportableActorConfig:
    config_type = type(typed)
    return ImportableActorConfig(
        actor_path=path,
        config_path=f"{config_type.__module__}:{config_type.__qualname__}",
        config=typed.json_primitives(),
    )


@dataclass(frozen=True, kw_only=True)
class Window:
    """What of the catalog a run sees: ``[data_start, end)`` is loaded, ``[start, end)`` may trade (open times, ns)."""

    data_start_ns: int
    start_ns: int
    end_ns: int


def backtest_run_config(
    config: NodeConfig, window: Window, instruments: dict[str, InstrumentSpec], *, log_level: str = "ERROR"
) -> BacktestRunConfig:
    """
    Return the run configuration of one backtest.

    Raises
    ------
    ConfigError
        Fatal: see :func:`components`.

    """
    mode = Mode(
        live=False,
        trade_from_ns=window.start_ns,
        start_balance=config.backtest.balance,
        verbose=log_level in _VERBOSE,
    )
    actors, strategies = components(config, mode)
    return BacktestRunConfig(
        venues=[_venue(config, window, instruments)],
        data=_data(config, window),
        engine=BacktestEngineConfig(
            trader_id=config.trader_id,
            actors=actors,
            strategies=strategies,
            risk_engine=RiskEngineConfig(
                # The simulated clock stands still within a bar: a rate per second would drop a stop.
                max_order_submit_rate="1000/00:00:01",
                max_order_modify_rate="1000/00:00:01",
                max_notional_per_order=_max_notional(config),
            ),
            logging=LoggingConfig(log_level=log_level, log_colors=False, bypass_logging=log_level == "OFF"),
            run_analysis=False,
        ),
        raise_exception=True,
        dispose_on_completion=False,
    )


def _venue(config: NodeConfig, window: Window, instruments: dict[str, InstrumentSpec]) -> BacktestVenueConfig:
    backtest = config.backtest
    funding = liquidation = None
    if backtest.funding:
        funding = FundingConfig(
            catalog=config.catalog,
            symbols=config.symbols,
            start_ns=window.data_start_ns,
            end_ns=window.end_ns + 1,
        )
    if backtest.liquidation:
        specs = [instruments[s] for s in config.symbols]
        taker = max(float(s.taker_fee) for s in specs) if backtest.fees is None else float(backtest.fees.taker)
        liquidation = LiquidationConfig(
            maintenance={s.symbol: float(s.brackets[0].maintenance_rate) for s in specs},
            fee=max(float(s.liquidation_fee) for s in specs),
            close_cost=taker + backtest.slippage_bps / 10_000,
        )
    venue_module = VenueModuleConfig(funding=funding, liquidation=liquidation)
    fees = backtest.fees
    return BacktestVenueConfig(
        name=VENUE,
        oms_type="NETTING",
        account_type="MARGIN",
        starting_balances=[f"{backtest.balance} USDT"],
        default_leverage=float(backtest.leverage),
        book_type="L1_MBP",
        bar_adaptive_high_low_ordering=True,
        reject_stop_orders=True,
        use_position_ids=False,
        modules=[_actor("node.simulation.modules:VenueModule", venue_module)],
        fill_model=ImportableFillModelConfig(
            fill_model_path="node.simulation.fills:SlippageFillModel",
            config_path="node.simulation.fills:SlippageFillModelConfig",
            config=SlippageFillModelConfig(
                market_bps=str(backtest.slippage_bps), trigger_bps=str(backtest.trigger_slippage_bps)
            ).json_primitives(),
        ),
        fee_model=None
        if fees is None
        else ImportableFeeModelConfig(
            fee_model_path="node.simulation.fills:RateFeeModel",
            config_path="node.simulation.fills:RateFeeModelConfig",
            config=RateFeeModelConfig(maker=fees.maker, taker=fees.taker).json_primitives(),
        ),
        latency_model=None
        if not backtest.latency_ms
        else ImportableLatencyModelConfig(
            latency_model_path="nautilus_trader.backtest.models:LatencyModel",
            config_path="nautilus_trader.backtest.config:LatencyModelConfig",
            config={"base_latency_nanos": int(backtest.latency_ms * 1e6)},
        ),
    )


def _data(config: NodeConfig, window: Window) -> list[BacktestDataConfig]:
    """Bars in configuration order (that is the order of events at the same instant), then funding."""
    step = interval_ns(config.interval)
    bars = [
        BacktestDataConfig(
            catalog_path=config.catalog,
            data_cls=Bar,  # not its path: the engine compares with `is`
            instrument_id=instrument_id(symbol),
            bar_spec=str(bar_type(symbol, config.interval).spec),
            start_time=window.data_start_ns + step,  # bars are stamped at their close
            end_time=window.end_ns,
        )
        for symbol in config.all_symbols
    ]
    funding = [
        BacktestDataConfig(
            catalog_path=config.catalog,
            data_cls=FundingRateUpdate,
            instrument_id=instrument_id(symbol),
            start_time=window.data_start_ns - _FUNDING_LOOKBACK_NS,
            end_time=window.end_ns,
        )
        for symbol in config.symbols
    ]
    return bars + funding


def _max_notional(config: NodeConfig) -> dict[str, int]:
    return {str(instrument_id(s)): config.risk.max_notional_per_order for s in config.symbols}


def trading_node_config(
    config: NodeConfig,
    mode: Mode,
    data_client: ArgonautDataClientConfig,
    exec_client: ArgonautExecClientConfig,
    redis: RedisConfig | None = None,
) -> TradingNodeConfig:
    """
    Return the configuration of the live node; the choices are those of `knowledge/live-binance.md` §7.

    Raises
    ------
    ConfigError
        Fatal: see :func:`components`.

    """
    mode = replace(mode, verbose=config.log_level in _VERBOSE)
    actors, strategies = components(config, mode)
    rate = 1000 if mode.replay else config.risk.max_orders_per_second
    return TradingNodeConfig(
        trader_id=config.trader_id,
        actors=actors,
        strategies=strategies,
        data_clients={VENUE: data_client},
        exec_clients={VENUE: exec_client},
        data_engine=LiveDataEngineConfig(validate_data_sequence=False, graceful_shutdown_on_exception=True),
        risk_engine=LiveRiskEngineConfig(
            max_order_submit_rate=f"{rate}/00:00:01",
            max_order_modify_rate=f"{rate}/00:00:01",
            max_notional_per_order=_max_notional(config),
            graceful_shutdown_on_exception=True,
        ),
        exec_engine=LiveExecEngineConfig(
            # Redis may have died and come back without what was written before: orders that are filled there without
            # their position would hide a real one from reconciliation. A start reads venue and journal, nothing else.
            load_cache=False,
            reconciliation=True,
            reconciliation_lookback_mins=None,
            reconciliation_instrument_ids=[instrument_id(s) for s in config.symbols],
            generate_missing_orders=True,
            inflight_check_retries=INFLIGHT_CHECK_RETRIES,
            reconciliation_startup_delay_secs=1.0,  # nothing is checked before it is over
            inflight_check_interval_ms=500,
            inflight_check_threshold_ms=1_000,  # an entry whose events were lost has no stop until it is asked about
            open_check_interval_secs=60.0,
            open_check_open_only=True,
            position_check_interval_secs=30.0,
            position_check_threshold_ms=5_000,
            allow_overfills=False,
            graceful_shutdown_on_exception=True,
        ),
        logging=LoggingConfig(log_level=config.log_level, log_colors=False),
        load_state=False,
        save_state=False,
        timeout_connection=60.0,
        timeout_reconciliation=30.0,
        timeout_portfolio=10.0,
        timeout_disconnection=10.0,
        timeout_post_stop=2.0,
        **engine_configs(redis),
    )
