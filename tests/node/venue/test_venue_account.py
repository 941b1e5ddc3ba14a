"""Money: margin, fees, funding, liquidation, and the identity that holds whatever happens."""

import asyncio
import random
import time
from decimal import Decimal

import pytest

from node.simulation.pricing import slipped_price
from node.venue.books import Books, Position
from node.venue.clock import VenueClock
from node.venue.config import ExecutionConfig, VenueConfig
from node.venue.feed import Bar
from tests.node.venue.conftest import START_MS, STEP_MS, make_bars, make_instruments

HOURS_8 = 8 * 3_600_000


def flat_bars(prices):
    """One bar per price: opens and closes there."""
    return [
        Bar(START_MS + n * STEP_MS, Decimal(p), Decimal(p), Decimal(p), Decimal(p), Decimal(1000))
        for n, p in enumerate(prices)
    ]


async def test_funding_is_charged_to_positions_open_at_the_settlement_close(start_venue):
    rate = Decimal("0.0001")
    bars = {"XRPUSDT": flat_bars(["2.0000"] * 31 + ["2.5000"] + ["2.6000"] * 4)}
    settlement = START_MS + HOURS_8  # bar 31 (0-based) closes exactly then, at 2.5
    running = await start_venue(bars=bars, funding={"XRPUSDT": [(START_MS, rate), (settlement + 7, rate)]})
    client, replay = running.client, running.venue.replay
    await client.control("step", count=10)
    await until_bars(running, 10)
    await client.order("XRPUSDT", "BUY", "MARKET", "100")
    await client.control("step", count=21)
    await until_bars(running, 31)
    events = await running.user_stream()
    rates = await client.call("GET", "/fapi/v1/fundingRate", signed=False, symbol="XRPUSDT")
    assert [r["fundingTime"] for r in rates] == [START_MS], "a settlement to come is not public"
    await client.control("step")
    update = await events.until(lambda m: m["e"] == "ACCOUNT_UPDATE")
    assert update["a"]["m"] == "FUNDING_FEE"
    assert update["a"]["B"][0]["bc"] == "-0.02500000"
    assert update["a"]["P"] == []
    await until_bars(running, 32)
    await client.order("XRPUSDT", "SELL", "MARKET", "100")
    await client.control("step", count=4)
    await until_bars(running, 36)
    income = await client.call("GET", "/fapi/v1/income", incomeType="FUNDING_FEE")
    assert [(i["income"], i["asset"]) for i in income] == [("-0.02500000", "USDT")]
    books = await client.books()
    assert books["funding"][0]["market_ms"] == settlement
    assert books["funding_total"] == "-0.02500000"
    rates = await client.call("GET", "/fapi/v1/fundingRate", signed=False, symbol="XRPUSDT")
    assert [(r["fundingTime"], r["fundingRate"]) for r in rates] == [
        (START_MS, "0.00010000"),
        (settlement, "0.00010000"),
    ]
    assert replay.bars == 36


async def until_bars(running, count):
    deadline = time.monotonic() + 5
    while running.venue.replay.bars < count or running.venue.replay.state == "running":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


@pytest.mark.parametrize(("side", "fall"), [("BUY", True), ("SELL", False)])
async def test_an_account_out_of_margin_is_liquidated_on_the_way(start_venue, side, fall):
    running = await start_venue({"account": {"balance": 100, "leverage": 20}})
    client = running.client
    await client.control("price", symbol="XRPUSDT", price="2.0000")
    await client.order("XRPUSDT", side, "MARKET", "800")
    risk = (await client.call("GET", "/fapi/v3/positionRisk"))[0]
    level = Decimal(risk["liquidationPrice"])
    size = 800 if fall else -800
    balance = Decimal((await client.books())["wallet"]) + size * (level - 2)
    assert abs(balance - abs(800 * level * Decimal("0.005"))) < Decimal("0.00001")
    events = await running.user_stream()
    await client.control("price", symbol="XRPUSDT", price="1.5000" if fall else "2.5000")
    forced = await events.until(lambda m: m["e"] == "ORDER_TRADE_UPDATE" and m["o"]["x"] == "CALCULATED")
    assert forced["o"]["c"].startswith("autoclose-")
    assert abs(Decimal(forced["o"]["L"]) - level) <= Decimal("0.0001")
    books = await client.books()
    assert books["positions"]["XRPUSDT"]["quantity"] == "0.0"
    assert Decimal(books["wallet"]) >= 0
    assert any(i["what"] == "liquidation" for i in books["incidents"])
    check_identity(books)


