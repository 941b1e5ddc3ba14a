"""A sweep from configuration to rows: sets, pieces of work, figures per set, what selection in training was worth."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from node.config import NodeConfig
from research.sweep.config import OptunaMethod, SweepConfig, parameter_sets
from research.sweep.ranking import Totals, order, total
from research.sweep.windows import Plan, plan
from research.sweep.work import Done, Piece, do, encode, market_of
from research.workers import run
from strategies.kernel.params import CompositeParams
from strategies.params_file import load_params

type Floats = npt.NDArray[np.float64]
type Progress = Callable[[int, int], None]
"""Receives (done, of how many), in sets."""


@dataclass(frozen=True, slots=True)
class Selected:
    """
    What choosing the best set in every training window earned in the test windows behind them.

    Attributes
    ----------
    chosen : list of int or None
        The set of each fold; None where no set made enough trades in training: nothing is traded.
    columns : dict of str to float
        As :class:`research.sweep.ranking.Totals`, over the test windows of the chosen sets.

    """

    chosen: list[int | None]
    columns: dict[str, float]


@dataclass(frozen=True, slots=True)
class SymbolResult:
    """
    One symbol's part of a sweep.

    Attributes
    ----------
    symbol : str
        Venue symbol.
    sets : list of CompositeParams
        What was tried.
    plan : Plan
        The windows.
    totals : Totals
        Figures of every set over all test windows.
    per_window : dict of str to ndarray, shape (sets, windows)
        Figures per test window.
    ranking : list of int
        Sets from best to worst.
    selected : Selected or None
        Nested selection; None without training windows.
    pruned : int
        Further sets that Optuna gave up before the last window.

    """

    symbol: str
    sets: list[CompositeParams]
    plan: Plan
    totals: Totals
    per_window: dict[str, Floats]
    ranking: list[int]
    selected: Selected | None
    pruned: int = 0


def sweep(
    config: SweepConfig,
    node: NodeConfig,
    symbols: Sequence[str],
    *,
    backend: str = "joblib",
    scheduler: str | None = None,
    workers: int = -1,
    progress: Progress = lambda _done, _all: None,
) -> Iterator[SymbolResult]:
    """
    Yield the result of every symbol, in order.

    Raises
    ------
    ConfigError, DataError
        Fatal, propagate: see ``prepare``, ``plan`` and ``research.workers``.

    """
    encoded = encode(node)
    for symbol in symbols:
        market = market_of(encoded, symbol, (None, None))
        windows = plan(config.windows, market.start_ns, market.end_ns)
        base = load_params(Path(node.strategy.file), symbol)
        pruned = 0
        if isinstance(config.method, OptunaMethod):
            from research.sweep.optuna_search import search  # noqa: PLC0415 - optional and heavy

            sets, pruned = search(config, config.method, market, windows, base, progress)
        else:
            sets = parameter_sets(config, base)
        span = windows.span
        blocks = [tuple(sets[i : i + config.block]) for i in range(0, len(sets), config.block)]
        pieces = [Piece(n, encoded, symbol, span, block, windows.all) for n, block in enumerate(blocks)]
        done: list[Done] = []
        for result in run(do, pieces, backend=backend, scheduler=scheduler, workers=workers):
            done.append(result)
            if not isinstance(config.method, OptunaMethod):
                progress(sum(len(blocks[d.number]) for d in done), len(sets))
        yield _assemble(config, symbol, sets, windows, done, pruned)


def _assemble(
    config: SweepConfig, symbol: str, sets: list[CompositeParams], windows: Plan, done: list[Done], pruned: int
) -> SymbolResult:
    done.sort(key=lambda d: d.number)
    figures = {name: np.concatenate([d.figures[name] for d in done]) for name in done[0].figures}
    returns = [np.concatenate([d.returns[w] for d in done], axis=1) for w in range(len(windows.all))]
    tests = list(range(len(windows.tests)))
    totals = total(figures, returns, tests)
    return SymbolResult(
        symbol=symbol,
        sets=sets,
        plan=windows,
        totals=totals,
        per_window={name: values[:, tests] for name, values in figures.items()},
        ranking=order(totals.columns, config.objective, config.min_trades),
        selected=_select(config, figures, returns, windows) if windows.trains else None,
        pruned=pruned,
    )


def _select(config: SweepConfig, figures: dict[str, Floats], returns: list[Floats], windows: Plan) -> Selected:
    """Choose in every training window, look only then at its test window."""
    folds = len(windows.tests)
    # The least number of trades is meant for all test windows; a training window gets its share by length.
    tested = sum(b - a for a, b in windows.tests)
    chosen: list[int | None] = []
    rows: dict[str, list[float]] = {name: [] for name in figures}
    daily: list[Floats] = []
    for fold in range(folds):
        begin, end = windows.trains[fold]
        least = max(2, round(config.min_trades * (end - begin) / tested))
        trained = total(figures, returns, [folds + fold])
        best = order(trained.columns, config.objective, least)[0]
        traded = bool(trained.columns["trades"][best] >= least)
        chosen.append(best if traded else None)
        for name, values in figures.items():
            rows[name].append(float(values[best, fold]) if traded else 0.0)
        column = returns[fold][:, best]
        daily.append((column if traded else np.zeros_like(column))[:, None])
    together = total({name: np.array([values]) for name, values in rows.items()}, daily, list(range(folds)))
    return Selected(chosen, {name: float(values[0]) for name, values in together.columns.items()})


def checked_sets(config: SweepConfig, result: SymbolResult) -> list[int]:
    """Return which sets the engine of record re-runs: the first of the ranking, then a random sample of the others."""
    best = result.ranking[: config.check.best]
    others = [i for i in range(len(result.sets)) if i not in set(best)]
    random = np.random.default_rng(config.check.seed)
    size = min(config.check.sample, len(others))
    return best + [others[int(i)] for i in random.choice(len(others), size, replace=False)] if others else best


def plain(params: CompositeParams) -> dict[str, Any]:
    """Return a set as plain data."""
    return dict(msgspec.structs.asdict(params))
