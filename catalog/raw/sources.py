"""
Which files were brought in whole: ``<root>/sources/<kind>/<symbol>[/<interval>].json``, by the SHA-256 of their bytes.

A file whose days are stored with the content they had after it was brought need not be read again: a command that
is repeated, or goes on after an interruption, passes over such files. The note is made visible together with the days.
"""

import hashlib
from collections.abc import Collection
from pathlib import Path

import msgspec

from catalog.raw.change import Change
from catalog.raw.day_files import period_of
from catalog.raw.kinds import Kind

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
    kind : Kind
        What they are.

    """

    def __init__(self, change: Change, folder: Path, kind: Kind) -> None:
        self._change, self._folder, self._kind = change, folder, kind
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
        return known if known is not None and self._hashes(known.days) == known.days else None

    def add(self, digest: str, path: Path, rows: int, days: list[str]) -> None:
        """Note a file that was read without leaving a row out or declaring it right."""
        self._new.append((digest, path.name, rows, days))

    def stage(self) -> None:
        """Stage the note, with the days as they are after all files of the command."""
        if not self._new:
            return
        for digest, name, rows, days in self._new:
            self._known[digest] = Brought(name, rows, self._hashes(days))
        target = self._change.new_file().with_suffix(".json")
        target.write_bytes(msgspec.json.format(msgspec.json.encode(self._known), indent=1) + b"\n")
        self._change.staged[self._live] = target

    def _hashes(self, days: Collection[str]) -> dict[str, str]:
        """Return the content hash of each of `days` as they are now, empty for one that is not there."""
        periods = {period_of(self._kind, day) for day in days}
        stored = [day for period in periods for day in self._change.stored(self._folder, self._kind, period)]
        return dict.fromkeys(days, "") | {day.day: day.sha256 for day in stored if day.day in days}


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; empty when it cannot be read, which its reader says better."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError:
        return ""
