"""The instruments and limits as the exchange told them: one dated file for every change, none when nothing changed."""

import gzip
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from catalog.store import flocked
from strategies.errors import DataError

FOLDER = "exchange_info"


def keep(root: Path, info: dict[str, Any], now_ms: int) -> Path | None:
    """
    Store what the exchange told, unless the newest stored says the same; return the file, None when nothing changed.

    Clock and the order of symbols and filters, which is not stable, do not count as a change.

    Raises
    ------
    DataError
        Propagate: disk full or no permission; what is stored is as it was.

    """
    folder = root / FOLDER
    content = normalised(info)
    with flocked(root / ".lock", 60.0):
        newest = max(folder.glob("*.json.gz"), default=None)
        if newest is not None and load(newest)["sha256"] == digest(content):
            return None
        at = datetime.fromtimestamp(now_ms / 1000, tz=UTC)
        file = folder / f"{at:%Y-%m-%dT%H-%M-%S}Z.json.gz"
        document = {"received_ms": now_ms, "sha256": digest(content), "exchange_info": content}
        beside = folder / f".{file.name}.part"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as handle:
                handle.write(gzip.compress(json.dumps(document, sort_keys=True).encode(), mtime=0))
                handle.flush()
                os.fsync(handle.fileno())
            beside.replace(file)
        except OSError as e:
            beside.unlink(missing_ok=True)
            raise DataError(f"{file}: cannot be written: {e.strerror or e}; what is stored is as it was") from None
    return file


def asof(root: Path, time_ms: int) -> dict[str, Any] | None:
    """Return what was known of the instruments at an instant: the newest snapshot received by then, None before."""
    files = sorted((root / FOLDER).glob("*.json.gz"), reverse=True)
    return next((d["exchange_info"] for d in map(load, files) if d["received_ms"] <= time_ms), None)


def load(file: Path) -> dict[str, Any]:
    """
    Return a stored document: ``received_ms``, ``sha256``, ``exchange_info``.

    Raises
    ------
    DataError
        Propagate: damaged.

    """
    try:
        document: dict[str, Any] = json.loads(gzip.decompress(file.read_bytes()))
    except (OSError, EOFError, ValueError) as e:
        raise DataError(f"{file}: damaged: {e}; remove it, the next fetch writes a new one") from None
    if digest(document.get("exchange_info")) != document.get("sha256"):
        raise DataError(f"{file}: its content is not what was stored; remove it, the next fetch writes a new one")
    return document


def digest(content: Any) -> str:
    """Return the SHA-256 of a normalised answer."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def normalised(info: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without its clock, symbols and filters in a fixed order."""
    content = {name: value for name, value in info.items() if name != "serverTime"}
    symbols = []
    for row in sorted(info.get("symbols", []), key=lambda r: str(r.get("symbol"))):
        filters = sorted(row.get("filters", []), key=lambda f: str(f.get("filterType")))
        symbols.append({**row, "filters": filters} if "filters" in row else row)
    content["symbols"] = symbols
    return content
