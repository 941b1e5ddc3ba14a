"""
Everything that was tried inside the training windows, not only what was chosen: the stuff overfitting is measured on.

Per symbol of an account: what each set earned on each day of the training windows (``trial_returns.npz``), from it the
probability of backtest overfitting and the reality check, and from the scores of each fold's neighbouring sets the
stability of its choice. No bar of a test window that was not part of a later training window is read.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from node.config import NodeConfig, format_time
from node.report import write_file
from research.doubt.overfit import examine_overfit, examine_superiority
from research.doubt.stability import MapRow, examine_choices, parameter_map
from research.doubt.verdict import Doubt, Reason, unknown
from research.walkforward.config import SelectionConfig
from research.walkforward.selection import Choice, Tried, figure
from research.walkforward.span import DAY_NS
from strategies.errors import ConfigError
from strategies.kernel.params import CompositeParams
from strategies.yaml_config import FrozenConfig, convert
from trials import effective_number

type Floats = npt.NDArray[np.float64]
type Ints = npt.NDArray[np.int64]

NEUTRAL = {"profit_factor": 1.0}


class SymbolTrials(FrozenConfig, frozen=True):
    """
    What was tried for one symbol of an account.

    Attributes
    ----------
    symbol : str
        Venue symbol.
    sets, days, start, end : int, int, str, str
        Distinct sets of all folds, and the days of training windows they were run on.
    effective : float
        Number of independent trials among them (mean correlation of daily returns).
    sharpes : list of float or None
        Annual Sharpe ratio of each set over those days.
    doubts : list of Doubt
        Overfitting, reality check, stability of the choices.
    parameters : list of MapRow
        Mean figure along each parameter, over all folds.
    note : str
        Why the sets' daily returns are not known; empty otherwise.

    """

    symbol: str
    sets: int
    days: int
    start: str
    end: str
    effective: float
    sharpes: list[float | None]
    doubts: list[Doubt]
    parameters: list[MapRow]
    note: str = ""


def returns_file(folder: Path, symbols: Sequence[str], symbol: str) -> Path:
    """Return where an account's folder holds the daily returns of a symbol's sets, shape (days, sets)."""
    return folder / ("trial_returns.npz" if len(symbols) == 1 else f"trial_returns-{symbol}.npz")


def examine_tried(
    node: NodeConfig,
    symbols: Sequence[str],
    symbol: str,
    windows: Sequence[tuple[int, int]],
    folds: Sequence[tuple[Choice, Tried]],
    selection: SelectionConfig,
    folder: Path,
    seed: int,
) -> SymbolTrials:
    """
    Run every set of every fold on all training windows, store its daily returns in `folder`, and examine them.

    Parameters
    ----------
    node, symbols, symbol
        The account, and which of its symbols.
    windows : sequence of (int, int)
        Training window of each fold, UTC ns.
    folds : sequence of (Choice, Tried)
        What each fold chose, and among what.
    selection, folder, seed
        How it was chosen; where the matrix goes; seed of the reality check.

    """
    stability = examine_choices(
        [[_varied(s, selection) for s in tried.sets] for _, tried in folds],
        [[figure(s, selection.metric, selection.min_trades) for s in tried.scores] for _, tried in folds],
        [None if choice.score is None else _varied(choice.params, selection) for choice, _ in folds],
        neutral=NEUTRAL.get(selection.metric, 0.0),
    )
    every = list({msgspec.json.encode(s): s for _, tried in folds for s in tried.sets}.values())
    sets = [convert(s, CompositeParams, "sets") for s in every]
    days, returns, note = np.empty(0, np.int64), np.empty((0, len(sets))), ""
    try:
        days, returns = training_returns(node, symbol, windows, sets)
    except ConfigError as e:  # the engine evaluated what the compiled simulation refuses: hours for a doubt
        note = f"the compiled simulation does not cover this configuration: {e}"
        names = ("probability of backtest overfitting", "reality check")
        doubts = [unknown(name, Reason.UNAVAILABLE, note) for name in names]
    else:
        doubts = [examine_overfit(returns), examine_superiority(returns, seed)]
        matrix = io.BytesIO()
        np.savez_compressed(matrix, returns=returns, days=days)
        write_file(returns_file(folder, symbols, symbol), matrix.getvalue())
    return SymbolTrials(
        symbol=symbol,
        sets=len(sets),
        days=len(days),
        start=_day(days[0]) if len(days) else "",
        end=_day(days[-1]) if len(days) else "",
        effective=effective_number(returns) if len(days) > 1 else float(len(sets)),
        sharpes=_sharpes(returns),
        doubts=[*doubts, stability],
        parameters=parameter_map(
            [_varied(s, selection) for _, tried in folds for s in tried.sets],
            [figure(s, selection.metric, selection.min_trades) for _, tried in folds for s in tried.scores],
            neutral=NEUTRAL.get(selection.metric, 0.0),
        ),
        note=note,
    )


def training_returns(
    node: NodeConfig, symbol: str, windows: Sequence[tuple[int, int]], sets: Sequence[CompositeParams]
) -> tuple[Ints, Floats]:
    """
    Return days (UTC day numbers, increasing) and the sets' returns on them, shape (days, sets).

    Each window runs as the choice ran it, from a fresh account. Where windows overlap, a day is the last one's: its
    first day is always a whole one, the last day of the window before may not be.

    Raises
    ------
    ConfigError, DataError
        Propagate: the configuration uses what the simulation does not cover; data missing.

    """
    from research.sweep.market import prepare  # noqa: PLC0415 - compiled code only where it is used
    from research.sweep.simulate import simulate_many  # noqa: PLC0415 - as above

    config = msgspec.structs.replace(node, symbols=(symbol,))
    rows: dict[int, Floats] = {}
    for window in windows:
        grid = simulate_many(prepare(config, symbol, *window), sets, [window], returns=True)
        rows.update(zip(grid.days[0].tolist(), grid.daily_returns[0], strict=True))
    days = np.array(sorted(rows), dtype=np.int64)
    return days, np.array([rows[d] for d in days.tolist()]).reshape(len(days), len(sets))


def _varied(params: dict[str, float], selection: SelectionConfig) -> dict[str, float]:
    return {name: float(params[name]) for name in selection.space}


def _sharpes(returns: Floats) -> list[float | None]:
    if len(returns) < 2:
        return [None] * returns.shape[1]
    deviation = returns.std(axis=0, ddof=1)
    moves = deviation > 1e-15
    values = np.where(moves, returns.mean(axis=0) / np.where(moves, deviation, 1.0) * math.sqrt(365), np.nan)
    return [float(v) if math.isfinite(v) else None for v in values]


def _day(number: int) -> str:
    return (format_time(int(number) * DAY_NS) or "")[:10]
