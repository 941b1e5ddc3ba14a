"""Files as people really have them: what `catalog.verify --from` says of each."""

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog import ingest, packed, verify
from catalog.raw import __main__ as raw
from strategies.errors import DataError
from tests.catalog.conftest import START_MS, Row, official, rows

HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
HOUR_MS = 3_600_000


def table(header: str = HEADER) -> list[Row]:
    """Return a day of 15m bars in the exchange's twelve columns; the quote volume fits."""
    made = [header.split(",")]
    for row in rows(96):
        low, high, volume = float(row[3]), float(row[2]), float(row[5])
        full = official(row)
        full[7], full[9] = f"{(low + high) / 2 * volume:.5f}", f"{volume / 2:.1f}"
        full[10] = f"{(low + high) / 4 * volume:.5f}"
        made.append(full)
    return made


def text(made: list[Row], separator: str = ",") -> bytes:
    return "\n".join(separator.join(row) for row in made).encode() + b"\n"


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.csv", content)
    return stream.getvalue()


def changed(row: int, column: int, value: str) -> bytes:
    made = table()
    made[row][column] = value
    return text(made)


def each(change: Callable[[Row], None], first: int = 1) -> bytes:
    made = table()
    for row in made[first:]:
        change(row)
    return text(made)


def later(row: Row, column: int) -> None:
    row[column] = str(int(row[column]) + 8 * HOUR_MS)


def times_100(row: Row) -> None:
    row[1:5] = [f"{float(price) * 100:.4f}" for price in row[1:5]]


CSV, BOMB = "XRPUSDT-15m.csv", "which is no table"
MONTH = "XRPUSDT-15m-2025-04.csv"
type Case = tuple[str, Callable[[], bytes], str]
CASES: dict[str, Case] = {
    "semicolons": (CSV, lambda: text(table(), ";"), "columns are not separated by commas"),
    "tabs": (CSV, lambda: text(table(), "\t"), "columns are not separated by commas"),
    "a header in the middle": (
        CSV,
        lambda: text([*table()[:41], *table()[:1], *table()[41:]]),
        "row 41: open_time: 'open_time' is not a time",
    ),
    "two columns of one name": (
        CSV,
        lambda: text(table(HEADER.replace("quote_volume,count", "quote_volume,volume"))),
        "two columns are named volume",
    ),
    "a short row": (
        CSV,
        lambda: text([*table()[:10], table()[10][:7], *table()[11:]]),
        "line 11: 7 columns, 12 expected",
    ),
    "thousands": (CSV, lambda: changed(3, 5, '"12,345.0"'), "volume: '12,345.0' in row 3 is not a number"),
    "half a millisecond": (CSV, lambda: changed(3, 0, "1741134600000.5"), "row 3: open_time: '1741134600000.5' is not"),
    "huge time": (CSV, lambda: changed(3, 0, "9" * 23), f"row 3: open_time: '{'9' * 23}' is not a time"),
    "no ISO dates": (CSV, lambda: each(lambda row: row.__setitem__(0, "05/03/2025 00:00")), "row 1: open_time: '05/03"),
    "another interval": ("XRPUSDT-5m.csv", lambda: text(table()), "no two rows are 5m apart, most are 15 minutes"),
    "another month": (MONTH, lambda: text(table()), "the name says 2025-04"),
    "opens shifted by 8 h": (CSV, lambda: each(lambda row: later(row, 0)), "timezone"),
    "prices times 100": (CSV, lambda: each(times_100), "100 times the quote volume"),
    "prices times 100 half-way": (CSV, lambda: each(times_100, first=50), "more than 5 times higher or lower"),
    "no trade": (CSV, lambda: each(lambda row: [row.__setitem__(i, "0") for i in (5, 7, 8, 9, 10)]), "no trade until"),
    "two members": ("a.zip", lambda: zipped(a=text(table()), b=text(table())), "2 CSV files in the archive"),
    "an empty zip": ("a.zip", zipped, "0 CSV files in the archive"),
    "a zip bomb": ("a.zip", lambda: zipped(a=text(table()) + b"\n" * 2_000_000), BOMB),
    "a gzip bomb": ("a.csv.gz", lambda: gzip.compress(text(table()) + b"\n" * 2_000_000), BOMB),
    "an answer": (CSV, lambda: b'{"code":-1121,"msg":"Invalid symbol."}\n', "an error that was saved as a file"),
    "a page": (CSV, lambda: b"<html><body>429</body></html>\n", "no row of columns"),
}


