"""
The exchange's public archive: monthly zips with a ``.CHECKSUM`` beside each, no key needed.

Offline must be noticed at once: :func:`reachable` answers within three seconds whatever the resolver does. Downloads go
beside (``.NAME.part``) and are renamed once their SHA-256 matches, so a file that exists under its name is whole. A
second run fetches only what is missing, of a broken download only the rest.
"""

import fcntl
import hashlib
import http.client
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from catalog.progress import Progress
from catalog.raw.kinds import KINDS
from strategies.errors import DataError

BASE_URL = "https://data.binance.vision"

_CONNECT_SECONDS = 3.0
_READ_SECONDS = 10.0
_CHUNK = 1 << 16


def months(start_ns: int, end_ns: int) -> list[str]:
    """Return the calendar months (``2025-03``) that ``[start, end)``, UTC ns, touches."""
    first = datetime.fromtimestamp(start_ns // 1_000_000_000, tz=UTC)
    last = datetime.fromtimestamp((end_ns - 1) // 1_000_000_000, tz=UTC)
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    numbers = [first.year * 12 + first.month - 1 + i for i in range(count)]
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in numbers]


def klines_path(symbol: str, interval: str, month: str) -> str:
    """Return the archive's path of a month of USD-M klines."""
    return f"data/futures/um/monthly/klines/{symbol}/{interval}/{symbol}-{interval}-{month}.zip"


def funding_path(symbol: str, month: str) -> str:
    """Return the archive's path of a month of USD-M funding settlements."""
    return f"data/futures/um/monthly/fundingRate/{symbol}/{symbol}-fundingRate-{month}.zip"


def raw_path(kind: str, symbol: str, period: str, interval: str | None = None) -> str:
    """
    Return the archive's path of a day (``2025-03-05``) or month (``2025-03``) of any data type.

    Parameters
    ----------
    kind : str
        One of :data:`catalog.raw.kinds.KINDS`.

    Raises
    ------
    DataError
        Propagate: the archive has no such type, or does not cut it so; an interval is missing or does not belong there.

    """
    table = KINDS[kind]
    cadence = "daily" if re.fullmatch(r"\d{4}-\d\d-\d\d", period) else "monthly"
    if not table.archive:
        raise DataError(f"{kind}: the archive has no such type: bring files with `python -m catalog.raw put`")
    if cadence not in table.cadence or not re.fullmatch(r"\d{4}-\d\d(-\d\d)?", period):
        forms = " or ".join({"daily": "2025-03-05", "monthly": "2025-03"}[name] for name in table.cadence)
        raise DataError(f"{kind}: {period}: the archive has files for {forms}")
    if table.interval != bool(interval):
        raise DataError(f"{kind}: {'give' if table.interval else 'there is no'} --interval")
    folder = f"data/futures/um/{cadence}/{table.archive}/{symbol}"
    if interval:
        return f"{folder}/{interval}/{symbol}-{interval}-{period}.zip"
    return f"{folder}/{symbol}-{table.archive}-{period}.zip"


def reachable(path: str, base_url: str = BASE_URL, seconds: float = _CONNECT_SECONDS) -> bool:
    """Return whether the archive answers at all within `seconds`, be it that it lacks `path`; never raises."""
    answers: list[bool] = []
    done = threading.Event()

    def ask() -> None:
        try:
            with _open(f"{base_url}/{path}.CHECKSUM", seconds):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)
        except (OSError, ValueError):
            answers.append(False)
        done.set()

    # A thread, because resolving a name has no time-out of its own; as a daemon it cannot hold the process up.
    threading.Thread(target=ask, daemon=True).start()
    return done.wait(seconds) and answers[0]


def fetch(
    paths: Sequence[str],
    into: Path,
    base_url: str = BASE_URL,
    seconds: float = 180.0,
    progress: Progress | None = None,
) -> list[Path]:
    """
    Download what is missing, each file verified against its checksum, and return the local files in order.

    Parameters
    ----------
    paths : Sequence[str]
        Paths below `base_url`.
    into : Path
        Directory; created. Whole files found there are kept.
    seconds : float
        For everything together.
    progress : Progress, optional
        Told the number of files and each file done.

    Raises
    ------
    DataError
        Unavailable: no answer, file not in the archive, checksum wrong, time over. Whole files stay for the next try.

    """
    into.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    progress = progress or Progress()
    progress.expect(len(paths))

    def one(path: str) -> Path:
        file = _fetch_one(path, into, base_url, deadline)
        progress.advance(1)
        return file

    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(one, paths))


def _fetch_one(path: str, into: Path, base_url: str, deadline: float) -> Path:
    url, file = f"{base_url}/{path}", into / Path(path).name
    if file.exists():
        return file
    beside = file.with_name(f".{file.name}.part")
    try:
        expected = b"".join(_chunks(f"{url}.CHECKSUM", deadline)).decode("ascii", errors="replace").split()
        with beside.open("a+b") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(f"{url}: another process is downloading it to {into}: wait for it to end") from None
            _resume(url, handle, deadline)
            handle.seek(0)
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
            if not expected or digest != expected[0].lower():
                beside.unlink(missing_ok=True)
                raise DataError(f"{url}: the checksum does not match: run the command again, the file was not kept")
            os.fsync(handle.fileno())
            beside.replace(file)
    except urllib.error.HTTPError as e:
        raise DataError(
            f"{url}: the archive answers {e.code} {e.reason}: is symbol, interval or month right?"
        ) from None
    except (OSError, http.client.HTTPException) as e:
        raise DataError(f"{url}: cannot be downloaded: {e}: run the command again when online") from None
    finally:
        if beside.exists() and beside.stat().st_size == 0:
            beside.unlink(missing_ok=True)
    return file


def _resume(url: str, handle: BinaryIO, deadline: float) -> None:
    # What came before is trusted only as far as the checksum of the whole, which the caller compares.
    there = handle.seek(0, os.SEEK_END)
    try:
        response = _open(url, _READ_SECONDS, {"Range": f"bytes={there}-"} if there else {})
    except urllib.error.HTTPError as e:
        if e.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return  # all of it is there already, or too much: the checksum tells
    with response:
        if there and response.status != HTTPStatus.PARTIAL_CONTENT:
            handle.truncate(0)
            there = 0
        expected = response.headers.get("Content-Length")
        received = 0
        while chunk := response.read(_CHUNK):
            if time.monotonic() > deadline:
                raise TimeoutError("the time for the download is over")
            handle.write(chunk)
            received += len(chunk)
        handle.flush()
        if expected is not None and received < int(expected):
            raise ConnectionError(f"the connection ended after {there + received} bytes")


def _chunks(url: str, deadline: float) -> list[bytes]:
    chunks = []
    with _open(url, _READ_SECONDS) as response:
        while chunk := response.read(_CHUNK):
            if time.monotonic() > deadline:
                raise TimeoutError("the time for the download is over")
            chunks.append(chunk)
    return chunks


def _open(url: str, seconds: float, headers: dict[str, str] | None = None):  # type: ignore[no-untyped-def]  # noqa: ANN202 - urlopen's type is private to it
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url}: not an http address")
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=seconds)  # noqa: S310 - the scheme is checked above
