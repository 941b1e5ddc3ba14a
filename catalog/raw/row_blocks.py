"""Rows that came over a socket, in the form the raw writer reads: the same rules refuse them, named by their place."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalog.raw.csv_blocks import TYPES, schema_of
from catalog.raw.kinds import Kind
from strategies.errors import DataError


class RowBlocks:
    """
    One batch of rows.

    Parameters
    ----------
    source : str
        Where they came from; opens every error.
    kind : Kind
        What they are.
    columns : mapping of str to sequence
        Equal lengths, ascending; the time in UTC ns, decimals as the text that was sent; columns that are not needed
        may be absent.

    Raises
    ------
    DataError
        Propagate: a value is not what its column holds.

    """

    def __init__(self, source: str, kind: Kind, columns: Mapping[str, Sequence[Any]]) -> None:
        self.path = Path(source)
        self.kind = kind
        self.columns = dict.fromkeys(columns, 0)
        self._values = columns
        self._table = self._typed()

    def fail(self, line: int | None, field: str, reason: str, remedy: str) -> DataError:
        """Return the error that refuses these rows."""
        where = f"{self.path}, row {line}" if line is not None else str(self.path)
        return DataError(f"{where}: {field}: {reason}: {remedy}; nothing of it was stored")

    def fail_at(self, row: int, field: str, reason: str, remedy: str) -> DataError:
        """Return the error that refuses these rows because of a 0-based row."""
        return self.fail(row + 1, field, reason, remedy)

    def blocks(self, *, careful: bool) -> Iterator[pa.Table]:  # noqa: ARG002 - files are read in two ways, rows in one
        """Yield the rows as one table."""
        yield self._table

    def _typed(self) -> pa.Table:
        count = len(self._values[self.kind.columns[0].name])
        arrays = []
        for column in self.kind.columns:
            values = self._values.get(column.name)
            if values is None:
                arrays.append(pa.nulls(count, TYPES[column.form]))
                continue
            try:
                if column.form in ("price", "amount", "wide"):
                    arrays.append(pa.array(values, pa.string()).cast(TYPES[column.form]))
                else:
                    arrays.append(pa.array(values, TYPES[column.form]))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as e:
                raise self.fail(None, column.name, str(e)[:200], "the answer is not what the kind holds") from None
            if column.needed and arrays[-1].null_count:
                raise self.fail(None, column.name, "is empty in a row", "the answer is not what the kind holds")
        return pa.Table.from_arrays(arrays, schema=schema_of(self.kind))
