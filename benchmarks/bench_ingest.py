"""
Speed and memory of the catalog, as ratios measured in one run: ``python benchmarks/bench_ingest.py [--trades N]``.

One core (the process is pinned). Every figure is the best of the repeats, ours and the yardstick taken in turn:

* ``ingest``  zipped CSV to verified parquet, against ``pyarrow.csv`` reading the same file on one thread (unzipping
  counts on both sides; the second yardstick is handed the unzipped bytes): into the raw store, into a catalog alone,
  and into the raw store and the catalog made of it, which is what ``catalog.ingest`` does;
* ``query``   one month of one symbol's 1m bars out of a year, as float64 arrays, against a bare ``pyarrow`` read of the
  same rows and columns;
* ``trades``  a million aggTrades into the raw store, then a month of them in a process of its own: rows per second
  and the peak memory of that process;
* ``build``   that month from the raw store into the catalog, and once more when nothing changed.

Ingestion and the raw store inspect what they take (`catalog.quality`); the figures include it.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from catalog import store
from catalog.csv_files import KLINE_COLUMNS
from catalog.instruments import bar_type_text
from catalog.raw.writer import put
from catalog.reader import load_bars
from catalog.through_raw import bring
from catalog.writer import ingest_klines

START_MS = 1_704_067_200_000  # 2024-01-01
# Linux hands a process the peak of the one that started it, except in this field.
_CHILD = """
import resource, sys
from pathlib import Path
import importlib
importlib.import_module(sys.argv[1]).main(sys.argv[2:])
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
own = [int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM")]
print(own[0] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""
MINUTE_MS, DAY_MS = 60_000, 86_400_000


def decimals(units: np.ndarray, precision: int) -> pa.Array:
    """Return whole units of the last digit as the texts the exchange prints."""
    words = np.zeros((len(units), 2), dtype=np.int64)
    words[:, 0] = units
    return pa.Array.from_buffers(
        pa.decimal128(18, precision), len(units), [None, pa.py_buffer(np.ascontiguousarray(words))]
    ).cast(pa.string())


def klines(rows: int, path: Path) -> None:
    """Write `rows` minutes in the archive's form."""
    source = np.random.default_rng(1)
    close = np.maximum(np.cumsum(source.integers(-9, 10, rows)) + 24_500, 500)
    opened = np.concatenate([[24_500], close[:-1]])
    high = np.maximum(opened, close) + source.integers(0, 9, rows)
    low = np.minimum(opened, close) - source.integers(0, 9, rows)
    volume = source.integers(1, 5_000_000, rows)
    taker = (volume * source.random(rows)).astype(np.int64)
    time_ms = START_MS + np.arange(rows) * MINUTE_MS
    columns = [
        pa.array(time_ms),
        *(decimals(price, 4) for price in (opened, high, low, close)),
        decimals(volume, 1),
        pa.array(time_ms + MINUTE_MS - 1),
        decimals(volume * close, 5),
        pa.array(source.integers(1, 4_000, rows)),
        decimals(taker, 1),
        decimals(taker * close, 5),
        pa.array(np.zeros(rows, dtype=np.int64)),
    ]
    zipped(path, [pa.Table.from_arrays(columns, names=list(KLINE_COLUMNS))])


def zipped(path: Path, tables: list[pa.Table]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(f"{path.stem}.csv", "w") as member:
        for number, table in enumerate(tables):
            csv.write_csv(table, member, csv.WriteOptions(include_header=number == 0, quoting_style="none"))


def best(repeats: int, *functions: Callable[[], object]) -> list[float]:
    seconds = [float("inf")] * len(functions)
    for _ in range(repeats):
        for i, function in enumerate(functions):
            began = time.process_time()
            function()
            seconds[i] = min(seconds[i], time.process_time() - began)
    return seconds


def peak_megabytes(who: int) -> float:
    unit = 1 if sys.platform == "darwin" else 1_024
    return resource.getrusage(who).ru_maxrss * unit / 1e6


def ingest(folder: Path, rows: int, repeats: int) -> Path:
    """Print the ratios for a file of `rows` bars; return the catalog written last."""
    path = folder / "XRPUSDT-1m-2024.zip"
    klines(rows, path)
    with zipfile.ZipFile(path) as archive:
        content = archive.read(archive.namelist()[0])
    runs = iter(range(1_000_000))
    serial = csv.ReadOptions(use_threads=False)

    shared = {"symbol": "XRPUSDT", "interval": "1m"}

    def raw() -> None:
        put([path], root=folder / f"raw{rows}-{next(runs)}", kind="klines", **shared)

    def both() -> None:
        run = next(runs)
        bring([path], root=folder / f"raw{rows}-{run}", catalog=folder / f"through{rows}-{run}", **shared)

    def alone() -> None:
        ingest_klines([path], catalog=folder / f"catalog{rows}", **shared)
        shutil.rmtree(folder / f"catalog{rows}")

    def theirs() -> None:
        with zipfile.ZipFile(path) as archive:
            csv.read_csv(pa.BufferReader(archive.read(archive.namelist()[0])), read_options=serial)

    *took, zip_read, bare = best(
        repeats, raw, alone, both, theirs, lambda: csv.read_csv(pa.BufferReader(content), read_options=serial)
    )
    for name, seconds in zip(("raw store", "catalog alone", "raw store and catalog"), took, strict=True):
        print(
            f"ingest {rows:9,} bars {rows / seconds:9,.0f} rows/s {seconds / zip_read:5.2f} x pyarrow.csv of the zip, "
            f"{seconds / bare:5.2f} x of the bytes: {name}"
        )
    ingest_klines([path], catalog=folder / f"catalog{rows}", **shared)
    return folder / f"catalog{rows}"


def query(catalog: Path, repeats: int) -> None:
    """Print the ratio for June out of the year."""
    start = (START_MS + 152 * DAY_MS) * 1_000_000
    end = start + 30 * DAY_MS * 1_000_000
    file = store.series_file(catalog, store.BARS, bar_type_text("XRPUSDT", "1m"))
    columns = ["open", "high", "low", "close", "volume", "ts_event"]
    wanted = [("ts_event", ">", np.uint64(start)), ("ts_event", "<=", np.uint64(end))]
    groups = pq.ParquetFile(file).metadata.num_row_groups
    first, last = groups * 152 // 366, groups * 182 // 366 + 1

    def bare() -> None:
        pq.ParquetFile(file).read_row_groups(list(range(first, last)), columns=columns, use_threads=False)

    rows = len(load_bars(catalog, "XRPUSDT", "1m", start, end))
    ours, filtered, unfiltered = best(
        repeats,
        lambda: load_bars(catalog, "XRPUSDT", "1m", start, end),
        lambda: pq.read_table(file, columns=columns, filters=wanted, use_threads=False),
        bare,
    )
    print(
        f"query  {rows:9,} bars {ours * 1e3:9.2f} ms      {ours / filtered:5.2f} x pyarrow read_table with filters  "
        f"{ours / unfiltered:5.2f} x pyarrow read of the row groups alone"
    )


def agg_trades(rows: int, path: Path) -> None:
    """Write a March of `rows` aggregate trades in the archive's form: bursts, a drifting price, skewed sizes."""
    source = np.random.default_rng(2)
    span, step = 31 * DAY_MS, 1_000_000
    price, trade, tables = 600_000, 5_000_000_000, 0
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(f"{path.stem}.csv", "w", force_zip64=True) as member,
    ):
        for first in range(0, rows, step):
            count = min(step, rows - first)
            part_ms = span * count // rows
            moments = np.sort(source.random(count) ** 1.5) * part_ms
            walk = price + np.cumsum(source.integers(-1, 2, count) * (source.random(count) < 0.2))
            price = int(walk[-1])
            last = trade + np.cumsum(source.geometric(0.5, count))
            quantity = np.maximum((source.lognormal(3, 2, count)).astype(np.int64), 1)
            table = pa.table(
                {
                    "agg_trade_id": np.arange(first, first + count) + 2_000_000_000,
                    "price": decimals(walk, 1),
                    "quantity": decimals(quantity, 3),
                    "first_trade_id": np.concatenate([[trade], last[:-1]]) + 1,
                    "last_trade_id": last,
                    "transact_time": START_MS + 60 * DAY_MS + span * first // rows + moments.astype(np.int64),
                    "is_buyer_maker": source.random(count) < 0.5,
                }
            )
            trade = int(last[-1])
            csv.write_csv(table, member, csv.WriteOptions(include_header=tables == 0, quoting_style="none"))
            tables += 1


def few_trades(folder: Path, rows: int, repeats: int) -> None:
    """Print the ratio for a small file within a process that has its imports behind it."""
    path, runs = folder / "ETHUSDT-aggTrades-2024-03.zip", iter(range(1_000_000))
    agg_trades(rows, path)

    def ours() -> None:
        put([path], root=folder / f"few{next(runs)}", kind="agg_trades", symbol="ETHUSDT")

    ours()
    took, read = best(repeats, ours, lambda: _yardstick(path))
    print(
        f"trades {rows:9,} rows {rows / took:12,.0f} rows/s of CPU within a running process; "
        f"{took / read:.2f} x pyarrow.csv of the zip"
    )


def trades(folder: Path, rows: int) -> None:
    """Print rows per second and peak memory of a process that does nothing else, and a second run of the same."""
    path = folder / "BTCUSDT-aggTrades-2024-03.zip"
    agg_trades(rows, path)
    raw, catalog = folder / "raw", folder / "built"
    bring = [
        "catalog.raw.__main__",
        "put",
        "agg_trades",
        "--symbol",
        "BTCUSDT",
        "--from",
        str(path),
        "--root",
        str(raw),
    ]
    build = ["catalog.build", "--raw", str(raw), "--catalog", str(catalog)]
    read = _yardstick(path)
    for name, arguments, made in (("trades", bring, raw), ("build ", build, catalog)):
        for run in ("first", "again"):
            began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            *_, peak = subprocess.run(
                [sys.executable, "-c", _CHILD, *arguments],
                check=True,
                capture_output=True,
                text=True,
                cwd=Path(__file__).resolve().parents[1],
            ).stdout.splitlines()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(
                f"{name} {rows:9,} rows {rows / cpu:12,.0f} rows/s of CPU, {time.perf_counter() - began:.0f} s {run}; "
                f"{cpu / read:.2f} x pyarrow.csv of the zip; peak {float(peak):.0f} MB; "
                f"{path.stat().st_size / 1e6:.0f} MB zip, "
                f"{sum(f.stat().st_size for f in made.rglob('*.parquet')) / 1e6:.0f} MB parquet",
                flush=True,
            )


def _yardstick(path: Path) -> float:
    """Return the CPU seconds in which pyarrow.csv streams the zip, its own types, on one thread."""
    began = time.process_time()
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as member:
        for _ in csv.open_csv(member, read_options=csv.ReadOptions(use_threads=False, block_size=4 << 20)):
            pass
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of the catalog, as ratios measured in one run.")
    parser.add_argument("--repeats", type=int, default=5, help="the best of so many (5)")
    parser.add_argument("--trades", type=int, default=30_000_000, help="rows of the month of aggTrades (30000000)")
    parser.add_argument("--folder", type=Path, help="where to work; default a temporary directory")
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        ingest(folder, 44_640, given.repeats)
        catalog = ingest(folder, 366 * 1_440, given.repeats)
        query(catalog, 4 * given.repeats)
        if given.trades:
            few_trades(folder, 1_000_000, given.repeats)
            trades(folder, given.trades)
    print(f"peak memory of this process, files and yardsticks included: {peak_megabytes(resource.RUSAGE_SELF):.0f} MB")


if __name__ == "__main__":
    main()
