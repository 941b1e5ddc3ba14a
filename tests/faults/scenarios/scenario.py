"""What a scenario is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.harness import Run

type Act = Callable[[Run], None]

AUDITED = {"audit": {"in_replay": True, "interval_secs": 1.0}}


@dataclass(frozen=True)
class Scenario:
    """
    One disturbance of a live node.

    Invariants by number: 1 never naked; 2 node position = venue position; 3 no order is sent twice; 4 exits never
    depend on entry gates; 8 nothing recorded is lost; 9 fail closed. All of 1, 2, 3 and 8 are judged after every
    scenario; `invariant` is the one it attacks.

    Attributes
    ----------
    row : str
        Row of the fault matrix in `knowledge/live-binance.md` §4, or ``-``.
    name : str
        What happens.
    invariant : int
        The invariant it attacks.
    acts : tuple
        What is done to venue and node, in order.
    told : tuple[str, ...]
        Incident codes the journal must hold afterwards.
    tolerates : frozenset[str]
        The node's own checks that the disturbance breaks by design.
    venue, node : dict
        Replaced keys of the configurations.
    alone : bool
        Its node and venue serve no other scenario.
    kills_venue : bool
        Not played where the venue is a process like any other: only a fork of it can be killed and started again.
    prepare : Callable
        Called with the run before anything is started.
    trades_on : bool
        Whether a fill must follow; False where the disturbance ends trading by design.

    """

    row: str
    name: str
    invariant: int
    acts: tuple[Act, ...]
    told: tuple[str, ...] = ()
    tolerates: frozenset[str] = frozenset()
    venue: dict[str, Any] = field(default_factory=dict)
    node: dict[str, Any] = field(default_factory=dict)
    alone: bool = False
    kills_venue: bool = False
    prepare: Act = lambda _run: None
    trades_on: bool = True
