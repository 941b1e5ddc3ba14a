"""Account, positions, settings, history and listen keys over REST. Every time in these answers is wall time."""

from typing import Any

from node.venue import filters
from node.venue.books import Position
from node.venue.endpoints import EndpointTable, Security
from node.venue.errors import error
from node.venue.params import Params
from node.venue.rest_orders import span, window
from node.venue.venue import Venue

type Json = dict[str, Any]

_SIGNED = Security.SIGNED
_TRADES_DAYS = 7
_INCOME_DAYS = 7


def register(table: EndpointTable) -> None:
    """Add the account endpoints to `table`."""
    for version in (2, 3):
        table.add("GET", f"/fapi/v{version}/account", weight=5, security=_SIGNED)(_account(version))
        table.add("GET", f"/fapi/v{version}/balance", weight=5, security=_SIGNED)(
            lambda venue, _params: venue.payloads.balance(),
        )
        table.add("GET", f"/fapi/v{version}/positionRisk", weight=5, security=_SIGNED)(_position_risk(version))
    table.add("GET", "/fapi/v1/accountConfig", weight=5, security=_SIGNED)(account_config)
    table.add("GET", "/fapi/v1/symbolConfig", weight=5, security=_SIGNED)(symbol_config)
    table.add("GET", "/fapi/v1/commissionRate", weight=20, security=_SIGNED)(commission_rate)
    table.add("GET", "/fapi/v1/leverageBracket", security=_SIGNED)(leverage_bracket)
    table.add("GET", "/fapi/v1/adlQuantile", weight=5, security=_SIGNED)(adl_quantile)
    table.add("GET", "/fapi/v1/forceOrders", weight=_one_or(20, 50), security=_SIGNED)(force_orders)
    table.add("GET", "/fapi/v1/rateLimit/order", security=_SIGNED)(order_limits)
    table.add("GET", "/fapi/v1/userTrades", weight=5, security=_SIGNED)(user_trades)
    table.add("GET", "/fapi/v1/income", weight=30, security=_SIGNED)(income)
    table.add("GET", "/fapi/v1/apiReferral/ifNewUser", security=_SIGNED)(
        lambda _venue, _params: {"brokerId": "", "rebateWorking": False, "ifNewUser": True},
    )
    table.add("GET", "/fapi/v1/apiTradingStatus", weight=10, security=_SIGNED)(
        lambda venue, _params: {"indicators": {}, "updateTime": venue.clock.wall_ms()},
    )
    listen_key = "/fapi/v1/listenKey"
    table.add("POST", listen_key, security=Security.KEY)(lambda venue, _params: {"listenKey": venue.users.create_key()})
    table.add("PUT", listen_key, security=Security.KEY)(lambda venue, _params: {"listenKey": venue.users.keep_alive()})
    table.add("DELETE", listen_key, security=Security.KEY)(delete_listen_key)


def account_config(venue: Venue, _params: Params) -> Json:
    """Return what the account may do."""
    return {
        "feeTier": 0,
        "canTrade": venue.permissions.futures,
        "canDeposit": True,
        "canWithdraw": venue.permissions.withdrawals,
        "dualSidePosition": venue.books.hedge,
        "updateTime": 0,
        "multiAssetsMargin": venue.books.multi_assets,
        "tradeGroupId": -1,
    }


def symbol_config(venue: Venue, params: Params) -> list[Json]:
    """Return margin type and leverage by symbol."""
    return [
        {
            "symbol": symbol,
            "marginType": venue.books.positions[symbol].margin_type,
            "isAutoAddMargin": False,
            "leverage": venue.books.positions[symbol].leverage,
            "maxNotionalValue": f"{venue.instruments[symbol].max_notional(venue.books.positions[symbol].leverage):f}",
        }
        for symbol in _symbols(venue, params)
    ]


def commission_rate(venue: Venue, params: Params) -> Json:
    """Return the account's fees for a symbol, fractions of notional."""
    instrument = filters.instrument_of(venue.engine, params)
    return {
        "symbol": instrument.symbol,
        "makerCommissionRate": f"{instrument.maker_fee:.6f}",
        "takerCommissionRate": f"{instrument.taker_fee:.6f}",
        "rpiCommissionRate": f"{instrument.maker_fee:.6f}",
    }


def leverage_bracket(venue: Venue, params: Params) -> Json | list[Json]:
    """Return the maintenance-margin table; as on the exchange these figures are numbers, not strings."""
    rows = []
    for symbol in _symbols(venue, params):
        brackets = [
            {
                "bracket": number,
                "initialLeverage": b.max_leverage,
                "notionalCap": int(b.cap),
                "notionalFloor": int(b.floor),
                "maintMarginRatio": float(b.rate),
                "cum": float(b.amount),
            }
            for number, b in enumerate(venue.instruments[symbol].brackets, start=1)
        ]
        rows.append({"symbol": symbol, "notionalCoef": 1.0, "brackets": brackets})
    return rows


