"""
Results by regime: terciles of trend and of volatility, as they were known at the time of each entry.

A day belongs to the tercile its value of the *day before* falls into among all values until then; nothing of the day
itself or after it enters. So no tercile is known before :data:`MIN_HISTORY` days.
"""

from bisect import bisect_left, insort

import numpy as np
import numpy.typing as npt

from research.doubt.bootstrap import profit_factor
from research.doubt.verdict import Doubt, Reason, falls, stands, unknown

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DAY_NS = 86_400_000_000_000
WINDOW = 20
MIN_HISTORY = 30
NAMES = ("low", "middle", "high")


def daily_closes(close_time: Ints, close: Floats) -> tuple[Ints, Floats]:
    """Return UTC day numbers and the last close of each day (a bar that closes at midnight ends the day before)."""
    day = (close_time - 1) // DAY_NS
    last = np.flatnonzero(np.append(day[1:] != day[:-1], True))
    return day[last], close[last]


def terciles(day: Ints, close: Floats) -> dict[str, dict[int, int]]:
    """
    Return, for ``trend`` and ``volatility``, the tercile (0, 1, 2) of each day it is known for.

    Trend is the return over 20 days, volatility the standard deviation of daily returns over 20 days.
    """
    returns = np.diff(np.log(close), prepend=np.log(close[0]))
    found: dict[str, dict[int, int]] = {"trend": {}, "volatility": {}}
    for name, known in found.items():
        before: list[float] = []
        for i in range(WINDOW, len(day)):
            window = returns[i - WINDOW + 1 : i + 1]
            value = float(window.sum()) if name == "trend" else float(window.std(ddof=1))
            if len(before) >= MIN_HISTORY:
                known[int(day[i]) + 1] = min(3 * bisect_left(before, value) // len(before), 2)
            insort(before, value)
    return found


def tercile_of(regimes: dict[str, dict[int, int]], entry_time: Ints) -> dict[str, Ints]:
    """Return, per regime variable, the tercile each entry (UTC ns) fell into; -1 where it is not known yet."""
    return {
        name: np.array([known.get(int(t // DAY_NS), -1) for t in entry_time], dtype=np.int64)
        for name, known in regimes.items()
    }


def examine_regimes(regimes: dict[str, Ints], net: Floats, *, min_trades: int = 10) -> list[Doubt]:
    """
    Return one doubt per regime variable: falls when all profit comes from one tercile.

    Parameters
    ----------
    regimes : dict
        Terciles of the trades, from :func:`tercile_of`.
    net : np.ndarray
        float64, result of each trade.
    min_trades : int
        Terciles with fewer trades decide nothing.

    """
    answers = []
    for name, of in regimes.items():
        title = f"regimes of {name}"
        table = {
            NAMES[k]: {
                "trades": int((of == k).sum()),
                "net": float(net[of == k].sum()),
                "profit_factor": _finite(profit_factor(net[of == k])),
            }
            for k in range(3)
        }
        judged = [(k, v) for k, v in table.items() if (v["trades"] or 0) >= min_trades]
        figures = {"terciles": table, "unknown": int((of < 0).sum())}
        if len(judged) < 2:
            why = f"fewer than two terciles hold {min_trades} trades"
            answers.append(unknown(title, Reason.TOO_FEW, why, **figures))
            continue
        text = ", ".join(f"{k} {v['net']:+.2f} ({v['trades']})" for k, v in table.items())
        paying = [k for k, v in judged if (v["net"] or 0) > 0]
        if float(net.sum()) > 0 and len(paying) == 1:
            answers.append(falls(title, Reason.ONE_REGIME, f"net {text}: only {paying[0]} pays", **figures))
        else:
            answers.append(stands(title, f"net {text}", **figures))
    return answers


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
