"""
What a sweep leaves behind: a folder of files, and a table for people.

``sets.parquet`` and ``sets.csv`` (one row per symbol and set, best first), ``result.json`` (configuration, hashes,
windows, nested selection, doubts on the choice, re-checks), ``report.html``, ``trial_returns.npz`` (daily returns of
every set; with several symbols ``trial_returns-<symbol>.npz``).
"""

import io
import math
from pathlib import Path
from typing import Any, TextIO

import msgspec
import numpy as np

from node.config import format_time
from research.folder_swap import put_in_place, write_beside
from research.sweep.study import SymbolResult, plain
from strategies.errors import ArgonautError, DataError

SHOWN = 15


def rows_of(result: SymbolResult) -> list[dict[str, Any]]:
    """Return one row per set, best first; undefined figures are None."""
    rows = []
    for rank, i in enumerate(result.ranking, start=1):
        figures = {name: _number(values[i]) for name, values in result.totals.columns.items()}
        rows.append({"symbol": result.symbol, "rank": rank, "set": i, **plain(result.sets[i]), **figures})
    return rows


def summary_of(result: SymbolResult) -> dict[str, Any]:
    """Return what is said of a symbol beside its rows."""
    selected = result.selected
    return {
        "symbol": result.symbol,
        "sets": len(result.sets),
        "first": result.ranking[0],
        "pruned": result.pruned,
        "start": format_time(result.plan.span[0]),
        "end": format_time(result.plan.span[1]),
        "tested_share": result.plan.tested_share,
        "tests": [[format_time(a), format_time(b)] for a, b in result.plan.tests],
        "trains": [[format_time(a), format_time(b)] for a, b in result.plan.trains],
        "nested": None
        if selected is None
        else {
            "chosen": [None if i is None else plain(result.sets[i]) for i in selected.chosen],
            "figures": {name: _number(value) for name, value in selected.columns.items()},
        },
    }


def write(folder: Path, results: list[SymbolResult], document: dict[str, Any], page: bytes) -> None:
    """
    Write the folder beside and put it in place at once; the one before is kept as ``<folder>.previous``.

    Raises
    ------
    DataError
        Propagate: the place cannot be written.

    """
    import pandas as pd  # noqa: PLC0415 - heavy

    table = pd.DataFrame([row for result in results for row in rows_of(result)])
    parquet = io.BytesIO()
    table.to_parquet(parquet, index=False)
    files = {
        "sets.parquet": parquet.getvalue(),
        "sets.csv": table.to_csv(index=False).encode(),
        "result.json": msgspec.json.format(msgspec.json.encode(document), indent=1),
        "report.html": page,
    }
    for result in results:
        matrix = io.BytesIO()
        np.savez_compressed(matrix, returns=result.totals.returns)
        name = "trial_returns" if len(results) == 1 else f"trial_returns-{result.symbol}"
        files[f"{name}.npz"] = matrix.getvalue()
    try:
        put_in_place(write_beside(folder, files), folder)
    except ArgonautError as e:
        raise DataError(str(e)) from None


def show(results: list[SymbolResult], objective: str, min_trades: int, out: TextIO) -> None:
    """Print a table per symbol: every figure with its count, its lower bound and the share of history tested."""
    from rich.console import Console  # noqa: PLC0415 - only for people
    from rich.table import Table  # noqa: PLC0415 - as above

    console = Console(file=out, width=None if out.isatty() else 150)
    for result in results:
        share = result.plan.tested_share
        table = Table(
            title=f"{result.symbol}: {len(result.sets)} sets by {objective}, {len(result.plan.tests)} windows, "
            f"{share:.0%} of the history tested",
            caption=f"chosen after looking at these windows; below {min_trades} trades last; low: 95 % lower bound",
        )
        names = (
            "#", "SL", "TP", "T", "ADX", "V", "trades", "net", "PF", "mean R", "low", "Sharpe", "MDD", "windows",
        )  # fmt: skip
        for name in names:
            table.add_column(name, justify="right")
        for row in rows_of(result)[:SHOWN]:
            table.add_row(
                str(row["rank"]), _text(row["stop_atr"], "g"), _text(row["target_atr"], "g"),
                str(row["signal_threshold"]), _text(row["adx_threshold"], "g"), _text(row["volume_multiplier"], "g"),
                _text(row["trades"], ".0f"), _text(row["net"], "+.2f"), _text(row["profit_factor"], ".2f"),
                _text(row["expectancy_r"], "+.3f"), _text(row["expectancy_r_low"], "+.3f"),
                _text(row["sharpe"], ".2f"), _text(row["max_drawdown"], ".1%"),
                f"{row['windows_won']:.0f}/{len(result.plan.tests)}",
                style="dim" if row["trades"] < min_trades else None,
            )  # fmt: skip
        console.print(table)
        if result.selected is not None:
            c = result.selected.columns
            console.print(
                f"chosen in training, tested after: {c['trades']:.0f} trades, net {c['net']:+.2f}, "
                f"PF {_text(_number(c['profit_factor']), '.2f')}, mean R {_text(_number(c['expectancy_r']), '+.3f')} "
                f"(low {_text(_number(c['expectancy_r_low']), '+.3f')}), {share:.0%} of the history tested"
            )


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
