"""Every kind of defect is planted in clean rows and found under its name; clean rows give none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.quality.findings import Kind, Severity, Where, scores
from catalog.quality.inspection import inspect, inspect_funding, inspect_values
from catalog.quality.resampling import add_up, complete_buckets
from catalog.quality.row_checks import check_clock, to_ns
from catalog.quality.rows import Context, Reference, Rows

STEP = 900_000_000_000
START = 1_741_132_800_000_000_000  # 2025-03-05T00:00:00Z
HOUR, DAY = 4 * STEP, 96 * STEP
COUNT = 960
WHERE = Where("XRPUSDT", "15m", "test")


def market(seed: int = 1, count: int = COUNT, step: int = STEP) -> Rows:
    """Return a clean market: a random walk on a tick of 0.0001 without pauses."""
    source = np.random.default_rng(seed)
    steps = source.normal(0, 0.002, count)
    close = np.round(2.4 * np.exp(np.cumsum(steps)), 4)
    opened = np.concatenate([[2.4], close[:-1]])
    high = np.round(np.maximum(opened, close) * (1 + np.abs(source.normal(0, 0.001, count))), 4)
    low = np.round(np.minimum(opened, close) * (1 - np.abs(source.normal(0, 0.001, count))), 4)
    volume = np.round(1e6 * np.exp(source.normal(0, 0.4, count)), 1)
    return Rows(
        START + step * np.arange(count),
        opened,
        np.maximum.reduce([high, opened, close]),
        np.minimum.reduce([low, opened, close]),
        close,
        volume,
    )


def changed(rows: Rows, row: int | slice | np.ndarray, **columns: float | np.ndarray) -> Rows:
    copies = {n: getattr(rows, n).copy() for n in ("open_time", "open", "high", "low", "close", "volume")}
    for name, value in columns.items():
        copies[name][row] = value
    return Rows(**copies)


def kinds(rows: Rows, **context) -> set[Kind]:
    return {f.kind for f in inspect(rows, Context(symbol="XRPUSDT", interval="15m", source="test", **context))}


def joined(*parts: Rows) -> Rows:
    names = ("open_time", "open", "high", "low", "close", "volume")
    return Rows(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_clean_rows_give_no_finding(seed):
    rows, peer = market(seed), market(seed + 1)
    reference = Reference(name="twin", interval="15m", bars=rows)
    assert kinds(rows, peers={"BTCUSDT": peer}, references=(reference,), now_ns=START + COUNT * STEP) == set()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), row=st.integers(100, 800))
def test_each_planted_defect_is_found_by_its_kind(seed, row):
    rows = market(seed)
    keep = np.ones(COUNT, dtype=bool)
    keep[row] = False
    assert kinds(rows.take(keep)) == {Kind.GAP}
    twice = rows.take(np.sort(np.append(np.arange(COUNT), row)))
    assert kinds(twice) == {Kind.DUPLICATE}
    assert Kind.CONFLICTING_DUPLICATE in kinds(changed(twice, row + 1, volume=1.0))
    assert Kind.OUT_OF_ORDER in kinds(rows.take(np.r_[0:row, row + 1, row, row + 2 : COUNT]))
    assert kinds(changed(rows, row, high=rows.low[row] * 0.999)) & {Kind.OHLC_RULE}
    assert kinds(changed(rows, row, low=rows.high[row] * 1.001)) & {Kind.OHLC_RULE}
    assert Kind.OHLC_RULE in kinds(changed(rows, row, low=-1.0))
    assert Kind.VOLUME_RULE in kinds(changed(rows, row, volume=-1.0))
    assert Kind.NOT_A_NUMBER in kinds(changed(rows, row, close=np.nan))
    assert Kind.TIME_JITTER in kinds(changed(rows, row, open_time=rows.open_time[row] + 7_000_000))
    assert Kind.OFF_GRID in kinds(changed(rows, row, open_time=rows.open_time[row] + 300_000_000_000))
    spike = rows.close[row] * 10
    assert Kind.OUTLIER in kinds(changed(rows, row, close=spike, high=spike))
    assert Kind.OUTLIER in kinds(changed(rows, row, low=rows.low[row] * 0.5))
    frozen = {n: getattr(rows, n)[row] for n in ("open", "high", "low", "close", "volume")}
    assert Kind.STALE_PRICE in kinds(changed(rows, slice(row, row + 4), **frozen))
    flat = dict.fromkeys(("open", "high", "low", "close"), rows.close[row - 1])
    silent = changed(rows, slice(row, row + 4), volume=0.0, **flat)
    assert Kind.ZERO_VOLUME in kinds(silent)
    assert Kind.OUTAGE in kinds(silent, peers={"B": silent, "E": silent})
    assert Kind.DEAD_MARKET in kinds(silent, peers={"B": market(seed + 1), "E": market(seed + 2)})
    assert Kind.CONSTANT_COLUMN in kinds(
        Rows(**{n: getattr(rows, n) for n in frozen}, open_time=rows.open_time, extra={"oi_change": np.zeros(COUNT)})
    )
    assert Kind.EMPTY_COLUMN in kinds(
        Rows(**{n: getattr(rows, n) for n in frozen}, open_time=rows.open_time, extra={"count": np.full(COUNT, np.nan)})
    )
    taker = Rows(
        **{n: getattr(rows, n) for n in frozen},
        open_time=rows.open_time,
        extra={"taker_buy_volume": rows.volume * np.where(np.arange(COUNT) == row, 1.1, 0.5)},
    )
    assert kinds(taker) == {Kind.VOLUME_RULE}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), row=st.integers(200, 700))
def test_comparison_names_cut_restated_switched_and_shifted_rows(seed, row):
    rows = market(seed)
    twin = (Reference(name="twin", interval="15m", bars=rows),)
    middle = (rows.open[row] + rows.close[row]) / 2
    cut = changed(
        rows,
        row,
        volume=rows.volume[row] / 100,
        close=middle,
        high=max(rows.open[row], middle),
        low=min(rows.open[row], middle),
    )
    found = inspect(cut, Context(symbol="X", interval="15m", source="t", references=twin))
    assert Kind.UNFINISHED in {f.kind for f in found}
    assert all(f.first == rows.open_time[row] for f in found)
    assert Kind.RESTATED in kinds(changed(rows, row, volume=rows.volume[row] * 1.5), references=twin)
    tail = np.arange(COUNT) >= row
    spot = changed(
        rows,
        tail,
        open=rows.open[tail] * 1.0005,
        high=rows.high[tail] * 1.0005,
        low=rows.low[tail] * 1.0005,
        close=rows.close[tail] * 1.0005,
        volume=rows.volume[tail] / 6,
    )
    switched = [
        f
        for f in inspect(spot, Context(symbol="X", interval="15m", source="t", references=twin))
        if f.kind is Kind.MARKET_SWITCH
    ]
    assert [f.first for f in switched] == [rows.open_time[row]]
    assert switched[0].severity is Severity.ERROR
    other = changed(rows, slice(None), volume=rows.volume / 6, close=rows.close)
    assert Kind.OTHER_MARKET in kinds(other, references=twin)
    moved = changed(rows, slice(None), open_time=rows.open_time + 9 * HOUR)
    assert Kind.TIMEZONE in kinds(moved, references=twin)


def test_a_coarser_series_is_held_to_its_parts():
    rows = market(3)
    buckets = complete_buckets(rows.open_time, STEP, HOUR)
    matrix = add_up(rows.matrix(), buckets)
    hours = Rows(buckets.open_time, *(matrix[:, i] for i in range(5)))
    context = {"symbol": "X", "interval": "1h", "source": "t"}
    reference = (Reference(name="15m", interval="15m", bars=rows),)
    assert inspect(hours, Context(**context, references=reference)) == []
    worse = changed(hours, 100, volume=hours.volume[100] / 2)
    found = inspect(worse, Context(**context, references=reference))
    assert [(f.kind, f.first) for f in found] == [(Kind.UNFINISHED, int(hours.open_time[100]))]


def test_a_change_of_digits_is_a_change_of_market():
    rows = market(5)
    tail = np.arange(COUNT) >= 500
    finer = changed(rows, tail, volume=rows.volume[tail] + 0.00123)
    found = [f for f in inspect(finer, Context(symbol="X", interval="15m", source="t")) if f.kind is Kind.MARKET_SWITCH]
    assert [f.first for f in found] == [rows.open_time[500]]


def test_unfinished_by_the_clock_and_by_its_shape():
    rows = market(7)
    now = int(rows.open_time[-1]) + STEP - 1
    assert kinds(rows, now_ns=now) == {Kind.UNFINISHED}
    assert kinds(rows, now_ns=now + 1) == set()
    last = changed(rows, -1, volume=3.0)
    assert Kind.UNFINISHED in kinds(last)
    jumpy = changed(rows, 400, volume=700.0, close=rows.open[400] * 1.012, high=rows.open[400] * 1.012)
    found = inspect(jumpy, Context(symbol="X", interval="15m", source="t"))
    assert (Kind.UNFINISHED, rows.open_time[400]) in {(f.kind, f.first) for f in found}


def test_market_wide_moves_are_no_misprints():
    rows, peer = market(1), market(2)
    crash = {"low": 0.5, "close": 0.5}
    ours = changed(rows, 500, **{n: getattr(rows, n)[500] * v for n, v in crash.items()})
    theirs = changed(peer, 500, **{n: getattr(peer, n)[500] * v for n, v in crash.items()})
    alone = inspect(ours, Context(symbol="X", interval="15m", source="t", peers={"B": peer}))
    together = inspect(ours, Context(symbol="X", interval="15m", source="t", peers={"B": theirs}))
    assert (Kind.OUTLIER, Severity.ERROR) in {(f.kind, f.severity) for f in alone}
    assert {f.kind for f in together if f.kind in (Kind.OUTLIER, Kind.MARKET_MOVE)} == {Kind.MARKET_MOVE}


@pytest.mark.parametrize(("unit", "nanos"), [("s", 10**9), ("us", 1_000), ("ns", 1)])
def test_units_are_told(unit, nanos):
    time, findings = to_ns(market().open_time // nanos, WHERE)
    assert (time == market().open_time).all()
    assert [(f.kind, f.severity) for f in findings] == [(Kind.WRONG_UNIT, Severity.INFO)]
    mixed = market().open_time // 1_000_000
    mixed[500:] *= 1_000
    time, findings = to_ns(mixed, WHERE)
    assert (Kind.WRONG_UNIT, Severity.ERROR) in {(f.kind, f.severity) for f in findings}
    wrong = Rows(market().open_time // 1_000, *(market().matrix()[:, i] for i in range(5)))
    assert kinds(wrong) == {Kind.WRONG_UNIT}


def test_time_zone_of_daily_bars_and_funding():
    days = market(1, 100, DAY)
    shifted = changed(days, slice(None), open_time=days.open_time + 9 * HOUR)
    found = inspect(shifted, Context(symbol="X", interval="1d", source="t"))
    assert [f.kind for f in found] == [Kind.TIMEZONE]
    time = START + 8 * HOUR * np.arange(90)
    rate = np.linspace(-0.001, 0.001, 90)
    assert inspect_funding(time, rate, WHERE) == []
    assert {f.kind for f in inspect_funding(time + 3 * HOUR, rate, WHERE)} == {Kind.TIMEZONE}
    assert {f.kind for f in inspect_funding(time + 5_000_000, rate, WHERE)} == {Kind.TIME_JITTER}
    assert {f.kind for f in inspect_funding(np.delete(time, 4), np.delete(rate, 4), WHERE)} == {Kind.GAP}
    rate[5] = 0.5
    assert {f.kind for f in inspect_funding(time, rate, WHERE)} == {Kind.OUTLIER}


def test_delisted_symbols():
    rows = market(1)
    tail = np.arange(COUNT) >= 700
    flat = dict.fromkeys(("open", "high", "low", "close"), rows.close[699])
    silent = changed(rows, tail, volume=0.0, **flat)
    assert Kind.DELISTED in kinds(silent, peers={"B": market(2)})
    assert Kind.DELISTED in kinds(rows, status="SETTLING")
    assert Kind.DELISTED in kinds(rows, delivery_ns=START + 700 * STEP)


def test_figures():
    time = START + 5 * 60_000_000_000 * np.arange(500)
    source = np.random.default_rng(4)
    interest = 1e5 * np.exp(np.cumsum(source.normal(0, 1e-3, 500)))
    assert inspect_values(time, {"oi": interest}, WHERE) == []
    worse = interest.copy()
    worse[100], worse[300] = np.nan, interest[300] * 10
    found = {f.kind for f in inspect_values(np.delete(time, 50), {"oi": np.delete(worse, 50)}, WHERE)}
    assert found == {Kind.GAP, Kind.NOT_A_NUMBER, Kind.OUTLIER}
    empty = inspect_values(time, {"oi": interest, "ratio": np.full(500, np.nan)}, WHERE)
    assert [f.kind for f in empty] == [Kind.EMPTY_COLUMN]


def test_clock_skew():
    event = START + 50_000_000 * np.arange(1_000)
    late = 20_000_000 + np.random.default_rng(1).integers(0, 50_000_000, 1_000)
    assert check_clock(event, event + late, WHERE) == []
    found = check_clock(event, event + late - 1_270_000_000, WHERE)
    assert [f.kind for f in found] == [Kind.CLOCK_SKEW]
    assert "behind" in found[0].message
    assert [f.kind for f in check_clock(event, event + 2_000_000_000, WHERE)] == [Kind.CLOCK_SKEW]


def test_scores_lose_on_the_day_of_the_defect_only():
    rows = market(1)
    context = Context(symbol="X", interval="15m", source="t")
    findings = inspect(changed(rows, 300, high=rows.low[300] * 0.99), context)
    result = scores(rows.open_time, STEP, findings)
    assert len(result) == 10
    assert {day for day, score in result.items() if score < 100} == {"2025-03-08"}
