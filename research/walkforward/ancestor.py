"""
The ancestor's backtester, rule by rule, and the way from its rules to ours.

Its rules are those its published results were reproduced with (entry at the signal bar's close, costs, size, gates).
Four of them are not ours; each can be exchanged alone, so a difference between its trades and the engine's is explained
by the rule whose exchange makes it, and not by a guess:

    warm_up     its indicators begin with the window (first 60 bars idle); ours have seen the bars before
    kill_rule   its daily-loss and kill gates skip the whole bar, stop and target included, and count realised results;
                ours refuse entries only, and count equity since the day began, unrealised results included
    bar_walk    its levels fill at their price, stop before target; ours fill at the open where the bar opens beyond,
                and meet the nearer extreme first
    tick        its prices are floats; ours lie on the venue's grid
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from catalog.reader import BarArrays
from strategies.kernel.columns import COLUMNS, column_index
from strategies.kernel.composite import run_batch
from strategies.kernel.params import CompositeParams

DAY_NS = 86_400_000_000_000
CAUSES = ("warm_up", "kill_rule", "bar_walk", "tick")
_IDLE_BARS = 60
_FAST_LOSSES = 8
_SLOW_TRADES, _SLOW_FACTOR = 15, 0.75
_DAILY_LOSS = 0.05


class Rules(NamedTuple):
    """Which of the four rules are ours; all False is the ancestor."""

    warm_up: bool = False
    kill_rule: bool = False
    bar_walk: bool = False
    tick: bool = False


class Account(NamedTuple):
    """Figures of the run: USDT, fractions, leverage as in its configuration, and the venue's grid."""

    balance: float = 1000.0
    fee: float = 0.0004
    slippage: float = 0.0001
    leverage: float = 10.0
    ratio_max: float = 0.5
    ratio_min: float = 0.2
    ratio_step: float = 0.0006
    price_tick: float = 0.0001
    quantity_step: float = 0.1


class AncestorTrade(NamedTuple):
    """A closed trade; times are UTC ns of the *opening* of the bar, as the ancestor prints them."""

    side: str
    entry_bar: int
    entry_price: float
    exit_bar: int
    exit_price: float
    quantity: float
    reason: str
    net_pnl: float


class _Position(NamedTuple):
    sign: int
    bar: int
    price: float
    quantity: float
    stop: float
    target: float


