"""What a person or the exchange itself does to the account: trades, cancels, settings, liquidation."""

from tests.faults.scenarios.acts import (
    cancel_all_of_ours,
    change_leverage,
    control,
    flat,
    human,
    human_cancels_the_stop,
    human_stop,
    no_orders_of_the_flat,
    position,
    protected,
    step,
    stop_is_refused,
    streams_back,
    symbol_control,
)
from tests.faults.scenarios.scenario import Scenario
from tests.faults.verdicts import BLIND_CLOSE, CRITICAL, MONEY, REJECTED

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("F14", "a person closes the position", 2, (position, human("against", "1", reduce_only=True), flat)),
    Scenario(
        "F14",
        "a person closes the position, the trade is told before its order",
        8,
        (
            position,
            control("event_fault", event="ORDER_TRADE_UPDATE", mode="hold", times=2),
            human("against", "1", reduce_only=True),
            flat,
        ),
    ),
    Scenario("F14", "a person doubles the position", 1, (position, human("with", "1"), protected)),
    Scenario("F14", "a person halves the position", 2, (position, human("against", "0.5"), protected)),
    Scenario("F14", "a person reverses the position", 1, (position, human("against", "2"), protected)),
    Scenario("F14", "a person cancels the stop", 1, (position, human_cancels_the_stop, protected)),
    Scenario("-", "a person changes the leverage", 2, (position, change_leverage, step(2))),
    Scenario("F14", "a person puts a stop of their own", 1, (position, human_stop, step(2), protected)),
    Scenario("F14", "a person cancels stop and target", 1, (position, cancel_all_of_ours, protected)),
    Scenario(
        "F14",
        "a person trades while the stream is down",
        2,
        (
            position,
            control("drop_user_stream", refuse=True),
            human("against", "0.5"),
            streams_back,
            protected,
        ),
        tolerates=frozenset({BLIND_CLOSE, CRITICAL}),
    ),
    Scenario(
        "F14d",
        "liquidation",
        8,
        (position, symbol_control("liquidate"), flat, no_orders_of_the_flat),
        tolerates=frozenset({CRITICAL, REJECTED, MONEY}),
    ),
    Scenario(
        "F14d",
        "liquidation unheard",
        8,
        (
            position,
            control("drop_user_stream", refuse=True),
            symbol_control("liquidate"),
            streams_back,
            flat,
            no_orders_of_the_flat,
        ),
        tolerates=frozenset({BLIND_CLOSE, CRITICAL, MONEY}),
    ),
    Scenario(
        "F14d",
        "deleveraged by half (ADL)",
        1,
        (position, symbol_control("adl"), protected),
        tolerates=frozenset({CRITICAL, REJECTED}),
    ),
    Scenario("F14e", "margin call", 4, (position, control("margin_call")), ("MARGIN_CALL",), frozenset({CRITICAL})),
    Scenario(
        "F14e",
        "a stop is refused when it triggers (CONDITIONAL_ORDER_TRIGGER_REJECT)",
        1,
        (position, control("refuse_triggers", times=1), stop_is_refused, protected, no_orders_of_the_flat),
        ("STOP_REJECTED_AT_TRIGGER",),
        frozenset({CRITICAL, REJECTED}),
    ),
    Scenario(
        "-",
        "a person switches to isolated margin",
        2,
        (
            position,
            symbol_control("margin_type", margin_type="ISOLATED"),
            step(2),
            symbol_control("margin_type", margin_type="CROSSED"),
        ),
    ),
    Scenario(
        "-",
        "a person takes money out and puts it back",
        8,
        (position, control("transfer", amount="-50"), step(2), control("transfer", amount="50")),
    ),
)
