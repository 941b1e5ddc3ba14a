"""The store under SIGKILL, two writers, a file system that cannot exchange directories, and a full disk."""

import multiprocessing
import os
import random
import runpy
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from catalog import store
from catalog.ingest import main
from catalog.instruments import bar_type_text
from catalog.reader import coverage, load_bars
from catalog.writer import ingest_klines
from strategies.errors import DataError

from .conftest import rows

BARS = bar_type_text("XRPUSDT", "15m")
PIECE = 40
PIECES = 30

GROW = """
import errno, os, pathlib, sys
sys.path.insert(0, root)
from catalog import store
from catalog.writer import ingest_klines
if not exchange:
    def refuse(one, other):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    store._exchange_names = refuse
folder, catalog = pathlib.Path(folder), pathlib.Path(catalog)
for number in range(first, pieces):
    ingest_klines([folder / f"{number}.csv"], catalog=catalog, symbol="XRPUSDT", interval="15m")
    with open(progress, "a") as handle:
        handle.write(f"{number}\\n")
"""


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Return a context whose processes start in milliseconds: imports are done once, in the fork server."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["catalog.writer", "nautilus_trader.model.data", "runpy"])
    return context


@pytest.fixture
def grow(tmp_path: Path, processes: ForkServerContext) -> Callable[..., ForkServerProcess]:
    """Return a function that starts a process which ingests piece after piece and notes each committed one."""
    script = tmp_path / "grow.py"
    script.write_text(GROW)
    folder = tmp_path / "pieces"
    folder.mkdir()
    table = rows(PIECE * PIECES)
    for number in range(PIECES):
        piece = table[number * PIECE : (number + 1) * PIECE]
        (folder / f"{number}.csv").write_text("\n".join(",".join(row) for row in piece))

    def start(catalog: Path, first: int = 0, exchange: bool = True, name: str = "progress") -> ForkServerProcess:
        values: dict[str, Any] = {
            "root": str(Path(__file__).resolve().parents[2]),
            "folder": str(folder),
            "catalog": str(catalog),
            "first": first,
            "pieces": PIECES,
            "exchange": exchange,
            "progress": str(tmp_path / name),
        }
        process = processes.Process(target=runpy.run_path, args=(str(script), values))
        process.start()
        return process

    return start


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
def test_sigkill_at_any_instant_leaves_the_old_or_the_new_state(
    exchange: bool, grow: Callable[..., ForkServerProcess], catalog: Path, tmp_path: Path, seed: int
) -> None:
    source = random.Random(seed)
    expected = [row[4] for row in rows(PIECE * PIECES)]
    committed, kills = 0, 0
    while committed < PIECES:
        process = grow(catalog, committed, exchange)
        deadline = time.monotonic() + 20
        progress = tmp_path / "progress"
        start = progress.stat().st_size if progress.exists() else 0
        while process.is_alive() and (progress.stat().st_size if progress.exists() else 0) == start:
            assert time.monotonic() < deadline, "no piece was committed in 20 s"
        spin = time.perf_counter() + source.random() * 0.06  # a piece takes about 15 ms: the kill lands anywhere in it
        while time.perf_counter() < spin:
            pass
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
        if exchange and (catalog / "data" / store.BARS).exists():
            (file,) = (catalog / "data" / store.BARS).rglob("*.parquet")  # what Nautilus would read, without our repair
            pq.read_table(file)
        noted = len(progress.read_text().splitlines()) if progress.exists() else 0
        count = coverage(catalog, "XRPUSDT", "15m")[2]
        assert count % PIECE == 0, f"a part of a piece is visible (seed {seed})"
        assert noted * PIECE <= count <= (noted + 1) * PIECE, f"a committed piece is lost (seed {seed})"
        closes = load_bars(catalog, "XRPUSDT", "15m").close
        assert [f"{value:.4f}" for value in closes] == expected[:count], f"seed {seed}"
        committed = count // PIECE
        progress.write_text("".join(f"{n}\n" for n in range(committed)))
    assert kills >= 3, f"too few kills to prove anything (seed {seed})"
    with store.locked(catalog):
        assert not (catalog / ".staging").exists()


def test_the_intent_of_a_killed_writer_is_finished_by_the_next_reader(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for number, count in enumerate((10, 20)):
        paths.append(tmp_path / f"{number}.csv")
        paths[-1].write_text("\n".join(",".join(row) for row in rows(count)))
    ingest_klines(paths[:1], catalog=catalog, symbol="XRPUSDT", interval="15m")
    monkeypatch.setattr(store, "_exchange_names", _refuse_exchange)
    rename = Path.rename

    for killed_at in (0, 1):
        calls = iter(range(9))

        def killed(self: Path, target: Path, at: int = killed_at, calls: Any = calls) -> Path:
            if self.parent.name == ".staging" or self.parent.parent.name == "data":
                assert next(calls) != at, "killed"
            return rename(self, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", killed)
            with pytest.raises(AssertionError, match="killed"):
                ingest_klines(paths[1:], catalog=catalog, symbol="XRPUSDT", interval="15m")
        assert coverage(catalog, "XRPUSDT", "15m")[2] == 20  # announced, so completed by the reader
        shorter = tmp_path / "again"
        shorter.mkdir(exist_ok=True)
        store.remove_series(catalog, store.BARS, BARS)
        ingest_klines(paths[:1], catalog=catalog, symbol="XRPUSDT", interval="15m")


def _refuse_exchange(one: Path, other: Path) -> None:
    raise OSError(22, "Invalid argument")


def test_two_writers_at_once_lose_nothing(grow: Callable[..., ForkServerProcess], catalog: Path) -> None:
    both = [grow(catalog, 0, name="one"), grow(catalog, PIECES // 2, name="two")]
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert coverage(catalog, "XRPUSDT", "15m")[2] == PIECE * PIECES


def test_a_writer_that_waits_too_long_says_so(catalog: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",".join(rows(1)[0]))
    arguments = ["klines", "--symbol", "XRPUSDT", "--interval", "15m", "--from", str(path), "--catalog", str(catalog)]
    with store.locked(catalog), pytest.raises(DataError, match=r"another process has been writing for 0\.2 s"):
        main([*arguments, "--wait", "0.2"])
    assert main(arguments) == 0


def test_a_full_disk_leaves_the_series_as_it_was(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, count in enumerate((10, 20)):
        (tmp_path / f"{number}.csv").write_text("\n".join(",".join(row) for row in rows(count)))
    ingest_klines([tmp_path / "0.csv"], catalog=catalog, symbol="XRPUSDT", interval="15m")
    write = pq.write_table

    def full(table: Any, where: Path, **options: Any) -> None:
        write(table, where, **options)
        os.truncate(where, 100)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pq, "write_table", full)
        with pytest.raises(DataError, match="No space left on device; the series is as it was before"):
            ingest_klines([tmp_path / "1.csv"], catalog=catalog, symbol="XRPUSDT", interval="15m")
    assert coverage(catalog, "XRPUSDT", "15m")[2] == 10
    assert ingest_klines([tmp_path / "1.csv"], catalog=catalog, symbol="XRPUSDT", interval="15m").added == 10
