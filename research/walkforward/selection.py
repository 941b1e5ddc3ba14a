"""Parameters chosen on a training window, and only on it."""

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from node.config import NodeConfig
from research.walkforward.config import Metric, SelectionConfig, over
from research.walkforward.folds import Fold
from strategies.kernel.params import CompositeParams
from strategies.params_file import load_params, params_dict
from strategies.yaml_config import FrozenConfig


class Score(FrozenConfig, frozen=True):
    """What a set earned on a window. None where a figure does not exist; `sharpe` annualised, from daily returns."""

    trades: int
    net_pnl: float
    profit_factor: float | None
    net_r: float | None
    sharpe: float | None


class Evaluator(Protocol):
    """Runs sets of one symbol over ``[start, end)`` from a fresh account; what lies outside is not read but to warm."""

    def __call__(
        self, base: NodeConfig, symbol: str, window: tuple[int, int], sets: Sequence[CompositeParams]
    ) -> list[Score]:
        """Return one score per set, in order."""
        ...


class Choice(FrozenConfig, frozen=True):
    """
    What was chosen for one symbol.

    Attributes
    ----------
    params : dict
        The chosen set.
    score : Score or None
        What it earned on the training window (in-sample); None with method ``fixed``.
    tried, eligible : int
        Sets evaluated, and those with enough trades.
    rank_metric : str
        What was maximised.
    fallback : str
        Why the strategy file's own set was used although others were tried; empty otherwise.

    """

    params: dict[str, Any]
    score: Score | None
    tried: int
    eligible: int
    rank_metric: str
    fallback: str = ""


class Tried(FrozenConfig, frozen=True):
    """All sets that were evaluated on a training window, as plain data, and their scores, in order."""

    sets: list[dict[str, Any]]
    scores: list[Score]


def choose(
    config: SelectionConfig, base: NodeConfig, symbol: str, fold: Fold, evaluate: Evaluator
) -> tuple[Choice, Tried]:
    """
    Return the best set of `config.space` on the fold's training window, and everything it was chosen from.

    Trades still open at the window's end do not count: nothing after ``fold.train_end`` is seen.
    """
    own = load_params(Path(base.strategy.file), symbol)
    if config.method == "fixed":
        return Choice(params=params_dict(own), score=None, tried=1, eligible=1, rank_metric="fixed"), Tried([], [])
    window = (fold.train_start, fold.train_end)

    def run(sets: Sequence[CompositeParams]) -> list[Score]:
        return evaluate(base, symbol, window, sets)

    sets, scores = _search(config, own, run)
    tried = Tried([params_dict(s) for s in sets], scores)
    ranked = [
        (value, -i) for i, s in enumerate(scores) if (value := figure(s, config.metric, config.min_trades)) is not None
    ]
    if not ranked:
        most = max((s.trades for s in scores), default=0)
        text = f"no set made {config.min_trades} trades on the training window (most: {most})"
        choice = Choice(
            params=params_dict(own),
            score=None,
            tried=len(sets),
            eligible=0,
            rank_metric=config.metric,
            fallback=text,
        )
        return choice, tried
    best = -max(ranked)[1]
    choice = Choice(
        params=params_dict(sets[best]),
        score=scores[best],
        tried=len(sets),
        eligible=len(ranked),
        rank_metric=config.metric,
    )
    return choice, tried


def figure(score: Score, metric: Metric, min_trades: int) -> float | None:
    """Return what is maximised; None for a set that is not eligible, or that has no such figure (no loss at all)."""
    if score.trades < min_trades:
        return None
    value = getattr(score, metric)
    return value if value is not None and math.isfinite(value) else None


def _search(
    config: SelectionConfig, own: CompositeParams, run: Callable[[Sequence[CompositeParams]], list[Score]]
) -> tuple[list[CompositeParams], list[Score]]:
    if config.method == "optuna":
        return _optuna(config, own, run)
    sets = config.grid(own)
    if config.method == "random" and config.budget < len(sets):
        chosen = sorted(random.Random(config.seed).sample(range(len(sets)), config.budget))  # noqa: S311 - repeatable
        sets = [sets[i] for i in chosen]
    return sets, run(sets)


def _optuna(
    config: SelectionConfig, own: CompositeParams, run: Callable[[Sequence[CompositeParams]], list[Score]]
) -> tuple[list[CompositeParams], list[Score]]:
    import optuna  # noqa: PLC0415 - a second that only this method pays

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=config.seed))
    sets: list[CompositeParams] = []
    scores: list[Score] = []
    known: dict[bytes, Score] = {}
    for _ in range(config.budget):
        trial = study.ask()
        values = {name: trial.suggest_categorical(name, choices) for name, choices in config.space.items()}
        candidate = over(own, values)
        key = msgspec.json.encode(candidate)
        if key not in known:
            (known[key],) = run([candidate])
            sets.append(candidate)
            scores.append(known[key])
        value = figure(known[key], config.metric, config.min_trades)
        if value is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, value)
    return sets, scores


def engine_scores(
    base: NodeConfig, symbol: str, window: tuple[int, int], sets: Sequence[CompositeParams], *, folder: Path
) -> list[Score]:
    """
    Return the scores of sets run one by one in BacktestNode; parameter files are written into `folder`.

    Only trades closed by the window's end count: what is still open would be judged by bars the window does not have.
    """
    from node.backtest_run import run_backtest  # noqa: PLC0415 - the engine is only loaded here
    from research.walkforward.trial import window_config  # noqa: PLC0415 - as above

    scores = []
    for candidate in sets:
        params = folder / "candidate.yaml"
        params.write_bytes(msgspec.json.encode(params_dict(candidate)))
        result = run_backtest(window_config(base, [symbol], window, base.backtest.balance, params), log_level="OFF")
        params.unlink()
        risks = [t.net_pnl / (abs(t.entry_price - t.stop) * t.quantity) for t in result.trades if t.stop is not None]
        s = result.statistics
        scores.append(
            Score(
                trades=s.trades,
                net_pnl=s.net_pnl,
                profit_factor=s.profit_factor,
                net_r=float(np.mean(risks)) if risks else None,
                sharpe=s.sharpe,
            )
        )
    return scores
