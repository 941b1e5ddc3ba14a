"""The catalog is made from the raw store, incrementally and repeatably; every type arrives, one-shot and in chunks."""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from nautilus_trader.backtest.config import (
    BacktestDataConfig,
    BacktestEngineConfig,
    BacktestRunConfig,
    BacktestVenueConfig,
)
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.common.actor import Actor
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.data import (
    Bar,
    BookOrder,
    DataType,
    FundingRateUpdate,
    MarkPriceUpdate,
    OrderBookDepth10,
    QuoteTick,
    TradeTick,
)
from nautilus_trader.model.enums import AggressorSide, OrderSide
from nautilus_trader.model.identifiers import ClientId, TradeId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.serialization.arrow.serializer import ArrowSerializer

from catalog import building, manifest, store
from catalog import types as own
from catalog.build import main
from catalog.ingest import main as ingest
from catalog.instruments import bar_type, instrument_id, load_instruments, to_nautilus
from catalog.quality import ingested
from catalog.raw import days as raw_days
from catalog.raw.kinds import BOOK_LEVELS, KINDS
from catalog.raw.writer import put
from catalog.verify import main as verify
from strategies.errors import DataError
from tests.catalog.market_kit import DAY_MS, START_MS, Sheet, sheet

SYMBOL, CLIENT = "XRPUSDT", "CATALOG"
DELAY_NS = 300_000_000_000
MS = 1_000_000


def bring(root: Path, folder: Path, made: Sheet, **options: bool) -> None:
    path = folder / f"{made.kind}-{len(list(folder.glob('*.gz')))}.csv.gz"
    path.write_bytes(gzip.compress(("\n".join(made.lines()) + "\n").encode()))
    put([path], root=root, kind=made.kind, symbol=SYMBOL, interval=made.interval, **options)


def tree(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*.parquet"))
    }


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


class Watcher(Actor):
    """Keeps whatever arrives."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind, self.seen = kind, []

    def on_start(self) -> None:
        name = instrument_id(SYMBOL)
        if self.kind is Bar:
            self.subscribe_bars(bar_type(SYMBOL, "1m"))
        elif self.kind is TradeTick:
            self.subscribe_trade_ticks(name)
        elif self.kind is QuoteTick:
            self.subscribe_quote_ticks(name)
        elif self.kind is OrderBookDepth10:
            self.subscribe_order_book_depth(name)
        elif self.kind is MarkPriceUpdate:
            self.subscribe_mark_prices(name)
        elif self.kind is FundingRateUpdate:
            self.subscribe_funding_rates(name)
        else:
            self.subscribe_data(DataType(self.kind), client_id=ClientId(CLIENT))

    def keep(self, data: object) -> None:
        self.seen.append(data)

    on_bar = on_trade_tick = on_quote_tick = on_order_book_depth = keep
    on_mark_price = on_funding_rate = on_data = keep


def run(catalog: Path, kind: type, chunk: int | None) -> list:
    config = BacktestRunConfig(
        engine=BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)),
        venues=[
            BacktestVenueConfig(
                name="BINANCE",
                oms_type="NETTING",
                account_type="MARGIN",
                starting_balances=["1000 USDT"],
                book_type="L2_MBP" if kind is OrderBookDepth10 else "L1_MBP",
            )
        ],
        data=[
            BacktestDataConfig(
                catalog_path=str(catalog),
                data_cls=kind,
                instrument_id=instrument_id(SYMBOL),
                bar_types=[str(bar_type(SYMBOL, "1m"))] if kind is Bar else None,
                client_id=CLIENT if kind in own.CUSTOM else None,
            )
        ],
        chunk_size=chunk,
        raise_exception=True,
        dispose_on_completion=False,
    )
    node = BacktestNode([config])
    try:
        node.build()
        engine = node.get_engine(config.id)
        if chunk is not None:
            engine.add_instrument(to_nautilus(load_instruments()[SYMBOL]))
        watcher = Watcher(kind)
        engine.add_actor(watcher)
        node.run()
        return watcher.seen
    finally:
        node.dispose()


def f(number: object) -> float:
    """Return the float nearest to a decimal; Nautilus's own conversion of its numbers is off by a digit at times."""
    return float(str(number))


