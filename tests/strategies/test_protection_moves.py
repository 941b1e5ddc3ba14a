"""Trailing, break-even, time stop and a person's stop in the real engine, and against a venue that refuses."""

from decimal import Decimal

import pytest
from nautilus_trader.model.enums import OrderSide, OrderStatus, OrderType
from nautilus_trader.model.identifiers import ClientOrderId

from strategies.order_ids import Leg, decode
from strategies.protection import ProtectionConfig
from strategies.protection_plan import BarTrailing, BreakEven, VenueTrailing
from tests.strategies.engine_kit import Run
from tests.strategies.protection_kit import MINUTE, FakeOrder, FakeVenue, price

LONG = {0: ("LONG", 0.98, 1.2)}
SHORT = {0: ("SHORT", 1.02, 0.8)}


def stops(run):
    """Return the trigger prices of all stops ever sent, in order."""
    tagged = [(o, decode(o.client_order_id.value)) for o in run.cache.orders()]
    found = [(t.attempt, str(o.trigger_price)) for o, t in tagged if t is not None and t.leg is Leg.STOP]
    return [level for _, level in sorted(found)]


def test_the_stop_steps_up_with_the_bars_and_takes_the_profit():
    candles = [1.0, 1.01, 1.03, 1.05, 1.05, (1.05, 1.05, 1.0, 1.01), 1.01]
    run = Run(candles, LONG, protection=ProtectionConfig(trailing=BarTrailing(distance=1.0))).go()
    assert stops(run) == ["0.9800", "0.9900", "1.0100", "1.0300"]
    assert run.fills[1] == ("STOP", "SELL", 100.0, 1.03)
    assert run.auditor.findings == [], "the new stop rests before the old one goes"
    assert run.cache.orders_open() == []
    assert run.strategy.protection.worst_naked_ns == 0


def test_a_short_position_trails_down():
    candles = [1.0, 0.99, 0.97, (0.97, 1.0, 0.97, 0.99), 0.99]
    run = Run(candles, SHORT, protection=ProtectionConfig(trailing=BarTrailing(distance=1.0))).go()
    assert stops(run) == ["1.0200", "1.0100", "0.9900"]
    assert run.fills[1] == ("STOP", "BUY", 100.0, 0.99)
    assert run.auditor.findings == []


def test_break_even_and_then_back_to_the_entry():
    candles = [1.0, 1.021, 1.01, (1.01, 1.01, 0.97, 0.98), 0.98]
    run = Run(candles, LONG, protection=ProtectionConfig(break_even=BreakEven(at_r=1.0))).go()
    assert stops(run) == ["0.9800", "1.0000"]
    assert run.fills[1] == ("STOP", "SELL", 100.0, 1.0)
    assert run.auditor.findings == []


def test_a_level_the_close_has_passed_closes_at_market_without_a_refused_order():
    candles = [1.0, (1.0, 1.05, 1.0, 1.005), 1.005, 1.005]
    run = Run(candles, LONG, protection=ProtectionConfig(trailing=BarTrailing(distance=1.0))).go()
    assert run.fills[1][0] == "EXIT"
    assert run.exit_tags() == ["exit:STOP_LOSS"]
    assert not [o for o in run.cache.orders() if o.status == OrderStatus.REJECTED]
    assert run.cache.orders_open() == []


def test_the_time_stop_closes_at_its_bar():
    run = Run([1.0] * 8, LONG, protection=ProtectionConfig(time_stop_bars=3)).go()
    assert [row[0] for row in run.fills] == ["ENTRY", "EXIT"]
    assert run.exit_tags() == ["exit:TIME_STOP"]
    closed = [o for o in run.cache.orders() if decode(o.client_order_id.value).leg is Leg.EXIT]
    assert closed[0].last_event.ts_event == run.candles[3].ts_event
    assert run.cache.orders_open() == []


def test_the_venues_own_trailing_stop_rests_beside_the_fixed_one():
    config = ProtectionConfig(trailing=VenueTrailing(callback=0.01))
    run = Run([1.0, 1.01, 1.02], LONG, protection=config).go()
    assert run.open_legs().keys() == {"STOP", "TARGET", "TRAIL"}
    trail = next(o for o in run.cache.orders_open() if o.order_type == OrderType.TRAILING_STOP_MARKET)
    assert (trail.trailing_offset, trail.is_reduce_only) == (Decimal(100), True)
    assert run.auditor.findings == []


