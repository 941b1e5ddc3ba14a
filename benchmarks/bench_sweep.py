"""
Speed and memory of the compiled sweep, beside a bare entry/stop/target loop over the same arrays in the same run.

``python benchmarks/bench_sweep.py [--bars 36589] [--minutes 525600] [--repeats 5]``

Real 15m bars of BTCUSDT up to 2025-09-30 where they lie ($ARGONAUT_DATA, else ../shared/data), else generated ones;
1m bars are generated. Warm: compiled code comes from numba's cache. Measured is what a sweep does once the catalog is
read: indicators of every window, votes of every triple, every set over every window.
"""

import argparse
import itertools
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numba import njit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from catalog import tables
from catalog.generator import generate
from catalog.ingest import main as ingest
from catalog.instruments import interval_ns, load_instruments
from catalog.reader import coverage
from catalog.writer import put_series
from node.config import NodeConfig, load_config
from research.sweep.config import Windows
from research.sweep.market import Market, prepare
from research.sweep.simulate import Grid, simulate_many
from research.sweep.windows import plan
from strategies.kernel.composite import run_votes
from strategies.kernel.params import CompositeParams
from strategies.kernel.step import votes_of

ROOT = Path(__file__).resolve().parent.parent
SYMBOL = "BTCUSDT"
UNTIL_NS = 1_759_276_800_000_000_000  # 2025-10-01T00:00Z


def ancestors_grid() -> list[CompositeParams]:
    """Return the 324 sets of the ancestor's sweep."""
    axes = ((1.0, 1.5, 2.0), (2.0, 3.0, 4.0), (3, 4, 5), (0.0, 20.0, 25.0, 30.0), (1.5, 2.0, 2.5))
    return [
        CompositeParams(stop_atr=s, target_atr=t, signal_threshold=v, adx_threshold=a, volume_multiplier=m)
        for s, t, v, a, m in itertools.product(*axes)
    ]


def real_or_generated(catalog: Path, bars: int) -> tuple[str, int]:
    """Fill `catalog` with 15m bars; return what they are and where the last `bars` begin."""
    for candidate in (os.environ.get("ARGONAUT_DATA"), ROOT.parent / "shared" / "data"):
        source = None if candidate is None else Path(candidate) / "um_klines_15m" / f"{SYMBOL}.csv.gz"
        if source is not None and source.is_file():
            common = ["--symbol", SYMBOL, "--catalog", str(catalog)]
            ingest(["klines", "--interval", "15m", "--from", str(source), *common])
            funding = Path(candidate) / "um_funding" / f"{SYMBOL}.csv.gz"
            ingest(["funding", "--from", str(funding), *common])
            return "real", min(coverage(catalog, SYMBOL, "15m")[1] + interval_ns("15m"), UNTIL_NS)
    generated(catalog, "15m", bars + 2_000)
    return "generated", coverage(catalog, SYMBOL, "15m")[1] + interval_ns("15m")


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run `function` in a process of its own: filling a catalog must not count as memory of the sweep."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def unlimited(node: NodeConfig) -> NodeConfig:
    """Return `node` without the switches that end trading: every set trades to the end, as the ancestor's did."""
    limits = msgspec.structs.replace(node.risk.limits, daily_loss=None, fast_kill_losses=None, slow_kill_trades=None)
    return msgspec.structs.replace(node, risk=msgspec.structs.replace(node.risk, limits=limits))


def generated(catalog: Path, interval: str, bars: int) -> None:
    """Fill `catalog` with generated bars."""
    step = interval_ns(interval)
    start = UNTIL_NS - bars * step
    start -= start % 86_400_000_000_000
    series, funding = generate([tables.grid_of(load_instruments()[SYMBOL])], interval, start, UNTIL_NS, 5)[SYMBOL]
    put_series(series, funding, catalog=catalog, symbol=SYMBOL, interval=interval, origin="generator")


@njit(cache=True)
def bare_loop(high: Any, low: Any, close: Any, atr: Any, votes: Any, stop_atr: float, target_atr: float) -> float:
    """Enter on a vote, leave at stop or target: the least any simulation must do with every bar."""
    side, stop, target, won = 0, 0.0, 0.0, 0.0
    entry = 0.0
    for i in range(len(close)):
        if side > 0:
            if low[i] <= stop:
                won += stop - entry
                side = 0
            elif high[i] >= target:
                won += target - entry
                side = 0
        elif side < 0:
            if high[i] >= stop:
                won += entry - stop
                side = 0
            elif low[i] <= target:
                won += entry - target
                side = 0
        if side == 0 and votes[i] != 0:
            side = votes[i]
            entry = close[i]
            stop = entry - side * stop_atr * atr[i]
            target = entry + side * target_atr * atr[i]
    return won


