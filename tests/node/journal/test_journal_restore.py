import random
from decimal import Decimal

import msgspec
import pytest

from node.journal import LATCHES, Restore, open_journal
from strategies.errors import JournalError

DAY = 86_400_000_000_000
HOUR = DAY // 24
MILLI = 1_000_000


def _write(journal, *records):
    for record in records:
        journal.record(record)
    journal.flush()


def test_an_empty_journal_restores_nothing(journal):
    restored = journal.restore(["XRPUSDT"])
    assert restored.market_time is None
    assert restored.day_start_equity is None
    assert restored.last_equity is None
    assert restored.latches == []
    symbol = restored.symbols["XRPUSDT"]
    assert (symbol.closed_pnls, symbol.position, symbol.open_fills, symbol.open_funding) == ([], "0", [], [])


def test_it_encodes_to_json_and_back(journal, make):
    _write(journal, *make.one_of_each(), make.incident("k", code="kill"))
    restored = journal.restore(["XRPUSDT", "BTCUSDT"])
    assert msgspec.json.decode(msgspec.json.encode(restored), type=Restore) == restored


# --- closed trades


def _trade(make, number, symbol="XRPUSDT", **changes):
    return make.trade(f"{symbol}/C-{number}", net_pnl=float(number), wall_time=100 + number, **changes)


def test_closed_pnls_are_the_newest_two_hundred_of_each_symbol(journal, make):
    _write(journal, *(_trade(make, number, symbol) for number in range(250) for symbol in ("XRPUSDT", "BTCUSDT")))
    restored = journal.restore(["XRPUSDT", "ETHUSDT"])
    assert restored.symbols["XRPUSDT"].closed_pnls == [float(number) for number in range(50, 250)]
    assert restored.symbols["ETHUSDT"].closed_pnls == []


@pytest.mark.parametrize(
    ("rearm", "left"),
    [
        ({"code": "rearm", "symbol": "XRPUSDT", "wall_time": 105}, [6, 7, 8, 9]),
        ({"code": "rearm", "symbol": None, "wall_time": 105}, [6, 7, 8, 9]),
        ({"code": "rearm", "symbol": "BTCUSDT", "wall_time": 105}, list(range(10))),
        ({"code": "resume", "symbol": "XRPUSDT", "wall_time": 105}, list(range(10))),
    ],
)
def test_a_rearm_starts_the_history_anew(journal, make, rearm, left):
    _write(
        journal,
        *(_trade(make, number) for number in range(10)),
        make.incident("old", code="rearm", symbol="XRPUSDT", wall_time=50),
        make.incident("new", **rearm),
    )
    assert journal.restore(["XRPUSDT"]).symbols["XRPUSDT"].closed_pnls == left


# --- open fills


def test_fills_since_flat_make_the_open_position(journal, make):
    fills = [
        make.fill("XRPUSDT/1", side="BUY", quantity="10", event_time=1),
        make.fill("XRPUSDT/2", side="SELL", quantity="10.0", event_time=2),
        make.fill("XRPUSDT/3", side="SELL", quantity="4.1", event_time=3),
        make.fill("XRPUSDT/4", side="SELL", quantity="0.2", event_time=4),
        make.fill("XRPUSDT/5", side="BUY", quantity="1", event_time=5),
        make.fill("BTCUSDT/6", side="BUY", quantity="1", event_time=6),
    ]
    _write(journal, *fills)
    symbol = journal.restore(["XRPUSDT"]).symbols["XRPUSDT"]
    assert symbol.position == "-3.3"
    assert symbol.open_fills == fills[2:5]
    assert symbol.known_fill_ids == [fill.id for fill in fills[:5]]


def test_fills_reported_late_take_their_place_in_venue_order(journal, make):
    # After a restart the entry is reported last; the same millisecond is ordered by the venue's trade number.
    _write(
        journal,
        make.fill("XRPUSDT/10", side="SELL", quantity="5", event_time=7),
        make.fill("XRPUSDT/11", side="SELL", quantity="3", event_time=7),
        make.fill("XRPUSDT/9", side="BUY", quantity="5", event_time=7),
    )
    symbol = journal.restore(["XRPUSDT"]).symbols["XRPUSDT"]
    assert symbol.position == "-3"
    assert [fill.id for fill in symbol.open_fills] == ["XRPUSDT/11"]


def test_known_fill_ids_are_bounded_but_hold_every_open_one(journal, make):
    closed = [
        make.fill(f"BTCUSDT/{number}", side=("BUY", "SELL")[number % 2], event_time=number) for number in range(5500)
    ]
    opened = [make.fill(f"XRPUSDT/{number}", event_time=number) for number in range(5200)]
    _write(journal, *closed, *opened)
    restored = journal.restore(["BTCUSDT", "XRPUSDT"]).symbols
    assert restored["BTCUSDT"].position == "0"
    assert restored["BTCUSDT"].known_fill_ids == [fill.id for fill in closed[500:]]
    assert restored["XRPUSDT"].open_fills == opened
    assert sorted(restored["XRPUSDT"].known_fill_ids) == sorted(fill.id for fill in opened)


