"""Orders and algo orders over REST."""

from collections.abc import Callable
from typing import Any

import msgspec

from node.venue import filters
from node.venue.books import AlgoOrder, Order
from node.venue.endpoints import EndpointTable, Security
from node.venue.errors import ApiError, error
from node.venue.params import Params
from node.venue.venue import Amendment, Venue

type Json = dict[str, Any]

_SIGNED = Security.SIGNED
_MOST_BATCH_CANCEL = 10
_MOST_BATCH_PLACE = 5
_MOST_CHANGES = 10_000
_DAY_MS = 86_400_000
_HISTORY_DAYS = 7
_ANY_DAYS = 36_500
_NEVER_MS = 253_402_300_799_000


def register(table: EndpointTable) -> None:
    """Add the order endpoints to `table`."""
    order, algo = "/fapi/v1/order", "/fapi/v1/algoOrder"
    table.add("POST", order, weight=0, security=_SIGNED, is_order=True)(place)
    table.add("POST", "/fapi/v1/order/test", security=_SIGNED)(place_test)
    table.add("PUT", order, weight=1, security=_SIGNED, is_order=True)(amend)
    table.add("DELETE", order, security=_SIGNED)(cancel)
    table.add("GET", order, security=_SIGNED)(query)
    table.add("GET", "/fapi/v1/openOrder", security=_SIGNED)(query_open)
    table.add("GET", "/fapi/v1/openOrders", weight=_open_weight, security=_SIGNED)(open_orders)
    table.add("GET", "/fapi/v1/allOrders", weight=5, security=_SIGNED)(all_orders)
    table.add("DELETE", "/fapi/v1/allOpenOrders", security=_SIGNED)(cancel_all)
    table.add("GET", "/fapi/v1/orderAmendment", security=_SIGNED)(amendments)
    table.add("PUT", "/fapi/v1/batchOrders", weight=5, security=_SIGNED, is_order=True, burst=5)(amend_batch)
    table.add("POST", "/fapi/v1/batchOrders", weight=5, security=_SIGNED, is_order=True, burst=5)(place_batch)
    table.add("DELETE", "/fapi/v1/batchOrders", security=_SIGNED)(cancel_batch)
    table.add("POST", algo, weight=0, security=_SIGNED, is_order=True)(place_algo)
    table.add("DELETE", algo, security=_SIGNED)(cancel_algo)
    table.add("GET", algo, security=_SIGNED)(query_algo)
    table.add("GET", "/fapi/v1/openAlgoOrders", weight=_open_weight, security=_SIGNED)(open_algos)
    table.add("GET", "/fapi/v1/allAlgoOrders", weight=5, security=_SIGNED)(all_algos)
    table.add("DELETE", "/fapi/v1/algoOpenOrders", security=_SIGNED)(cancel_all_algos)


def place(venue: Venue, params: Params) -> Json:
    """Place a market or limit order."""
    acknowledged = filters.acknowledged(params)
    order = filters.new_order(venue.engine, params, venue.fresh_client_id())
    venue.engine.submit(order)
    return venue.payloads.order(order, acknowledged=acknowledged)


def place_test(venue: Venue, params: Params) -> Json:
    """Check an order without placing it."""
    filters.acknowledged(params)
    order = filters.new_order(venue.engine, params, venue.fresh_client_id())
    return venue.payloads.order(order, acknowledged=True)


def amend(venue: Venue, params: Params) -> Json:
    """Change size and price of an open limit order."""
    order = _order(venue, params, -2013)
    if not order.is_open:
        raise error(-2013)
    if sum(c.order_id == order.order_id for c in venue.amendments) >= _MOST_CHANGES:
        raise error(-5026)
    quantity, price = filters.changed_order(venue.engine, params, order)
    before = (order.quantity, order.price)
    venue.engine.amend(order, quantity, price)
    venue.amendments.append(Amendment(order.order_id, before, (quantity, price), order.updated_ms))
    answer = venue.payloads.order(order)
    return answer | {"modifyId": params.integer("modifyId")} if "modifyId" in params else answer


def amend_batch(venue: Venue, params: Params) -> list[Json]:
    """Change up to five orders, each on its own."""
    return _each(venue, params, amend)


