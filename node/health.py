"""
What must be well for the node to open anything: clock, the account's stream, the line to the venue, Redis, journal.

While something is not, entries are held: the execution client denies them, and the risk guard is paused over the
ordinary control topic so that the verdicts say so too. Exits and protection go on. When all is well again the pause is
taken back, unless a person has paused meanwhile: a person's pause is a person's to end.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from node.binance.incidents import publish_incident
from node.binance.rest import BinanceRest, VenueRequestError
from node.redis_link import RedisConfig, RedisError, ping
from strategies.base import CONTROL_TOPIC

WHO = "node health"
CLOCK = "clock"
USER_STREAM = "user stream"
VENUE = "venue"
REDIS = "redis"
JOURNAL = "journal"

STREAM_POLL_SECS = 1.0
STREAM_GRACE_SECS = 1.5
"""A reconnect within this time holds nothing up, s."""
FAILURES_BEFORE_HOLD = 3
_NANOS_PER_MILLI = 1_000_000


class EntryHolds:
    """
    The reasons why nothing may be opened now.

    Parameters
    ----------
    msgbus, clock : Any
        The node's message bus and clock.
    paused_by : {"nobody", "node", "hand"}
        Who had paused the account when a former life of the node ended (:func:`paused_by`). A pause of the node's own
        is ours to take back.

    """

    def __init__(self, msgbus: Any, clock: Any, *, paused_by: str = "nobody") -> None:
        self._msgbus = msgbus
        self._clock = clock
        self._reasons: dict[str, str] = {}
        self._ours = paused_by == "node"
        self._by_hand = paused_by == "hand"
        msgbus.subscribe(CONTROL_TOPIC, self._on_control)

    @property
    def reason(self) -> str | None:
        """Why entries are held, or None."""
        return "; ".join(self._reasons.values()) or None

    def hold(self, key: str, text: str) -> None:
        """Hold entries because of `key`; repeating it only renews the text."""
        fresh = key not in self._reasons
        self._reasons[key] = text
        if not fresh:
            return
        self._incident("warning", "ENTRIES_HELD", text)
        if not self._ours and not self._by_hand:
            self._ours = True
            self._msgbus.publish(CONTROL_TOPIC, {"action": "pause", "who": f"{WHO} ({key})"})

    def release(self, key: str) -> None:
        """Take the reason `key` back; with the last one entries are allowed again."""
        if self._reasons.pop(key, None) is not None:
            self._incident("info", "ENTRIES_RELEASED", f"{key} is well again")
        self.settle()

    def settle(self) -> None:
        """End a pause of ours that has no reason any more."""
        if not self._reasons and self._ours:
            self._ours = False
            self._msgbus.publish(CONTROL_TOPIC, {"action": "resume", "who": WHO})

    def _on_control(self, message: dict[str, Any]) -> None:
        if str(message.get("who", "")).startswith(WHO) or message.get("symbol") is not None:
            return
        if message.get("action") == "pause":
            if self._ours:  # the guard is paused already and says nothing; the journal must know whose pause it is now
                self._incident("warning", "pause", f"by {message.get('who', 'unknown')}")
            self._by_hand = True
            self._ours = False
        elif message.get("action") == "resume":
            self._by_hand = False
            # The latch is gone, the reason is not: the execution client goes on denying.
            self._ours = False

    def incident(self, code: str, text: str) -> None:
        """Tell people something that holds nothing up."""
        self._incident("warning", code, text)

    def _incident(self, severity: str, code: str, text: str) -> None:
        publish_incident(self._msgbus, self._clock, severity=severity, code=code, message=text)


def paused_by(incidents: Sequence[Any]) -> str:
    """Return who has paused the whole account according to a journal's incidents: ``nobody``, ``node`` or ``hand``."""
    for incident in reversed(incidents):
        if incident.symbol is None and incident.code in ("pause", "resume"):
            if incident.code == "resume":
                break
            return "node" if incident.message.startswith(f"by {WHO}") else "hand"
    return "nobody"


