"""
Rows that may not enter a series, kept with their source, place and reason: nobody loses a row to a rule.

``<root>/quarantine/<kind>/<symbol>/<file>.csv``, made visible together with the days of the same command.
"""

import csv
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalog.raw.change import Change
from catalog.raw.kinds import Kind

FOLDER = "quarantine"


class Aside:
    """
    What is put aside of one file.

    Parameters
    ----------
    source : Path
        The file; named in every row.
    kind : Kind
        Its columns.

    """

    def __init__(self, source: Path, kind: Kind) -> None:
        self.source, self.kind = source, kind
        self._rows: list[list[str]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: pa.Table, places: Sequence[str], reason: str) -> None:
        """Keep typed rows; `places` say where each stood."""
        for row, place in zip(rows.to_pylist(), places, strict=True):
            cells = [_text(row.get(column.name)) for column in self.kind.columns]
            self._rows.append([str(self.source), place, reason, *cells])

    def add_cells(self, line: int, cells: Sequence[str], reason: str) -> None:
        """Keep a line that could not be read as a row."""
        self._rows.append([str(self.source), f"line {line}", reason, *cells])

    def stage(self, change: Change, symbol: str) -> Path | None:
        """Stage what was kept beside what earlier commands kept of a file of this name; None when nothing was."""
        if not self._rows:
            return None
        live = change.root / FOLDER / self.kind.name / symbol / f"{self.source.name}.csv"
        before: list[list[str]] = []
        if live.exists():
            with live.open(newline="", encoding="utf-8") as handle:
                before = list(csv.reader(handle))[1:]
        known = {tuple(row) for row in before}
        target = change.new_file().with_suffix(".csv")
        with target.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(["source", "place", "reason", *(column.name for column in self.kind.columns)])
            writer.writerows([*before, *(row for row in self._rows if tuple(row) not in known)])
        change.staged[live] = target
        return live


def _text(value: Any) -> str:
    if value is None:
        return ""
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)
