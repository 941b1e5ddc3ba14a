"""Features that carry nothing (constant, empty, doubled), stand still in the test, or name a category by its labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from research.doubt.verdict import Doubt, Reason, falls, stands, unknown

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_ROWS = 40
NEARLY_ALL = 0.999
MOSTLY = 0.9
"""Share of one value up to which a column counts as varying in training, where its standing still is a finding."""

_NOISE = 1e-6


def examine_content(rows: npt.NDArray[Any], names: Sequence[str], name: str = "content of features") -> Doubt:
    """
    Look for columns without content: empty, (nearly) constant, or another one again (to trees also scaled or negated).

    Parameters
    ----------
    rows : np.ndarray
        Features a model is given, shape (rows, columns).
    names : sequence of str
        Column names.

    """
    found: dict[str, tuple[Reason, str]] = {}
    seen: dict[bytes, str] = {}
    for i, column in enumerate(names):
        values = np.asarray(rows[:, i], dtype=np.float64)
        known = values[~np.isnan(values)]
        if not len(known):
            found[column] = (Reason.EMPTY_FEATURE, "no value is known")
            continue
        common = int(np.unique(known, return_counts=True)[1].max())
        if common == len(known) or (len(known) >= 1_000 and common >= NEARLY_ALL * len(known)):
            found[column] = (Reason.CONSTANT_FEATURE, f"{common} of {len(known)} values are alike")
            continue
        low, middle, high = (float(x) for x in np.percentile(known, [0.5, 50, 99.5]))
        if high - low <= _NOISE * abs(middle):
            found[column] = (Reason.CONSTANT_FEATURE, f"all but noise: {low:.9g} to {high:.9g}")
            continue
        key = (np.nan_to_num(values, nan=1.2345e300) + 0.0).tobytes()
        if key in seen:
            found[column] = (Reason.DUPLICATE_FEATURE, f"equal to {seen[key]}")
        seen.setdefault(key, column)
    for column, other in _same_order(rows, [n for n in names if n not in found], names):
        found[column] = (Reason.DUPLICATE_FEATURE, f"in the order of {other}, or its reverse")
    if not found:
        return stands(name, f"{len(names)} columns vary and differ")
    order = (Reason.CONSTANT_FEATURE, Reason.EMPTY_FEATURE, Reason.DUPLICATE_FEATURE)
    reason = min((r for r, _ in found.values()), key=order.index)
    listed = ", ".join(f"{c}: {r.value} ({why})" for c, (r, why) in list(found.items())[:8])
    return falls(name, reason, listed, columns={c: r.value for c, (r, _) in found.items()})


def _same_order(rows: npt.NDArray[Any], among: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    """Return continuous columns whose rows stand in the order of a column before, or in its reverse."""
    ranks: list[tuple[str, npt.NDArray[np.bool_], Floats]] = []
    found = []
    for column in among:
        values = np.asarray(rows[:, names.index(column)], dtype=np.float64)
        known = ~np.isnan(values)
        if known.sum() < MIN_ROWS or len(np.unique(values[known])) <= known.sum() / 2:
            continue
        of = stats.rankdata(values[known])
        of = (of - of.mean()) / of.std()
        for other, where, theirs in ranks:
            if (where == known).all() and abs(float((of * theirs).mean())) > 1 - 1e-9:
                found.append((column, other))
                break
        else:
            ranks.append((column, known, of))
    return found


def examine_frozen(
    train: npt.NDArray[Any], test: npt.NDArray[Any], names: Sequence[str], name: str = "content of test features"
) -> Doubt:
    """
    Look for columns that vary in training and no longer in the test: a feed that stopped, a join that came to nothing.

    Parameters
    ----------
    train, test : np.ndarray
        Features, shape (rows, columns).
    names : sequence of str
        Column names.

    Notes
    -----
    Nearly constant counts from 1,000 rows on, as in :func:`examine_content`. A column falls only if it would have
    stood in training, so one that seldom changes there does not.

    """
    if len(test) < MIN_ROWS:
        return unknown(name, Reason.TOO_FEW, f"{len(test)} test rows are too few to judge")
    found: dict[str, tuple[Reason, str]] = {}
    for i, column in enumerate(names):
        before, after = (np.asarray(x[:, i], dtype=np.float64) for x in (train, test))
        before, known = before[~np.isnan(before)], after[~np.isnan(after)]
        if len(before) < MIN_ROWS or _most_common(before) > MOSTLY * len(before):
            continue
        if not len(known):
            found[column] = (Reason.EMPTY_FEATURE, "known in training, never in the test")
        elif _most_common(known) == len(known) or (
            len(known) >= 1_000 and _most_common(known) >= NEARLY_ALL * len(known)
        ):
            found[column] = (Reason.CONSTANT_FEATURE, f"varies in training, stands at {known[0]:g} in the test")
    if not found:
        return stands(name, f"{len(names)} columns vary in the test as they do in training")
    order = (Reason.CONSTANT_FEATURE, Reason.EMPTY_FEATURE)
    listed = ", ".join(f"{c}: {r.value} ({why})" for c, (r, why) in list(found.items())[:8])
    reason = min((r for r, _ in found.values()), key=order.index)
    return falls(name, reason, listed, columns={c: r.value for c, (r, _) in found.items()})


def examine_encoding(
    rows: npt.NDArray[Any],
    label: Ints,
    key: Ints,
    train: Ints,
    names: Sequence[str],
    name: str = "target encoding",
) -> Doubt:
    """
    Look for a category (symbol) replaced by the mean label of its members, rows outside training included.

    Such a feature tells too little of a single label to show in :func:`examine_target`, and all of the test's mean.

    Parameters
    ----------
    rows, label : np.ndarray
        All rows, training and test; label 0 or 1.
    key : np.ndarray
        int64, category of each row.
    train : np.ndarray
        int64, numbers of the training rows.
    names : sequence of str
        Column names.

    Notes
    -----
    Recognised plain, and shrunk towards the mean of all labels by any weight. An encoding by training labels alone
    stands: it knows nothing of the test.

    """
    groups = np.unique(key)
    known = label >= 0
    if len(groups) < 2:
        return stands(name, "one category: nothing to encode")
    if known.sum() < MIN_ROWS:
        return unknown(name, Reason.TOO_FEW, f"{int(known.sum())} labelled rows are too few to judge")
    inside = np.zeros(len(label), dtype=bool)
    inside[train] = True
    everything, learned = (_group_figures(label, key, groups, known & part) for part in (np.ones_like(inside), inside))
    found = []
    for i, column in enumerate(names):
        values = np.asarray(rows[:, i], dtype=np.float64)
        per_group = [np.unique(values[key == g]) for g in groups]
        if any(len(v) != 1 for v in per_group) or not np.ptp(np.concatenate(per_group)) > 0:
            continue
        given = np.concatenate(per_group)
        if _encodes(given, *everything) and not _encodes(given, *learned):
            found.append(column)
    if found:
        text = f"mean label of the category, test rows included: {', '.join(found[:8])}"
        return falls(name, Reason.TARGET_LEAK, text, columns=found)
    return stands(name, f"none of {len(names)} columns is the mean label of its category over training and test")


def _group_figures(label: Ints, key: Ints, groups: Ints, part: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, float]:
    """Return sum and number of labels per category, and the mean of all."""
    sums = np.array([label[part & (key == g)].sum() for g in groups], dtype=np.float64)
    counts = np.array([np.count_nonzero(part & (key == g)) for g in groups], dtype=np.float64)
    return sums, counts, float(label[part].mean()) if part.any() else 0.5


def _encodes(given: Floats, sums: Floats, counts: Floats, prior: float) -> bool:
    """Whether values are ``(sum + m * prior) / (count + m)`` of their categories with one weight ``m`` from 0 on."""
    if not (counts > 0).all():
        return False
    if np.allclose(given, sums / counts, rtol=0, atol=1e-6):
        return True
    apart = np.abs(given - prior) > 1e-9
    if apart.sum() < 2:
        return False
    weight = (sums - counts * given)[apart] / (given - prior)[apart]
    return bool((weight >= 0).all() and np.ptp(weight) <= 1e-3 * max(float(weight.max()), 1.0))


def _most_common(values: Floats) -> int:
    return int(np.unique(values, return_counts=True)[1].max())
