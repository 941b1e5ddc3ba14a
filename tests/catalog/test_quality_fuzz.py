"""Every defect class planted in clean files of every kind is found by its name at its place; clean files give none."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from catalog.instruments import interval_ns
from catalog.quality.findings import Finding, Kind, Severity
from catalog.quality.kinds import bars_of_trades
from catalog.quality.rows import Reference, Rows
from catalog.quality.series import verify_file
from catalog.raw.kinds import KINDS
from tests.catalog.market_kit import DAY_MS, HOUR_MS, MINUTE_MS, START_MS, Sheet, sheet

MS = 1_000_000
NAMES = {
    "klines": "XRPUSDT-1m-2025-03-05.csv",
    "mark_klines": "markPriceKlines/XRPUSDT-15m-2025-03-05.csv",
    "index_klines": "indexPriceKlines/XRPUSDT-15m-2025-03-05.csv",
    "premium_klines": "premiumIndexKlines/XRPUSDT-15m-2025-03-05.csv",
    "agg_trades": "XRPUSDT-aggTrades-2025-03-05.csv",
    "trades": "XRPUSDT-trades-2025-03-05.csv",
    "book_ticker": "XRPUSDT-bookTicker-2025-03-05.csv",
    "book_snapshots": "XRPUSDT-book_snapshots.csv",
    "book_depth": "XRPUSDT-bookDepth-2025-03-05.csv",
    "metrics": "XRPUSDT-metrics-2025-03-05.csv",
    "open_interest": "XRPUSDT-open_interest.csv",
    "ratios": "XRPUSDT-ratios.csv",
    "funding": "XRPUSDT-fundingRate-2025-03.csv",
    "liquidations": "XRPUSDT-liquidationSnapshot-2025-03-05.csv",
}
CANDLES = ("klines", "mark_klines", "index_klines", "premium_klines")
FIGURES = ("metrics", "open_interest", "ratios")
TRADES = ("agg_trades", "trades")
QUOTES = ("book_ticker", "book_snapshots")
NUMBERED = ("agg_trades", "trades", "book_ticker")
GRID = (*CANDLES, *FIGURES, "funding", "book_depth")
EVERY = tuple(NAMES)

type Planter = Callable[[Sheet, random.Random], int | None]


@dataclass(frozen=True)
class Defect:
    """What is planted, in which kinds, under which name it must be found, and which further names it may bring."""

    name: str
    kinds: tuple[str, ...]
    found_as: Kind
    plant: Planter
    also: tuple[Kind, ...] = ()


def stamp(made: Sheet, row: int) -> int:
    return int(made.rows[row][made.at(made.time)]) * MS


def somewhere(made: Sheet, source: random.Random) -> int:
    return source.randrange(len(made.rows) // 5, len(made.rows) * 4 // 5)


def level(made: Sheet) -> str:
    names = ("close", "price", "best_bid_price", "bid_price_0", "sum_open_interest", "count_long_short_ratio", "depth")
    return next(n for n in (*names, "last_funding_rate") if n in made.header)


def put(made: Sheet, row: int, name: str, value: object) -> None:
    made.rows[row][made.at(name)] = str(value)


def gap(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    if made.kind == "book_depth":
        row -= row % 10
        at = stamp(made, row)
        del made.rows[row : row + 60]
        return at
    at = stamp(made, row)
    count = source.randint(1, 5) if made.kind != "funding" else 1
    del made.rows[row : row + count]
    return at


def duplicate(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    made.rows.insert(row, list(made.rows[row]))
    return stamp(made, row)


def conflict(made: Sheet, source: random.Random) -> int:
    at = duplicate(made, source)
    row = next(i for i in range(len(made.rows) - 1) if made.rows[i] == made.rows[i + 1])
    name = "volume" if made.kind == "klines" else level(made)
    value = float(made.rows[row][made.at(name)])
    put(made, row, name, f"{value + abs(value) * 0.0004 + 1e-7:.8f}")
    if made.kind in CANDLES[1:]:
        put(made, row, "high", f"{max(float(v) for v in made.rows[row][1:5]):.8f}")
    return at


def swapped(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    if made.kind == "book_depth":
        row += 10 - row % 10
    other = row - 1
    while stamp(made, other) == stamp(made, row):
        other -= 1
    made.rows[row], made.rows[other] = made.rows[other], made.rows[row]
    return min(stamp(made, row), stamp(made, other))


def not_a_number(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    put(made, row, level(made), source.choice(["", "nan", "abc", "inf"]))
    return stamp(made, row)


def high_below(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    low = float(made.rows[row][made.at("low")])
    put(made, row, "high", f"{low - abs(low) * 0.001 - 1e-6:.8f}")
    return stamp(made, row)


def negative_price(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    put(made, row, "low" if made.kind in CANDLES else level(made), "-1.0")
    return stamp(made, row)


def taker_above(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    volume = float(made.rows[row][made.at("volume")])
    put(made, row, "taker_buy_volume", f"{volume * 1.5:.1f}")
    return stamp(made, row)


def quote_off(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    put(made, row, "quote_volume", f"{float(made.rows[row][made.at('quote_volume')]) * 1.6:.5f}")
    return stamp(made, row)


def negative_volume(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    put(made, row, "volume", "-5.0")
    return stamp(made, row)


def silent(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    before = made.rows[row - 1][made.at("close")]
    for i in range(row, row + source.randint(3, 20)):
        made.rows[i][1:] = [before] * 4 + ["0"] * 5
    return stamp(made, row)


def spike(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    if made.kind in CANDLES:
        names = ("high", "close")
    elif made.kind == "book_ticker":
        names = ("best_bid_price", "best_ask_price")
    elif made.kind == "book_snapshots":
        names = tuple(n for n in made.header if "price" in n)
    else:
        names = (level(made),)
    for name in names:
        cell = made.rows[row][made.at(name)]
        digits = len(cell.partition(".")[2])
        put(made, row, name, f"{abs(float(cell)) * 8:.{digits}f}")
    if made.kind == "premium_klines":
        put(made, row, "high", "0.30000000")
        put(made, row, "close", "0.30000000")
    if made.kind == "funding":
        put(made, row, "last_funding_rate", "0.09000000")
    return stamp(made, row)


def frozen(made: Sheet, source: random.Random) -> int:
    count = {"klines": 4}.get(made.kind, 17 if made.kind in CANDLES else 30 if made.kind in FIGURES else 260)
    row = min(somewhere(made, source), len(made.rows) - count)  # a book has too few rows for any place
    if made.kind == "book_depth":
        row -= row % 10
        for i in range(row, row + 300):
            made.rows[i][2:] = made.rows[row + (i - row) % 10][2:]
        return stamp(made, row)
    keep = {made.time, KINDS[made.kind].rising, "event_time", "first_trade_id", "last_trade_id"}
    for i in range(row, row + count):
        for name in made.header:
            if name not in keep:
                made.rows[i][made.at(name)] = made.rows[row][made.at(name)]
    return stamp(made, row + 1)


def constant(made: Sheet, source: random.Random) -> None:
    name = {"klines": "taker_buy_quote_volume", "funding": "last_funding_rate"}.get(made.kind)
    name = name or ("quantity" if made.kind in TRADES else made.header[-1])
    value = {"book_snapshots": "5.0", "is_buyer_maker": "true"}.get(
        made.kind, "0" if made.kind in FIGURES else "0.0001"
    )
    for row in made.rows:
        row[made.at(name)] = "true" if name == "is_buyer_maker" else value


def empty(made: Sheet, source: random.Random) -> None:
    name = {"klines": "count"}.get(made.kind, made.header[-1])
    for row in made.rows:
        row[made.at(name)] = ""


def jitter(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    late = source.randint(1, 400)
    put(made, row, made.time, int(made.rows[row][made.at(made.time)]) + late)
    return stamp(made, row)


def off_grid(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    put(made, row, made.time, int(made.rows[row][made.at(made.time)]) + (25_000 if made.kind == "klines" else 130_000))
    return stamp(made, row)


def other_unit(made: Sheet, source: random.Random) -> None:
    for row in made.rows[somewhere(made, source) :]:
        row[made.at(made.time)] += source.choice(["000", "000000"]) if row is made.rows[0] else "000"


def seconds_in_part(made: Sheet, source: random.Random) -> None:
    for row in made.rows[: len(made.rows) // 4]:
        row[made.at(made.time)] = row[made.at(made.time)][:-3]


def time_zone(made: Sheet, source: random.Random) -> int:
    # Backwards it would leave the day the file's name says, and be refused for that.
    hours = source.choice([1, 2, 3, 5, 6, 7]) if made.kind == "funding" else source.choice([2, 5, 8, 9])
    for row in made.rows:
        row[made.at(made.time)] = str(int(row[made.at(made.time)]) + hours * HOUR_MS)
    return stamp(made, len(made.rows) // 2)


def half_hour(made: Sheet, source: random.Random) -> int:
    for row in made.rows:
        row[made.at(made.time)] = str(int(row[made.at(made.time)]) + 5 * MINUTE_MS)
    return stamp(made, len(made.rows) // 2)


def lost_id(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    at = stamp(made, row)
    del made.rows[row : row + source.randint(1, 40)]
    return at


def crossed(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    bid, ask = ("best_bid_price", "best_ask_price") if made.kind == "book_ticker" else ("bid_price_0", "ask_price_0")
    put(made, row, bid, f"{float(made.rows[row][made.at(ask)]) + 0.0001:.4f}")
    return stamp(made, row)


def outage(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    after = stamp(made, row) // MS + 3 * HOUR_MS
    at = stamp(made, row)
    made.rows = [r for i, r in enumerate(made.rows) if i <= row or int(r[made.at(made.time)]) > after]
    return at


def skew(made: Sheet, source: random.Random) -> int:
    for row in made.rows:
        row[made.at("event_time")] = str(int(row[made.at("event_time")]) - 1_270)
    return stamp(made, len(made.rows) // 2)


def market(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    names = ("open", "high", "low", "close") if made.kind == "klines" else ("price",)
    for r in made.rows[row:]:
        for name in names:
            r[made.at(name)] = f"{float(r[made.at(name)]) * 1.0006:.4f}"
        name = "volume" if made.kind == "klines" else "quantity"
        r[made.at(name)] = f"{max(float(r[made.at(name)]) * 0.2, 0.1):.1f}"
        if made.kind == "klines":
            for name in made.header[6:]:
                r[made.at(name)] = "" if name != "count" else r[made.at(name)]
    return stamp(made, min(row + len(made.rows) // 50, len(made.rows) - 1))


def cut(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    opened = float(made.rows[row][1])
    volume = float(made.rows[row][5])
    made.rows[row][1:6] = [f"{opened:.4f}"] * 4 + [f"{volume / 50:.1f}"]
    made.rows[row][6:] = [f"{opened * volume / 50:.5f}", "3", "0.1", f"{opened / 10:.5f}"]
    return stamp(made, row)


def restated(made: Sheet, source: random.Random) -> int:
    row = somewhere(made, source)
    volume = float(made.rows[row][5])
    put(made, row, "volume", f"{volume * 1.04:.1f}")
    put(made, row, "quote_volume", f"{float(made.rows[row][6]) * 1.04:.5f}")
    return stamp(made, row)


def dead(made: Sheet, source: random.Random) -> int:
    row = len(made.rows) - 1_500
    before = made.rows[row - 1][made.at("close")]
    for r in made.rows[row:]:
        r[1:] = [before] * 4 + ["0"] * 5
    return stamp(made, row)


ODD = (
    Kind.NOT_A_NUMBER,
    Kind.OHLC_RULE,
    Kind.VOLUME_RULE,
    Kind.CROSSED_BOOK,
    Kind.OUTLIER,
    Kind.MARKET_SWITCH,
    Kind.UNFINISHED,
)
MIXED = (Kind.VOLUME_RULE, Kind.RESTATED, Kind.UNFINISHED)
NO_DEPTH = tuple(k for k in EVERY if k != "book_depth")
FILLED = ("klines", *FIGURES, *TRADES, "book_snapshots", "funding")
DEFECTS = [
    Defect("gap", GRID, Kind.GAP, gap),
    Defect("missing ids", TRADES, Kind.GAP, lost_id),
    Defect("hours missing", ("agg_trades", "trades", "book_ticker", "book_snapshots"), Kind.GAP, outage),
    Defect("duplicate", (*GRID, *NUMBERED), Kind.DUPLICATE, duplicate),
    Defect("conflicting duplicate", (*GRID, *NUMBERED), Kind.CONFLICTING_DUPLICATE, conflict, ODD),
    Defect("order", EVERY, Kind.OUT_OF_ORDER, swapped, (Kind.GAP, Kind.TIME_JITTER)),
    Defect("not a number", EVERY, Kind.NOT_A_NUMBER, not_a_number, ODD),
    Defect("high below low", CANDLES, Kind.OHLC_RULE, high_below, ODD),
    Defect("negative price", CANDLES[:3], Kind.OHLC_RULE, negative_price, ODD),
    Defect("negative price", (*TRADES, "liquidations"), Kind.BROKEN_RULE, negative_price, ODD),
    Defect("taker above volume", ("klines",), Kind.VOLUME_RULE, taker_above),
    Defect("turnover off", ("klines",), Kind.VOLUME_RULE, quote_off),
    Defect("negative volume", ("klines",), Kind.VOLUME_RULE, negative_volume),
    Defect("no volume", ("klines",), Kind.ZERO_VOLUME, silent),
    Defect("spike", NO_DEPTH, Kind.OUTLIER, spike, (Kind.UNFINISHED, Kind.VOLUME_RULE, Kind.BROKEN_RULE)),
    Defect("frozen", tuple(k for k in EVERY if k not in ("funding", "liquidations")), Kind.STALE_PRICE, frozen),
    Defect("constant column", FILLED, Kind.CONSTANT_COLUMN, constant, (Kind.STALE_PRICE, Kind.BROKEN_RULE)),
    Defect("empty column", ("klines", *FIGURES), Kind.EMPTY_COLUMN, empty),
    Defect("jitter", (*CANDLES, *FIGURES, "funding"), Kind.TIME_JITTER, jitter),
    Defect("off the grid", (*CANDLES, *FIGURES, "funding"), Kind.OFF_GRID, off_grid, (Kind.GAP, Kind.OUT_OF_ORDER)),
    Defect("ms and us", EVERY, Kind.WRONG_UNIT, other_unit),
    Defect("s and ms", EVERY, Kind.WRONG_UNIT, seconds_in_part),
    Defect("crossed", QUOTES, Kind.CROSSED_BOOK, crossed, (Kind.BROKEN_RULE,)),
    Defect("clock", ("book_ticker",), Kind.CLOCK_SKEW, skew),
    Defect("time zone", ("funding",), Kind.TIMEZONE, time_zone),
    Defect("time zone", ("mark_klines", "index_klines", "premium_klines"), Kind.OFF_GRID, half_hour),
]  # fmt: skip
REFERENCED = [
    Defect("time zone", ("klines", *TRADES), Kind.TIMEZONE, time_zone),
    Defect("futures, then spot", ("klines", *TRADES), Kind.MARKET_SWITCH, market, MIXED),
    Defect("cut candle", ("klines",), Kind.UNFINISHED, cut),
    Defect("restated", ("klines",), Kind.RESTATED, restated),
]  # fmt: skip


def seed_of(request: pytest.FixtureRequest) -> int:
    """Return a seed of the test's own, the same in every run; ``ARGONAUT_SEED`` makes others."""
    return crc32(f"{os.environ.get('ARGONAUT_SEED', '1')} {request.node.name}".encode()) % 10**6


