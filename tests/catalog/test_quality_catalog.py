"""Verification, repair, resampling, point in time and universe on a catalog; the real defects where the data is."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import provenance, repair, resample, verify
from catalog.asof import PUBLICATION_DELAY_NS, asof, known_rows
from catalog.derive import holes
from catalog.ingest import main as ingest
from catalog.instruments import interval_ns
from catalog.quality import survey
from catalog.quality.findings import Kind, Severity
from catalog.quality.quarantine import quarantine_file
from catalog.quality.resampling import add_up, complete_buckets
from catalog.quality.rows import Rows
from catalog.quality.series import verify_file
from catalog.raw.writer import put_rows
from catalog.reader import load_bars
from catalog.universe import Listing, Refusal, UniverseFilter, measured_spreads, universe
from strategies.errors import DataError
from tests.catalog.conftest import HEADER, START_MS, rows

MINUTE = 60_000_000_000
# The exchange changed BTC and ETH bars of these days after it had published them; sources fetched before differ.
RESTATED_DAYS = {"2023-11-10", "2024-03-27", "2024-03-28", "2024-10-28", "2025-01-14", "2025-01-29"}
DATA = Path(os.environ.get("ARGONAUT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
REAL = [DATA] if (DATA / "um_klines_15m" / "XRPUSDT.csv.gz").exists() else []


def put(catalog: Path, path: Path, interval: str, symbol: str = "XRPUSDT") -> None:
    command = ["klines", "--symbol", symbol, "--interval", interval, "--from", str(path), "--catalog", str(catalog)]
    assert ingest(command) == 0


@pytest.fixture
def minutes(write_csv):
    """Three days of 1m rows as a file, and the rows."""
    table = rows(3 * 1440, step_ms=60_000)
    return write_csv(table, "XRPUSDT-1m.csv", HEADER), table


def test_a_clean_catalog_verifies_and_a_bad_file_fails(catalog, write_csv, tmp_path, capsys):
    put(catalog, write_csv(rows(960), "XRPUSDT-15m.csv", HEADER), "15m")
    report = tmp_path / "report.json"
    page = tmp_path / "report.html"
    command = ["--catalog", str(catalog), "--json", str(report), "--html", str(page)]
    assert verify.main(command) == 0
    document = json.loads(report.read_text())
    assert document["worst"] in (None, "info")
    assert document["series"][0]["rows"] == 960
    assert set(document["series"][0]["scores"].values()) == {100.0}
    html = page.read_text()
    assert html.count("<rect") == 10
    assert "http://" not in html
    assert "https://" not in html
    assert not list(tmp_path.glob(".report*"))
    table = rows(960)
    table[500][2] = "0.0001"
    bad = write_csv(table, "XRPUSDT-15m-bad.csv", HEADER)
    capsys.readouterr()
    assert verify.main(["--from", str(bad)]) == 1
    assert "high is below open or close" in capsys.readouterr().out


def test_holes_are_filled_from_shorter_bars_exactly_and_noted(catalog, minutes, write_csv, capsys):
    path, _ = minutes
    put(catalog, path, "1m")
    assert resample.main(["--catalog", str(catalog), "--symbol", "XRPUSDT", "--from", "1m", "--to", "15m", "1h"]) == 0
    native = load_bars(catalog, "XRPUSDT", "15m")
    lines = [
        [str(t // 1_000_000), *(f"{x:.4f}" for x in (o, h, low, c)), f"{v:.1f}"]
        for t, o, h, low, c, v in zip(
            native.open_time.tolist(), native.open, native.high, native.low, native.close, native.volume, strict=True
        )
    ]
    broken = catalog.parent / "other"
    put(broken, write_csv(lines[:100] + lines[103:200] + lines[201:], "XRPUSDT-15m.csv", HEADER), "15m")
    put(broken, path, "1m")
    assert len(holes(load_bars(broken, "XRPUSDT", "15m").open_time, interval_ns("15m"))) == 2
    command = ["--catalog", str(broken), "--symbol", "XRPUSDT", "--interval", "15m", "--finer", "1m", "--json"]
    capsys.readouterr()
    assert repair.main([*command, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["added"] == 4
    assert len(load_bars(broken, "XRPUSDT", "15m")) == len(native) - 4
    assert repair.main(command) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["added"], done["still_missing"], done["differing"]) == (4, 0, 0)
    mended = load_bars(broken, "XRPUSDT", "15m")
    for name in ("open_time", "open", "high", "low", "close", "volume"):
        assert (getattr(mended, name) == getattr(native, name)).all(), name
    noted = provenance.read(broken, "XRPUSDT", "15m")
    assert [(n["origin"], n["rows"]) for n in noted] == [("resampled from 1m", 4)]
    assert verify.main(["--catalog", str(broken), "--symbol", "XRPUSDT"]) == 0


def test_a_hole_nobody_has_stays_and_a_stranger_is_refused(catalog, write_csv):
    table = rows(400)
    put(catalog, write_csv(table[:200] + table[204:], "a.csv", HEADER), "15m")
    stranger = write_csv(rows(400, seed=9), "b.csv", HEADER)
    command = ["--catalog", str(catalog), "--symbol", "XRPUSDT", "--interval", "15m", "--from"]
    with pytest.raises(DataError, match="another market or symbol"):
        repair.main([*command, str(stranger)])
    assert len(load_bars(catalog, "XRPUSDT", "15m")) == 396
    part = write_csv(table[150:202], "c.csv", HEADER)
    assert repair.main([*command, str(part)]) == 0
    after = load_bars(catalog, "XRPUSDT", "15m")
    assert holes(after.open_time, interval_ns("15m")) == [
        ((START_MS + 202 * 900_000) * 1_000_000, (START_MS + 203 * 900_000) * 1_000_000)
    ]


@settings(max_examples=40, deadline=None)
@given(
    parts=st.sampled_from([(1, 5), (1, 15), (5, 15), (15, 60), (60, 240)]),
    missing=st.sets(st.integers(0, 499), max_size=6),
    seed=st.integers(0, 1000),
)
def test_longer_bars_are_made_only_of_all_their_parts(parts, missing, seed):
    short, long = (n * MINUTE for n in parts)
    source = np.random.default_rng(seed)
    keep = np.array([i for i in range(500) if i not in missing])
    time = 1_741_132_800_000_000_000 + 7 * short + short * keep
    values = source.integers(1, 10**9, (len(keep), 5))
    buckets = complete_buckets(time, short, long)
    made = add_up(values, buckets)
    expected = []
    for start in range(int(time[0] // long * long), int(time[-1]) + 1, long):
        inside = values[(time >= start) & (time < start + long)]
        if len(inside) == long // short:
            expected.append([inside[0, 0], inside[:, 1].max(), inside[:, 2].min(), inside[-1, 3], inside[:, 4].sum()])
    assert made.tolist() == [[int(x) for x in row] for row in expected]


@settings(max_examples=60, deadline=None)
@given(
    stamps=st.lists(st.integers(0, 20), min_size=1, max_size=40),
    delays=st.lists(st.integers(0, 3000), min_size=40, max_size=40),
    at=st.integers(0, 3000),
)
def test_nothing_is_known_before_it_arrived_and_restatements_do_not_reach_back(stamps, delays, at):
    stamp = np.array(stamps) * MINUTE
    received = stamp + np.array(delays[: len(stamps)]) * 1_000_000_000
    now = at * 1_000_000_000
    for kind in ("bars", "open_interest"):
        index = known_rows(kind, stamp, now, received=received)
        usable = [
            i for i in range(len(stamp))
            if max(stamp[i] + PUBLICATION_DELAY_NS[kind], received[i]) <= now
        ]  # fmt: skip
        expected = {}
        for i in sorted(usable, key=lambda i: (received[i], i)):
            expected[int(stamp[i])] = i
        assert index.tolist() == [expected[s] for s in sorted(expected)]
        later = np.concatenate([stamp, stamp]), np.concatenate([received, np.full(len(stamp), now + 1)])
        assert known_rows(kind, later[0], now, received=later[1]).tolist() == index.tolist()


@pytest.fixture
def point_in_time(catalog, write_csv):
    put(catalog, write_csv(rows(96 * 40), "XRPUSDT-15m.csv", HEADER), "15m")
    ether = [
        [time, *(f"{float(p) * 1000:.2f}" for p in prices), f"{float(volume) / 1000:.3f}"]
        for time, *prices, volume in rows(96 * 10, seed=2)
    ]
    put(catalog, write_csv(ether, "ETHUSDT-15m.csv", HEADER), "15m", "ETHUSDT")
    return catalog


def test_asof_shows_closed_bars_only(point_in_time):
    everything = load_bars(point_in_time, "XRPUSDT", "15m")
    step = interval_ns("15m")
    source = np.random.default_rng(3)
    for time in source.integers(everything.open_time[0], everything.open_time[-1] + 2 * step, 30).tolist():
        known = asof(point_in_time, "XRPUSDT", time)
        count = int((everything.open_time + step <= time).sum())
        assert len(known.bars["15m"]) == count if count else "15m" not in known.bars
        assert known.funding is None
    exact = int(everything.open_time[9]) + step
    assert len(asof(point_in_time, "XRPUSDT", exact).bars["15m"]) == 10
    assert len(asof(point_in_time, "XRPUSDT", exact - 1).bars["15m"]) == 9


def test_spreads_are_those_of_the_quotes_known_then(point_in_time, tmp_path):
    at, second = START_MS * 1_000_000 + 39 * 86_400_000_000_000, 1_000_000_000
    asks = ["2.001", "2.002", "2.003"] + ["2.1"] * 3  # 5, 10 and 15 bps; 488 after the instant
    times = [at - (5_000, 20, 10)[n] * second if n < 3 else at + n * second for n in range(6)]
    quotes = {
        "transaction_time": times,
        "update_id": list(range(1, 7)),
        "best_bid_price": ["2.000"] * 6,
        "best_bid_quantity": ["5"] * 6,
        "best_ask_price": asks,
        "best_ask_quantity": ["5"] * 6,
    }
    put_rows(quotes, source="test", root=tmp_path / "raw", kind="book_ticker", symbol="XRPUSDT")
    (found,) = measured_spreads(tmp_path / "raw", ["XRPUSDT", "ETHUSDT"], at).items()
    assert found == ("XRPUSDT", pytest.approx((9.995 + 14.989) / 2, abs=1e-3))
    for limit, verdict in ((12.0, Refusal.SPREAD), (13.0, Refusal.NONE)):
        members = universe(point_in_time, at, UniverseFilter(min_age_days=0, max_spread_bps=limit))
        assert {m.symbol: m.refusal for m in members}["XRPUSDT"] is verdict


def test_the_universe_has_no_survivors_advantage(point_in_time):
    start = START_MS * 1_000_000
    day = 1440 * MINUTE
    wanted = UniverseFilter(min_age_days=5, min_daily_turnover=1.0)

    def verdicts(at: float, **more) -> dict[str, Refusal]:
        return {m.symbol: m.refusal for m in universe(point_in_time, start + int(at * day), wanted, **more)}

    assert verdicts(-1) == {}
    assert verdicts(4) == {"ETHUSDT": Refusal.TOO_YOUNG, "XRPUSDT": Refusal.TOO_YOUNG}
    assert verdicts(9) == {"ETHUSDT": Refusal.NONE, "XRPUSDT": Refusal.NONE}
    assert verdicts(20) == {"ETHUSDT": Refusal.NO_DATA, "XRPUSDT": Refusal.NONE}
    listings = {"XRPUSDT": [Listing(start, "TRADING", start - 900 * day, 0)]}
    listings["XRPUSDT"].append(Listing(start + 8 * day, "SETTLING", start - 900 * day, 0))
    assert verdicts(4, listings=listings)["XRPUSDT"] is Refusal.NONE
    assert verdicts(9, listings=listings)["XRPUSDT"] is Refusal.STATUS
    wide = UniverseFilter(min_age_days=5, max_spread_bps=5)
    at = start + 9 * day
    found = {m.symbol: m.refusal for m in universe(point_in_time, at, wide, spreads_bps={"XRPUSDT": 9.0})}
    assert found == {"ETHUSDT": Refusal.SPREAD_UNKNOWN, "XRPUSDT": Refusal.SPREAD}
    rich = UniverseFilter(min_age_days=5, min_daily_turnover=1e15)
    assert {m.refusal for m in universe(point_in_time, at, rich)} == {Refusal.VOLUME}


def test_conflicting_rows_are_kept_with_their_source(write_csv, tmp_path):
    table = rows(200)
    other = [*table[100][:5], "1.0"]
    path = write_csv([*table[:101], other, *table[101:]], "XRPUSDT-15m.csv", HEADER)
    kept = quarantine_file(path, tmp_path / "quarantine")
    assert kept is not None
    lines = kept.read_text().splitlines()
    assert len(lines) == 3
    assert all(str(path) in line for line in lines[1:])
    assert quarantine_file(write_csv(table, "clean.csv", HEADER), tmp_path / "quarantine") is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", b"PK\x03\x04 cut"),
        ("a.csv.gz", gzip.compress(b"open_time,open\n" * 5000, mtime=0)[:60]),
        ("a.csv", b""),
        ("a.parquet", b"PAR1 nothing"),
        ("a.csv", b"1,2,3,4\n5,6,7,8\n"),
        ("a.csv", b"date,open,high,low,close,volume\nyesterday,1,1,1,1,1\n"),
    ],
    # Ids made from the content would differ between processes, and xdist would collect different tests.
    ids=["cut zip", "cut gzip", "empty", "no parquet", "four columns", "words for times"],
)
def test_damaged_files_are_a_finding_not_a_crash(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    report, _ = verify_file(path)
    assert [(f.kind, f.severity) for f in report.findings] == [(Kind.UNREADABLE, Severity.ERROR)]


def test_feather_and_parquet_are_read(tmp_path):
    import pandas as pd

    table = [[float(x) for x in row] for row in rows(300)]
    frame = pd.DataFrame(table, columns=["date", "open", "high", "low", "close", "volume"])
    frame["date"] = pd.to_datetime(frame["date"], unit="ms", utc=True)
    frame["oi_change"] = 0.0
    frame.to_feather(tmp_path / "XRP_USDT_USDT-15m-futures.feather")
    frame.set_index("date").to_parquet(tmp_path / "xrpusdt_combined_15m.parquet")
    for path in sorted(tmp_path.iterdir()):
        report, kind = verify_file(path)
        assert (kind, report.symbol, report.interval, report.rows) == ("bars", "XRPUSDT", "15m", 300)
        assert {f.kind for f in report.findings} == {Kind.CONSTANT_COLUMN}


def test_the_survey_replaces_its_part_of_a_page_only(tmp_path, write_csv):
    (tmp_path / "data").mkdir()
    write_csv(rows(300), "data/XRPUSDT-15m.csv", HEADER)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- survey: begin -->\nold\n<!-- survey: end -->\nafter\n")
    assert survey.main(["--data", str(tmp_path / "data"), "--out", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| `XRPUSDT-15m.csv` | bars | 300 | none |" in text
    assert "old" not in text


def real_rows(data: Path, interval: str, symbol: str) -> Rows:
    from catalog.quality.files import read_raw

    return read_raw(data / f"um_klines_{interval}" / f"{symbol}.csv.gz", symbol=symbol, interval=interval).rows()[0]


@pytest.mark.parametrize("data", REAL)
@pytest.mark.parametrize(("short", "long"), [("1m", "15m"), ("5m", "15m"), ("15m", "1h")])
@pytest.mark.parametrize("symbol", ["XRPUSDT", "BTCUSDT", "ETHUSDT"])
def test_real_longer_bars_equal_native_ones(data, short, long, symbol):
    parts, native = real_rows(data, short, symbol), real_rows(data, long, symbol)
    buckets = complete_buckets(parts.open_time, interval_ns(short), interval_ns(long))
    made = add_up(parts.matrix(), buckets)
    _, a, b = np.intersect1d(buckets.open_time, native.open_time, return_indices=True)
    theirs = native.matrix()[b]
    same = (made[a, :4] == theirs[:, :4]).all(axis=1) & np.isclose(made[a, 4], theirs[:, 4], rtol=1e-9, atol=1e-6)
    assert len(a) > 2_800
    days = {str(np.datetime64(int(t), "ns"))[:10] for t in buckets.open_time[a][~same]}
    assert days <= (set() if symbol == "XRPUSDT" or short == "1m" else RESTATED_DAYS)


@pytest.mark.parametrize("data", REAL)
def test_real_defects_are_named(data):
    result = {str(path): report for path, _, report in survey.survey(data)}

    def kinds(path: str) -> set[Kind]:
        return {f.kind for f in result[path].findings}

    assert Kind.CONFLICTING_DUPLICATE in kinds("um_ls_ratio_15m/XRPUSDT.csv.gz")
    ratio = result["um_ls_ratio_15m/XRPUSDT.csv.gz"].findings
    assert sum(f.count for f in ratio if f.kind is Kind.CONFLICTING_DUPLICATE) == 86
    assert sum(f.count for f in ratio if f.kind is Kind.DUPLICATE) == 5
    assert sum(f.count for f in ratio if f.kind is Kind.GAP) == 48
    assert kinds("raw/nkaz001-hftbacktest/usdm_btcusdt_20240808.gz") == {Kind.CLOCK_SKEW}
    assert Kind.RESTATED in kinds("raw/freqtrade-testdata/futures-um-klines-BTCUSDT-1h-2024-10-28.zip")
    assert {Kind.GAP, Kind.CLOSE_TIME, Kind.OTHER_MARKET} <= kinds("spot_klines_1h/BTCUSDT.csv.gz")
    assert Kind.OTHER_MARKET in kinds("spot_klines_15m/XRPUSDT.csv.gz")
    assert Kind.OUTAGE in kinds("um_klines_15m/BTCUSDT.csv.gz")
    gaps = result["raw/crayonding-kaggle_oi/BTCUSDT_open_interest_5m.csv"].findings
    assert [(f.kind, f.count) for f in gaps] == [(Kind.GAP, 1), (Kind.GAP, 3)]
    assert kinds("um_klines_15m/XRPUSDT.csv.gz") == set()
    assert all(not result[f"um_klines_1m/{s}.csv.gz"].findings for s in ("XRPUSDT", "BTCUSDT", "ETHUSDT"))
    assert all(not result[f"um_funding/{s}.csv.gz"].findings for s in ("XRPUSDT", "BTCUSDT", "ETHUSDT"))


def test_the_survey_gives_every_finding_as_json(write_csv, tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    table = rows(960)
    write_csv(table[:500] + table[510:], "data/XRPUSDT-15m.csv", HEADER)
    write_csv(rows(96), "data/XRPUSDT-15m-clean.csv", HEADER)
    (folder / "empty.csv").write_text("")
    target = tmp_path / "survey.json"
    assert survey.main(["--data", str(folder), "--json", str(target)]) == 0
    assert "| `XRPUSDT-15m.csv` |" in capsys.readouterr().out
    document = json.loads(target.read_text())
    files = {entry["file"]: entry for entry in document["files"]}
    assert sorted(files) == ["XRPUSDT-15m-clean.csv", "XRPUSDT-15m.csv", "empty.csv"]
    assert [(f["kind"], f["count"]) for f in files["XRPUSDT-15m.csv"]["findings"]] == [("gap", 10)]
    assert files["XRPUSDT-15m-clean.csv"]["findings"] == []
    assert files["empty.csv"]["findings"][0]["kind"] == "unreadable"
    assert document["counts"]["gap"] == 1
    assert survey.main(["--data", str(folder), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == document
