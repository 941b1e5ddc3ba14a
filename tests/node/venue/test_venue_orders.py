"""Orders over real sockets: fills, algo orders, user events, refusals."""

import pytest

ORDER = "/fapi/v1/order"
ALGO = "/fapi/v1/algoOrder"


async def test_a_market_order_fills_at_the_last_price_and_tells_the_user_stream(venue):
    events = await venue.user_stream()
    await venue.client.control("price", symbol="XRPUSDT", price="2.5000")
    answer = await venue.client.order("XRPUSDT", "BUY", "MARKET", "100", newClientOrderId="entry-1")
    assert answer["status"] == "FILLED"
    assert answer["avgPrice"] == "2.5000000"
    account = await events.until(lambda m: m["e"] == "ACCOUNT_UPDATE")
    await events.until(lambda m: m["e"] == "ORDER_TRADE_UPDATE" and m["o"]["X"] == "FILLED")
    updates = [m["o"] for m in events.seen if m["e"] == "ORDER_TRADE_UPDATE"]
    assert [(u["x"], u["X"]) for u in updates] == [("NEW", "NEW"), ("TRADE", "FILLED")]
    assert updates[1]["c"] == "entry-1"
    assert updates[1]["L"] == "2.5000"
    assert updates[1]["n"] == "0.12500000"
    assert account["a"]["B"][0]["wb"] == "9999.87500000"
    assert account["a"]["P"][0]["pa"] == "100.0"


async def test_a_stop_triggers_as_in_production_and_leaves_its_sibling_alone(venue):
    await venue.client.control("price", symbol="XRPUSDT", price="2.5000")
    await venue.client.order("XRPUSDT", "BUY", "MARKET", "100")
    stop = await venue.client.algo(
        "XRPUSDT", "SELL", "STOP_MARKET", quantity="100", triggerPrice="2.4", reduceOnly="True", clientAlgoId="sl-1"
    )
    target = await venue.client.algo(
        "XRPUSDT", "SELL", "TAKE_PROFIT_MARKET", quantity="100", triggerPrice="2.7", reduceOnly="true"
    )
    assert stop["algoId"] != target["algoId"]
    assert await venue.client.call("GET", "/fapi/v1/openOrders") == []
    assert len(await venue.client.call("GET", "/fapi/v1/openAlgoOrders")) == 2
    events = await venue.user_stream()
    await venue.client.control("price", symbol="XRPUSDT", price="2.3000")
    await events.until(lambda m: m["e"] == "ALGO_UPDATE" and m["o"]["X"] == "FINISHED")
    kinds = [(m["e"], m.get("o", {}).get("X")) for m in events.seen]
    assert kinds == [
        ("ALGO_UPDATE", "TRIGGERING"),
        ("ALGO_UPDATE", "TRIGGERED"),
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("ACCOUNT_UPDATE", None),
        ("ORDER_TRADE_UPDATE", "FILLED"),
        ("ALGO_UPDATE", "FINISHED"),
    ]
    fill = events.seen[4]["o"]
    assert (fill["c"], fill["o"], fill["ot"], fill["L"], fill["R"]) == ("sl-1", "MARKET", "MARKET", "2.4000", True)
    assert fill["i"] != stop["algoId"]
    assert events.seen[1]["o"]["ai"] == str(fill["i"])
    left = await venue.client.call("GET", "/fapi/v1/openAlgoOrders", symbol="XRPUSDT")
    assert [a["algoId"] for a in left] == [target["algoId"]]
    done = await venue.client.call("GET", ALGO, clientAlgoId="sl-1")
    assert (done["algoStatus"], done["actualOrderId"]) == ("FINISHED", str(fill["i"]))
    plain = await venue.client.call("GET", ORDER, symbol="XRPUSDT", origClientOrderId="sl-1")
    assert (plain["orderId"], plain["status"], plain["type"]) == (fill["i"], "FILLED", "MARKET")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"symbol": "NOPEUSDT"}, -1121),
        ({"symbol": None}, -1102),
        ({"side": "HOLD"}, -1117),
        ({"type": "ICEBERG"}, -1116),
        ({"type": "STOP_MARKET"}, -4120),
        ({"type": "LIMIT"}, -1102),
        ({"type": "LIMIT", "timeInForce": "ABC"}, -1115),
        ({"quantity": None}, -1102),
        ({"quantity": "abc"}, -1100),
        ({"quantity": "0"}, -4003),
        ({"quantity": "0.05"}, -1111),
        ({"quantity": "2000000.1"}, -4005),
        ({"quantity": "1"}, -4164),
        ({"quantity": "100000"}, -2019),
        ({"quantity": "900000"}, -2027),
        ({"price": "2.5"}, -1106),
        ({"type": "LIMIT", "timeInForce": "GTC", "price": "2.50001"}, -1111),
        ({"type": "LIMIT", "timeInForce": "GTC", "price": "0.01"}, -4013),
        ({"type": "LIMIT", "timeInForce": "GTC", "price": "200000"}, -4002),
        ({"type": "LIMIT", "timeInForce": "GTC", "price": "2.7"}, -4016),
        ({"type": "LIMIT", "timeInForce": "GTX", "price": "2.5"}, -5022),
        ({"type": "LIMIT", "timeInForce": "FOK", "price": "2.4"}, -5021),
        ({"reduceOnly": "true"}, -2022),
        ({"reduceOnly": "maybe"}, -1130),
        ({"positionSide": "LONG"}, -4061),
        ({"newClientOrderId": "x" * 37}, -4015),
        ({"newClientOrderId": "white space"}, -1100),
    ],
)
async def test_an_order_is_refused_with_the_exchange_code(venue, change, code):
    await venue.client.control("price", symbol="XRPUSDT", price="2.5000")
    params = {"symbol": "XRPUSDT", "side": "BUY", "type": "MARKET", "quantity": "100"} | change
    assert await venue.client.error("POST", ORDER, **params) == code
    books = await venue.client.books()
    assert [r["code"] for r in books["rejects"]] == [code]
    assert books["fills"] == books["open_orders"] == []
