"""Whether the chosen parameters stand on a plateau or on a spike: the figures of their neighbours in the grid."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from research.doubt.verdict import Doubt, Reason, falls, stands, unknown
from strategies.yaml_config import FrozenConfig

_LEAST = 4
_SCATTERED = 50
"""Sets from which the nearest ones lie near."""


class Neighbourhood(NamedTuple):
    """
    The map around a chosen set.

    Attributes
    ----------
    chosen : float
        Its figure.
    neighbours : list[tuple[dict, float]]
        Sets that differ by one step in one or more parameters, or the nearest ones, and their figures.
    by_parameter : dict[str, list[tuple[float, float]]]
        Along each parameter alone: value and figure.

    """

    chosen: float
    neighbours: list[tuple[dict[str, Any], float]]
    by_parameter: dict[str, list[tuple[float, float]]]


class MapRow(FrozenConfig, frozen=True):
    """All sets with one value of one parameter: how many, their mean figure, and the share above the neutral value."""

    parameter: str
    value: float
    sets: int
    mean: float | None
    above: float


def parameter_map(
    sets: Sequence[Mapping[str, float]], figures: Sequence[float | None], *, neutral: float = 0.0
) -> list[MapRow]:
    """
    Return, along each parameter, what sets with each of its values earned; undefined figures count as not above.

    Parameters
    ----------
    sets, figures, neutral
        As for :func:`examine_stability`; a set may occur several times (folds).

    """
    groups: dict[tuple[str, float], list[float | None]] = {}
    for one, figure in zip(sets, figures, strict=True):
        for name, value in one.items():
            groups.setdefault((name, float(value)), []).append(figure)
    order = {name: i for i, name in enumerate(sets[0])} if sets else {}
    rows = []
    for name, value in sorted(groups, key=lambda key: (order[key[0]], key[1])):
        found = groups[name, value]
        known = [f for f in found if f is not None and math.isfinite(f)]
        rows.append(
            MapRow(
                parameter=name,
                value=value,
                sets=len(found),
                mean=math.fsum(known) / len(known) if known else None,
                above=sum(f > neutral for f in known) / len(found),
            )
        )
    return rows


def examine_choices(
    sets: Sequence[Sequence[Mapping[str, float]]],
    figures: Sequence[Sequence[float | None]],
    chosen: Sequence[Mapping[str, float] | None],
    *,
    neutral: float = 0.0,
) -> Doubt:
    """
    Return the doubt on the choices of all folds together: falls when half of those with enough neighbours fall.

    `loses` where most of these gained nothing in their own training window: a plain among losers is no spike.

    Parameters
    ----------
    sets, figures, chosen
        Per fold, as for :func:`examine_stability`; None where nothing was chosen.
    neutral : float
        Figure of a set that neither gains nor loses.

    """
    name = "parameter stability"
    found = [
        None if best is None else examine_stability(one, values, best, neutral=neutral)
        for one, values, best in zip(sets, figures, chosen, strict=True)
    ]
    folds = [None if d is None else {"reason": d.reason.value, "detail": d.detail, **d.figures} for d in found]
    decided = [d for d in found if d is not None and d.passed is not None]
    losing = sum(d.reason is Reason.LOSES for d in decided)
    spikes = sum(d.reason is Reason.PARAMETER_SPIKE for d in decided)
    if not decided:
        return unknown(name, Reason.TOO_FEW, "no fold chose a set with at least 4 tried neighbours", folds=folds)
    text = f"of {len(decided)} choices {spikes} stand on a spike" + (
        f", {losing} gain nothing in their own training window" if losing else ""
    )
    counts = {"fallen": spikes + losing, "spikes": spikes, "losing": losing, "decided": len(decided)}
    if 2 * (spikes + losing) >= len(decided):
        reason = Reason.LOSES if losing > spikes else Reason.PARAMETER_SPIKE
        return falls(name, reason, text, **counts, folds=folds)
    return stands(name, text, **counts, folds=folds)


def neighbourhood(
    sets: Sequence[Mapping[str, float]], figures: Sequence[float | None], chosen: Mapping[str, float], steps: int = 1
) -> Neighbourhood:
    """
    Return the map around `chosen` in a table of tried sets.

    Sets drawn at random are no grid: where fewer than 4 lie one step away, the nearest fifth are the neighbours, by the
    order of their values in every parameter; nearer ones share so much of the chosen set's luck that noise stands.

    Parameters
    ----------
    sets : sequence of mappings
        Parameter sets, all with the same names.
    figures : sequence of float or None
        A figure of each (higher is better); None where there was no trade.
    chosen : mapping
        One of the sets.
    steps : int
        How far a neighbour may lie, in steps of the values that occur, in every parameter.

    Raises
    ------
    ValueError
        Propagate: `chosen` is not among the sets.

    """
    names = list(chosen)
    levels = {n: sorted({s[n] for s in sets}) for n in names}
    place = {n: {v: i for i, v in enumerate(levels[n])} for n in names}
    if any(chosen[n] not in place[n] for n in names):
        raise ValueError(f"the chosen set {dict(chosen)} is not among the sets tried")
    here = {n: place[n][chosen[n]] for n in names}
    own = math.nan
    near: list[tuple[dict[str, Any], float]] = []
    apart: list[tuple[float, int, dict[str, Any], float]] = []
    along: dict[str, list[tuple[float, float]]] = {n: [] for n in names}
    for one, figure in zip(sets, figures, strict=True):
        value = math.nan if figure is None else float(figure)
        away = {n: abs(place[n][one[n]] - here[n]) for n in names}
        moved = [n for n in names if away[n]]
        if not moved:
            own = value
        else:
            apart.append((sum((a / len(levels[n])) ** 2 for n, a in away.items()), len(apart), dict(one), value))
            if max(away.values()) <= steps:
                near.append((dict(one), value))
        if len(moved) <= 1:
            for n in moved or names:
                along[n].append((float(one[n]), value))
    if math.isnan(own) and not any(all(s[n] == chosen[n] for n in names) for s in sets):
        raise ValueError(f"the chosen set {dict(chosen)} is not among the sets tried")
    if len(near) < _LEAST and len(apart) >= _SCATTERED:
        near = [(one, value) for _, _, one, value in sorted(apart)[: len(apart) // 5]]
    return Neighbourhood(own, near, {n: sorted(v) for n, v in along.items()})


def examine_stability(
    sets: Sequence[Mapping[str, float]],
    figures: Sequence[float | None],
    chosen: Mapping[str, float],
    *,
    neutral: float = 0.0,
    share: float = 0.5,
) -> Doubt:
    """
    Return the doubt on the chosen parameters.

    `loses` when the chosen set itself is not better than `neutral`. `parameter_spike` when less than `share` of the
    neighbours are, or their median keeps less than a third of the chosen set's gain over it: the best of sets that are
    all worth the same by chance looks like that, and so does a set that fits its window.
    """
    name = "parameter stability"
    found = neighbourhood(sets, figures, chosen)
    values = np.array([v for _, v in found.neighbours])
    if len(values) < _LEAST or math.isnan(found.chosen):
        return unknown(name, Reason.TOO_FEW, f"{len(values)} neighbours were tried, at least 4 are needed")
    worth = np.where(np.isnan(values), neutral, values)
    good = float((worth > neutral).mean())
    median = float(np.median(worth))
    kept = (median - neutral) / (found.chosen - neutral) if found.chosen > neutral else math.nan
    data = {
        "chosen": found.chosen,
        "neighbours": len(values),
        "neighbours_above_neutral": good,
        "median": median,
        "kept": None if math.isnan(kept) else kept,
        "by_parameter": {
            n: [list(p) if not math.isnan(p[1]) else [p[0], None] for p in v] for n, v in found.by_parameter.items()
        },
    }
    text = (
        f"chosen {found.chosen:.3f}; of {len(values)} neighbours {good:.0%} lie above {neutral:g}, median {median:.3f}"
    )
    if not found.chosen > neutral:
        return falls(name, Reason.LOSES, f"{text}: the chosen set gains nothing where it was chosen", **data)
    if good < share or (not math.isnan(kept) and kept < 1 / 3):
        return falls(name, Reason.PARAMETER_SPIKE, text, **data)
    return stands(name, text, **data)
