"""
Optuna over a prepared market: a persistent study, several objectives, a least number of trades, pruning by windows.

An interrupted study goes on where it stood. Only test windows are looked at, one after the other; the selection bias of
doing so is what the trial ledger and the nested selection are for.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from research.sweep.config import OptunaMethod, Range, SweepConfig, set_of
from research.sweep.market import Market
from research.sweep.ranking import LOWER_IS_BETTER, total
from research.sweep.simulate import Grid, simulate_many
from research.sweep.windows import Plan
from strategies.errors import ConfigError
from strategies.kernel.params import CompositeParams
from trials import config_hash

_NO_FIGURE = -1e9
_WHOLE = ("signal_threshold",)
_SHORT_OF_TRADES = "short_of_trades"
"""Constraint: trades a set lacks; at most 0 is feasible, and the sampler prefers feasible sets."""


def search(
    config: SweepConfig,
    method: OptunaMethod,
    market: Market,
    windows: Plan,
    base: CompositeParams,
    progress: Callable[[int, int], None],
) -> tuple[list[CompositeParams], int]:
    """
    Run the study until it holds `method.sets` trials; return the distinct complete sets and the number of pruned ones.

    Raises
    ------
    ConfigError
        Fatal: the study file cannot be opened, or no set was completed.

    """
    import optuna  # noqa: PLC0415 - heavy, and only for this method

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    single = len(method.objectives) == 1
    study = _study(optuna, config, method, market, windows, base)

    def objective(trial: Any) -> Any:
        values = {name: _suggest(trial, name, choice) for name, choice in config.space.items()}
        params = set_of(base, values)
        grids: list[Grid] = []
        for step, window in enumerate(windows.tests):
            grids.append(simulate_many(market, [params], [window], returns=True))
            if single and step + 1 < len(windows.tests):
                trial.report(_value(_together(grids), method.objectives[0]), step)
                if trial.should_prune():
                    trial.set_constraint(_SHORT_OF_TRADES, float(config.min_trades))
                    raise optuna.TrialPruned
        columns = _together(grids)
        trial.set_constraint(_SHORT_OF_TRADES, config.min_trades - columns["trades"])
        found = tuple(_value(columns, name) for name in method.objectives)
        return found[0] if single else found

    finished = _finished(study)
    while finished < method.sets:
        study.optimize(objective, n_trials=1)
        finished = _finished(study)
        progress(finished, method.sets)
    states = optuna.trial.TrialState
    complete = [t for t in study.trials if t.state is states.COMPLETE]
    sets = list(dict.fromkeys(set_of(base, t.params) for t in complete))
    if not sets:
        raise ConfigError(f"method.study: {method.study}: every set was pruned: raise method.sets")
    return sets, sum(t.state is states.PRUNED for t in study.trials)


def _study(
    optuna: Any, config: SweepConfig, method: OptunaMethod, market: Market, windows: Plan, base: CompositeParams
) -> Any:
    # The name holds all that makes trials comparable: another space, market or cost is another study in the same file.
    key = config_hash(config.space, method.objectives, config.min_trades, market.config, windows.tests, base)
    file = Path(method.study)
    file.parent.mkdir(parents=True, exist_ok=True)

    def sampler(seed: int) -> Any:
        return optuna.samplers.TPESampler(seed=seed, multivariate=True)

    try:
        study = optuna.create_study(
            storage=f"sqlite:///{file}",
            study_name=f"{market.symbol}-{key[:16]}",
            load_if_exists=True,
            directions=["minimize" if name in LOWER_IS_BETTER else "maximize" for name in method.objectives],
            sampler=sampler(method.seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=20, n_warmup_steps=1),
        )
    except Exception as e:
        raise ConfigError(f"method.study: {file}: cannot be opened: {e}") from e
    done = len(study.trials)
    if done:  # going on with the same random numbers would try the first sets again
        study.sampler = sampler(method.seed + done)
    return study


def _finished(study: Any) -> int:
    return sum(t.state.is_finished() for t in study.trials)


def _suggest(trial: Any, name: str, choice: list[float] | Range) -> float:
    if isinstance(choice, list):
        return float(trial.suggest_categorical(name, choice))
    if name in _WHOLE:
        return float(trial.suggest_int(name, int(choice.low), int(choice.high), step=int(choice.step or 1)))
    return float(trial.suggest_float(name, choice.low, choice.high, step=choice.step))


def _together(grids: list[Grid]) -> dict[str, float]:
    figures = {name: np.concatenate([g.figures[name] for g in grids], axis=1) for name in grids[0].figures}
    columns = total(figures, [g.daily_returns[0] for g in grids], list(range(len(grids)))).columns
    return {name: float(values[0]) for name, values in columns.items()}


def _value(columns: dict[str, float], name: str) -> float:
    """Return an objective; one that is not defined is worse than any other, never infinite."""
    value = columns[name]
    if math.isfinite(value):
        return value
    return -_NO_FIGURE if name in LOWER_IS_BETTER else _NO_FIGURE
