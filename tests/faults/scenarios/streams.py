"""Streams: dropped, reset, deaf, frozen; events lost, doubled, late, in the wrong order; market data with holes."""

from tests.faults.scenarios.acts import (
    ENTRY,
    control,
    entry,
    fault,
    flat,
    freeze,
    no_orders_of_the_flat,
    position,
    protected,
    step,
    stop_hit,
    streams_back,
    symbol_control,
    told_soon,
)
from tests.faults.scenarios.scenario import AUDITED, Scenario
from tests.faults.verdicts import CRITICAL, REJECTED

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
    Scenario("F9", "every user event twice", 2, (control("event_fault", mode="duplicate", times=200), position, entry)),
    Scenario("F10", "the trade before the acceptance", 2, (control("event_fault", mode="hold", times=3), entry)),
    Scenario(
        "F10b",
        "trigger events in reverse order",
        2,
        (position, control("event_fault", mode="hold", times=4), stop_hit(), flat, no_orders_of_the_flat),
    ),
    Scenario("F11", "frozen for six seconds while the stop fills", 2, (position, freeze(6.0), no_orders_of_the_flat)),
    Scenario("F13", "listen key expired", 2, (position, control("expire_listen_key"))),
    Scenario("F13", "listen key expired and socket closed", 2, (position, control("expire_listen_key", close=True))),
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
        "F2",
        "user stream down for some bars",
        9,
        (position, control("drop_user_stream", refuse=True), step(3), streams_back, protected),
        ("USER_STREAM_GAP",),
        frozenset({REJECTED, CRITICAL}),  # a position that ended unheard cannot be closed (-2022)
    ),
    Scenario("F4", "market stream reset", 9, (position, control("drop_market_stream", hard=True), step(2), protected)),
    Scenario(
        "F9",
        "account events twice",
        2,
        (control("event_fault", event="ACCOUNT_UPDATE", mode="duplicate", times=50), position, stop_hit()),
    ),
    Scenario(
        "F10c",
        "trigger events in reverse order, the account's lost",
        2,
        (
            position,
            control("event_fault", event="ACCOUNT_UPDATE", mode="mute", times=1),
            control("event_fault", event="ORDER_TRADE_UPDATE", mode="hold", times=2),
            stop_hit(),
            flat,
            no_orders_of_the_flat,
        ),
    ),
    Scenario(
        "F11",
        "user stream half-open while the stop fills",
        2,
        (position, control("half_open", streams="user", secs=8), stop_hit(), no_orders_of_the_flat),
        tolerates=frozenset({CRITICAL}),
        node=AUDITED,
    ),
    Scenario(
        "F11",
        "every stream half-open until the sockets are closed",
        9,
        (
            position,
            control("half_open", streams="all"),
            step(2),
            control("drop_user_stream"),
            control("drop_market_stream"),
            streams_back,
            protected,
        ),
    ),
    Scenario(
        "F11",
        "an entry is answered when nobody waits any more",
        3,
        (fault(ENTRY, mode="delay", delay_ms=200, answer_delay_ms=4000), entry, protected),
        ("ORDER_OUTCOME_UNKNOWN",),
        node={"exchange": {"http_timeout_secs": 2}},
    ),
    Scenario(
        "F11",
        "answers trickle",
        2,
        (fault({"path": "/fapi/"}, mode="trickle", times=8, piece=40, answer_delay_ms=20), position, protected),
    ),
    Scenario(
        "F11",
        "messages of all streams trickle",
        2,
        (control("trickle", streams="all", delay_ms=60), position, control("trickle", streams="all", delay_ms=0)),
    ),
    Scenario(
        "F13",
        "listen key expired and cannot be renewed at first",
        2,
        (
            position,
            fault({"method": "POST", "path": "/fapi/v1/listenKey$"}, times=2),
            control("expire_listen_key", close=True),
            told_soon("USER_STREAM_DOWN"),  # else the venue's old connection may pass for the new one
            streams_back,
            protected,
        ),
        tolerates=frozenset({CRITICAL}),
    ),
    Scenario(
        "F16",
        "events of an entry late",
        1,
        (control("event_fault", event="ORDER_TRADE_UPDATE", mode="delay", delay_ms=800, times=2), entry, protected),
    ),
    Scenario(
        "F16",
        "a funding payment unheard",
        8,
        (
            position,
            control("event_fault", event="ACCOUNT_UPDATE", mode="mute", times=1),
            symbol_control("funding", rate="0.0004"),
        ),
    ),
    Scenario("-", "a kline is missing", 9, (position, control("kline_fault", mode="missing"), step(3), protected)),
    Scenario(
        "-", "klines come twice", 9, (position, control("kline_fault", mode="duplicate", times=4), step(3), protected)
    ),
    Scenario(
        "-",
        "klines come late, after the next ones",
        9,
        (position, control("kline_fault", mode="late", times=2, delay_ms=400), step(3), protected),
    ),
)
