"""Protection against a venue that answers late, partly, wrongly or never: sequences no backtest produces."""

from decimal import Decimal
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nautilus_trader.model.enums import OrderSide, OrderStatus, PositionSide

from strategies.order_ids import Leg, decode
from strategies.protection import ExitReason, ProtectionConfig
from tests.strategies.protection_kit import MINUTE, FakeOrder, FakePosition, FakeVenue

ALL = Decimal(100)


def codes(venue):
    return [(severity, code) for severity, code, _ in venue.reports]


def protected(venue=None, quantity="100"):
    """Return a venue with a long position whose legs rest."""
    venue = venue or FakeVenue()
    venue.fill(venue.enter(OrderSide.BUY, quantity, venue.now), Decimal(quantity))
    for leg in (Leg.STOP, Leg.TARGET):
        venue.accept(venue.leg(leg))
    assert venue.quiescent
    assert venue.broken_invariant() is None
    return venue


def test_partial_entry_fills_grow_the_legs_new_first_then_the_old_goes():
    venue = FakeVenue()
    entry = venue.enter(OrderSide.BUY, "100", venue.now)
    venue.fill(entry, Decimal(30))
    first = venue.leg(Leg.STOP)
    assert first.quantity == Decimal(30)
    venue.fill(entry, Decimal(20))
    assert venue.legs(Leg.STOP) == [first], "one replacement at a time"
    venue.accept(first)
    second = venue.leg(Leg.STOP)
    assert (second.quantity, second.status) == (Decimal(50), OrderStatus.SUBMITTED)
    assert first.status == OrderStatus.ACCEPTED, "the old one stays until the new one rests"
    venue.fill(entry, Decimal(50))
    venue.accept(second)
    assert first.status == OrderStatus.PENDING_CANCEL
    third = venue.leg(Leg.STOP)
    assert third.quantity == ALL
    venue.accept(third)
    for order in (first, second):
        assert order.status == OrderStatus.PENDING_CANCEL
        venue.end(order, OrderStatus.CANCELED, "cancelled")
    assert venue.protection.protected_quantity() == ALL


def test_naked_time_is_measured_until_the_stop_covers_all_or_the_position_is_gone():
    venue = FakeVenue()
    entry = venue.enter(OrderSide.BUY, "100", venue.now)
    venue.fill(entry, Decimal(30))
    venue.now += 7
    venue.fill(entry, Decimal(70))
    venue.now += 5
    venue.accept(venue.leg(Leg.STOP))
    assert venue.protection.worst_naked_ns == 0, "30 of 100 are not all"
    venue.now += 3
    venue.accept(venue.leg(Leg.STOP))
    assert venue.protection.worst_naked_ns == 15
    venue.end(venue.legs(Leg.STOP, OrderStatus.ACCEPTED)[0], OrderStatus.CANCELED, "cancelled")
    venue.now += 40
    venue.person_trades(-ALL, 1)
    assert venue.protection.worst_naked_ns == 40


@pytest.mark.parametrize("leg", [Leg.STOP, Leg.TARGET])
def test_a_refused_leg_is_retried_alone(leg):
    venue = FakeVenue()
    venue.fill(venue.enter(OrderSide.BUY, "100", venue.now), ALL)
    other = Leg.TARGET if leg is Leg.STOP else Leg.STOP
    venue.end(venue.leg(leg), OrderStatus.REJECTED, "rejected: {'code': -1008, 'msg': 'Server is overloaded'}")
    assert len(venue.legs(leg)) == 2
    assert len(venue.legs(other)) == 1
    assert len({o.client_order_id for o in venue.legs(leg)}) == 2


