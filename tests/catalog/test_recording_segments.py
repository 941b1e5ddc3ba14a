"""Segments and tape: order, torn and damaged ends, drops that are told, days, merging twice, what rows are made."""

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalog import recorded
from catalog.raw.days import dataset_hash, days, load
from catalog.recording import tape
from catalog.recording.rows import rows_of
from catalog.recording.segments import CLOSED, DROPPED, FOLDER, Entry, Reading, SegmentWriter, closed, encode, seal
from strategies.errors import DataError
from tests.catalog.kill_kit import FIRST_NS, message

DAY_NS = 86_400_000_000_000


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.recording.segments._BATCH", 16)


def write(root: Path, count: int, step_ns: int = 1_000, **options: Any) -> list[Entry]:
    writer = SegmentWriter(root, tape.last_entry(root), **options)
    first = writer.committed
    found = [writer.put(FIRST_NS + n * step_ns, *message(n)) for n in range(first + 1, first + count + 1)]
    assert writer.close()
    assert writer.committed == first + count
    return [entry for entry in found if entry is not None]


def test_what_is_put_is_read_in_order_whatever_the_segments(tmp_path: Path) -> None:
    written = write(tmp_path, 500, segment_bytes=2_000)
    assert len(closed(tmp_path)) > 5
    assert list(tape.entries(tmp_path)) == written
    written += write(tmp_path, 100)
    assert [e.sequence for e in written] == list(range(1, 601))
    tape.merge(tmp_path, None)
    assert list(tape.entries(tmp_path)) == written
    assert tape.last_entry(tmp_path) == written[-1]


def test_a_clock_that_goes_back_does_not_take_the_order_along(tmp_path: Path) -> None:
    for _ in range(2):
        writer = SegmentWriter(tmp_path, tape.last_entry(tmp_path))
        for at in (5_000, 3_000, 5_000, 9_000, 1):
            writer.put(FIRST_NS + at, "x@y", b"{}", 2)
        assert writer.close()
    times = [e.ts_init - FIRST_NS for e in tape.entries(tmp_path)]
    assert times == [5_000, 5_002, 5_004, 9_000, 9_002, 9_004, 9_006, 9_008, 9_010, 9_012]


@pytest.mark.parametrize("seed", range(3))
def test_a_segment_cut_anywhere_gives_its_whole_records(seed: int, tmp_path: Path) -> None:
    write(tmp_path, 50)
    (file,) = closed(tmp_path)
    content, source = file.read_bytes(), random.Random(seed)
    for _ in range(40):
        cut = source.randrange(len(content))
        file.write_bytes(content[:cut])
        reading = Reading(file)
        found = list(reading)
        assert [e.sequence for e in found] == list(range(1, len(found) + 1))
        assert reading.torn == cut - 8 - sum(len(encode(e)) for e in found) if cut >= 8 else reading.torn == cut
        assert not reading.damaged
        file.write_bytes(content[:cut] + bytes(100))  # what a power cut leaves
        reading = Reading(file)
        assert [e.sequence for e in reading][: len(found)] == [e.sequence for e in found]


def test_damage_in_the_middle_is_told_and_the_segment_kept(tmp_path: Path) -> None:
    written = write(tmp_path, 50)
    (file,) = closed(tmp_path)
    content = bytearray(file.read_bytes())
    at = 8 + sum(len(encode(e)) for e in written[:20]) + 30
    content[at] ^= 0xFF
    file.write_bytes(bytes(content))
    done = tape.merge(tmp_path, None)
    assert list(tape.entries(tmp_path)) == written[:20]
    (note,) = done.notes
    assert "cannot be read" in note
    assert "check the disk" in note
    assert bytes(content) == file.with_suffix(".damaged").read_bytes()


def test_what_has_no_room_is_counted_told_and_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, told = threading.Event(), []
    real: Callable[..., bool] = SegmentWriter._write_some
    monkeypatch.setattr(SegmentWriter, "_write_some", lambda self: gate.wait(20) and real(self))
    writer = SegmentWriter(tmp_path, most=10, tell=lambda code, text: told.append((code, text)))
    taken = [writer.put(FIRST_NS + n, "x@y", b"{}") for n in range(25)]
    assert [entry is not None for entry in taken] == [True] * 10 + [False] * 15
    assert writer.dropped == 15
    assert [code for code, _ in told] == ["RECORDER_DROPPED"]
    gate.set()
    while writer.waiting:
        pass
    writer.put(FIRST_NS + 99, "x@y", b"{}")
    assert writer.close()
    found = list(tape.entries(tmp_path))
    assert [e.sequence for e in found] == [*range(1, 11), 26, 27]
    assert found[-2].stream == DROPPED
    assert json.loads(found[-2].message) == {"first": 11, "last": 25, "count": 15}


