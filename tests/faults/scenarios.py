"""
The scenarios as data: what is disturbed, at which moment, and which invariant of the house plan it must not break.

Invariants by number: 1 never naked; 2 node position = venue position; 3 no order is sent twice; 4 exits never depend on
entry gates; 8 nothing recorded is lost; 9 fail closed. All of 1, 2, 3 and 8 are judged after every scenario; the number
beside a scenario is the one it attacks. `row` is the row of the fault matrix in `knowledge/live-binance.md` §4.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.faults.harness import REJECTED, Books, Run, covered, live_stops, net, orphans

type Act = Callable[[Run], None]

ENTRY = {"method": "POST", "path": "/fapi/v1/order$"}
STOP = {"method": "POST", "path": "/fapi/v1/algoOrder$"}
CRITICAL = "no critical incident"
AUDITED = {"audit": {"in_replay": True, "interval_secs": 1.0}}


@dataclass(frozen=True)
class Scenario:
    """
    One disturbance.

    Attributes
    ----------
    row : str
        Row of the fault matrix, or ``-``.
    name : str
        What happens.
    invariant : int
        The invariant it attacks.
    acts : tuple
        What is done to venue and node, in order.
    told : tuple[str, ...]
        Incident codes the journal must hold afterwards.
    tolerates : frozenset[str]
        The node's own checks that the disturbance breaks by design.
    venue, node : dict
        Replaced keys of the configurations.

    """

    row: str
    name: str
    invariant: int
    acts: tuple[Act, ...]
    told: tuple[str, ...] = ()
    tolerates: frozenset[str] = frozenset()
    venue: dict[str, Any] = field(default_factory=dict)
    node: dict[str, Any] = field(default_factory=dict)


# -- acts --------------------------------------------------------------------------------------------------------------


def control(action: str, **body: Any) -> Act:
    """Send a control action."""
    return lambda run: void(run.control(action, **body))


def fault(where: dict[str, str], **what: Any) -> Act:
    """Arm a fault of the next matching answers."""
    return control("fault", **where, **what)


def position(run: Run) -> None:
    """Go on to a protected position."""
    run.to_position()


def entry(run: Run) -> None:
    """Go on until an entry has been sent."""
    run.to_entry()


def step(count: int) -> Act:
    """Replay some bars."""
    return lambda run: run.step(count)


def stop_hit(*, gap: bool = False) -> Act:
    """Move the price through the stop and wait until the venue has closed the position."""

    def act(run: Run) -> None:
        run.trigger_stop(gap=gap)
        run.until(lambda b: run.symbol not in net(b), what="the stop to close the position")

    return act


def streams_back(run: Run) -> None:
    """Let streams in again and wait until the node is on both."""
    run.control("accept")
    run.until(
        lambda s: bool(s["user_connections"] and s["market_connections"]), what="streams", path="session", secs=40
    )


def protected(run: Run) -> None:
    """Wait until every position at the venue is covered in full."""
    run.until(lambda b: all(covered(b, s) for s in net(b)), what="all positions protected", secs=20)


def no_orders_of_the_flat(run: Run) -> None:
    """Wait until nothing of ours rests in a flat symbol."""
    run.until(lambda b: not orphans(b), what="orphans to be cancelled", secs=20)


def human(side: str, multiple: str, *, reduce_only: bool = False) -> Act:
    """Trade by hand: ``with`` or ``against`` the position, a multiple of its size."""

    def act(run: Run) -> None:
        size = run.size
        buys = (size > 0) == (side == "with")
        quantity = abs(size) * Decimal(multiple)
        run.human(
            side="BUY" if buys else "SELL",
            quantity=str(quantity.quantize(size)),
            **({"reduceOnly": "true"} if reduce_only else {}),
        )

    return act


def human_cancels_the_stop(run: Run) -> None:
    """Cancel the stop by hand."""
    stop = live_stops(run.books(), run.symbol)[0]
    run.control("cancel", algo_id=stop["algo_id"])
    run.until(
        lambda b: any(s["algo_id"] != stop["algo_id"] for s in live_stops(b, run.symbol)), what="a new stop", secs=20
    )


def flat(run: Run) -> None:
    """Assert that the symbol of the scenario is flat."""
    run.until(lambda b: run.symbol not in net(b), what=f"{run.symbol} flat", secs=20)


def restart(run: Run) -> None:
    """kill -9 and start again."""
    run.restart()


def down(*acts: Act) -> Act:
    """kill -9, do something while no node runs, start again."""

    def act(run: Run) -> None:
        run.kill()
        for inner in acts:
            inner(run)
        run.start_node()

    return act


def freeze(secs: float) -> Act:
    """Freeze the venue in the middle of a stop-out; sockets stay up."""

    def act(run: Run) -> None:
        run.control("freeze", secs=secs)
        run.trigger_stop(gap=True)
        run.until(lambda b: run.symbol not in net(b), what="the stop to close the position")

    return act


def refuses_to_start(where: dict[str, str], **what: Any) -> Act:
    """The next start must fail loudly, and the one after it must work."""

    def act(run: Run) -> None:
        run.kill()
        run.control("fault", **where, times=10_000, **what)
        run.start_node(wait=False)
        assert run.node is not None
        assert run.node.wait(120) != 0, f"seed {run.seed}: exit code 0 without having started"
        run.control("clear_faults")
        run.start_node()

    return act


def change_leverage(run: Run) -> None:
    """Change the leverage of the position's symbol by hand."""
    run.control("leverage", symbol=run.symbol, leverage=7)


