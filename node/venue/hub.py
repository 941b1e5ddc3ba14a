"""WebSocket connections: one ordered outbox each, so that what is sent first arrives first."""

import asyncio
import contextlib
import time
from collections import deque

from aiohttp import WSCloseCode, web

_NORMAL = WSCloseCode.OK
MESSAGES_PER_SECOND = 10
"""Messages the exchange takes from one stream connection in a second."""


class Connection:
    """
    One WebSocket with an outbox drained by its own task.

    Attributes
    ----------
    observer : bool
        Opened with ``?observer=true``: gets everything, counts for nothing in the replay's bookkeeping.
    events : frozenset[str]
        User events this connection asked for (``events=ORDER_TRADE_UPDATE/ACCOUNT_UPDATE``); empty: all.
    wrapped : bool
        Messages are sent as ``{"stream": ..., "data": ...}`` (combined stream) instead of bare.
    delay_secs : float
        Wait before each message: a trickling connection.
    muted : bool
        While set, messages are dropped instead of sent: the socket stays up, as in a half-dead connection.

    """

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, *, wrapped: bool = False) -> None:
        self.socket = socket
        self.request = request
        self.observer = request.query.get("observer", "").lower() == "true"
        self.events = frozenset(filter(None, request.query.get("events", "").split("/")))
        self.wrapped = wrapped
        self.muted = False
        self.delay_secs = 0.0
        self._received: deque[float] = deque(maxlen=MESSAGES_PER_SECOND + 1)
        self.frozen = asyncio.Event()
        self.frozen.set()
        self._outbox: asyncio.Queue[str | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def hurries(self) -> bool:
        """Count one message received; return whether there were more within a second than the exchange takes."""
        now = time.monotonic()
        self._received.append(now)
        return len(self._received) > MESSAGES_PER_SECOND and now - self._received[0] < 1.0

    def start(self) -> None:
        """Begin to drain the outbox."""
        self._task = asyncio.create_task(self._drain())

    def send(self, text: str) -> None:
        """Queue a message."""
        if not self.muted:
            self._outbox.put_nowait(text)

    def go_dark(self) -> None:
        """Leave the socket up but read and write nothing more, pings unanswered: a peer behind a dead router."""
        self.muted = True
        self.frozen.clear()
        transport = self.request.transport
        if isinstance(transport, asyncio.Transport):
            transport.pause_reading()

    def wake(self) -> None:
        """Undo :meth:`go_dark`; what was not queued meanwhile is lost."""
        self.muted = False
        self.frozen.set()
        transport = self.request.transport
        if isinstance(transport, asyncio.Transport) and not transport.is_closing():
            transport.resume_reading()

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
            if self.delay_secs:
                await asyncio.sleep(self.delay_secs)
            try:
                await self.socket.send_str(text)
            except ConnectionError:
                return


class ApiConnections:
    """
    Open connections of the WebSocket API.

    Attributes
    ----------
    connections : list[Connection]
        Those that are open now.
    refused : bool
        While set, new connections are turned away.

    """

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.refused = False
