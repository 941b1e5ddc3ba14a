"""
The recorder: hears everything that is decided and done, and publishes it as records on ``argonaut.record.*``.

It keeps the trade ledger, so a fill becomes FillRecord and then TradeRecord before any other component of ours hears of
that fill. Message-bus priorities:

    signals, verdicts, approvals   here 30 · gates 20 and 0
    order events                   engine 10 · here 8 · risk guard 6 · strategies 0
    bars                           market clock 1000: closes the step, then calls funding, here, guard · strategies 0

Times of fills are the *symbol's* market time, the close of its last finished bar: a stop inside the bar that opens at t
has time t, an order sent on the close at t has time t too. This does not depend on which symbol's bar came first
(`knowledge/replay-on-live-node.md` §4).

An equity point is the account at the end of a step: valued at its bars and again when orders sent on their closes have
filled, but not when something fills inside the next bar.

Errors: a defect here never reaches the engine in live; it is reported and recording goes on (**degraded**).
"""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import Bar
from nautilus_trader.model.enums import (
    OrderStatus,
    liquidity_side_to_str,
    order_side_to_str,
    order_status_to_str,
    order_type_to_str,
)
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId

from actors.account_view import PERPETUAL, PRICE_FIRST, AccountView, venue_symbol
from actors.ledger import Execution, RestoredLedger, TradeLedger, exit_reason
from actors.ledger_start import catch_up
from actors.reporting import Reporter, contained
from strategies.equity_points import EquityPoints, equity_points, equity_record
from strategies.market_clock import MarketClock, Nap, bar_close_ns, market_clock
from strategies.messages import APPROVAL, SIGNAL, VERDICT, Approval, Side, Signal, Verdict, topic
from strategies.order_ids import Leg, decode
from strategies.records import (
    ApprovalRecord,
    FillRecord,
    FundingRecord,
    OrderRecord,
    SignalRecord,
    TradeRecord,
    VerdictRecord,
)

_NOTHING = Decimal(0)
_DECISIONS_FIRST = 30
_ORDERS_FIRST = 8


class RecorderConfig(ActorConfig, kw_only=True, frozen=True):
    """
    Configuration of :class:`Recorder`.

    Parameters
    ----------
    instrument_ids : tuple of InstrumentId
        What is traded: compared with the venue's positions at start.
    restored : RestoredLedger
        What the journal remembers.
    venue, currency : str
        Whose account is valued, and its settlement currency.
    raise_errors : bool
        Backtests: a defect must end the run.

    """

    instrument_ids: tuple[InstrumentId, ...]
    restored: RestoredLedger = RestoredLedger()
    venue: str = "BINANCE"
    currency: str = "USDT"
    raise_errors: bool = False


