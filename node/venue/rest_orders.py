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
_WEEK_MS = 7 * 86_400_000


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
    table.add("PUT", "/fapi/v1/batchOrders", weight=5, security=_SIGNED, is_order=True)(amend_batch)
    table.add("POST", "/fapi/v1/batchOrders", weight=5, security=_SIGNED, is_order=True)(place_batch)
    table.add("DELETE", "/fapi/v1/batchOrders", security=_SIGNED)(cancel_batch)
    table.add("POST", algo, weight=0, security=_SIGNED, is_order=True)(place_algo)
    table.add("DELETE", algo, security=_SIGNED)(cancel_algo)
    table.add("GET", algo, security=_SIGNED)(query_algo)
    table.add("GET", "/fapi/v1/openAlgoOrders", weight=_open_weight, security=_SIGNED)(open_algos)
    table.add("GET", "/fapi/v1/allAlgoOrders", weight=5, security=_SIGNED)(all_algos)
    table.add("DELETE", "/fapi/v1/algoOpenOrders", security=_SIGNED)(cancel_all_algos)


def place(venue: Venue, params: Params) -> Json:
    """Place a market or limit order."""
    order = filters.new_order(venue.engine, params, venue.fresh_client_id())
    venue.engine.submit(order)
    return venue.payloads.order(order, acknowledged=params.text("newOrderRespType", "ACK").upper() != "RESULT")


def place_test(venue: Venue, params: Params) -> Json:
    """Check an order without placing it."""
    order = filters.new_order(venue.engine, params, venue.fresh_client_id())
    return venue.payloads.order(order, acknowledged=True)


def amend(venue: Venue, params: Params) -> Json:
    """Change size and price of an open limit order."""
    order = _order(venue, params, -2013)
    if not order.is_open:
        raise error(-2013)
    quantity, price = filters.changed_order(venue.engine, params, order)
    before = (order.quantity, order.price)
    venue.engine.amend(order, quantity, price)
    venue.amendments.append(Amendment(order.order_id, before, (quantity, price), order.updated_ms))
    return venue.payloads.order(order)


def amend_batch(venue: Venue, params: Params) -> list[Json]:
    """Change up to five orders, each on its own."""
    return _each(venue, params, amend)


def amendments(venue: Venue, params: Params) -> list[Json]:
    """Return the changes of orders of a symbol, newest first."""
    instrument = filters.instrument_of(venue.engine, params)
    wanted = _order(venue, params, -2013).order_id if {"orderId", "origClientOrderId"} & params.names else 0
    rows = []
    for number, change in enumerate(venue.amendments, start=1):
        order = venue.books.orders[change.order_id]
        if order.symbol != instrument.symbol or wanted not in (0, order.order_id):
            continue
        if not in_window(params, change.wall_ms):
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
    """Return plain orders of a symbol: from ``orderId`` on, or a time window, or the newest; ascending."""
    symbol = filters.instrument_of(venue.engine, params).symbol
    found = [o for o in venue.books.orders.values() if o.symbol == symbol]
    limit = params.limit(500, 1000)
    first = params.integer("orderId")
    if first:
        return [venue.payloads.order(o) for o in found if o.order_id >= first][:limit]
    found = [o for o in found if in_window(params, o.created_ms)]
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
    if len(rows) > _MOST_BATCH_PLACE:
        raise ApiError(-4082, f"Invalid number of batch orders, current max is {_MOST_BATCH_PLACE}.")
    answers = []
    for row in rows:
        try:
            answers.append(handler(venue, Params.of({str(k): _plain(v) for k, v in row.items()})))
        except ApiError as e:
            answers.append({"code": e.code, "msg": e.message})
    return answers


def cancel_batch(venue: Venue, params: Params) -> list[Json]:
    """Cancel up to ten orders by id or client id, each on its own."""
    symbol = filters.instrument_of(venue.engine, params).symbol
    # ccxt writes the names of both lists in lower case, and the exchange takes them.
    numbers = next((n for n in ("orderIdList", "orderidlist") if n in params), "")
    if numbers:
        wanted = [{"orderId": str(i)} for i in _json_list(params, numbers)]
    else:
        names = "origclientorderidlist" if "origclientorderidlist" in params else "origClientOrderIdList"
        wanted = [{"origClientOrderId": str(i)} for i in _json_list(params, names)]
    if len(wanted) > _MOST_BATCH_CANCEL:
        raise ApiError(-4082, f"Invalid number of batch orders, current max is {_MOST_BATCH_CANCEL}.")
    answers = []
    for row in wanted:
        try:
            answers.append(cancel(venue, Params.of({"symbol": symbol, **row})))
        except ApiError as e:
            answers.append({"code": e.code, "msg": e.message})
    return answers


def place_algo(venue: Venue, params: Params) -> Json:
    """Arm a conditional order."""
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
    found = [a for a in found if in_window(params, a.created_ms)]
    return [venue.payloads.algo(a) for a in (found[:limit] if "startTime" in params else found[-limit:])]


def cancel_all_algos(venue: Venue, params: Params) -> Json:
    """Disarm all conditional orders of a symbol."""
    symbol = filters.instrument_of(venue.engine, params).symbol
    for algo in [a for a in venue.books.open_algos.values() if a.symbol == symbol]:
        venue.engine.cancel_algo(algo)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def in_window(params: Params, time_ms: int) -> bool:
    """Return whether a wall time lies in the request's ``[startTime, endTime]``."""
    if "startTime" in params and time_ms < params.integer("startTime"):
        return False
    return "endTime" not in params or time_ms <= params.integer("endTime")


def _order(venue: Venue, params: Params, code: int) -> Order:
    symbol = filters.instrument_of(venue.engine, params).symbol
    number = params.integer("orderId")
    if not number:
        client_id = params.text("origClientOrderId")
        if not client_id:
            raise error(-1102, "orderId")
        number = venue.books.order_by_client.get(client_id, 0)
    order = venue.books.orders.get(number)
    if order is None or order.symbol != symbol:
        raise error(code)
    return order


def _algo(venue: Venue, params: Params, code: int) -> AlgoOrder:
    number = params.integer("algoId")
    if not number:
        client_id = params.text("clientAlgoId")
        if not client_id:
            raise error(-1102, "algoId")
        number = venue.books.algo_by_client.get(client_id, 0)
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
