"""Checked rows to Nautilus's parquet tables and back: bars, funding, instruments."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog import store
from catalog.checks import RATE_DIGITS, Grid, Series
from catalog.fixed_point import SCALE_DIGITS, WORD_BYTES, Words, decode, encode
from catalog.instruments import InstrumentSpec, bar_type_text, instrument_id_text, interval_ns, to_nautilus
from catalog.reader import words
from strategies.errors import DataError

COLUMNS = ("open", "high", "low", "close", "volume")


def bars_to_table(series: Series, grid: Grid, interval: str) -> pa.Table:
    """Return bars as Nautilus writes them, stamped (``ts_event`` and ``ts_init``) with their exact close."""
    close_time = pa.array((series.time + interval_ns(interval)).astype(np.uint64))
    columns = []
    for i, name in enumerate(COLUMNS):
        precision = grid.quantity_precision if name == "volume" else grid.price_precision
        columns.append(_stored(encode(series.values[:, i], precision)))
    return pa.Table.from_arrays([*columns, close_time, close_time], schema=_bar_schema(grid, interval))


def bars_from_table(table: pa.Table, grid: Grid, interval: str, where: Path) -> Series:
    """
    Return the inverse of :func:`bars_to_table`.

    Raises
    ------
    DataError
        Propagate: the table was stored with other precisions than `grid` has.

    """
    stored = tuple(int(table.schema.metadata[key]) for key in (b"price_precision", b"size_precision"))
    wanted = (grid.price_precision, grid.quantity_precision)
    if stored != wanted:
        raise DataError(
            f"{where}: {grid.symbol} bars are stored with {stored[0]} price and {stored[1]} quantity digits, the "
            f"instrument now has {wanted[0]} and {wanted[1]}: ingest everything into a new catalog"
        )
    values = np.empty((table.num_rows, len(COLUMNS)), dtype=np.int64)
    for i, name in enumerate(COLUMNS):
        precision = grid.quantity_precision if name == "volume" else grid.price_precision
        values[:, i], whole = decode(words(table[name]), precision)
        if not whole.all():
            raise DataError(f"{where}: column {name} of {grid.symbol} is damaged: remove the series and ingest again")
    return Series(np.asarray(table["ts_event"].to_numpy(), dtype=np.int64) - interval_ns(interval), values)


def funding_to_table(series: Series, symbol: str) -> pa.Table:
    """Return funding as Nautilus's ``FundingRateUpdate`` rows, stamped at settlement."""
    from nautilus_trader.model.data import FundingRateUpdate  # noqa: PLC0415 - only ingestion pays for this import
    from nautilus_trader.serialization.arrow.schema import NAUTILUS_ARROW_SCHEMA  # noqa: PLC0415 - as above

    schema = NAUTILUS_ARROW_SCHEMA[FundingRateUpdate].with_metadata({"instrument_id": instrument_id_text(symbol)})
    scale = 10**RATE_DIGITS
    texts = [
        f'"{"-" if rate < 0 else ""}{abs(rate) // scale}.{abs(rate) % scale:0{RATE_DIGITS}d}"'.encode()
        for rate in series.values[:, 0].tolist()
    ]
    minutes = series.values[:, 1]
    time = pa.array(series.time.astype(np.uint64))
    return pa.Table.from_arrays(
        [
            pa.array(texts, pa.binary()),
            pa.array(minutes.astype(np.uint16), mask=minutes == 0),
            pa.nulls(len(texts), pa.uint64()),
            time,
            time,
        ],
        schema=schema,
    )


def funding_from_table(table: pa.Table) -> Series:
    """Return the inverse of :func:`funding_to_table`."""
    text = pc.utf8_trim(table["rate"].cast(pa.string()), '"')
    scaled = pc.multiply(text.cast(pa.decimal128(18, RATE_DIGITS)), pa.scalar(10**RATE_DIGITS, pa.decimal128(9, 0)))
    rates = scaled.cast(pa.int64()).to_numpy()
    minutes = pc.fill_null(table["interval"], 0).to_numpy().astype(np.int64)
    return Series(np.asarray(table["ts_event"].to_numpy(), dtype=np.int64), np.column_stack([rates, minutes]))


def instrument_to_table(spec: InstrumentSpec) -> pa.Table:
    """Return the instrument as Nautilus writes it."""
    from nautilus_trader.model.instruments import CryptoPerpetual  # noqa: PLC0415 - only ingestion pays for this import
    from nautilus_trader.serialization.arrow.serializer import ArrowSerializer  # noqa: PLC0415 - as above

    return ArrowSerializer.serialize_batch([to_nautilus(spec)], CryptoPerpetual)


def stored_grid(catalog: Path, symbol: str) -> Grid | None:
    """Return the grid of the instrument the catalog holds, None when it holds none."""
    columns = ["price_precision", "size_precision", "price_increment"]
    table = store.read_table(catalog, store.INSTRUMENTS, instrument_id_text(symbol), columns)
    if table is None:
        return None
    row: dict[str, Any] = table.to_pylist()[-1]
    return Grid(symbol, row["price_precision"], row["size_precision"], _tick_units(row["price_increment"]))


def grid_of(spec: InstrumentSpec) -> Grid:
    """Return the grid of a specification."""
    return Grid(spec.symbol, spec.price_precision, spec.quantity_precision, _tick_units(spec.price_tick))


def _tick_units(text: str) -> int:
    return int(text.replace(".", ""))


def _stored(column: Words) -> pa.Array:
    return pa.Array.from_buffers(pa.binary(WORD_BYTES), len(column), [None, pa.py_buffer(column)])


def _bar_schema(grid: Grid, interval: str) -> pa.Schema:
    from nautilus_trader.model.data import Bar  # noqa: PLC0415 - only ingestion pays for this import
    from nautilus_trader.model.objects import FIXED_PRECISION  # noqa: PLC0415 - as above
    from nautilus_trader.serialization.arrow.schema import NAUTILUS_ARROW_SCHEMA  # noqa: PLC0415 - as above

    if FIXED_PRECISION != SCALE_DIGITS:
        raise DataError(
            f"this nautilus_trader stores {FIXED_PRECISION} digits, {SCALE_DIGITS} are needed: `make setup`"
        )
    return NAUTILUS_ARROW_SCHEMA[Bar].with_metadata(
        {
            "bar_type": bar_type_text(grid.symbol, interval),
            "instrument_id": instrument_id_text(grid.symbol),
            "price_precision": str(grid.price_precision),
            "size_precision": str(grid.quantity_precision),
        }
    )
