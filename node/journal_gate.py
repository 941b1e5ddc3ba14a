"""No entry before what led to it is safe: what the live node waits for, and how it opens its journal."""

import asyncio
import errno
import fcntl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from node.config import NodeConfig
from node.journal import Journal, open_journal
from strategies.errors import ConfigError, JournalError, JournalUnavailableError

_PATIENCE_SECS = 2.0
_POLL_SECS = 0.0011  # uvloop rounds anything below a millisecond to zero: a busy loop


class JournalGate:
    """
    The journal of a live node, and whether it is good enough for an entry.

    Parameters
    ----------
    config : NodeConfig
        Its ``journal`` and ``journal_durability``.
    ahead : Path
        The write-ahead file.
    on_failure : Callable[[str], None]
        Told on the writer thread when the database cannot be written.
    on_recovery : Callable[[], None] or None
        Told there when it can again, and has everything.

    Attributes
    ----------
    journal : Journal
        Open for writing.

    Raises
    ------
    JournalError, ConfigError
        Fatal: see :func:`node.journal.open_journal`; another node writes this journal.

    """

    def __init__(
        self,
        config: NodeConfig,
        ahead: Path,
        on_failure: Callable[[str], None],
        on_recovery: Callable[[], None] | None = None,
    ) -> None:
        self._lock = _locked(config.journal)
        self._power_safe = config.journal_durability == "power"
        try:
            self.journal: Journal = open_journal(
                config.journal,
                ahead=ahead,
                power_safe=self._power_safe,
                on_failure=on_failure,
                on_recovery=on_recovery,
            )
        except BaseException:
            if self._lock is not None:  # whoever tries again must not find it taken
                self._lock.close()
            raise
        # Flushing to a disk blocks, and the event loop must not.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="journal-disk") if self._power_safe else None

    def kept(self) -> bool:
        """Whether a kill would take nothing. Where the write-ahead file fails that needs a commit: it is hurried."""
        return self.journal.kept() or self.journal.settled()

    async def written(self) -> bool:
        """Wait until everything decided so far is safe; False (**fail closed**) when the journal cannot be written."""
        deadline = time.monotonic() + _PATIENCE_SECS
        while not self.kept():
            if self.journal.failed or time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_SECS)
        if self.journal.failed:
            return False
        if self._disk is None:
            return True
        forced = asyncio.get_running_loop().run_in_executor(self._disk, self.journal.force)
        try:
            await asyncio.wait_for(forced, _PATIENCE_SECS)
        except (TimeoutError, JournalError):
            return False
        return True

    def close(self) -> None:
        """Close the journal. Error contract: propagate :class:`JournalError`."""
        if self._disk is not None:
            self._disk.shutdown(wait=False, cancel_futures=True)
        self.journal.close()
        if self._lock is not None:
            self._lock.close()


def _locked(url: str) -> IO[str] | None:
    """
    Return the lock of a SQLite journal: two nodes that write one, each with a run directory of its own, are refused.

    Raises
    ------
    ConfigError, JournalError
        Fatal: another node has it; the file beside the journal cannot be written.

    """
    if not url.startswith("sqlite:///"):
        return None
    path = Path(f"{url.removeprefix('sqlite:///').partition('?')[0]}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a")
    except OSError as e:
        kind = JournalUnavailableError if e.errno == errno.ENOSPC else JournalError
        raise kind(f"journal {url}: {path}: cannot be written: {e.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigError(f"journal {url}: in use by another node: give this one a journal of its own") from None
    return lock
