"""
Which files were brought in whole: ``<root>/sources/<kind>/<symbol>[/<interval>].json``, by the SHA-256 of their bytes.

A file whose days are stored with the content they had after it was brought need not be read again: a command that
is repeated, or goes on after an interruption, passes over such files. The note is made visible together with the days.
"""

import hashlib
from pathlib import Path

import msgspec

from catalog.raw import days as raw_days
from catalog.raw.days import Change

FOLDER = "sources"


class Brought(msgspec.Struct, frozen=True):
    """A file: its name when it was brought, its rows, and the content hash of every day it touches."""

    name: str
    rows: int
    days: dict[str, str]


class Sources:
    """
    The files of one series.

    Parameters
    ----------
    change : Change
        The change under way; staged days count as stored.
    folder : Path
        Where the days of the series stand.

    """

    def __init__(self, change: Change, folder: Path) -> None:
        self._change, self._folder = change, folder
        self._live = (change.root / FOLDER / folder.relative_to(change.root)).with_suffix(".json")
        self._new: list[tuple[str, str, int, list[str]]] = []
        try:
            self._known = msgspec.json.decode(self._live.read_bytes(), type=dict[str, Brought])
        except (OSError, msgspec.MsgspecError):
            self._known = {}  # degraded: files are read again

    def brought(self, digest: str) -> Brought | None:
        """
        Return what is known of a file, None when it has to be read.

        Raises
        ------
        DataError
            Propagate: a stored day is damaged.

        """
        known = self._known.get(digest)
        if known is None or any(self._hash(day) != sha256 for day, sha256 in known.days.items()):
            return None
        return known

    def add(self, digest: str, path: Path, rows: int, days: list[str]) -> None:
        """Note a file that was read without leaving a row out or declaring it right."""
        self._new.append((digest, path.name, rows, days))

    def stage(self) -> None:
        """Stage the note, with the days as they are after all files of the command."""
        if not self._new:
            return
        for digest, name, rows, days in self._new:
            self._known[digest] = Brought(name, rows, {day: self._hash(day) for day in days})
        target = self._change.new_file().with_suffix(".json")
        target.write_bytes(msgspec.json.format(msgspec.json.encode(self._known), indent=1) + b"\n")
        self._change.staged[self._live] = target

    def _hash(self, day: str) -> str:
        file = self._change.current(self._folder / f"{day}.parquet")
        return "" if file is None else raw_days.describe(file).sha256


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; empty when it cannot be read, which its reader says better."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError:
        return ""
