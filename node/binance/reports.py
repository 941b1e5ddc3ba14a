"""
What the corrected Binance USD-M execution client reports of orders, fills and positions, and how it looks orders up.

The stock client counts fills twice, leaves a stop open that triggered unseen, and takes a failed query for an empty
answer (`knowledge/live-binance.md` §4, §6). Each override says what breaks without it. Signatures and error semantics
are upstream's; `node.binance.upstream` refuses to run on any other version.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from decimal import Decimal
from typing import Any

from nautilus_trader.adapters.binance.common.constants import BINANCE_FUTURES_ALGO_ORDER_TYPES
from nautilus_trader.adapters.binance.common.enums import BinanceOrderStatus
from nautilus_trader.adapters.binance.common.schemas.account import BinanceOrder, BinanceUserTrade
from nautilus_trader.adapters.binance.common.symbol import BinanceSymbol
from nautilus_trader.adapters.binance.futures.execution import BinanceFuturesExecutionClient
from nautilus_trader.adapters.binance.futures.schemas.account import BinanceFuturesAlgoOrder
from nautilus_trader.adapters.binance.http.error import BinanceError
from nautilus_trader.common.enums import LogLevel
from nautilus_trader.core.datetime import secs_to_millis
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import (
    GenerateFillReports,
    GenerateOrderStatusReports,
    GeneratePositionStatusReports,
    QueryOrder,
)
from nautilus_trader.execution.reports import (
    FillReport,
    OrderStatusReport,
    PositionStatusReport,
)
from nautilus_trader.model.enums import OrderStatus, OrderType, PositionSide
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId, VenueOrderId
from nautilus_trader.model.objects import Quantity
from nautilus_trader.model.orders import Order

from node.binance.incidents import publish_incident
from node.binance.recovery import OrderRecovery

APPLY_DEADLINE_SECS = 2.0
"""How long an event may take through the engine's queue, s."""


