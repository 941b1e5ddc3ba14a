"""Files as found in the wild: each is refused for its own reason, by both readers, and stands in the ledger."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.csv_files import KLINE_COLUMNS
from catalog.ingest import main as ingest
from catalog.raw import days as raw_days
from catalog.raw import ledger
from catalog.raw.__main__ import main as raw
from strategies.errors import DataError
from tests.catalog.conftest import Row, official, rows

HEADER = list(KLINE_COLUMNS)
MINUTE = 60_000
NAME = "XRPUSDT-1m-2025-03-05.csv"


def table(count: int = 90, step: int = MINUTE) -> list[Row]:
    return [official(row, step) for row in rows(count, step_ms=step)]


def text(lines: list[Row], header: list[str] | None = HEADER, comma: str = ",", end: str = "\n") -> bytes:
    return (end.join(comma.join(row) for row in ([header] if header else []) + lines) + end).encode()


def with_cell(row: int, column: int, value: str) -> bytes:
    lines = table()
    lines[row][column] = value
    return text(lines)


def moved(minutes: int) -> bytes:
    return text([[str(int(row[0]) + minutes * MINUTE), *row[1:]] for row in table()])


def zipped(*members: tuple[str, bytes]) -> bytes:
    beside = io.BytesIO()
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return beside.getvalue()


def mixed_units() -> bytes:
    lines = table()
    for row in lines[45:]:
        row[0] += "000"
    return text(lines)


ZIP = NAME.replace(".csv", ".zip")
REFUSED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "mixed units": (NAME, mixed_units, r":47: open_time: .*microseconds, the rows before are in milliseconds"),
    "utf-16": (NAME, lambda: text(table()).decode().encode("utf-16"), "not a text file"),
    "semicolons": (NAME, lambda: text(table(), comma=";"), ":1: columns: .*not separated by commas"),
    "tabs": (NAME, lambda: text(table(), comma="\t"), ":1: columns: .*not separated by commas"),
    "header again": (NAME, lambda: text(table()[:40]) + text(table()[40:]), ":42: open_time: 'open_time' is not a"),
    "column twice": (NAME, lambda: text([[*r, "7"] for r in table()], [*HEADER, "volume"]), ":1: volume: stands twice"),
    "thousands": (NAME, lambda: with_cell(5, 5, '"1,234.5"'), ":7: volume: '1,234.5' is not a finite number"),
    "not a number": (NAME, lambda: with_cell(7, 4, "NaN"), ":9: close: 'NaN' is not a finite number"),
    "infinite": (NAME, lambda: with_cell(7, 2, "inf"), ":9: high: 'inf' is not a finite number"),
    "other digits": (NAME, lambda: with_cell(7, 5, "١٢"), ":9: volume: '١٢' is not a finite number"),
    "negative": (NAME, lambda: with_cell(9, 5, "-4.0"), ":11: volume: -4 is (negative|below 0)"),
    "short row": (NAME, lambda: text([*table()[:9], table()[9][:8]]), ":11: columns: 8 columns, 12 expected"),
    "longer bars": (NAME, lambda: text(table(step=300_000)), "(closes|apart)"),
    "longer bars, six columns": (
        NAME,
        lambda: text([row[:6] for row in table(step=300_000)], HEADER[:6]),
        "no two rows are one interval apart",
    ),
    "name of another interval": (NAME.replace("1m", "5m"), lambda: text(table()), "name says 5m, --interval says 1m"),
    "name of another symbol": (NAME.replace("XRP", "BTC"), lambda: text(table()), "name says BTCUSDT, --symbol"),
    "name of another month": ("XRPUSDT-1m-2025-07.csv", lambda: text(table()), "says 2025-07, the first row is of 20"),
    "name of another day": (NAME.replace("05.", "09."), lambda: text(table()), "says 2025-03-09, the first row is of"),
    "member of another symbol": (ZIP, lambda: zipped(("BTCUSDT-1m.csv", text(table()))), "name says BTCUSDT"),
    "two members": (ZIP, lambda: zipped(("a.csv", text(table())), ("b.csv", b"")), "2 CSV files in the archive"),
    "no member": (ZIP, zipped, "0 CSV files in the archive"),
    "cut zip": (ZIP, lambda: zipped(("a.csv", text(table())))[:-200], "cut or damaged"),
    "cut gzip": (f"{NAME}.gz", lambda: gzip.compress(text(table()))[:-100], "cut or damaged"),
    "endless line": (ZIP, lambda: zipped(("a.csv", text(table()) + b"0" * (1 << 20))), "field larger than"),
    "an hour late": (NAME, lambda: moved(60), ":2: close_time: the bar closes -59 minutes after it opens"),
    "eight hours early": (NAME, lambda: moved(-480), "(:2: close_time: the bar closes 481 minutes|says 2025-03-05)"),
    "shifted columns": (NAME, lambda: text([[r[0], *r[2:6], r[1], *r[6:]] for r in table()]), ":2: high: .* is below"),
    "html": (NAME, lambda: b"<html><body>404</body></html>", ":1: (content: a web page|open_time: no such column)"),
    "error page as zip": (ZIP, lambda: b"<?xml version='1.0'?><Error/>", "not a zip archive"),
}
TAKEN: dict[str, Callable[[], bytes]] = {
    "mark": lambda: b"\xef\xbb\xbf" + text(table()),
    "carriage returns": lambda: text(table(), end="\r\n"),
    "quoted": lambda: text([[f'"{cell}"' for cell in row] for row in table()]),
    "exponents": lambda: with_cell(3, 5, "1.5e3"),
    "spaces": lambda: text([[*row[:4], f" {row[4]} ", *row[5:]] for row in table()]),
}


def through_both(path: Path, root: Path, catalog: Path) -> list[Callable[[], int]]:
    shared = ["klines", "--symbol", "XRPUSDT", "--interval", "1m", "--from", str(path)]
    return [
        lambda: ingest([*shared, "--catalog", str(catalog), "--cache-only"]),
        lambda: raw(["put", *shared, "--root", str(root)]),
    ]


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path, catalog: Path) -> None:
    name, make, reason = REFUSED[case]
    path, root = tmp_path / name, tmp_path / "store"
    path.write_bytes(make())
    for command in through_both(path, root, catalog):
        with pytest.raises(DataError, match=reason) as refusal:
            command()
        assert str(refusal.value).startswith(str(path))
    assert not list(root.rglob("*.parquet"))
    assert not list(catalog.rglob("*.parquet"))
    (line,) = ledger.read(root)
    assert (line.state, line.file, line.rows) == ("refused", str(path), 0)
    assert line.sha256
    assert line.reason == str(refusal.value)


@pytest.mark.parametrize("case", TAKEN)
def test_taken(case: str, tmp_path: Path, catalog: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(TAKEN[case]())
    for command in through_both(path, tmp_path / "store", catalog):
        assert command() == 0
    (stored,) = raw_days.days(tmp_path / "store", "klines", "XRPUSDT", "1m")
    assert stored.rows == 90


def test_a_bomb_is_not_unpacked(tmp_path: Path, catalog: Path) -> None:
    path = tmp_path / ZIP
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("XRPUSDT-1m.csv", "w") as member:
        for _ in range(257):
            member.write(bytes(1 << 20))
    with pytest.raises(DataError, match=r"bytes unpack to 269484032, which is no table"):
        through_both(path, tmp_path / "store", catalog)[0]()


def test_the_ledger_tells_what_became_of_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, lines = tmp_path / "store", table()
    for name, content in (("good.csv", text(lines)), ("bad.csv", with_cell(2, 4, "nan"))):
        (tmp_path / name).write_bytes(content)
    shared = ["put", "klines", "--symbol", "XRPUSDT", "--interval", "1m", "--root", str(root), "--from"]
    good, bad = (str(tmp_path / name) for name in ("good.csv", "bad.csv"))
    assert raw([*shared, good]) == raw([*shared, good]) == 0
    with pytest.raises(DataError, match="not a finite number"):
        raw([*shared, good, bad])
    assert raw([*shared, bad, "--quarantine"]) == 0
    with (root / ledger.FILE).open("ab") as torn:
        torn.write(b'{"at":"2025')
    with pytest.raises(DataError, match="not a finite number"):
        raw([*shared, bad])
    found = [(Path(line.file).name, line.state, line.rows) for line in ledger.read(root)]
    assert found == [
        ("good.csv", "stored", 90),
        ("good.csv", "unchanged", 90),
        ("bad.csv", "refused", 0),
        ("bad.csv", "quarantined", found[3][2]),
        ("bad.csv", "refused", 0),
    ]
    capsys.readouterr()
    assert raw(["ledger", "--root", str(root), "--refused", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told) == 2
    assert "bad.csv:4: close: 'nan' is not a finite number" in told[0]["reason"]
    assert raw(["ledger", "--root", str(root)]) == 0
    assert "5 files" in capsys.readouterr().out
