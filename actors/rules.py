"""
The rules an entry must pass: one interface, one small frozen class per rule, no Nautilus, no side effects.

``rule.check(intent, state)`` answers from two immutable values: what is wished and what is known. A rule that is not
configured is absent from the list :func:`build_rules` returns; the first rule that fails decides, in this order:

     1. market clock set, feed not stale        without time or data nothing below means anything
     2. killed, paused                          a person or a latch said no
     3. equity known and positive, daily loss   the account as a whole
     4. fast kill, slow kill                    the symbol's own history
     5. position open, order pending, exit bar  the symbol now
     6. maximum positions, same direction       the book as a whole
     7. total notional, leverage                (exhausted here; partly used limits shrink the size instead)
     8. levels on the right sides

Exits never pass through here: a rule blocks entries, never protection.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from actors.risk_state import AccountState, Intent, Latch, RiskLimits, RuleResult
from strategies.messages import Reason
from strategies.sizing import exact

PASS = RuleResult(passed=True, reason=Reason.PASSED)


def _refuse(reason: Reason, detail: str) -> RuleResult:
    return RuleResult(passed=False, reason=reason, detail=detail)


class Rule(Protocol):
    """One question about an entry."""

    def check(self, intent: Intent, state: AccountState) -> RuleResult:
        """Return whether `intent` may go on; fail closed when `state` lacks what the rule needs."""
        ...


@dataclass(frozen=True, slots=True)
class ClockSet:
    """Market time is known and is the time of the signal's bar."""

    def check(self, intent: Intent, state: AccountState) -> RuleResult:
        """Refuse before the first bar, and signals of a bar the clock has passed or not reached."""
        if state.market_time is None:
            return _refuse(Reason.CLOCK_UNSET, "no bar has been seen yet")
        if intent.bar_close > state.market_time:
            return _refuse(Reason.CLOCK_UNSET, "the signal is ahead of the market clock")
        if intent.bar_close < state.market_time:
            return _refuse(Reason.STALE_FEED, "the signal's bar is older than the market clock")
        return PASS


@dataclass(frozen=True, slots=True)
class FreshFeed:
    """Wall time is not more than `bars` ahead of market time."""

    bars: float

    def check(self, intent: Intent, state: AccountState) -> RuleResult:  # noqa: ARG002 - one interface for all rules
        """Refuse entries on old data."""
        if state.market_time is None or state.interval is None:
            return _refuse(Reason.STALE_FEED, "the age of the feed is unknown")
        age = (state.wall_time - state.market_time) / state.interval
        return PASS if age <= self.bars else _refuse(Reason.STALE_FEED, f"last bar closed {age:.1f} bars ago")


@dataclass(frozen=True, slots=True)
class NotLatched:
    """No person or program has killed or paused the symbol or the account."""

    latch: Latch
    reason: Reason

    def check(self, intent: Intent, state: AccountState) -> RuleResult:
        """Refuse while the latch holds."""
        if state.latched(self.latch, intent.symbol):
            return _refuse(self.reason, f"{self.latch.value} until a person clears it")
        return PASS


@dataclass(frozen=True, slots=True)
class EquityKnown:
    """The account's value is known and positive."""

    def check(self, intent: Intent, state: AccountState) -> RuleResult:  # noqa: ARG002 - one interface for all rules
        """Refuse without an account, without a price for an open position, and at or below zero."""
        if state.equity is None or state.balance is None:
            return _refuse(Reason.NO_EQUITY, "the account or the price of an open position is unknown")
        return PASS if state.equity > 0 else _refuse(Reason.NO_EQUITY, f"equity is {state.equity:.2f} USDT")


@dataclass(frozen=True, slots=True)
class DailyLoss:
    """Equity has not fallen by the limit since the start of the market day."""

    fraction: Decimal
    of_start_balance: bool

    def breached(self, equity: Decimal, day_start_equity: Decimal, start_balance: Decimal) -> bool:
        """Return whether the fall from `day_start_equity` to `equity` (USDT) reaches the limit."""
        base = start_balance if self.of_start_balance else day_start_equity
        return equity < day_start_equity and day_start_equity - equity >= base * self.fraction

    def check(self, intent: Intent, state: AccountState) -> RuleResult:
        """Refuse for the rest of the day once breached, even if equity recovers."""
        if state.latched(Latch.DAILY_LOSS, intent.symbol):
            return _refuse(Reason.DAILY_LOSS, "the daily loss limit was reached today")
        if state.equity is None or state.day_start_equity is None:
            return _refuse(Reason.NO_EQUITY, "equity at the start of the day is unknown")
        if self.breached(state.equity, state.day_start_equity, state.start_balance):
            lost = state.day_start_equity - state.equity
            return _refuse(Reason.DAILY_LOSS, f"{lost:.2f} of {state.day_start_equity:.2f} USDT lost today")
        return PASS


