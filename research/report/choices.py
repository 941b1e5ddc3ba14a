"""The tables of what was tried and of the doubt on choosing from it, the same for sweeps and walk-forwards."""

from collections.abc import Mapping, Sequence
from typing import Any

from research.doubt.stability import MapRow
from research.doubt.verdict import Doubt
from research.report.subject import Section

_WORDS = {True: "stands", False: "FALLS", None: "unknown"}


def choice_sections(
    doubts: Mapping[str, Sequence[Doubt]], maps: Mapping[str, Sequence[MapRow]], figure: str, tried: str
) -> list[Section]:
    """
    Return the sections of a page.

    Parameters
    ----------
    doubts, maps : mapping
        Per account or symbol: verdicts on its choice, and the map of its parameters.
    figure : str
        What the sets were compared by.
    tried : str
        On which days, for people.

    """
    sections = [Section("Doubt on the choice of parameters", f"Of all sets tried, {tried}.", verdict_rows(doubts))]
    folds = [row for of, found in doubts.items() for d in found for row in _folds(of, d)]
    if folds:
        note = "The chosen set among those that differ by one step in one or more parameters."
        sections.append(Section("Neighbours of the chosen sets", note, folds))
    rows = [
        {
            "of": of,
            "parameter": m.parameter,
            "value": f"{m.value:g}",
            "sets": m.sets,
            f"mean {figure}": None if m.mean is None else round(m.mean, 4),
            "share won": m.above,
        }
        for of, found in maps.items()
        for m in found
    ]
    note = f"All sets with a value, {tried}; a parameter that matters shows a slope, not a spike."
    return [*sections, Section("Parameter stability map", note, rows)]


def verdict_rows(doubts: Mapping[str, Sequence[Doubt]]) -> list[dict[str, Any]]:
    """Return one row per verdict."""
    return [
        {"of": of, "examined": d.name, "verdict": _WORDS[d.passed], "reason": d.reason.value, "figures": d.detail}
        for of, found in doubts.items()
        for d in found
    ]


def _folds(of: str, doubt: Doubt) -> list[dict[str, Any]]:
    folds = doubt.figures.get("folds")
    if folds is None:
        return []
    rows = []
    for number, fold in enumerate(folds, start=1):
        row = {"of": of, "fold": number, "verdict": "nothing chosen" if fold is None else fold["reason"]}
        for name in ("chosen", "neighbours", "neighbours_above_neutral", "median", "kept"):
            row[name.replace("_", " ")] = None if fold is None else fold.get(name)
        rows.append(row)
    return rows
