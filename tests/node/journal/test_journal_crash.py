import os
import random
import runpy
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from node.journal import open_journal

_PROGRAM = Path(__file__).with_name("crash_writer.py")
_REPOSITORY = Path(__file__).parents[3]
_FUNCTIONS = runpy.run_path(str(_PROGRAM))
_FILL, _TRADE = _FUNCTIONS["fill"], _FUNCTIONS["trade"]


def _run_and_kill(url, first, after_open, seconds):
    """
    Run the writer from record `first` on and SIGKILL it after `seconds`; return the last number it said was flushed.

    The time runs from the moment the journal is open, or (without `after_open`) from the start of the process.
    """
    environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, "-u", str(_PROGRAM), url, str(first)], stdout=subprocess.PIPE, env=environment
    )
    said = b""
    with process, process.stdout:
        deadline = time.monotonic() + (60 if after_open else seconds)
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([process.stdout], [], [], left)[0]:
                continue
            chunk = os.read(process.stdout.fileno(), 65536)
            assert chunk, "the writer ended by itself"
            if after_open and said == b"":
                deadline = time.monotonic() + seconds
            said += chunk
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read()
        assert process.wait(60) == -signal.SIGKILL
    # The last line may be torn; what was said completely was committed.
    complete = said.decode().split("\n")[:-1]
    return max((int(line.split()[1]) for line in complete if line.startswith("flushed")), default=-1)


def _check(url, flushed):
    """Everything said to be flushed is there, everything there is whole; return the first number not there."""
    journal = open_journal(url)
    try:
        fills, trades = journal.fills(), journal.trades()
        assert len(fills) > flushed
        assert len(trades) > flushed
        # Written in order: what survived is a prefix, and each record is exactly what was handed over.
        assert fills == [_FILL(number) for number in range(len(fills))]
        assert trades == [_TRADE(number) for number in range(len(trades))]
        assert journal.incidents() == []
        if journal._database.is_sqlite:
            with journal._database.reading() as connection:
                assert connection.execute(sa.text("PRAGMA integrity_check")).scalars().all() == ["ok"]
        return min(len(fills), len(trades))
    finally:
        journal.close()


def test_a_killed_writer_leaves_everything_it_had_flushed(url, seed):
    chance = random.Random(seed)
    flushed, first = -1, 0
    for number in range(8):
        after_open = number >= 3  # the first ones die somewhere between start, migration and first records
        seconds = chance.uniform(0.0, 0.6) if after_open else chance.uniform(0.2, 0.8)
        flushed = max(flushed, _run_and_kill(url, first, after_open, seconds))
        first = _check(url, flushed)
    assert flushed > 0
    # A writer that starts over from the beginning adds nothing and contradicts nothing.
    journal = open_journal(url)
    before = journal.counts()
    for number in range(first):
        journal.record(_FILL(number))
        journal.record(_TRADE(number))
    journal.flush(60)
    assert journal.counts() == before
    journal.close()
