"""The fault API: each fault is visible at the client and leaves the books true."""

import asyncio
import time

import aiohttp
import pytest

ORDER = {"symbol": "XRPUSDT", "side": "BUY", "type": "MARKET", "quantity": "100"}
PATH = "/fapi/v1/order"


@pytest.fixture
async def priced(venue):
    await venue.client.control("price", symbol="XRPUSDT", price="2.5000")
    return venue


async def fills(running):
    return len((await running.client.books())["fills"])


async def test_the_next_answers_fail_without_execution(priced):
    client = priced.client
    await client.control("fault", method="POST", path="/fapi/v1/order", times=2, status=503, code=-1008)
    for _ in range(2):
        status, answer, _ = await client.full("POST", PATH, **ORDER)
        assert (status, answer["code"]) == (503, -1008)
    assert await fills(priced) == 0
    await client.call("POST", PATH, **ORDER)
    assert await fills(priced) == 1


async def test_executed_then_failed(priced):
    client = priced.client
    await client.control(
        "fault", path="/fapi/v1/order", mode="execute_then_fail", status=503, code=-1007, message="Timeout"
    )
    status, answer, _ = await client.full("POST", PATH, **ORDER)
    assert (status, answer) == (503, {"code": -1007, "msg": "Timeout"})
    assert await fills(priced) == 1


@pytest.mark.parametrize(("mode", "executed"), [("close", 0), ("execute_then_close", 1)])
async def test_the_connection_is_reset_instead_of_an_answer(priced, mode, executed):
    await priced.client.control("fault", path="/fapi/v1/order", mode=mode)
    with pytest.raises(aiohttp.ClientError):
        await priced.client.call("POST", PATH, **ORDER)
    assert await fills(priced) == executed


async def test_headers_html_skip_and_method(priced):
    client = priced.client
    await client.control(
        "fault",
        method="GET",
        path="/fapi/v1/time",
        skip=1,
        status=429,
        code=0,
        message="<html>",
        headers={"Retry-After": "7"},
    )
    assert (await client.full("GET", "/fapi/v1/time", signed=False))[0] == 200
    assert (await client.full("POST", PATH, **ORDER))[0] == 200
    status, answer, headers = await client.full("GET", "/fapi/v1/time", signed=False)
    assert (status, answer, headers["Retry-After"]) == (429, "<html>", "7")


async def test_a_delayed_request_is_checked_against_its_window_when_it_arrives_at_the_engine(priced):
    await priced.client.control("fault", path="/fapi/v1/order", mode="delay", delay_ms=300)
    assert await priced.client.error("POST", PATH, **ORDER, recvWindow=100) == -1021
    await priced.client.control("fault", path="/fapi/v1/order", mode="delay", answer_delay_ms=200)
    began = time.monotonic()
    await priced.client.call("POST", PATH, **ORDER)
    assert time.monotonic() - began >= 0.2


async def test_a_frozen_venue_answers_nothing_until_it_thaws(priced):
    stream = await priced.user_stream()
    await priced.client.control("freeze")
    pending = asyncio.create_task(priced.client.call("POST", PATH, **ORDER))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(pending), 0.2)
    assert await fills(priced) == 0
    await priced.client.control("thaw")
    await pending
    await stream.until(lambda m: m["e"] == "ACCOUNT_UPDATE")
    await priced.client.control("freeze", secs=0.2)
    began = time.monotonic()
    await priced.client.call("GET", "/fapi/v1/time", signed=False)
    assert time.monotonic() - began >= 0.15


@pytest.mark.parametrize("hard", [False, True])
async def test_a_dropped_user_stream_misses_what_happens_meanwhile(priced, hard):
    stream = await priced.user_stream()
    await priced.client.call("POST", PATH, **ORDER)
    await stream.until(lambda m: m["e"] == "ACCOUNT_UPDATE")
    await priced.client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity="100", triggerPrice="2.4", reduceOnly="true")
    await priced.client.control("drop_user_stream", hard=hard, refuse=True)
    while not stream.ws.closed:
        await stream.ws.receive(timeout=5)
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await priced.user_stream()
    await priced.client.control("price", symbol="XRPUSDT", price="2.3000")
    await priced.client.control("accept")
    again = await priced.user_stream()
    await priced.client.call("POST", PATH, **ORDER, newClientOrderId="later")
    first = await again.until(lambda _: True)
    assert first["o"]["c"] == "later", "nothing is replayed to a stream that comes back"
    assert await fills(priced) == 3


async def test_a_dropped_market_stream(priced):
    stream = await priced.market_stream("xrpusdt@kline_15m")
    await priced.client.control("drop_market_stream")
    message = await stream.ws.receive(timeout=5)
    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    again = await priced.market_stream("xrpusdt@kline_15m")
    await priced.client.control("step")
    await again.until(lambda m: m["data"]["k"]["x"])


async def test_user_events_lost_doubled_and_reversed(priced):
    stream = await priced.user_stream()
    client = priced.client
    await client.control("event_fault", event="ORDER_TRADE_UPDATE", status="FILLED", mode="mute")
    await client.call("POST", PATH, **ORDER, newClientOrderId="one")
    await client.control("event_fault", event="ORDER_TRADE_UPDATE", status="NEW", mode="duplicate")
    await client.call("POST", PATH, **ORDER, newClientOrderId="two")
    await client.control("event_fault", event="ORDER_TRADE_UPDATE", times=2, mode="hold")
    await client.call("POST", PATH, **ORDER, newClientOrderId="three")
    await stream.until(lambda m: m["e"] == "ORDER_TRADE_UPDATE" and (m["o"]["c"], m["o"]["X"]) == ("three", "NEW"))
    seen = [(m["o"]["c"], m["o"]["X"]) for m in stream.seen if m["e"] == "ORDER_TRADE_UPDATE"]
    assert seen == [
        ("one", "NEW"),
        ("two", "NEW"),
        ("two", "NEW"),
        ("two", "FILLED"),
        ("three", "FILLED"),
        ("three", "NEW"),
    ]
    assert await fills(priced) == 3


