"""The signed REST client against a server that checks signatures for real."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from node.binance.preflight import Severity, run_preflight, startable
from node.binance.rest import BinanceRest, VenueRequestError
from strategies.errors import ConfigError

SECRET = "the-secret"
type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_hmac_signature_covers_the_query_as_sent() -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        query, _, signature = request.raw_path.partition("?")[2].rpartition("&signature=")
        good = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest() == signature
        seen.append(query)
        body = {"good": good, "key": request.headers["X-MBX-APIKEY"]}
        return web.json_response(body, headers={"X-MBX-USED-WEIGHT-1M": "37"})

    async with serving(handler) as url, BinanceRest(url, "the-key", SECRET, time_ms=lambda: 1700000000000) as rest:
        params = {"symbol": "XRPUSDT", "reduceOnly": True, "quantity": Decimal("0.10"), "note": "a b&c=ü"}
        answers = [await call("/x", params, signed=True) for call in (rest.get, rest.post, rest.delete)]
        assert answers == [{"good": True, "key": "the-key"}] * 3
        assert rest.used_weight == 37
    assert seen[0].startswith("symbol=XRPUSDT&reduceOnly=true&quantity=0.10&note=a+b%26c%3D%C3%BC&recvWindow=5000&")
    assert seen[0].endswith("timestamp=1700000000000")


@pytest.mark.parametrize("pem", [True, False], ids=["pem", "base64"])
async def test_ed25519_signature_verifies(pem: bool) -> None:
    key = Ed25519PrivateKey.generate()
    if pem:
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    else:
        secret = base64.b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()

    async def handler(request: web.Request) -> web.Response:
        query = request.raw_path.partition("?")[2].rpartition("&signature=")[0]
        key.public_key().verify(base64.b64decode(request.query["signature"]), query.encode())
        return web.json_response({"verified": True})

    async with serving(handler) as url, BinanceRest(url, "k", secret) as rest:
        assert await rest.get("/x", {"symbol": "XRPUSDT"}, signed=True) == {"verified": True}


@pytest.mark.parametrize(
    ("status", "body", "headers", "code", "unknown", "retry_after"),
    [
        (400, '{"code":-2013,"msg":"Order does not exist."}', {}, -2013, False, None),
        (429, '{"code":-1003,"msg":"Too many requests."}', {"Retry-After": "7"}, -1003, False, 7.0),
        (503, '{"code":-1007,"msg":"Timeout waiting."}', {}, -1007, True, None),
        (504, "<html>gateway</html>", {}, None, True, None),
        (400, '{"code":-1007,"msg":"Timeout waiting."}', {}, -1007, True, None),
    ],
)
async def test_errors_tell_code_message_and_whether_it_may_have_been_executed(
    status: int, body: str, headers: dict[str, str], code: int | None, unknown: bool, retry_after: float | None
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers=headers)

    async with serving(handler) as url, BinanceRest(url, "k", SECRET) as rest:
        with pytest.raises(VenueRequestError) as caught:
            await rest.post("/fapi/v1/order", {"symbol": "XRPUSDT"})
    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.outcome_unknown is unknown
    assert caught.value.retry_after_secs == retry_after
    assert "POST /fapi/v1/order" in str(caught.value)


async def test_no_answer_is_an_error_within_the_time_out_and_keeps_the_signature_to_itself() -> None:
    release = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        await release.wait()
        return web.json_response({})

    async with serving(handler) as url, BinanceRest(url, "the-key", SECRET, timeout_secs=0.1) as rest:
        with pytest.raises(VenueRequestError) as caught:
            await rest.get("/slow", signed=True)
        release.set()
    assert caught.value.status == 0
    assert caught.value.outcome_unknown
    async with BinanceRest("http://127.0.0.1:1", "the-key", SECRET) as rest:
        with pytest.raises(VenueRequestError) as refused:
            await rest.get("/gone", signed=True)
    for error in (caught.value, refused.value):
        assert "signature" not in str(error)
        assert "the-key" not in str(error)
        assert SECRET not in repr(rest) + repr(error)


async def test_a_signed_request_without_credentials_is_refused_before_it_is_sent() -> None:
    async with BinanceRest("http://127.0.0.1:1") as rest:
        with pytest.raises(ConfigError, match="api_key"):
            await rest.get("/fapi/v2/account", signed=True)


def venue_answers(**overrides: object) -> Handler:
    answers: dict[str, object] = {
        "/fapi/v1/time": {"serverTime": 1_700_000_000_000},
        "/fapi/v1/positionSide/dual": {"dualSidePosition": False},
        "/fapi/v1/exchangeInfo": {"symbols": [{"symbol": "XRPUSDT", "status": "TRADING"}]},
        "/fapi/v1/symbolConfig": [{"symbol": "XRPUSDT", "leverage": 10}],
    }
    for name, answer in overrides.items():
        path = next(p for p in answers if p.endswith(name))
        answers[path] = answer

    async def handler(request: web.Request) -> web.Response:
        answer = answers[request.path]
        return web.Response(status=500, text="down") if answer is None else web.json_response(answer)

    return handler


@pytest.mark.parametrize(
    ("overrides", "check", "severity", "words"),
    [
        ({}, None, Severity.OK, ""),
        ({"dual": {"dualSidePosition": True}}, "position_mode", Severity.FAIL, "hedge mode"),
        ({"time": {"serverTime": 1_700_000_001_500}}, "clock", Severity.FAIL, "+1500 ms"),
        ({"time": {"serverTime": 1_699_999_999_600}}, "clock", Severity.WARN, "-400 ms"),
        (
            {"exchangeInfo": {"symbols": [{"symbol": "XRPUSDT", "status": "SETTLING"}]}},
            "symbols",
            Severity.FAIL,
            "SETTLING",
        ),
        ({"exchangeInfo": {"symbols": []}}, "symbols", Severity.FAIL, "does not exist"),
        ({"symbolConfig": [{"symbol": "XRPUSDT", "leverage": 20}]}, "leverage", Severity.WARN, "20x"),
        ({"symbolConfig": None}, "leverage", Severity.FAIL, "HTTP 500"),
        ({"dual": {"other": 1}}, "position_mode", Severity.FAIL, "unexpected answer"),
    ],
)
async def test_preflight_names_what_is_wrong_and_what_to_do(
    overrides: dict[str, object], check: str | None, severity: Severity, words: str
) -> None:
    async with serving(venue_answers(**overrides)) as url, BinanceRest(url, "k", SECRET) as rest:
        findings = await run_preflight(
            rest, symbols=["XRPUSDT"], leverages={"XRPUSDT": 10}, time_ms=lambda: 1_700_000_000_000
        )
    assert {f.check for f in findings} == {"clock", "position_mode", "symbols", "leverage"}
    notable = [f for f in findings if f.severity is not Severity.OK]
    assert [f.check for f in notable] == ([check] if check else [])
    assert startable(findings) is (severity is not Severity.FAIL)
    for finding in notable:
        assert finding.severity is severity
        assert words in finding.message
        assert finding.remedy


@pytest.mark.parametrize(
    ("status", "body", "headers", "words"),
    [
        (418, '{"code":-1003,"msg":"banned"}', {"Retry-After": "37"}, "start again in 37 s"),
        (429, '{"code":-1003,"msg":"slow"}', {}, "start again later"),
        (401, '{"code":-2015,"msg":"Invalid API-key, IP, or permissions"}', {}, "check the key"),
        (503, "down", {}, "check the base URL and the network"),
    ],
)
async def test_preflights_remedy_is_that_of_the_answer(
    status: int, body: str, headers: dict[str, str], words: str
) -> None:
    plain = venue_answers()

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("dual"):
            return web.Response(status=status, text=body, headers=headers)
        return await plain(request)

    async with serving(handler) as url, BinanceRest(url, "k", SECRET) as rest:
        findings = await run_preflight(rest, symbols=["XRPUSDT"], time_ms=lambda: 1_700_000_000_000)
    (found,) = (f for f in findings if f.check == "position_mode")
    assert found.severity is Severity.FAIL
    assert words in found.remedy


async def test_what_is_refused_for_its_time_stamp_is_signed_with_the_venues_time_unless_it_opens_risk() -> None:
    """This machine's clock runs 5 s ahead: nothing was executed, and what protects must still arrive."""
    server_ms, executed, refused = 1_700_000_000_000, [], []

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/fapi/v1/time":
            return web.json_response({"serverTime": server_ms})
        ahead = int(request.query["timestamp"]) - server_ms
        (refused if ahead >= 1000 else executed).append((request.method, request.path, ahead))
        if ahead >= 1000:
            return web.json_response({"code": -1021, "msg": "ahead of the server's time"}, status=400)
        return web.json_response({})

    async with serving(handler) as url, BinanceRest(url, "k", SECRET, time_ms=lambda: server_ms + 5_000) as rest:
        await rest.get("/fapi/v3/positionRisk", signed=True)
        await rest.post("/fapi/v1/order", {"symbol": "X", "reduceOnly": True})
        await rest.delete("/fapi/v1/algoOrder", {"clientAlgoId": "a"})
        with pytest.raises(VenueRequestError, match="-1021"):
            await rest.post("/fapi/v1/order", {"symbol": "X"})
    assert [(method, ahead) for method, _, ahead in executed] == [("GET", 0), ("POST", 0), ("DELETE", 0)]
    assert len(refused) == 4
