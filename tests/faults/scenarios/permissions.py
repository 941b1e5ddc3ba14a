"""What is taken from the node for a while: its key, its right to close, its processor."""

from tests.faults.scenarios.acts import (
    ENTRY,
    control,
    fault,
    no_orders_of_the_flat,
    node_stalled,
    position,
    protected,
    step,
    stop_hit,
    told_to_flatten,
)
from tests.faults.scenarios.scenario import AUDITED, Scenario
from tests.faults.verdicts import BLIND_CLOSE, CRITICAL, REJECTED

_ORDERS = "order|allOrders|openOrders?|algoOrder|openAlgoOrders"
_ACCOUNT = "balance|account|positionRisk|userTrades|income|listenKey|leverage|marginType|positionSide/dual"
_SIGNED = {"path": f"/fapi/v[123]/({_ORDERS}|{_ACCOUNT})$"}
_REVOKED = fault(
    _SIGNED, status=401, code=-2015, message="Invalid API-key, IP, or permissions for action.", times=100_000
)
_NO_PRICE = "The counterparty's best price does not meet the PERCENT_PRICE filter limit."

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "-",
        "the key is revoked for some bars with a position open",
        9,
        (position, _REVOKED, step(4), control("clear_faults"), step(2), protected),
        tolerates=frozenset({REJECTED, CRITICAL}),
    ),
    Scenario(
        "-",
        "the key is revoked, and the stop fills meanwhile",
        2,
        (position, _REVOKED, stop_hit(), step(2), control("clear_faults"), step(2), no_orders_of_the_flat),
        tolerates=frozenset({REJECTED, CRITICAL}),
        node=AUDITED,
    ),
    Scenario(
        "-",
        "told to flatten while closing orders are refused (-4131)",
        4,
        (
            position,
            fault(ENTRY, status=400, code=-4131, message=_NO_PRICE, times=3),
            told_to_flatten,
            no_orders_of_the_flat,
        ),
        tolerates=frozenset({REJECTED, CRITICAL}),
        alone=True,
        trades_on=False,  # it was paused
    ),
    Scenario(
        "-",
        "told to flatten while every order is answered 503 for a second",
        4,
        (
            position,
            fault({"method": "POST", "path": "/fapi/v1/(order|algoOrder)$"}, status=503, code=-1008, times=6),
            told_to_flatten,
            no_orders_of_the_flat,
        ),
        tolerates=frozenset({REJECTED, CRITICAL}),
        alone=True,
        trades_on=False,
    ),
    Scenario(
        "-",
        "the node's process stands still while the stop fills",
        2,
        (position, node_stalled(8.0, stop_hit()), no_orders_of_the_flat),
        tolerates=frozenset({BLIND_CLOSE, CRITICAL, REJECTED}),
    ),
    Scenario(
        "-",
        "the node's process stands still for some seconds with a position open",
        1,
        (position, node_stalled(6.0), step(2), protected),
        tolerates=frozenset({CRITICAL, REJECTED}),
    ),
)
