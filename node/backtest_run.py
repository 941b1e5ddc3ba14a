"""One backtest: window, engine, records, result. The command is in ``node.backtest``."""

import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
from nautilus_trader.backtest.node import BacktestNode

from catalog.instruments import InstrumentSpec, interval_ns, load_instruments
from catalog.manifest import dataset_hash
from catalog.reader import coverage, data_hash
from catalog.sample import describe
from node.assembly import Window, backtest_run_config
from node.config import NodeConfig, format_time, parse_time
from node.simulation.analyzer import cure
from node.statistics import Statistics, compute, daily_equity
from strategies.equity_points import EquityPoints
from strategies.errors import DataError
from strategies.records import (
    TOPIC,
    ApprovalRecord,
    EquityRecord,
    FillRecord,
    FundingRecord,
    IncidentRecord,
    OrderRecord,
    OutcomeRecord,
    Record,
    SignalRecord,
    TradeRecord,
    VerdictRecord,
)


class Records:
    """Collects every record of a run from the message bus, by kind and in order."""

    def __init__(self) -> None:
        self.signals: list[SignalRecord] = []
        self.verdicts: list[VerdictRecord] = []
        self.approvals: list[ApprovalRecord] = []
        self.orders: list[OrderRecord] = []
        self.fills: list[FillRecord] = []
        self.funding: list[FundingRecord] = []
        self.trades: list[TradeRecord] = []
        self.incidents: list[IncidentRecord] = []
        self.outcomes: list[OutcomeRecord] = []
        self._points = EquityPoints()
        self._by_kind: dict[str, list[Any]] = {
            "signal": self.signals,
            "verdict": self.verdicts,
            "approval": self.approvals,
            "order": self.orders,
            "fill": self.fills,
            "funding": self.funding,
            "trade": self.trades,
            "incident": self.incidents,
            "outcome": self.outcomes,
        }

    def attach(self, msgbus: Any) -> None:
        """Listen to all records published on `msgbus`; equity points come by the short way."""
        msgbus.subscribe(f"{TOPIC}.*", self.add)
        self._points.offer(msgbus)

    @property
    def equity(self) -> list[EquityRecord]:
        """The account's value at the end of every time step."""
        return self._points.records()

    def add(self, record: Record) -> None:
        """Keep one record."""
        self._by_kind[record.kind].append(record)


class OpenPosition(msgspec.Struct, frozen=True, kw_only=True):
    """A position still open when the data ended; equity holds its unrealised profit."""

    symbol: str
    side: str
    quantity: float
    entry_price: float
    unrealized_pnl: float


