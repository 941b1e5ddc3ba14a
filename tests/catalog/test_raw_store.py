"""The raw store: every kind, exact values, refusals that change nothing, merging, kill -9, memory."""

import csv
import gzip
import json
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.raw import quality
from catalog.raw.__main__ import main
from catalog.raw.change import changing
from catalog.raw.csv_blocks import CsvBlocks, schema_of
from catalog.raw.day_files import DAY_NS, HASH
from catalog.raw.days import dataset_hash, days, load, verify
from catalog.raw.kinds import KINDS, Kind
from catalog.raw.writer import put
from strategies.errors import DataError

START_MS = 1_741_132_800_000  # 2025-03-05T00:00:00Z
DAY_MS = 86_400_000
ROOT_OF_PROJECT = Path(__file__).resolve().parents[2]

SAMPLES: dict[str, tuple[str | None, str, list[str]]] = {
    "klines": (
        "1m",
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore",
        [
            f"{START_MS + i * 60_000},2.4{i},2.5,2.3,2.4,10.5,{START_MS + i * 60_000 + 59_999},25.2,7,4.5,10.8,0"
            for i in range(3)
        ],
    ),
    "mark_klines": ("1h", "open_time,open,high,low,close", [f"{START_MS},2.4,2.5,2.3,2.40000001"]),
    "index_klines": ("1h", "open_time,open,high,low,close", [f"{START_MS},2.4,2.5,2.3,2.40000001"]),
    "premium_klines": ("1h", "open_time,open,high,low,close", [f"{START_MS},-0.0004,0.0001,-0.0005,-0.00043519"]),
    "agg_trades": (
        None,
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
        [f"{90 + i},0.7097,19.0,{500 + i},{500 + i},{START_MS + i},{'true' if i % 2 else 'False'}" for i in range(5)],
    ),
    "trades": (
        None,
        "id,price,qty,quote_qty,time,is_buyer_maker",
        [f"{90 + i},0.7097,19.0,13.48,{START_MS + i},true" for i in range(5)],
    ),
    "book_ticker": (
        None,
        "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time",
        [f"{90 + i},0.7,19.0,0.8,13,{START_MS + i},{START_MS + i + 2}" for i in range(5)],
    ),
    "book_snapshots": (
        None,
        (
            "exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,"
            "asks[1].price,asks[1].amount,bids[1].price,bids[1].amount"
        ),
        [f"binance-futures,XRPUSDT,{START_MS + i}000,{START_MS + i}999,0.71,1.5,0.7,2,0.72,3,0.69,4" for i in range(3)],
    ),
    "book_depth": (
        None,
        "timestamp,percentage,depth,notional",
        [f"2025-03-05 00:00:0{i // 2},{-5 + i % 2}.00,6789.123,612345678.12345678" for i in range(6)],
    ),
    "metrics": (
        None,
        (
            "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
            "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
        ),
        ["2025-03-05 00:05:00,XRPUSDT,74318.0820000000000000,3432839523.1234567800000000,,,,"],
    ),
    "open_interest": (
        None,
        "timestamp,symbol,sum_open_interest,sum_open_interest_value",
        [f"{START_MS},XRPUSDT,254810250.20000000,363962277.45235320"],
    ),
    "ratios": (None, "timestamp,top_acct_ls_ratio,global_ls_ratio", [f"{START_MS},2.7092,2.5112"]),
    "funding": (
        None,
        "calc_time,funding_interval_hours,last_funding_rate",
        [f"{START_MS + 3},8,-0.00012345"],
    ),
    "liquidations": (
        None,
        (
            "time,side,order_type,time_in_force,original_quantity,price,average_price,order_status,last_fill_quantity,"
            "accumulated_fill_quantity"
        ),
        [f"{START_MS},SELL,LIMIT,IOC,0.014,26000,26001.5,FILLED,0.014,0.014"] * 2,
    ),
}


def write(path: Path, lines: Sequence[str]) -> Path:
    text = ("\n".join(lines) + "\n").encode()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{path.stem}.csv", text)
    else:
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def bring(root: Path, path: Path, kind: str = "agg_trades", interval: str | None = None, **options: bool) -> object:
    return put([path], root=root, kind=kind, symbol="XRPUSDT", interval=interval, **options)  # type: ignore[arg-type]


