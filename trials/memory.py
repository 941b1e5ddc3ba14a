"""
What the data remember: a copy of every line of any ledger, kept beside the catalog it was tried on.

A search spread over several ledgers, or one whose ledger was thrown away before the winner was run again, leaves in the
last ledger a single try. The catalog was the same, so it counts there. Lines are copies, not a chain: whoever takes
this file away, or tries on a copy of the catalog, is not detected.

Errors: a catalog that cannot be written is *degraded*: the ledger's own line stands, and is all there is.
"""

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from trials.entries import Entry, digest_of

MEMORY = ".trials.jsonl"


def remember(catalog: Path | None, entry: Entry) -> None:
    """Append a line to the catalog's memory; nothing where there is no such folder, or it cannot be written."""
    if catalog is None or not catalog.is_dir():
        return
    with suppress(OSError):
        handle = os.open(catalog / MEMORY, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            os.write(handle, msgspec.json.encode(entry) + b"\n")
        finally:
            os.close(handle)


def remembered(catalog: Path | None) -> list[Entry]:
    """Return what a catalog remembers, oldest first; a line that was edited or never finished is passed over."""
    if catalog is None:
        return []
    try:
        lines = (catalog / MEMORY).read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with suppress(msgspec.MsgspecError):
            entry = msgspec.json.decode(line, type=Entry)
            if entry.digest == digest_of(entry):
                found.append(entry)
    return found


def joined(entries: Sequence[Entry], catalog: Path | None) -> list[Entry]:
    """Return the lines of a ledger and those its catalog remembers besides."""
    known = {e.digest for e in entries}
    return [*entries, *(e for e in remembered(catalog) if e.digest not in known)]
