"""``python -m research.report RESULT.json``: the page of a backtest's result, one HTML file that needs no network."""

import argparse
import sys
from pathlib import Path

from strategies.startup import run_command


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m research.report",
        description="Write the page of a result of `python -m node.backtest --json RESULT.json`.",
    )
    p.add_argument("result", type=Path, metavar="RESULT.json", help="what to show")
    p.add_argument("--catalog", type=Path, metavar="DIR", help="catalog with the prices (default: the result's)")
    p.add_argument("--out", type=Path, metavar="FILE", help="page to write (RESULT.html beside the result)")
    p.add_argument("--ledger", type=Path, metavar="FILE", help="trial ledger ($ARGONAUT_TRIALS)")
    p.add_argument("--seed", type=int, default=7, metavar="N", help="seed of the intervals (7)")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    from node.report import write_file  # noqa: PLC0415 - keeps --help fast
    from research.doubt.recorded import record_look  # noqa: PLC0415
    from research.report.backtests import backtest_page  # noqa: PLC0415
    from research.report.page import render  # noqa: PLC0415
    from trials import ready  # noqa: PLC0415

    ready(args.ledger)
    page = backtest_page(args.result, args.catalog, args.seed, args.ledger)
    command = ["research.report", *(sys.argv[1:] if argv is None else argv)]
    record_look(command, args.result, [args.seed], args.ledger, seed=args.seed)
    out = args.out or args.result.with_suffix(".html")
    write_file(out, render(page))
    print(out)
    return 0


if __name__ == "__main__":
    run_command(main)
