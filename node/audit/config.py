"""What the auditor and the dead man's switch are told."""

from typing import Annotated

import msgspec

from strategies.yaml_config import FrozenConfig


class AuditConfig(FrozenConfig, frozen=True):
    """
    The auditor beside a running node.

    Attributes
    ----------
    enabled : bool
        Whether it runs.
    interval_secs : float
        Wall seconds between two looks at the venue (weight 5, and 7 for each symbol).
    in_replay : bool
        Run in a lock-step replay too, where market time runs faster than the wall clock.
    patience : int
        Looks in a row that must show a difference a repair was tried on, before entries are held.

    """

    enabled: bool = True
    interval_secs: Annotated[float, msgspec.Meta(ge=0.05, le=3600)] = 10.0
    in_replay: bool = False
    patience: Annotated[int, msgspec.Meta(ge=2, le=100)] = 4


class DeadManConfig(FrozenConfig, frozen=True):
    """
    The venue's own switch (``countdownCancelAll``): it cancels open orders unless the node renews it in time.

    Attributes
    ----------
    enabled : bool
        Off by default.
    countdown_secs : int
        The venue waits this long for a renewal; the node renews three times as often.
    venue_cancels_stops : bool or None
        Whether this venue's switch takes conditional (algo) orders away too, as you have tried out on it. Must be said,
        and be false: a switch that removes the stops of a position is worse than none.

    """

    enabled: bool = False
    countdown_secs: Annotated[int, msgspec.Meta(ge=3, le=3600)] = 60
    venue_cancels_stops: bool | None = None

    def __post_init__(self) -> None:
        if not self.enabled or self.venue_cancels_stops is False:
            return
        if self.venue_cancels_stops:
            raise ValueError("dead_man: the venue's switch would cancel the stops of open positions: leave it disabled")
        raise ValueError("dead_man.venue_cancels_stops: say whether the venue's switch cancels stops; try it out first")
