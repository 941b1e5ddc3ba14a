"""
A small signed REST client, independent of Nautilus and of the node's own HTTP client.

Side data, preflight, audits and the watchdog use it: a question about the account must not share a queue, a rate
limiter or a fault with the client whose work it checks.
"""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

from node.binance.credentials import ed25519_seed
from strategies.errors import ConfigError, VenueError
from strategies.request_budget import Purpose, RequestBudget, purpose_of, weight_of

type Parameters = Mapping[str, str | int | bool | Decimal]

_FIRST_RETRY_SECS = 0.25
NO_ANSWER = 0
_TIMESTAMP_OUT_OF_WINDOW = -1021
_TOO_MANY = -1003
_UNKNOWN_CODES = frozenset({-1000, -1001, -1006, -1007})


class VenueRequestError(VenueError):
    """
    A request that failed.

    Attributes
    ----------
    status : int
        HTTP status; 0 when there was no answer.
    code : int or None
        The venue's own error code.
    reason : str
        The venue's message, or what happened to the connection.
    retry_after_secs : float or None
        How long the venue asks to wait.

    """

    def __init__(
        self, method: str, path: str, *, status: int, code: int | None, reason: str, retry_after_secs: float | None
    ) -> None:
        where = f"HTTP {status}" if status else "no answer"
        super().__init__(f"{method} {path}: {where}{f', code {code}' if code is not None else ''}: {reason}")
        self.status = status
        self.code = code
        self.reason = reason
        self.retry_after_secs = retry_after_secs

    @property
    def outcome_unknown(self) -> bool:
        """Whether the venue may have executed the request all the same."""
        return self.status == NO_ANSWER or self.status >= 500 or self.code in _UNKNOWN_CODES