def best_of(repeats: int, function: Callable[[], Any]) -> tuple[float, float]:
    """Return the least and the median seconds of `function`."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds), float(np.median(seconds))


def bare(market: Market, sets: list[CompositeParams]) -> Callable[[], None]:
    """Return a function that runs the bare loop for every set, votes ready made."""
    bars = market.bars
    votes = run_votes({name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")})
    lines = {}
    for p in sets:
        key = (p.signal_threshold, p.adx_threshold, p.volume_multiplier)
        if key not in lines:
            rows, sides = np.empty(len(bars), np.int64), np.empty(len(bars), np.int8)
            count = votes_of(votes, bars.volume, 60, float(key[0]), key[1], key[2], rows, sides)
            lines[key] = np.zeros(len(bars), np.int8)
            lines[key][rows[:count]] = sides[:count]
    atr = np.ascontiguousarray(votes[:, 4])

    def run() -> None:
        for p in sets:
            line = lines[p.signal_threshold, p.adx_threshold, p.volume_multiplier]
            bare_loop(bars.high, bars.low, bars.close, atr, line, p.stop_atr, p.target_atr)

    return run


def sweep(market: Market, sets: list[CompositeParams], spans: Any) -> Callable[[], Grid]:
    """Return a function that does a whole sweep from raw bars: nothing of a run before is kept."""

    def run() -> Grid:
        market._windows.clear()  # noqa: SLF001 - indicators are part of what is measured
        return simulate_many(market, sets, spans, returns=True)

    return run


def report(title: str, market: Market, sets: list[CompositeParams], spans: Any, repeats: int) -> None:
    """Measure and print one line."""
    run, least_work = sweep(market, sets, spans), bare(market, sets)
    run()
    least_work()
    ours, median = best_of(repeats, run)
    theirs, _ = best_of(repeats, least_work)
    trades = int(run().figures["trades"].sum())
    print(
        f"{title:<46} {ours:8.3f} s (median {median:.3f}), bare loop {theirs:.3f} s, ratio {ours / theirs:5.2f}, "
        f"{trades} trades"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0].strip())
    parser.add_argument("--bars", type=int, default=36_589)
    parser.add_argument("--minutes", type=int, default=525_600)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    node = load_config(ROOT / "config" / "backtest.yaml")
    with tempfile.TemporaryDirectory() as folder:
        catalog = Path(folder, "catalog")
        kind, end = apart(real_or_generated, catalog, args.bars)
        node = msgspec.structs.replace(node, catalog=str(catalog), context=(), symbols=(SYMBOL,))
        sets = ancestors_grid()
        market = prepare(node, SYMBOL, end - args.bars * interval_ns("15m"), end)
        print(f"{kind} 15m bars of {SYMBOL}: {args.bars} that may trade, {len(market.bars)} with warm-up; 324 sets")
        months = plan(Windows(train_days=90, test_days=30), market.start_ns, market.end_ns)
        whole = [(market.start_ns, market.end_ns)]
        report("one window, indicators included", market, sets, whole, args.repeats)
        free = prepare(unlimited(node), SYMBOL, market.start_ns, market.end_ns)
        report("the same without daily loss and kill switches", free, sets, whole, args.repeats)
        report(f"{len(months.tests)} test months, 90/30", market, sets, months.tests, args.repeats)
        report(f"{len(months.all)} training and test windows, 90/30", market, sets, months.all, args.repeats)
    with tempfile.TemporaryDirectory() as folder:
        catalog = Path(folder, "catalog")
        apart(generated, catalog, "1m", args.minutes + 2_000)
        node = msgspec.structs.replace(unlimited(node), catalog=str(catalog), interval="1m")
        end = coverage(catalog, SYMBOL, "1m")[1] + interval_ns("1m")
        market = prepare(node, SYMBOL, end - args.minutes * interval_ns("1m"), end)
        whole = [(market.start_ns, market.end_ns)]
        report(f"{args.minutes} 1m bars, 100 sets", market, sets[:: len(sets) // 100][:100], whole, args.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB, filling the catalogs not included")
    return 0


if __name__ == "__main__":
    sys.exit(main())
