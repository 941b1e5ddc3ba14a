"""Several troubles at once, and events that come again with older times: harmless one by one, maybe not together."""

from tests.faults.scenarios.acts import (
    ENTRY,
    STOP,
    UNANSWERED,
    control,
    entry,
    fault,
    flat,
    human,
    no_orders_of_the_flat,
    position,
    protected,
    stop_hit,
    symbol_control,
)
from tests.faults.scenarios.scenario import Scenario
from tests.faults.verdicts import CRITICAL, REJECTED

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "F9",
        "every order event comes again, older",
        2,
        (
            control("event_fault", event="ORDER_TRADE_UPDATE", mode="echo", delay_ms=300, times=200),
            position,
            entry,
            protected,
        ),
    ),
    Scenario(
        "F9",
        "every event of a stop comes again, older",
        2,
        (
            position,
            control("event_fault", mode="echo", delay_ms=300, times=20),
            stop_hit(),
            flat,
            no_orders_of_the_flat,
        ),
    ),
    Scenario(
        "F16",
        "the account's events are lost, the orders' are not",
        2,
        (
            control("event_fault", event="ACCOUNT_UPDATE", mode="mute", times=40),
            position,
            stop_hit(),
            no_orders_of_the_flat,
        ),
    ),
    Scenario(
        "F11",
        "the user stream trickles while the stop fills",
        2,
        (
            position,
            control("trickle", streams="user", delay_ms=700),
            stop_hit(),
            no_orders_of_the_flat,
            control("trickle", streams="user", delay_ms=0),
        ),
    ),
    Scenario(
        "F5",
        "418 on the cancel of the sibling",
        2,
        (
            position,
            fault(
                {"method": "DELETE", "path": "/fapi/v1/algoOrder$"},
                status=418,
                code=-1003,
                message="banned",
                headers={"Retry-After": "1"},
            ),
            stop_hit(),
            no_orders_of_the_flat,
        ),
        tolerates=frozenset({REJECTED, CRITICAL}),
    ),
    Scenario(
        "F6b",
        "entry executed without an answer, its account event lost, its order events doubled",
        3,
        (
            fault(ENTRY, **UNANSWERED["reset"]),
            control("event_fault", event="ACCOUNT_UPDATE", mode="mute", times=2),
            control("event_fault", event="ORDER_TRADE_UPDATE", mode="echo", delay_ms=400, times=10),
            entry,
            protected,
        ),
        ("ORDER_OUTCOME_UNKNOWN",),
    ),
    Scenario(
        "-",
        "a symbol goes into settlement while its stop is on the way",
        2,
        (
            position,
            fault(STOP, mode="delay", delay_ms=500),
            human("with", "1"),
            symbol_control("settle"),
            flat,
            no_orders_of_the_flat,
            symbol_control("symbol_status", status="TRADING"),
        ),
        tolerates=frozenset({CRITICAL, REJECTED}),
    ),
)
