"""The direct way to flat, against a small account that fails in every way a test asks for."""

from decimal import Decimal

import pytest
from aiohttp import web

from node.binance.rest import BinanceRest
from node.control.direct import flatten, naked_positions


class Account:
    """Positions, plain and conditional orders; requests fail as `faults` say, first come first served."""

    def __init__(self):
        self.positions = {"XRPUSDT": Decimal(10), "BTCUSDT": Decimal("-0.5"), "DOGEUSDT": Decimal(7)}
        self.plain = {"XRPUSDT": 1, "DOGEUSDT": 1}
        self.algos = {"XRPUSDT": 2, "BTCUSDT": 2, "DOGEUSDT": 1}
        self.faults = []
        self.log = []
        self.largest = Decimal(1000)
        self.hedge = False

    def fault(self, method, path, status, code=None, *, executed=False, times=1):
        self.faults += [(method, path, status, code, executed)] * times

    async def serve(self, request):
        method, path, query = request.method, request.path, request.query
        found = next((f for f in self.faults if (f[0], f[1]) == (method, path)), None)
        if found is not None:
            self.faults.remove(found)
        if found is None or found[4]:
            answer = self.answer(method, path, query)
        if found is not None:
            return web.json_response({"code": found[3], "msg": "no"}, status=found[2])
        if isinstance(answer, web.Response):
            return answer
        return web.json_response(answer)

    def answer(self, method, path, query):
        symbol = query.get("symbol")
        self.log.append((method, path.rpartition("/")[2], symbol))
        if path.endswith("positionRisk"):
            return [
                {"symbol": s, "positionAmt": str(q), "positionSide": self.side(q)} for s, q in self.positions.items()
            ]
        if path.endswith("allOpenOrders"):
            self.plain.pop(symbol, None)
        elif path.endswith("algoOpenOrders"):
            assert not self.positions.get(symbol), "a stop was cancelled while the position was open"
            self.algos.pop(symbol, None)
        elif path.endswith("/order"):
            return self.order(query)
        elif path.endswith("exchangeInfo"):
            rule = {"filterType": "MARKET_LOT_SIZE", "maxQty": str(self.largest)}
            return {"symbols": [{"symbol": s, "filters": [rule]} for s in self.positions]}
        return {}

    def side(self, quantity):
        return ("LONG" if quantity > 0 else "SHORT") if self.hedge else "BOTH"

    def order(self, query):
        symbol, quantity = query["symbol"], Decimal(query["quantity"])
        if quantity > self.largest:
            return web.json_response({"code": -4005, "msg": "Quantity greater than max quantity."}, status=400)
        held = self.positions[symbol]
        assert query["type"] == "MARKET"
        assert query["side"] == ("SELL" if held > 0 else "BUY")
        assert ("reduceOnly" in query) is not self.hedge
        assert query.get("positionSide", "BOTH") == self.side(held)
        if not held:
            return web.json_response({"code": -2022, "msg": "ReduceOnly Order is rejected."}, status=400)
        assert len(query["newClientOrderId"]) <= 36
        self.positions[symbol] = held - min(quantity, abs(held)) * (1 if held > 0 else -1)
        return {}


@pytest.fixture(name="account")
def account_fixture():
    return Account()


@pytest.fixture(name="rest")
async def rest_fixture(account):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", account.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with BinanceRest(f"http://127.0.0.1:{runner.addresses[0][1]}", "k", "s", timeout_secs=2) as rest:
        yield rest
    await runner.cleanup()


TRADED = ("XRPUSDT", "BTCUSDT")


def is_flat(account):
    return not any(account.positions[s] for s in TRADED) and not any(s in account.algos for s in TRADED)


async def test_flat_and_nothing_of_others_touched(account, rest):
    report = await flatten(rest, TRADED)
    assert report.flat
    assert report.closed == {"XRPUSDT": "10", "BTCUSDT": "-0.5"}
    assert is_flat(account)
    assert account.positions["DOGEUSDT"] == 7
    assert (account.plain, account.algos) == ({"DOGEUSDT": 1}, {"DOGEUSDT": 1})
    assert account.log[0] == ("DELETE", "allOpenOrders", "BTCUSDT")  # entries go first


async def test_nothing_open_sends_no_order(account, rest):
    account.positions = dict.fromkeys(account.positions, Decimal(0))
    report = await flatten(rest, TRADED)
    assert report.flat
    assert report.closed == {}
    assert not [entry for entry in account.log if entry[1] == "order"]


@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/fapi/v1/order", 503, -1007),
        ("POST", "/fapi/v1/order", 429, -1003),
        ("GET", "/fapi/v3/positionRisk", 500, None),
        ("DELETE", "/fapi/v1/allOpenOrders", 502, None),
        ("DELETE", "/fapi/v1/algoOpenOrders", 504, -1007),
    ],
)
async def test_failures_are_overcome_without_overshooting(account, rest, method, path, status, code, executed):
    account.fault(method, path, status, code, executed=executed, times=2)
    report = await flatten(rest, TRADED)
    assert report.flat, report
    assert is_flat(account)
    assert account.positions == {"XRPUSDT": 0, "BTCUSDT": 0, "DOGEUSDT": 7}
    assert report.errors


async def test_what_cannot_be_closed_keeps_its_stops_and_is_named(account, rest):
    account.fault("POST", "/fapi/v1/order", 400, -4131, times=1000)
    report = await flatten(rest, TRADED, deadline_secs=1.0)
    assert not report.flat
    assert report.remaining == {"XRPUSDT": "10", "BTCUSDT": "-0.5"}
    assert "-4131" in report.text
    assert account.algos == {"XRPUSDT": 2, "BTCUSDT": 2, "DOGEUSDT": 1}


async def test_an_account_that_cannot_be_seen_is_not_called_flat(account, rest):
    account.fault("GET", "/fapi/v3/positionRisk", 503, None, times=1000)
    report = await flatten(rest, TRADED, deadline_secs=0.6)
    assert not report.flat
    assert report.text.startswith("NOT flat: positions unknown")
    assert account.algos["XRPUSDT"] == 2


async def test_entries_that_cannot_be_cancelled_keep_the_stops(account, rest):
    account.fault("DELETE", "/fapi/v1/allOpenOrders", 503, None, times=1000)
    report = await flatten(rest, TRADED, deadline_secs=0.8)
    assert not report.flat
    assert account.positions["XRPUSDT"] == 0
    assert account.algos["XRPUSDT"] == 2


async def test_a_position_above_the_largest_market_order_goes_in_parts(account, rest):
    account.largest = Decimal(4)
    assert (await flatten(rest, TRADED)).flat
    assert is_flat(account)
    assert [entry for entry in account.log if entry[1] == "order"].count(("POST", "order", "XRPUSDT")) == 4


async def test_hedge_mode_closes_by_position_side(account, rest):
    account.hedge = True
    assert (await flatten(rest, TRADED)).flat


async def test_a_fill_between_two_requests_is_not_naked(rest, account):
    answers = iter([[{"symbol": "XRPUSDT", "positionAmt": "3", "positionSide": "BOTH"}], []])
    usual = account.answer

    def answer(method, path, query):
        if path.endswith("positionRisk"):
            return next(answers)
        return [] if path.endswith("openAlgoOrders") else usual(method, path, query)

    account.answer = answer
    assert await naked_positions(rest, TRADED) == {}
