"""
The guard's memory of "no": kill switches, pauses and the daily loss, set once, reported once, restored after a restart.

The reports are incidents with the codes ``pause``, ``resume``, ``kill``, ``rearm``, ``fast_kill``, ``slow_kill`` and
``daily_loss``; the journal derives the state of a restart from them. Pure but for the report callback.
"""

from collections.abc import Callable
from decimal import Decimal

from actors.risk_state import ACCOUNT, Latch, RestoredRisk, RiskLimits
from actors.rules import daily_loss_rule, kill_rules
from strategies.sizing import exact

_HISTORY = 500
_SETS = {"pause": Latch.PAUSED, "kill": Latch.KILLED}
_CLEARS = {"resume": (Latch.PAUSED,), "rearm": (Latch.KILLED, Latch.FAST_KILL, Latch.SLOW_KILL)}

Report = Callable[[str, str, str | None, str], None]
"""Receives ``(severity, code, symbol, message)``."""


class Latches:
    """
    Latches, trade results and the day's first equity.

    Parameters
    ----------
    limits : RiskLimits
        Which switches exist.
    restored : RestoredRisk
        Where to begin.
    report : Report
        Called once per change of a latch.

    """

    def __init__(self, limits: RiskLimits, restored: RestoredRisk, report: Report) -> None:
        self._kill_rules = kill_rules(limits)
        self._daily = daily_loss_rule(limits)
        self._report = report
        self._active = {(latch, scope) for latch, scope in restored.latches}
        self.trade_pnls: dict[str, list[float]] = {s: list(pnls) for s, pnls in restored.trade_pnls.items()}
        self.day = restored.day
        self.day_start_equity = None if restored.day_start_equity is None else exact(restored.day_start_equity)

    @property
    def active(self) -> frozenset[tuple[Latch, str]]:
        """The latches that hold, with their scope (a symbol or ``"*"``)."""
        return frozenset(self._active)

    def announce(self) -> None:
        """Set the kill switches that restored results call for (their limits may have changed meanwhile)."""
        for symbol in self.trade_pnls:
            self._check_kills(symbol)

    def command(self, action: str, symbol: str | None, who: str) -> bool:
        """Set or clear by a person's `action`; return False when it is none of ours. Repeating one changes nothing."""
        scope = symbol or ACCOUNT
        if action in _SETS:
            self._set(_SETS[action], scope, f"by {who}", severity="warning", code=action)
        elif action in _CLEARS:
            cleared = {(x, s) for x, s in self._active if x in _CLEARS[action] and symbol in (None, s)}
            self._active -= cleared
            if action == "rearm":
                self._forget(symbol)
            names = ", ".join(sorted(f"{latch.value} {s}" for latch, s in cleared)) or "nothing was latched"
            self._report("info", action, symbol, f"by {who}: {names}")
        else:
            return False
        return True

    def add_trade(self, symbol: str, net_pnl: float) -> None:
        """Note a closed trade (USDT, fees and funding included) and set the kill switch it trips."""
        pnls = self.trade_pnls.setdefault(symbol, [])
        pnls.append(net_pnl)
        del pnls[:-_HISTORY]
        self._check_kills(symbol)

    def begin_day(self, day: int, equity: Decimal | None) -> None:
        """Start a market day (days since 1970-01-01 UTC) unless it is the one under way."""
        if day == self.day:
            return
        self.day = day
        self.day_start_equity = equity
        self._active = {(latch, scope) for latch, scope in self._active if latch is not Latch.DAILY_LOSS}

    def settle_day(self, equity: Decimal | None) -> None:
        """Take the first equity known today as the day's start, when none was known at its beginning."""
        if self.day is not None and self.day_start_equity is None:
            self.day_start_equity = equity

    def watch_equity(self, equity: Decimal | None, start_balance: Decimal) -> None:
        """Latch the daily loss when `equity` (USDT) has fallen too far since the day began."""
        if self._daily is None or equity is None or self.day_start_equity is None:
            return
        if self._daily.breached(equity, self.day_start_equity, start_balance):
            text = f"equity fell from {self.day_start_equity:.2f} to {equity:.2f} USDT today"
            self._set(Latch.DAILY_LOSS, ACCOUNT, text, severity="warning", code="daily_loss")

    def _check_kills(self, symbol: str) -> None:
        pnls = self.trade_pnls[symbol]
        for latch, rule in self._kill_rules.items():
            if rule.trips(pnls):
                text = f"net results of the last {rule.trades} trades add up to {sum(pnls[-rule.trades :]):.2f} USDT"
                self._set(latch, symbol, text, severity="critical", code=latch.value)

    def _forget(self, symbol: str | None) -> None:
        if symbol is None:
            self.trade_pnls.clear()
        else:
            self.trade_pnls.pop(symbol, None)

    def _set(self, latch: Latch, scope: str, text: str, *, severity: str, code: str) -> None:
        if (latch, scope) not in self._active:
            self._active.add((latch, scope))
            self._report(severity, code, None if scope == ACCOUNT else scope, text)
