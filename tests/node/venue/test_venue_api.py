"""The WebSocket API, Ed25519 keys, permissions, bans and maintenance."""

import base64
import json
import time
from urllib.parse import quote

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from yarl import URL

from node.venue.config import VenueConfig
from node.venue.signatures import keys_of
from strategies.errors import ConfigError

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
ORDER = {"symbol": "XRPUSDT", "side": "BUY", "type": "MARKET", "quantity": "100"}


class Caller:
    """The WebSocket API by hand."""

    def __init__(self, socket):
        self.socket = socket
        self.number = 0

    async def ask(self, method, **params):
        self.number += 1
        await self.socket.send_str(json.dumps({"id": self.number, "method": method, "params": params}))
        answer = json.loads(await self.socket.receive_str(timeout=5))
        assert answer["id"] == self.number
        return answer

    async def signed(self, method, key="demo", **params):
        values = {"apiKey": key, "timestamp": int(time.time() * 1000), **params}
        return await self.ask(method, **values, signature=signature(values))


def now_ms():
    return int(time.time() * 1000)


def signature(values):
    text = "&".join(f"{k}={v}" for k, v in sorted(values.items()))
    return base64.b64encode(PRIVATE.sign(text.encode())).decode()


@pytest.fixture
async def priced(start_venue):
    keys = [{"api_key": "watch", "api_secret": "dog"}, {"api_key": "mac", "api_secret": "only"}]
    running = await start_venue({"api_public_key": PEM, "extra_keys": keys})
    await running.client.control("price", symbol="XRPUSDT", price="2.5000")
    return running


@pytest.fixture
async def caller(priced):
    return Caller(await priced.session.ws_connect(f"{priced.ws}/ws-fapi/v1"))


async def test_a_session_logs_on_once_and_then_trades_without_signatures(priced, caller):
    refused = await caller.ask("order.place", **ORDER, timestamp=now_ms())
    assert refused["error"]["code"] == -2014
    assert (await caller.signed("session.logon", key="mac"))["error"]["code"] == -4056
    logon = await caller.signed("session.logon")
    assert (logon["status"], logon["result"]["apiKey"]) == (200, "demo")
    key = (await caller.ask("userDataStream.start"))["result"]["listenKey"]
    user = await priced.session.ws_connect(f"{priced.ws}/ws?listenKey={key}")
    placed = await caller.ask("order.place", **ORDER, timestamp=now_ms())
    assert placed["result"]["symbol"] == "XRPUSDT"
    assert {row["rateLimitType"] for row in placed["rateLimits"]} == {"REQUEST_WEIGHT", "ORDERS"}
    assert json.loads(await user.receive_str(timeout=5))["e"] == "ORDER_TRADE_UPDATE"
    limit = {**ORDER, "type": "LIMIT", "timeInForce": "GTC", "price": "2.4"}
    number = (await caller.ask("order.place", **limit, timestamp=now_ms()))["result"]["orderId"]
    which = {"symbol": "XRPUSDT", "orderId": number}
    changed = await caller.ask("order.modify", **which, side="BUY", quantity="90", price="2.41", timestamp=now_ms())
    assert changed["result"]["origQty"] == "90.0"
    assert (await caller.ask("order.status", **which, timestamp=now_ms()))["result"]["status"] == "NEW"
    assert (await caller.ask("order.cancel", **which, timestamp=now_ms()))["result"]["status"] == "CANCELED"
    assert (await caller.ask("order.cancel", **which, timestamp=now_ms()))["error"]["code"] == -2011
    status = await caller.ask("v2/account.status", timestamp=now_ms())
    assert status["result"]["positions"][0]["positionAmt"] == "100.0"
    assert (await caller.ask("userDataStream.ping"))["status"] == 200
    assert (await caller.ask("userDataStream.stop"))["status"] == 200
    await caller.ask("session.logout")
    assert (await caller.ask("order.status", **which, timestamp=now_ms()))["error"]["code"] == -2014
    assert (await caller.ask("nonsense"))["error"]["code"] == -1000


async def test_each_request_may_be_signed_by_itself(caller):
    assert (await caller.signed("order.place", **ORDER))["status"] == 200
    values = {"apiKey": "demo", "timestamp": int(time.time() * 1000), **ORDER}
    wrong = await caller.ask("order.place", **{**values, "quantity": "200"}, signature=signature(values))
    assert wrong["error"]["code"] == -1022
    late = {"apiKey": "demo", "timestamp": int(time.time() * 1000) - 60_000}
    assert (await caller.ask("account.status", **late, signature=signature(late)))["error"]["code"] == -1021


async def test_rest_accepts_ed25519_and_every_key_of_the_account(priced):
    text = f"timestamp={int(time.time() * 1000)}"
    signed = base64.b64encode(PRIVATE.sign(text.encode())).decode().replace("+", "%2B").replace("=", "%3D")
    url = f"{priced.http}/fapi/v3/account?{text}&signature={signed.replace('/', '%2F')}"
    async with priced.session.get(URL(url, encoded=True), headers={"X-MBX-APIKEY": "demo"}) as response:
        assert response.status == 200, await response.text()
    priced.client.key, priced.client.secret = "watch", "dog"
    await priced.client.call("GET", "/fapi/v3/account")
    priced.client.secret = "cat"
    assert await priced.client.error("GET", "/fapi/v3/account") == -1022