def test_a_stop_out_of_budget_closes_the_position():
    venue = FakeVenue(ProtectionConfig(max_attempts=3))
    venue.fill(venue.enter(OrderSide.BUY, "100", venue.now), ALL)
    venue.accept(venue.leg(Leg.TARGET))
    for _ in range(3):
        venue.end(venue.leg(Leg.STOP), OrderStatus.REJECTED, "rejected: -4120")
    assert len(venue.legs(Leg.STOP)) == 3
    close = venue.leg(Leg.EXIT)
    assert (close.side, close.quantity, close.reduce_only) == (OrderSide.SELL, ALL, True)
    assert close.tags == ["exit:PROTECTION_FAILED"]
    assert ("critical", "stop_failed") in codes(venue)
    venue.fill(close, ALL)
    assert venue.position is None
    venue.end(venue.leg(Leg.TARGET), OrderStatus.CANCELED, "cancelled")
    assert venue.broken_invariant() is None


def test_a_target_out_of_budget_leaves_the_stop_and_is_tried_again_on_the_next_bar():
    venue = FakeVenue(ProtectionConfig(max_attempts=2))
    venue.fill(venue.enter(OrderSide.BUY, "100", venue.now), ALL)
    venue.accept(venue.leg(Leg.STOP))
    for _ in range(2):
        venue.end(venue.leg(Leg.TARGET), OrderStatus.REJECTED, "rejected: -4120")
    assert len(venue.legs(Leg.TARGET)) == 2
    assert not venue.legs(Leg.EXIT)
    assert ("warning", "target_failed") in codes(venue)
    venue.protection.on_bar()
    assert len(venue.legs(Leg.TARGET)) == 3


@pytest.mark.parametrize(("leg", "tag"), [(Leg.STOP, "exit:STOP_LOSS"), (Leg.TARGET, "exit:TAKE_PROFIT")])
def test_minus_2021_closes_at_once(leg, tag):
    venue = FakeVenue()
    venue.fill(venue.enter(OrderSide.BUY, "100", venue.now), ALL)
    reason = "rejected: {'code': -2021, 'msg': 'Order would immediately trigger.'}"
    venue.end(venue.leg(leg), OrderStatus.REJECTED, reason)
    assert venue.leg(Leg.EXIT).tags == [tag]
    assert len(venue.legs(leg)) == 1


def test_denied_legs_wait_for_the_timer_and_count():
    venue = FakeVenue(ProtectionConfig(max_attempts=3, retry_secs=1.0))
    entry = venue.enter(OrderSide.BUY, "100", venue.now)
    venue.deny = 2
    venue.fill(entry, ALL)
    assert len(venue.legs(Leg.STOP)) == 1, "not again in the same instant"
    assert venue.alerts
    venue.deny = 10
    venue.ring()
    venue.ring()
    assert venue.legs(Leg.EXIT), "three denials are enough: close"
    venue.deny = 0
    venue.ring()
    close = venue.leg(Leg.EXIT)
    assert close.status == OrderStatus.SUBMITTED
    venue.fill(close, ALL)
    assert venue.position is None


def test_a_close_that_is_refused_goes_on_ever_less_often_until_it_fills():
    venue = protected(FakeVenue(ProtectionConfig(max_attempts=2, retry_secs=1.0)))
    venue.protection.close(ExitReason.FLATTEN)
    waits = []
    for _ in range(10):
        while not venue.alerts:
            venue.end(venue.leg(Leg.EXIT), OrderStatus.REJECTED, "rejected: -1001")
        before = venue.now
        venue.ring()
        waits.append((venue.now - before) / 1e9)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]
    assert venue.legs(Leg.STOP, OrderStatus.ACCEPTED), "the stop stays while the close fails"
    assert ("critical", "close_failed") in codes(venue)
    venue.fill(venue.leg(Leg.EXIT), ALL)
    assert venue.position is None


MINUS_2022 = "rejected: {'code': -2022, 'msg': 'ReduceOnly Order is rejected.'}"


