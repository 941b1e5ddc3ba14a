"""Starts: failing queries, a wrong account, and what happened while no node ran."""

from tests.faults.scenarios.acts import (
    RISK,
    TRADES,
    cancel_all_of_ours,
    cancels_the_stop,
    change_leverage,
    close_everything,
    control,
    down,
    fault,
    human,
    no_orders_of_the_flat,
    position,
    protected,
    refused_start,
    refuses_to_start,
    restart,
    step,
    still_open,
    stop_hit,
    symbol_control,
    told_wrong,
)
from tests.faults.scenarios.scenario import Scenario
from tests.faults.verdicts import REJECTED

SCENARIOS: tuple[Scenario, ...] = (
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
    Scenario("-", "a person doubles while no node runs", 1, (position, down(human("with", "1")), protected)),
    Scenario(
        "-", "a person reverses while no node runs", 1, (position, down(human("against", "2")), still_open, protected)
    ),
    Scenario(
        "-",
        "a person reverses and cancels the stop while no node runs",
        1,
        (position, down(human("against", "2"), cancels_the_stop), still_open, protected),
    ),
    Scenario("-", "a person changes the leverage while no node runs", 2, (position, down(change_leverage), protected)),
    Scenario(
        "-",
        "gap through the stop while no node runs",
        2,
        (position, down(stop_hit(gap=True)), no_orders_of_the_flat),
    ),
    Scenario("-", "bars pass while no node runs", 2, (position, down(step(6)), protected)),
    Scenario(
        "F17",
        "the account is in hedge mode",
        9,
        (
            position,
            down(
                close_everything,
                control("position_mode", hedge=True),
                refused_start("hedge mode"),
                control("position_mode", hedge=False),
            ),
        ),
    ),
    Scenario(
        "F17",
        "the venue's clock is wrong at start",
        9,
        (position, down(control("skew", ms=-20_000), refused_start("clock"), control("skew", ms=0)), protected),
    ),
    Scenario(
        "F17",
        "a symbol is in settlement at start",
        9,
        (
            position,
            down(
                control("symbol_status", symbol="XRPUSDT", status="SETTLING"),
                refused_start("SETTLING"),
                control("symbol_status", symbol="XRPUSDT", status="TRADING"),
            ),
            protected,
        ),
    ),
    Scenario(
        "F17",
        "listen key refused twice at start",
        9,
        (position, down(fault({"method": "POST", "path": "/fapi/v1/listenKey$"}, times=2)), protected),
    ),
    Scenario(
        "F17",
        "connection reset on the first queries of a start",
        9,
        (
            position,
            down(
                fault({"path": "/fapi/v1/exchangeInfo$"}, mode="close"),
                fault({"path": "/fapi/v3/positionRisk$"}, mode="close"),
            ),
            protected,
        ),
    ),
    Scenario(
        "F17d",
        "open orders cannot be read at start",
        1,
        (position, down(fault({"path": "/fapi/v1/openOrders$"}, times=2)), protected),
    ),
    Scenario(
        "F17g",
        "leverage refused at start",
        9,
        (
            position,
            down(
                fault(
                    {"method": "POST", "path": "/fapi/v1/leverage$"},
                    status=400,
                    code=-4028,
                    message="Leverage 10 is not valid",
                    times=3,
                )
            ),
            protected,
        ),
        tolerates=frozenset({REJECTED}),
    ),
    Scenario(
        "F17j",
        "margin type need not be changed (-4046)",
        9,
        (
            position,
            down(
                fault(
                    {"method": "POST", "path": "/fapi/v1/marginType$"},
                    status=400,
                    code=-4046,
                    message="No need to change margin type.",
                    times=3,
                )
            ),
            protected,
        ),
        tolerates=frozenset({REJECTED}),
    ),
    Scenario(
        "-",
        "a person closes while no node runs",
        2,
        (position, down(human("against", "1", reduce_only=True)), no_orders_of_the_flat),
    ),
    Scenario("-", "a person cancels the stop while no node runs", 1, (position, down(cancel_all_of_ours), protected)),
    Scenario(
        "-",
        "funding is settled while no node runs",
        8,
        (position, down(symbol_control("funding", rate="0.0005")), protected),
    ),
    Scenario("-", "killed twice in a row", 1, (position, restart, restart, protected)),
    Scenario(
        "-",
        "no position is told at first to a node that starts",
        1,
        (position, down(told_wrong(RISK, "[]")), protected),
    ),
    Scenario(
        "-",
        "a stop fills while no node runs, and its trade is told late",
        8,
        (position, down(stop_hit(gap=True), told_wrong(TRADES, "[]", times=2)), no_orders_of_the_flat),
    ),
)
