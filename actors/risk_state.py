"""What the risk guard is told and what it knows: limits, restored history, and the values its rules look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum, unique
from typing import Annotated, Literal

import msgspec

from strategies.messages import Reason, Side
from strategies.sizing import Fraction, PositiveAmount
from strategies.yaml_config import FrozenConfig

PositiveCount = Annotated[int, msgspec.Meta(ge=1)]


class RiskLimits(FrozenConfig, frozen=True, kw_only=True):
    """
    The limits of the risk guard. ``null`` switches a limit off, and its rule is then absent.

    Attributes
    ----------
    max_positions : int or None
        Open positions plus granted entries, whole account.
    max_same_direction : int or None
        The same, counting one direction only.
    one_per_symbol : bool
        Refuse while the symbol has a position (NETTING: an entry would add to it or reverse it).
    max_order_notional, max_total_notional : float or None
        USDT.
    max_leverage : float or None
        Total notional over equity.
    account_leverage : float or None
        The leverage set at the venue: margin of a position is notional / account_leverage. Caps by free margin.
    daily_loss : float or None
        Fall of equity (unrealised included) since the start of the UTC market day, as a fraction of
        `daily_loss_base`; blocks until the next day.
    daily_loss_base : {"day_start_equity", "start_balance"}
        What `daily_loss` is a fraction of.
    fast_kill_losses : int or None
        Consecutive losing trades of a symbol that kill it until rearmed by a person.
    slow_kill_trades, slow_kill_profit_factor : int or None, float
        Kill a symbol when the profit factor of its last `slow_kill_trades` trades is below the factor.
    stale_after_bars : float or None
        Refuse when wall time is more than this many bars ahead of market time. Only meaningful where both run at
        the same speed: leave unset in backtest and replay.
    enter_on_exit_bar : bool
        False: no entry on the bar inside which a stop or target closed a position of that symbol.

    """

    max_positions: PositiveCount | None = 3
    max_same_direction: PositiveCount | None = 2
    one_per_symbol: bool = True
    max_order_notional: PositiveAmount | None = None
    max_total_notional: PositiveAmount | None = None
    max_leverage: PositiveAmount | None = None
    account_leverage: PositiveAmount | None = None
    daily_loss: Fraction | None = 0.05
    daily_loss_base: Literal["day_start_equity", "start_balance"] = "day_start_equity"
    fast_kill_losses: PositiveCount | None = 8
    slow_kill_trades: PositiveCount | None = 15
    slow_kill_profit_factor: PositiveAmount = 0.75
    stale_after_bars: PositiveAmount | None = None
    enter_on_exit_bar: bool = True


@unique
class Latch(StrEnum):
    """A "no" that stays until a person (or, for the daily loss, the next market day) clears it."""

    PAUSED = "paused"
    KILLED = "killed"
    DAILY_LOSS = "daily_loss"
    FAST_KILL = "fast_kill"
    SLOW_KILL = "slow_kill"


ACCOUNT = "*"
"""The scope of a latch that holds for every symbol."""


class RestoredRisk(FrozenConfig, frozen=True, kw_only=True):
    """
    What the journal remembers of the guard at a restart; the default is an account without history.

    Attributes
    ----------
    trade_pnls : dict of symbol to list of float
        Net results of closed trades since the symbol's last rearm, oldest first, USDT.
    latches : list of (latch, scope)
        Latches set and not cleared, e.g. ``["killed", "*"]`` or ``["fast_kill", "XRPUSDT"]``.
    day : int or None
        Market day (days since 1970-01-01 UTC) that `day_start_equity` and a `daily_loss` latch belong to.
    day_start_equity : float or None
        USDT.

    """

    trade_pnls: dict[str, list[float]] = msgspec.field(default_factory=dict)
    latches: list[tuple[Latch, str]] = msgspec.field(default_factory=list)
    day: int | None = None
    day_start_equity: float | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """
    An entry that is wished. Prices in USDT on the tick grid; ``bar_close`` in UTC nanoseconds of market time.

    A price that was not finite in the Signal is a NaN here and fails the levels rule.
    """

    symbol: str
    signal_id: str
    side: Side
    reference: Decimal
    stop: Decimal
    target: Decimal
    bar_close: int


@dataclass(frozen=True, slots=True)
class Exposure:
    """An open position or a granted entry; notional in USDT, positive."""

    symbol: str
    side: Side
    notional: Decimal


@dataclass(frozen=True, slots=True)
class AccountState:
    """
    Everything the rules may look at.

    Attributes
    ----------
    market_time, wall_time : int or None, int
        UTC nanoseconds; market time is None before the first bar.
    interval : int or None
        Length of a bar, nanoseconds; None before the first bar.
    balance, equity : Decimal or None
        Wallet balance without and with unrealised profit, USDT; None when they cannot be known.
    start_balance, day_start_equity : Decimal, Decimal or None
        Account value at the start of its history and of this market day.
    positions, pending : sequence of Exposure
        Open positions, and entries granted or resting that have not become one yet.
    latches : frozenset of (Latch, scope)
        Scope is a symbol or ``"*"``.
    trade_pnls : mapping of symbol to sequence of float
        Net results of closed trades since the last rearm, oldest first, USDT.
    exit_bars : mapping of symbol to int
        Close of the last bar inside which a stop or target closed a position.
    last_prices : mapping of symbol to Decimal
        Last bar closes.

    """

    market_time: int | None
    wall_time: int
    interval: int | None
    balance: Decimal | None
    equity: Decimal | None
    start_balance: Decimal
    day_start_equity: Decimal | None
    positions: Sequence[Exposure] = ()
    pending: Sequence[Exposure] = ()
    latches: frozenset[tuple[Latch, str]] = frozenset()
    trade_pnls: Mapping[str, Sequence[float]] = field(default_factory=dict)
    exit_bars: Mapping[str, int] = field(default_factory=dict)
    last_prices: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def exposures(self) -> tuple[Exposure, ...]:
        """Open positions and pending entries."""
        return (*self.positions, *self.pending)

    @property
    def total_notional(self) -> Decimal:
        """Sum of all exposures, USDT."""
        return sum((e.notional for e in self.exposures), Decimal(0))

    def latched(self, latch: Latch, symbol: str) -> bool:
        """Return whether `latch` holds for `symbol`, by itself or for the account."""
        return (latch, ACCOUNT) in self.latches or (latch, symbol) in self.latches


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The answer of one rule; ``detail`` is one sentence with the figures that decided."""

    passed: bool
    reason: Reason
    detail: str = ""
