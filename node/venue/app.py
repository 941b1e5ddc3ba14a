"""The venue's HTTP and WebSocket front: one aiohttp application on one loopback port."""

import asyncio
import inspect
import socket
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from node.venue import (
    control,
    rest_absent,
    rest_account,
    rest_downloads,
    rest_orders,
    rest_public,
    rest_reference,
    rest_settings,
    rest_statistics,
    security,
    ws_api,
)
from node.venue.config import VenueConfig
from node.venue.endpoints import Endpoint, EndpointTable
from node.venue.errors import NOT_FOUND_BODY, ApiError, error
from node.venue.faults import ResponseFault, reset
from node.venue.hub import Connection
from node.venue.params import Params
from node.venue.user_stream import is_listen_key
from node.venue.venue import Venue
from strategies.errors import VenueError

_MODULES = (
    rest_public,
    rest_orders,
    rest_account,
    rest_settings,
    rest_statistics,
    rest_reference,
    rest_downloads,
    rest_absent,
)
_encode = msgspec.json.encode
_STREAM_PATHS = ("/stream", "/market/stream", "/public/stream", "/private/stream")
_RAW_PATHS = ("/ws", "/market/ws", "/public/ws", "/private/ws")


class VenueApp:
    """Routes requests to the venue."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self._table = EndpointTable()
        for module in _MODULES:
            module.register(self._table)

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(client_max_size=1 << 20)
        control.add_routes(app, self.venue)
        for path in _STREAM_PATHS:
            app.router.add_get(path, self._stream)
        for path in _RAW_PATHS:
            app.router.add_get(path, self._stream)
            app.router.add_get(path + "/{name}", self._stream)
        for path in ws_api.PATHS:
            app.router.add_get(path, self._ws_api)
        app.router.add_route("*", "/{path:.*}", self._rest)
        return app

    # -- REST ----------------------------------------------------------------------------------------------------------

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        venue = self.venue
        await venue.faults.running.wait()
        path, _, query = request.raw_path.partition("?")
        fault = venue.faults.match(request.method, path)
        venue.replay.request_began()
        try:
            if fault is not None:
                await asyncio.sleep(fault.delay_ms / 1000)
                if fault.mode in ("fail", "close"):
                    return self._fail(request, fault)
            body = await request.text() if request.can_read_body else ""
            answer = await self._execute(request, path, Params(query, body))
            if fault is not None:
                if fault.mode == "trickle":
                    return await self._trickle(request, answer, fault)
                await asyncio.sleep(fault.answer_delay_ms / 1000)
                if fault.mode != "delay":
                    return self._fail(request, fault)
            return answer
        finally:
            venue.replay.request_ended()

    async def _execute(self, request: web.Request, path: str, params: Params) -> web.Response:
        venue = self.venue
        endpoint = self._table.by_route.get((request.method, path))
        if endpoint is None:
            known = path in self._table.paths
            return web.Response(status=405 if known else 404, text=NOT_FOUND_BODY, content_type="text/html")
        venue.books.counters[f"{request.method} {path}"] += 1
        try:
            result = await self._call(endpoint, request.method, params, request.headers.get("X-MBX-APIKEY"))
            status, content = 200, result
            extra: dict[str, str] = {}
        except ApiError as e:
            status, content, extra = e.status, {"code": e.code, "msg": e.message}, e.headers
            venue.books.counters["rejects"] += 1
            venue.books.incident(
                "reject",
                endpoint=f"{request.method} {path}",
                code=e.code,
                message=e.message,
                symbol=params.text("symbol"),
                client_id=params.text("newClientOrderId") or params.text("clientAlgoId"),
            )
        if request.method != "GET":
            venue.keep()
        venue.note(
            "request",
            endpoint=f"{request.method} {path}",
            status=status,
            code=content.get("code", 0) if status != 200 else 0,
            client_id=params.text("newClientOrderId") or params.text("clientAlgoId"),
        )
        headers = venue.limits.headers(is_order=endpoint.is_order) | extra
        return web.Response(status=status, body=_encode(content), content_type="application/json", headers=headers)

    async def _call(self, endpoint: Endpoint, method: str, params: Params, key: str | None) -> Any:
        venue = self.venue
        if venue.maintenance:
            raise error(-1016)
        params.check()
        weight = endpoint.weight if isinstance(endpoint.weight, int) else endpoint.weight(params)
        venue.limits.charge(weight, is_order=endpoint.is_order, burst=endpoint.burst)
        security.check(endpoint.security, params, key, venue.keys, venue.clock.wall_ms())
        security.check_rights(endpoint.security, method, venue.permissions)
        result = endpoint.handler(self.venue, params)
        return await result if inspect.isawaitable(result) else result

    async def _trickle(self, request: web.Request, answer: web.Response, fault: ResponseFault) -> web.StreamResponse:
        content = answer.body if isinstance(answer.body, bytes) else b""
        slow = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
        slow.content_length = len(content)
        await slow.prepare(request)
        for at in range(0, len(content), fault.piece):
            await slow.write(content[at : at + fault.piece])
            await asyncio.sleep(fault.answer_delay_ms / 1000)
        await slow.write_eof()
        return slow

    def _fail(self, request: web.Request, fault: ResponseFault) -> web.Response:
        self.venue.books.incident("fault", endpoint=f"{request.method} {request.path}", mode=fault.mode)
        if fault.mode in ("close", "execute_then_close"):
            reset(request)
            return web.Response(status=fault.status)
        if not fault.code:
            return web.Response(
                status=fault.status, text=fault.message, content_type="text/html", headers=fault.headers
            )
        body = _encode({"code": fault.code, "msg": fault.message})
        return web.Response(status=fault.status, body=body, content_type="application/json", headers=fault.headers)

    # -- WebSocket -----------------------------------------------------------------------------------------------------

    async def _ws_api(self, request: web.Request) -> web.StreamResponse:
        await self.venue.faults.running.wait()
        if self.venue.apis.refused or self.venue.maintenance:
            return web.Response(status=503, text="Service Unavailable")
        return await ws_api.Session(self.venue, self._table).serve(request)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        await self.venue.faults.running.wait()
        names = [n for n in request.query.get("streams", "").split("/") if n]
        single = request.match_info.get("name", "")
        if single:
            names.append(single)
        key = request.query.get("listenKey", "")
        key = key or next(filter(is_listen_key, names), "")
        market = [n for n in names if not is_listen_key(n)]
        users, markets = self.venue.users, self.venue.markets
        if (users if key else markets).refused or self.venue.maintenance:
            return web.Response(status=503, text="Service Unavailable")
        ws = web.WebSocketResponse(heartbeat=180.0, max_msg_size=1 << 20)
        await ws.prepare(request)
        connection = Connection(ws, request, wrapped=request.path in _STREAM_PATHS)
        if key:
            users.add(connection, key)
        if market or not key:
            markets.add(connection, market)
        connection.start()
        try:
            async for message in ws:
                if message.type is not WSMsgType.TEXT:
                    continue
                if self.venue.limits.enforce and connection.hurries():
                    await connection.close(WSCloseCode.POLICY_VIOLATION, "Too many requests")
                elif not markets.request(connection, message.data):
                    await connection.close(WSCloseCode.POLICY_VIOLATION, "Invalid request")
        finally:
            users.remove(connection)
            if markets.remove(connection) and not connection.observer:
                self.venue.replay.forget_klines()
            await connection.finish()
        return ws


class Server:
    """
    A running venue.

    Attributes
    ----------
    venue : Venue
        What it serves.
    port : int
        The port it listens on.

    """

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    async def start(self) -> None:
        """
        Listen and begin the replay.

        Raises
        ------
        VenueError
            Fatal: the configured port is taken.

        """
        config: VenueConfig = self.venue.config
        self._runner = web.AppRunner(VenueApp(self.venue).application(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, config.host, config.port)
        try:
            await site.start()
        except OSError as e:
            await self._runner.cleanup()
            raise VenueError(f"cannot listen on {config.host}:{config.port}: {e.strerror or e}") from None
        for sock in _sockets(site):
            self.port = sock.getsockname()[1]
        self.venue.address = self.urls()["http"]
        self._site = site
        self.venue.refuse_connections = self._refuse
        self.venue.start()

    async def _refuse(self, secs: float) -> None:
        """Close the listening socket for a while: new connections are refused, open ones live on."""
        runner, site = self._runner, self._site
        if runner is None or site is None:
            return
        for sock in _sockets(site):
            asyncio.get_running_loop().remove_reader(sock)
        await site.stop()
        await asyncio.sleep(secs)
        again = web.TCPSite(runner, self.venue.config.host, self.port, reuse_address=True)
        await again.start()
        self._site = again

    async def stop(self) -> None:
        """End the replay, close all connections and stop listening."""
        await self.venue.stop()
        if self._runner is not None:
            with suppress(TimeoutError):
                await self._runner.cleanup()

    def urls(self) -> dict[str, str]:
        """Return the content of the ready line."""
        host = self.venue.config.host
        address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        return {
            "event": "ready",
            "http": f"http://{address}",
            "ws": f"ws://{address}",
            "control": f"http://{address}/argonaut",
            "session": self.venue.session,
        }


def _sockets(site: web.TCPSite) -> list[socket.socket]:
    server = site._server  # noqa: SLF001 - aiohttp tells the ephemeral port nowhere else
    return list(getattr(server, "sockets", None) or [])
