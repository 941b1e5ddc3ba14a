"""Protection in the real engine: what rests at the venue after every step, and how each position ends."""

from decimal import Decimal

import pytest
from nautilus_trader.model.enums import OrderSide, OrderStatus, OrderType, TriggerType
from nautilus_trader.model.identifiers import ClientOrderId
from nautilus_trader.model.objects import Price, Quantity

from strategies.alerts import set_alert
from strategies.messages import APPROVAL, SIGNAL, topic
from strategies.order_ids import Leg, decode
from strategies.protection import THROUGH_MARKET, ExitReason, Plan, ProtectionConfig
from tests.strategies.engine_kit import BAR_NS, Run, close_of

LONG = {0: ("LONG", 0.98, 1.04)}
SHORT = {0: ("SHORT", 1.02, 0.96)}


def test_legs_rest_at_the_venue_as_soon_as_the_entry_fills():
    run = Run([1.0, 1.0, 1.0], LONG).go()
    assert run.open_legs() == {"STOP": ("SELL", "100.0", "0.9800"), "TARGET": ("SELL", "100.0", "1.0400")}
    assert run.auditor.findings == []
    assert run.strategy.protection.worst_naked_ns == 0
    assert run.strategy.protection.protected_quantity() == Decimal(100)
    for order in run.cache.orders_open():
        assert order.is_reduce_only
        assert order.trigger_type == TriggerType.LAST_PRICE
        assert order.order_type in (OrderType.STOP_MARKET, OrderType.MARKET_IF_TOUCHED)
    entry = run.entries()[0]
    tag = decode(entry.client_order_id.value)
    assert (tag.code, tag.cycle, tag.stop_ticks, tag.target_ticks) == ("CMPXRP", close_of(0), 9800, 10400)
    assert entry.tags == [f"signal:{run.signals[0].signal_id}", "stop:0.9800", "target:1.0400"]


@pytest.mark.parametrize(
    ("script", "candle", "exits"),
    [
        (LONG, (1.0, 1.001, 0.97, 0.99), ("STOP", "SELL", 0.98, "exit:STOP_LOSS")),
        (LONG, (1.0, 1.05, 0.999, 1.01), ("TARGET", "SELL", 1.04, "exit:TAKE_PROFIT")),
        (SHORT, (1.0, 1.03, 0.999, 1.01), ("STOP", "BUY", 1.02, "exit:STOP_LOSS")),
        (SHORT, (1.0, 1.001, 0.95, 0.97), ("TARGET", "BUY", 0.96, "exit:TAKE_PROFIT")),
    ],
)
def test_one_leg_fills_and_takes_its_sibling_away(script, candle, exits):
    run = Run([1.0, candle, 1.0, 1.0], script).go()
    leg, side, price, tag = exits
    assert run.fills[1] == (leg, side, 100.0, price)
    assert len(run.fills) == 2
    assert run.exit_tags() == [tag]
    assert run.position is None
    assert run.cache.orders_open() == []
    assert run.auditor.findings == []
    assert [e for e, i in run.strategy.events if e == "Canceled"] == ["Canceled"]


def test_a_stop_already_through_the_market_closes_at_once():
    run = Run([1.0, 1.0, 1.0], {0: ("LONG", 1.0, 1.04)}).go()
    rejected = [o for o in run.cache.orders() if o.status == OrderStatus.REJECTED]
    assert decode(rejected[0].client_order_id.value).leg is Leg.STOP
    assert any(f in rejected[0].last_event.reason.lower() for f in THROUGH_MARKET), rejected[0].last_event.reason
    assert [(leg, price) for leg, _, _, price in run.fills] == [("ENTRY", 1.0), ("EXIT", 1.0)]
    assert run.exit_tags() == ["exit:STOP_LOSS"]
    assert ("warning", "leg_through_market") in run.incidents
    assert run.cache.orders_open() == []
    assert run.auditor.findings == []


def test_a_target_already_reached_takes_the_profit():
    run = Run([1.0, 1.0, 1.0], {0: ("LONG", 0.98, 1.0)}).go()
    assert run.exit_tags() == ["exit:TAKE_PROFIT"]
    assert run.position is None
    assert run.cache.orders_open() == []
    assert run.auditor.findings == []


