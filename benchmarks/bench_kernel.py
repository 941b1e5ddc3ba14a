"""
Speed of the kernel, as ratios measured in one run: ``python benchmarks/bench_kernel.py [--bars N] [--repeats N]``.

Four ways over the same bars, best of the repeats:

* ``touch``   a compiled loop that only reads each input and writes each output: the floor set by memory;
* ``windows`` a compiled loop that does nothing but the 17 rolling means and deviations, series by series;
* ``batch``   the kernel, :func:`strategies.kernel.composite.run_batch`;
* ``per bar`` the kernel called once per bar from Python, as live trading and the backtest engine do.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from strategies.kernel.columns import COLUMNS
from strategies.kernel.composite import CompositeKernel, run_batch, warm_up
from strategies.kernel.step import INPUTS, N_LONG, N_SERIES, Z_LONG, Z_SHORT


def random_walk(bars: int, seed: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = np.empty((bars, len(INPUTS)))
    close = np.round(2.5 * np.exp(np.cumsum(rng.normal(0, 0.003, bars))), 4) + 0.01
    matrix[:, 0] = np.concatenate([[close[0]], close[:-1]])
    matrix[:, 3] = close
    matrix[:, 1] = matrix[:, [0, 3]].max(axis=1) + 0.001
    matrix[:, 2] = matrix[:, [0, 3]].min(axis=1) - 0.001
    matrix[:, 4] = rng.lognormal(10, 1, bars)
    matrix[:, 5] = 60_000 * np.exp(np.cumsum(rng.normal(0, 0.002, bars)))
    matrix[:, 6] = 3_000 * np.exp(np.cumsum(rng.normal(0, 0.002, bars)))
    matrix[:, 7] = np.repeat(rng.normal(0, 1e-4, bars // 32 + 1), 32)[:bars]
    matrix[:, 8] = rng.normal(0, 0.01, bars)
    return matrix


@njit(error_model="numpy")
def touch(bars: np.ndarray, out: np.ndarray) -> None:
    for i in range(bars.shape[0]):
        total = 0.0
        for j in range(bars.shape[1]):
            total += bars[i, j]
        for j in range(out.shape[1]):
            out[i, j] = total


@njit(error_model="numpy")
def windows(series: np.ndarray, out: np.ndarray) -> None:
    for i in range(series.shape[0]):
        for j in range(N_SERIES):
            first = max(0, i + 1 - (Z_LONG if j < N_LONG else Z_SHORT))
            total = 0.0
            for k in range(first, i + 1):
                total += series[k, j]
            mean = total / (i + 1 - first)
            squares = 0.0
            for k in range(first, i + 1):
                squares += (series[k, j] - mean) ** 2
            out[i, j] = (series[i, j] - mean) / max(np.sqrt(squares / (i + 1 - first)), 1e-8)


def per_bar(bars: np.ndarray, out: np.ndarray) -> None:
    kernel = CompositeKernel()
    for i, bar in enumerate(bars.tolist()):
        out[i] = kernel.step(*bar)


def best(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description="Bars per second of the kernel, and ratios measured in one run.")
    parser.add_argument("--bars", type=int, default=35_040, help="a year of 15-minute bars by default (35040)")
    parser.add_argument("--repeats", type=int, default=5, help="the best of so many (5)")
    given = parser.parse_args()

    bars = random_walk(given.bars)
    out = np.empty((given.bars, len(COLUMNS)))
    series = np.random.default_rng(1).normal(size=(given.bars, N_SERIES))
    began = time.perf_counter()
    warm_up()
    print(f"warm-up (compile, or load from cache): {time.perf_counter() - began:.2f} s")
    touch(bars[:1], out)
    windows(series[:1], out)
    run_batch(None, bars[:1_000])

    seconds = {
        "touch": best(lambda: touch(bars, out), given.repeats),
        "windows": best(lambda: windows(series, out), given.repeats),
        "batch": best(lambda: run_batch(None, bars), given.repeats),
        "per bar": best(lambda: per_bar(bars, out), given.repeats),
    }
    print(f"{given.bars} bars, best of {given.repeats}")
    for name, value in seconds.items():
        ratio = value / seconds["batch"]
        print(
            f"{name:8} {given.bars / value:14,.0f} bars/s {value / given.bars * 1e6:9.3f} µs/bar {ratio:8.3f} x batch"
        )


if __name__ == "__main__":
    main()
