"""
What became of every file that was brought: ``ledger.jsonl`` of the store, one line a file and command, oldest first.

A refused file leaves no row behind; its name, hash, time and reason stand here, so that a person sees later what is
missing and why. Lines are appended with one ``write`` and synchronised; a line that a power cut tore is passed over.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from catalog.raw.sources import digest_of

FILE = "ledger.jsonl"

type State = Literal["stored", "unchanged", "quarantined", "refused"]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """
    A file and what became of it.

    Attributes
    ----------
    at : str
        ISO-8601 UTC.
    file, sha256 : str
        Path as it was given; hash of its bytes, empty when it could not be read.
    kind, symbol, interval : str
        What it was brought as.
    state : str
        ``stored``; ``unchanged`` (brought before); ``quarantined`` (stored without the rows put aside); ``refused``.
    rows : int
        Rows read; 0 when refused.
    reason : str
        Of a refusal, as it was told; of a quarantine, how many rows were put aside.

    """

    at: str
    file: str
    sha256: str
    kind: str
    symbol: str
    interval: str | None
    state: State
    rows: int = 0
    reason: str = ""


_DECODER = msgspec.json.Decoder(Line)


def line(
    path: Path,
    kind: str,
    symbol: str,
    interval: str | None,
    state: State,
    *,
    rows: int = 0,
    reason: str = "",
    sha256: str | None = None,
) -> Line:
    """Return a line of now."""
    return Line(
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        file=str(path),
        sha256=digest_of(path) if sha256 is None else sha256,
        kind=kind,
        symbol=symbol,
        interval=interval,
        state=state,
        rows=rows,
        reason=reason,
    )


def append(folder: Path, lines: Sequence[Line]) -> None:
    """Append lines. Degraded: what cannot be written is left out, it must not hide why a file was refused."""
    with suppress(OSError):
        descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            end = os.lseek(descriptor, 0, os.SEEK_END)
            torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
            text = b"".join(msgspec.json.encode(one) + b"\n" for one in lines)
            os.write(descriptor, (b"\n" if torn else b"") + text)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def refused(
    folder: Path, paths: Sequence[Path], error: Exception, kind: str, symbol: str, interval: str | None
) -> None:
    """Note which of `paths` an error refuses: the one its message begins with, else all of them."""
    text = str(error)
    named = [path for path in paths if text.startswith(str(path))] or list(paths)
    if folder.is_dir():
        append(folder, [line(path, kind, symbol, interval, "refused", reason=text) for path in named])


def read(folder: Path) -> list[Line]:
    """Return all lines that are whole, oldest first; none when nothing was brought yet."""
    try:
        content = (folder / FILE).read_bytes()
    except FileNotFoundError:
        return []
    found = []
    for text in content.splitlines():
        with suppress(msgspec.MsgspecError):
            found.append(_DECODER.decode(text))
    return found