def test_the_venues_trailing_stop_takes_the_profit_and_its_siblings_go():
    config = ProtectionConfig(trailing=VenueTrailing(callback=0.01))
    run = Run([1.0, 1.05, (1.05, 1.05, 1.03, 1.035), 1.03, 1.03], LONG, protection=config).go()
    assert [row[0] for row in run.fills] == ["ENTRY", "TRAIL"]
    assert run.fills[1][3] == pytest.approx(1.05 * 0.99, abs=0.0002)
    assert run.exit_tags() == ["exit:TRAILING_STOP"]
    assert run.cache.orders_open() == []


def test_a_partial_exit_by_a_person_shrinks_the_legs():
    run = Run([1.0] * 4, LONG, actions={1: lambda s: s.person("SELL", 40)}).go()
    assert run.open_legs() == {"STOP": ("SELL", "60.0", "0.9800"), "TARGET": ("SELL", "60.0", "1.2000")}
    assert run.auditor.findings == []


# -- against the hand-written venue -----------------------------------------------------------------------------------


def opened(venue: FakeVenue, *, target: bool = True) -> FakeOrder:
    """Enter 10 at 1.0 and let both legs rest."""
    entry = venue.enter(OrderSide.BUY, "10", venue.now)
    venue.fill(entry, Decimal(10))
    for leg in (Leg.STOP, Leg.TARGET) if target else (Leg.STOP,):
        venue.accept(venue.leg(leg))
    return entry


def foreign_stop(
    venue: FakeVenue, quantity: str, *, side: OrderSide = OrderSide.SELL, reduce: bool = True
) -> FakeOrder:
    order = FakeOrder(
        ClientOrderId("web_stop"), OrderType.STOP_MARKET, side, Decimal(quantity), price(0.95), reduce_only=reduce
    )
    order.status = OrderStatus.ACCEPTED
    venue.orders[order.client_order_id] = order
    return order


def bar(venue: FakeVenue, high: float, low: float, close: float) -> None:
    venue.now += MINUTE
    venue.protection.note_bar(venue.now, high, low, close, MINUTE)
    venue.protection.on_bar()


def test_moving_is_new_confirm_cancel():
    venue = FakeVenue(ProtectionConfig(break_even=BreakEven()))
    opened(venue)
    first = venue.leg(Leg.STOP)
    bar(venue, 1.2, 1.0, 1.15)
    second = venue.leg(Leg.STOP)
    assert second is not first
    assert second.trigger_price == price(1.0)
    assert first.status == OrderStatus.ACCEPTED, "the old one stays until the new one is confirmed"
    venue.accept(second)
    assert first.status == OrderStatus.PENDING_CANCEL
    venue.end(first, OrderStatus.CANCELED, "cancelled")
    bar(venue, 1.2, 1.0, 1.15)
    assert venue.quiescent
    assert venue.broken_invariant() is None


def test_a_move_that_is_refused_leaves_the_old_stop_and_the_position():
    venue = FakeVenue(ProtectionConfig(break_even=BreakEven(), max_attempts=2))
    opened(venue)
    first = venue.leg(Leg.STOP)
    bar(venue, 1.2, 1.0, 1.15)
    for _ in range(2):
        venue.end(venue.leg(Leg.STOP), OrderStatus.REJECTED, "rejected: -4131 busy")
    assert first.status == OrderStatus.ACCEPTED
    assert ("warning", "stop_move_failed") in [report[:2] for report in venue.reports]
    assert venue.position is not None
    assert not venue.protection.closing
    assert venue.quiescent
    assert venue.broken_invariant() is None


def test_a_restart_keeps_the_moved_stop():
    venue = FakeVenue(ProtectionConfig(break_even=BreakEven()))
    opened(venue)
    bar(venue, 1.2, 1.0, 1.15)
    moved = venue.leg(Leg.STOP)
    venue.accept(moved)
    venue.end(venue.legs(Leg.STOP)[0], OrderStatus.CANCELED, "cancelled")
    venue.restart()
    venue.protection.recover()
    assert venue.quiescent
    venue.person_trades(Decimal(5), 1)  # grows: the replacement must stand where the moved one stood
    assert venue.leg(Leg.STOP).trigger_price == price(1.0)