def test_a_close_with_nothing_to_reduce_is_not_sent_again_before_the_state_is_read_back():
    """The stop filled unheard (`live-binance.md` §4 F11): every further order would be refused too."""
    venue = protected()
    venue.protection.close(ExitReason.REVERSE_SIGNAL)
    venue.end(venue.leg(Leg.EXIT), OrderStatus.REJECTED, MINUS_2022)
    for _ in range(3):
        venue.protection.on_bar()
        venue.protection.close(ExitReason.REVERSE_SIGNAL)
    assert len(venue.legs(Leg.EXIT)) == 1
    stop = venue.leg(Leg.STOP)
    venue.fill(stop, ALL)  # what the read-back brings, then protection is told that there was one
    venue.protection.resync()
    assert len(venue.legs(Leg.EXIT)) == 1
    venue.end(venue.leg(Leg.TARGET), OrderStatus.CANCELED, "cancelled")
    assert venue.quiescent
    assert venue.broken_invariant() is None


@pytest.mark.parametrize("told_by", ["read-back", "timer"])
def test_a_position_that_proves_to_be_there_is_closed_after_all(told_by):
    venue = protected()
    venue.protection.close(ExitReason.FLATTEN)
    venue.end(venue.leg(Leg.EXIT), OrderStatus.REJECTED, MINUS_2022)
    before = venue.now
    venue.protection.resync() if told_by == "read-back" else venue.ring()
    assert len(venue.legs(Leg.EXIT)) == 2
    assert venue.now - before <= 3e9
    assert venue.leg(Leg.EXIT).tags == ["exit:FLATTEN"]
    venue.fill(venue.leg(Leg.EXIT), ALL)
    assert venue.position is None


def test_read_backs_that_change_nothing_do_not_make_a_fast_loop():
    """Each refusal asks for a read-back: without a limit they would drive each other as fast as the venue answers."""
    venue = protected(FakeVenue(ProtectionConfig(max_attempts=2, retry_secs=1.0)))
    venue.protection.close(ExitReason.FLATTEN)
    waits = []
    for _ in range(5):
        venue.end(venue.leg(Leg.EXIT), OrderStatus.REJECTED, MINUS_2022)
        before, sent = venue.now, len(venue.legs(Leg.EXIT))
        venue.protection.resync()
        if len(venue.legs(Leg.EXIT)) == sent:
            venue.ring()
        assert len(venue.legs(Leg.EXIT)) == sent + 1
        waits.append((venue.now - before) / 1e9)
    assert waits == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert ("critical", "close_failed") in codes(venue)
    assert venue.legs(Leg.STOP, OrderStatus.ACCEPTED), "the stop stays while the close fails"


def test_a_stop_with_nothing_to_reduce_waits_too_and_a_naked_position_is_closed_in_the_end():
    venue = FakeVenue(ProtectionConfig(max_attempts=3, retry_secs=1.0))
    venue.fill(venue.enter(OrderSide.BUY, "100", venue.now), ALL)
    venue.accept(venue.leg(Leg.TARGET))
    begun = venue.now
    venue.end(venue.leg(Leg.STOP), OrderStatus.REJECTED, MINUS_2022)
    venue.protection.on_position(venue.position)
    assert len(venue.legs(Leg.STOP)) == 1
    venue.protection.resync()
    assert len(venue.legs(Leg.STOP)) == 2
    venue.end(venue.leg(Leg.STOP), OrderStatus.REJECTED, MINUS_2022)
    venue.ring()
    venue.end(venue.leg(Leg.STOP), OrderStatus.REJECTED, MINUS_2022)
    assert venue.leg(Leg.EXIT).status == OrderStatus.SUBMITTED, "not later for the refusals before"
    assert venue.now - begun <= 5e9
    venue.fill(venue.leg(Leg.EXIT), ALL)
    assert venue.position is None


def test_the_next_position_is_protected_at_once_whatever_was_refused_before():
    venue = protected()
    venue.protection.close(ExitReason.FLATTEN)
    venue.end(venue.leg(Leg.EXIT), OrderStatus.REJECTED, MINUS_2022)
    venue.person_trades(-ALL - ALL, 1)
    stop = venue.leg(Leg.STOP)
    assert (stop.side, stop.status) == (OrderSide.BUY, OrderStatus.SUBMITTED)


