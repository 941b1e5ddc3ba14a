"""Back-fill against a real venue: holes, pages, limits, faults, and that a run that broke off is gone on with."""

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from catalog import backfill
from catalog.raw.change import changing
from catalog.raw.day_files import tables, writer_of
from catalog.raw.days import dataset_hash, days, load, verify
from catalog.raw.kinds import KINDS
from catalog.raw.writer import put_rows
from catalog.rest import exchange_info
from catalog.rest.client import PublicRest
from strategies.errors import ConfigError, DataError, VenueError
from tests.catalog.backfill_kit import DAY_MS, STEP_MS, VenueThread

MS = 1_000_000
SERIES = ("klines", "mark_klines", "index_klines", "premium_klines", "agg_trades", "funding", "open_interest", "ratios")


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueThread]:
    with VenueThread(5, hole=(300, 312), unfinished=True) as running:
        yield running


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def fill(venue: VenueThread, root: Path, *kinds: str, live: bool = False, **options: Any) -> dict[str, Any]:
    arguments = [*kinds, "--symbol", "XRPUSDT", "--interval", "5m", "--base-url", venue.url, "--root", str(root)]
    arguments += ["--start", iso(venue.start_ms), "--json", *([] if live else ["--end", iso(venue.now_ms)])]
    for name, value in options.items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    written: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.stdout.write", written.append)
        assert backfill.main(arguments) == 0
    document: dict[str, Any] = json.loads("".join(written))
    return document


def times(root: Path, kind: str, interval: str | None = "5m") -> list[int]:
    name = {"agg_trades": "transact_time", "funding": "calc_time", "klines": "open_time"}.get(kind, "time")
    return [t for table in load(root, kind, "XRPUSDT", interval) for t in table[name].to_pylist()]


def everything(root: Path) -> str:
    found = []
    for kind in SERIES:
        found += days(root, kind, "XRPUSDT", "5m" if kind.endswith("klines") else None)
    assert not any(verify(day) for day in found)
    return dataset_hash(found)


def test_every_kind_is_complete_exact_and_fetched_once(venue: VenueThread, tmp_path: Path) -> None:
    document = fill(venue, tmp_path, *SERIES)
    finished = [b for b in venue.bars["XRPUSDT"] if b.open_ms + STEP_MS <= venue.now_ms]
    (bars,) = [list(load(tmp_path, "klines", "XRPUSDT", "5m"))]
    rows = [row for table in bars for row in table.to_pylist()]
    assert [
        (r["open_time"], r["open"], r["high"], r["low"], r["close"], r["volume"]) for r in rows[: len(finished)]
    ] == [(b.open_ms * MS, b.open, b.high, b.low, b.close, b.volume) for b in finished]
    assert all(r["count"] == 100 and r["taker_buy_volume"] is not None for r in rows)
    trades = [row for table in load(tmp_path, "agg_trades", "XRPUSDT") for row in table.to_pylist()]
    assert [t["price"] for t in trades[: len(finished)]] == [b.close for b in finished]
    for kind in ("open_interest", "ratios"):
        assert times(tmp_path, kind, None)[0] == (venue.start_ms + STEP_MS) * MS
    (ratio, *_) = next(load(tmp_path, "ratios", "XRPUSDT")).to_pylist()
    assert all(value is not None and value > 0 for value in ratio.values())
    assert times(tmp_path, "funding", None) == list(range(venue.start_ms * MS, venue.now_ms * MS, 8 * 3_600_000 * MS))
    missing = {row["kind"]: row["missing"] for row in document["series"]}
    outage = venue.start_ms + 300 * STEP_MS
    assert missing["klines"] == [[iso(outage)[:19] + "Z", iso(outage + 12 * STEP_MS)[:19] + "Z"]]
    before = everything(tmp_path)
    again = fill(venue, tmp_path, *SERIES)
    assert everything(tmp_path) == before
    assert not [r for r in again["series"] if r["days"] and r["kind"] == "funding"]
    assert again["requests"] < document["requests"]


def test_a_candle_in_the_making_is_never_stored(venue: VenueThread, tmp_path: Path) -> None:
    fill(venue, tmp_path, "klines", "mark_klines", live=True)
    newest = max(times(tmp_path, "klines"))
    assert newest // MS + STEP_MS <= datetime.now(UTC).timestamp() * 1000
    query = "symbol=XRPUSDT&interval=5m&limit=1"
    with urllib.request.urlopen(f"{venue.url}/fapi/v1/klines?{query}") as answer:  # noqa: S310 - our own venue
        (offered,) = json.load(answer)
    assert offered[6] > venue.now_ms, "the venue offers the candle in the making, as the exchange does"


