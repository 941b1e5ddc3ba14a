"""What a person sees of a study: tables in the terminal; CSV, JSON and the page in its folder."""

import csv
import io
from pathlib import Path
from statistics import median
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from node.config import format_time
from node.report import write_file
from research.walkforward.ancestor import CAUSES
from research.walkforward.combinatorial import Paths
from research.walkforward.comparison import REST, Window, compare, comparison_json
from research.walkforward.outcome import FoldLine, Variant
from research.walkforward.study import Study
from research.walkforward.tried import SymbolTrials

Pair = tuple[float, float] | None


def write_outputs(study: Study, folder: Path) -> None:
    """Write trades, folds, equity, comparison and page beside ``result.json``."""
    rows: list[dict[str, Any]] = []
    folds: list[dict[str, Any]] = []
    for v in study.variants:
        key = {"account": v.account, "gate": v.gate}
        rows += [
            key
            | {name: getattr(t, name) for name in t.__struct_fields__}
            | {"entry_time": format_time(t.entry_time), "exit_time": format_time(t.exit_time)}
            for t in v.trades
        ]
        folds += [key | _fold_row(line) for line in v.lines]
    write_file(folder / "trades.csv", csv_bytes(rows))
    write_file(folder / "folds.csv", csv_bytes(folds))
    windows = comparisons(study)
    if windows:
        write_file(folder / "comparison.json", comparison_json(windows))
    from research.report.page import render  # noqa: PLC0415 - plotly is only loaded for pages
    from research.report.studies import study_page  # noqa: PLC0415 - as above

    write_file(folder / "report.html", render(study_page(study, windows)))


def _fold_row(line: FoldLine) -> dict[str, Any]:
    times = ("train_start", "train_end", "test_start", "test_end")
    figures = ("trades", "net_pnl", "profit_factor", "max_drawdown", "start_balance", "end_balance")
    return {
        "fold": line.fold.index,
        **{name: format_time(getattr(line.fold, name)) for name in times},
        **{name: getattr(line, name) for name in figures},
        "params": " ".join(f"{s}:{k}={x:g}" for s, p in line.params.items() for k, x in p.items()),
    }


def comparisons(study: Study) -> list[Window]:
    """Return the comparison with the ancestor, where the study asks for it."""
    asked = study.plan.config.ancestor
    if asked is None:
        return []
    accounts = zip(study.plan.accounts, study.variants, strict=True)
    return [w for account, v in accounts for w in compare(study.plan.node, asked, account.folds, v)]