def report(folder: Path, made: Sheet, **context: object) -> list[Finding]:
    path = folder / NAMES[made.kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(made.lines()) + "\n")
    found, _ = verify_file(path, **context)  # type: ignore[arg-type]
    return found.findings


def clean(kind: str, seed: int) -> Sheet:
    return sheet(kind, seed, days=3 if kind in ("mark_klines", "index_klines", "premium_klines") else 1)


def rows_of(made: Sheet) -> Rows:
    columns = [np.array([float(v) for v in made.column(n)]) for n in ("open", "high", "low", "close", "volume")]
    return Rows(np.array([int(v) * MS for v in made.column("open_time")]), *columns)


def reference_of(made: Sheet) -> Reference:
    if made.kind == "klines":
        return Reference(name="twin", interval="1m", bars=rows_of(made))
    time = np.array([int(v) * MS for v in made.column(made.time)])
    price, size = (np.array([float(v) for v in made.column(n)]) for n in ("price", "quantity"))
    return Reference(name="bars", interval="15m", bars=bars_of_trades(time, price, size, interval_ns("15m")))


def assert_found(defect: Defect, findings: list[Finding], at: int | None, slack: int, seed: int) -> None:
    hits = [f for f in findings if f.kind is defect.found_as]
    text = f"{defect.name}, seed {seed}: {[(f.kind.value, f.first, f.message) for f in findings]}"
    assert hits, text
    if at is not None:
        assert any(f.first is not None and f.first - slack <= at <= (f.last or 0) + slack for f in hits), (
            f"{at} in {text}"
        )
    strange = {f.kind for f in findings if f.severity is not Severity.INFO} - {defect.found_as, *defect.also}
    assert not strange, text


