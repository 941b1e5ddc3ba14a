"""What any Binance client sees: signatures, time, errors, streams, listen keys, shapes an official schema accepts."""

import asyncio
import hashlib
import hmac
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import aiohttp
import msgspec
import pytest
from aiohttp import WSCloseCode, WSMsgType
from nautilus_trader.adapters.binance.common.schemas import account as common_account
from nautilus_trader.adapters.binance.common.schemas import market as common_market
from nautilus_trader.adapters.binance.futures.schemas import account, market, user, wallet
from yarl import URL

from node.venue.config import VenueConfig
from strategies.yaml_config import FrozenConfig, load_yaml, read_yaml

REPOSITORY = Path(__file__).resolve().parents[3]
ACCOUNT = "/fapi/v2/account"


# -- security ----------------------------------------------------------------------------------------------------------


async def test_key_signature_and_time_are_checked_as_on_the_exchange(venue):
    client = venue.client
    now = int(time.time() * 1000)
    assert await client.error("GET", ACCOUNT, timestamp=now - 6000) == -1021
    assert await client.error("GET", ACCOUNT, timestamp=now + 5000) == -1021
    await client.call("GET", ACCOUNT, timestamp=now - 6000, recvWindow=20_000)
    assert await client.error("GET", ACCOUNT, signed=False, timestamp=now) == -1102
    assert await client.error("GET", ACCOUNT, signed=False, timestamp=now, signature="0" * 64) == -1022
    assert await client.error("GET", ACCOUNT, signed=False) == -1102
    client.secret = "other"
    assert await client.error("GET", ACCOUNT) == -1022
    client.key = "other"
    status, answer, _ = await client.full("GET", ACCOUNT)
    assert (status, answer["code"]) == (401, -2015)
    async with venue.session.get(f"{venue.http}{ACCOUNT}?timestamp={now}") as response:
        assert (response.status, (await response.json())["code"]) == (401, -2014)


async def test_the_exact_text_is_signed_wherever_it_travels(venue):
    client = venue.client
    await client.control("price", symbol="XRPUSDT", price="2.5000")
    await client.call("POST", "/fapi/v1/order", body=True, symbol="XRPUSDT", side="BUY", type="MARKET", quantity="100")
    query = urlencode({"symbol": "XRPUSDT", "side": "SELL", "type": "MARKET"})
    body = urlencode({"quantity": "100", "timestamp": int(time.time() * 1000)})
    signature = hmac.new(b"demo", (query + body).encode(), hashlib.sha256).hexdigest()
    headers = {"X-MBX-APIKEY": "demo", "Content-Type": "application/x-www-form-urlencoded"}
    url = f"{venue.http}/fapi/v1/order?{query}"
    async with venue.session.post(url, data=f"{body}&signature={signature}", headers=headers) as response:
        assert response.status == 200, await response.text()
    # Percent-encoding is signed as sent, not as decoded.
    text = f"symbol=XRPUSDT&orderIdList=%5B1%2C2%5D&timestamp={int(time.time() * 1000)}"
    signature = hmac.new(b"demo", text.encode(), hashlib.sha256).hexdigest()
    url = f"{venue.http}/fapi/v1/batchOrders?{text}&signature={signature}"
    async with venue.session.delete(URL(url, encoded=True), headers=headers) as response:
        assert response.status == 200
        assert await response.json() == [{"code": -2011, "msg": "Unknown order sent."}] * 2


async def test_unknown_paths_are_404_and_weights_are_counted(venue):
    status, _, _ = await venue.client.full("GET", "/fapi/v1/nothing")
    assert status == 404
    _, _, headers = await venue.client.full("GET", "/fapi/v1/openOrders")
    assert headers["X-MBX-USED-WEIGHT-1M"] == "40"
    _, _, headers = await venue.client.full("GET", "/fapi/v1/openOrders", symbol="XRPUSDT")
    assert headers["X-MBX-USED-WEIGHT-1M"] == "41"
    assert "X-MBX-ORDER-COUNT-1M" not in headers
    _, _, headers = await venue.client.full("POST", "/fapi/v1/order")
    assert headers["X-MBX-ORDER-COUNT-10S"] == headers["X-MBX-ORDER-COUNT-1M"] == "1"


