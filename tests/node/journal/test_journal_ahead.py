import errno
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from node.journal import open_journal
from node.journal.ahead import WriteAhead, leftover
from strategies.errors import JournalError
from tests.node.journal.test_journal_crash import _FILL, _TRADE

_REPOSITORY = Path(__file__).parents[3]
# Holds the database's write lock itself, so that nothing can be committed, records, and dies as by kill -9.
_BLOCKED_WRITER = """
import os, signal, sqlite3, sys
from pathlib import Path
from node.journal import open_journal
from tests.node.journal.test_journal_crash import _FILL, _TRADE
url, file, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
journal = open_journal(url, ahead=file, power_safe=False)
if url.startswith("sqlite"):
    lock = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
for number in range(count):
    journal.record(_FILL(number))
    journal.record(_TRADE(number))
assert journal.kept()
os.kill(os.getpid(), signal.SIGKILL)
"""


def _killed(url, file, count):
    done = subprocess.run(
        [sys.executable, "-c", _BLOCKED_WRITER, url, str(file), str(count)],
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_what_no_database_had_is_there_after_a_kill(url, tmp_path):
    file = tmp_path / "run" / "journal.ahead"
    _killed(url, file, 30)
    if url.startswith("sqlite"):
        reader = open_journal(url, read_only=True)
        assert reader.fills() == []  # the lock held: the file alone knows
        reader.close()
    journal = open_journal(url, ahead=file)
    assert journal.fills() == [_FILL(number) for number in range(30)]
    assert journal.trades() == [_TRADE(number) for number in range(30)]
    assert journal.incidents() == []
    assert leftover(file).lines == []
    journal.close()


def test_taking_over_twice_or_what_was_committed_changes_nothing(url, tmp_path):
    file = tmp_path / "journal.ahead"
    journal = open_journal(url, ahead=file)
    for number in range(5):
        journal.record(_FILL(number))
    journal.flush()
    kept = file.read_bytes()
    journal.close()
    for _ in range(2):
        file.write_bytes(kept)  # as if the process had died between the commit and emptying the file
        journal = open_journal(url, ahead=file)
        assert journal.fills() == [_FILL(number) for number in range(5)]
        assert journal.incidents() == []
        journal.close()


def test_a_torn_last_line_is_left_out_and_a_damaged_one_is_quoted(url, tmp_path):
    file = tmp_path / "journal.ahead"
    journal = open_journal(url, ahead=file)
    journal.record(_FILL(0))
    journal.flush()
    lines = file.read_bytes()
    journal.close()
    file.write_bytes(lines + b'{"kind":"fill","id":1}\n' + b'{"kind":"fill","id":"XRPUSDT/2","mark')
    journal = open_journal(url, ahead=file)
    assert journal.fills() == [_FILL(0)]
    (incident,) = journal.incidents()
    assert incident.code == "journal_unwritable"
    assert '{"kind":"fill","id":1}' in incident.message
    journal.close()


@pytest.mark.parametrize("content", [b"argonaut-journal-ahead 1 another\n{}\n", b"\x00garbage without a line"])
def test_lines_of_another_journal_are_kept_apart(url, tmp_path, content):
    file = tmp_path / "journal.ahead"
    file.write_bytes(content)
    journal = open_journal(url, ahead=file)
    assert [i.code for i in journal.incidents()] == ["journal_ahead_foreign"]
    assert (tmp_path / "journal.ahead.1").read_bytes() == content
    journal.record(_FILL(1))
    journal.close()


def test_a_journal_set_aside_takes_its_lines_along(url, tmp_path):
    file = tmp_path / "journal.ahead"
    journal = open_journal(url, ahead=file)
    journal.bind_session("first")
    journal.record(_FILL(1))
    assert journal.bind_session("second") is not None
    journal.record(_FILL(2))
    journal.flush()
    kept = file.read_bytes()
    journal.close()
    file.write_bytes(kept)
    journal = open_journal(url, ahead=file)
    assert journal.fills() == [_FILL(2)]
    assert journal.incidents() == []
    journal.close()


def test_the_file_stays_small(url, tmp_path):
    file = tmp_path / "journal.ahead"
    journal = open_journal(url, ahead=file)
    for number in range(1_000):
        journal.record(_TRADE(number))
    journal.flush()
    journal.record(_TRADE(1_000))
    journal.flush()
    assert file.stat().st_size < 2_000
    journal.close()
    assert leftover(file).lines == []
    assert len(open_journal(url, read_only=True).trades()) == 1_001


def test_where_the_file_cannot_be_written_a_commit_is_waited_for(url, tmp_path, monkeypatch):
    journal = open_journal(url, ahead=tmp_path / "journal.ahead", batch_seconds=60.0)
    write = os.write

    def full(fd, data):
        if data.startswith(b"{"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    journal.record(_FILL(1))
    journal.flush()
    assert journal.kept()
    monkeypatch.undo()
    lock = None
    if url.startswith("sqlite"):
        lock = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(os, "write", full)
        journal.record(_FILL(2))
        assert not journal.kept()  # neither in the file nor committed
        monkeypatch.undo()
        lock.execute("ROLLBACK")
        lock.close()
    journal.record(_FILL(3))
    journal.flush()
    assert journal.kept()
    journal.close()


def test_half_a_line_never_stands_before_the_next(tmp_path, monkeypatch):
    ahead = WriteAhead(tmp_path / "journal.ahead", "me")
    ahead.append(b"{1}")
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:2]))
    with pytest.raises(OSError, match="No space left"):
        ahead.append(b"{2}")
    monkeypatch.undo()
    ahead.append(b"{3}")
    ahead.force()
    ahead.close()
    assert leftover(tmp_path / "journal.ahead").lines == [b"{1}", b"{3}"]


def test_an_unusable_file_is_one_clear_error(url, tmp_path):
    (tmp_path / "journal.ahead").mkdir()
    with pytest.raises(JournalError, match=r"write-ahead file .*journal\.ahead"):
        open_journal(url, ahead=tmp_path / "journal.ahead")
