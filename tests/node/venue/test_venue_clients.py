"""Independent clients from the package index use the venue unchanged: only their URLs are other ones."""

import asyncio

import ccxt
import ccxt.pro
import pytest
from binance import AsyncClient, BinanceSocketManager
from binance.client import Client
from binance.enums import FuturesType
from binance.exceptions import BinanceAPIException

SYMBOL = "XRP/USDT:USDT"


@pytest.fixture
async def priced(start_venue):
    running = await start_venue({"replay": {"mark_price_secs": 0.2}})
    await running.client.control("price", symbol="XRPUSDT", price="2.5000")
    return running


def redirected(exchange, running):
    """Point every URL of a ccxt client at the venue, keeping its path."""

    def moved(url, base):
        if isinstance(url, dict):
            return {name: moved(part, running.ws) for name, part in url.items()}
        _, _, path = url.partition("//")[2].partition("/")
        return f"{base}/{path}" if path else base

    exchange.urls["api"] = {
        name: moved(url, running.http if isinstance(url, str) else running.ws)
        for name, url in exchange.urls["api"].items()
    }
    return exchange


async def test_ccxt_places_lists_and_cancels(priced):
    def trade():
        client = redirected(ccxt.binanceusdm({"apiKey": "demo", "secret": "demo"}), priced)
        client.load_markets()
        assert client.market(SYMBOL)["precision"]["price"] == 0.0001
        bought = client.create_order(SYMBOL, "market", "buy", 100)
        assert (bought["status"], bought["filled"], bought["average"]) == ("closed", 100, 2.5)
        limit = client.create_order(SYMBOL, "limit", "buy", 100, 2.4)
        changed = client.edit_order(limit["id"], SYMBOL, "limit", "buy", 120, 2.41)
        assert (changed["amount"], changed["price"]) == (120, 2.41)
        stop = client.create_order(SYMBOL, "STOP_MARKET", "sell", 100, None, {"stopPrice": 2.3, "reduceOnly": True})
        assert [o["id"] for o in client.fetch_open_orders(SYMBOL)] == [limit["id"]]
        assert [o["id"] for o in client.fetch_open_orders(SYMBOL, params={"trigger": True})] == [stop["id"]]
        (position,) = client.fetch_positions()
        assert (position["side"], position["contracts"], position["entryPrice"]) == ("long", 100, 2.5)
        assert client.fetch_balance()["USDT"]["total"] == pytest.approx(10_000 - 0.125)
        assert client.fetch_my_trades(SYMBOL)[0]["fee"]["cost"] == 0.125
        assert client.fetch_open_interest(SYMBOL)["openInterestAmount"] > 0
        assert client.fetch_funding_rate(SYMBOL)["markPrice"] == 2.5
        client.set_leverage(7, SYMBOL)
        client.cancel_order(limit["id"], SYMBOL)
        client.cancel_all_orders(SYMBOL, params={"trigger": True})
        assert client.fetch_open_orders(SYMBOL) == client.fetch_open_orders(SYMBOL, params={"trigger": True}) == []
        with pytest.raises(ccxt.OrderNotFound):
            client.cancel_order(limit["id"], SYMBOL)
        with pytest.raises(ccxt.ExchangeError, match="-2019"):
            client.create_order(SYMBOL, "market", "buy", 90_000)

    await asyncio.to_thread(trade)
    books = await priced.client.books()
    assert books["positions"]["XRPUSDT"]["quantity"] == "100.0"
    assert books["positions"]["XRPUSDT"]["leverage"] == 7
    assert not books["open_orders"]
    assert not books["open_algo_orders"]


async def test_a_client_of_all_markets_finds_this_one_and_a_fresh_wallet(priced):
    def look():
        client = redirected(
            ccxt.binance({"apiKey": "demo", "secret": "demo", "options": {"defaultType": "swap"}}), priced
        )
        assert list(client.load_markets()) == [SYMBOL]
        assert client.fetch_balance()["USDT"]["total"] == 10_000
        assert client.fetch_positions() == []

    await asyncio.to_thread(look)


