"""
The scenarios as data: what is disturbed, at which moment, and which invariant of the house plan it must not break.

One file per place where things go wrong; :mod:`.acts` holds the moves, :mod:`.scenario` says what a scenario is.
"""

from tests.faults.scenarios import market, mixed, orders, people, permissions, redis, start, streams
from tests.faults.scenarios.scenario import Scenario

__all__ = ["ROWS", "SCENARIOS", "Scenario"]

SCENARIOS: tuple[Scenario, ...] = (
    *streams.SCENARIOS,
    *orders.SCENARIOS,
    *people.SCENARIOS,
    *permissions.SCENARIOS,
    *start.SCENARIOS,
    *market.SCENARIOS,
    *redis.SCENARIOS,
    *mixed.SCENARIOS,
)

ROWS = (
    *("F2", "F4", "F5", "F6a", "F6b", "F6c", "F6e", "F7", "F8", "F8b", "F9", "F10", "F10b", "F10c", "F11", "F12"),
    *("F13", "F14", "F14d", "F14e", "F16", "F17", "F17d", "F17g", "F17j", "R1", "R2"),
)
"""The rows of the fault matrix (`knowledge/live-binance.md` §4)."""
