"""Features that carry too much (the label, the next bar) or nothing (constant, empty, doubled)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from research.doubt.verdict import Doubt, Reason, falls, stands, unknown

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_ROWS = 40
MIN_OF_EACH = 15
LEAK_AUC = 0.75
LEAK_SIGMA = 6.0
NEARLY_ALL = 0.999
MOSTLY = 0.9
"""Share of one value up to which a column counts as varying in training, where its standing still is a finding."""

_NEXT_BAR = 0.2
_NOISE = 1e-6
_TREES = 100


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


def examine_target(
    rows: npt.NDArray[Any], label: Ints, names: Sequence[str], *, name: str = "features against label"
) -> Doubt:
    """
    Look for features that know the label: alone (monotone, by a small tree, or by being missing), or all together.

    Parameters
    ----------
    rows : np.ndarray
        Features in order of time, shape (rows, columns).
    label : np.ndarray
        int64, 0 or 1.
    names : sequence of str
        Column names.

    Notes
    -----
    `target_leak` from an area under the curve of 0.75 that lies six standard errors above chance. Trees are judged on
    the half they were not fitted on.

    """
    good = int((label == 1).sum())
    if len(label) < MIN_ROWS or min(good, len(label) - good) < MIN_OF_EACH:
        return unknown(name, Reason.TOO_FEW, f"{len(label)} rows, {good} good: too few to judge")
    values = np.asarray(rows, dtype=np.float64)
    found: dict[str, float] = {}
    best = 0.5
    for i, column in enumerate(names):
        x = values[:, i]
        missing = np.isnan(x)
        scores = [_area(x[~missing], label[~missing]), _area(missing.astype(np.float64), label)]
        scores.append(_tree_area(x[:, None], label))
        best = max(best, *(a for a, _ in scores))
        if any(leak for _, leak in scores):
            found[column] = max(a for a, leak in scores if leak)
    if found:
        listed = ", ".join(f"{c} ({a:.3f})" for c, a in sorted(found.items(), key=lambda x: -x[1])[:8])
        return falls(name, Reason.TARGET_LEAK, f"these tell the label by themselves (AUC): {listed}", columns=found)
    together, leak = max(_tree_area(values, label, grown=grown) for grown in (False, True))
    if leak:
        text = f"all features together tell the label with an AUC of {together:.3f}"
        return falls(name, Reason.TARGET_LEAK, text, together=together)
    return stands(
        name, f"best single feature AUC {best:.3f}, all together {together:.3f}", best=best, together=together
    )


def examine_timing(
    rows: npt.NDArray[Any], names: Sequence[str], close: Floats, name: str = "features against the next bar"
) -> Doubt:
    """
    Look for features that know the next bar's return, given one row per bar.

    Parameters
    ----------
    rows : np.ndarray
        Features of consecutive bars, shape (bars, columns).
    names : sequence of str
        Column names.
    close : np.ndarray
        float64, shape (bars,).

    Notes
    -----
    A rank correlation of the feature, or of its change, with the next return of at least 0.2 (or six standard errors,
    whichever is larger). Honest features of liquid markets stay below 0.1.

    """
    returns = np.diff(np.log(close))
    if len(returns) < 100:
        return unknown(name, Reason.TOO_FEW, f"{len(close)} bars are too few to judge")
    values = np.asarray(rows, dtype=np.float64)
    found: dict[str, float] = {}
    best = 0.0
    for i, column in enumerate(names):
        x = values[:, i]
        changed = np.diff(x, prepend=np.nan)
        for what in (x, changed):
            known = ~np.isnan(what[:-1])
            if known.sum() < 100 or not np.nanstd(what[:-1][known]) > 0:
                continue
            rho = abs(float(stats.spearmanr(what[:-1][known], returns[known]).statistic))
            best = max(best, rho)
            if rho >= max(_NEXT_BAR, 6 / np.sqrt(known.sum())):
                found[column] = max(found.get(column, 0.0), rho)
    if found:
        listed = ", ".join(f"{c} ({r:.2f})" for c, r in sorted(found.items(), key=lambda x: -x[1])[:8])
        return falls(name, Reason.KNOWS_NEXT_BAR, f"correlated with the next bar's return: {listed}", columns=found)
    return stands(name, f"largest correlation with the next bar's return {best:.3f}", best=best)


def _area(x: Floats, label: Ints) -> tuple[float, bool]:
    good, bad = int((label == 1).sum()), int((label == 0).sum())
    if min(good, bad) < MIN_OF_EACH or not np.std(x) > 0:
        return 0.5, False
    ranks = stats.rankdata(x)
    area = (ranks[label == 1].sum() - good * (good + 1) / 2) / (good * bad)
    area = max(float(area), 1 - float(area))
    error = np.sqrt((good + bad + 1) / (12 * good * bad))
    return area, bool(area >= LEAK_AUC and (area - 0.5) / error >= LEAK_SIGMA)


def _tree_area(values: Floats, label: Ints, *, grown: bool = False) -> tuple[float, bool]:
    """Judge a small tree, or (`grown`) a hundred boosted ones that add up what many columns tell a little of."""
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415 - a second that only this check pays

    score = np.full(len(label), np.nan)
    clean = np.where(np.isnan(values), 1e30, np.clip(values, -1e29, 1e29)).astype(np.float32)
    half = len(label) // 2
    for train, test in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        if len(np.unique(label[train])) < 2:
            return 0.5, False
        if grown:
            score[test] = _grown(clean[train], label[train], clean[test])
            continue
        tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=1).fit(clean[train], label[train])
        score[test] = tree.predict_proba(clean[test])[:, 1]
    if not np.std(score) > 0:
        return 0.5, False
    # Per half: the scores of two trees are not comparable.
    area = float(np.mean([_directed_area(score[p], label[p]) for p in (slice(0, half), slice(half, None))]))
    good, bad = int((label == 1).sum()), int((label == 0).sum())
    error = np.sqrt((good + bad + 1) / (12 * good * bad))
    return area, bool(area >= LEAK_AUC and (area - 0.5) / error >= LEAK_SIGMA)


def _grown(rows: npt.NDArray[np.float32], label: Ints, asked: npt.NDArray[np.float32]) -> Floats:
    import lightgbm  # noqa: PLC0415 - three seconds that only this check pays

    settings = {
        "objective": "binary", "num_leaves": 15, "max_depth": 4, "learning_rate": 0.1, "min_data_in_leaf": 10,
        "num_threads": 1, "seed": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1,
    }  # fmt: skip
    fitted = lightgbm.train(settings, lightgbm.Dataset(rows, label), num_boost_round=_TREES)
    return np.asarray(fitted.predict(asked, num_threads=1), dtype=np.float64)


def _directed_area(score: Floats, label: Ints) -> float:
    good, bad = int((label == 1).sum()), int((label == 0).sum())
    if not good or not bad:
        return 0.5
    ranks = stats.rankdata(score)
    return float((ranks[label == 1].sum() - good * (good + 1) / 2) / (good * bad))
