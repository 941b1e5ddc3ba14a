"""
The user stream of the corrected Binance USD-M execution client: every event read, in whatever order it comes.

See `node.binance.reconciliation` for the other half and the rules both keep, `node.binance.sending` for the way out.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from decimal import Decimal
from typing import Any

from nautilus_trader.adapters.binance.common.enums import BinanceExecutionType, BinanceOrderStatus
from nautilus_trader.adapters.binance.common.symbol import BinanceSymbol
from nautilus_trader.adapters.binance.futures.enums import BinanceFuturesEventType
from nautilus_trader.adapters.binance.futures.schemas.user import BinanceFuturesAlgoOrderData, BinanceFuturesOrderData
from nautilus_trader.adapters.binance.http.error import BinanceError
from nautilus_trader.core.datetime import millis_to_nanos
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.reports import FillReport
from nautilus_trader.model.enums import LiquiditySide, OrderStatus, OrderType
from nautilus_trader.model.identifiers import ClientOrderId, TradeId, VenueOrderId
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.model.orders import Order

from node.binance import user_events
from node.binance.funding import FundingReporter
from node.binance.http import ArgonautBinanceHttpClient
from node.binance.sending import SendingExecutionClient

ANSWER = b'{"result":'
"""How the answer to the question whether the stream is there begins; it is no event and is not counted."""
EXCHANGE_ORDERS = ("autoclose-", "adl_autoclose", "settlement_autoclose-")
"""How the client ids of the exchange's own orders begin."""
FILL_DEADLINE_SECS = 2.0
"""How long the fill event of a stop may trail its FINISHED, s."""
_RESTS_OR_GONE = (BinanceExecutionType.NEW, BinanceExecutionType.CANCELED, BinanceExecutionType.EXPIRED)
_RESTING_OR_GONE = (BinanceOrderStatus.NEW, BinanceOrderStatus.CANCELED, BinanceOrderStatus.EXPIRED)