async def test_enforced_limits_answer_429_then_418(start_venue):
    running = await start_venue({"limits": {"enforce": True, "weight_per_minute": 100, "ban_after": 2, "ban_secs": 30}})
    statuses = []
    for _ in range(7):
        status, answer, headers = await running.client.full("GET", "/fapi/v1/openOrders")
        statuses.append(status)
        if status != 200:
            assert answer["code"] == -1003
            assert 0 < int(headers["Retry-After"]) <= 60
    # A minute may begin between two of the calls and forgive the weight so far.
    assert statuses == [200, 200, 429, 429, 418, 418, 418] or 200 in statuses[2:]


async def test_server_time_is_wall_time_and_can_be_skewed(venue):
    told = (await venue.client.call("GET", "/fapi/v1/time", signed=False))["serverTime"]
    assert abs(told - time.time() * 1000) < 1000
    await venue.client.control("skew", ms=-20_000)
    told = (await venue.client.call("GET", "/fapi/v1/time", signed=False))["serverTime"]
    assert abs(told + 20_000 - time.time() * 1000) < 1000
    assert await venue.client.error("GET", ACCOUNT) == -1021


# -- streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/stream", "/market/stream", "/public/stream"])
async def test_market_streams_subscribe_list_and_unsubscribe(venue, path):
    ws = await venue.session.ws_connect(f"{venue.ws}{path}?streams=xrpusdt@kline_15m")
    await ws.send_json({"method": "SUBSCRIBE", "params": ["xrpusdt@markPrice@1s", "xrpusdt@bookTicker"], "id": 1})
    assert await ws.receive_json(timeout=5) == {"result": None, "id": 1}
    await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 2})
    listed = await ws.receive_json(timeout=5)
    assert listed["result"] == ["xrpusdt@bookTicker", "xrpusdt@kline_15m", "xrpusdt@markPrice@1s"]
    await ws.send_json({"method": "UNSUBSCRIBE", "params": ["xrpusdt@bookTicker"], "id": 3})
    assert await ws.receive_json(timeout=5) == {"result": None, "id": 3}
    await ws.send_json({"method": "DANCE", "id": 4})
    assert (await ws.receive_json(timeout=5))["error"]["code"] == 2
    await ws.send_json({"method": "SUBSCRIBE", "params": "xrpusdt@trade", "id": 5})
    assert (await ws.receive_json(timeout=5))["error"]["code"] == 2
    await ws.send_str("{")
    assert (await ws.receive_json(timeout=5))["error"]["code"] == 3
    await venue.client.control("step")
    kline = await ws.receive_json(timeout=5)
    mark = await ws.receive_json(timeout=5)
    assert kline["stream"] == "xrpusdt@kline_15m"
    assert kline["data"]["k"]["x"] is True
    assert mark["data"]["p"] == kline["data"]["k"]["c"]
    await ws.close()


async def test_a_connection_carries_so_many_streams_and_no_more(venue):
    ws = await venue.session.ws_connect(f"{venue.ws}/stream?streams=xrpusdt@trade")
    names = [f"s{n}usdt@trade" for n in range(1023)]
    await ws.send_json({"method": "SUBSCRIBE", "params": names, "id": 1})
    assert await ws.receive_json(timeout=5) == {"result": None, "id": 1}
    await ws.send_json({"method": "SUBSCRIBE", "params": ["one@more"], "id": 2})
    assert (await ws.receive_json(timeout=5))["error"] == {"code": 4, "msg": "Too many subscriptions"}
    closed = await ws.receive(timeout=5)
    assert (closed.type, closed.data) == (WSMsgType.CLOSE, WSCloseCode.POLICY_VIOLATION)


@pytest.mark.parametrize("enforce", [True, False])
async def test_who_sends_too_fast_is_closed_where_limits_are_kept(start_venue, monkeypatch, enforce):
    monkeypatch.setattr("node.venue.hub.time", SimpleNamespace(monotonic=lambda: 1.0))  # all within one second
    running = await start_venue({"limits": {"enforce": enforce}})
    ws = await running.session.ws_connect(f"{running.ws}/stream")
    for number in range(40):
        await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
    answers = []
    while len(answers) < 40 and (message := await ws.receive(timeout=5)).type is WSMsgType.TEXT:
        answers.append(message)
    assert len(answers) == (10 if enforce else 40)
    if enforce:
        assert (message.data, message.extra) == (WSCloseCode.POLICY_VIOLATION, "Too many requests")