def csv_bytes(rows: list[dict[str, Any]]) -> bytes:
    """Return rows with the same keys as CSV; no row, no file content."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue().encode()


def print_study(study: Study, folder: Path, out: TextIO) -> None:
    """Print folds, variants and comparison."""
    console = Console(file=out, highlight=False, width=None if out.isatty() else 150)
    planned = study.plan
    synthetic = " [bold red]SYNTHETIC DATA[/]" if planned.synthetic else ""
    console.print(f"[bold]Walk-forward[/] {planned.config.name}: {planned.data_source}{synthetic}")
    console.print(variants_table(study))
    for v in study.variants:
        if len(study.variants) <= 3:
            console.print(folds_table(v))
    for account, found in study.tried.items():
        for tried in found:
            console.print(tried_table(account, tried))
    if study.paths:
        console.print(paths_table(study.paths))
    windows = comparisons(study)
    if windows:
        console.print(comparison_table(windows))
        for window in windows:
            for step in window.steps:
                for what in ("appeared", "vanished", "other_exit"):
                    for trade in getattr(step, what):
                        console.print(f"  {window.start[:10]} {step.cause} {what}: {trade}")
    for name, prepared in study.prepared.items():
        for p in prepared:
            for symbol, choice in p.choices.items():
                if choice.fallback:
                    console.print(f"  [yellow]{name} fold {p.fold.index} {symbol}: {choice.fallback}[/]")
            if p.model is not None and not p.model.trained:
                console.print(f"  [yellow]{name} fold {p.fold.index}: no model: {p.model.reason}[/]")
    console.print(f"  folder {folder}, page {folder / 'report.html'}")


def variants_table(study: Study) -> Table:
    """Return one row per account and gate; the tested share stands beside every figure."""
    table = Table(title="Test windows only; 95 % block-bootstrap intervals in brackets", title_justify="left")
    for name in ("account", "gate", "tested", "share of history", "trades"):
        table.add_column(name)
    for name in ("net USDT", "return", "profit factor", "Sharpe", "max drawdown", "ended"):
        table.add_column(name, justify="right")
    for v in study.variants:
        s = v.statistics
        table.add_row(
            v.account,
            v.gate,
            f"{v.tested[0][:10]} to {v.tested[1][:10]}",
            f"{v.tested_share:.1%}",
            str(s.trades),
            f"{s.net_pnl:+,.2f}",
            f"{s.total_return:+.1%}",
            with_interval(s.profit_factor, v.intervals.get("profit_factor")),
            with_interval(s.sharpe, v.intervals.get("sharpe")),
            with_interval(s.max_drawdown, v.intervals.get("max_drawdown"), percent=True),
            v.ended if v.ended_fold is None else f"{v.ended} in fold {v.ended_fold}",
        )
    return table


def folds_table(v: Variant) -> Table:
    """Return the folds of a variant."""
    table = Table(title=f"{v.account}, gate {v.gate} (tested {v.tested_share:.1%} of history)", title_justify="left")
    for name in ("fold", "test", "trades", "net USDT", "profit factor", "end balance", "parameters"):
        table.add_column(name)
    for line in v.lines:
        short = "; ".join(" ".join(f"{x:g}" for x in p.values()) for p in line.params.values())
        pf = "-" if line.profit_factor is None else f"{line.profit_factor:.2f}"
        cut = " (cut short)" if line.fold.partial else ""
        table.add_row(
            str(line.fold.index),
            f"{line.fold.label}{cut}",
            str(line.trades),
            f"{line.net_pnl:+,.2f}",
            pf,
            f"{line.end_balance:,.2f}",
            short,
        )
    return table


def tried_table(account: str, tried: SymbolTrials) -> Table:
    """Return the doubts on what was chosen among all sets tried in the training windows."""
    days = f"{tried.days} days of training windows, {tried.start} to {tried.end}" if tried.days else "days not known"
    of = account if account == tried.symbol else f"{account}: {tried.symbol}"
    title = f"{of}: {tried.sets} sets tried ({tried.effective:.1f} independent) on {days}"
    table = Table(title=title, title_justify="left")
    for name in ("examined", "verdict", "reason", "figures"):
        table.add_column(name, overflow="fold")
    for d in tried.doubts:
        table.add_row(d.name, {True: "stands", False: "FALLS", None: "unknown"}[d.passed], d.reason.value, d.detail)
    return table


def paths_table(paths: dict[str, list[Paths]]) -> Table:
    """Return the distribution of every metric over the paths of the combinatorial cross-validation."""
    table = Table(title="Combinatorial purged cross-validation, over paths", title_justify="left")
    for name in (
        "of",
        "what",
        "metric",
        "paths",
        "lowest",
        "median",
        "highest",
        "no better than chance",
        "all days at once",
    ):
        table.add_column(name)
    for account, found in paths.items():
        for p in found:
            table.add_row(account, *path_row(p).values())
    return table


def path_row(p: Paths) -> dict[str, str]:
    """Return one metric's distribution as text."""
    known = sorted(v for v in p.values if v is not None)
    neutral = 0.5 if p.metric == "AUC" else 0.0
    three = [known[0], float(median(known)), known[-1]] if known else [None] * 3
    return {
        "what": p.what,
        "metric": p.metric,
        "paths": p.note or f"{len(p.values)} of {p.splits} splits",
        **{n: "-" if v is None else f"{v:.3f}" for n, v in zip(("lowest", "median", "highest"), three, strict=True)},
        "no better than chance": f"{sum(v <= neutral for v in known)} of {len(known)}",
        "all days at once": "-" if p.in_sample is None else f"{p.in_sample:.3f}",
    }


def comparison_table(windows: list[Window]) -> Table:
    """Return published, re-made and our own figures of each window, and what each rule changes."""
    table = Table(title="The ancestor and ours (trades, net USDT, profit factor)", title_justify="left")
    for name in ("window", "published", "its rules", "ours", *CAUSES, REST, "unexplained"):
        table.add_column(name)
    for w in windows:
        changes = [f"{s.net_change:+.2f}" for s in w.steps]
        agreed = {True: " =", False: " DIFFERS", None: ""}[w.published_agrees]
        table.add_row(
            w.start[:10] + (" (cut)" if w.partial else ""),
            ("-" if w.published is None else _three(w.published, 1)) + agreed,
            _three(w.ancestor, 2),
            _three(w.ours, 2),
            *changes,
            str(len(w.unexplained)),
        )
    return table


def _three(figures: tuple[int, float, float | None], digits: int) -> str:
    factor = "-" if figures[2] is None else f"{figures[2]:.2f}"
    return f"{figures[0]}, {figures[1]:+.{digits}f}, {factor}"


def with_interval(value: float | None, bounds: Pair, *, percent: bool = False) -> str:
    """Return a figure with its interval; the absence of either is shown."""
    form = "{:.1%}" if percent else "{:.2f}"
    text = "-" if value is None else form.format(value)
    return f"{text} [-]" if bounds is None else f"{text} [{form.format(bounds[0])}, {form.format(bounds[1])}]"
