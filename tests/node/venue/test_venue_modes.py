"""Hedge mode, isolated margin, margin calls, ADL, delisting and the countdown, at the wire and in the books."""

import asyncio
import time

import pytest

ORDER = "/fapi/v1/order"
DUAL = "/fapi/v1/positionSide/dual"


@pytest.fixture
async def priced(venue):
    await venue.client.control("price", symbol="XRPUSDT", price="2.5000")
    return venue


async def until(condition, secs=5.0):
    deadline = time.monotonic() + secs
    while not await condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.02)


async def test_the_position_mode_changes_only_when_nothing_is_open(priced):
    client = priced.client
    assert await client.error("POST", DUAL, dualSidePosition="false") == -4059
    order = await client.order("XRPUSDT", "BUY", "LIMIT", "100", price="2.4", timeInForce="GTC")
    assert await client.error("POST", DUAL, dualSidePosition="true") == -4067
    await client.call("DELETE", ORDER, symbol="XRPUSDT", orderId=order["orderId"])
    await client.order("XRPUSDT", "BUY", "MARKET", "100")
    assert await client.error("POST", DUAL, dualSidePosition="true") == -4068
    await client.order("XRPUSDT", "SELL", "MARKET", "100", reduceOnly="true")
    await client.call("POST", DUAL, dualSidePosition="true")
    assert await client.call("GET", DUAL) == {"dualSidePosition": True}


async def test_both_sides_live_side_by_side_in_hedge_mode(start_venue):
    running = await start_venue({"account": {"hedge_mode": True}})
    client = running.client
    await client.control("price", symbol="XRPUSDT", price="2.5000")
    market = {"symbol": "XRPUSDT", "type": "MARKET"}
    assert await client.error("POST", ORDER, **market, side="BUY", quantity="100") == -4061
    await client.order("XRPUSDT", "BUY", "MARKET", "100", positionSide="LONG")
    await client.order("XRPUSDT", "SELL", "MARKET", "40", positionSide="SHORT")
    rows = {r["positionSide"]: r["positionAmt"] for r in await client.call("GET", "/fapi/v3/positionRisk")}
    assert rows == {"LONG": "100.0", "SHORT": "-40.0"}
    reduce = {**market, "side": "SELL", "quantity": "10", "positionSide": "LONG", "reduceOnly": "true"}
    assert await client.error("POST", ORDER, **reduce) == -1106
    await client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity="100", triggerPrice="2.4", positionSide="LONG")
    await client.algo("XRPUSDT", "BUY", "STOP_MARKET", closePosition="true", triggerPrice="2.6", positionSide="SHORT")
    await client.control("price", symbol="XRPUSDT", price="2.7000")
    await client.control("price", symbol="XRPUSDT", price="2.3000")
    books = await client.books()
    assert not books["hedge_positions"]
    assert [(f["position_side"], f["side"], f["price"], f["quantity"]) for f in books["fills"][2:]] == [
        ("SHORT", "BUY", "2.6000", "40.0"),
        ("LONG", "SELL", "2.4000", "100.0"),
    ]
    closing = {**market, "side": "SELL", "quantity": "10", "positionSide": "LONG"}
    assert await client.error("POST", ORDER, **closing) == -2022


async def test_an_isolated_position_costs_its_margin_and_no_more(start_venue):
    running = await start_venue({"account": {"balance": "1000", "leverage": 10}})
    client = running.client
    await client.control("price", symbol="XRPUSDT", price="2.5000")
    await client.call("POST", "/fapi/v1/marginType", symbol="XRPUSDT", marginType="ISOLATED")
    stream = await running.user_stream()
    await client.order("XRPUSDT", "BUY", "MARKET", "1000")
    (row,) = await client.call("GET", "/fapi/v3/positionRisk")
    assert row["isolatedWallet"] == "250.00000000"
    assert 2.25 < float(row["liquidationPrice"]) < 2.30
    margin = {"symbol": "XRPUSDT"}
    assert await client.error("POST", "/fapi/v1/positionMargin", **margin, amount="5000", type=1) == -4050
    assert await client.error("POST", "/fapi/v1/positionMargin", **margin, amount="200", type=2) == -4051
    await client.call("POST", "/fapi/v1/positionMargin", **margin, amount="50", type=1)
    assert len(await client.call("GET", "/fapi/v1/positionMargin/history", **margin)) == 1
    assert await client.error("POST", "/fapi/v1/leverage", symbol="XRPUSDT", leverage=5) == -4161
    await client.control("price", symbol="XRPUSDT", price="2.0000")
    await stream.until(lambda m: m["e"] == "MARGIN_CALL")
    await stream.until(lambda m: m["e"] == "ACCOUNT_UPDATE" and m["a"]["m"] == "INSURANCE_CLEAR")
    books = await client.books()
    assert books["positions"]["XRPUSDT"]["quantity"] == "0.0"
    assert books["positions"]["XRPUSDT"]["isolated_wallet"] in ("0", "0.00000000", "0E-8")
    fee = 1000 * 2.5 * 0.0005
    assert 1000 - 300 - fee - 0.01 <= float(books["wallet"]) < 720
    (forced,) = await client.call("GET", "/fapi/v1/forceOrders", autoCloseType="LIQUIDATION")
    assert forced["clientOrderId"].startswith("autoclose-")


