"""Where stored bars came from when no file of the exchange gave them: one line of JSON for each change."""

import json
import os
import time
from pathlib import Path
from typing import Any

from catalog.quality.report import write_text

FOLDER = "provenance"


def note(catalog: Path, symbol: str, interval: str, entry: dict[str, Any]) -> Path:
    """Append `entry` to the series' provenance; the file is replaced whole, beside-then-rename."""
    path = catalog / FOLDER / f"{symbol}-{interval}.jsonl"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    stamped = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "process": os.getpid(), **entry}
    write_text(path, old + json.dumps(stamped, sort_keys=True) + "\n")
    return path


def read(catalog: Path, symbol: str, interval: str) -> list[dict[str, Any]]:
    """Return what was noted about a series, oldest first."""
    path = catalog / FOLDER / f"{symbol}-{interval}.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
