"""Joining bars of several symbols by time: the same rows whatever arrives first, and never a row twice."""

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.bar_sync import BarRow, BarSync

MINUTE = 60_000_000_000
SYMBOLS = ("BTC", "ETH")


def bar(close):
    return (close - 1.0, close + 2.0, close - 2.0, close, 10.0)


def feed(sync, items):
    return [row for item in items for row in sync.add(*item)]


def same(rows, others):
    assert len(rows) == len(others)
    for a, b in zip(rows, others, strict=True):
        assert a[:6] == b[:6]
        assert all(x == y or (math.isnan(x) and math.isnan(y)) for x, y in zip(a.context, b.context, strict=True))


def step(i):
    """Return the three bars that close at step `i`."""
    return [(s, i * MINUTE, bar(100.0 * n + i)) for n, s in enumerate(("XRP", *SYMBOLS), start=1)]


def test_a_row_waits_for_its_context_and_carries_it_in_configured_order():
    sync = BarSync("XRP", SYMBOLS)
    xrp, btc, eth = step(5)
    assert sync.add(*xrp) == []
    assert sync.waiting_for_context
    assert sync.add(*eth) == []
    assert sync.add(*btc) == [BarRow(5 * MINUTE, 104.0, 107.0, 103.0, 105.0, 10.0, (205.0, 305.0))]
    assert not sync.waiting_for_context
    assert sync.last_close_ns == 5 * MINUTE


def test_without_context_every_bar_is_a_row():
    sync = BarSync("XRP", ())
    rows = feed(sync, [("XRP", MINUTE, bar(1.0)), ("BTC", MINUTE, bar(2.0)), ("XRP", 2 * MINUTE, bar(3.0))])
    assert [(r.close_ns, r.context, r.complete) for r in rows] == [(MINUTE, (), True), (2 * MINUTE, (), True)]


def test_the_primary_may_be_its_own_context():
    sync = BarSync("BTC", SYMBOLS)
    assert sync.add("BTC", MINUTE, bar(7.0)) == []
    (row,) = sync.add("ETH", MINUTE, bar(8.0))
    assert row.context == (7.0, 8.0)
    assert row.close == 7.0


def test_a_row_whose_context_never_came_is_released_incomplete_when_time_moves_on():
    sync = BarSync("XRP", SYMBOLS)
    feed(sync, step(1)[:2])
    rows = feed(sync, step(2))
    assert [(r.close_ns, r.complete) for r in rows] == [(MINUTE, False), (2 * MINUTE, True)]
    assert rows[0].context[0] == 201.0
    assert math.isnan(rows[0].context[1])
    assert feed(sync, [step(1)[2]]) == [], "too late: the row is gone"


def test_the_waiting_time_ends():
    sync = BarSync("XRP", SYMBOLS)
    assert sync.release_waiting() == []
    sync.add(*step(1)[0])
    (row,) = sync.release_waiting()
    assert not row.complete
    assert sync.last_close_ns == MINUTE
    assert feed(sync, step(1)) == []


def test_reset_forgets_everything():
    sync = BarSync("XRP", SYMBOLS)
    feed(sync, [*step(1), step(2)[0]])
    sync.reset()
    assert sync.last_close_ns is None
    assert not sync.waiting_for_context
    assert [r.close_ns for r in feed(sync, step(1))] == [MINUTE]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 25))
def test_any_order_within_a_step_and_any_duplicates_give_the_same_rows(seed, count):
    rng = random.Random(seed)
    plain = [item for i in range(1, count) for item in step(i)]
    shuffled = []
    for i in range(1, count):
        items = step(i)
        rng.shuffle(items)
        shuffled += items
        if rng.random() < 0.5:
            shuffled += rng.sample(shuffled, k=min(3, len(shuffled)))  # a reconnect repeats some
    same(feed(BarSync("XRP", SYMBOLS), shuffled), feed(BarSync("XRP", SYMBOLS), plain))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_context_that_runs_ahead_is_kept_for_its_row(seed):
    rng = random.Random(seed)
    ahead = [item for i in range(1, 12) for item in step(i)[1:]]
    rng.shuffle(ahead)
    rows = feed(BarSync("XRP", SYMBOLS), [*ahead, *(step(i)[0] for i in range(1, 12))])
    same(rows, feed(BarSync("XRP", SYMBOLS), [item for i in range(1, 12) for item in step(i)]))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["XRP", "BTC", "ETH"]), st.integers(1, 12)), max_size=60))
def test_whatever_comes_rows_are_strictly_later_and_complete_only_with_all_context(arrivals):
    sync = BarSync("XRP", SYMBOLS)
    seen, rows = set(), []
    for symbol, i in arrivals:
        new = sync.add(symbol, i * MINUTE, bar(float(i)))
        if sync.last_close_ns is None or i * MINUTE > sync.last_close_ns or new:
            seen.add((symbol, i * MINUTE))
        rows += new
    closes = [r.close_ns for r in rows]
    assert closes == sorted(set(closes))
    for row in rows:
        assert ("XRP", row.close_ns) in seen
        if row.complete:
            assert row.context == (row.close, row.close)
