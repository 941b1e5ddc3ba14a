"""
Connection and reconciliation of the corrected Binance USD-M execution client.

The stock client gives up at the first failed query of a start, goes deaf when the user stream's recovery fails once,
and reconciles from a picture whose parts need not belong together (`knowledge/live-binance.md` §4). Each override says
what breaks without it.
"""

import asyncio
from typing import Any

from nautilus_trader.adapters.binance.http.error import BinanceError
from nautilus_trader.core.datetime import millis_to_nanos
from nautilus_trader.core.nautilus_pyo3 import WebSocketClientError
from nautilus_trader.execution.reports import ExecutionMassStatus, OrderStatusReport
from nautilus_trader.model.enums import OrderStatus
from nautilus_trader.model.identifiers import VenueOrderId
from nautilus_trader.model.orders import Order

from node.binance.data import CONNECT_DELAYS_SECS
from node.binance.http import transient
from node.binance.reports import ReportingExecutionClient
from strategies.base import RESYNC_TOPIC

RECONCILE_DELAYS_SECS = (0.5, 1.0, 2.0)
RESYNC_LONGEST_DELAY_SECS = 30.0
SNAPSHOT_ATTEMPTS = 5
START_HOLD_SECS = 0.1
STREAM_WATCH_SECS = 1.0
FUNDING_WATCH_SECS = 300.0
_ENDED = (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED)
STREAM_QUESTION = b'{"method":"LIST_SUBSCRIPTIONS","id":1}'


