"""One test window through BacktestNode, ended without an open position, as plain figures."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from catalog.instruments import InstrumentSpec, load_instruments
from catalog.reader import load_bars
from node.backtest_run import BacktestResult, run_backtest
from node.config import BacktestConfig, GateConfig, NodeConfig, format_time
from node.simulation.pricing import slipped_price
from node.statistics import Statistics, compute
from research.labels import LabelConfig, SignalBars, label_signals
from research.walkforward.folds import Fold
from strategies.barriers import Outcome
from strategies.order_ids import Leg
from strategies.params_file import load_params
from strategies.records import SignalRecord, TradeRecord
from strategies.yaml_config import FrozenConfig

END_OF_FOLD = "END_OF_FOLD"


class Trade(FrozenConfig, frozen=True):
    """A closed round trip; times UTC ns, money USDT. `r` is the net result over the planned risk, where known."""

    symbol: str
    side: str
    entry_time: int
    entry_price: float
    exit_time: int
    exit_price: float
    quantity: float
    stop: float | None
    target: float | None
    exit_reason: str
    gross_pnl: float
    fees: float
    funding: float
    net_pnl: float
    r: float | None
    signal_id: str | None


class Judged(FrozenConfig, frozen=True):
    """
    A signal, what the gates said, and what it was worth whatever they said.

    Attributes
    ----------
    time : int
        Close of the signal bar, UTC ns.
    score, threshold : float or None
        Of the ML gate.
    ml, guard : str or None
        Reasons the ML gate and the risk guard gave; None where the signal did not reach them.
    outcome : str
        Counterfactual by the gate's labels: target, stop, horizon or unresolved.
    net_r : float or None
        Counterfactual result after costs in units of planned risk.

    """

    symbol: str
    time: int
    side: str
    score: float | None
    threshold: float | None
    ml: str | None
    guard: str | None
    outcome: str
    net_r: float | None


class FoldResult(FrozenConfig, frozen=True):
    """
    What one test window gave.

    Attributes
    ----------
    params : dict of symbol to dict
        What traded.
    start_balance, end_balance : float
        USDT; nothing is open at either end.
    equity : list of (int, float, float)
        Market time UTC ns, equity, balance; one per time step.
    funding : list of (int, str, float)
        Market time, symbol, amount (negative when paid).
    verdicts : dict of str to int
        ``gate:reason`` to count.
    incidents : dict of str to int
        Code to count.
    data_hash : str
        SHA-256 of the bars and funding the run used.

    """

    fold: Fold
    gate: str
    params: dict[str, dict[str, Any]]
    start_balance: float
    end_balance: float
    trades: list[Trade]
    judged: list[Judged]
    equity: list[tuple[int, float, float]]
    funding: list[tuple[int, str, float]]
    verdicts: dict[str, int]
    incidents: dict[str, int]
    statistics: Statistics
    data_hash: str
    bars: int


def window_config(
    base: NodeConfig, symbols: Sequence[str], span: tuple[int, int], balance: float, params: Path
) -> NodeConfig:
    """Return `base` for one account and window, with the parameters of `params` and without gate."""
    backtest: BacktestConfig = msgspec.structs.replace(
        base.backtest, start=format_time(span[0]), end=format_time(span[1]), balance=balance
    )
    return msgspec.structs.replace(
        base,
        symbols=tuple(symbols),
        backtest=backtest,
        gate=GateConfig(),
        strategy=msgspec.structs.replace(base.strategy, file=str(params)),
    )


def run_fold(config: NodeConfig, fold: Fold, label: LabelConfig) -> FoldResult:
    """
    Run a window and close what is open at its end.

    Raises
    ------
    ConfigError, DataError, Exception
        Propagate: see ``node.backtest_run.run_backtest``.

    """
    # The model's absence is part of the result: an enforcing gate without a model blocks, and says so by reason.
    result = run_backtest(config, log_level="OFF")
    trades = [_trade(t) for t in result.trades]
    closing = closing_trades(result, load_instruments(), fold)
    trades += [_trade(t) for t in closing]
    end = result.final_balance + sum(t.gross_pnl for t in closing) - sum(_exit_fee(config, t) for t in closing)
    equity = [(p.market_time, p.equity, p.balance) for p in result.equity if p.market_time is not None]
    if closing and equity:
        equity[-1] = (equity[-1][0], end, end)
    incidents: dict[str, int] = {}
    for incident in result.incidents:
        incidents[incident.code] = incidents.get(incident.code, 0) + 1
    return FoldResult(
        fold=fold,
        gate=config.gate.mode,
        params=result.strategy_params,
        start_balance=config.backtest.balance,
        end_balance=end,
        trades=trades,
        judged=judged(result, label, fold),
        equity=equity,
        funding=[(f.market_time or 0, f.symbol, f.amount) for f in result.funding],
        verdicts=result.verdicts,
        incidents=dict(sorted(incidents.items())),
        statistics=compute(
            config.backtest.balance, [e[0] for e in equity], [e[1] for e in equity], [*result.trades, *closing]
        ),
        data_hash=result.data_hash,
        bars=result.bars,
    )


def closing_trades(result: BacktestResult, specs: dict[str, InstrumentSpec], fold: Fold) -> list[TradeRecord]:
    """
    Return the round trips that end because the window ends.

    The exit is a market order at the last close: slippage on the tick grid and taker fee, as the engine would fill it.
    Entry fee and funding, which the balance already bears, are read from the run's own records.
    """
    trades = []
    closed = {t.id for t in result.trades}
    for position in result.open_positions:
        spec = specs[position.symbol]
        long = position.side == "LONG"
        sign = 1 if long else -1
        bars = load_bars(Path(result.config.catalog), position.symbol, result.config.interval, None, fold.test_end)
        price = float(
            slipped_price(
                Decimal(f"{bars.close[-1]:.{spec.price_precision}f}"),
                not long,
                Decimal(str(result.config.backtest.slippage_bps)),
                Decimal(spec.price_tick),
            )
        )
        entries = _entry_fills(result, position.symbol, closed)
        entered = entries[0].event_time if entries else fold.test_start
        fee = sum(float(f.fee) for f in entries) + _fee(result.config, spec, position.quantity * price)
        funding = sum(
            f.amount for f in result.funding if f.symbol == position.symbol and (f.market_time or 0) > entered
        )
        gross = sign * position.quantity * (price - position.entry_price)
        approved = _signal_of(result, position.symbol, entered)
        trades.append(
            TradeRecord(
                id=f"{position.symbol}/{END_OF_FOLD}/{fold.index}",
                market_time=fold.test_end,
                wall_time=fold.test_end,
                symbol=position.symbol,
                side=position.side,
                entry_time=entered,
                entry_price=position.entry_price,
                exit_time=fold.test_end,
                exit_price=price,
                quantity=position.quantity,
                stop=None if approved is None else approved.stop_price,
                target=None if approved is None else approved.target_price,
                exit_reason=END_OF_FOLD,
                gross_pnl=gross,
                fees=fee,
                funding=funding,
                net_pnl=gross - fee + funding,
                signal_id=None if approved is None else approved.id,
                verdicts=[],
            )
        )
    return trades


def _entry_fills(result: BacktestResult, symbol: str, closed: set[str]) -> list[Any]:
    done = {identity.split("/", 1)[1] for identity in closed}
    return [f for f in result.fills if f.symbol == symbol and f.leg == Leg.ENTRY.name and f.client_order_id not in done]


def _signal_of(result: BacktestResult, symbol: str, entered: int) -> SignalRecord | None:
    found = [s for s in result.signals if s.symbol == symbol and (s.market_time or 0) <= entered]
    return found[-1] if found else None


def _fee(config: NodeConfig, spec: InstrumentSpec, notional: float) -> float:
    rate = Decimal(spec.taker_fee) if config.backtest.fees is None else Decimal(config.backtest.fees.taker)
    return round(float(rate) * notional, 8)


def _exit_fee(config: NodeConfig, trade: TradeRecord) -> float:
    return _fee(config, load_instruments()[trade.symbol], trade.quantity * trade.exit_price)


def _trade(t: TradeRecord) -> Trade:
    risk = None if t.stop is None else abs(t.entry_price - t.stop) * t.quantity
    return Trade(
        symbol=t.symbol,
        side=t.side,
        entry_time=t.entry_time or 0,
        entry_price=t.entry_price,
        exit_time=t.exit_time or 0,
        exit_price=t.exit_price,
        quantity=t.quantity,
        stop=t.stop,
        target=t.target,
        exit_reason=t.exit_reason,
        gross_pnl=t.gross_pnl,
        fees=t.fees,
        funding=t.funding,
        net_pnl=t.net_pnl,
        r=t.net_pnl / risk if risk else None,
        signal_id=t.signal_id,
    )


def judged(result: BacktestResult, label: LabelConfig, fold: Fold) -> list[Judged]:
    """
    Return every signal of a run with its verdicts and its counterfactual result.

    The counterfactual looks beyond the window's end where the catalog goes on: it judges the gate, it decides nothing.
    """
    by_signal: dict[str, dict[str, Any]] = {}
    for v in result.verdict_records:
        by_signal.setdefault(v.signal_id, {})[v.gate] = v
    found: list[Judged] = []
    for symbol in result.config.symbols:
        signals = [s for s in result.signals if s.symbol == symbol]
        outcomes = _outcomes(result.config, symbol, signals, label, fold)
        for signal, (outcome, net_r) in zip(signals, outcomes, strict=True):
            verdicts = by_signal.get(signal.id, {})
            ml = verdicts.get("ml")
            guard = next((v for name, v in verdicts.items() if name != "ml"), None)
            found.append(
                Judged(
                    symbol=symbol,
                    time=signal.market_time or 0,
                    side=signal.side,
                    score=None if ml is None else ml.score,
                    threshold=None if ml is None else ml.threshold,
                    ml=None if ml is None else ml.reason,
                    guard=None if guard is None else guard.reason,
                    outcome=outcome,
                    net_r=net_r,
                )
            )
    return sorted(found, key=lambda j: (j.time, j.symbol))


def _outcomes(
    config: NodeConfig, symbol: str, signals: list[SignalRecord], label: LabelConfig, fold: Fold
) -> list[tuple[str, float | None]]:
    if not signals:
        return []
    from catalog.instruments import interval_ns  # noqa: PLC0415 - one use

    step = interval_ns(config.interval)
    horizon = (label.horizon_bars + 1) * step
    bars = load_bars(Path(config.catalog), symbol, config.interval, fold.test_start, fold.test_end + horizon)
    params = load_params(Path(config.strategy.file), symbol)
    at = np.searchsorted(bars.open_time, [(s.market_time or 0) - step for s in signals])
    # A signal carries its levels, not its ATR.
    atr = np.array([abs(s.reference_price - s.stop_price) / params.stop_atr for s in signals], dtype=float)
    side = np.array([1 if s.side == "LONG" else -1 for s in signals], dtype=np.int64)
    labels = label_signals(
        (bars.open, bars.high, bars.low, bars.close),
        SignalBars(at.astype(np.int64), side, atr),
        (params.stop_atr, params.target_atr),
        label,
    )
    return [
        (Outcome(int(o)).name.lower(), None if np.isnan(r) else float(r))
        for o, r in zip(labels.outcome, labels.net_r, strict=True)
    ]
