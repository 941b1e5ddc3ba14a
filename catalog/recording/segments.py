"""
Segments: files that are only ever appended to, one record after the other, each with its length and CRC-32.

A record is committed when ``write`` has returned: from then on a kill -9 cannot take it, and a power cut takes at most
the last `sync_secs`. What a kill leaves half-written at the end of a file is told by length or CRC and left out. A file
being written ends in ``.open``; closed ones, ``.seg``, wait to be merged (:mod:`catalog.recording.tape`).
"""

import errno
import fcntl
import os
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from strategies.errors import DataError

FOLDER = "segments"
OPEN, CLOSED = ".open", ".seg"
DROPPED = "#dropped"
"""Stream of the record that says how many records had no room before it."""
MOST_EVENTS = 2
"""Events one record may become."""
DAY_NS = 86_400_000_000_000

_MAGIC = b"ARGREC1\n"
_HEAD = struct.Struct("<II")
_LONGEST = 64 << 20
_BATCH = 4_096
_RETRY_SECS = 1.0

type Tell = Callable[[str, str], None]


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """
    One record.

    Attributes
    ----------
    sequence : int
        Rises by one from record to record; the order of everything. What is missing was dropped, and said so.
    ts_init : int
        When it arrived, UTC ns; strictly rising.
    stream : str
        ``xrpusdt@aggTrade`` and so on; ``xrpusdt#openInterest`` for what was asked for.
    message : bytes
        JSON as the exchange sent it.

    """

    sequence: int
    ts_init: int
    stream: str
    message: bytes


_DECODER = msgspec.msgpack.Decoder(Entry)


