"""What the processes do that are killed: ingest, back-fill, record. Each notes what it has committed, then goes on."""

import asyncio
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd  # pyarrow imports it at first use, which may take seconds: kills are to land in the work

from catalog.raw.writer import put, put_each
from catalog.recording import tape
from catalog.recording.segments import RecorderLock, SegmentWriter, seal
from catalog.rest.client import PublicRest
from catalog.rest.fetch import Backfill, Fetched
from catalog.through_raw import bring
from strategies.errors import DataError

FILES, ROWS = 16, 60
RECORDS, STEP_NS, FIRST_NS = 800, 480_000_000_000, 1_756_684_800_000_000_000
SERIES: tuple[tuple[str, str | None], ...] = (("klines", "5m"), ("agg_trades", None), ("ratios", None))


assert pd.__version__


def note(progress: str, text: str) -> None:
    """Append a line that survives the process."""
    descriptor = os.open(progress, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def begin(file: str, work: Callable[..., None], *arguments: Any) -> None:
    """Say that everything is imported, then do the work."""
    note(file, "")
    work(*arguments)


def ingest(root: str, folder: str, progress: str) -> None:
    """Bring one file after the other in; each is noted once `put` has returned, and not brought again."""
    done = len(Path(progress).read_text().splitlines()) if Path(progress).exists() else 0
    for number in range(done, FILES):
        put([Path(folder) / f"{number}.csv"], root=Path(root), kind="agg_trades", symbol="XRPUSDT")
        note(progress, str(number))


def ingest_each(root: str, folder: str, progress: str) -> None:
    """Bring all files in with one command that makes each visible once it is whole; what is in is passed over."""
    paths = [Path(folder) / f"{number}.csv" for number in range(FILES)]
    put_each(paths, root=Path(root), kind="agg_trades", symbol="XRPUSDT")
    note(progress, "\n".join(map(str, range(FILES))))


def ingest_through_raw(raw: str, catalog: str, folder: str, progress: str) -> None:
    """Bring bars into the raw store and the catalog, one file after the other; each is noted when both hold it."""
    done = len(Path(progress).read_text().splitlines()) if Path(progress).exists() else 0
    for number in range(done, FILES):
        bring([Path(folder) / f"{number}.csv"], root=Path(raw), catalog=Path(catalog), symbol="XRPUSDT", interval="1m")
        note(progress, str(number))


class _Noting(Backfill):
    progress = ""

    def _commit(self, done: Fetched) -> None:
        rows = self._pending
        count = len(next(iter(rows.values()), []))
        times = next((rows[n][-1] for n in ("open_time", "transact_time", "time") if n in rows and count), None)
        super()._commit(done)
        if times is not None:
            note(self.progress, f"{done.kind} {times}")


def backfill(root: str, url: str, start_ms: int, end_ms: int, progress: str) -> None:
    """Fetch three series, a few rows a commit; the newest row of each commit is noted."""

    async def run() -> None:
        async with PublicRest(url, weight_share=1.0) as rest:
            await rest.open()
            filler = _Noting(rest, Path(root), rows_per_commit=200)
            filler.progress = progress
            for kind, interval in SERIES:
                await filler.series(kind, "XRPUSDT", interval, start_ms, end_ms)

    asyncio.run(run())


def message(number: int) -> tuple[str, bytes]:
    """Return the record with that number, counted from one."""
    at = (FIRST_NS + number * STEP_NS) // 1_000_000
    if number % 3:
        body: dict[str, Any] = {"e": "aggTrade", "E": at, "s": "XRPUSDT", "a": number, "p": "2.5", "q": "1.0"}
        return "xrpusdt@aggTrade", msgspec.json.encode(body | {"f": number, "l": number, "T": at, "m": True})
    order = {"s": "XRPUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "5.0", "p": f"{number}.5", "ap": "2.5"}
    order |= {"X": "FILLED", "l": "5.0", "z": "5.0", "T": at}
    return "xrpusdt@forceOrder", msgspec.json.encode({"e": "forceOrder", "E": at, "o": order})


def record(root: str, raw: str, progress: str) -> None:
    """Record what is left, merging now and then as a node's helper does; what is committed is noted."""
    directory = Path(root)
    lock = RecorderLock(directory)
    seal(directory)
    tape.merge(directory, Path(raw))
    last = tape.last_entry(directory)
    writer = SegmentWriter(directory, last, segment_bytes=3_000, sync_secs=0.01)
    number = 0 if last is None else last.sequence
    while number < RECORDS:
        for number in range(number + 1, min(number + 40, RECORDS) + 1):  # noqa: B020 - goes on where it is
            stream, body = message(number)
            writer.put(FIRST_NS + number * STEP_NS, stream, body)
        while writer.committed < number:
            time.sleep(0.0005)
        note(progress, str(writer.committed))
        if number % 400 == 0:
            tape.merge(directory, Path(raw))
    assert writer.close()
    tape.merge(directory, Path(raw))
    lock.release()


def full_disk(root: str, progress: str) -> None:
    """Record while no file may grow beyond 20 kB, then with room again; note what was told and what is committed."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    told: list[str] = []
    writer = SegmentWriter(Path(root), tell=lambda code, _text: told.append(code))
    for number in range(1, 501):
        stream, body = message(number)
        writer.put(FIRST_NS + number, stream, body)
    deadline = time.monotonic() + 20
    while "RECORDER_DISK" not in told and time.monotonic() < deadline:
        time.sleep(0.005)
    note(progress, f"{writer.committed} {writer.waiting}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert writer.close(20)
    note(progress, " ".join(told))
    note(progress, f"{writer.committed} {writer.dropped}")


def read_only(root: str, folder: str, progress: str) -> None:
    """Try to bring a file into a store that may not be written, without a superuser's rights."""
    if os.getuid() == 0:
        os.setresuid(65_534, 65_534, 65_534)
    try:
        put([Path(folder) / "0.csv"], root=Path(root), kind="agg_trades", symbol="XRPUSDT")
    except DataError as e:
        note(progress, str(e))


def put_alternate(root: str, folder: str, first: int, progress: str) -> None:
    """Bring every second file in, while another process brings the others."""
    for number in range(first, 8, 2):
        put([Path(folder) / f"{number}.csv"], root=Path(root), kind="agg_trades", symbol="XRPUSDT")
    note(progress, "done")


def backfill_small_disk(root: str, url: str, start_ms: int, end_ms: int, progress: str) -> None:
    """Back-fill while no file may grow beyond 6 kB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))
    try:
        backfill(root, url, start_ms, end_ms, f"{progress}.ignored")
    except DataError as e:
        note(progress, str(e))
