"""Every kind of difference by hand, and nothing where there is none."""

from decimal import Decimal

import pytest

from node.audit.compare import JournalState, Kind, VenueOrder, VenueState, compare
from strategies.order_ids import Leg, OrderTag, encode

MINUTE = 60_000_000_000


def ours(leg: Leg, attempt: int = 0) -> str:
    return encode(OrderTag("CMPXRP", 28_000_000 * MINUTE, leg, attempt))


def order(client_id: str, quantity: str = "10", **changes) -> VenueOrder:
    fields = {
        "symbol": "XRPUSDT",
        "client_id": client_id,
        "side": "SELL",
        "kind": "STOP_MARKET",
        "quantity": Decimal(quantity),
        "reduce_only": True,
        "close_position": False,
        "conditional": True,
    }
    return VenueOrder(**(fields | changes))


STOP = order(ours(Leg.STOP))
TARGET = order(ours(Leg.TARGET), kind="TAKE_PROFIT_MARKET")


def kinds(size: str, *orders: VenueOrder, node: str | None = None, journal: str | None = None, trades=((), ())):
    venue = VenueState(positions={"XRPUSDT": Decimal(size)}, orders=orders, trades={"XRPUSDT": trades[0]})
    books = JournalState(positions={"XRPUSDT": Decimal(journal or size)}, trades={"XRPUSDT": frozenset(trades[1])})
    believed = {"XRPUSDT": Decimal(node or size)}
    return [(d.kind, d.order) for d in compare(venue, ["XRPUSDT"], node=believed, journal=books)]


def test_a_protected_position_and_a_flat_account_are_clean():
    assert kinds("10", STOP, TARGET) == []
    assert kinds("0") == []


def test_a_position_without_a_stop():
    assert kinds("10") == [(Kind.MISSING_STOP, None)]
    assert kinds("10", TARGET) == [(Kind.MISSING_STOP, None)], "a target is no protection"
    assert kinds("10", order(ours(Leg.STOP), reduce_only=False))[0] == (Kind.MISSING_STOP, None)
    trail = order(ours(Leg.TRAIL), kind="TRAILING_STOP_MARKET")
    assert kinds("10", trail) == [(Kind.MISSING_STOP, None)], "it may not be active yet"


@pytest.mark.parametrize("quantity", ["9", "11"])
def test_a_stop_of_the_wrong_size(quantity):
    assert kinds("10", order(ours(Leg.STOP), quantity)) == [(Kind.WRONG_SIZE_STOP, None)]


def test_a_persons_stop_covers_and_is_told_as_harmless():
    venue = VenueState(positions={"XRPUSDT": Decimal(10)}, orders=[order("web_1")])
    (found,) = compare(venue, ["XRPUSDT"])
    assert (found.kind, found.order, found.harmless) == (Kind.FOREIGN_ORDER, "web_1", True)
    whole = VenueState(
        positions={"XRPUSDT": Decimal(10)},
        orders=[order("web_1", "0", reduce_only=False, close_position=True)],
    )
    assert [d.kind for d in compare(whole, ["XRPUSDT"])] == [Kind.FOREIGN_ORDER]


def test_a_foreign_order_that_can_open_a_position_is_not_harmless():
    entry = order("web_1", kind="LIMIT", reduce_only=False, conditional=False)
    venue = VenueState(positions={}, orders=[entry])
    (found,) = compare(venue, ["XRPUSDT"])
    assert (found.kind, found.harmless) == (Kind.FOREIGN_ORDER, False)


def test_legs_without_their_position_are_orphans():
    assert kinds("0", STOP, TARGET) == [(Kind.ORPHAN_ORDER, STOP.client_id), (Kind.ORPHAN_ORDER, TARGET.client_id)]
    assert (Kind.ORPHAN_ORDER, STOP.client_id) in kinds("-10", STOP, order(ours(Leg.STOP, 1), side="BUY"))
    assert (Kind.MISSING_STOP, None) not in kinds("-10", STOP, order(ours(Leg.STOP, 1), side="BUY"))


def test_the_node_believes_something_else():
    assert kinds("10", STOP, node="9") == [(Kind.POSITION_MISMATCH, None)]


def test_the_journal_lacks_something():
    assert kinds("10", STOP, journal="9") == [(Kind.JOURNAL_GAP, None)]
    assert kinds("10", STOP, trades=((7, 8), (7,))) == [(Kind.JOURNAL_GAP, None)]
    assert kinds("10", STOP, trades=((7, 8), (6, 7, 8))) == []


def test_a_position_in_another_symbol():
    venue = VenueState(positions={"DOGEUSDT": Decimal(5)}, orders=[])
    (found,) = compare(venue, ["XRPUSDT"])
    assert (found.kind, found.symbol) == (Kind.FOREIGN_POSITION, "DOGEUSDT")
    assert "DOGEUSDT" in found.text
    assert compare(VenueState(positions={"DOGEUSDT": Decimal(0)}, orders=[]), ["XRPUSDT"]) == []
