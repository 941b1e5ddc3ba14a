"""Whether the first of a sweep's ranking may be believed: it is the best of all that were tried, on these very days."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from research.doubt.overfit import examine_overfit, examine_superiority
from research.doubt.sharpe import examine_sharpe
from research.doubt.stability import MapRow, examine_choices, parameter_map
from research.doubt.verdict import Doubt
from research.report.choices import choice_sections
from research.report.page import render
from research.report.subject import Page, Section
from research.sweep.config import SweepConfig
from research.sweep.ranking import LOWER_IS_BETTER
from research.sweep.results import rows_of, summary_of
from research.sweep.study import SymbolResult
from strategies.kernel.params import CompositeParams
from trials import search_effort

SEED = 7
_SHOWN = 50


def examine_ranking(
    config: SweepConfig, result: SymbolResult, ledger: Path | None, catalog: Path | None = None
) -> list[Doubt]:
    """
    Return the doubts on the first set of the ranking; the sweep itself must already stand in the trial ledger.

    Raises
    ------
    DataError
        Fail closed: the trial ledger is damaged.

    """
    best, returns = result.ranking[0], result.totals.returns
    effort = search_effort([result.symbol], ledger=ledger, catalog=catalog)
    sets = [_varied(s, config) for s in result.sets]
    figures = _figures(config, result)
    stability = examine_choices([sets], [figures], [sets[best]], neutral=_neutral(config))
    return [
        *examine_sharpe(returns[:, best], max(effort.trials, 1.0), effort.daily_variance),
        examine_overfit(returns),
        examine_superiority(returns, SEED),
        stability,
    ]


def stability_map(config: SweepConfig, result: SymbolResult) -> list[MapRow]:
    """Return the mean objective along each parameter, over all test windows; a drawdown is counted as negative."""
    sets = [_varied(s, config) for s in result.sets]
    return parameter_map(sets, _figures(config, result), neutral=_neutral(config))


def sweep_page(
    config: SweepConfig, results: list[SymbolResult], doubts: Mapping[str, list[Doubt]], document: dict[str, Any]
) -> bytes:
    """Return the page of a sweep as HTML."""
    names = (*config.space, "trades", "net", "profit_factor", "expectancy_r", "expectancy_r_low", "sharpe")
    sections = []
    for result in results:
        share = f"{result.plan.tested_share:.1%} of the history tested"
        note = f"By {config.objective}, chosen after looking at these windows; below {config.min_trades} trades last."
        rows = [{k: row[k] for k in ("rank", *names, "max_drawdown", "windows_won")} for row in rows_of(result)]
        sections.append(Section(f"{result.symbol}: {len(result.sets)} sets, {share}", note, rows[:_SHOWN]))
        nested = summary_of(result)["nested"]
        if nested is not None:
            note = f"The best set of each training window, traded in the test window behind it; {share}."
            sections.append(Section(f"{result.symbol}: chosen in training, tested after", note, [nested["figures"]]))
    maps = {r.symbol: stability_map(config, r) for r in results}
    sections += choice_sections(doubts, maps, config.objective, "on the test windows the ranking was made on")
    checks = [{k: "equal" if v is None else v for k, v in c.items()} for c in document["checks"]]
    sections.append(Section("Re-run in the engine of record", "A difference fails the sweep.", checks))
    synthetic = "SYNTHETIC data: no figure says anything about a market; " if document["synthetic"] else ""
    keys = {"configuration": "config_hash", "data": "data_hash", "code": "code", "trial": "ledger"}
    hashes = {f"{name} of {s['symbol']}": str(s[key]) for s in document["symbols"] for name, key in keys.items()}
    page = Page(
        title=f"Sweep of {', '.join(r.symbol for r in results)}",
        subtitle=f"{synthetic}{document['data_source']}",
        runs=[],
        config={"sweep": document["config"], "node": document["node"]},
        hashes=hashes,
        sections=sections,
    )
    return render(page)


def _varied(params: CompositeParams, config: SweepConfig) -> dict[str, float]:
    plain = msgspec.structs.asdict(params)
    return {name: float(plain[name]) for name in config.space}


def _figures(config: SweepConfig, result: SymbolResult) -> list[float | None]:
    sign = -1.0 if config.objective in LOWER_IS_BETTER else 1.0
    columns = result.totals.columns
    enough = columns["trades"] >= config.min_trades
    return [
        sign * float(value) if counted and value == value else None  # noqa: PLR0124 - NaN is not itself
        for value, counted in zip(columns[config.objective], enough, strict=True)
    ]


def _neutral(config: SweepConfig) -> float:
    return 1.0 if config.objective == "profit_factor" else 0.0