def stored(root: Path, kind: str, interval: str | None = None) -> pa.Table:
    return pa.concat_tables(list(load(root, kind, "XRPUSDT", interval)))


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*.parquet")}


def trade_lines(count: int, *, first: int = 0, step_ms: int = 1_000, seed: int = 3) -> list[str]:
    source = random.Random(seed)
    return [
        f"{first + i},{source.randint(10_000, 30_000) / 10_000:.4f},{source.randint(1, 9_999) / 10:.1f},"
        f"{2 * (first + i)},{2 * (first + i) + 1},{START_MS + (first + i) * step_ms},{source.choice(['true', 'false'])}"
        for i in range(count)
    ]


AGG_HEADER = SAMPLES["agg_trades"][1]


def test_every_kind_has_a_sample() -> None:
    assert SAMPLES.keys() == KINDS.keys()


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".zip"])
@pytest.mark.parametrize("kind", SAMPLES)
def test_every_kind_is_stored_typed_and_exact(kind: str, suffix: str, tmp_path: Path) -> None:
    interval, header, lines = SAMPLES[kind]
    path = write(tmp_path / f"XRPUSDT-{kind}{suffix}", [header, *lines])
    report = bring(tmp_path / "raw", path, kind, interval)
    assert report.written == ["2025-03-05"]  # type: ignore[attr-defined]
    table = stored(tmp_path / "raw", kind, interval)
    assert table.schema.remove_metadata() == schema_of(KINDS[kind])
    assert table.num_rows == len(lines)
    assert table[0][0].as_py() // DAY_NS == START_MS // DAY_MS
    (day,) = days(tmp_path / "raw", kind, "XRPUSDT", interval)
    assert verify(day) is None
    assert bring(tmp_path / "raw", path, kind, interval).unchanged == ["2025-03-05"]  # type: ignore[attr-defined]


def test_the_digits_are_those_of_the_file(tmp_path: Path) -> None:
    interval, header, lines = SAMPLES["metrics"]
    report = bring(tmp_path / "raw", write(tmp_path / "m.csv", [header, *lines]), "metrics", interval)
    row = stored(tmp_path / "raw", "metrics").to_pylist()[0]
    assert row["sum_open_interest_value"] == Decimal("3432839523.12345678")
    assert row["count_long_short_ratio"] is None
    assert any("count_long_short_ratio is empty in all of 1 rows" in w for w in report.warnings)  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["bare", "spot", "exponent", "micros", "quoted", "byte order mark"])
def test_forms_of_one_content_have_one_hash(form: str, tmp_path: Path) -> None:
    lines = trade_lines(200)
    bring(tmp_path / "plain", write(tmp_path / "a.csv", [AGG_HEADER, *lines]))
    cells = [line.split(",") for line in lines]
    changed = {
        "bare": lines,
        "spot": [f"{line.replace('true', 'True').replace('false', 'False')},True" for line in lines],
        "exponent": [",".join([c[0], f"{float(c[1]):.6e}", *c[2:]]) for c in cells],
        "micros": [",".join([*c[:5], f"{c[5]}000", c[6]]) for c in cells],
        "quoted": [",".join(f'"{v}"' for v in c) for c in cells],
        "byte order mark": ["\ufeff" + AGG_HEADER, *lines],
    }[form]
    if form == "quoted":
        changed = [AGG_HEADER, *changed]
    bring(tmp_path / "other", write(tmp_path / "b.zip", changed))
    hashes = [dataset_hash(days(tmp_path / name, "agg_trades", "XRPUSDT")) for name in ("plain", "other")]
    assert hashes[0] == hashes[1]


