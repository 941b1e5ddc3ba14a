"""
Public GETs to the USD-M REST interface inside a weight budget; lost answers are asked for again, silence is kept.

Errors: :class:`~strategies.errors.VenueError`, **propagate**: what the exchange refused, or that it does not answer.
Whoever fetched has stored everything up to there; the same command goes on.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
import msgspec

from strategies.errors import VenueError
from strategies.request_budget import HeldBackError, Purpose, RequestBudget

_FIRST_RETRY_SECS = 0.5
_LONGEST_RETRY_SECS = 30.0
_MOST_SILENCES = 10
_STATISTICS_PER_5_MINUTES = 1_000
_FIVE_MINUTES = 300.0


class PublicRest:
    """
    Reads public market data. Use as an async context manager.

    Parameters
    ----------
    base_url : str
        Scheme and host, e.g. ``https://fapi.binance.com``.
    weight_share : float
        Part of the exchange's weight per minute that may be used: a node on the same address needs the rest.
    attempts : int
        How often a request is sent in all while no clear answer comes; doubling waits from 0.5 s to 30 s lie between.
    timeout_secs : float
        Total time of one request, s.
    longest_silence_secs : float
        A longer silence (429, 418) than this ends the run.
    say : Callable[[str], None]
        Told why it waits.

    Attributes
    ----------
    requests, waits : int
        Requests sent; times the budget or the exchange made us wait.

    """

    def __init__(
        self,
        base_url: str,
        *,
        weight_share: float = 0.5,
        attempts: int = 6,
        timeout_secs: float = 20.0,
        longest_silence_secs: float = 900.0,
        say: Callable[[str], None] = lambda _text: None,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._share = weight_share
        self._attempts = attempts
        self._timeout = aiohttp.ClientTimeout(total=timeout_secs)
        self._longest = longest_silence_secs
        self._say = say
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._budget = RequestBudget(reserved=round(2_400 * (1 - weight_share)), sleep=sleep)
        self._statistics: list[float] = []
        self._clock_offset = 0.0
        self.requests = 0
        self.waits = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def open(self) -> dict[str, Any]:
        """
        Learn the exchange's weight limit and clock; return its exchangeInfo.

        Raises
        ------
        VenueError
            Propagate: no answer.

        """
        info: dict[str, Any] = await self.get("/fapi/v1/exchangeInfo", {}, weight=1)
        limit = next((r["limit"] for r in info["rateLimits"] if r["rateLimitType"] == "REQUEST_WEIGHT"), 2_400)
        self._budget = RequestBudget(limit, round(limit * (1 - self._share)), sleep=self._sleep)
        await self.synchronise()
        return info

    async def synchronise(self) -> None:
        """Measure the exchange's clock."""
        answer = await self.get("/fapi/v1/time", {}, weight=1)
        self._clock_offset = int(answer["serverTime"]) / 1000 - time.monotonic()

    def now_ms(self) -> int:
        """Return the exchange's time, at most a request's duration behind it: nothing counts as finished too early."""
        return int((time.monotonic() + self._clock_offset) * 1000)

    async def get(self, path: str, parameters: Mapping[str, Any], *, weight: int) -> Any:
        """
        Return the decoded answer.

        Parameters
        ----------
        weight : int
            What it costs; 0: one of the statistics, which the exchange counts apart (1,000 in five minutes).

        Raises
        ------
        VenueError
            Propagate: refused (4xx), no clear answer after all attempts, or a silence longer than allowed.

        """
        pause, last = _FIRST_RETRY_SECS, "no answer"
        for attempt in range(self._attempts):
            if attempt:
                await self._sleep(pause)
                pause = min(pause * 2, _LONGEST_RETRY_SECS)
            for _ in range(_MOST_SILENCES):
                await self._turn(path, weight)
                status, body = await self._ask(path, parameters, weight)
                if status not in (418, 429):
                    break
                self.waits += 1  # the budget has taken note: the next turn waits as long as the exchange asked
            if status == 200:
                try:
                    return msgspec.json.decode(body)
                except msgspec.DecodeError:
                    last = f"answer is not JSON: {body[:80]!r}"
                    continue
            last = _reason(status, body)
            if 400 <= status < 500:
                break
            self._say(f"{path}: {last}; asking again in {pause:g} s")
        raise VenueError(f"{self._base_url}{path}: {last}: what was fetched is stored, the same command goes on")

    async def _turn(self, path: str, weight: int) -> None:
        if weight == 0:
            await self._statistics_turn()
        while True:
            try:
                await self._budget.admit(Purpose.ASK, weight)
            except HeldBackError as e:
                if e.wait_secs > self._longest:
                    raise VenueError(
                        f"{self._base_url}{path}: {e}: longer than {self._longest:g} s: run the same command later"
                    ) from None
                self._say(f"waiting {e.wait_secs:.0f} s: {e}")
                await self._sleep(e.wait_secs)
            else:
                return

    async def _statistics_turn(self) -> None:
        now = time.monotonic()
        self._statistics = [at for at in self._statistics if now - at < _FIVE_MINUTES]
        if len(self._statistics) >= round(_STATISTICS_PER_5_MINUTES * self._share):
            wait = _FIVE_MINUTES - (now - self._statistics[0])
            self.waits += 1
            self._say(f"waiting {wait:.0f} s: the exchange's limit of statistics in five minutes")
            await self._sleep(wait)
        self._statistics.append(time.monotonic())

    async def _ask(self, path: str, parameters: Mapping[str, Any], weight: int) -> tuple[int, bytes]:
        if self._session is None:
            raise VenueError("the client is closed")
        query = urlencode({name: value for name, value in parameters.items() if value is not None})
        url = f"{self._base_url}{path}{'?' if query else ''}{query}"
        self.requests += 1
        try:
            async with self._session.get(url) as response:
                body = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as e:
            self._budget.answered(weight, 0, {})
            return 0, type(e).__name__.encode()
        self._budget.answered(weight, response.status, response.headers, body)
        return response.status, body


def _reason(status: int, body: bytes) -> str:
    text = body[:200].decode(errors="replace")
    if not status:
        return f"no answer ({text})"
    try:
        data = msgspec.json.decode(body)
        return f"HTTP {status}, code {data['code']}: {data['msg']}"
    except (msgspec.DecodeError, TypeError, KeyError):
        return f"HTTP {status}: {text!r}"
