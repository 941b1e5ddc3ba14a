"""Requests: refused, unanswered, answered by a proxy, executed without a word."""

from tests.faults.scenarios.acts import (
    ENTRY,
    NO_ANSWERS,
    STOP,
    UNANSWERED,
    control,
    entry,
    fault,
    no_orders_of_the_flat,
    position,
    protected,
    step,
    stop_hit,
    told_wrong,
)
from tests.faults.scenarios.scenario import AUDITED, Scenario
from tests.faults.verdicts import CRITICAL, REJECTED

_REFUSALS = {
    "-2019": "Margin is insufficient.",
    "-4164": "Order's notional must be no smaller than 5 (unless you choose reduce only).",
    "-2015": "Invalid API-key, IP, or permissions for action.",
    "-2022": "ReduceOnly Order is rejected.",
    "-4120": "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
    "-5022": "Due to the order could not be executed as maker, the Post Only order will be rejected.",
    "-9999": "A code nobody has documented.",
}

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "F5",
        "429 with Retry-After on an entry",
        3,
        (
            position,
            fault(ENTRY, status=429, code=-1003, message="Too many requests", headers={"Retry-After": "1"}),
            entry,
        ),
    ),
    Scenario(
        "F5",
        "418 on a stop",
        1,
        (fault(STOP, status=418, code=-1003, message="banned", headers={"Retry-After": "1"}), position, protected),
    ),
    Scenario("F6a", "503 -1008 on an entry", 3, (fault(ENTRY, status=503, code=-1008), entry)),
    Scenario("F6a", "503 -1008 on every answer for a while", 1, (position, fault({"path": "/fapi/"}, times=6), entry)),
    Scenario("F6c", "504 page on an entry that was not executed", 3, (fault(ENTRY, status=504, code=0), entry)),
    *(
        Scenario(
            "F6b",
            f"entry executed, answer {name}",
            3,
            (fault(ENTRY, **what), entry, protected),
            ("ORDER_OUTCOME_UNKNOWN",),
        )
        for name, what in UNANSWERED.items()
    ),
    *(
        Scenario(
            "F6b",
            f"stop accepted, answer {name}",
            1,
            (fault(STOP, **what), position, protected),
            ("ORDER_OUTCOME_UNKNOWN",),
        )
        for name, what in UNANSWERED.items()
    ),
    Scenario(
        "F6e",
        "entry executed, answer and events lost",
        3,
        (
            fault(ENTRY, **UNANSWERED["503 -1007"]),
            control("event_fault", event="ORDER_TRADE_UPDATE", mode="mute", times=2),
            control("event_fault", event="ACCOUNT_UPDATE", mode="mute", times=1),
            entry,
            protected,
        ),
        ("ORDER_OUTCOME_UNKNOWN",),
    ),
    Scenario("F7", "-1021 once on an entry", 3, (fault(ENTRY, status=400, code=-1021), entry)),
    Scenario(
        "F7",
        "clock skewed for some bars",
        9,
        (position, control("skew", ms=-30_000), step(4), control("skew", ms=0), step(2), protected),
        tolerates=frozenset({REJECTED, CRITICAL}),
    ),
    *(
        Scenario("F8", f"entry refused with {code}", 3, (fault(ENTRY, status=400, code=int(code), message=text), entry))
        for code, text in _REFUSALS.items()
    ),
    Scenario(
        "F8",
        "stop refused once with -4045",
        1,
        (fault(STOP, status=400, code=-4045, message="Reach max stop order limit."), position, protected),
    ),
    Scenario(
        "F8",
        "stop refused for good: the position is closed",
        1,
        (
            fault(STOP, status=400, code=-4045, message="Reach max stop order limit.", times=30),
            entry,
            no_orders_of_the_flat,
            protected,
            control("clear_faults"),
        ),
        ("stop_failed",),
        frozenset({CRITICAL}),
    ),
    Scenario(
        "F8",
        "stop would trigger at once (-2021)",
        1,
        (fault(STOP, status=400, code=-2021, message="Order would immediately trigger."), entry, protected),
    ),
    Scenario(
        "F8b",
        "cancel of the sibling answered 503",
        2,
        (
            position,
            fault({"method": "DELETE", "path": "/fapi/v1/algoOrder$"}, times=2),
            stop_hit(),
            no_orders_of_the_flat,
        ),
    ),
    Scenario(
        "F8b",
        "cancel of the sibling executed, answered -1007",
        2,
        (
            position,
            fault({"method": "DELETE", "path": "/fapi/v1/algoOrder$"}, **UNANSWERED["503 -1007"]),
            stop_hit(),
            no_orders_of_the_flat,
        ),
        tolerates=frozenset({REJECTED}),
    ),
    Scenario(
        "F12",
        "connection reset on an entry that was not executed",
        3,
        (fault(ENTRY, mode="close"), entry),
        ("ORDER_OUTCOME_UNKNOWN",),
    ),
    Scenario("F12", "connection reset on a stop", 1, (fault(STOP, mode="close"), position, protected)),
    Scenario(
        "F5",
        "429 without Retry-After on an entry",
        3,
        (position, fault(ENTRY, status=429, code=-1003, message="Too many requests"), entry),
    ),
    Scenario(
        "F5",
        "429 without Retry-After on a stop",
        1,
        (fault(STOP, status=429, code=-1003, message="Too many requests"), entry, protected),
        alone=True,
        trades_on=False,  # silent for up to a minute: what counts is that the stop comes in time
    ),
    Scenario(
        "F5",
        "banned for two seconds with a position open",
        1,
        (position, control("limits", ban_secs=2), step(2), control("limits", ban_secs=0), protected),
        tolerates=frozenset({REJECTED, CRITICAL}),
    ),
    Scenario(
        "F6c", "504 page on a stop that was not executed", 1, (fault(STOP, status=504, code=0), position, protected)
    ),
    Scenario("F6a", "503 -1008 on a stop", 1, (fault(STOP, status=503, code=-1008), position, protected)),
    Scenario(
        "F7",
        "-1021 on a stop",
        1,
        (
            fault(STOP, status=400, code=-1021, message="Timestamp for this request is outside of the recvWindow."),
            position,
            protected,
        ),
    ),
    Scenario(
        "F8",
        "stop refused once with -2022",
        1,
        (fault(STOP, status=400, code=-2022, message="ReduceOnly Order is rejected."), position, protected),
    ),
    Scenario(
        "F8b",
        "cancel of the sibling answered -2011",
        2,
        (
            position,
            fault(
                {"method": "DELETE", "path": "/fapi/v1/algoOrder$"},
                status=400,
                code=-2011,
                message="Unknown order sent.",
            ),
            stop_hit(),
            no_orders_of_the_flat,
        ),
        tolerates=frozenset({REJECTED}),
        node=AUDITED,
    ),
    Scenario(
        "F12",
        "connections refused for a second around an entry",
        3,
        (position, control("refuse_connections", secs=1.0), entry, protected),
        tolerates=frozenset({REJECTED, CRITICAL}),
    ),
    Scenario(
        "F12",
        "stop executed, connection reset, events lost",
        3,
        (
            fault(STOP, mode="execute_then_close"),
            control("event_fault", event="ALGO_UPDATE", mode="mute", times=1),
            position,
            protected,
        ),
    ),
    *(
        Scenario(
            "-",
            f"entry executed, the answer is {what}",
            3,
            (told_wrong(ENTRY, body, mode="execute_then_fail"), entry, protected),
            ("ORDER_OUTCOME_UNKNOWN",),
        )
        for what, body in NO_ANSWERS.items()
    ),
    Scenario(
        "-",
        "stop executed, the answer is a page",
        1,
        (told_wrong(STOP, NO_ANSWERS["a page"], mode="execute_then_fail"), position, protected),
        ("ORDER_OUTCOME_UNKNOWN",),
    ),
    Scenario(
        "-",
        "stop not executed, the answer is an empty object",
        1,
        (told_wrong(STOP, NO_ANSWERS["an empty object"]), position, protected),
        ("ORDER_OUTCOME_UNKNOWN",),
    ),
    Scenario(
        "-",
        "403 three times on a stop",
        1,
        (fault(STOP, status=403, code=0, message="<html>403</html>", times=3), position, protected),
    ),
)
