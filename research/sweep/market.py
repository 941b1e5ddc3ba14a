"""
The bars of one symbol as the node sees them, prepared once for any number of parameter sets and windows.

Everything is read from the catalog the node reads, on the same grids. What depends on where a run begins (indicators
are warmed up from ``strategy.history_bars`` before it, exactly as far as the node loads) is made per window.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from catalog.instruments import instrument_id_text, interval_ns, load_instruments
from catalog.reader import BarArrays, coverage, load_bars, load_funding
from node.backtest_run import resolve_window
from node.config import NodeConfig, format_time
from research.sweep import kernel as k
from research.sweep.settings import Instrument, Settings, instrument_of, refuse_unsupported, settings_of
from strategies.errors import DataError
from strategies.kernel.composite import run_votes

type Ints = npt.NDArray[np.int64]
type Floats = npt.NDArray[np.float64]

_RATE_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Window:
    """
    One stretch of a market, warmed up: what the kernel walks through.

    Attributes
    ----------
    start_ns, end_ns : int
        Rows whose bar opens in ``[start_ns, end_ns)`` may trade, UTC ns.
    begin, end : int
        Rows of the market, warm-up included.
    votes : ndarray of float64, shape (n, 5)
        Points of both sides, ADX, mean volume, ATR of these rows.
    volume : ndarray of float64, shape (n,)
        Base currency.
    first : int
        First row (of the window) that may trade.
    times : ndarray of int64, shape (n, 4)
        See :func:`research.sweep.kernel.run`.
    floats : ndarray of float64, shape (n, 4)
        See there.
    days : ndarray of int64
        Days since 1970-01-01 of the daily equity.

    """

    start_ns: int
    end_ns: int
    begin: int
    end: int
    votes: Floats
    volume: Floats
    first: int
    times: Ints
    floats: Floats
    days: Ints

    @property
    def bars(self) -> int:
        """Bars that may trade."""
        return self.end - self.begin - self.first


@dataclass(slots=True)
class Market:
    """
    One symbol's history; windows and texts are made when first asked for and kept.

    Attributes
    ----------
    config : NodeConfig
        What was prepared; its symbol stands alone on its account.
    symbol : str
        Venue symbol.
    instrument : Instrument
        Grids, limits, rates.
    bars : BarArrays
        The engine's floats.
    units : ndarray of int64, shape (n, 4)
        Open, high, low, close in price units.
    close_ns : ndarray of int64, shape (n,)
        Closes, UTC ns.
    funding_count : ndarray of int64, shape (n,)
        Settlements at or before each close.
    rates : ndarray of int64
        Funding rates, 1e-`rate_digits`.
    clock_ns : ndarray of int64, shape (n,)
        Last clock step by a bar of a context symbol between the bar before and this one; 0: none.
    first_ns : int
        First bar all symbols of the configuration have.

    """

    config: NodeConfig
    symbol: str
    instrument: Instrument
    bars: BarArrays
    units: Ints
    close_ns: Ints
    funding_count: Ints
    rates: Ints
    rate_digits: int
    clock_ns: Ints
    first_ns: int
    start_ns: int
    end_ns: int
    _windows: dict[tuple[int, int], Window] = field(default_factory=dict)
    _texts: dict[float, tuple[Ints, int]] = field(default_factory=dict)

    @property
    def step_ns(self) -> int:
        """Length of a bar."""
        return interval_ns(self.config.interval)

    def settings(self, config: NodeConfig | None = None) -> Settings:
        """
        Return the kernel's settings of `config` (this market's own by default; same catalog, context and interval).

        Raises
        ------
        ConfigError
            Fatal: see :func:`research.sweep.settings.settings_of`.

        """
        config = self.config if config is None else config
        _, digits = self._shortest(config.backtest.slippage_bps) if _moves(config) else (None, self._precision)
        return settings_of(config, self.instrument, self.rate_digits, digits)

    def texts(self, settings: Settings) -> Ints:
        """Return the shortest texts of prices the node's moved stops are computed from; no rows when none moves."""
        if not settings.moves:
            return np.empty((0, 6), np.int64)
        return self._shortest(settings.slippage_bps)[0]

    def window(self, start_ns: int | None = None, end_ns: int | None = None) -> Window:
        """
        Return ``[start_ns, end_ns)``, all of the market by default.

        Raises
        ------
        DataError
            Propagate: the window reaches beyond what was prepared, or holds no bar.

        """
        start = self.start_ns if start_ns is None else start_ns
        end = self.end_ns if end_ns is None else end_ns
        if (start, end) not in self._windows:
            self._windows[start, end] = self._window(start, end)
        return self._windows[start, end]

    @property
    def _precision(self) -> int:
        return self.instrument.price_precision

    def _window(self, start: int, end: int) -> Window:
        if not self.start_ns <= start < end <= self.end_ns:
            raise DataError(
                f"{self.symbol}: {format_time(start)} to {format_time(end)} is not inside the prepared "
                f"{format_time(self.start_ns)} to {format_time(self.end_ns)}"
            )
        data_start = max(self.first_ns, start - self.config.strategy.history_bars * self.step_ns)
        opens = self.bars.open_time
        begin, stop = (int(np.searchsorted(opens, t)) for t in (data_start, end - self.step_ns + 1))
        first = int(np.searchsorted(self.close_ns[begin:stop], start, side="right"))
        if first >= stop - begin:
            raise DataError(f"{self.symbol}: no bar between {format_time(start)} and {format_time(end)}")
        rows = slice(begin, stop)
        columns = {name: getattr(self.bars, name)[rows] for name in ("open", "high", "low", "close", "volume")}
        votes = run_votes(columns)
        days = (self.close_ns[rows] - 1) // k.DAY_NS
        times = np.stack(
            [self.close_ns[rows], self.funding_count[rows], self.clock_ns[rows], days - days[first]], axis=1
        )
        floats = np.stack([columns["close"], columns["high"], columns["low"], votes[:, 4]], axis=1)
        return Window(
            start_ns=start,
            end_ns=end,
            begin=begin,
            end=stop,
            votes=votes,
            volume=columns["volume"],
            first=first,
            times=np.ascontiguousarray(times),
            floats=np.ascontiguousarray(floats),
            days=np.arange(days[first], days[-1] + 1),
        )

    def _shortest(self, slippage_bps: float) -> tuple[Ints, int]:
        if slippage_bps not in self._texts:
            self._texts[slippage_bps] = self._make_texts(Decimal(str(slippage_bps)))
        return self._texts[slippage_bps]

    def _make_texts(self, bps: Decimal) -> tuple[Ints, int]:
        p = self._precision
        tick = int(self.instrument.tick.scaleb(p))
        scale = 10 ** max(-int(bps.as_tuple().exponent), 0)
        den = 10_000 * scale
        moved = int(bps * scale)
        close = self.units[:, 3]
        buys = k.slipped_all(close, den + moved, den, tick)
        sells = k.slipped_all(close, den - moved, den, tick)
        columns = [self.units[:, 1], self.units[:, 2], close, buys, sells]
        pairs = [_shortest_texts(units, p) for units in columns]
        digits = max(d for _, d in pairs)
        texts = np.stack([t * 10 ** (digits - d) for t, d in pairs], axis=1)
        if float(max(units.max() for units in columns)) * 10.0 ** (digits - p) > 4e18:
            raise DataError(f"{self.symbol}: prices have too many digits for moved stops in a sweep")
        high, low, close_text = texts[:, 0], texts[:, 1], texts[:, 2]
        ranges = np.zeros(len(texts), np.int64)
        ranges[1:] = np.maximum(high[1:], close_text[:-1]) - np.minimum(low[1:], close_text[:-1])
        return np.ascontiguousarray(np.column_stack([texts, np.cumsum(ranges)])), digits