@dataclass(frozen=True, slots=True)
class FastKill:
    """The symbol's last trades were not all losses."""

    trades: int

    def trips(self, pnls: Sequence[float]) -> bool:
        """Return whether the last `trades` results (USDT) are all negative or zero."""
        return len(pnls) >= self.trades and all(pnl <= 0 for pnl in pnls[-self.trades :])

    def check(self, intent: Intent, state: AccountState) -> RuleResult:
        """Refuse until a person rearms the symbol."""
        if state.latched(Latch.FAST_KILL, intent.symbol) or self.trips(state.trade_pnls.get(intent.symbol, ())):
            return _refuse(Reason.FAST_KILL, f"{self.trades} losing trades in a row")
        return PASS


@dataclass(frozen=True, slots=True)
class SlowKill:
    """The symbol's last trades earn enough per USDT lost."""

    trades: int
    profit_factor: float

    def trips(self, pnls: Sequence[float]) -> bool:
        """Return whether gross profit / gross loss of the last `trades` results is below the factor."""
        if len(pnls) < self.trades:
            return False
        last = pnls[-self.trades :]
        lost = -sum(pnl for pnl in last if pnl < 0)
        return lost > 0 and sum(pnl for pnl in last if pnl > 0) / lost < self.profit_factor

    def check(self, intent: Intent, state: AccountState) -> RuleResult:
        """Refuse until a person rearms the symbol."""
        if state.latched(Latch.SLOW_KILL, intent.symbol) or self.trips(state.trade_pnls.get(intent.symbol, ())):
            return _refuse(Reason.SLOW_KILL, f"profit factor of the last {self.trades} trades below the limit")
        return PASS


@dataclass(frozen=True, slots=True)
class NoPosition:
    """The symbol has no open position."""

    def check(self, intent: Intent, state: AccountState) -> RuleResult:
        """Refuse adding to or reversing a position."""
        if any(e.symbol == intent.symbol for e in state.positions):
            return _refuse(Reason.POSITION_OPEN, f"{intent.symbol} already has a position")
        return PASS


@dataclass(frozen=True, slots=True)
class NoPendingEntry:
    """The symbol has no entry granted or resting. Never optional: it is what makes an order unique."""

    def check(self, intent: Intent, state: AccountState) -> RuleResult:
        """Refuse a second entry while the first is under way."""
        if any(e.symbol == intent.symbol for e in state.pending):
            return _refuse(Reason.ORDER_PENDING, f"{intent.symbol} already has an entry under way")
        return PASS


@dataclass(frozen=True, slots=True)
class NotExitBar:
    """The signal's bar is not the one that stopped out the symbol or took its profit."""

    def check(self, intent: Intent, state: AccountState) -> RuleResult:
        """Refuse entering on the bar inside which an exit filled."""
        if state.exit_bars.get(intent.symbol) == intent.bar_close:
            return _refuse(Reason.EXIT_BAR, "a position of the symbol was closed inside this bar")
        return PASS


@dataclass(frozen=True, slots=True)
class MaxPositions:
    """Fewer than `limit` positions are open or under way."""

    limit: int

    def check(self, intent: Intent, state: AccountState) -> RuleResult:  # noqa: ARG002 - one interface for all rules
        """Refuse when the book is full."""
        n = len({e.symbol for e in state.exposures})
        return PASS if n < self.limit else _refuse(Reason.MAX_POSITIONS, f"{n} of {self.limit} positions in use")


@dataclass(frozen=True, slots=True)
class SameDirection:
    """Fewer than `limit` positions of the intent's direction are open or under way."""

    limit: int

    def check(self, intent: Intent, state: AccountState) -> RuleResult:
        """Refuse piling up one direction."""
        n = len({e.symbol for e in state.exposures if e.side is intent.side})
        if n < self.limit:
            return PASS
        return _refuse(Reason.SAME_DIRECTION, f"{n} of {self.limit} {intent.side.value} positions in use")


