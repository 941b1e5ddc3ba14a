"""
What the exchange checks before an order is accepted, in its order of precedence and with its codes.

Nothing here changes state: each function returns a ready order or raises :class:`node.venue.errors.ApiError`.
"""

import re
from decimal import Decimal

from node.venue.books import HEDGE_SIDES, ZERO, AlgoOrder, Order
from node.venue.errors import error
from node.venue.instruments import Instrument
from node.venue.matching import MatchingEngine
from node.venue.params import Params
from node.venue.price_match import NONE, match_of, matched_price

CLIENT_ID = re.compile(r"^[\.A-Z\:/a-z0-9_-]{1,36}$")
CLIENT_ID_RANGE = "^[\\.A-Z\\:/a-z0-9_-]{1,36}$"

PLAIN_KINDS = ("LIMIT", "MARKET")
ALGO_KINDS = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX", "GTD", "RPI")
_WORKING_TYPES = ("CONTRACT_PRICE", "MARK_PRICE")
_PREVENTIONS = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH")
_ANSWERS = ("ACK", "RESULT")
_LEAST_GOOD_MS = 600_000
_LAST_GOOD_MS = 253_402_300_799_000
_LEAST_CALLBACK = Decimal("0.1")
_MOST_CALLBACK = Decimal(10)


def instrument_of(engine: MatchingEngine, params: Params) -> Instrument:
    """Return the instrument named by ``symbol`` (-1102, -1121)."""
    found = engine.instruments.get(params.required("symbol").upper())
    if found is None:
        raise error(-1121)
    return found


def tradable(engine: MatchingEngine, params: Params) -> Instrument:
    """Return the instrument named by ``symbol`` if new orders are taken in it (-4108)."""
    found = instrument_of(engine, params)
    if engine.statuses.get(found.symbol, "TRADING") != "TRADING":
        raise error(-4108)
    return found


def new_order(engine: MatchingEngine, params: Params, fresh_id: str) -> Order:
    """
    Return the plain order that ``POST /fapi/v1/order`` asks for; `fresh_id` names it if the client does not.

    Raises
    ------
    ApiError
        Propagate: anything the exchange would refuse before matching.

    """
    instrument = tradable(engine, params)
    side = _side(params)
    kind = params.required("type").upper()
    if kind in ALGO_KINDS:
        raise error(-4120)
    if kind not in PLAIN_KINDS:
        raise error(-1116)
    position_side = _position_side(engine, params)
    client_id = _client_id(params, "newClientOrderId", fresh_id)
    tif = params.text("timeInForce").upper()
    if kind == "LIMIT":
        if not tif:
            raise error(-1102, "timeInForce")
        if tif not in TIMES_IN_FORCE:
            raise error(-1115)
    elif tif:
        raise error(-1106, "timeinforce")
    prevention = _prevention(params)
    if params.flag("closePosition"):
        raise error(-4136, kind)
    match = match_of(params, kind)
    quantity = _quantity(instrument, params, market=kind == "MARKET")
    price = ZERO
    if kind == "LIMIT":
        price = _limit_price(engine, instrument, params, match, is_buy=side == "BUY")
        check_percent_price(engine, instrument, price, is_buy=side == "BUY")
    elif "price" in params:
        raise error(-1106, "price")
    good_till = _good_till(engine, params, tif)
    reduce_only = params.flag("reduceOnly") or _closes(position_side, side)
    if client_id in engine.books.order_by_client:
        previous = engine.books.orders[engine.books.order_by_client[client_id]]
        if previous.is_open:
            raise error(-4116)
    last = engine.prices.get(instrument.symbol)
    if last is None:
        raise error(-1112)
    reference = price if kind == "LIMIT" else last
    if not reduce_only:
        _check_notional(instrument, quantity * reference)
        signed = quantity if side == "BUY" else -quantity
        check_margin(engine, instrument, signed, reference, position_side)
    elif not engine.books.position(instrument.symbol, position_side).closing(side == "BUY", quantity):
        raise error(-2022)
    if kind == "LIMIT" and _open_orders(engine, instrument.symbol) >= instrument.max_open_orders:
        raise error(-2025)
    now = engine.books.clock.event_ms()
    return Order(
        order_id=engine.books.next_order_id(),
        client_order_id=client_id,
        symbol=instrument.symbol,
        side=side,
        kind=kind,
        quantity=quantity,
        price=price,
        time_in_force=tif or "GTC",
        reduce_only=reduce_only,
        created_ms=now,
        updated_ms=now,
        market_ms=engine.books.clock.market_ms,
        position_side=position_side,
        good_till_ms=good_till,
        price_match=match,
        prevention=prevention,
    )


