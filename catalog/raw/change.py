"""
Files of the raw store being changed together: staged beside, then noted, then renamed one after the other.

A command writes its files under ``.staging``, then notes which file goes where and which goes away, then does it.
Killed before the note: nothing happened. Killed after it: the next reader or writer finishes.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from catalog.raw.day_files import Day, DayWriter, MonthWriter, described, read
from catalog.raw.kinds import Kind
from catalog.store import flocked, write_json
from strategies.errors import DataError

_KEPT_BYTES = 64 << 20
"""So much of what was written is still known when it is inspected; the rest is read again."""
_STAGING, _LOCK, _INTENT = ".staging", ".lock", "intent.json"
QUALITY = ".quality.json"
"""Ending of the file with the findings, beside the rows."""


class Change:
    """
    Days being changed together; the caller holds the store's lock through :func:`changing`.

    Attributes
    ----------
    staged : dict[Path, Path]
        Live file to the file that will take its place.
    leaving : set[Path]
        Live files that go away.

    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staged: dict[Path, Path] = {}
        self.leaving: set[Path] = set()
        self._rows: dict[Path, pa.Table] = {}
        self._count = 0

    def new_file(self) -> Path:
        """Return a name for a file to be staged."""
        self._count += 1
        return self.root / _STAGING / f"{self._count:06d}.parquet"

    def current(self, live: Path) -> Path | None:
        """Return the file that holds a day now, staged or live, None when there is none."""
        found = self.staged.get(live, live)
        return found if found.exists() else None

    def stored(self, folder: Path, kind: Kind, period: str) -> list[Day]:
        """
        Return the days of a period as they are now, staged or live, oldest first.

        Raises
        ------
        DataError
            Propagate: a file is damaged.

        """
        file = self.current(folder / f"{period}.parquet")
        found = [] if file is None else described(file)
        if not kind.monthly:
            return [replace(day, day=period) for day in found]  # a staged file is not called like its day
        found += [described(f)[0] for f in by_day(folder, period) if f not in self.leaving]
        return sorted({day.day: day for day in reversed(found)}.values(), key=lambda day: day.day)

    def stage(self, live: Path, writer: DayWriter | MonthWriter, kind: Kind) -> None:
        """Have what was written take the place of `live`; of a month, the files that an older version left go."""
        self.staged[live] = writer.file
        if isinstance(writer, MonthWriter) and writer.rows is not None:
            self._rows.pop(live, None)
            if sum(rows.nbytes for rows in self._rows.values()) < _KEPT_BYTES:
                self._rows[live] = writer.rows
        if kind.monthly:
            for day in by_day(live.parent, live.stem):
                self.leaving |= {day, day.with_name(f"{day.stem}{QUALITY}")}

    def rows(self, live: Path) -> pa.Table:
        """Return what is staged for a file."""
        known = self._rows.get(live)
        return read(self.staged[live]) if known is None else known

    def state(self) -> tuple[dict[Path, Path], set[Path]]:
        """Return what is staged so far, for :meth:`back_to`."""
        return dict(self.staged), set(self.leaving)

    def back_to(self, state: tuple[dict[Path, Path], set[Path]]) -> None:
        """Forget what was staged since."""
        self.staged, self.leaving = dict(state[0]), set(state[1])
        self._rows.clear()

    def commit(self) -> None:
        """Make everything staged visible."""
        if not self.staged:
            return
        for file in self.staged.values():
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())
        moves = [[file.name, str(live.relative_to(self.root))] for live, file in self.staged.items()]
        moves += [["", str(live.relative_to(self.root))] for live in sorted(self.leaving)]
        write_json(self.root / _STAGING / _INTENT, moves)
        _finish(self.root)


class _Cleaner:
    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> None:
        _finish(self._root)
        shutil.rmtree(self._root / _STAGING, ignore_errors=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self._root / _STAGING, ignore_errors=True)


@contextmanager
def changing(root: Path, wait_seconds: float = 60.0) -> Iterator[Change]:
    """
    Hold the store for one change; finishes or discards what a killed writer left behind. Commit is the caller's.

    Raises
    ------
    DataError
        Defer: another process holds it. Propagate: disk full or no permission; the store is as before.

    """
    with flocked(root / _LOCK, wait_seconds), _Cleaner(root):
        (root / _STAGING).mkdir(parents=True, exist_ok=True)
        try:
            yield Change(root)
        except OSError as e:
            raise DataError(f"{root}: cannot be written: {e.strerror or e}; the store is as it was before") from None


def recover(root: Path) -> None:
    """Finish a change that a killed writer had noted; does nothing otherwise."""
    if (root / _STAGING / _INTENT).exists():
        with flocked(root / _LOCK, 60.0):
            _finish(root)


def _finish(root: Path) -> None:
    note = root / _STAGING / _INTENT
    if not note.exists():
        return
    folders = set()
    for name, target in json.loads(note.read_text(encoding="utf-8")):
        file, live = root / _STAGING / name, root / target
        if not name:
            live.unlink(missing_ok=True)
        elif file.exists():
            live.parent.mkdir(parents=True, exist_ok=True)
            file.replace(live)
        folders.add(live.parent)
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    note.unlink()


def by_day(folder: Path, month: str) -> list[Path]:
    """Return the files of single days of a month, which versions before 2026-11-26 wrote of every kind."""
    return sorted(folder.glob(f"{month}-??.parquet"))
