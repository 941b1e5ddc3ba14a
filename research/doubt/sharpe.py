"""
Whether a Sharpe ratio means anything, given its sample and the number of tries it was chosen from.

Ratios are per observation (not annualised) throughout; kurtosis is not excess (3 for the normal distribution).

Sources: Bailey and López de Prado, "The Sharpe ratio efficient frontier" (2012) for the probabilistic ratio and the
minimum track record, and "The deflated Sharpe ratio" (2014).
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from research.doubt.verdict import Doubt, Reason, falls, stands, unknown

Floats = npt.NDArray[np.float64]

EULER = 0.5772156649015329
CONFIDENCE = 0.95
MIN_OBSERVATIONS = 30


class Moments(NamedTuple):
    """Sharpe ratio per observation, skewness, kurtosis (not excess) and number of observations."""

    sharpe: float
    skew: float
    kurtosis: float
    observations: int


def moments(returns: Floats) -> Moments:
    """Return the moments of returns; the ratio is NaN without variance."""
    n = len(returns)
    deviation = float(np.std(returns, ddof=1)) if n > 1 else 0.0
    if not deviation > 1e-15:
        return Moments(math.nan, math.nan, math.nan, n)
    skew, kurtosis = float(stats.skew(returns)), float(stats.kurtosis(returns, fisher=False))
    return Moments(float(np.mean(returns)) / deviation, skew, kurtosis, n)


def standard_error(m: Moments) -> float:
    """Return the standard error of an estimated Sharpe ratio under non-normal returns, without the sample size."""
    variance = 1.0 - m.skew * m.sharpe + (m.kurtosis - 1.0) / 4.0 * m.sharpe**2
    return math.sqrt(max(variance, 1e-12))


def probabilistic_sharpe(m: Moments, benchmark: float = 0.0) -> float:
    """Return the probability that the true ratio exceeds `benchmark` (per observation)."""
    if m.observations < 2:
        return math.nan
    return float(stats.norm.cdf((m.sharpe - benchmark) * math.sqrt(m.observations - 1) / standard_error(m)))


def minimum_track_record(m: Moments, benchmark: float = 0.0, confidence: float = CONFIDENCE) -> float:
    """
    Return the number of observations needed to say with `confidence` that the ratio exceeds `benchmark`.

    Infinite where the ratio does not exceed it at all.
    """
    if not m.sharpe > benchmark:
        return math.inf
    return 1.0 + (standard_error(m) * float(stats.norm.ppf(confidence)) / (m.sharpe - benchmark)) ** 2


def expected_maximum(trials: float, variance: float) -> float:
    """
    Return the Sharpe ratio the best of `trials` independent ones is expected to show although all are worth nothing.

    Parameters
    ----------
    trials : float
        Effective number of independent trials; one trial is no choice: 0.
    variance : float
        Variance of the trials' ratios, per observation.

    """
    if trials <= 1 or not variance > 0:
        return 0.0
    first = float(stats.norm.ppf(1.0 - 1.0 / trials))
    second = float(stats.norm.ppf(1.0 - 1.0 / (trials * math.e)))
    return max(math.sqrt(variance) * ((1.0 - EULER) * first + EULER * second), 0.0)


def deflated_sharpe(m: Moments, trials: float, variance: float) -> float:
    """Return the probability that the true ratio exceeds what the best of worthless trials would show."""
    return probabilistic_sharpe(m, expected_maximum(trials, variance))


def examine_sharpe(returns: Floats, trials: float, variance: float) -> list[Doubt]:
    """
    Return the doubts on the Sharpe ratio of a chosen result: probabilistic, track record, deflated.

    Parameters
    ----------
    returns : np.ndarray
        float64, daily returns of the chosen result, shape (days,).
    trials, variance : float
        From :func:`trials.search_effort` (`variance` per day). Where the variance of the trials is not known, or is
        below it, the sampling variance of a ratio, ``1 / (days - 1)``, stands in: what worthless independent trials
        show. Ratios of trials that are nearly the same lie closer together, and are counted as fewer already.

    """
    m = moments(returns)
    names = ("probabilistic Sharpe", "minimum track record", "deflated Sharpe")
    if m.observations < MIN_OBSERVATIONS or math.isnan(m.sharpe):
        why = f"{m.observations} daily returns, at least {MIN_OBSERVATIONS} that vary are needed"
        return [unknown(name, Reason.TOO_FEW, why) for name in names]
    probability, needed = probabilistic_sharpe(m), minimum_track_record(m)
    least = 1.0 / (m.observations - 1)
    assumed = not variance > least
    spread = least if assumed else variance
    hurdle = expected_maximum(trials, spread)
    deflated = probabilistic_sharpe(m, hurdle)
    annual = math.sqrt(365)
    figures = {
        "sharpe_annual": m.sharpe * annual,
        "skew": m.skew,
        "kurtosis": m.kurtosis,
        "days": m.observations,
    }
    text = f"probability {probability:.3f} that the true Sharpe ratio is above 0 ({m.observations} days)"
    days = "never" if math.isinf(needed) else f"{needed:.0f}"
    record = f"{days} days needed for {CONFIDENCE:.0%}, {m.observations} at hand"
    deflation = (
        f"probability {deflated:.3f} that the true Sharpe ratio is above {hurdle * annual:.2f} a year, "
        f"which the best of {trials:.0f} worthless trials shows"
    )
    return [
        stands(names[0], text, probability=probability, **figures)
        if probability >= CONFIDENCE
        else falls(names[0], Reason.SHARPE_NOT_SIGNIFICANT, text, probability=probability, **figures),
        stands(names[1], record, needed_days=needed, days=m.observations)
        if needed <= m.observations
        else falls(
            names[1],
            Reason.TRACK_RECORD_TOO_SHORT,
            record,
            needed_days=None if math.isinf(needed) else needed,
            days=m.observations,
        ),
        (stands if deflated >= CONFIDENCE else _explained)(
            names[2],
            deflation,
            probability=deflated,
            hurdle_annual=hurdle * annual,
            trials=trials,
            variance_annual=spread * 365,
            variance_assumed=assumed,
        ),
    ]


def _explained(name: str, detail: str, **figures: object) -> Doubt:
    return falls(name, Reason.SHARPE_EXPLAINED_BY_TRIALS, detail, **figures)