def amendments(venue: Venue, params: Params) -> list[Json]:
    """Return the changes of orders of a symbol, newest first."""
    instrument = filters.instrument_of(venue.engine, params)
    wanted = _order(venue, params, -2013).order_id if {"orderId", "origClientOrderId"} & params.names else 0
    start, end = window(params)
    rows = []
    for number, change in enumerate(venue.amendments, start=1):
        order = venue.books.orders[change.order_id]
        if order.symbol != instrument.symbol or wanted not in (0, order.order_id):
            continue
        if not start <= change.wall_ms <= end:
            continue
        (old_quantity, old_price), (new_quantity, new_price) = change.before, change.after
        rows.append(
            {
                "amendmentId": number,
                "symbol": order.symbol,
                "pair": order.symbol,
                "orderId": order.order_id,
                "clientOrderId": order.client_order_id,
                "time": change.wall_ms,
                "amendment": {
                    "price": {"before": instrument.price_text(old_price), "after": instrument.price_text(new_price)},
                    "origQty": {
                        "before": instrument.quantity_text(old_quantity),
                        "after": instrument.quantity_text(new_quantity),
                    },
                    "count": sum(c.order_id == change.order_id for c in venue.amendments[:number]),
                },
                "priceMatch": order.price_match,
            }
        )
    return rows[::-1][: params.limit(50, 100)]


def cancel(venue: Venue, params: Params) -> Json:
    """Cancel a plain order; an algo order's id is unknown here."""
    order = _order(venue, params, -2011)
    if not order.is_open:
        raise error(-2011)
    venue.engine.cancel(order)
    return venue.payloads.order(order)


def query(venue: Venue, params: Params) -> Json:
    """Return a plain order, open or not."""
    return venue.payloads.order(_order(venue, params, -2013))


def query_open(venue: Venue, params: Params) -> Json:
    """Return an open plain order."""
    order = _order(venue, params, -2013)
    if not order.is_open:
        raise error(-2013)
    return venue.payloads.order(order)


def open_orders(venue: Venue, params: Params) -> list[Json]:
    """Return open plain orders; untriggered algo orders are not among them."""
    symbol = _optional_symbol(venue, params)
    return [venue.payloads.order(o) for o in venue.books.open_orders.values() if symbol in ("", o.symbol)]


def all_orders(venue: Venue, params: Params) -> list[Json]:
    """Return plain orders, of one symbol or all: from ``orderId`` on, or of a week at most; ascending."""
    symbol = _optional_symbol(venue, params)
    found = [o for o in venue.books.orders.values() if symbol in ("", o.symbol)]
    limit = params.limit(500, 1000)
    first = params.integer("orderId")
    if first:
        return [venue.payloads.order(o) for o in found if o.order_id >= first][:limit]
    start, end = span(venue, params, _HISTORY_DAYS)
    found = [o for o in found if start <= o.created_ms <= end]
    return [venue.payloads.order(o) for o in (found[:limit] if "startTime" in params else found[-limit:])]


def cancel_all(venue: Venue, params: Params) -> Json:
    """Cancel all open plain orders of a symbol."""
    symbol = filters.instrument_of(venue.engine, params).symbol
    for order in [o for o in venue.books.open_orders.values() if o.symbol == symbol]:
        venue.engine.cancel(order)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def place_batch(venue: Venue, params: Params) -> list[Json]:
    """Place up to five orders, each on its own."""
    return _each(venue, params, place)


def _each(venue: Venue, params: Params, handler: Callable[[Venue, Params], Json]) -> list[Json]:
    rows = _json_list(params, "batchOrders")
    if not 1 <= len(rows) <= _MOST_BATCH_PLACE:
        raise error(-4082, len(rows))
    answers = []
    for row in rows:
        try:
            if not isinstance(row, dict):
                raise error(-1130, "batchOrders")
            answers.append(handler(venue, Params.of({str(k): _plain(v) for k, v in row.items()})))
        except ApiError as e:
            answers.append({"code": e.code, "msg": e.message})
    return answers


def cancel_batch(venue: Venue, params: Params) -> list[Json]:
    """Cancel up to ten orders by id or client id, each on its own."""
    symbol = filters.instrument_of(venue.engine, params).symbol
    # ccxt writes the names of both lists in lower case, and the exchange takes them.
    numbers = next((n for n in ("orderIdList", "orderidlist") if n in params), "")
    params.one_of(numbers or "orderIdList", "origClientOrderIdList", "origclientorderidlist")
    if numbers:
        wanted = [{"orderId": str(i)} for i in _json_list(params, numbers)]
    else:
        names = "origclientorderidlist" if "origclientorderidlist" in params else "origClientOrderIdList"
        wanted = [{"origClientOrderId": str(i)} for i in _json_list(params, names)]
    if len(wanted) > _MOST_BATCH_CANCEL:
        raise error(-4032)
    answers = []
    for row in wanted:
        try:
            answers.append(cancel(venue, Params.of({"symbol": symbol, **row})))
        except ApiError as e:
            answers.append({"code": e.code, "msg": e.message})
    return answers


