"""
Raw days as the parquet tables Nautilus reads: one function a data type, exact, without making objects.

The columns are what ``ArrowSerializer`` writes for the same objects (tested), so any program that reads a
``ParquetDataCatalog`` reads them. Numbers go from decimals to Nautilus's 128-bit integers without a float; a number
with more digits than the instrument refuses the series.

``ts_init`` is when a row could be known: candles at their close; trades and quotes at their time, quotes at the
exchange's event time where it is given, never before the row in front of them; figures after their publication delay
(:data:`catalog.asof.PUBLICATION_DELAY_NS`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from nautilus_trader.model.data import (
    MarkPriceUpdate,
    OrderBookDepth10,
    QuoteTick,
    TradeTick,
)
from nautilus_trader.persistence.funcs import class_to_filename
from nautilus_trader.serialization.arrow.schema import NAUTILUS_ARROW_SCHEMA
from nautilus_trader.serialization.arrow.serializer import get_schema

from catalog.asof import PUBLICATION_DELAY_NS
from catalog.checks import HOUR_NS, RATE_DIGITS, Grid, Series
from catalog.csv_files import UNITS, unit_of
from catalog.fixed_point import WORD_BYTES, Int64s, decode, encode
from catalog.instruments import instrument_id_text, interval_ns
from catalog.raw.csv_blocks import TYPES
from catalog.raw.kinds import BOOK_LEVELS
from catalog.reader import words
from catalog.types.custom import (
    BarFlow,
    DepthShare,
    FundingSettlement,
    IndexPrice,
    Liquidation,
    LongShortRatios,
    OpenInterest,
    PremiumIndex,
)
from strategies.errors import DataError

RAW_DIGITS = TYPES["price"].scale
"""Digits after the point of prices and amounts in the raw store."""
_BUYER, _SELLER = 1, 2
_FLOWS = ("quote_volume", "taker_buy_volume", "taker_buy_quote_volume")


@dataclass(frozen=True, slots=True)
class Source:
    """
    What the rows of a raw day belong to.

    Attributes
    ----------
    grid : Grid
        Symbol and digits.
    interval : str or None
        Of candles.
    where : str
        For messages.

    """

    grid: Grid
    interval: str | None
    where: str

    @property
    def instrument(self) -> str:
        """Nautilus's name of the instrument."""
        return instrument_id_text(self.grid.symbol)


def folder(kind: type) -> str:
    """Return the directory below ``data/`` in which Nautilus looks for a type."""
    return str(class_to_filename(kind))


def bars(table: pa.Table, source: Source) -> Series:
    """
    Return candles as the exact series :func:`catalog.tables.bars_to_table` takes.

    Raises
    ------
    DataError
        Propagate: a price or volume has more digits than the instrument.

    """
    grid = source.grid
    values = np.empty((table.num_rows, 5), dtype=np.int64)
    for i, name in enumerate(("open", "high", "low", "close", "volume")):
        values[:, i] = _units(
            table, name, grid.quantity_precision if name == "volume" else grid.price_precision, source
        )
    return Series(table["open_time"].to_numpy(), values)


