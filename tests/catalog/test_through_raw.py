"""Commands that write bars and funding write the raw store first; the catalog can be deleted and built again."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog import imports, manifest, provenance, repair, resample, through_raw
from catalog.asof import asof
from catalog.build import main as build
from catalog.ingest import main as ingest
from catalog.instruments import DEFAULT_PATH
from catalog.progress import Progress
from catalog.raw import days as raw_days
from catalog.reader import load_bars
from catalog.through_raw import bring
from strategies.errors import DataError
from tests.catalog.conftest import DAY_MS, START_MS, official, rows

SYMBOL = "XRPUSDT"
FIVE, FIFTEEN = 300_000, 900_000


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def bars(catalog: Path, path: Path, interval: str, *more: str) -> int:
    return ingest(
        ["klines", "--symbol", SYMBOL, "--interval", interval, "--from", str(path), "--catalog", str(catalog), *more]
    )


def rebuilt(raw: Path, catalog: Path) -> None:
    """Delete the catalog, build it from raw, and ask for the same bytes and the same hash."""
    before, known = tree(catalog), manifest.read(catalog)
    assert known.series
    assert not any(series.others for series in known.series.values())
    for symbol_interval in ("5m", "15m"):
        if f"klines/{SYMBOL}/{symbol_interval}" in known.series:
            assert manifest.dataset_hash(catalog, (SYMBOL,), symbol_interval)
    shutil.rmtree(catalog)
    assert build(["--raw", str(raw), "--catalog", str(catalog)]) == 0
    assert tree(catalog) == before
    assert manifest.read(catalog) == known


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


def test_every_writing_command_goes_through_raw(
    raw: Path, catalog: Path, tmp_path: Path, write_csv: Callable[..., Path]
) -> None:
    five = [official(row, FIVE) for row in rows(3 * 288, step_ms=FIVE)]
    assert bars(catalog, write_csv(five, "five.csv"), "5m", "--raw", str(raw)) == 0
    stored = next(raw_days.load(raw, "klines", SYMBOL, "5m"))
    assert stored["taker_buy_volume"].null_count == 0, "raw keeps what the catalog's bars have no place for"
    settled = [[str(START_MS + i * DAY_MS // 3 + 3), "8", f"0.0001{i:04d}"] for i in range(6)]
    funding = ["funding", "--symbol", SYMBOL, "--from", str(write_csv(settled, "f.csv")), "--catalog", str(catalog)]
    assert ingest(funding) == 0  # the store beside the catalog is taken without being named
    assert resample.main(["--catalog", str(catalog), "--symbol", SYMBOL, "--from", "5m", "--to", "15m"]) == 0
    hour = tmp_path / "hour.csv"
    hour.write_text(
        "date,open,high,low,close,volume\n" + "\n".join(",".join(r) for r in rows(40, step_ms=3_600_000)) + "\n"
    )
    more = ["klines", "--from", str(hour), "--symbol", SYMBOL, "--interval", "1h", "--catalog", str(catalog)]
    assert imports.main(more) == 0
    gappy = five[:100] + five[130:]
    other, source = tmp_path / "o" / "catalog", tmp_path / "o" / "raw"
    assert bars(other, write_csv(gappy, "gappy.csv"), "5m", "--raw", str(source)) == 0
    fill = ["--catalog", str(other), "--symbol", SYMBOL, "--interval", "5m", "--from", str(tmp_path / "five.csv")]
    assert repair.main(fill) == 0
    assert sum(day.rows for day in raw_days.days(source, "klines", SYMBOL, "5m")) == len(five)
    assert [entry["rows"] for entry in provenance.read(source, SYMBOL, "5m")] == [30]
    assert {path.split("/")[-1] for path in manifest.read(catalog).series} == {"5m", "15m", "1h", SYMBOL}
    rebuilt(raw, catalog)
    rebuilt(source, other)


def test_the_bytes_are_those_of_a_catalog_written_alone(
    raw: Path, catalog: Path, tmp_path: Path, write_csv: Callable[..., Path]
) -> None:
    path = write_csv([official(row) for row in rows(300)], "a.csv")
    alone = tmp_path / "alone"
    assert bars(catalog, path, "15m", "--raw", str(raw)) == bars(alone, path, "15m", "--cache-only") == 0
    one, other = tree(catalog / "data" / "bar"), tree(alone / "data" / "bar")
    assert one == other
    assert not manifest.read(alone).series


def test_a_later_complete_bar_replaces_a_partial_one_and_others_refuse(
    raw: Path, catalog: Path, write_csv: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = [official(row) for row in rows(96)]
    partial = [row.copy() for row in whole]
    partial[50][2] = partial[50][3] = partial[50][4] = partial[50][1]  # saved as it opened
    partial[50][5], partial[50][9] = "0.0", "0.0"
    whole[50][5] = "500.0"
    assert bars(catalog, write_csv(partial, "early.csv"), "15m", "--raw", str(raw)) == 0
    capsys.readouterr()
    assert bars(catalog, write_csv(whole, "late.csv"), "15m", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["added"], report["replaced"], report["unchanged"]) == (0, 1, 95)
    rebuilt(raw, catalog)
    before = tree(catalog)
    wrong = [row.copy() for row in whole]
    wrong[7][1] = wrong[7][4] = wrong[7][3]
    with pytest.raises(DataError, match=r"wrong\.csv: 1 rows contradict what is stored.*--replace"):
        bars(catalog, write_csv(wrong, "wrong.csv"), "15m")
    assert tree(catalog) == before
    assert bars(catalog, write_csv(wrong, "wrong.csv"), "15m", "--replace") == 0
    rebuilt(raw, catalog)


def test_rows_written_before_there_was_a_raw_store_are_taken_into_it(
    raw: Path, catalog: Path, write_csv: Callable[..., Path]
) -> None:
    table = rows(200)
    assert bars(catalog, write_csv(table[:120], "old.csv"), "15m", "--cache-only") == 0
    assert not raw.exists()
    assert bars(catalog, write_csv(table[100:], "new.csv"), "15m", "--raw", str(raw)) == 0
    assert sum(day.rows for day in raw_days.days(raw, "klines", SYMBOL, "15m")) == 200
    rebuilt(raw, catalog)


def test_rows_that_go_into_a_catalog_alone_are_said_to(
    raw: Path, catalog: Path, write_csv: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    table = rows(200)
    assert bars(catalog, write_csv(table[:120], "old.csv"), "15m", "--cache-only") == 0
    assert capsys.readouterr().err == "", "it was asked for"
    assert bars(catalog, write_csv(table[100:160], "new.csv"), "15m", "--json") == 0
    said = capsys.readouterr()
    assert f"note: {catalog} holds rows and has no raw store" in said.err
    assert json.loads(said.out)["added"] == 40
    assert not raw.exists()
    assert bars(catalog, write_csv(table[150:], "more.csv"), "15m", "--raw", str(raw)) == 0
    assert bars(catalog, write_csv(table[150:], "more.csv"), "15m") == 0
    assert capsys.readouterr().err == ""


def test_a_build_that_was_killed_is_done_by_the_same_command(
    raw: Path, catalog: Path, write_csv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_csv(rows(100), "a.csv")

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("catalog.building.build", killed)
        with pytest.raises(Killed):
            bars(catalog, path, "15m", "--raw", str(raw))
    assert not tree(catalog)
    assert bars(catalog, path, "15m", "--raw", str(raw)) == 0
    rebuilt(raw, catalog)


def test_a_rebuild_has_the_figures_the_catalog_had(
    raw: Path, catalog: Path, tmp_path: Path, write_csv: Callable[..., Path]
) -> None:
    own = tmp_path / "figures.yaml"
    text = DEFAULT_PATH.read_text(encoding="utf-8")
    own.write_text(text.replace('taker_fee: "0.000500"', 'taker_fee: "0.000411"'))
    assert own.read_text() != text
    path = write_csv(rows(100), "a.csv")
    assert bars(catalog, path, "15m", "--raw", str(raw), "--instruments", str(own)) == 0
    rebuilt(raw, catalog)
    own.write_text(text.replace('taker_fee: "0.000500"', 'taker_fee: "0.000322"'))
    figures = ["instruments", "--from", str(own), "--symbol", SYMBOL, "--catalog", str(catalog)]
    before = tree(catalog)
    assert ingest(figures) == 0
    assert tree(catalog) != before
    assert build(["--raw", str(raw), "--catalog", str(catalog)]) == 0  # nothing of the bars is new, the figures are
    rebuilt(raw, catalog)
    shutil.rmtree(catalog)
    assert build(["--raw", str(raw), "--catalog", str(catalog), "--symbol", "BTCUSDT"]) == 0
    assert not tree(catalog)  # figures of a symbol that was not asked for stay away
    kept = raw / "instruments" / f"{SYMBOL}.parquet"
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(DataError, match=r"XRPUSDT\.parquet: damaged.*--instruments"):
        build(["--raw", str(raw), "--catalog", str(catalog)])
    assert build(["--raw", str(raw), "--catalog", str(catalog), "--instruments", str(own)]) == 0
    rebuilt(raw, catalog)


def test_one_of_raw_and_cache_only(catalog: Path, raw: Path, write_csv: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="exclude each other"):
        bars(catalog, write_csv(rows(10)), "15m", "--raw", str(raw), "--cache-only")


def test_a_correction_reaches_neither_bars_nor_funding_of_an_earlier_instant(
    raw: Path, catalog: Path, write_csv: Callable[..., Path]
) -> None:
    table, day = rows(96), 86_400_000_000_000
    begin = START_MS * 1_000_000
    settled = [[str(START_MS + i * DAY_MS // 3 + 4), "8", f"0.0001{i:04d}"] for i in range(3)]
    versions = []
    for number in range(3):  # as first told, corrected after two days, and again after four
        now = begin + (2 * number + 1) * day
        for step, interval, path in (
            (table, "15m", write_csv(table, f"b{number}.csv")),
            (settled, None, write_csv(settled, f"f{number}.csv")),
        ):
            assert step
            bring([path], root=raw, catalog=catalog, symbol=SYMBOL, interval=interval, now_ns=now, replace=bool(number))
        versions.append((float(table[40][5]), float(settled[1][2])))
        table[40][5], settled[1][2] = f"{7 - number}.5", f"0.0003{number}000"
    assert len(set(versions)) == 3
    source = random.Random(5)
    instants = [begin + source.randint(day, 7 * day) for _ in range(20)] + [begin + n * day for n in (3, 5)]
    for instant in instants:
        known = asof(catalog, SYMBOL, instant)
        assert known.funding is not None
        wanted = versions[min((instant - begin - day) // (2 * day), 2)]
        assert (known.bars["15m"].volume[40], known.funding.rate[1]) == wanted, instant
        everything = load_bars(catalog, SYMBOL, "15m")
        assert known.bars["15m"].close.tolist() == everything.close.tolist()
    rebuilt(raw, catalog)


@pytest.mark.parametrize("cache_only", [False, True])
def test_progress_comes_to_what_was_expected(catalog: Path, write_csv: Callable[..., Path], cache_only: bool) -> None:
    paths = [write_csv(rows(60)[:30], "a.csv"), write_csv(rows(60)[30:], "b.csv")]
    expected, done = [], []
    shown = Progress(expected.append, done.append)
    through_raw.take(paths, catalog=catalog, symbol=SYMBOL, interval="15m", cache_only=cache_only, progress=shown)
    assert expected == [sum(done)]
    assert len(done) == (2 if cache_only else 4)
