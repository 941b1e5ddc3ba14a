"""
Combinatorial purged cross-validation: not one path through history but many, and what the choice earned on each.

Days are cut into blocks; in every split some are held out, the choice is made on the others, and the held-out
results are put together to paths that each cover the whole history (López de Prado, 2018, chapter 12; the
combinations are ``skfolio``'s). What lies next to a held-out block is purged and embargoed: for parameter sets by whole
days, for the model by the end of each label.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from node.config import NodeConfig, format_time
from research.walkforward.config import CombinatorialConfig, GateTraining, SelectionConfig
from research.walkforward.span import DAY_NS
from strategies.errors import DataError
from strategies.kernel.params import CompositeParams
from strategies.params_file import load_params, params_dict
from strategies.yaml_config import FrozenConfig

type Floats = npt.NDArray[np.float64]
type Ints = npt.NDArray[np.int64]

_YEAR = math.sqrt(365)


class Paths(FrozenConfig, frozen=True):
    """
    A metric on every path.

    Attributes
    ----------
    what, metric : str
        What was chosen, and how a path is measured.
    splits, blocks, held_out, embargo_days : int
        Of the cross-validation.
    days, start, end : int, str, str
        Days cut into blocks.
    values : list of float or None
        One per path; None where the metric does not exist.
    in_sample : float or None
        The same metric of what would have been chosen on all days at once, on all days: what a naive study reports.
    note : str
        Why there are no values; empty otherwise.

    """

    what: str
    metric: str
    splits: int
    blocks: int
    held_out: int
    embargo_days: int
    days: int
    start: str
    end: str
    values: list[float | None]
    in_sample: float | None
    chosen: dict[str, int] = msgspec.field(default_factory=dict)
    note: str = ""


def splitter(config: CombinatorialConfig) -> Any:
    """Return skfolio's splitter."""
    from skfolio.model_selection import CombinatorialPurgedCV  # noqa: PLC0415 - seconds that only this pays

    return CombinatorialPurgedCV(
        n_folds=config.folds,
        n_test_folds=config.test_folds,
        purged_size=config.embargo_days,
        embargo_size=config.embargo_days,
    )


def parameter_paths(returns: Floats, days: Ints, names: Sequence[str], config: CombinatorialConfig) -> Paths:
    """
    Return the Sharpe ratio of "take the best set of the other blocks" on every path.

    Parameters
    ----------
    returns : np.ndarray
        float64, shape (days, sets): daily returns of every set over the whole history.
    days : np.ndarray
        int64, shape (days,), UTC day numbers, consecutive.
    names : sequence of str
        What a set is called.
    config : CombinatorialConfig
        Blocks.

    """
    cv = splitter(config)
    paths = np.full((cv.n_test_paths, len(days)), np.nan)
    chosen: dict[str, int] = {}
    ids = cv.get_path_ids()
    for split, (train, tests) in enumerate(cv.split(np.zeros((len(days), 1)))):
        best = int(np.argmax(_sharpes(returns[train])))
        chosen[names[best]] = chosen.get(names[best], 0) + 1
        for test, path in zip(tests, ids[split], strict=True):
            paths[path, test] = returns[test, best]
    if np.isnan(paths).any():
        raise DataError("combinatorial: a path does not cover every day")
    all_days = _sharpes(returns)
    return _paths(
        "parameter set with the best Sharpe ratio",
        "annual Sharpe ratio",
        config,
        days,
        [_finite(float(s) * _YEAR) for s in _sharpes(paths.T)],
        _finite(float(all_days.max()) * _YEAR),
        dict(sorted(chosen.items(), key=lambda item: (-item[1], item[0]))),
        splits=cv.n_splits,
    )


def _sharpes(returns: Floats) -> Floats:
    """Return mean over deviation of every column; sets that never traded rank below all others but losers."""
    deviation = returns.std(axis=0, ddof=1)
    known = deviation > 1e-15
    return np.where(known, returns.mean(axis=0) / np.where(known, deviation, 1.0), 0.0)


def sweep_paths(
    node: NodeConfig, symbol: str, history: tuple[int, int], selection: SelectionConfig, config: CombinatorialConfig
) -> Paths:
    """
    Return :func:`parameter_paths` of the selection's whole grid over an account's history.

    Without the kill switches: a person rearms them, and years without a trade after the first kill would make all later
    blocks equal.
    """
    from research.sweep.market import prepare  # noqa: PLC0415 - compiled code only where it is used
    from research.sweep.simulate import simulate_many  # noqa: PLC0415 - as above

    own = load_params(Path(node.strategy.file), symbol)
    sets = selection.grid(own) if selection.space else [own]
    limits = msgspec.structs.replace(node.risk.limits, fast_kill_losses=None, slow_kill_trades=None)
    node = msgspec.structs.replace(node, risk=msgspec.structs.replace(node.risk, limits=limits))
    grid = simulate_many(
        prepare(msgspec.structs.replace(node, symbols=(symbol,)), symbol, *history), sets, [history], returns=True
    )
    return parameter_paths(grid.daily_returns[0], grid.days[0], [name_of(s, selection) for s in sets], config)


