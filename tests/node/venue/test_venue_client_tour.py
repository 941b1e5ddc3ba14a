"""Whatever an independent client can ask for: every order type and account call of ccxt and python-binance."""

import asyncio

import ccxt
import pytest
from binance.client import Client
from binance.exceptions import BinanceAPIException

from tests.node.venue.test_venue_clients import SYMBOL, pointed, redirected


@pytest.fixture
async def walked(start_venue):
    """A venue with some days behind it and a price one can count with."""
    running = await start_venue({"data": {"symbols": ["XRPUSDT", "BTCUSDT"]}})
    await running.client.control("step", count=40)
    async with asyncio.timeout(20):
        while (await running.client.books())["state"] == "running":  # noqa: ASYNC110 - another process's event
            await asyncio.sleep(0.02)
    await running.client.control("price", symbol="XRPUSDT", price="2.5000")
    return running


async def test_every_order_type_of_ccxt(walked):
    def trade():
        client = redirected(ccxt.binanceusdm({"apiKey": "demo", "secret": "demo"}), walked)
        client.load_markets()
        rest = {"timeInForce": "GTC"}
        maker = client.create_order(SYMBOL, "limit", "buy", 50, 2.4, {"postOnly": True})
        assert (maker["status"], maker["timeInForce"], maker["postOnly"]) == ("open", "PO", True)
        with pytest.raises(ccxt.InvalidOrder, match="-5022"):
            client.create_order(SYMBOL, "limit", "buy", 50, 2.6, {"postOnly": True})
        ioc = client.create_order(SYMBOL, "limit", "buy", 50, 2.4, {"timeInForce": "IOC"})
        assert client.fetch_order(ioc["id"], SYMBOL)["status"] == "expired"
        with pytest.raises(ccxt.ExchangeError, match="-5021"):
            client.create_order(SYMBOL, "limit", "buy", 50, 2.4, {"timeInForce": "FOK"})
        filled = client.create_order(SYMBOL, "limit", "buy", 50, 2.6, {"timeInForce": "FOK"})
        assert client.fetch_order(filled["id"], SYMBOL)["status"] == "closed"
        client.create_order(SYMBOL, "market", "buy", 150)
        kinds = {
            "STOP_MARKET": client.create_order(
                SYMBOL, "STOP_MARKET", "sell", 10, None, {"stopPrice": 2.3, "reduceOnly": True}
            ),
            "STOP": client.create_order(SYMBOL, "STOP", "sell", 10, 2.29, {"stopPrice": 2.3}),
            "TAKE_PROFIT": client.create_order(SYMBOL, "TAKE_PROFIT", "sell", 10, 2.7, {"stopPrice": 2.7}),
            "TAKE_PROFIT_MARKET": client.create_order(
                SYMBOL, "TAKE_PROFIT_MARKET", "sell", 10, None, {"stopPrice": 2.7, "reduceOnly": True}
            ),
            "TRAILING_STOP_MARKET": client.create_order(
                SYMBOL,
                "TRAILING_STOP_MARKET",
                "sell",
                10,
                None,
                {"callbackRate": 1.0, "activationPrice": 2.6, "reduceOnly": True},
            ),
        }
        closing = client.create_order(
            SYMBOL, "STOP_MARKET", "sell", None, None, {"stopPrice": 2.2, "closePosition": True}
        )
        resting = {o["id"]: o for o in client.fetch_open_orders(SYMBOL, params={"trigger": True})}
        assert set(resting) == {o["id"] for o in (*kinds.values(), closing)}
        assert {o["info"]["orderType"] for o in resting.values()} == {*kinds}
        assert resting[kinds["TRAILING_STOP_MARKET"]["id"]]["info"]["callbackRate"] in ("1.0", "1")
        simple = client.create_stop_loss_order(SYMBOL, "market", "sell", 10, None, 2.25, {"reduceOnly": True})
        client.cancel_order(simple["id"], SYMBOL, {"trigger": True})
        with pytest.raises(ccxt.ExchangeError, match="-2021"):
            client.create_order(SYMBOL, "STOP_MARKET", "sell", 10, None, {"stopPrice": 2.9, "reduceOnly": True})
        with pytest.raises(ccxt.ExchangeError, match="-2022"):
            client.create_order(SYMBOL, "market", "buy", 10, None, {"reduceOnly": True})
        several = client.create_orders(
            [
                {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 20, "price": 2.35, "params": rest},
                {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 20, "price": 2.34, "params": rest},
            ]
        )
        assert [o["status"] for o in several] == ["open", "open"]
        changed = client.edit_orders(
            [
                {"id": o["id"], "symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 25, "price": 2.33}
                for o in several
            ]
        )
        assert [o["amount"] for o in changed] == [25, 25]
        assert len(client.cancel_orders([o["id"] for o in several], SYMBOL)) == 2
        client.cancel_order(maker["id"], SYMBOL)
        client.cancel_all_orders(SYMBOL, params={"trigger": True})
        client.cancel_all_orders(SYMBOL)
        assert client.fetch_open_orders(SYMBOL) == []
        statuses = {o["status"] for o in client.fetch_orders(SYMBOL)}
        assert {"closed", "canceled", "expired"} <= statuses
        client.close()

    await asyncio.to_thread(trade)


async def test_every_account_call_of_ccxt(walked):
    def look():
        client = redirected(ccxt.binanceusdm({"apiKey": "demo", "secret": "demo"}), walked)
        client.load_markets()
        client.create_order(SYMBOL, "market", "sell", 100)
        (position,) = client.fetch_positions([SYMBOL])
        assert (position["side"], position["contracts"], position["marginMode"]) == ("short", 100, "cross")
        assert position["liquidationPrice"] > 2.5
        risk = client.fetch_positions_risk([SYMBOL]) if client.has.get("fetchPositionsRisk") else [position]
        assert risk[0]["contracts"] == 100
        tiers = client.fetch_leverage_tiers([SYMBOL])[SYMBOL]
        assert tiers[0]["maxLeverage"] >= tiers[-1]["maxLeverage"]
        assert client.fetch_leverages([SYMBOL])[SYMBOL]["longLeverage"] >= 1
        assert client.fetch_margin_modes([SYMBOL])[SYMBOL]["marginMode"] == "cross"
        assert client.fetch_position_mode(SYMBOL)["hedged"] is False
        candles = client.fetch_ohlcv(SYMBOL, "15m", limit=20)
        assert len(candles) == 20
        assert len(client.fetch_ohlcv(SYMBOL, "1h", limit=5)) == 5
        assert len(client.fetch_mark_ohlcv(SYMBOL, "15m", limit=5)) == 5
        assert len(client.fetch_index_ohlcv(SYMBOL, "15m", limit=5)) == 5
        assert len(client.fetch_premium_index_ohlcv(SYMBOL, "15m", limit=5)) == 5
        assert len(client.fetch_open_interest_history(SYMBOL, "15m", limit=5)) == 5
        assert len(client.fetch_long_short_ratio_history(SYMBOL, "15m", limit=5)) == 5
        assert client.fetch_order_book(SYMBOL, 20)["bids"][0][0] <= 2.5
        assert client.fetch_ticker(SYMBOL)["last"] == 2.5
        assert SYMBOL in client.fetch_tickers()
        assert SYMBOL in client.fetch_bids_asks()
        assert SYMBOL in client.fetch_funding_rates()
        assert SYMBOL in client.fetch_funding_intervals()
        assert client.fetch_trades(SYMBOL)
        assert client.fetch_trading_fee(SYMBOL)["taker"] == 0.0005
        assert [row["type"] for row in client.fetch_ledger("USDT")]
        assert client.fetch_time() > 0
        assert client.fetch_status()["status"] == "ok"
        client.set_margin_mode("cross", SYMBOL)
        client.create_order(SYMBOL, "market", "buy", 100)
        client.set_margin_mode("isolated", SYMBOL)
        client.create_order(SYMBOL, "market", "buy", 100)
        assert client.add_margin(SYMBOL, 5)["type"] == "add"
        assert client.reduce_margin(SYMBOL, 2)["type"] == "reduce"
        (isolated,) = client.fetch_positions([SYMBOL])
        assert isolated["marginMode"] == "isolated"
        assert [m["type"] for m in client.fetch_margin_adjustment_history(SYMBOL)]
        with pytest.raises(ccxt.ExchangeError, match="-4048"):
            client.set_margin_mode("cross", SYMBOL)
        client.create_order(SYMBOL, "market", "sell", 100, None, {"reduceOnly": True})
        client.set_position_mode(hedged=True, symbol=SYMBOL)
        client.create_order(SYMBOL, "market", "buy", 60, None, {"positionSide": "LONG"})
        client.create_order(SYMBOL, "market", "sell", 40, None, {"positionSide": "SHORT"})
        sides = {(p["side"], p["contracts"]) for p in client.fetch_positions([SYMBOL])}
        assert sides == {("long", 60), ("short", 40)}
        with pytest.raises(ccxt.ExchangeError, match="-4061"):
            client.create_order(SYMBOL, "market", "buy", 10)
        client.close()

    await asyncio.to_thread(look)
    await walked.client.control("funding", symbol="XRPUSDT", rate="0.0001")

    def paid():
        client = redirected(ccxt.binanceusdm({"apiKey": "demo", "secret": "demo"}), walked)
        client.load_markets()
        assert sum(row["amount"] for row in client.fetch_funding_history(SYMBOL)) == pytest.approx(-0.005)
        client.close()

    await asyncio.to_thread(paid)


async def test_errors_reach_ccxt_as_its_own_kinds(walked):
    def fail():
        client = redirected(ccxt.binanceusdm({"apiKey": "demo", "secret": "demo"}), walked)
        client.load_markets()
        with pytest.raises(ccxt.ExchangeError, match="-2019"):
            client.create_order(SYMBOL, "market", "buy", 90_000)
        with pytest.raises(ccxt.OrderNotFound):
            client.fetch_order("12345", SYMBOL)
        with pytest.raises(ccxt.BadSymbol):
            client.fapiPublicGetDepth({"symbol": "NOSUCHUSDT"})
        with pytest.raises(ccxt.ExchangeError, match="-4164"):
            client.create_order(SYMBOL, "limit", "buy", 1, 2.4)
        client.create_order(SYMBOL, "limit", "buy", 50, 2.4, {"clientOrderId": "twice"})
        with pytest.raises(ccxt.ExchangeError, match="-4116"):
            client.create_order(SYMBOL, "limit", "buy", 50, 2.4, {"clientOrderId": "twice"})
        stranger = redirected(ccxt.binanceusdm({"apiKey": "nobody", "secret": "demo"}), walked)
        with pytest.raises(ccxt.AuthenticationError):
            stranger.fetch_balance()
        forger = redirected(ccxt.binanceusdm({"apiKey": "demo", "secret": "wrong"}), walked)
        with pytest.raises(ccxt.AuthenticationError):
            forger.fetch_balance()

    await asyncio.to_thread(fail)
    await walked.client.control("fault", path="/fapi/v", status=429, code=-1003, headers={"Retry-After": "1"})
    await walked.client.control("fault", path="/fapi/v", status=503, code=-1008)

    def limited():
        client = redirected(ccxt.binanceusdm({"apiKey": "demo", "secret": "demo"}), walked)
        with pytest.raises(ccxt.DDoSProtection):
            client.fapiPublicGetTime()
        with pytest.raises(ccxt.ExchangeError, match="-1008"):
            client.fapiPublicGetTime()

    await asyncio.to_thread(limited)


async def test_every_call_of_python_binance(walked):
    def trade():
        client = pointed(Client("demo", "demo", ping=False), walked)
        x = {"symbol": "XRPUSDT"}
        assert client.futures_ping() == {}
        assert client.futures_time()["serverTime"]
        assert client.futures_symbol_ticker(**x)["price"] == "2.5000"
        assert client.futures_orderbook_ticker(**x)["bidPrice"]
        assert client.futures_ticker(**x)["lastPrice"] == "2.5000"
        assert len(client.futures_klines(**x, interval="15m", limit=10)) == 10
        assert client.futures_continuous_klines(pair="XRPUSDT", contractType="PERPETUAL", interval="15m", limit=3)
        assert client.futures_mark_price(**x)["markPrice"]
        client.futures_funding_rate(**x)
        assert client.futures_aggregate_trades(**x)
        assert client.futures_recent_trades(**x)
        assert client.futures_historical_trades(**x)
        assert client.futures_open_interest_hist(**x, period="15m", limit=3)
        assert client.futures_top_longshort_account_ratio(**x, period="15m", limit=3)
        assert client.futures_top_longshort_position_ratio(**x, period="15m", limit=3)
        assert client.futures_global_longshort_ratio(**x, period="15m", limit=3)
        assert client.futures_taker_longshort_ratio(**x, period="15m", limit=3)
        assert client.futures_leverage_bracket(**x)
        assert client.futures_account_balance()
        assert client.futures_change_leverage(**x, leverage=11)["leverage"] == 11
        assert client.futures_commission_rate(**x)["takerCommissionRate"]
        assert client.futures_get_position_mode() == {"dualSidePosition": False}
        assert client.futures_get_multi_assets_mode() == {"multiAssetsMargin": False}
        limit = {**x, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "50"}
        assert client.futures_create_test_order(**limit, price="2.4")
        placed = client.futures_create_order(**limit, price="2.4")
        found = client.futures_get_order(**x, orderId=placed["orderId"])
        assert found["status"] == "NEW"
        changed = client.futures_modify_order(**x, orderId=placed["orderId"], side="BUY", quantity="60", price="2.39")
        assert changed["origQty"] == "60.0"
        rows = client.futures_place_batch_order(batchOrders=[{**limit, "price": "2.38"}, {**limit, "price": "2.37"}])
        assert [r["status"] for r in rows] == ["NEW", "NEW"]
        client.futures_create_order(**x, side="BUY", type="MARKET", quantity="100")
        stop = client.futures_create_order(
            **x, side="SELL", type="STOP_MARKET", quantity="50", stopPrice="2.2", reduceOnly="true"
        )
        assert stop["algoId"]
        assert client.futures_get_all_orders(**x)
        assert client.futures_cancel_orders(**x, orderidlist=[r["orderId"] for r in rows])
        assert client.futures_cancel_all_open_orders(**x)["code"] == 200
        assert client.futures_account_trades(**x)
        assert client.futures_adl_quantile_estimate(**x)
        assert client.futures_position_information(**x)[0]["positionAmt"] == "100.0"
        with pytest.raises(BinanceAPIException) as refused:
            client.futures_create_order(**limit, price="2.41111")
        assert refused.value.code in (-4014, -1111)
        key = client.futures_stream_get_listen_key()
        client.futures_stream_keepalive(key)
        client.futures_stream_close(key)

    await asyncio.to_thread(trade)
