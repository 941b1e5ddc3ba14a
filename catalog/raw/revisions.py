"""
What stood in the raw store before a row was corrected: under ``<root>/revisions``, in files called like the corrected.

A correction is not applied backwards: at an instant before it, the old row was what was known. Rows that were only
completed (a bar saved before it closed) are no correction: nobody should ever have seen them.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from catalog.raw import days as raw_days
from catalog.raw.change import Change
from catalog.raw.csv_blocks import schema_of
from catalog.raw.day_files import DAY_NS, DayWriter, day_name, read
from catalog.raw.kinds import KINDS, Kind

FOLDER = "revisions"
REPLACED = "replaced_ns"


def keep(change: Change, kind: Kind, live: Path, olds: pa.Table, now_ns: int) -> None:
    """Stage rows that `now_ns` replaces, behind those kept before; they become visible with the change."""
    file = change.root / FOLDER / live.relative_to(change.root)
    schema = schema_of(kind).append(pa.field(REPLACED, pa.int64(), nullable=False))
    before = change.current(file)
    rows = olds.append_column(REPLACED, pa.array(np.full(olds.num_rows, now_ns, dtype=np.int64))).cast(schema)
    writer = DayWriter(change.new_file(), schema)
    if before is not None:
        writer.add(read(before))
    writer.add(rows)
    writer.close()
    change.staged[file] = writer.file


def load(root: Path, kind: str, symbol: str, interval: str | None, start_ns: int, end_ns: int) -> pa.Table | None:
    """
    Return the rows of the days ``[start, end)`` that were replaced, with `replaced_ns`; None when there are none.

    Raises
    ------
    DataError
        Propagate: a file is damaged.

    """
    folder = root / FOLDER / raw_days.series_path(root, KINDS[kind], symbol, interval).relative_to(root)
    first, last = (day_name(at // DAY_NS) for at in (start_ns, end_ns - 1))

    def touched(name: str) -> bool:
        return first[: len(name)] <= name <= last[: len(name)]

    found = [read(file) for file in sorted(folder.glob("*.parquet")) if touched(file.stem)]
    return pa.concat_tables(found) if found else None
