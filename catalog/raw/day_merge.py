"""Rows of a file merged into a day or month that is stored already, row by row by the kind's key."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.checks import iso
from catalog.raw import revisions
from catalog.raw.aside import Aside
from catalog.raw.change import Change
from catalog.raw.comparing import completed, equal, equal_rows, filled
from catalog.raw.csv_blocks import schema_of
from catalog.raw.day_files import Day, DayWriter, MonthWriter, read, tables, writer_of
from catalog.raw.kinds import Kind
from strategies.errors import DataError


@dataclass(frozen=True, slots=True)
class DayMerge:
    """
    How the rows of one file go into stored days.

    Attributes
    ----------
    change : Change
        Takes the revisions.
    kind : Kind
        Its key says which rows are the same.
    source : Path
        The file, for messages.
    now : int
        Wall time, UTC ns, that revisions are stamped with.
    replace : bool
        The file wins over stored rows that differ.
    completes : bool
        A row that completes the stored one replaces it; see :func:`catalog.raw.writer.put_rows`.
    aside : Aside or None
        Takes both versions of rows that contradict each other; the stored one stays.

    """

    change: Change
    kind: Kind
    source: Path
    now: int
    replace: bool
    completes: bool
    aside: Aside | None

    def merge(self, stored: Sequence[Day], live: Path, writer: DayWriter | MonthWriter) -> DayWriter | MonthWriter:
        """
        Put the rows that are stored under those just written, and return what wrote all of them.

        Parameters
        ----------
        stored : sequence of Day
            The days of the period as they are now (staged or live).
        live : Path
            Where the period stands.
        writer : DayWriter or MonthWriter
            What wrote the new rows, closed; its file is written anew.

        Raises
        ------
        DataError
            Propagate: rows contradict what is stored and nothing says who is right.

        """
        path, new = self.source, read(writer.file)
        known = pa.concat_tables([table for _, table in tables(stored)])
        if not self.kind.key and self.completes:
            there = {tuple(row.values()) for row in known.to_pylist()}
            fresh = [tuple(row.values()) not in there for row in new.to_pylist()]
            return self._rewrite(writer, pa.concat_tables([known, new.filter(pa.array(fresh, pa.bool_()))]))
        if not self.kind.key:
            raise DataError(
                f"{path}: {live.stem} is stored with other rows, and {self.kind.name} have no key to merge them by: "
                "--replace takes the file's rows for the whole day; nothing was stored"
            )
        both = pa.concat_tables([known, new]).combine_chunks()
        is_new = np.arange(both.num_rows) >= known.num_rows
        keys = [both[name].cast(pa.float64()) if _decimal(both[name]) else both[name] for name in self.kind.key]
        order = np.lexsort([is_new, *(key.to_numpy() for key in reversed(keys))])
        both, is_new = both.take(pa.array(order)), is_new[order]
        same = np.ones(both.num_rows - 1, dtype=bool)
        for name in self.kind.key:
            same &= equal(both[name].slice(0, both.num_rows - 1), both[name].slice(1))
        pairs = np.flatnonzero(same)
        if self.completes:
            both = filled(self.kind, both, pairs)
        olds, news = both.take(pa.array(pairs)), both.take(pa.array(pairs + 1))
        differ = ~equal_rows(olds, news)
        may, certainly = completed(self.kind, olds, news) if self.completes else (~differ, ~differ)
        refused = differ & ~may
        if self.replace:
            refused = np.zeros(len(pairs), dtype=bool)
        if self.aside is not None:
            for pair in pairs[refused].tolist():  # the stored row stays; both versions are kept beside
                reason = f"{self.kind.key[0]}: contradicts the stored row"
                self.aside.add(both.slice(pair, 2), [f"stored in {live.name}", "of this file"], reason)
        elif refused.any():
            shown = both.slice(int(pairs[refused][0]), 2).to_pylist()
            at = iso(shown[0][self.kind.columns[0].name])
            raise DataError(
                f"{path}: {int(refused.sum())} rows contradict what is stored, first at {at}: "
                f"stored {_row_text(shown[0])}; file {_row_text(shown[1])}: "
                "--replace takes the file's rows; nothing was stored"
            )
        revised = differ & ~certainly & ~refused
        if revised.any():
            revisions.keep(self.change, self.kind, live, olds.filter(pa.array(revised)), self.now)
        keep = np.ones(both.num_rows, dtype=bool)
        keep[np.where(refused, pairs + 1, pairs)] = False
        return self._rewrite(writer, both.filter(pa.array(keep)))

    def _rewrite(self, writer: DayWriter | MonthWriter, both: pa.Table) -> DayWriter | MonthWriter:
        if not self.kind.rising:
            both = both.take(pc.sort_indices(both[self.kind.columns[0].name]))
        fresh = writer_of(self.kind, writer.file, schema_of(self.kind))
        fresh.add(both.cast(schema_of(self.kind)))
        fresh.close()
        return fresh


def _decimal(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_decimal(column.type))


def _row_text(row: dict[str, Any]) -> str:
    return ", ".join(f"{k} {format(v.normalize(), 'f') if isinstance(v, Decimal) else v}" for k, v in row.items())
