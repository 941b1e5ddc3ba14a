"""kill -9 at random instants of ingest, back-fill and recording: nothing committed is lost, nothing partial is seen."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow.parquet as pq
import pytest

from catalog import building, manifest
from catalog.instruments import bar_type_text
from catalog.raw.days import dataset_hash, days, load, verify
from catalog.recording import tape
from catalog.recording.segments import RecorderLock, seal
from catalog.store import BARS, read_table
from tests.catalog import kill_kit
from tests.catalog.backfill_kit import VenueThread
from tests.catalog.conftest import rows
from tests.catalog.kill_kit import FILES, FIRST_NS, RECORDS, ROWS, SERIES, STEP_NS, message

FEW, MANY = 5, 100
START_MS = 1_741_132_800_000
Check = Callable[[list[str]], None]


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Return a context whose processes start in milliseconds: imports are done once, in the fork server."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.catalog.kill_kit"])
    return context


def kill_at_random(
    processes: ForkServerContext,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
    progress: Path,
    quiet: float,
    check: Check,
    restart: Callable[[], None],
    kills: int,
) -> None:
    """
    Start `work`, kill it, `check` what it noted; when it completes, `restart` from nothing; until `kills`.

    `quiet`: seconds of an undisturbed run.
    """
    seed = crc32(f"{os.environ.get('ARGONAUT_SEED', '1')} {work.__name__}".encode())
    source, killed, runs, completed = random.Random(seed), 0, 0, 0
    try:
        while killed < kills:
            began_file = progress.with_suffix(".began")
            began_file.unlink(missing_ok=True)
            process = processes.Process(target=kill_kit.begin, args=(str(began_file), work, *arguments, str(progress)))
            process.start()
            while not began_file.exists() and process.is_alive():
                process.join(0.001)
            process.join(source.random() * quiet / 3)
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL)
            killed += process.exitcode != 0
            runs += 1
            check(progress.read_text().splitlines() if progress.exists() else [])
            if process.exitcode == 0:
                completed += 1
                progress.unlink()
                restart()
        process = processes.Process(target=work, args=(*arguments, str(progress)))
        process.start()
        process.join()
        assert process.exitcode == 0
        print(f"seed {seed}: {killed} kills in {runs} runs, {completed} completed; {quiet:.2f} s undisturbed")  # noqa: T201 - for the record
        check(progress.read_text().splitlines())
    except BaseException:
        print(f"seed {seed}, after {killed} kills")  # noqa: T201 - shown with the failure
        raise


def undisturbed(processes: ForkServerContext, work: Callable[..., None], *arguments: Any) -> float:
    """Let `work` complete in a process of its own; return how long it took, s."""
    began_file = Path(f"{arguments[-1]}.began")
    process = processes.Process(target=kill_kit.begin, args=(str(began_file), work, *arguments))
    process.start()
    while not began_file.exists():
        process.join(0.001)
    began = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


def assert_whole(root: Path) -> None:
    """Every file that anybody can see is whole, before anything of ours repairs it."""
    for file in root.rglob("*.parquet"):
        if ".staging" not in file.parts:
            pq.read_table(file)


def remove(root: Path) -> Callable[[], None]:
    def again() -> None:
        root.rename(root.with_name(f"{root.name}-{time.monotonic_ns()}"))

    return again


HOW_OFTEN = pytest.mark.parametrize("kills", [FEW, pytest.param(MANY, marks=pytest.mark.soak)])


@HOW_OFTEN
@pytest.mark.parametrize("work", [kill_kit.ingest, kill_kit.ingest_each])
def test_ingest(work: Callable[..., None], kills: int, processes: ForkServerContext, tmp_path: Path) -> None:
    folder, root, quiet = tmp_path / "files", tmp_path / "raw", tmp_path / "quiet"
    folder.mkdir()
    for number in range(FILES):
        ids = range(number * ROWS, (number + 1) * ROWS)
        lines = (f"{i},2.{i:04d},1.0,{i},{i},{START_MS + i * 120_000},true" for i in ids)
        (folder / f"{number}.csv").write_text("\n".join(lines) + "\n")
    quiet_secs = undisturbed(processes, work, str(quiet), str(folder), str(tmp_path / "ignored"))
    expected = days(quiet, "agg_trades", "XRPUSDT")

    def check(noted: list[str]) -> None:
        assert_whole(root)
        found = days(root, "agg_trades", "XRPUSDT")
        assert not any(verify(day) for day in found)
        ids = [i for table in load(root, "agg_trades", "XRPUSDT") for i in table["agg_trade_id"].to_pylist()]
        assert ids == list(range(len(ids)))
        assert len(ids) % ROWS == 0, "a part of a file is visible"
        assert len(ids) >= ROWS * len(set(noted)), "a committed file is lost"

    kill_at_random(
        processes, work, (str(root), str(folder)), tmp_path / "noted", quiet_secs, check, remove(root), kills
    )
    assert dataset_hash(days(root, "agg_trades", "XRPUSDT")) == dataset_hash(expected)
    assert not (root / ".staging").exists()


@HOW_OFTEN
def test_ingest_through_raw(kills: int, processes: ForkServerContext, tmp_path: Path) -> None:
    folder, root, catalog = (tmp_path / name for name in ("files", "raw", "catalog"))
    folder.mkdir()
    lines = [",".join(row) for row in rows(FILES * ROWS, step_ms=60_000)]
    for number in range(FILES):
        (folder / f"{number}.csv").write_text("\n".join(lines[number * ROWS : (number + 1) * ROWS]) + "\n")
    work = kill_kit.ingest_through_raw
    quiet = (str(tmp_path / "quiet" / "raw"), str(tmp_path / "quiet" / "catalog"), str(folder))
    quiet_secs = undisturbed(processes, work, *quiet, str(tmp_path / "ignored"))

    def check(noted: list[str]) -> None:
        assert_whole(root)
        assert_whole(catalog)
        stored = sum(day.rows for day in days(root, "klines", "XRPUSDT", "1m"))
        assert stored % ROWS == 0, "a part of a file is visible"
        assert stored >= ROWS * len(noted), "a committed file is lost"
        table = read_table(catalog, BARS, bar_type_text("XRPUSDT", "1m"))
        built = 0 if table is None else table.num_rows
        assert ROWS * len(noted) <= built <= stored, "the catalog holds what the raw store lacks"

    def restart() -> None:
        remove(root)()
        remove(catalog)()

    kill_at_random(
        processes, work, (str(root), str(catalog), str(folder)), tmp_path / "noted", quiet_secs, check, restart, kills
    )
    known = manifest.read(catalog)
    assert known == manifest.read(Path(quiet[1]))
    shutil.rmtree(catalog)
    building.build(root, catalog)
    assert manifest.read(catalog) == known


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueThread]:
    with VenueThread(3) as running:
        yield running


@HOW_OFTEN
def test_backfill(kills: int, processes: ForkServerContext, venue: VenueThread, tmp_path: Path) -> None:
    root, quiet = tmp_path / "raw", tmp_path / "quiet"
    span = (venue.url, venue.start_ms, venue.now_ms)
    quiet_secs = undisturbed(processes, kill_kit.backfill, str(quiet), *span, str(tmp_path / "ignored"))

    def check(noted: list[str]) -> None:
        assert_whole(root)
        for kind, interval in SERIES:
            assert not any(verify(day) for day in days(root, kind, "XRPUSDT", interval))
            times = {t for table in load(root, kind, "XRPUSDT", interval) for t in table.column(0).to_pylist()}
            committed = {int(time) for name, time in map(str.split, noted) if name == kind}
            assert committed <= times, "a committed row is lost"

    kill_at_random(
        processes, kill_kit.backfill, (str(root), *span), tmp_path / "noted", quiet_secs, check, remove(root), kills
    )
    for kind, interval in SERIES:
        found, expected = (days(where, kind, "XRPUSDT", interval) for where in (root, quiet))
        assert dataset_hash(found) == dataset_hash(expected)


@HOW_OFTEN
def test_recording(kills: int, processes: ForkServerContext, tmp_path: Path) -> None:
    root, raw, quiet, quiet_raw = (tmp_path / name for name in ("recording", "raw", "quiet", "quiet-raw"))
    quiet_secs = undisturbed(processes, kill_kit.record, str(quiet), str(quiet_raw), str(tmp_path / "ignored"))

    def check(noted: list[str]) -> None:
        assert_whole(root)
        assert_whole(raw)
        lock = RecorderLock(root)
        seal(root)
        found = list(tape.entries(root))
        lock.release()
        assert len(found) >= max(map(int, noted), default=0), "a committed record is lost"
        for number, entry in enumerate(found, 1):
            assert entry.sequence == number
            assert (entry.stream, entry.message) == message(number)
            assert entry.ts_init == FIRST_NS + number * STEP_NS

    def restart() -> None:
        remove(root)()
        remove(raw)()

    kill_at_random(
        processes, kill_kit.record, (str(root), str(raw)), tmp_path / "noted", quiet_secs, check, restart, kills
    )
    assert len(list(tape.entries(root))) == RECORDS
    assert dataset_hash(tape.days(root)) == dataset_hash(tape.days(quiet))
    for kind in ("agg_trades", "liquidations"):
        assert dataset_hash(days(raw, kind, "XRPUSDT")) == dataset_hash(days(quiet_raw, kind, "XRPUSDT"))
    assert not any(verify(day) for day in tape.days(root))
    assert not list((root / "segments").iterdir())
