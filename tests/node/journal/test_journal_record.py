import math
import threading

import pytest
import sqlalchemy as sa
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.model.identifiers import TraderId

from node.journal import open_journal
from node.journal.models import COLUMNS, TABLES
from strategies.errors import JournalError
from strategies.records import RECORD_TYPES


def _message_bus():
    return MessageBus(trader_id=TraderId("TESTER-001"), clock=LiveClock())


def test_every_kind_comes_back_as_it_went_in(journal, make):
    written = make.one_of_each()
    assert {type(record) for record in written} == set(RECORD_TYPES)
    for record in written:
        journal.record(record)
    journal.flush()
    read = [journal.records(type(record)) for record in written]
    assert read == [[record] for record in written]
    assert journal.counts() == {kind.kind: 1 for kind in RECORD_TYPES}


def test_named_readers_return_their_kind(journal, make):
    written = make.one_of_each()
    for record in written:
        journal.record(record)
    journal.flush()
    readers = [
        journal.signals,
        journal.verdicts,
        journal.approvals,
        journal.orders,
        journal.fills,
        journal.funding,
        journal.trades,
        journal.equity,
        journal.incidents,
        journal.outcomes,
    ]
    assert [reader() for reader in readers] == [[record] for record in written]


def test_typed_columns_hold_the_fields(journal, make):
    written = make.one_of_each()
    for record in written:
        journal.record(record)
    journal.flush()
    with journal._database.reading() as connection:
        for record in written:
            row = connection.execute(sa.select(TABLES[type(record)])).mappings().one()
            for name in COLUMNS[type(record)]:
                assert row[name] == getattr(record, name), (record.kind, name)
                assert type(row[name]) is type(getattr(record, name)), (record.kind, name)


def test_the_same_id_is_written_once(journal, make):
    for _ in range(3):
        for record in make.one_of_each():
            journal.record(record)
        journal.flush()
    for record in make.one_of_each() * 2:  # twice in one batch
        journal.record(record)
    journal.flush()
    assert journal.counts() == {kind.kind: 1 for kind in RECORD_TYPES}


def test_ids_are_unique_within_a_kind_only(journal, make):
    journal.record(make.signal("same"))
    journal.record(make.approval("same"))
    journal.flush()
    assert len(journal.signals()) == len(journal.approvals()) == 1
    assert journal.incidents() == []


def test_seen_again_later_is_no_conflict(journal, make):
    first = make.fill()
    journal.record(first)
    journal.record(make.changed(first, wall_time=999, market_time=None))
    journal.flush()
    assert journal.fills() == [first]
    assert journal.incidents() == []


@pytest.mark.parametrize("in_one_batch", [True, False])
def test_other_content_under_a_known_id_keeps_the_first_and_tells(journal, make, in_one_batch):
    first = make.fill()
    journal.record(first)
    if not in_one_batch:
        journal.flush()
    for _ in range(2):  # telling is exactly-once, too
        journal.record(make.changed(first, price="2.6000", fee="0.5"))
        journal.flush()
    assert journal.fills() == [first]
    (incident,) = journal.incidents()
    assert (incident.code, incident.severity, incident.symbol) == ("journal_conflict", "critical", "XRPUSDT")
    for part in ("XRPUSDT/1", "price '2.5000' kept, '2.6000' refused", "fee '0.0101' kept, '0.5' refused"):
        assert part in incident.message


def test_conflicts_among_many_are_found_exactly(journal, make):
    fills = [make.fill(f"XRPUSDT/{number}", event_time=number) for number in range(1500)]
    for fill in fills:
        journal.record(fill)
    journal.flush()
    for number, fill in enumerate(fills):
        journal.record(make.changed(fill, price="9") if number % 100 == 0 else fill)
    journal.flush()
    assert journal.fills() == fills
    assert len(journal.incidents()) == 15


@pytest.mark.parametrize(
    ("broken", "quoted"),
    [
        ({"net_pnl": math.nan}, "net_pnl=nan"),
        ({"net_pnl": math.inf}, "net_pnl=inf"),
        ({"exit_reason": None}, "exit_reason=None"),
        ({"exit_time": 2**63}, "exit_time=9223372036854775808"),
        ({"wall_time": 2**80}, "wall_time=1208925819614629174706176"),
        ({"exit_reason": "\ud800"}, "exit_reason='\\ud800'"),
    ],
    ids=["nan", "infinite", "missing", "over 63 bits", "over 64 bits", "lone surrogate"],
)
def test_what_cannot_be_stored_becomes_an_incident_and_stops_nobody(journal, make, broken, quoted):
    good = [make.trade(f"XRPUSDT/C-{number}") for number in range(4)]
    for record in [*good[:2], make.trade("XRPUSDT/bad", **broken), *good[2:]]:
        journal.record(record)
    journal.flush()
    assert journal.trades() == good
    (incident,) = journal.incidents()
    assert (incident.code, incident.severity) == ("journal_unwritable", "critical")
    assert quoted in incident.message
    assert "XRPUSDT/bad" in incident.message
    assert not journal.failed


