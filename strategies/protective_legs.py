"""
The protective orders of one instrument: which counts, which replaces it, what is left over.

``strategies.protection`` decides; here it is carried out.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from nautilus_trader.model.enums import OrderSide, OrderStatus, PositionSide, TriggerType
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.model.orders import Order
from nautilus_trader.model.position import Position

from strategies.naked_clock import NakedClock
from strategies.order_ids import Leg, OrderTag, encode
from strategies.our_orders import OurOrders
from strategies.protection_plan import (
    REASON_OF_LEG,
    ExitReason,
    LegState,
    Plan,
    ProtectionConfig,
    VenueTrailing,
    closes,
    fits,
    trailing_order,
)
from strategies.read_back import ReadBack


class ProtectiveLegs:
    """
    Stop, target and trailing stop of one instrument, kept at the size of its position.

    Parameters
    ----------
    strategy : Strategy
        The owner: orders are sent, cancelled and looked up through it.
    instrument_id : InstrumentId
        The instrument protected.
    code : str
        Opens every client order id (see ``strategies.order_ids``).
    config : ProtectionConfig
        Which legs there are and what triggers them.
    report : Callable[[str, str, str], None]
        Receives ``(severity, code, message)`` of anything a person should know.

    """

    def __init__(
        self,
        strategy: Any,
        instrument_id: InstrumentId,
        code: str,
        config: ProtectionConfig,
        report: Callable[[str, str, str], None],
    ) -> None:
        self._strategy = strategy
        self._instrument_id = instrument_id
        self._ours = OurOrders(strategy, instrument_id)
        self._code = code
        self._config = config
        self._report = report
        self._trigger = TriggerType.MARK_PRICE if config.trigger == "mark" else TriggerType.LAST_PRICE
        self._legs = {leg: LegState(leg) for leg in (Leg.STOP, Leg.TARGET, Leg.TRAIL)}
        self._plan: Plan | None = None
        self._stop_level: Price | None = None
        self._closing: ClientOrderId | None = None
        self._close_reason: ExitReason | None = None
        self._close_failures = 0
        self._delays = 0
        self._cancelling: set[ClientOrderId] = set()
        self._attempts: dict[Leg, int] = {}
        self._naked = NakedClock(lambda: int(strategy.clock.timestamp_ns()), report)
        self._read_back = ReadBack(strategy, f"read-back-{instrument_id}", config.retry_secs)

    @property
    def worst_naked_ns(self) -> int:
        """Longest time a position stood without a stop for its whole size, ns."""
        return self._naked.worst_ns

    def protected_quantity(self) -> Decimal:
        """Return the quantity covered by stops that rest at the venue: ours and, if so configured, a person's."""
        order = self._ours.order(self._legs[Leg.STOP].current)
        own = order.leaves_qty.as_decimal() if order is not None and order.is_open else Decimal(0)
        position = self._ours.position()
        if position is None or not self._config.accept_foreign_stop:
            return own
        return own + self._ours.foreign_cover(position)

    def _start_cycle(self, plan: Plan) -> None:
        if self._plan is None or plan.cycle != self._plan.cycle:
            self._attempts = self._ours.attempts_of(plan.cycle)
            self._stop_level = None
        self._plan = plan
        self._close_reason = None
        self._close_failures = self._delays = 0
        self._read_back.reset()

    def _next_attempt(self, leg: Leg) -> int:
        attempt = self._attempts.get(leg, 0)
        self._attempts[leg] = attempt + 1
        return attempt

    def _client_order_id(self, leg: Leg) -> ClientOrderId:
        cycle = self._plan.cycle if self._plan is not None else self._strategy.clock.timestamp_ns()
        while True:
            client_order_id = ClientOrderId(encode(OrderTag(self._code, cycle, leg, self._next_attempt(leg))))
            if self._ours.order(client_order_id) is None:  # without a plan nothing else counts what was used before
                return client_order_id

    def _ensure(self, which: Leg, position: Position) -> None:
        leg = self._legs[which]
        plan = self._plan
        if plan is None or leg.pending is not None or leg.given_up or self._closing is not None:
            return
        if self._read_back.pending:
            return
        current = self._ours.order(leg.current)
        resting = current if current is not None and current.is_open else None
        if which is Leg.TRAIL:
            self._ensure_trail(leg, plan, position, resting)
            return
        level = (self._stop_level or plan.stop) if which is Leg.STOP else plan.target
        if level is None:
            return
        moved = which is Leg.STOP and self._stop_level is not None
        if resting is not None and resting.leaves_qty == position.quantity:
            if not moved or resting.trigger_price == level:
                self._note_cover(position)
                return
        elif which is Leg.STOP and resting is None and self._covered(position):
            self._note_cover(position)  # a person's stop
            return
        factory = self._strategy.order_factory
        make = factory.stop_market if which is Leg.STOP else factory.market_if_touched
        self._submit(leg, make(trigger_price=level, **self._leg_fields(leg, position)))

    def _ensure_trail(self, leg: LegState, plan: Plan, position: Position, resting: Order | None) -> None:
        rule = self._config.trailing
        if not isinstance(rule, VenueTrailing):
            return
        # Reduce-only takes no more than the position: a trailing order is replaced, and forgets its best price, only
        # when it has become too small.
        if resting is None or resting.leaves_qty < position.quantity:
            fields = self._leg_fields(leg, position)
            factory = self._strategy.order_factory
            tick = self._ours.instrument.price_increment.as_decimal()
            self._submit(leg, trailing_order(fields, factory, rule, plan, position, tick, at_once=leg.at_once))

    def _leg_fields(self, leg: LegState, position: Position) -> dict[str, Any]:
        return {
            "instrument_id": self._instrument_id,
            "order_side": OrderSide.SELL if position.side == PositionSide.LONG else OrderSide.BUY,
            "quantity": Quantity(position.quantity.as_decimal(), position.quantity.precision),
            "trigger_type": self._trigger,
            "reduce_only": True,
            "tags": [f"exit:{REASON_OF_LEG[leg.leg].value}"],
            "client_order_id": self._client_order_id(leg.leg),
        }

    def _submit(self, leg: LegState, order: Order) -> None:
        leg.pending = order.client_order_id
        self._strategy.submit_order(order)

    def _in_step(self, position: Position) -> bool:
        """Return whether stop and target rest for the whole position and nothing else does: there is nothing to do."""
        stop, target = self._legs[Leg.STOP], self._legs[Leg.TARGET]
        if (
            self._plan is None
            or self._close_reason is not None
            or self._closing is not None
            or self._stop_level is not None
            or self._config.trailing is not None
            or self._cancelling
            or stop.given_up
            or target.given_up
            or self._ours.open_count() != 2
        ):
            return False
        for leg in (stop, target):
            order = self._ours.order(leg.current)
            if leg.pending is not None or order is None or not order.is_open or order.leaves_qty != position.quantity:
                return False
            leg.failures = leg.losses = 0
        if not fits(self._plan, position):
            return False
        self._naked.end()
        return True

    def _covered(self, position: Position) -> bool:
        return self.protected_quantity() >= position.quantity.as_decimal()

    def _note_cover(self, position: Position) -> None:
        if self._covered(position):
            self._naked.end()

    def _leg_pending(self, client_order_id: ClientOrderId) -> LegState | None:
        return next((leg for leg in self._legs.values() if leg.pending == client_order_id), None)

    def _leg_of(self, client_order_id: ClientOrderId) -> LegState | None:
        legs = self._legs.values()
        return next((leg for leg in legs if client_order_id in (leg.pending, leg.current)), None)

    def _forget(self, client_order_id: ClientOrderId) -> None:
        leg = self._leg_of(client_order_id)
        if leg is not None:
            leg.pending = None if leg.pending == client_order_id else leg.pending
            leg.current = None if leg.current == client_order_id else leg.current

    def _sweep(self) -> None:
        """Cancel every protective order of ours that still rests although no leg counts on it."""
        position = self._ours.position()
        covered = position is None or self._covered(position)
        for order, tag in self._ours.resting():
            if self._leg_of(order.client_order_id) is not None:
                continue
            if covered or tag.leg is not Leg.STOP or not closes(order, position):
                self._cancel(order)  # what still protects goes last

    def _cancel(self, order: Order) -> None:
        if order.status != OrderStatus.PENDING_CANCEL:
            self._cancelling.add(order.client_order_id)
            self._strategy.cancel_order(order)
