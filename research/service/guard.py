"""What stands before every request: rate limit, bearer token, size. Written for ASGI, so nothing runs before it."""

import hashlib
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
type App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 262_144
MIN_TOKEN = 16
_MOST_CLIENTS = 10_000


class Limiter:
    """
    A bucket of tokens per client address, refilled evenly; the oldest of more than 10,000 addresses is forgotten.

    Parameters
    ----------
    per_minute : int
        Requests a minute, and at once.
    clock : Callable
        Seconds, monotonic.

    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = float(per_minute), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        now = self._clock()
        left, then = self._buckets.pop(client, (self._most, now))
        left = min(self._most, left + (now - then) * self._most / 60.0)
        allowed = left >= 1.0
        self._buckets[client] = (left - 1.0 if allowed else left, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) * 60.0 / self._most


class Guard:
    """
    Lets a request through to `app`, or answers 429, 401 or 413 itself.

    Parameters
    ----------
    app : App
        What is guarded.
    token : str
        The only accepted bearer token; compared in constant time, by hash, so that its length does not show either.
    limiter : Limiter
        Counts every request, refused ones included: guessing tokens is limited too.

    """

    def __init__(self, app: App, *, token: str, limiter: Limiter) -> None:
        self._app, self._limiter = app, limiter
        self._token = hashlib.sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        wait = self._limiter.wait((scope.get("client") or ("unknown", 0))[0])
        if wait > 0:
            seconds = str(max(1, math.ceil(wait)))
            await _answer(send, 429, f"too many requests: try again in {seconds} s", [("retry-after", seconds)])
            return
        headers = {k.lower(): v for k, v in scope["headers"]}
        if scope["path"] != "/health" and not self._known(headers.get(b"authorization", b"")):
            await _answer(send, 401, "a bearer token is needed", [("www-authenticate", "Bearer")])
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MAX_BODY:
            await _answer(send, 413, f"the body is larger than {MAX_BODY} bytes", [("connection", "close")])
            return
        await self._app(scope, receive, send)

    def _known(self, header: bytes) -> bool:
        scheme, _, given = header.partition(b" ")
        fits = hmac.compare_digest(hashlib.sha256(given.strip()).digest(), self._token)
        return fits and scheme.lower() == b"bearer"


async def _answer(send: Send, status: int, error: str, headers: list[tuple[str, str]]) -> None:
    body = msgspec.json.encode({"error": error})
    fields = [("content-type", "application/json"), ("content-length", str(len(body))), *headers]
    start = {"type": "http.response.start", "status": status, "headers": [(k.encode(), v.encode()) for k, v in fields]}
    await send(start)
    await send({"type": "http.response.body", "body": body})
