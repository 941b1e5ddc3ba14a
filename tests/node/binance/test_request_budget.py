"""One budget for all requests: weight by the venue's own count, silence after 429 and 418, protection before all."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from nautilus_trader.adapters.binance.http.error import BinanceClientError
from nautilus_trader.common.component import LiveClock
from nautilus_trader.core.nautilus_pyo3 import HttpMethod

from node.binance.http import ArgonautBinanceHttpClient, outcome_unknown, transient
from node.binance.rest import BinanceRest, VenueRequestError
from strategies.request_budget import BAN_SECS, HeldBackError, Purpose, RequestBudget, purpose_of, weight_of

MINUTE_START = 1_800_000_000.0  # a multiple of 60


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = MINUTE_START
        self.slept: list[float] = []

    def wall(self) -> float:
        return self.now

    async def sleep(self, secs: float) -> None:
        self.slept.append(secs)
        self.now += secs


def budget(time: Time, limit: int | None = 2400) -> RequestBudget:
    return RequestBudget(limit, 400, wall=time.wall, sleep=time.sleep)


@pytest.mark.parametrize(
    ("method", "path", "parameters", "purpose"),
    [
        ("POST", "/fapi/v1/order", {"reduceOnly": "True"}, Purpose.PROTECT),
        ("POST", "/fapi/v1/algoOrder", {"reduceOnly": "true"}, Purpose.PROTECT),
        ("POST", "/fapi/v1/algoOrder", {"closePosition": "true"}, Purpose.PROTECT),
        ("DELETE", "/fapi/v1/algoOpenOrders", {"symbol": "XRPUSDT"}, Purpose.PROTECT),
        ("POST", "/fapi/v1/order", {"reduceOnly": "False"}, Purpose.ENTER),
        ("POST", "/fapi/v1/algoOrder", {}, Purpose.ENTER),
        ("PUT", "/fapi/v1/order", {}, Purpose.ENTER),
        ("GET", "/fapi/v1/order", {"reduceOnly": "true"}, Purpose.SEE),
        ("GET", "/fapi/v1/algoOrder", {"clientAlgoId": "x"}, Purpose.SEE),
        ("GET", "/fapi/v3/positionRisk", {}, Purpose.SEE),
        ("GET", "/fapi/v1/openAlgoOrders", {"symbol": "XRPUSDT"}, Purpose.SEE),
        ("GET", "/fapi/v1/openAlgoOrders", {}, Purpose.ASK),
        ("GET", "/fapi/v1/allOrders", {"symbol": "XRPUSDT"}, Purpose.ASK),
        ("POST", "/fapi/v1/listenKey", None, Purpose.SEE),
        ("PUT", "/fapi/v1/listenKey", None, Purpose.SEE),
        ("DELETE", "/fapi/v1/listenKey", None, Purpose.ASK),
    ],
)
def test_the_purpose_is_read_from_the_request(
    method: str, path: str, parameters: dict[str, str] | None, purpose: Purpose
) -> None:
    assert purpose_of(method, path, parameters) is purpose


def test_open_orders_are_cheap_for_one_symbol_only() -> None:
    assert weight_of("/fapi/v1/openOrders", {"symbol": "XRPUSDT"}) == 1
    assert weight_of("/fapi/v1/openOrders", {}) == 40


@pytest.mark.parametrize(
    ("status", "headers", "body", "secs"),
    [
        (429, {"Retry-After": "17"}, b"", 17.0),
        (418, {"retry-after": "61"}, b"", 61.0),
        (429, {}, b"", 1.0),
        (429, {"X-MBX-USED-WEIGHT-1M": "2401"}, b"", 60.0),
        (418, {}, b"", BAN_SECS),
        (418, {}, b'{"code":-1003,"msg":"Way too many requests; IP banned until 1800000090000."}', 90.0),
    ],
)
async def test_silence_lasts_as_long_as_the_venue_says(
    status: int, headers: dict[str, str], body: bytes, secs: float
) -> None:
    time = Time()
    told: list[tuple[str, str]] = []
    mine = budget(time)
    mine.on_blocked = lambda code, text: told.append((code, text))
    await mine.admit(Purpose.ASK, 1)
    mine.answered(1, status, headers, body)
    assert mine.silent_secs == pytest.approx(secs)
    await mine.admit(Purpose.PROTECT, 1)
    mine.answered(1, status, headers, body)
    assert time.slept == []  # protection waited for nothing
    with pytest.raises(HeldBackError):
        await mine.admit(Purpose.ENTER, 1)
    if secs <= 65:
        await mine.admit(Purpose.ASK, 1)
        assert time.now == pytest.approx(MINUTE_START + secs)
    else:
        with pytest.raises(HeldBackError):
            await mine.admit(Purpose.ASK, 1)
    assert [code for code, _ in told if code != "REQUEST_WEIGHT_LOW"] == [
        "VENUE_BANNED" if status == 418 else "VENUE_RATE_LIMIT"
    ]


async def test_the_last_weight_of_a_minute_is_for_protection() -> None:
    time = Time()
    told: list[str] = []
    mine = budget(time)
    mine.on_blocked = lambda code, _: told.append(code)
    await mine.admit(Purpose.ASK, 40)
    mine.answered(40, 200, {"X-MBX-USED-WEIGHT-1M": "1990"})
    time.now += 20
    await mine.admit(Purpose.ENTER, 1)  # 1991 of 2000
    with pytest.raises(HeldBackError):
        await mine.admit(Purpose.ENTER, 10)
    await mine.admit(Purpose.PROTECT, 1)
    await mine.admit(Purpose.ASK, 40)
    assert time.slept == [pytest.approx(40.0)]  # to the venue's next minute
    assert told == ["REQUEST_WEIGHT_LOW"]


async def test_weight_in_flight_counts_before_the_venue_has_counted_it() -> None:
    time = Time()
    mine = budget(time)
    for _ in range(50):
        await mine.admit(Purpose.ASK, 40)
    assert time.slept == []
    assert mine.used == 2000
    with pytest.raises(HeldBackError):
        await mine.admit(Purpose.ENTER, 1)


async def test_without_a_limit_only_the_venues_own_word_counts() -> None:
    time = Time()
    mine = budget(time, None)
    await mine.admit(Purpose.ASK, 1)
    mine.answered(1, 200, {"X-MBX-USED-WEIGHT-1M": "90000"})
    await mine.admit(Purpose.ENTER, 1)
    mine.answered(1, 429, {"Retry-After": "5"})
    with pytest.raises(HeldBackError):
        await mine.admit(Purpose.ENTER, 1)


LOW = {"X-MBX-USED-WEIGHT-1M": "12"}
HIGH = {"X-MBX-USED-WEIGHT-1M": "2400"}


async def test_a_refusal_that_weight_does_not_explain_costs_seconds_and_each_further_one_twice_as_many() -> None:
    time = Time()
    mine = budget(time)
    for secs in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        await mine.admit(Purpose.ASK, 1)
        mine.answered(1, 429, LOW)
        assert mine.silent_secs == pytest.approx(secs)
    await mine.admit(Purpose.ASK, 1)
    mine.answered(1, 200, LOW)
    assert mine.silent_secs == 0
    await mine.admit(Purpose.ASK, 1)
    mine.answered(1, 429, LOW)
    assert mine.silent_secs == pytest.approx(1.0)  # a good answer has cleared the count


async def test_a_guess_is_probed_ever_more_rarely_and_ends_with_the_first_sign_of_headroom() -> None:
    time = Time()
    mine = budget(time)
    await mine.admit(Purpose.ASK, 40)
    mine.answered(40, 429, HIGH)
    assert mine.silent_secs == pytest.approx(60.0)
    sent = []
    while mine.silent_secs and time.now < MINUTE_START + 25:
        await mine.admit(Purpose.SEE, 1)
        sent.append(time.now - MINUTE_START)
        mine.answered(1, 429, HIGH, purpose=Purpose.SEE)
    assert sent == [pytest.approx(t) for t in (1.0, 3.0, 7.0, 15.0, 31.0)]
    await mine.admit(Purpose.SEE, 1)
    mine.answered(1, 200, LOW, purpose=Purpose.SEE)
    assert mine.silent_secs == 0
    await mine.admit(Purpose.ENTER, 1)


async def test_probes_that_wait_together_leave_one_after_the_other() -> None:
    time = Time()
    mine = budget(time)
    await mine.admit(Purpose.ASK, 1)
    mine.answered(1, 429, HIGH)
    sent = []

    async def look() -> None:
        await mine.admit(Purpose.SEE, 1)
        sent.append(time.now)

    await asyncio.gather(*(look() for _ in range(5)))
    assert len(set(sent)) == 5


async def test_what_the_venue_has_ordered_holds_for_questions_too() -> None:
    time = Time()
    mine = budget(time)
    await mine.admit(Purpose.ASK, 1)
    mine.answered(1, 429, {**LOW, "Retry-After": "20"})
    await mine.admit(Purpose.SEE, 1)
    assert time.now == MINUTE_START + 20
    mine.answered(1, 200, LOW, purpose=Purpose.SEE)


@pytest.mark.parametrize(("status", "most"), [(429, 35), (418, 8)])
async def test_protection_that_is_refused_does_not_hammer(status: int, most: int) -> None:
    time = Time()
    mine = budget(time)
    sent = 0
    while time.now < MINUTE_START + 59:
        await mine.admit(Purpose.PROTECT, 1)
        sent += 1
        mine.answered(1, status, {"Retry-After": "60"}, purpose=Purpose.PROTECT)
        assert sent < 100
    assert sent <= most
    mine.answered(0, 200, LOW, purpose=Purpose.PROTECT)
    before = time.now
    await mine.admit(Purpose.PROTECT, 1)
    assert time.now == before  # an order that was taken clears it


async def test_protection_waits_no_longer_than_the_ban() -> None:
    time = Time()
    mine = budget(time)
    await mine.admit(Purpose.PROTECT, 1)
    mine.answered(1, 418, {"Retry-After": "1"}, purpose=Purpose.PROTECT)
    await mine.admit(Purpose.PROTECT, 1)
    assert time.now == pytest.approx(MINUTE_START + 1)


async def test_what_keeps_the_node_seeing_may_use_the_reserve_but_for_its_end() -> None:
    time = Time()
    mine = budget(time)
    await mine.admit(Purpose.ASK, 1)
    mine.answered(1, 200, {"X-MBX-USED-WEIGHT-1M": "2200"})
    await mine.admit(Purpose.SEE, 5)
    assert time.slept == []
    mine.answered(5, 200, {"X-MBX-USED-WEIGHT-1M": "2299"}, purpose=Purpose.SEE)
    await mine.admit(Purpose.SEE, 5)
    assert time.slept == [pytest.approx(60.0)]


async def test_the_client_keeps_silent_and_signs_after_the_wait() -> None:
    """Over real sockets: an entry is refused unsent, a stop goes out, a question comes later, freshly signed."""
    seen: list[tuple[str, str, int]] = []
    clock = LiveClock()

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, int(request.query.get("timestamp", "0"))))
        if len(seen) == 1:
            body: dict[str, Any] = {"code": -1003, "msg": "Too many requests."}
            return web.json_response(body, status=429, headers={"Retry-After": "1"})
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    client = ArgonautBinanceHttpClient(
        clock=clock,
        api_key="k",
        api_secret="s",
        base_url=f"http://127.0.0.1:{port}",
        timeout_secs=5,
        quotas=[],
        default_quota=None,
    )

    def stamp() -> dict[str, str]:
        return {"symbol": "XRPUSDT", "timestamp": str(clock.timestamp_ms())}

    try:
        with pytest.raises(BinanceClientError) as first:
            await client.sign_request(HttpMethod.GET, "/fapi/v1/openOrders", stamp())
        assert transient(first.value)
        asked = stamp()
        question = asyncio.create_task(client.sign_request(HttpMethod.GET, "/fapi/v2/account", asked))
        await asyncio.sleep(0)
        with pytest.raises(BinanceClientError) as refused:
            await client.sign_request(HttpMethod.POST, "/fapi/v1/order", {**stamp(), "side": "BUY"})
        assert refused.value.status == 429
        assert not outcome_unknown(refused.value)  # a definite no: nothing was sent
        await client.sign_request(HttpMethod.POST, "/fapi/v1/algoOrder", {**stamp(), "reduceOnly": "True"})
        assert [s[:2] for s in seen] == [("GET", "/fapi/v1/openOrders"), ("POST", "/fapi/v1/algoOrder")]
        before = seen[1][2]
        await question
        assert seen[2][1] == "/fapi/v2/account"
        assert seen[2][2] >= before + 500  # stamped when it was sent, not when it was asked
    finally:
        await runner.cleanup()


async def test_the_nodes_other_client_does_not_talk_into_the_silence() -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        refused = len(seen) == 1
        return web.json_response({"serverTime": 1}, status=429 if refused else 200, headers=LOW)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    time = Time()
    mine = budget(time)
    try:
        async with BinanceRest(f"http://127.0.0.1:{runner.addresses[0][1]}", budget=mine) as rest:
            for _ in range(3):
                with pytest.raises(VenueRequestError) as refused:
                    await rest.get("/fapi/v1/time")
            assert refused.value.status == 429
            assert refused.value.retry_after_secs == pytest.approx(1.0)
            assert seen == ["/fapi/v1/time"]
            time.now += 1.0
            assert await rest.get("/fapi/v1/time") == {"serverTime": 1}
            assert mine.used == 12
    finally:
        await runner.cleanup()