async def test_adl_and_liquidation_are_published_as_force_orders(priced):
    client = priced.client
    await client.order("XRPUSDT", "BUY", "MARKET", "100")
    await client.control("price", symbol="XRPUSDT", price="3.0000")
    (quantile,) = await client.call("GET", "/fapi/v1/adlQuantile")
    assert quantile["adlQuantile"]["BOTH"] == 4
    market = await priced.market_stream("xrpusdt@forceOrder", "!forceOrder@arr")
    await client.control("adl", symbol="XRPUSDT", quantity="30")
    first = await market.until(lambda m: m["data"]["e"] == "forceOrder")
    assert (first["data"]["o"]["S"], first["data"]["o"]["z"]) == ("SELL", "30.0")
    await market.until(lambda m: m["stream"] == "!forceOrder@arr")
    await client.control("liquidate", symbol="XRPUSDT")
    books = await client.books()
    assert books["positions"]["XRPUSDT"]["quantity"] == "0.0"
    kinds = [o["client_order_id"].split("-")[0] for o in books["orders"][1:]]
    assert kinds == ["adl_autoclose", "autoclose"]


async def test_a_delisted_symbol_is_settled_and_trades_no_more(priced):
    client = priced.client
    await client.order("XRPUSDT", "BUY", "MARKET", "100")
    await client.order("XRPUSDT", "BUY", "LIMIT", "100", price="2.4", timeInForce="GTC")
    await client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity="100", triggerPrice="2.4", reduceOnly="true")
    await client.control("settle", symbol="XRPUSDT")
    books = await client.books()
    assert books["positions"]["XRPUSDT"]["quantity"] == "0.0"
    assert books["open_orders"] == books["open_algo_orders"] == []
    order = {"symbol": "XRPUSDT", "side": "BUY", "type": "MARKET", "quantity": "100"}
    assert await client.error("POST", ORDER, **order) == -4108
    info = await client.call("GET", "/fapi/v1/exchangeInfo", signed=False)
    assert info["symbols"][0]["status"] == "SETTLING"
    await client.control("symbol_status", symbol="XRPUSDT", status="TRADING")
    await client.call("POST", ORDER, **order)


@pytest.mark.parametrize("algos", [False, True])
async def test_the_countdown_cancels_orders_and_algos_only_if_told(start_venue, algos):
    running = await start_venue({"execution": {"countdown_cancels_algos": algos}})
    client = running.client
    await client.control("price", symbol="XRPUSDT", price="2.5000")
    await client.order("XRPUSDT", "BUY", "MARKET", "100")
    await client.order("XRPUSDT", "BUY", "LIMIT", "100", price="2.4", timeInForce="GTC")
    await client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity="100", triggerPrice="2.4", reduceOnly="true")
    path = "/fapi/v1/countdownCancelAll"
    await client.call("POST", path, symbol="XRPUSDT", countdownTime=100)
    await client.call("POST", path, symbol="XRPUSDT", countdownTime=0)
    assert len((await client.books())["open_orders"]) == 1
    await client.call("POST", path, symbol="XRPUSDT", countdownTime=100)

    async def cancelled():
        return not (await client.books())["open_orders"]

    await until(cancelled)
    assert len((await client.books())["open_algo_orders"]) == (0 if algos else 1)


async def test_a_refused_trigger_is_told_and_leaves_the_position(priced):
    client = priced.client
    await client.order("XRPUSDT", "BUY", "MARKET", "100")
    await client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity="100", triggerPrice="2.4", reduceOnly="true")
    stream = await priced.user_stream()
    await client.control("refuse_triggers", times=1)
    await client.control("price", symbol="XRPUSDT", price="2.3000")
    told = await stream.until(lambda m: m["e"] == "CONDITIONAL_ORDER_TRIGGER_REJECT")
    assert told["or"]["s"] == "XRPUSDT"
    books = await client.books()
    assert books["positions"]["XRPUSDT"]["quantity"] == "100.0"
    assert books["algo_orders"][0]["status"] == "REJECTED"


async def test_amendments_and_batches(priced):
    client = priced.client
    order = await client.order("XRPUSDT", "BUY", "LIMIT", "100", price="2.4", timeInForce="GTC")
    row = {"symbol": "XRPUSDT", "side": "BUY", "orderId": order["orderId"], "quantity": "110", "price": "2.41"}
    text = '[{"symbol":"XRPUSDT","side":"BUY","orderId":%d,"quantity":"110","price":"2.41"},{"symbol":"XRPUSDT"}]'
    answers = await client.call("PUT", "/fapi/v1/batchOrders", body=True, batchOrders=text % order["orderId"])
    assert (answers[0]["origQty"], answers[1]["code"]) == ("110.0", -1102)
    (change,) = await client.call("GET", "/fapi/v1/orderAmendment", symbol="XRPUSDT", orderId=row["orderId"])
    assert change["amendment"]["price"] == {"before": "2.4000", "after": "2.4100"}


async def test_statistics_are_the_same_in_every_run_and_never_from_the_future(start_venue):
    answers = []
    for _ in range(2):
        running = await start_venue(history=20)
        found = {}
        for name in ("openInterestHist", "topLongShortAccountRatio", "topLongShortPositionRatio"):
            rows = await running.client.call(
                "GET", f"/futures/data/{name}", signed=False, symbol="XRPUSDT", period="15m", limit=500
            )
            assert rows, name
            assert rows[-1]["timestamp"] <= running.venue.feed.public_ms("XRPUSDT")
            found[name] = rows
        answers.append(found)
    assert answers[0] == answers[1]
    for name in ("markPriceKlines", "premiumIndexKlines"):
        rows = await running.client.call(
            "GET", f"/fapi/v1/{name}", signed=False, symbol="XRPUSDT", interval="15m", limit=5
        )
        assert len(rows) == 5, name