async def test_ccxt_streams_market_and_account(priced):
    client = redirected(ccxt.pro.binanceusdm({"apiKey": "demo", "secret": "demo"}), priced)
    moving = True

    async def market():
        price = 25_000
        while moving:
            price += 1
            await priced.client.control("price", symbol="XRPUSDT", price=f"{price / 10_000:.4f}")
            await priced.client.order("XRPUSDT", "BUY", "MARKET", "10")
            await asyncio.sleep(0.2)  # paces the market; nothing is awaited by it

    try:
        await client.load_markets()
        mover = asyncio.create_task(market())
        async with asyncio.timeout(20):
            book, trades, ticker, orders, fills, balance = await asyncio.gather(
                client.watch_order_book(SYMBOL),
                client.watch_trades(SYMBOL),
                client.watch_ticker(SYMBOL),
                client.watch_orders(SYMBOL),
                client.watch_my_trades(SYMBOL),
                client.watch_balance(),
            )
        moving = False
        await mover
    finally:
        await client.close()
    assert book["bids"][0][0] == pytest.approx(2.5, abs=0.01)
    assert trades[-1]["symbol"] == ticker["symbol"] == SYMBOL
    assert orders[-1]["symbol"] == SYMBOL
    assert fills[-1]["amount"] == 10
    assert balance["USDT"]["total"] < 10_000


def pointed(client, running):
    """Point a python-binance client at the venue."""
    client.FUTURES_URL = f"{running.http}/fapi"
    client.FUTURES_DATA_URL = f"{running.http}/futures/data"
    client.API_URL = f"{running.http}/api"
    client.MARGIN_API_URL = f"{running.http}/sapi"
    return client


async def test_python_binance_places_lists_and_cancels(priced):
    def trade():
        client = pointed(Client("demo", "demo", ping=False), priced)
        assert client.futures_exchange_info()["symbols"][0]["symbol"] == "XRPUSDT"
        bought = client.futures_create_order(
            symbol="XRPUSDT", side="BUY", type="MARKET", quantity="100", newOrderRespType="RESULT"
        )
        assert (bought["status"], bought["avgPrice"]) == ("FILLED", "2.5000000")
        limit = client.futures_create_order(
            symbol="XRPUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="100", price="2.4"
        )
        assert [o["orderId"] for o in client.futures_get_open_orders()] == [limit["orderId"]]
        (position,) = [p for p in client.futures_position_information() if float(p["positionAmt"])]
        assert position["positionAmt"] == "100.0"
        assert float(client.futures_account()["totalWalletBalance"]) == 9999.875
        assert client.futures_income_history(incomeType="COMMISSION")[0]["income"] == "-0.12500000"
        assert client.futures_open_interest(symbol="XRPUSDT")["symbol"] == "XRPUSDT"
        assert client.futures_countdown_cancel_all(symbol="XRPUSDT", countdownTime=0)["countdownTime"] == "0"
        assert client.get_account_api_permissions()["enableWithdrawals"] is False
        client.futures_cancel_order(symbol="XRPUSDT", orderId=limit["orderId"])
        with pytest.raises(BinanceAPIException) as refused:
            client.futures_cancel_order(symbol="XRPUSDT", orderId=limit["orderId"])
        assert refused.value.code == -2011

    await asyncio.to_thread(trade)


async def test_python_binance_streams_market_and_account(priced):
    client = pointed(AsyncClient("demo", "demo"), priced)
    manager = BinanceSocketManager(client)
    manager.FSTREAM_URL = f"{priced.ws}/"
    left = False

    async def market():
        """Trade until the client has left: it ends a socket only when the next message arrives."""
        price = 25_000
        while not left:
            price += 1
            await priced.client.control("price", symbol="XRPUSDT", price=f"{price / 10_000:.4f}")
            await priced.client.order("XRPUSDT", "BUY", "MARKET", "10")
            await asyncio.sleep(0.1)  # paces the market; nothing is awaited by it

    trades = manager.aggtrade_futures_socket("xrpusdt", futures_type=FuturesType.USD_M)
    account = manager.futures_user_socket()
    mover = None
    try:
        async with asyncio.timeout(25):
            async with trades as stream, account as user:
                mover = asyncio.create_task(market())
                trade = await stream.recv()
                events = [await user.recv() for _ in range(3)]
    finally:
        left = True
        if mover is not None:
            await mover
        await client.close_connection()
    assert (trade["data"]["e"], trade["data"]["s"]) == ("aggTrade", "XRPUSDT")
    assert [e["e"] for e in events] == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"]
    assert events[-1]["o"]["X"] == "FILLED"
