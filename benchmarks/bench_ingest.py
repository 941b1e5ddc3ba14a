"""
Speed and memory of the catalog, as ratios measured in one run: ``python benchmarks/bench_ingest.py [--trades N]``.

One core (the process is pinned). Every figure is the best of the repeats, ours and the yardstick taken in turn:

* ``ingest``  zipped CSV to verified parquet in the catalog, against ``pyarrow.csv`` reading the same file on one
  thread (unzipping counts on both sides; the second yardstick is handed the unzipped bytes);
* ``query``   one month of one symbol's 1m bars out of a year, as float64 arrays, against a bare ``pyarrow`` read of the
  same rows and columns;
* ``trades``  a month of aggTrades into the raw store: rows per second and the peak memory of that process.
"""

import argparse
import os
import resource
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
from catalog.reader import load_bars
from catalog.writer import ingest_klines

START_MS = 1_704_067_200_000  # 2024-01-01
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


def ingest(folder: Path, rows: int, repeats: int) -> Path:
    """Print the ratios for a file of `rows` bars; return the catalog written last."""
    path = folder / "XRPUSDT-1m-2024.zip"
    klines(rows, path)
    with zipfile.ZipFile(path) as archive:
        content = archive.read(archive.namelist()[0])
    runs = iter(range(1_000_000))
    serial = csv.ReadOptions(use_threads=False)

    def ours() -> None:
        catalog = folder / f"catalog{rows}-{next(runs)}"
        ingest_klines([path], catalog=catalog, symbol="XRPUSDT", interval="1m")

    def theirs() -> None:
        with zipfile.ZipFile(path) as archive:
            csv.read_csv(pa.BufferReader(archive.read(archive.namelist()[0])), read_options=serial)

    took, zip_read, bare = best(
        repeats, ours, theirs, lambda: csv.read_csv(pa.BufferReader(content), read_options=serial)
    )
    print(
        f"ingest {rows:9,} bars {rows / took:12,.0f} rows/s  {took / zip_read:5.2f} x pyarrow.csv of the zip  "
        f"{took / bare:5.2f} x pyarrow.csv of the unzipped bytes"
    )
    return folder / f"catalog{rows}-{next(runs) - 1}"


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of the catalog, as ratios measured in one run.")
    parser.add_argument("--repeats", type=int, default=5, help="the best of so many (5)")
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ingest(folder, 44_640, given.repeats)
        catalog = ingest(folder, 366 * 1_440, given.repeats)
        query(catalog, 4 * given.repeats)
    print(f"peak memory of this process, files and yardsticks included: {peak_megabytes(resource.RUSAGE_SELF):.0f} MB")


def peak_megabytes(who: int) -> float:
    unit = 1 if sys.platform == "darwin" else 1_024
    return resource.getrusage(who).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
