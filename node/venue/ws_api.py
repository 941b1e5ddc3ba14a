"""
The WebSocket API (``/ws-fapi/v1``): requests with an id over one socket, answered by the REST handlers.

A request is signed by itself (``apiKey``, ``timestamp``, ``signature`` over the parameters sorted by name), or the
session is: ``session.logon``, for which the exchange demands an Ed25519 key (-4056 for HMAC).
"""

import asyncio
import inspect
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from node.venue import security
from node.venue.endpoints import Endpoint, EndpointTable, Security
from node.venue.errors import ApiError, error
from node.venue.hub import Connection
from node.venue.params import Params
from node.venue.signatures import ApiKey
from node.venue.venue import Venue

type Json = dict[str, Any]

PATHS = ("/ws-fapi/v1", "/ws-fapi/v1/")

_HANDSHAKE_WEIGHT = 5
_encode = msgspec.json.encode
_ROUTES = {
    "ping": ("GET", "/fapi/v1/ping"),
    "time": ("GET", "/fapi/v1/time"),
    "exchangeInfo": ("GET", "/fapi/v1/exchangeInfo"),
    "depth": ("GET", "/fapi/v1/depth"),
    "klines": ("GET", "/fapi/v1/klines"),
    "ticker.price": ("GET", "/fapi/v2/ticker/price"),
    "ticker.book": ("GET", "/fapi/v1/ticker/bookTicker"),
    "order.place": ("POST", "/fapi/v1/order"),
    "order.modify": ("PUT", "/fapi/v1/order"),
    "order.cancel": ("DELETE", "/fapi/v1/order"),
    "order.status": ("GET", "/fapi/v1/order"),
    "openOrders.status": ("GET", "/fapi/v1/openOrders"),
    "algoOrder.place": ("POST", "/fapi/v1/algoOrder"),
    "algoOrder.cancel": ("DELETE", "/fapi/v1/algoOrder"),
    "account.status": ("GET", "/fapi/v2/account"),
    "account.balance": ("GET", "/fapi/v2/balance"),
    "account.position": ("GET", "/fapi/v2/positionRisk"),
    "v2/account.status": ("GET", "/fapi/v3/account"),
    "v2/account.balance": ("GET", "/fapi/v3/balance"),
    "v2/account.position": ("GET", "/fapi/v3/positionRisk"),
    "userDataStream.start": ("POST", "/fapi/v1/listenKey"),
    "userDataStream.ping": ("PUT", "/fapi/v1/listenKey"),
    "userDataStream.stop": ("DELETE", "/fapi/v1/listenKey"),
}


