"""Codes and messages of refusals, endpoint by endpoint, and order parameters few clients send."""

import time
from decimal import Decimal
from types import SimpleNamespace

import pytest

ORDER, ALGO, BATCH = "/fapi/v1/order", "/fapi/v1/algoOrder", "/fapi/v1/batchOrders"
X = {"symbol": "XRPUSDT"}
DAY_MS = 86_400_000
NOW = int(time.time() * 1000)


@pytest.fixture
async def priced(start_venue):
    running = await start_venue(history=20)
    await running.client.control("price", symbol="XRPUSDT", price="2.5000")
    return running


MARKET = {"side": "BUY", "type": "MARKET", "quantity": "100"}
LIMIT = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "100", "price": "2.4"}
STOP = {"algoType": "CONDITIONAL", "side": "SELL", "type": "STOP_MARKET", "quantity": "50", "triggerPrice": "2.3"}
TRAILING = {"algoType": "CONDITIONAL", "side": "SELL", "type": "TRAILING_STOP_MARKET", "quantity": "50"}


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        (MARKET | {"timeInForce": "GTC"}, -1106, "Parameter 'timeinforce' sent when not required."),
        (MARKET | {"newOrderRespType": "FULL"}, -1136, "Invalid newOrderRespType."),
        (MARKET | {"selfTradePreventionMode": "MAYBE"}, -5039, "Invalid self trade prevention mode"),
        (MARKET | {"priceMatch": "QUEUE"}, -5038, "Price match only supports order type: LIMIT, STOP AND TAKE_PROFIT"),
        (LIMIT | {"priceMatch": "BEST"}, -5037, "Invalid price match"),
        (LIMIT | {"priceMatch": "QUEUE"}, -1106, "Parameter 'price' sent when not required."),
        (LIMIT | {"timeInForce": "RPI", "price": "2.5"}, -5022, None),
        (LIMIT | {"timeInForce": "GTD"}, -1102, None),
        (LIMIT | {"timeInForce": "GTD", "goodTillDate": NOW + 60_000}, -5040, None),
        (LIMIT | {"timeInForce": "GTD", "goodTillDate": 253_402_300_799_000}, -5040, None),
        (MARKET | {"closePosition": "true"}, -4136, "Target strategy invalid for orderType MARKET,closePosition true"),
        (MARKET | {"positionSide": "UP"}, -4060, "Invalid position side."),
    ],
)
async def test_orders(priced, params, code, message):
    status, answer, _ = await priced.client.full("POST", ORDER, **X, **params)
    assert (status, answer["code"]) == (400, code)
    assert message in (None, answer["msg"])
    if code != -5022:  # the matching engine's, which a test order does not reach
        assert await priced.client.error("POST", f"{ORDER}/test", **X, **params) == code


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        (STOP | {"algoType": "TWAP"}, -1130, "Data sent for parameter 'algoType' is not valid."),
        (STOP | {"workingType": "LAST"}, -4031, "Invalid parameter working type: LAST"),
        (STOP | {"closePosition": "true"}, -4137, "Quantity must be zero with closePosition equals true"),
        (
            STOP | {"closePosition": "true", "quantity": None, "reduceOnly": "true"},
            -1106,
            "Parameter 'reduceonly' sent when not required.",
        ),
        (STOP | {"priceMatch": "OPPONENT"}, -5038, None),
        (STOP | {"type": "STOP", "priceMatch": "OPPONENT", "price": "2.3"}, -1106, None),
        (STOP | {"type": "STOP"}, -1102, "Mandatory parameter 'price' was not sent, was empty/null, or malformed."),
        (STOP | {"triggerPrice": None}, -1102, None),
        (STOP | {"triggerPrice": "2.6"}, -2021, "Order would immediately trigger."),
        (STOP | {"triggerPrice": "2.30001"}, -1111, None),
        (STOP | {"timeInForce": "GTD"}, -1102, None),
        (STOP | {"timeInForce": "GTD", "goodTillDate": NOW}, -5040, None),
        (STOP | {"newOrderRespType": "FULL"}, -1136, None),
        (STOP | {"selfTradePreventionMode": "MAYBE"}, -5039, None),
        (STOP | {"type": "LIMIT"}, -1116, "Invalid orderType."),
        (TRAILING | {"callbackRate": "11"}, -1102, None),
        (TRAILING, -1102, None),
        (TRAILING | {"callbackRate": "1", "activatePrice": "2.4"}, -2021, None),
    ],
)
async def test_conditional_orders(priced, params, code, message):
    status, answer, _ = await priced.client.full("POST", ALGO, **X, **params)
    assert (status, answer["code"]) == (400, code), answer
    assert message in (None, answer["msg"])