class ReconcilingExecutionClient(ReportingExecutionClient):
    """
    Binance USD-M execution that starts, reconnects and reconciles completely or says so.

    Attributes
    ----------
    stream_gaps : int
        Times the user stream was re-established.

    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stream_gaps = 0
        self._began_ms = 0
        self._history_read = False
        self._resync_task: asyncio.Task[None] | None = None
        self._watch_task: asyncio.Task[None] | None = None
        self._funding_task: asyncio.Task[None] | None = None

    async def _connect(self) -> None:
        """
        Connect, trying again after a hiccup.

        Without it one 5xx at start leaves a process that logs RUNNING and never trades.
        """
        for delay in CONNECT_DELAYS_SECS:
            try:
                await super()._connect()
                break
            except (BinanceError, RuntimeError, TimeoutError) as e:
                if isinstance(e, BinanceError) and not transient(e):
                    raise
                self._log.warning(f"Connect failed ({e}), trying again in {delay} s")
                await self._ws_client.disconnect()
                await asyncio.sleep(delay)
        else:
            await super()._connect()
        if not self._history_read:
            self._began_ms = await self._http_market.request_server_time()
        self._watch_task = self._loop.create_task(self._watch_user_stream(), name="watch_user_stream")
        self._funding_task = self._loop.create_task(self._watch_funding(), name="watch_funding")

    async def _disconnect(self) -> None:
        for task in (self._watch_task, self._funding_task, self._resync_task):
            if task is not None:
                task.cancel()
        await super()._disconnect()

    async def read_back_funding(self) -> None:
        """Record what the account's history holds and no event told of; the events' own client overrides it."""

    async def _watch_funding(self) -> None:
        """Without it a funding event that is lost while the stream stands is missing until the next start."""
        while True:
            await asyncio.sleep(FUNDING_WATCH_SECS)
            try:
                await self.read_back_funding()
            except BinanceError as e:
                self._log.warning(f"Funding history cannot be read: {e}")

    async def user_stream_up(self) -> bool:
        """
        Return whether account events can arrive.

        A socket that is being re-established still says that it is active; only sending tells. What is sent asks for
        nothing but an answer, which :meth:`_handle_user_ws_message` leaves out.
        """
        stream = self._ws_client
        socket = stream._stream_client  # noqa: SLF001 - upstream offers no other sign
        if stream._is_recovery_failed or socket is None:  # noqa: SLF001 - as above
            return False
        try:
            await asyncio.wait_for(socket.send_text(STREAM_QUESTION), STREAM_WATCH_SECS)
        except (WebSocketClientError, TimeoutError):
            return False
        return True

    async def _watch_user_stream(self) -> None:
        """
        Bring the user stream back after its own recovery has given up.

        Without it one failed listen-key request during a reconnect leaves the node deaf for good, with no more than
        one log line.
        """
        delay = STREAM_WATCH_SECS
        stream = self._ws_client
        while True:
            await asyncio.sleep(delay)
            if not stream._is_recovery_failed:  # noqa: SLF001 - upstream offers no other sign
                delay = STREAM_WATCH_SECS
                continue
            self._incident("critical", "USER_STREAM_DOWN", "user stream lost, reconnecting")
            try:
                await stream.connect()
                await stream.session_logon()
                await stream.subscribe_user_data_stream(pre_dispatch_hook=self._reconcile_after_resubscribe)
            except (BinanceError, RuntimeError, TimeoutError) as e:
                stream._is_recovery_failed = True  # noqa: SLF001 - as above
                delay = min(delay * 2, RESYNC_LONGEST_DELAY_SECS)
                self._log.warning(f"User stream still down ({e}), trying again in {delay} s")

    async def _reconcile_after_resubscribe(self) -> None:
        """
        Reconcile after a gap, and refresh balances and margins too.

        Without the refresh the account keeps the balance of before the gap. Without the retry a query that fails here
        is logged once and the events of the gap are lost.
        """
        self.stream_gaps += 1
        self._incident("warning", "USER_STREAM_GAP", "user stream re-established, state read back from the venue")
        self.pending_work += 1
        try:
            if not await self._resync_once():
                self._request_resync("reconciliation after a stream gap failed")
        finally:
            self.pending_work -= 1

    async def _resync_once(self) -> bool:
        stream = self._ws_client
        async with self._snapshot_lock:
            held = stream._dispatch_paused  # noqa: SLF001 - see generate_mass_status
            stream._dispatch_paused = True  # noqa: SLF001 - as above
            try:
                status = await self.generate_mass_status(lookback_mins=None)
                if status is None:
                    return False
                self._send_mass_status_report(status)
            finally:
                if not held:
                    stream._resume_dispatch()  # noqa: SLF001 - as above
        try:
            await self._update_account_state()
            await self.read_back_funding()
        except (BinanceError, ExceptionGroup) as e:
            self._log.warning(f"Account refresh failed: {e}")
            return False
        self._msgbus.publish(RESYNC_TOPIC, "")  # protection looks again at what the picture brought
        return True

    def request_resync(self, reason: str) -> None:
        """Read the venue's state back as after a gap, because `reason` says the node's may be wrong."""
        self._request_resync(reason)

    def position_missing(self, order: Order) -> None:
        """
        Read the venue's state back when it refuses to reduce a position the node believes in.

        Without it a position that ended while the user stream was deaf is closed again and again, each time in vain,
        until the auditor looks. No more than a warning: a stop that fills while the close is on its way does the same.
        """
        if not self._cache.positions_open(instrument_id=order.instrument_id):
            return  # known meanwhile
        reason = f"the venue holds nothing that {order.client_order_id} could reduce"
        self._request_resync(reason, severity="warning")

    def _request_resync(self, reason: str, *, severity: str = "critical") -> None:
        if self._resync_task is None or self._resync_task.done():
            self._incident(severity, "STATE_UNCERTAIN", f"{reason}; reading the state back from the venue")
            self._resync_task = self._loop.create_task(self._resync_until_done(), name="resync")

    async def _resync_until_done(self) -> None:
        delay = RECONCILE_DELAYS_SECS[0]
        self.pending_work += 1
        try:
            while not await self._resync_once():
                await asyncio.sleep(delay)
                delay = min(delay * 2, RESYNC_LONGEST_DELAY_SECS)
        finally:
            self.pending_work -= 1
        self._log.info("State read back from the venue")

    async def generate_mass_status(self, lookback_mins: int | None = None) -> ExecutionMassStatus | None:
        """
        Return one consistent picture of the venue, or None after retries and the incident ``RECONCILIATION_FAILED``.

        Without the retries a single failed query ends a start. Without the check a fill between the query for positions
        and the one for trades makes them disagree, and the engine books a synthetic opposite fill to make them agree.
        Events are held back meanwhile: one that overtakes the picture would be undone by it, or booked twice.
        """
        stream = self._ws_client
        held = stream._dispatch_paused  # noqa: SLF001 - the reconnect path pauses it itself
        stream._dispatch_paused = True  # noqa: SLF001 - as above
        status = None
        try:
            for delay in (0.0, *RECONCILE_DELAYS_SECS):
                await asyncio.sleep(delay)
                status = await self._consistent_mass_status(lookback_mins)
                if status is not None:
                    break
        finally:
            if not held:  # at the start the engine applies the picture itself, a few loop iterations from here
                self._loop.call_later(START_HOLD_SECS, stream._resume_dispatch)  # noqa: SLF001 - as above
        self.reconciliation_active = False
        if status is None:
            self._incident("critical", "RECONCILIATION_FAILED", "the venue's orders and positions cannot be read")
        elif self._history_read:
            return self._of_this_life(status)
        else:
            self._history_read = True
        return status

    def _of_this_life(self, status: ExecutionMassStatus) -> ExecutionMassStatus:
        """
        Leave out what had ended before this node connected and is not in its books.

        A start reads the history of the symbols that are held then, before any strategy runs. Of a symbol that was flat
        then the whole history would come with the first read-back while it is held: the engine trades it all again, and
        the running strategies protect, close and report positions that have long been gone.
        """
        began_ns = millis_to_nanos(self._began_ms)
        kept = ExecutionMassStatus(
            client_id=status.client_id,
            account_id=status.account_id,
            venue=status.venue,
            report_id=status.id,
            ts_init=status.ts_init,
        )
        gone = {
            number
            for number, order in status.order_reports.items()
            if order.order_status in _ENDED and order.ts_last < began_ns and not self._knows(number, order)
        }
        kept.add_order_reports([order for number, order in status.order_reports.items() if number not in gone])
        for number, fills in status.fill_reports.items():
            unknown = number not in status.order_reports and self._cache.client_order_id(number) is None
            if number not in gone and not (unknown and all(fill.ts_event < began_ns for fill in fills)):
                kept.add_fill_reports(fills)
        for positions in status.position_reports.values():
            kept.add_position_reports(positions)
        return kept

    def _knows(self, number: VenueOrderId, order: OrderStatusReport) -> bool:
        if order.client_order_id is not None and self._cache.order(order.client_order_id) is not None:
            return True
        return self._cache.client_order_id(number) is not None

    async def _consistent_mass_status(self, lookback_mins: int | None) -> ExecutionMassStatus | None:
        try:
            before = await self._position_marks()
            for _ in range(SNAPSHOT_ATTEMPTS):
                status = await super().generate_mass_status(lookback_mins)
                if status is None:
                    return None
                after = await self._position_marks()
                if after == before:
                    return status
                self._log.info("A position changed while the venue's state was read, reading it again")
                before = after
        except BinanceError as e:
            self._log.warning(f"Positions cannot be read: {e}")
            return None
        self._log.warning(f"Positions changed during each of {SNAPSHOT_ATTEMPTS} readings of the venue's state")
        return None

    async def _position_marks(self) -> set[tuple[str, str, str, int]]:
        rows = await self._futures_http_account.query_futures_position_risk(None)
        return {(r.symbol, r.positionSide.value, r.positionAmt, r.updateTime) for r in rows}