class Session:
    """One connection of the WebSocket API."""

    def __init__(self, venue: Venue, table: EndpointTable) -> None:
        self._venue = venue
        self._table = table
        self._key: ApiKey | None = None
        self._since_ms = 0
        self._connected_ms = venue.clock.wall_ms()
        self._tells_limits = True

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve the connection until it closes; the handshake counts as a request too."""
        try:
            self._venue.limits.charge(_HANDSHAKE_WEIGHT, is_order=False)
        except ApiError as e:
            body = {"code": e.code, "msg": e.message}
            return web.Response(status=e.status, body=_encode(body), content_type="application/json", headers=e.headers)
        self._tells_limits = request.query.get("returnRateLimits", "true").lower() != "false"
        ws = web.WebSocketResponse(heartbeat=180.0, max_msg_size=1 << 20)
        await ws.prepare(request)
        connection = Connection(ws, request)
        apis = self._venue.apis
        apis.connections.append(connection)
        connection.start()
        try:
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    await self._venue.faults.running.wait()
                    await self._answer(connection, message.data)
        finally:
            apis.connections.remove(connection)
            await connection.finish()
        return ws

    async def _answer(self, connection: Connection, text: str) -> None:
        venue = self._venue
        number: Any = None
        is_order = False
        venue.replay.request_began()
        method, params = "", Params.of({})
        try:
            body = _decode(text)
            number, method = body.get("id"), str(body.get("method", ""))
            params = _params(body)
            is_order = method in ("order.place", "order.modify", "algoOrder.place")
            answer: Json = {"id": number, "status": 200, "result": await self._faulty(method, params)}
        except ApiError as e:
            answer = {"id": number, "status": e.status, "error": {"code": e.code, "msg": e.message}}
            venue.books.counters["rejects"] += 1
            venue.books.incident("reject", endpoint=f"WS {method}", code=e.code, message=e.message)
        finally:
            venue.replay.request_ended()
        if params.text("returnRateLimits", str(self._tells_limits)).lower() == "true":
            answer["rateLimits"] = venue.limits.rows(is_order=is_order)
        venue.keep()
        venue.note(
            "request",
            endpoint=f"WS {method}",
            status=answer["status"],
            code=answer.get("error", {}).get("code", 0),
            client_id=params.text("newClientOrderId") or params.text("clientAlgoId"),
        )
        connection.send(_encode(answer).decode())

    async def _faulty(self, method: str, params: Params) -> Any:
        fault = self._venue.faults.match("WS", f"/ws-fapi/v1/{method}")
        if fault is None:
            return await self._call(method, params)
        await asyncio.sleep(fault.delay_ms / 1000)
        refusal = ApiError(fault.code, fault.message, fault.status)
        if fault.mode in ("fail", "close"):
            raise refusal
        result = await self._call(method, params)
        await asyncio.sleep(fault.answer_delay_ms / 1000)
        if fault.mode != "delay":
            raise refusal
        return result

    async def _call(self, method: str, params: Params) -> Any:
        venue = self._venue
        if venue.maintenance:
            raise error(-1016)
        if method.startswith("session."):
            return self._session(method, params)
        endpoint = self._table.by_route.get(_ROUTES.get(method, ("", "")))
        if endpoint is None:
            raise ApiError(-1000, f"Unknown method `{method}`.")
        venue.books.counters[f"WS {method}"] += 1
        weight = endpoint.weight if isinstance(endpoint.weight, int) else endpoint.weight(params)
        venue.limits.charge(weight, is_order=endpoint.is_order)
        self._check(endpoint, params)
        security.check_rights(endpoint.security, _ROUTES[method][0], venue.permissions)
        result = endpoint.handler(venue, params)
        return await result if inspect.isawaitable(result) else result

    def _session(self, method: str, params: Params) -> Json:
        self._venue.limits.charge(2, is_order=False)
        if method == "session.logon":
            key = self._named(params)
            if not key.may_log_on:
                raise error(-4056, "HMAC_SHA256" if key.public is None else "RSA")
            if not key.verifies_public(_text(params), params.required("signature")):
                raise error(-1022)
            self._check_time(params)
            self._key, self._since_ms = key, self._venue.clock.wall_ms()
        elif method == "session.logout":
            self._key, self._since_ms = None, 0
        elif method != "session.status":
            raise ApiError(-1000, f"Unknown method `{method}`.")
        return {
            "apiKey": self._key.name if self._key is not None else None,
            "authorizedSince": self._since_ms or None,
            "connectedSince": self._connected_ms,
            "returnRateLimits": self._tells_limits,
            "serverTime": self._venue.clock.wall_ms(),
        }

    def _check(self, endpoint: Endpoint, params: Params) -> None:
        """Demand what the endpoint demands; a session that is logged on needs neither key nor signature."""
        if endpoint.security is Security.NONE:
            return
        if self._key is None or "signature" in params:
            key = self._named(params)
            if endpoint.security is Security.SIGNED and not key.verifies(_text(params), params.required("signature")):
                raise error(-1022)
        if endpoint.security is Security.SIGNED:
            self._check_time(params)

    def _check_time(self, params: Params) -> None:
        params.required("timestamp")
        security.check_time(params, params.integer("timestamp"), self._venue.clock.wall_ms())

    def _named(self, params: Params) -> ApiKey:
        name = params.text("apiKey")
        if not name:
            raise error(-2014)
        key = self._venue.keys.get(name)
        if key is None:
            raise error(-2015)
        return key


def _decode(text: str) -> Json:
    try:
        body = msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise ApiError(-1000, "Malformed request: not JSON.") from None
    if not isinstance(body, dict):
        raise ApiError(-1000, "Malformed request: not an object.")
    return body


def _params(body: Json) -> Params:
    values = body.get("params") or {}
    if not isinstance(values, dict):
        raise ApiError(-1000, "Malformed request: params is not an object.")
    return Params.of({str(k): str(v).lower() if isinstance(v, bool) else str(v) for k, v in values.items()})


def _text(params: Params) -> str:
    """Return the text a request signs: its parameters sorted by name, without the signature."""
    return "&".join(f"{n}={params.text(n)}" for n in sorted(params.names) if n != "signature")
