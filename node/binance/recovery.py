"""
Finding out what became of an order, from the venue's own answers, and telling the engine as the user stream would.

Used when a submission ended without an answer, when the engine asks about an order in flight, and when a stop's
execution was not heard. Nothing here makes an order; one that rests there and is rejected here is cancelled, and one
that can only reduce is sent again under its own id when the venue says that it was too busy to look at it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from nautilus_trader.adapters.binance.common.constants import BINANCE_FUTURES_ALGO_ORDER_TYPES
from nautilus_trader.adapters.binance.common.enums import BinanceOrderStatus
from nautilus_trader.adapters.binance.common.schemas.account import BinanceOrder, BinanceUserTrade
from nautilus_trader.adapters.binance.futures.http.account import BinanceFuturesAccountHttpAPI
from nautilus_trader.adapters.binance.futures.schemas.account import BinanceFuturesAlgoOrder
from nautilus_trader.adapters.binance.http.error import BinanceError
from nautilus_trader.core.datetime import millis_to_nanos
from nautilus_trader.model.enums import LiquiditySide
from nautilus_trader.model.identifiers import TradeId, VenueOrderId
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.model.orders import Order

from node.binance.http import error_code, outcome_unknown, throttled
from node.binance.incidents import publish_incident

if TYPE_CHECKING:
    from node.binance.reports import ReportingExecutionClient

NO_SUCH_ORDER = -2013
REDUCE_ONLY_REJECTED = -2022
GRACE_SECS = 1.0
"""Waited beyond the receive window before "no such order" counts as final, s."""
FIRST_LOOKUP_SECS = 0.2
LAST_LOOKUP_SECS = 1.0
LONGEST_WITHDRAWAL_PAUSE_SECS = 10.0
FAILED_LOOKUPS_BEFORE_INCIDENT = 5
ABSENCES_BEFORE_REJECTED = 2
RESEND_PAUSES_SECS = (0.1, 0.2, 0.4, *[0.5] * 12)
"""Waits between attempts to place what reduces while the venue throttles; then the outcome counts as unknown, s."""
CANCEL_REJECTED = -2011
DUPLICATE_ID = -4116

_GONE = frozenset({BinanceOrderStatus.CANCELED, BinanceOrderStatus.EXPIRED, BinanceOrderStatus.EXPIRED_IN_MATCH})

type Submit = Callable[..., Awaitable[None]]


class OrderRecovery:
    """
    Looks orders up by client id and turns what it finds into order events.

    Parameters
    ----------
    client : ReportingExecutionClient
        The execution client whose orders these are; it emits the events.
    account : BinanceFuturesAccountHttpAPI
        The client's account endpoints.
    msgbus, cache, clock, log : Any
        The client's own.
    recv_window_ms : int
        How late the venue may execute an order request, ms.
    lock : asyncio.Lock
        Held while a snapshot of the venue is taken and applied: a look-up must not get in between.

    """

    def __init__(
        self,
        client: "ReportingExecutionClient",
        *,
        account: BinanceFuturesAccountHttpAPI,
        msgbus: Any,
        cache: Any,
        clock: Any,
        log: Any,
        recv_window_ms: int,
        lock: asyncio.Lock,
    ) -> None:
        self._client = client
        self._account = account
        self._msgbus = msgbus
        self._cache = cache
        self._clock = clock
        self._log = log
        self._recv_window_ms = recv_window_ms
        self._lock = lock
        self._absences: dict[Any, int] = {}
        self._resolving: set[Any] = set()
        self._sending: set[Any] = set()
        self._withdrawing: set[Any] = set()
        self._unanswered_ns: dict[Any, int] = {}

    def guard(self, submit: Submit) -> Submit:
        """
        Return `submit` such that an unknown outcome leaves the order SUBMITTED and starts a look-up.

        Without it a 5xx, -1007 or reset connection becomes ``OrderRejected`` although the venue may have executed the
        order: the strategy would enter again and hold twice the position (`knowledge/live-binance.md` §4 F6b).

        A throttled request (503 -1008) was not executed, says the venue. To believe that of an entry would risk a
        second position; an order that only reduces cannot do harm, and a stop must not wait seconds for a look-up: it
        is sent again, under the same id, unless the venue knows that id after all.
        """

        async def guarded(order: Order, *args: Any) -> None:
            self._sending.add(order.client_order_id)
            try:
                await self._send(submit, order, *args)
            except asyncio.CancelledError:
                # Shutdown in the middle of a request. The caller would call it rejected; reconciliation will know.
                self._log.warning(f"Submission of {order.client_order_id!r} interrupted, outcome unknown")
            except Exception as e:
                if not outcome_unknown(e):
                    if error_code(e) == REDUCE_ONLY_REJECTED and order.is_reduce_only:
                        self._client.position_missing(order)
                    raise
                self._unanswered_ns[order.client_order_id] = self._clock.timestamp_ns()
                self._on_unknown(order, e)
            finally:
                self._sending.discard(order.client_order_id)

        return guarded

    async def _send(self, submit: Submit, order: Order, *args: Any) -> None:
        for pause in RESEND_PAUSES_SECS if order.is_reduce_only else ():
            try:
                await submit(order, *args)
            except BinanceError as e:
                if not throttled(e):
                    if error_code(e) == DUPLICATE_ID and await self._is_there(order):
                        return
                    raise
                self._log.warning(f"{order.client_order_id!r} throttled: {e}; sent again in {pause} s")
            else:
                return
            await asyncio.sleep(pause)
            if order.is_closed or order.venue_order_id is not None or await self._is_there(order):
                return
        await submit(order, *args)

    async def _is_there(self, order: Order) -> bool:
        """Return whether the venue knows the order, and tell the engine; a venue that cannot be asked does not."""
        try:
            return await self.look_up(order)
        except BinanceError:
            return False

    def _on_unknown(self, order: Order, error: Exception) -> None:
        client = self._client
        text = f"no clear answer to the submission of {order.client_order_id}: {error}; looking it up"
        self._log.warning(text)
        publish_incident(
            self._msgbus,
            self._clock,
            severity="warning",
            code="ORDER_OUTCOME_UNKNOWN",
            symbol=client.venue_symbol(order.instrument_id),
            message=text,
        )
        if order.client_order_id not in self._resolving:
            self._resolving.add(order.client_order_id)
            client.create_task(self._resolve(order), log_msg=f"look_up: {order.client_order_id}")

    async def _resolve(self, order: Order) -> None:
        client = self._client
        delay = FIRST_LOOKUP_SECS
        failures = 0
        try:
            while order.venue_order_id is None and not order.is_closed:
                await asyncio.sleep(delay)
                delay = min(delay * 2, LAST_LOOKUP_SECS)
                if order.venue_order_id is not None or order.is_closed:
                    return
                try:
                    if await self.look_up(order):
                        return
                except BinanceError as e:
                    failures += 1
                    self._log.warning(f"Look-up of {order.client_order_id!r} failed ({failures}): {e}")
                    if failures == FAILED_LOOKUPS_BEFORE_INCIDENT:
                        publish_incident(
                            self._msgbus,
                            self._clock,
                            severity="critical",
                            code="ORDER_LOOKUP_FAILING",
                            symbol=client.venue_symbol(order.instrument_id),
                            message=f"{order.client_order_id} may be live at the venue and cannot be looked up: {e}",
                        )
        finally:
            self._resolving.discard(order.client_order_id)

    async def look_up(self, order: Order) -> bool:
        """
        Ask the venue for `order` and emit the events the node has missed; return whether the venue knows it.

        "No such order" twice, later than the receive window after the request ended, is final: the order is then
        rejected, because the venue can no longer execute it. While the request is still in hand (it may wait in the
        request budget) it says nothing: the order is yet to come.

        Error contract: propagate (``BinanceError`` when the venue cannot be asked).
        """
        async with self._lock:
            return await self._look_up(order)

    async def _look_up(self, order: Order) -> bool:
        if order.order_type in BINANCE_FUTURES_ALGO_ORDER_TYPES:
            algo = await self.algo_order(order)
            if algo is not None:
                self._absences.pop(order.client_order_id, None)
                await self._tell_algo(order, algo)
                return True
        found = await self._regular_order(order, None)
        if found is not None:
            self._absences.pop(order.client_order_id, None)
            await self._tell_regular(order, found)
            return True
        self._note_absence(order)
        return False

    def _note_absence(self, order: Order) -> None:
        client = self._client
        identity = order.client_order_id
        if order.venue_order_id is not None or order.is_closed:
            self._unanswered_ns.pop(identity, None)
            return
        if identity in self._sending:
            self._absences.pop(identity, None)
            return
        horizon_ns = int((self._recv_window_ms / 1000 + GRACE_SECS) * 1e9)
        sent_ns = max(order.last_event.ts_init, self._unanswered_ns.get(identity, 0))
        if self._clock.timestamp_ns() - sent_ns < horizon_ns:
            return
        absences = self._absences.get(order.client_order_id, 0) + 1
        self._absences[order.client_order_id] = absences
        if absences < ABSENCES_BEFORE_REJECTED:
            return
        del self._absences[identity]
        self._unanswered_ns.pop(identity, None)
        client.generate_order_rejected(
            strategy_id=order.strategy_id,
            instrument_id=order.instrument_id,
            client_order_id=order.client_order_id,
            reason="NOT_AT_VENUE: the submission had no clear answer and the venue does not know the order",
            ts_event=self._clock.timestamp_ns(),
        )

    def withdraw(self, order: Order) -> None:
        """
        Cancel an order that rests at the venue though it was rejected here; once at a time.

        The engine refuses to open a rejected order again, so nobody would ever cancel it, and what protects the
        position now has been sent under another id: it would outlive the position and open a new one.
        """
        if order.client_order_id in self._withdrawing:
            return
        self._withdrawing.add(order.client_order_id)
        publish_incident(
            self._msgbus,
            self._clock,
            severity="warning",
            code="REJECTED_ORDER_LIVE",
            symbol=self._client.venue_symbol(order.instrument_id),
            message=f"{order.client_order_id} rests at the venue but was rejected here; cancelling it",
        )
        self._client.start_work(self._withdraw(order), "withdraw_order")

    async def _withdraw(self, order: Order) -> None:
        delay = FIRST_LOOKUP_SECS
        try:
            while True:
                try:
                    await self._cancel(order)
                except BinanceError as e:
                    if error_code(e) in (CANCEL_REJECTED, NO_SUCH_ORDER):
                        return
                    self._log.warning(f"{order.client_order_id!r} cannot be cancelled yet: {e}")
                else:
                    return
                await asyncio.sleep(delay)
                delay = min(delay * 2, LONGEST_WITHDRAWAL_PAUSE_SECS)
        finally:
            self._withdrawing.discard(order.client_order_id)

    async def _cancel(self, order: Order) -> None:
        name = order.client_order_id.value
        if order.order_type in BINANCE_FUTURES_ALGO_ORDER_TYPES:
            await self._account.cancel_algo_order(client_algo_id=name)
        else:
            await self._account.cancel_order(symbol=order.instrument_id.symbol.value, orig_client_order_id=name)

    async def algo_order(self, order: Order) -> BinanceFuturesAlgoOrder | None:
        """Return the venue's conditional order with the client id of `order`, or None; errors propagate."""
        try:
            return await self._account.query_algo_order(client_algo_id=order.client_order_id.value)
        except BinanceError as e:
            if error_code(e) == NO_SUCH_ORDER:
                return None
            raise

    async def _regular_order(self, order: Order, order_id: int | None) -> BinanceOrder | None:
        try:
            return await self._account.query_order(
                symbol=order.instrument_id.symbol.value,
                order_id=order_id,
                orig_client_order_id=None if order_id else order.client_order_id.value,
            )
        except BinanceError as e:
            if error_code(e) == NO_SUCH_ORDER:
                return None
            raise

    async def _tell_algo(self, order: Order, algo: BinanceFuturesAlgoOrder) -> None:
        self._tell_accepted(order, VenueOrderId(str(algo.algoId)))
        if algo.actualOrderId:
            actual = VenueOrderId(algo.actualOrderId)
            self._client.relink(order, actual)
            found = await self._regular_order(order, int(algo.actualOrderId))
            if found is not None:
                await self._tell_regular(order, found)
            return
        status = (algo.algoStatus or "").upper()
        if status == "REJECTED":
            self._tell_rejected(order, "REJECTED by the venue")
        elif status in {"CANCELED", "EXPIRED", "FINISHED"}:
            self._tell_canceled(order, VenueOrderId(str(algo.algoId)))

    async def _tell_regular(self, order: Order, found: BinanceOrder) -> None:
        venue_order_id = VenueOrderId(str(found.orderId))
        self._tell_accepted(order, venue_order_id)
        if Decimal(found.executedQty or 0) > order.filled_qty.as_decimal():
            await self._fetch_fills(order, venue_order_id)
        if found.status == BinanceOrderStatus.REJECTED:
            self._tell_rejected(order, "REJECTED by the venue")
        elif found.status in _GONE:
            self._tell_canceled(order, venue_order_id)

    def _tell_accepted(self, order: Order, venue_order_id: VenueOrderId) -> None:
        if order.venue_order_id is None and not order.is_closed:
            client = self._client
            client.generate_order_accepted(
                strategy_id=order.strategy_id,
                instrument_id=order.instrument_id,
                client_order_id=order.client_order_id,
                venue_order_id=venue_order_id,
                ts_event=self._clock.timestamp_ns(),
            )

    def _tell_canceled(self, order: Order, venue_order_id: VenueOrderId) -> None:
        if not order.is_closed:
            client = self._client
            client.generate_order_canceled(
                strategy_id=order.strategy_id,
                instrument_id=order.instrument_id,
                client_order_id=order.client_order_id,
                venue_order_id=venue_order_id,
                ts_event=self._clock.timestamp_ns(),
            )

    def _tell_rejected(self, order: Order, reason: str) -> None:
        if not order.is_closed:
            client = self._client
            client.generate_order_rejected(
                strategy_id=order.strategy_id,
                instrument_id=order.instrument_id,
                client_order_id=order.client_order_id,
                reason=reason,
                ts_event=self._clock.timestamp_ns(),
            )

    async def fetch_fills(self, order: Order, venue_order_id: VenueOrderId) -> int:
        """
        Emit the fills of `venue_order_id` that `order` lacks, with their real trade ids and fees; return how many.

        Error contract: propagate.
        """
        async with self._lock:
            return await self._fetch_fills(order, venue_order_id)

    async def _fetch_fills(self, order: Order, venue_order_id: VenueOrderId) -> int:
        trades = await self._account.query_user_trades(
            symbol=order.instrument_id.symbol.value, order_id=int(venue_order_id.value)
        )
        known = set(order.trade_ids)
        missing = [t for t in trades if TradeId(str(t.id)) not in known and str(t.orderId) == venue_order_id.value]
        for trade in sorted(missing, key=lambda t: t.id or 0):
            self._tell_filled(order, venue_order_id, trade)
        return len(missing)

    def _tell_filled(self, order: Order, venue_order_id: VenueOrderId, trade: BinanceUserTrade) -> None:
        client = self._client
        instrument = self._cache.instrument(order.instrument_id)
        client.generate_order_filled(
            strategy_id=order.strategy_id,
            instrument_id=order.instrument_id,
            client_order_id=order.client_order_id,
            venue_order_id=venue_order_id,
            venue_position_id=None,
            trade_id=TradeId(str(trade.id)),
            order_side=order.side,
            order_type=order.order_type,
            last_qty=Quantity(Decimal(trade.qty), instrument.size_precision),
            last_px=Price(Decimal(trade.price), instrument.price_precision),
            quote_currency=instrument.quote_currency,
            commission=Money(Decimal(trade.commission), Currency.from_str(trade.commissionAsset)),
            liquidity_side=LiquiditySide.MAKER if trade.maker else LiquiditySide.TAKER,
            ts_event=millis_to_nanos(trade.time or self._clock.timestamp_ms()),
        )