def test_a_nul_character_loses_nothing(journal, make):
    journal.record(make.incident("before"))
    journal.record(make.incident("odd", message="a\x00b"))
    journal.flush()
    told = [incident.message for incident in journal.incidents() if incident.id != "before"]
    assert len(told) == 1
    assert "a\x00b" in told[0] or "a\\x00b" in told[0]  # PostgreSQL text has no NUL: there it is quoted


@pytest.mark.parametrize("junk", ["text", 7, {"kind": "fill"}, object(), float("nan")])
def test_junk_on_the_topic_is_told(journal, make, junk):
    bus = _message_bus()
    journal.attach(bus)
    bus.publish("argonaut.record.fill", junk)
    bus.publish("argonaut.record.fill", make.fill())
    journal.flush()
    assert journal.fills() == [make.fill()]
    assert [incident.code for incident in journal.incidents()] == ["journal_unwritable"]


def test_attached_it_hears_every_record_and_nothing_else(journal, make):
    bus = _message_bus()
    journal.attach(bus)
    for record in make.one_of_each():
        bus.publish(record.topic, record)
    bus.publish("argonaut.other", make.fill("XRPUSDT/2"))
    journal.flush()
    assert journal.counts() == {kind.kind: 1 for kind in RECORD_TYPES}


def test_closed_it_no_longer_listens(url, make):
    journal = open_journal(url)
    bus = _message_bus()
    journal.attach(bus)
    bus.publish("argonaut.record.fill", make.fill())
    journal.close()
    bus.publish("argonaut.record.fill", make.fill("XRPUSDT/2"))
    with pytest.raises(JournalError, match="closed"):
        journal.record(make.fill("XRPUSDT/3"))
    journal.close()
    with_reader = open_journal(url, read_only=True)
    assert with_reader.fills() == [make.fill()]  # closing wrote what was queued
    with_reader.close()


def test_filters_by_symbol_and_market_time(journal, make):
    fills = [
        make.fill(f"{symbol}/{time}", market_time=time)
        for time in (None, 10, 20, 30)
        for symbol in ("XRPUSDT", "BTCUSDT")
    ]
    for fill in fills:
        journal.record(fill)
    journal.flush()
    chosen = lambda **filters: [fill.id for fill in journal.fills(**filters)]  # noqa: E731
    assert chosen() == [fill.id for fill in fills]
    assert chosen(symbol="BTCUSDT") == ["BTCUSDT/None", "BTCUSDT/10", "BTCUSDT/20", "BTCUSDT/30"]
    assert chosen(symbol="BTCUSDT", start=10, end=30) == ["BTCUSDT/10", "BTCUSDT/20"]
    assert chosen(start=20) == ["XRPUSDT/20", "BTCUSDT/20", "XRPUSDT/30", "BTCUSDT/30"]
    assert chosen(end=20) == ["XRPUSDT/10", "BTCUSDT/10"]
    assert chosen(limit=3) == ["BTCUSDT/20", "XRPUSDT/30", "BTCUSDT/30"]
    assert chosen(symbol="XRPUSDT", limit=1) == ["XRPUSDT/30"]
    assert chosen(symbol="ETHUSDT") == []


def test_reading_only_refuses_to_write(journal, url, make):
    reader = open_journal(url, read_only=True)
    assert reader.read_only
    for attempt in (
        lambda: reader.record(make.fill()),
        lambda: reader.attach(_message_bus()),
        lambda: reader.bind_session("x"),
    ):
        with pytest.raises(JournalError, match="reading only"):
            attempt()
    reader.flush()
    reader.close()


def test_readers_beside_a_writer_see_whole_prefixes(journal, url, make):
    total = 3_000
    failures = []
    seen = []
    done = threading.Event()

    def read():
        reader = open_journal(url, read_only=True)
        try:
            last = 0
            while not done.is_set() or last < total:
                fills = reader.fills()
                if [fill.id for fill in fills] != [f"XRPUSDT/{number}" for number in range(len(fills))]:
                    failures.append(f"not a prefix of {len(fills)}")
                if len(fills) < last:
                    failures.append(f"{len(fills)} after {last}")
                last = len(fills)
                seen.append(last)
                if failures:
                    return
        except Exception as e:  # noqa: BLE001 - told below
            failures.append(repr(e))
        finally:
            reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(total):
        journal.record(make.fill(f"XRPUSDT/{number}"))
        if number % 100 == 0:
            journal.flush()
    journal.flush()
    done.set()
    thread.join(60)
    assert failures == []
    assert seen[-1] == total
    assert len(set(seen)) > 2  # it did read while the writer wrote


def test_records_from_several_threads_are_all_written(journal, make):
    def write(name):
        for number in range(500):
            journal.record(make.order(f"{name}/{number}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.flush()
    orders = [order.id for order in journal.orders()]
    assert sorted(orders) == sorted(f"{name}/{number}" for name in range(4) for number in range(500))
    for name in range(4):  # each thread's order is kept
        mine = [order for order in orders if order.startswith(f"{name}/")]
        assert mine == [f"{name}/{number}" for number in range(500)]
