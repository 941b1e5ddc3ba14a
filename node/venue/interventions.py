"""What happens to an account or the exchange itself: actions of the control door beyond orders and streams."""

import asyncio
from collections.abc import Callable
from typing import Any

from node.venue import rest_settings
from node.venue.bodies import Body, number, whole
from node.venue.books import money
from node.venue.faults import KlineFault
from node.venue.hub import Connection
from node.venue.params import Params
from node.venue.venue import Venue
from strategies.errors import ConfigError
from strategies.yaml_config import convert

STATUSES = ("TRADING", "SETTLING", "BREAK", "PENDING_TRADING", "PRE_DELIVERING", "CLOSE")
_tasks: set[asyncio.Task[None]] = set()


def _symbol(venue: Venue, body: Body) -> str:
    symbol = str(body["symbol"])
    if symbol not in venue.instruments:
        raise ConfigError(f"unknown symbol {symbol!r}; known: {', '.join(venue.instruments)}")
    return symbol


def _connections(venue: Venue, body: Body) -> list[Connection]:
    groups = {"user": venue.users.connections, "market": venue.markets.connections, "api": venue.apis.connections}
    wanted = str(body.get("streams", "all"))
    if wanted == "all":
        return [c for group in groups.values() for c in group]
    if wanted not in groups:
        raise ConfigError(f"streams: {wanted!r} is none of user, market, api, all")
    return list(groups[wanted])


def half_open(venue: Venue, body: Body) -> None:
    """Leave sockets up but silent, pings unanswered. ``streams``: user, market, api or all; ``secs`` ends it."""
    chosen = _connections(venue, body)
    secs = float(number(body, "secs", least=0)) if "secs" in body else None
    for connection in chosen:
        connection.go_dark()
    if secs is not None:
        asyncio.get_running_loop().call_later(secs, _wake, chosen)


def _wake(connections: list[Connection]) -> None:
    for connection in connections:
        connection.wake()


def trickle(venue: Venue, body: Body) -> None:
    """Send every message of the chosen ``streams`` ``delay_ms`` after the one before; 0 ends it."""
    secs = float(number(body, "delay_ms", 100, least=0)) / 1000
    for connection in _connections(venue, body):
        connection.delay_secs = secs


def kline_fault(venue: Venue, body: Body) -> None:
    """Arm a :class:`node.venue.faults.KlineFault`."""
    venue.faults.add_kline(convert({k: v for k, v in body.items() if k != "action"}, KlineFault, "kline_fault"))


def refuse_connections(venue: Venue, body: Body) -> None:
    """Refuse new TCP connections for ``secs``."""
    if venue.refuse_connections is None:
        raise ConfigError("refuse_connections: the venue does not listen")
    task = asyncio.get_running_loop().create_task(_refuse(venue, float(number(body, "secs", least=0))))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _refuse(venue: Venue, secs: float) -> None:
    if venue.refuse_connections is not None:
        await venue.refuse_connections(secs)


def maintenance(venue: Venue, body: Body) -> None:
    """Answer everything 503 (-1016) and turn streams away while ``on``."""
    venue.maintenance = bool(body.get("on", True))


def symbol_status(venue: Venue, body: Body) -> None:
    """Set a ``symbol``'s trading ``status``; anything but TRADING refuses new orders (-4108)."""
    status = str(body["status"])
    if status not in STATUSES:
        raise ConfigError(f"status: {status!r} is none of {', '.join(STATUSES)}")
    venue.engine.set_status(_symbol(venue, body), status)


def settle(venue: Venue, body: Body) -> None:
    """Delist ``symbol``: cancel its orders, close its positions at the mark, trade it no more."""
    venue.engine.settlement.settle(_symbol(venue, body))


def liquidate(venue: Venue, body: Body) -> None:
    """Liquidate now, whatever the margin: the isolated positions of ``symbol``, or the whole cross account."""
    symbol = _symbol(venue, body)
    held = [p for p in venue.books.of_symbol(symbol) if p.quantity]
    if not held:
        raise ConfigError(f"liquidate: no position in {symbol}")
    for position in (p for p in held if p.isolated):
        venue.engine.settlement.liquidate(symbol, [position])
    if any(not p.isolated for p in held):
        venue.engine.settlement.liquidate(symbol)


