"""What a client may ask about the exchange and the account beyond orders: all of it from the venue's books."""

import csv
import io
import time
import zipfile
from decimal import Decimal

import pytest

from node.venue.config import VenueConfig
from strategies.errors import ConfigError
from strategies.yaml_config import convert

DAY_MS = 86_400_000
X = {"symbol": "XRPUSDT"}
PUBLIC = {"signed": False}


@pytest.fixture
async def priced(start_venue):
    running = await start_venue({"data": {"symbols": ["XRPUSDT", "BTCUSDT"]}, "insurance_fund": 500}, history=20)
    await running.client.control("price", symbol="XRPUSDT", price="2.5000")
    return running


async def test_the_asset_index_is_the_price_of_the_asset(priced):
    call = priced.client.call
    (usdt, xrp, btc) = await call("GET", "/fapi/v1/assetIndex", **PUBLIC)
    assert (usdt["symbol"], usdt["index"], xrp["symbol"], btc["symbol"]) == (
        "USDTUSD",
        "1.00000000",
        "XRPUSD",
        "BTCUSD",
    )
    assert xrp["index"] == xrp["bidRate"] == xrp["autoExchangeAskRate"] == "2.50000000"
    await priced.client.control("price", symbol="XRPUSDT", price="2.6000")
    assert (await call("GET", "/fapi/v1/assetIndex", symbol="XRPUSD", **PUBLIC))["index"] == "2.60000000"
    assert await priced.client.error("GET", "/fapi/v1/assetIndex", symbol="XRPUSDT", **PUBLIC) == -1121


async def test_the_insurance_fund_takes_fees_and_pays_what_margin_lacks(priced):
    client = priced.client
    (group,) = await client.call("GET", "/fapi/v1/insuranceBalance", **PUBLIC)
    assert group["symbols"] == ["XRPUSDT", "BTCUSDT"]
    assert group["assets"][0]["marginBalance"] == "500.00000000"
    await client.order("XRPUSDT", "BUY", "MARKET", 1000)
    await client.control("liquidate", symbol="XRPUSDT")
    fee = -Decimal((await client.books())["insurance"])
    assert fee > 0
    one = await client.call("GET", "/fapi/v1/insuranceBalance", **X, **PUBLIC)
    assert Decimal(one["assets"][0]["marginBalance"]) == 500 + fee
    assert await client.error("GET", "/fapi/v1/insuranceBalance", symbol="NONE", **PUBLIC) == -1121


def test_an_insurance_fund_is_not_negative():
    with pytest.raises(ConfigError, match="insurance_fund must not be negative, was -1"):
        convert({"insurance_fund": -1}, VenueConfig, "test")


async def test_adl_risk_follows_the_swing_of_the_day_and_the_fund(start_venue):
    running = await start_venue(history=20)
    low = await running.client.call("GET", "/fapi/v1/symbolAdlRisk", **X, **PUBLIC)
    bars = running.venue.feed.public_since("XRPUSDT", 0)
    swing = max(b.high for b in bars) / min(b.low for b in bars) - 1
    assert low["adlRisk"] == ("low" if swing < Decimal("0.05") else "medium" if swing < Decimal("0.15") else "high")
    assert low["updateTime"] % 1_800_000 == 0
    broke = await start_venue({"insurance_fund": 0}, history=20)
    (row,) = await broke.client.call("GET", "/fapi/v1/symbolAdlRisk", **PUBLIC)
    assert (row["symbol"], row["adlRisk"]) == ("XRPUSDT", "high")


async def test_the_book_with_retail_orders_is_the_book(priced):
    call = priced.client.call
    retail = await call("GET", "/fapi/v1/rpiDepth", limit=1000, **X, **PUBLIC)
    plain = await call("GET", "/fapi/v1/depth", limit=1000, **X, **PUBLIC)
    assert [retail[k] for k in ("lastUpdateId", "bids", "asks")] == [plain[k] for k in ("lastUpdateId", "bids", "asks")]
    status, answer, _ = await priced.client.full("GET", "/fapi/v1/rpiDepth", limit=20, **X, **PUBLIC)
    assert (status, answer) == (400, {"code": -4021, "msg": "20 is not valid depth limit"})


async def test_nothing_was_delivered_and_nothing_has_trading_hours(priced):
    call, refused = priced.client.call, priced.client.error
    assert await call("GET", "/futures/data/delivery-price", pair="XRPUSDT", **PUBLIC) == []
    assert await refused("GET", "/futures/data/delivery-price", pair="NONE", **PUBLIC) == -4144
    assert await refused("GET", "/futures/data/delivery-price", **PUBLIC) == -1102
    assert (await call("GET", "/fapi/v1/tradingSchedule", **PUBLIC))["marketSchedules"] == {}