def prepare(config: NodeConfig, symbol: str, start_ns: int | None = None, end_ns: int | None = None) -> Market:
    """
    Read what a backtest of `symbol` alone would read.

    Parameters
    ----------
    config : NodeConfig
        Catalog, interval, context, strategy, limits, costs. Other symbols are left out: a sweep gives each symbol an
        account of its own.
    symbol : str
        Venue symbol, e.g. ``XRPUSDT``.
    start_ns, end_ns : int, optional
        Bars that open in between may trade, UTC ns; ``backtest.start`` and ``backtest.end`` by default, else all there
        is. History before it is loaded as the node loads it.

    Raises
    ------
    ConfigError
        Fatal: the configuration asks for something a sweep does not simulate.
    DataError
        Propagate: the catalog lacks the symbol, the window, funding, or a context bar beside one of the symbol's.

    """
    refuse_unsupported(config)
    span = {"start": start_ns, "end": end_ns}
    given = {key: format_time(t) for key, t in span.items() if t is not None}
    config = msgspec.structs.replace(
        config, symbols=(symbol,), backtest=msgspec.structs.replace(config.backtest, **given)
    )
    specs = load_instruments()
    if symbol not in specs:
        raise DataError(f"config/instruments.yaml: {symbol}: no figures for this symbol: add them")
    window = resolve_window(config)
    catalog, step = Path(config.catalog), interval_ns(config.interval)
    bars = load_bars(catalog, symbol, config.interval, window.data_start_ns, window.end_ns - step + 1)
    instrument = instrument_of(_stored_instrument(catalog, symbol), specs[symbol])
    p = instrument.price_precision
    units = np.stack([_units(getattr(bars, name), p) for name in ("open", "high", "low", "close")], axis=1)
    close_ns = bars.open_time + step
    times, rates, digits = _funding(config, symbol, window.data_start_ns, window.end_ns)
    return Market(
        config=config,
        symbol=symbol,
        instrument=instrument,
        bars=bars,
        units=np.ascontiguousarray(units),
        close_ns=close_ns,
        funding_count=np.searchsorted(times, close_ns, side="right").astype(np.int64),
        rates=rates,
        rate_digits=digits,
        clock_ns=_clock_before(config, symbol, close_ns, window.data_start_ns, window.end_ns),
        first_ns=max(coverage(catalog, s, config.interval)[0] for s in config.all_symbols),
        start_ns=window.start_ns,
        end_ns=window.end_ns,
    )