def close_ns(row: list[str], minutes: int) -> int:
    return (int(row[0]) + minutes * 60_000) * MS


def expected(kind: type, made: Sheet) -> list[tuple]:
    """Return what must arrive of a sheet, from its texts: times and every value."""
    rows, at = made.rows, made.at

    def all_of(names: list[str], row: list[str]) -> tuple:
        return tuple(f(row[at(n)]) for n in names)

    if kind is Bar:
        return [(close_ns(r, 1), close_ns(r, 1), *(f(x) for x in r[1:6])) for r in rows]
    if kind is own.BarFlow:
        names = ["quote_volume", "taker_buy_volume", "taker_buy_quote_volume", "count"]
        return [(close_ns(r, 1), close_ns(r, 1), "1m", *all_of(names, r)) for r in rows]
    if kind in (MarkPriceUpdate, own.IndexPrice, own.PremiumIndex):
        return [(close_ns(r, 15), close_ns(r, 15), f(r[4])) for r in rows]
    if kind in (FundingRateUpdate, own.FundingSettlement):
        return [(int(r[0]) * MS, int(r[0]) * MS, f(r[2]), 480) for r in rows]
    time = [int(r[0]) * MS for r in rows]
    if kind is own.OpenInterest:
        return [(t, t + DELAY_NS, *all_of(made.header[1:3], r)) for t, r in zip(time, rows, strict=True)]
    if kind is own.LongShortRatios:
        return [(t, t + DELAY_NS, *all_of(made.header[-4:], r)) for t, r in zip(time, rows, strict=True)]
    if kind is own.DepthShare:
        return [(t, t, *all_of(made.header[1:4], r)) for t, r in zip(time, rows, strict=True)]
    if kind is own.Liquidation:
        return [(t, t, r[1], f(r[4]), f(r[5]), f(r[6]), f(r[9]), r[7]) for t, r in zip(time, rows, strict=True)]
    if kind is TradeTick:
        side = at("is_buyer_maker")
        taker = {"true": AggressorSide.SELLER, "false": AggressorSide.BUYER}
        return [(t, t, f(r[2]), f(r[3]), taker[r[side]], r[1]) for t, r in zip(time, rows, strict=True)]
    if kind is QuoteTick:
        known = np.maximum.accumulate([int(r[6]) * MS for r in rows]).tolist()
        return [(t, k, f(r[2]), f(r[3]), f(r[4]), f(r[5])) for t, k, r in zip(time, known, rows, strict=True)]
    assert kind is OrderBookDepth10
    return [(t, t, *(f(x) for x in r[1:])) for t, r in zip(time, rows, strict=True)]


def told(kind: type, data: object) -> tuple:
    """Return what arrived in the form of :func:`expected`."""
    stamps = (data.ts_event, data.ts_init)
    if kind in own.CUSTOM:
        assert data.instrument_id == instrument_id(SYMBOL)
    if kind is Bar:
        return (*stamps, *(f(getattr(data, n)) for n in ("open", "high", "low", "close", "volume")))
    if kind is own.BarFlow:
        names = ("quote_volume", "taker_buy_volume", "taker_buy_quote_volume", "count")
        return (*stamps, data.interval, *(getattr(data, n) for n in names))
    if kind in (MarkPriceUpdate, own.IndexPrice, own.PremiumIndex):
        return (*stamps, f(data.value))
    if kind is FundingRateUpdate:
        return (*stamps, f(data.rate), data.interval)
    if kind is TradeTick:
        return (*stamps, f(data.price), f(data.size), data.aggressor_side, data.trade_id.value)
    if kind is QuoteTick:
        return (*stamps, *(f(getattr(data, n)) for n in ("bid_price", "bid_size", "ask_price", "ask_size")))
    if kind is OrderBookDepth10:
        pairs = zip(data.asks, data.bids, strict=True)
        return (*stamps, *(f(x) for a, b in pairs for x in (a.price, a.size, b.price, b.size)))
    names = {
        own.FundingSettlement: ("rate", "interval_minutes"),
        own.OpenInterest: ("open_interest", "open_interest_value"),
        own.LongShortRatios: ("top_accounts", "top_positions", "accounts", "taker_volume"),
        own.DepthShare: ("percentage", "depth", "notional"),
        own.Liquidation: ("side", "quantity", "price", "average_price", "filled", "status"),
    }[kind]
    return (*stamps, *(getattr(data, n) for n in names))


