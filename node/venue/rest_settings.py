"""What a client may set: position mode, margin type, leverage, isolated margin, the countdown, and its key's rights."""

import asyncio
from dataclasses import dataclass
from typing import Any

from node.venue import filters
from node.venue.books import HEDGE_SIDES, ZERO, Position, money
from node.venue.config import PermissionConfig
from node.venue.endpoints import EndpointTable, Security
from node.venue.errors import error
from node.venue.events import amount_text
from node.venue.params import Params
from node.venue.rest_orders import window
from node.venue.venue import Venue

type Json = dict[str, Any]

_SIGNED = Security.SIGNED
_MOST_LEVERAGE = 125
_SUCCESS = {"code": 200, "msg": "success"}
_ADD, _REDUCE = 1, 2
_MARGIN_DAYS = 30


@dataclass(frozen=True, slots=True)
class MarginChange:
    """One transfer into (type 1) or out of (type 2) an isolated position; `amount` USDT, `wall_ms` UTC ms."""

    symbol: str
    position_side: str
    amount: str
    kind: int
    wall_ms: int
    delta_type: str


def register(table: EndpointTable) -> None:
    """Add the settings endpoints to `table`."""
    table.add("GET", "/fapi/v1/positionSide/dual", weight=30, security=_SIGNED)(
        lambda venue, _params: {"dualSidePosition": venue.books.hedge},
    )
    table.add("POST", "/fapi/v1/positionSide/dual", security=_SIGNED)(change_position_mode)
    table.add("GET", "/fapi/v1/multiAssetsMargin", weight=30, security=_SIGNED)(
        lambda venue, _params: {"multiAssetsMargin": venue.books.multi_assets},
    )
    table.add("POST", "/fapi/v1/multiAssetsMargin", security=_SIGNED)(change_multi_assets)
    table.add("GET", "/fapi/v1/feeBurn", weight=30, security=_SIGNED)(
        lambda venue, _params: {"feeBurn": venue.books.fee_burn},
    )
    table.add("POST", "/fapi/v1/feeBurn", security=_SIGNED)(change_fee_burn)
    table.add("POST", "/fapi/v1/leverage", security=_SIGNED)(change_leverage)
    table.add("POST", "/fapi/v1/marginType", security=_SIGNED)(change_margin_type)
    table.add("POST", "/fapi/v1/positionMargin", security=_SIGNED)(change_position_margin)
    table.add("GET", "/fapi/v1/positionMargin/history", security=_SIGNED)(position_margin_history)
    table.add("POST", "/fapi/v1/countdownCancelAll", weight=10, security=_SIGNED)(countdown_cancel_all)
    table.add("GET", "/sapi/v1/account/apiRestrictions", security=_SIGNED)(api_restrictions)
    table.add("GET", "/sapi/v1/system/status")(system_status)
    table.add("GET", "/sapi/v1/capital/config/getall", weight=10, security=_SIGNED)(coins)
    table.add("GET", "/sapi/v1/margin/allPairs", security=Security.KEY)(lambda _venue, _params: [])
    table.add("GET", "/sapi/v1/margin/isolated/allPairs", weight=10, security=_SIGNED)(lambda _venue, _params: [])


def system_status(venue: Venue, _params: Params) -> Json:
    """Return whether the exchange is under maintenance."""
    return {"status": 1, "msg": "system_maintenance"} if venue.maintenance else {"status": 0, "msg": "normal"}


def change_position_mode(venue: Venue, params: Params) -> Json:
    """Switch between one-way and hedge mode; only without orders (-4067) and positions (-4068)."""
    params.required("dualSidePosition")
    wanted = params.flag("dualSidePosition")
    books = venue.books
    if wanted == books.hedge:
        raise error(-4059)
    if books.open_orders or books.open_algos:
        raise error(-4067)
    if any(p.quantity for p in books.all_positions()):
        raise error(-4068)
    books.hedge = wanted
    return dict(_SUCCESS)