async def test_raw_streams_carry_no_wrapper_and_longer_klines_are_built(venue):
    ws = await venue.session.ws_connect(f"{venue.ws}/ws/xrpusdt@kline_1h")
    await venue.client.control("step", count=4)
    message = await ws.receive_json(timeout=5)
    rows = await venue.client.call("GET", "/fapi/v1/klines", signed=False, symbol="XRPUSDT", interval="1h")
    assert [message["k"][f] for f in ("t", "T", "o", "h", "l", "c", "v")] == [
        rows[0][0],
        rows[0][6],
        *rows[0][1:6],
    ]
    await ws.close()


async def test_the_mark_price_beats_once_in_a_while(start_venue):
    running = await start_venue({"replay": {"mark_price_secs": 0.05}})
    stream = await running.market_stream("xrpusdt@markPrice@1s")
    await running.client.control("step")
    for _ in range(3):
        await stream.until(lambda m: m["data"]["e"] == "markPriceUpdate")


async def test_a_listen_key_lives_is_renewed_and_dies(start_venue):
    running = await start_venue({"listen_key_secs": 3600})
    client, path = running.client, "/fapi/v1/listenKey"
    key = (await client.call("POST", path, signed=False))["listenKey"]
    assert len(key) == 64
    assert (await client.call("POST", path, signed=False))["listenKey"] == key
    assert (await client.call("PUT", path, signed=False))["listenKey"] == key
    stream = await running.user_stream()
    await client.control("expire_listen_key")
    expired = await stream.until(lambda m: m["e"] == "listenKeyExpired")
    assert expired["listenKey"] == key
    assert await client.error("PUT", path, signed=False) == -1125
    await client.control("price", symbol="XRPUSDT", price="2.5")
    await client.order("XRPUSDT", "BUY", "MARKET", "100")
    fresh = await running.user_stream()
    await client.order("XRPUSDT", "SELL", "MARKET", "100", newClientOrderId="after")
    await fresh.until(lambda m: m.get("o", {}).get("c") == "after")
    assert all(m["e"] == "listenKeyExpired" for m in stream.seen), "an expired key hears nothing"
    await client.call("DELETE", path, signed=False)
    closing = await fresh.ws.receive(timeout=5)
    while closing.type is not closing.type.CLOSE and not fresh.ws.closed:
        closing = await fresh.ws.receive(timeout=5)
    assert fresh.ws.closed


async def test_a_listen_key_is_a_stream_among_others_and_can_be_left(venue):
    client = venue.client
    key = (await client.call("POST", "/fapi/v1/listenKey", signed=False))["listenKey"]
    await client.control("price", symbol="XRPUSDT", price="2.5")
    asked = await venue.session.ws_connect(f"{venue.ws}/private/stream")
    named = await venue.session.ws_connect(f"{venue.ws}/stream?streams=xrpusdt@kline_15m/{key}")
    await asked.send_json({"method": "SUBSCRIBE", "params": [key], "id": 1})
    assert await asked.receive_json(timeout=5) == {"result": None, "id": 1}
    await client.order("XRPUSDT", "BUY", "MARKET", "100", newClientOrderId="heard")
    for ws in (asked, named):
        event = await ws.receive_json(timeout=5)
        assert (event["stream"], event["data"]["o"]["c"]) == (key, "heard")
    await asked.send_json({"method": "UNSUBSCRIBE", "params": [key], "id": 2})
    answer = await asked.receive_json(timeout=5)
    while "stream" in answer:
        answer = await asked.receive_json(timeout=5)
    await client.order("XRPUSDT", "SELL", "MARKET", "100", newClientOrderId="unheard")
    await asked.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 3})
    assert await asked.receive_json(timeout=5) == {"result": [], "id": 3}
    await client.control("step")
    streams = [(await named.receive_json(timeout=5))["stream"]]
    while streams[-1] == key:
        streams.append((await named.receive_json(timeout=5))["stream"])
    assert streams[-1] == "xrpusdt@kline_15m"
    assert streams.count(key) == 5, "the rest of the first order's events, and all of the second's"
    await asked.close()
    await named.close()