async def test_requests_may_be_signed_with_rsa_but_sessions_may_not(start_venue):
    private = generate_private_key(65537, 2048)
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    running = await start_venue({"api_public_key": pem})

    def sign(text):
        return base64.b64encode(private.sign(text.encode(), PKCS1v15(), SHA256())).decode()

    text = f"timestamp={now_ms()}"
    for signed, status in ((sign(text), 200), (sign(text + "0"), 400)):
        url = URL(f"{running.http}/fapi/v3/account?{text}&signature={quote(signed, safe='')}", encoded=True)
        async with running.session.get(url, headers={"X-MBX-APIKEY": "demo"}) as response:
            assert response.status == status
    caller = Caller(await running.session.ws_connect(f"{running.ws}/ws-fapi/v1"))
    values = {"apiKey": "demo", "timestamp": now_ms()}
    text = "&".join(f"{k}={v}" for k, v in sorted(values.items()))
    assert (await caller.ask("account.status", **values, signature=sign(text)))["status"] == 200
    assert (await caller.ask("session.logon", **values, signature=sign(text)))["error"]["code"] == -4056


async def test_limits_are_told_unless_they_are_not_wanted(priced):
    socket = await priced.session.ws_connect(f"{priced.ws}/ws-fapi/v1?returnRateLimits=false")
    quiet = Caller(socket)
    assert "rateLimits" not in await quiet.ask("time")
    assert (await quiet.ask("time", returnRateLimits=True))["rateLimits"][0]["rateLimitType"] == "REQUEST_WEIGHT"
    before = priced.venue.limits.weight
    await priced.session.ws_connect(f"{priced.ws}/ws-fapi/v1")
    assert priced.venue.limits.weight in (before + 5, 5)  # a new minute may have begun


def test_a_bad_key_is_refused_at_the_start():
    with pytest.raises(ConfigError, match="api_public_key: not a public key"):
        keys_of(VenueConfig(api_public_key="nonsense"))


async def test_permissions_are_told_and_enforced(priced):
    client = priced.client
    told = await client.call("GET", "/sapi/v1/account/apiRestrictions")
    assert (told["enableWithdrawals"], told["ipRestrict"], told["enableFutures"]) == (False, True, True)
    await client.control("permissions", withdrawals=True, ip_restrict=False, futures=False)
    told = await client.call("GET", "/sapi/v1/account/apiRestrictions")
    assert (told["enableWithdrawals"], told["ipRestrict"], told["enableFutures"]) == (True, False, False)
    assert await client.error("POST", "/fapi/v1/order", **ORDER) == -2015


async def test_a_ban_answers_418_until_it_ends(priced):
    client = priced.client
    await client.control("limits", ban_secs=30)
    status, answer, headers = await client.full("GET", "/fapi/v1/time", signed=False)
    assert (status, answer["code"]) == (418, -1003)
    assert 28 <= int(headers["Retry-After"]) <= 30
    await client.control("limits", ban_secs=0)
    await client.call("GET", "/fapi/v1/time", signed=False)


async def test_bans_grow(start_venue):
    running = await start_venue({"limits": {"enforce": True, "weight_per_minute": 1, "ban_after": 1, "ban_secs": 40}})
    waits = []
    for _ in range(2):
        status = 0
        while status != 418:
            status, _, headers = await running.client.full("GET", "/fapi/v1/openOrders")
        waits.append(int(headers["Retry-After"]))
        running.venue.limits.banned_until = 0.0  # as if the ban had passed
    assert 38 <= waits[0] <= 40
    assert 78 <= waits[1] <= 80


async def test_orders_have_a_limit_of_their_own(start_venue):
    running = await start_venue({"limits": {"enforce": True, "orders_per_10_secs": 2, "orders_per_minute": 2}})
    await running.client.control("price", symbol="XRPUSDT", price="2.5000")
    codes = [(await running.client.full("POST", "/fapi/v1/order", **ORDER))[0] for _ in range(3)]
    assert 429 in codes or codes == [200, 200, 200]  # ten seconds may begin anew between two orders
    status, answer, headers = await running.client.full("POST", "/fapi/v1/order", **ORDER)
    assert (status, answer["code"]) == (429, -1015)
    assert 0 < int(headers["Retry-After"]) <= 60


async def test_maintenance_closes_everything_but_the_control_door(priced):
    await priced.client.control("maintenance", on=True)
    status, answer, _ = await priced.client.full("GET", "/fapi/v1/time", signed=False)
    assert (status, answer["code"]) == (503, -1016)
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await priced.market_stream("xrpusdt@kline_15m")
    await priced.client.control("maintenance", on=False)
    await priced.client.call("GET", "/fapi/v1/time", signed=False)
