"""
What functions under examination take and return: series that can be cut at an instant, results as one matrix.

Data may be a matrix, a mapping of arrays of equal length, a pandas frame, or a mapping of :class:`Series` that each
have their own times (bars, funding, another symbol). Rows of the first three count as known one after the other.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Series(NamedTuple):
    """
    A series with its own times.

    Attributes
    ----------
    known : np.ndarray
        int64, increasing: when each row becomes known (a bar: its close; funding: its settlement).
    columns : Mapping[str, np.ndarray]
        Arrays of the same length.

    """

    known: Ints
    columns: Mapping[str, npt.NDArray[Any]]


type Data = npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]] | Mapping[str, Series] | pd.DataFrame
type Function = Callable[[Any], Any]


def clock(data: Data, primary: str | None) -> Ints:
    """Return when each row of the result is known: times of the primary series, or row numbers."""
    if isinstance(data, Mapping):
        series = _series(data)
        if series is not None:
            if primary is None:
                raise ValueError(f"primary: name the series whose rows the function returns: {', '.join(series)}")
            return series[primary].known
        return np.arange(len(np.asarray(next(iter(data.values())))), dtype=np.int64)
    return np.arange(len(data), dtype=np.int64)


def part(data: Data, first: int | None, last: int | None) -> Any:
    """Return the data known at times in ``[first, last]``."""

    def rows(known: Ints) -> slice:
        begin = 0 if first is None else int(np.searchsorted(known, first, side="left"))
        end = len(known) if last is None else int(np.searchsorted(known, last, side="right"))
        return slice(begin, end)

    if isinstance(data, Mapping):
        series = _series(data)
        if series is not None:
            return {
                k: Series(s.known[rows(s.known)], {n: c[rows(s.known)] for n, c in s.columns.items()})
                for k, s in series.items()
            }
        span = rows(clock(data, None))
        return {k: np.asarray(v)[span] for k, v in data.items()}
    span = rows(np.arange(len(data), dtype=np.int64))
    return data.iloc[span].copy() if isinstance(data, pd.DataFrame) else data[span].copy()


def inputs(data: Data) -> list[str]:
    """Return the names under which :func:`scrambled` can change parts of the data; times are not among them."""
    if isinstance(data, Mapping):
        series = _series(data)
        if series is not None:
            return list(series)
        return [k for k, v in data.items() if _changes(np.asarray(v))]
    if isinstance(data, pd.DataFrame):
        return [str(c) for c in data.columns if _changes(data[c].to_numpy())]
    return [f"column {i}" for i in range(data.shape[1])] if data.ndim == 2 else ["data"]


def scrambled(data: Data, after: int, seed: int, only: str | None = None) -> Any:
    """
    Return a copy in which everything known after `after` is another history; times and integers stay.

    All columns of a row are multiplied by the same factor, so that prices stay positive and highs above lows.
    """

    def change(name: str, values: npt.NDArray[Any], known: Ints) -> npt.NDArray[Any]:
        values = np.array(values)
        if (only is not None and name != only) or not _changes(values):
            return values
        begin = int(np.searchsorted(known, after, side="right"))
        factor = np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, 0.03, len(known) - begin)) + 0.2)
        values[begin:] = values[begin:] * (factor if values.ndim == 1 else factor[:, None])
        return values

    if isinstance(data, Mapping):
        series = _series(data)
        if series is not None:
            return {
                k: Series(s.known, {n: change(k, c, s.known) for n, c in s.columns.items()}) for k, s in series.items()
            }
        known = clock(data, None)
        return {k: change(k, np.asarray(v), known) for k, v in data.items()}
    known = np.arange(len(data), dtype=np.int64)
    if isinstance(data, pd.DataFrame):
        return pd.DataFrame({c: change(str(c), data[c].to_numpy(), known) for c in data.columns}, index=data.index)
    if data.ndim == 1:
        return change("data", data, known)
    return np.column_stack([change(f"column {i}", data[:, i], known) for i in range(data.shape[1])])


def table(result: Any, names: list[str] | None = None) -> tuple[list[str], Floats]:
    """
    Return a function's result as column names and a float64 matrix (rows, columns).

    Raises
    ------
    ValueError
        Propagate: neither a matrix, a frame nor a mapping of columns.

    """
    if isinstance(result, pd.Series):
        result = result.to_frame()
    if isinstance(result, pd.DataFrame):
        return [str(c) for c in result.columns], result.to_numpy(dtype=np.float64)
    if isinstance(result, Mapping):
        return list(result), np.column_stack([np.asarray(v, dtype=np.float64) for v in result.values()])
    matrix = np.asarray(result, dtype=np.float64)
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2:
        raise ValueError(f"the function returned shape {matrix.shape}: rows and columns are expected")
    return names or [f"column {i}" for i in range(matrix.shape[1])], matrix


def same(one: Floats, other: Floats) -> Bools:
    """Return where two arrays are equal bit for bit; any NaN equals any NaN."""
    one, other = np.ascontiguousarray(one), np.ascontiguousarray(other)
    return (one.view(np.int64) == other.view(np.int64)) | (np.isnan(one) & np.isnan(other))


def _changes(values: npt.NDArray[Any]) -> bool:
    return bool(values.dtype.kind == "f")


def _series(data: Mapping[str, Any]) -> dict[str, Series] | None:
    if data and all(isinstance(v, Series) for v in data.values()):
        return dict(data)
    return None
