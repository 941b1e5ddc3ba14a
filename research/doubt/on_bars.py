"""
Doubts that need the bars: random entries, late entries, foresight, regimes; of a backtest, or of every test window.

Of a walk-forward only test windows are looked at: a random entry falls into the same window as the real one, under the
exits of that window's parameters, and a trade still open when the window ends is left out on both sides.
"""

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from catalog.instruments import interval_ns
from catalog.reader import BarArrays, data_hash, load_bars
from node.backtest_run import resolve_window
from node.config import NodeConfig
from research.doubt.exits import ExitRules, Prices
from research.doubt.lookahead import examine_foresight
from research.doubt.luck import Entries, examine_delay, examine_random_entries
from research.doubt.regimes import daily_closes, examine_regimes, tercile_of, terciles
from research.doubt.result import Run
from research.doubt.verdict import Doubt, Reason, unknown
from strategies.errors import ArgonautError, DataError
from strategies.kernel.columns import COLUMNS
from strategies.kernel.composite import run_batch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_RANDOM, _DELAY = "random entries", "entry delay"


class _Symbol(NamedTuple):
    """What one symbol adds: its entries per window, the doubt on foresight, rows of its trades and their terciles."""

    entries: list[Entries]
    foresight: Doubt
    trades: Ints
    regimes: dict[str, Ints]


def examine_on_bars(run: Run, catalog: Path | None, seed: int) -> list[Doubt]:
    """
    Return the doubts that need the bars a result was made from; *unknown* where those are not at hand.

    Parameters
    ----------
    run : Run
        The result; of a walk-forward its test windows.
    catalog : Path or None
        Where the bars lie; None: where the result says.
    seed : int
        Of the random entries and delays.

    """
    names = (_RANDOM, _DELAY, "foresight", "regimes of trend", "regimes of volatility")
    try:
        config = node_config(run, catalog)
        _check_data(run, config)
        until = None if run.windows is None else run.windows[-1][1]
        bars = {s: load_bars(Path(config.catalog), s, config.interval, None, until) for s in run.symbols}
    except ArgonautError as e:
        return [unknown(n, Reason.UNAVAILABLE, f"no bars: {e}") for n in names]
    if not len(run.trades):
        return [unknown(n, Reason.TOO_FEW, "no trade") for n in names]
    parts = [_symbol(run, s, bars[s], interval_ns(config.interval)) for s in run.symbols]
    entries = [e for part in parts for e in part.entries]
    found = [part.foresight for part in parts]
    if entries:
        found += [examine_random_entries(entries, seed=seed), examine_delay(entries, seed=seed)]
    else:
        why = "stop and target of the trades are not known"
        found += [unknown(n, Reason.UNAVAILABLE, why) for n in (_RANDOM, _DELAY)]
    together = {name: np.concatenate([part.regimes[name] for part in parts]) for name in ("trend", "volatility")}
    return found + examine_regimes(together, run.trades.net[np.concatenate([part.trades for part in parts])])


def _symbol(run: Run, symbol: str, series: BarArrays, step: int) -> _Symbol:
    closes = series.open_time + step
    mine = np.flatnonzero(np.array(run.trades.symbol) == symbol)
    mine = mine[np.argsort(run.trades.entry_time[mine], kind="stable")]
    at = np.searchsorted(closes, run.trades.entry_time[mine])
    at, mine = at[at < len(closes)], mine[at < len(closes)]
    kernel = run_batch(None, {k: getattr(series, k) for k in ("open", "high", "low", "close", "volume")})
    atr = kernel[:, COLUMNS.index("atr")]
    spans = [(run.start, run.end or int(closes[-1]))] if run.windows is None else run.windows
    entries: list[Entries] = []
    for start, end in spans:
        first, last = (int(np.searchsorted(closes, t, side="right")) for t in (start, end))
        inside = (at >= first) & (at < last)
        rules = exit_rules(run, mine[inside], atr[at[inside]])
        if rules is not None:
            prices = Prices(*(x[first:last] for x in (series.open, series.high, series.low, series.close, atr)))
            entries.append(Entries(prices, at[inside] - first, run.trades.side[mine[inside]], rules))
    # What chance is right about is counted on the tested bars; what was known of the regime rests on all before.
    begin = 0 if run.windows is None else int(np.searchsorted(closes, spans[0][0], side="right"))
    kept = at >= begin
    foresight = examine_foresight(
        series.close[begin:],
        (at[kept] - begin).tolist(),
        run.trades.side[mine[kept]].tolist(),
        f"foresight {symbol}",
    )
    known = terciles(*daily_closes(closes, series.close))
    return _Symbol(entries, foresight, mine, tercile_of(known, run.trades.entry_time[mine]))


def exit_rules(run: Run, trades: Ints, atr: Floats) -> ExitRules | None:
    """Return stop and target in ATR, slippage and fee as the trades themselves show them; None where they do not."""
    stop = np.abs(run.trades.entry[trades] - run.trades.stop[trades]) / atr
    target = np.abs(run.trades.target[trades] - run.trades.entry[trades]) / atr
    stop, target = stop[np.isfinite(stop) & (stop > 0)], target[np.isfinite(target) & (target > 0)]
    if not len(stop) or not len(target):
        return None
    notional = 2 * run.trades.entry[trades] * run.trades.quantity[trades]
    fee = float(np.median(run.trades.fees[trades] / notional))
    slippage = float(run.config.get("backtest", {}).get("slippage_bps", 0.0)) / 1e4
    return ExitRules(float(np.median(stop)), float(np.median(target)), slippage, max(fee, 0.0))


def node_config(run: Run, catalog: Path | None) -> NodeConfig:
    """
    Return the run's configuration with another catalog.

    Raises
    ------
    DataError
        Unavailable: the configuration is not one this version knows.

    """
    if run.windows is not None and run.covers is None:
        raise DataError(f"{run.source}: the study's plan (config.json of this version) is not beside it")
    try:
        config = msgspec.convert(run.config, NodeConfig)
    except msgspec.ValidationError as e:
        raise DataError(f"{run.source}: config: {e}") from None
    return config if catalog is None else msgspec.structs.replace(config, catalog=str(catalog))


def _check_data(run: Run, config: NodeConfig) -> None:
    if not run.data_hash:
        return
    catalog = Path(config.catalog)
    symbols, start, end = run.covers if run.covers is not None else _covers(config)
    found = data_hash(catalog, symbols, config.interval, start, end)
    if found != run.data_hash:
        raise DataError(
            f"{catalog}: holds other data than the result was made from ({found[:12]}, {run.data_hash[:12]})"
        )


def _covers(config: NodeConfig) -> tuple[list[str], int | None, int]:
    window = resolve_window(config)
    return list(config.all_symbols), window.data_start_ns, window.end_ns