def test_days_are_those_of_arrival_and_merging_again_changes_nothing(tmp_path: Path) -> None:
    root, raw = tmp_path / "recording", tmp_path / "raw"
    written = write(root, 90, step_ns=DAY_NS // 30)
    kept = {file.name: file.read_bytes() for file in closed(root)}
    done = tape.merge(root, raw)
    assert [day.rows for day in tape.days(root)] == [29, 30, 30, 1]
    assert done.records == 90
    assert done.rows == {"agg_trades XRPUSDT": 60, "liquidations XRPUSDT": 30}
    hashes = [dataset_hash(tape.days(root))] + [
        dataset_hash(days(raw, k, "XRPUSDT")) for k in ("agg_trades", "liquidations")
    ]
    for name, content in kept.items():  # as after a kill between the tape and the removal
        (root / FOLDER / name).write_bytes(content)
    again = tape.merge(root, raw)
    assert again.records == 0
    assert hashes == [
        dataset_hash(tape.days(root)),
        *(dataset_hash(days(raw, k, "XRPUSDT")) for k in ("agg_trades", "liquidations")),
    ]
    middle = FIRST_NS + DAY_NS
    assert list(tape.entries(root, middle, middle + DAY_NS)) == [
        e for e in written if middle <= e.ts_init < middle + DAY_NS
    ]


def test_patient_merging_writes_a_day_a_few_times_only_and_nothing_is_hidden_meanwhile(tmp_path: Path) -> None:
    written: list[Entry] = []
    rewritten = merges = 0
    for _ in range(60):
        written += write(tmp_path, 40)
        done = tape.merge(tmp_path, tmp_path / "raw", patient=True)
        merges += bool(done.days)
        rewritten += sum(day.rows for day in tape.days(tmp_path)) if done.days else 0
        assert list(tape.entries(tmp_path)) == written
        assert tape.last_entry(tmp_path) == written[-1]
    assert merges < 20
    assert rewritten < 8 * len(written), "each merge would have written all that is there: 30 times the rows"
    assert closed(tmp_path), "some wait"
    write(tmp_path, 2, step_ns=DAY_NS // 2)  # the day is over
    assert tape.merge(tmp_path, tmp_path / "raw", patient=True).days == [day.day for day in tape.days(tmp_path)]
    assert not closed(tmp_path)
    trades = sum(day.rows for day in days(tmp_path / "raw", "agg_trades", "XRPUSDT"))
    assert trades == sum(entry.stream.endswith("@aggTrade") for entry in tape.entries(tmp_path))


def test_a_segment_left_open_is_sealed(tmp_path: Path) -> None:
    written = write(tmp_path, 5)
    (file,) = closed(tmp_path)
    file.rename(file.with_suffix(".open"))
    assert tape.merge(tmp_path, None).segments == 0, "what is being written is not merged"
    assert list(tape.entries(tmp_path)) == written
    seal(tmp_path)
    assert [f.suffix for f in (tmp_path / FOLDER).iterdir()] == [CLOSED]
    assert list(tape.entries(tmp_path)) == written


def test_reading_while_a_recorder_writes_and_another_process_merges(tmp_path: Path) -> None:
    """Whatever is merged meanwhile, a reader sees every record once and in order."""
    written = write(tmp_path, 200, segment_bytes=1_500)
    reading = tape.entries(tmp_path)
    seen = [next(reading) for _ in range(30)]
    tape.merge(tmp_path, None)
    seen += reading
    assert seen == written


def test_rows_of_every_stream(tmp_path: Path) -> None:
    kline = {
        "t": 1_756_684_800_000, "T": 1_756_684_859_999, "s": "XRPUSDT", "i": "1m", "f": 1, "L": 9, "o": "2.1",
        "c": "2.2", "h": "2.3", "l": "2.0", "v": "10.0", "n": 9, "x": True,
        "q": "21.5", "V": "5.0", "Q": "10.7", "B": "0",
    }  # fmt: skip
    quote = {"e": "bookTicker", "u": 7, "s": "XRPUSDT", "b": "2.1", "B": "9", "a": "2.2", "A": "8", "T": 5, "E": 6}
    interest = {"timestamp": 1_756_684_800_000, "sumOpenInterest": "5.5", "sumOpenInterestValue": "11"}
    messages = [
        ("xrpusdt@kline_1m", {"k": kline | {"x": False, "v": "3.0"}}),
        ("xrpusdt@kline_1m", {"k": kline}),
        ("xrpusdt@bookTicker", quote | {"T": 1_756_684_800_001, "E": 1_756_684_800_002}),
        ("xrpusdt@markPrice@1s", {"e": "markPriceUpdate", "p": "2.1"}),
        ("xrpusdt#fundingRate", {"symbol": "XRPUSDT", "fundingTime": 1_756_684_800_003, "fundingRate": "0.00010000"}),
        ("xrpusdt#openInterestHist", interest),
        ("xrpusdt#ratios", {"timestamp": 1_756_684_800_000, "count_long_short_ratio": "1.5"}),
        ("xrpusdt@aggTrade", {"not": "a trade"}),
        ("!nothing", {}),
    ]  # fmt: skip
    writer = SegmentWriter(tmp_path)
    for stream, body in messages:
        writer.put(FIRST_NS, stream, json.dumps(body).encode())
    assert writer.close()
    found = rows_of(tape.entries(tmp_path))
    assert {target.kind: len(next(iter(columns.values()))) for target, columns in found.items()} == {
        "klines": 1, "book_ticker": 1, "funding": 1, "open_interest": 1, "ratios": 1
    }  # fmt: skip
    tape.merge(tmp_path, tmp_path / "raw")
    (bar,) = next(load(tmp_path / "raw", "klines", "XRPUSDT", "1m")).to_pylist()
    assert (str(bar["volume"]), bar["count"]) == ("10.00000000", 9)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "r", 5)
    assert recorded.main(["merge", "--root", str(tmp_path / "r"), "--raw", str(tmp_path / "raw"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 5
    assert recorded.main(["days", "--root", str(tmp_path / "r"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["days"][0]["records"] == 5
    with pytest.raises(DataError, match="nothing was heard"):
        recorded.main(["replay", "--root", str(tmp_path / "none"), "--catalog", str(tmp_path / "c")])
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "x").touch()
    with pytest.raises(DataError, match="is not empty"):
        recorded.main(["replay", "--root", str(tmp_path / "r"), "--catalog", str(tmp_path / "c")])
