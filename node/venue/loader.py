"""From the catalog to the venue's feed."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalog.instruments import DEFAULT_PATH, find, interval_ns, load_instruments
from catalog.reader import BarArrays, coverage, load_bars, load_funding
from node.venue.config import NANOS_PER_MILLI, VenueConfig, parse_time_ns
from node.venue.feed import Bar, Feed
from node.venue.instruments import Instrument, instrument_of
from strategies.errors import ConfigError, DataError


def load_feed(config: VenueConfig) -> tuple[dict[str, Instrument], Feed]:
    """
    Return the instruments and the bars the configuration names.

    A catalog that holds none of the symbols gets sample data first, so that a fresh clone can start the venue alone.

    Raises
    ------
    ConfigError
        Fatal: unknown symbol, malformed time, empty range.
    DataError
        Fatal: the catalog holds only part of what is asked for; names the remedy.

    """
    data = config.data
    path = Path(data.catalog)
    instruments_path = Path(data.instruments) if data.instruments else DEFAULT_PATH
    specs = load_instruments(instruments_path)
    instruments = {
        symbol: instrument_of(find(specs, symbol, str(instruments_path)), config.execution) for symbol in data.symbols
    }
    start = parse_time_ns(data.start, "data.start")
    end = parse_time_ns(data.end, "data.end")
    _prepare_if_empty(path, config)
    spans = [coverage(path, symbol, data.interval) for symbol in data.symbols]
    step = interval_ns(data.interval)
    first_common, last_common = max(s[0] for s in spans), min(s[1] for s in spans)
    if start is None:
        start = first_common + data.history_bars * step
    if end is None:
        end = last_common + step
    if start >= end:
        raise ConfigError(f"data.start: no bar lies between start and end; {path} covers all symbols only in part")
    bars = {}
    for symbol in data.symbols:
        arrays = load_bars(path, symbol, data.interval, start - data.history_bars * step, end)
        bars[symbol] = bars_of(arrays, instruments[symbol])
        if not bars[symbol] or bars[symbol][-1].open_ms * NANOS_PER_MILLI < start:
            raise DataError(f"{path}: {symbol} {data.interval}: no bar at or after data.start: ingest the range")
    funding = {symbol: _funding(path, symbol) for symbol in data.symbols} if config.funding else {}
    return instruments, Feed(instruments, bars, data.interval, start // NANOS_PER_MILLI, funding)


def bars_of(arrays: BarArrays, instrument: Instrument) -> list[Bar]:
    """Return columns of floats as bars of decimals on the instrument's grid."""
    price, size = instrument.price_digits, instrument.quantity_digits
    columns = [_decimals(c, price) for c in (arrays.open, arrays.high, arrays.low, arrays.close)]
    volumes = _decimals(arrays.volume, size)
    opens = (arrays.open_time // NANOS_PER_MILLI).tolist()
    return [Bar(*row) for row in zip(opens, *columns, volumes, strict=True)]


def _decimals(values: NDArray[np.float64], digits: int) -> list[Decimal]:
    return [Decimal(f"{v:.{digits}f}") for v in values.tolist()]


def _funding(path: Path, symbol: str) -> Sequence[tuple[int, Decimal]]:
    arrays = load_funding(path, symbol)
    times = (arrays.time // NANOS_PER_MILLI).tolist()
    return [(t, Decimal(repr(r))) for t, r in zip(times, arrays.rate.tolist(), strict=True)]


def _prepare_if_empty(path: Path, config: VenueConfig) -> None:
    missing = []
    for symbol in config.data.symbols:
        try:
            coverage(path, symbol, config.data.interval)
        except DataError:
            missing.append(symbol)
    if len(missing) == len(config.data.symbols):
        from catalog.sample import prepare  # noqa: PLC0415 - downloads and generators are needed in an empty clone only

        prepare(path, symbols=config.data.symbols, interval=config.data.interval)
