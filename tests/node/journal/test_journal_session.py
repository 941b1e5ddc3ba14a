import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.journal import open_journal
from strategies.errors import JournalError


def _write(journal, *records):
    for record in records:
        journal.record(record)
    journal.flush()


def _archive_url(url, backend, archive):
    return f"sqlite:///{archive}" if backend == "sqlite" else f"{url.partition('?')[0]}?schema={archive}"


def test_the_same_session_goes_on(url, make):
    journal = open_journal(url)
    assert journal.bind_session("run-1") is None
    _write(journal, make.fill())
    assert journal.bind_session("run-1") is None
    journal.close()
    again = open_journal(url)
    assert again.bind_session("run-1") is None
    assert again.fills() == [make.fill()]
    again.close()


def test_another_session_sets_everything_aside_and_begins_anew(url, backend, make):
    journal = open_journal(url)
    journal.bind_session("run-1")
    _write(journal, *make.one_of_each())
    before = journal.meta()
    journal.close()

    journal = open_journal(url)
    archive = journal.bind_session("run-2")
    assert sum(journal.counts().values()) == 0
    after = journal.meta()
    assert after["session"] == "run-2"
    assert after["previous"] == Path(archive).name
    assert after["journal"] != before["journal"]
    other = make.changed(make.fill(), price="9.9")
    _write(journal, other)  # a known id, in another run: no conflict
    assert journal.fills() == [other]
    assert journal.incidents() == []

    old = open_journal(_archive_url(url, backend, archive), read_only=True)
    assert [old.records(type(record)) for record in make.one_of_each()] == [[record] for record in make.one_of_each()]
    assert old.meta() == before
    old.close()

    second = journal.bind_session("run-3")  # within the same second: another name
    assert second != archive
    for place, fill in ((archive, make.fill()), (second, other)):
        old = open_journal(_archive_url(url, backend, place), read_only=True)
        assert old.fills() == [fill]
        old.close()
    journal.close()


def test_an_empty_journal_is_not_archived(journal, tmp_path):
    for session in ("run-1", "run-2"):
        assert journal.bind_session(session) is None
    assert journal.meta()["session"] == "run-2"
    assert "previous" not in journal.meta()


def test_records_of_an_unknown_session_are_set_aside(journal, make):
    _write(journal, make.fill())
    assert journal.bind_session("run-1") is not None
    assert journal.fills() == []


def test_queued_records_belong_to_the_session_before(url, backend, make):
    journal = open_journal(url)
    journal.bind_session("run-1")
    journal.record(make.fill())
    archive = journal.bind_session("run-2")
    old = open_journal(_archive_url(url, backend, archive), read_only=True)
    assert old.fills() == [make.fill()]
    old.close()
    assert journal.fills() == []
    journal.close()


def test_a_real_account_s_journal_is_never_set_aside(journal, make):
    journal.bind_session("binance:main", replaceable=False)
    _write(journal, make.fill())
    for other, replaceable in (("run-1", True), ("binance:second", False)):
        with pytest.raises(JournalError, match=r"tells of the account 'binance:main'.*another journal"):
            journal.bind_session(other, replaceable=replaceable)
    assert journal.bind_session("binance:main", replaceable=False) is None
    assert journal.fills() == [make.fill()]


def test_a_real_account_does_not_take_over_unknown_records(journal, make):
    _write(journal, make.fill())
    with pytest.raises(JournalError, match="unknown account"):
        journal.bind_session("binance:main", replaceable=False)
    assert journal.fills() == [make.fill()]


def test_readers_stay_connected_across_the_change(url, make):
    journal = open_journal(url)
    journal.bind_session("run-1")
    _write(journal, make.fill())
    reader = open_journal(url, read_only=True)
    assert reader.fills() == [make.fill()]
    journal.bind_session("run-2")
    assert reader.fills() == []
    _write(journal, make.fill("XRPUSDT/2"))
    assert [fill.id for fill in reader.fills()] == ["XRPUSDT/2"]
    reader.close()
    journal.close()


def test_another_writer_s_records_lie_on_one_side_or_the_other(url, backend, make):
    journal = open_journal(url)
    journal.bind_session("run-1")
    _write(journal, make.fill("XRPUSDT/0"))
    other = open_journal(url)
    total = 400
    changed = threading.Event()
    failures = []

    def write():
        try:
            for number in range(1, total):
                other.record(make.fill(f"XRPUSDT/{number}"))
                if number % 10 == 0:
                    other.flush()
                if number == total // 2:
                    changed.set()
            other.flush()
        except Exception as e:  # noqa: BLE001 - told below
            failures.append(repr(e))

    thread = threading.Thread(target=write)
    thread.start()
    assert changed.wait(60)
    archive = journal.bind_session("run-2")
    thread.join(60)
    assert failures == []
    old = open_journal(_archive_url(url, backend, archive), read_only=True)
    ids = [fill.id for fill in old.fills()] + [fill.id for fill in journal.fills()]
    assert ids == [f"XRPUSDT/{number}" for number in range(total)]
    for opened in (old, other, journal):
        opened.close()


def test_a_copy_that_cannot_be_finished_changes_nothing(tmp_path, make, monkeypatch):
    folder = tmp_path / "var"
    journal = open_journal(f"sqlite:///{folder}/journal.sqlite")
    journal.bind_session("run-1")
    _write(journal, make.fill())
    before = sorted(path.name for path in folder.iterdir())

    def fail(path):
        raise OSError("no space left on device")

    monkeypatch.setattr("node.journal.archive._flush_to_disk", fail)
    with pytest.raises(JournalError, match="cannot be set aside: no space left"):
        journal.bind_session("run-2")
    assert sorted(path.name for path in folder.iterdir()) == before
    assert journal.fills() == [make.fill()]
    assert journal.meta()["session"] == "run-1"
    journal.close()


def test_a_damaged_copy_is_refused(tmp_path, make, monkeypatch):
    journal = open_journal(f"sqlite:///{tmp_path}/journal.sqlite")
    journal.bind_session("run-1")
    _write(journal, make.fill(), make.fill("XRPUSDT/2"))
    check = monkeypatch.undo

    def lose_a_row(connection, copy):
        engine = sa.create_engine(f"sqlite:///{copy}")
        with engine.begin() as other:
            other.execute(sa.text("DELETE FROM fills WHERE seq = 2"))
        engine.dispose()
        check()
        from node.journal.archive import _check_copy

        _check_copy(connection, copy)

    monkeypatch.setattr("node.journal.archive._check_copy", lose_a_row)
    with pytest.raises(JournalError, match="lacks rows of fills"):
        journal.bind_session("run-2")
    assert len(journal.fills()) == 2
    assert [path.name for path in tmp_path.glob("*.sqlite")] == ["journal.sqlite"]
    journal.close()
