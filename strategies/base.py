"""
The frame every strategy hangs in: bars → Signal → (gates) → Approval → entry → protection. Backtest and live alike.

A concrete strategy implements :meth:`SignalStrategy.evaluate`: one finished, context-complete row in, a wish or nothing
out. Everything that sends orders is here and in ``strategies.protection``.

Errors: exits and protection never depend on what the gates or the features do. A row whose context bars never came
makes no signal (**fail closed**); history that cannot be had leaves the strategy not ready: no entries (**defer**).
"""

import json
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from nautilus_trader.model.data import Bar, BarType, FundingRateUpdate
from nautilus_trader.model.enums import OrderSide, PositionSide
from nautilus_trader.model.identifiers import ClientOrderId
from nautilus_trader.model.position import Position
from nautilus_trader.trading.strategy import Strategy

from strategies import records
from strategies.alerts import set_alert
from strategies.bar_sync import BarRow, BarSync, close_alone, values_of
from strategies.funding_memory import FundingMemory
from strategies.market_clock import bar_close_ns, market_clock
from strategies.messages import APPROVAL, SIGNAL, Approval, Side, Signal, signal_id, topic
from strategies.order_ids import Leg, decode
from strategies.protection import ExitReason, Plan, Protection
from strategies.signal_config import SignalStrategyConfig
from strategies.wish import Wish

__all__ = ["CONTROL_TOPIC", "FUNDING_READY_TOPIC", "SignalStrategy", "SignalStrategyConfig", "Wish"]

CONTROL_TOPIC = "argonaut.control"
FUNDING_READY_TOPIC = "argonaut.funding_ready"
RESYNC_TOPIC = "argonaut.resync"
"""The venue's state has been read back, or must be looked at again: a symbol, or None for all."""
_CONTEXT_TIMER = "context"
_ANSWER_WITHIN_NS = 60_000_000_000
_FLATTENING = {
    "flatten": ExitReason.FLATTEN,
    "kill": ExitReason.FLATTEN,
    "liquidate": ExitReason.LIQUIDATION,
    "end": ExitReason.END_OF_DATA,
}