def decisions(bars: BarArrays, params: CompositeParams) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return vote (+1, -1, 0) and ATR of every bar, from indicators that begin with the first of `bars`."""
    missing = np.full(len(bars), np.nan)
    columns = {name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")}
    rows = run_batch(params, {**columns, "btc_close": missing, "eth_close": missing, "funding": missing})
    return np.sign(rows[:, column_index("votes", "signal")]).astype(np.int64), rows[:, COLUMNS.index("atr")]


def run(
    bars: BarArrays,
    window: tuple[int, int],
    params: CompositeParams,
    account: Account | None = None,
    rules: Rules | None = None,
) -> list[AncestorTrade]:
    """
    Trade one window from a fresh account.

    Parameters
    ----------
    bars : BarArrays
        The window's bars and, for warm indicators, those before it.
    window : tuple[int, int]
        ``[start, end)`` on bar open, UTC ns.
    params : CompositeParams
        Vote and levels.
    account : Account
        Money and costs.
    rules : Rules
        Which rules are ours.

    Returns
    -------
    list[AncestorTrade]
        In order of exit.

    """
    rules, account = rules or Rules(), account or Account()
    inside = (bars.open_time >= window[0]) & (bars.open_time < window[1])
    known = slice(None) if rules.warm_up else inside
    part = BarArrays(*(getattr(bars, name)[known] for name in BarArrays.__slots__))
    vote, atr = decisions(part, params)
    first = int(np.searchsorted(part.open_time, window[0])) + (0 if rules.warm_up else _IDLE_BARS)
    book = _Book(account, rules, int(part.open_time[1] - part.open_time[0]))
    for i in range(first, int(np.searchsorted(part.open_time, window[1]))):
        prices = (float(part.open[i]), float(part.high[i]), float(part.low[i]), float(part.close[i]))
        book.bar(int(part.open_time[i]), prices, int(vote[i]), float(atr[i]), params)
    book.end()
    return book.trades


class _Book:
    """One account and at most one position."""

    def __init__(self, account: Account, rules: Rules, step_ns: int) -> None:
        self.trades: list[AncestorTrade] = []
        self._account, self._rules, self._step = account, rules, step_ns
        self._balance = account.balance
        self._position: _Position | None = None
        self._day, self._day_pnl, self._killed = -1, 0.0, False
        self._day_start, self._latched = account.balance, False
        self._last: tuple[int, float] = (0, 0.0)

    def bar(
        self, time: int, prices: tuple[float, float, float, float], vote: int, atr: float, params: CompositeParams
    ) -> None:
        """Take one bar: exits inside it, then its close."""
        before, close = self._last[1], prices[3]
        self._last = (time, close)
        if not self._rules.kill_rule:
            if time // DAY_NS != self._day:
                self._day, self._day_pnl = time // DAY_NS, 0.0
            if self._blocked():
                return
        exited = False
        if self._position is not None:
            hit = self._hit(self._position, prices)
            if hit is not None:
                self._leave(time, *hit)
                exited = True
        if self._rules.kill_rule:
            self._watch(before)
            day = (time + self._step) // DAY_NS
            if day != self._day:
                self._day, self._day_start, self._latched = day, self._equity(before), False
        if vote == 0:
            return
        held = self._position
        if held is not None and vote == -held.sign:
            self._leave(time, self._slipped(close, vote), "REVERSE_SIGNAL")
        elif held is not None or exited:
            return
        self._watch(close)
        # The ancestor does not look at its gates again after a reversal.
        if self._blocked() and (held is None or self._rules.kill_rule):
            return
        self._enter(time, close, vote, atr, params)

    def end(self) -> None:
        """Close what is open at the last close."""
        if self._position is not None:
            time, close = self._last
            self._leave(time, self._slipped(close, -self._position.sign), "END_OF_DATA")

    def _blocked(self) -> bool:
        if self._rules.kill_rule:
            return self._killed or self._latched
        return self._killed or self._day_pnl <= -_DAILY_LOSS * self._account.balance

    def _equity(self, price: float) -> float:
        p = self._position
        if p is None:
            return self._balance
        return self._balance + p.sign * p.quantity * (price - p.price) - self._account.fee * p.quantity * p.price

    def _watch(self, price: float) -> None:
        if self._day_start - self._equity(price) >= _DAILY_LOSS * self._account.balance:
            self._latched = True

    def _hit(self, p: _Position, prices: tuple[float, float, float, float]) -> tuple[float, str] | None:
        opened, high, low, _ = prices
        stopped = low <= p.stop if p.sign > 0 else high >= p.stop
        reached = high >= p.target if p.sign > 0 else low <= p.target
        stop, target = (p.stop, "STOP_LOSS"), (p.target, "TAKE_PROFIT")
        if not self._rules.bar_walk:
            return stop if stopped else target if reached else None
        if (opened - p.stop) * p.sign <= 0:
            return opened, "STOP_LOSS"
        if (opened - p.target) * p.sign >= 0:
            return opened, "TAKE_PROFIT"
        up_first = abs(high - opened) < abs(low - opened)
        if reached and (not stopped or up_first == (p.sign > 0)):
            return target
        return stop if stopped else None

    def _enter(self, time: int, close: float, vote: int, atr: float, params: CompositeParams) -> None:
        a = self._account
        exact = close * (1.0 + vote * a.slippage)
        ratio = min(max(a.ratio_max - (self._balance - a.balance) * a.ratio_step, a.ratio_min), a.ratio_max)
        quantity = _grid(self._balance * ratio * a.leverage / close, a.quantity_step)
        stop, target = exact - vote * params.stop_atr * atr, exact + vote * params.target_atr * atr
        if self._rules.tick:
            stop, target = _grid(stop, a.price_tick), _grid(target, a.price_tick)
        self._position = _Position(vote, time, self._slipped(close, vote), quantity, stop, target)

    def _leave(self, time: int, price: float, reason: str) -> None:
        p = self._position
        if p is None:
            return
        net = p.sign * p.quantity * (price - p.price) - self._account.fee * p.quantity * (price + p.price)
        side = "LONG" if p.sign > 0 else "SHORT"
        self.trades.append(AncestorTrade(side, p.bar, p.price, time, price, p.quantity, reason, net))
        self._position = None
        self._balance += net
        self._day_pnl += net
        self._killed = self._killed or _kills([t.net_pnl for t in self.trades])

    def _slipped(self, price: float, sign: int) -> float:
        moved = price * (1.0 + sign * self._account.slippage)
        return _grid(moved, self._account.price_tick) if self._rules.tick else moved


def _kills(nets: Sequence[float]) -> bool:
    if len(nets) >= _FAST_LOSSES and all(n <= 0 for n in nets[-_FAST_LOSSES:]):
        return True
    if len(nets) < _SLOW_TRADES:
        return False
    last = nets[-_SLOW_TRADES:]
    lost = -sum(n for n in last if n <= 0)
    return lost > 0 and sum(n for n in last if n > 0) / lost < _SLOW_FACTOR


def _grid(value: float, step: float) -> float:
    exact = Decimal(str(step))
    return float((Decimal(repr(value)) / exact).quantize(Decimal(1), ROUND_HALF_EVEN) * exact)
