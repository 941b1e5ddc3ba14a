"""
Before a stop that was asked for: nothing new, and what is under way has arrived and has its stop.

An entry that fills a moment after the node has gone is a position nobody protects until the next start.
"""

import asyncio
import time
from decimal import Decimal
from typing import Any

from nautilus_trader.model.enums import OrderStatus

from node.binance.barrier import execution_client
from strategies.order_ids import Leg, decode

SETTLE_SECS = 5.0
_POLL_SECS = 0.02
_MOVING = frozenset(
    {OrderStatus.INITIALIZED, OrderStatus.SUBMITTED, OrderStatus.PENDING_UPDATE, OrderStatus.PENDING_CANCEL}
)


async def settle(node: Any, secs: float = SETTLE_SECS) -> bool:
    """
    Deny entries and wait until no order is on its way and every position has its stop.

    Error contract: degraded. False after `secs` seconds: whoever stops does so all the same, and the checks at the end
    say what is left.
    """
    execution_client(node.kernel.exec_engine).entry_hold = lambda: "the node is stopping"
    deadline = time.monotonic() + secs
    quiet = 0
    while quiet < 2:  # what was decided in the same turn of the loop appears in the cache by the next look
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_SECS)
        quiet = quiet + 1 if settled(node.cache) else 0
    return True


def settled(cache: Any) -> bool:
    """Return whether no order is under way and resting stops cover every open position."""
    covered: dict[Any, Decimal] = {}
    for order in cache.orders():
        if order.is_closed:
            continue
        tag = decode(order.client_order_id.value)
        if order.status in _MOVING or (tag is not None and tag.leg in (Leg.ENTRY, Leg.EXIT)):
            return False
        if (tag is None and order.is_reduce_only) or (tag is not None and tag.leg is Leg.STOP):  # a person's counts too
            size = order.leaves_qty.as_decimal()
            covered[order.instrument_id] = covered.get(order.instrument_id, Decimal(0)) + size
    positions = cache.positions_open()
    return all(covered.get(p.instrument_id, Decimal(0)) >= p.quantity.as_decimal() for p in positions)