class HealthMonitor:
    """
    Watches and holds.

    Parameters
    ----------
    holds : EntryHolds
        What is told.
    rest : BinanceRest
        A client of its own: the line whose state is in question must not answer for itself.
    stream_up : Callable[[], Awaitable[bool]]
        Whether account events arrive.
    max_offset_ms : int
        Largest difference between our clock and the venue's.
    clock_poll_secs : float
        Seconds between two measurements; three times as often while something is wrong.
    redis : RedisConfig or None
        Redis in use; None: none.
    on_offset : Callable[[int], None]
        Told how much to add to our clock for the venue's, ms; 0 while the difference is allowed.

    """

    def __init__(
        self,
        holds: EntryHolds,
        rest: BinanceRest,
        *,
        stream_up: Callable[[], Awaitable[bool]],
        max_offset_ms: int,
        clock_poll_secs: float,
        redis: RedisConfig | None = None,
        on_offset: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._on_offset = on_offset
        self._holds = holds
        self._rest = rest
        self._stream_up = stream_up
        self._max_offset_ms = max_offset_ms
        self._poll_secs = clock_poll_secs
        self._redis = redis
        self._tasks: list[asyncio.Task[None]] = []
        self.offset_ms: int | None = None
        """Venue clock minus ours as last measured, ms."""
        self.redis_lost = False
        """Whether Redis has been away since the start; the engine does not tell and does not recover by itself."""

    def start(self) -> None:
        """Begin to watch."""
        watches = [self._watch_clock(), self._watch_stream()]
        if self._redis is not None:
            watches.append(self._watch_redis(self._redis))
        self._tasks = [asyncio.create_task(watch, name="health") for watch in watches]
        self._holds.settle()

    async def stop(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()
        await self._rest.close()

    async def _watch_clock(self) -> None:
        failures = 0
        while True:
            try:
                offset, doubt = await measure_offset(self._rest)
            except (VenueRequestError, KeyError, TypeError, ValueError) as e:
                failures += 1
                if failures >= FAILURES_BEFORE_HOLD:
                    self._holds.hold(VENUE, f"the venue does not answer ({failures} times): {e}")
            else:
                failures = 0
                self.offset_ms = offset
                self._holds.release(VENUE)
                # A slow answer says little about the clock: only what is certain counts, either way.
                if abs(offset) - doubt > self._max_offset_ms:
                    self._on_offset(offset)
                    text = f"venue clock minus ours is {offset:+d} ms, allowed are {self._max_offset_ms}"
                    self._holds.hold(CLOCK, f"{text}: synchronise this machine's clock (chrony)")
                elif abs(offset) + doubt <= self._max_offset_ms:
                    self._on_offset(0)
                    self._holds.release(CLOCK)
            wrong = failures or self._holds.reason is not None
            await asyncio.sleep(self._poll_secs / 3 if wrong else self._poll_secs)

    async def _watch_stream(self) -> None:
        down_since: float | None = None
        while True:
            if await self._stream_up():
                down_since = None
                self._holds.release(USER_STREAM)
            else:
                down_since = down_since or time.monotonic()
                if time.monotonic() - down_since >= STREAM_GRACE_SECS:
                    self._holds.hold(USER_STREAM, "the account's event stream is down")
            await asyncio.sleep(STREAM_POLL_SECS)

    async def _watch_redis(self, config: RedisConfig) -> None:
        away = False
        while True:
            await asyncio.sleep(config.poll_secs)
            try:
                await ping(config)
            except RedisError as e:
                if not away:
                    away = self.redis_lost = True
                    self._holds.incident("REDIS_LOST", str(e))
                if config.required:
                    self._holds.hold(REDIS, str(e))
            else:
                if away:
                    away = False
                    self._holds.incident("REDIS_BACK", "redis answers again; restart the node to be sure of its cache")
                self._holds.release(REDIS)


async def measure_offset(rest: BinanceRest) -> tuple[int, int]:
    """
    Return ``(venue clock minus ours, uncertainty)`` in ms.

    Error contract: propagate ``VenueRequestError``.
    """
    before = time.time_ns() // _NANOS_PER_MILLI
    server = int((await rest.get("/fapi/v1/time"))["serverTime"])
    after = time.time_ns() // _NANOS_PER_MILLI
    return server - (before + after) // 2, (after - before + 1) // 2