async def test_user_events_come_again_with_older_times(priced):
    stream = await priced.user_stream()
    await priced.client.control("event_fault", event="ORDER_TRADE_UPDATE", status="FILLED", mode="echo", delay_ms=20)
    await priced.client.call("POST", PATH, **ORDER, newClientOrderId="one")
    first = await stream.until(lambda m: m.get("o", {}).get("X") == "FILLED")
    again = await stream.until(lambda m: m.get("o", {}).get("X") == "FILLED")
    assert again["o"] == first["o"]
    assert [first[name] - again[name] for name in ("E", "T")] == [60_000, 60_000]


async def test_a_human_trades_places_a_stop_cancels_and_changes_leverage(priced):
    stream = await priced.user_stream()
    client = priced.client
    await client.control("order", params=ORDER)
    stop = {
        "algoType": "CONDITIONAL",
        "symbol": "XRPUSDT",
        "side": "SELL",
        "type": "STOP_MARKET",
        "triggerPrice": "2.4",
        "quantity": "100",
        "reduceOnly": True,
    }
    await client.control("algo_order", params=stop)
    algo = (await client.call("GET", "/fapi/v1/openAlgoOrders"))[0]
    await client.control("cancel", algo_id=algo["algoId"])
    await client.control("leverage", symbol="XRPUSDT", leverage=3)
    await stream.until(lambda m: m["e"] == "ACCOUNT_CONFIG_UPDATE")
    assert [m["e"] for m in stream.seen] == [
        "ORDER_TRADE_UPDATE",
        "ACCOUNT_UPDATE",
        "ORDER_TRADE_UPDATE",
        "ALGO_UPDATE",
        "ALGO_UPDATE",
        "ACCOUNT_CONFIG_UPDATE",
    ]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"action": "explode"}, "unknown action 'explode'"),
        ({"action": "fault", "modus": "fail"}, "unknown key (did you mean `mode`?)"),
        ({"action": "fault", "status": 99}, "status"),
        ({"action": "speed", "speed": -1}, "is out of range"),
        ({"action": "price", "symbol": "NOPE", "price": 1}, "unknown symbol"),
        ({"action": "price", "symbol": "XRPUSDT", "price": "x"}, "not a number"),
        ({"action": "order", "params": {"symbol": "XRPUSDT"}}, "-1102"),
    ],
)
async def test_a_wrong_control_request_is_refused_with_a_reason(venue, body, complaint):
    async with venue.session.post(f"{venue.http}/argonaut/control", json=body) as response:
        assert response.status == 400
        assert complaint in (await response.json())["error"]


async def test_what_comes_with_200_need_be_no_answer_and_events_can_be_unreadable(priced):
    client = priced.client
    await client.control("fault", path="/fapi/v1/order", mode="execute_then_fail", status=200, code=0, message="?")
    assert (await client.full("POST", PATH, **ORDER))[:2] == (200, "?")
    assert len(await client.call("GET", "/fapi/v1/allOrders", symbol="XRPUSDT")) == 1, "executed"
    stream = await priced.user_stream()
    await client.control("event_fault", event="ORDER_TRADE_UPDATE", mode="stripped")
    await client.control("kline_fault", symbol="XRPUSDT", mode="stripped")
    market = await priced.market_stream("xrpusdt@kline_15m")
    await client.full("POST", PATH, **ORDER)
    assert (await stream.until(lambda m: m["e"] == "ORDER_TRADE_UPDATE"))["o"] == {}
    await client.control("step", count=2)
    closed = await market.until(lambda m: m["data"]["k"].get("x"))
    assert [m["data"]["k"] == {} for m in market.seen] == [True, False]
    assert closed["data"]["s"] == "XRPUSDT"


async def test_trades_are_told_a_week_at_a_time(priced):
    client = priced.client
    await client.full("POST", PATH, **ORDER)
    week, now = 7 * 86_400_000, int(time.time() * 1000)
    shared = {"symbol": "XRPUSDT"}

    async def count(**span: int) -> int:
        return len(await client.call("GET", "/fapi/v1/userTrades", **shared, **span))

    assert await count() == 1
    assert await count(startTime=now - 6 * 86_400_000) == 1
    assert await count(startTime=now - week - 60_000) == 0, "a start alone is the start of a week"
    assert await count(fromId=1) == 1
    assert await client.error("GET", "/fapi/v1/userTrades", **shared, startTime=now - week - 5, endTime=now) == -4165
    assert await client.error("GET", "/fapi/v1/userTrades", **shared, startTime=now, fromId=1) == -1128


async def test_clear_faults_restores_everything(priced):
    client = priced.client
    await client.control("fault", path="/fapi/", times=100)
    await client.control("event_fault", times=100)
    await client.control("skew", ms=50_000)
    await client.control("drop_user_stream", refuse=True)
    await client.control("clear_faults")
    stream = await priced.user_stream()
    await client.call("POST", PATH, **ORDER)
    await stream.until(lambda m: m["e"] == "ACCOUNT_UPDATE")
