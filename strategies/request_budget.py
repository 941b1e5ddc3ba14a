"""
Who may still ask the venue something: the request weight of the running minute, and the silence a 429 or 418 orders.

Binance counts weight for the whole address. Who goes on after a 429 is banned (418), and a banned node can no longer
protect anything. So there is one budget for all requests of the HTTP client, and a part of it that only orders which
protect, close or cancel may use, and the few questions without which the node is blind. Nothing is ever sent a second
time by this module.

How long silence lasts: as long as Retry-After or "banned until" say. Where the venue does not say, it is a guess: with
the minute's weight used up until the venue's next minute; else the cause was another limit, and the wait
is 1 s, doubled with every further refusal. A guess is probed by what keeps the node seeing, ever more rarely, and ends
with the first answer that shows headroom. What the venue has ordered is obeyed by everything but protection, and
protection that is refused comes back ever more slowly, but at the end of the silence at the latest.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from enum import Enum, unique
from typing import Any

WEIGHT_PER_MINUTE = 2_400
RESERVED_WEIGHT = 400
"""Weight of each minute that only protective requests may use."""
LONGEST_WAIT_SECS = 65.0
"""A question that would have to wait longer fails at once; its caller knows better what to do meanwhile."""
LONGEST_BACK_OFF_SECS = 30.0
"""Between two probes, and of a guessed silence that no used-up weight explains."""
PROTECT_PAUSE_SECS = 0.25
"""After the first refusal of an order that protects; doubled with each further one."""
PROTECT_LONGEST_PAUSE_SECS = 2.0
BANNED_PROTECT_PAUSE_SECS = 10.0
"""Between two orders that protect while the venue has banned us (it executes none of them), and its end if sooner."""
LOOK_RESERVE = 100
"""Weight of the reserve that questions may not use: for orders."""
BAN_SECS = 120.0
"""Silence after a 418 that does not say how long."""

_MINUTE = 60.0
_BANNED_UNTIL = re.compile(r"banned until (\d{13})")
_CANCELS = ("order", "algoOrder", "batchOrders", "allOpenOrders", "algoOpenOrders")
_ORDERS = ("order", "algoOrder")
# What one must ask in order to know of fills and stops; cheap ones only.
_SEEING = frozenset({"order", "algoOrder", "positionRisk", "userTrades"})
_SEEING_WITH_SYMBOL = frozenset({"openOrders", "openAlgoOrders"})
# Weights of the calls the node makes; everything else is counted as 1 until the venue's own count comes back.
_WEIGHTS = {
    "/fapi/v2/account": 5,
    "/fapi/v3/positionRisk": 5,
    "/fapi/v1/commissionRate": 20,
    "/fapi/v1/symbolConfig": 5,
    "/fapi/v1/positionSide/dual": 30,
    "/fapi/v1/allOrders": 5,
    "/fapi/v1/userTrades": 5,
    "/fapi/v1/allAlgoOrders": 5,
    "/fapi/v1/income": 30,
    "/fapi/v1/klines": 10,
}
_WITHOUT_SYMBOL = {"/fapi/v1/openOrders": 40, "/fapi/v1/openAlgoOrders": 40}


@unique
class Purpose(Enum):
    """What a request is for, which decides what happens to it when the budget is short."""

    PROTECT = "protect"
    """Closes, protects or cancels: sent at once; only what was refused before is paced."""
    SEE = "see"
    """Keeps the node seeing (listen key, look-up of order, position or stop): may use the reserve, probes a guess."""
    ENTER = "enter"
    """Opens risk: refused at once, because an entry that waits is an entry at another price."""
    ASK = "ask"
    """Everything else: waits."""


class HeldBackError(Exception):
    """
    A request was not sent, and why. Nothing has happened at the venue.

    Attributes
    ----------
    wait_secs : float
        How long it would have had to wait, s.

    """

    def __init__(self, reason: str, wait_secs: float) -> None:
        super().__init__(reason)
        self.wait_secs = wait_secs


def purpose_of(method: str, path: str, parameters: Mapping[str, Any] | None) -> Purpose:
    """Return what a request is for, from its method, path and parameters."""
    name = path.rpartition("/")[2]
    if method == "DELETE" and name in _CANCELS:
        return Purpose.PROTECT
    if method == "POST" and name in _ORDERS:
        wanted = parameters or {}
        closes = any(str(wanted.get(key, "")).lower() == "true" for key in ("reduceOnly", "closePosition"))
        return Purpose.PROTECT if closes else Purpose.ENTER
    if method == "PUT" and name in _ORDERS:
        return Purpose.ENTER
    return Purpose.SEE if _is_seeing(method, name, parameters or {}) else Purpose.ASK


def _is_seeing(method: str, name: str, parameters: Mapping[str, Any]) -> bool:
    if name == "listenKey":
        return method in ("POST", "PUT")
    return method == "GET" and (name in _SEEING or (name in _SEEING_WITH_SYMBOL and bool(parameters.get("symbol"))))


def weight_of(path: str, parameters: Mapping[str, Any] | None) -> int:
    """Return about how much a request weighs; the venue's count corrects it with the answer."""
    if path in _WITHOUT_SYMBOL:
        return 1 if (parameters or {}).get("symbol") else _WITHOUT_SYMBOL[path]
    return _WEIGHTS.get(path, 1)