async def test_the_perpetual_of_a_pair_has_klines_of_its_own(venue):
    names = [f"xrpusdt_perpetual@continuousKline_{i}" for i in ("15m", "30m")]
    ws = await venue.session.ws_connect(f"{venue.ws}/stream?streams={'/'.join(names)}")
    await venue.client.control("step", count=2)
    got = [await ws.receive_json(timeout=5) for _ in range(3)]
    assert [m["stream"] for m in got] == [names[0], names[0], names[1]]
    assert [(m["data"]["e"], m["data"]["ps"], m["data"]["ct"]) for m in got] == [
        ("continuous_kline", "XRPUSDT", "PERPETUAL")
    ] * 3
    whole = got[2]["data"]["k"]
    assert (whole["o"], whole["c"]) == (got[0]["data"]["k"]["o"], got[1]["data"]["k"]["c"])
    assert "s" not in whole
    await ws.close()


async def test_a_listen_key_expires_by_itself(start_venue):
    running = await start_venue({"listen_key_secs": 0.2})
    stream = await running.user_stream()
    await stream.until(lambda m: m["e"] == "listenKeyExpired")


# -- shapes ------------------------------------------------------------------------------------------------------------


async def test_rest_answers_satisfy_the_official_adapter(venue):
    client = venue.client
    await client.control("step", count=2)
    await client.order("XRPUSDT", "BUY", "MARKET", "1000")
    await client.order("XRPUSDT", "BUY", "LIMIT", "1000", timeInForce="GTC", price="2.4")
    price = venue.venue.engine.prices["XRPUSDT"]
    await client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity="1000", triggerPrice=f"{price * 9 / 10:.4f}")
    await client.algo("XRPUSDT", "SELL", "TRAILING_STOP_MARKET", quantity="1000", callbackRate="1")
    symbol = {"symbol": "XRPUSDT"}
    order_id = (await client.call("GET", "/fapi/v1/openOrders"))[0]["orderId"]
    for path, params, kind in (
        ("/fapi/v1/time", {}, common_market.BinanceTime),
        ("/fapi/v1/exchangeInfo", {}, market.BinanceFuturesExchangeInfo),
        ("/fapi/v1/klines", {**symbol, "interval": "15m"}, list[common_market.BinanceKline]),
        ("/fapi/v1/depth", symbol, common_market.BinanceDepth),
        ("/fapi/v1/trades", symbol, list[common_market.BinanceTrade]),
        ("/fapi/v1/aggTrades", symbol, list[common_market.BinanceAggTrade]),
        ("/fapi/v1/premiumIndex", symbol, market.BinanceFuturesMarkFunding),
        ("/fapi/v1/premiumIndex", {}, list[market.BinanceFuturesMarkFunding]),
        ("/fapi/v1/ticker/price", symbol, common_market.BinanceTickerPrice),
        ("/fapi/v1/ticker/bookTicker", symbol, common_market.BinanceTickerBook),
        ("/fapi/v1/ticker/24hr", symbol, common_market.BinanceTicker24hr),
        ("/fapi/v2/account", {}, account.BinanceFuturesAccountInfo),
        ("/fapi/v2/positionRisk", {}, list[account.BinanceFuturesPositionRisk]),
        ("/fapi/v3/positionRisk", {}, list[account.BinanceFuturesPositionRisk]),
        ("/fapi/v1/positionSide/dual", {}, account.BinanceFuturesDualSidePosition),
        ("/fapi/v1/symbolConfig", {}, list[account.BinanceFuturesSymbolConfig]),
        ("/fapi/v1/commissionRate", symbol, wallet.BinanceFuturesCommissionRate),
        ("/fapi/v1/openOrders", {}, list[common_account.BinanceOrder]),
        ("/fapi/v1/allOrders", symbol, list[common_account.BinanceOrder]),
        ("/fapi/v1/order", {**symbol, "orderId": order_id}, common_account.BinanceOrder),
        ("/fapi/v1/userTrades", symbol, list[common_account.BinanceUserTrade]),
        ("/fapi/v1/openAlgoOrders", {}, list[account.BinanceFuturesAlgoOrder]),
        ("/fapi/v1/allAlgoOrders", symbol, list[account.BinanceFuturesAlgoOrder]),
    ):
        answer = await client.call("GET", path, **params)
        decoded = msgspec.json.decode(json.dumps(answer), type=kind)
        assert decoded or answer == [], path
        assert answer, path
    for version in (2, 3):
        assert (await client.call("GET", f"/fapi/v{version}/balance"))[0]["asset"] == "USDT"


