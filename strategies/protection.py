"""
Venue-resident stop and target for one instrument: never naked, never an orphan. The same code in backtest and live.

The exchange accepts no linked orders, so stop and target are separate reduce-only conditional orders: placed when the
position opens, replaced (new first, then cancel the old) when its size changes, cancelled when flat. Levels travel in
the entry's client order id, so they survive kill -9 (see ``strategies.order_ids``).

Errors: a leg that is refused is retried *within its budget*; a stop that cannot be placed, or is refused because the
market is already through it, closes the position at market (**fail closed**); a target that cannot be placed leaves the
stop alone and is reported (**degraded**). What even so finds no hearing is tried again on a timer of wall time, ever
less often, and on every bar (**defer**).
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from nautilus_trader.model.enums import OrderSide, OrderStatus, PositionSide, TriggerType
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.model.orders import Order
from nautilus_trader.model.position import Position

from strategies.alerts import set_alert
from strategies.order_ids import Leg, OrderTag, decode, encode
from strategies.our_orders import OurOrders
from strategies.protection_plan import (
    THROUGH_MARKET,
    ExitReason,
    LegState,
    Plan,
    ProtectionConfig,
    closes,
    fits,
    plan_of_entry,
    plan_of_resting,
)

__all__ = ["THROUGH_MARKET", "ExitReason", "Plan", "Protection", "ProtectionConfig"]

_LONGEST_DELAY_SECS = 60.0


class Protection:
    """
    Keeps the venue-resident stop and target of one instrument in step with its position.

    Parameters
    ----------
    strategy : Strategy
        The owner: orders are sent, cancelled and looked up through it.
    instrument_id : InstrumentId
        The instrument protected.
    code : str
        Opens every client order id (see ``strategies.order_ids``).
    config : ProtectionConfig
        Retry budget and trigger price.
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
        self._legs = {Leg.STOP: LegState(Leg.STOP), Leg.TARGET: LegState(Leg.TARGET)}
        self._plan: Plan | None = None
        self._closing: ClientOrderId | None = None
        self._close_reason: ExitReason | None = None
        self._cancelling: set[ClientOrderId] = set()
        self._attempts: dict[Leg, int] = {}
        self._close_failures = 0
        self._delays = 0
        self._naked_since: int | None = None
        self.worst_naked_ns = 0
        self.emergency_levels: Callable[[Position], Plan | None] = lambda _: None

    # -- what the strategy tells us -----------------------------------------------------------------------------------

    def arm(self, plan: Plan) -> str:
        """Prepare for an entry about to be sent; return the client order id it must carry."""
        self._start_cycle(plan)
        increment = self._ours.instrument.price_increment.as_decimal()
        target = plan.target if plan.target is not None else plan.stop
        return encode(
            OrderTag(
                self._code,
                plan.cycle,
                Leg.ENTRY,
                self._next_attempt(Leg.ENTRY),
                int(plan.stop.as_decimal() / increment),
                int(target.as_decimal() / increment),
            )
        )

    @property
    def closing(self) -> bool:
        """True while a market order that closes the position is under way."""
        return self._closing is not None

    @property
    def plan(self) -> Plan | None:
        """Levels of the current cycle."""
        return self._plan

    def protected_quantity(self) -> Decimal:
        """Return the quantity covered by a stop that rests at the venue."""
        order = self._ours.order(self._legs[Leg.STOP].current)
        return order.leaves_qty.as_decimal() if order is not None and order.is_open else Decimal(0)

    def on_position(self, position: Position) -> None:
        """Bring both legs in step with an open position (opened, grown, shrunk, or found after a restart)."""
        if position.is_closed:
            return
        if self._naked_since is None and not self._covered(position):
            self._naked_since = self._strategy.clock.timestamp_ns()
        if self._close_reason is not None:
            self.close(self._close_reason)
            return
        if self._plan is None or not fits(self._plan, position):
            plan = plan_of_entry(position, self._ours.instrument) or self.emergency_levels(position)
            if plan is None:
                self._report("critical", "no_levels", "an open position has no protective levels: closing it")
                self.close(ExitReason.PROTECTION_FAILED)
                return
            self._start_cycle(plan)
        self._ensure(Leg.STOP, position)
        self._ensure(Leg.TARGET, position)

    def on_flat(self) -> None:
        """Cancel whatever is left of the legs; the cycle is over."""
        self._closing = None
        self._close_reason = None
        self._close_failures = self._delays = 0
        self._end_naked()
        for leg in self._legs.values():
            leg.reset()
        self._plan = None
        self._sweep()

    def close(self, reason: ExitReason) -> None:
        """
        Close the position at market, reduce-only. The stop stays at the venue until the position is flat.

        An entry still on its way is closed as soon as it fills.
        """
        position = self._ours.position()
        if position is None and self._ours.entry_under_way():
            self._close_reason = reason
        if position is None or self._closing is not None:
            return
        self._close_reason = reason
        side = OrderSide.SELL if position.side == PositionSide.LONG else OrderSide.BUY
        order = self._strategy.order_factory.market(
            instrument_id=self._instrument_id,
            order_side=side,
            quantity=position.quantity,
            reduce_only=True,
            tags=[f"exit:{reason.value}"],
            client_order_id=self._client_order_id(Leg.EXIT),
        )
        self._closing = order.client_order_id
        self._strategy.submit_order(order)

    def on_bar(self) -> None:
        """Once per bar: retry what was given up within the bar, whatever the gates say."""
        self._sweep()
        position = self._ours.position()
        if position is None:
            return
        for leg in self._legs.values():
            leg.failures = leg.losses = 0
            leg.given_up = False
        if self._closing is None:
            self.on_position(position)

    # -- what the venue tells us --------------------------------------------------------------------------------------

    def on_accepted(self, client_order_id: ClientOrderId) -> None:
        """Take over a leg that rests at the venue, cancel the one it replaces."""
        leg = self._leg_pending(client_order_id)
        if leg is None:
            self._sweep()  # accepted after its position was closed, by now perhaps beside another: an orphan
            return
        old, leg.current, leg.pending = leg.current, client_order_id, None
        leg.failures = 0
        if old is not None and old != client_order_id:
            order = self._ours.order(old)
            if order is not None and order.is_open:
                self._cancel(order)
        position = self._ours.position()
        if position is None:
            self.on_flat()
            return
        self._note_cover(position)
        self.on_position(position)
        self._sweep()

    def on_gone(self, client_order_id: ClientOrderId, reason: str) -> None:
        """React to an order of ours that was rejected, denied, expired or cancelled."""
        order = self._ours.order(client_order_id)
        if order is not None and (order.is_open or order.is_inflight):
            return  # the engine did not believe it: an error answer to a request that was executed
        if client_order_id == self._closing:
            self._closing = None
            self._close_refused(reason)
            return
        if client_order_id in self._cancelling:
            self._cancelling.discard(client_order_id)
            self._forget(client_order_id)
            return
        leg = self._leg_of(client_order_id)
        if leg is None:
            self._entry_gone(client_order_id)
            return
        was_resting = leg.current == client_order_id
        self._forget(client_order_id)
        position = self._ours.position()
        if position is None or self._closing is not None:
            return
        if self._naked_since is None and leg.leg is Leg.STOP and not self._covered(position):
            self._naked_since = self._strategy.clock.timestamp_ns()
        if was_resting:
            # Taken away by a person or the venue: not our failure, but what takes it away at once may do so again.
            leg.losses += 1
            self._report("warning", "leg_lost", f"{leg.leg.name}: {reason}: placing it again")
            self._again(position, at_once=leg.losses <= self._config.max_attempts)
            return
        leg.failures += 1
        if any(fragment in reason.lower() for fragment in THROUGH_MARKET):
            reached = leg.leg is Leg.TARGET
            self._report("info" if reached else "warning", "leg_through_market", f"{leg.leg.name}: {reason}: closing")
            self.close(ExitReason.TAKE_PROFIT if reached else ExitReason.STOP_LOSS)
        elif leg.failures < self._config.max_attempts:
            self._report("warning", "leg_refused", f"{leg.leg.name} attempt {leg.failures}: {reason}")
            # Denied by our own engine means too many orders in this second.
            self._again(position, at_once=not reason.startswith("denied"))
        elif leg.leg is Leg.STOP:
            self._report("critical", "stop_failed", f"{leg.failures} attempts, last answer: {reason}: closing")
            self.close(ExitReason.PROTECTION_FAILED)
        else:
            leg.given_up = True
            self._report("warning", "target_failed", f"{leg.failures} attempts, last answer: {reason}: stop only")

    def on_cancel_rejected(self, client_order_id: ClientOrderId) -> None:
        """Allow another attempt: the order may still rest at the venue (the next bar sweeps, and the timer)."""
        self._cancelling.discard(client_order_id)
        self._retry_later()

    def on_filled(self, client_order_id: ClientOrderId) -> None:
        """Note a leg or closing order that is completely filled; position events do the rest."""
        order = self._ours.order(client_order_id)
        if order is not None and order.is_closed:
            self._forget(client_order_id)
            if client_order_id == self._closing and self._ours.position() is not None:
                self._closing = None  # closed only a part: the position grew meanwhile
                self.close(self._close_reason or ExitReason.FLATTEN)

    def recover(self) -> None:
        """
        Take over what reconciliation found: adopt resting legs, re-place missing ones, cancel orphans.

        Called once, before the first bar of a new process.
        """
        position = self._ours.position()
        if position is None:
            self.on_flat()
            return
        resting = [(order, tag) for order, tag in self._ours.resting() if closes(order, position)]
        plan = (
            plan_of_entry(position, self._ours.instrument)
            or plan_of_resting(resting)
            or self.emergency_levels(position)
        )
        if plan is not None:
            self._start_cycle(plan)
            # Killed between a leg's replacement and the cancel of the old one: keep the one of the right size.
            resting.sort(key=lambda pair: (pair[0].leaves_qty != position.quantity, -pair[1].attempt))
            for order, tag in resting:
                leg = self._legs[tag.leg]
                if leg.current is None and tag.cycle == plan.cycle:
                    leg.current = order.client_order_id
        self.on_position(position)
        self._sweep()

    def reset(self) -> None:
        """Forget everything (a new backtest run)."""
        for leg in self._legs.values():
            leg.reset()
        self._plan = None
        self._closing = None
        self._close_reason = None
        self._cancelling.clear()
        self._attempts.clear()
        self._close_failures = self._delays = 0
        self._naked_since = None
        self.worst_naked_ns = 0

    # -- inside -------------------------------------------------------------------------------------------------------

    def _start_cycle(self, plan: Plan) -> None:
        if self._plan is None or plan.cycle != self._plan.cycle:
            self._attempts = self._ours.attempts_of(plan.cycle)
        self._plan = plan
        self._close_reason = None
        self._close_failures = self._delays = 0

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
        level = None if plan is None else plan.stop if which is Leg.STOP else plan.target
        if level is None or leg.pending is not None or leg.given_up or self._closing is not None:
            return
        current = self._ours.order(leg.current)
        if current is not None and current.is_open and current.leaves_qty == position.quantity:
            self._note_cover(position)
            return
        self._place(leg, level, position)

    def _place(self, leg: LegState, level: Price, position: Position) -> None:
        factory = self._strategy.order_factory
        make = factory.stop_market if leg.leg is Leg.STOP else factory.market_if_touched
        reason = ExitReason.STOP_LOSS if leg.leg is Leg.STOP else ExitReason.TAKE_PROFIT
        order = make(
            instrument_id=self._instrument_id,
            order_side=OrderSide.SELL if position.side == PositionSide.LONG else OrderSide.BUY,
            quantity=Quantity(position.quantity.as_decimal(), position.quantity.precision),
            trigger_price=level,
            trigger_type=self._trigger,
            reduce_only=True,
            tags=[f"exit:{reason.value}"],
            client_order_id=self._client_order_id(leg.leg),
        )
        leg.pending = order.client_order_id
        self._strategy.submit_order(order)

    def _close_refused(self, reason: str) -> None:
        if self._ours.position() is None:
            return
        self._close_failures += 1
        self._close_reason = self._close_reason or ExitReason.FLATTEN
        if self._close_failures < self._config.max_attempts and not reason.startswith("denied"):
            self._report("warning", "close_refused", f"attempt {self._close_failures}: {reason}")
            self.close(self._close_reason)
        else:
            text = f"{self._close_failures} attempts, last answer: {reason}: again soon"
            self._report("critical", "close_failed", text)
            self._retry_later()

    def _again(self, position: Position, *, at_once: bool) -> None:
        if at_once:
            self.on_position(position)
        else:
            self._retry_later()

    def _retry_later(self) -> None:
        delay = min(self._config.retry_secs * 2**self._delays, _LONGEST_DELAY_SECS)
        self._delays = min(self._delays + 1, 10)
        set_alert(self._strategy.clock, f"protection-{self._instrument_id}", delay, self._on_retry)

    def _on_retry(self, _: Any) -> None:
        self._sweep()
        position = self._ours.position()
        if position is not None and self._closing is None:
            self.on_position(position)

    def _entry_gone(self, client_order_id: ClientOrderId) -> None:
        """Forget the levels of an entry that never filled: a later position is not its own."""
        tag = decode(client_order_id.value)
        order = self._ours.order(client_order_id)
        if tag is None or tag.leg is not Leg.ENTRY or self._plan is None or tag.cycle != self._plan.cycle:
            return
        if order is None or order.filled_qty == 0:
            self._plan = None
            if self._ours.position() is None:
                self._close_reason = None

    def _covered(self, position: Position) -> bool:
        return self.protected_quantity() >= position.quantity.as_decimal()

    def _note_cover(self, position: Position) -> None:
        if self._covered(position):
            self._end_naked()

    def _end_naked(self) -> None:
        if self._naked_since is not None:
            self.worst_naked_ns = max(self.worst_naked_ns, self._strategy.clock.timestamp_ns() - self._naked_since)
            self._naked_since = None

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
