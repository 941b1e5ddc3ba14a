"""A result file or run folder as the arrays that examinations take."""

import datetime as dt
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from node.statistics import daily_equity
from research.doubt.verdict import Doubt
from strategies.errors import DataError

if TYPE_CHECKING:
    from research.walkforward.study import Plan

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DAY_NS = 86_400_000_000_000
TRIAL_RETURNS = "trial_returns"
"""Stem of the file of a run folder that holds what every trial earned: shape (periods, trials)."""

_NAMES = ("result.json", "backtest.json", "walkforward.json", "report.json")


@dataclass(frozen=True)
class Trades:
    """
    Closed trades in order of exit.

    Attributes
    ----------
    symbol, month : list[str]
        Of each trade; month of the exit as ``2025-09``.
    entry_time, exit_time : np.ndarray
        int64, UTC ns.
    side : np.ndarray
        int64, +1 or -1.
    entry, quantity, stop, target : np.ndarray
        float64; NaN where unknown.
    net, fees : np.ndarray
        float64, USDT.
    inside : np.ndarray
        bool, left by a resting order (stop, target, liquidation).

    """

    symbol: list[str]
    month: list[str]
    entry_time: Ints
    exit_time: Ints
    side: Ints
    entry: Floats
    quantity: Floats
    stop: Floats
    target: Floats
    net: Floats
    fees: Floats
    inside: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.net)

    @property
    def net_r(self) -> Floats:
        """Net result in units of the planned risk; NaN where no stop is known."""
        return self.net / (np.abs(self.entry - self.stop) * self.quantity)


@dataclass(frozen=True)
class Run:
    """
    What a result says.

    Attributes
    ----------
    source : Path
        Where it was read.
    symbols, interval, start, data_hash : list[str], str, int, str
        What it ran on; start in UTC ns.
    config : dict
        The node configuration, plain.
    balance : float
        USDT at the start.
    trades : Trades
        Closed trades.
    returns : np.ndarray
        float64, daily returns of equity.
    synthetic : bool
        The data were generated.
    trial_returns : np.ndarray or None
        What every trial earned, where the run stored it.
    choice : list of Doubt or None
        What a walk-forward found about the choices in its training windows; None where it chose nothing.
    end : int
        End of a backtest, UTC ns; 0 where it is not known.
    windows : list of (int, int) or None
        The test windows of a walk-forward that were run, ``[start, end)`` on bar open, UTC ns; None for a backtest.
    covers : (list of str, int or None, int) or None
        Symbols and span that a walk-forward's `data_hash` is over.

    """

    source: Path
    symbols: list[str]
    interval: str
    start: int
    data_hash: str
    config: dict[str, Any]
    balance: float
    trades: Trades
    returns: Floats
    synthetic: bool
    trial_returns: Floats | None = None
    choice: list[Doubt] | None = None
    end: int = 0
    windows: list[tuple[int, int]] | None = None
    covers: tuple[list[str], int | None, int] | None = None


def read_run(path: Path, trials: Path | None = None) -> Run:
    """
    Read a result of ``node.backtest --json``, or a run folder that holds one.

    Raises
    ------
    DataError
        Propagate: no result there, or one without the fields needed; names file and field.

    """
    file = result_file(path)
    try:
        plain = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.MsgspecError) as e:
        raise DataError(f"{file}: cannot be read: {e}") from None
    if not isinstance(plain, dict):
        raise DataError(f"{file}: no result: an object is expected")
    for name in ("config", "trades", "daily_equity"):
        if name not in plain:
            raise DataError(f"{file}: {name}: missing; give a file written by `python -m node.backtest --json`")
    config = plain["config"]
    balance = float(config.get("backtest", {}).get("balance", 10_000.0))
    levels = np.array([balance, *(float(v) for _, v in plain["daily_equity"])])
    return Run(
        source=file,
        symbols=list(config["symbols"]),
        interval=config.get("interval", "15m"),
        start=time_ns(plain["start"]) if plain.get("start") else 0,
        data_hash=str(plain.get("data_hash", "")),
        config=config,
        balance=balance,
        trades=_trades(file, plain["trades"]),
        returns=np.diff(levels) / np.maximum(levels[:-1], 1e-12),
        synthetic=bool(plain.get("synthetic")),
        trial_returns=_beside(trials, file.parent),
        end=time_ns(plain["end"]) if plain.get("end") else 0,
    )


