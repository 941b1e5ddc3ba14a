"""How much was tried: Sharpe ratios of many trials in few numbers, and their sum over the ledger."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trials.entries import Entry, SharpeSummary
from trials.ledger import read
from trials.memory import joined

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DAYS_PER_YEAR = 365


class Effort(NamedTuple):
    """
    What was tried within a scope.

    Attributes
    ----------
    trials : float
        Effective number of independent trials, the N of the deflated Sharpe ratio; 0 when nothing is recorded.
    variance : float
        Variance of the trials' annualised Sharpe ratios; NaN with fewer than two known ratios.
    runs, counted : int
        Distinct runs, and trials before correlation was taken into account.

    """

    trials: float
    variance: float
    runs: int
    counted: int

    @property
    def daily_variance(self) -> float:
        """The variance for Sharpe ratios per day."""
        return self.variance / DAYS_PER_YEAR


def summarise(
    sharpes: Iterable[float | None], trials: int | None = None, returns: "npt.NDArray[np.float64] | None" = None
) -> SharpeSummary:
    """
    Return the summary the ledger stores.

    Parameters
    ----------
    sharpes : iterable of float or None
        Annualised Sharpe ratio of each trial (as ``node.statistics``); None or NaN where there is none, e.g. no trade.
    trials : int, optional
        Number of trials where it is larger than the number of ratios given (pruned ones).
    returns : np.ndarray, optional
        Returns per period and trial, shape (periods, trials): lowers the effective number by their correlation.

    """
    given = list(sharpes)
    known = [s for s in given if s is not None and math.isfinite(s)]
    count = max(len(given), trials or 0)
    mean = math.fsum(known) / len(known) if known else None
    variance = None
    if mean is not None and len(known) > 1:
        variance = math.fsum((s - mean) ** 2 for s in known) / (len(known) - 1)
    effective = float(count)
    if returns is not None:
        effective = effective_number(returns) * count / max(returns.shape[1], 1)
    return SharpeSummary(
        known=len(known), mean=mean, variance=variance, best=max(known, default=None), effective=effective
    )


def effective_number(returns: "npt.NDArray[np.float64]") -> float:
    """
    Return the number of independent trials implied by the mean correlation: ``rho + (1 - rho) * N``.

    Parameters
    ----------
    returns : np.ndarray
        float64, shape (periods, trials). Trials without variance never traded: all of them together count as one.

    Notes
    -----
    Bailey and López de Prado, "The deflated Sharpe ratio" (2014), appendix A.3. A negative mean correlation counts as
    none: N is never exceeded.

    """
    moving = returns[:, returns.std(axis=0) > 0]
    idle = min(returns.shape[1] - moving.shape[1], 1)
    n = moving.shape[1]
    if n < 2:
        return float(n + idle)
    standard = (moving - moving.mean(axis=0)) / moving.std(axis=0)
    # The mean of all correlations is the variance of the mean standardised trial: no matrix of N x N.
    total = float((standard.mean(axis=1) ** 2).mean()) * n * n
    rho = min(max((total - n) / (n * (n - 1)), 0.0), 1.0)
    return float(rho + (1.0 - rho) * n + idle)


def effective_trials(
    *, symbols: Sequence[str] | None = None, data_hash: str | None = None, ledger: Path | None = None
) -> Effort:
    """
    Return what the ledger says was tried before a result was chosen.

    Parameters
    ----------
    symbols : sequence of str, optional
        Runs that used at least one of these; absent: of all symbols.
    data_hash : str, optional
        Runs on exactly these data. Trying on other months of a symbol and reporting on these is selection as well:
        leave it out unless you know that the other runs had no say.
    ledger : Path, optional
        Ledger file; by default :func:`trials.ledger.ledger_path`.

    Returns
    -------
    Effort
        The same run repeated (kind, configuration, data, code and seed alike) counts once.

    Raises
    ------
    DataError
        Fail closed: the ledger is damaged; nothing can be deflated by it.

    """
    return _pool(_distinct(read(ledger), symbols, data_hash))


def search_effort(symbols: Sequence[str], *, ledger: Path | None = None, catalog: Path | None = None) -> Effort:
    """
    Return what a result on `symbols` must be deflated by: whatever was tried, on these symbols or others.

    A symbol is chosen like a parameter: the best of fifty symbols tried once each was chosen from fifty. The number of
    independent trials enters by the root of its logarithm, so counting too much costs little. Their variance is that of
    runs on these symbols or of all, whichever is larger.

    Parameters
    ----------
    symbols : sequence of str
        Of the result. `runs` counts distinct runs on one of them: 0 says that its own search is not known.
    ledger, catalog : Path, optional
        The ledger, and the catalog whose memory of runs in other ledgers counts too.

    Raises
    ------
    DataError
        Fail closed: the ledger is damaged.

    """
    entries = joined(read(ledger), catalog)
    every, own = _pool(_distinct(entries, None, None)), _pool(_distinct(entries, symbols, None))
    variance = every.variance if math.isnan(own.variance) else max(own.variance, every.variance)
    return Effort(trials=every.trials, variance=variance, runs=own.runs, counted=every.counted)


def _distinct(entries: Iterable[Entry], symbols: Sequence[str] | None, data_hash: str | None) -> list[Entry]:
    seen: dict[tuple[object, ...], Entry] = {}
    for entry in entries:
        if entry.trials == 0:  # an examination tried nothing
            continue
        if symbols is not None and not set(symbols) & set(entry.symbols):
            continue
        if data_hash is not None and entry.data_hash != data_hash:
            continue
        seen[entry.kind, entry.config_hash, entry.data_hash, entry.code.files, entry.seed] = entry
    return list(seen.values())


def _pool(entries: list[Entry]) -> Effort:
    known = [(e.sharpe.known, e.sharpe.mean or 0.0, e.sharpe.variance or 0.0) for e in entries if e.sharpe.known]
    count = sum(n for n, _, _ in known)
    variance = math.nan
    if count > 1:
        mean = math.fsum(n * m for n, m, _ in known) / count
        within = math.fsum((n - 1) * v for n, _, v in known)
        between = math.fsum(n * (m - mean) ** 2 for n, m, _ in known)
        variance = (within + between) / (count - 1)
    return Effort(
        trials=math.fsum(e.sharpe.effective for e in entries),
        variance=variance,
        runs=len(entries),
        counted=sum(e.trials for e in entries),
    )