def deleverage(venue: Venue, body: Body) -> None:
    """Close ``quantity`` (default: half) of the position in ``symbol`` by ADL."""
    symbol = _symbol(venue, body)
    position = venue.books.position(symbol, str(body.get("position_side", "BOTH")))
    step = venue.instruments[symbol].step
    size = number(body, "quantity", least=step) if "quantity" in body else abs(position.quantity) / 2 // step * step
    if not position.quantity or size <= 0:
        raise ConfigError(f"adl: no position in {symbol}")
    venue.engine.settlement.deleverage(position, size)


def funding(venue: Venue, body: Body) -> None:
    """Settle funding in ``symbol`` now at ``rate`` (a fraction)."""
    symbol = _symbol(venue, body)
    venue.engine.settlement.fund(symbol, number(body, "rate", least=-1), venue.engine.prices[symbol])


def margin_type(venue: Venue, body: Body) -> None:
    """Let a human change ``symbol`` to ``margin_type`` CROSSED or ISOLATED, whatever is open."""
    kind = str(body["margin_type"]).upper()
    if kind not in ("CROSSED", "ISOLATED"):
        raise ConfigError(f"margin_type: {kind!r} is neither CROSSED nor ISOLATED")
    rest_settings.set_margin_type(venue, _symbol(venue, body), kind)


def position_mode(venue: Venue, body: Body) -> None:
    """Let a human switch to ``hedge`` mode or back; only without orders and positions, as at the exchange."""
    wanted = bool(body["hedge"])
    if wanted != venue.books.hedge:
        rest_settings.change_position_mode(venue, Params.of({"dualSidePosition": str(wanted).lower()}))


def transfer(venue: Venue, body: Body) -> None:
    """Move ``amount`` USDT into (positive) or out of the futures wallet by a human's hand."""
    amount = money(number(body, "amount"))
    venue.books.pay("TRANSFER", amount, "")
    venue.users.emit(venue.engine.events.account_update("DEPOSIT" if amount > 0 else "WITHDRAW", [], amount))


def permissions(venue: Venue, body: Body) -> None:
    """Change rights of the keys: any of the names in `permissions` of the configuration."""
    present = {n: getattr(venue.permissions, n) for n in venue.permissions.__struct_fields__}
    changed = {k: v for k, v in body.items() if k != "action"}
    venue.permissions = convert({**present, **changed}, type(venue.permissions), "permissions")


def limits(venue: Venue, body: Body) -> None:
    """Turn the ``enforce`` of limits on or off, or ban for ``ban_secs`` (0 lifts a ban)."""
    if "enforce" in body:
        venue.limits.enforce = bool(body["enforce"])
    if "ban_secs" in body:
        venue.limits.ban(float(number(body, "ban_secs", least=0)))


def refuse_triggers(venue: Venue, body: Body) -> None:
    """Refuse the next ``times`` algo orders when they trigger (CONDITIONAL_ORDER_TRIGGER_REJECT)."""
    venue.engine.refuse_triggers = whole(body, "times", 1)


def margin_call(venue: Venue, _body: Body) -> None:
    """Send MARGIN_CALL for all open positions."""
    held = [p for p in venue.books.all_positions() if p.quantity]
    venue.users.emit(venue.engine.events.margin_call(held, venue.engine.prices))


async def drop_api(venue: Venue, body: Body) -> None:
    """Close WebSocket API connections; ``refuse``: turn new ones away until ``accept``."""
    venue.apis.refused = bool(body.get("refuse", False))
    for connection in list(venue.apis.connections):
        await connection.close(reason="dropped")


ACTIONS: dict[str, Callable[[Venue, Body], Any]] = {
    "half_open": half_open,
    "trickle": trickle,
    "kline_fault": kline_fault,
    "refuse_connections": refuse_connections,
    "maintenance": maintenance,
    "symbol_status": symbol_status,
    "settle": settle,
    "liquidate": liquidate,
    "adl": deleverage,
    "funding": funding,
    "margin_type": margin_type,
    "position_mode": position_mode,
    "transfer": transfer,
    "permissions": permissions,
    "limits": limits,
    "refuse_triggers": refuse_triggers,
    "margin_call": margin_call,
    "drop_api": drop_api,
}