def test_fills_before_an_adopted_position_no_longer_count(journal, make):
    fills = [
        make.fill("XRPUSDT/1", side="BUY", quantity="10", event_time=1, wall_time=1),
        make.fill("XRPUSDT/2", side="SELL", quantity="4", event_time=2, wall_time=2),
        make.fill("XRPUSDT/3", side="SELL", quantity="3", event_time=4, wall_time=4),
    ]
    _write(journal, *fills, make.incident("1", code="ledger_mismatch", symbol="BTCUSDT", wall_time=9))
    assert journal.restore(["XRPUSDT"]).symbols["XRPUSDT"].position == "3"
    _write(journal, make.incident("2", code="ledger_mismatch", symbol="XRPUSDT", wall_time=3))
    symbol = journal.restore(["XRPUSDT"]).symbols["XRPUSDT"]
    assert symbol.position == "-3"
    assert symbol.open_fills == fills[2:]
    assert symbol.known_fill_ids == [fill.id for fill in fills]


# --- verdicts


def _verdict(make, signal, gate, time, reason="passed"):
    return make.verdict(f"{signal}/{gate}", signal_id=signal, gate=gate, reason=reason, market_time=time)


def test_verdicts_since_a_day_before_the_entry(journal, make):
    _write(
        journal,
        _verdict(make, "old", "ml", DAY),
        _verdict(make, "entry", "ml", 3 * DAY),
        _verdict(make, "entry", "risk", 3 * DAY),
        _verdict(make, "later", "ml", 4 * DAY, "ml_below_threshold"),
        make.fill(event_time=3 * DAY, market_time=3 * DAY),
    )
    assert journal.restore(["XRPUSDT"]).symbols["XRPUSDT"].verdicts == {
        "entry": ["ml:passed", "risk:passed"],
        "later": ["ml:ml_below_threshold"],
    }


def test_verdicts_when_flat_are_the_newest(journal, make):
    _write(journal, *(_verdict(make, f"s{number}", "risk", number) for number in range(60)))
    verdicts = journal.restore(["XRPUSDT", "BTCUSDT"]).symbols
    assert list(verdicts["XRPUSDT"].verdicts) == [f"s{number}" for number in range(10, 60)]
    assert verdicts["BTCUSDT"].verdicts == {}


def test_random_histories_match_a_plain_count(tmp_path, make, seed):
    chance = random.Random(seed)
    journal = open_journal(f"sqlite:///{tmp_path}/journal.sqlite")
    symbols = ["XRPUSDT", "BTCUSDT", "ETHUSDT"]
    history = {symbol: [] for symbol in symbols}
    for number in range(600):
        symbol = chance.choice(symbols)
        side = chance.choice(["BUY", "SELL"])
        quantity = f"{chance.randrange(1, 4) / 10:.1f}"
        fill = make.fill(f"{symbol}/{number}", side=side, quantity=quantity, event_time=number)
        history[symbol].append(fill)
        journal.record(fill)
        if number % 20 == 0:
            journal.flush()
            restored = journal.restore(symbols).symbols
            for name, fills in history.items():
                sizes = [Decimal(fill.quantity) * (1 if fill.side == "BUY" else -1) for fill in fills]
                flats = [count for count in range(len(fills) + 1) if sum(sizes[:count]) == 0]
                assert Decimal(restored[name].position) == sum(sizes)
                assert restored[name].open_fills == fills[flats[-1] :]
    journal.close()


def test_a_fill_that_makes_no_sense_fails_closed(journal, make):
    _write(journal, make.fill(side="LONG"))
    with pytest.raises(JournalError, match="cannot be restored from"):
        journal.restore(["XRPUSDT"])
    assert journal.restore(["BTCUSDT"]).symbols["BTCUSDT"].position == "0"


# --- funding


def _funding(make, hour, **changes):
    time = hour * HOUR
    return make.funding(f"XRPUSDT/{time // MILLI}", **{"market_time": time, "wall_time": time, **changes})


@pytest.mark.parametrize(
    ("entry", "kept"),
    [
        # live: event, market and wall time agree
        ({"event_time": 9 * HOUR, "market_time": 9 * HOUR, "wall_time": 9 * HOUR}, [16, 24]),
        # replay: the venue stamps executions with wall time, far from market time
        ({"event_time": 9_000 * HOUR, "market_time": 9 * HOUR, "wall_time": 9_000 * HOUR}, [16, 24]),
        # reported late, after a restart: market time not yet known, or already later
        ({"event_time": 9 * HOUR, "market_time": None, "wall_time": 30 * HOUR}, [16, 24]),
        ({"event_time": 9 * HOUR, "market_time": 30 * HOUR, "wall_time": 30 * HOUR}, [16, 24]),
        # on the boundary: observed before or after the settlement
        ({"event_time": 16 * HOUR + 1, "market_time": 16 * HOUR, "wall_time": 16 * HOUR - 1}, [16, 24]),
        ({"event_time": 16 * HOUR + 1, "market_time": 16 * HOUR, "wall_time": 16 * HOUR + 1}, [24]),
    ],
)
def test_funding_of_the_open_position(journal, make, entry, kept):
    _write(journal, make.fill(**entry), *(_funding(make, hour) for hour in (8, 24, 16)))
    symbol = journal.restore(["XRPUSDT"]).symbols["XRPUSDT"]
    assert symbol.open_funding == [_funding(make, hour) for hour in kept]