async def test_a_stop_before_the_liquidation_price_saves_the_account(start_venue):
    running = await start_venue({"account": {"balance": 100, "leverage": 20}})
    client = running.client
    await client.control("price", symbol="XRPUSDT", price="2.0000")
    await client.order("XRPUSDT", "BUY", "MARKET", "800")
    await client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity="800", triggerPrice="1.95", reduceOnly="true")
    await client.control("price", symbol="XRPUSDT", price="1.5000")
    books = await client.books()
    assert [f["price"] for f in books["fills"]] == ["2.0000", "1.9500"]
    assert not any(i["what"] == "liquidation" for i in books["incidents"])


async def test_a_gap_through_the_stop_fills_at_the_open_and_an_empty_wallet_stays_at_zero(start_venue):
    running = await start_venue({"account": {"balance": 100, "leverage": 20}})
    client = running.client
    await client.control("price", symbol="XRPUSDT", price="2.0000")
    await client.order("XRPUSDT", "BUY", "MARKET", "800")
    await client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity="400", triggerPrice="1.95", reduceOnly="true")
    await client.control("price", symbol="XRPUSDT", price="1.6000", gap=True)
    books = await client.books()
    assert [(f["kind"], f["price"], f["quantity"]) for f in books["fills"][1:]] == [
        ("STOP_MARKET", "1.6000", "400.0"),
        ("LIMIT", "1.6000", "400.0"),
    ]
    assert books["wallet"] == "0.00000000"
    check_identity(books)


def check_identity(books):
    total = sum(
        (Decimal(books[k]) for k in ("start_balance", "realised", "funding_total", "insurance")), Decimal(0)
    ) - Decimal(books["fees"])
    assert Decimal(books["wallet"]) == total


def test_entry_price_profit_and_flips():
    position = Position("XRPUSDT", 20)
    assert position.apply(Decimal(100), Decimal("2.0")) == 0
    assert position.apply(Decimal(50), Decimal("2.3")) == 0
    assert position.entry_price == Decimal("2.1")
    assert position.apply(Decimal(-30), Decimal("2.2")) == Decimal("3.00000000")
    assert position.apply(Decimal(-200), Decimal("2.0")) == Decimal("-12.00000000")
    assert (position.quantity, position.entry_price) == (Decimal(-80), Decimal("2.0"))
    assert position.apply(Decimal(80), Decimal("1.5")) == Decimal("40.00000000")
    assert (position.quantity, position.entry_price) == (0, 0)
    assert position.realised == Decimal("31.00000000")


def test_zero_amounts_leave_no_trace():
    books = Books(VenueClock(), Decimal(100), {"XRPUSDT": 20})
    books.pay("FUNDING_FEE", Decimal("0.000000001"), "XRPUSDT")
    assert books.incomes == []
    assert books.wallet == 100


@pytest.mark.parametrize("seed", range(4))
async def test_wallet_is_start_plus_profit_minus_fees_plus_funding(start_venue, seed):
    """Random orders of every kind on random bars with funding every bar: not a digit is lost."""
    rng = random.Random(seed)
    tree = {"data": {"symbols": ["BTCUSDT", "XRPUSDT"]}, "account": {"balance": 3000, "leverage": 50}}
    config = VenueConfig()
    instruments = {s: i for s, i in make_instruments(config).items() if s != "ETHUSDT"}
    bars = {s: make_bars(s, i, 120, seed) for s, i in instruments.items()}
    funding = {
        s: [(START_MS + n * STEP_MS, Decimal(rng.randint(-50, 50)) / 100_000) for n in range(120)] for s in instruments
    }
    running = await start_venue(tree | {"replay": {"mark_price_secs": 0}}, bars=bars, funding=funding)
    client = running.client
    for _ in range(40):
        await client.control("step", count=3)
        await until_bars(running, 0)
        symbol = rng.choice(list(instruments))
        side = rng.choice(["BUY", "SELL"])
        price = running.venue.engine.prices[symbol]
        digits = instruments[symbol].price_digits
        quantity = f"{float(rng.uniform(100, 4000)) / float(price):.{instruments[symbol].quantity_digits}f}"
        away = Decimal(rng.choice(["-0.004", "-0.001", "0.001", "0.004"]))
        tick = instruments[symbol].tick
        level = f"{(price * (1 + away) // tick) * tick:.{digits}f}"
        kind = rng.choice(["MARKET", "LIMIT", "STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP", "TRAILING_STOP_MARKET"])
        match kind:
            case "MARKET":
                call = ("POST", "/fapi/v1/order", {"type": kind, "quantity": quantity})
            case "LIMIT":
                more = {"timeInForce": rng.choice(["GTC", "IOC", "FOK", "GTX"]), "price": level}
                call = ("POST", "/fapi/v1/order", {"type": kind, "quantity": quantity, **more})
            case _:
                more = {"algoType": "CONDITIONAL", "type": kind, "quantity": quantity}
                if kind == "TRAILING_STOP_MARKET":
                    more["callbackRate"] = "0.3"
                else:
                    more["triggerPrice"] = level
                if kind == "STOP":
                    more["price"] = level
                if rng.random() < 0.5:
                    more["reduceOnly"] = "true"
                call = ("POST", "/fapi/v1/algoOrder", more)
        status, answer, _ = await client.full(call[0], call[1], symbol=symbol, side=side, **call[2])
        assert status in (200, 400), (seed, answer)
    books = await client.books()
    check_identity(books)
    assert len(books["fills"]) > 15, f"seed {seed}"
    assert len(books["funding"]) > 15, f"seed {seed}"
    account = await client.call("GET", "/fapi/v2/account")
    assert account["totalWalletBalance"] == f"{Decimal(books['wallet']):.8f}"
    income = await client.call("GET", "/fapi/v1/income", limit=1000)
    assert sum((Decimal(i["income"]) for i in income), Decimal(3000)) == Decimal(books["wallet"])
    net = {s: Decimal(0) for s in instruments}
    for fill in books["fills"]:
        net[fill["symbol"]] += Decimal(fill["quantity"]) * (1 if fill["side"] == "BUY" else -1)
    assert net == {s: Decimal(books["positions"][s]["quantity"]) for s in instruments}


