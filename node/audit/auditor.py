"""
The auditor: looks at the venue by itself every few seconds, repairs what is safe, and else holds entries and says why.

It trusts nothing the node believes: it asks over REST with a client of its own. What is on its way at one look is gone
at the next, so nothing is done about a difference that was not seen twice in a row.

Errors: a look that fails is **deferred** to the next; after three in a row the incident ``audit_blind`` says so (what
then holds entries is ``node.health``). A defect in a look never reaches the node.
"""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from decimal import Decimal
from typing import Any, Protocol

from node.audit.compare import REPAIRABLE, Difference, Kind, VenueState, compare
from node.audit.config import AuditConfig
from node.audit.snapshot import JournalBooks, venue_state
from node.binance.rest import BinanceRest, VenueRequestError

HOLD = "auditor"
_SIGHTINGS = 2
_BLIND_AFTER = 3
_MILLI_NS = 1_000_000


class Holds(Protocol):
    """What can hold entries: ``node.health.EntryHolds``, which pauses over the control topic and says why."""

    def hold(self, key: str, text: str) -> None:
        """Hold entries because of `key`."""

    def release(self, key: str) -> None:
        """Take the reason `key` back."""


class NodeSide(Protocol):
    """What the auditor sees of the node and may ask it to do; ``node.audit.node_side`` for the real one."""

    def positions(self) -> dict[str, Decimal]:
        """Return net quantities by venue symbol."""

    def knows(self, client_id: str) -> bool:
        """Return whether the node counts this order as open."""

    def protect(self, symbol: str, at_venue: frozenset[str]) -> None:
        """Have the orders believed open but not in `at_venue` looked up, and protection go over the symbol again."""

    def read_back(self, reason: str) -> None:
        """Have the venue's state read back."""

    def incident(self, severity: str, code: str, symbol: str, text: str) -> None:
        """Tell people."""


class Auditor:
    """
    One look after the other, until :meth:`stop`.

    Parameters
    ----------
    config : AuditConfig
        Interval and patience.
    rest : BinanceRest
        A client of its own with the account's key; closed at the end.
    symbols : sequence of str
        What the node trades.
    node : NodeSide
        The node.
    books : JournalBooks
        The journal.
    holds : Holds
        What holds entries.

    """

    def __init__(
        self,
        config: AuditConfig,
        rest: BinanceRest,
        symbols: Sequence[str],
        node: NodeSide,
        books: JournalBooks,
        holds: Holds,
    ) -> None:
        self._config = config
        self._rest = rest
        self._symbols = symbols
        self._node = node
        self._books = books
        self._holds = holds
        self._sightings: dict[tuple[str, str, str], int] = {}
        self._since_ms: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self.looks = 0
        """Looks completed."""

    def start(self) -> None:
        """Begin to look; the node must be running and its cache read from the venue."""
        self.begin()
        self._task = asyncio.create_task(self._run(), name="auditor")

    def begin(self) -> None:
        """
        Take what the node holds now as held before the journal began; from here on the journal must know every trade.

        The first answer of the venue would not do: it may hold a fill that is still on its way to the journal, which
        would then count twice for good.
        """
        if self._since_ms is not None:
            return
        self._since_ms = self._books.since_ms or time.time_ns() // _MILLI_NS
        for symbol, size in self._node.positions().items():
            self._books.note_earlier_position(symbol, size)

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._rest.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._config.interval_secs)
            try:
                await self.look()
                self._failures = 0
            except (VenueRequestError, KeyError, TypeError, ValueError, ArithmeticError) as e:
                self._failures += 1
                if self._failures == _BLIND_AFTER:
                    text = f"{_BLIND_AFTER} looks in a row failed: {e}"
                    self._node.incident("warning", "audit_blind", "", text)

    async def look(self) -> list[Difference]:
        """Compare once and act on what was seen before; return every difference."""
        self.begin()
        venue = await venue_state(self._rest, self._symbols, trades_since_ms=self._since_ms)
        found = compare(venue, self._symbols, node=self._node.positions(), journal=self._books.state())
        self._sightings = {d.key: self._sightings.get(d.key, 0) + 1 for d in found}
        self.looks += 1
        held = []
        for difference in found:
            seen = self._sightings[difference.key]
            if seen == _SIGHTINGS:
                self._tell(difference)
            if seen >= _SIGHTINGS:
                await self._repair(difference, venue)
            enough = self._config.patience if difference.kind in REPAIRABLE else _SIGHTINGS
            if seen >= enough and not difference.harmless:
                held.append(difference.text)
        if held:
            self._holds.hold(HOLD, "; ".join(held))
        else:
            self._holds.release(HOLD)
        return found

    def _tell(self, difference: Difference) -> None:
        safe = difference.harmless or difference.kind in REPAIRABLE
        severity = "info" if difference.harmless else "warning" if safe else "critical"
        self._node.incident(severity, f"audit_{difference.kind}", difference.symbol, difference.text)

    async def _repair(self, difference: Difference, venue: VenueState) -> None:
        symbol = difference.symbol
        if difference.kind is Kind.POSITION_MISMATCH:
            self._node.read_back(difference.text)
        elif difference.kind is Kind.ORPHAN_ORDER and not self._node.knows(difference.order or ""):
            await cancel(self._rest, difference, venue)
        elif difference.kind in REPAIRABLE:
            at_venue = frozenset(o.client_id for o in venue.orders if o.symbol == symbol)
            self._node.protect(symbol, at_venue)


async def cancel(rest: BinanceRest, orphan: Difference, venue: VenueState) -> bool:
    """Cancel an orphan at the venue; False when it was gone already. Other failures propagate."""
    order = next((o for o in venue.orders if o.symbol == orphan.symbol and o.client_id == orphan.order), None)
    if order is None:
        return False
    request: Awaitable[Any] = (
        rest.delete("/fapi/v1/algoOrder", {"symbol": order.symbol, "clientAlgoId": order.client_id})
        if order.conditional
        else rest.delete("/fapi/v1/order", {"symbol": order.symbol, "origClientOrderId": order.client_id})
    )
    try:
        await request
    except VenueRequestError as e:
        if e.code in (-2011, -2013):
            return False
        raise
    return True