def place_algo(venue: Venue, params: Params) -> Json:
    """Arm a conditional order."""
    filters.acknowledged(params)
    most = venue.config.execution.max_algo_orders
    algo = filters.new_algo(venue.engine, params, venue.fresh_client_id(), most)
    venue.engine.submit_algo(algo)
    # This answer alone names the trailing fields also where there is nothing to say.
    return {"activatePrice": "", "callbackRate": ""} | venue.payloads.algo(algo)


def cancel_algo(venue: Venue, params: Params) -> Json:
    """Disarm a conditional order; once triggered it is unknown here."""
    algo = _algo(venue, params, -2011)
    if not algo.is_open:
        raise error(-2011)
    venue.engine.cancel_algo(algo)
    return {"algoId": algo.algo_id, "clientAlgoId": algo.client_algo_id, "code": "200", "msg": "success"}


def query_algo(venue: Venue, params: Params) -> Json:
    """Return a conditional order, armed or not."""
    return venue.payloads.algo(_algo(venue, params, -2013))


def open_algos(venue: Venue, params: Params) -> list[Json]:
    """Return armed conditional orders."""
    symbol = _optional_symbol(venue, params)
    wanted = params.integer("algoId")
    return [
        venue.payloads.algo(a)
        for a in venue.books.open_algos.values()
        if symbol in ("", a.symbol) and wanted in (0, a.algo_id)
    ]


def all_algos(venue: Venue, params: Params) -> list[Json]:
    """Return conditional orders of a symbol, whatever became of them; ascending."""
    symbol = filters.instrument_of(venue.engine, params).symbol
    found = [a for a in venue.books.algos.values() if a.symbol == symbol]
    limit = params.limit(500, 1000)
    first = params.integer("algoId")
    if first:
        return [venue.payloads.algo(a) for a in found if a.algo_id >= first][:limit]
    start, end = span(venue, params, _HISTORY_DAYS)
    found = [a for a in found if start <= a.created_ms <= end]
    return [venue.payloads.algo(a) for a in (found[:limit] if "startTime" in params else found[-limit:])]


def cancel_all_algos(venue: Venue, params: Params) -> Json:
    """Disarm all conditional orders of a symbol."""
    symbol = filters.instrument_of(venue.engine, params).symbol
    for algo in [a for a in venue.books.open_algos.values() if a.symbol == symbol]:
        venue.engine.cancel_algo(algo)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def check_span(params: Params, days: int) -> None:
    """Refuse a span of ``[startTime, endTime]`` that ends before it starts (-1023) or is longer than `days` (-4165)."""
    if "startTime" in params and "endTime" in params:
        start, end = params.integer("startTime"), params.integer("endTime")
        if start > end:
            raise error(-1023)
        if end - start > days * _DAY_MS:
            raise error(-4165, days)


def span(venue: Venue, params: Params, days: int) -> tuple[int, int]:
    """Return the wall times ``[start, end]`` asked for: `days` from the start, or up to the end, which is now."""
    check_span(params, days)
    length = days * _DAY_MS
    if "startTime" in params:
        start = params.integer("startTime")
        return start, params.integer("endTime", start + length)
    end = params.integer("endTime", venue.clock.event_ms())
    return end - length, end


def window(params: Params, days: int = _ANY_DAYS) -> tuple[int, int]:
    """Return the wall times ``[startTime, endTime]`` of a request, open where one is absent (-1023, -4165)."""
    check_span(params, days)
    return params.integer("startTime"), params.integer("endTime", _NEVER_MS)


def _order(venue: Venue, params: Params, code: int) -> Order:
    symbol = filters.instrument_of(venue.engine, params).symbol
    number = params.integer("orderId")
    if not number:
        params.one_of("origClientOrderId", "orderId")
        number = venue.books.order_by_client.get(params.text("origClientOrderId"), 0)
    order = venue.books.orders.get(number)
    if order is None or order.symbol != symbol:
        raise error(code)
    return order


def _algo(venue: Venue, params: Params, code: int) -> AlgoOrder:
    number = params.integer("algoId")
    if not number:
        params.one_of("clientAlgoId", "algoId")
        number = venue.books.algo_by_client.get(params.text("clientAlgoId"), 0)
    algo = venue.books.algos.get(number)
    if algo is None:
        raise error(code)
    return algo


def _optional_symbol(venue: Venue, params: Params) -> str:
    return filters.instrument_of(venue.engine, params).symbol if "symbol" in params else ""


def _json_list(params: Params, name: str) -> list[Any]:
    try:
        rows = msgspec.json.decode(params.required(name))
    except msgspec.DecodeError:
        raise error(-1130, name) from None
    if not isinstance(rows, list):
        raise error(-1130, name)
    return rows


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _open_weight(params: Params) -> int:
    return 1 if "symbol" in params else 40
