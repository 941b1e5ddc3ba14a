"""
The engine of record re-checks a sweep: the same set, the same window, trade by trade.

Errors: a difference is a finding, returned as a sentence that names the first differing trade; whatever the engine
raises propagates.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from node.backtest_run import BacktestResult, run_backtest
from node.config import NodeConfig, format_time
from research.sweep.simulate import Simulation, simulate
from research.sweep.work import encode, market_of
from strategies.kernel.params import CompositeParams
from strategies.params_file import params_dict

_MONEY_TOLERANCE = 1e-8
_EQUITY_TOLERANCE = 1e-6


def node_run(config: NodeConfig, symbol: str, params: CompositeParams, start_ns: int, end_ns: int) -> BacktestResult:
    """
    Run one set in BacktestNode: `symbol` alone on its account, the window of the sweep.

    Raises
    ------
    Exception
        Propagate: whatever ``node.backtest_run.run_backtest`` raises.

    """
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        file = Path(folder, "params.yaml")
        file.write_text(yaml.safe_dump({"params": params_dict(params)}), encoding="utf-8")
        config = msgspec.structs.replace(
            config,
            symbols=(symbol,),
            strategy=msgspec.structs.replace(config.strategy, file=str(file)),
            backtest=msgspec.structs.replace(config.backtest, start=format_time(start_ns), end=format_time(end_ns)),
        )
        return run_backtest(config, log_level="OFF")


def first_difference(ours: Simulation, node: BacktestResult) -> str | None:
    """Return a sentence on the first trade the simulation and the node do not share, or None when all are equal."""
    trades = ours.trades
    for i, theirs in enumerate(node.trades):
        if i >= len(trades):
            return f"trade {i + 1}: the node made one more, {theirs.side} entered {format_time(theirs.entry_time)}"
        exact = (
            ("side", "LONG" if trades.side[i] > 0 else "SHORT", theirs.side),
            ("entry time", int(trades.entry_ns[i]), theirs.entry_time),
            ("exit time", int(trades.exit_ns[i]), theirs.exit_time),
            ("entry price", float(trades.entry_price[i]), theirs.entry_price),
            ("exit price", float(trades.exit_price[i]), theirs.exit_price),
            ("quantity", float(trades.quantity[i]), theirs.quantity),
            ("stop", float(trades.stop[i]), theirs.stop),
            ("target", float(trades.target[i]), theirs.target),
            ("exit reason", str(trades.reason[i]), theirs.exit_reason),
        )
        for what, a, b in exact:
            if a != b:
                return f"trade {i + 1}, entered {format_time(theirs.entry_time)}: {what} {a}, in the node {b}"
        money = (
            ("gross", trades.gross[i], theirs.gross_pnl),
            ("fees", trades.fees[i], theirs.fees),
            ("funding", trades.funding[i], theirs.funding),
            ("net", trades.net[i], theirs.net_pnl),
        )
        for what, a, b in money:
            if abs(float(a) - b) > _MONEY_TOLERANCE:
                return f"trade {i + 1}, entered {format_time(theirs.entry_time)}: {what} {a:.8f}, in the node {b:.8f}"
    if len(trades) > len(node.trades):
        i = len(node.trades)
        return f"trade {i + 1}: the node did not make it, entered {format_time(int(trades.entry_ns[i]))}"
    open_node = sum(p.quantity * (1 if p.side == "LONG" else -1) for p in node.open_positions)
    if abs(ours.open_quantity - open_node) > _MONEY_TOLERANCE:
        return f"open at the end: {ours.open_quantity}, in the node {open_node}"
    if abs(ours.final_balance - node.final_balance) > _EQUITY_TOLERANCE:
        return f"final balance {ours.final_balance:.8f}, in the node {node.final_balance:.8f}"
    values = np.array([value for _, value in node.daily_equity])
    if len(values) != len(ours.daily_equity) or np.abs(values - ours.daily_equity).max(initial=0) > _EQUITY_TOLERANCE:
        return "daily equity differs"
    if abs(ours.max_drawdown - node.statistics.max_drawdown) > _MONEY_TOLERANCE:
        return f"largest drawdown {ours.max_drawdown:.10f}, in the node {node.statistics.max_drawdown:.10f}"
    return None


@dataclass(frozen=True, slots=True)
class Job:
    """One set over one window, to be run both ways."""

    symbol: str
    params: CompositeParams
    start_ns: int
    end_ns: int


def recheck(config: NodeConfig, job: Job) -> tuple[str | None, int]:
    """Run a job both ways; return :func:`first_difference` and the number of trades the node made."""
    market = market_of(encode(config), job.symbol, (None, None))
    ours = simulate(market, job.params, None, job.start_ns, job.end_ns)
    node = node_run(config, job.symbol, job.params, job.start_ns, job.end_ns)
    return first_difference(ours, node), len(node.trades)


def run_jobs(
    config: NodeConfig, jobs: list[Job], progress: Callable[[int, int], None], workers: int = -1
) -> list[dict[str, Any]]:
    """
    Run the jobs in forked processes of this machine and say of each whether the node made the same trades.

    Raises
    ------
    Exception
        Propagate: whatever the engine raises.

    """
    count = min(len(jobs), (os.cpu_count() or 1) if workers < 1 else workers)
    outcomes: list[tuple[str | None, int]] = []
    if count > 1:
        # Forked: a worker has Nautilus and the compiled code in memory from its first moment.
        with multiprocessing.get_context("fork").Pool(count) as pool:
            for outcome in pool.imap(partial(recheck, config), jobs):
                outcomes.append(outcome)
                progress(len(outcomes), len(jobs))
    else:
        for job in jobs:
            outcomes.append(recheck(config, job))
            progress(len(outcomes), len(jobs))
    return [
        {
            "symbol": job.symbol,
            "params": params_dict(job.params),
            "start": format_time(job.start_ns),
            "end": format_time(job.end_ns),
            "trades": trades,
            "difference": difference,
        }
        for job, (difference, trades) in zip(jobs, outcomes, strict=True)
    ]
