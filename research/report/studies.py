"""The page of a walk-forward study."""

from pathlib import Path
from typing import Any

import msgspec

from catalog.instruments import interval_ns
from node.config import format_time, parse_time
from research.report.choices import choice_sections, verdict_rows
from research.report.subject import Page, Run, Section, market
from research.walkforward.comparison import Window
from research.walkforward.outcome import FoldLine, Variant, returns
from research.walkforward.study import Study
from research.walkforward.tables import path_row
from trials import search_effort


def study_page(study: Study, windows: list[Window]) -> Page:
    """Return the page of a study: one run per account and gate mode."""
    planned = study.plan
    config = planned.config
    symbols = sorted({s for a in planned.accounts for s in a.symbols})
    effort = search_effort(symbols, catalog=Path(planned.node.catalog))
    step = interval_ns(planned.node.interval)
    return Page(
        title=f"Walk-forward {config.name}",
        subtitle=(
            f"{config.folds.scheme} windows, trained on {config.folds.train}, tested on {config.folds.test}, "
            f"parameters by {config.selection.method}; every figure is of test windows only"
        ),
        runs=[_run(study, v) for v in study.variants],
        config={
            "study": _bare(config, "node"),
            "node": msgspec.to_builtins(planned.node) | {"catalog": "", "journal": ""},
            "strategy": planned.strategy,
            "embargo": f"{config.folds.embargo_bars * step / 3.6e12:g} hours",
        },
        hashes={
            "study": planned.key,
            "code": planned.code,
            **{f"data of {'-'.join(a.symbols)}": a.data_hash for a in planned.accounts},
        },
        paths=[{"of": name} | dict(path_row(p)) for name, found in study.paths.items() for p in found],
        compared=[_row(w) for w in windows],
        compared_notes=[
            f"{w.start[:10]}: {s.cause} {what.replace('_', ' ')}: {trade}"
            for w in windows
            for s in w.steps
            for what in ("appeared", "vanished", "other_exit")
            for trade in getattr(s, what)
        ],
        sections=[*_choices(study), *_models(study), _tested(study)],
        effort=(effort.trials, effort.daily_variance) if effort.trials > 0 else None,
        seed=config.seed,
    )


def _choices(study: Study) -> list[Section]:
    named = {
        account if len(found) == 1 else f"{account}: {t.symbol}": t
        for account, found in study.tried.items()
        for t in found
    }
    if not named:
        return []
    return choice_sections(
        {n: t.doubts for n, t in named.items()},
        {n: t.parameters for n, t in named.items()},
        study.plan.config.selection.metric,
        "on the training windows only",
    )


def _models(study: Study) -> list[Section]:
    if not study.models:
        return []
    note = "The model of every fold by itself; a verdict is on all of them and names the folds that fall."
    return [Section("Doubt on the models of the folds", note, verdict_rows(study.models))]


def _tested(study: Study) -> Section:
    """Return the doubts on what the test windows gave: the verdicts ``python -m research.doubt FOLDER`` prints."""
    from research.doubt.examine import Options, examine_gates, examine_run  # noqa: PLC0415 - slow imports
    from research.doubt.result import read_variants  # noqa: PLC0415 - as above

    runs, options = read_variants(Path(study.folder)), Options()
    found = {name: examine_run(run, options, choice=False) for name, run in runs.items()}
    rows = verdict_rows(found | {"gates": examine_gates(runs, options)})
    note = "Test windows only; random and late entries fall into the window of the real ones, under its exits."
    return Section("Doubt on the test windows", note, rows)


def _bare(config: Any, *without: str) -> dict[str, Any]:
    return {k: v for k, v in msgspec.to_builtins(config).items() if k not in without}


def _run(study: Study, v: Variant) -> Run:
    node = study.plan.node
    span = (parse_time(v.tested[0], "tested"), parse_time(v.tested[1], "tested"))
    prices, regimes = market(Path(node.catalog), v.symbols, node.interval, span)
    prepared = study.prepared[v.account]
    notes = [
        f"fold {p.fold.index}, {s}: {c.fallback}; the strategy file's own parameters were used"
        for p in prepared
        for s, c in p.choices.items()
        if c.fallback
    ]
    if v.gate != "off":
        notes += [
            f"fold {p.fold.index}: no model: {p.model.reason}"
            for p in prepared
            if p.model is not None and not p.model.trained
        ]
    space = study.plan.config.selection.space
    return Run(
        title=f"{v.account}, gate {v.gate}",
        symbols=v.symbols,
        start=v.tested[0],
        end=v.tested[1],
        start_balance=v.start_balance,
        statistics=v.statistics,
        intervals=v.intervals,
        equity=v.equity,
        funding=v.funding,
        trades=v.trades,
        judged=v.judged,
        gate_figures=v.gate_figures,
        verdicts=v.verdicts,
        incidents=v.incidents,
        prices=prices,
        regimes=regimes,
        daily_returns=returns(v.start_balance, v.equity).tolist(),
        synthetic=study.plan.synthetic,
        data_source=study.plan.data_source,
        tested_share=v.tested_share,
        tried=sum(c.tried for p in prepared for c in p.choices.values()) if space else 1,
        tuned=sum(len(values) > 1 for values in space.values()),
        ended=v.ended,
        folds=[_fold(line) for line in v.lines],
        notes=notes,
    )


def _fold(line: FoldLine) -> dict[str, Any]:
    fold = line.fold
    cut = " (cut short)" if fold.partial else ""
    return {
        "fold": str(fold.index),
        "test": f"{(format_time(fold.test_start) or '')[:10]} to {(format_time(fold.test_end) or '')[:10]}{cut}",
        "trades": line.trades,
        "net": line.net_pnl,
        "profit factor": line.profit_factor,
        "drawdown": line.max_drawdown,
        "end balance": line.end_balance,
        "parameters": "; ".join(
            f"{s}: " + ", ".join(f"{k} {x:g}" for k, x in p.items()) for s, p in line.params.items()
        ),
    }


def _row(w: Window) -> dict[str, Any]:
    def three(f: tuple[int, float, float | None] | None) -> str:
        return "-" if f is None else f"{f[0]}, {f[1]:+.2f}, {'-' if f[2] is None else format(f[2], '.2f')}"

    return {
        "window": f"{w.start[:10]} to {w.end[:10]}{' (cut short)' if w.partial else ''}",
        "published": three(w.published),
        "its rules": three(w.ancestor),
        "ours": three(w.ours),
        **{s.cause: s.net_change for s in w.steps},
        "unexplained": len(w.unexplained),
    }