class BacktestResult(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything a run produced, and everything needed to repeat it.

    ``data_hash`` is over the values the run read; ``dataset_hash`` names the raw data sets the catalog was built from
    (:func:`catalog.manifest.dataset_hash`), empty where it was filled otherwise.
    """

    config: NodeConfig
    strategy_params: dict[str, Any]
    data_source: str
    synthetic: bool
    data_hash: str
    dataset_hash: str
    start: str
    end: str
    bars: int
    run_seconds: float
    versions: dict[str, str]
    statistics: Statistics
    final_balance: float
    final_equity: float
    verdicts: dict[str, int]
    trades: list[TradeRecord]
    open_positions: list[OpenPosition]
    signals: list[SignalRecord]
    verdict_records: list[VerdictRecord]
    fills: list[FillRecord]
    funding: list[FundingRecord]
    incidents: list[IncidentRecord]
    outcomes: list[OutcomeRecord]
    equity: list[EquityRecord]
    daily_equity: list[tuple[str, float]]


def resolve_window(config: NodeConfig) -> Window:
    """
    Return what the run loads and where it may trade.

    History before `start` is loaded as far as the catalog has it, up to ``strategy.history_bars`` rows.

    Raises
    ------
    DataError
        Propagate: a symbol is missing in the catalog, or the catalog does not cover the window.

    """
    catalog = Path(config.catalog)
    step = interval_ns(config.interval)
    covered = [coverage(catalog, symbol, config.interval) for symbol in config.all_symbols]
    first, last = max(c[0] for c in covered), min(c[1] for c in covered) + step
    backtest = config.backtest
    start = first if backtest.start is None else parse_time(backtest.start, "backtest.start")
    end = last if backtest.end is None else parse_time(backtest.end, "backtest.end")
    if start >= end:
        raise DataError(f"nothing to run: start {format_time(start)} is not before end {format_time(end)}")
    if start < first or end > last:
        raise DataError(
            f"{catalog}: {config.interval} bars of {', '.join(config.all_symbols)} cover {format_time(first)} to "
            f"{format_time(last)}, but {format_time(start)} to {format_time(end)} was asked for: "
            "ingest more with `python -m catalog.ingest klines` or choose another --start/--end"
        )
    return Window(data_start_ns=max(first, start - config.strategy.history_bars * step), start_ns=start, end_ns=end)


def run_backtest(
    config: NodeConfig, *, log_level: str = "ERROR", watch: Callable[[Any], None] | None = None
) -> BacktestResult:
    """
    Run `config` and return its result; `watch` is handed the message bus before the run begins.

    Raises
    ------
    ConfigError, DataError
        Fatal, propagate: see :func:`resolve_window` and ``node.assembly``.
    Exception
        Propagate: whatever a strategy, actor or the engine raises.

    """
    window = resolve_window(config)
    specs = load_instruments()
    for symbol in config.symbols:
        if symbol not in specs:
            raise DataError(f"config/instruments.yaml: {symbol}: no figures for this symbol: add them")
    records = Records()
    run_config = backtest_run_config(config, window, specs, log_level=log_level)
    node = BacktestNode([run_config])
    started = time.perf_counter()
    try:
        node.build()
        engine = node.get_engine(run_config.id)
        if engine is None:
            raise DataError("the engine could not be built")
        records.attach(engine.kernel.msgbus)
        cure(engine.kernel.portfolio.analyzer)
        if watch is not None:
            watch(engine.kernel.msgbus)
        node.run()
        seconds = time.perf_counter() - started
        return _result(config, window, specs, records, engine, seconds)
    finally:
        node.dispose()


def _result(
    config: NodeConfig,
    window: Window,
    specs: dict[str, InstrumentSpec],  # noqa: ARG001 - kept beside the window for results to come
    records: Records,
    engine: Any,
    seconds: float,
) -> BacktestResult:
    catalog = Path(config.catalog)
    sample = describe(catalog)
    points = [p for p in records.equity if p.market_time is not None and p.market_time > window.start_ns]
    times = [p.market_time for p in points if p.market_time is not None]
    days, values = daily_equity(times, [p.equity for p in points])
    last = points[-1] if points else None
    counts: dict[str, int] = {}
    for v in records.verdicts:
        key = f"{v.gate}:{v.reason}"
        counts[key] = counts.get(key, 0) + 1
    return BacktestResult(
        config=config,
        strategy_params=strategy_params(config),
        data_source="catalog" if sample is None else sample.description,
        synthetic=sample is not None and sample.synthetic,
        data_hash=data_hash(catalog, config.all_symbols, config.interval, window.data_start_ns, window.end_ns),
        dataset_hash=dataset_hash(catalog, tuple(config.all_symbols), config.interval),
        start=format_time(window.start_ns) or "",
        end=format_time(window.end_ns) or "",
        bars=int(engine.iteration),
        run_seconds=seconds,
        versions=_versions(),
        statistics=compute(config.backtest.balance, times, [p.equity for p in points], records.trades),
        final_balance=config.backtest.balance if last is None else last.balance,
        final_equity=config.backtest.balance if last is None else last.equity,
        verdicts=dict(sorted(counts.items())),
        trades=records.trades,
        open_positions=_open_positions(engine),
        signals=records.signals,
        verdict_records=records.verdicts,
        fills=records.fills,
        funding=records.funding,
        incidents=records.incidents,
        outcomes=records.outcomes,
        equity=points,
        daily_equity=[((format_time(d * 86_400_000_000_000) or "")[:10], v) for d, v in zip(days, values, strict=True)],
    )


def strategy_params(config: NodeConfig) -> dict[str, Any]:
    """Return the strategy's parameters by symbol, plain."""
    from strategies.params_file import load_params  # noqa: PLC0415 - one use

    return {s: msgspec.to_builtins(load_params(Path(config.strategy.file), s)) for s in config.symbols}


def _open_positions(engine: Any) -> list[OpenPosition]:
    result = []
    for position in engine.cache.positions_open():
        last = engine.cache.price(position.instrument_id, price_type=_last_price())
        unrealized = position.unrealized_pnl(last).as_double() if last is not None else 0.0
        result.append(
            OpenPosition(
                symbol=position.instrument_id.symbol.value.removesuffix("-PERP"),
                side=position.side.name,
                quantity=float(position.quantity),
                entry_price=position.avg_px_open,
                unrealized_pnl=unrealized,
            )
        )
    return result


def _last_price() -> Any:
    from nautilus_trader.model.enums import PriceType  # noqa: PLC0415 - one use

    return PriceType.LAST


def _versions() -> dict[str, str]:
    names = ("nautilus_trader", "pandas", "numpy", "numba", "pyarrow", "onnxruntime")
    return {"python": platform.python_version(), **{n: metadata.version(n) for n in names}}