async def test_user_events_satisfy_the_official_adapter(start_venue):
    running = await start_venue({"execution": {"trade_lite": True}})
    client = running.client
    stream = await running.user_stream()
    await client.control("price", symbol="XRPUSDT", price="2.5000")
    await client.call("POST", "/fapi/v1/leverage", symbol="XRPUSDT", leverage=10)
    await client.order("XRPUSDT", "BUY", "MARKET", "1000")
    limit = await client.order("XRPUSDT", "BUY", "LIMIT", "1000", timeInForce="GTC", price="2.4")
    await client.call(
        "PUT", "/fapi/v1/order", symbol="XRPUSDT", side="BUY", quantity="900", price="2.41", orderId=limit["orderId"]
    )
    await client.call("DELETE", "/fapi/v1/order", symbol="XRPUSDT", orderId=limit["orderId"])
    await client.order("XRPUSDT", "BUY", "LIMIT", "1000", timeInForce="IOC", price="2.4")
    await client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity="1000", triggerPrice="2.4", reduceOnly="true")
    await client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity="1000", triggerPrice="2.3", reduceOnly="true")
    trailing = await client.algo("XRPUSDT", "SELL", "TRAILING_STOP_MARKET", quantity="1000", callbackRate="10")
    await client.call("DELETE", "/fapi/v1/algoOrder", algoId=trailing["algoId"])
    await client.control("price", symbol="XRPUSDT", price="2.2000")
    await stream.until(lambda m: m["e"] == "ALGO_UPDATE" and m["o"]["X"] == "EXPIRED")
    kinds = {
        "ORDER_TRADE_UPDATE": user.BinanceFuturesOrderUpdateMsg,
        "ALGO_UPDATE": user.BinanceFuturesAlgoUpdateMsg,
        "ACCOUNT_UPDATE": user.BinanceFuturesAccountUpdateMsg,
        "TRADE_LITE": user.BinanceFuturesTradeLiteMsg,
        "ACCOUNT_CONFIG_UPDATE": user.BinanceFuturesUserMsgData,
    }
    seen = set()
    for message in stream.seen:
        msgspec.json.decode(json.dumps(message), type=kinds[message["e"]])
        seen.add((message["e"], message.get("o", {}).get("x") or message.get("o", {}).get("X")))
    assert {
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("ORDER_TRADE_UPDATE", "TRADE"),
        ("ORDER_TRADE_UPDATE", "AMENDMENT"),
        ("ORDER_TRADE_UPDATE", "CANCELED"),
        ("ORDER_TRADE_UPDATE", "EXPIRED"),
        ("ALGO_UPDATE", "NEW"),
        ("ALGO_UPDATE", "CANCELED"),
        ("ALGO_UPDATE", "TRIGGERING"),
        ("ALGO_UPDATE", "TRIGGERED"),
        ("ALGO_UPDATE", "FINISHED"),
        ("ALGO_UPDATE", "EXPIRED"),
        ("ACCOUNT_UPDATE", None),
        ("ACCOUNT_CONFIG_UPDATE", None),
        ("TRADE_LITE", None),
    } == seen
    now = time.time() * 1000
    assert all(abs(m["E"] - now) < 60_000 for m in stream.seen), "account events carry wall time"


