"""A stop that was asked for waits for what is under way, and for the stops of what is open."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from nautilus_trader.model.enums import OrderStatus

from node.stopping import settled
from strategies.order_ids import Leg, OrderTag, encode

XRP = "XRPUSDT-PERP.BINANCE"


class Cache:
    """Orders and positions as lists."""

    def __init__(self, orders: list[Any], held: str = "0") -> None:
        self._orders = orders
        self._held = Decimal(held)

    def orders(self) -> list[Any]:
        return self._orders

    def positions_open(self) -> list[Any]:
        quantity = SimpleNamespace(as_decimal=lambda: self._held)
        return [SimpleNamespace(instrument_id=XRP, quantity=quantity)] if self._held else []


def order(leg: Leg | None, status: OrderStatus, left: str = "10", *, reduce_only: bool = True) -> Any:
    name = "by-hand" if leg is None else encode(OrderTag("CMPXRP", 60_000_000_000, leg, 0))
    return SimpleNamespace(
        client_order_id=SimpleNamespace(value=name),
        instrument_id=XRP,
        status=status,
        is_closed=status in (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.DENIED),
        is_reduce_only=reduce_only,
        leaves_qty=SimpleNamespace(as_decimal=lambda: Decimal(left)),
    )


STOP = order(Leg.STOP, OrderStatus.ACCEPTED)


@pytest.mark.parametrize(
    ("orders", "held", "expected"),
    [
        ([], "0", True),
        ([order(Leg.ENTRY, OrderStatus.INITIALIZED)], "0", False),  # decided, not yet sent
        ([order(Leg.ENTRY, OrderStatus.SUBMITTED)], "0", False),
        ([order(Leg.ENTRY, OrderStatus.ACCEPTED)], "0", False),  # about to fill
        ([order(Leg.ENTRY, OrderStatus.FILLED)], "10", False),  # filled, its stop not yet sent
        ([order(Leg.ENTRY, OrderStatus.FILLED), order(Leg.STOP, OrderStatus.SUBMITTED)], "10", False),
        ([order(Leg.ENTRY, OrderStatus.FILLED), STOP], "10", True),
        ([STOP], "11", False),
        ([STOP, order(Leg.TARGET, OrderStatus.PENDING_CANCEL)], "10", False),
        ([order(Leg.EXIT, OrderStatus.ACCEPTED), STOP], "10", False),
        ([order(None, OrderStatus.ACCEPTED)], "10", True),  # a person's stop
        ([order(None, OrderStatus.ACCEPTED, reduce_only=False)], "10", False),
        ([order(Leg.ENTRY, OrderStatus.DENIED)], "0", True),
    ],
)
def test_what_must_have_arrived_before_the_node_goes(orders: list[Any], held: str, expected: bool) -> None:
    assert settled(Cache(orders, held)) is expected
