"""Rows in conflict, all versions kept with the name of their source, outside the catalog's data."""

from pathlib import Path

import numpy as np

from catalog.quality.files import read_raw, time_column
from catalog.quality.kinds import depth_keys
from catalog.quality.report import write_text
from catalog.quality.row_checks import check_duplicates
from catalog.raw.kinds import KINDS
from strategies.errors import DataError


def quarantine_file(path: Path, into: Path) -> Path | None:
    """
    Write the rows of `path` whose time appears with different values to ``into/<file name>.conflicts.csv``.

    Returns
    -------
    Path or None
        What was written; None when nothing is in conflict or the file is not a table.

    """
    try:
        raw = read_raw(path)
        if raw.frame.empty or raw.kind in ("other", "messages"):
            return None
        time, _ = raw.times()
    except DataError:
        return None
    skipped = {time_column(raw.frame), "symbol", "close_time"}
    columns = [raw.floats(str(name)) for name in raw.frame.columns if name not in skipped]
    keys = time
    rising = KINDS[raw.raw_kind].rising if raw.raw_kind else None
    if rising is not None:
        numbers = raw.columns()[0].values[rising]
        keys = np.where(np.isfinite(numbers), numbers, -1).astype(np.int64)
    elif raw.raw_kind == "book_depth":
        keys = depth_keys(time, raw.columns()[0].values["percentage"])
    _, conflict = check_duplicates(keys, np.column_stack(columns), raw.where)
    if not conflict.any():
        return None
    kept = raw.frame[conflict].assign(source=str(path), row=np.flatnonzero(conflict) + 1)
    target = into / f"{path.name}.conflicts.csv"
    write_text(target, kept.to_csv(index=False))
    return target
