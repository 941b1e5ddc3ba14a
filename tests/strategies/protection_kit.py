"""A hand-written venue for Protection: every answer comes when the test says so, in any order, or not at all."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from nautilus_trader.model.enums import OrderSide, OrderStatus, OrderType, PositionSide
from nautilus_trader.model.identifiers import ClientOrderId
from nautilus_trader.model.objects import Quantity

from catalog.instruments import instrument_id, load_instruments, to_nautilus
from strategies.order_ids import Leg, decode
from strategies.protection import Plan, Protection, ProtectionConfig

INSTRUMENT = to_nautilus(load_instruments()["XRPUSDT"])
ID = instrument_id("XRPUSDT")
MINUTE = 60_000_000_000
_CLOSED = (OrderStatus.REJECTED, OrderStatus.DENIED, OrderStatus.CANCELED, OrderStatus.FILLED, OrderStatus.EXPIRED)
_OPEN = (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.PENDING_CANCEL)


def price(x: float) -> Any:
    return INSTRUMENT.make_price(x)


def size(x: Decimal) -> Quantity:
    return Quantity(x, INSTRUMENT.size_precision)


@dataclass(eq=False)
class FakeOrder:
    """What Protection looks at of an order."""

    client_order_id: ClientOrderId
    order_type: OrderType
    side: OrderSide
    quantity: Decimal
    trigger_price: Any = None
    reduce_only: bool = False
    tags: list[str] = field(default_factory=list)
    status: OrderStatus = OrderStatus.INITIALIZED
    filled: Decimal = Decimal(0)

    @property
    def leaves_qty(self) -> Quantity:
        return size(self.quantity - self.filled)

    @property
    def filled_qty(self) -> Quantity:
        return size(self.filled)

    @property
    def is_reduce_only(self) -> bool:
        return self.reduce_only

    @property
    def is_closed(self) -> bool:
        return self.status in _CLOSED

    @property
    def is_open(self) -> bool:
        return self.status in _OPEN

    @property
    def is_inflight(self) -> bool:
        return self.status in (OrderStatus.SUBMITTED, OrderStatus.PENDING_CANCEL)

    @property
    def sign(self) -> int:
        return 1 if self.side == OrderSide.BUY else -1


@dataclass(eq=False)
class FakePosition:
    """What Protection looks at of a position."""

    net: Decimal
    opening_order_id: ClientOrderId
    avg_px_open: float = 1.0

    @property
    def is_closed(self) -> bool:
        return self.net == 0

    @property
    def side(self) -> PositionSide:
        return PositionSide.LONG if self.net > 0 else PositionSide.SHORT

    @property
    def quantity(self) -> Quantity:
        return size(abs(self.net))


class FakeVenue:
    """Strategy, cache, clock, order factory and exchange in one; the engine's order of events is kept."""

    def __init__(self, config: ProtectionConfig | None = None) -> None:
        self.orders: dict[ClientOrderId, FakeOrder] = {}
        self.position: FakePosition | None = None
        self.now = 28_000_000 * MINUTE
        self.alerts: dict[str, tuple[int, Callable[[Any], None]]] = {}
        self.reports: list[tuple[str, str, str]] = []
        self.deny = 0
        self.duplicates: list[str] = []
        self.emergency: dict[PositionSide, tuple[float, float]] = {
            PositionSide.LONG: (0.7, 1.7),
            PositionSide.SHORT: (1.7, 0.7),
        }
        self.config = config or ProtectionConfig()
        self.cache = SimpleNamespace(
            instrument=lambda _: INSTRUMENT,
            order=self.orders.get,
            orders=lambda **_: list(self.orders.values()),
            orders_open=lambda **_: [o for o in self.orders.values() if o.is_open],
            orders_open_count=lambda **_: sum(o.is_open for o in self.orders.values()),
            orders_inflight=lambda **_: [o for o in self.orders.values() if o.is_inflight],
            positions_open=lambda **_: [self.position] if self.position else [],
            positions_open_count=lambda **_: int(self.position is not None and not self.position.is_closed),
        )
        self.clock = SimpleNamespace(
            timestamp_ns=lambda: self.now,
            timer_names=self.alerts,
            cancel_timer=self.alerts.pop,
            set_time_alert_ns=self._set_alert,
        )
        self.order_factory = SimpleNamespace(
            market=self._market,
            stop_market=self._conditional(OrderType.STOP_MARKET),
            market_if_touched=self._conditional(OrderType.MARKET_IF_TOUCHED),
            trailing_stop_market=self._trailing,
        )
        self.restart()

    def restart(self) -> None:
        """Forget what the process knew; the cache keeps what reconciliation would bring back."""
        self.alerts.clear()
        self.protection = Protection(self, ID, "CMPXRP", self.config, lambda *r: self.reports.append(r))
        self.protection.emergency_levels = self._emergency

    def _emergency(self, position: FakePosition) -> Plan | None:
        levels = self.emergency.get(position.side)
        return None if levels is None else Plan(self.now, price(levels[0]), price(levels[1]))

    def _set_alert(self, name: str, at: int, callback: Callable[[Any], None]) -> None:
        assert name not in self.alerts
        self.alerts[name] = (at, callback)

    def _market(self, **fields: Any) -> FakeOrder:
        return self._order(OrderType.MARKET, None, **fields)

    def _conditional(self, kind: OrderType) -> Callable[..., FakeOrder]:
        def make(*, trigger_price: Any, trigger_type: Any, **fields: Any) -> FakeOrder:
            return self._order(kind, trigger_price, **fields)

        return make

    def _trailing(self, *, activation_price: Any, **fields: Any) -> FakeOrder:
        for name in ("trigger_type", "trailing_offset", "trailing_offset_type"):
            del fields[name]
        return self._order(OrderType.TRAILING_STOP_MARKET, activation_price, **fields)

    def _order(
        self,
        kind: OrderType,
        trigger: Any,
        *,
        instrument_id: Any,
        order_side: OrderSide,
        quantity: Quantity,
        client_order_id: ClientOrderId,
        reduce_only: bool = False,
        tags: list[str] | None = None,
    ) -> FakeOrder:
        assert instrument_id == ID
        return FakeOrder(client_order_id, kind, order_side, quantity.as_decimal(), trigger, reduce_only, tags or [])

    # -- what the strategy can do -------------------------------------------------------------------------------------

    def submit_order(self, order: FakeOrder) -> None:
        if order.client_order_id in self.orders:
            self.duplicates.append(order.client_order_id.value)
        self.orders[order.client_order_id] = order
        if self.deny > 0:
            self.deny -= 1
            order.status = OrderStatus.DENIED
            self.protection.on_gone(order.client_order_id, "denied: Exceeded MAX_ORDER_SUBMIT_RATE")
        else:
            order.status = OrderStatus.SUBMITTED

    def cancel_order(self, order: FakeOrder) -> None:
        assert not order.is_closed
        order.status = OrderStatus.PENDING_CANCEL

    # -- what the venue and people do ---------------------------------------------------------------------------------

    def accept(self, order: FakeOrder) -> None:
        order.status = OrderStatus.ACCEPTED
        self.protection.on_accepted(order.client_order_id)

    def end(self, order: FakeOrder, status: OrderStatus, reason: str) -> None:
        """Reject, cancel or expire."""
        order.status = status
        self.protection.on_gone(order.client_order_id, reason)

    def refuse_cancel(self, order: FakeOrder) -> None:
        order.status = OrderStatus.PARTIALLY_FILLED if order.filled else OrderStatus.ACCEPTED
        self.protection.on_cancel_rejected(order.client_order_id)

    def fill(self, order: FakeOrder, quantity: Decimal) -> None:
        """Fill; reduce-only orders take at most the position, or expire when there is nothing to reduce."""
        net = self.position.net if self.position else Decimal(0)
        if order.reduce_only:
            if net * order.sign >= 0:
                self.end(order, OrderStatus.EXPIRED, "expired")
                return
            quantity = min(quantity, abs(net))
            if quantity == abs(net):
                order.quantity = order.filled + quantity
        order.filled += quantity
        order.status = OrderStatus.FILLED if order.filled == order.quantity else OrderStatus.PARTIALLY_FILLED
        self._trade(order.sign * quantity, order.client_order_id)

    def person_trades(self, signed: Decimal, number: int) -> None:
        order = FakeOrder(
            ClientOrderId(f"web_{number}"), OrderType.MARKET, OrderSide.BUY, abs(signed), filled=abs(signed)
        )
        order.status = OrderStatus.FILLED
        self.orders[order.client_order_id] = order
        self._trade(signed, order.client_order_id)

    def _trade(self, signed: Decimal, client_order_id: ClientOrderId) -> None:
        before = self.position
        net = (before.net if before else Decimal(0)) + signed
        flips = before is not None and net * before.net < 0
        if before is None or flips:
            self.position = FakePosition(net, client_order_id)
        elif net == 0:
            self.position = None
        else:
            before.net = net
        # The engine updates the cache, then publishes the order's event, then those of the position.
        self.protection.on_filled(client_order_id)
        if before is not None and (net == 0 or flips):
            self.protection.on_flat()
        if self.position is not None:
            self.protection.on_position(self.position)

    def enter(self, side: OrderSide, quantity: str, cycle: int) -> FakeOrder:
        """Send an entry as SignalStrategy does."""
        levels = (price(0.9), price(1.3)) if side == OrderSide.BUY else (price(1.1), price(0.8))
        client_order_id = ClientOrderId(self.protection.arm(Plan(cycle, *levels)))
        order = FakeOrder(client_order_id, OrderType.MARKET, side, Decimal(quantity))
        self.submit_order(order)
        return order

    def ring(self) -> None:
        """Let the earliest alert fire."""
        name = min(self.alerts, key=lambda n: self.alerts[n][0])
        at, callback = self.alerts.pop(name)
        self.now = max(self.now, at)
        callback(None)

    # -- what a test looks at -----------------------------------------------------------------------------------------

    def legs(self, leg: Leg, *statuses: OrderStatus) -> list[FakeOrder]:
        """Return our orders of a leg, of these statuses or all."""
        found = []
        for order in self.orders.values():
            tag = decode(order.client_order_id.value)
            if tag is not None and tag.leg is leg and (not statuses or order.status in statuses):
                found.append(order)
        return found

    def leg(self, leg: Leg) -> FakeOrder:
        """Return the newest order of a leg."""
        return self.legs(leg)[-1]

    @property
    def inflight(self) -> list[FakeOrder]:
        return [o for o in self.orders.values() if o.is_inflight]

    @property
    def quiescent(self) -> bool:
        """Nothing travels and no retry is planned."""
        return not self.inflight and not self.alerts

    def broken_invariant(self) -> str | None:
        """Return what is wrong in this quiescent state, or None."""
        ours = [o for leg in (Leg.STOP, Leg.TARGET) for o in self.legs(leg) if o.is_open]
        if self.position is None:
            return f"orphans {[o.client_order_id.value for o in ours]}" if ours else None
        if self.protection.closing:
            return "closing, but no order travels"
        stops = [
            o
            for o in ours
            if o.order_type == OrderType.STOP_MARKET and o.sign * self.position.net < 0 and o.reduce_only
        ]
        covered = sum((o.leaves_qty.as_decimal() for o in stops), Decimal(0))
        if covered != abs(self.position.net):
            return f"position {self.position.net}, stops cover {covered}"
        targets = [o for o in ours if o.order_type == OrderType.MARKET_IF_TOUCHED]
        return f"{len(targets)} targets" if len(targets) > 1 else None
