"""
The one HTTP client that the data and the execution client of a node share, and what its errors mean.

The stock client has no time-out (a frozen venue hangs every request for minutes), lets transport errors escape the
adapter's own error handling, writes signatures and listen keys to the debug log, and ignores Retry-After
(`knowledge/live-binance.md` §4 F5/F11/F12). This one corrects the four and leaves signing, quotas and the exception
types as they are.
"""

import ipaddress
import re
from typing import Any
from urllib.parse import quote_plus, urlsplit

import msgspec
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.adapters.binance.http.error import BinanceClientError, BinanceError, BinanceServerError
from nautilus_trader.common.component import LiveClock
from nautilus_trader.core.nautilus_pyo3 import (
    HttpClient,
    HttpError,
    HttpMethod,
    HttpTimeoutError,
    Quota,
)

from strategies.errors import ConfigError
from strategies.request_budget import HeldBackError, Purpose, RequestBudget, purpose_of, weight_of

UNREACHABLE = 0
"""HTTP status of a request that got no answer at all (time-out, reset, refused)."""

_SECRET_PARAMETERS = re.compile(r"(?<![A-Za-z])(signature|listenKey)=[^&]*")
_JSON_STARTS = b'{["-0123456789tfn'
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch
_METHODS: dict[HttpMethod, str] = {}

TOO_MANY_REQUESTS = -1003
TIMESTAMP_OUT_OF_WINDOW = -1021
SYSTEM_THROTTLED = -1008

# Binance's words for "the request may or may not have been executed".
_UNKNOWN_CODES = frozenset({-1000, -1001, -1006, -1007})


def error_code(error: BaseException) -> int | None:
    """Return Binance's own error code of `error`, or None if it carries none."""
    message = getattr(error, "message", None)
    if isinstance(message, str):
        try:
            message = msgspec.json.decode(message)
        except msgspec.DecodeError:
            return None
    if isinstance(message, dict):
        try:
            return int(message["code"])
        except (KeyError, TypeError, ValueError):
            return None
    return None


def outcome_unknown(error: BaseException) -> bool:
    """
    Whether an order request that failed with `error` may have been executed all the same.

    True for every 5xx, for "no answer", for an unreadable answer, and for the codes Binance documents as unknown.
    """
    if isinstance(error, BinanceServerError):
        return True
    if isinstance(error, BinanceError):
        return error.status == 408 or error_code(error) in _UNKNOWN_CODES
    return isinstance(error, (HttpError, HttpTimeoutError, msgspec.MsgspecError, OSError))


def throttled(error: BaseException) -> bool:
    """
    Whether `error` is one of the 503s of which Binance says that nothing was executed and one may send again.

    ``-1008`` (throttled by system-level protection) and "Service Unavailable."; source: general information on the
    USD-M futures API, HTTP return codes. Every other 503 leaves it open.
    """
    if not isinstance(error, BinanceServerError) or error.status != 503:
        return False
    return error_code(error) == SYSTEM_THROTTLED or "service unavailable" in str(error.message).lower()


def transient(error: BaseException) -> bool:
    """Whether asking the same question again later may succeed: an unknown outcome, a rate limit or a clock hiccup."""
    if outcome_unknown(error):
        return True
    return isinstance(error, BinanceError) and (
        error.status in {418, 429} or error_code(error) in {TOO_MANY_REQUESTS, TIMESTAMP_OUT_OF_WINDOW}
    )


