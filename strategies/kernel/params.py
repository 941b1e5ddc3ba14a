"""The parameters of the weighted vote and of the stops that hang on it."""

import math
from typing import Annotated

import msgspec


class CompositeParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Parameters of the composite strategy; defaults: the ancestor's production set (1.5 / 4.0 / T3 / ADX25 / V2.5).

    Parameters
    ----------
    signal_threshold : int
        Points a side needs (1 to 6 are reachable). With one point more the volume surge is not required.
    adx_threshold : float
        No signal while ADX (0-100) is below it; an ADX that is not yet known does not block. 0 switches the gate off.
    volume_multiplier : float
        A volume surge is volume above this multiple of its 20-bar mean.
    stop_atr, target_atr : float
        Distance of stop and target from the entry price, in multiples of the signal bar's ATR. Not used by the vote.

    Raises
    ------
    ValueError
        Propagate: a figure is not finite (msgspec reports it as a validation error of the file).

    """

    signal_threshold: Annotated[int, msgspec.Meta(ge=1, le=6)] = 3
    adx_threshold: Annotated[float, msgspec.Meta(ge=0, le=100)] = 25.0
    volume_multiplier: Annotated[float, msgspec.Meta(ge=0)] = 2.5
    stop_atr: Annotated[float, msgspec.Meta(gt=0)] = 1.5
    target_atr: Annotated[float, msgspec.Meta(gt=0)] = 4.0

    def __post_init__(self) -> None:
        """Refuse infinities, which pass the lower bounds of the decoder, and NaN given in code."""
        for name in ("adx_threshold", "volume_multiplier", "stop_atr", "target_atr"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number")
