"""Files of other programs: freqtrade feather, parquet and CSV with a mapping give the same bars as the exchange's."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather

from catalog.imports import main
from catalog.reader import load_bars, load_funding
from catalog.writer import ingest_klines
from strategies.errors import ArgonautError, DataError

from .conftest import START_MS, rows

NAMES = ("date", "open", "high", "low", "close", "volume")


def frame(count: int = 60) -> pd.DataFrame:
    table = pd.DataFrame(rows(count), columns=list(NAMES))
    table["date"] = pd.to_datetime(table["date"].astype("int64"), unit="ms", utc=True)
    return table.astype(dict.fromkeys(NAMES[1:], "float64"))


def bring(path: Path, catalog: Path, *more: str) -> None:
    arguments = ["klines", "--from", str(path), "--symbol", "XRPUSDT", "--interval", "15m", "--catalog", str(catalog)]
    assert main([*arguments, *more]) == 0


def _feather(folder: Path, table: pd.DataFrame) -> tuple[Path, str]:
    table.to_feather(folder / "XRP_USDT_USDT-15m-futures.feather", compression="lz4")
    return folder / "XRP_USDT_USDT-15m-futures.feather", ""


def _parquet(folder: Path, table: pd.DataFrame) -> tuple[Path, str]:
    table = table.rename(columns={"date": "timestamp", "volume": "Vol"})
    table["timestamp"] = table["timestamp"].dt.tz_localize(None)
    table.to_parquet(folder / "a.parquet")
    return (
        folder / "a.parquet",
        "columns: {open_time: timestamp, open: open, high: high, low: low, close: close, volume: Vol}",
    )


def _indexed(folder: Path, table: pd.DataFrame) -> tuple[Path, str]:
    table.set_index("date").to_parquet(folder / "a.parquet")
    return folder / "a.parquet", ""


def _csv(folder: Path, table: pd.DataFrame) -> tuple[Path, str]:
    table.columns = pd.Index(["Zeit", "O", "H", "T", "S", "Menge"])
    table.to_csv(folder / "a.csv.gz", sep=";", index=False)
    return (
        folder / "a.csv.gz",
        'columns: {open_time: Zeit, open: O, high: H, low: T, close: S, volume: Menge}\nseparator: ";"',
    )


@pytest.mark.parametrize("form", [_feather, _parquet, _indexed, _csv])
def test_every_form_gives_the_bars_of_the_exchanges_file(
    form: Callable[[Path, pd.DataFrame], tuple[Path, str]], tmp_path: Path, write_csv: Callable[..., Path]
) -> None:
    path, mapping = form(tmp_path, frame())
    more = []
    if mapping:
        (tmp_path / "map.yaml").write_text(mapping)
        more = ["--mapping", str(tmp_path / "map.yaml")]
    bring(path, tmp_path / "ours", *more)
    ingest_klines([write_csv(rows(60))], catalog=tmp_path / "plain", symbol="XRPUSDT", interval="15m")
    ours, plain = (load_bars(tmp_path / name, "XRPUSDT", "15m") for name in ("ours", "plain"))
    for name in ("open_time", "open", "high", "low", "close", "volume"):
        assert getattr(ours, name).tolist() == getattr(plain, name).tolist()


def test_the_last_row_can_be_left_out(tmp_path: Path) -> None:
    path, _ = _feather(tmp_path, frame())
    bring(path, tmp_path / "catalog", "--drop-last")
    assert len(load_bars(tmp_path / "catalog", "XRPUSDT", "15m")) == 59


def test_funding_of_freqtrade_stands_in_open(tmp_path: Path) -> None:
    times = pd.to_datetime([START_MS + i * 28_800_000 + i for i in range(4)], unit="ms", utc=True)
    rates = [0.0001, -0.00012345, 0.0, 0.000375]
    table = pd.DataFrame({"date": times, "open": rates, "high": 0.0, "low": 0.0, "close": 0.0, "volume": 0.0})
    table.to_feather(tmp_path / "f.feather")
    arguments = ["funding", "--from", str(tmp_path / "f.feather"), "--symbol", "XRPUSDT"]
    assert main([*arguments, "--catalog", str(tmp_path / "catalog")]) == 0
    funding = load_funding(tmp_path / "catalog", "XRPUSDT")
    assert funding.rate.tolist() == rates
    assert funding.time.tolist() == [(START_MS + i * 28_800_000) * 1_000_000 for i in range(4)]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("open", float("nan"), r"row 8: open: is empty"),
        ("open", float("inf"), r"row 8: open: 'inf' is not a finite number"),
        ("high", 0.001, r"row 8: high: .* is below open or close"),
        ("close", -1.0, r"row 8: close: -1 is not above zero"),
        ("volume", 7.77, r"row 8: volume: 7.77 has 2 digits"),
        ("date", pd.Timestamp("2025-03-05T01:44:00Z"), r"row 8: open_time: .* is not the start of a 15m bar"),
        ("date", pd.NaT, r"row 8: open_time: is empty"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_stored(column: str, value: object, reason: str, tmp_path: Path) -> None:
    table = frame()
    table.loc[7, column] = value
    path, _ = _feather(tmp_path, table)
    with pytest.raises(DataError, match=reason):
        bring(path, tmp_path / "catalog")
    assert not (tmp_path / "catalog" / "data").exists()


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    path, _ = _feather(tmp_path, frame().rename(columns={"close": "last"}))
    with pytest.raises(DataError, match=r"close: no column 'close' among: date, open, high, low, last.*--mapping"):
        bring(path, tmp_path / "catalog")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="cannot be read"):
        bring(path, tmp_path / "catalog")
    (tmp_path / "map.yaml").write_text("colums: {}")
    with pytest.raises(ArgonautError, match="colums"):
        bring(path, tmp_path / "catalog", "--mapping", str(tmp_path / "map.yaml"))
    (tmp_path / "map.yaml").write_text("columns: {opened: date}")
    _feather(tmp_path, frame())
    with pytest.raises(ArgonautError, match=r"map\.yaml: columns: opened is not one of open_time"):
        bring(path, tmp_path / "catalog", "--mapping", str(tmp_path / "map.yaml"))


OURS = "open_time: date, open: open, high: high, low: low, close: close, volume: volume"


@pytest.mark.parametrize(
    ("mapping", "reason"),
    [
        (OURS.replace("open_time: date", "open_time: when"), r"open_time: no column 'when' among: date, .*--mapping"),
        (f"{OURS}, close_time: until", r"close_time: no column 'until' among: date, .*--mapping"),
        (OURS.replace("high: high", "high: open"), r"columns: open and high are both 'open': name one column each"),
        (OURS.replace(", volume: volume", ""), r"volume: the mapping names no column, the file has: date, .*--mapping"),
    ],
)
def test_a_wrong_mapping_is_named(mapping: str, reason: str, tmp_path: Path) -> None:
    path, _ = _feather(tmp_path, frame())
    (tmp_path / "map.yaml").write_text(f"columns: {{{mapping}}}\n")
    with pytest.raises(ArgonautError, match=reason):
        bring(path, tmp_path / "catalog", "--mapping", str(tmp_path / "map.yaml"))
    assert not (tmp_path / "catalog" / "data").exists()


def test_separators_are_one_character_and_another_one_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    frame().to_csv(path, sep=";", index=False)
    with pytest.raises(DataError, match=r"a\.csv: .*the separator seems to be ';': give it in --mapping"):
        bring(path, tmp_path / "catalog")
    for wrong in ("", ";;"):
        (tmp_path / "map.yaml").write_text(f"columns: {{{OURS}}}\nseparator: '{wrong}'\n")
        with pytest.raises(ArgonautError, match=r"map\.yaml: separator"):
            bring(path, tmp_path / "catalog", "--mapping", str(tmp_path / "map.yaml"))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("suffix", ["csv", "feather"])
def test_the_unit_of_numbers_is_found_and_two_units_are_refused(unit: str, suffix: str, tmp_path: Path) -> None:
    scale = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[unit]
    table = frame()
    table["date"] = [(START_MS // 1000 + i * 900) * scale for i in range(60)]

    def write(name: str) -> Path:
        path = tmp_path / f"{name}.{suffix}"
        if suffix == "csv":
            table.to_csv(path, index=False)
        else:
            table.to_feather(path)
        return path

    bring(write("a"), tmp_path / "catalog")
    assert load_bars(tmp_path / "catalog", "XRPUSDT", "15m").open_time[0] == START_MS * 1_000_000
    table.loc[30:, "date"] = table.loc[30:, "date"] // scale * (1_000 if unit == "s" else 1)
    place = r"b\.csv:32" if suffix == "csv" else r"b\.feather: row 31"
    with pytest.raises(DataError, match=rf"{place}: open_time: .*: use one unit in a file"):
        bring(write("b"), tmp_path / "catalog")


def test_files_that_are_no_tables_are_named(tmp_path: Path) -> None:
    for suffix in ("csv", "feather", "parquet"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(b"")
        with pytest.raises(DataError, match=rf"a\.{suffix}: content: the file is empty"):
            bring(path, tmp_path / "catalog")
        path.write_bytes(b"\x00\xff no table at all" * 40)
        with pytest.raises(DataError, match=rf"a\.{suffix}: content: cannot be read"):
            bring(path, tmp_path / "catalog")
    frame().to_csv(tmp_path / "a.csv", index=False, header=False)
    with pytest.raises(DataError, match="the first row holds numbers: add a row with names"):
        bring(tmp_path / "a.csv", tmp_path / "catalog")
    columns = [pa.array(frame()[name]) for name in (*NAMES, "close")]
    feather.write_feather(pa.Table.from_arrays(columns, names=[*NAMES, "close"]), tmp_path / "a.feather")
    with pytest.raises(DataError, match="close: there are two columns 'close'"):
        bring(tmp_path / "a.feather", tmp_path / "catalog")
    late = pa.array([32_503_680_000 + i * 900 for i in range(60)], pa.timestamp("s"))
    feather.write_feather(pa.Table.from_arrays([late, *columns[1:-1]], names=list(NAMES)), tmp_path / "a.feather")
    with pytest.raises(DataError, match="open_time: holds times that ns cannot hold"):
        bring(tmp_path / "a.feather", tmp_path / "catalog")


def test_arrow_tables_without_notes_of_pandas_are_read(tmp_path: Path) -> None:
    columns = [pa.array(frame()[name]) for name in NAMES]
    feather.write_feather(pa.Table.from_arrays(columns, names=list(NAMES)), tmp_path / "a.feather")
    bring(tmp_path / "a.feather", tmp_path / "catalog")
    assert len(load_bars(tmp_path / "catalog", "XRPUSDT", "15m")) == 60
