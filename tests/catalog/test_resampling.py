"""Bars of 4h and 1d made from 15m: equal to sums done by hand, and on real data to what native 1h bars give."""

import os
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from catalog import resample
from catalog.ingest import main as ingest
from catalog.instruments import interval_ns
from catalog.quality.files import read_raw
from catalog.quality.resampling import add_up, complete_buckets
from catalog.reader import load_bars
from tests.catalog.conftest import DAY_MS, HEADER, START_MS, STEP_MS, Row, rows

DATA = Path(os.environ.get("ARGONAUT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
REAL = [DATA] if (DATA / "um_klines_15m" / "XRPUSDT.csv.gz").exists() else []
# Sources fetched before the exchange restated these days differ from those fetched after.
RESTATED_DAYS = {"2023-11-10", "2024-03-27", "2024-03-28", "2024-10-28", "2025-01-14", "2025-01-29"}

type Bar = tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal]


def by_hand(parts: list[Row], long_ms: int) -> list[Bar]:
    """Return the complete long bars, with decimals, one row after the other."""
    windows: dict[int, list[Row]] = defaultdict(list)
    for row in parts:
        windows[int(row[0]) // long_ms * long_ms].append(row)
    result = []
    for start, window in sorted(windows.items()):
        if len(window) < long_ms // STEP_MS:
            continue
        figures = [[Decimal(cell) for cell in row[1:]] for row in window]
        high, low = max(f[1] for f in figures), min(f[2] for f in figures)
        result.append((start, figures[0][0], high, low, figures[-1][3], sum((f[4] for f in figures), Decimal(0))))
    return result


def stored(catalog: Path, interval: str) -> list[Bar]:
    bars = load_bars(catalog, "XRPUSDT", interval)
    prices = [[Decimal(f"{x:.4f}") for x in getattr(bars, name).tolist()] for name in ("open", "high", "low", "close")]
    volume = [Decimal(f"{x:.1f}") for x in bars.volume.tolist()]
    return list(zip((bars.open_time // 1_000_000).tolist(), *prices, volume, strict=True))


def bring(catalog: Path, path: Path, interval: str) -> None:
    command = ["klines", "--symbol", "XRPUSDT", "--interval", interval, "--from", str(path), "--catalog", str(catalog)]
    assert ingest(command) == 0


def test_long_bars_equal_sums_by_hand_and_cut_windows_are_left_out(
    catalog: Path, write_csv: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    # From 01:30 of the first day to 22:45 of the ninth; of the fourth day 09:15 is missing.
    table = rows(9 * 96 - 10, start_ms=START_MS + 6 * STEP_MS)
    missing = START_MS + 3 * DAY_MS + 37 * STEP_MS
    table = [row for row in table if int(row[0]) != missing]
    bring(catalog, write_csv(table, "XRPUSDT-15m.csv", HEADER), "15m")
    command = ["--catalog", str(catalog), "--symbol", "XRPUSDT", "--from", "15m", "--to", "4h", "1d"]
    assert resample.main(command) == 0
    capsys.readouterr()
    hours, days = stored(catalog, "4h"), stored(catalog, "1d")
    assert hours == by_hand(table, 4 * 3_600_000)
    assert days == by_hand(table, DAY_MS)
    # Of 54 windows the first, the last and the one with the hole are not whole; of 9 days the same.
    assert (len(hours), len(days)) == (51, 6)
    opens = {bar[0] for bar in hours}
    assert not {START_MS, START_MS + 9 * DAY_MS - 4 * 3_600_000, missing // 14_400_000 * 14_400_000} & opens
    assert START_MS + 4 * 3_600_000 in opens

    before = stored(catalog, "4h"), stored(catalog, "1d")
    assert resample.main(command) == 0
    assert "4h: 0 bars added, 51 equal native bars" in capsys.readouterr().out
    assert (stored(catalog, "4h"), stored(catalog, "1d")) == before


def test_a_day_is_the_same_through_4h_and_the_rest_comes_with_the_missing_part(
    catalog: Path, write_csv: Callable[..., Path], tmp_path: Path
) -> None:
    table = rows(4 * 96)
    hole = 200
    bring(catalog, write_csv(table[:hole] + table[hole + 1 :], "XRPUSDT-15m.csv", HEADER), "15m")
    assert resample.main(["--catalog", str(catalog), "--symbol", "XRPUSDT", "--from", "15m", "--to", "1d"]) == 0
    assert len(stored(catalog, "1d")) == 3
    bring(catalog, write_csv(table[hole : hole + 1], "XRPUSDT-15m-late.csv", HEADER), "15m")
    assert resample.main(["--catalog", str(catalog), "--symbol", "XRPUSDT", "--from", "15m", "--to", "1d"]) == 0
    other = tmp_path / "other"
    bring(other, write_csv(table, "XRPUSDT-15m-all.csv", HEADER), "15m")
    for short, long in (("15m", "4h"), ("4h", "1d")):
        assert resample.main(["--catalog", str(other), "--symbol", "XRPUSDT", "--from", short, "--to", long]) == 0
    assert stored(catalog, "1d") == stored(other, "1d") == by_hand(table, DAY_MS)


@pytest.mark.parametrize("data", REAL)
@pytest.mark.parametrize("symbol", ["XRPUSDT", "BTCUSDT", "ETHUSDT"])
@pytest.mark.parametrize("long", ["4h", "1d"])
def test_real_long_bars_from_15m_equal_those_from_native_1h(data: Path, symbol: str, long: str) -> None:
    made = {}
    for short in ("15m", "1h"):
        path = data / f"um_klines_{short}" / f"{symbol}.csv.gz"
        parts = read_raw(path, symbol=symbol, interval=short).rows()[0]
        buckets = complete_buckets(parts.open_time, interval_ns(short), interval_ns(long))
        assert len(buckets.open_time) > 100
        assert (buckets.open_time % interval_ns(long) == 0).all()
        # Nothing before the first whole window or after the last: a bar is made of parts that are all there.
        inside = np.isin(buckets.open_time[:, None] + np.arange(buckets.parts) * interval_ns(short), parts.open_time)
        assert inside.all()
        made[short] = buckets.open_time, add_up(parts.matrix(), buckets)
    (time, fine), (other, coarse) = made["15m"], made["1h"]
    _, a, b = np.intersect1d(time, other, return_indices=True)
    assert len(a) > 100
    same = (fine[a, :4] == coarse[b, :4]).all(axis=1)
    same &= np.isclose(fine[a, 4], coarse[b, 4], rtol=1e-9, atol=1e-6)
    days = {str(np.datetime64(int(t), "ns"))[:10] for t in time[a][~same]}
    assert days <= (set() if symbol == "XRPUSDT" else RESTATED_DAYS)
