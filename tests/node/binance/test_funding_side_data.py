"""Funding rates over REST and funding payments from the user stream."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import FundingRateUpdate
from nautilus_trader.model.identifiers import InstrumentId

from node.binance.funding import settlement_ms
from node.binance.side_data import FundingPoller, FundingPollerConfig
from strategies.market_clock import market_clock
from strategies.records import FundingRecord, IncidentRecord

XRP = InstrumentId.from_str("XRPUSDT-PERP.BINANCE")
HOUR_MS = 3_600_000
T0 = 1_756_684_800_000  # 2025-09-01T00:00Z, a settlement
WALL = 1_795_000_000_000


async def eventually(condition: Callable[[], object], secs: float = 5.0) -> None:
    deadline = asyncio.get_running_loop().time() + secs
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "condition not met in time"
        await asyncio.sleep(0.005)


class Rates:
    """A venue that serves settlements up to `until_ms`, or fails, and remembers what it was asked."""

    def __init__(self) -> None:
        self.until_ms = T0
        self.failing = False
        self.gate: asyncio.Event | None = None
        self.asked: list[dict[str, str]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        if self.gate is not None:
            await self.gate.wait()
        if self.failing:
            return web.Response(status=503, text="<html>")
        start = int(request.query.get("startTime", T0 - 16 * HOUR_MS))
        times = [t for t in range(T0 - 16 * HOUR_MS, self.until_ms + 1, 8 * HOUR_MS) if t + 5 >= start]
        rows = [{"symbol": "XRPUSDT", "fundingTime": t + 5, "fundingRate": "0.00012500"} for t in times]
        return web.json_response(rows)


@asynccontextmanager
async def polling(node: TradingNode) -> AsyncIterator[tuple[Rates, FundingPoller, list[Any], list[Any]]]:
    rates = Rates()
    app = web.Application()
    app.router.add_get("/fapi/v1/fundingRate", rates.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    kernel = node.kernel
    updates: list[Any] = []
    incidents: list[Any] = []
    kernel.msgbus.subscribe("data.funding_rates.BINANCE.XRPUSDT-PERP", updates.append)
    kernel.msgbus.subscribe("argonaut.record.incident", incidents.append)
    base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    poller = FundingPoller(FundingPollerConfig(instrument_ids=(XRP,), base_url=base_url))
    poller.register_base(kernel.portfolio, kernel.msgbus, kernel.cache, kernel.clock)
    try:
        yield rates, poller, updates, incidents
    finally:
        poller.stop()
        await asyncio.sleep(0)
        await runner.cleanup()


async def test_history_first_then_every_settlement_once_on_the_engines_topic(built_node: TradingNode) -> None:
    async with polling(built_node) as (rates, poller, updates, incidents):
        assert not poller.ready
        poller.start()
        assert not poller.idle  # from the first moment: the barrier must wait
        await eventually(lambda: poller.ready and poller.idle)
        assert [u.ts_event // 1_000_000 for u in updates] == [T0 - 16 * HOUR_MS, T0 - 8 * HOUR_MS, T0]
        assert all(isinstance(u, FundingRateUpdate) and u.ts_init == u.ts_event for u in updates)
        assert updates[0].rate == Decimal("0.00012500")

        clock = market_clock(built_node.kernel.msgbus)
        clock.advance((T0 + 7 * HOUR_MS) * 1_000_000)
        await eventually(lambda: poller.idle)
        before = len(rates.asked)
        for minutes in (15, 30, 45):
            clock.advance((T0 + 7 * HOUR_MS + minutes * 60_000) * 1_000_000)
            assert poller.idle  # no boundary passed: nothing is asked
        rates.until_ms = T0 + 8 * HOUR_MS
        clock.advance((T0 + 8 * HOUR_MS) * 1_000_000)
        assert not poller.idle
        await eventually(lambda: poller.idle)
        assert len(updates) == 4
        assert updates[-1].ts_event == (T0 + 8 * HOUR_MS) * 1_000_000
        assert len(rates.asked) == before + 1
        assert int(rates.asked[-1]["startTime"]) == T0 + 1
        assert not incidents


async def test_a_settlement_listed_late_is_asked_for_again_at_the_next_bar(built_node: TradingNode) -> None:
    async with polling(built_node) as (rates, poller, updates, _):
        poller.start()
        clock = market_clock(built_node.kernel.msgbus)
        await eventually(lambda: poller.ready)
        clock.advance((T0 + 8 * HOUR_MS) * 1_000_000)
        await eventually(lambda: poller.idle)
        assert len(updates) == 3
        rates.until_ms = T0 + 8 * HOUR_MS
        clock.advance((T0 + 8 * HOUR_MS + 900_000) * 1_000_000)
        await eventually(lambda: poller.idle and len(updates) == 4)


async def test_failures_are_repeated_then_told_then_overcome(built_node: TradingNode) -> None:
    async with polling(built_node) as (rates, poller, updates, incidents):
        rates.failing = True
        poller.start()
        await eventually(lambda: incidents, 10)
        assert [(i.code, i.symbol) for i in incidents] == [("FUNDING_POLL_FAILED", "XRPUSDT")]
        assert not poller.ready
        rates.failing = False
        await eventually(lambda: poller.ready, 10)
        assert len(updates) == 3


def payload(change: str, positions: list[dict[str, str]], reason: str = "FUNDING_FEE", at: int = T0 + 4_000) -> bytes:
    balance = {"a": "USDT", "wb": "9990.0", "cw": "9990.0", "bc": change}
    return json.dumps(
        {"e": "ACCOUNT_UPDATE", "E": at, "T": at, "a": {"m": reason, "B": [balance], "P": positions}}
    ).encode()


def listen(node: TradingNode) -> tuple[Any, list[FundingRecord], list[IncidentRecord]]:
    records: list[FundingRecord] = []
    incidents: list[IncidentRecord] = []
    node.kernel.msgbus.subscribe("argonaut.record.funding", records.append)
    node.kernel.msgbus.subscribe("argonaut.record.incident", incidents.append)
    return next(iter(node.kernel.exec_engine._clients.values())), records, incidents


async def test_a_payment_becomes_one_record_at_its_market_settlement(built_node: TradingNode) -> None:
    client, records, _ = listen(built_node)
    market_clock(built_node.kernel.msgbus).advance(T0 * 1_000_000)
    message = payload("-0.37500000", [{"s": "XRPUSDT", "pa": "1000"}])
    client._handle_user_ws_message(message)
    client._handle_user_ws_message(message)  # the stream repeats itself: the money did not
    (record,) = records
    assert record.id == f"XRPUSDT/{T0}"
    assert (record.symbol, record.amount, record.market_time) == ("XRPUSDT", -0.375, T0 * 1_000_000)
    assert client.user_messages == 2


async def test_two_payments_of_one_settlement_are_two_records(built_node: TradingNode) -> None:
    client, records, _ = listen(built_node)
    for change in ("-0.3", "0.7", "-0.1"):
        client._handle_user_ws_message(payload(change, [{"s": "XRPUSDT", "pa": "1000"}]))
    assert [(r.id, r.amount) for r in records] == [
        (f"XRPUSDT/{T0}", -0.3),
        (f"XRPUSDT/{T0}-2", 0.7),
        (f"XRPUSDT/{T0}-3", -0.1),
    ]


@pytest.mark.parametrize("late_ms", [0, 4_000, 59 * 60_000])
def test_a_late_event_belongs_to_the_hour_it_settles(late_ms: int) -> None:
    assert settlement_ms(T0 + late_ms) == T0


async def test_two_events_of_one_settlement_take_each_its_own_row(built_node: TradingNode) -> None:
    client, records, incidents = listen(built_node)
    rows = [
        {"symbol": s, "incomeType": "FUNDING_FEE", "income": i, "asset": "USDT", "time": WALL, "tranId": n}
        for n, (s, i) in enumerate([("XRPUSDT", "-0.3"), ("BTCUSDT", "0.1")], 1)
    ]
    async with income(built_node, rows):
        client._handle_user_ws_message(payload("-0.3", []))
        client._handle_user_ws_message(payload("0.1", []))
        await eventually(lambda: client.pending_work == 0)
        client._handle_user_ws_message(payload("-0.2", [], at=T0 + 8 * 3_600_000))  # nothing new explains this one
        await eventually(lambda: client.pending_work == 0, 10)
    assert [(r.id, r.amount) for r in records[:2]] == [(f"XRPUSDT/{T0}", -0.3), (f"BTCUSDT/{T0}", 0.1)]
    assert [i.code for i in incidents] == ["FUNDING_UNATTRIBUTED"]


@asynccontextmanager
async def income(node: TradingNode, rows: list[dict[str, Any]] | None) -> AsyncIterator[None]:
    """Serve the account's income history to the built node's client."""

    async def handle(request: web.Request) -> web.Response:
        assert request.query["incomeType"] == "FUNDING_FEE"
        assert request.query["signature"]
        return web.Response(status=503, text="down") if rows is None else web.json_response(rows)

    app = web.Application()
    app.router.add_get("/fapi/v1/income", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = next(iter(node.kernel.exec_engine._clients.values()))
    client._http_client._base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield
    finally:
        await runner.cleanup()


async def test_a_payment_for_several_symbols_is_split_by_the_income_history(built_node: TradingNode) -> None:
    client, records, incidents = listen(built_node)
    market_clock(built_node.kernel.msgbus).advance(T0 * 1_000_000)
    rows = [
        {"symbol": "XRPUSDT", "incomeType": "FUNDING_FEE", "income": "-0.5", "asset": "USDT", "time": WALL - 9_000},
        {"symbol": "XRPUSDT", "incomeType": "FUNDING_FEE", "income": "-0.3", "asset": "USDT", "time": WALL},
        {"symbol": "BTCUSDT", "incomeType": "FUNDING_FEE", "income": "0.1", "asset": "USDT", "time": WALL},
    ]
    async with income(built_node, rows):
        client._handle_user_ws_message(payload("-0.2", [{"s": "XRPUSDT", "pa": "1"}, {"s": "BTCUSDT", "pa": "-1"}]))
        assert client.pending_work == 1
        await eventually(lambda: client.pending_work == 0)
    assert {r.id: r.amount for r in records} == {f"XRPUSDT/{T0}": -0.3, f"BTCUSDT/{T0}": 0.1}
    assert not incidents


async def test_a_payment_that_cannot_be_split_is_kept_whole_and_told(built_node: TradingNode) -> None:
    client, records, incidents = listen(built_node)
    async with income(built_node, None):
        client._handle_user_ws_message(payload("-0.2", []))
        await eventually(lambda: client.pending_work == 0, 10)
    assert [r.amount for r in records] == [-0.2]
    assert [i.code for i in incidents] == ["FUNDING_UNATTRIBUTED"]


async def test_payments_of_several_symbols_told_twice_are_booked_once(built_node: TradingNode) -> None:
    client, records, incidents = listen(built_node)
    rows = [
        {"symbol": s, "incomeType": "FUNDING_FEE", "income": i, "asset": "USDT", "time": WALL, "tranId": n}
        for n, (s, i) in enumerate([("XRPUSDT", "-0.3"), ("BTCUSDT", "0.1")], 1)
    ]
    async with income(built_node, rows):
        for change in ("-0.3", "-0.3", "0.1", "0.1"):
            client._handle_user_ws_message(payload(change, []))
        await eventually(lambda: client.pending_work == 0, 15)
    assert [(r.id, r.amount) for r in records] == [(f"XRPUSDT/{T0}", -0.3), (f"BTCUSDT/{T0}", 0.1)]
    assert not incidents


async def test_two_payments_of_one_settlement_that_cannot_be_split_are_both_kept(built_node: TradingNode) -> None:
    client, records, _ = listen(built_node)
    async with income(built_node, None):
        for change in ("-0.3", "0.1"):
            client._handle_user_ws_message(payload(change, []))
        await eventually(lambda: client.pending_work == 0, 15)
    assert [r.amount for r in records] == [-0.3, 0.1]
    assert len({r.id for r in records}) == 2


async def test_a_payment_whose_event_was_lost_is_read_back_once_and_its_late_event_adds_nothing(
    built_node: TradingNode,
) -> None:
    client, records, incidents = listen(built_node)
    now = built_node.kernel.clock.timestamp_ms()
    rows = [
        {"symbol": s, "incomeType": "FUNDING_FEE", "income": i, "asset": "USDT", "time": now, "tranId": n}
        for n, (s, i) in enumerate([("XRPUSDT", "-0.3"), ("BTCUSDT", "0.1"), ("ETHUSDT", "0.7")], 1)
    ]
    async with income(built_node, rows):
        client._handle_user_ws_message(payload("-0.30000000", [{"s": "XRPUSDT", "pa": "1"}]))
        for _ in range(2):
            await client.read_back_funding()
        assert [(r.symbol, r.amount) for r in records] == [("XRPUSDT", -0.3), ("BTCUSDT", 0.1), ("ETHUSDT", 0.7)]
        client._handle_user_ws_message(payload("0.1", [{"s": "BTCUSDT", "pa": "1"}]))
        client._handle_user_ws_message(payload("0.7", []))
        await eventually(lambda: client.pending_work == 0)
    assert len(records) == 3
    assert not incidents


async def test_a_payment_told_as_a_sum_is_not_read_back_again(built_node: TradingNode) -> None:
    client, records, _ = listen(built_node)
    async with income(built_node, None):
        client._handle_user_ws_message(payload("-0.2", []))
        await eventually(lambda: client.pending_work == 0, 10)
    now = built_node.kernel.clock.timestamp_ms()
    rows = [
        {"symbol": s, "incomeType": "FUNDING_FEE", "income": i, "asset": "USDT", "time": now, "tranId": n}
        for n, (s, i) in enumerate([("XRPUSDT", "-0.3"), ("BTCUSDT", "0.1"), ("ETHUSDT", "0.7")], 1)
    ]
    async with income(built_node, rows):
        await client.read_back_funding()
    assert sorted(r.amount for r in records) == [-0.2, 0.7]


async def test_unknown_reasons_types_and_fields_are_not_errors(built_node: TradingNode) -> None:
    client, records, incidents = listen(built_node)
    states: list[Any] = []
    built_node.kernel.msgbus.subscribe("events.account.*", states.append)
    client._handle_user_ws_message(payload("0", [{"s": "XRPUSDT", "new": "field"}], reason="A_REASON_OF_TOMORROW"))
    client._handle_user_ws_message(b'{"e":"AN_EVENT_OF_TOMORROW","E":1,"x":{}}')
    client._handle_user_ws_message(b'{"e":"TRADE_LITE","E":1}')
    client._handle_user_ws_message(b'{"e":"ACCOUNT_CONFIG_UPDATE","E":1,"T":1,"ai":{"j":true}}')
    client._handle_user_ws_message(b'{"e":"STRATEGY_UPDATE","E":1,"T":1,"su":{}}')
    assert client.user_messages == 5
    assert not records
    assert not incidents
    assert client._resync_task is None


async def test_margin_calls_and_changed_leverage_become_incidents(built_node: TradingNode) -> None:
    client, _, incidents = listen(built_node)
    client._leverages = {"XRPUSDT": 10}
    call = {"e": "MARGIN_CALL", "E": 1, "cw": "3.16", "p": [{"s": "XRPUSDT", "ps": "BOTH", "pa": "5", "mm": "1.6"}]}
    client._handle_user_ws_message(json.dumps(call).encode())
    client._handle_user_ws_message(b'{"e":"ACCOUNT_CONFIG_UPDATE","E":1,"T":1,"ac":{"s":"XRPUSDT","l":25}}')
    client._handle_user_ws_message(b'{"e":"ACCOUNT_CONFIG_UPDATE","E":1,"T":1,"ac":{"s":"XRPUSDT","l":10}}')
    assert [(i.code, i.severity, i.symbol) for i in incidents] == [
        ("MARGIN_CALL", "critical", "XRPUSDT"),
        ("LEVERAGE_CHANGED", "warning", "XRPUSDT"),
    ]


async def test_an_unreadable_event_makes_the_state_uncertain(built_node: TradingNode) -> None:
    client, _, incidents = listen(built_node)
    client._handle_user_ws_message(b'{"e":"ORDER_TRADE_UPDATE","o":{}}')
    assert [i.code for i in incidents] == ["STATE_UNCERTAIN"]
    assert client._resync_task is not None
    client._resync_task.cancel()
