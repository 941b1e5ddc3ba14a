"""
What has been recorded and is not yet in the database: one file, appended to before anybody acts on a record.

A line handed to the operating system outlives the process, whatever kills it; :meth:`WriteAhead.force` makes it outlive
a power loss too. The database follows in its own time, and the next start takes over what it did not get. Writing a
record twice changes nothing, so the file needs no notion of how far the database has come.

First line: ``argonaut-journal-ahead 1 <identity of the journal>``; then one JSON record per line.
"""

import errno
import os
from pathlib import Path
from typing import Final, NamedTuple

_MAGIC: Final = b"argonaut-journal-ahead 1 "
_MODE: Final = 0o600


class Leftover(NamedTuple):
    """What a former life left: the identity of its journal (None: not a file of ours), and its whole lines."""

    identity: str | None
    lines: list[bytes]


def leftover(path: Path) -> Leftover | None:
    """
    Return what lies in the file, or None if there is nothing to take over. A torn last line is left out.

    Error contract: propagate ``OSError``.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if not data.strip():
        return None
    head, *lines = data.split(b"\n")[:-1] or [data]  # what follows the last newline was never whole
    if not head.startswith(_MAGIC):
        return Leftover(None, [])
    return Leftover(head.removeprefix(_MAGIC).decode(errors="replace"), [line for line in lines if line])


class WriteAhead:
    """
    The file, open for appending. Not thread-safe: the caller holds its own lock, except for :meth:`force`.

    Parameters
    ----------
    path : Path
        On a disk of this machine; its folder is created.
    identity : str
        Which journal the lines belong to.

    Attributes
    ----------
    size : int
        Bytes of records in the file.

    Raises
    ------
    OSError
        Propagate: the file cannot be opened.

    """

    def __init__(self, path: Path, identity: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
        self.size = 0
        self._head = 0
        self.restart(identity)

    def restart(self, identity: str) -> None:
        """Drop every line and go on for the journal `identity`. Error contract: propagate ``OSError``."""
        os.ftruncate(self._fd, 0)
        self._head = self.size = 0
        head = _MAGIC + identity.encode() + b"\n"
        self._write(head)
        self._head = len(head)

    def append(self, line: bytes) -> None:
        """
        Add one line; when it returns, the operating system has it.

        Error contract: propagate ``OSError`` (a full disk); the file is then as it was before.
        """
        self._write(line + b"\n")
        self.size += len(line) + 1

    def force(self) -> None:
        """Return when everything appended is on the disk. Blocks. Error contract: propagate ``OSError``."""
        os.fdatasync(self._fd)

    def clear(self) -> None:
        """Drop every line: the database has them all. Error contract: propagate ``OSError``."""
        os.ftruncate(self._fd, self._head)
        self.size = 0

    def close(self) -> None:
        """Close the file and leave it as it is."""
        os.close(self._fd)

    def _write(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        if written != len(data):  # the disk took a part: half a line must not stand before the next
            os.ftruncate(self._fd, self._head + self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def put_away(path: Path) -> Path:
    """Move the file out of the way under an unused name and return that. Error contract: propagate ``OSError``."""
    count = 1
    while (other := path.with_name(f"{path.name}.{count}")).exists():
        count += 1
    path.replace(other)
    return other