async def test_fees_may_be_paid_in_coins_the_wallet_does_not_hold(priced):
    client = priced.client
    assert await client.call("GET", "/fapi/v1/feeBurn") == {"feeBurn": False}
    assert await client.call("POST", "/fapi/v1/feeBurn", feeBurn="true") == {"code": 200, "msg": "success"}
    assert await client.call("GET", "/fapi/v1/feeBurn") == {"feeBurn": True}
    assert (await client.call("GET", "/fapi/v2/account"))["feeBurn"] is True
    await client.order("XRPUSDT", "BUY", "MARKET", 100)
    (trade,) = await client.call("GET", "/fapi/v1/userTrades", **X)
    assert (trade["commissionAsset"], trade["commission"]) == ("USDT", "0.12500000")
    assert await client.error("POST", "/fapi/v1/feeBurn") == -1102
    assert await client.error("POST", "/fapi/v1/feeBurn", feeBurn="maybe") == -1130


async def test_histories_are_files_with_the_rows_of_the_books(priced):
    client = priced.client
    await client.order("XRPUSDT", "BUY", "MARKET", 100)
    await client.order("XRPUSDT", "BUY", "LIMIT", 50, price="2.4", timeInForce="GTC")
    now = int(time.time() * 1000)
    span = {"startTime": now - DAY_MS, "endTime": now + 1000}
    rest = {
        "order": await client.call("GET", "/fapi/v1/allOrders", **X),
        "trade": await client.call("GET", "/fapi/v1/userTrades", **X),
        "income": await client.call("GET", "/fapi/v1/income"),
    }
    await client.order("XRPUSDT", "SELL", "MARKET", 100)
    for kind, wanted in rest.items():
        asked = await client.call("GET", f"/fapi/v1/{kind}/asyn", startTime=now - DAY_MS, endTime=wanted[-1]["time"])
        link = await client.call("GET", f"/fapi/v1/{kind}/asyn/id", downloadId=asked["downloadId"])
        assert (link["status"], link["isExpired"]) == ("completed", None)
        assert link["expirationTimestamp"] > now
        async with priced.session.get(link["url"]) as response:
            archive = zipfile.ZipFile(io.BytesIO(await response.read()))
        rows = list(csv.DictReader(io.StringIO(archive.read(f"{kind}.csv").decode())))
        assert rows == [{name: str(value) for name, value in row.items()} for row in wanted]
    refused = client.error
    assert await refused("GET", "/fapi/v1/trade/asyn/id", downloadId="1") == -1130
    assert await refused("GET", "/fapi/v1/trade/asyn/id", downloadId=asked["downloadId"]) == -1130
    assert await refused("GET", "/fapi/v1/trade/asyn/id") == -1102
    assert await refused("GET", "/fapi/v1/order/asyn", startTime=now) == -1102
    assert await refused("GET", "/fapi/v1/order/asyn", startTime=now, endTime=now - 1) == -1023
    assert await refused("GET", "/fapi/v1/order/asyn", startTime=now - 370 * DAY_MS, endTime=now) == -4165
    assert (await client.call("GET", "/fapi/v1/order/asyn", **span))["downloadId"] != asked["downloadId"]


async def test_a_file_is_there_for_a_week(priced):
    client = priced.client
    now = int(time.time() * 1000)
    asked = await client.call("GET", "/fapi/v1/income/asyn", startTime=now - DAY_MS, endTime=now)
    link = await client.call("GET", "/fapi/v1/income/asyn/id", downloadId=asked["downloadId"])
    await client.control("skew", ms=8 * DAY_MS)
    later = now + 8 * DAY_MS
    gone = await client.call("GET", "/fapi/v1/income/asyn/id", downloadId=asked["downloadId"], timestamp=later)
    assert (gone["url"], gone["isExpired"]) == ("", "true")
    async with priced.session.get(link["url"]) as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("method", "path", "params", "code"),
    [
        ("POST", "/fapi/v1/convert/getQuote", {"fromAsset": "USDT", "toAsset": "BNB", "fromAmount": 10}, -1126),
        ("POST", "/fapi/v1/convert/getQuote", {"fromAsset": "USDT", "toAsset": "BNB"}, -1102),
        ("POST", "/fapi/v1/convert/getQuote", {"toAsset": "BNB", "fromAmount": 10}, -1102),
        ("POST", "/fapi/v1/convert/acceptQuote", {"quoteId": "1"}, -1130),
        ("GET", "/fapi/v1/convert/orderStatus", {"orderId": "1"}, -2013),
        ("GET", "/fapi/v1/convert/orderStatus", {}, -1102),
        ("GET", "/fapi/v1/pmAccountInfo", {"asset": "USDT"}, -21001),
        ("GET", "/fapi/v1/pmAccountInfo", {}, -1102),
        ("POST", "/fapi/v1/stock/contract", {}, -1020),
        ("GET", "/fapi/v1/apiReferral/overview", {}, -1099),
    ],
)
async def test_what_the_account_does_not_have_is_refused_by_name(priced, method, path, params, code):
    assert await priced.client.error(method, path, **params) == code