async def test_margin_and_leverage(venue):
    client = venue.client
    await client.control("price", symbol="XRPUSDT", price="2.0000")
    assert await client.error("POST", "/fapi/v1/leverage", symbol="XRPUSDT", leverage=500) == -4028
    answer = await client.call("POST", "/fapi/v1/leverage", symbol="XRPUSDT", leverage=10)
    assert answer == {"symbol": "XRPUSDT", "leverage": 10, "maxNotionalValue": "10000000"}
    await client.order("XRPUSDT", "BUY", "MARKET", "10000")
    account = await client.call("GET", "/fapi/v2/account")
    assert account["totalInitialMargin"] == "2000.00000000"
    assert account["availableBalance"] == "7990.00000000"
    assert await client.error("POST", "/fapi/v1/leverage", symbol="XRPUSDT", leverage=1) == -2028
    params = {"symbol": "XRPUSDT", "side": "BUY", "type": "MARKET", "quantity": "40000"}
    assert await client.error("POST", "/fapi/v1/order", **params) == -2019
    await client.order("XRPUSDT", "BUY", "LIMIT", "10000", timeInForce="GTC", price="1.95")
    account = await client.call("GET", "/fapi/v3/account")
    assert account["totalOpenOrderInitialMargin"] == "1950.00000000"
    assert await client.call("GET", "/fapi/v1/symbolConfig", symbol="XRPUSDT") == [
        {
            "symbol": "XRPUSDT",
            "marginType": "CROSSED",
            "isAutoAddMargin": False,
            "leverage": 10,
            "maxNotionalValue": "10000000",
        }
    ]
    assert await client.error("POST", "/fapi/v1/marginType", symbol="XRPUSDT", marginType="CROSSED") == -4046
    assert await client.error("POST", "/fapi/v1/marginType", symbol="XRPUSDT", marginType="ISOLATED") == -4048
    assert await client.error("POST", "/fapi/v1/positionSide/dual", dualSidePosition="false") == -4059


def test_slippage_is_adverse_and_on_the_tick():
    tick = Decimal("0.0001")
    assert slipped_price(Decimal("2.5000"), True, Decimal(1), tick) == Decimal("2.5002")
    assert slipped_price(Decimal("2.5000"), False, Decimal(1), tick) == Decimal("2.4998")
    assert slipped_price(Decimal("2.5000"), True, Decimal(0), tick) == Decimal("2.5000")
    assert slipped_price(tick, False, Decimal(1000), tick) == tick
    with pytest.raises(ValueError, match="must not be negative"):
        slipped_price(Decimal(1), True, Decimal(-1), tick)


async def test_market_orders_slip_and_fees_may_be_overridden(start_venue):
    tree = {"execution": ExecutionConfig(slippage_bps=Decimal(2), taker_fee=Decimal("0.0004"))}
    running = await start_venue({"execution": {"slippage_bps": "2", "taker_fee": "0.0004"}})
    assert running.venue.config.execution == tree["execution"]
    await running.client.control("price", symbol="XRPUSDT", price="2.5000")
    await running.client.order("XRPUSDT", "SELL", "MARKET", "100")
    fill = (await running.client.books())["fills"][0]
    assert (fill["price"], fill["commission"]) == ("2.4995", "0.09998000")
    rate = await running.client.call("GET", "/fapi/v1/commissionRate", symbol="XRPUSDT")
    assert rate["takerCommissionRate"] == "0.000400"
