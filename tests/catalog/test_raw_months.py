"""Slow kinds lie in files of a month; an older store, a file a day, is read and taken over without loss."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.quality.rows import Context
from catalog.raw import quality
from catalog.raw.__main__ import main
from catalog.raw.change import changing
from catalog.raw.day_files import DayWriter, described, tables
from catalog.raw.days import days, load, verify
from catalog.raw.writer import put_rows
from strategies.errors import DataError

HOUR = 3_600_000_000_000
START = 1_740_700_800_000_000_000  # 2025-02-28
NOW = START + 400 * HOUR
SERIES = ("klines", "XRPUSDT", "1h")
SHARED = ["klines", "--symbol", "XRPUSDT", "--interval", "1h"]


def bars(first: int, last: int) -> dict[str, list[Any]]:
    """Return hourly bars from `first` to before `last`, counted from 2025-02-28."""
    prices = [f"{Decimal(20_000 + (i * 37) % 91) / 10_000:.4f}" for i in range(first, last)]
    times = [START + i * HOUR for i in range(first, last)]
    volumes = [f"{100 + i % 7}" for i in range(first, last)]
    return {"open_time": times, "open": prices, "high": prices, "low": prices, "close": prices, "volume": volumes}


def bring(root: Path, first: int, last: int) -> list[str]:
    """Store these bars and return the days written."""
    report = put_rows(
        bars(first, last), source="test", root=root, kind="klines", symbol="XRPUSDT", interval="1h", now_ns=NOW
    )
    return report.written


def as_before(root: Path, *, former: bool = False) -> None:
    """Turn the store into one of an older version: a file and its findings a day; `former`: with the first hash."""
    months = set()
    for day, table in list(tables(days(root, *SERIES))):
        months.add(day.path)
        file = day.path.with_name(f"{day.day}.parquet")
        told = f"former {day.day}" if former else day.sha256
        pq.write_table(table.replace_schema_metadata({b"argonaut.sha256": told.encode()}), file)
        quality.beside(file).write_text("{}")
    for month in months:
        month.unlink()
        quality.beside(month).unlink()


def names(root: Path) -> list[str]:
    """Return what lies in the folder of the series."""
    return sorted(file.name for file in (root / "klines" / "XRPUSDT" / "1h").iterdir())


def test_a_month_is_one_file_that_tells_of_each_day(tmp_path: Path) -> None:
    assert bring(tmp_path, 0, 72) == ["2025-02-28", "2025-03-01", "2025-03-02"]
    assert names(tmp_path) == ["2025-02.parquet", "2025-02.quality.json", "2025-03.parquet", "2025-03.quality.json"]
    found = days(tmp_path, *SERIES)
    assert [(d.day, d.rows, d.first) for d in found] == [
        ("2025-02-28", 24, 0),
        ("2025-03-01", 24, 0),
        ("2025-03-02", 24, 24),
    ]
    alone = tmp_path / "alone"
    for first in (48, 0, 24):
        bring(alone, first, first + 24)
    assert [d.sha256 for d in days(alone, *SERIES)] == [d.sha256 for d in found]
    rows = pa.concat_tables(load(tmp_path, *SERIES, start_ns=START + 30 * HOUR, end_ns=START + 50 * HOUR))
    assert rows["open_time"].to_pylist() == [START + i * HOUR for i in range(30, 50)]


def test_a_day_that_comes_later_changes_no_other_day(tmp_path: Path) -> None:
    bring(tmp_path, 24, 72)
    before = {d.day: d.sha256 for d in days(tmp_path, *SERIES)}
    assert bring(tmp_path, 60, 96) == ["2025-03-03"]
    after = {d.day: d.sha256 for d in days(tmp_path, *SERIES)}
    assert before.items() < after.items()
    assert set(after) - set(before) == {"2025-03-03"}
    assert all(verify(day) is None for day in days(tmp_path, *SERIES))


def test_findings_of_a_month_stand_at_the_days_they_touch(tmp_path: Path) -> None:
    bring(tmp_path, 24, 46)
    bring(tmp_path, 50, 96)
    found = json.loads((tmp_path / "klines" / "XRPUSDT" / "1h" / "2025-03.quality.json").read_text())
    gaps = {day: [f["count"] for f in one["findings"] if f["kind"] == "gap"] for day, one in found.items()}
    assert gaps == {"2025-03-01": [2], "2025-03-02": [2], "2025-03-03": []}, "the hole lies over midnight"
    (first, *_) = days(tmp_path, *SERIES)
    known = quality.findings_of(first, kind="klines", symbol="XRPUSDT", interval="1h")
    quality.beside(first.path).unlink()
    assert quality.findings_of(first, kind="klines", symbol="XRPUSDT", interval="1h") == known


def test_a_month_says_of_each_day_what_the_day_alone_would(tmp_path: Path) -> None:
    """But at midnight, where a day alone sees nothing."""
    bring(tmp_path, 24, 53)
    bring(tmp_path, 55, 70)
    bring(tmp_path, 78, 144)  # from 22 h to before 6 h
    flat = bars(144, 192)
    for name in ("open", "high", "low", "close", "volume"):
        flat[name] = [flat[name][0]] * 48
    put_rows(flat, source="test", root=tmp_path, kind="klines", symbol="XRPUSDT", interval="1h", now_ns=NOW)
    (file,) = {day.path for day in days(tmp_path, *SERIES)}
    together = json.loads(quality.beside(file).read_text())
    alone = {}
    for day, table in tables(days(tmp_path, *SERIES)):
        context = Context(symbol="XRPUSDT", interval="1h", source=day.day)
        alone[day.day] = quality.inspect_columns(quality.columns_of("klines", table), context, "1h")
    gaps = {d: sum(f["count"] for f in one["findings"] if f["kind"] == "gap") for d, one in together.items()}
    assert list(gaps.values()) == [0, 4, 6, 0, 0, 0, 0]
    for name in ("2025-03-01", "2025-03-04", "2025-03-05"):
        assert together[name]["findings"] == [f.as_json() for f in alone[name][0]] == []
    within = [f.as_json() for f in alone["2025-03-02"][0]]
    assert [f | {"source": ""} for f in within] == [f | {"source": ""} for f in together["2025-03-02"]["findings"][:1]]
    stale = {d: sum(f["count"] for f in one["findings"] if f["kind"] == "stale_price") for d, one in together.items()}
    assert stale["2025-03-06"] == stale["2025-03-07"] == 24


def test_a_store_with_a_file_a_day_is_read_and_taken_over_by_the_next_write(tmp_path: Path) -> None:
    bring(tmp_path, 0, 96)
    before = {d.day: d.sha256 for d in days(tmp_path, *SERIES)}
    as_before(tmp_path)
    assert len(names(tmp_path)) == 8
    assert {d.day: d.sha256 for d in days(tmp_path, *SERIES)} == before
    assert [d.day for d in days(tmp_path, *SERIES, start_ns=START + 30 * HOUR, end_ns=START + 49 * HOUR)] == [
        "2025-03-01",
        "2025-03-02",
    ]
    assert bring(tmp_path, 0, 30) == [], "what is there already leaves the files alone"
    assert len(names(tmp_path)) == 8
    assert bring(tmp_path, 96, 120) == ["2025-03-04"]
    assert names(tmp_path) == [
        "2025-02-28.parquet", "2025-02-28.quality.json", "2025-03.parquet", "2025-03.quality.json",
    ]  # fmt: skip
    after = {d.day: d.sha256 for d in days(tmp_path, *SERIES)}
    assert before.items() < after.items()
    assert all(verify(day) is None for day in days(tmp_path, *SERIES))


def test_a_kill_while_days_become_a_month_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(tmp_path, 24, 96)
    as_before(tmp_path)
    unlink = Path.unlink

    def killed(file: Path, missing_ok: bool = False) -> None:
        if file.name == "2025-03-02.parquet":
            raise KeyboardInterrupt
        unlink(file, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        patched.setattr("catalog.raw.change.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            bring(tmp_path, 96, 120)
    assert "2025-03-02.parquet" in names(tmp_path)
    found = days(tmp_path, *SERIES)
    assert names(tmp_path) == ["2025-03.parquet", "2025-03.quality.json"], "the next reader finishes"
    assert [d.rows for d in found] == [24] * 4


@pytest.mark.parametrize("former", [False, True])
def test_an_old_store_is_renewed_by_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], former: bool
) -> None:
    bring(tmp_path, 0, 96)
    before = {d.day: d.sha256 for d in days(tmp_path, *SERIES)}
    as_before(tmp_path, former=former)
    with pytest.MonkeyPatch.context() as patched:
        if former:
            patched.setattr("catalog.raw.days.former_hash", lambda file: f"former {file.stem}")
            patched.setattr("catalog.raw.renewal.former_hash", lambda file: f"former {file.stem}")
            with pytest.raises(DataError, match=r"form of before 2026-11-25: run `python -m catalog\.raw rehash`"):
                main(["verify", *SHARED, "--root", str(tmp_path)])
        assert main(["rehash", "--root", str(tmp_path)]) == 0
    assert "2 files are new" in capsys.readouterr().out
    assert names(tmp_path) == ["2025-02.parquet", "2025-02.quality.json", "2025-03.parquet", "2025-03.quality.json"]
    assert {d.day: d.sha256 for d in days(tmp_path, *SERIES)} == before
    assert main(["verify", *SHARED, "--root", str(tmp_path)]) == 0
    assert main(["rehash", "--root", str(tmp_path)]) == 0
    assert "0 files are new" in capsys.readouterr().out


def test_a_day_that_is_damaged_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    bring(tmp_path, 0, 96)
    as_before(tmp_path)
    (wrong,) = (day for day in days(tmp_path, *SERIES) if day.day == "2025-03-02")
    ((_, table),) = tables([wrong])
    writer = DayWriter(wrong.path, table.schema)
    writer.content.rows += 1
    writer.add(table)
    writer.close()
    with pytest.raises(DataError, match=r"1 days have other rows than were stored, first .*2025-03-02\.parquet"):
        main(["rehash", "--root", str(tmp_path)])
    assert "2025-03-02.parquet" in names(tmp_path)
    assert "2025-02.parquet" in names(tmp_path), "the others are renewed"


def test_a_month_that_tells_of_other_rows_than_it_holds_is_damaged(tmp_path: Path) -> None:
    bring(tmp_path, 24, 72)
    (file,) = {day.path for day in days(tmp_path, *SERIES)}
    whole = next(iter(tables(described(file))))[1]
    with changing(tmp_path) as change:
        writer = DayWriter(
            change.new_file(), whole.schema.with_metadata({b"argonaut.days": b'[["2025-03-01", 24, "x"]]'})
        )
        writer.add(whole.slice(0, 20))
        writer.close()
        change.staged[file] = writer.file
        change.commit()
    with pytest.raises(DataError, match=r"2025-03\.parquet: damaged: it holds 20 rows and tells of 24; remove it"):
        days(tmp_path, *SERIES)