def void(_: Books) -> None:
    """Drop a result."""


# -- the list ----------------------------------------------------------------------------------------------------------

_REFUSALS = {
    "-2019": "Margin is insufficient.",
    "-4164": "Order's notional must be no smaller than 5 (unless you choose reduce only).",
    "-2015": "Invalid API-key, IP, or permissions for action.",
    "-9999": "A code nobody has documented.",
}
_UNANSWERED: dict[str, dict[str, Any]] = {
    "503 -1007": {"mode": "execute_then_fail", "status": 503, "code": -1007, "message": "Timeout waiting for response"},
    "504 html": {"mode": "execute_then_fail", "status": 504, "code": 0, "message": "<html>gateway</html>"},
    "reset": {"mode": "execute_then_close"},
}

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("F2", "user stream dropped with a position open", 2, (position, control("drop_user_stream"))),
    Scenario("F2", "user stream reset", 2, (position, control("drop_user_stream", hard=True))),
    Scenario(
        "F2",
        "the stop fills while the user stream is down",
        2,
        (
            position,
            control("drop_user_stream", refuse=True),
            stop_hit(gap=True),
            streams_back,
            no_orders_of_the_flat,
        ),
    ),
    Scenario(
        "F4",
        "market stream down over two closes",
        9,
        (position, control("drop_market_stream", refuse=True), step(2), streams_back),
        ("MARKET_STREAM_GAP",),
    ),
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
        for name, what in _UNANSWERED.items()
    ),
    *(
        Scenario(
            "F6b",
            f"stop accepted, answer {name}",
            1,
            (fault(STOP, **what), position, protected),
            ("ORDER_OUTCOME_UNKNOWN",),
        )
        for name, what in _UNANSWERED.items()
    ),
    Scenario(
        "F6e",
        "entry executed, answer and events lost",
        3,
        (
            fault(ENTRY, **_UNANSWERED["503 -1007"]),
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
            fault({"method": "DELETE", "path": "/fapi/v1/algoOrder$"}, **_UNANSWERED["503 -1007"]),
            stop_hit(),
            no_orders_of_the_flat,
        ),
        tolerates=frozenset({REJECTED}),
    ),
    Scenario("F9", "every user event twice", 2, (control("event_fault", mode="duplicate", times=200), position, entry)),
    Scenario("F10", "the trade before the acceptance", 2, (control("event_fault", mode="hold", times=3), entry)),
    Scenario(
        "F10b",
        "trigger events in reverse order",
        2,
        (position, control("event_fault", mode="hold", times=4), stop_hit(), flat, no_orders_of_the_flat),
    ),
    Scenario("F11", "frozen for six seconds while the stop fills", 2, (position, freeze(6.0), no_orders_of_the_flat)),
    Scenario(
        "F12",
        "connection reset on an entry that was not executed",
        3,
        (fault(ENTRY, mode="close"), entry),
        ("ORDER_OUTCOME_UNKNOWN",),
    ),
    Scenario("F12", "connection reset on a stop", 1, (fault(STOP, mode="close"), position, protected)),
    Scenario("F13", "listen key expired", 2, (position, control("expire_listen_key"))),
    Scenario("F13", "listen key expired and socket closed", 2, (position, control("expire_listen_key", close=True))),
    Scenario("F14", "a person closes the position", 2, (position, human("against", "1", reduce_only=True), flat)),
    Scenario("F14", "a person doubles the position", 1, (position, human("with", "1"), protected)),
    Scenario("F14", "a person halves the position", 2, (position, human("against", "0.5"), protected)),
    Scenario("F14", "a person reverses the position", 1, (position, human("against", "2"), protected)),
    Scenario("F14", "a person cancels the stop", 1, (position, human_cancels_the_stop, protected)),
    Scenario(
        "F16",
        "the events of an entry are lost",
        1,
        (control("event_fault", event="ORDER_TRADE_UPDATE", mode="mute", times=2), entry, protected),
    ),
    Scenario(
        "F16",
        "the events of a stop are lost",
        2,
        (
            position,
            control("event_fault", event="ORDER_TRADE_UPDATE", mode="mute", times=2),
            control("event_fault", event="ALGO_UPDATE", mode="mute", times=3),
            stop_hit(),
            no_orders_of_the_flat,
        ),
        tolerates=frozenset({CRITICAL}),  # the auditor finds it, says so, and holds entries meanwhile
        node=AUDITED,
    ),
    Scenario(
        "F17",
        "one failure of every call at start",
        9,
        (
            position,
            down(
                *(
                    fault({"path": f"/fapi/{path}$"}, status=503, code=-1008)
                    for path in (
                        "v1/exchangeInfo",
                        "v2/account",
                        "v1/listenKey",
                        "v3/positionRisk",
                        "v1/symbolConfig",
                        "v1/openOrders",
                        "v1/openAlgoOrders",
                        "v1/time",
                        "v1/income",
                        "v1/userTrades",
                        "v1/leverage",
                        "v1/marginType",
                    )
                )
            ),
            protected,
        ),
    ),
    Scenario(
        "F17",
        "the account cannot be read at start, for good",
        9,
        (position, refuses_to_start({"path": "/fapi/v[123]/account$"}, status=503, code=-1008), protected),
    ),
    Scenario(
        "F17d",
        "open stops cannot be read at start",
        1,
        (position, down(fault({"path": "/fapi/v1/openAlgoOrders$"}, times=2)), protected),
    ),
    Scenario("-", "kill -9 with a position open", 1, (position, restart, protected)),
    Scenario(
        "-",
        "gap through the stop while no node runs",
        2,
        (position, down(stop_hit(gap=True)), no_orders_of_the_flat),
    ),
    Scenario("-", "bars pass while no node runs", 2, (position, down(step(6)), protected)),
    Scenario("-", "gap through the stop", 1, (position, stop_hit(gap=True), no_orders_of_the_flat)),
    Scenario(
        "-",
        "an entry fills in parts at several prices",
        2,
        (entry, protected, entry, protected),
        venue={"execution": {"depth": "bar_quarter"}, "account": {"balance": 10_000_000}},
        node={
            "backtest": {"balance": 10_000_000},
            "risk": {"limits": {"max_order_notional": 20_000_000, "max_total_notional": 40_000_000}},
        },
    ),
    Scenario("-", "a person changes the leverage", 2, (position, change_leverage, step(2))),
)