def test_no_funding_when_flat(journal, make):
    _write(journal, make.fill(event_time=1), make.fill("XRPUSDT/2", side="SELL", event_time=2), _funding(make, 8))
    assert journal.restore(["XRPUSDT"]).symbols["XRPUSDT"].open_funding == []


# --- equity


@pytest.mark.parametrize(
    ("times", "now", "day_start"),
    [
        ([DAY - HOUR, DAY + HOUR, DAY + 2 * HOUR], None, DAY - HOUR),  # the last before midnight
        ([DAY - HOUR, DAY, DAY + HOUR], None, DAY),  # midnight itself belongs to the start
        ([DAY + HOUR, DAY + 2 * HOUR], None, DAY + HOUR),  # nothing before: the first of the day
        ([DAY - HOUR, DAY + HOUR], 2 * DAY, DAY + HOUR),  # a new day began
        ([DAY - HOUR, DAY + HOUR, 3 * DAY], DAY + 2 * HOUR, DAY - HOUR),  # what lies after `now` is unseen
        ([DAY + 5 * HOUR], DAY + HOUR, None),
        ([DAY], DAY, DAY),
    ],
)
def test_the_equity_the_day_began_with(journal, make, times, now, day_start):
    _write(journal, *(make.equity(time, equity=float(time // HOUR)) for time in reversed(times)))
    restored = journal.restore([], now)
    visible = [time for time in times if now is None or time <= now]
    last = max(visible, default=None)
    assert (restored.last_equity.market_time if restored.last_equity else None) == last
    assert restored.market_time == (now if now is not None else last)
    assert (restored.day_start.market_time if restored.day_start else None) == day_start
    assert restored.day_start_equity == (None if day_start is None else float(day_start // HOUR))


# --- latches


def _latches(journal, market_time=None):
    return {(latch.code, latch.symbol) for latch in journal.restore([], market_time).latches}


@pytest.mark.parametrize(("code", "release"), LATCHES.items())
def test_a_latch_holds_until_released(journal, make, code, release):
    _write(
        journal,
        make.incident("1", code=code, symbol=None, wall_time=1, message="first"),
        make.incident("2", code=code, symbol="XRPUSDT", wall_time=2),
        make.incident("3", code="unrelated", wall_time=3),
    )
    assert _latches(journal) == {(code, None), (code, "XRPUSDT")}
    assert journal.restore([]).latched(code, "BTCUSDT").message == "first"
    _write(journal, make.incident("4", code=release, symbol="XRPUSDT", wall_time=4))
    assert _latches(journal) == {(code, None)}
    _write(journal, make.incident("5", code=code, symbol="XRPUSDT", wall_time=5))
    _write(journal, make.incident("6", code=release, symbol=None, wall_time=6))
    assert _latches(journal) == set()
    assert journal.restore([]).latched(code) is None


def test_releases_do_not_reach_other_latches_nor_later_ones(journal, make):
    _write(
        journal,
        make.incident("1", code="kill", wall_time=1),
        make.incident("2", code="pause", wall_time=2),
        make.incident("3", code="resume", wall_time=3),
        make.incident("4", code="rearm", symbol="XRPUSDT", wall_time=4),
        make.incident("5", code="fast_kill", symbol="XRPUSDT", wall_time=5),
    )
    assert _latches(journal) == {("kill", None), ("fast_kill", "XRPUSDT")}


def test_the_host_s_clock_orders_latches_not_the_order_of_writing(journal, make):
    _write(journal, make.incident("2", code="rearm", wall_time=2), make.incident("1", code="kill", wall_time=1))
    assert _latches(journal) == set()


def test_a_daily_loss_ends_with_its_day(journal, make):
    _write(journal, make.incident("1", code="daily_loss", market_time=DAY + HOUR, wall_time=1))
    assert _latches(journal, DAY + 2 * HOUR) == {("daily_loss", None)}
    assert _latches(journal, 2 * DAY) == set()
    _write(journal, make.incident("r", code="rearm", market_time=DAY + HOUR, wall_time=1))
    assert _latches(journal, DAY + 2 * HOUR) == {("daily_loss", None)}  # no person ends it
    _write(journal, make.incident("2", code="daily_loss", market_time=2 * DAY + HOUR, wall_time=2))
    assert _latches(journal, 2 * DAY + 2 * HOUR) == {("daily_loss", None)}
