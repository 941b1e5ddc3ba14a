"""Files into the catalog: forms that are taken, rows that are refused, and that a refusal changes nothing."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import checks, csv_files
from catalog.checks import Grid, read_funding, read_klines
from catalog.ingest import main
from catalog.instruments import DEFAULT_PATH, interval_ns
from catalog.reader import coverage, load_bars, load_funding
from catalog.writer import ingest_funding, ingest_instruments, ingest_klines
from strategies.errors import ArgonautError, ConfigError, DataError

from .conftest import HEADER, START_MS, STEP_MS, Row, official, rows

GRID = Grid("XRPUSDT", 4, 1, 1)
STEP = interval_ns("15m")
START = START_MS * 1_000_000
OFFICIAL_HEADER = list(csv_files.KLINE_COLUMNS)


def snapshot(folder: Path) -> dict[str, str]:
    """Return every file below `folder` with its hash; locks are not content."""
    files = (f for f in folder.rglob("*") if f.is_file() and not f.name.endswith(".lock"))
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def put(catalog: Path, *paths: Path, **options: Any) -> Any:
    return ingest_klines(paths, catalog=catalog, **{"symbol": "XRPUSDT", "interval": "15m", **options})


# -- forms ----------------------------------------------------------------------------------------


def _seconds(row: Row) -> Row:
    return [str(int(row[0]) // 1_000), *row[1:]]


def _micros(row: Row) -> Row:
    return [row[0] + "000", *row[1:]]


def _nanos(row: Row) -> Row:
    return [row[0] + "000000", *row[1:]]


def _iso(row: Row) -> Row:
    minutes = (int(row[0]) - START_MS) // 60_000
    return [f"2025-03-05T{minutes // 60:02d}:{minutes % 60:02d}:00Z", *row[1:]]


def _pandas(row: Row) -> Row:
    minutes = (int(row[0]) - START_MS) // 60_000
    return [f"2025-03-05 {minutes // 60:02d}:{minutes % 60:02d}:00+00:00", *row[1:]]


FORMS: dict[str, tuple[Callable[[Row], Row], list[str] | None, str]] = {
    "six columns": (list, None, "a.csv"),
    "six columns, header": (list, HEADER, "a.csv"),
    "six columns, gzip": (list, None, "a.csv.gz"),
    "gzip under a plain name": (list, HEADER, "a.gz"),
    "official": (official, None, "a.csv"),
    "official, header": (official, OFFICIAL_HEADER, "a.csv.gz"),
    "header timestamp, shuffled": (lambda r: [r[5], r[0], *r[1:5]], ["Volume", "timestamp", *HEADER[1:5]], "a.csv"),
    "header as people write it": (
        official,
        ["Open Time", "Open", "High", "Low", "Close", "Volume", *"abcdef"],
        "a.csv",
    ),
    "seconds": (_seconds, None, "a.csv"),
    "microseconds": (_micros, HEADER, "a.csv"),
    "nanoseconds": (_nanos, HEADER, "a.csv"),
    "ISO dates": (_iso, ["date", *HEADER[1:]], "a.csv"),
    "pandas dates, no header": (_pandas, None, "a.csv"),
    "eight decimals": (lambda r: [r[0], *(v + "0000" for v in r[1:])], None, "a.csv"),
    "float noise": (lambda r: [r[0], *(repr(float(v) * (1 + 2e-16)) for v in r[1:])], HEADER, "a.csv"),
    "time as float": (lambda r: [r[0] + ".0", *r[1:]], HEADER, "a.csv"),
    "quoted": (lambda r: [f'"{v}"' for v in r], None, "quoted.csv"),
    "exponents": (lambda r: [r[0], *(f"{float(v):.12e}" for v in r[1:])], None, "a.csv"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_bars(
    form: str, catalog: Path, tmp_path: Path, write_csv: Callable[..., Path]
) -> None:
    change, header, name = FORMS[form]
    plain = put(tmp_path / "plain", write_csv(rows(90), "plain.csv"))
    table = [change(row) for row in rows(90)]
    if name == "quoted.csv":
        path = tmp_path / name
        path.write_text("\n".join(",".join(row) for row in table))
    else:
        path = write_csv(table, name, header)
    report = put(catalog, path)
    assert (report.added, report.first, report.last) == (plain.added, plain.first, plain.last)
    expected = snapshot(tmp_path / "plain" / "data")
    assert snapshot(catalog / "data") == expected


def test_zip_as_in_the_archive(catalog: Path, tmp_path: Path, write_csv: Callable[..., Path]) -> None:
    inner = write_csv([official(row) for row in rows(20)], "XRPUSDT-15m-2025-03.csv", OFFICIAL_HEADER)
    path = tmp_path / "XRPUSDT-15m-2025-03.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inner, inner.name)
    assert put(catalog, path).added == 20


def test_blank_lines_windows_ends_and_byte_order_mark(catalog: Path, tmp_path: Path) -> None:
    path = tmp_path / "windows.csv"
    lines = [",".join(row) for row in rows(12)]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([",".join(HEADER), *lines[:6], "", *lines[6:], ""]).encode())
    report = put(catalog, path)
    assert (report.added, report.files[0].warnings) == (12, [])


def test_bars_are_stamped_with_their_exact_close(catalog: Path, write_csv: Callable[..., Path]) -> None:
    put(catalog, write_csv(rows(3)))
    from nautilus_trader.persistence.catalog.parquet import ParquetDataCatalog

    bars = ParquetDataCatalog(catalog).bars()
    assert [(bar.ts_event, bar.ts_init) for bar in bars] == [(START + (i + 1) * STEP,) * 2 for i in range(3)]


def test_the_instrument_comes_with_the_bars(catalog: Path, write_csv: Callable[..., Path]) -> None:
    put(catalog, write_csv(rows(3)))
    from nautilus_trader.persistence.catalog.parquet import ParquetDataCatalog

    (instrument,) = ParquetDataCatalog(catalog).instruments()
    assert str(instrument.id) == "XRPUSDT-PERP.BINANCE"
    assert str(instrument.price_increment) == "0.0001"
    assert str(instrument.min_notional) == "5.00000000 USDT"
    assert str(instrument.taker_fee) == "0.000500"


def test_funding_forms(catalog: Path, tmp_path: Path, write_csv: Callable[..., Path]) -> None:
    times = [START_MS + i * 28_800_000 for i in range(5)]
    rates = ["0.00010000", "-0.00250000", "0.00000001", "0", "0.000375"]
    official_rows = [[str(t + 3), "8", r] for t, r in zip(times, rates, strict=True)]
    forms: dict[str, tuple[list[Row], list[str] | None]] = {
        "official": (official_rows, list(csv_files.FUNDING_COLUMNS)),
        "official bare": (official_rows, None),
        "two": ([[r[0], r[2]] for r in official_rows], ["calc_time", "last_funding_rate"]),
        "two bare": ([[r[0], r[2]] for r in official_rows], None),
        "rest": (
            [["XRPUSDT", r[0], repr(float(r[2]))] for r in official_rows],
            ["symbol", "fundingTime", "fundingRate"],
        ),
    }
    for number, (table, header) in enumerate(forms.values()):
        folder = tmp_path / f"catalog{number}"
        ingest_funding([write_csv(table, f"f{number}.csv", header)], catalog=folder, symbol="XRPUSDT")
        funding = load_funding(folder, "XRPUSDT")
        assert funding.time.tolist() == [t * 1_000_000 for t in times]
        assert funding.rate.tolist() == [float(r) for r in rates]


# -- refusals -------------------------------------------------------------------------------------


def _set(row: int, column: int, value: str) -> Callable[[list[Row]], None]:
    def change(table: list[Row]) -> None:
        table[row][column] = value

    return change


def _swap(table: list[Row]) -> None:
    table[5], table[6] = table[6], table[5]


def _conflict(table: list[Row]) -> None:
    table.insert(6, [*table[5][:5], "7.7"])


def _short(table: list[Row]) -> None:
    table[5].pop()


def _long(table: list[Row]) -> None:
    table[5].append("1")


REFUSED: dict[str, tuple[Callable[[list[Row]], None], int, list[str]]] = {
    "text for a price": (_set(5, 1, "abc"), 6, ["open", "'abc' is not a finite number"]),
    "empty cell": (_set(5, 4, ""), 6, ["close", "is empty"]),
    "NaN": (_set(5, 2, "NaN"), 6, ["high", "not a finite number"]),
    "infinity": (_set(5, 2, "inf"), 6, ["high", "not a finite number"]),
    "null": (_set(5, 5, "null"), 6, ["volume", "not a finite number"]),
    "negative price": (_set(5, 3, "-1.0"), 6, ["low", "-1 is not above zero"]),
    "zero price": (_set(5, 1, "0.0000"), 6, ["open", "not above zero"]),
    "high below close": (_set(5, 2, "0.0001"), 6, ["high", "below open or close"]),
    "low above open": (_set(5, 3, "9.0000"), 6, ["low", "above open or close"]),
    "negative volume": (_set(5, 5, "-0.1"), 6, ["volume", "-0.1 is negative"]),
    "off the grid": (_set(5, 0, str(START_MS + 5 * STEP_MS + 1)), 6, ["open_time", "not the start of a 15m bar"]),
    "close time as open time": (_set(0, 0, str(START_MS - 1)), 1, ["open_time", "not the start"]),
    "not a time": (_set(5, 0, "yesterday"), 6, ["open_time", "'yesterday' is not a time"]),
    "time of another age": (_set(5, 0, "17411"), 6, ["open_time", "17411 is not a time of the years"]),
    "other unit": (_set(5, 0, str((START_MS + 5 * STEP_MS) * 1000)), 6, ["microseconds", "in milliseconds"]),
    "nanoseconds among milliseconds": (_set(5, 0, str(START + 5 * STEP)), 6, ["nanoseconds", "use one unit"]),
    "date among numbers": (_set(5, 0, "2025-03-05T01:15:00Z"), 6, ["dates and numbers are mixed"]),
    "out of order": (_swap, 7, ["open_time", "2025-03-05T01:15:00Z comes after 2025-03-05T01:30:00Z"]),
    "conflicting duplicate": (_conflict, 7, ["stands in line ", " already, with other values"]),
    "too few columns": (_short, 6, ["columns", "5 columns, 6 expected"]),
    "too many columns": (_long, 6, ["columns", "7 columns, 6 expected"]),
    "more digits than the instrument": (_set(5, 5, "7.77"), 6, ["volume", "2 digits", "XRPUSDT has 1", "spot"]),
    "half a tick": (_set(5, 2, "9.00005"), 6, ["high", "5 digits", "XRPUSDT has 4"]),
    "absurd price": (_set(5, 2, "99999999999999"), 6, ["high", "out of range"]),
    "absurd volume": (_set(5, 5, "1e20"), 6, ["volume", "out of range"]),
    "beyond 128 bits": (_set(5, 5, "1e60"), 6, ["volume", "out of range"]),
    "hexadecimal": (_set(5, 5, "0x10"), 6, ["volume", "not a finite number"]),
}


@pytest.mark.parametrize("header", [None, HEADER], ids=["bare", "header"])
@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_row_refuses_the_file_and_changes_nothing(
    case: str, header: list[str] | None, catalog: Path, write_csv: Callable[..., Path]
) -> None:
    put(catalog, write_csv(rows(4), "before.csv"))
    before = snapshot(catalog)
    change, line, expected = REFUSED[case]
    table = rows(40)
    change(table)
    path = write_csv(table, "bad.csv.gz", header)
    with pytest.raises(DataError) as caught:
        put(catalog, path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line + bool(header)}: "), message
    for word in expected:
        assert word in message, message
    assert message.endswith("nothing was stored")
    assert snapshot(catalog) == before


def test_one_bad_file_of_several_stops_all(catalog: Path, write_csv: Callable[..., Path]) -> None:
    good, table = write_csv(rows(10), "good.csv"), rows(10, start_ms=START_MS + 10 * STEP_MS)
    table[9][4] = "x"
    with pytest.raises(DataError, match=r"bad\.csv:10: close"):
        put(catalog, good, write_csv(table, "bad.csv"))
    assert not catalog.exists()


def test_blank_lines_do_not_shift_the_line_named(catalog: Path, tmp_path: Path) -> None:
    lines = [",".join(row) for row in rows(10)]
    path = tmp_path / "gaps.csv"
    path.write_text("\n".join([*lines[:3], "", "", *lines[3:5], "1,2,3"]))
    with pytest.raises(DataError, match=r"gaps\.csv:8: columns: 3 columns"):
        put(catalog, path)
    path.write_text("\n".join([*lines[:3], "", "", lines[3].replace(",", ",-", 1)]))
    with pytest.raises(DataError, match=r"gaps\.csv:6: open: -.* not above zero"):
        put(catalog, path)


def test_an_unfinished_candle_is_refused(catalog: Path, write_csv: Callable[..., Path]) -> None:
    path = write_csv(rows(10))
    now = START + 10 * STEP - 1
    with pytest.raises(DataError, match=r":10: open_time: the bar closes at .* in the future: it is unfinished"):
        put(catalog, path, now_ns=now)
    assert put(catalog, path, now_ns=now + 1).added == 10


def test_the_system_clock_decides_by_default(catalog: Path, write_csv: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="unfinished"):
        put(catalog, write_csv(rows(2, start_ms=4_070_908_800_000)))  # 2099


CONTENTS: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.csv", b"", "the file is empty"),
    "only blank lines": ("a.csv", b"\n\n", "the file is empty"),
    "only a header": ("a.csv", (",".join(HEADER) + "\n").encode(), "no data row"),
    "binary": ("a.csv", b"PAR1\x00\x00\x01", "not a text file"),
    "gzip of garbage": ("a.csv.gz", gzip.compress(b"\x00\x01\x02garbage"), "not a text file"),
    "gzip of prose": ("a.csv.gz", gzip.compress(b"once upon a time"), "no such column"),
    "not gzip": ("a.csv.gz", b"1741132800000,1,1,1,1,1", "not a gz archive"),
    "cut gzip": ("a.csv.gz", gzip.compress(b"1741132800000,1,1,1,1,1\n" * 50)[:-9], "cut or damaged"),
    "cut zip": ("a.zip", b"PK\x03\x04\x14\x00", "cut or damaged"),
    "semicolons": ("a.csv", b"1741132800000;1;1;1;1;1\n", "not separated by commas"),
    "five columns": ("a.csv", b"1741132800000,1,1,1,1\n", "5 columns, 12 or 6 expected"),
    "funding": ("a.csv", b"calc_time,last_funding_rate\n1741132800000,0.0001\n", "is this a klines file?"),
    "web page": ("a.csv", b"<html><body>404</body></html>", "a web page"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_what_is_no_kline_file_is_refused(case: str, catalog: Path, tmp_path: Path) -> None:
    name, content, reason = CONTENTS[case]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        put(catalog, path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert not catalog.exists()


def test_a_zip_must_hold_one_csv(catalog: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "")
        archive.writestr("b.csv", "")
    with pytest.raises(DataError, match="2 CSV files in the archive"):
        put(catalog, path)


def test_ordinary_mistakes(catalog: Path, tmp_path: Path, write_csv: Callable[..., Path]) -> None:
    path = write_csv(rows(40), "XRPUSDT.csv")
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file: check --from"):
        put(catalog, tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match=r"is a directory: name the files"):
        put(catalog, tmp_path)
    with pytest.raises(DataError, match=r"symbol 'XRPUSD' is not in .*did you mean XRPUSDT\?"):
        put(catalog, path, symbol="XRPUSD")
    with pytest.raises(DataError, match=r"the name says XRPUSDT, --symbol says BTCUSDT"):
        put(catalog, path, symbol="BTCUSDT")
    with pytest.raises(DataError, match=r"interval '15' is not known: use one of 1m, 3m"):
        put(catalog, path, interval="15")
    with pytest.raises(DataError, match=r"XRPUSDT\.csv:2: open_time: .* the rows are 15m apart: --interval 15m\?"):
        put(catalog, path, interval="1h")
    with pytest.raises(DataError, match=r"no two rows are one interval apart, most are 15m: check --interval"):
        put(catalog, path, interval="5m")
    assert not catalog.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        put(tmp_path / "file", path)


FUNDING_REFUSED = {
    "percent": (["1741132800000", "8", "0.5"], "is not a funding rate"),
    "nine digits": (["1741132800000", "8", "0.000123456"], "0.000123456 is not a funding rate"),
    "off the hour": (["1741133700000", "8", "0.0001"], "2025-03-05T00:15:00Z is not on the hour"),
    "text": (["1741132800000", "8", "zero"], "'zero' is not a finite number"),
    "hours": (["1741132800000", "25", "0.0001"], "hours from 1 to 24"),
    "future": (["4070908800000", "8", "0.0001"], "in the future"),
    "nan": (["1741132800000", "8", "nan"], "not a finite number"),
}


@pytest.mark.parametrize("case", FUNDING_REFUSED)
def test_a_bad_settlement_refuses_the_file(case: str, catalog: Path, write_csv: Callable[..., Path]) -> None:
    row, reason = FUNDING_REFUSED[case]
    first = [["1741104000000", "8", "0.0001"]]
    path = write_csv([*first, row], "f.csv", list(csv_files.FUNDING_COLUMNS))
    with pytest.raises(DataError) as caught:
        ingest_funding([path], catalog=catalog, symbol="XRPUSDT")
    assert str(caught.value).startswith(f"{path}:3: ")
    assert reason in str(caught.value)
    assert not catalog.exists()


def test_funding_of_another_symbol_is_refused(catalog: Path, write_csv: Callable[..., Path]) -> None:
    path = write_csv([["BTCUSDT", "1741132800000", "0.0001"]], "f.csv", ["symbol", "timestamp", "funding_rate"])
    with pytest.raises(DataError, match="rows of BTCUSDT: --symbol says XRPUSDT"):
        ingest_funding([path], catalog=catalog, symbol="XRPUSDT")


# -- warnings -------------------------------------------------------------------------------------


def test_a_gap_is_taken_and_told(catalog: Path, write_csv: Callable[..., Path]) -> None:
    table = rows(20)
    del table[10:13], table[4]
    report = put(catalog, write_csv(table))
    assert report.added == 16
    assert report.files[0].warnings == ["2 gaps, 4 bars missing, first 2025-03-05T01:00:00Z"]


def test_equal_duplicates_are_left_out_and_told(catalog: Path, write_csv: Callable[..., Path]) -> None:
    table = rows(20)
    table.insert(5, list(table[5]))
    report = put(catalog, write_csv(table))
    assert (report.added, report.files[0].warnings) == (
        20,
        ["1 repeated equal rows left out, first 2025-03-05T01:15:00Z"],
    )


def test_prices_off_the_present_tick_are_taken_and_told(catalog: Path, write_csv: Callable[..., Path]) -> None:
    table = [[row[0], "88000.10", "88000.25", "87999.90", "88000.00", "1.000"] for row in rows(5)]
    report = put(catalog, write_csv(table), symbol="BTCUSDT")
    assert report.files[0].warnings == ["5 bars with prices off the present tick 0.10, first 2025-03-05T00:00:00Z"]


def test_odd_close_times_are_told(catalog: Path, write_csv: Callable[..., Path]) -> None:
    table = [official(row) for row in rows(5)]
    table[3][6] = str(int(table[3][6]) - 60_000)
    report = put(catalog, write_csv(table))
    assert report.files[0].warnings == ["1 odd close times, first at open 2025-03-05T00:45:00Z"]


# -- merging --------------------------------------------------------------------------------------


def test_the_same_again_touches_no_file(catalog: Path, write_csv: Callable[..., Path]) -> None:
    path = write_csv(rows(50))
    put(catalog, path)
    before = {f: f.stat().st_mtime_ns for f in (catalog / "data").rglob("*")}
    report = put(catalog, path)
    assert (report.added, report.replaced, report.unchanged, report.total) == (0, 0, 50, 50)
    assert {f: f.stat().st_mtime_ns for f in (catalog / "data").rglob("*")} == before


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 60)), min_size=1, max_size=5))
def test_any_order_of_overlapping_pieces_gives_the_same_file(
    cuts: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    table = rows(60)
    paths = []
    for number, (first, length) in enumerate([*cuts, (0, 60)]):
        path = folder / f"{number}.csv"
        path.write_text("\n".join(",".join(row) for row in table[first : first + length]))
        paths.append(path)
    for path in paths:
        put(folder / "one by one", path)
    put(folder / "at once", *paths)
    put(folder / "whole", paths[-1])
    whole = snapshot(folder / "whole")
    assert snapshot(folder / "one by one") == whole
    assert snapshot(folder / "at once") == whole


def test_contradicting_data_is_refused_unless_replaced(catalog: Path, write_csv: Callable[..., Path]) -> None:
    put(catalog, write_csv(rows(20)))
    before = snapshot(catalog)
    table = rows(25)
    table[7][5], table[9][5] = "5.5", "6.6"
    path = write_csv(table, "new.csv")
    with pytest.raises(DataError, match=r"2 rows contradict .* first 2025-03-05T01:45:00Z: .*volume 5\.5.*--replace"):
        put(catalog, path)
    assert snapshot(catalog) == before
    report = put(catalog, path, replace=True)
    assert (report.added, report.replaced, report.unchanged, report.total) == (5, 2, 18, 25)
    assert load_bars(catalog, "XRPUSDT", "15m").volume[[7, 9]].tolist() == [5.5, 6.6]


def test_files_of_one_command_may_not_contradict_each_other(catalog: Path, write_csv: Callable[..., Path]) -> None:
    table = rows(5)
    table[2][5] = "1.1"
    with pytest.raises(DataError, match=r"b\.csv: 1 rows contradict"):
        put(catalog, write_csv(rows(5), "a.csv"), write_csv(table, "b.csv"))
    assert not (catalog / "data").exists()


# -- instruments ----------------------------------------------------------------------------------


def exchange_info(tmp_path: Path, **figures: str) -> Path:
    from catalog.instruments import load_instruments, to_exchange_info

    entry = to_exchange_info(load_instruments()["XRPUSDT"])
    for filter_ in entry["filters"]:
        filter_.update({k: v for k, v in figures.items() if k in filter_})
    path = tmp_path / "info.json"
    path.write_text(json.dumps({"serverTime": 1_783_051_218_599, "symbols": [entry]}))
    return path


def test_instruments_are_added_kept_and_replaced(catalog: Path, tmp_path: Path) -> None:
    assert ingest_instruments([DEFAULT_PATH], catalog=catalog, symbols=["XRPUSDT"]) == {"XRPUSDT": "added"}
    before = snapshot(catalog)
    assert ingest_instruments([exchange_info(tmp_path)], catalog=catalog) == {"XRPUSDT": "unchanged"}
    assert snapshot(catalog) == before
    assert ingest_instruments([exchange_info(tmp_path, notional="6")], catalog=catalog) == {"XRPUSDT": "replaced"}
    from nautilus_trader.persistence.catalog.parquet import ParquetDataCatalog

    (instrument,) = ParquetDataCatalog(catalog).instruments()
    assert str(instrument.min_notional) == "6.00000000 USDT"


def test_a_new_precision_does_not_meet_old_bars(catalog: Path, tmp_path: Path, write_csv: Callable[..., Path]) -> None:
    put(catalog, write_csv(rows(5)))
    before = snapshot(catalog)
    finer = exchange_info(tmp_path, tickSize="0.00001")
    with pytest.raises(DataError, match=r"stored with 4 price and 1 quantity digits.*have 5 and 1.*new catalog"):
        ingest_instruments([finer], catalog=catalog)
    with pytest.raises(DataError, match="new catalog"):
        put(catalog, write_csv(rows(9), "more.csv"), instruments=finer)
    assert snapshot(catalog) == before


def test_figures_given_with_the_bars_are_used(catalog: Path, tmp_path: Path, write_csv: Callable[..., Path]) -> None:
    table = [[row[0], *(f"{float(v):.5f}" for v in row[1:5]), row[5]] for row in rows(5)]
    table[0][2] = "9.00005"
    put(catalog, write_csv(table), instruments=exchange_info(tmp_path, tickSize="0.00001"))
    assert load_bars(catalog, "XRPUSDT", "15m").high[0] == 9.00005
    assert put(catalog, write_csv(table)).unchanged == 5  # the catalog's own figures from now on


def test_a_missing_instrument_file_is_named(catalog: Path, tmp_path: Path, write_csv: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json: no such file"):
        put(catalog, write_csv(rows(5)), instruments=tmp_path / "nowhere.json")


# -- the two readers, the command -----------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_fast_reader_and_the_careful_one_agree_on_any_damage(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = rows(8)
    cells = st.sampled_from(
        [
            "",
            "0",
            "-1",
            "1e-4",
            "1E2",
            "2.5",
            "nan",
            "-inf",
            " 3",
            "3 ",
            "0x1",
            "1_0",
            "1.",
            ".5",
            "+2",
            "1,5",
            "9" * 30,
        ]
    )
    for _ in range(data.draw(st.integers(0, 2))):
        table[data.draw(st.integers(1, 7))][data.draw(st.integers(0, 5))] = data.draw(cells)
    path = tmp_path_factory.mktemp("damage") / "a.csv"
    path.write_text("\n".join(",".join(row) for row in table))

    def outcome() -> Any:
        try:
            series = read_klines(path, GRID, "15m")
        except DataError as e:
            return str(e)
        return series.time.tolist(), series.values.tolist(), series.warnings

    fast = outcome()
    with monkeypatch.context() as patched:
        patched.setattr(csv_files.CsvFile, "floats", lambda _: None)
        exact = outcome()
        patched.setattr(csv_files.CsvFile, "_fast", csv_files.CsvFile._slow)
        careful = outcome()
    assert fast == exact == careful


@given(
    units=st.lists(st.integers(1, 2**53), min_size=1, max_size=6),
    extra=st.sampled_from(["", "0", "00000000", "5", "0001", "0000000001", "000000000001"]),
    precision=st.integers(0, 8),
)
@settings(deadline=None)
def test_floats_are_taken_only_where_they_tell_the_same_as_the_decimals(
    units: list[int], extra: str, precision: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cells = []
    for value in units:
        digits = f"{value:0{precision + 1}d}"
        whole, rest = digits[: len(digits) - precision], digits[len(digits) - precision :] + extra
        cells.append(f"{whole}.{rest}" if rest else whole)
    path = tmp_path_factory.mktemp("floats") / "a.csv"
    path.write_text("\n".join(f"{START_MS + i * STEP_MS},{c},{c},{c},{c},{c}" for i, c in enumerate(cells)))
    grid, file = Grid("XRPUSDT", precision, precision, 1), csv_files.CsvFile(path, csv_files.KLINES)
    quick = checks._quick_klines(file, grid)
    try:
        exact, all_whole = checks._exact_klines(file.rows()[1], grid)
    except DataError:
        assert quick is None
        return
    if max(units) <= 2**38 and extra.strip("0") == "":
        assert quick is not None
    if quick is not None:
        assert all_whole.all()
        assert quick[1].tolist() == exact.tolist()


def test_the_command_prints_one_line_per_file_and_a_summary(
    catalog: Path, write_csv: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(rows(20))
    arguments = ["klines", "--symbol", "XRPUSDT", "--interval", "15m", "--from", str(path), "--catalog", str(catalog)]
    assert main(arguments) == 0
    span = "2025-03-05T00:00:00Z to 2025-03-05T04:45:00Z"
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: 20 rows, {span}",
        f"XRPUSDT 15m: 20 added, 0 replaced, 0 already there; {catalog} now holds 20, {span}",
    ]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["unchanged"], report["files"][0]["rows"]) == (20, 20)
    assert main(["instruments", "--from", str(DEFAULT_PATH), "--catalog", str(catalog), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["symbols"] == {
        "BTCUSDT": "added",
        "ETHUSDT": "added",
        "XRPUSDT": "unchanged",
    }


def test_the_command_ends_with_one_line_and_code_2(catalog: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "catalog.ingest", "klines", "--symbol", "XRPUSDT", "--interval", "15m"]
    done = subprocess.run(
        [*command, "--from", str(tmp_path / "no.csv"), "--catalog", str(catalog)],
        cwd=DEFAULT_PATH.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'no.csv'}: no such file: check --from\n"


def test_read_funding_keeps_the_interval(write_csv: Callable[..., Path]) -> None:
    series = read_funding(write_csv([["1741132800000", "4", "0.0001"]], "f.csv"), "XRPUSDT")
    assert series.values.tolist() == [[10_000, 240]]


# -- real files, where present --------------------------------------------------------------------


DATA = Path(os.environ.get("ARGONAUT_DATA") or DEFAULT_PATH.parent.parent.parent / "shared" / "data")


def real(kind: str) -> list[Path]:
    return sorted(DATA.glob(f"{kind}/*.csv.gz"))


if real("um_klines_*"):

    @pytest.mark.parametrize("path", real("um_klines_*"), ids=lambda p: f"{p.parent.name}-{p.name}")
    def test_real_klines_are_taken_and_read_back_exactly(path: Path, catalog: Path) -> None:
        symbol, interval = path.name.removesuffix(".csv.gz"), path.parent.name.rpartition("_")[2]
        report = put(catalog, path, symbol=symbol, interval=interval)
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()[1:]
        assert report.added == len(lines) == coverage(catalog, symbol, interval)[2]
        bars = load_bars(catalog, symbol, interval)
        for index in (0, len(lines) // 2, len(lines) - 1):
            cells = lines[index].split(",")
            assert bars.open_time[index] == int(cells[0]) * 1_000_000
            figures = (bars.open[index], bars.high[index], bars.low[index], bars.close[index], bars.volume[index])
            assert figures == pytest.approx([float(c) for c in cells[1:6]], rel=1e-15)


if real("um_funding"):

    @pytest.mark.parametrize("path", real("um_funding"), ids=lambda p: p.name)
    def test_real_funding_is_taken(path: Path, catalog: Path) -> None:
        symbol = path.name.removesuffix(".csv.gz")
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()[1:]
        assert ingest_funding([path], catalog=catalog, symbol=symbol).added == len(lines)
        assert load_funding(catalog, symbol).rate.tolist() == [float(line.split(",")[1]) for line in lines]


OTHER_KINDS = [*real("spot_klines_15m"), *real("um_ls_ratio_15m"), *real("um_mark_1h")]
if OTHER_KINDS:

    @pytest.mark.parametrize("path", OTHER_KINDS, ids=str)
    def test_real_files_of_other_kinds_are_refused(path: Path, catalog: Path) -> None:
        symbol, interval = path.name.removesuffix(".csv.gz"), path.parent.name.rpartition("_")[2]
        with pytest.raises(ArgonautError, match=str(path)):
            put(catalog, path, symbol=symbol, interval=interval)
        assert not catalog.exists()