@pytest.mark.parametrize("kind", EVERY)
def test_clean_files_give_no_finding(kind: str, tmp_path: Path) -> None:
    for seed in range(6):
        found = report(tmp_path, clean(kind, seed))
        assert not found, f"seed {seed}: {[(f.kind.value, f.first, f.message) for f in found]}"


@pytest.mark.parametrize(
    ("defect", "kind"), [(d, k) for d in DEFECTS for k in d.kinds], ids=lambda x: getattr(x, "name", x)
)
def test_a_planted_defect_is_found_by_name_and_place(
    defect: Defect, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for number in range(2):
        seed = seed_of(request) + number
        made = clean(kind, seed)
        at = defect.plant(made, random.Random(seed))
        step = 16 * MINUTE_MS * MS if kind != "funding" else 8 * HOUR_MS * MS
        assert_found(defect, report(tmp_path, made), at, step if defect.found_as is Kind.GAP else 1_000_000_000, seed)


@pytest.mark.parametrize(
    ("defect", "kind"), [(d, k) for d in REFERENCED for k in d.kinds], ids=lambda x: getattr(x, "name", x)
)
def test_comparison_finds_what_one_file_cannot_show(
    defect: Defect, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    seed = seed_of(request)
    made = sheet(kind, seed, days=3 if kind in TRADES else 1)
    reference = reference_of(made)
    assert not report(tmp_path, made, references=(reference,)), f"seed {seed}"
    at = defect.plant(made, random.Random(seed))
    slack = 2 * HOUR_MS * MS if kind in TRADES else MINUTE_MS * MS
    assert_found(defect, report(tmp_path, made, references=(reference,)), at, slack, seed)


def test_silence_is_an_outage_a_dead_market_or_an_end(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    seed = seed_of(request)
    made, peer = sheet("klines", seed, days=2), sheet("klines", seed + 1, days=2)
    source = random.Random(seed)
    at = silent(made, source)
    quiet = [(r[0], r[5]) for r in made.rows]
    stopped = peer.copy()
    for row, (_, volume) in zip(stopped.rows, quiet, strict=True):
        row[5:] = ["0"] * 5 if volume == "0" else row[5:]
    for others, kind in ((peer, Kind.DEAD_MARKET), (stopped, Kind.OUTAGE)):
        found = report(tmp_path, made, peers={"BTCUSDT": rows_of(others)})
        assert [(f.kind, f.first) for f in found] == [(kind, at)], f"seed {seed}"
    ended = sheet("klines", seed, days=2)
    at = dead(ended, source)
    found = report(tmp_path, ended, peers={"BTCUSDT": rows_of(peer)})
    assert [(f.kind, f.first) for f in found] == [(Kind.DELISTED, at)], f"seed {seed}"


def test_a_market_is_no_mark_price(tmp_path: Path) -> None:
    folder = tmp_path / "market-data"
    folder.mkdir()
    for name, kind in (("XRPUSDT-1m.csv", "bars"), ("XRPUSDT-1m-mark.csv", "mark")):
        path = folder / name
        path.write_text("\n".join(sheet("klines").lines()) + "\n")
        assert verify_file(path)[1] == kind


def test_days_are_where_they_are_said_to_be() -> None:
    assert {len(sheet("klines", 1).rows) * MINUTE_MS, DAY_MS} == {DAY_MS}
    assert stamp(sheet("trades", 1), 0) >= START_MS * MS
    assert set(EVERY) == set(KINDS)
