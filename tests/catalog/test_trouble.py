"""Full disk, read-only store, two writers, one recorder: nothing stored is harmed and the error names the remedy."""

import multiprocessing
import shutil
import tempfile
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from catalog.raw.days import dataset_hash, days, load, verify
from catalog.recording import tape
from catalog.recording.segments import RecorderLock
from strategies.errors import DataError
from tests.catalog import kill_kit
from tests.catalog.backfill_kit import VenueThread
from tests.catalog.kill_kit import FILES, FIRST_NS, ROWS, message

START_MS = 1_741_132_800_000


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.catalog.kill_kit"])
    return context


def run(processes: ForkServerContext, *works: tuple[Any, ...]) -> None:
    started = [processes.Process(target=work, args=tuple(map(str_path, rest))) for work, *rest in works]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
        assert process.exitcode == 0


def str_path(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(FILES):
        ids = range(number * ROWS, (number + 1) * ROWS)
        lines = (f"{i},2.{i:04d},1.0,{i},{i},{START_MS + i * 120_000},true" for i in ids)
        (folder / f"{number}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that another user can reach: pytest's own are closed to everybody else."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    for path in (directory, *directory.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(directory)


def test_two_writers_at_once_lose_nothing(processes: ForkServerContext, folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "raw"
    run(
        processes,
        (kill_kit.put_alternate, root, folder, 0, tmp_path / "one"),
        (kill_kit.put_alternate, root, folder, 1, tmp_path / "two"),
    )
    ids = [i for table in load(root, "agg_trades", "XRPUSDT") for i in table["agg_trade_id"].to_pylist()]
    assert ids == list(range(8 * ROWS))
    assert not any(verify(day) for day in days(root, "agg_trades", "XRPUSDT"))


def test_a_read_only_store_is_named_and_unharmed(
    processes: ForkServerContext, folder: Path, open_directory: Path
) -> None:
    root, files = open_directory / "raw", open_directory / "files"
    shutil.copytree(folder, files)
    files.chmod(0o755)
    kill_kit.put([files / "1.csv"], root=root, kind="agg_trades", symbol="XRPUSDT")
    before = dataset_hash(days(root, "agg_trades", "XRPUSDT"))
    for path in (root, *root.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    progress = open_directory / "said"
    progress.touch(mode=0o666)
    progress.chmod(0o666)
    run(processes, (kill_kit.read_only, root, files, progress))
    said = progress.read_text()
    assert f"{root}: cannot be written" in said
    assert "choose another directory" in said
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert dataset_hash(days(root, "agg_trades", "XRPUSDT")) == before


def test_a_full_disk_ends_a_back_fill_and_what_was_stored_stays(processes: ForkServerContext, tmp_path: Path) -> None:
    root, progress = tmp_path / "raw", tmp_path / "said"
    with VenueThread(2) as venue:
        run(processes, (kill_kit.backfill_small_disk, root, venue.url, venue.start_ms, venue.now_ms, progress))
        said = progress.read_text()
        assert "cannot be written" in said
        assert "the store is as it was before" in said
        found = [day for kind, interval in kill_kit.SERIES for day in days(root, kind, "XRPUSDT", interval)]
        assert not any(verify(day) for day in found)
        assert not (root / ".staging").exists()
        kill_kit.backfill(str(root), venue.url, venue.start_ms, venue.now_ms, str(tmp_path / "ignored"))
        count = sum(day.rows for day in days(root, "klines", "XRPUSDT", "5m"))
        assert count == len(venue.bars["XRPUSDT"])


def test_a_full_disk_is_told_and_nothing_waiting_is_lost(processes: ForkServerContext, tmp_path: Path) -> None:
    progress = tmp_path / "said"
    run(processes, (kill_kit.full_disk, tmp_path / "recording", progress))
    first, told, last = progress.read_text().splitlines()
    committed, waiting = map(int, first.split())
    assert committed + waiting == 500
    assert waiting > 0
    assert told.split() == ["RECORDER_DISK", "RECORDER_DISK_OK"]
    assert last == "500 0"
    found = list(tape.entries(tmp_path / "recording"))
    assert [(e.stream, e.message) for e in found] == [message(n) for n in range(1, 501)]
    assert [e.ts_init for e in found] == [FIRST_NS + n for n in range(1, 501)]


def test_a_second_recorder_says_so(tmp_path: Path) -> None:
    lock = RecorderLock(tmp_path)
    with pytest.raises(DataError, match="another recorder writes here: stop it or choose"):
        RecorderLock(tmp_path)
    lock.release()
    RecorderLock(tmp_path).release()
