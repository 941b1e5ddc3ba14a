"""
Records as Nautilus events: the same objects the adapter made of the same message, with the time of arrival.

What the adapter has no type for, or the catalog no reader (index prices), comes as a type of ``catalog.types``; the
recorder publishes those live as well, so that live and replay hear the same.

The events of a recording have times of arrival that are all different, so an engine that sorts by them plays the
recording in the order it was heard, whatever the types. The adapter's own parsers make the objects.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from nautilus_trader.adapters.binance.common.schemas.market import (
    BinanceAggregatedTradeData,
    BinanceCandlestick,
    BinanceQuoteData,
)
from nautilus_trader.adapters.binance.futures.schemas.market import BinanceFuturesMarkPriceData
from nautilus_trader.core.datetime import millis_to_nanos
from nautilus_trader.model.data import Bar, BarType, MarkPriceUpdate
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.persistence.catalog.parquet import ParquetDataCatalog

from catalog.instruments import bar_type, instrument_id
from catalog.recording.rows import row_of
from catalog.recording.segments import Entry
from catalog.types import FundingSettlement, IndexPrice, Liquidation, LongShortRatios, OpenInterest

_TRADE = msgspec.json.Decoder(BinanceAggregatedTradeData)
_QUOTE = msgspec.json.Decoder(BinanceQuoteData)
_MARK = msgspec.json.Decoder(BinanceFuturesMarkPriceData)
_RATIOS = {
    "top_accounts": "count_toptrader_long_short_ratio",
    "top_positions": "sum_toptrader_long_short_ratio",
    "accounts": "count_long_short_ratio",
    "taker_volume": "sum_taker_long_short_vol_ratio",
}


class _Kline(msgspec.Struct):
    k: BinanceCandlestick


_KLINE = msgspec.json.Decoder(_Kline)


def events_of(entry: Entry) -> list[Any]:
    """
    Return the events of a record in order, the first at its time of arrival, each further one a nanosecond later.

    A bar that has not closed is no event; a stream nobody knows is none either.

    Raises
    ------
    msgspec.DecodeError
        Propagate: the message has another form than the stream's.

    """
    name, _, what = entry.stream.replace("#", "@#").partition("@")
    if not name:
        return []
    symbol, at = instrument_id(name.upper()), entry.ts_init
    match what.partition("_")[0]:
        case "aggTrade":
            return [_TRADE.decode(entry.message).parse_to_trade_tick(symbol, at)]
        case "bookTicker":
            return [_QUOTE.decode(entry.message).parse_to_quote_tick(symbol, at)]
        case "markPrice@1s" | "markPrice":
            data = _MARK.decode(entry.message)
            event = millis_to_nanos(data.E)  # as the adapter does it, in floating point
            return [
                MarkPriceUpdate(symbol, Price.from_str(data.p), event, at),
                IndexPrice(event, at + 1, symbol, float(data.i)),
            ]
        case "kline":
            return _bar(symbol, _KLINE.decode(entry.message).k, at)
    return _custom(entry, symbol)


def _bar(symbol: InstrumentId, k: BinanceCandlestick, at: int) -> list[Bar]:
    if not k.x:
        return []
    prices = (Price.from_str(text) for text in (k.o, k.h, k.l, k.c))
    kind = _bar_type(str(symbol.symbol).removesuffix("-PERP"), k.i.value)
    return [Bar(kind, *prices, Quantity.from_str(k.v), millis_to_nanos(k.T), at)]


@lru_cache
def _bar_type(symbol: str, interval: str) -> BarType:
    return bar_type(symbol, interval)


def _custom(entry: Entry, symbol: InstrumentId) -> list[Any]:
    found = row_of(entry)
    if found is None:
        return []
    (kind, _, _), row = found
    at = entry.ts_init
    match kind:
        case "funding":
            return [FundingSettlement(row["calc_time"], at, symbol, float(row["last_funding_rate"]), -1)]
        case "open_interest":
            figures = (float(row["sum_open_interest"]), float(row["sum_open_interest_value"]))
            return [OpenInterest(row["time"], at, symbol, *figures)]
        case "ratios":
            values = (row[column] for column in _RATIOS.values())
            ratios = (float("nan") if value is None else float(value) for value in values)
            return [LongShortRatios(row["time"], at, symbol, *ratios)]
        case "liquidations":
            names = ("original_quantity", "price", "average_price", "accumulated_fill_quantity")
            numbers = (float(row[column]) for column in names)
            return [Liquidation(row["time"], at, symbol, row["side"], *numbers, row["order_status"])]
    return []


def write_catalog(
    found: Iterable[Entry], catalog: Path, instruments: Mapping[str, Instrument], most: int = 200_000
) -> dict[str, int]:
    """
    Write records into a Nautilus catalog that ``BacktestNode`` replays in the order they were heard; return the counts.

    Parameters
    ----------
    found : Iterable[Entry]
        In order, as :func:`catalog.recording.tape.entries` yields them.
    catalog : Path
        An empty directory, or one that holds earlier records only.
    instruments : mapping of str to Instrument
        By venue symbol; they are written too.
    most : int
        Events held in memory.

    """
    target = ParquetDataCatalog(str(catalog))
    target.write_data(list(instruments.values()))
    counts: dict[str, int] = {}
    waiting: dict[tuple[str, str], list[Any]] = {}

    def write() -> None:
        for (name, _), events in sorted(waiting.items()):
            target.write_data(events)
            counts[name] = counts.get(name, 0) + len(events)
        waiting.clear()

    held = 0
    for event in _events(found):
        key = str(event.bar_type) if isinstance(event, Bar) else str(event.instrument_id)
        waiting.setdefault((type(event).__name__, key), []).append(event)
        held += 1
        if held >= most:
            write()
            held = 0
    write()
    return counts


def _events(found: Iterable[Entry]) -> Iterator[Any]:
    for entry in found:
        yield from events_of(entry)