class BinanceRest:
    """
    Signed and unsigned requests to the USD-M REST interface. Use as an async context manager.

    Parameters
    ----------
    base_url : str
        Scheme and host, e.g. ``https://fapi.binance.com``.
    api_key, api_secret : str
        Credentials: an HMAC secret, or an Ed25519 private key (PEM or base64 PKCS#8). May be empty for public data.
    recv_window_ms : int
        How late the venue may execute a signed request, ms.
    timeout_secs : float
        Total time of one request, s.
    time_ms : Callable[[], int]
        Wall clock for signatures, ms.
    get_attempts : int
        How often a GET is sent in all while the venue gives no clear answer (5xx, -1007, transport error); doubling
        waits from 0.25 s lie between. One hiccup must not end a start. Nothing but a GET is ever sent again, except
        what was refused for its time stamp (-1021): signed once more with the venue's time, unless it opens risk.
    budget : RequestBudget or None
        The node's own, so that nobody talks into the silence the exchange has ordered. A request that would have to
        wait fails at once, with ``retry_after_secs``. None: this client stands for itself.

    """

    def __init__(
        self,
        base_url: str,
        api_key: str = "",
        api_secret: str = "",
        *,
        recv_window_ms: int = 5_000,
        timeout_secs: float = 10.0,
        time_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        get_attempts: int = 1,
        budget: RequestBudget | None = None,
    ) -> None:
        self._budget = budget
        self._get_attempts = get_attempts
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._sign = _signer(api_secret) if api_secret else None
        self._recv_window_ms = recv_window_ms
        self._timeout = aiohttp.ClientTimeout(total=timeout_secs)
        self._time_ms = time_ms
        self._session: aiohttp.ClientSession | None = None
        self.used_weight: int | None = None
        """Request weight used in the current minute as the venue counts it; None before the first answer."""

    def __repr__(self) -> str:
        return f"BinanceRest({self._base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the client may be used again afterwards."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, params: Parameters | None = None, *, signed: bool = False) -> Any:
        """Return the decoded answer of a GET. Error contract: propagate :class:`VenueRequestError`."""
        for attempt in range(self._get_attempts - 1):
            try:
                return await self._request("GET", path, params, signed=signed)
            except VenueRequestError as e:
                if not e.outcome_unknown or e.retry_after_secs is not None:
                    raise
            await asyncio.sleep(_FIRST_RETRY_SECS * 2**attempt)
        return await self._request("GET", path, params, signed=signed)

    async def post(self, path: str, params: Parameters | None = None, *, signed: bool = True) -> Any:
        """Return the decoded answer of a POST. Error contract: propagate :class:`VenueRequestError`."""
        return await self._request("POST", path, params, signed=signed)

    async def delete(self, path: str, params: Parameters | None = None, *, signed: bool = True) -> Any:
        """Return the decoded answer of a DELETE. Error contract: propagate :class:`VenueRequestError`."""
        return await self._request("DELETE", path, params, signed=signed)

    async def _request(self, method: str, path: str, params: Parameters | None, *, signed: bool) -> Any:
        try:
            return await self._send(method, path, params, signed=signed)
        except VenueRequestError as e:
            opens = purpose_of(method, path, params) is Purpose.ENTER
            if e.code != _TIMESTAMP_OUT_OF_WINDOW or not signed or opens:
                raise
        # Nothing was executed, and only our clock is wrong.
        before = self._time_ms()
        server = int((await self._send("GET", "/fapi/v1/time", None, signed=False))["serverTime"])
        offset_ms = server - (before + self._time_ms()) // 2
        return await self._send(method, path, params, signed=signed, offset_ms=offset_ms)

    async def _send(
        self, method: str, path: str, params: Parameters | None, *, signed: bool, offset_ms: int = 0
    ) -> Any:
        query = urlencode({name: _text(value) for name, value in (params or {}).items()})
        if signed:
            query = self._signed(query, offset_ms)
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        purpose, weight = purpose_of(method, path, params), weight_of(path, params)
        self._admit(method, path, purpose, weight)
        headers = {"X-MBX-APIKEY": self._api_key} if self._api_key else {}
        # The query is signed as a string: the URL must not be encoded a second time.
        url = URL(f"{self._base_url}{path}{'?' if query else ''}{query}", encoded=True)
        answered = False
        try:
            async with self._session.request(method, url, headers=headers) as response:
                body = await response.read()
                self._answered(purpose, weight, response, body)
                answered = True
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as e:
            # Some of these errors carry the URL, and with it the signature: name the kind only.
            raise VenueRequestError(
                method, path, status=NO_ANSWER, code=None, reason=type(e).__name__, retry_after_secs=None
            ) from None
        finally:
            if not answered:
                self._answered(purpose, weight, None, b"")
        told = response.headers.get("X-MBX-USED-WEIGHT-1M", "")
        if told.isdigit():
            self.used_weight = int(told)
        return _decoded(method, path, response, body)

    def _admit(self, method: str, path: str, purpose: Purpose, weight: int) -> None:
        if self._budget is None:
            return
        wait = self._budget.wait_secs(purpose, weight)
        if wait > 0:
            raise VenueRequestError(
                method,
                path,
                status=429,
                code=_TOO_MANY,
                reason=str(self._budget.held_back(wait)),
                retry_after_secs=wait,
            )
        self._budget.begin(purpose, weight)

    def _answered(self, purpose: Purpose, weight: int, response: aiohttp.ClientResponse | None, body: bytes) -> None:
        if self._budget is not None:
            status, headers = (NO_ANSWER, {}) if response is None else (response.status, response.headers)
            self._budget.answered(weight, status, headers, body if status in {418, 429} else b"", purpose)

    def _signed(self, query: str, offset_ms: int) -> str:
        if self._sign is None or not self._api_key:
            raise ConfigError("a signed request needs api_key and api_secret")
        extra = urlencode({"recvWindow": self._recv_window_ms, "timestamp": self._time_ms() + offset_ms})
        query = f"{query}&{extra}" if query else extra
        return f"{query}&{urlencode({'signature': self._sign(query)})}"


def _decoded(method: str, path: str, response: aiohttp.ClientResponse, body: bytes) -> Any:
    try:
        data = msgspec.json.decode(body) if body else None
    except msgspec.DecodeError:
        text = body[:200].decode(errors="replace")
        data = None
        reason = f"answer is not JSON: {text!r}"
    else:
        if response.status < 400:
            return data
        reason = str(data.get("msg", data)) if isinstance(data, dict) else str(data)
    code = data.get("code") if isinstance(data, dict) else None
    after = response.headers.get("Retry-After", "")
    raise VenueRequestError(
        method,
        path,
        status=response.status,
        code=code if isinstance(code, int) else None,
        reason=reason,
        retry_after_secs=float(after) if after.isdigit() else None,
    )


def _text(value: str | int | bool | Decimal) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _signer(secret: str) -> Callable[[str], str]:
    seed = ed25519_seed(secret)
    if seed is not None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - HMAC needs none

        key = Ed25519PrivateKey.from_private_bytes(seed)
        return lambda query: base64.b64encode(key.sign(query.encode())).decode()
    if "-----" in secret:
        raise ConfigError("api_secret is a PEM block but not an Ed25519 private key")
    raw = secret.encode()
    return lambda query: hmac.new(raw, query.encode(), hashlib.sha256).hexdigest()