def read_variants(path: Path, trials: Path | None = None) -> dict[str, Run]:
    """
    Read every variant (account and gate mode) of a walk-forward, or the one run of a backtest under an empty name.

    A walk-forward names its test windows, and its plan (``config.json`` beside the result) what it ran on; without the
    plan only what needs no bars can be examined.

    Raises
    ------
    DataError
        Propagate: see :func:`read_run`.

    """
    file = result_file(path)
    try:
        plain = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.MsgspecError) as e:
        raise DataError(f"{file}: cannot be read: {e}") from None
    if not isinstance(plain, dict) or "variants" not in plain:
        return {"": read_run(path, trials)}
    found = {}
    try:
        choices = {a: _choice(of) for a, of in plain.get("tried", {}).items()}
        planned = read_plan(file.parent)
        for v in plain["variants"]:
            days, values = daily_equity([time_ns(t) for t, _, _ in v["equity"]], [float(e) for _, e, _ in v["equity"]])
            balance = float(v["start_balance"])
            levels = np.array([balance, *values])
            ran = _ran(planned, v, balance)
            found[f"{v['account']} {v['gate']}"] = Run(
                source=file,
                symbols=list(v["symbols"]),
                interval=str(ran.config.get("interval", "")),
                start=days[0] * DAY_NS if days else 0,
                data_hash=ran.data_hash,
                config=ran.config,
                balance=balance,
                trades=_trades(file, v["trades"]),
                returns=np.diff(levels) / np.maximum(levels[:-1], 1e-12),
                synthetic=bool(plain.get("synthetic")),
                trial_returns=_beside(trials, file.parent / v["account"]),
                choice=choices.get(v["account"]),
                windows=[_window(line["fold"]) for line in v.get("lines", [])],
                covers=ran.covers,
            )
    except (KeyError, TypeError, ValueError, msgspec.ValidationError) as e:
        raise DataError(f"{file}: variants: one lacks or misstates a field: {e}") from None
    return found


def _choice(tried: list[dict[str, Any]]) -> list[Doubt]:
    several = len(tried) > 1
    found = [(t["symbol"], msgspec.convert(d, Doubt)) for t in tried for d in t["doubts"]]
    return [msgspec.structs.replace(d, name=f"{d.name} {symbol}") if several else d for symbol, d in found]


class _Ran(NamedTuple):
    """What a walk-forward's plan says of one account; without a plan only what its result says."""

    config: dict[str, Any]
    data_hash: str = ""
    covers: tuple[list[str], int | None, int] | None = None


def read_plan(folder: Path) -> "Plan | None":
    """Return the plan of a walk-forward from its folder; None where there is none, or one of another version."""
    file = folder / "config.json"
    if not file.is_file():
        return None
    from research.walkforward.study import Plan  # noqa: PLC0415 - a study imports most of this project

    try:
        return msgspec.json.decode(file.read_bytes(), type=Plan)
    except (OSError, msgspec.MsgspecError):
        return None  # degraded: of another version, what needs the bars is said to be unknown


def _window(fold: dict[str, Any]) -> tuple[int, int]:
    return time_ns(fold["test_start"]), time_ns(fold["test_end"])


def _ran(planned: "Plan | None", v: dict[str, Any], balance: float) -> _Ran:
    if planned is None:
        return _Ran({"symbols": v["symbols"], "backtest": {"balance": balance}})
    from research.walkforward.study import needed_symbols  # noqa: PLC0415 - as above

    own = msgspec.structs.replace(planned.node, symbols=tuple(v["symbols"]))
    account = next(a for a in planned.accounts if a.symbols == v["symbols"])
    config: dict[str, Any] = msgspec.to_builtins(own)
    # The gate's models lie in the folds, each with a training period of its own; the walk's own plan keeps them apart.
    config |= {"gate": {}, "backtest": config["backtest"] | {"balance": balance}}
    return _Ran(config, account.data_hash, (needed_symbols(planned.config, own), None, account.history[1]))


def _beside(given: Path | None, folder: Path) -> Floats | None:
    found = (p for s in ("npz", "parquet", "csv") if (p := folder / f"{TRIAL_RETURNS}.{s}").exists())
    file = given or next(found, None)
    return None if file is None else read_trial_returns(file)


class Ranked(NamedTuple):
    """
    One symbol of a sweep.

    Attributes
    ----------
    symbol, doubts : str, list of Doubt
        Whose ranking, and the verdicts stored with it.
    first : int
        Its first set, a column of `returns`.
    returns : np.ndarray or None
        Daily returns of every set, shape (days, sets); None: not at hand.
    catalog : Path or None
        What the sweep ran on.

    """

    symbol: str
    doubts: list[Doubt]
    first: int
    returns: Floats | None
    catalog: Path | None