DELIVERED = [
    (Bar, "klines"),
    (own.BarFlow, "klines"),
    (MarkPriceUpdate, "mark_klines"),
    (own.IndexPrice, "index_klines"),
    (own.PremiumIndex, "premium_klines"),
    (TradeTick, "agg_trades"),
    (TradeTick, "trades"),
    (QuoteTick, "book_ticker"),
    (OrderBookDepth10, "book_snapshots"),
    (own.DepthShare, "book_depth"),
    (own.OpenInterest, "metrics"),
    (own.LongShortRatios, "metrics"),
    (own.OpenInterest, "open_interest"),
    (own.LongShortRatios, "ratios"),
    (FundingRateUpdate, "funding"),
    (own.FundingSettlement, "funding"),
    (own.Liquidation, "liquidations"),
]
ONE_SHOT_ONLY = (FundingRateUpdate,)
"""Nautilus's reader for chunks does not know it; FundingSettlement takes its place there."""


def test_every_raw_kind_reaches_an_actor() -> None:
    assert {kind for _, kind in DELIVERED} == set(KINDS)


@pytest.mark.parametrize(("kind", "raw_kind"), DELIVERED, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_rows_arrive_one_shot_and_in_chunks(
    kind: type, raw_kind: str, raw: Path, tmp_path: Path, catalog: Path
) -> None:
    made = sheet(raw_kind, days=2)
    bring(raw, tmp_path, made)
    assert main(["--raw", str(raw), "--catalog", str(catalog)]) == 0
    want = expected(kind, made)
    for chunk in (None,) if kind in ONE_SHOT_ONLY else (None, 997):
        got = [told(kind, data) for data in run(catalog, kind, chunk)]
        assert len(got) == len(want), chunk
        assert got == want, chunk


def test_tables_are_what_nautilus_writes_of_the_same_objects(raw: Path, tmp_path: Path, catalog: Path) -> None:
    trades, quotes, books = sheet("agg_trades"), sheet("book_ticker"), sheet("book_snapshots")
    marks = sheet("mark_klines")
    for made in (trades, quotes, books, marks):
        bring(raw, tmp_path, made)
    building.build(raw, catalog)
    name = instrument_id(SYMBOL)

    def price(text: str) -> Price:
        return Price(float(text), 4)

    def size(text: str) -> Quantity:
        return Quantity(float(text), 1)

    def orders(row: list[str], side: OrderSide, at: int) -> list[BookOrder]:
        return [
            BookOrder(side, price(row[at + 4 * level]), size(row[at + 4 * level + 1]), 0)
            for level in range(BOOK_LEVELS)
        ]

    objects = {
        "trade_tick": [
            TradeTick(
                name,
                price(r[2]),
                size(r[3]),
                AggressorSide.SELLER if r[6] == "true" else AggressorSide.BUYER,
                TradeId(r[1]),
                int(r[0]) * MS,
                int(r[0]) * MS,
            )
            for r in trades.rows
        ],
        "quote_tick": [
            QuoteTick(name, price(r[2]), price(r[4]), size(r[3]), size(r[5]), e[0], e[1])
            for r, e in zip(quotes.rows, expected(QuoteTick, quotes), strict=True)
        ],
        "order_book_depths": [
            OrderBookDepth10(
                name,
                orders(r, OrderSide.BUY, 3),
                orders(r, OrderSide.SELL, 1),
                [1] * 10,
                [1] * 10,
                0,
                0,
                int(r[0]) * MS,
                int(r[0]) * MS,
            )
            for r in books.rows
        ],
        "mark_price_update": [
            MarkPriceUpdate(name, Price(float(r[4]), 8), close_ns(r, 15), close_ns(r, 15)) for r in marks.rows
        ],
    }
    for kind, made in objects.items():
        theirs = ArrowSerializer.serialize_batch(made, type(made[0]))
        ours = store.read_table(catalog, kind, str(name))
        assert ours.equals(theirs), kind
        assert ours.schema.metadata == theirs.schema.metadata, kind


def test_bars_and_funding_are_the_same_bytes_as_ingested(raw: Path, tmp_path: Path, catalog: Path) -> None:
    for kind, arguments in (("klines", ["--interval", "1m"]), ("funding", [])):
        made = sheet(kind, days=12)
        bring(raw, tmp_path, made)
        path = tmp_path / f"{kind}.csv"
        path.write_text("\n".join(made.lines()) + "\n")
        alone = ["--catalog", str(catalog), "--cache-only"]
        assert ingest([kind, "--symbol", SYMBOL, "--from", str(path), *alone, *arguments]) == 0
    built = tmp_path / "built"
    building.build(raw, built)
    ours = {name: digest for name, digest in tree(built / "data").items() if not name.startswith("custom_")}
    assert ours == tree(catalog / "data")
    assert [done.others for done in building.build(raw, catalog)] == [0, 0]
    assert tree(catalog / "data") == tree(built / "data")
    assert manifest.read(catalog) == manifest.read(built)


def test_only_changed_days_are_made_again_and_a_rebuild_is_the_same(raw: Path, tmp_path: Path, catalog: Path) -> None:
    every = ("klines", "agg_trades", "metrics", "funding", "book_ticker")
    for kind in every:
        bring(raw, tmp_path, sheet(kind, days=3))
    first = {done.key: done for done in building.build(raw, catalog)}
    assert all(done.made and not done.refused for done in first.values())
    before = tree(catalog)
    stamps = {p: p.stat().st_mtime_ns for p in catalog.rglob("*.parquet")}
    again = building.build(raw, catalog)
    assert not any(done.stale for done in again)
    assert {p: p.stat().st_mtime_ns for p in catalog.rglob("*.parquet")} == stamps
    later = sheet("agg_trades", seed=2, start_ms=START_MS + DAY_MS)
    bring(raw, tmp_path, later, replace=True)
    (changed,) = [done for done in building.build(raw, catalog) if done.stale]
    assert (changed.key, changed.made, changed.fresh) == ("agg_trades/XRPUSDT", ["2025-03-06"], 2)
    after = tree(catalog)
    assert len(set(after.items()) - set(before.items())) == 1
    assert len(after) == len(before)
    shutil.rmtree(catalog)
    building.build(raw, catalog)
    assert tree(catalog) == after
    assert main(["--raw", str(raw), "--catalog", str(catalog), "--check", "--thorough"]) == 0


def test_check_says_what_is_stale(raw: Path, tmp_path: Path, catalog: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("klines", "agg_trades"):
        bring(raw, tmp_path, sheet(kind, days=2))
    check = ["--raw", str(raw), "--catalog", str(catalog), "--check"]
    assert main(check) == 1
    building.build(raw, catalog)
    assert main(check) == 0
    (bars,) = (catalog / "data" / store.BARS).rglob("*.parquet")
    content = bars.read_bytes()
    bars.write_bytes(content[:-9] + b"x" + content[-8:])
    assert main(check) == 0  # same size: found by reading only
    capsys.readouterr()
    assert main([*check, "--thorough", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [s["key"] for s in document["series"] if s["made"]] == ["klines/XRPUSDT/1m"]
    bars.unlink()
    shutil.rmtree(raw / "agg_trades")
    assert main(check) == 1
    text = capsys.readouterr().out
    assert "klines/XRPUSDT/1m: 2 days stale" in text
    assert "agg_trades/XRPUSDT" in text
    building.build(raw, catalog)
    assert main(check) == 0
    assert not (catalog / "data" / "trade_tick").exists() or not list(
        (catalog / "data" / "trade_tick").rglob("*.parquet")
    )


def test_rows_that_only_the_catalog_has_stay_and_contradictions_refuse(
    raw: Path, tmp_path: Path, catalog: Path
) -> None:
    made = sheet("klines", days=2)
    path = tmp_path / "a.csv"
    path.write_text("\n".join(made.lines()) + "\n")
    arguments = ["klines", "--symbol", SYMBOL, "--interval", "1m", "--from", str(path), "--catalog", str(catalog)]
    ingest([*arguments, "--cache-only"])
    half = made.copy()
    half.rows = half.rows[700:2000]
    bring(raw, tmp_path, half)
    before = tree(catalog / "data" / store.BARS)
    (done,) = building.build(raw, catalog)
    assert (done.others, done.refused) == (2880 - 1300, "")
    assert tree(catalog / "data" / store.BARS) == before
    assert manifest.dataset_hash(catalog, (SYMBOL,), "1m") == ""
    other = made.copy()
    other.rows[900][5] = "1000000.0"
    bring(raw, tmp_path, other, replace=True)
    (done,) = building.build(raw, catalog)
    assert "1 rows of klines/XRPUSDT/1m contradict the raw store, first 2025-03-05T15:00:00Z" in done.refused
    assert tree(catalog / "data" / store.BARS) == before
    (done,) = building.build(raw, catalog, replace=True)
    assert (done.others, done.refused) == (0, "")
    assert tree(catalog / "data" / store.BARS) != before
    assert len(manifest.dataset_hash(catalog, (SYMBOL,), "1m")) == 64


def test_better_kinds_win_day_by_day(raw: Path, tmp_path: Path, catalog: Path) -> None:
    singles = sheet("trades", days=3)
    bring(raw, tmp_path, singles)
    building.build(raw, catalog)
    left = sum((int(time) - START_MS) // DAY_MS != 1 for time in singles.column("time"))
    bring(raw, tmp_path, sheet("agg_trades", days=1, start_ms=START_MS + DAY_MS))
    done = {d.key: d for d in building.build(raw, catalog)}
    assert done["trades/XRPUSDT"].removed == ["2025-03-06"]
    seen: dict[str, int] = defaultdict(int)
    for data in run(catalog, TradeTick, None):
        seen["single" if int(data.trade_id.value) >= 900_000 else "aggregate"] += 1
    assert seen == {"single": left, "aggregate": 3_000}
    assert main(["--raw", str(raw), "--catalog", str(catalog), "--check", "--thorough"]) == 0


def test_a_row_that_does_not_fit_refuses_its_series_alone(
    raw: Path, tmp_path: Path, catalog: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spot = sheet("agg_trades")
    spot.rows[1_234][2] = "2.45001"
    bring(raw, tmp_path, spot)
    bring(raw, tmp_path, sheet("klines"))
    with pytest.raises(DataError, match=r"agg_trades/XRPUSDT: .*row 1235: price: 2\.45001 does not fit XRPUSDT"):
        main(["--raw", str(raw), "--catalog", str(catalog)])
    assert "klines/XRPUSDT/1m: 1 days built" in capsys.readouterr().out
    assert not (catalog / "data" / "trade_tick").exists()
    assert not (catalog / ".staging").exists()
    (day,) = raw_days.days(raw, "klines", SYMBOL, "1m")
    day.path.write_bytes(day.path.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged"):
        main(["--raw", str(raw), "--catalog", str(catalog)])


_DIES = """
import os, sys
from catalog import store
from catalog.build import main
real, count = store.exchange, [0]
def exchange(*given):
    count[0] += 1
    if count[0] == int(sys.argv[1]):
        os._exit(9)
    real(*given)
store.exchange = exchange
main(sys.argv[2:])
"""


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_killed_between_series_the_next_run_completes(step: int, raw: Path, tmp_path: Path, catalog: Path) -> None:
    for kind in ("klines", "agg_trades", "metrics"):
        bring(raw, tmp_path, sheet(kind, days=2))
    building.build(raw, tmp_path / "whole")
    given = [str(step), "--raw", str(raw), "--catalog", str(catalog)]
    done = subprocess.run([sys.executable, "-c", _DIES, *given], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 9
    building.build(raw, catalog)
    assert tree(catalog) == tree(tmp_path / "whole")
    assert manifest.read(catalog) == manifest.read(tmp_path / "whole")


def test_no_raw_store_and_unknown_kind_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no raw store: bring data with"):
        main(["--raw", str(tmp_path / "no"), "--catalog", str(tmp_path / "c")])
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match="--kind candles: not a data type"):
        main(["--raw", str(tmp_path / "raw"), "--catalog", str(tmp_path / "c"), "--kind", "candles"])


def test_the_raw_store_is_verified_in_every_kind(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in KINDS:
        made = sheet(kind, days=2)
        bring(raw, tmp_path, made)
    assert verify(["--raw", str(raw), "--json", "-"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert len(document["series"]) == len(KINDS)
    clean = {s["interval"]: s for s in document["series"]}
    strangers = [f for name, s in clean.items() if name not in ("agg_trades", "trades") for f in s["findings"]]
    assert not strangers  # of trades, the candles of the kit are another market: that is told
    assert {f["kind"] for n in ("agg_trades", "trades") for f in clean[n]["findings"]} == {"other_market"}
    days = raw_days.days(raw, "book_ticker", SYMBOL)
    days[1].path.write_bytes(days[0].path.read_bytes())
    lost = sheet("metrics", days=3)
    lost.rows = lost.rows[576:676] + lost.rows[686:]
    bring(raw, tmp_path, lost)
    assert verify(["--raw", str(raw), "--kind", "metrics", "book_ticker", "--json", "-"]) == 1
    series = {s["interval"]: s for s in json.loads(capsys.readouterr().out)["series"]}
    assert {f["kind"] for f in series["metrics"]["findings"]} == {"gap"}
    assert "out_of_order" in {f["kind"] for f in series["book_ticker"]["findings"]}
    days[1].path.write_bytes(days[1].path.read_bytes()[:-50])
    with pytest.raises(DataError, match="damaged"):
        verify(["--raw", str(raw), "--kind", "book_ticker"])
    with pytest.raises(DataError, match="none of the series asked for; it holds"):
        verify(["--raw", str(raw), "--symbol", "NOUSDT"])


def test_what_ingestion_finds_is_told_and_kept(
    tmp_path: Path, catalog: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = sheet("klines", days=2)
    hole = [f"{int(r[0])}" for r in made.rows[2_000:2_030]]
    made.rows = made.rows[:2_000] + made.rows[2_030:]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(made.lines()) + "\n")
    arguments = ["klines", "--symbol", SYMBOL, "--interval", "1m", "--from", str(path), "--catalog", str(catalog)]
    assert ingest(arguments) == 0
    at = str(np.datetime64(int(hole[0]), "ms").astype("datetime64[s]")) + "Z"
    assert f"quality: gap {at} (30)" in capsys.readouterr().out
    kept = ingested.read(catalog, SYMBOL, "1m")
    assert list(kept) == ["2025-03-05", "2025-03-06"]
    assert (kept["2025-03-05"]["score"], kept["2025-03-05"]["findings"]) == (100.0, [])
    assert [f["kind"] for f in kept["2025-03-06"]["findings"]] == ["gap"]
    assert 80 < kept["2025-03-06"]["score"] < 100


def test_what_ingestion_finds_in_funding_is_told_and_kept(
    tmp_path: Path, catalog: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eight = 8 * 3_600_000
    lines = [f"{1_741_132_800_000 + i * eight},8,0.0001{i:04d}" for i in range(12) if i not in (4, 5)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["calc_time,funding_interval_hours,last_funding_rate", *lines]) + "\n")
    arguments = ["funding", "--symbol", SYMBOL, "--from", str(path), "--catalog", str(catalog)]
    assert ingest([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [text.split(":")[0] for text in report["findings"]] == ["gap 2025-03-06T08"]
    assert report["score"] == 75.0  # of one day in four, two of three settlements are missing
    kept = ingested.read(catalog, SYMBOL, "funding")
    assert list(kept) == [f"2025-03-0{day}" for day in range(5, 9)]
    assert [(f["kind"], f["count"]) for f in kept["2025-03-06"]["findings"]] == [("gap", 2)]
    assert kept["2025-03-05"] == {"score": 100.0, "findings": []}


def test_bars_without_the_figures_of_turnover_are_no_defect_of_a_raw_day(raw: Path, tmp_path: Path) -> None:
    made = sheet("klines", days=1)
    path = tmp_path / "six.csv"
    path.write_text("".join(f"{','.join(map(str, row[:6]))}\n" for row in made.rows))
    report = put([path], root=raw, kind="klines", symbol=SYMBOL, interval="1m")
    assert (report.findings, list(report.scores.values())) == ([], [100.0])