@dataclass(frozen=True, slots=True)
class TotalNotional:
    """Some of the total notional is left."""

    limit: Decimal

    def check(self, intent: Intent, state: AccountState) -> RuleResult:  # noqa: ARG002 - one interface for all rules
        """Refuse when the limit is used up."""
        used = state.total_notional
        if used < self.limit:
            return PASS
        return _refuse(Reason.TOTAL_NOTIONAL, f"{used:.2f} of {self.limit} USDT in use")


@dataclass(frozen=True, slots=True)
class MaxLeverage:
    """Total notional is below `limit` times equity."""

    limit: Decimal

    def check(self, intent: Intent, state: AccountState) -> RuleResult:  # noqa: ARG002 - one interface for all rules
        """Refuse when the limit is used up or equity is unknown."""
        if state.equity is None or state.total_notional >= self.limit * state.equity:
            return _refuse(Reason.LEVERAGE, f"{state.total_notional:.2f} USDT open: {self.limit} times equity in use")
        return PASS


@dataclass(frozen=True, slots=True)
class LevelsValid:
    """Stop and target stand on the proper sides of the reference and of the last price."""

    def check(self, intent: Intent, state: AccountState) -> RuleResult:
        """Refuse a stop that would trigger at once, a target already passed, and prices that are not numbers."""
        prices = (intent.reference, intent.stop, intent.target)
        if not all(p.is_finite() and p > 0 for p in prices):
            return _refuse(Reason.BAD_LEVELS, "reference, stop and target must be positive numbers")
        last = state.last_prices.get(intent.symbol)
        sign = intent.side.sign
        for name, price in (("reference", intent.reference), ("last price", last)):
            if price is None:
                return _refuse(Reason.BAD_LEVELS, f"the last price of {intent.symbol} is unknown")
            if not sign * intent.stop < sign * price < sign * intent.target:
                return _refuse(
                    Reason.BAD_LEVELS,
                    f"{intent.side.value} stop {intent.stop} and target {intent.target} do not enclose {name} {price}",
                )
        return PASS


def build_rules(limits: RiskLimits) -> tuple[Rule, ...]:
    """Return the configured rules in the order they decide."""
    rules: list[Rule] = [ClockSet()]
    if limits.stale_after_bars is not None:
        rules.append(FreshFeed(limits.stale_after_bars))
    rules += [NotLatched(Latch.KILLED, Reason.KILLED), NotLatched(Latch.PAUSED, Reason.PAUSED), EquityKnown()]
    if (daily := daily_loss_rule(limits)) is not None:
        rules.append(daily)
    rules += kill_rules(limits).values()
    if limits.one_per_symbol:
        rules.append(NoPosition())
    rules.append(NoPendingEntry())
    if not limits.enter_on_exit_bar:
        rules.append(NotExitBar())
    if limits.max_positions is not None:
        rules.append(MaxPositions(limits.max_positions))
    if limits.max_same_direction is not None:
        rules.append(SameDirection(limits.max_same_direction))
    if limits.max_total_notional is not None:
        rules.append(TotalNotional(exact(limits.max_total_notional)))
    if limits.max_leverage is not None:
        rules.append(MaxLeverage(exact(limits.max_leverage)))
    rules.append(LevelsValid())
    return tuple(rules)


def daily_loss_rule(limits: RiskLimits) -> DailyLoss | None:
    """Return the daily-loss rule, or None when it is not configured."""
    if limits.daily_loss is None:
        return None
    return DailyLoss(exact(limits.daily_loss), of_start_balance=limits.daily_loss_base == "start_balance")


def kill_rules(limits: RiskLimits) -> dict[Latch, FastKill | SlowKill]:
    """Return the configured kill switches by the latch they set."""
    rules: dict[Latch, FastKill | SlowKill] = {}
    if limits.fast_kill_losses is not None:
        rules[Latch.FAST_KILL] = FastKill(limits.fast_kill_losses)
    if limits.slow_kill_trades is not None:
        rules[Latch.SLOW_KILL] = SlowKill(limits.slow_kill_trades, limits.slow_kill_profit_factor)
    return rules


def first_refusal(rules: Sequence[Rule], intent: Intent, state: AccountState) -> RuleResult:
    """Return the first failing result, or a pass."""
    for rule in rules:
        result = rule.check(intent, state)
        if not result.passed:
            return result
    return PASS
