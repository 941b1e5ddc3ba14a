import contextlib
import sqlite3
import threading
import time

import pytest
import sqlalchemy as sa

from node.journal import open_journal
from strategies.errors import JournalError


class Told:
    """What a journal told its owner, and a way to wait for it."""

    def __init__(self):
        self.failures = []
        self.recoveries = 0
        self._changed = threading.Condition()

    def failure(self, message):
        with self._changed:
            self.failures.append(message)
            self._changed.notify_all()

    def recovery(self):
        with self._changed:
            self.recoveries += 1
            self._changed.notify_all()

    def wait(self, failures=0, recoveries=0, seconds=30):
        with self._changed:
            assert self._changed.wait_for(
                lambda: len(self.failures) >= failures and self.recoveries >= recoveries, seconds
            ), f"told only {self.failures}, {self.recoveries} recoveries"


def _open(url, told, **options):
    return open_journal(url, on_failure=told.failure, on_recovery=told.recovery, fail_after=0.2, **options)


def _limit_pages(journal, limit):
    """Make the journal's disk `limit["pages"]` pages small, for every connection it uses from now on."""
    _at_checkout(journal, lambda: f"PRAGMA max_page_count = {limit['pages']}")


def _at_checkout(journal, statement):
    def execute(connection, record, proxy):
        connection.execute(statement())

    sa.event.listen(journal._database.engine, "checkout", execute)


def test_a_full_disk_is_told_and_nothing_queued_is_lost(tmp_path, make):
    told = Told()
    journal = _open(f"sqlite:///{tmp_path}/journal.sqlite", told)
    limit = {"pages": 70}
    _limit_pages(journal, limit)
    fills = [make.fill(f"XRPUSDT/{number}") for number in range(2_000)]
    for fill in fills:
        journal.record(fill)
    told.wait(failures=1)
    assert journal.failed
    assert "database or disk is full" in told.failures[0]
    with pytest.raises(JournalError, match=r"not written within 0.1 s: .*full"):
        journal.flush(0.1)
    more = [make.trade(f"XRPUSDT/C-{number}") for number in range(500)]
    for trade in more:  # accepted while it fails
        journal.record(trade)
    limit["pages"] = 1_000_000
    journal.flush(30)
    told.wait(recoveries=1)
    assert not journal.failed
    assert len(told.failures) == 1
    assert journal.fills() == fills
    assert journal.trades() == more
    journal.flush()
    assert [incident.code for incident in journal.incidents()] == ["journal_recovered"]
    journal.close()


def test_closing_while_the_disk_is_full_says_what_is_lost(tmp_path, make):
    told = Told()
    journal = _open(f"sqlite:///{tmp_path}/journal.sqlite", told)
    _limit_pages(journal, {"pages": 70})
    for number in range(2_000):
        journal.record(make.fill(f"XRPUSDT/{number}"))
    told.wait(failures=1)
    started = time.monotonic()
    with pytest.raises(JournalError, match=r"2000 records could not be written: .*full"):
        journal.close(0.3)
    assert time.monotonic() - started < 10


def test_a_locked_database_is_waited_for(tmp_path, make):
    told = Told()
    path = tmp_path / "journal.sqlite"
    journal = _open(f"sqlite:///{path}", told)
    _at_checkout(journal, lambda: "PRAGMA busy_timeout = 50")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal.record(make.fill())
        told.wait(failures=1)  # the database's own patience first, then ours
        assert "locked" in told.failures[0]
        other.execute("ROLLBACK")
    journal.flush()
    assert journal.fills() == [make.fill()]
    told.wait(recoveries=1)
    journal.close()


def test_a_restarted_server_is_found_again(cluster, make):
    told = Told()
    journal = _open(cluster.url("restarted"), told)
    journal.record(make.fill("XRPUSDT/1"))
    journal.flush()
    cluster.stop("immediate")
    try:
        journal.record(make.fill("XRPUSDT/2"))
        told.wait(failures=1)
        assert journal.failed
    finally:
        cluster.start()
    journal.flush(30)
    told.wait(recoveries=1)
    assert [fill.id for fill in journal.fills()] == ["XRPUSDT/1", "XRPUSDT/2"]
    journal.close()
    assert "s3cr3t" not in " ".join(told.failures)


def test_a_full_queue_drops_only_what_is_no_money_and_says_so(url, make):
    told = Told()
    journal = _open(url, told, capacity=50, full_wait_seconds=0.01)
    gate = threading.Lock()
    commit = journal._writer._commit

    def slow(records):
        with gate:
            commit(records)

    journal._writer._commit = slow
    with gate:
        for number in range(100):
            journal.record(make.signal(f"s{number}"))
        dropped = journal.dropped
        assert dropped == 50
        money = [make.fill(), make.trade(), make.funding(), make.approval(), make.incident()]
        for record in money:
            journal.record(record)
        assert journal.dropped == dropped
    journal.flush()
    assert len(journal.signals()) == 50
    assert (journal.fills(), journal.trades(), journal.funding(), journal.approvals()) == (
        [make.fill()],
        [make.trade()],
        [make.funding()],
        [make.approval()],
    )
    journal.flush()
    _, overflow = journal.incidents()
    assert (overflow.code, overflow.severity) == ("journal_degraded", "critical")
    assert "50 records were dropped" in overflow.message
    journal.close()


def test_a_full_queue_waits_for_room_before_it_drops(url, make):
    journal = open_journal(url, capacity=10, full_wait_seconds=10.0)
    for number in range(500):
        journal.record(make.signal(f"s{number}"))
    journal.flush()
    assert journal.dropped == 0
    assert len(journal.signals()) == 500
    journal.close()


def test_a_listener_that_raises_does_not_stop_the_writing(tmp_path, make):
    def raise_it(message):
        raise RuntimeError("the owner has a defect")

    journal = open_journal(f"sqlite:///{tmp_path}/journal.sqlite", on_failure=raise_it, fail_after=0.0)
    limit = {"pages": 70}
    _limit_pages(journal, limit)
    for number in range(1_000):
        journal.record(make.fill(f"XRPUSDT/{number}"))
    deadline = time.monotonic() + 30
    while not journal.failed and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    limit["pages"] = 1_000_000
    journal.flush(30)
    journal.flush()
    assert len(journal.fills()) == 1_000
    assert {incident.code for incident in journal.incidents()} == {"journal_listener_error", "journal_recovered"}
    journal.close()


def test_money_is_committed_without_waiting_for_company(url, make):
    journal = open_journal(url, batch_seconds=60.0)
    journal.record(make.signal())
    journal.record(make.fill())
    deadline = time.monotonic() + 20
    while journal.waiting and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    assert journal.waiting == 0
    assert journal.fills() == [make.fill()]
    journal.record(make.signal("lonely"))
    journal.flush()  # a flush does not wait for company either
    journal.close()


def test_asking_whether_all_is_settled_hurries_the_writer(url, make):
    journal = open_journal(url, batch_seconds=60.0)
    assert journal.settled()
    journal.record(make.signal())
    assert journal.waiting == 1
    deadline = time.monotonic() + 20
    while not journal.settled():
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)
    assert journal.signals() == [make.signal()]
    journal.close()
