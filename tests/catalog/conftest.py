"""A small market as files and as a catalog."""

import csv
import gzip
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

DAY_MS = 86_400_000
START_MS = 1_741_132_800_000  # 2025-03-05T00:00:00Z
STEP_MS = 900_000

type Row = list[str]


def rows(count: int, *, start_ms: int = START_MS, step_ms: int = STEP_MS, seed: int = 1) -> list[Row]:
    """Return valid six-column XRP rows."""
    source = random.Random(seed)
    price, result = 24_500, []
    for i in range(count):
        opened = price
        price = max(price + source.randint(-40, 40), 100)
        high, low = max(opened, price) + source.randint(0, 20), min(opened, price) - source.randint(0, 20)
        figures = [f"{value / 10_000:.4f}" for value in (opened, high, low, price)]
        result.append([str(start_ms + i * step_ms), *figures, f"{source.randint(0, 90_000_000) / 10:.1f}"])
    return result


HEADER = ["open_time", "open", "high", "low", "close", "volume"]


def official(six: Row, step_ms: int = STEP_MS) -> Row:
    """Return the exchange's twelve columns for a six-column row."""
    close_time = str(int(six[0]) + step_ms - 1)
    return [*six, close_time, "1000.5", "42", "10.0", "20.5", "0"]


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes rows to a file, gzipped when the name says so."""

    def write(table: Sequence[Sequence[str]], name: str = "bars.csv", header: Sequence[str] | None = None) -> Path:
        path = tmp_path / name
        opener = gzip.open if name.endswith(".gz") else open
        with opener(path, "wt", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            if header:
                writer.writerow(header)
            writer.writerows(table)
        return path

    return write


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return tmp_path / "catalog"
