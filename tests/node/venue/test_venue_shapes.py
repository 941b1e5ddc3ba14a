"""
Field names and JSON types of the venue's answers and events against recorded samples of the exchange's.

The samples (Binance.Net's test data, and answers recorded from the public API) lie beside the repository and are not
part of it; without them nothing can be compared.
"""

import asyncio
import json
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.node.venue.conftest import START_MS, STEP_MS

RAW = Path(os.environ.get("ARGONAUT_DATA", Path(__file__).resolve().parents[4] / "shared" / "data")) / "raw"
if not RAW.is_dir():
    RAW = Path(__file__).resolve().parents[4] / "shared" / "data" / "raw"
NET = RAW / "jkorf-binance-net"
RECORDED = RAW / "noahark-fapi-samples"

X = {"symbol": "XRPUSDT"}
CALLS: dict[str, tuple[str, str, bool, dict[str, Any]]] = {
    # sample: method, path, signed, parameters
    "Account/GetAccountConfiguration": ("GET", "/fapi/v1/accountConfig", True, {}),
    "Account/GetAccountInfo": ("GET", "/fapi/v2/account", True, {}),
    "Account/GetAccountInfoV3": ("GET", "/fapi/v3/account", True, {}),
    "Account/GetBalances": ("GET", "/fapi/v3/balance", True, {}),
    "Account/GetBrackets": ("GET", "/fapi/v1/leverageBracket", True, {}),
    "Account/GetIncomeHistory": ("GET", "/fapi/v1/income", True, {}),
    "Account/GetMarginChangeHistory": ("GET", "/fapi/v1/positionMargin/history", True, {"symbol": "BTCUSDT"}),
    "Account/GetMultiAssetsMode": ("GET", "/fapi/v1/multiAssetsMargin", True, {}),
    "Account/GetOrderRateLimit": ("GET", "/fapi/v1/rateLimit/order", True, {}),
    "Account/GetPositionAdlQuantileEstimation": ("GET", "/fapi/v1/adlQuantile", True, {}),
    "Account/GetPositionInformation": ("GET", "/fapi/v2/positionRisk", True, {}),
    "Account/GetSymbolConfiguration": ("GET", "/fapi/v1/symbolConfig", True, {}),
    "Account/GetTradingStatus": ("GET", "/fapi/v1/apiTradingStatus", True, {}),
    "Account/GetUserCommissionRate": ("GET", "/fapi/v1/commissionRate", True, X),
    "Account/ChangeInitialLeverage": ("POST", "/fapi/v1/leverage", True, X | {"leverage": 9}),
    "ExchangeData/GetAggregatedTradeHistory": ("GET", "/fapi/v1/aggTrades", False, X),
    "ExchangeData/GetBasis": (
        "GET",
        "/futures/data/basis",
        False,
        {"pair": "XRPUSDT", "contractType": "PERPETUAL", "period": "15m"},
    ),
    "ExchangeData/GetBookPrice": ("GET", "/fapi/v1/ticker/bookTicker", False, X),
    "ExchangeData/GetContinuousContractKlines": (
        "GET",
        "/fapi/v1/continuousKlines",
        False,
        {"pair": "XRPUSDT", "contractType": "PERPETUAL", "interval": "15m"},
    ),
    "ExchangeData/GetFundingInfo": ("GET", "/fapi/v1/fundingInfo", False, {}),
    "ExchangeData/GetFundingRates": ("GET", "/fapi/v1/fundingRate", False, X),
    "ExchangeData/GetGlobalLongShortAccountRatio": (
        "GET",
        "/futures/data/globalLongShortAccountRatio",
        False,
        X | {"period": "15m"},
    ),
    "ExchangeData/GetIndexPriceKlines": (
        "GET",
        "/fapi/v1/indexPriceKlines",
        False,
        {"pair": "XRPUSDT", "interval": "15m"},
    ),
    "ExchangeData/GetKlines": ("GET", "/fapi/v1/klines", False, X | {"interval": "15m"}),
    "ExchangeData/GetMarkPrice": ("GET", "/fapi/v1/premiumIndex", False, X),
    "ExchangeData/GetMarkPriceKlines": ("GET", "/fapi/v1/markPriceKlines", False, X | {"interval": "15m"}),
    "ExchangeData/GetOpenInterest": ("GET", "/fapi/v1/openInterest", False, X),
    "ExchangeData/GetOpenInterestHistory": ("GET", "/futures/data/openInterestHist", False, X | {"period": "15m"}),
    "ExchangeData/GetOrderBook": ("GET", "/fapi/v1/depth", False, X),
    "ExchangeData/GetPremiumIndexKlines": ("GET", "/fapi/v1/premiumIndexKlines", False, X | {"interval": "15m"}),
    "ExchangeData/GetPrice": ("GET", "/fapi/v2/ticker/price", False, X),
    "ExchangeData/GetRecentTrades": ("GET", "/fapi/v1/trades", False, X),
    "ExchangeData/GetServerTime": ("GET", "/fapi/v1/time", False, {}),
    "ExchangeData/GetTakerBuySellVolumeRatio": (
        "GET",
        "/futures/data/takerlongshortRatio",
        False,
        X | {"period": "15m"},
    ),
    "ExchangeData/GetTicker": ("GET", "/fapi/v1/ticker/24hr", False, X),
    "ExchangeData/GetTopLongShortAccountRatio": (
        "GET",
        "/futures/data/topLongShortAccountRatio",
        False,
        X | {"period": "15m"},
    ),
    "ExchangeData/GetTopLongShortPositionRatio": (
        "GET",
        "/futures/data/topLongShortPositionRatio",
        False,
        X | {"period": "15m"},
    ),
    "ExchangeData/GetTradeHistory": ("GET", "/fapi/v1/historicalTrades", True, X),
    "Trading/GetConditionalOrders": ("GET", "/fapi/v1/allAlgoOrders", True, X),
    "Trading/GetOpenConditionalOrders": ("GET", "/fapi/v1/openAlgoOrders", True, X),
    "Trading/GetForcedOrders": ("GET", "/fapi/v1/forceOrders", True, {}),
    "Trading/GetOpenOrders": ("GET", "/fapi/v1/openOrders", True, X),
    "Trading/GetOrders": ("GET", "/fapi/v1/allOrders", True, X),
    "Trading/GetOrderEditHistory": ("GET", "/fapi/v1/orderAmendment", True, X),
    "Trading/GetUserTrades": ("GET", "/fapi/v1/userTrades", True, X),
    "Trading/PlaceConditionalOrder": (
        "POST",
        "/fapi/v1/algoOrder",
        True,
        X | {"algoType": "CONDITIONAL", "side": "SELL", "type": "STOP_MARKET", "quantity": 50, "triggerPrice": "2.2"},
    ),
    "Trading/PlaceOrder": (
        "POST",
        "/fapi/v1/order",
        True,
        X | {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": 40, "price": "2.4"},
    ),
    "Trading/CancelAllOrders": ("DELETE", "/fapi/v1/allOpenOrders", True, {"symbol": "BTCUSDT"}),
    "Trading/CancelAllConditionalOrders": ("DELETE", "/fapi/v1/algoOpenOrders", True, {"symbol": "BTCUSDT"}),
    "Trading/CancelAllOrdersAfterTimeout": ("POST", "/fapi/v1/countdownCancelAll", True, X | {"countdownTime": 0}),
}
EVENTS = {
    "AccountUpdate": "ACCOUNT_UPDATE",
    "AlgoOrderUpdate": "ALGO_UPDATE",
    "ConditionalTrigger": "CONDITIONAL_ORDER_TRIGGER_REJECT",
    "Leverage": "ACCOUNT_CONFIG_UPDATE",
    "MarginUpdate": "MARGIN_CALL",
    "OrderUpdate": "ORDER_TRADE_UPDATE",
    "TradeUpdate": "TRADE_LITE",
}
OTHERWISE: dict[str, set[str]] = {
    # A sample from before the exchange sent numbers: today's answers, and the clients in use, have them.
    "Account/GetIncomeHistory": {"tranId"},
    "Account/GetSymbolConfiguration": {"isAutoAddMargin"},
    "ExchangeData/GetGlobalLongShortAccountRatio": {"timestamp"},
    "ExchangeData/GetOpenInterestHistory": {"timestamp"},
    "ExchangeData/GetTakerBuySellVolumeRatio": {"timestamp"},
    "ExchangeData/GetTopLongShortAccountRatio": {"timestamp"},
    "ExchangeData/GetTopLongShortPositionRatio": {"timestamp"},
    # Rows of hedge mode; of an account that broke a trading rule; of trailing orders from before the algo endpoint.
    "Account/GetPositionAdlQuantileEstimation": {"LONG", "SHORT", "HEDGE"},
    "Account/GetTradingStatus": {"BTCUSDT", "ETHUSDT"},
    "Trading/GetOpenOrders": {"activatePrice", "priceRate"},
    "Trading/GetOrders": {"activatePrice", "priceRate"},
    "Trading/PlaceOrder": {"activatePrice", "priceRate"},
    # Strategy and liquidity fields of features the venue does not have.
    "OrderUpdate": {"si", "ss", "AP", "cr"},
    # A classification the catalog does not keep.
    "fapi-v1-exchangeInfo": {"underlyingSubType"},
}
"""Fields by sample in which the venue differs on purpose, and why."""


def _decoded(text: str) -> Any:
    text = re.sub(r"(?<!:)//[^\n\"]*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\|(\w+)\|", r"\1", text)
    return json.JSONDecoder().raw_decode(text.strip())[0]


def _sample(name: str) -> Any:
    lines = (NET / "Endpoints" / "UsdFutures" / f"{name}.txt").read_text(encoding="utf-8-sig").split("\n", 3)
    return _decoded(lines[3])


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "nothing" if value is None else type(value).__name__


def differences(wanted: Any, found: Any, place: str = "") -> list[str]:
    """Return what the exchange sends and the venue does not, or sends as another JSON type."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        missing = [f"{place}/{n}: missing" for n in wanted if n not in found]
        return missing + [d for n in wanted if n in found for d in differences(wanted[n], found[n], f"{place}/{n}")]
    if isinstance(wanted, list) and isinstance(found, list):
        if not wanted or not found:
            return [] if not wanted else [f"{place}: empty, nothing compared"]
        if isinstance(wanted[0], dict | list) or len(wanted) == 1:
            return differences(wanted[0], found[0], f"{place}[0]")
        return [
            d for n, (a, b) in enumerate(zip(wanted, found, strict=False)) for d in differences(a, b, f"{place}[{n}]")
        ]
    kinds = _kind(wanted), _kind(found)
    return [] if kinds[0] == kinds[1] or "nothing" in kinds else [f"{place}: {kinds[0]} there, {kinds[1]} here"]


@pytest.fixture
async def busy(start_venue: Any) -> Any:
    """A venue on which everything has happened once."""
    settings = {"data": {"symbols": ["XRPUSDT", "BTCUSDT"]}, "account": {"balance": 100_000}}
    funding = {"XRPUSDT": [(START_MS + 4 * STEP_MS, Decimal("0.0001"))]}
    running = await start_venue({**settings, "execution": {"trade_lite": True}}, funding=funding)
    client = running.client
    await client.control("step", count=40)
    async with asyncio.timeout(10):
        while (await client.books())["state"] == "running":  # noqa: ASYNC110 - another process's event
            await asyncio.sleep(0.02)
    await client.control("price", symbol="XRPUSDT", price="2.5")
    return running


async def _everything(client: Any) -> None:
    await client.order("XRPUSDT", "BUY", "MARKET", 200)
    limit = await client.order("XRPUSDT", "BUY", "LIMIT", 100, price="2.4", timeInForce="GTC")
    await client.call("PUT", "/fapi/v1/order", orderId=limit["orderId"], side="BUY", quantity=110, price="2.41", **X)
    await client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity=100, triggerPrice="2.3", reduceOnly="true")
    await client.call("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED")
    await client.order("BTCUSDT", "BUY", "MARKET", "0.010")
    await client.call("POST", "/fapi/v1/positionMargin", symbol="BTCUSDT", amount="10", type=1)
    await client.control("adl", symbol="BTCUSDT", quantity="0.004")


needs_samples = pytest.mark.skipif(not NET.is_dir(), reason="the recorded samples are not on this machine")


@needs_samples
async def test_answers_have_the_shape_of_the_exchanges(busy: Any) -> None:
    await _everything(busy.client)
    found = {}
    for name, (method, path, signed, params) in CALLS.items():
        answer = await busy.client.call(method, path, signed=signed, **params)
        wanted = _sample(name)
        if isinstance(wanted, list) and isinstance(answer, dict):
            wanted = wanted[0]
        if isinstance(answer, list) and isinstance(wanted, dict):
            answer = answer[0]
        if bad := _unexplained(name, wanted, answer):
            found[f"{name} {path}"] = bad
    assert not found, json.dumps(found, indent=1)


def _unexplained(name: str, wanted: Any, found: Any) -> list[str]:
    known = OTHERWISE.get(name, set())
    return [d for d in differences(wanted, found) if d.split(":")[0].rpartition("/")[2] not in known]


@needs_samples
async def test_events_have_the_shape_of_the_exchanges(busy: Any) -> None:
    client = busy.client
    user = await busy.user_stream()
    await _everything(client)
    await client.call("POST", "/fapi/v1/leverage", leverage=9, **X)
    await client.control("margin_call")
    await client.control("refuse_triggers", times=1)
    await client.control("price", symbol="XRPUSDT", price="2.29")
    await user.until(lambda e: e["e"] == "CONDITIONAL_ORDER_TRIGGER_REJECT")
    found = {}
    for name, kind in EVENTS.items():
        text = (NET / "Subscriptions" / "UsdFutures" / f"{name}.txt").read_text(encoding="utf-8-sig")
        wanted = _decoded(text[text.index("\n=") + 2 :])["data"]
        sent = [e for e in user.seen if e["e"] == kind]
        assert sent, f"{kind} was not sent"
        # The fullest of the venue's events: an account update with a position, an order update with a trade.
        best = min((_unexplained(name, wanted, event) for event in sent), key=len)
        if best:
            found[name] = best
    assert not found, json.dumps(found, indent=1)


@needs_samples
async def test_market_streams_have_the_shape_of_the_exchanges(busy: Any) -> None:
    streams = {
        "AggTrades": "xrpusdt@aggTrade",
        "Book": "xrpusdt@depth",
        "BookTicker": "xrpusdt@bookTicker",
        "Klines": "xrpusdt@kline_15m",
        "Liquidations": "xrpusdt@forceOrder",
        "MarkPrice": "xrpusdt@markPrice",
        "MiniTicker": "xrpusdt@miniTicker",
        "PartialBook": "xrpusdt@depth5",
        "Ticker": "xrpusdt@ticker",
    }
    market = await busy.market_stream(*streams.values())
    await busy.client.order("XRPUSDT", "BUY", "MARKET", 200)
    await busy.client.control("step", count=2)
    await market.until(lambda m: m["stream"] == "xrpusdt@ticker")
    await busy.client.control("liquidate", symbol="XRPUSDT")
    await market.until(lambda m: m["stream"] == "xrpusdt@forceOrder")
    found = {}
    for name, stream in streams.items():
        text = (NET / "Subscriptions" / "UsdFutures" / f"{name}.txt").read_text(encoding="utf-8-sig")
        wanted = _decoded(text[text.index("\n=") + 2 :])["data"]
        sent = [m["data"] for m in market.seen if m.get("stream") == stream]
        assert sent, f"{stream} was not sent"
        if bad := _unexplained(name, wanted, sent[-1]):
            found[name] = bad
    assert not found, json.dumps(found, indent=1)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded samples are not on this machine")
async def test_public_answers_have_the_shape_of_recorded_ones(busy: Any) -> None:
    calls = {
        "fapi-v1-fundingInfo": {},
        "fapi-v1-fundingRate": X,
        "fapi-v1-premiumIndex": {},
        "fapi-v1-exchangeInfo": {},
    }
    found = {}
    for name, params in calls.items():
        for file in sorted(RECORDED.glob(f"*/{name}*.json")):
            wanted = json.loads(file.read_bytes())
            if name == "fapi-v1-exchangeInfo":
                wanted["symbols"] = [row for row in wanted["symbols"] if row["symbol"] == "XRPUSDT"]
            answer = await busy.client.call("GET", "/" + name.replace("-", "/"), signed=False, **params)
            if bad := _unexplained(name, wanted, answer):
                found[str(file.relative_to(RECORDED))] = bad
    assert not found, json.dumps(found, indent=1)