def is_loopback(url: str) -> bool:
    """Whether the host of `url` is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ArgonautBinanceHttpClient(BinanceHttpClient):
    """
    The adapter's HTTP client with a time-out, transport errors as ``BinanceServerError``, a clean log and one budget.

    Parameters
    ----------
    clock : LiveClock
        Source of request timestamps.
    api_key, api_secret : str or None
        Credentials; an Ed25519 private key goes to `ed25519_private_key` as well.
    base_url : str
        Scheme and host of the REST interface.
    timeout_secs : int
        Total time one request may take.
    quotas : list[tuple[str, Quota]]
        Client-side rate limits by key; empty together with ``default_quota=None`` lifts them.
    default_quota : Quota or None
        Limit of keys not in `quotas`.
    ed25519_private_key : str or None
        PEM or base64 PKCS#8 key.
    proxy_url : str or None
        HTTP proxy.
    budget : RequestBudget or None
        Who may still send; None: the exchange's own limits.

    Attributes
    ----------
    budget : RequestBudget
        Shared by everything that uses this client.
    used_weight : int or None
        Weight used in the current minute as the venue last told it.
    clock_offset_ms : int
        Added to our clock for the time stamps of signed requests; whoever watches the clock sets it.

    """

    def __init__(
        self,
        *,
        clock: LiveClock,
        api_key: str | None,
        api_secret: str | None,
        base_url: str,
        timeout_secs: int,
        quotas: list[tuple[str, Quota]],
        default_quota: Quota | None,
        ed25519_private_key: str | None = None,
        proxy_url: str | None = None,
        budget: RequestBudget | None = None,
    ) -> None:
        if timeout_secs < 1:
            raise ConfigError(f"http_timeout_secs: must be at least 1, was {timeout_secs}")
        super().__init__(
            clock=clock,
            api_key=api_key,
            api_secret=api_secret,
            base_url=base_url,
            ed25519_private_key=ed25519_private_key,
            ratelimiter_quotas=quotas,
            ratelimiter_default_quota=default_quota,
            proxy_url=proxy_url,
        )
        self._client = HttpClient(
            header_keys=["x-mbx-used-weight-1m", "retry-after"],
            keyed_quotas=quotas,
            default_quota=default_quota,
            timeout_secs=timeout_secs,
            proxy_url=proxy_url,
        )
        self.budget = RequestBudget() if budget is None else budget
        self.used_weight: int | None = None
        self.clock_offset_ms = 0

    async def sign_request(
        self,
        http_method: HttpMethod,
        url_path: str,
        payload: dict[str, str] | None = None,
        ratelimiter_keys: list[str] | None = None,
    ) -> Any:
        """
        Sign and send one request and return the body. Error contract: see :meth:`send_request`.

        Refused for its time stamp (-1021, nothing was executed), it is signed again with the venue's time and sent once
        more, unless it would open a position: with this machine's clock wrong, what protects must still arrive.
        """
        signed = {} if payload is None else payload
        try:
            return await self._sign_and_send(http_method, url_path, signed, ratelimiter_keys)
        except BinanceClientError as e:
            opens = purpose_of(_method(http_method), url_path, signed) is Purpose.ENTER
            if error_code(e) != TIMESTAMP_OUT_OF_WINDOW or "timestamp" not in signed or opens:
                raise
        # For this request alone: what is measured once would be wrong when the clock has been put right.
        offset_ms = await self._venue_clock_ahead()
        return await self._sign_and_send(http_method, url_path, signed, ratelimiter_keys, offset_ms)

    async def _venue_clock_ahead(self) -> int:
        before = self._clock.timestamp_ms()
        server = int(msgspec.json.decode(await self.send_request(HttpMethod.GET, "/fapi/v1/time"))["serverTime"])
        return server - (before + self._clock.timestamp_ms()) // 2

    async def _sign_and_send(
        self,
        http_method: HttpMethod,
        url_path: str,
        signed: dict[str, str],
        ratelimiter_keys: list[str] | None,
        offset_ms: int | None = None,
    ) -> Any:
        # Signed after it was admitted: a question that had to wait would otherwise carry a time stamp of before.
        admitted = await self._admitted(http_method, url_path, signed)
        if "timestamp" in signed:
            offset_ms = self.clock_offset_ms if offset_ms is None else offset_ms
            signed["timestamp"] = str(self._clock.timestamp_ms() + offset_ms)
        signed.pop("signature", None)
        query = query_of(signed)
        signature = self._get_sign(query)
        signed["signature"] = signature
        return await self._send(
            http_method, url_path, f"{query}&signature={_quoted(signature)}", admitted, ratelimiter_keys
        )

    async def send_request(
        self,
        http_method: HttpMethod,
        url_path: str,
        payload: dict[str, str] | None = None,
        ratelimiter_keys: list[str] | None = None,
    ) -> bytes:
        """
        Send one request and return the body.

        Error contract: propagate. ``BinanceClientError`` for 4xx; ``BinanceServerError`` for 5xx, for an answer that
        is not JSON, and with status 0 and code -1007 for no answer within the time-out. ``BinanceClientError`` with
        status 429 and code -1003 also for a request that was held back and never sent (see `RequestBudget`).
        """
        query = query_of(payload) if payload else ""
        admitted = await self._admitted(http_method, url_path, payload)
        return await self._send(http_method, url_path, query, admitted, ratelimiter_keys)

    async def _send(
        self,
        http_method: HttpMethod,
        url_path: str,
        query: str,
        admitted: tuple[Purpose, int],
        ratelimiter_keys: list[str] | None,
    ) -> bytes:
        purpose, weight = admitted
        self.budget.begin(purpose, weight)
        status, headers, body = UNREACHABLE, {}, b""
        try:
            response = await self._exchange(http_method, url_path, query, ratelimiter_keys)
            status, headers, body = response.status, response.headers, response.body
        finally:
            told = self.budget.answered(weight, status, headers, body if status in {418, 429} else b"", purpose)
        self.used_weight = self.used_weight if told is None else told
        if status >= 400:
            kind = BinanceServerError if status >= 500 else BinanceClientError
            raise kind(status=status, message=_error_message(body), headers=headers)
        start = body.lstrip(b" \t\n\r")[:1]
        if start and start not in _JSON_STARTS:
            text = f"answer is not JSON (HTTP {status}): {body[:200].decode(errors='replace')}"
            raise BinanceServerError(status=status, message=text, headers=headers)
        return body

    async def _admitted(
        self, http_method: HttpMethod, url_path: str, payload: dict[str, str] | None
    ) -> tuple[Purpose, int]:
        """Return what a request is for and its weight, once it may be sent; nothing may be awaited until it is."""
        method = _method(http_method)
        purpose, weight = purpose_of(method, url_path, payload), weight_of(url_path, payload)
        try:
            await self.budget.ready(purpose, weight)
        except HeldBackError as e:
            message = {"code": TOO_MANY_REQUESTS, "msg": f"{method} {url_path}: {e}"}
            raise BinanceClientError(status=429, message=message, headers={}) from None
        return purpose, weight

    async def _exchange(
        self,
        http_method: HttpMethod,
        url_path: str,
        query: str,
        ratelimiter_keys: list[str] | None,
    ) -> Any:
        target = f"{url_path}?{query}" if query else url_path
        try:
            return await self._client.request(
                http_method,
                url=self._base_url + target,
                headers=self._headers,
                keys=ratelimiter_keys,
            )
        except (HttpTimeoutError, HttpError) as e:
            # The text of a transport error repeats the URL, signature included.
            reason = "timed out" if isinstance(e, HttpTimeoutError) else "transport error"
            message = {"code": -1007, "msg": f"{_method(http_method)} {url_path}: {reason}, no answer from the venue"}
            raise BinanceServerError(status=UNREACHABLE, message=message, headers={}) from None
        finally:  # an order does not wait for the words about it
            self._log.debug(_SECRET_PARAMETERS.sub(r"\1=…", target))


def query_of(parameters: dict[str, Any]) -> str:
    """Return what ``urlencode`` does; parameters of orders need no quoting, and asking for it is half of signing."""
    return "&".join([f"{name}={_quoted(str(value))}" for name, value in parameters.items()])


def _quoted(text: str) -> str:
    return text if _PLAIN(text) else quote_plus(text)


def _method(method: HttpMethod) -> str:
    found = _METHODS.get(method)
    if found is None:
        found = _METHODS[method] = str(method).rpartition(".")[2].upper()
    return found


def _error_message(body: bytes) -> Any:
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body[:500].decode(errors="replace")
