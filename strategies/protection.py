"""
Venue-resident stop and target for one instrument: never naked, never an orphan. The same code in backtest and live.

The exchange accepts no linked orders, so stop and target are separate reduce-only conditional orders: placed when the
position opens, replaced (new first, then cancel the old) when its size changes, cancelled when flat. Levels travel in
the entry's client order id, so they survive kill -9 (see ``strategies.order_ids``).

Errors: a leg that is refused is retried *within its budget*; a stop that cannot be placed, or is refused because the
market is already through it, closes the position at market (**fail closed**); a target that cannot be placed leaves the
stop alone and is reported (**degraded**). What even so finds no hearing is tried again on a timer of wall time, ever
less often, and on every bar (**defer**). An order refused because there is nothing to reduce waits for the venue's
state (``strategies.read_back``).
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from nautilus_trader.model.enums import OrderSide, PositionSide
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId
from nautilus_trader.model.position import Position

from strategies.alerts import set_alert
from strategies.order_ids import Leg, OrderTag, decode, encode
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
from strategies.protective_legs import ProtectiveLegs
from strategies.read_back import nothing_to_reduce
from strategies.stop_moves import StopMoves

__all__ = ["THROUGH_MARKET", "ExitReason", "Plan", "Protection", "ProtectionConfig"]

_ATTEMPT_NS = 10 * 1_000_000_000
_MOST_ATTEMPTS = 36**3 - 1_000
"""Attempts have three digits to base 36: counted from a clock of ten seconds they come round after five days."""
_LONGEST_DELAY_SECS = 60.0
_LEVELS_WITHIN_SECS = 3.0
"""How long a position found at a start may wait for history to give it levels: with the start within five seconds."""


class Protection(ProtectiveLegs):
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
        super().__init__(strategy, instrument_id, code, config, report)
        self._moves = StopMoves(config)
        self.follows_bars = self._moves.active
        self.emergency_levels: Callable[[Position], Plan | None] = lambda _: None
        self.levels_to_come: Callable[[], bool] = lambda: False
        self._levels_due: bool | None = None  # None: nothing awaited; False: until the timer; True: waited enough

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

    def on_position(self, position: Position) -> None:
        """Bring both legs in step with an open position (opened, grown, shrunk, or found after a restart)."""
        if position.is_closed:
            return
        if not self._covered(position):
            self._naked.begin()
        if self._close_reason is not None:
            self.close(self._close_reason)
            return
        if self._plan is None or not fits(self._plan, position):
            plan = plan_of_entry(position, self._ours.instrument) or self.emergency_levels(position)
            if plan is None:
                self._without_levels()
                return
            self._start_cycle(plan)
        for leg in self._legs:
            self._ensure(leg, position)

    def _without_levels(self) -> None:
        """Close a position nobody has levels for; a node that starts waits some seconds for what history will tell."""
        if self._levels_due is None and self.levels_to_come():
            self._levels_due = False
            self._report("warning", "levels_awaited", "an open position has no levels before history is there: waiting")
            set_alert(self._strategy.clock, f"levels-{self._instrument_id}", _LEVELS_WITHIN_SECS, self._on_levels_due)
        if self._levels_due is False and self.levels_to_come():
            return
        self._report("critical", "no_levels", "an open position has no protective levels: closing it")
        self.close(ExitReason.PROTECTION_FAILED)

    def _on_levels_due(self, event: Any) -> None:
        self._levels_due = True
        self._on_retry(event)

    def on_flat(self) -> None:
        """Cancel whatever is left of the legs; the cycle is over."""
        self._levels_due = None
        self._closing = None
        self._close_reason = None
        self._close_failures = self._delays = 0
        self._read_back.reset()
        self._naked.position_closed()
        for leg in self._legs.values():
            leg.reset()
        self._plan = self._stop_level = None
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
        if self._read_back.pending:
            return
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

    def note_bar(self, close_ns: int, high: float, low: float, close: float, bar_ns: int) -> None:
        """Remember a finished bar, of the history too; :meth:`on_bar` acts on what is remembered."""
        self._moves.note_bar(close_ns, high, low, close, bar_ns)

    def on_bar(self) -> None:
        """Once per bar: retry what was given up within the bar and move the stop, whatever the gates say."""
        if self._ours.nothing_open():
            return
        position = self._ours.position()
        if position is not None and not self.follows_bars and self._in_step(position):
            return
        self._sweep()
        position = self._ours.position()
        if position is None:
            return
        for leg in self._legs.values():
            leg.failures = leg.losses = 0
            leg.given_up = False
        if self._closing is None:
            self._move_stop(position)
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
            self._other_gone(client_order_id)
            return
        was_resting = leg.current == client_order_id
        self._forget(client_order_id)
        position = self._ours.position()
        if position is None or self._closing is not None:
            return
        if leg.leg is Leg.STOP and not self._covered(position):
            self._naked.begin()
        if was_resting:
            # Taken away by a person or the venue: not our failure, but what takes it away at once may do so again.
            leg.losses += 1
            self._report("warning", "leg_lost", f"{leg.leg.name}: {reason}: placing it again")
            self._again(position, at_once=leg.losses <= self._config.max_attempts)
            return
        self._refused(leg, position, reason)

    def _refused(self, leg: LegState, position: Position, reason: str) -> None:
        leg.failures += 1
        through = any(fragment in reason.lower() for fragment in THROUGH_MARKET)
        if through and leg.leg is Leg.TRAIL and not leg.at_once:
            leg.at_once = True  # the activation price has been passed meanwhile: the venue may follow from here
            self._again(position, at_once=True)
        elif through and leg.leg is not Leg.TRAIL:
            reached = leg.leg is Leg.TARGET
            self._report("info" if reached else "warning", "leg_through_market", f"{leg.leg.name}: {reason}: closing")
            self.close(ExitReason.TAKE_PROFIT if reached else ExitReason.STOP_LOSS)
        elif leg.failures < self._config.max_attempts:
            self._report("warning", "leg_refused", f"{leg.leg.name} attempt {leg.failures}: {reason}")
            if nothing_to_reduce(reason):
                self._read_back.refused(self._on_retry)
            else:  # denied by our own engine means too many orders in this second
                self._again(position, at_once=not reason.startswith("denied"))
        elif leg.leg is Leg.STOP and self._covered(position):
            current = self._ours.order(leg.current)
            self._stop_level = None if current is None else current.trigger_price
            self._report("warning", "stop_move_failed", f"{leg.failures} attempts, last answer: {reason}: stays")
        elif leg.leg is Leg.STOP:
            self._report("critical", "stop_failed", f"{leg.failures} attempts, last answer: {reason}: closing")
            self._read_back.reset()
            self.close(ExitReason.PROTECTION_FAILED)
        else:
            leg.given_up = True
            code = "target_failed" if leg.leg is Leg.TARGET else "trail_failed"
            self._report("warning", code, f"{leg.failures} attempts, last answer: {reason}: stop only")

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
        told = plan_of_entry(position, self._ours.instrument) or plan_of_resting(resting)
        plan = told or self.emergency_levels(position)
        if plan is not None:
            self._start_cycle(plan)
            self._count_from_now()
            # Killed between a leg's replacement and the cancel of the old one: keep the one of the right size.
            resting.sort(key=lambda pair: (pair[0].leaves_qty != position.quantity, -pair[1].attempt))
            for order, tag in resting:
                leg = self._legs[tag.leg]
                if leg.current is None and tag.cycle == plan.cycle:
                    leg.current = order.client_order_id
                    if tag.leg is Leg.STOP and order.trigger_price != plan.stop:
                        self._stop_level = order.trigger_price  # moved by the process that is gone
        self.on_position(position)
        self._sweep()

    def _count_from_now(self) -> None:
        """
        Begin the attempts of this life where no former life can have been.

        A leg of which nothing is known may have been there, and cancelled while no node ran. Its number would be used
        again, and a look-up by client id then tell of the wrong one of two orders.
        """
        first = self._strategy.clock.timestamp_ns() // _ATTEMPT_NS % _MOST_ATTEMPTS
        self._attempts = dict.fromkeys(Leg, first) | self._attempts

    def resync(self) -> None:
        """Look again at everything the venue holds: after a stream gap, or when somebody found a difference."""
        position = self._ours.position()
        if position is None:
            if not self._ours.entry_under_way():
                self.on_flat()
            return
        self._read_back.done()
        for leg in self._legs.values():
            pending = self._ours.order(leg.pending)
            if pending is not None and pending.is_closed:
                leg.pending = None
            leg.given_up = False
        if self._closing is not None and (order := self._ours.order(self._closing)) is not None and order.is_closed:
            self._closing = None
        if self._closing is None:
            self.on_position(position)
        self._sweep()

    def reset(self) -> None:
        """Forget everything (a new backtest run)."""
        for leg in self._legs.values():
            leg.reset()
        self._plan = self._stop_level = None
        self._closing = None
        self._close_reason = None
        self._cancelling.clear()
        self._attempts.clear()
        self._close_failures = self._delays = 0
        self._read_back.reset()
        self._naked.reset()
        self._moves.reset()
        self._levels_due = None

    # -- inside -------------------------------------------------------------------------------------------------------

    def _move_stop(self, position: Position) -> None:
        """Say where the stop should be by the last bars; on_position places the new one, then cancels the old."""
        plan = self._plan
        if plan is None or not self._moves.active:
            return
        if self._moves.out_of_time(plan.cycle):
            self.close(ExitReason.TIME_STOP)
            return
        instrument = self._ours.instrument
        move = self._moves.move(
            long=position.side == PositionSide.LONG,
            entry=Decimal(repr(position.avg_px_open)),
            first_stop=plan.stop.as_decimal(),
            stop=(self._stop_level or plan.stop).as_decimal(),
            cycle=plan.cycle,
            tick=instrument.price_increment.as_decimal(),
        )
        if move is None:
            return
        if move.passed:
            self.close(ExitReason.STOP_LOSS)  # a stop there would be refused: the market has been through it
        elif self._legs[Leg.STOP].pending is None:
            self._stop_level = instrument.make_price(move.level)

    def _close_refused(self, reason: str) -> None:
        if self._ours.position() is None:
            return
        self._close_failures += 1
        self._close_reason = self._close_reason or ExitReason.FLATTEN
        nothing = nothing_to_reduce(reason)
        if nothing:
            self._read_back.refused(self._on_retry)
        if self._close_failures < self._config.max_attempts and not reason.startswith("denied"):
            self._report("warning", "close_refused", f"attempt {self._close_failures}: {reason}")
            self.close(self._close_reason)
        else:
            text = f"{self._close_failures} attempts, last answer: {reason}: again soon"
            self._report("critical", "close_failed", text)
            if not nothing:
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

    def _other_gone(self, client_order_id: ClientOrderId) -> None:
        """Forget the levels of an entry that never filled; protect again when a person's stop is taken away."""
        tag = decode(client_order_id.value)
        order = self._ours.order(client_order_id)
        if tag is None:
            position = self._ours.position()
            if position is not None and self._closing is None:
                self.on_position(position)
            return
        if tag.leg is not Leg.ENTRY or self._plan is None or tag.cycle != self._plan.cycle:
            return
        if order is None or order.filled_qty == 0:
            self._plan = None
            if self._ours.position() is None:
                self._close_reason = None
