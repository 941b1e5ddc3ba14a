"""
The control door under ``/argonaut``: books for assertions, replay control, faults. No signature; loopback only.

``GET books`` (everything), ``GET open`` (what is open now) and ``GET session`` report;
``GET log?after=N`` returns the requests and user events after number N;
``/replay`` is the node's WebSocket. A stream opened with ``&observer=true`` sees everything and holds no barrier up.

Actions of ``POST /argonaut/control`` (JSON ``{"action": ..., ...}``; the answer is the session, or 400 with a reason):

=====================  =================================================================================================
``pause``/``resume``   hold before the next bar, go on
``step``               ``count`` time steps, then pause
``speed``              ``speed`` bars per second and symbol, 0 is unpaced
``stop``               end the replay; the books stay readable
``shutdown``           end the process
``fault``              arm a :class:`node.venue.faults.ResponseFault`
``event_fault``        arm an :class:`node.venue.faults.EventFault`
``clear_faults``       disarm everything, accept connections, correct the clock
``drop_user_stream``   close user WebSockets; ``hard``: by reset; ``refuse``: turn new ones away until ``accept``
``drop_market_stream`` the same for market WebSockets
``accept``             accept WebSockets again
``freeze``/``thaw``    nothing is answered and nothing sent, sockets stay up; ``freeze`` with ``secs`` thaws by itself
``skew``               ``ms`` added to the venue's wall clock
``expire_listen_key``  listenKeyExpired now; ``close`` ends the sockets too
``price``              move a ``symbol`` to ``price`` (``gap``: without trading in between)
``order``              an order by a human's hand: the parameters of POST order under ``params``
``algo_order``         the same for a conditional order
``cancel``             a human cancels ``order_id`` or ``algo_id``
``leverage``           a human changes ``symbol`` to ``leverage``
``scenario``           arm the ``steps`` of a scenario (:mod:`node.venue.scenario`)
others                 see :mod:`node.venue.interventions`: half_open, trickle, kline_fault, maintenance, adl and more
=====================  =================================================================================================
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from node.venue import rest_orders, rest_settings
from node.venue.audit import books_report, open_report, session_report
from node.venue.bodies import Body, number, whole
from node.venue.errors import ApiError
from node.venue.faults import EventFault, ResponseFault, drop
from node.venue.interventions import ACTIONS as INTERVENTIONS
from node.venue.params import Params
from node.venue.rest_downloads import is_expired
from node.venue.scenario import Scenario, parse_scenario
from node.venue.venue import Venue
from strategies.errors import ConfigError
from strategies.yaml_config import convert

type Action = Callable[[Venue, Body], Awaitable[None] | None]

_encode = msgspec.json.encode
_MOST_SKEW_MS = 10**12
_LOOPBACK = ("127.0.0.1", "::1")


class ControlError(Exception):
    """The action is unknown or its parameters make no sense."""


def add_routes(app: web.Application, venue: Venue) -> None:
    """Add the control routes to the application."""

    async def books(request: web.Request) -> web.Response:
        _check_loopback(request)
        return _json(books_report(venue))

    async def opened(request: web.Request) -> web.Response:
        _check_loopback(request)
        return _json(open_report(venue))

    async def session(request: web.Request) -> web.Response:
        _check_loopback(request)
        return _json(session_report(venue))

    async def log(request: web.Request) -> web.Response:
        _check_loopback(request)
        after = request.query.get("after", "0")
        if not after.isdecimal():
            return _json({"error": f"after: {after!r} is not a number"}, 400)
        return _json([entry for entry in venue.log if entry["number"] > int(after)])

    async def control(request: web.Request) -> web.Response:
        _check_loopback(request)
        try:
            body = msgspec.json.decode(await request.read(), type=dict[str, Any])
            await run_action(venue, body)
            venue.keep()
        except KeyError as e:
            return _json({"error": f"{e.args[0]} is missing"}, 400)
        except (ControlError, ConfigError, ApiError, msgspec.DecodeError, ValueError) as e:
            return _json({"error": str(e)}, 400)
        return _json(session_report(venue))

    async def download(request: web.Request) -> web.Response:
        _check_loopback(request)
        found = venue.downloads.get(request.match_info["number"])
        if found is None or is_expired(venue, found):
            return _json({"error": "no such file"}, 404)
        return web.Response(body=found.content, content_type="application/zip")

    app.router.add_get("/argonaut/books", books)
    app.router.add_get("/argonaut/download/{number}.zip", download)
    app.router.add_get("/argonaut/open", opened)
    app.router.add_get("/argonaut/session", session)
    app.router.add_get("/argonaut/log", log)
    app.router.add_post("/argonaut/control", control)
    app.router.add_get("/argonaut/replay", venue.replay.serve)


async def run_action(venue: Venue, body: Body) -> None:
    """
    Execute one action of the control door.

    Raises
    ------
    ControlError, ConfigError, ApiError, ValueError, KeyError
        Propagate: unknown action or parameters that make no sense.

    """
    name = str(body.get("action", ""))
    action = _ACTIONS.get(name)
    if action is None:
        raise ControlError(f"unknown action {name!r}; known: {', '.join(sorted(_ACTIONS))}")
    result = action(venue, body)
    if result is not None:
        await result


def _speed(venue: Venue, body: Body) -> None:
    venue.replay.set_speed(float(number(body, "speed", least=0)))


def _fault(venue: Venue, body: Body) -> None:
    venue.faults.add_response(convert(_rest(body), ResponseFault, "fault"))


def _event_fault(venue: Venue, body: Body) -> None:
    venue.faults.add_event(convert(_rest(body), EventFault, "event_fault"))


def _clear(venue: Venue, _body: Body) -> None:
    venue.clock.skew_ms = 0
    _accept(venue, _body)
    _thaw(venue, _body)
    venue.maintenance = False
    venue.engine.refuse_triggers = 0
    venue.limits.ban(0)
    venue.faults.clear()


async def _drop_users(venue: Venue, body: Body) -> None:
    venue.users.refused = bool(body.get("refuse", False))
    await drop(venue.users.connections, hard=bool(body.get("hard", False)))


async def _drop_markets(venue: Venue, body: Body) -> None:
    venue.markets.refused = bool(body.get("refuse", False))
    await drop(venue.markets.connections, hard=bool(body.get("hard", False)))


def _accept(venue: Venue, _body: Body) -> None:
    venue.users.refused = venue.markets.refused = venue.apis.refused = False


def _freeze(venue: Venue, body: Body) -> None:
    secs = float(number(body, "secs", least=0)) if "secs" in body else None
    venue.faults.running.clear()
    for connection in (*venue.users.connections, *venue.markets.connections, *venue.apis.connections):
        connection.frozen.clear()
    if secs is not None:
        asyncio.get_running_loop().call_later(secs, _thaw, venue, body)


def _thaw(venue: Venue, _body: Body) -> None:
    for connection in (*venue.users.connections, *venue.markets.connections, *venue.apis.connections):
        connection.wake()
        connection.delay_secs = 0.0
    venue.faults.running.set()


def _skew(venue: Venue, body: Body) -> None:
    venue.clock.skew_ms = whole(body, "ms", least=-_MOST_SKEW_MS)


def _price(venue: Venue, body: Body) -> None:
    symbol = str(body["symbol"])
    if symbol not in venue.instruments:
        raise ControlError(f"unknown symbol {symbol!r}")
    price = number(body, "price", least=venue.instruments[symbol].tick)
    move = venue.engine.gap_price if body.get("gap") else venue.engine.set_price
    move(symbol, price)
    venue.replay.publisher.path(symbol)


def _order(venue: Venue, body: Body) -> None:
    rest_orders.place(venue, _params(body))


def _algo_order(venue: Venue, body: Body) -> None:
    rest_orders.place_algo(venue, _params(body))


def _cancel(venue: Venue, body: Body) -> None:
    name = "order_id" if "order_id" in body else "algo_id"
    wanted = whole(body, name)
    if name == "order_id" and wanted in venue.books.open_orders:
        venue.engine.cancel(venue.books.open_orders[wanted])
    elif name == "algo_id" and wanted in venue.books.open_algos:
        venue.engine.cancel_algo(venue.books.open_algos[wanted])
    else:
        raise ControlError(f"{name}: {wanted} is not open")


def _leverage(venue: Venue, body: Body) -> None:
    rest_settings.change_leverage(venue, Params.of({"symbol": str(body["symbol"]), "leverage": str(body["leverage"])}))


def begin_scenario(venue: Venue, tree: Any, place: str) -> None:
    """Arm the steps of a scenario; it replaces none that runs already (:mod:`node.venue.scenario`)."""
    steps = parse_scenario(tree, place, set(_ACTIONS))
    scenario = Scenario(venue, steps, run_action)
    venue.scenarios.append(scenario)
    scenario.start()


def _scenario(venue: Venue, body: Body) -> None:
    begin_scenario(venue, body["steps"], "scenario")


_ACTIONS: dict[str, Action] = {
    "pause": lambda venue, _body: venue.replay.pause(),
    "resume": lambda venue, _body: venue.replay.resume(),
    "step": lambda venue, body: venue.replay.step(whole(body, "count", 1, least=1)),
    "speed": _speed,
    "stop": lambda venue, _body: venue.replay.stop(),
    "shutdown": lambda venue, _body: venue.stopping.set(),
    "fault": _fault,
    "event_fault": _event_fault,
    "clear_faults": _clear,
    "drop_user_stream": _drop_users,
    "drop_market_stream": _drop_markets,
    "accept": _accept,
    "freeze": _freeze,
    "thaw": _thaw,
    "skew": _skew,
    "expire_listen_key": lambda venue, body: venue.users.expire(close=bool(body.get("close", False))),
    "price": _price,
    "order": _order,
    "algo_order": _algo_order,
    "cancel": _cancel,
    "leverage": _leverage,
    "scenario": _scenario,
    **INTERVENTIONS,
}


def _rest(body: Body) -> Body:
    return {k: v for k, v in body.items() if k != "action"}


def _params(body: Body) -> Params:
    values = body["params"]
    if not isinstance(values, dict):
        raise ControlError("params must be an object")
    return Params.of({str(k): str(v) for k, v in values.items()})


def _check_loopback(request: web.Request) -> None:
    if request.remote not in _LOOPBACK:
        raise web.HTTPForbidden(text="loopback only")


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=_encode(content), content_type="application/json")