class Reading:
    """
    The records of a segment.

    Attributes
    ----------
    torn : int
        Bytes at the end that are no whole record: what a kill left.
    damaged : bool
        Whole records may lie behind bytes that cannot be read.

    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.torn = 0
        self.damaged = False

    def __iter__(self) -> Iterator[Entry]:
        """Yield the records up to the first that is not whole."""
        size = self.file.stat().st_size
        with self.file.open("rb") as handle:
            if handle.read(len(_MAGIC)) != _MAGIC:
                self.torn, self.damaged = size, size >= len(_MAGIC)
                return
            at = len(_MAGIC)
            while at < size:
                head = handle.read(_HEAD.size)
                length, crc = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
                body = handle.read(length) if 0 < length <= _LONGEST else b""
                if not length or len(body) < length or zlib.crc32(body) != crc:
                    self.torn = size - at
                    # A torn record is the last one: it runs to the end of the file, or only zeros follow (power cut).
                    runs_out = len(head) < _HEAD.size or (0 < length <= _LONGEST and at + _HEAD.size + length >= size)
                    handle.seek(at)
                    self.damaged = not runs_out and any(any(part) for part in iter(lambda: handle.read(1 << 20), b""))
                    return
                yield _DECODER.decode(body)
                at += _HEAD.size + length


def encode(entry: Entry) -> bytes:
    """Return a record as it stands in a file."""
    body = msgspec.msgpack.encode(entry)
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def closed(root: Path) -> list[Path]:
    """Return the segments that wait to be merged, oldest first."""
    return sorted((root / FOLDER).glob(f"*{CLOSED}"))


def segments(root: Path) -> list[Path]:
    """Return all segments, the one being written too, oldest first."""
    found = [*(root / FOLDER).glob(f"*{OPEN}"), *closed(root)]
    return sorted(found, key=lambda file: file.stem)


def seal(root: Path) -> None:
    """Close what a killed recorder left open; the caller holds :class:`RecorderLock`."""
    for file in sorted((root / FOLDER).glob(f"*{OPEN}")):
        file.rename(file.with_suffix(CLOSED))


class RecorderLock:
    """
    One recorder a directory; the kernel lets go when the process ends, however it ends.

    Raises
    ------
    DataError
        Fatal: another recorder writes here, or the directory cannot be written.

    """

    def __init__(self, root: Path) -> None:
        file = root / ".recorder.lock"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._handle = file.open("a+")
        except OSError as e:
            raise DataError(f"{root}: cannot be written: {e.strerror}; choose another directory") from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._handle.close()
            raise DataError(f"{root}: another recorder writes here: stop it or choose another directory") from None

    def release(self) -> None:
        """Let go."""
        self._handle.close()


class SegmentWriter:
    """
    Takes records from one thread, the event loop's, and writes them from another.

    Parameters
    ----------
    root : Path
        Recording directory.
    last : Entry or None
        The newest record there, after which sequence and time go on.
    most : int
        Records that may wait; further ones are dropped, counted and told, and the next record that has room says so.
    segment_bytes : int
        Size after which a new segment begins; one also begins with every UTC day.
    sync_secs : float
        Between two ``fsync``.
    tell : Callable[[str, str], None]
        Told ``(code, message)``: RECORDER_DROPPED, RECORDER_DISK, RECORDER_DISK_OK; from either thread.
    on_closed : Callable[[], None]
        Called, in the writing thread, after a segment was closed.

    Attributes
    ----------
    committed : int
        Sequence of the newest record that a kill -9 cannot take.
    dropped : int
        Records that had no room.

    """

    def __init__(
        self,
        root: Path,
        last: Entry | None = None,
        *,
        most: int = 200_000,
        segment_bytes: int = 64 << 20,
        sync_secs: float = 1.0,
        tell: Tell = lambda _code, _message: None,
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = root / FOLDER
        self._most = most
        self._segment_bytes = segment_bytes
        self._sync_secs = sync_secs
        self._tell = tell
        self._on_closed = on_closed
        self._sequence = 0 if last is None else last.sequence
        self._time = 0 if last is None else last.ts_init + MOST_EVENTS - 1
        self._queue: deque[Entry] = deque()
        self._missing: tuple[int, int] | None = None
        self._wake = threading.Event()
        self._ending = False
        self._file: Any = None
        self._path = Path()
        self._size = 0
        self._day = -1
        self._synced = 0.0
        self._ill = False
        self.committed = self._sequence
        self.dropped = 0
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Records that are not written yet."""
        return len(self._queue)

    def put(self, arrived_ns: int, stream: str, message: bytes, events: int = 1) -> Entry | None:
        """
        Take a record; never waits. Return it with its sequence and time, None when there was no room.

        Parameters
        ----------
        arrived_ns : int
            Wall time, UTC ns; a clock that went back does not take the order along.
        events : int
            Nanoseconds the record needs: an event that is made of it has a time of its own.

        """
        room = len(self._queue) < self._most
        if room and self._missing is not None:
            first, last = self._missing
            self._missing = None
            said = {"first": first, "last": last, "count": last - first + 1}
            self._take(arrived_ns, DROPPED, msgspec.json.encode(said), 1)
        if room:
            return self._take(arrived_ns, stream, message, events)
        self._sequence += 1
        self.dropped += 1
        if self._missing is None:
            self._missing = (self._sequence, self._sequence)
            self._tell("RECORDER_DROPPED", f"{self._most} records wait to be written: further ones are dropped")
        self._missing = (self._missing[0], self._sequence)
        return None

    def _take(self, arrived_ns: int, stream: str, message: bytes, events: int) -> Entry:
        self._sequence += 1
        at = max(arrived_ns, self._time + 1)
        self._time = at + events - 1
        entry = Entry(self._sequence, at, stream, message)
        self._queue.append(entry)
        self._wake.set()
        return entry

    def close(self, seconds: float = 30.0) -> bool:
        """Write what waits and close the segment; False when that could not be done in time (a full disk)."""
        self._ending = True
        self._wake.set()
        self._thread.join(seconds)
        return not self._thread.is_alive() and not self._queue

    # -- the writing thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wake.wait(self._sync_secs)
            self._wake.clear()
            while self._queue:
                if not self._write_some():
                    if self._ending:
                        return
                    time.sleep(_RETRY_SECS)
            self._sync()
            if self._ending and not self._queue:
                with suppress(OSError):
                    self._end_segment()
                return

    def _write_some(self) -> bool:
        """Write a batch of one day; only what is written leaves the queue."""
        batch, day = [], self._queue[0].ts_init // DAY_NS
        for entry in self._first():
            if entry.ts_init // DAY_NS != day:
                break
            batch.append(entry)
        content = b"".join(map(encode, batch))
        try:
            if self._file is None or day != self._day or self._size >= self._segment_bytes:
                self._end_segment()
                self._begin_segment(batch[0], day)
            self._append(content)
        except OSError as e:
            self._undo()
            if not self._ill:
                self._ill = True
                self._tell("RECORDER_DISK", f"{self._path}: cannot be written: {e.strerror or e}; trying on")
            return False
        self._size += len(content)
        for _ in batch:
            self._queue.popleft()
        self.committed = batch[-1].sequence
        if self._ill:
            self._ill = False
            self._tell("RECORDER_DISK_OK", f"{self._path}: is written again, nothing was lost but what was told")
        return True

    def _first(self) -> list[Entry]:
        return [self._queue[i] for i in range(min(len(self._queue), _BATCH))]

    def _undo(self) -> None:
        """Take half-written records back, so that the next ones can be found."""
        if self._file is not None:
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), self._size)
                os.lseek(self._file.fileno(), self._size, os.SEEK_SET)

    def _begin_segment(self, entry: Entry, day: int) -> None:
        self._path = self._folder / f"{entry.ts_init:020d}-{entry.sequence:015d}{OPEN}"
        self._file = self._path.open("wb", buffering=0)
        self._size = 0
        self._append(_MAGIC)
        self._size, self._day = len(_MAGIC), day

    def _append(self, content: bytes) -> None:
        if os.write(self._file.fileno(), content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _end_segment(self) -> None:
        if self._file is None:
            return
        self._sync(always=True)
        self._file.close()
        self._file = None
        self._path.rename(self._path.with_suffix(CLOSED))
        self._on_closed()

    def _sync(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if self._file is not None and (always or now - self._synced >= self._sync_secs):
            self._synced = now
            with suppress(OSError):
                os.fsync(self._file.fileno())