def read_ranking(path: Path) -> list[Ranked] | None:
    """
    Read what a sweep found about the first of its ranking; None where the result is not a sweep's.

    Raises
    ------
    DataError
        Propagate: see :func:`read_run`.

    """
    file = result_file(path)
    try:
        plain = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.MsgspecError) as e:
        raise DataError(f"{file}: cannot be read: {e}") from None
    if not isinstance(plain, dict) or not isinstance(plain.get("symbols"), list) or "checks" not in plain:
        return None
    found = []
    named = plain.get("node", {}).get("catalog")
    place = Path(named) if named else None
    try:
        for s in plain["symbols"]:
            names = (f"{TRIAL_RETURNS}-{s['symbol']}.npz", f"{TRIAL_RETURNS}.npz")
            beside = next((p for n in names if (p := file.parent / n).exists()), None)
            returns = None if beside is None else read_trial_returns(beside)
            stored, first = [msgspec.convert(d, Doubt) for d in s["doubts"]], int(s["first"])
            if returns is not None:
                returns[:, first]
            found.append(Ranked(s["symbol"], stored, first, returns, place))
    except (KeyError, TypeError, IndexError, msgspec.ValidationError) as e:
        raise DataError(f"{file}: symbols: one lacks or misstates a field: {e}; run the sweep again") from None
    return found


def read_trial_returns(path: Path) -> Floats:
    """
    Return the matrix (periods, trials) of an .npz (array ``returns``, or the only one), .parquet or .csv file.

    Raises
    ------
    DataError
        Propagate: the file cannot be read, is no matrix of numbers, or holds unknown values.

    """
    try:
        if path.suffix == ".npz":
            with np.load(path) as content:
                name = "returns" if "returns" in content.files else content.files[0]
                matrix = np.asarray(content[name], dtype=np.float64)
        elif path.suffix == ".parquet":
            import pyarrow.parquet as pq  # noqa: PLC0415 - one of three formats

            matrix = pq.read_table(path).to_pandas().select_dtypes("number").to_numpy(dtype=np.float64)
        else:
            import pandas as pd  # noqa: PLC0415 - one of three formats

            matrix = pd.read_csv(path).select_dtypes("number").to_numpy(dtype=np.float64)
    except (OSError, ValueError, IndexError, KeyError) as e:
        raise DataError(f"{path}: cannot be read as a matrix of returns: {e}") from None
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise DataError(f"{path}: a matrix (periods, trials) of finite returns is expected, not shape {matrix.shape}")
    return matrix


def time_ns(text: Any) -> int:
    """Return UTC nanoseconds of an ISO-8601 text, or the number itself."""
    if isinstance(text, int):
        return text
    moment = dt.datetime.fromisoformat(str(text))
    moment = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000


def result_file(path: Path) -> Path:
    """
    Return the file itself, or the one result of a run folder.

    Raises
    ------
    DataError
        Propagate: nothing there, or more than one file that may be meant.

    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder")
    for name in _NAMES:
        if (path / name).is_file():
            return path / name
    found = sorted(path.glob("*.json"))
    if len(found) != 1:
        raise DataError(f"{path}: holds {len(found)} JSON files and none called {', '.join(_NAMES)}: name the file")
    return found[0]


def _trades(file: Path, records: list[dict[str, Any]]) -> Trades:
    kept = [r for r in records if r.get("exit_time") and r.get("entry_time")]
    try:
        kept.sort(key=lambda r: time_ns(r["exit_time"]))
        return Trades(
            symbol=[r["symbol"] for r in kept],
            month=[_month(time_ns(r["exit_time"])) for r in kept],
            entry_time=np.array([time_ns(r["entry_time"]) for r in kept], dtype=np.int64),
            exit_time=np.array([time_ns(r["exit_time"]) for r in kept], dtype=np.int64),
            side=np.array([1 if r["side"] in ("LONG", "BUY") else -1 for r in kept], dtype=np.int64),
            entry=_floats(kept, "entry_price"),
            quantity=_floats(kept, "quantity"),
            stop=_floats(kept, "stop"),
            target=_floats(kept, "target"),
            net=_floats(kept, "net_pnl"),
            fees=_floats(kept, "fees"),
            inside=np.array([r.get("exit_reason") in ("STOP_LOSS", "TAKE_PROFIT", "LIQUIDATION") for r in kept], bool),
        )
    except (KeyError, TypeError, ValueError) as e:
        raise DataError(f"{file}: trades: a trade lacks or misstates a field: {e}") from None


def _floats(records: list[dict[str, Any]], name: str) -> Floats:
    return np.array([math.nan if r.get(name) is None else float(r[name]) for r in records], dtype=np.float64)


def _month(ns: int) -> str:
    return dt.datetime.fromtimestamp(ns // 1_000_000_000, tz=dt.UTC).strftime("%Y-%m")
