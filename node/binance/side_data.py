"""
Side data that the adapter does not offer, fetched over REST and published as if it came from a data client.

`FundingPoller` reads the settled funding rates: the whole history at start, then after every settlement boundary of
market time. The updates are published on the topic the backtest engine uses, so the listeners are the same in both.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import FundingRateUpdate
from nautilus_trader.model.identifiers import InstrumentId

from node.binance.incidents import publish_incident
from node.binance.rest import BinanceRest, VenueRequestError
from strategies.market_clock import NANOS_PER_MILLI, market_clock

HISTORY_LIMIT = 1_000
FAILURES_BEFORE_INCIDENT = 3
FIRST_RETRY_SECS = 0.5
LAST_RETRY_SECS = 30.0
LATE_RETRY_SECS = 5.0
"""Wait before asking again for a settlement that the venue does not list yet, s."""
HOUR_NS = 3_600_000 * NANOS_PER_MILLI


class FundingPollerConfig(ActorConfig, frozen=True, kw_only=True):
    """
    Configuration of :class:`FundingPoller`.

    Attributes
    ----------
    instrument_ids : tuple[InstrumentId, ...]
        Perpetuals to follow.
    base_url : str
        Scheme and host of the REST interface; the endpoint is public.
    interval_hours : int
        Settlement interval; boundaries are multiples of it since 1970 UTC.
    timeout_secs : float
        Total time of one request, s.

    """

    instrument_ids: tuple[InstrumentId, ...]
    base_url: str
    interval_hours: int = 8
    timeout_secs: float = 10.0


class FundingPoller(Actor):
    """
    Publishes ``FundingRateUpdate`` on ``data.funding_rates.BINANCE.<SYMBOL>-PERP``, stamped at the settlement.

    Each settlement is published once, in time order per instrument, and put into the cache. Requests that fail are
    repeated with growing pauses; the third failure in a row publishes the incident ``FUNDING_POLL_FAILED``.
    Error contract: degraded (listeners keep the last known rate).

    Parameters
    ----------
    config : FundingPollerConfig
        What to follow and where.

    """

    def __init__(self, config: FundingPollerConfig) -> None:
        super().__init__(config)
        self._rest = BinanceRest(config.base_url, timeout_secs=config.timeout_secs)
        self._interval_ns = config.interval_hours * HOUR_NS
        self._last: dict[InstrumentId, int] = {}
        self._due: dict[InstrumentId, int] = {}
        self._asking: set[InstrumentId] = set()
        self._wake: dict[InstrumentId, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._loaded: set[InstrumentId] = set()
        self._listening = False

    @property
    def ready(self) -> bool:
        """Whether the history of every instrument has been published."""
        return self._loaded.issuperset(self.config.instrument_ids)

    @property
    def idle(self) -> bool:
        """Whether no request is in flight (a condition of the replay barrier)."""
        return not self._asking

    def on_start(self) -> None:
        """Fetch the history and follow the market clock."""
        loop = asyncio.get_running_loop()
        for instrument_id in self.config.instrument_ids:
            self._wake[instrument_id] = asyncio.Event()
            self._asking.add(instrument_id)
            self._tasks.append(loop.create_task(self._follow(instrument_id), name=f"funding:{instrument_id}"))
        if not self._listening:
            self._listening = True
            market_clock(self.msgbus).listen(self._on_time)

    def on_stop(self) -> None:
        """End all requests."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._asking.clear()

    def _on_time(self, before: int | None, now: int) -> None:
        if not self._tasks:
            return
        boundary = now // self._interval_ns * self._interval_ns
        for instrument_id in self.config.instrument_ids:
            if before is None or before < boundary:
                self._due[instrument_id] = boundary
            # A settlement the venue listed late is asked for again at the next bar, besides the wall-clock retry.
            if self._overdue(instrument_id):
                # Before the task runs, so that the barrier cannot slip through in between.
                self._asking.add(instrument_id)
                self._wake[instrument_id].set()

    def _overdue(self, instrument_id: InstrumentId) -> bool:
        return self._due.get(instrument_id, 0) > self._last.get(instrument_id, 0)

    async def _follow(self, instrument_id: InstrumentId) -> None:
        wake = self._wake[instrument_id]
        failures = 0
        try:
            while True:
                wake.clear()
                self._asking.add(instrument_id)
                try:
                    self._publish(instrument_id, await self._fetch(instrument_id))
                except (VenueRequestError, KeyError, TypeError, ValueError, InvalidOperation) as e:
                    failures += 1
                    self._on_failure(instrument_id, failures, e)
                    pause: float | None = min(FIRST_RETRY_SECS * 2 ** (failures - 1), LAST_RETRY_SECS)
                else:
                    failures = 0
                    self._loaded.add(instrument_id)
                    pause = LATE_RETRY_SECS if self._overdue(instrument_id) else None
                if wake.is_set():
                    continue
                self._asking.discard(instrument_id)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), pause)
        finally:
            self._asking.discard(instrument_id)
            if asyncio.current_task() not in self._tasks:
                await self._rest.close()

    async def _fetch(self, instrument_id: InstrumentId) -> Sequence[Any]:
        params: dict[str, str | int] = {"symbol": _venue_symbol(instrument_id), "limit": HISTORY_LIMIT}
        last = self._last.get(instrument_id)
        if last is not None:
            params["startTime"] = last // NANOS_PER_MILLI + 1
        rows = await self._rest.get("/fapi/v1/fundingRate", params)
        if not isinstance(rows, list):
            raise TypeError(f"expected a list of funding rates, got {type(rows).__name__}")
        return rows

    def _publish(self, instrument_id: InstrumentId, rows: Sequence[Any]) -> None:
        updates = []
        for row in rows:
            # The exchange stamps settlements with some milliseconds of jitter.
            at = (int(row["fundingTime"]) * NANOS_PER_MILLI + HOUR_NS // 2) // HOUR_NS * HOUR_NS
            updates.append((at, Decimal(row["fundingRate"])))
        topic = f"data.funding_rates.{instrument_id.venue}.{instrument_id.symbol}"
        for at, rate in sorted(updates):
            if at <= self._last.get(instrument_id, 0):
                continue
            self._last[instrument_id] = at
            update = FundingRateUpdate(
                instrument_id=instrument_id,
                rate=rate,
                ts_event=at,
                ts_init=at,
                interval=self.config.interval_hours * 60,
            )
            self.cache.add_funding_rate(update)
            self.msgbus.publish(topic, update)

    def _on_failure(self, instrument_id: InstrumentId, failures: int, error: Exception) -> None:
        self.log.warning(f"Funding rates of {instrument_id} cannot be read ({failures}): {error}")
        if failures == FAILURES_BEFORE_INCIDENT:
            publish_incident(
                self.msgbus,
                self.clock,
                severity="warning",
                code="FUNDING_POLL_FAILED",
                symbol=_venue_symbol(instrument_id),
                message=f"funding rates cannot be read: {error}",
            )


def _venue_symbol(instrument_id: InstrumentId) -> str:
    return instrument_id.symbol.value.removesuffix("-PERP")
