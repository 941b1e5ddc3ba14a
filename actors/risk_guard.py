"""
The risk guard: the last gate. It grants size and levels, or says why not; only it does.

It is needed although the engine has a risk engine: on margin accounts that one checks neither size nor notional
(`knowledge/live-binance.md` §7). Rules are in ``actors.rules``, arithmetic is in ``strategies.sizing``; here the state
they look at is kept: what is open, granted, lost today, latched.

Order of hearing, which makes "granted" exact (message-bus priorities):

    bars           market clock 1000 · funding 900 · prices and forgotten grants here 850 · strategies 0
    order events   engine 10 · Recorder 8 (publishes the closed trade) · grants here 6 · strategies 0
    control        latches here 10 · strategies 0 (flatten)

Errors: whatever goes wrong blocks entries (**fail closed**) and is reported; in live nothing is raised into the bus, in
a backtest (`raise_errors`) everything is. A defect while keeping the state blocks until a person rearms.
"""

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, ClassVar

import msgspec
from nautilus_trader.model.data import Bar
from nautilus_trader.model.identifiers import InstrumentId

from actors.account_view import PRICE_FIRST, AccountView, side_of, venue_symbol
from actors.gate import Gate, GateConfig
from actors.latches import Latches
from actors.reporting import Reporter, contained
from actors.risk_state import AccountState, Exposure, Intent, RestoredRisk, RiskLimits
from actors.rules import build_rules, first_refusal
from actors.terms import Caps, Grids
from strategies.market_clock import NANOS_PER_DAY, MarketClock, Nap, bar_close_ns, market_clock
from strategies.messages import APPROVAL, Approval, Reason, Side, Signal, Verdict
from strategies.order_ids import Leg, decode
from strategies.records import TradeRecord
from strategies.sizing import MarginRatio, RiskFraction, Sized, Wish, exact, size_position, to_grid

CONTROL_TOPIC = "argonaut.control"
ORDER_EVENTS = "events.order.*"
TRADES = "argonaut.record.trade"
GRANTS_PRIORITY = 6
CONTROL_FIRST = 10
_NAN = Decimal("NaN")
# Exits that fill inside a bar; all others are sent on its close.
_INTRABAR_EXITS = ("STOP_LOSS", "TAKE_PROFIT", "TRAILING_STOP", "LIQUIDATION", "EXTERNAL")


class RiskGuardConfig(GateConfig, kw_only=True, frozen=True):
    """
    Configuration of :class:`RiskGuard`; plain JSON survives ``ImportableActorConfig``.

    Parameters
    ----------
    instrument_ids : tuple of InstrumentId
        What may be traded; their number divides the balance in margin-ratio sizing.
    sizing : RiskFraction or MarginRatio
        How size is wished (key ``method``: ``risk_fraction`` or ``margin_ratio``).
    limits : RiskLimits
        What shrinks or refuses it.
    start_balance : float
        Wallet balance at the start of the account's history, USDT.
    market_max_quantity : dict of venue symbol to decimal string
        Largest market order; the instrument itself knows only the limit-order maximum.
    restored : RestoredRisk
        What the journal remembers.
    venue, currency : str
        Whose account, and its settlement currency.
    raise_errors : bool
        Backtests: a defect must end the run instead of blocking entries.

    """

    instrument_ids: tuple[InstrumentId, ...]
    start_balance: float
    sizing: RiskFraction | MarginRatio = RiskFraction()
    limits: RiskLimits = RiskLimits()
    market_max_quantity: dict[str, str] = msgspec.field(default_factory=dict)
    restored: RestoredRisk = RestoredRisk()
    venue: str = "BINANCE"
    currency: str = "USDT"
    raise_errors: bool = False


class _Grant:
    """An Approval whose entry has not become a position yet."""

    def __init__(self, intent: Intent, quantity: Decimal) -> None:
        self.intent = intent
        self.quantity = quantity
        self.client_order_id: Any = None

    def is_for(self, order: Any) -> bool:
        """Return whether `order` is the entry this was granted to, by its tag or its client order id."""
        if f"signal:{self.intent.signal_id}" in (order.tags or ()):
            return True
        tag = decode(order.client_order_id.value)
        return tag is not None and tag.leg is Leg.ENTRY and tag.cycle == self.intent.bar_close

    @property
    def exposure(self) -> Exposure:
        return Exposure(self.intent.symbol, self.intent.side, self.quantity * self.intent.reference)