def adl_quantile(venue: Venue, params: Params) -> list[Json]:
    """Return the place in the queue for automatic deleveraging, 0 to 4, by profit per margin."""
    rows = []
    for symbol in _symbols(venue, params):
        held = {p.position_side: venue.engine.account.quantile(p) for p in venue.books.of_symbol(symbol) if p.quantity}
        if held:
            cross = venue.books.positions[symbol].margin_type == "CROSSED"
            sign = "HEDGE" if venue.books.hedge and cross else "BOTH"
            rows.append({"symbol": symbol, "adlQuantile": {"LONG": 0, "SHORT": 0, sign: 0} | held})
    return rows


def force_orders(venue: Venue, params: Params) -> list[Json]:
    """Return the account's liquidation and ADL orders, ascending."""
    kinds = {"LIQUIDATION": ("autoclose-",), "ADL": ("adl_autoclose",), "": ("autoclose-", "adl_autoclose")}
    wanted = kinds.get(params.text("autoCloseType").upper())
    if wanted is None:
        raise error(-1130, "autoCloseType")
    symbols = _symbols(venue, params)
    start, end = window(params)
    found = [
        o
        for o in venue.books.orders.values()
        if o.client_order_id.startswith(wanted) and o.symbol in symbols and start <= o.created_ms <= end
    ]
    return [venue.payloads.order(o) for o in found[-params.limit(50, 100) :]]


def order_limits(venue: Venue, _params: Params) -> list[Json]:
    """Return the order count limits."""
    limits = venue.config.limits
    return [
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": limits.orders_per_10_secs},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": limits.orders_per_minute},
    ]


def user_trades(venue: Venue, params: Params) -> list[Json]:
    """Return the account's trades in a symbol, ascending."""
    symbol = filters.instrument_of(venue.engine, params).symbol
    limit = params.limit(500, 1000)
    order_id, first = params.integer("orderId"), params.integer("fromId")
    if first and {"startTime", "endTime"} & params.names:
        raise error(-1128)
    # Asked for by time, in spans of a week, unless an order or a first trade is named.
    start, end = window(params, _TRADES_DAYS) if first or order_id else span(venue, params, _TRADES_DAYS)
    found = [
        f
        for f in venue.books.fills
        if f.symbol == symbol and order_id in (0, f.order_id) and f.trade_id >= first and start <= f.wall_ms <= end
    ]
    from_start = first or "startTime" in params
    return [venue.payloads.trade(f) for f in (found[:limit] if from_start else found[-limit:])]


def income(venue: Venue, params: Params) -> list[Json]:
    """Return the changes of the wallet, ascending."""
    symbol, kind = params.text("symbol").upper(), params.text("incomeType").upper()
    limit = params.limit(100, 1000)
    timed = {"startTime", "endTime"} & params.names
    start, end = window(params) if timed else span(venue, params, _INCOME_DAYS)
    found = [
        i
        for i in venue.books.incomes
        if symbol in ("", i.symbol) and kind in ("", i.kind) and start <= i.wall_ms <= end
    ]
    page = max(params.integer("page", 1), 1)
    if "startTime" in params or "page" in params:
        found = found[(page - 1) * limit : page * limit]
    return [venue.payloads.income(i) for i in found[-limit:]]


async def delete_listen_key(venue: Venue, _params: Params) -> Json:
    """Invalidate the listen key and close its connections."""
    await venue.users.delete_key()
    return {}


def _account(version: int) -> Any:
    return lambda venue, _params: venue.payloads.account(version=version)


def _position_risk(version: int) -> Any:
    def handler(venue: Venue, params: Params) -> list[Json]:
        rows = []
        for symbol in _symbols(venue, params):
            for position in [*venue.books.of_symbol(symbol), *_idle(venue, symbol, version)]:
                place = (symbol, position.position_side)
                in_use = position.quantity or any(
                    (o.symbol, o.position_side) == place for o in venue.books.open_orders.values()
                )
                if version == 2 or in_use:
                    rows.append(venue.payloads.position_risk(position, version=version))
        return rows

    return handler


def _idle(venue: Venue, symbol: str, version: int) -> list[Position]:
    """Return the BOTH row that version 2 prints beside LONG and SHORT in hedge mode."""
    return [venue.books.positions[symbol]] if version == 2 and venue.books.hedge else []


def _one_or(one: int, everything: int) -> Any:
    return lambda params: one if "symbol" in params else everything


def _symbols(venue: Venue, params: Params) -> list[str]:
    if "symbol" in params:
        return [filters.instrument_of(venue.engine, params).symbol]
    return list(venue.instruments)
