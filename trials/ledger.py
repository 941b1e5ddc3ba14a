"""
The file itself: append-only, one JSON line per run, each line holding the hash of the one before.

A line is written with one ``write``, flushed to the disk, and only then acknowledged; what a kill leaves half-written
was never acknowledged and is cut off by the next append. ``<ledger>.head`` holds count and hash of the newest line, so
that lines taken from the end are missed too. Somebody who rewrites both files from the beginning is not detected by
them, but by the results: every result stores the hash of its line.
"""

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from strategies.errors import DataError
from trials.entries import Code, Entry, Head, Kind, SharpeSummary, Verification, digest_of
from trials.memory import remember

LEDGER_VARIABLE = "ARGONAUT_TRIALS"
DEFAULT_LEDGER = Path("var/research/trials.jsonl")
ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("actors", "catalog", "node", "research", "strategies", "trials")

_NOTHING = "0" * 64
_GIT_SECONDS = 20.0


def ledger_path(path: Path | None = None) -> Path:
    """Return `path`, else ``$ARGONAUT_TRIALS``, else ``var/research/trials.jsonl``."""
    return path or Path(os.environ.get(LEDGER_VARIABLE) or DEFAULT_LEDGER)


def config_hash(*parts: Any) -> str:
    """Return the SHA-256 of configurations (structs, dicts, lists, texts), independent of the order of keys."""
    return hashlib.sha256(msgspec.json.encode(msgspec.to_builtins(parts), order="sorted")).hexdigest()


