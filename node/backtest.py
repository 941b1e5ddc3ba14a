"""
``python -m node.backtest``: run a configuration over the catalog through Nautilus's BacktestNode.

The result carries everything needed to repeat it: the full configuration, the hash of the data, every trade with the
verdicts that let it through, and equity with unrealised profit. Errors raise; nothing is swallowed. A run by hand is a
trial like any other: it is a line of the trial ledger before anything of it is shown.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from strategies.startup import run_command

if TYPE_CHECKING:
    from node.backtest_run import BacktestResult
    from node.config import NodeConfig


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m node.backtest", description="Run a configuration over the catalog and print what came of it."
    )
    p.add_argument("--config", required=True, type=Path, metavar="FILE", help="node configuration (YAML)")
    p.add_argument("--catalog", type=Path, metavar="DIR", help="parquet catalog (default: the configuration's)")
    p.add_argument("--start", metavar="DATE", help="first bar that may trade, UTC (default: the configuration's)")
    p.add_argument("--end", metavar="DATE", help="end of the run, UTC, excluded (default: the configuration's)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the complete result to FILE")
    p.add_argument("--ledger", type=Path, metavar="FILE", help="trial ledger ($ARGONAUT_TRIALS)")
    p.add_argument("--quiet", action="store_true", help="print no tables")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    from node.config import load_config  # noqa: PLC0415 - keeps --help fast

    config = with_options(load_config(args.config), args.catalog, args.start, args.end)
    from node.backtest_run import run_backtest  # noqa: PLC0415
    from node.report import print_result, write_json  # noqa: PLC0415
    from trials import ready, record_backtest  # noqa: PLC0415

    ready(args.ledger)
    result: BacktestResult = run_backtest(config)
    entry = record_backtest(
        config=result.config,
        strategy_params=result.strategy_params,
        data_hash=result.data_hash,
        sharpe=result.statistics.sharpe,
        command=["node.backtest", *(sys.argv[1:] if argv is None else argv)],
        result=args.json,
        ledger=args.ledger,
    )
    if args.json is not None:
        write_json(result, args.json, trial=entry.digest)
    if not args.quiet:
        print_result(result, sys.stdout)
    return 0


def with_options(config: "NodeConfig", catalog: Path | None, start: str | None, end: str | None) -> "NodeConfig":
    """
    Return `config` with the command line's choices in place of its own.

    Raises
    ------
    ConfigError
        Fatal: `start` or `end` is not a date.

    """
    import msgspec  # noqa: PLC0415 - keeps --help fast

    from node.config import parse_time  # noqa: PLC0415

    backtest = config.backtest
    if start is not None:
        parse_time(start, "--start")
        backtest = msgspec.structs.replace(backtest, start=start)
    if end is not None:
        parse_time(end, "--end")
        backtest = msgspec.structs.replace(backtest, end=end)
    return msgspec.structs.replace(
        config, backtest=backtest, catalog=config.catalog if catalog is None else str(catalog)
    )


if __name__ == "__main__":
    run_command(main)