def test_what_is_cancelled_from_outside_is_placed_again_but_not_in_a_fast_loop():
    venue = protected(FakeVenue(ProtectionConfig(max_attempts=2)))
    for _ in range(2):
        venue.end(venue.leg(Leg.STOP), OrderStatus.CANCELED, "cancelled")
        venue.accept(venue.leg(Leg.STOP))
    assert not venue.alerts
    venue.end(venue.leg(Leg.STOP), OrderStatus.EXPIRED, "expired")
    assert venue.alerts
    assert not venue.legs(Leg.EXIT)
    venue.ring()
    venue.accept(venue.leg(Leg.STOP))
    assert venue.broken_invariant() is None


def test_an_answer_that_contradicts_the_engine_is_ignored():
    """503 for a stop that was placed: the callback says rejected, the order rests (`live-binance.md` §4 F6b)."""
    venue = protected()
    stop = venue.leg(Leg.STOP)
    venue.protection.on_gone(stop.client_order_id, "rejected: {'code': -1007}")
    assert venue.legs(Leg.STOP) == [stop]
    venue.protection.on_accepted(stop.client_order_id)  # duplicated user event
    assert stop.status == OrderStatus.ACCEPTED
    assert venue.broken_invariant() is None


def test_a_leg_accepted_after_flat_is_swept():
    venue = FakeVenue()
    venue.fill(venue.enter(OrderSide.BUY, "100", venue.now), ALL)
    stop, target = venue.leg(Leg.STOP), venue.leg(Leg.TARGET)
    venue.person_trades(-ALL, 1)
    venue.accept(stop)
    venue.accept(target)
    assert {stop.status, target.status} == {OrderStatus.PENDING_CANCEL}


@pytest.mark.parametrize("side", [OrderSide.BUY, OrderSide.SELL])
def test_a_leg_accepted_when_the_next_position_is_open_already_does_not_stay_beside_it(side):
    venue = FakeVenue()
    venue.fill(venue.enter(OrderSide.BUY, "100", venue.now), ALL)
    old = [venue.leg(Leg.STOP), venue.leg(Leg.TARGET)]
    venue.person_trades(-ALL, 1)
    venue.fill(venue.enter(side, "40", venue.now + 15 * MINUTE), Decimal(40))
    for order in [*old, *venue.inflight]:
        if order.status == OrderStatus.SUBMITTED:
            venue.accept(order)
    assert {o.status for o in old} == {OrderStatus.PENDING_CANCEL}
    for order in old:
        venue.end(order, OrderStatus.CANCELED, "cancelled")
    assert venue.broken_invariant() is None


def test_a_refused_cancel_is_tried_again_by_timer_and_by_the_next_bar():
    venue = protected()
    venue.person_trades(Decimal(50), 1)
    old = venue.legs(Leg.STOP)[0]
    for leg in (Leg.STOP, Leg.TARGET):
        venue.accept(venue.leg(leg))
    venue.refuse_cancel(old)
    assert old.status == OrderStatus.ACCEPTED
    venue.ring()
    assert old.status == OrderStatus.PENDING_CANCEL
    venue.refuse_cancel(old)
    venue.protection.on_bar()
    assert old.status == OrderStatus.PENDING_CANCEL


def test_a_refused_cancel_after_flat_is_tried_again():
    venue = protected()
    venue.fill(venue.leg(Leg.STOP), ALL)
    target = venue.leg(Leg.TARGET)
    venue.refuse_cancel(target)
    venue.protection.on_bar()
    assert target.status == OrderStatus.PENDING_CANCEL


