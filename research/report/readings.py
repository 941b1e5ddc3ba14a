"""The tables of a page, as rows of plain data: by month, by side, by regime, by exit, by verdict."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from node.config import format_time
from research.doubt.bootstrap import trade_intervals
from research.report.subject import Run
from research.walkforward.trial import Trade

type Row = dict[str, Any]

DAY_NS = 86_400_000_000_000
_TERCILES = ("low", "middle", "high")
_ENOUGH = 5


def month_of(time_ns: int) -> str:
    """Return ``YYYY-MM`` of an instant, UTC; midnight of the first belongs to the month before, as a close does."""
    return (format_time(time_ns - 1) or "")[:7]


def by_month(run: Run) -> list[Row]:
    """Return one row per calendar month of the run, months without a trade included; results count at the exit."""
    rows = []
    level = run.start_balance
    last = {month_of(time): equity for time, equity, _ in run.equity}
    for month, equity in last.items():
        trades = [t for t in run.trades if month_of(t.exit_time) == month]
        rows.append(
            {
                "month": month,
                "return": equity / level - 1.0 if level > 0 else None,
                **_figures(trades),
                "funding": sum(a for t, _, a in run.funding if month_of(t) == month),
            }
        )
        level = equity
    return rows


def grouped(trades: Sequence[Trade], name: str, key: Callable[[Trade], str], seed: int) -> list[Row]:
    """Return one row per group of trades, with the 95 % interval of its profit factor."""
    groups: dict[str, list[Trade]] = {}
    for trade in trades:
        groups.setdefault(key(trade), []).append(trade)
    return [
        {name: group, **_figures(members), "95 % interval": interval(members, seed)}
        for group, members in sorted(groups.items())
    ]


def by_side(run: Run, seed: int) -> list[Row]:
    """Return long and short apart, per symbol where there are several."""
    several = len(run.symbols) > 1
    return grouped(run.trades, "side", lambda t: f"{t.symbol} {t.side}" if several else t.side, seed)


def by_exit(run: Run, seed: int) -> list[Row]:
    """Return trades by the reason they ended."""
    return grouped(run.trades, "exit", lambda t: t.exit_reason, seed)


def by_regime(run: Run, seed: int) -> dict[str, list[Row]]:
    """Return trades by tercile of trend and volatility, as known the day before the entry; empty without prices."""
    found: dict[str, list[Row]] = {}
    for name in ("trend", "volatility") if run.regimes else ():

        def tercile(trade: Trade, name: str = name) -> str:
            known = run.regimes.get(trade.symbol, {}).get(name, {}).get(trade.entry_time // DAY_NS)
            return "not known" if known is None else f"{known + 1} {_TERCILES[known]}"

        found[name] = grouped(run.trades, name, tercile, seed)
    return found


def gate_rows(run: Run) -> list[Row]:
    """Return what each answer of each gate was worth: the results its signals had, or would have had."""
    rows = []
    for gate in ("ml", "guard"):
        reasons: dict[str, list[float | None]] = {}
        for j in run.judged:
            reason = getattr(j, gate)
            if reason is not None:
                reasons.setdefault(reason, []).append(j.net_r)
        for reason, results in sorted(reasons.items()):
            known = [r for r in results if r is not None]
            rows.append(
                {
                    "gate": gate,
                    "answer": reason,
                    "signals": len(results),
                    "outcome known": len(known),
                    "mean net R": float(np.mean(known)) if known else None,
                    "share won": float(np.mean([r > 0 for r in known])) if known else None,
                }
            )
    return rows


def interval(trades: Sequence[Trade], seed: int) -> tuple[float, float] | None:
    """Return the 95 % interval of a group's profit factor; None below five trades or without an end."""
    if len(trades) < _ENOUGH:
        return None
    found = trade_intervals(np.array([t.net_pnl for t in trades]), seed=seed)["profit_factor"]
    return (found.low, found.high) if np.isfinite(found.low) and np.isfinite(found.high) else None


def _figures(trades: Sequence[Trade]) -> Row:
    nets = [t.net_pnl for t in trades]
    won, lost = sum(n for n in nets if n > 0), -sum(n for n in nets if n <= 0)
    known = [t.r for t in trades if t.r is not None]
    return {
        "trades": len(nets),
        "won": sum(n > 0 for n in nets),
        "net": float(sum(nets)),
        "profit factor": won / lost if lost > 1e-9 else None,
        "mean R": float(np.mean(known)) if known else None,
        "fees": float(sum(t.fees for t in trades)),
    }
