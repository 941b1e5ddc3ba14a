"""The one shape of every answer: what was examined, whether it stands, the enumerated reason, the figures."""

from enum import StrEnum, unique
from typing import Any

import msgspec

from strategies.yaml_config import FrozenConfig


@unique
class Reason(StrEnum):
    """Why an examination passed, failed or could not be made."""

    STANDS = "stands"
    TOO_FEW = "too_few"
    UNAVAILABLE = "unavailable"
    # chosen from many
    SHARPE_NOT_SIGNIFICANT = "sharpe_not_significant"
    SHARPE_EXPLAINED_BY_TRIALS = "sharpe_explained_by_trials"
    TRACK_RECORD_TOO_SHORT = "track_record_too_short"
    BACKTEST_OVERFIT = "backtest_overfit"
    NOT_BETTER_THAN_NONE = "not_better_than_none"
    # luck of the sample
    INTERVAL_INCLUDES_NOTHING = "interval_includes_nothing"
    LUCKY_ORDER = "lucky_order"
    NO_BETTER_THAN_RANDOM = "no_better_than_random"
    NO_PAIRED_EFFECT = "no_paired_effect"
    LOSES = "loses"
    # fragile
    ONE_REGIME = "one_regime"
    COSTS_EAT_IT = "costs_eat_it"
    DELAY_EATS_IT = "delay_eats_it"
    PARAMETER_SPIKE = "parameter_spike"
    ONE_MONTH_CARRIES_IT = "one_month_carries_it"
    # knows too much
    LOOK_AHEAD = "look_ahead"
    FORESIGHT = "foresight"
    WARM_UP_DEPENDENT = "warm_up_dependent"
    LABEL_OVERLAP = "label_overlap"
    SAME_ROW = "same_row"
    DUPLICATE_ROWS = "duplicate_rows"
    TRAINED_ON_THE_FUTURE = "trained_on_the_future"
    FITTED_ON_ALL = "fitted_on_all"
    TARGET_LEAK = "target_leak"
    KNOWS_NEXT_BAR = "knows_next_bar"
    EMBARGO_TOO_SHORT = "embargo_too_short"
    NOT_RECOMPUTED = "not_recomputed"
    # carries nothing
    CONSTANT_FEATURE = "constant_feature"
    EMPTY_FEATURE = "empty_feature"
    DUPLICATE_FEATURE = "duplicate_feature"
    # the model is not the one that was trained
    EXPORT_DIFFERS = "export_differs"
    DOES_NOT_VERIFY = "does_not_verify"
    CONSTANT_SCORE = "constant_score"
    NOT_REPRODUCED = "not_reproduced"


class Doubt(FrozenConfig, frozen=True):
    """
    One answer.

    Attributes
    ----------
    name : str
        What was examined.
    passed : bool or None
        None: it could not be examined, which is no pass.
    reason : Reason
        Why.
    detail : str
        One sentence for people, with the figure that decided.
    figures : dict
        Plain data; undefined figures are None.

    """

    name: str
    passed: bool | None
    reason: Reason
    detail: str = ""
    figures: dict[str, Any] = msgspec.field(default_factory=dict)


def stands(name: str, detail: str = "", **figures: Any) -> Doubt:
    """Return a passed examination."""
    return Doubt(name=name, passed=True, reason=Reason.STANDS, detail=detail, figures=figures)


def falls(name: str, reason: Reason, detail: str, **figures: Any) -> Doubt:
    """Return a failed examination."""
    return Doubt(name=name, passed=False, reason=reason, detail=detail, figures=figures)


def unknown(name: str, reason: Reason, detail: str, **figures: Any) -> Doubt:
    """Return an examination that could not be made."""
    return Doubt(name=name, passed=None, reason=reason, detail=detail, figures=figures)