def _moves(config: NodeConfig) -> bool:
    protection = config.strategy.protection
    return protection.trailing is not None or protection.break_even is not None


def _stored_instrument(catalog: Path, symbol: str) -> object:
    from nautilus_trader.persistence.catalog import ParquetDataCatalog  # noqa: PLC0415 - heavy

    found = ParquetDataCatalog(str(catalog)).instruments(instrument_ids=[instrument_id_text(symbol)])
    if not found:
        raise DataError(f"{catalog}: no instrument {symbol}: ingest its bars again")
    return found[-1]


def _units(floats: Floats, digits: int) -> Ints:
    return np.rint(floats * 10.0**digits).astype(np.int64)


def _funding(config: NodeConfig, symbol: str, start_ns: int, end_ns: int) -> tuple[Ints, Ints, int]:
    if not config.backtest.funding:
        return np.empty(0, np.int64), np.empty(0, np.int64), _RATE_DIGITS
    funding = load_funding(Path(config.catalog), symbol, start_ns, end_ns + 1)
    texts = [Decimal(repr(rate)) for rate in funding.rate.tolist()]
    digits = max([_RATE_DIGITS, *(-int(t.as_tuple().exponent) for t in texts)])
    rates = [int(t.scaleb(digits)) for t in texts]
    if digits > 15:
        raise DataError(f"{symbol}: a funding rate has {digits} digits: ingest the funding again")
    return funding.time, np.array(rates, np.int64), digits


def _clock_before(config: NodeConfig, symbol: str, close_ns: Ints, start_ns: int, end_ns: int) -> Ints:
    """Return the last clock step by a context symbol that the node hears between two bars of the symbol."""
    before = np.zeros(len(close_ns), np.int64)
    step = interval_ns(config.interval)
    earlier = config.all_symbols.index(symbol)
    for position, other in enumerate(config.all_symbols):
        if other == symbol:
            continue
        bars = load_bars(Path(config.catalog), other, config.interval, start_ns, end_ns - step + 1)
        closes = bars.open_time + step
        missing = ~np.isin(close_ns, closes)
        if missing.any():
            raise DataError(
                f"{config.catalog}: {other} has no bar closing at {format_time(int(close_ns[missing][0]))}, where "
                f"{symbol} has one: fill the gap (`python -m catalog.repair`) or set `context: []`"
            )
        # A bar that closes with the symbol's own is heard before it only if its symbol comes first.
        last = np.searchsorted(closes, close_ns if position < earlier else close_ns - 1, side="right") - 1
        found = np.where(last >= 0, closes[np.maximum(last, 0)], 0)
        previous = np.concatenate([[np.iinfo(np.int64).min], close_ns[:-1]])
        before = np.maximum(before, np.where(found > previous, found, 0))
    return before


def _shortest_texts(units: Ints, digits: int) -> tuple[Ints, int]:
    """
    Return the shortest texts of the engine's floats of `units` as integers, and their digits after the point.

    The engine's float is not always the nearest to the price (61234.57 may be 61234.570000000003), and the node takes
    its decimals from the float's text.
    """
    floats = (units.astype(np.float64) * 10.0 ** (16 - digits)) / 1e16
    off = np.flatnonzero(floats != units / 10.0**digits)
    if len(off) == 0:
        return units, digits
    texts = [Decimal(repr(x)) for x in floats[off].tolist()]
    most = max(digits, *(-int(t.as_tuple().exponent) for t in texts))
    scaled = units.astype(object) * 10 ** (most - digits)
    scaled[off] = [int(t.scaleb(most)) for t in texts]
    if max(scaled) >= 2**62:
        raise DataError("prices have too many digits for moved stops in a sweep")
    return scaled.astype(np.int64), most
