"""The decision threshold: chosen on a window the model was not fitted on, and not the one results are reported on."""

from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from research.labels import Floats, Ints
from strategies.errors import DataError
from strategies.yaml_config import FrozenConfig


class ThresholdConfig(FrozenConfig, frozen=True):
    """
    What a threshold must leave over.

    Parameters
    ----------
    min_recall : float
        Share of the good signals that must pass.
    min_passed : int
        Signals that must pass.
    min_signals : int
        Signals the window must hold.

    """

    min_recall: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.35
    min_passed: Annotated[int, msgspec.Meta(ge=1)] = 15
    min_signals: Annotated[int, msgspec.Meta(ge=2)] = 40


class Choice(NamedTuple):
    """
    The best cut and what it gave on the window it was chosen on.

    Attributes
    ----------
    below, above : float
        Any threshold in ``(below, above]`` decides alike on this window.
    passed, signals : int
        Signals that pass, and all.
    recall, precision : float
        Share of the good signals that pass; share of good ones among those that pass.
    net_r_per_signal : float
        Result of the passed signals over the number of all signals, in units of planned risk.
    candidates : int
        Cuts compared.

    """

    below: float
    above: float
    passed: int
    signals: int
    recall: float
    precision: float
    net_r_per_signal: float
    candidates: int


MIN_GAP = 1e-5
"""Scores nearer to each other than this are not cut apart: graph and reference agree to some 1e-7 only."""

RULE = (
    "largest net R per offered signal on the threshold window (a blocked signal earns 0) among cuts with recall >= "
    "{min_recall} and >= {min_passed} passed signals; equal results: the lower cut; then placed inside the gap between "
    "neighbouring scores, as far as possible from any score of the export check"
)


def choose(scores: Floats, label: Ints, net_r: Floats, config: ThresholdConfig) -> Choice:
    """
    Return the cut with the largest net R per offered signal.

    Mean result per *passed* signal would reward passing almost nothing; per offered signal a blocked one counts as 0.

    Raises
    ------
    DataError
        Propagate: too few signals, no good one, or no cut leaves enough over.

    """
    if len(scores) < max(config.min_signals, config.min_passed):
        raise DataError(
            f"threshold window: {len(scores)} signals, at least {max(config.min_signals, config.min_passed)} are "
            "needed: lengthen the window, add symbols or loosen dataset.vote"
        )
    good = int(np.count_nonzero(label == 1))
    if not good:
        raise DataError("threshold window: no signal reached its target: lengthen the window")
    order = np.argsort(-scores, kind="stable")
    sorted_scores = scores[order]
    passed_good = np.cumsum(label[order] == 1)
    total_r = np.cumsum(net_r[order])
    last_of_score = np.flatnonzero(np.append(np.diff(sorted_scores) < -MIN_GAP, True))
    best = -1
    for k in last_of_score:
        enough = k + 1 >= config.min_passed and passed_good[k] >= config.min_recall * good
        if enough and (best < 0 or total_r[k] >= total_r[best]):
            best = int(k)
    if best < 0:  # the cut that passes everything has recall 1, so only min_passed can have excluded it
        raise DataError("threshold window: no cut leaves enough signals over")
    return Choice(
        below=float(sorted_scores[best + 1]) if best + 1 < len(scores) else 0.0,
        above=float(sorted_scores[best]),
        passed=best + 1,
        signals=len(scores),
        recall=float(passed_good[best] / good),
        precision=float(passed_good[best] / (best + 1)),
        net_r_per_signal=float(total_r[best] / len(scores)),
        candidates=len(last_of_score),
    )


def place(choice: Choice, scores: npt.NDArray[np.float64]) -> float:
    """
    Return the threshold of a choice: the middle of the widest gap between `scores` inside it.

    Graph and reference differ in the seventh digit, so a threshold must not lie on a score either of them produces.
    """
    inside = np.unique(scores[(scores > choice.below) & (scores < choice.above)])
    edges = np.concatenate([[choice.below], inside, [choice.above]])
    widest = int(np.argmax(np.diff(edges)))
    return float((edges[widest] + edges[widest + 1]) / 2)
