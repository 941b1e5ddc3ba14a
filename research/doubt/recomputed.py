"""
Rows of a training set computed again from the raw series.

However little a feature knows of the future, and however it came by it (a label mixed in, a shift by one bar, a scaler,
an encoding): it is not what the kernel makes of the bars until then. So nothing is estimated here; bits are compared.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from catalog.instruments import interval_ns
from research.dataset import CONTEXT, Dataset, VoteConfig
from research.doubt.lookahead import examine_function
from research.doubt.pipeline import kernel_rows, raw_series
from research.doubt.verdict import Doubt, Reason, falls, stands, unknown
from strategies.kernel.columns import MODEL_FEATURES, column_indices
from strategies.params_file import ParamsFile

_CUTS = 6
_SHIFTS = 8


class Origin(NamedTuple):
    """
    What a data set was made from.

    Attributes
    ----------
    catalog, interval, symbols
        Series; a row's `symbol` is a position in `symbols`.
    params, vote : ParamsFile, VoteConfig
        Parameters, and the vote that decided which bars are rows.
    start, end : int
        Bars read, ``[start, end)`` on their open, UTC ns.

    """

    catalog: Path
    interval: str
    symbols: Sequence[str]
    params: ParamsFile
    vote: VoteConfig
    start: int
    end: int


def examine_recomputed(
    data: Dataset, origin: Origin, name: str = "features computed again", *, ahead: bool = True
) -> list[Doubt]:
    """
    Return whether every row is what the kernel gives at its bar, and (`ahead`) whether that knows later bars.

    Raises
    ------
    DataError
        Propagate: the catalog lacks a series.

    """
    if not len(data):
        return [unknown(name, Reason.TOO_FEW, "no row")]
    step = interval_ns(origin.interval)
    wrong: dict[str, tuple[int, str]] = {}
    later = []
    for position, symbol in enumerate(origin.symbols):
        series = raw_series(origin.catalog, symbol, origin.interval, CONTEXT, origin.start, origin.end)
        params = origin.vote.over(origin.params.for_symbol(symbol))

        def features(given: Any, params: Any = params) -> npt.NDArray[np.float64]:
            return kernel_rows(given, params, step)[:, column_indices("model_features")]

        mine = np.flatnonzero(data.symbol == position)
        for column, (count, text) in _differences(data, mine, features(series), series["bars"].known - step).items():
            before = wrong.get(column, (0, ""))
            wrong[column] = (before[0] + count, before[1] or f"{symbol}: {text}")
        if ahead:
            named, names = f"look-ahead of training features {symbol}", list(MODEL_FEATURES)
            later.append(examine_function(features, series, primary="bars", names=names, cuts=_CUTS, name=named))
    if not wrong:
        text = f"{len(data)} rows of {len(MODEL_FEATURES)} features are the kernel's, bit for bit"
        return [stands(name, text), *later]
    listed = ", ".join(f"{c} ({count} of {len(data)} rows; {text})" for c, (count, text) in list(wrong.items())[:8])
    detail = f"not what the bars until then give: {listed}"
    figures = {c: count for c, (count, _) in wrong.items()}
    shifted = any("later" in text for _, text in wrong.values())
    return [falls(name, Reason.LOOK_AHEAD if shifted else Reason.NOT_RECOMPUTED, detail, columns=figures), *later]


def _differences(
    data: Dataset, mine: npt.NDArray[np.int64], kernel: npt.NDArray[np.float64], opens: npt.NDArray[np.int64]
) -> dict[str, tuple[int, str]]:
    """Return columns whose rows are not the kernel's: how many, and where the first lies or which bar it is of."""
    if not len(mine):
        return {}
    at = np.minimum(np.searchsorted(opens, data.open_time[mine]), len(opens) - 1)
    stray = opens[at] != data.open_time[mine]
    with np.errstate(over="ignore"):
        ours = kernel.astype(np.float32)
    given = data.rows[mine]
    differs = ~_alike(given, ours[at]) | stray[:, None]
    found = {}
    for column in np.flatnonzero(differs.any(axis=0)):
        rows = np.flatnonzero(differs[:, column])
        text = f"first at {np.datetime64(int(data.open_time[mine][rows[0]]), 'ns').astype('datetime64[s]')}Z"
        for shift in range(1, _SHIFTS + 1):
            later = np.minimum(at + shift, len(opens) - 1)
            if _alike(given[:, column], ours[later, column]).mean() > 0.9 and len(np.unique(given[:, column])) > 2:
                text = f"they are those of {shift} bar{'s' * (shift > 1)} later"
                break
        found[MODEL_FEATURES[column]] = (len(rows), text)
    return found


def _alike(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    return (one == other) | (np.isnan(one) & np.isnan(other))