def funding(table: pa.Table) -> Series:
    """Return settlements, the exchange's milliseconds of jitter removed, as :func:`catalog.tables.funding_to_table`."""
    time = table["calc_time"].to_numpy()
    rates = _raw_units(table["last_funding_rate"])
    hours = pc.fill_null(table["funding_interval_hours"], 0).to_numpy()
    settled = (time + HOUR_NS // 2) // HOUR_NS * HOUR_NS
    return Series(settled, np.column_stack([rates * 10 ** (RATE_DIGITS - RAW_DIGITS), hours * 60]))


def _settlements(table: pa.Table, source: Source) -> Iterator[tuple[type, pa.Table]]:
    series = funding(table)
    minutes = series.values[:, 1]
    values = {
        "rate": series.values[:, 0] / 10**RATE_DIGITS,
        "interval_minutes": np.where(minutes == 0, -1, minutes),
    }
    yield FundingSettlement, _custom(FundingSettlement, source, values, series.time, series.time)


def _flows(table: pa.Table, source: Source) -> Iterator[tuple[type, pa.Table]]:
    if all(table[name].null_count == table.num_rows for name in (*_FLOWS, "count")):
        return
    close = _close(table, source)
    values: dict[str, Any] = {name: _floats(table[name]) for name in _FLOWS}
    values |= {"count": pc.fill_null(table["count"], -1), "interval": [source.interval] * table.num_rows}
    yield BarFlow, _custom(BarFlow, source, values, close, close)


def _trades(table: pa.Table, source: Source) -> Iterator[tuple[type, pa.Table]]:
    time_name, id_name = ("transact_time", "agg_trade_id") if "agg_trade_id" in table.column_names else ("time", "id")
    time = table[time_name].to_numpy()
    maker = table["is_buyer_maker"].to_numpy(zero_copy_only=False)
    columns = {
        "price": _price(table, "price", source),
        "size": _size(table, "quantity", source),
        "aggressor_side": pa.array(np.where(maker, _SELLER, _BUYER).astype(np.uint8)),
        "trade_id": table[id_name].cast(pa.string()),
    }
    yield TradeTick, _nautilus(TradeTick, source, columns, time, time)


def _quotes(table: pa.Table, source: Source) -> Iterator[tuple[type, pa.Table]]:
    time = table["transaction_time"].to_numpy()
    known = time
    if not table["event_time"].null_count and table.num_rows:
        event = table["event_time"].to_numpy()
        unit = unit_of(int(event[0]))
        if unit is not None:
            known = np.maximum(time, event * UNITS[unit])
    columns = {
        "bid_price": _price(table, "best_bid_price", source),
        "ask_price": _price(table, "best_ask_price", source),
        "bid_size": _size(table, "best_bid_quantity", source),
        "ask_size": _size(table, "best_ask_quantity", source),
    }
    yield QuoteTick, _nautilus(QuoteTick, source, columns, time, known)


def _books(table: pa.Table, source: Source) -> Iterator[tuple[type, pa.Table]]:
    time, count = table["time"].to_numpy(), table.num_rows
    columns: dict[str, Any] = {}
    nothing = _stored(np.zeros(count, dtype=np.int64), 0)
    for level in range(BOOK_LEVELS):
        for side in ("bid", "ask"):
            price, size = f"{side}_price_{level}", f"{side}_quantity_{level}"
            there = table[price].is_valid().to_numpy()
            if not there.any():
                columns[price] = columns[f"{side}_size_{level}"] = nothing
            else:
                filled = table.set_column(table.column_names.index(price), price, _zero_filled(table[price]))
                filled = filled.set_column(table.column_names.index(size), size, _zero_filled(table[size]))
                columns[price] = _price(filled, price, source)
                columns[f"{side}_size_{level}"] = _size(filled, size, source)
            columns[f"{side}_count_{level}"] = pa.array(there.astype(np.uint32))
    columns["flags"] = pa.array(np.zeros(count, dtype=np.uint8))
    columns["sequence"] = pa.array(np.zeros(count, dtype=np.uint64))
    yield OrderBookDepth10, _nautilus(OrderBookDepth10, source, columns, time, time)


def _marks(table: pa.Table, source: Source) -> Iterator[tuple[type, pa.Table]]:
    units = np.asarray(_words(table["close"])[:, 0].view(np.int64))
    close = _close(table, source)
    metadata = {"instrument_id": source.instrument, "price_precision": str(RAW_DIGITS)}
    schema = NAUTILUS_ARROW_SCHEMA[MarkPriceUpdate].with_metadata(metadata)
    yield MarkPriceUpdate, _table(schema, {"value": _stored(units, RAW_DIGITS)}, close, close)


def _indices(table: pa.Table, source: Source) -> Iterator[tuple[type, pa.Table]]:
    close = _close(table, source)
    yield IndexPrice, _custom(IndexPrice, source, {"value": _floats(table["close"])}, close, close)


def _premiums(table: pa.Table, source: Source) -> Iterator[tuple[type, pa.Table]]:
    close = _close(table, source)
    yield PremiumIndex, _custom(PremiumIndex, source, {"value": _floats(table["close"])}, close, close)


def _interest(table: pa.Table, source: Source) -> Iterator[tuple[type, pa.Table]]:
    time = table["time"].to_numpy()
    values = {
        "open_interest": _floats(table["sum_open_interest"]),
        "open_interest_value": _floats(table["sum_open_interest_value"]),
    }
    known = time + PUBLICATION_DELAY_NS["open_interest"]
    yield OpenInterest, _custom(OpenInterest, source, values, time, known)


def _ratios(table: pa.Table, source: Source) -> Iterator[tuple[type, pa.Table]]:
    names = {
        "top_accounts": "count_toptrader_long_short_ratio",
        "top_positions": "sum_toptrader_long_short_ratio",
        "accounts": "count_long_short_ratio",
        "taker_volume": "sum_taker_long_short_vol_ratio",
    }
    if all(table[name].null_count == table.num_rows for name in names.values()):
        return
    time = table["time"].to_numpy()
    values = {ours: _floats(table[theirs]) for ours, theirs in names.items()}
    yield LongShortRatios, _custom(LongShortRatios, source, values, time, time + PUBLICATION_DELAY_NS["ratios"])


def _metrics(table: pa.Table, source: Source) -> Iterator[tuple[type, pa.Table]]:
    yield from _interest(table, source)
    yield from _ratios(table, source)


def _depths(table: pa.Table, source: Source) -> Iterator[tuple[type, pa.Table]]:
    time = table["time"].to_numpy()
    values = {name: _floats(table[name]) for name in ("percentage", "depth", "notional")}
    yield DepthShare, _custom(DepthShare, source, values, time, time)


def _liquidations(table: pa.Table, source: Source) -> Iterator[tuple[type, pa.Table]]:
    time = table["time"].to_numpy()
    values: dict[str, Any] = {
        "side": table["side"],
        "quantity": _floats(table["original_quantity"]),
        "price": _floats(table["price"]),
        "average_price": _floats(table["average_price"]),
        "filled": _floats(table["accumulated_fill_quantity"]),
        "status": pc.fill_null(table["order_status"], ""),
    }
    yield Liquidation, _custom(Liquidation, source, values, time, time)


CONVERTERS: dict[str, Callable[[pa.Table, Source], Iterator[tuple[type, pa.Table]]]] = {
    "klines": _flows,
    "mark_klines": _marks,
    "index_klines": _indices,
    "premium_klines": _premiums,
    "agg_trades": _trades,
    "trades": _trades,
    "book_ticker": _quotes,
    "book_snapshots": _books,
    "book_depth": _depths,
    "metrics": _metrics,
    "open_interest": _interest,
    "ratios": _ratios,
    "funding": _settlements,
    "liquidations": _liquidations,
}
"""Raw kind to what makes tables of its rows; bars and Nautilus's funding are series: :func:`bars`, :func:`funding`."""


def _close(table: pa.Table, source: Source) -> Int64s:
    return np.asarray(table["open_time"].to_numpy() + interval_ns(source.interval or ""), dtype=np.int64)


def _nautilus(kind: type, source: Source, columns: dict[str, Any], event: Int64s, known: Int64s) -> pa.Table:
    grid = source.grid
    metadata = {
        "instrument_id": source.instrument,
        "price_precision": str(grid.price_precision),
        "size_precision": str(grid.quantity_precision),
    }
    return _table(NAUTILUS_ARROW_SCHEMA[kind].with_metadata(metadata), columns, event, known)


def _custom(kind: Any, source: Source, columns: dict[str, Any], event: Int64s, known: Int64s) -> pa.Table:
    count = len(event)
    named = {"instrument_id": [source.instrument] * count, "type": [kind.__name__] * count}
    return _table(get_schema(kind), columns | named, event, known)


def _table(schema: pa.Schema, columns: dict[str, Any], event: Int64s, known: Int64s) -> pa.Table:
    stamps = {"ts_event": event, "ts_init": np.maximum.accumulate(known) if len(known) else known}
    arrays = []
    for field in schema:
        values = (
            stamps[field.name].astype(field.type.to_pandas_dtype()) if field.name in stamps else columns[field.name]
        )
        arrays.append(values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _price(table: pa.Table, name: str, source: Source) -> pa.Array:
    digits = source.grid.price_precision
    return _stored(_units(table, name, digits, source), digits)


def _size(table: pa.Table, name: str, source: Source) -> pa.Array:
    digits = source.grid.quantity_precision
    return _stored(_units(table, name, digits, source), digits)


def _stored(units: Int64s, precision: int) -> pa.Array:
    column = encode(units, precision)
    return pa.Array.from_buffers(pa.binary(WORD_BYTES), len(column), [None, pa.py_buffer(column)])


def _units(table: pa.Table, name: str, precision: int, source: Source) -> Int64s:
    units, whole = decode(_words(table[name]), min(precision, RAW_DIGITS) + RAW_DIGITS)
    if not whole.all():
        row = int(np.argmin(whole))
        value = table[name][row].as_py().normalize()
        raise DataError(
            f"{source.where}: row {row + 1}: {name}: {value:f} does not fit {source.grid.symbol} with its {precision} "
            "digits: another symbol or the spot market? remove the day, or give its figures with --instruments; "
            "the series is as it was"
        )
    return units * 10 ** max(precision - RAW_DIGITS, 0)


def _raw_units(column: pa.ChunkedArray) -> Int64s:
    """Return 18-digit decimals as whole units of their last digit; their low word holds them."""
    return np.asarray(_words(column)[:, 0].view(np.int64))


def _words(column: pa.ChunkedArray) -> Any:
    flat = [
        pa.Array.from_buffers(pa.binary(WORD_BYTES), len(c), [None, c.buffers()[1]], offset=c.offset)
        for c in column.chunks
    ]
    return words(pa.chunked_array(flat, pa.binary(WORD_BYTES)))


def _zero_filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(column, pa.scalar(Decimal(0), column.type))


def _floats(column: pa.ChunkedArray) -> Any:
    """Return the nearest floats (through text: a cast of decimals rounds twice), NaN for nothing."""
    return pc.fill_null(column.cast(pa.string()).cast(pa.float64()), float("nan"))