NEITHER = "Param '{}' or '{}' must be sent, but both were empty/null!"


@pytest.mark.parametrize(
    ("method", "path", "params", "code", "message"),
    [
        ("GET", ORDER, X, -1102, NEITHER.format("origClientOrderId", "orderId")),
        ("DELETE", ORDER, X, -1102, NEITHER.format("origClientOrderId", "orderId")),
        ("GET", ALGO, {}, -1102, NEITHER.format("clientAlgoId", "algoId")),
        ("GET", ORDER, X | {"orderId": 1}, -2013, "Order does not exist."),
        ("DELETE", ORDER, X | {"orderId": 1}, -2011, "Unknown order sent."),
        ("PUT", ORDER, X | {"orderId": 1, "side": "BUY", "quantity": 10, "price": "2.4"}, -2013, None),
        ("DELETE", BATCH, X, -1102, None),
        ("DELETE", BATCH, X | {"orderIdList": f"[{','.join('1' * 11)}]"}, -4032, "Exceed maximum cancel order size."),
        ("POST", BATCH, {"batchOrders": "[]"}, -4082, "Invalid number of batch place orders: 0"),
        ("POST", BATCH, {"batchOrders": "[{},{},{},{},{},{}]"}, -4082, "Invalid number of batch place orders: 6"),
        ("POST", BATCH, {"batchOrders": "what"}, -1130, None),
        ("POST", BATCH, {}, -1102, None),
        ("GET", "/fapi/v1/allOrders", X | {"startTime": NOW, "endTime": NOW - 1}, -1023, None),
        ("GET", "/fapi/v1/allOrders", X | {"startTime": NOW - 8 * DAY_MS, "endTime": NOW}, -4165, None),
        ("GET", "/fapi/v1/allAlgoOrders", X | {"startTime": NOW - 8 * DAY_MS, "endTime": NOW}, -4165, None),
        ("GET", "/fapi/v1/userTrades", X | {"fromId": 5, "startTime": NOW}, -1128, None),
        ("GET", "/fapi/v1/userTrades", X | {"limit": 1001}, -1130, None),
        ("GET", "/fapi/v1/income", {"startTime": NOW, "endTime": NOW - 1}, -1023, None),
        ("GET", "/fapi/v1/forceOrders", {"symbol": "NONE"}, -1121, None),
        ("GET", "/fapi/v1/forceOrders", {"autoCloseType": "ANY"}, -1130, None),
        ("POST", "/fapi/v1/leverage", X | {"leverage": 500}, -4028, "Leverage 500 is not valid"),
        ("POST", "/fapi/v1/leverage", X, -1102, None),
        ("POST", "/fapi/v1/marginType", X | {"marginType": "CROSSED"}, -4046, "No need to change margin type."),
        ("POST", "/fapi/v1/marginType", X | {"marginType": "BOTH"}, -1130, None),
        ("POST", "/fapi/v1/positionSide/dual", {"dualSidePosition": "false"}, -4059, None),
        ("POST", "/fapi/v1/positionMargin", X | {"amount": 1, "type": 1}, -4049, None),
        ("POST", "/fapi/v1/positionMargin", X | {"amount": -1, "type": 1}, -4055, None),
        ("GET", "/fapi/v1/positionMargin/history", X | {"startTime": 0, "endTime": NOW}, -4165, None),
        ("POST", "/fapi/v1/countdownCancelAll", X, -1102, None),
        ("PUT", "/fapi/v1/listenKey", {}, -1125, None),
    ],
)
async def test_account_and_history(priced, method, path, params, code, message):
    status, answer, _ = await priced.client.full(method, path, **params)
    assert (status, answer["code"]) == (400, code), answer
    assert message in (None, answer["msg"])


