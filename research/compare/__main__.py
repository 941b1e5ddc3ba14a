"""
``python -m research.compare --config FILE [--symbols A B ...]``: one run per symbol, corrected for looking at several.

Every comparison is recorded in the trial ledger: choosing a symbol is choosing.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from strategies.startup import run_command

if TYPE_CHECKING:
    from node.backtest_run import BacktestResult
    from node.config import NodeConfig
    from research.compare.ranking import Comparison, SymbolRun


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m research.compare", description="Compare symbols under one configuration, and correct for it."
    )
    p.add_argument("--config", required=True, type=Path, metavar="FILE", help="node configuration (YAML)")
    p.add_argument("--symbols", nargs="+", metavar="SYMBOL", help="symbols to compare (default: the configuration's)")
    p.add_argument("--catalog", type=Path, metavar="DIR", help="parquet catalog (default: the configuration's)")
    p.add_argument("--start", metavar="DATE", help="first bar that may trade, UTC (default: the configuration's)")
    p.add_argument("--end", metavar="DATE", help="end of the run, UTC, excluded (default: the configuration's)")
    p.add_argument("--min-trades", type=int, default=30, metavar="N", help="fewer are listed, not ranked (30)")
    p.add_argument("--seed", type=int, default=7, metavar="N", help="seed of every resampling (7)")
    p.add_argument("--reps", type=int, default=2_000, metavar="N", help="bootstrap resamples (2000)")
    p.add_argument("--ledger", type=Path, metavar="FILE", help="trial ledger ($ARGONAUT_TRIALS)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the comparison to FILE")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    import msgspec  # noqa: PLC0415 - keeps --help fast

    from catalog.reader import data_hash  # noqa: PLC0415
    from node.backtest import with_options  # noqa: PLC0415
    from node.config import load_config  # noqa: PLC0415
    from strategies.errors import ConfigError  # noqa: PLC0415

    config = with_options(load_config(args.config), args.catalog, args.start, args.end)
    symbols = tuple(dict.fromkeys(args.symbols or config.symbols))
    if args.reps < 100:
        raise ConfigError(f"--reps: {args.reps}: at least 100 resamples are needed")
    from node.backtest_run import resolve_window, run_backtest  # noqa: PLC0415
    from node.report import write_file  # noqa: PLC0415
    from research.compare.ranking import compare  # noqa: PLC0415
    from trials import bare, ready, record, summarise  # noqa: PLC0415

    ready(args.ledger)
    results = []
    for symbol in symbols:
        one = msgspec.structs.replace(config, symbols=(symbol,))
        results.append((one, run_backtest(one, log_level="OFF")))
    found = compare([_run(*pair) for pair in results], min_trades=args.min_trades, seed=args.seed, reps=args.reps)
    window, everything = resolve_window(config), tuple(dict.fromkeys((*config.context, *symbols)))
    entry = record(
        "study",
        command=sys.argv,
        symbols=symbols,
        interval=config.interval,
        config=[bare(msgspec.structs.replace(config, symbols=symbols)), [r.strategy_params for _, r in results]],
        data_hash=data_hash(Path(config.catalog), everything, config.interval, window.data_start_ns, window.end_ns),
        trials=len(symbols),
        sharpe=summarise([r.statistics.sharpe for _, r in results]),
        best={"symbol": found.rows[0].symbol},
        seed=args.seed,
        result=args.json,
        ledger=args.ledger,
        catalog=Path(config.catalog),
    )
    _print(found, any(r.synthetic for _, r in results))
    if args.json is not None:
        plain = {
            "config": msgspec.to_builtins(config), "data_hash": entry.data_hash, "trial": entry.digest,
            "seed": args.seed, "comparison": msgspec.to_builtins(found),
        }  # fmt: skip
        write_file(args.json, msgspec.json.format(msgspec.json.encode(plain), indent=1))
    return 0


def _run(config: "NodeConfig", result: "BacktestResult") -> "SymbolRun":
    import numpy as np  # noqa: PLC0415 - keeps --help fast

    from catalog.instruments import interval_ns  # noqa: PLC0415
    from catalog.reader import coverage  # noqa: PLC0415
    from node.config import parse_time  # noqa: PLC0415
    from research.compare.ranking import SymbolRun  # noqa: PLC0415

    symbol = config.symbols[0]
    first, last, _ = coverage(Path(config.catalog), symbol, config.interval)
    whole = last + interval_ns(config.interval) - first
    tested = parse_time(result.end, "end") - parse_time(result.start, "start")
    levels = np.array([config.backtest.balance, *(v for _, v in result.daily_equity)])
    return SymbolRun(
        symbol=symbol,
        net=[t.net_pnl for t in result.trades],
        days=[d for d, _ in result.daily_equity],
        returns=(np.diff(levels) / np.maximum(levels[:-1], 1e-12)).tolist(),
        tested_share=tested / whole,
    )


def _print(found: "Comparison", synthetic: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - keeps --help fast
    from rich.table import Table  # noqa: PLC0415

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 150)
    if synthetic:
        console.print("SYNTHETIC data: no figure says anything about a market")
    table = Table(title=f"{len(found.rows)} symbols, ranked from {found.min_trades} trades")
    for name in ("symbol", "trades", "net", "PF", "95 %", "win", "payoff", "Sharpe", "p", "Holm", "BH", "tested", ""):
        table.add_column(name, justify="left" if name in {"symbol", ""} else "right")
    for r in found.rows:
        span = "-" if r.profit_factor_low is None else f"{r.profit_factor_low:.2f} to {_figure(r.profit_factor_high)}"
        table.add_row(
            r.symbol, str(r.trades), f"{r.net:+.2f}", _figure(r.profit_factor), span, _figure(r.win_rate),
            _figure(r.payoff), _figure(r.sharpe), _figure(r.p, 3), _figure(r.holm, 3), _figure(r.bh, 3),
            f"{r.tested_share:.0%}", r.verdict,
        )  # fmt: skip
    console.print(table)
    if found.spa_p is not None:
        superior = ", ".join(found.superior) or "none"
        console.print(f"best of all against not trading: p = {found.spa_p:.3f} (Hansen); standing alone: {superior}")


def _figure(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    run_command(main)
