"""Protection gaps computed from the venue's own timeline."""

from decimal import Decimal

from node.venue.audit import protection_gaps


def position(at, quantity):
    return {"kind": "position", "symbol": "XRPUSDT", "quantity": quantity, "wall_ms": at}


def stop(at, number, quantity, *, live=True, side="SELL", close=False, reduce=True):
    return {
        "kind": "stop",
        "symbol": "XRPUSDT",
        "algo_id": number,
        "side": side,
        "quantity": quantity,
        "close_position": close,
        "reduce_only": reduce,
        "live": live,
        "wall_ms": at,
    }


def gaps(*timeline, now=1000):
    return [
        (g.start_ms, g.end_ms, g.open, g.naked) for g in protection_gaps({"timeline": timeline, "wall_time_ms": now})
    ]


def test_a_position_is_naked_from_its_fill_to_its_stop():
    assert gaps(position(10, "100"), stop(35, 1, "100"), position(90, "0"), stop(91, 1, "100", live=False)) == [
        (10, 35, False, Decimal(100))
    ]


def test_a_stop_that_covers_a_part_leaves_the_rest_naked():
    assert gaps(position(10, "100"), stop(20, 1, "60"), stop(30, 2, "40")) == [(10, 30, False, Decimal(100))]
    assert gaps(position(10, "100"), stop(20, 1, "100"), position(40, "150")) == [
        (10, 20, False, Decimal(100)),
        (40, 1000, True, Decimal(50)),
    ]


def test_only_orders_that_would_close_the_position_cover_it():
    assert gaps(position(10, "-100"), stop(20, 1, "100")) == [(10, 1000, True, Decimal(100))]
    assert gaps(position(10, "-100"), stop(20, 1, "100", side="BUY")) == [(10, 20, False, Decimal(100))]
    assert gaps(position(10, "100"), stop(20, 1, "100", reduce=False)) == [(10, 1000, True, Decimal(100))]
    assert gaps(position(10, "100"), stop(20, 1, "0", close=True)) == [(10, 20, False, Decimal(100))]


def test_moving_a_stop_by_cancel_first_opens_a_gap():
    assert gaps(
        position(10, "100"),
        stop(10, 1, "100"),
        stop(50, 1, "100", live=False),
        stop(57, 2, "100"),
    ) == [(10, 10, False, Decimal(100)), (50, 57, False, Decimal(100))]


async def test_the_books_carry_the_timeline(venue):
    client = venue.client
    await client.control("price", symbol="XRPUSDT", price="2.5000")
    await client.order("XRPUSDT", "BUY", "MARKET", "100")
    open_gap = protection_gaps(await client.books())
    assert [(g.open, g.naked, g.symbol) for g in open_gap] == [(True, Decimal("100.0"), "XRPUSDT")]
    await client.algo("XRPUSDT", "SELL", "TAKE_PROFIT_MARKET", quantity="100", triggerPrice="2.6", reduceOnly="true")
    assert protection_gaps(await client.books())[0].open, "a take-profit order protects nothing"
    await client.algo("XRPUSDT", "SELL", "STOP_MARKET", quantity="100", triggerPrice="2.4", reduceOnly="true")
    closed = protection_gaps(await client.books())
    assert [g.open for g in closed] == [False]
    assert 0 <= closed[0].duration_ms < 5000
    await client.control("price", symbol="XRPUSDT", price="2.3000")
    assert protection_gaps(await client.books()) == closed, "the stop's own fill opens no gap"


async def test_the_log_tells_requests_and_events_in_order(venue):
    client = venue.client
    await client.control("price", symbol="XRPUSDT", price="2.5000")
    await client.order("XRPUSDT", "BUY", "MARKET", "100", newClientOrderId="logged")
    await client.error("DELETE", "/fapi/v1/order", symbol="XRPUSDT", orderId=1)
    async with venue.session.get(f"{venue.http}/argonaut/log") as response:
        log = await response.json()
    told = [(e["kind"], e.get("endpoint") or e["event"]["e"], e.get("code")) for e in log]
    assert told == [
        ("event", "ORDER_TRADE_UPDATE", None),
        ("event", "ACCOUNT_UPDATE", None),
        ("event", "ORDER_TRADE_UPDATE", None),
        ("request", "POST /fapi/v1/order", 0),
        ("request", "DELETE /fapi/v1/order", -2011),
    ]
    assert log[3]["client_id"] == "logged"
    async with venue.session.get(f"{venue.http}/argonaut/log?after={log[-2]['number']}") as response:
        assert [e["code"] for e in await response.json()] == [-2011]