async def test_nothing_can_be_converted(priced):
    assert await priced.client.call("GET", "/fapi/v1/convert/exchangeInfo", fromAsset="USDT", **PUBLIC) == []


async def test_multi_assets_mode_knows_no_isolated_margin(priced):
    client = priced.client
    mode, kind = "/fapi/v1/multiAssetsMargin", "/fapi/v1/marginType"
    user = await priced.user_stream()
    assert await client.error("POST", mode, multiAssetsMargin="false") == -4171
    await client.call("POST", kind, marginType="ISOLATED", **X)
    assert await client.error("POST", mode, multiAssetsMargin="true") == -4167
    await client.call("POST", kind, marginType="CROSSED", **X)
    await client.order("XRPUSDT", "BUY", "LIMIT", 50, price="2.4", timeInForce="GTC")
    assert await client.error("POST", mode, multiAssetsMargin="true") == -4170
    await client.call("DELETE", "/fapi/v1/allOpenOrders", **X)
    await client.call("POST", mode, multiAssetsMargin="true")
    assert (await user.until(lambda e: e["e"] == "ACCOUNT_CONFIG_UPDATE"))["ai"] == {"j": True}
    assert await client.call("GET", mode) == {"multiAssetsMargin": True}
    assert (await client.call("GET", "/fapi/v2/account"))["multiAssetsMargin"] is True
    assert (await client.call("GET", "/fapi/v1/accountConfig"))["multiAssetsMargin"] is True
    assert await client.error("POST", kind, marginType="ISOLATED", **X) == -4168
    await client.order("XRPUSDT", "BUY", "MARKET", 100)
    account = await client.call("GET", "/fapi/v3/account")
    assert Decimal(account["totalInitialMargin"]) == 250 / Decimal(20)


async def test_streams_tell_of_indices_and_of_a_contracts_status(start_venue):
    running = await start_venue({"replay": {"mark_price_secs": 0.05}})
    stream = await running.market_stream(
        "!assetIndex@arr", "xrpusd@assetIndex", "!contractInfo", "xrpusdt@rpiDepth@500ms"
    )
    both = await stream.until(lambda m: m["stream"] == "!assetIndex@arr")
    assert [row["s"] for row in both["data"]] == ["USDTUSD", "XRPUSD"]
    single = await stream.until(lambda m: m["stream"] == "xrpusd@assetIndex")
    assert single["data"]["e"] == "assetIndexUpdate"
    await running.client.control("symbol_status", symbol="XRPUSDT", status="SETTLING")
    contract = (await stream.until(lambda m: m["stream"] == "!contractInfo"))["data"]
    assert (contract["s"], contract["ct"], contract["cs"]) == ("XRPUSDT", "PERPETUAL", "SETTLING")
    await running.client.control("symbol_status", symbol="XRPUSDT", status="TRADING")
    await running.client.control("step")
    book = (await stream.until(lambda m: m["stream"] == "xrpusdt@rpiDepth@500ms"))["data"]
    assert book["e"] == "depthUpdate"


async def test_a_user_stream_sends_the_events_it_was_asked_for(priced):
    key = (await priced.client.call("POST", "/fapi/v1/listenKey", signed=False))["listenKey"]
    url = f"{priced.ws}/private/ws?listenKey={key}&events=ACCOUNT_UPDATE/ALGO_UPDATE"
    async with priced.session.ws_connect(url) as ws:
        await priced.client.order("XRPUSDT", "BUY", "MARKET", 100)
        await priced.client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity=50, triggerPrice="2.2")
        kinds = [(await ws.receive_json(timeout=5))["e"] for _ in range(2)]
    assert kinds == ["ACCOUNT_UPDATE", "ALGO_UPDATE"]


async def test_the_user_stream_names_a_liquidation(priced):
    """Clients tell their liquidations by the order type; over REST the order is a limit order, as on the exchange."""
    user = await priced.user_stream()
    await priced.client.order("XRPUSDT", "BUY", "MARKET", 100)
    await priced.client.control("liquidate", symbol="XRPUSDT")
    update = await user.until(lambda e: e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["x"] == "CALCULATED")
    assert (update["o"]["o"], update["o"]["ot"], update["o"]["X"]) == ("LIQUIDATION", "LIQUIDATION", "FILLED")
    (forced,) = await priced.client.call("GET", "/fapi/v1/forceOrders", autoCloseType="LIQUIDATION")
    assert (forced["type"], forced["orderId"]) == ("LIMIT", update["o"]["i"])


@pytest.mark.parametrize("market", ["/api/v3", "/dapi/v1"])
async def test_the_other_markets_list_nothing(priced, market):
    assert await priced.client.call("GET", f"{market}/ping", **PUBLIC) == {}
    assert (await priced.client.call("GET", f"{market}/time", **PUBLIC))["serverTime"] > 0
    assert (await priced.client.call("GET", f"{market}/exchangeInfo", **PUBLIC))["symbols"] == []
