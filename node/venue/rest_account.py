"""Account, positions, settings, history and listen keys over REST. Every time in these answers is wall time."""

from typing import Any

from node.venue import filters
from node.venue.endpoints import EndpointTable, Security
from node.venue.errors import error
from node.venue.params import Params
from node.venue.rest_orders import in_window
from node.venue.venue import Venue

type Json = dict[str, Any]

_SIGNED = Security.SIGNED
_MOST_LEVERAGE = 125
_SUCCESS = {"code": 200, "msg": "success"}


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
    table.add("GET", "/fapi/v1/positionSide/dual", weight=30, security=_SIGNED)(
        lambda _venue, _params: {"dualSidePosition": False},
    )
    table.add("POST", "/fapi/v1/positionSide/dual", security=_SIGNED)(change_position_mode)
    table.add("GET", "/fapi/v1/multiAssetsMargin", weight=30, security=_SIGNED)(
        lambda _venue, _params: {"multiAssetsMargin": False},
    )
    table.add("POST", "/fapi/v1/multiAssetsMargin", security=_SIGNED)(change_multi_assets)
    table.add("POST", "/fapi/v1/leverage", security=_SIGNED)(change_leverage)
    table.add("POST", "/fapi/v1/marginType", security=_SIGNED)(change_margin_type)
    table.add("GET", "/fapi/v1/adlQuantile", weight=5, security=_SIGNED)(adl_quantile)
    table.add("GET", "/fapi/v1/rateLimit/order", security=_SIGNED)(order_limits)
    table.add("GET", "/fapi/v1/userTrades", weight=5, security=_SIGNED)(user_trades)
    table.add("GET", "/fapi/v1/income", weight=30, security=_SIGNED)(income)
    listen_key = "/fapi/v1/listenKey"
    table.add("POST", listen_key, security=Security.KEY)(lambda venue, _params: {"listenKey": venue.users.create_key()})
    table.add("PUT", listen_key, security=Security.KEY)(lambda venue, _params: {"listenKey": venue.users.keep_alive()})
    table.add("DELETE", listen_key, security=Security.KEY)(delete_listen_key)


def account_config(_venue: Venue, _params: Params) -> Json:
    """Return what the account may do."""
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": False,
        "dualSidePosition": False,
        "updateTime": 0,
        "multiAssetsMargin": False,
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


def change_position_mode(_venue: Venue, params: Params) -> Json:
    """Refuse hedge mode: the account is one-way."""
    params.required("dualSidePosition")
    if params.flag("dualSidePosition"):
        raise error(-1130, "dualSidePosition")
    raise error(-4059)


def change_multi_assets(_venue: Venue, params: Params) -> Json:
    """Refuse multi-asset mode."""
    params.required("multiAssetsMargin")
    if params.flag("multiAssetsMargin"):
        raise error(-4167)
    return dict(_SUCCESS)


def change_leverage(venue: Venue, params: Params) -> Json:
    """Set a symbol's leverage."""
    instrument = filters.instrument_of(venue.engine, params)
    params.required("leverage")
    leverage = params.integer("leverage")
    most = max(b.max_leverage for b in instrument.brackets)
    if not 1 <= leverage <= min(most, _MOST_LEVERAGE):
        raise error(-4028, leverage)
    position = venue.books.positions[instrument.symbol]
    margin = venue.engine.account.symbol(instrument.symbol)
    if abs(margin.notional) > instrument.max_notional(leverage):
        raise error(-2027)
    totals = venue.engine.account.totals()
    own = margin.position_initial + margin.order_initial
    if own * position.leverage / leverage > own + totals.available:
        raise error(-2028)
    changed = position.leverage != leverage
    position.leverage = leverage
    if changed:
        venue.users.emit(venue.engine.events.leverage_update(position))
    return {
        "symbol": instrument.symbol,
        "leverage": leverage,
        "maxNotionalValue": f"{instrument.max_notional(leverage):f}",
    }


def change_margin_type(venue: Venue, params: Params) -> Json:
    """Answer -4046 for cross margin, which every symbol has; isolated margin is not offered here."""
    instrument = filters.instrument_of(venue.engine, params)
    kind = params.required("marginType").upper()
    if kind not in ("CROSSED", "ISOLATED"):
        raise error(-1130, "marginType")
    if kind == "CROSSED":
        raise error(-4046)
    if venue.books.positions[instrument.symbol].quantity:
        raise error(-4048)
    if any(o.symbol == instrument.symbol for o in venue.books.open_orders.values()):
        raise error(-4047)
    raise error(-1130, "marginType")


def adl_quantile(venue: Venue, params: Params) -> list[Json]:
    """Return the queue position for automatic deleveraging: never at risk here."""
    return [
        {"symbol": symbol, "adlQuantile": {"LONG": 0, "SHORT": 0, "BOTH": 1}}
        for symbol in _symbols(venue, params)
        if venue.books.positions[symbol].quantity
    ]


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
    found = [
        f
        for f in venue.books.fills
        if f.symbol == symbol and order_id in (0, f.order_id) and f.trade_id >= first and in_window(params, f.wall_ms)
    ]
    from_start = first or "startTime" in params
    return [venue.payloads.trade(f) for f in (found[:limit] if from_start else found[-limit:])]


def income(venue: Venue, params: Params) -> list[Json]:
    """Return the changes of the wallet, ascending."""
    symbol, kind = params.text("symbol").upper(), params.text("incomeType").upper()
    limit = params.limit(100, 1000)
    found = [
        i
        for i in venue.books.incomes
        if symbol in ("", i.symbol) and kind in ("", i.kind) and in_window(params, i.wall_ms)
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
            position = venue.books.positions[symbol]
            in_use = position.quantity or any(o.symbol == symbol for o in venue.books.open_orders.values())
            if version == 2 or in_use:
                rows.append(venue.payloads.position_risk(position, version=version))
        return rows

    return handler


def _symbols(venue: Venue, params: Params) -> list[str]:
    if "symbol" in params:
        return [filters.instrument_of(venue.engine, params).symbol]
    return list(venue.instruments)