class SignalStrategy(Strategy):
    """
    Base of all strategies: see the module's docstring.

    Parameters
    ----------
    config : SignalStrategyConfig
        The strategy's configuration.

    """

    def __init__(self, config: SignalStrategyConfig) -> None:
        super().__init__(config)
        self._id = config.instrument_id
        self._symbol = self._id.symbol.value.removesuffix("-PERP")
        self._name = self._id.symbol.value
        self._bar_ns = config.bar_type.spec.timedelta.value
        self._asks_history = config.history_bars > 0
        self._context_wait_secs = config.context_wait_secs
        self._idle_until = (config.trade_from_ns, config.warmup_bars)
        context = tuple(b.instrument_id.symbol.value for b in config.context_bar_types)
        self._alone = not context
        self._lonely = self._alone and not self._asks_history
        self._sync = BarSync(self._id.symbol.value, context)
        self._protection = Protection(self, self._id, config.code, config.protection, self._report)
        self._protection.emergency_levels = self.emergency_levels
        self._protection.levels_to_come = lambda: self._warming
        self._funding = FundingMemory()
        self._rows_seen = 0
        self._last: BarRow | None = None
        self._published: Signal | None = None
        self._after_flat: tuple[Wish, int] | None = None
        self._history: list[tuple[str, int, tuple[float, float, float, float, float]]] = []
        self._awaited: set[Any] = set()
        self._asked_ns = 0
        self._funding_ready = not config.wait_for_funding
        self._warming = config.history_bars > 0
        self._gap_from: int | None = None

    # -- what a concrete strategy provides ----------------------------------------------------------------------------

    @abstractmethod
    def evaluate(self, row: BarRow, funding: float) -> Wish | None:
        """
        Digest one row and say what is wished, or None.

        Called for every row in order, warm-up included; must not look at anything but its arguments and own state.

        Parameters
        ----------
        row : BarRow
            The finished bar and its context closes.
        funding : float
            Rate of the last settlement strictly before the bar's close; NaN if none is known.

        """

    @abstractmethod
    def emergency_levels(self, position: Position) -> Plan | None:
        """Return levels for a position whose own are unknown (opened by a person), or None if none can be given."""

    # -- state others may read ----------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """True when history has been digested and live bars decide."""
        return not self._warming

    @property
    def protection(self) -> Protection:
        """The keeper of stop and target."""
        return self._protection

    # -- Nautilus callbacks -------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Subscribe, take over what the venue holds, ask for history."""
        config = self.config
        if self.cache.instrument(self._id) is None:
            self.log.error(f"{self._id}: not in the cache: the instrument provider did not load it")
            self.stop()
            return
        self._market = market_clock(self.msgbus)
        for name, handler in self._subscriptions():
            self.msgbus.subscribe(name, handler)
        for bar_type in dict.fromkeys((*config.context_bar_types, config.bar_type)):
            self._market.expect(bar_type)
            self.subscribe_bars(bar_type)
        self._protection.recover()
        if self._warming:
            self._request_history()

    def on_stop(self) -> None:
        """Leave the bus. Stop and target stay at the venue: a deploy must not flatten."""
        for name, handler in self._subscriptions():
            self.msgbus.unsubscribe(name, handler)

    def _subscriptions(self) -> tuple[tuple[str, Callable[[Any], None]], ...]:
        return (
            (topic(APPROVAL), self._on_approval),
            (CONTROL_TOPIC, self._on_control),
            (RESYNC_TOPIC, self._on_resync),
            (f"data.funding_rates.{self._id.venue}.{self._id.symbol}", self._on_funding),
            (FUNDING_READY_TOPIC, self._on_funding_ready),
        )

    def on_reset(self) -> None:
        """Return to the state of a new instance (engine re-use)."""
        self._sync.reset()
        self._protection.reset()
        self._funding.clear()
        self._rows_seen = 0
        self._last = self._published = self._after_flat = None

    def on_bar(self, bar: Bar) -> None:
        """Join the bar with its context; decide on every row that completes."""
        if self._lonely and self._market.resting:
            self._glance(bar)
            return
        name = self._name if self._alone else bar.bar_type.instrument_id.symbol.value
        item = (name, bar_close_ns(bar), values_of(bar) if name == self._name else close_alone(bar))
        if self._warming or self._gap_from is not None:
            self._history.append(item)
            if name == self._name:
                self._protection.on_bar()  # protection does not wait for history
                self._ask_again(item[1])
            return
        if self._asks_history and self._is_gap(item):
            self._gap_from = self._sync.last_close_ns
            self._history.append(item)
            self._report("warning", "bar_gap", f"bars missing before {pd.Timestamp(item[1])}: asking for them")
            self._request(self._gap_from or 0, item[1])
            return
        rows = self._sync.add(*item)
        if rows:
            self._step(rows, decide=True)
        if self._context_wait_secs > 0 and self._sync.waiting_for_context:
            set_alert(self.clock, f"{_CONTEXT_TIMER}-{self.id}", self._context_wait_secs, self._on_context_timeout)

    def on_historical_data(self, data: Any) -> None:
        """Collect requested bars; those from beyond market time are dropped (see `history_end_ns`)."""
        if isinstance(data, Bar):
            self._history.append((data.bar_type.instrument_id.symbol.value, bar_close_ns(data), values_of(data)))

    def on_order_accepted(self, event: Any) -> None:
        """Forward to protection."""
        self._protection.on_accepted(event.client_order_id)

    def on_order_rejected(self, event: Any) -> None:
        """Forward to protection; a refused entry ends its cycle."""
        self._protection.on_gone(event.client_order_id, f"rejected: {event.reason}")

    def on_order_denied(self, event: Any) -> None:
        """Forward to protection: a denied stop is an emergency like a rejected one."""
        self._protection.on_gone(event.client_order_id, f"denied: {event.reason}")

    def on_order_canceled(self, event: Any) -> None:
        """Forward to protection."""
        self._protection.on_gone(event.client_order_id, "cancelled")

    def on_order_expired(self, event: Any) -> None:
        """Forward to protection."""
        self._protection.on_gone(event.client_order_id, "expired")

    def on_order_cancel_rejected(self, event: Any) -> None:
        """Forward to protection."""
        self._protection.on_cancel_rejected(event.client_order_id)

    def on_order_filled(self, event: Any) -> None:
        """Forward to protection; the position events that follow bring the legs in step."""
        self._protection.on_filled(event.client_order_id)

    def on_position_opened(self, event: Any) -> None:
        """Protect at once."""
        self._on_position(event)

    def on_position_changed(self, event: Any) -> None:
        """Grow or shrink the legs."""
        self._on_position(event)

    def on_position_closed(self, event: Any) -> None:
        """Cancel the sibling; a reverse signal that waited for this is published now."""
        if event.instrument_id != self._id:
            return
        self._protection.on_flat()
        waiting, self._after_flat = self._after_flat, None
        tag = decode(event.closing_order_id.value)
        if waiting is not None and tag is not None and tag.leg is Leg.EXIT:
            self._publish(*waiting)  # a stop that was faster came at a time, and a price, the wish does not know

    # -- decisions ----------------------------------------------------------------------------------------------------

    def _glance(self, bar: Bar) -> None:
        """Do as :meth:`on_bar` where there is no context and nothing to protect: on most bars of a backtest."""
        close_ns = bar.ts_event
        if close_ns % self._bar_ns:
            close_ns = bar_close_ns(bar)
        if self._sync.pass_alone(close_ns):
            self._take(tuple.__new__(BarRow, (close_ns, *values_of(bar), ())), decide=True)

    def _step(self, rows: list[BarRow], *, decide: bool) -> None:
        for row in rows:
            self._take(row, decide=decide)

    def _take(self, row: BarRow, *, decide: bool) -> None:
        close_ns = row.close_ns
        self._rows_seen += 1
        self._last = row
        protection = self._protection
        if protection.follows_bars:
            protection.note_bar(close_ns, row.high, row.low, row.close, self._bar_ns)
        wish = self.evaluate(row, self._funding.before(close_ns))
        if not decide:
            return
        self._after_flat = self._published = None  # a wish lives for one bar
        if not self._market.resting:
            protection.on_bar()
        trade_from_ns, warmup_bars = self._idle_until
        if close_ns <= trade_from_ns or self._rows_seen <= warmup_bars:
            return
        if row.context and not row.complete:
            self._report("warning", "context_missing", f"no signal on {pd.Timestamp(close_ns)}: context missing")
        elif wish is not None:
            self._act(wish, close_ns)

    def _act(self, wish: Wish, close_ns: int) -> None:
        self._market.wake()
        position = self._position()
        if position is not None and (position.side == PositionSide.LONG) != (wish.side is Side.LONG):
            self._after_flat = (wish, close_ns)
            self._protection.close(ExitReason.REVERSE_SIGNAL)
            return
        self._publish(wish, close_ns)

    def _publish(self, wish: Wish, close_ns: int) -> None:
        now = self.clock.timestamp_ns()
        name = type(self).__name__
        signal = Signal(
            now,
            now,
            instrument_id=self._id,
            signal_id=signal_id(name, self._id, close_ns, wish.side.value),
            strategy=self.id.value,
            side=wish.side.value,
            strength=float(wish.strength),
            reference_price=float(wish.reference_price),
            stop_price=float(wish.stop_price),
            target_price=float(wish.target_price),
            atr=float(wish.atr),
            bar_close=close_ns,
            schema=wish.schema,
            features=np.ascontiguousarray(wish.features, dtype="<f8").tobytes(),
        )
        self._published = signal
        self.publish_data(SIGNAL, signal)

    def _on_approval(self, approval: Approval) -> None:
        if approval.instrument_id != self._id or approval.strategy != self.id.value:
            return
        if self._published is None or approval.signal_id != self._published.signal_id:
            return  # late or foreign: a wish lives for one bar
        self._published = None
        instrument = self.cache.instrument(self._id)
        plan = Plan(
            approval.bar_close,
            instrument.make_price(approval.stop_price),
            instrument.make_price(approval.target_price),
        )
        client_order_id = self._protection.arm(plan)
        order = self.order_factory.market(
            instrument_id=self._id,
            order_side=OrderSide.BUY if approval.side == Side.LONG else OrderSide.SELL,
            quantity=instrument.make_qty(approval.quantity),
            tags=[
                f"signal:{approval.signal_id}",
                f"stop:{approval.stop_price}",
                f"target:{approval.target_price}",
            ],
            client_order_id=ClientOrderId(client_order_id),
        )
        self.submit_order(order)

    def _on_control(self, message: dict[str, Any]) -> None:
        """Flatten on command; everything that only blocks entries is the risk guard's affair."""
        reason = _FLATTENING.get(message.get("action", ""))
        if reason is not None and message.get("symbol") in (None, self._symbol):
            self._after_flat = None
            self._protection.close(reason)

    def _on_resync(self, symbol: str) -> None:
        if symbol in ("", self._symbol):  # empty: every symbol
            self._protection.resync()

    def _on_position(self, event: Any) -> None:
        position = self.cache.position(event.position_id)
        if event.instrument_id == self._id and position is not None:
            self._protection.on_position(position)

    def _position(self) -> Position | None:
        positions = self.cache.positions_open(instrument_id=self._id)
        return positions[0] if positions else None

    # -- side data and history ----------------------------------------------------------------------------------------

    def _on_funding(self, update: FundingRateUpdate) -> None:
        self._funding.add(update.ts_event, float(update.rate))

    def _is_gap(self, item: tuple[str, int, Any]) -> bool:
        """Asked only where a missing bar can be asked for: in live trading."""
        last = self._sync.last_close_ns
        return (
            last is not None
            and item[0] == self._name
            and item[1] > last + self._bar_ns
            and not self._sync.waiting_for_context
        )

    def _request_history(self) -> None:
        end = self.config.history_end_ns or self.clock.timestamp_ns()
        self._request(end - self.config.history_bars * self._bar_ns, end)

    def _request(self, start_ns: int, end_ns: int) -> None:
        types = tuple(dict.fromkeys((*self.config.context_bar_types, self.config.bar_type)))
        self._awaited = set(types)
        self._asked_ns = self.clock.timestamp_ns()
        # A bar closes before our clock says so when the exchange's runs ahead, and a request may not end in the future.
        end_ns = min(end_ns, self._asked_ns) // 1_000 * 1_000
        start_ns = min(start_ns, end_ns) // 1_000 * 1_000
        for bar_type in types:
            self.request_bars(
                bar_type,
                start=pd.Timestamp(start_ns, tz="UTC").to_pydatetime(),
                end=pd.Timestamp(end_ns, tz="UTC").to_pydatetime(),
                callback=lambda _, bar_type=bar_type: self._on_history_complete(bar_type),
            )

    def _ask_again(self, close_ns: int) -> None:
        """A request that failed is never answered: ask anew, in live trading, once per bar."""
        if not self._awaited or self.clock.timestamp_ns() - self._asked_ns < _ANSWER_WITHIN_NS:
            return
        missing = ", ".join(str(b) for b in self._awaited)
        self._report("warning", "history_missing", f"no answer for {missing}: asking again")
        if self._gap_from is not None:
            self._request(self._gap_from, close_ns)
        else:
            self._request_history()

    def _on_history_complete(self, bar_type: BarType) -> None:
        self._awaited.discard(bar_type)
        self._digest_history()

    def _on_funding_ready(self, _: Any) -> None:
        self._funding_ready = True
        self._digest_history()

    def _digest_history(self) -> None:
        if self._awaited or not self._funding_ready:
            return
        live_from = self.config.history_end_ns or self.clock.timestamp_ns()
        filling_gap = self._gap_from is not None
        items, self._history = sorted(self._history, key=lambda item: item[1]), []
        self._warming = False
        self._gap_from = None
        for item in items:
            # Bars that closed while we were warming up or back-filling may decide only if nothing newer is known:
            # acting on an old bar would be acting on a price that is gone.
            newest = item[1] == items[-1][1]
            self._step(self._sync.add(*item), decide=newest and (filling_gap or item[1] > live_from))
        self.log.info(f"history digested: {self._rows_seen} rows")
        self._protection.on_bar()

    def _on_context_timeout(self, _: Any) -> None:
        self._step(self._sync.release_waiting(), decide=True)

    # -- reports ------------------------------------------------------------------------------------------------------

    def _report(self, severity: str, code: str, message: str) -> None:
        now = self.clock.timestamp_ns()
        market = self._market.now if hasattr(self, "_market") else None
        record = records.IncidentRecord(
            id=f"{self.id}/{code}/{market}/{now}",
            market_time=market,
            wall_time=now,
            severity=severity,
            code=code,
            symbol=self._symbol,
            message=message,
        )
        self.msgbus.publish(record.topic, record)
        text = json.dumps({"code": code, "symbol": self._symbol, "message": message})
        {"critical": self.log.error, "info": self.log.info}.get(severity, self.log.warning)(text)
