"""
What blocked signals would have made: each is followed to its stop, target or time limit, as labels are.

Every signal that a gate blocked (or would have blocked, in shadow) is followed on the bars behind it with the levels,
costs and time stop it would have been traded with (:mod:`strategies.barriers`), and its outcome is published as a
record of its own. Only market time is used: a signal still open at a restart is taken up from the journal, and bars
missed meanwhile from the history the strategies ask for; the outcome is the same. A reverse signal, which would have
ended a position earlier, is not modelled.

It listens to bars only while something is open, and joined behind the strategies then: nothing that decides waits.

Errors: a defect here never reaches the decision (**degraded**, incident ``counterfactual_error``); in backtests it ends
the run. Bars that stay missing until the time limit make the outcome ``unresolved``.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import Bar, BarType, FundingRateUpdate

from actors.account_view import venue_symbol
from actors.gate import MEMORY, REMEMBER_FIRST
from actors.reporting import Reporter, contained
from strategies.barriers import Costs, Hit, Outcome, fills, met, net_r, on_grid
from strategies.market_clock import bar_close_ns
from strategies.messages import SIGNAL, VERDICT, Reason, Side, Signal, Verdict, topic
from strategies.records import OutcomeRecord
from strategies.yaml_config import FrozenConfig

_BARS = "data.bars.*"
_FUNDING = "data.funding_rates.*"
_SETTLEMENTS = 2_000

type _Prices = tuple[float, float, float, float]


class Blocked(FrozenConfig, frozen=True):
    """
    A signal that was not traded.

    Attributes
    ----------
    signal_id, symbol, side : str
        Which.
    reference, stop, target : float
        Expected fill and levels, as the signal names them.
    bar_close : int
        Close of its bar, UTC ns.
    blocked_by : str
        ``<gate>:<reason>``.
    score : float or None
        The ML gate's.

    """

    signal_id: str
    symbol: str
    side: str
    reference: float
    stop: float
    target: float
    bar_close: int
    blocked_by: str
    score: float | None


class CounterfactualsConfig(ActorConfig, kw_only=True, frozen=True):
    """
    Configuration of :class:`Counterfactuals`.

    Parameters
    ----------
    bar_types : tuple of BarType
        What is traded.
    costs : dict of venue symbol to Costs
        Fees, slippage and price grid.
    assumed_slippage : float
        By which a signal's reference price is worse than its bar's close, a fraction.
    horizon_bars : int
        Time limit; the strategy's time stop where it has one.
    restored : list of Blocked
        Signals the journal holds without an outcome.
    raise_errors : bool
        Backtests: a defect must end the run.

    """

    bar_types: tuple[BarType, ...]
    costs: dict[str, Costs]
    assumed_slippage: float = 0.0
    horizon_bars: int = 96
    restored: list[Blocked] = msgspec.field(default_factory=list)
    raise_errors: bool = False


@dataclass(slots=True)
class _Known:
    """A signal on its way through the gates."""

    signal: Signal
    score: float = math.nan
    blocked_by: str = ""


@dataclass(slots=True)
class _Open:
    """A signal being followed: side, levels on the grid, the close it would have entered at, and the bars since."""

    what: Blocked
    side: int
    levels: tuple[float, float]
    close: float
    next_close: int
    followed: list[tuple[int, float]] = field(default_factory=list)


class Counterfactuals(Actor):
    """Follows blocked signals; see the module's docstring."""

    def __init__(self, config: CounterfactualsConfig) -> None:
        super().__init__(config)
        self._reporter = Reporter(self)
        self._types = {venue_symbol(b.instrument_id): b for b in config.bar_types}
        self._symbols = {b: venue_symbol(b.instrument_id) for b in config.bar_types}
        self._steps = {venue_symbol(b.instrument_id): int(b.spec.timedelta.value) for b in config.bar_types}
        self._hear_bar = self._safely(self._on_bar)
        self._subscriptions: list[tuple[str, Callable[[Any], None], int]] = [
            (topic(SIGNAL), self._safely(self._remember), REMEMBER_FIRST),
            (topic(VERDICT), self._safely(self._note), REMEMBER_FIRST),
            (topic(VERDICT), self._safely(self._on_verdict), 0),
            (_FUNDING, self._safely(self._on_funding), 0),
        ]
        self._begin()

    def _begin(self) -> None:
        self._open: dict[str, list[_Open]] = {symbol: [] for symbol in self._types}
        self._signals: OrderedDict[str, _Known] = OrderedDict()
        self._settlements: dict[str, dict[int, float]] = {symbol: {} for symbol in self._types}
        self._listening = False

    @property
    def following(self) -> int:
        """Signals that have no outcome yet."""
        return sum(len(found) for found in self._open.values())

    def on_start(self) -> None:
        """Join the bus, and take up what the journal left open."""
        for name, handler, priority in self._subscriptions:
            self.msgbus.subscribe(name, handler, priority)
        for blocked in self.config.restored:
            if blocked.symbol in self._types:
                self._follow(blocked)

    def on_stop(self) -> None:
        """Leave the bus."""
        for name, handler, _ in self._subscriptions:
            self.msgbus.unsubscribe(name, handler)
        self._listen(wanted=False)

    def on_reset(self) -> None:
        """Forget the last run."""
        self._begin()

    # -- what was blocked ---------------------------------------------------------------------------------------------

    def _remember(self, signal: Signal) -> None:
        self._signals[signal.signal_id] = _Known(signal)
        if len(self._signals) > MEMORY:
            self._signals.popitem(last=False)

    def _note(self, verdict: Verdict) -> None:
        """Keep score and first refusal: the next gate answers inside the first one's publishing."""
        known = self._signals.get(verdict.signal_id)
        if known is None:
            return
        if verdict.score == verdict.score:
            known.score = verdict.score
        if not known.blocked_by and (not verdict.passed or verdict.reason == Reason.SHADOW.value):
            known.blocked_by = f"{verdict.gate}:{verdict.reason}"

    def _on_verdict(self, verdict: Verdict) -> None:
        known = self._signals.get(verdict.signal_id)
        if known is None or not known.blocked_by:
            return
        del self._signals[verdict.signal_id]  # one outcome, under the first that said no
        signal, score = known.signal, known.score
        self._follow(
            Blocked(
                signal_id=signal.signal_id,
                symbol=venue_symbol(signal.instrument_id),
                side=str(signal.side),
                reference=signal.reference_price,
                stop=signal.stop_price,
                target=signal.target_price,
                bar_close=signal.bar_close,
                blocked_by=known.blocked_by,
                score=score if math.isfinite(score) else None,
            )
        )

    def _on_funding(self, update: FundingRateUpdate) -> None:
        known = self._settlements.get(venue_symbol(update.instrument_id))
        if known is not None:
            known[update.ts_event] = float(update.rate)
            if len(known) > _SETTLEMENTS:
                del known[min(known)]

    def _follow(self, blocked: Blocked) -> None:
        side, tick = Side(blocked.side).sign, self.config.costs[blocked.symbol].tick
        self._open[blocked.symbol].append(
            _Open(
                what=blocked,
                side=side,
                levels=(on_grid(blocked.stop, tick), on_grid(blocked.target, tick)),
                close=on_grid(blocked.reference / (1 + side * self.config.assumed_slippage), tick),
                next_close=blocked.bar_close + self._steps[blocked.symbol],
            )
        )
        self._listen(wanted=True)

    def _listen(self, *, wanted: bool) -> None:
        if wanted and not self._listening:
            self.msgbus.subscribe(_BARS, self._hear_bar)
        elif self._listening and not wanted:
            self.msgbus.unsubscribe(_BARS, self._hear_bar)
        self._listening = wanted

    # -- what came of it ----------------------------------------------------------------------------------------------

    def _on_bar(self, bar: Bar) -> None:
        symbol = self._symbols.get(bar.bar_type)
        if symbol is None or not self._open[symbol]:
            return
        close = bar_close_ns(bar)
        prices = _prices(bar)
        before: dict[int, Bar] | None = None
        for one in list(self._open[symbol]):
            if one.next_close > close:
                continue
            if one.next_close < close and before is None:  # a restart or a gap: what the history has
                before = {bar_close_ns(b): b for b in self.cache.bars(self._types[symbol])}
            hit = self._advance(symbol, one, prices, close, before or {})
            if hit is not None:
                self._open[symbol].remove(one)
                self._publish(symbol, one, hit)
        if not self.following:
            self._listen(wanted=False)

    def _advance(self, symbol: str, one: _Open, prices: _Prices, close: int, before: dict[int, Bar]) -> Hit | None:
        step = self._steps[symbol]
        while one.next_close <= close:
            missed = None if one.next_close == close else before.get(one.next_close)
            if missed is None and one.next_close != close:
                limit = one.what.bar_close + 2 * self.config.horizon_bars * step
                return Hit(Outcome.UNRESOLVED, math.nan) if close >= limit else None
            opened, high, low, last = prices if missed is None else _prices(missed)
            one.followed.append((one.next_close, last))
            one.next_close += step
            hit = met(one.side, one.levels, (opened, high, low))
            if hit is not None:
                return hit
            if len(one.followed) >= self.config.horizon_bars:
                return Hit(Outcome.HORIZON, last)
        return None

    def _publish(self, symbol: str, one: _Open, hit: Hit) -> None:
        costs, blocked = self.config.costs[symbol], one.what
        entry = got = result = None
        if hit.outcome is not Outcome.UNRESOLVED:
            entry, got = fills(one.side, one.close, hit, costs)
            value = net_r(one.side, (entry, got), one.levels[0], self._paid(symbol, one, hit), costs)
            result = value if math.isfinite(value) else None
        resolved = one.followed[-1][0] if one.followed else blocked.bar_close
        record = OutcomeRecord(
            id=blocked.signal_id,
            market_time=resolved,
            wall_time=self.clock.timestamp_ns(),
            symbol=symbol,
            side=blocked.side,
            blocked_by=blocked.blocked_by,
            outcome=hit.outcome.name.lower(),
            net_r=result,
            entry_price=entry,
            exit_price=got,
            signal_time=blocked.bar_close,
            resolved_time=resolved,
            score=blocked.score,
        )
        self.msgbus.publish(record.topic, record)

    def _paid(self, symbol: str, one: _Open, hit: Hit) -> float:
        """Return what a long of one unit paid: each settlement at the close of the bar that ends at it or after it."""
        bars = [(one.what.bar_close, one.close), *one.followed]
        last = bars[-1 if hit.outcome is Outcome.HORIZON else -2][0]
        paid = 0.0
        for time, rate in sorted(self._settlements[symbol].items()):
            if one.what.bar_close < time <= last:
                paid += rate * next(price for close, price in bars if close >= time)
        return paid

    def _safely(self, handler: Callable[[Any], None]) -> Callable[[Any], None]:
        return contained(handler, self._defect, raise_errors=self.config.raise_errors)

    def _defect(self, error: Exception) -> None:
        self._reporter.incident("warning", "counterfactual_error", None, f"{type(error).__name__}: {error}")


def _prices(bar: Bar) -> _Prices:
    """Return open, high, low and close."""
    return bar.open.as_double(), bar.high.as_double(), bar.low.as_double(), bar.close.as_double()