def run(main: Callable[[list[str]], int], arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    try:
        code = main(arguments)
    except DataError as e:
        return 2, str(e)
    return code, capsys.readouterr().out


@pytest.mark.parametrize("case", CASES)
def test_a_nasty_file_is_named(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "FREE_BYTES", 1 << 20)
    name, content, reason = CASES[case]
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / name
    path.write_bytes(content())
    code, told = run(verify.main, ["--from", str(path)], capsys)
    assert (code, capsys.readouterr().err) == (1, ""), told
    assert reason in told, told


def test_a_gzip_bomb_is_not_unpacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "FREE_BYTES", 1 << 20)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(CASES["a gzip bomb"][1]())
    shared = ["klines", "--symbol", "XRPUSDT", "--interval", "15m", "--from", str(path)]
    for main, arguments in (
        (raw.main, ["put", *shared, "--root", str(tmp_path / "raw")]),
        (ingest.main, [*shared, "--catalog", str(tmp_path / "catalog"), "--cache-only"]),
    ):
        code, told = run(main, arguments, capsys)
        assert code == 2
        assert BOMB in told


def test_the_second_before_the_end_is_a_close_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / CSV
    path.write_bytes(each(lambda row: row.__setitem__(6, str(int(row[6]) - 999))))
    assert "odd_close_time" not in run(verify.main, ["--from", str(path)], capsys)[1]
    path.write_bytes(each(lambda row: row.__setitem__(6, str(int(row[6]) - 5_000)), first=90))
    assert "odd_close_time 2025-03-05T22:15:00Z (7)" in run(verify.main, ["--from", str(path)], capsys)[1]


@pytest.mark.parametrize("volume", ["1500000.5", "1.5e6"])  # the second sends the file to the careful reader
def test_opens_that_shift_half_way_refuse_the_file(
    volume: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, made = tmp_path / CSV, table()
    made[90][5] = volume
    for row in made[50:]:
        later(row, 0)
    path.write_bytes(text(made))
    arguments = ["--symbol", "XRPUSDT", "--interval", "15m", "--from", str(path), "--root", str(tmp_path / "raw")]
    code, told = run(raw.main, ["put", "klines", *arguments], capsys)
    assert code == 2
    assert ":51: close_time: is -8.00 h from the end of the 2025-03-05T20:15:00Z bar" in told


def test_figures_and_trades(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    funding = tmp_path / "XRPUSDT-fundingRate.csv"
    lines = [f"{START_MS + i * 8 * HOUR_MS},8,{0.008 + i / 10_000:.5f}" for i in range(30)]
    funding.write_text("\n".join(["calc_time,funding_interval_hours,last_funding_rate", *lines]) + "\n")
    assert "percentages instead of fractions" in run(verify.main, ["--from", str(funding)], capsys)[1]

    metrics = tmp_path / "metrics.csv"
    lines = [
        f"{START_MS + i * 300_000},{'BTC' if i == 7 else 'XRP'}USDT,{9_000 + i % 7},{30_000 + i % 9}" for i in range(99)
    ]
    metrics.write_text("\n".join(["create_time,symbol,sum_open_interest,sum_open_interest_value", *lines]) + "\n")
    code, told = run(verify.main, ["--from", str(metrics), "--symbol", "XRPUSDT"], capsys)
    assert (code, "row 8 is of BTCUSDT, the file of XRPUSDT" in told) == (1, True)

    trades = tmp_path / "XRPUSDT-aggTrades.csv"
    cells = [[str(i), "2.4", "1.5", str(2 * i), str(2 * i + 1), str(START_MS + i), "true"] for i in range(50)]
    cells[20][3:5] = ["900", "901"]
    names = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
    trades.write_bytes(text([names.split(","), *cells]))
    code, told = run(verify.main, ["--from", str(trades)], capsys)
    assert (code, "does not lie behind last_trade_id of the row before" in told) == (1, True)