class ReportingExecutionClient(BinanceFuturesExecutionClient):
    """
    Binance USD-M execution whose reports and look-ups tell the truth or fail.

    Attributes
    ----------
    pending_work : int
        Tasks of this client whose result may still change orders or records.

    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pending_work = 0
        self._linked: dict[ClientOrderId, VenueOrderId] = {}
        self._snapshot_lock = asyncio.Lock()
        self._recovery = OrderRecovery(
            self,
            account=self._futures_http_account,
            msgbus=self._msgbus,
            cache=self._cache,
            clock=self._clock,
            log=self._log,
            recv_window_ms=self._recv_window,
            lock=self._snapshot_lock,
        )
        self._submit_order_method = {
            kind: self._recovery.guard(submit) for kind, submit in self._submit_order_method.items()
        }

    # -- small services for the helpers ------------------------------------------------------------

    @staticmethod
    def venue_symbol(instrument_id: InstrumentId) -> str:
        """Return the venue's symbol (``XRPUSDT``) of `instrument_id` (``XRPUSDT-PERP.BINANCE``)."""
        return str(BinanceSymbol(instrument_id.symbol.value))

    def open_position_symbols(self) -> list[str]:
        """Return the venue symbols the node holds positions in, sorted."""
        positions = self._cache.positions_open(venue=self.venue)
        return sorted({self.venue_symbol(p.instrument_id) for p in positions})

    def start_work(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run `work` as a task of this client and count it in `pending_work` until it ends."""
        self.pending_work += 1

        async def counted() -> None:
            try:
                await work
            finally:
                self.pending_work -= 1

        self.create_task(counted(), log_msg=name)

    def position_missing(self, order: Order) -> None:
        """The venue refused reduce-only `order`: it holds nothing to reduce. The reconciling client reads back."""

    def _incident(self, severity: str, code: str, message: str, symbol: str | None = None) -> None:
        publish_incident(self._msgbus, self._clock, severity=severity, code=code, symbol=symbol, message=message)

    # -- reports -----------------------------------------------------------------------------------

    def _get_cache_active_symbols(self) -> set[str]:
        """
        Return the symbols of cached open orders and positions in the venue's spelling.

        Without it (bug A) they come as ``XRPUSDT-PERP`` and are united with the venue's ``XRPUSDT``: trades are fetched
        twice, the doubled fills look like twice the position, and reconciliation books a synthetic opposite fill. It
        happens at every warm restart and every user-stream reconnect with a position open.
        """
        held = [*self._cache.orders_open(venue=self.venue), *self._cache.positions_open(venue=self.venue)]
        return {self.venue_symbol(item.instrument_id) for item in held}

    async def generate_order_status_reports(self, command: GenerateOrderStatusReports) -> list[OrderStatusReport]:
        """
        Return reports of all orders; raise when the venue cannot be asked.

        Without it a 5xx on openOrders or openAlgoOrders returns an empty list, reconciliation "succeeds", and the node
        runs without knowing its stops.
        """
        self._active_symbols_cache = None
        symbol = command.instrument_id.symbol.value if command.instrument_id is not None else None
        start_ms = secs_to_millis(command.start.timestamp()) if command.start is not None else None
        end_ms = secs_to_millis(command.end.timestamp()) if command.end is not None else None
        try:
            active, open_orders = await self._build_active_symbols(symbol)
            orders: list[BinanceOrder] = list(open_orders)
            if not command.open_only:
                orders = []
                for name in sorted(active):
                    orders.extend(await self._http_account.query_all_orders(symbol=name, limit=1_000))
            reports = self._parse_order_status_reports(orders, start_ms, end_ms)
            reports.extend(
                await self._generate_algo_order_status_reports(
                    symbol=symbol,
                    active_symbols=active,
                    open_only=command.open_only,
                    start_ms=start_ms,
                    end_ms=end_ms,
                )
            )
        finally:
            self._active_symbols_cache = None
        await self._links_applied()
        self._log_report_receipt(len(reports), "OrderStatusReport", command.log_receipt_level)
        return reports

    def _parse_order_status_reports(
        self, binance_orders: list[BinanceOrder], start_ms: int | None, end_ms: int | None
    ) -> list[OrderStatusReport]:
        """
        Parse as upstream, but cancel a limit order that rests although it was rejected here.

        Without it the engine refuses the report for good, and the order may fill when nobody expects it any more.
        """
        believed = []
        for found in binance_orders:
            order = self._cache.order(ClientOrderId(found.clientOrderId)) if found.clientOrderId else None
            rejected = (
                order is not None and order.status == OrderStatus.REJECTED and order.order_type == OrderType.LIMIT
            )
            if order is not None and rejected and not Decimal(found.executedQty or 0):
                if found.status == BinanceOrderStatus.NEW:
                    self._recovery.withdraw(order)
            else:
                believed.append(found)
        return super()._parse_order_status_reports(believed, start_ms, end_ms)

    def _parse_algo_order_report(
        self, algo_order: BinanceFuturesAlgoOrder, start_ms: int | None, end_ms: int | None
    ) -> OrderStatusReport | None:
        """
        Re-link a stop that triggered unseen to the order that executed it, then parse as upstream.

        Without it (bug B) the cached stop keeps the algo id, refuses the fill that carries the matching engine's order
        id, and stays open as a ghost while the position is closed at a made-up price. One that rests although it was
        rejected here is cancelled: the engine would refuse it for good.
        """
        order = self._cache.order(ClientOrderId(algo_order.clientAlgoId)) if algo_order.clientAlgoId else None
        if order is not None:
            resting = not algo_order.actualOrderId and (algo_order.algoStatus or "").upper() == "NEW"
            if order.status == OrderStatus.REJECTED and resting:
                self._recovery.withdraw(order)
                return None
            if algo_order.actualOrderId:
                self.relink(order, VenueOrderId(algo_order.actualOrderId))
        return super()._parse_algo_order_report(algo_order, start_ms, end_ms)

    def relink(self, order: Order, actual: VenueOrderId) -> bool:
        """
        Give a conditional `order` the id of the order that executes it; return whether an event was needed.

        The event goes through the engine's queue, so it precedes every later fill event of the order.
        """
        known = self._linked.get(order.client_order_id)
        if actual in (known, order.venue_order_id) or order.venue_order_id is None or order.is_closed:
            return False
        if order.order_type not in BINANCE_FUTURES_ALGO_ORDER_TYPES:
            return False
        self._linked[order.client_order_id] = actual
        self._triggered_algo_order_ids.add(order.client_order_id)
        self.generate_order_updated(
            strategy_id=order.strategy_id,
            instrument_id=order.instrument_id,
            client_order_id=order.client_order_id,
            venue_order_id=actual,
            quantity=order.quantity,
            price=order.price if order.has_price else None,
            trigger_price=order.trigger_price if order.has_trigger_price else None,
            ts_event=self._clock.timestamp_ns(),
            venue_order_id_modified=True,
        )
        return True

    async def _links_applied(self) -> None:
        """Wait until the engine has applied every re-link, because reconciliation does not pass its queue."""
        deadline = self._loop.time() + APPLY_DEADLINE_SECS
        while True:
            waiting = []
            for client_order_id, actual in list(self._linked.items()):
                order = self._cache.order(client_order_id)
                if order is None or order.is_closed:
                    del self._linked[client_order_id]
                elif order.venue_order_id != actual:
                    waiting.append(client_order_id)
            if not waiting:
                return
            if self._loop.time() > deadline:
                raise RuntimeError(f"the engine did not apply the new venue order ids of {waiting}")
            await asyncio.sleep(0.002)

    async def generate_fill_reports(self, command: GenerateFillReports) -> list[FillReport]:
        """
        Return each fill once, its stop re-linked first; raise when the venue cannot be asked.

        Without it a failed query is an empty list, which the engine takes for "no fills".
        """
        start_ms = secs_to_millis(command.start.timestamp()) if command.start is not None else None
        end_ms = secs_to_millis(command.end.timestamp()) if command.end is not None else None
        if command.instrument_id is not None:
            symbols = {self.venue_symbol(command.instrument_id)}
        else:
            symbols = self._get_cache_active_symbols() | await self._get_binance_active_position_symbols(None)
        trades: dict[tuple[str, int], BinanceUserTrade] = {}
        for symbol in sorted(symbols):
            for trade in await self._http_account.query_user_trades(
                symbol=symbol, start_time=start_ms, end_time=end_ms, limit=1_000
            ):
                if trade.symbol is not None and trade.id is not None:
                    trades[trade.symbol, trade.id] = trade
        await self._relink_executed_stops(trades.values())
        reports = [
            trade.parse_to_fill_report(
                account_id=self.account_id,
                instrument_id=self._get_cached_instrument_id(symbol),
                report_id=UUID4(),
                ts_init=self._clock.timestamp_ns(),
                use_position_ids=self._use_position_ids,
            )
            for (symbol, _), trade in sorted(trades.items(), key=lambda item: (item[1].time or 0, item[0][1]))
        ]
        self._log_report_receipt(len(reports), "FillReport", LogLevel.INFO)
        return reports

    async def _relink_executed_stops(self, trades: Iterable[BinanceUserTrade]) -> None:
        unknown: dict[str, set[int]] = {}
        for trade in trades:
            if trade.symbol is None or trade.orderId is None:
                continue
            if self._cache.client_order_id(VenueOrderId(str(trade.orderId))) is None:
                unknown.setdefault(trade.symbol, set()).add(trade.orderId)
        for order in self._cache.orders_open(venue=self.venue) if unknown else []:
            executed = unknown.get(self.venue_symbol(order.instrument_id))
            if not executed or order.order_type not in BINANCE_FUTURES_ALGO_ORDER_TYPES:
                continue
            algo = await self._recovery.algo_order(order)
            if algo is not None and algo.actualOrderId and int(algo.actualOrderId) in executed:
                self.relink(order, VenueOrderId(algo.actualOrderId))
        await self._links_applied()

    async def generate_position_status_reports(
        self, command: GeneratePositionStatusReports
    ) -> list[PositionStatusReport]:
        """
        Return the venue's positions; raise when it cannot be asked.

        Without it a single 5xx is an empty list, and the engine's position check closes a live position in its books.
        """
        instrument_id = command.instrument_id
        if instrument_id is None:
            reports = await self._get_binance_position_status_reports()
        else:
            reports = await self._get_binance_position_status_reports(instrument_id.symbol.value)
            if not reports:
                now = self._clock.timestamp_ns()
                reports = [
                    PositionStatusReport(
                        account_id=self.account_id,
                        instrument_id=instrument_id,
                        position_side=PositionSide.FLAT,
                        quantity=Quantity.zero(),
                        report_id=UUID4(),
                        ts_last=now,
                        ts_init=now,
                    )
                ]
        self._log_report_receipt(len(reports), "PositionStatusReport", command.log_receipt_level)
        return reports

    async def _query_order(self, command: QueryOrder) -> None:
        """
        Look a known order up and emit what was missed, fills with their real trade ids and fees.

        Without it the third failed query turns the order into a rejected one, and a fill found this way is booked with
        an invented trade id and no fee.
        """
        order = self._cache.order(command.client_order_id)
        if order is None:
            await super()._query_order(command)
            return
        try:
            if not await self._recovery.look_up(order):
                self._log.warning(f"{order.client_order_id!r} is not (yet) known to the venue")
        except BinanceError as e:
            self._log.warning(f"Look-up of {order.client_order_id!r} failed: {e}")
