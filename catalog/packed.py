"""Packed files: which member of a zip is meant, and no more unpacked than market data can need."""

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

from strategies.errors import DataError

MOST_RATIO = 100
"""Unpacked bytes for each packed one; market data have 3 to 20, a file made to fill a disk or memory about 1,000."""
FREE_BYTES = 64 << 20
"""Below this the ratio is not looked at."""


class Bounded(io.RawIOBase):
    """
    A stream that refuses to give more than its packed size explains.

    Parameters
    ----------
    stream : binary stream
        What unpacks.
    path : Path
        The packed file.

    Raises
    ------
    DataError
        Propagate: from reading, when the limit is passed.

    """

    def __init__(self, stream: Any, path: Path) -> None:
        super().__init__()
        self._stream, self._path = stream, path
        self._left = most_bytes(path)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; return the bytes read."""
        count = int(self._stream.readinto(buffer))
        self._left -= count
        if self._left < 0:
            raise _too_much(self._path)
        return count


def most_bytes(path: Path) -> int:
    """Return how many bytes a packed file may unpack to."""
    return max(FREE_BYTES, MOST_RATIO * path.stat().st_size)


def csv_member(path: Path, archive: zipfile.ZipFile) -> str:
    """
    Return the one CSV of a zip.

    Raises
    ------
    DataError
        Propagate: there is none, there are several, or its size cannot be true.

    """
    names = [name for name in archive.namelist() if name.lower().endswith(".csv")]
    if len(names) != 1:
        inside = ", ".join(archive.namelist()[:3]) or "nothing"
        remedy = "unpack it and bring the files one by one" if names else "download the file again"
        raise DataError(f"{path}: content: {len(names)} CSV files in the archive, one expected ({inside}): {remedy}")
    if archive.getinfo(names[0]).file_size > most_bytes(path):
        raise _too_much(path, f"{archive.getinfo(names[0]).file_size}")
    return names[0]


def unzipped(path: Path, content: bytes) -> bytes:
    """Return the one CSV of a zip that is in memory; raises as :func:`csv_member` and ``zipfile`` do."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(csv_member(path, archive))


def gunzipped(path: Path, content: bytes) -> bytes:
    """Return what a gzip file holds; raises DataError when that is too much, and as ``gzip`` does."""
    with gzip.open(io.BytesIO(content)) as member:
        return io.BufferedReader(Bounded(member, path), 1 << 20).read()


def _too_much(path: Path, size: str = "") -> DataError:
    size = size or f"more than {most_bytes(path)}"
    return DataError(
        f"{path}: content: {path.stat().st_size} bytes unpack to {size}, which is no table: download the file again; "
        "nothing was stored"
    )
