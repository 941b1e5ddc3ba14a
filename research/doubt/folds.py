"""Leaks across folds: rows, labels and fitted transformations that let the training side see the test side."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from research.doubt.tables import same
from research.doubt.verdict import Doubt, Reason, falls, stands, unknown

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def examine_folds(
    folds: Sequence[tuple[Ints, Ints]],
    start: Ints,
    label_end: Ints,
    *,
    key: Ints | None = None,
    embargo: int = 0,
    forward: bool = False,
    name: str = "folds",
) -> Doubt:
    """
    Look for training rows that overlap a fold's test rows in time.

    A row's span is ``[start, label_end)``. Two rows overlap when their spans share an instant, whatever the symbol:
    symbols share their market.

    Parameters
    ----------
    folds : sequence of (train, test)
        int64 row numbers.
    start, label_end : np.ndarray
        int64, shape (rows,): open of the signal's bar, and close of the last bar its label has seen.
    key : np.ndarray, optional
        int64, what makes a row besides its time (symbol); by default nothing does.
    embargo : int
        Nanoseconds after the end of a test span in which no training row may begin.
    forward : bool
        Walk-forward: training rows must all begin before the test rows.

    """
    problems: list[tuple[Reason, str, int, int]] = []
    for number, (train, test) in enumerate(folds):
        train_rows, test_rows = np.asarray(train), np.asarray(test)
        if not len(train_rows) or not len(test_rows):
            continue
        problems += [
            (reason, text, number, count)
            for reason, text, count in _fold(
                (start[train_rows], label_end[train_rows], None if key is None else key[train_rows]),
                (start[test_rows], label_end[test_rows], None if key is None else key[test_rows]),
                (np.intersect1d(train_rows, test_rows), embargo, forward),
            )
        ]
    if not folds:
        return unknown(name, Reason.TOO_FEW, "no fold")
    if not problems:
        return stands(
            name, f"{len(folds)} folds: no training row or label reaches into the test rows", folds=len(folds)
        )
    reason, text, number, _ = problems[0]
    data = [{"fold": n, "reason": r.value, "rows": c, "detail": t} for r, t, n, c in problems]
    return falls(name, reason, f"fold {number}: {text}", problems=data)


type _Side = tuple[Ints, Ints, Ints | None]


def _fold(train: _Side, test: _Side, rules: tuple[Ints, int, bool]) -> list[tuple[Reason, str, int]]:
    shared, embargo, forward = rules
    found: list[tuple[Reason, str, int]] = []
    if len(shared):
        found.append(
            (Reason.SAME_ROW, f"{len(shared)} rows are in training and test (row {int(shared[0])})", len(shared))
        )
    twins = _twins(train, test) - len(shared)
    if twins > 0:
        found.append((Reason.SAME_ROW, f"{twins} training rows have the time (and symbol) of a test row", twins))
    if forward:
        late = int((train[0] >= test[0].min()).sum())
        if late:
            found.append((Reason.TRAINED_ON_THE_FUTURE, f"{late} training rows begin after the first test row", late))
    overlap = _overlaps(train[0], train[1], test[0], test[1])
    if overlap.any():
        first = int(np.flatnonzero(overlap)[0])
        when = np.datetime64(int(train[1][first]), "ns").astype("datetime64[s]")
        text = f"{int(overlap.sum())} training labels overlap test rows (training row {first}, label ends {when}Z)"
        found.append((Reason.LABEL_OVERLAP, text, int(overlap.sum())))
    if embargo:
        near = _overlaps(train[0], np.maximum(train[1], train[0] + 1), test[0], test[1] + embargo) & ~overlap
        near &= train[0] >= test[0].min()
        if near.any():
            text = f"{int(near.sum())} training rows begin within the embargo after test rows"
            found.append((Reason.EMBARGO_TOO_SHORT, text, int(near.sum())))
    return found


def _twins(train: _Side, test: _Side) -> int:
    def names(side: _Side) -> Ints:
        return side[0] if side[2] is None else np.stack([side[0], side[2]], axis=1)

    if train[2] is None:
        # Without a key, pooled symbols share times by right; only what is in a test row to the nanosecond is a twin.
        both = np.isin(
            np.stack([train[0], train[1]], axis=1).view("i8,i8").ravel(),
            np.stack([test[0], test[1]], axis=1).view("i8,i8").ravel(),
        )
        return int(both.sum())
    left, right = (np.ascontiguousarray(names(s)).view("i8,i8").ravel() for s in (train, test))
    return int(np.isin(left, right).sum())


def _overlaps(begin: Ints, end: Ints, other_begin: Ints, other_end: Ints) -> npt.NDArray[np.bool_]:
    """Return which of the first spans share an instant with any of the second."""
    order = np.argsort(other_begin, kind="stable")
    starts, reach = other_begin[order], np.maximum.accumulate(other_end[order])
    # Spans beginning before our end: the furthest any of them reaches must lie beyond our begin.
    before = np.searchsorted(starts, end, side="left")
    return (before > 0) & (reach[np.maximum(before - 1, 0)] > begin)


def examine_duplicates(train: npt.NDArray[Any], test: npt.NDArray[Any], name: str = "duplicate rows") -> Doubt:
    """
    Look for test rows whose features also occur in training: bit for bit (NaN equal), ignoring constant columns.

    Rows are the same too when continuous columns agree to a ten-thousandth of their deviation, all of them or, from
    five on, all but one: a copy with noise, or with one column changed.

    Parameters
    ----------
    train, test : np.ndarray
        Features, shape (rows, columns), any float type.

    """
    both = np.concatenate([train, test]).astype(np.float64)
    varies = np.array([len(np.unique(c[~np.isnan(c)])) > 1 for c in both.T])
    if varies.sum() < 3:
        return unknown(name, Reason.TOO_FEW, f"{int(varies.sum())} columns vary: rows cannot be told apart")
    keep = np.ascontiguousarray(np.nan_to_num(both[:, varies], nan=1.2345e300) + 0.0)
    keys = keep.view(np.dtype((np.void, keep.dtype.itemsize * keep.shape[1]))).ravel()
    known = {k.tobytes() for k in keys[: len(train)]}
    doubled = [i for i, k in enumerate(keys[len(train) :]) if k.tobytes() in known]
    if doubled:
        text = f"{len(doubled)} of {len(test)} test rows occur in training (test row {doubled[0]})"
        return falls(name, Reason.DUPLICATE_ROWS, text, rows=len(doubled), first=doubled[0])
    near = _near_copies(both[: len(train)], both[len(train) :])
    if len(near):
        text = f"{len(near)} of {len(test)} test rows are training rows with little changed (test row {near[0]})"
        return falls(name, Reason.DUPLICATE_ROWS, text, rows=len(near), first=int(near[0]))
    return stands(name, f"none of {len(test)} test rows occurs among {len(train)} training rows")


def _near_copies(train: Floats, test: Floats) -> Ints:
    both = np.concatenate([train, test])
    continuous = [i for i, c in enumerate(both.T) if len(np.unique(c[~np.isnan(c)])) > len(both) / 2]
    if len(continuous) < 3:
        return np.empty(0, np.int64)
    rows = both[:, continuous]
    with np.errstate(invalid="ignore"):
        cells = np.rint(rows / (np.nanstd(rows, axis=0) * 1e-4))
    cells = np.ascontiguousarray(np.nan_to_num(cells, nan=1.2345e300) + 0.0)
    found: set[int] = set()
    left_out: list[int | None] = [None, *range(len(continuous))] if len(continuous) >= 5 else [None]
    for column in left_out:
        part = cells if column is None else np.ascontiguousarray(np.delete(cells, column, axis=1))
        keys = part.view(np.dtype((np.void, part.dtype.itemsize * part.shape[1]))).ravel()
        known = {k.tobytes() for k in keys[: len(train)]}
        found.update(i for i, k in enumerate(keys[len(train) :]) if k.tobytes() in known)
    return np.array(sorted(found), dtype=np.int64)


def examine_transformation(
    function: Callable[[Floats, Floats], tuple[Any, Any]],
    train: Floats,
    test: Floats,
    *,
    seed: int = 1,
    name: str = "transformation",
) -> Doubt:
    """
    Look for a scaler (imputer, encoder, selection ...) that is fitted on the test rows too.

    Parameters
    ----------
    function : Callable
        Takes training and test rows, returns both transformed.
    train, test : np.ndarray
        float64, shape (rows, columns).
    seed : int
        Seed of the other test rows.

    Notes
    -----
    With other test rows the training rows must come out the same, and so must a test row whatever the rows after it.

    """
    random = np.random.default_rng(seed)
    one = np.asarray(function(train.copy(), test.copy())[0], dtype=np.float64)
    scale = np.nanstd(test, axis=0) + 1.0
    other = test * 3.0 + scale * random.normal(2.0, 1.0, test.shape)
    two = np.asarray(function(train.copy(), other)[0], dtype=np.float64)
    if one.shape != two.shape or not same(one, two).all():
        columns = [] if one.shape != two.shape else np.flatnonzero(~same(one, two).all(axis=0)).tolist()
        text = f"training rows change with the test rows (columns {columns[:8]}): it is fitted on both"
        return falls(name, Reason.FITTED_ON_ALL, text, columns=columns)
    half = max(len(test) // 2, 1)
    whole = np.asarray(function(train.copy(), test.copy())[1], dtype=np.float64)[:half]
    first = np.asarray(function(train.copy(), test[:half].copy())[1], dtype=np.float64)
    if whole.shape != first.shape or not np.allclose(whole, first, rtol=1e-12, atol=0, equal_nan=True):
        text = "test rows change with the test rows that come after them: it is fitted on the test rows"
        return falls(name, Reason.FITTED_ON_ALL, text)
    return stands(name, "training rows do not depend on test rows, nor test rows on later ones")


def examine_scaled(
    train: npt.NDArray[Any], test: npt.NDArray[Any], names: Sequence[str], name: str = "scaling"
) -> Doubt:
    """
    Look for columns scaled by rows of both parts, and not by those of training alone.

    Recognised: mean 0 (and deviation 1), 0 to 1, -1 to 1, a largest magnitude of 1, median and quartiles, ranks, also
    as normal quantiles.
    """
    found = {}
    for i, column in enumerate(names):
        a, b = train[:, i].astype(np.float64), test[:, i].astype(np.float64)
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        both = np.concatenate([a, b])
        if len(a) < 10 or len(b) < 10 or not np.std(both) > 0:
            continue
        for kind, fits in _SCALES.items():
            if fits(both) and not fits(a):
                found[column] = kind
    if found:
        listed = ", ".join(f"{c} ({k})" for c, k in list(found.items())[:8])
        return falls(name, Reason.FITTED_ON_ALL, f"scaled by training and test rows together: {listed}", columns=found)
    return stands(name, f"none of {len(names)} columns is scaled by rows of both parts")


def examine_scaler(
    center: Floats, scale: Floats, train: Floats, test: Floats, names: Sequence[str], name: str = "scaler"
) -> Doubt:
    """
    Look for a stored scaler that was fitted on training and test rows together (moments, bounds or quartiles).

    Parameters
    ----------
    center, scale : np.ndarray
        float64, shape (columns,).
    train, test : np.ndarray
        float64, shape (rows, columns), before scaling.
    names : sequence of str
        Column names.

    """
    both = np.concatenate([train, test]).astype(np.float64)
    found = []
    for i, column in enumerate(names):
        for parts in (_moments, _bounds, _quartiles):
            of_all, of_train = parts(both[:, i]), parts(train[:, i].astype(np.float64))
            given = np.array([center[i], scale[i]])
            if np.allclose(of_all, of_train, rtol=1e-6):
                continue
            if any(np.allclose(given, candidate, rtol=1e-6, atol=1e-12) for candidate in _ddofs(of_all, len(both))):
                found.append(column)
                break
    if found:
        text = f"fitted on training and test rows together: {', '.join(found[:8])}"
        return falls(name, Reason.FITTED_ON_ALL, text, columns=found)
    return stands(name, f"none of {len(names)} columns has the centre and scale of all rows")


def _moments(x: Floats) -> Floats:
    return np.array([np.nanmean(x), np.nanstd(x)])


def _bounds(x: Floats) -> Floats:
    return np.array([np.nanmin(x), np.nanmax(x) - np.nanmin(x)])


def _quartiles(x: Floats) -> Floats:
    low, middle, high = np.nanpercentile(x, [25, 50, 75])
    return np.array([middle, high - low])


def _ddofs(values: Floats, count: int) -> list[Floats]:
    return [values, values * np.array([1.0, np.sqrt(count / max(count - 1, 1))])]


def _standard(x: Floats) -> bool:
    near = 1e-5  # float32 rows
    return bool(abs(x.mean()) < near and min(abs(x.std() - 1), abs(x.std(ddof=1) - 1)) < near)


def _unit(x: Floats) -> bool:
    return bool(abs(x.min()) < 1e-7 and abs(x.max() - 1) < 1e-7 and len(np.unique(x)) > 10)


def _robust(x: Floats) -> bool:
    low, middle, high = np.percentile(x, [25, 50, 75])
    return bool(abs(middle) < 1e-6 and abs(high - low - 1) < 1e-6)


def _rank(x: Floats) -> bool:
    steps = np.diff(np.sort(x))
    spread = len(x) > 20 and float(np.ptp(x)) > 0.5  # else steps too small to differ would all be alike
    return bool(spread and np.allclose(steps, steps[0], rtol=1e-3) and x.min() >= 0 and x.max() <= 1)


def _symmetric(x: Floats) -> bool:
    return bool(abs(x.min() + 1) < 1e-6 and abs(x.max() - 1) < 1e-6 and _continuous(x))


def _magnitude(x: Floats) -> bool:
    return bool(abs(np.abs(x).max() - 1) < 1e-7 and _continuous(x))


def _centred(x: Floats) -> bool:
    return bool(abs(x.mean()) < 1e-6 * x.std() and _continuous(x))


def _normal_rank(x: Floats) -> bool:
    inner = np.sort(x)[1:-1]  # the two ends are cut off at a value of the library's choice
    return len(inner) > 20 and _continuous(inner) and _rank(stats.norm.cdf(inner))


def _continuous(x: Floats) -> bool:
    return len(np.unique(x)) > len(x) / 2


_SCALES: dict[str, Callable[[Floats], bool]] = {
    "mean and deviation": _standard,
    "minimum and maximum": _unit,
    "median and quartiles": _robust,
    "ranks": _rank,
    "bounds of -1 and 1": _symmetric,
    "largest magnitude": _magnitude,
    "mean": _centred,
    "normal quantiles": _normal_rank,
}