async def test_market_events_satisfy_the_official_adapter(venue):
    names = (
        "kline_15m",
        "aggTrade",
        "trade",
        "bookTicker",
        "depth",
        "depth5@100ms",
        "markPrice@1s",
        "miniTicker",
        "ticker",
    )
    stream = await venue.market_stream(*(f"xrpusdt@{n}" for n in names))
    await venue.client.control("step")
    await stream.until(lambda m: m["data"]["e"] == "24hrTicker")
    kinds = {
        "kline": common_market.BinanceCandlestickMsg,
        "aggTrade": common_market.BinanceAggregatedTradeMsg,
        "trade": market.BinanceFuturesTradeMsg,
        "bookTicker": common_market.BinanceQuoteMsg,
        "depthUpdate": common_market.BinanceOrderBookMsg,
        "24hrTicker": common_market.BinanceTickerMsg,
        "24hrMiniTicker": None,
        "markPriceUpdate": market.BinanceFuturesMarkPriceMsg,
    }
    for message in stream.seen:
        if kinds[message["data"]["e"]] is not None:
            msgspec.json.decode(json.dumps(message), type=kinds[message["data"]["e"]])
    assert {m["data"]["e"] for m in stream.seen} == set(kinds)
    path = [m["data"]["p"] for m in stream.seen if m["data"]["e"] == "aggTrade"]
    bar = venue.venue.feed.bar("XRPUSDT", 0)
    assert {float(p) for p in path} >= {float(bar.high), float(bar.low), float(bar.close)}
    rest = await venue.client.call("GET", "/fapi/v1/depth", signed=False, symbol="XRPUSDT", limit=20)
    book = {"b": {}, "a": {}}
    last = 0
    for update in [m["data"] for m in stream.seen if m["stream"] == "xrpusdt@depth"]:
        assert update["pu"] == last or not last
        last = update["u"]
        for side in book:
            book[side] |= dict(update[side])
    assert rest["lastUpdateId"] == last + 1, "the next update spans the snapshot"
    assert sorted([p, q] for p, q in book["b"].items() if float(q)) == sorted(rest["bids"])
    assert sorted([p, q] for p, q in book["a"].items() if float(q)) == sorted(rest["asks"])


# -- the command -------------------------------------------------------------------------------------------------------


async def test_the_command_tells_its_urls_serves_and_ends_on_request(tmp_path):
    config = tmp_path / "venue.yaml"
    config.write_text(f"data: {{catalog: {tmp_path / 'catalog'}, history_bars: 100}}\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "node.venue",
        "--config",
        str(config),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    assert ready["event"] == "ready"
    assert set(ready) == {"event", "http", "ws", "control", "session"}
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{ready['control']}/session") as response:
            answer = await response.json()
            assert answer["session"] == ready["session"]
            assert answer["state"] == "waiting"
        async with session.post(f"{ready['control']}/control", json={"action": "shutdown"}) as response:
            assert response.status == 200
    assert await asyncio.wait_for(process.wait(), 10) == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("execution: {dept: unlimited}", "execution.dept: unknown key (did you mean `depth`?)"),
        ("host: 0.0.0.0", "host: invalid enum value"),
        ("data: {start: yesterday}", "data.start: 'yesterday' is not an ISO-8601 time"),
        ("data: {symbols: [NOPEUSDT]}", "NOPEUSDT"),
        ("execution: {slippage_bps: -1}", "slippage_bps must lie between 0 and 1000"),
        ("account: {balance: 0}", "balance must be positive"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line_and_exit_code_2(tmp_path, text, complaint):
    config = tmp_path / "venue.yaml"
    config.write_text(text + "\n")
    result = subprocess.run(
        [sys.executable, "-m", "node.venue", "--config", str(config)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert complaint in result.stderr


def test_the_shipped_configuration_loads_and_names_what_can_be_set():
    path = REPOSITORY / "config" / "venue.yaml"
    config = load_yaml(path, VenueConfig)
    written = read_yaml(path)
    optional = {"instruments", "leverages", "maker_fee", "taker_fee", "max_algo_orders"}
    for name in config.__struct_fields__:
        part = getattr(config, name)
        assert name in written
        if isinstance(part, FrozenConfig) and name != "limits":
            assert set(part.__struct_fields__) - optional <= set(written[name]), name