def new_algo(engine: MatchingEngine, params: Params, fresh_id: str, most: int) -> AlgoOrder:
    """
    Return the conditional order that ``POST /fapi/v1/algoOrder`` asks for.

    Raises
    ------
    ApiError
        Propagate: anything the exchange would refuse, -2021 if the trigger is already reached included.

    """
    if params.required("algoType").upper() != "CONDITIONAL":
        raise error(-1130, "algoType")
    instrument = tradable(engine, params)
    side = _side(params)
    kind = params.required("type").upper()
    if kind not in ALGO_KINDS:
        raise error(-1116)
    position_side = _position_side(engine, params)
    client_id = _client_id(params, "clientAlgoId", fresh_id)
    limit = kind in ("STOP", "TAKE_PROFIT")
    trailing = kind == "TRAILING_STOP_MARKET"
    tif = params.text("timeInForce", "GTC").upper()
    if tif not in (*TIMES_IN_FORCE, "GTE_GTC"):
        raise error(-1115)
    working = params.text("workingType", "CONTRACT_PRICE").upper()
    if working not in _WORKING_TYPES:
        raise error(-4031, params.text("workingType"))
    prevention = _prevention(params)
    match = match_of(params, kind)
    close_position = params.flag("closePosition")
    reduce_only = params.flag("reduceOnly")
    if close_position and engine.books.hedge and not _closes(position_side, side):
        raise error(-4061)
    if close_position:
        if limit or trailing:
            raise error(-4136, kind)
        if "quantity" in params:
            raise error(-4137)
        if reduce_only:
            raise error(-1106, "reduceonly")
    reduce_only = reduce_only or (_closes(position_side, side) and not close_position)
    quantity = ZERO if close_position else _quantity(instrument, params, market=not limit)
    # A matched price is found in the book when the order is triggered.
    price = _price(instrument, params, "price") if limit and match == NONE else ZERO
    good_till = _good_till(engine, params, tif)
    last = engine.prices.get(instrument.symbol)
    if last is None:
        raise error(-1112)
    trigger, activation, callback = ZERO, None, None
    if trailing:
        callback = params.decimal("callbackRate")
        if callback is None or not _LEAST_CALLBACK <= callback <= _MOST_CALLBACK:
            raise error(-1102, "callbackRate")
        if "activatePrice" in params:
            activation = _price(instrument, params, "activatePrice")
            if last <= activation if side == "BUY" else last >= activation:
                raise error(-2021)
        trigger = activation or last
    else:
        trigger = _trigger_price(instrument, params)
        on_rise = (side == "BUY") == (kind in ("STOP", "STOP_MARKET"))
        if last >= trigger if on_rise else last <= trigger:
            raise error(-2021)
    if client_id in engine.books.algo_by_client:
        previous = engine.books.algos[engine.books.algo_by_client[client_id]]
        if previous.is_open:
            raise error(-4116)
    if reduce_only and not engine.books.position(instrument.symbol, position_side).closing(side == "BUY", quantity):
        raise error(-2022)
    if not reduce_only and not close_position:
        _check_notional(instrument, quantity * (price or trigger))
    if len(engine.books.open_algos) >= most:
        raise error(-4045)
    now = engine.books.clock.event_ms()
    return AlgoOrder(
        algo_id=engine.books.next_algo_id(),
        client_algo_id=client_id,
        symbol=instrument.symbol,
        side=side,
        kind=kind,
        quantity=quantity,
        trigger_price=trigger,
        price=price,
        time_in_force=tif,
        reduce_only=reduce_only,
        close_position=close_position,
        working_type=working,
        created_ms=now,
        updated_ms=now,
        market_ms=engine.books.clock.market_ms,
        position_side=position_side,
        price_protect=params.flag("priceProtect"),
        price_match=match,
        prevention=prevention,
        activation_price=activation,
        callback_rate=callback,
        good_till_ms=good_till,
    )


def changed_order(engine: MatchingEngine, params: Params, order: Order) -> tuple[Decimal, Decimal]:
    """Return the quantity and price that ``PUT /fapi/v1/order`` asks for, checked like a new order's."""
    instrument = engine.instruments[order.symbol]
    if engine.statuses.get(order.symbol, "TRADING") != "TRADING":
        raise error(-5024)
    if _side(params) != order.side:
        raise error(-1117)
    if order.kind != "LIMIT":
        raise error(-5025)
    only_reduces = params.flag("reduceOnly")
    if only_reduces and not order.reduce_only:
        raise error(-5047)
    quantity = _quantity(instrument, params, market=False)
    price = _limit_price(engine, instrument, params, match_of(params, "LIMIT"), is_buy=order.is_buy)
    if (quantity, price) == (order.quantity, order.price):
        raise error(-5027)
    check_percent_price(engine, instrument, price, is_buy=order.is_buy)
    if not only_reduces and quantity * price < instrument.min_notional and not order.reduce_only:
        raise error(-5029, instrument.min_notional)
    if not order.reduce_only:
        more = quantity * price - order.quantity * order.price
        if more > 0:
            check_margin(
                engine, instrument, more / price if order.is_buy else -more / price, price, order.position_side
            )
    return quantity, price


def acknowledged(params: Params) -> bool:
    """Return whether ``newOrderRespType`` asks for the acknowledgement alone, not the result (-1136)."""
    wanted = params.text("newOrderRespType", "ACK").upper()
    if wanted not in _ANSWERS:
        raise error(-1136)
    return wanted == "ACK"