def test_with_latency_a_stop_the_market_ran_through_does_not_leave_the_position_naked():
    # Orders act one bar late: entry at 1.00 on the next bar, the stop when the market is already at 0.95.
    candles = [1.0, 1.0, (1.0, 1.0, 0.94, 0.95), 0.95, 0.95, 0.95, 1.0, 1.0, 1.0, 1.0]
    script = {0: ("LONG", 0.98, 1.04), 6: ("LONG", 0.98, 1.04)}
    run = Run(candles, script, latency_ns=1_000_000).go()
    assert [leg for leg, *_ in run.fills] == ["ENTRY", "EXIT", "ENTRY"]
    assert run.exit_tags() == ["exit:STOP_LOSS"]
    assert run.open_legs().keys() == {"STOP", "TARGET"}, "trading goes on afterwards"
    naked_bars = [f for f in run.auditor.findings if "covered" in f]
    assert len(naked_bars) <= 4, naked_bars  # while the orders travel, one bar each way, no longer
    assert run.strategy.protection.worst_naked_ns <= 2 * BAR_NS


def test_a_reverse_signal_closes_and_enters_again_on_the_same_bar():
    run = Run([1.0, 1.01, 1.01, 1.01], {0: ("LONG", 0.9, 1.2), 1: ("SHORT", 1.1, 0.9)}).go()
    assert [row[:2] for row in run.fills] == [("ENTRY", "BUY"), ("EXIT", "SELL"), ("ENTRY", "SELL")]
    assert {event.ts_event for o in run.cache.orders() for event in o.events if "Filled" in type(event).__name__} == {
        close_of(0),
        close_of(1),
    }
    assert run.exit_tags() == ["exit:REVERSE_SIGNAL"]
    assert run.open_legs() == {"STOP": ("BUY", "100.0", "1.1000"), "TARGET": ("BUY", "100.0", "0.9000")}
    assert run.auditor.findings == []


def test_a_reverse_signal_that_is_not_approved_leaves_the_account_flat():
    run = Run([1.0, 1.01, 1.01], {0: ("LONG", 0.9, 1.2), 1: ("SHORT", 1.1, 0.9)}, refuse=(1,)).go()
    assert [row[:2] for row in run.fills] == [("ENTRY", "BUY"), ("EXIT", "SELL")]
    assert run.position is None
    assert run.cache.orders_open() == []


def test_a_signal_in_the_direction_of_the_position_closes_nothing():
    run = Run([1.0, 1.01, 1.01], {0: ("LONG", 0.9, 1.2), 1: ("LONG", 0.95, 1.3)}, refuse=(1,)).go()
    assert [row[0] for row in run.fills] == ["ENTRY"]
    assert run.open_legs()["STOP"] == ("SELL", "100.0", "0.9000")


def test_an_approval_of_a_signal_gone_by_is_ignored():
    run = Run([1.0, 1.0, 1.0, 1.0], LONG, refuse=(0,))
    late = {"n": 0}

    def approve_late(strategy):
        late["n"] += 1
        run.engine.kernel.msgbus.publish(topic(APPROVAL), run.approval(run.signals[0]))

    run.strategy.actions = {1: approve_late}
    run.go()
    assert late["n"] == 1
    assert run.cache.orders() == []


def test_the_same_approval_twice_enters_once():
    run = Run([1.0, 1.0, 1.0], LONG)
    grant = run._grant

    def twice(signal):
        grant(signal)
        run.engine.kernel.msgbus.publish(topic(APPROVAL), run.approval(signal))

    run.engine.kernel.msgbus.unsubscribe(topic(SIGNAL), grant)
    run.engine.kernel.msgbus.subscribe(topic(SIGNAL), twice)
    run.go()
    assert len(run.entries()) == 1
    assert float(run.position.quantity) == 100.0


