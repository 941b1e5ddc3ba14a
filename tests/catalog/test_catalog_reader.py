"""Arrays equal the engine's floats; ranges, coverage, hash; what Nautilus writes and what we write are one format."""

import functools
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from nautilus_trader.model.data import Bar, FundingRateUpdate
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.persistence.catalog.parquet import ParquetDataCatalog

from catalog import store
from catalog.instruments import bar_type, bar_type_text, instrument_id, interval_ns
from catalog.reader import coverage, data_hash, load_bars, load_funding
from catalog.writer import ingest_funding, ingest_klines
from strategies.errors import DataError

from .conftest import HEADER, START_MS, STEP_MS, rows

STEP = interval_ns("15m")
START = START_MS * 1_000_000


def funding_rows(count: int, start_ms: int = START_MS) -> list[list[str]]:
    rates = ("0.00010000", "-0.00012345", "0.00487889", "0.00000000")
    return [[str(start_ms + i * 28_800_000 + i % 7), "8", rates[i % 4]] for i in range(count)]


@pytest.fixture
def filled(catalog: Path, write_csv: Callable[..., Path]) -> Path:
    ingest_klines([write_csv(rows(300), header=HEADER)], catalog=catalog, symbol="XRPUSDT", interval="15m")
    ingest_funding([write_csv(funding_rows(12), "funding.csv")], catalog=catalog, symbol="XRPUSDT")
    return catalog


def as_bars(table: list[list[str]]) -> list[Bar]:
    kind = bar_type("XRPUSDT", "15m")
    bars = []
    for opened, *prices, volume in table:
        close = int(opened) * 1_000_000 + STEP
        bars.append(Bar(kind, *(Price.from_str(p) for p in prices), Quantity.from_str(volume), close, close))
    return bars


def test_nautilus_reads_the_bars_we_wrote(filled: Path) -> None:
    kind = str(bar_type("XRPUSDT", "15m"))
    read = ParquetDataCatalog(filled).bars([kind])
    assert [Bar.to_dict(bar) for bar in read] == [Bar.to_dict(bar) for bar in as_bars(rows(300))]


def test_the_parquet_schema_is_the_one_nautilus_writes(filled: Path, tmp_path: Path) -> None:
    theirs = ParquetDataCatalog(tmp_path / "theirs")
    theirs.write_data(as_bars(rows(300)))
    theirs.write_data([FundingRateUpdate(instrument_id("XRPUSDT"), Decimal("0.0001"), 1, 1, interval=480)])
    for kind in (store.BARS, store.FUNDING):
        ours_file = next((filled / "data" / kind).glob("*/*.parquet"))
        theirs_file = next((tmp_path / "theirs" / "data" / kind).glob("*/*.parquet"))
        assert pq.read_schema(ours_file).equals(pq.read_schema(theirs_file), check_metadata=True)
        if kind == store.BARS:
            assert ours_file.name == theirs_file.name
            assert pq.read_table(ours_file).equals(pq.read_table(theirs_file))


def test_nautilus_reads_the_funding_we_wrote(filled: Path) -> None:
    read = ParquetDataCatalog(filled).query(FundingRateUpdate, [str(instrument_id("XRPUSDT"))])
    assert [str(update.rate) for update in read[:4]] == ["0.00010000", "-0.00012345", "0.00487889", "0.00000000"]
    assert [update.ts_event for update in read] == [START + i * 32 * STEP for i in range(12)]  # jitter rounded away
    assert {update.interval for update in read} == {480}


def test_floats_are_bit_equal_to_float_of_the_bars_prices(filled: Path) -> None:
    bars = ParquetDataCatalog(filled).bars([str(bar_type("XRPUSDT", "15m"))])
    arrays = load_bars(filled, "XRPUSDT", "15m")
    assert arrays.open_time.tolist() == [bar.ts_event - STEP for bar in bars]
    for name in ("open", "high", "low", "close", "volume"):
        ours, engine = getattr(arrays, name), np.array([float(getattr(bar, name)) for bar in bars])
        assert ours.dtype == np.float64
        assert ours.tobytes() == engine.tobytes(), name


def test_funding_floats_equal_the_engines(filled: Path) -> None:
    updates = ParquetDataCatalog(filled).query(FundingRateUpdate)
    funding = load_funding(filled, "XRPUSDT")
    assert funding.rate.tobytes() == np.array([float(u.rate) for u in updates]).tobytes()


def test_reads_what_nautilus_wrote(tmp_path: Path) -> None:
    table = rows(6_000)  # more than one row group
    ParquetDataCatalog(tmp_path).write_data(as_bars(table))
    arrays = load_bars(tmp_path, "XRPUSDT", "15m")
    assert arrays.close.tolist() == [float(Price.from_str(row[4])) for row in table]


@pytest.mark.parametrize(("first", "last"), [(0, 300), (10, 20), (299, 300), (5, 900)])
def test_a_range_is_on_the_open_and_excludes_its_end(filled: Path, first: int, last: int) -> None:
    arrays = load_bars(filled, "XRPUSDT", "15m", START + first * STEP, START + last * STEP)
    assert arrays.open_time.tolist() == [START + i * STEP for i in range(first, min(last, 300))]
    assert {len(getattr(arrays, name)) for name in arrays.__slots__} == {len(arrays)}