REFUSED: dict[str, tuple[int, int, str, list[str]]] = {
    "text for a price": (7, 1, "abc", ["price", "'abc' is not a finite number"]),
    "empty price": (7, 1, "", ["price", "is empty"]),
    "NaN": (7, 2, "nan", ["quantity", "not a finite number"]),
    "zero price": (7, 1, "0", ["price", "0 is not above 0"]),
    "negative quantity": (7, 2, "-1.5", ["quantity", "-1.5 is not above 0"]),
    "too many digits": (7, 1, "1.1234567891", ["price", "10 digits after the point, 8 are kept"]),
    "beyond range": (7, 1, "99999999999", ["price", "out of range"]),
    "hexadecimal": (7, 0, "0x10", ["agg_trade_id", "'0x10' is not a whole number"]),
    "no flag": (7, 6, "maybe", ["is_buyer_maker", "neither true nor false"]),
    "first after last": (7, 3, "999999", ["last_trade_id", "is below first_trade_id"]),
    "identifier goes back": (7, 0, "2", ["agg_trade_id", "2 comes after 6"]),
    "conflicting repetition": (7, 0, "6", ["agg_trade_id", "with other values"]),
    "other unit": (7, 5, f"{START_MS}000", ["transact_time", "microseconds", "in milliseconds"]),
    "future": (7, 5, "4070908800000", ["transact_time", "in the future"]),
    "cut row": (7, 6, "true,1", ["columns", "8 columns, 7 expected"]),
}


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_row_is_named_and_nothing_changes(case: str, header: bool, tmp_path: Path) -> None:
    bring(tmp_path / "raw", write(tmp_path / "before.csv", trade_lines(3, first=100)))
    before = snapshot(tmp_path / "raw")
    row, column, value, words = REFUSED[case]
    lines = trade_lines(40)
    cells = lines[row].split(",")
    cells[column] = value
    lines[row] = ",".join(cells)
    path = write(tmp_path / "bad.csv.gz", [AGG_HEADER, *lines] if header else lines)
    with pytest.raises(DataError) as caught:
        bring(tmp_path / "raw", path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{row + 1 + header}: "), message
    for word in words:
        assert word in message, message
    assert message.endswith("nothing was stored")
    assert snapshot(tmp_path / "raw") == before
    assert not (tmp_path / "raw" / ".staging").exists()


def test_a_bad_row_after_many_blocks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.raw.csv_blocks.BLOCK_BYTES", 2_048)
    lines = trade_lines(3_000)
    lines[2_500] = lines[2_500].replace(",true", ",perhaps").replace(",false", ",perhaps")
    path = write(tmp_path / "late.csv", [AGG_HEADER, *lines[:50], "", *lines[50:]])
    with pytest.raises(DataError, match=r"late\.csv:2503: is_buyer_maker"):
        bring(tmp_path / "raw", path)
    assert snapshot(tmp_path / "raw") == {}


@pytest.mark.parametrize("block", [300, 2_048, 1 << 20])
def test_blocks_do_not_show(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = trade_lines(2_000, step_ms=120_000)
    lines = [line for i, line in enumerate(lines) for _ in range(2 if i % 7 == 0 else 1)]
    bring(tmp_path / "whole", write(tmp_path / "a.csv", lines))
    monkeypatch.setattr("catalog.raw.csv_blocks.BLOCK_BYTES", block)
    report = bring(tmp_path / "parts", write(tmp_path / "b.csv", lines))
    assert any("286 repeated equal rows" in text for text in report.warnings)  # type: ignore[attr-defined]
    found = days(tmp_path / "parts", "agg_trades", "XRPUSDT")
    assert [day.rows for day in found] == [720, 720, 560]
    assert dataset_hash(found) == dataset_hash(days(tmp_path / "whole", "agg_trades", "XRPUSDT"))


def test_pieces_in_any_order_make_the_same_days(tmp_path: Path) -> None:
    lines = trade_lines(1_500, step_ms=120_000)
    bring(tmp_path / "whole", write(tmp_path / "a.csv", lines))
    pieces = [write(tmp_path / f"p{i}.csv", lines[i * 300 : i * 300 + 400]) for i in range(5)]
    random.Random(5).shuffle(pieces)
    for piece in pieces:
        bring(tmp_path / "pieces", piece)
    put(pieces, root=tmp_path / "once", kind="agg_trades", symbol="XRPUSDT")
    expected = [(day.day, day.rows, day.sha256) for day in days(tmp_path / "whole", "agg_trades", "XRPUSDT")]
    for name in ("pieces", "once"):
        assert [(d.day, d.rows, d.sha256) for d in days(tmp_path / name, "agg_trades", "XRPUSDT")] == expected


def test_a_repeated_command_passes_over_files_that_are_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, lines = tmp_path / "raw", trade_lines(2_160, step_ms=120_000)
    files = [write(tmp_path / f"{i}.zip", [AGG_HEADER, *lines[i * 720 : i * 720 + 720]]) for i in range(3)]
    read: list[str] = []

    class Watched(CsvBlocks):
        def __init__(self, path: Path, kind: Kind) -> None:
            read.append(path.name)
            super().__init__(path, kind)

    monkeypatch.setattr("catalog.raw.writer.CsvBlocks", Watched)

    def again(paths: Sequence[Path], **options: bool) -> tuple[list[str], list[str], list[str], int]:
        read.clear()
        report = put(paths, root=root, kind="agg_trades", symbol="XRPUSDT", **options)  # type: ignore[arg-type]
        return list(read), report.written, report.unchanged, sum(report.rows.values())

    names = ["2025-03-05", "2025-03-06", "2025-03-07"]
    assert again(files[:2]) == (["0.zip", "1.zip"], names[:2], [], 1_440)
    before = snapshot(root)
    assert again(files) == (["2.zip"], names[2:], names[:2], 2_160)
    assert snapshot(root).items() >= before.items()
    assert again(files) == ([], [], names, 2_160)
    moved = files[1].rename(tmp_path / "another name.zip")
    assert again([moved]) == ([], [], names[1:2], 720)
    # A day that is gone, or holds other rows since, is brought from its file.
    (first, second, _) = days(root, "agg_trades", "XRPUSDT")
    first.path.unlink()
    assert again([files[0]]) == (["0.zip"], names[:1], [], 720)
    changed = lines[800].split(",")
    changed[1] = "9.9999"
    put([write(tmp_path / "c.csv", [",".join(changed)])], root=root, kind="agg_trades", symbol="XRPUSDT", replace=True)
    with pytest.raises(DataError, match="1 rows contradict"):
        again([moved])
    assert again([moved], replace=True) == ([moved.name], names[1:2], [], 720)
    assert days(root, "agg_trades", "XRPUSDT")[1].sha256 == second.sha256
    # What only speeds things up may be damaged.
    (note,) = (root / "sources").rglob("*.json")
    note.write_text("{")
    assert again([files[0]]) == (["0.zip"], [], names[:1], 720)
    assert again([files[0]])[0] == []


def test_files_brought_each_stay_when_a_later_one_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, lines = tmp_path / "raw", trade_lines(2_160, step_ms=120_000)
    files = [write(tmp_path / f"{i}.csv", [AGG_HEADER, *lines[i * 720 : i * 720 + 720]]) for i in range(3)]
    write(files[1], [AGG_HEADER, *lines[720:1_440], "1,2"])
    command = ["put", "agg_trades", "--symbol", "XRPUSDT", "--root", str(root), "--from", *map(str, files)]
    with pytest.raises(DataError, match="2 columns, 7 expected"):
        main(command)
    assert days(root, "agg_trades", "XRPUSDT") == []
    with pytest.raises(DataError, match="2 columns, 7 expected"):
        main([*command, "--each"])
    (first,) = days(root, "agg_trades", "XRPUSDT")
    changed = first.path.stat().st_mtime_ns
    write(files[1], [AGG_HEADER, *lines[720:1_440]])
    capsys.readouterr()
    assert main([*command, "--each", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["written"], report["unchanged"]) == (["2025-03-06", "2025-03-07"], ["2025-03-05"])
    assert list(report["rows"].values()) == [720, 720, 720]
    assert first.path.stat().st_mtime_ns == changed
    put(files, root=tmp_path / "once", kind="agg_trades", symbol="XRPUSDT")
    hashes = [dataset_hash(days(r, "agg_trades", "XRPUSDT")) for r in (root, tmp_path / "once")]
    assert hashes[0] == hashes[1]


def test_contradiction_is_refused_unless_declared_right(tmp_path: Path) -> None:
    lines = trade_lines(50)
    bring(tmp_path / "raw", write(tmp_path / "a.csv", lines))
    before = snapshot(tmp_path / "raw")
    lines[20] = lines[20].replace(lines[20].split(",")[1], "9.9999", 1)
    path = write(tmp_path / "b.csv", lines[10:30])
    with pytest.raises(DataError, match=r"1 rows contradict .* price 9\.9999.*--replace"):
        bring(tmp_path / "raw", path)
    assert snapshot(tmp_path / "raw") == before
    bring(tmp_path / "raw", path, replace=True)
    prices = stored(tmp_path / "raw", "agg_trades")["price"].to_pylist()
    assert len(prices) == 50
    assert prices[20] == Decimal("9.9999")


def test_findings_lie_beside_the_day_and_follow_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, lines = tmp_path / "raw", trade_lines(400)
    path = write(tmp_path / "a.csv", [AGG_HEADER, *lines[:150], *lines[200:]])
    assert main(["put", "agg_trades", "--symbol", "XRPUSDT", "--from", str(path), "--root", str(root)]) == 0
    assert "quality of 2025-03-05: score" in capsys.readouterr().out
    (day,) = days(root, "agg_trades", "XRPUSDT")
    found = json.loads(quality.beside(day.path).read_text())["2025-03-05"]
    assert (found["sha256"], found["rows"], found["worst"]) == (day.sha256, 350, "warning")
    (hole,) = [f for f in found["findings"] if f["kind"] == "gap" and f["severity"] == "warning"]
    assert "50 rows missing after id" in hole["message"]
    bring(root, write(tmp_path / "b.csv", lines[140:210]))
    (day,) = days(root, "agg_trades", "XRPUSDT")
    known = quality.findings_of(day, kind="agg_trades", symbol="XRPUSDT", interval=None)
    assert (known.rows, known.worst, known.score) == (400, "", 100.0)
    quality.beside(day.path).unlink()
    assert quality.findings_of(day, kind="agg_trades", symbol="XRPUSDT", interval=None) == known


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_row_goes_to_quarantine_and_the_others_in(case: str, tmp_path: Path) -> None:
    row, column, value, words = REFUSED[case]
    lines = trade_lines(40)
    cells = lines[row].split(",")
    cells[column] = value
    lines[row] = ",".join(cells)
    path = write(tmp_path / "bad.csv.gz", [AGG_HEADER, *lines])
    report = bring(tmp_path / "raw", path, quarantine=True)
    (kept,) = report.quarantined  # type: ignore[attr-defined]
    with Path(kept).open(newline="") as handle:
        aside = list(csv.DictReader(handle))
    both = case == "conflicting repetition"
    assert len(aside) == report.quarantined[kept] == 1 + both  # type: ignore[attr-defined]
    assert {r["source"] for r in aside} == {str(path)}
    assert aside[-1]["reason"].startswith(words[0])
    assert aside[-1]["place"] in (f"line {row + 2}", f"row {row + 1}")
    assert stored(tmp_path / "raw", "agg_trades").num_rows == 39 - both
    assert bring(tmp_path / "raw", path, quarantine=True).unchanged == ["2025-03-05"]  # type: ignore[attr-defined]
    with Path(kept).open(newline="") as handle:
        assert list(csv.DictReader(handle)) == aside


def test_versions_in_conflict_with_the_store_are_both_kept(tmp_path: Path) -> None:
    root, lines = tmp_path / "raw", trade_lines(50)
    bring(root, write(tmp_path / "a.csv", lines))
    before = days(root, "agg_trades", "XRPUSDT")[0].sha256
    lines[20] = lines[20].replace(lines[20].split(",")[1], "9.9999", 1)
    report = bring(root, write(tmp_path / "b.csv", [*lines[10:30], "1,2"]), quarantine=True)
    (kept,) = report.quarantined  # type: ignore[attr-defined]
    with Path(kept).open(newline="") as handle:
        aside = list(csv.DictReader(handle))
    assert [r["place"] for r in aside] == ["line 21", "stored in 2025-03-05.parquet", "of this file"]
    assert "2 columns, 7 expected" in aside[0]["reason"]
    assert aside[2]["price"] == "9.9999" != aside[1]["price"]
    assert days(root, "agg_trades", "XRPUSDT")[0].sha256 == before


def test_rows_without_key_are_not_guessed_together(tmp_path: Path) -> None:
    _, header, lines = SAMPLES["liquidations"]
    bring(tmp_path / "raw", write(tmp_path / "a.csv", [header, *lines]), "liquidations")
    path = write(tmp_path / "b.csv", [header, lines[0]])
    with pytest.raises(DataError, match="no key to merge them by"):
        bring(tmp_path / "raw", path, "liquidations")
    bring(tmp_path / "raw", path, "liquidations", replace=True)
    assert stored(tmp_path / "raw", "liquidations").num_rows == 1


def test_another_symbol_in_the_rows_or_in_the_name_is_refused(tmp_path: Path) -> None:
    _, header, lines = SAMPLES["open_interest"]
    path = write(tmp_path / "a.csv", [header, *(line.replace("XRP", "BTC") for line in lines)])
    with pytest.raises(DataError, match=r"a\.csv:2: symbol: BTCUSDT, --symbol says XRPUSDT"):
        bring(tmp_path / "raw", path, "open_interest")
    with pytest.raises(DataError, match="the name says BTCUSDT"):
        bring(tmp_path / "raw", write(tmp_path / "BTCUSDT-aggTrades.csv", trade_lines(3)))


def test_an_unfinished_bar_and_a_bar_off_the_grid_are_refused(tmp_path: Path) -> None:
    _, header, lines = SAMPLES["klines"]
    path = write(tmp_path / "a.csv", [header, *lines])
    now = (START_MS + 3 * 60_000) * 1_000_000
    with pytest.raises(DataError, match=r"a\.csv:4: open_time: .*unfinished"):
        put([path], root=tmp_path / "raw", kind="klines", symbol="XRPUSDT", interval="1m", now_ns=now - 1)
    put([path], root=tmp_path / "raw", kind="klines", symbol="XRPUSDT", interval="1m", now_ns=now)
    with pytest.raises(DataError, match=r"a\.csv:2: close_time: the bar closes 1 minutes after .* --interval says 15"):
        bring(tmp_path / "other", path, "klines", "15m")
    six = write(tmp_path / "b.csv", [",".join(line.split(",")[:6]) for line in [header, *lines]])
    with pytest.raises(DataError, match=r"b\.csv:3: open_time: .* off the interval's grid"):
        bring(tmp_path / "other", six, "klines", "15m")


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_cut_zip_changes_nothing(kept: float, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", trade_lines(5_000))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DataError, match=r"a\.zip: content: .*download the file again"):
        bring(tmp_path / "raw", path)
    path.write_bytes(content[:5_000] + bytes([content[5_000] ^ 0x55]) + content[5_001:])
    with pytest.raises(DataError, match=r"a\.zip"):
        bring(tmp_path / "raw", path)
    assert snapshot(tmp_path / "raw") == {}


def test_a_changed_stored_row_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "raw"
    bring(root, write(tmp_path / "a.csv", trade_lines(50)))
    (day,) = days(root, "agg_trades", "XRPUSDT")
    table = pq.read_table(day.path)
    ids = table["agg_trade_id"].to_pylist()
    ids[7] += 1
    broken = table.set_column(1, table.schema.field(1), pa.array(ids))
    pq.write_table(broken.replace_schema_metadata({HASH: day.sha256.encode()}), day.path)
    arguments = ["verify", "agg_trades", "--symbol", "XRPUSDT", "--root", str(root), "--json"]
    with pytest.raises(DataError, match="the rows of 2025-03-05 are not those that were stored"):
        main(arguments)
    assert json.loads(capsys.readouterr().out)["damaged"]


def test_a_range_is_cut_out_of_its_days(tmp_path: Path) -> None:
    bring(tmp_path / "raw", write(tmp_path / "a.csv", trade_lines(1_500, step_ms=120_000)))
    start, end = (START_MS + DAY_MS - 240_000) * 1_000_000, (START_MS + DAY_MS + 240_000) * 1_000_000
    tables = list(load(tmp_path / "raw", "agg_trades", "XRPUSDT", None, start, end, ["agg_trade_id"]))
    assert [table["agg_trade_id"].to_pylist() for table in tables] == [[718, 719], [720, 721]]


def test_kill_at_random_instants_leaves_all_or_nothing(tmp_path: Path, seed: int) -> None:
    root = tmp_path / "raw"
    source = random.Random(seed)
    bring(root, write(tmp_path / "old.csv", trade_lines(2_000, step_ms=120_000)))
    old = [day.sha256 for day in days(root, "agg_trades", "XRPUSDT")]
    path = write(tmp_path / "new.csv", trade_lines(9_000, first=1_000, step_ms=120_000, seed=3)[1_000:])
    expected_root = tmp_path / "expected"
    for file in (tmp_path / "old.csv", path):
        bring(expected_root, file)
    new = [day.sha256 for day in days(expected_root, "agg_trades", "XRPUSDT")]
    command = [sys.executable, "-m", "catalog.raw", "put", "agg_trades", "--symbol", "XRPUSDT", "--from", str(path)]
    killed = 0
    for _ in range(6):
        process = subprocess.Popen([*command, "--root", str(root)], cwd=ROOT_OF_PROJECT, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not (root / ".staging").exists() and process.poll() is None and time.monotonic() < deadline:
            pass
        until = time.monotonic() + source.random() * 0.12
        while time.monotonic() < until:
            pass
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        found = days(root, "agg_trades", "XRPUSDT")
        assert [day.sha256 for day in found] in (old, new), f"seed {seed}"
        assert not any(verify(day) for day in found), f"seed {seed}"
    assert killed, f"seed {seed}"
    assert main([*command[3:], "--root", str(root)]) == 0
    assert [day.sha256 for day in days(root, "agg_trades", "XRPUSDT")] == new
    assert not (root / ".staging").exists()


_DIES_BETWEEN_RENAMES = """
import os, sys
from pathlib import Path
from catalog.raw.__main__ import main
real, moved = Path.replace, []
def replace(self, target):
    if self.suffix == ".parquet":
        moved.append(self)
        if len(moved) == 2:
            os._exit(9)
    return real(self, target)
Path.replace = replace
main(sys.argv[1:])
"""


def test_a_noted_change_is_finished_by_the_next_reader(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    path = write(tmp_path / "a.csv", trade_lines(1_500, step_ms=120_000))
    arguments = ["put", "agg_trades", "--symbol", "XRPUSDT", "--from", str(path), "--root", str(root)]
    done = subprocess.run([sys.executable, "-c", _DIES_BETWEEN_RENAMES, *arguments], cwd=ROOT_OF_PROJECT, check=False)
    assert done.returncode == 9
    assert (root / ".staging" / "intent.json").exists()
    assert [day.rows for day in days(root, "agg_trades", "XRPUSDT")] == [720, 720, 60]
    assert not (root / ".staging" / "intent.json").exists()


def test_a_second_writer_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", trade_lines(5))
    with changing(tmp_path / "raw"), pytest.raises(DataError, match="another process has been writing"):
        put([path], root=tmp_path / "raw", kind="agg_trades", symbol="XRPUSDT", wait_seconds=0.1)


_SMALL_DISK = """
import resource, signal, sys
from catalog.raw.__main__ import main
from strategies.startup import run_command
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
run_command(lambda: main(sys.argv[1:]))
"""


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    bring(root, write(tmp_path / "old.csv", trade_lines(100)))
    before = snapshot(root)
    path = write(tmp_path / "new.csv", trade_lines(30_000, first=100, step_ms=50))
    arguments = ["put", "agg_trades", "--symbol", "XRPUSDT", "--from", str(path), "--root", str(root)]
    done = subprocess.run(
        [sys.executable, "-c", _SMALL_DISK, *arguments],
        cwd=ROOT_OF_PROJECT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert "the store is as it was before" in done.stderr
    assert snapshot(root) == before
    assert not (root / ".staging").exists()


@pytest.mark.parametrize("kind", ["agg_trades", "klines"])
def test_bringing_a_file_needs_neither_pandas_nor_nautilus(kind: str, tmp_path: Path) -> None:
    """Their imports would take longer than most files."""
    bars = [f"{START_MS + i * 60_000},2.5,2.5,2.5,2.5,1.0" for i in range(20)]
    path = write(tmp_path / "a.csv", trade_lines(20) if kind == "agg_trades" else bars)
    command = [kind, "--symbol", "XRPUSDT", "--from", str(path), "--root", str(tmp_path / "raw")]
    command += ["--interval", "1m"] if kind == "klines" else []
    script = f"""
import sys
from catalog.raw.__main__ import main
assert main(["put", *{command!r}]) == 0
assert not {{"pandas", "nautilus_trader", "numba", "scipy"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT_OF_PROJECT, check=True, timeout=60)
