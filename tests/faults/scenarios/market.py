"""The market and the exchange: gaps, funding, settlement, maintenance, the venue's own death."""

from tests.faults.scenarios.acts import (
    STOP,
    control,
    entry,
    fault,
    flat,
    human,
    keep_books,
    no_orders_of_the_flat,
    pause_secs,
    position,
    protected,
    step,
    stop_hit,
    streams_back,
    symbol_control,
    venue_dies,
)
from tests.faults.scenarios.scenario import Scenario
from tests.faults.verdicts import CRITICAL, REJECTED

SCENARIOS: tuple[Scenario, ...] = (
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
    Scenario(
        "-",
        "funding at the boundary, three times",
        8,
        (position, *(symbol_control("funding", rate=r) for r in ("0.0003", "-0.0007", "0.0001"))),
    ),
    Scenario(
        "-",
        "funding between the fill and its stop",
        8,
        (fault(STOP, mode="delay", delay_ms=300), position, symbol_control("funding", rate="0.0004"), protected),
    ),
    Scenario(
        "-",
        "maintenance for two seconds",
        9,
        (
            position,
            control("maintenance", on=True),
            pause_secs(2.0),
            control("maintenance", on=False),
            streams_back,
            protected,
        ),
        tolerates=frozenset({CRITICAL, REJECTED}),
    ),
    Scenario(
        "-",
        "a symbol goes into settlement",
        2,
        (
            position,
            symbol_control("settle"),
            flat,
            no_orders_of_the_flat,
            symbol_control("symbol_status", status="TRADING"),
        ),
        tolerates=frozenset({CRITICAL, REJECTED}),
    ),
    Scenario(
        "-",
        "orders of a symbol are refused for a while (-4108)",
        2,
        (
            position,
            symbol_control("symbol_status", status="BREAK"),
            step(4),
            symbol_control("symbol_status", status="TRADING"),
            protected,
        ),
        tolerates=frozenset({REJECTED, CRITICAL}),
    ),
    Scenario(
        "-",
        "the venue dies and comes back with its books",
        1,
        (position, venue_dies(), protected),
        tolerates=frozenset({CRITICAL, REJECTED}),
        alone=True,
        prepare=keep_books,
    ),
    Scenario(
        "-",
        "gap through stop and target of a halved position",
        2,
        (position, human("against", "0.5"), protected, stop_hit(gap=True), no_orders_of_the_flat),
    ),
)
