"""
Recursive analysis: how many bars each column needs before it no longer depends on where its history began.

``python -m research.doubt.recursive --config FILE [--catalog DIR]``

The function is computed again on histories that begin later. For each column the answer is the number of bars from the
later beginning until it is equal to the full history's, bit for bit, and stays so; the largest over all beginnings. A
warm-up shorter than that makes live values differ from those of research.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategies.startup import run_command

if TYPE_CHECKING:
    from research.doubt.tables import Data, Function
    from research.doubt.verdict import Doubt


def bars_needed(
    function: "Function",
    data: "Data",
    *,
    primary: str | None = None,
    names: list[str] | None = None,
    starts: int = 12,
) -> dict[str, int | None]:
    """
    Return the bars each column needs; None for a column that never forgets its beginning.

    Parameters
    ----------
    function, data, primary, names
        See :func:`research.doubt.lookahead.examine_function`.
    starts : int
        Number of later beginnings, spread over the first half of the rows.

    """
    import numpy as np  # noqa: PLC0415 - the command answers --help without it

    from research.doubt import tables  # noqa: PLC0415 - as above

    known = tables.clock(data, primary)
    columns, full = tables.table(function(tables.part(data, None, None)), names)
    needed: dict[str, int | None] = dict.fromkeys(columns, 0)
    for start in np.unique(np.linspace(1, len(known) // 2, starts).astype(np.int64)):
        _, rows = tables.table(function(tables.part(data, int(known[start]), None)), names)
        wrong = ~tables.same(full[start:], rows)
        for i, column in enumerate(columns):
            before = needed[column]
            if before is None:
                continue
            last = np.flatnonzero(wrong[:, i])
            bars = int(last[-1]) + 2 if len(last) else 1
            needed[column] = None if bars > len(rows) else max(before, bars)
    return needed


def examine_warm_up(
    needed: dict[str, int | None], warm_up: int, name: str = "recursive analysis of features"
) -> "Doubt":
    """Return the doubt that a warm-up of `warm_up` bars gives the same values as a longer one."""
    from research.doubt.verdict import Reason, falls, stands  # noqa: PLC0415 - the command answers --help without it

    late = {c: n for c, n in needed.items() if n is None or n > warm_up}
    longest = max((n for n in needed.values() if n is not None), default=0)
    figures: dict[str, Any] = {"bars_needed": needed, "warm_up": warm_up}
    if late:
        listed = ", ".join(f"{c} ({'never' if n is None else n})" for c, n in list(late.items())[:8])
        text = f"{warm_up} bars of warm-up are too few for {len(late)} columns: {listed}"
        return falls(name, Reason.WARM_UP_DEPENDENT, text, **figures)
    return stands(name, f"every column is exact after {longest} bars, {warm_up} are given", **figures)


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m research.doubt.recursive",
        description="Count the bars each feature needs until its beginning no longer matters; exit code 1 when the "
        "configured history is shorter.",
    )
    p.add_argument("--config", required=True, type=Path, metavar="FILE", help="node configuration (YAML)")
    p.add_argument("--catalog", type=Path, metavar="DIR", help="parquet catalog (default: the configuration's)")
    p.add_argument("--ledger", type=Path, metavar="FILE", help="trial ledger ($ARGONAUT_TRIALS)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts to FILE")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    from node.backtest import with_options  # noqa: PLC0415 - keeps --help fast
    from node.config import load_config  # noqa: PLC0415

    config = with_options(load_config(args.config), args.catalog, None, None)
    from research.doubt.pipeline import examine_kernel_warm_up  # noqa: PLC0415
    from research.doubt.recorded import record_node  # noqa: PLC0415
    from research.doubt.report import conclude, print_bars_needed  # noqa: PLC0415
    from trials import ready  # noqa: PLC0415

    ready(args.ledger)
    doubts = [examine_kernel_warm_up(config, symbol) for symbol in config.symbols]
    record_node(["research.doubt.recursive", *(sys.argv[1:] if argv is None else argv)], config, args.ledger)
    print_bars_needed(doubts, sys.stdout)
    return conclude(doubts, args.json, sys.stdout)


if __name__ == "__main__":
    run_command(main)