def test_holes_of_any_place_are_found_and_only_they_are_fetched(venue: VenueThread, tmp_path: Path) -> None:
    fill(venue, tmp_path, "klines", "agg_trades")
    whole = everything(tmp_path)
    for kind, interval in (("klines", "5m"), ("agg_trades", None)):
        rows = list(tables(days(tmp_path, kind, "XRPUSDT", interval)))
        gone, _ = rows.pop(2)  # a whole day
        day, table = rows[2]  # and the middle of another
        rows[2] = (day, pa.concat_tables([table.slice(0, 100), table.slice(130)]))
        if not KINDS[kind].monthly:
            gone.path.unlink()
            rows = rows[2:3]
        with changing(tmp_path) as change:
            writer = writer_of(KINDS[kind], change.new_file(), table.schema)
            for _, part in rows:
                writer.add(part)
            writer.close()
            change.stage(day.path, writer, KINDS[kind])
            change.commit()
    assert everything(tmp_path) != whole
    asked = venue.asked("/fapi/v1/klines")
    document = fill(venue, tmp_path, "klines", "agg_trades")
    assert everything(tmp_path) == whole
    assert {row["kind"]: row["rows"] for row in document["series"]} == {"klines": 318, "agg_trades": 318}
    assert venue.asked("/fapi/v1/klines") - asked == 3  # day, middle, and the outage nobody has


def test_a_partial_bar_is_completed_and_a_contradiction_refused(venue: VenueThread, tmp_path: Path) -> None:
    bar = venue.bars["XRPUSDT"][10]
    half = {
        "open_time": [bar.open_ms * MS], "open": [str(bar.open)], "high": [str(max(bar.open, bar.close))],
        "low": [str(min(bar.open, bar.close))], "close": [str(bar.close)], "volume": ["1.5"],
    }  # fmt: skip
    full = half | {"high": [str(bar.high)], "low": [str(bar.low)], "volume": [str(bar.volume)]}
    for columns in (half, full):
        put_rows(columns, source="test", root=tmp_path, kind="klines", symbol="XRPUSDT", interval="5m")
    (row,) = next(load(tmp_path, "klines", "XRPUSDT", "5m")).to_pylist()
    assert row["volume"] == bar.volume
    with pytest.raises(DataError, match="contradict what is stored"):
        put_rows(half, source="test", root=tmp_path, kind="klines", symbol="XRPUSDT", interval="5m")
    put_rows(full | {"count": [7]}, source="test", root=tmp_path, kind="klines", symbol="XRPUSDT", interval="5m")
    put_rows(full, source="test", root=tmp_path, kind="klines", symbol="XRPUSDT", interval="5m")
    (row,) = next(load(tmp_path, "klines", "XRPUSDT", "5m")).to_pylist()
    assert row["count"] == 7, "an answer that lacks a figure takes none away"


@pytest.mark.parametrize(
    "fault",
    [
        {
            "mode": "fail",
            "status": 429,
            "code": -1003,
            "message": "Too many requests.",
            "headers": {"Retry-After": "1"},
        },
        {"mode": "fail", "status": 418, "code": -1003, "message": "banned", "headers": {"Retry-After": "1"}},
        {"mode": "close", "times": 2},
        {"mode": "fail", "status": 503, "code": 0, "message": "<html>busy</html>"},
        {"mode": "execute_then_close"},
    ],
    ids=["429", "418", "reset", "503", "answer lost"],
)
def test_faults_in_the_middle_change_nothing(fault: dict[str, Any], tmp_path: Path) -> None:
    with VenueThread(3) as venue:
        fill(venue, tmp_path / "quiet", "klines", "agg_trades", "ratios")
        venue.control("fault", path="/f(api|utures)/", skip=4, **fault)
        document = fill(venue, tmp_path / "faults", "klines", "agg_trades", "ratios")
        hashes = [everything(tmp_path / name) for name in ("quiet", "faults")]
        assert hashes[0] == hashes[1]
        assert document["waits"] == (fault.get("status") in (418, 429))


def test_a_longer_silence_than_allowed_ends_the_run_and_the_next_goes_on(tmp_path: Path) -> None:
    with VenueThread(3) as venue:
        ban = {"status": 418, "code": -1003, "message": "banned", "headers": {"Retry-After": "120"}}
        venue.control("fault", path="/fapi/v1/markPrice", **ban)
        with pytest.raises(VenueError, match=r"silence for another 1.*run the same command later"):
            fill(venue, tmp_path, "klines", "mark_klines", longest_silence=70)
        assert len(times(tmp_path, "klines")) == len(venue.bars["XRPUSDT"])
        venue.control("clear_faults")
        document = fill(venue, tmp_path, "klines", "mark_klines")
        assert document["series"][0]["rows"] <= 1
        assert document["series"][1]["rows"] >= len(venue.bars["XRPUSDT"])