def test_the_stop_fills_in_parts_and_the_target_shrinks_with_it():
    venue = protected()
    stop = venue.leg(Leg.STOP)
    venue.fill(stop, Decimal(60))
    assert venue.legs(Leg.STOP) == [stop]
    target = venue.leg(Leg.TARGET)
    assert target.quantity == Decimal(40)
    venue.fill(stop, Decimal(40))
    venue.accept(target)
    assert venue.position is None
    assert all(o.status == OrderStatus.PENDING_CANCEL for o in venue.legs(Leg.TARGET))


def test_an_entry_that_grows_while_it_is_being_closed_is_closed_whole():
    venue = FakeVenue()
    entry = venue.enter(OrderSide.BUY, "100", venue.now)
    venue.fill(entry, Decimal(40))
    venue.end(venue.leg(Leg.STOP), OrderStatus.REJECTED, "rejected: -2021")
    first = venue.leg(Leg.EXIT)
    venue.fill(entry, Decimal(60))
    venue.fill(first, Decimal(40))
    second = venue.leg(Leg.EXIT)
    assert (second.quantity, second.tags) == (Decimal(60), ["exit:STOP_LOSS"])
    venue.fill(second, Decimal(60))
    assert venue.position is None


def test_the_rest_of_an_entry_that_fills_after_its_first_part_was_stopped_out_is_protected_again():
    venue = FakeVenue()
    entry = venue.enter(OrderSide.BUY, "100", venue.now)
    venue.fill(entry, Decimal(40))
    stop = venue.leg(Leg.STOP)
    venue.accept(stop)
    venue.fill(stop, Decimal(40))
    assert venue.position is None
    venue.fill(entry, Decimal(60))
    again = venue.leg(Leg.STOP)
    assert (again.quantity, str(again.trigger_price)) == (Decimal(60), "0.9000")
    assert venue.duplicates == []


def test_levels_of_a_refused_entry_are_not_those_of_a_later_position():
    venue = FakeVenue()
    venue.end(venue.enter(OrderSide.BUY, "100", venue.now), OrderStatus.REJECTED, "rejected: -2019")
    assert venue.protection.plan is None
    venue.now += 60 * MINUTE
    venue.person_trades(Decimal(70), 1)
    assert str(venue.leg(Leg.STOP).trigger_price) == "0.7000"


def test_an_entry_reported_refused_that_filled_after_all_finds_its_own_levels():
    venue = FakeVenue()
    entry = venue.enter(OrderSide.BUY, "100", venue.now)
    venue.end(entry, OrderStatus.REJECTED, "rejected: -1007")
    venue.fill(entry, ALL)  # the engine opens the position even so
    assert str(venue.leg(Leg.STOP).trigger_price) == "0.9000"