class RequestBudget:
    """
    Admits requests, or not.

    Parameters
    ----------
    weight_per_minute : int or None
        The venue's limit; None: the venue does not enforce one (a replay, where a minute holds days).
    reserved : int
        Part of it kept for :attr:`Purpose.PROTECT`.
    wall : Callable[[], float]
        Wall clock, s; the venue counts by its minutes.
    sleep : Callable
        Waits a number of seconds.

    Attributes
    ----------
    on_blocked : Callable[[str, str], None] or None
        Told ``(code, message)`` once per silence and once per exhausted minute.

    """

    def __init__(
        self,
        weight_per_minute: int | None = WEIGHT_PER_MINUTE,
        reserved: int = RESERVED_WEIGHT,
        *,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._limit = weight_per_minute
        self._reserved = reserved
        self._wall = wall
        self._sleep = sleep
        self._minute = 0
        self._used = 0
        self._in_flight = 0
        self._silent_until = 0.0
        self._ordered = False  # whether the venue said how long; else it is a guess
        self._banned = False
        self._refusals = 0  # in a row, of anything
        self._see_at = 0.0
        self._protect_at = 0.0
        self._protect_refusals = 0
        self._told_minute = -1
        self.on_blocked: Callable[[str, str], None] | None = None

    @property
    def used(self) -> int:
        """Weight used in this minute, requests without an answer included."""
        self._roll()
        return self._used + self._in_flight

    @property
    def silent_secs(self) -> float:
        """How long the venue still wants silence, s; 0 when it does not."""
        return max(self._silent_until - self._wall(), 0.0)

    async def ready(self, purpose: Purpose, weight: int) -> None:
        """
        Return when a request may be sent.

        Raises
        ------
        HeldBackError
            Propagate: an entry while the budget is short, or a question that would wait too long.

        """
        while (wait := self.wait_secs(purpose, weight)) > 0:
            if purpose is Purpose.ENTER or (purpose is not Purpose.PROTECT and wait > LONGEST_WAIT_SECS):
                raise self.held_back(wait)
            await self._sleep(wait)

    def wait_secs(self, purpose: Purpose, weight: int) -> float:
        """Return how long a request would have to wait now, s; 0 if it may be sent."""
        silent = self.silent_secs
        if purpose is Purpose.PROTECT:
            # When the silence is over, so is the reason to pace: a stop must not wait longer than the ban.
            return min(max(self._protect_at - self._wall(), 0.0), silent)
        if purpose is Purpose.SEE:
            if silent and not self._ordered:
                return max(self._see_at - self._wall(), 0.0)
            return max(silent, self._until_headroom(weight, LOOK_RESERVE))
        return max(silent, self._until_headroom(weight, self._reserved))

    def held_back(self, wait: float) -> HeldBackError:
        """Return the error of a request that is not sent because it would have to wait `wait` seconds."""
        reason = "the venue asked for silence" if self.silent_secs else "request weight of this minute is used up"
        return HeldBackError(f"not sent: {reason} for another {wait:.1f} s", wait)

    async def admit(self, purpose: Purpose, weight: int) -> None:
        """Return when a request may be sent, and count it in; :meth:`answered` must follow. Errors: as `ready`."""
        await self.ready(purpose, weight)
        self.begin(purpose, weight)

    def begin(self, purpose: Purpose, weight: int) -> None:
        """Count a request in that is sent now; :meth:`answered` must follow."""
        self._roll()
        self._in_flight += weight
        if self.silent_secs:  # one probe at a time, the next one later
            now = self._wall()
            if purpose is Purpose.SEE:
                self._see_at = now + self._back_off()
            elif purpose is Purpose.PROTECT and self._protect_refusals:
                self._protect_at = now + self._protect_pause()

    def answered(
        self,
        weight: int,
        status: int,
        headers: Mapping[str, Any],
        body: bytes = b"",
        purpose: Purpose = Purpose.ASK,
    ) -> int | None:
        """Take an answer (status 0: none came) into account; return the venue's own weight count if it told one."""
        self._roll()
        self._in_flight -= weight
        found = {str(k).lower(): str(v) for k, v in headers.items()}
        told = found.get("x-mbx-used-weight-1m", "")
        self._used = int(told) if told.isdigit() else self._used + weight
        if status in (418, 429):
            self._refusals += 1
            self._banned = status == 418
            if purpose is Purpose.PROTECT:
                self._protect_refusals += 1
                self._protect_at = self._wall() + self._protect_pause()
            self._begin_silence(status, found.get("retry-after", ""), body, used_up=self._used_up(told))
        elif status:
            self._refusals = self._protect_refusals = 0
            self._protect_at = 0.0
            if self.silent_secs and not self._ordered and not self._used_up(told):
                self._silent_until = 0.0  # the guess was too long
        return int(told) if told.isdigit() else None

    def _used_up(self, told: str) -> bool:
        used = int(told) if told.isdigit() else self.used  # an answer from in front of the venue tells nothing
        return self._limit is not None and used > self._limit - self._reserved

    def _back_off(self) -> float:
        return min(2.0 ** min(max(self._refusals - 1, 0), 10), LONGEST_BACK_OFF_SECS)

    def _protect_pause(self) -> float:
        if self._banned:
            return BANNED_PROTECT_PAUSE_SECS
        doubled = PROTECT_PAUSE_SECS * 2.0 ** min(max(self._protect_refusals - 1, 0), 10)
        return min(doubled, PROTECT_LONGEST_PAUSE_SECS)

    def _begin_silence(self, status: int, retry_after: str, body: bytes, *, used_up: bool) -> None:
        now = self._wall()
        banned = _BANNED_UNTIL.search(body.decode(errors="replace"))
        if retry_after.replace(".", "", 1).isdigit():
            until = now + float(retry_after)
        elif banned is not None:
            until = int(banned[1]) / 1000
        elif status == 418:
            until = now + BAN_SECS
        else:
            until = (now // _MINUTE + 1) * _MINUTE if used_up else now + self._back_off()
        fresh = self._silent_until <= now
        guessed = status == 429 and banned is None and not retry_after.replace(".", "", 1).isdigit()
        self._ordered = not guessed or (self._ordered and not fresh)
        self._silent_until = max(self._silent_until, until)
        self._see_at = now + self._back_off()
        if fresh:
            text = f"HTTP {status}: only orders that protect or close are sent for the next {until - now:.0f} s"
            self._tell("VENUE_BANNED" if status == 418 else "VENUE_RATE_LIMIT", text)

    def _until_headroom(self, weight: int, spared: int) -> float:
        if self._limit is None or self.used + weight <= self._limit - spared:
            return 0.0
        if self._told_minute != self._minute:
            self._told_minute = self._minute
            text = f"{self.used} of {self._limit} request weight used: the rest of the minute is kept for protection"
            self._tell("REQUEST_WEIGHT_LOW", text)
        return (self._minute + 1) * _MINUTE - self._wall()

    def _tell(self, code: str, message: str) -> None:
        if self.on_blocked is not None:
            self.on_blocked(code, message)

    def _roll(self) -> None:
        minute = int(self._wall() // _MINUTE)
        if minute != self._minute:
            self._minute = minute
            self._used = 0