def check_margin(
    engine: MatchingEngine, instrument: Instrument, signed: Decimal, price: Decimal, position_side: str = "BOTH"
) -> None:
    """Refuse what the margin balance (-2019) or the bracket of the leverage (-2027) does not carry."""
    position = engine.books.position(instrument.symbol, position_side)
    after = abs(position.quantity + signed)
    if after <= abs(position.quantity):
        return
    if after * price > instrument.max_notional(position.leverage):
        raise error(-2027)
    if not engine.account.can_open(instrument.symbol, signed, price, instrument.taker_fee, position_side):
        raise error(-2019)


def check_percent_price(engine: MatchingEngine, instrument: Instrument, price: Decimal, *, is_buy: bool) -> None:
    """Refuse a buy too far above (-4016) or a sell too far below (-4024) the mark price."""
    mark = engine.prices.get(instrument.symbol)
    if mark is None:
        raise error(-1112)
    cap, floor = mark * instrument.percent_up, mark * instrument.percent_down
    if is_buy and price > cap:
        raise error(-4016, instrument.price_text(cap))
    if not is_buy and price < floor:
        raise error(-4024, instrument.price_text(floor))


def _side(params: Params) -> str:
    side = params.required("side").upper()
    if side not in ("BUY", "SELL"):
        raise error(-1117)
    return side


def _position_side(engine: MatchingEngine, params: Params) -> str:
    """Return the position an order acts on; hedge mode demands LONG or SHORT and forbids reduceOnly (-4061, -1106)."""
    asked = params.text("positionSide", "BOTH").upper()
    if asked not in ("BOTH", *HEDGE_SIDES):
        raise error(-4060)
    if (asked in HEDGE_SIDES) != engine.books.hedge:
        raise error(-4061)
    if engine.books.hedge and "reduceOnly" in params:
        raise error(-1106, "reduceonly")
    return asked


def _prevention(params: Params) -> str:
    mode = params.text("selfTradePreventionMode", "EXPIRE_MAKER").upper()
    if mode not in _PREVENTIONS:
        raise error(-5039)
    return mode


def _good_till(engine: MatchingEngine, params: Params, tif: str) -> int:
    """Return when a GTD order ends, wall ms on the second (-5040); 0 for any other."""
    if tif != "GTD":
        return 0
    params.required("goodTillDate")
    until = params.integer("goodTillDate")
    if not engine.books.clock.wall_ms() + _LEAST_GOOD_MS < until < _LAST_GOOD_MS:
        raise error(-5040)
    return until // 1000 * 1000


def _limit_price(
    engine: MatchingEngine, instrument: Instrument, params: Params, match: str, *, is_buy: bool
) -> Decimal:
    """Return the price an order names, or the one it matches in the book (-1112 without a price yet)."""
    if match == NONE:
        return _price(instrument, params, "price")
    last = engine.prices.get(instrument.symbol)
    if last is None:
        raise error(-1112)
    return matched_price(instrument, match, last, is_buy=is_buy)


def _closes(position_side: str, side: str) -> bool:
    """Return whether an order of hedge mode can only reduce."""
    return (position_side, side) in (("LONG", "SELL"), ("SHORT", "BUY"))


def _client_id(params: Params, name: str, fresh_id: str) -> str:
    value = params.text(name, fresh_id)
    if len(value) > 36:
        raise error(-4015)
    if not CLIENT_ID.match(value):
        raise error(-1100, name, CLIENT_ID_RANGE)
    return value


def _quantity(instrument: Instrument, params: Params, *, market: bool) -> Decimal:
    value = params.decimal("quantity")
    if value is None:
        raise error(-1102, "quantity")
    if value <= 0:
        raise error(-4003)
    if _digits(value) > instrument.venue_quantity_digits:
        raise error(-1111)
    if value < (instrument.market_min_quantity if market else instrument.min_quantity):
        raise error(-4004)
    if value > (instrument.market_max_quantity if market else instrument.max_quantity):
        raise error(-4005)
    if value % (instrument.market_step if market else instrument.step):
        raise error(-4023)
    return value


def _price(instrument: Instrument, params: Params, name: str) -> Decimal:
    value = params.decimal(name)
    if value is None:
        raise error(-1102, name)
    if value <= 0:
        raise error(-4001)
    if _digits(value) > instrument.venue_price_digits:
        raise error(-1111)
    if value > instrument.max_price:
        raise error(-4002)
    if value < instrument.min_price:
        raise error(-4013)
    if value % instrument.tick:
        raise error(-4014)
    return value


def _trigger_price(instrument: Instrument, params: Params) -> Decimal:
    name = "triggerPrice"
    value = params.decimal(name)
    if value is None:
        raise error(-1102, name)
    if value <= 0:
        raise error(-4006)
    if _digits(value) > instrument.venue_price_digits:
        raise error(-1111)
    if value > instrument.max_price:
        raise error(-4007)
    if value % instrument.tick:
        raise error(-4014)
    return value


def _check_notional(instrument: Instrument, notional: Decimal) -> None:
    if notional < instrument.min_notional:
        raise error(-4164, instrument.min_notional)


def _open_orders(engine: MatchingEngine, symbol: str) -> int:
    return sum(o.symbol == symbol for o in engine.books.open_orders.values())


def _digits(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0