class _Waited(Exception):  # noqa: N818 - not an error
    pass


async def test_the_weight_budget_is_kept() -> None:
    """We stop before the limit: the third request waits for the next minute instead of being sent."""
    waits: list[float] = []

    async def sleep(secs: float) -> None:
        waits.append(secs)
        raise _Waited

    with VenueThread(1, limits={"enforce": True, "weight_per_minute": 90}) as venue:
        async with PublicRest(venue.url, weight_share=0.5, sleep=sleep) as rest:
            await rest.open()

            async def ask() -> None:
                for _ in range(50):
                    await rest.get("/fapi/v1/aggTrades", {"symbol": "XRPUSDT", "limit": 1000}, weight=20)

            with pytest.raises(_Waited):
                await ask()
        assert 0 < waits[0] <= 60
        assert venue.server.venue.limits.weight <= 45
        assert venue.server.venue.books.counters["rejects"] == 0


def test_statistics_older_than_the_exchange_has_are_said(tmp_path: Path) -> None:
    with VenueThread(33) as venue:
        document = fill(venue, tmp_path, "open_interest")
        (row,) = document["series"]
        assert "last 30 days only" in row["notes"][0]
        first = times(tmp_path, "open_interest", None)[0] // MS
        oldest = datetime.now(UTC).timestamp() * 1000 - 30 * DAY_MS
        assert oldest <= first <= oldest + 2 * STEP_MS
        assert row["rows"] > 8_600
        assert not row["missing"]


def test_exchange_info_is_kept_when_it_changes(venue: VenueThread, tmp_path: Path) -> None:
    fill(venue, tmp_path, "funding")
    (first,) = (tmp_path / exchange_info.FOLDER).iterdir()
    fill(venue, tmp_path, "funding")
    assert [first] == list((tmp_path / exchange_info.FOLDER).iterdir())
    document = exchange_info.load(first)
    info, at = document["exchange_info"], document["received_ms"]
    shuffled = {**info, "serverTime": 1, "symbols": [
        {**row, "filters": list(reversed(row["filters"]))} for row in reversed(info["symbols"])
    ]}  # fmt: skip
    assert exchange_info.keep(tmp_path, shuffled, at + 1_000) is None
    changed = {**info, "symbols": [{**row, "status": "SETTLING"} for row in info["symbols"]]}
    assert exchange_info.keep(tmp_path, changed, at + 5_000) is not None
    assert exchange_info.asof(tmp_path, at - 1) is None
    for moment, status in ((at, "TRADING"), (at + 4_999, "TRADING"), (at + 5_000, "SETTLING")):
        known = exchange_info.asof(tmp_path, moment)
        assert known is not None
        assert known["symbols"][0]["status"] == status
    first.write_bytes(first.read_bytes()[:-9])
    with pytest.raises(DataError, match="damaged"):
        exchange_info.load(first)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"--symbol": "NOSUCHUSDT"}, "is not traded"),
        ({"--start": "yesterday"}, "not a UTC date"),
        ({"--start": "2999-01-01"}, "lies in the future"),
        ({"--end": "2001-01-01"}, "must lie after"),
        ({"--interval": "7m"}, "7m"),
        ({"--weight-share": "0"}, "weight-share"),
    ],
)
def test_mistakes_are_one_line(change: dict[str, str], reason: str, venue: VenueThread, tmp_path: Path) -> None:
    options = {"--symbol": "XRPUSDT", "--start": iso(venue.start_ms), "--root": str(tmp_path), "--base-url": venue.url}
    arguments = [text for pair in (options | change).items() for text in pair]
    with pytest.raises((ConfigError, DataError), match=reason):
        backfill.main(["klines", *arguments])
    assert not list(tmp_path.rglob("*.parquet"))


def test_an_exchange_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.rest.client._FIRST_RETRY_SECS", 0.001)
    target = ["--symbol", "XRPUSDT", "--start", "2025-01-01", "--root", str(tmp_path)]
    with pytest.raises(VenueError, match=r"127.0.0.1:9.*no answer"):
        backfill.main(["klines", *target, "--base-url", "http://127.0.0.1:9"])


def test_the_figures_of_the_ratios_are_decimals_of_the_exchange(venue: VenueThread, tmp_path: Path) -> None:
    fill(venue, tmp_path, "ratios")
    (row, *_) = next(load(tmp_path, "ratios", "XRPUSDT")).to_pylist()
    assert all(isinstance(value, Decimal) and value == round(value, 4) for name, value in row.items() if name != "time")
