"""
The guard's memory of "no": kill switches, pauses and the daily loss, set once, reported once, restored after a restart.

Pure but for the report callback. :func:`restored_risk` folds journal records back into the same state.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal

from actors.risk_state import ACCOUNT, Latch, RestoredRisk, RiskLimits
from actors.rules import daily_loss_rule, kill_rules
from strategies.market_clock import MILLIS_PER_DAY, NANOS_PER_MILLI
from strategies.records import EquityRecord, IncidentRecord, Record, TradeRecord
from strategies.sizing import exact

_HISTORY = 500
_NANOS_PER_DAY = MILLIS_PER_DAY * NANOS_PER_MILLI
_KILLS = (Latch.KILLED, Latch.FAST_KILL, Latch.SLOW_KILL)
_SETS = {
    "pause": Latch.PAUSED,
    "kill": Latch.KILLED,
    "daily_loss": Latch.DAILY_LOSS,
    "fast_kill": Latch.FAST_KILL,
    "slow_kill": Latch.SLOW_KILL,
}
_CLEARS = {"resume": (Latch.PAUSED,), "rearm": _KILLS}

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
        if action in ("pause", "kill"):
            self._set(_SETS[action], scope, f"by {who}", severity="warning", code=action)
        elif action in _CLEARS:
            cleared = clear(self._active, action, symbol)
            if action == "rearm":
                forget(self.trade_pnls, symbol)
            names = ", ".join(sorted(f"{latch.value} {s}" for latch, s in cleared)) or "nothing was latched"
            self._report("info", action, symbol, f"by {who}: {names}")
        else:
            return False
        return True

    def add_trade(self, symbol: str, net_pnl: float) -> None:
        """Note a closed trade (USDT, fees and funding included) and set the kill switch it trips."""
        add_trade(self.trade_pnls, symbol, net_pnl)
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

    def _set(self, latch: Latch, scope: str, text: str, *, severity: str, code: str) -> None:
        if (latch, scope) not in self._active:
            self._active.add((latch, scope))
            self._report(severity, code, None if scope == ACCOUNT else scope, text)


def add_trade(trade_pnls: dict[str, list[float]], symbol: str, net_pnl: float) -> None:
    """Append a result, keeping no more than any rule looks at."""
    pnls = trade_pnls.setdefault(symbol, [])
    pnls.append(net_pnl)
    del pnls[:-_HISTORY]


def clear(active: set[tuple[Latch, str]], action: str, symbol: str | None) -> set[tuple[Latch, str]]:
    """Remove the latches that `action` clears (all scopes without `symbol`) and return them."""
    cleared = {(latch, scope) for latch, scope in active if latch in _CLEARS[action] and symbol in (None, scope)}
    active -= cleared
    return cleared


def forget(trade_pnls: dict[str, list[float]], symbol: str | None) -> None:
    """Drop the results a rearm leaves behind."""
    if symbol is None:
        trade_pnls.clear()
    else:
        trade_pnls.pop(symbol, None)


def restored_risk(history: Iterable[Record]) -> RestoredRisk:
    """
    Fold the journal's records into the guard's state.

    Parameters
    ----------
    history : iterable of Record
        TradeRecords, IncidentRecords and EquityRecords in the order they were written; others are ignored.

    """
    active: set[tuple[Latch, str]] = set()
    pnls: dict[str, list[float]] = {}
    day: int | None = None
    day_start: float | None = None
    last_equity: float | None = None
    for record in history:
        today = None if record.market_time is None else record.market_time // _NANOS_PER_DAY
        if isinstance(record, TradeRecord):
            add_trade(pnls, record.symbol, record.net_pnl)
            continue
        dates = isinstance(record, EquityRecord) or (isinstance(record, IncidentRecord) and record.code == "daily_loss")
        if dates and today is not None and (day is None or today > day):
            day, day_start = today, last_equity
            active = {(latch, scope) for latch, scope in active if latch is not Latch.DAILY_LOSS}
        if isinstance(record, EquityRecord):
            last_equity = record.equity
            day_start = record.equity if day_start is None else day_start
        elif isinstance(record, IncidentRecord):
            if record.code in _SETS:
                active.add((_SETS[record.code], record.symbol or ACCOUNT))
            elif record.code in _CLEARS:
                clear(active, record.code, record.symbol)
                if record.code == "rearm":
                    forget(pnls, record.symbol)
    return RestoredRisk(trade_pnls=pnls, latches=sorted(active), day=day, day_start_equity=day_start)