class TestRecover:
    def test_adopts_what_rests_and_sends_nothing(self):
        venue = protected()
        before = dict(venue.orders)
        venue.restart()
        venue.protection.recover()
        assert venue.orders == before
        assert venue.quiescent
        assert venue.protection.protected_quantity() == ALL
        venue.fill(venue.leg(Leg.STOP), ALL)
        assert venue.leg(Leg.TARGET).status == OrderStatus.PENDING_CANCEL

    @pytest.mark.parametrize("gone", [Leg.STOP, Leg.TARGET])
    def test_places_what_is_missing_under_an_id_never_used(self, gone):
        venue = protected()
        order = venue.leg(gone)
        order.status = OrderStatus.CANCELED
        venue.restart()
        venue.protection.recover()
        assert len(venue.legs(gone)) == 2
        assert decode(venue.leg(gone).client_order_id.value).attempt == 1
        assert venue.leg(gone).trigger_price == order.trigger_price
        assert venue.duplicates == []

    @pytest.mark.parametrize("gone", [Leg.STOP, Leg.TARGET])
    def test_a_leg_nobody_remembers_gets_a_number_nobody_used(self, gone):
        venue = protected()
        order = venue.leg(gone)
        del venue.orders[order.client_order_id]  # cancelled while no node ran: the cache never heard of it
        venue.restart()
        venue.protection.recover()
        (placed,) = venue.legs(gone)
        assert placed.client_order_id != order.client_order_id
        assert placed.trigger_price == order.trigger_price

    def test_between_entry_and_stop_the_levels_come_from_the_entry_id(self):
        venue = FakeVenue()
        entry = venue.enter(OrderSide.SELL, "100", venue.now)
        entry.status, entry.filled = OrderStatus.FILLED, ALL
        venue.position = FakePosition(-ALL, entry.client_order_id)
        venue.restart()
        venue.protection.recover()
        assert str(venue.leg(Leg.STOP).trigger_price) == "1.1000"
        assert str(venue.leg(Leg.TARGET).trigger_price) == "0.8000"

    def test_flat_cancels_our_orphans_and_no_others(self):
        venue = protected()
        venue.position = None
        foreign = FakeOrder(
            type(venue.leg(Leg.STOP).client_order_id)("web_9"),
            venue.leg(Leg.STOP).order_type,
            OrderSide.SELL,
            ALL,
            status=OrderStatus.ACCEPTED,
        )
        venue.orders[foreign.client_order_id] = foreign
        venue.restart()
        venue.protection.recover()
        assert foreign.status == OrderStatus.ACCEPTED
        for leg in (Leg.STOP, Leg.TARGET):
            assert venue.leg(leg).status == OrderStatus.PENDING_CANCEL

    def test_of_two_stops_the_one_of_the_right_size_is_kept(self):
        venue = protected()
        venue.person_trades(Decimal(50), 1)
        new = venue.leg(Leg.STOP)
        new.status = OrderStatus.ACCEPTED  # killed before it could hear of it
        venue.leg(Leg.TARGET).status = OrderStatus.REJECTED
        venue.restart()
        venue.protection.recover()
        assert new.status == OrderStatus.ACCEPTED
        assert venue.legs(Leg.STOP)[0].status == OrderStatus.PENDING_CANCEL
        assert venue.leg(Leg.TARGET).quantity == Decimal(150)
        assert len(venue.legs(Leg.STOP)) == 2

    def test_emergency_levels_of_a_process_that_is_gone_are_read_from_its_stop(self):
        venue = FakeVenue()
        venue.person_trades(ALL, 1)
        for leg in (Leg.STOP, Leg.TARGET):
            venue.accept(venue.leg(leg))
        venue.emergency = {}  # no bar seen yet
        before = dict(venue.orders)
        venue.restart()
        venue.protection.recover()
        assert venue.orders == before
        assert venue.broken_invariant() is None
        assert not venue.protection.closing

    def test_a_position_nobody_knows_levels_of_is_closed(self):
        venue = FakeVenue()
        venue.emergency = {}
        venue.person_trades(ALL, 1)
        venue.end(venue.leg(Leg.EXIT), OrderStatus.CANCELED, "cancelled")
        venue.leg(Leg.EXIT).status = OrderStatus.REJECTED
        venue.restart()
        venue.protection.recover()
        assert venue.leg(Leg.EXIT).tags == ["exit:PROTECTION_FAILED"]
        assert venue.leg(Leg.EXIT).status == OrderStatus.SUBMITTED
        assert venue.duplicates == []

    def test_stops_of_the_other_side_are_cancelled(self):
        venue = protected()
        venue.position = None
        venue.restart()
        entry = venue.enter(OrderSide.SELL, "100", venue.now)
        entry.status, entry.filled = OrderStatus.FILLED, ALL
        venue.position = FakePosition(-ALL, entry.client_order_id)
        old = [venue.leg(Leg.STOP), venue.leg(Leg.TARGET)]
        venue.restart()
        venue.protection.recover()
        assert {o.status for o in old} == {OrderStatus.PENDING_CANCEL}
        assert venue.leg(Leg.STOP).side == OrderSide.BUY


REASONS = ("rejected: {'code': -1008}", "rejected: {'code': -2021}", MINUS_2022, "rejected: UNKNOWN")


