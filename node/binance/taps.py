"""Seams through which requests and user events of the execution client can be watched (``node.kill_points``)."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from nautilus_trader.adapters.binance.futures.enums import BinanceFuturesEventType

type Send = Callable[[], Awaitable[Any]]
type Around = Callable[[str, str, dict[str, str], Send], Awaitable[Any]]
"""Receives method, path, parameters and what sends the request; returns the answer."""


class _TappedTransport:
    """What the HTTP client sends with, behind one function."""

    def __init__(self, transport: Any, around: Around) -> None:
        self._transport = transport
        self._around = around

    async def request(self, method: Any, *, url: str, **options: Any) -> Any:
        """Send one request through the function."""
        parts = urlsplit(url)
        name = str(method).rpartition(".")[2].upper()

        async def send() -> Any:
            return await self._transport.request(method, url=url, **options)

        return await self._around(name, parts.path, dict(parse_qsl(parts.query)), send)


def tap_requests(client: Any, around: Around) -> None:
    """Let every REST request of `client` pass through `around`, which must await its last argument once."""
    http = client._http_client  # noqa: SLF001 - upstream offers no accessor
    http._client = _TappedTransport(http._client, around)  # noqa: SLF001 - as above


def tap_order_events(client: Any, watch: Callable[[dict[str, Any]], None]) -> None:
    """Show `watch` the order of every ORDER_TRADE_UPDATE, as the venue sent it, before `client` reads it."""
    handlers = client._futures_user_ws_handlers  # noqa: SLF001 - upstream offers no accessor
    handle = handlers[BinanceFuturesEventType.ORDER_TRADE_UPDATE]

    def watched(raw: bytes) -> None:
        watch(msgspec.json.decode(raw)["o"])
        handle(raw)

    handlers[BinanceFuturesEventType.ORDER_TRADE_UPDATE] = watched