class ArgonautBinanceFuturesExecutionClient(SendingExecutionClient):
    """
    Binance USD-M execution that never invents, loses or repeats an order.

    Attributes
    ----------
    request_budget : RequestBudget
        Of everything this node asks the venue.
    user_messages : int
        User-stream messages handled since construction (the replay barrier counts on it).
    before_entry : Callable[[], Awaitable[bool]] or None
        Awaited before an order that opens a position is sent; False denies it. The node writes its journal here: what
        was decided is on disk before anybody can act on it. Orders that close or protect never wait.
    entry_hold : Callable[[], str or None] or None
        Asked before that: a reason why nothing may be opened now (clock, user stream, Redis), or None.

    """

    def __init__(self, *, client: ArgonautBinanceHttpClient, **kwargs: Any) -> None:
        super().__init__(client=client, **kwargs)
        self.user_messages = 0
        self.before_entry: Callable[[], Awaitable[bool]] | None = None
        self.entry_hold: Callable[[], str | None] | None = None
        # Two strategies that decide on the same bar send concurrently, and the venue sees either order first. In a
        # replay that would be a difference to the backtest; in live trading a stop must not queue behind an entry.
        self._turn: AbstractAsyncContextManager[Any] = (
            asyncio.Lock() if kwargs["config"].lift_rate_limits else nullcontext()
        )
        self._unknown_kinds: set[str] = set()
        self._http = client
        self.request_budget = client.budget
        client.budget.on_blocked = lambda code, message: self._incident("warning", code, message)
        self._funding = FundingReporter(
            self, http=client, msgbus=self._msgbus, clock=self._clock, replay=kwargs["config"].lift_rate_limits
        )
        self._own_handlers = {
            "ACCOUNT_UPDATE": self._on_account_update,
            "MARGIN_CALL": self._on_margin_call,
            "ACCOUNT_CONFIG_UPDATE": self._on_account_config_update,
            "CONDITIONAL_ORDER_TRIGGER_REJECT": self._on_trigger_reject,
        }

    def correct_clock(self, offset_ms: int) -> None:
        """Sign requests with our clock plus `offset_ms`: what protects must arrive while our clock is wrong."""
        self._http.clock_offset_ms = offset_ms

    async def _submit_order(self, command: Any) -> None:
        """Send an order; in a replay one after the other, in the order they were decided."""
        async with self._turn:
            refusal = None if command.order.is_reduce_only else await self._refusal()
            if refusal is not None:
                order = command.order
                self.generate_order_denied(
                    strategy_id=order.strategy_id,
                    instrument_id=order.instrument_id,
                    client_order_id=order.client_order_id,
                    reason=refusal,
                    ts_event=self._clock.timestamp_ns(),
                )
                return
            await super()._submit_order(command)

    async def _refusal(self) -> str | None:
        held = self.entry_hold() if self.entry_hold is not None else None
        if held is not None:
            return f"ENTRIES_HELD: {held}"
        if self.before_entry is not None and not await self.before_entry():
            return "JOURNAL_UNAVAILABLE"
        return None

    async def _cancel_order(self, command: Any) -> None:
        """Cancel an order; in a replay in turn with the others."""
        async with self._turn:
            await super()._cancel_order(command)

    def _handle_user_ws_message(self, raw: bytes) -> None:
        """
        Count and dispatch one message; unknown types are noted once, an unreadable one starts a reconciliation.

        Without it every new event type or reason is an ERROR, and an event that could not be read is lost.
        """
        if raw.startswith(ANSWER):
            return
        self.user_messages += 1
        try:
            kind = user_events.KIND.decode(raw).e
            handler = self._own_handlers.get(kind)
            if handler is not None:
                handler(raw)
            elif kind == "TRADE_LITE" and not self._use_trade_lite:
                return
            elif (known := _event_type(kind)) is not None and known in self._futures_user_ws_handlers:
                self._futures_user_ws_handlers[known](raw)
            elif kind not in self._unknown_kinds:
                self._unknown_kinds.add(kind)
                self._log.info(f"User event {kind} is not used by this node")
        except Exception as e:  # noqa: BLE001 - nothing that arrives may stop the stream
            self._log.exception(f"Error on handling {raw!r}", e)
            self._request_resync("a user-stream event could not be handled")

    def _on_account_update(self, raw: bytes) -> None:
        update = user_events.ACCOUNT_UPDATE.decode(raw)
        if update.a.B:
            self.generate_account_state(
                balances=[balance.parse_to_account_balance() for balance in update.a.B],
                margins=[],
                reported=True,
                ts_event=millis_to_nanos(update.T),
            )
        if update.a.m == user_events.FUNDING_FEE:
            self._funding.on_update(update)

    async def read_back_funding(self) -> None:
        """Record funding payments no event told of. Errors: **propagate** (``BinanceError``)."""
        await self._funding.catch_up()

    def _on_margin_call(self, raw: bytes) -> None:
        call = user_events.MARGIN_CALL.decode(raw)
        for position in call.p:
            text = f"margin call: position {position.pa}, maintenance margin {position.mm} USDT"
            self._incident("critical", "MARGIN_CALL", text, position.s)
        self._log.warning(f"Margin call for {', '.join(p.s for p in call.p)}")

    def _on_account_config_update(self, raw: bytes) -> None:
        change = user_events.ACCOUNT_CONFIG_UPDATE.decode(raw).ac
        if change is None:
            self._log.info("Account configuration changed")
            return
        self._log.info(f"Leverage of {change.s} is now {change.l}")
        account = self.get_account()
        if account is not None and change.l >= 1:
            account.set_leverage(self._get_cached_instrument_id(change.s), Decimal(change.l))
        wanted = (self._leverages or {}).get(BinanceSymbol(change.s))
        if wanted is not None and wanted != change.l:
            text = f"leverage was changed to {change.l}, configured is {wanted}"
            self._incident("warning", "LEVERAGE_CHANGED", text, change.s)

    def _on_trigger_reject(self, raw: bytes) -> None:
        """
        Close a stop that reached its trigger and was refused.

        Without it the event is an ERROR line and the stop is believed to protect the position.
        """
        rejected = user_events.TRIGGER_REJECT.decode(raw).rejected
        self._incident("critical", "STOP_REJECTED_AT_TRIGGER", f"order {rejected.i}: {rejected.r}", rejected.s)
        for order in self._cache.orders_open(instrument_id=self._get_cached_instrument_id(rejected.s)):
            if order.venue_order_id is not None and order.venue_order_id.value == str(rejected.i):
                self.generate_order_rejected(
                    strategy_id=order.strategy_id,
                    instrument_id=order.instrument_id,
                    client_order_id=order.client_order_id,
                    reason=f"REJECTED_AT_TRIGGER: {rejected.r}",
                    ts_event=self._clock.timestamp_ns(),
                )
                return
        self._request_resync(f"a triggered order of {rejected.s} was rejected")

    def _handle_order_trade_update(self, raw: bytes) -> None:
        """
        Re-link a triggered stop before its fill, whatever order the events come in.

        Without it a TRADE that precedes TRIGGERED is dropped: the node stays long while the venue is flat. A limit
        order that comes to rest after it was rejected here is cancelled.
        """
        message = self._decoder_futures_order_update.decode(raw)
        data = message.o
        client_order_id = ClientOrderId(data.c) if data.c else None
        venue_order_id = VenueOrderId(str(data.i))
        order = self._cache.order(client_order_id) if client_order_id is not None else None
        if data.c and data.l and Decimal(data.l) and (order is None or data.c.startswith(EXCHANGE_ORDERS)):
            self._book_foreign_fill(data, millis_to_nanos(message.T), known=order is not None)
            return
        if order is not None:
            if (
                order.status == OrderStatus.REJECTED
                and order.order_type == OrderType.LIMIT
                and data.x in _RESTS_OR_GONE
            ):
                if data.x == BinanceExecutionType.NEW:
                    self._recovery.withdraw(order)
                return
            if data.x == BinanceExecutionType.TRADE:
                self.relink(order, venue_order_id)
            elif data.x == BinanceExecutionType.NEW and self._linked.get(client_order_id) == venue_order_id:
                return
            if data.x == BinanceExecutionType.EXPIRED and self._expire_trailing(order, millis_to_nanos(message.T)):
                return
        if not (self._use_trade_lite and data.x == BinanceExecutionType.TRADE):
            data.handle_order_trade_update(self)

    def _book_foreign_fill(self, data: BinanceFuturesOrderData, ts_event: int, *, known: bool) -> None:
        """
        Book a trade nobody announced: of the exchange's own (liquidation, deleveraging, settlement), or a person's.

        Without it the engine takes the filled order for a reason to invent a trade, without its id and its fee, and
        refuses the real one: the journal then lacks what was paid (`knowledge/live-binance.md` §4 F14d). So the order
        is told as accepted first, and the trade as the trade it is.
        """
        instrument_id = self._get_cached_instrument_id(data.s)
        instrument = self._instrument_provider.find(instrument_id)
        venue_order_id = VenueOrderId(str(data.i))
        if instrument is None:
            self._request_resync(f"a trade in {data.s}, which this node does not know")
            return
        now = self._clock.timestamp_ns()
        last = Quantity(Decimal(data.l or 0), instrument.size_precision)
        if not known:
            report = data.parse_to_order_status_report(
                account_id=self.account_id,
                instrument_id=instrument_id,
                client_order_id=ClientOrderId(data.c),
                venue_order_id=venue_order_id,
                ts_event=ts_event,
                ts_init=now,
                enum_parser=self._enum_parser,
            )
            report.order_status = OrderStatus.ACCEPTED
            report.filled_qty = Quantity.zero(instrument.size_precision)
            self._send_order_status_report(report)
            if Decimal(data.z or 0) != Decimal(data.l or 0):
                self._request_resync(f"earlier trades of {data.c} in {data.s} were not heard")
        fee = Decimal(data.n) if data.n else Decimal(0)
        self._send_fill_report(
            FillReport(
                account_id=self.account_id,
                instrument_id=instrument_id,
                client_order_id=ClientOrderId(data.c),
                venue_order_id=venue_order_id,
                trade_id=TradeId(str(data.t)),
                order_side=self._enum_parser.parse_binance_order_side(data.S),
                last_qty=last,
                last_px=Price(Decimal(data.L or 0), instrument.price_precision),
                commission=Money(fee, Currency.from_str(data.N) if data.N else instrument.quote_currency),
                liquidity_side=LiquiditySide.MAKER if data.m else LiquiditySide.TAKER,
                report_id=UUID4(),
                ts_event=ts_event,
                ts_init=now,
            )
        )

    def _handle_algo_update(self, raw: bytes) -> None:
        """
        Hold FINISHED back until the fill it announces has passed the engine's queue.

        Without it nearly every stop gets a second, synthetic fill, which the engine refuses with an ERROR (and would
        book if overfills were allowed). An order that comes to rest after it was rejected here is cancelled.
        """
        message = self._decoder_futures_algo_update.decode(raw)
        data = message.o
        ts_event = millis_to_nanos(message.T)
        order = self._cache.order(ClientOrderId(data.caid)) if data.caid else None
        if order is not None:
            if order.status == OrderStatus.REJECTED and data.X in _RESTING_OR_GONE:
                if data.X == BinanceOrderStatus.NEW:
                    self._recovery.withdraw(order)
                return
            if data.X == BinanceOrderStatus.TRIGGERED and data.ai:
                self.relink(order, VenueOrderId(data.ai))
                return
            if data.X == BinanceOrderStatus.FINISHED and Decimal(data.aq or 0) > 0 and not order.is_closed:
                self.start_work(self._finish(order, data, ts_event), "finish_algo_order")
                return
            if data.X == BinanceOrderStatus.EXPIRED and self._expire_trailing(order, ts_event):
                return
        data.handle_algo_update(self, ts_event)

    def _expire_trailing(self, order: Order, ts_event: int) -> bool:
        """
        Expire a trailing stop that expired.

        Without it the event becomes an update: a trailing stop whose sibling was faster is believed open for ever, and
        cancelled again and again.
        """
        if order.order_type != OrderType.TRAILING_STOP_MARKET:
            return False
        if not order.is_closed:
            self.generate_order_expired(
                strategy_id=order.strategy_id,
                instrument_id=order.instrument_id,
                client_order_id=order.client_order_id,
                venue_order_id=order.venue_order_id,
                ts_event=ts_event,
            )
        return True

    async def _finish(self, order: Order, data: BinanceFuturesAlgoOrderData, ts_event: int) -> None:
        executed = Decimal(data.aq or 0)
        if not await self._filled(order, executed) and data.ai:
            # The fill event never came: the trade list has the true price, id and fee.
            actual = VenueOrderId(data.ai)
            self.relink(order, actual)
            try:
                await self._recovery.fetch_fills(order, actual)
            except BinanceError as e:
                self._log.warning(f"Fills of {order.client_order_id!r} cannot be fetched: {e}")
                self._request_resync(f"fills of {order.client_order_id} are unknown")
                return
            await self._filled(order, executed)
        self._linked.pop(order.client_order_id, None)
        data.handle_algo_update(self, ts_event)

    async def _filled(self, order: Order, executed: Decimal) -> bool:
        deadline = self._loop.time() + FILL_DEADLINE_SECS
        spins = 0
        while not order.is_closed and order.filled_qty.as_decimal() < executed:
            if self._loop.time() > deadline:
                return False
            spins += 1
            await asyncio.sleep(0 if spins < 50 else 0.002)
        return True


def _event_type(kind: str) -> BinanceFuturesEventType | None:
    try:
        return BinanceFuturesEventType(kind)
    except ValueError:
        return None