class Recorder(Actor):
    """See the module's docstring. Start it before the strategies; its place among the actors does not matter."""

    def __init__(self, config: RecorderConfig) -> None:
        super().__init__(config)
        self._reporter = Reporter(self)
        self._market: MarketClock | None = None
        self._view: AccountView | None = None
        self._points: EquityPoints | None = None
        self._subscriptions: list[tuple[str, Callable[[Any], None], int]] = []
        self._hear_bar: Callable[[Any], None] = self._on_bar
        self._begin()

    def _begin(self) -> None:
        self.ledger = TradeLedger()
        self._point: tuple[int, int, Decimal, Decimal, int] | None = None
        self._balance: Decimal | None = None
        self._money_of: Decimal | None = None
        self._money = 0.0

    # -- life ---------------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Join the bus, then record what happened at the venue while nobody listened."""
        if self._market is None:
            self._view = AccountView(self.cache, self.config.venue, self.config.currency)
            self._market = market_clock(self.msgbus)
            close_step = self._contained(self._close_step)
            self._market.listen(lambda previous, _: close_step(previous))
            self._points = equity_points(self.msgbus)
            self._subscriptions = [
                (topic(SIGNAL), self._contained(self._on_signal), _DECISIONS_FIRST),
                (topic(VERDICT), self._contained(self._on_verdict), _DECISIONS_FIRST),
                (topic(APPROVAL), self._contained(self._on_approval), _DECISIONS_FIRST),
                ("events.order.*", self._contained(self._on_order_event), _ORDERS_FIRST),
                ("argonaut.record.funding", self._contained(self._on_funding), 0),
            ]
            self._hear_bar = self._contained(self._on_bar)
        for name, handler, priority in self._subscriptions:
            self.msgbus.subscribe(name, handler, priority)
        self._market.hear(self._hear_bar, PRICE_FIRST, self)
        self._contained(self._catch_up)(None)

    def on_stop(self) -> None:
        """Publish the last equity point and leave the bus."""
        for name, handler, _ in self._subscriptions:
            self.msgbus.unsubscribe(name, handler)
        if self._market is not None:
            self._market.ignore(self._hear_bar)
        self._contained(self._close_step)(self._market.now if self._market else None)

    def on_reset(self) -> None:
        """Forget the last run."""
        self._begin()

    # -- decisions ----------------------------------------------------------------------------------------------------

    def _on_signal(self, signal: Signal) -> None:
        record = SignalRecord(
            id=signal.signal_id,
            market_time=signal.bar_close,
            wall_time=self.clock.timestamp_ns(),
            strategy=signal.strategy,
            symbol=venue_symbol(signal.instrument_id),
            side=signal.side,
            strength=signal.strength,
            reference_price=signal.reference_price,
            stop_price=signal.stop_price,
            target_price=signal.target_price,
            features=[_number(x) for x in signal.feature_row().tolist()],
            schema=signal.schema,
        )
        self.msgbus.publish(record.topic, record)

    def _on_verdict(self, verdict: Verdict) -> None:
        self.ledger.note_verdict(verdict.signal_id, verdict.gate, verdict.reason, passed=verdict.passed)
        record = VerdictRecord(
            id=f"{verdict.signal_id}/{verdict.gate}",
            market_time=verdict.bar_close,
            wall_time=self.clock.timestamp_ns(),
            signal_id=verdict.signal_id,
            symbol=venue_symbol(verdict.instrument_id),
            gate=verdict.gate,
            passed=verdict.passed,
            reason=verdict.reason,
            score=_number(verdict.score),
            threshold=_number(verdict.threshold),
            detail=verdict.detail,
        )
        self.msgbus.publish(record.topic, record)

    def _on_approval(self, approval: Approval) -> None:
        record = ApprovalRecord(
            id=approval.signal_id,
            market_time=approval.bar_close,
            wall_time=self.clock.timestamp_ns(),
            symbol=venue_symbol(approval.instrument_id),
            side=approval.side,
            quantity=approval.quantity,
            stop_price=approval.stop_price,
            target_price=approval.target_price,
            risk_amount=approval.risk_amount,
        )
        self.msgbus.publish(record.topic, record)

    # -- orders, fills, trades ----------------------------------------------------------------------------------------

    def _on_order_event(self, event: Any) -> None:
        order = self.cache.order(event.client_order_id)
        name = type(event).__name__.removeprefix("Order")
        if order is not None:
            self._record_order(order, event.id.value, name, getattr(event, "reason", None))
        if isinstance(event, OrderFilled):
            fill = self.fill_record(event, self._time_of(venue_symbol(event.instrument_id)))
            if self.ledger.seen(fill.id):
                return
            self.record_fill(fill)
            if fill.leg in (Leg.ENTRY.name, Leg.EXIT.name):
                self._value()

    def record_fill(self, fill: FillRecord) -> None:
        """Publish a fill and, if it closed a round trip, the trade."""
        self.msgbus.publish(fill.topic, fill)
        trade = self.ledger.apply(self.execution(fill))
        if trade is not None:
            self.record_trade(trade)

    def record_funding(self, record: FundingRecord) -> None:
        """Publish a payment nobody heard of when it was made; the ledger hears it on the bus."""
        self.msgbus.publish(record.topic, record)

    def record_trade(self, trade: TradeRecord) -> None:
        """Publish a closed round trip."""
        self.msgbus.publish(trade.topic, trade)

    def fill_record(self, event: Any, market_time: int | None) -> FillRecord:
        """Return the record of an OrderFilled event."""
        symbol = venue_symbol(event.instrument_id)
        tag = decode(event.client_order_id.value)
        return FillRecord(
            id=f"{symbol}/{event.trade_id.value}",
            market_time=market_time,
            wall_time=self.clock.timestamp_ns(),
            client_order_id=event.client_order_id.value,
            venue_order_id=event.venue_order_id.value,
            symbol=symbol,
            leg=None if tag is None else tag.leg.name,
            side=order_side_to_str(event.order_side),
            quantity=str(event.last_qty),
            price=str(event.last_px),
            fee="0" if event.commission is None else str(event.commission.as_decimal()),
            liquidity=liquidity_side_to_str(event.liquidity_side),
            event_time=event.ts_event,
        )

    def execution(self, fill: FillRecord) -> Execution:
        """Return the fill with what its order's tags tell or, when they are lost, its client order id."""
        order = self.cache.order(ClientOrderId(fill.client_order_id))
        tags = list(order.tags or []) if order is not None else []
        known = dict(tag.split(":", 1) for tag in tags if ":" in tag)
        signal_id, stop, target = known.get("signal"), _float(known.get("stop")), _float(known.get("target"))
        tag = decode(fill.client_order_id)
        if tag is not None and tag.leg is Leg.ENTRY:
            side = Side.LONG if fill.side == "BUY" else Side.SHORT
            signal_id = signal_id or self.ledger.signal_of(fill.symbol + PERPETUAL, tag.cycle, side)
            tick = self._tick(fill.symbol)
            if stop is None and tick is not None and tag.stop_ticks is not None and tag.target_ticks is not None:
                stop = float(tag.stop_ticks * tick)
                # An entry without a target carries its stop twice.
                target = None if tag.target_ticks == tag.stop_ticks else float(tag.target_ticks * tick)
        return Execution(
            id=fill.id,
            symbol=fill.symbol,
            client_order_id=fill.client_order_id,
            is_buy=fill.side == "BUY",
            quantity=Decimal(fill.quantity),
            price=Decimal(fill.price),
            fee=Decimal(fill.fee),
            reason=exit_reason(fill.client_order_id, tags),
            market_time=fill.market_time,
            wall_time=fill.wall_time,
            signal_id=signal_id,
            stop=stop,
            target=target,
        )

    def _record_order(self, order: Any, event_id: str, name: str, reason: str | None) -> None:
        tag = decode(order.client_order_id.value)
        symbol = venue_symbol(order.instrument_id)
        record = OrderRecord(
            id=event_id,
            market_time=self._time_of(symbol),
            wall_time=self.clock.timestamp_ns(),
            client_order_id=order.client_order_id.value,
            venue_order_id=None if order.venue_order_id is None else order.venue_order_id.value,
            symbol=symbol,
            leg=None if tag is None else tag.leg.name,
            event=name,
            order_type=order_type_to_str(order.order_type),
            side=order_side_to_str(order.side),
            quantity=str(order.quantity),
            price=str(order.price) if order.has_price else None,
            trigger_price=str(order.trigger_price) if order.has_trigger_price else None,
            reason=reason or None,
        )
        self.msgbus.publish(record.topic, record)

    def _on_funding(self, record: FundingRecord) -> None:
        self.ledger.apply_funding(record)

    def _tick(self, symbol: str) -> Decimal | None:
        instrument = self.cache.instrument(self._instrument_id(symbol))
        return None if instrument is None else instrument.price_increment.as_decimal()

    def _time_of(self, symbol: str) -> int | None:
        if self._market is None or self._view is None:
            return None
        bar = self._view.newest(self._instrument_id(symbol))
        return self._market.now if bar is None else bar_close_ns(bar)

    def _instrument_id(self, symbol: str) -> InstrumentId:
        return InstrumentId.from_str(f"{symbol}{PERPETUAL}.{self.config.venue}")

    # -- start --------------------------------------------------------------------------------------------------------

    def _catch_up(self, _: Any) -> None:
        """Reconciliation ran before anybody listened: its orders and fills are read from the cache."""
        orders = [o for o in self.cache.orders() if o.instrument_id.venue.value == self.config.venue]
        for order in orders:
            if order.status != OrderStatus.INITIALIZED:
                status = order_status_to_str(order.status)
                name = "".join(word.capitalize() for word in status.split("_"))
                # One row per order and state, however often the node starts: reconciliation's event ids are random.
                self._record_order(order, f"{order.client_order_id.value}/{status}", name, "found at start")
        catch_up(self, self._reporter, [e for o in orders for e in o.events if isinstance(e, OrderFilled)])

    # -- equity -------------------------------------------------------------------------------------------------------

    def _on_bar(self, bar: Bar) -> None:
        view, market = self._view, self._market
        if view is None or market is None:
            return
        view.note(bar)
        if view.quiet() and self._balance is not None and market.now is not None:
            self._point = (market.now, self.clock.timestamp_ns(), self._balance, _NOTHING, 0)
        else:
            self._value()

    def may_rest(self) -> bool:
        """Return whether the next equity points will be as the last one: the points are kept, and nothing moves."""
        return self._points is not None and self._point is not None and self._view is not None and self._view.at_rest()

    def rested(self, nap: Nap) -> None:
        """Take the equity points of the steps slept through; the one before them was closed as the clock advanced."""
        view, points, balance = self._view, self._points, self._balance
        if view is None or points is None or balance is None:
            raise RuntimeError("the recorder slept before it had seen the account")
        view.note_newest(nap.newest)
        points.add_still(nap.steps[:-1], float(balance))
        self._point = (*nap.steps[-1], balance, _NOTHING, 0)

    def _value(self) -> None:
        view = self._view
        now = self._market.now if self._market is not None else None
        if view is None or now is None:
            return
        balance, positions = view.balance(), view.positions()
        unrealized = view.unrealized(positions) if positions else _NOTHING
        self._balance = balance
        if balance is None or unrealized is None:
            self._point = None  # better no point than one without a position's result
            return
        self._point = (now, self.clock.timestamp_ns(), balance, unrealized, len(positions))

    def _close_step(self, step: int | None) -> None:
        point, self._point = self._point, None
        if point is None or point[0] != step:
            return
        time, wall, balance, unrealized, positions = point
        if balance is not self._money_of:
            self._money_of, self._money = balance, float(balance)
        money = self._money
        if positions:
            values = (time, wall, money, float(unrealized), float(balance + unrealized), positions)
        else:
            values = (time, wall, money, 0.0, money, 0)
        if self._points is not None:
            self._points.add(*values)
        else:
            record = equity_record(*values)
            self.msgbus.publish(record.topic, record)

    # -- faults -------------------------------------------------------------------------------------------------------

    def _contained(self, handler: Callable[[Any], None]) -> Callable[[Any], None]:
        def report(error: Exception) -> None:
            text = f"{getattr(handler, '__name__', 'handler')}: {type(error).__name__}: {error}"
            self._reporter.incident("critical", "recorder_error", None, text)

        return contained(handler, report, raise_errors=self.config.raise_errors)


def _number(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _float(text: str | None) -> float | None:
    return None if text is None else float(text)