def name_of(params: CompositeParams, selection: SelectionConfig) -> str:
    """Return what distinguishes a set within the space."""
    plain = params_dict(params)
    return " ".join(f"{name}={plain[name]:g}" for name in selection.space) or "fixed"


def model_paths(
    node: NodeConfig,
    catalog: Path,
    history: tuple[int, int],
    gate: GateTraining,
    config: CombinatorialConfig,
    fit: Callable[..., Any] | None = None,
) -> list[Paths]:
    """
    Return what the gate's model earns on held-out signals on every path: net R lift and AUC.

    In every split the model is fitted on the blocks not held out but the last of them, on which its threshold is
    chosen. Rows whose label has seen a bar of a held-out block are purged by label end.
    """
    from research.folds import fit_fold, rows_of  # noqa: PLC0415 - LightGBM is only loaded where it is used
    from research.metrics import auc  # noqa: PLC0415 - as above
    from research.train_config import FitConfig, TrainConfig, windows_of  # noqa: PLC0415 - as above
    from research.training import build_dataset  # noqa: PLC0415 - as above
    from strategies.params_file import load_params_file  # noqa: PLC0415 - as above

    ends = [str(format_time(t)) for t in (history[0], history[1] - 2 * DAY_NS, history[1] - DAY_NS, history[1])]
    settings = TrainConfig(
        symbols=list(gate.symbols),
        interval=node.interval,
        strategy=node.strategy.file,
        train_start=ends[0],
        train_end=ends[1],
        threshold_start=ends[1],
        threshold_end=ends[2],
        report_start=ends[2],
        report_end=ends[3],
        dataset=gate.dataset,
        label=gate.label,
        warmup_bars=gate.warmup_bars,
    )
    data = build_dataset(settings, load_params_file(Path(node.strategy.file)), catalog, windows_of(settings))
    first = history[0] // DAY_NS
    days = np.arange(first, -(-history[1] // DAY_NS), dtype=np.int64)
    how = FitConfig(
        model=gate.model,
        threshold=gate.threshold,
        calibration=gate.calibration,
        weights=gate.weights,
        min_signals=gate.min_signals,
    )
    cv = splitter(config)
    score, passed = (np.full((cv.n_test_paths, len(data)), np.nan) for _ in range(2))
    ids = cv.get_path_ids()
    note = ""
    for split, (train, tests) in enumerate(cv.split(np.zeros((len(days), 1)))):
        held = [(int(days[t[0]]) * DAY_NS, int(days[t[-1]] + 1) * DAY_NS) for t in tests]
        blocks = _runs(days[train], len(days) // config.folds)
        try:
            model = (fit or fit_fold)(
                data, blocks[:-1], blocks[-1], how, forbidden=held, embargo_ns=config.embargo_days * DAY_NS
            )
        except DataError as e:
            note = f"split {split + 1}: {e}"
            break
        for span, path in zip(held, ids[split], strict=True):
            rows = rows_of(data, [span])
            score[path, rows] = model.score(data.rows[rows])
            passed[path, rows] = model.passes(data.rows[rows])
    lifts: list[float | None] = []
    areas: list[float | None] = []
    for path in range(0 if note else cv.n_test_paths):
        known = ~np.isnan(score[path])
        through = known & (passed[path] > 0)
        lifts.append(_finite(float(data.net_r[through].mean() - data.net_r[known].mean())) if through.any() else None)
        areas.append(_finite(auc(score[path][known], data.label[known])))
    what = "gate's model"
    return [
        _paths(what, metric, config, days, values, None, {}, splits=cv.n_splits, note=note)
        for metric, values in (("net R of passed signals minus that of all", lifts), ("AUC", areas))
    ]


def _runs(days: Ints, longest: int) -> list[tuple[int, int]]:
    """Return consecutive days as spans ``[start, end)`` in ns, each at most `longest` days."""
    spans: list[tuple[int, int]] = []
    breaks = np.flatnonzero(np.diff(days) > 1) + 1
    for part in np.split(days, breaks):
        for at in range(0, len(part), max(longest, 1)):
            piece = part[at : at + max(longest, 1)]
            spans.append((int(piece[0]) * DAY_NS, int(piece[-1] + 1) * DAY_NS))
    if len(spans) > 1 and spans[-1][1] - spans[-1][0] < longest * DAY_NS // 2 and spans[-2][1] == spans[-1][0]:
        spans[-2:] = [(spans[-2][0], spans[-1][1])]
    return spans


def _paths(
    what: str,
    metric: str,
    config: CombinatorialConfig,
    days: Ints,
    values: list[float | None],
    in_sample: float | None,
    chosen: dict[str, int],
    *,
    splits: int,
    note: str = "",
) -> Paths:
    return Paths(
        what=what,
        metric=metric,
        splits=splits,
        blocks=config.folds,
        held_out=config.test_folds,
        embargo_days=config.embargo_days,
        days=len(days),
        start=(format_time(int(days[0]) * DAY_NS) or "")[:10],
        end=(format_time(int(days[-1]) * DAY_NS) or "")[:10],
        values=values,
        in_sample=in_sample,
        chosen=chosen,
        note=note,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
