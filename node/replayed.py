"""A replay that ran to its end shows what a backtest shows: it is a line of the trial ledger, and the same one."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.reader import data_hash
from node.backtest_run import resolve_window, strategy_params
from node.config import NodeConfig, parse_time
from node.statistics import compute
from strategies.errors import ArgonautError
from trials import Entry, record_backtest

if TYPE_CHECKING:
    from node.live_summary import Summary


def record_replay(config: NodeConfig, summary: "Summary", command: Sequence[str], result: Path | None = None) -> Entry:
    """
    Append the line of a replay; with a backtest of the same settings, bars and code it counts once.

    Its Sharpe ratio is that of the balance after every closed trade. Where the catalog does not hold what a venue
    elsewhere replayed, the line names no data.

    Raises
    ------
    DataError
        Propagate: the ledger is damaged or cannot be written.

    """
    closed = sorted((parse_time(t["exit_time"], "exit_time"), t["net_pnl"]) for t in summary.trades if t["exit_time"])
    start = summary.start_balance
    balance = list(accumulate((net for _, net in closed), initial=start))[1:]
    try:
        window = resolve_window(config)
        values = data_hash(
            Path(config.catalog), config.all_symbols, config.interval, window.data_start_ns, window.end_ns
        )
    except ArgonautError:
        values = ""
    return record_backtest(
        config=config,
        strategy_params=strategy_params(config),
        data_hash=values,
        sharpe=compute(start, [t for t, _ in closed], balance, []).sharpe if closed else None,
        command=["node.live", *command],
        result=result,
    )