def test_a_stop_taken_away_by_a_person_is_placed_again():
    def take_away(strategy):
        stop = next(o for o in strategy.cache.orders_open() if decode(o.client_order_id.value).leg is Leg.STOP)
        strategy.cancel_order(stop)

    run = Run([1.0, 1.0, 1.0, 1.0], LONG, actions={1: take_away}).go()
    assert run.open_legs() == {"STOP": ("SELL", "100.0", "0.9800"), "TARGET": ("SELL", "100.0", "1.0400")}
    assert ("warning", "leg_lost") in run.incidents
    assert run.auditor.findings == []
    stops = [decode(o.client_order_id.value) for o in run.cache.orders() if o.order_type == OrderType.STOP_MARKET]
    assert sorted(t.attempt for t in stops) == [0, 1]


def test_a_persons_own_orders_are_left_alone():
    def rest(strategy):
        order = strategy.order_factory.limit(
            strategy._id,
            OrderSide.BUY,
            Quantity(50, 1),
            strategy.cache.instrument(strategy._id).make_price(0.5),
            client_order_id=ClientOrderId("web_limit"),
        )
        strategy.submit_order(order)

    run = Run([1.0, 1.0, (1.0, 1.0, 0.97, 0.99), 1.0, 1.0], LONG, actions={1: rest}).go()
    assert [o.client_order_id.value for o in run.cache.orders_open()] == ["web_limit"]
    assert run.position is None


@pytest.mark.parametrize(("side", "levels", "closing"), [("BUY", (0.9, 1.2), "SELL"), ("SELL", (1.2, 0.9), "BUY")])
def test_a_persons_position_gets_emergency_levels(side, levels, closing):
    run = Run([1.0] * 4, {}, emergency=levels, actions={1: lambda s: s.person(side, 70)}).go()
    assert run.open_legs() == {
        "STOP": (closing, "70.0", f"{levels[0]:.4f}"),
        "TARGET": (closing, "70.0", f"{levels[1]:.4f}"),
    }
    assert run.auditor.findings == []


def test_a_persons_position_without_any_levels_is_closed():
    run = Run([1.0] * 4, {}, actions={1: lambda s: s.person("BUY", 70)}).go()
    assert run.position is None
    assert run.exit_tags() == ["exit:PROTECTION_FAILED"]
    assert ("critical", "no_levels") in run.incidents


@pytest.mark.parametrize("comes", [True, False])
def test_a_position_found_before_history_waits_some_seconds_for_its_levels(comes):
    """At a start the levels of a person's position are known when history has been digested."""

    def begin(strategy):
        protection = strategy.protection
        protection.levels_to_come = lambda: True
        strategy.person("BUY", 70)

        def digested(_):
            assert strategy.protection.plan is None
            assert strategy.cache.positions_open_count() == 1, "closed before history could tell"
            protection.levels_to_come = lambda: False
            levels = Plan(close_of(1), Price.from_str("0.7000"), Price.from_str("1.7000"))
            protection.emergency_levels = lambda _: levels
            protection.on_bar()

        if comes:
            set_alert(strategy.clock, "digested", 2.0, digested)

    run = Run([1.0] * 4, {}, actions={1: begin}).go()
    assert ("warning", "levels_awaited") in run.incidents
    if comes:
        assert run.open_legs() == {"STOP": ("SELL", "70.0", "0.7000"), "TARGET": ("SELL", "70.0", "1.7000")}
        assert run.exit_tags() == []
    else:
        assert run.position is None
        assert run.exit_tags() == ["exit:PROTECTION_FAILED"]
        closed = max(order.ts_last for order in run.cache.orders())
        assert close_of(1) < closed <= close_of(1) + 5_000_000_000


@pytest.mark.parametrize(("side", "quantity", "left"), [("BUY", 50, "150.0"), ("SELL", 40, "60.0")])
def test_legs_follow_a_position_a_person_changes(side, quantity, left):
    run = Run([1.0] * 4, LONG, actions={1: lambda s: s.person(side, quantity)}).go()
    assert run.open_legs() == {"STOP": ("SELL", left, "0.9800"), "TARGET": ("SELL", left, "1.0400")}
    assert run.auditor.findings == []
    assert len(run.cache.orders_open()) == 2


