"""WebSocket connections: one ordered outbox each, so that what is sent first arrives first."""

import asyncio
import contextlib

from aiohttp import WSCloseCode, web

_NORMAL = WSCloseCode.OK


class Connection:
    """
    One WebSocket with an outbox drained by its own task.

    Attributes
    ----------
    observer : bool
        Opened with ``?observer=true``: gets everything, counts for nothing in the replay's bookkeeping.
    wrapped : bool
        Messages are sent as ``{"stream": ..., "data": ...}`` (combined stream) instead of bare.
    muted : bool
        While set, messages are dropped instead of sent: the socket stays up, as in a half-dead connection.

    """

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, *, wrapped: bool = False) -> None:
        self.socket = socket
        self.request = request
        self.observer = request.query.get("observer", "").lower() == "true"
        self.wrapped = wrapped
        self.muted = False
        self.frozen = asyncio.Event()
        self.frozen.set()
        self._outbox: asyncio.Queue[str | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to drain the outbox."""
        self._task = asyncio.create_task(self._drain())

    def send(self, text: str) -> None:
        """Queue a message."""
        if not self.muted:
            self._outbox.put_nowait(text)

    async def close(self, code: int = _NORMAL, reason: str = "") -> None:
        """Send what is queued, then close the WebSocket in good order."""
        self._outbox.put_nowait(None)
        if self._task is not None:
            await asyncio.wait([self._task], timeout=2.0)
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self.socket.close(code=code, message=reason.encode())

    def abort(self) -> None:
        """Reset the TCP connection: queued messages and the closing handshake are lost."""
        if self._task is not None:
            self._task.cancel()
        transport = self.request.transport
        if transport is not None:
            transport.abort()

    async def finish(self) -> None:
        """Stop the outbox task after the peer has gone."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _drain(self) -> None:
        while True:
            text = await self._outbox.get()
            if text is None:
                return
            await self.frozen.wait()
            try:
                await self.socket.send_str(text)
            except ConnectionError:
                return
