"""
How values were spread in training, in a form that fits a manifest, and how far what is seen now lies from it.

The population stability index of a feature is ``sum((now - then) * ln(now / then))`` over bins of equal count in
training plus one for unknown values. Convention: below 0.1 alike, above 0.25 another population (Siddiqi, *Credit Risk
Scorecards*, 2006). With few observations it is large by chance: its expectation under no change is about
``(bins - 1) * (1 / then + 1 / now)`` in counts, which :func:`noise` gives.
"""

import numpy as np

from strategies.yaml_config import FrozenConfig

_SMOOTH = 0.5
_ONE_IN_10_000 = 3.719
BINS = 10


class Bins(FrozenConfig, frozen=True):
    """
    One column as training saw it.

    Attributes
    ----------
    edges : list[float]
        Inner edges, increasing; bin i holds ``edges[i-1] <= x < edges[i]``.
    counts : list[int]
        Rows per bin, and last of unknown values; one more than there are bins.

    """

    edges: list[float]
    counts: list[int]

    def count(self, values: np.ndarray) -> np.ndarray:
        """Return int64 counts of `values` over the bins, unknown values last."""
        known = values[~np.isnan(values)]
        where = np.searchsorted(np.array(self.edges), known, side="right")
        return np.append(np.bincount(where, minlength=len(self.edges) + 1), len(values) - len(known))

    def index(self, value: float) -> int:
        """Return the bin of one value."""
        if value != value:  # noqa: PLR0124 - NaN is not itself
            return len(self.counts) - 1
        return int(np.searchsorted(self.edges, value, side="right"))


def bins_of(values: np.ndarray, bins: int = BINS) -> Bins:
    """Return the distribution of a column (float, NaN means unknown) over at most `bins` bins of equal count."""
    known = values[~np.isnan(values)].astype(np.float64)
    edges = np.unique(np.quantile(known, np.arange(1, bins) / bins)) if len(known) else np.empty(0)
    empty = Bins(edges=edges.tolist(), counts=[])
    return Bins(edges=edges.tolist(), counts=empty.count(values).tolist())


def psi(then: Bins, now: np.ndarray) -> float:
    """Return the population stability index of counts `now` (order of ``then.counts``); NaN without any."""
    before, after = np.array(then.counts, dtype=np.float64), np.asarray(now, dtype=np.float64)
    if not before.sum() or not after.sum():
        return float("nan")
    met = before + after > 0
    p, q = before[met] + _SMOOTH, after[met] + _SMOOTH  # else one empty bin among few observations decides alone
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def noise(then: Bins, now: int) -> float:
    """Return the index's expectation when nothing has changed, for `now` observations."""
    filled = sum(c > 0 for c in then.counts)
    return (filled - 1) * (1 / max(sum(then.counts), 1) + 1 / max(now, 1))


def chance(then: Bins, now: int) -> float:
    """
    Return what the index exceeds once in 10,000 looks when nothing has changed, for `now` observations.

    The index is about chi-squared with (bins - 1) degrees of freedom, scaled; its quantile by Wilson and Hilferty.
    """
    free = max(sum(c > 0 for c in then.counts) - 1, 1)
    quantile = (1 - 2 / (9 * free) + _ONE_IN_10_000 * (2 / (9 * free)) ** 0.5) ** 3
    return noise(then, now) * quantile