def test_a_flip_by_a_person_gets_levels_of_the_other_side():
    run = Run([1.0] * 4, LONG, emergency=(1.2, 0.9), actions={1: lambda s: s.person("SELL", 250)}).go()
    assert float(run.position.signed_qty) == -150.0
    assert run.open_legs() == {"STOP": ("BUY", "150.0", "1.2000"), "TARGET": ("BUY", "150.0", "0.9000")}
    assert run.auditor.findings == []
    assert len(run.cache.orders_open()) == 2


def test_an_entry_that_was_refused_leaves_no_levels_for_a_later_position():
    # 0.04 rounds to a quantity the venue refuses: the entry is denied, and ten bars later a person buys.
    run = Run([1.0] * 5, LONG, quantity="99999999.0", emergency=(0.7, 1.7), actions={3: lambda s: s.person("BUY", 70)})
    run.go()
    entry = run.entries()[0]
    assert entry.status in (OrderStatus.DENIED, OrderStatus.REJECTED)
    assert run.open_legs()["STOP"] == ("SELL", "70.0", "0.7000")


@pytest.mark.parametrize("action", ["flatten", "kill", "liquidate", "end"])
def test_flatten_closes_and_leaves_nothing(action):
    def control(strategy):
        strategy.msgbus.publish("argonaut.control", {"action": action, "symbol": None})

    run = Run([1.0] * 4, LONG, actions={1: control}).go()
    reason = {"liquidate": "LIQUIDATION", "end": "END_OF_DATA"}.get(action, "FLATTEN")
    assert run.exit_tags() == [f"exit:{reason}"]
    assert run.position is None
    assert run.cache.orders_open() == []


def test_flatten_of_another_symbol_or_a_pause_closes_nothing():
    def control(strategy):
        strategy.msgbus.publish("argonaut.control", {"action": "flatten", "symbol": "BTCUSDT"})
        strategy.msgbus.publish("argonaut.control", {"action": "pause"})

    run = Run([1.0] * 4, LONG, actions={1: control}).go()
    assert float(run.position.quantity) == 100.0


def test_flatten_while_the_entry_travels_closes_it_as_soon_as_it_fills():
    def control(strategy):
        strategy.msgbus.publish("argonaut.control", {"action": "kill"})

    run = Run([1.0] * 6, LONG, latency_ns=1_000_000, actions={0: control}).go()
    assert [leg for leg, *_ in run.fills] == ["ENTRY", "EXIT"]
    assert run.exit_tags() == ["exit:FLATTEN"]
    assert run.cache.orders_open() == []


def test_a_stop_our_own_rate_limit_denied_is_placed_a_moment_later():
    # One order a second: the entry passes, both legs are denied in the same instant.
    run = Run([1.0] * 3, LONG, rate="1/00:00:01").go()
    assert run.open_legs().keys() == {"STOP", "TARGET"}
    denied = [o for o in run.cache.orders() if o.status == OrderStatus.DENIED]
    assert denied
    assert ("warning", "leg_refused") in run.incidents
    assert 0 < run.strategy.protection.worst_naked_ns < 60_000_000_000
    assert run.position is not None


def test_mark_price_triggers_when_configured():
    run = Run([1.0] * 3, LONG, protection=ProtectionConfig(trigger="mark")).go()
    assert {o.trigger_type for o in run.cache.orders_open()} == {TriggerType.MARK_PRICE}


def test_two_cycles_use_different_ids_and_a_reset_engine_repeats_itself():
    candles = [1.0, (1.0, 1.0, 0.97, 1.0), 1.0, (1.0, 1.05, 1.0, 1.0), 1.0]
    script = {0: ("LONG", 0.98, 1.04), 2: ("LONG", 0.98, 1.04)}
    run = Run(candles, script).go()
    ids = [o.client_order_id.value for o in run.cache.orders()]
    assert len(set(ids)) == 6
    first = run.fills
    run.engine.reset()
    run.go()
    assert run.fills == first
    assert [o.client_order_id.value for o in run.cache.orders()] == ids
    assert run.auditor.findings == []
    assert run.exit_tags() == [f"exit:{ExitReason.STOP_LOSS}", f"exit:{ExitReason.TAKE_PROFIT}"]