def change_multi_assets(venue: Venue, params: Params) -> Json:
    """
    Switch between single-asset and multi-assets mode (-4171); not with open orders (-4170) or isolated symbols (-4167).

    The wallet holds USDT only, so the margin arithmetic is the same in both; multi-assets mode has no isolated margin.
    """
    params.required("multiAssetsMargin")
    wanted = params.flag("multiAssetsMargin")
    books = venue.books
    if wanted == books.multi_assets:
        raise error(-4171)
    if any(p.isolated for p in books.all_positions()):
        raise error(-4167)
    if books.open_orders or books.open_algos:
        raise error(-4170)
    books.multi_assets = wanted
    venue.users.emit(venue.engine.events.mode_update())
    return dict(_SUCCESS)


def change_fee_burn(venue: Venue, params: Params) -> Json:
    """Allow or forbid that fees are paid in BNB, of which the wallet holds none."""
    params.required("feeBurn")
    venue.books.fee_burn = params.flag("feeBurn")
    return dict(_SUCCESS)


def change_leverage(venue: Venue, params: Params) -> Json:
    """Set a symbol's leverage."""
    instrument = filters.instrument_of(venue.engine, params)
    params.required("leverage")
    leverage = params.integer("leverage")
    most = max(b.max_leverage for b in instrument.brackets)
    if not 1 <= leverage <= min(most, _MOST_LEVERAGE):
        raise error(-4028, leverage)
    account = venue.engine.account
    present = venue.books.positions[instrument.symbol].leverage
    held = venue.books.of_symbol(instrument.symbol)
    figures = [account.symbol(p.symbol, p.position_side) for p in held]
    if any(abs(m.notional) > instrument.max_notional(leverage) for m in figures):
        raise error(-2027)
    if leverage < present and any(p.isolated and p.quantity for p in held):
        raise error(-4161)
    own = sum((m.position_initial + m.order_initial for m in figures), ZERO)
    if own * present / leverage > own + account.totals().available:
        raise error(-2028)
    for position in venue.books.settings(instrument.symbol):
        position.leverage = leverage
    if present != leverage:
        venue.users.emit(venue.engine.events.leverage_update(venue.books.positions[instrument.symbol]))
    return {
        "symbol": instrument.symbol,
        "leverage": leverage,
        "maxNotionalValue": f"{instrument.max_notional(leverage):f}",
    }


def change_margin_type(venue: Venue, params: Params) -> Json:
    """Switch a symbol between cross and isolated margin; only without orders (-4047) and position (-4048)."""
    symbol = filters.instrument_of(venue.engine, params).symbol
    kind = params.required("marginType").upper()
    if kind not in ("CROSSED", "ISOLATED"):
        raise error(-1130, "marginType")
    if kind == venue.books.positions[symbol].margin_type:
        raise error(-4046)
    if kind == "ISOLATED" and venue.books.multi_assets:
        raise error(-4168)
    if any(p.quantity for p in venue.books.of_symbol(symbol)):
        raise error(-4048)
    waiting = [o.symbol for o in venue.books.open_orders.values()] + [a.symbol for a in venue.books.open_algos.values()]
    if symbol in waiting:
        raise error(-4047)
    set_margin_type(venue, symbol, kind)
    return dict(_SUCCESS)


def set_margin_type(venue: Venue, symbol: str, kind: str) -> None:
    """Set the margin type, whatever is open: a position that becomes isolated takes its initial margin with it."""
    for position in venue.books.settings(symbol):
        position.margin_type = kind
        position.isolated_wallet = ZERO
        if kind == "ISOLATED" and position.quantity:
            margin = venue.engine.account.symbol(symbol, position.position_side)
            position.isolated_wallet = money(margin.position_initial)
    venue.users.emit(venue.engine.events.account_update("MARGIN_TYPE_CHANGE", venue.books.of_symbol(symbol)))


def change_position_margin(venue: Venue, params: Params) -> Json:
    """Move margin into or out of an isolated position."""
    symbol = filters.instrument_of(venue.engine, params).symbol
    amount = params.decimal("amount")
    if amount is None:
        raise error(-1102, "amount")
    if amount <= 0:
        raise error(-4055)
    params.required("type")
    kind = params.integer("type")
    if kind not in (_ADD, _REDUCE):
        raise error(-1130, "type")
    position = _position(venue, params, symbol)
    if not position.isolated:
        raise error(-4049)
    if not position.quantity:
        raise error(-4054)
    account = venue.engine.account
    if kind == _ADD and amount > account.totals().available:
        raise error(-4050)
    if kind == _REDUCE:
        margin = account.symbol(symbol, position.position_side)
        spare = position.isolated_wallet + min(margin.unrealised, ZERO) - margin.position_initial
        if amount > spare:
            raise error(-4051)
    position.isolated_wallet += amount if kind == _ADD else -amount
    venue.users.emit(venue.engine.events.account_update("MARGIN_TRANSFER", [position]))
    venue.margin_changes.append(
        MarginChange(symbol, position.position_side, amount_text(amount), kind, venue.clock.event_ms(), "USER_ADJUST")
    )
    return {"amount": float(amount), "code": 200, "msg": "Successfully modify position margin.", "type": kind}