def moves(venue, number):
    """Return what may happen next, each as a function."""
    options = [
        venue.protection.on_bar,
        venue.protection.resync,
        partial(setattr, venue, "deny", 2),
        partial(venue.person_trades, Decimal(30), number),
        partial(venue.person_trades, Decimal(-170), number),
        partial(venue.protection.close, ExitReason.FLATTEN),
    ]
    for order in list(venue.orders.values()):
        if decode(order.client_order_id.value) is not None and not order.is_closed:
            options += _answers(venue, order)
    if venue.position is None and all(o.is_closed for o in venue.legs(Leg.ENTRY)):
        cycle = venue.now + number * 15 * MINUTE
        options += [partial(venue.enter, side, "100", cycle) for side in (OrderSide.BUY, OrderSide.SELL)]
    if venue.alerts:
        options.append(venue.ring)
    if not venue.inflight:
        options.append(partial(_restart, venue))
    return options


def _restart(venue):
    venue.restart()
    venue.protection.recover()


def _answers(venue, order):
    """Return what the venue or a person may do with one open order."""
    rest = order.quantity - order.filled
    part = min(max(Decimal(10), rest // 2), rest)
    fills = [partial(venue.fill, order, part), partial(venue.fill, order, rest)]
    refusals = [partial(venue.end, order, OrderStatus.REJECTED, r) for r in REASONS if not order.filled]
    if order.trigger_price is None:
        ends = [partial(venue.end, order, OrderStatus.EXPIRED, "expired")] if order.filled else refusals
        return fills + ends
    if order.status == OrderStatus.SUBMITTED:
        return [partial(venue.accept, order)] * 2 + refusals
    answers = [
        *fills,
        partial(venue.end, order, OrderStatus.CANCELED, "cancelled"),
        partial(venue.protection.on_accepted, order.client_order_id),  # user events come twice at times
    ]
    if order.status == OrderStatus.PENDING_CANCEL:
        answers.append(partial(venue.refuse_cancel, order))
    return answers


def settle(venue):
    """Answer everything favourably until nothing is left to answer."""
    venue.deny = 0
    for _ in range(200):
        if venue.inflight:
            order = venue.inflight[0]
            if order.status == OrderStatus.PENDING_CANCEL:
                venue.end(order, OrderStatus.CANCELED, "cancelled")
            elif order.trigger_price is not None:
                venue.accept(order)
            else:
                venue.fill(order, order.quantity - order.filled)
        elif partly := [o for o in venue.orders.values() if o.is_open and o.trigger_price is None]:
            venue.end(partly[0], OrderStatus.EXPIRED, "expired")
        elif venue.alerts:
            venue.ring()
        else:
            return
    raise AssertionError("the machine does not come to rest")


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 10_000), min_size=5, max_size=60), st.booleans())
def test_whatever_the_order_of_answers_nothing_is_naked_and_nothing_is_left_behind(choices, has_emergency):
    venue = FakeVenue(ProtectionConfig(max_attempts=3))
    if not has_emergency:
        venue.emergency = {PositionSide.LONG: (0.7, 1.7)}
    for number, choice in enumerate(choices):
        options = moves(venue, number)
        options[choice % len(options)]()
        market = [o for o in venue.orders.values() if o.is_open and o.trigger_price is None]
        if venue.quiescent and not market:
            # A cancel that was taken back, a target given up: the next bar mends them.
            assert venue.position is None or venue.protection.closing or covers(venue), venue.reports
    settle(venue)
    venue.protection.on_bar()
    settle(venue)
    assert venue.broken_invariant() is None, (venue.broken_invariant(), venue.reports)
    assert venue.duplicates == []


def covers(venue):
    stops = [o for o in venue.legs(Leg.STOP) if o.is_open and o.reduce_only and o.sign * venue.position.net < 0]
    return sum((o.leaves_qty.as_decimal() for o in stops), Decimal(0)) >= abs(venue.position.net)