@cache
def code_version() -> Code:
    """Return which code this process runs, read once per process."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return Code(files=digest.hexdigest())
    changed = _git("status", "--porcelain", "--", *PACKAGES)
    return Code(files=digest.hexdigest(), commit=commit, dirty=None if changed is None else bool(changed))


def record(
    kind: Kind,
    *,
    command: Sequence[str],
    symbols: Sequence[str],
    interval: str,
    config: Any,
    data_hash: str,
    trials: int,
    sharpe: SharpeSummary,
    best: dict[str, Any] | None = None,
    seed: int | None = None,
    result: str | Path | None = None,
    ledger: Path | None = None,
    catalog: Path | None = None,
) -> Entry:
    """
    Append one run and return its line, whose ``digest`` belongs into the result.

    Parameters
    ----------
    kind : str
        What sort of study.
    command : sequence of str
        ``sys.argv``, or what a person would type.
    symbols, interval : sequence of str, str
        Series used.
    config : Any
        The full configuration: a hash as 64 hex digits, or structs and plain data to hash.
    data_hash : str
        ``catalog.reader.data_hash``.
    trials : int
        Sets tried in this run, at least 1; an examination tries none.
    sharpe : SharpeSummary
        From :func:`trials.summarise`.
    best : dict, optional
        What was chosen, plain data without NaN.
    seed : int, optional
        Seed of the run.
    result : str or Path, optional
        Where the result lies.
    ledger : Path, optional
        Ledger file.
    catalog : Path, optional
        The catalog tried on, which remembers the line too (:mod:`trials.memory`).

    Raises
    ------
    DataError
        Propagate: the ledger cannot be written, or lines are missing at its end. A study that cannot be recorded must
        not report a figure.
    ValueError
        Propagate: `trials` is below 1, or an examination has some.

    """
    if (trials != 0) if kind == "examination" else (trials < 1):
        raise ValueError(f"trials: {trials}: a run tries at least one set, an examination none")
    path = ledger_path(ledger)
    hashed = config if isinstance(config, str) and len(config) == 64 else config_hash(config)
    code = code_version()
    with _locked(path) as handle:
        last = _newest(path, handle)
        entry = Entry(
            sequence=1 if last is None else last.sequence + 1,
            time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            kind=kind,
            command=[str(c) for c in command],
            symbols=list(symbols),
            interval=interval,
            config_hash=hashed,
            data_hash=data_hash,
            code=code,
            trials=trials,
            sharpe=sharpe,
            best=msgspec.to_builtins(best or {}),
            seed=seed,
            result=None if result is None else str(result),
            previous=_NOTHING if last is None else last.digest,
            digest="",
        )
        entry = msgspec.json.decode(msgspec.json.encode(entry), type=Entry)  # as it will be read: 1 becomes 1.0
        entry = msgspec.structs.replace(entry, digest=digest_of(entry))
        try:
            _write(handle, _line(entry))
            _write_head(path, Head(entries=entry.sequence, digest=entry.digest))
        except OSError as e:
            raise _unwritable(path, e) from None
    remember(catalog, entry)
    return entry


def ready(ledger: Path | None = None) -> None:
    """
    See that a line could be appended, before hours are spent on what could not be recorded.

    Raises
    ------
    DataError
        Fatal: the ledger cannot be written, or lines are missing at its end.

    """
    path = ledger_path(ledger)
    with _locked(path) as handle:
        _newest(path, handle)


def read(ledger: Path | None = None) -> list[Entry]:
    """
    Return every acknowledged line, oldest first; none if there is no ledger.

    Raises
    ------
    DataError
        Fail closed: a line was edited, removed or damaged; says which.

    """
    path = ledger_path(ledger)
    found, entries = _check(path)
    if not found.passed:
        where = "" if found.line is None else f", line {found.line}"
        raise DataError(
            f"{path}{where}: {found.reason}: {found.detail}; restore the file, "
            "or move it (and its .head) away and begin a new one: what was tried is then no longer known"
        )
    return entries


def verify(ledger: Path | None = None) -> Verification:
    """Return whether the ledger is whole; never raises for a damaged one."""
    return _check(ledger_path(ledger))[0]


def _check(path: Path) -> tuple[Verification, list[Entry]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as e:
        raise DataError(f"{path}: cannot be read: {e.strerror or e}") from None
    *lines, rest = content.split(b"\n")
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        problem = _problem(line, entries)
        if isinstance(problem, Entry):
            entries.append(problem)
            continue
        reason, detail = problem
        return Verification(passed=False, reason=reason, entries=len(entries), line=number, detail=detail), entries
    try:
        head = _read_head(path)
    except DataError as e:
        return Verification(passed=False, reason="head_stale", entries=len(entries), detail=str(e)), entries
    return _ending(entries, head, bool(rest)), entries


def _problem(line: bytes, before: list[Entry]) -> Entry | tuple[Any, str]:
    try:
        entry = msgspec.json.decode(line, type=Entry)
    except msgspec.MsgspecError as e:
        return "malformed", f"not a line of the ledger: {e}"
    if entry.digest != digest_of(entry) or _line(entry) != line + b"\n":
        return "edited", f"its content does not have the hash it names (recorded {entry.time})"
    if entry.sequence != len(before) + 1 or entry.previous != (before[-1].digest if before else _NOTHING):
        return "removed", f"it is run {entry.sequence} and does not follow the line before: lines are missing"
    return entry


def _ending(entries: list[Entry], head: Head | None, unfinished: bool) -> Verification:
    count = len(entries)
    if head is None:
        if count > 1:
            detail = "the .head file is gone: lines at the end may be missing"
            return Verification(passed=False, reason="head_missing", entries=count, detail=detail)
    elif head.entries > count:
        detail = f"{head.entries} runs were recorded, {count} are left"
        return Verification(passed=False, reason="truncated", entries=count, line=count + 1, detail=detail)
    elif head.entries < count - 1 or head.digest != entries[head.entries - 1].digest:
        detail = f"the .head file belongs to other lines (run {head.entries})"
        return Verification(passed=False, reason="head_stale", entries=count, detail=detail)
    if unfinished:
        detail = "the last line was never finished: its run was killed while recording"
        return Verification(passed=True, reason="unfinished", entries=count, line=count + 1, detail=detail)
    return Verification(passed=True, reason="intact" if count else "empty", entries=count)


def _newest(path: Path, handle: int) -> Entry | None:
    """Return the last line under the lock, after cutting off one that was never finished."""
    content = os.pread(handle, os.fstat(handle).st_size, 0)
    end = content.rfind(b"\n") + 1
    last = None
    if end:
        begin = content.rfind(b"\n", 0, end - 1) + 1
        try:
            last = msgspec.json.decode(content[begin:end], type=Entry)
        except msgspec.MsgspecError:
            raise DataError(f"{path}: its last line is damaged: see `python -m research.trials verify`") from None
        if last.digest != digest_of(last):
            raise DataError(f"{path}: its last line was edited: see `python -m research.trials verify`")
    head = _read_head(path)
    if head is not None and head.entries > (0 if last is None else last.sequence):
        raise DataError(
            f"{path}: {head.entries} runs were recorded and some are gone: see `python -m research.trials verify`"
        )
    if end < len(content):
        os.ftruncate(handle, end)
    return last


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not path.exists()
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError as e:
        raise _unwritable(path, e) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if fresh:
            _sync_folder(path.parent)
        yield handle
    finally:
        os.close(handle)


def _write(handle: int, line: bytes) -> None:
    if os.write(handle, line) != len(line):
        raise OSError("the disk took only a part of the line")
    os.fsync(handle)


def _write_head(path: Path, head: Head) -> None:
    beside = path.with_name(f".{path.name}.head-{os.getpid()}")
    with beside.open("wb") as file:
        file.write(msgspec.json.encode(head))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(_head_path(path))
    _sync_folder(path.parent)


def _head_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.head")


def _read_head(path: Path) -> Head | None:
    try:
        return msgspec.json.decode(_head_path(path).read_bytes(), type=Head)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as e:
        raise DataError(f"{_head_path(path)}: cannot be read: {e}") from None


def _line(entry: Entry) -> bytes:
    return msgspec.json.encode(entry) + b"\n"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: the trial ledger cannot be written: {error.strerror or error}")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