def test_funding_ranges_exclude_their_end(filled: Path) -> None:
    funding = load_funding(filled, "XRPUSDT", START + 32 * STEP, START + 64 * STEP)
    assert funding.time.tolist() == [START + 32 * STEP]
    assert len(load_funding(filled, "XRPUSDT", START + 1, START + 2)) == 0


def test_coverage(filled: Path) -> None:
    assert coverage(filled, "XRPUSDT", "15m") == (START, START + 299 * STEP, 300)


def test_what_is_missing_is_named_with_its_remedy(filled: Path) -> None:
    with pytest.raises(DataError, match=r"no 15m bars of BTCUSDT: run `python -m catalog"):
        coverage(filled, "BTCUSDT", "15m")
    with pytest.raises(DataError, match=r"no 1h bars of XRPUSDT"):
        load_bars(filled, "XRPUSDT", "1h")
    with pytest.raises(DataError, match=r"no funding of BTCUSDT: run `python -m catalog.ingest funding"):
        load_funding(filled, "BTCUSDT")
    with pytest.raises(DataError, match=r"no bar opens in \[2024-01-01T00:00:00Z, .*holds 2025-03-05T00:00:00Z"):
        load_bars(filled, "XRPUSDT", "15m", 1_704_067_200_000_000_000, 1_704_153_600_000_000_000)


def test_a_damaged_file_is_named(filled: Path) -> None:
    file = store.series_file(filled, store.BARS, str(bar_type("XRPUSDT", "15m")))
    assert file is not None
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"\.parquet: damaged: .*ingest the series again"):
        load_bars(filled, "XRPUSDT", "15m")


def test_a_second_file_from_another_program_is_refused(filled: Path) -> None:
    file = store.series_file(filled, store.BARS, str(bar_type("XRPUSDT", "15m")))
    assert file is not None
    shutil.copy(file, file.with_name("other.parquet"))
    with pytest.raises(DataError, match="2 parquet files where one is expected"):
        load_bars(filled, "XRPUSDT", "15m")


def test_the_hash_follows_the_values_used_and_nothing_else(
    filled: Path, tmp_path: Path, write_csv: Callable[..., Path]
) -> None:
    end = START + 200 * STEP
    before = data_hash(filled, ["XRPUSDT"], "15m", START, end)
    assert before != data_hash(filled, ["XRPUSDT"], "15m", START, end - STEP)

    more = write_csv(rows(300, start_ms=START_MS + 300 * STEP_MS), "more.csv")
    ingest_klines([more], catalog=filled, symbol="XRPUSDT", interval="15m")
    assert data_hash(filled, ["XRPUSDT"], "15m", START, end) == before

    changed = rows(300)
    changed[100][5] = "1.0"
    ingest_klines([write_csv(changed, "changed.csv")], catalog=filled, symbol="XRPUSDT", interval="15m", replace=True)
    after = data_hash(filled, ["XRPUSDT"], "15m", START, end)
    assert after != before

    rates = funding_rows(12)
    rates[1][2] = "0.00020000"
    ingest_funding([write_csv(rates, "rates.csv")], catalog=filled, symbol="XRPUSDT", replace=True)
    assert data_hash(filled, ["XRPUSDT"], "15m", START, end) != after


def test_funding_before_the_range_counts_because_the_first_bar_sees_it(
    filled: Path, write_csv: Callable[..., Path]
) -> None:
    start, end = START + 40 * STEP, START + 60 * STEP  # the settlement at bar 32 is the one in force
    before = data_hash(filled, ["XRPUSDT"], "15m", start, end)
    for index in (0, 1, 2):
        rates = funding_rows(12)
        rates[index][2] = "0.00030000"
        ingest_funding([write_csv(rates, "rates.csv")], catalog=filled, symbol="XRPUSDT", replace=True)
        changed = data_hash(filled, ["XRPUSDT"], "15m", start, end) != before
        assert changed == (index == 1)
        ingest_funding([write_csv(funding_rows(12), "rates.csv")], catalog=filled, symbol="XRPUSDT", replace=True)


def test_a_range_reads_only_the_row_groups_it_needs(
    catalog: Path, write_csv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROWS_PER_GROUP", 7)
    monkeypatch.setattr(store, "parquet_options", functools.partial(store.parquet_options, rows_per_group=7))
    ingest_klines([write_csv(rows(100), header=HEADER)], catalog=catalog, symbol="XRPUSDT", interval="15m")
    everything = load_bars(catalog, "XRPUSDT", "15m")
    identifier = bar_type_text("XRPUSDT", "15m")
    for first in range(-3, 104, 5):
        for last in range(first + 1, 106, 4):
            start, end = START + first * STEP, START + last * STEP
            inside = (everything.open_time >= start) & (everything.open_time < end)
            if not inside.any():
                with pytest.raises(DataError, match="the catalog holds 2025-03-05T00:00:00Z to"):
                    load_bars(catalog, "XRPUSDT", "15m", start, end)
                continue
            part = load_bars(catalog, "XRPUSDT", "15m", start, end)
            assert part.open_time.tolist() == everything.open_time[inside].tolist()
            assert part.volume.tolist() == everything.volume[inside].tolist()
            table = store.read_table(catalog, store.BARS, identifier, ["ts_init"], (start + STEP, end + STEP))
            assert table is not None
            assert table.num_rows < len(part) + 14