def position_margin_history(venue: Venue, params: Params) -> list[Json]:
    """Return the transfers into and out of isolated positions of a symbol, ascending."""
    symbol = filters.instrument_of(venue.engine, params).symbol
    kind = params.integer("type")
    start, end = window(params, _MARGIN_DAYS)
    found = [
        m for m in venue.margin_changes if m.symbol == symbol and kind in (0, m.kind) and start <= m.wall_ms <= end
    ]
    return [
        {
            "symbol": m.symbol,
            "type": m.kind,
            "deltaType": m.delta_type,
            "amount": m.amount,
            "asset": "USDT",
            "time": m.wall_ms,
            "positionSide": m.position_side,
        }
        for m in found[-params.limit(500, 500) :]
    ]


def countdown_cancel_all(venue: Venue, params: Params) -> Json:
    """
    Start, restart (a positive time, wall ms) or stop (0) the countdown that cancels all open orders of a symbol.

    Whether conditional orders go too is `execution.countdown_cancels_algos`; the exchange documents only "open orders".
    """
    symbol = filters.instrument_of(venue.engine, params).symbol
    params.required("countdownTime")
    wait_ms = params.integer("countdownTime")
    if wait_ms < 0:
        raise error(-1130, "countdownTime")
    timer = venue.countdowns.pop(symbol, None)
    if timer is not None:
        timer.cancel()
    if wait_ms:
        loop = asyncio.get_running_loop()
        venue.countdowns[symbol] = loop.call_later(wait_ms / 1000, _countdown_over, venue, symbol)
    return {"symbol": symbol, "countdownTime": str(wait_ms)}


def _countdown_over(venue: Venue, symbol: str) -> None:
    venue.countdowns.pop(symbol, None)
    venue.books.incident("countdown", symbol=symbol, algos=venue.config.execution.countdown_cancels_algos)
    for order in [o for o in venue.books.open_orders.values() if o.symbol == symbol]:
        venue.engine.cancel(order)
    if venue.config.execution.countdown_cancels_algos:
        for algo in [a for a in venue.books.open_algos.values() if a.symbol == symbol]:
            venue.engine.cancel_algo(algo)


def api_restrictions(venue: Venue, _params: Params) -> Json:
    """Return the rights of the key that asks."""
    rights: PermissionConfig = venue.permissions
    return {
        "ipRestrict": rights.ip_restrict,
        "createTime": venue.feed.start_ms,
        "enableReading": rights.reading,
        "enableWithdrawals": rights.withdrawals,
        "enableInternalTransfer": rights.internal_transfer,
        "enableMargin": False,
        "enableFutures": rights.futures,
        "permitsUniversalTransfer": rights.universal_transfer,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
        "enableSpotAndMarginTrading": rights.spot,
        "enablePortfolioMarginTrading": False,
    }


def coins(_venue: Venue, _params: Params) -> list[Json]:
    """Return the coins of the wallet that clients ask about before they trade: USDT, without networks."""
    return [
        {
            "coin": "USDT",
            "depositAllEnable": False,
            "withdrawAllEnable": False,
            "name": "TetherUS",
            "free": "0",
            "locked": "0",
            "freeze": "0",
            "withdrawing": "0",
            "ipoing": "0",
            "ipoable": "0",
            "storage": "0",
            "isLegalMoney": False,
            "trading": True,
            "networkList": [],
        }
    ]


def _position(venue: Venue, params: Params, symbol: str) -> Position:
    side = params.text("positionSide", "BOTH").upper()
    if side not in ("BOTH", *HEDGE_SIDES):
        raise error(-4060)
    if (side in HEDGE_SIDES) != venue.books.hedge:
        raise error(-4061)
    return venue.books.position(symbol, side)