def test_a_persons_stop_is_accepted_and_ours_is_not_doubled():
    venue = FakeVenue()
    opened(venue)
    foreign_stop(venue, "10")
    own = venue.leg(Leg.STOP)
    venue.end(own, OrderStatus.CANCELED, "cancelled")  # the person replaced ours by theirs
    assert venue.legs(Leg.STOP, OrderStatus.SUBMITTED) == []
    assert venue.protection.protected_quantity() == 10
    bar(venue, 1.0, 1.0, 1.0)
    assert venue.quiescent


def test_when_a_persons_stop_goes_ours_comes_at_once():
    venue = FakeVenue()
    opened(venue)
    theirs = foreign_stop(venue, "10")
    venue.end(venue.leg(Leg.STOP), OrderStatus.CANCELED, "cancelled")
    venue.end(theirs, OrderStatus.CANCELED, "cancelled")
    assert len(venue.legs(Leg.STOP, OrderStatus.SUBMITTED)) == 1


@pytest.mark.parametrize(
    ("quantity", "side", "reduce", "accept"),
    [
        ("9", OrderSide.SELL, True, True),
        ("10", OrderSide.BUY, True, True),
        ("10", OrderSide.SELL, False, True),
        ("10", OrderSide.SELL, True, False),
    ],
    ids=["too small", "wrong side", "not reduce-only", "not configured"],
)
def test_a_persons_stop_that_does_not_cover_does_not_count(quantity, side, reduce, accept):
    venue = FakeVenue(ProtectionConfig(accept_foreign_stop=accept))
    opened(venue)
    foreign_stop(venue, quantity, side=side, reduce=reduce)
    venue.end(venue.leg(Leg.STOP), OrderStatus.CANCELED, "cancelled")
    assert len(venue.legs(Leg.STOP, OrderStatus.SUBMITTED)) == 1


def test_resync_places_what_is_missing_and_cancels_what_is_left_over():
    venue = FakeVenue()
    opened(venue)
    venue.leg(Leg.STOP).status = OrderStatus.CANCELED  # found by reconciliation, no event heard
    venue.protection.resync()
    replacement = venue.leg(Leg.STOP)
    assert replacement.status == OrderStatus.SUBMITTED
    venue.accept(replacement)
    venue.position = None  # flat, unheard
    venue.protection.resync()
    assert {o.status for o in venue.legs(Leg.STOP, OrderStatus.PENDING_CANCEL, OrderStatus.ACCEPTED)} == {
        OrderStatus.PENDING_CANCEL
    }
    assert venue.leg(Leg.TARGET).status == OrderStatus.PENDING_CANCEL


def test_resync_forgets_no_entry_that_is_under_way():
    venue = FakeVenue()
    entry = venue.enter(OrderSide.BUY, "10", venue.now)
    plan = venue.protection.plan
    venue.protection.resync()
    assert venue.protection.plan == plan
    venue.fill(entry, Decimal(10))
    assert venue.leg(Leg.STOP).trigger_price == price(0.9)


def test_naked_seconds_are_recorded_per_position():
    venue = FakeVenue()
    entry = venue.enter(OrderSide.BUY, "10", venue.now)
    venue.fill(entry, Decimal(10))
    venue.now += 1_500_000_000
    stop = venue.leg(Leg.STOP)
    venue.accept(stop)
    venue.accept(venue.leg(Leg.TARGET))
    assert venue.protection.worst_naked_ns == 1_500_000_000
    venue.fill(stop, Decimal(10))
    assert venue.reports == [("warning", "naked", "naked_seconds 1.500, longest stretch 1.500 s")]


def test_a_trailing_stop_whose_activation_price_has_passed_is_placed_without_one():
    venue = FakeVenue(ProtectionConfig(trailing=VenueTrailing(callback=0.02, activate_r=1.0)))
    opened(venue)
    trail = venue.leg(Leg.TRAIL)
    assert trail.trigger_price == price(1.1)  # the activation price: entry 1.0 and 1 R of 0.1
    venue.end(trail, OrderStatus.REJECTED, "rejected: -2021 Order would immediately trigger.")
    assert venue.leg(Leg.TRAIL).trigger_price is None
    assert not venue.protection.closing