class RiskGuard(Gate):
    """Gate ``risk``: one Verdict per Signal (or per passed Verdict of `upstream`), and an Approval when it passed."""

    gate: ClassVar[str] = "risk"
    error_reason: ClassVar[Reason] = Reason.GUARD_ERROR

    def __init__(self, config: RiskGuardConfig) -> None:
        super().__init__(config)
        self._limits = config.limits
        self._rules = build_rules(config.limits)
        self._start_balance = exact(config.start_balance)
        self._ids = {venue_symbol(i): i for i in config.instrument_ids}
        self._grids = Grids(config.market_max_quantity)
        self._caps = Caps.of(config.limits)
        self._market: MarketClock | None = None
        self._view: AccountView | None = None
        self._interval: int | None = None
        self._intervals: set[str] = set()
        self._reporter = Reporter(self)
        # One object per handler: the bus knows a subscription by it.
        self._hear_bar = self._safely(self._on_bar)
        self._hear_order = self._safely(self._on_order_event)
        self._hear_trade = self._safely(self._on_trade)
        self._hear_control = self._safely(self.on_control)
        self._begin(config.restored)

    def _begin(self, restored: RestoredRisk) -> None:
        self.latches = Latches(self._limits, restored, self._incident)
        self._grants: dict[str, _Grant] = {}
        self._approved: tuple[int, set[str]] = (0, set())
        self._exited: set[str] = set()
        self._exit_bars: dict[str, int] = {}
        self._granted: tuple[Intent, Sized] | None = None
        self._fault: str | None = None
        self._day_ends = 0
        """Until then, UTC ns, an account in which nothing moves tells the latches nothing."""

    # -- life ---------------------------------------------------------------------------------------------------------

    def register_base(self, portfolio: Any, msgbus: Any, cache: Any, clock: Any) -> None:
        """Hear trades from the beginning: the Recorder publishes those made while the node was down when it starts."""
        super().register_base(portfolio, msgbus, cache, clock)
        msgbus.subscribe(TRADES, self._hear_trade)

    def on_start(self) -> None:
        """Join the bus."""
        if self._market is None:
            self._view = AccountView(self.cache, self.config.venue, self.config.currency)
            self._market = market_clock(self.msgbus)
            self._market.listen(self._on_clock)
        self._market.hear(self._hear_bar, PRICE_FIRST, self)
        self.msgbus.subscribe(ORDER_EVENTS, self._hear_order, GRANTS_PRIORITY)
        self.msgbus.subscribe(TRADES, self._hear_trade)
        self.msgbus.subscribe(CONTROL_TOPIC, self._hear_control, CONTROL_FIRST)
        self.latches.announce()
        super().on_start()

    def on_stop(self) -> None:
        """Leave the bus."""
        super().on_stop()
        if self._market is not None:
            self._market.ignore(self._hear_bar)
        self.msgbus.unsubscribe(ORDER_EVENTS, self._hear_order)
        self.msgbus.unsubscribe(TRADES, self._hear_trade)
        self.msgbus.unsubscribe(CONTROL_TOPIC, self._hear_control)

    def on_reset(self) -> None:
        """Return to the state the configuration describes."""
        super().on_reset()
        self._begin(self.config.restored)

    # -- commands -----------------------------------------------------------------------------------------------------

    def on_control(self, message: dict[str, Any]) -> None:
        """
        Obey ``{"action": "pause|resume|kill|rearm", "symbol": optional, "who": …}``; other actions are not ours.

        ``rearm`` clears kill switches (and forgets the losses that led to them), ``resume`` a pause. Nobody clears the
        daily loss but the next market day.
        """
        symbol = message.get("symbol")
        if symbol is not None and symbol not in self._ids:
            text = f"{message.get('action')}: unknown symbol {symbol!r}, known are {', '.join(self._ids)}"
            self._incident("warning", "control_refused", None, text)
            return
        action = str(message.get("action"))
        if self.latches.command(action, symbol, str(message.get("who", "unknown"))) and (action, symbol) == (
            "rearm",
            None,
        ):
            self._fault = None

    # -- the decision -------------------------------------------------------------------------------------------------

    def judge(self, signal: Signal) -> Verdict:
        """Return the Verdict on `signal`; exceptions become ``guard_error`` (fail closed)."""
        self._granted = None
        if self._fault is not None:
            raise RuntimeError(f"blocked until rearmed: {self._fault}")
        symbol = venue_symbol(signal.instrument_id)
        if self._ids.get(symbol) != signal.instrument_id:
            raise LookupError(f"{signal.instrument_id} is not among the instruments configured")
        instrument = self.cache.instrument(signal.instrument_id)
        if instrument is None:
            raise LookupError(f"{signal.instrument_id} is not in the cache")
        tick = instrument.price_increment.as_decimal()
        intent = Intent(
            symbol=symbol,
            signal_id=signal.signal_id,
            side=Side(signal.side),
            reference=_on_tick(signal.reference_price, tick),
            stop=_on_tick(signal.stop_price, tick),
            target=_on_tick(signal.target_price, tick),
            bar_close=signal.bar_close,
        )
        state = self.state()
        refusal = first_refusal(self._rules, intent, state)
        if not refusal.passed:
            return self.verdict(signal, refusal.reason, passed=False, detail=refusal.detail)
        if self._approved[0] == intent.bar_close and intent.signal_id in self._approved[1]:
            return self.verdict(signal, Reason.ORDER_PENDING, passed=False, detail="this signal was approved before")
        sized = self._size(intent, state, instrument)
        if sized.reason is Reason.PASSED:
            self._granted = (intent, sized)
        return self.verdict(signal, sized.reason, passed=sized.reason is Reason.PASSED, detail=sized.detail)

    def on_passed(self, signal: Signal, verdict: Verdict) -> None:  # noqa: ARG002 - the base class's hook
        """Book the grant, then publish the Approval: the strategy sends its order while it hears it."""
        if self._granted is None:
            return
        intent, sized = self._granted
        self._granted = None
        self._grants[intent.symbol] = _Grant(intent, sized.quantity)
        approved = self._approved[1] if self._approved[0] == intent.bar_close else set()
        self._approved = (intent.bar_close, approved | {intent.signal_id})
        approval = Approval(
            ts_event=signal.ts_event,
            ts_init=signal.ts_init,
            instrument_id=signal.instrument_id,
            signal_id=signal.signal_id,
            strategy=signal.strategy,
            side=intent.side.value,
            quantity=f"{sized.quantity:f}",
            stop_price=f"{intent.stop:f}",
            target_price=f"{intent.target:f}",
            risk_amount=float(sized.risk_amount),
            bar_close=signal.bar_close,
        )
        self.publish_data(APPROVAL, approval)

    def state(self) -> AccountState:
        """Return what the rules look at, now."""
        view, market = self._parts()
        equity = view.equity()
        self.latches.settle_day(equity)
        self.latches.watch_equity(equity, self._start_balance)
        return AccountState(
            market_time=market.now,
            wall_time=self.clock.timestamp_ns(),
            interval=self._interval,
            balance=view.balance(),
            equity=equity,
            start_balance=self._start_balance,
            day_start_equity=self.latches.day_start_equity,
            positions=self._positions(view),
            pending=(*(g.exposure for g in self._grants.values()), *self._resting_entries(view)),
            latches=self.latches.active,
            trade_pnls=self.latches.trade_pnls,
            exit_bars=self._exit_bars,
            last_prices={s: p for s, i in self._ids.items() if (p := view.price(i)) is not None},
        )

    def _size(self, intent: Intent, state: AccountState, instrument: Any) -> Sized:
        if state.equity is None or state.balance is None:  # a rule refused this already
            raise RuntimeError("sizing without equity")
        headroom = self._caps.headroom(state.total_notional, state.equity)
        wish = Wish(
            side=intent.side,
            reference=intent.reference,
            stop=intent.stop,
            last_price=state.last_prices[intent.symbol],
            equity=state.equity,
            balance=state.balance,
            start_balance=state.start_balance,
            symbols=len(self._ids),
        )
        return size_position(self.config.sizing, wish, self._grids.of(intent.symbol, instrument), headroom)

    def _positions(self, view: AccountView) -> tuple[Exposure, ...]:
        exposures = []
        for position in view.positions():
            price = view.price(position.instrument_id) or Decimal(repr(position.avg_px_open))
            notional = position.quantity.as_decimal() * price
            exposures.append(Exposure(venue_symbol(position.instrument_id), side_of(position), notional))
        return tuple(exposures)

    def _resting_entries(self, view: AccountView) -> tuple[Exposure, ...]:
        """Entries at the venue that this process did not grant: sent before a restart."""
        if not (self.cache.orders_open_count() or self.cache.orders_inflight_count()):
            return ()
        exposures = []
        for order in (*self.cache.orders_open(), *self.cache.orders_inflight()):
            tag = decode(order.client_order_id.value)
            symbol = venue_symbol(order.instrument_id)
            if tag is None or tag.leg is not Leg.ENTRY or symbol in self._grants:
                continue
            side = Side.LONG if order.is_buy else Side.SHORT
            price = view.price(order.instrument_id) or Decimal(0)
            exposures.append(Exposure(symbol, side, order.leaves_qty.as_decimal() * price))
        return tuple(exposures)

    # -- keeping the state --------------------------------------------------------------------------------------------

    def _on_clock(self, previous: int | None, now: int) -> None:
        """Close the step before, and the day if `now` begins a new one. Prices are still those of the step before."""
        try:
            view = self._view
            if view is None or not view.quiet() or now >= self._day_ends:
                self._step(previous, now)
        except Exception as e:
            if self.config.raise_errors:
                raise
            self._block(e)

    def _step(self, previous: int | None, now: int) -> None:
        view, market = self._parts()
        equity = view.equity()
        if previous is not None:
            self.latches.settle_day(equity)
            self.latches.watch_equity(equity, self._start_balance)
        day = market.day
        if day is not None:
            self.latches.begin_day(day, equity)
            self._day_ends = (day + 1) * NANOS_PER_DAY if previous is not None else 0
        if self._approved[0] < now:
            self._approved = (0, set())

    def _on_bar(self, bar: Bar) -> None:
        if self._view is not None:
            self._view.note(bar)
        if not (self._grants or self._exited) and len(self._intervals) == len(self._ids):
            return
        symbol = venue_symbol(bar.bar_type.instrument_id)
        if symbol not in self._ids:
            return
        self._note_interval(symbol, bar)
        close = bar_close_ns(bar)
        if symbol in self._exited:
            self._exited.discard(symbol)
            self._exit_bars[symbol] = close
        grant = self._grants.get(symbol)
        if grant is None or close <= grant.intent.bar_close:
            return
        order = None if grant.client_order_id is None else self.cache.order(grant.client_order_id)
        if order is None or order.is_closed:
            del self._grants[symbol]
            if order is None:
                text = f"no order followed the approval of {grant.intent.signal_id}"
                self._incident("warning", "approval_unused", symbol, text)

    def may_rest(self) -> bool:
        """Return whether bars tell nothing but prices and days: no approval is open, no exit is to be dated."""
        return (
            not (self._grants or self._exited)
            and len(self._intervals) == len(self._ids)
            and self._view is not None
            and self._view.at_rest()
        )

    def rested(self, nap: Nap) -> None:
        """Note the prices slept through; days have been closed as the clock advanced."""
        if self._view is not None:
            self._view.note_newest(nap.newest)

    def _note_interval(self, symbol: str, bar: Bar) -> None:
        if symbol not in self._intervals:
            self._intervals.add(symbol)
            interval = int(bar.bar_type.spec.timedelta.value)
            self._interval = interval if self._interval is None else min(self._interval, interval)

    def _on_order_event(self, event: Any) -> None:
        grant = self._grants.get(venue_symbol(event.instrument_id))
        order = self.cache.order(event.client_order_id)
        if grant is None or order is None or not grant.is_for(order):
            return
        grant.client_order_id = event.client_order_id
        if order.is_closed or type(event).__name__ == "OrderDenied":
            del self._grants[grant.intent.symbol]
        elif type(event).__name__ == "OrderFilled":
            grant.quantity = order.leaves_qty.as_decimal()

    def _on_trade(self, trade: TradeRecord) -> None:
        self.latches.add_trade(trade.symbol, trade.net_pnl)
        if trade.exit_reason in _INTRABAR_EXITS:
            self._exited.add(trade.symbol)

    # -- faults and reports -------------------------------------------------------------------------------------------

    def _safely(self, handler: Callable[[Any], None]) -> Callable[[Any], None]:
        return contained(handler, self._block, raise_errors=self.config.raise_errors)

    def _block(self, error: Exception) -> None:
        self._fault = f"{type(error).__name__}: {error}"
        self._incident("critical", Reason.GUARD_ERROR.value, None, f"entries blocked until rearmed: {self._fault}")

    def _failed(self, signal: Signal, error: Exception) -> Verdict:
        if self.config.raise_errors:
            raise error
        verdict = super()._failed(signal, error)
        self._incident("critical", self.error_reason.value, venue_symbol(signal.instrument_id), verdict.detail)
        return verdict

    def _incident(self, severity: str, code: str, symbol: str | None, message: str) -> None:
        self._reporter.incident(severity, code, symbol, message)

    def _parts(self) -> tuple[AccountView, MarketClock]:
        if self._view is None or self._market is None:
            raise RuntimeError("the guard was asked before it was started")
        return self._view, self._market


def _on_tick(price: float, tick: Decimal) -> Decimal:
    value = exact(price)
    return to_grid(value, tick, ROUND_HALF_EVEN) if value.is_finite() else _NAN
