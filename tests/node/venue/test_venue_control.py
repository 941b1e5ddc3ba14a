"""The control door refuses what makes no sense by its name, and changes nothing."""

import pytest


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"action": "fly"}, "unknown action 'fly'"),
        ({}, "unknown action ''"),
        ({"action": "step", "count": {"a": 1}}, "count: {'a': 1} is not a number"),
        ({"action": "step", "count": 0}, "count: 0 is out of range, least is 1"),
        ({"action": "step", "count": 1.5}, "count: 1.5 is not a whole number"),
        ({"action": "speed", "speed": -1}, "speed: -1 is out of range"),
        ({"action": "speed", "speed": 1e300}, "speed: 1e+300 is out of range"),
        ({"action": "speed"}, "speed is missing"),
        ({"action": "skew", "ms": None}, "ms: None is not a number"),
        ({"action": "skew", "milliseconds": 5}, "ms is missing"),
        ({"action": "price", "symbol": "XRPUSDT", "price": "NaN"}, "price: 'NaN' is not a number"),
        ({"action": "price", "symbol": "XRPUSDT", "price": 0}, "price: 0 is out of range"),
        ({"action": "price", "symbol": "XRPUSDT"}, "price is missing"),
        ({"action": "price", "price": "2.5"}, "symbol is missing"),
        ({"action": "price", "symbol": "NONE", "price": "2.5"}, "unknown symbol 'NONE'"),
        ({"action": "funding", "symbol": "XRPUSDT", "rate": "abc"}, "rate: 'abc' is not a number"),
        ({"action": "transfer", "amount": "NaN"}, "amount: 'NaN' is not a number"),
        ({"action": "transfer", "amount": True}, "amount: True is not a number"),
        ({"action": "limits", "ban_secs": []}, "ban_secs: [] is not a number"),
        ({"action": "cancel", "order_id": 1}, "order_id: 1 is not open"),
        ({"action": "cancel"}, "algo_id is missing"),
        ({"action": "refuse_triggers", "times": "some"}, "times: 'some' is not a number"),
        ({"action": "trickle", "delay_ms": -5}, "delay_ms: -5 is out of range"),
        ({"action": "half_open", "secs": "long"}, "secs: 'long' is not a number"),
        ({"action": "half_open", "streams": "some"}, "streams: 'some' is none of user, market, api, all"),
        ({"action": "fault", "mode": "maybe"}, "fault"),
        ({"action": "event_fault", "time": 3}, "event_fault"),
        ({"action": "order", "params": 5}, "params must be an object"),
        ({"action": "order", "params": {"symbol": "NONE"}}, "Invalid symbol."),
        ({"action": "scenario", "steps": "now"}, "scenario"),
        ({"action": "scenario"}, "steps is missing"),
    ],
)
async def test_an_action_is_refused_with_a_reason(venue, body, reason):
    before = await venue.client.books()
    async with venue.session.post(f"{venue.http}/argonaut/control", json=body) as response:
        assert response.status == 400
        assert reason in (await response.json())["error"]
    after = await venue.client.books()
    assert [after[k] for k in ("wallet", "positions", "open_orders")] == [
        before[k] for k in ("wallet", "positions", "open_orders")
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"step"', '{"action": 5}'])
async def test_what_is_no_action_is_refused(venue, text):
    async with venue.session.post(f"{venue.http}/argonaut/control", data=text) as response:
        assert response.status == 400
        assert (await response.json())["error"]


async def test_the_log_is_read_after_a_number(venue):
    async with venue.session.get(f"{venue.http}/argonaut/log?after=some") as response:
        assert response.status == 400
    async with venue.session.get(f"{venue.http}/argonaut/log?after=0") as response:
        assert await response.json() == []