@pytest.mark.parametrize(
    ("path", "params", "code", "message"),
    [
        ("/fapi/v1/depth", X | {"limit": 7}, -4021, "7 is not valid depth limit"),
        (
            "/fapi/v1/klines",
            X | {"interval": "15m", "limit": 1501},
            -1130,
            "Data sent for parameter 'limit' is not valid.",
        ),
        ("/fapi/v1/klines", X | {"interval": "15m", "limit": 0}, -1130, None),
        ("/fapi/v1/klines", X | {"interval": "15m", "startTime": 2, "endTime": 1}, -1023, None),
        ("/fapi/v1/klines", X | {"interval": "1s"}, -1120, "Invalid interval."),
        ("/fapi/v1/klines", X, -1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed."),
        ("/fapi/v1/klines", {"interval": "15m"}, -1102, None),
        ("/fapi/v1/klines", {"symbol": "NONE", "interval": "15m"}, -1121, "Invalid symbol."),
        ("/fapi/v1/continuousKlines", {"pair": "XRPUSDT", "interval": "15m"}, -1102, None),
        (
            "/fapi/v1/continuousKlines",
            {"pair": "XRPUSDT", "interval": "15m", "contractType": "NEXT_QUARTER"},
            -4104,
            "Invalid contract type.",
        ),
        ("/fapi/v1/indexPriceKlines", {"pair": "NONE", "interval": "15m"}, -4144, "Invalid pair"),
        ("/futures/data/basis", {"pair": "XRPUSDT", "period": "15m", "contractType": "CURRENT_QUARTER"}, -4104, None),
        ("/futures/data/basis", {"pair": "NONE", "period": "15m", "contractType": "PERPETUAL"}, -4144, None),
        ("/futures/data/openInterestHist", X | {"period": "3m"}, -1130, None),
        ("/futures/data/openInterestHist", X | {"period": "15m", "limit": 501}, -1130, None),
        ("/futures/data/openInterestHist", X | {"period": "15m", "startTime": 1}, -1130, None),
        ("/futures/data/openInterestHist", {"period": "15m"}, -1102, None),
        ("/fapi/v1/ticker/24hr", {"symbol": "NONE"}, -1121, None),
        ("/fapi/v1/aggTrades", X | {"limit": 1001}, -1130, None),
    ],
)
async def test_market_data(priced, path, params, code, message):
    status, answer, _ = await priced.client.full("GET", path, signed=False, **params)
    assert (status, answer["code"]) == (400, code), answer
    assert message in (None, answer["msg"])


async def test_a_parameter_named_twice_is_refused(priced):
    url = f"{priced.http}/fapi/v1/depth?symbol=XRPUSDT&symbol=XRPUSDT"
    async with priced.session.get(url) as response:
        assert response.status == 400
        assert await response.json() == {"code": -1101, "msg": "Duplicate values for a parameter detected."}


async def test_old_trades_need_a_key_and_begin_where_asked(priced):
    path = "/fapi/v1/historicalTrades"
    async with priced.session.get(f"{priced.http}{path}?symbol=XRPUSDT") as response:
        assert (response.status, (await response.json())["code"]) == (401, -2014)
    newest = await priced.client.call("GET", path, signed=False, limit=5, **X)
    again = await priced.client.call("GET", path, signed=False, limit=2, fromId=newest[1]["id"], **X)
    assert again == newest[1:3]


@pytest.mark.parametrize(
    ("side", "match", "price", "status"),
    [
        ("BUY", "OPPONENT", "2.5000", "FILLED"),
        ("BUY", "OPPONENT_5", "2.5004", "FILLED"),
        ("SELL", "OPPONENT_10", "2.4991", "FILLED"),
        ("BUY", "QUEUE", "2.4999", "NEW"),
        ("SELL", "QUEUE_20", "2.5020", "NEW"),
    ],
)
async def test_an_order_may_take_its_price_from_the_book(priced, side, match, price, status):
    rest = {"timeInForce": "GTC", "quantity": "100", "priceMatch": match, "newOrderRespType": "RESULT"}
    placed = await priced.client.call("POST", ORDER, side=side, type="LIMIT", **rest, **X)
    assert (placed["price"], placed["priceMatch"], placed["status"]) == (price, match, status)
    await priced.client.control("price", symbol="XRPUSDT", price="2.5100" if side == "BUY" else "2.4900")
    if status == "NEW":
        moved = await priced.client.call(
            "PUT", ORDER, orderId=placed["orderId"], side=side, quantity="90", priceMatch="QUEUE", modifyId=7, **X
        )
        assert (moved["price"], moved["modifyId"]) == ("2.5099" if side == "BUY" else "2.4901", 7)


async def test_a_conditional_limit_order_takes_its_price_when_it_triggers(priced):
    client = priced.client
    await client.order("XRPUSDT", "BUY", "MARKET", 100)
    algo = await client.algo(
        "XRPUSDT", "SELL", "TAKE_PROFIT", quantity=50, triggerPrice="2.6", priceMatch="OPPONENT_5", reduceOnly="true"
    )
    assert (algo["priceMatch"], algo["price"]) == ("OPPONENT_5", "0.0000")
    await client.control("price", symbol="XRPUSDT", price="2.6100")
    done = await client.call("GET", ALGO, algoId=algo["algoId"])
    assert (done["algoStatus"], done["actualType"]) == ("FINISHED", "LIMIT")
    order = await client.call("GET", ORDER, orderId=done["actualOrderId"], **X)
    assert (order["type"], order["price"], order["status"]) == ("LIMIT", "2.5996", "FILLED")


async def test_a_retail_order_rests_as_a_maker(priced):
    placed = await priced.client.order("XRPUSDT", "BUY", "LIMIT", 100, price="2.4", timeInForce="RPI")
    assert (placed["status"], placed["timeInForce"]) == ("NEW", "RPI")


async def test_an_order_is_not_made_what_it_may_not_be(priced):
    client = priced.client
    maker = await client.order("XRPUSDT", "BUY", "LIMIT", 100, price="2.4", timeInForce="GTX")
    change = {"orderId": maker["orderId"], "side": "BUY", "quantity": "100", **X}
    assert await client.error("PUT", ORDER, **change, price="2.4") == -5027
    assert await client.error("PUT", ORDER, **change, price="2.41", reduceOnly="true") == -5047
    assert await client.error("PUT", ORDER, **change | {"quantity": "2"}, price="2.4") == -5029
    assert await client.error("PUT", ORDER, **change | {"side": "SELL"}, price="2.41") == -1117
    await client.control("symbol_status", symbol="XRPUSDT", status="BREAK")
    assert await client.error("PUT", ORDER, **change, price="2.41") == -5024
    await client.control("symbol_status", symbol="XRPUSDT", status="TRADING")
    assert (await client.call("PUT", ORDER, **change, price="2.5"))["status"] == "CANCELED"
    assert await client.call("GET", "/fapi/v1/openOrders") == []
    assert (await client.books())["fills"] == []


async def test_orders_of_all_symbols_are_told_at_once(start_venue):
    running = await start_venue({"data": {"symbols": ["XRPUSDT", "BTCUSDT"]}}, history=20)
    client = running.client
    await client.control("price", symbol="XRPUSDT", price="2.5")
    price = (await client.call("GET", "/fapi/v1/ticker/price", signed=False, symbol="BTCUSDT"))["price"]
    await client.order("XRPUSDT", "BUY", "LIMIT", 50, price="2.4", timeInForce="GTC")
    await client.order("BTCUSDT", "BUY", "LIMIT", "0.010", price=str(int(Decimal(price) * 99 / 100)), timeInForce="GTC")
    assert [o["symbol"] for o in await client.call("GET", "/fapi/v1/allOrders")] == ["XRPUSDT", "BTCUSDT"]


async def test_the_limit_of_conditional_orders_is_the_accounts(start_venue):
    tree = {"data": {"symbols": ["XRPUSDT", "BTCUSDT"]}, "execution": {"max_algo_orders": 2}}
    running = await start_venue(tree, history=20)
    client = running.client
    for symbol, quantity in (("XRPUSDT", "50"), ("BTCUSDT", "0.010"), ("XRPUSDT", "50")):
        price = (await client.call("GET", "/fapi/v1/ticker/price", signed=False, symbol=symbol))["price"]
        trigger = str(int(Decimal(price) * 90) / Decimal(100))
        params = STOP | {"symbol": symbol, "quantity": quantity, "triggerPrice": trigger}
        status, answer, _ = await client.full("POST", ALGO, **params)
    assert (status, answer["code"]) == (400, -4045)


async def test_a_batch_counts_five_orders_in_ten_seconds_and_one_in_a_minute(priced, monkeypatch):
    monkeypatch.setattr("node.venue.limits.time", SimpleNamespace(time=lambda: 1e9))  # no window ends meanwhile
    names = ("X-MBX-ORDER-COUNT-10S", "X-MBX-ORDER-COUNT-1M")
    _, _, before = await priced.client.full("POST", ORDER, **X, **LIMIT)
    _, _, after = await priced.client.full("POST", BATCH, batchOrders="[{}]")
    assert [int(after[n]) - int(before[n]) for n in names] == [5, 1]
