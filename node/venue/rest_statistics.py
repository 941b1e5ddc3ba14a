"""
Open interest, long/short ratios, premium and price klines.

The catalog holds klines and funding only, so these figures are derived, always the same for the same bar and seed:
open interest follows the last day's volume, ratios swing around the figures common on the exchange with the bar's own
change, drawn from a hash of (seed, symbol, series, time). They carry no information about what comes next. Periods
shorter than the replayed bars are cut out of them as shorter klines are (:mod:`node.venue.intervals`). Mark and index
price are the last price, so their klines are the klines without volume, and the premium is zero.
"""

import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from node.venue.endpoints import EndpointTable
from node.venue.errors import error
from node.venue.instruments import Instrument
from node.venue.intervals import Bar, interval_ms
from node.venue.params import Params
from node.venue.publisher import DAY_MS
from node.venue.rest_public import instrument_of, kline_weight, klines
from node.venue.venue import Venue

type Json = dict[str, Any]

PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
_DATA = "/futures/data"
_MOST_ROWS = 500
_DAYS_BACK = 30
_RATIOS = (
    ("globalLongShortAccountRatio", Decimal("0.62"), ("longShortRatio", "longAccount", "shortAccount")),
    ("topLongShortAccountRatio", Decimal("0.64"), ("longShortRatio", "longAccount", "shortAccount")),
    ("topLongShortPositionRatio", Decimal("0.60"), ("longShortRatio", "longAccount", "shortAccount")),
)


def register(table: EndpointTable) -> None:
    """Add the statistics endpoints to `table`."""
    table.add("GET", "/fapi/v1/openInterest")(open_interest)
    table.add("GET", f"{_DATA}/openInterestHist", weight=0)(open_interest_history)
    table.add("GET", f"{_DATA}/takerlongshortRatio", weight=0)(taker_ratio)
    table.add("GET", f"{_DATA}/basis", weight=0)(basis)
    for name, middle, fields in _RATIOS:
        table.add("GET", f"{_DATA}/{name}", weight=0)(_ratio(name, middle, fields))
    for name in ("markPriceKlines", "indexPriceKlines", "premiumIndexKlines", "continuousKlines"):
        table.add("GET", f"/fapi/v1/{name}", weight=kline_weight)(_price_klines(name))
    table.add("GET", "/fapi/v1/indexInfo")(lambda _venue, _params: [])
    table.add("GET", "/fapi/v1/constituents", weight=2)(constituents)


def open_interest(venue: Venue, params: Params) -> Json:
    """Return the present open interest, base currency."""
    instrument = instrument_of(venue, params)
    amount = _interest(venue, instrument, venue.feed.public_ms(instrument.symbol))
    return {
        "openInterest": instrument.quantity_text(amount),
        "symbol": instrument.symbol,
        "time": venue.feed.public_ms(instrument.symbol),
    }


def open_interest_history(venue: Venue, params: Params) -> list[Json]:
    """Return open interest at the end of every period, ascending."""

    def row(instrument: Instrument, bar: Bar, time_ms: int) -> Json:
        amount = _interest(venue, instrument, time_ms)
        return {
            "symbol": instrument.symbol,
            "sumOpenInterest": f"{amount:.8f}",
            "sumOpenInterestValue": f"{amount * bar.close:.8f}",
            "timestamp": time_ms,
        }

    return _rows(venue, params, row)


def taker_ratio(venue: Venue, params: Params) -> list[Json]:
    """Return taker buy and sell volume of every period, ascending."""

    def row(instrument: Instrument, bar: Bar, time_ms: int) -> Json:
        share = _share(venue, instrument.symbol, "taker", time_ms, Decimal("0.5"))
        buys = bar.volume * share
        return {
            "buySellRatio": f"{share / (1 - share):.4f}",
            "sellVol": f"{bar.volume - buys:.4f}",
            "buyVol": f"{buys:.4f}",
            "timestamp": time_ms,
        }

    return _rows(venue, params, row)


def basis(venue: Venue, params: Params) -> list[Json]:
    """Return the basis of every period: zero, as index and contract have one price here."""

    def row(instrument: Instrument, bar: Bar, time_ms: int) -> Json:
        price = instrument.price_text(bar.close)
        return {
            "indexPrice": price,
            "contractType": "PERPETUAL",
            "basisRate": "0.0000",
            "futuresPrice": price,
            "annualizedBasisRate": "",
            "basis": "0.00000000",
            "pair": instrument.symbol,
            "timestamp": time_ms,
        }

    instrument_of(venue, params, "pair")
    _check_contract(params)
    return _rows(venue, params, row, name="pair")


def _check_contract(params: Params) -> None:
    """Refuse any contract of a pair but the perpetual one: no other is listed (-4104)."""
    if params.required("contractType").upper() != "PERPETUAL":
        raise error(-4104)


def constituents(venue: Venue, params: Params) -> Json:
    """Return what the index is made of: the exchange's own price."""
    instrument = instrument_of(venue, params)
    return {
        "symbol": instrument.symbol,
        "time": venue.clock.wall_ms(),
        "constituents": [{"exchange": "binance", "symbol": instrument.symbol}],
    }


def _ratio(name: str, middle: Decimal, fields: tuple[str, str, str]) -> Callable[[Venue, Params], list[Json]]:
    def handler(venue: Venue, params: Params) -> list[Json]:
        def row(instrument: Instrument, _bar: Bar, time_ms: int) -> Json:
            share = _share(venue, instrument.symbol, name, time_ms, middle)
            figures = (share / (1 - share), share, 1 - share)
            texts = {field: f"{value:.4f}" for field, value in zip(fields, figures, strict=True)}
            return {"symbol": instrument.symbol, **texts, "timestamp": time_ms}

        return _rows(venue, params, row)

    return handler


def _price_klines(name: str) -> Callable[[Venue, Params], list[list[Any]]]:
    def handler(venue: Venue, params: Params) -> list[list[Any]]:
        values = {n: params.text(n) for n in params.names}
        if name in ("indexPriceKlines", "continuousKlines"):
            values["symbol"] = instrument_of(venue, params, "pair").symbol
        if name == "continuousKlines":
            _check_contract(params)
        rows = klines(venue, Params.of(values))
        if name == "continuousKlines":
            return rows
        for row in rows:
            row[5] = row[7] = row[9] = row[10] = "0"
            if name == "premiumIndexKlines":
                row[1] = row[2] = row[3] = row[4] = "0.00000000"
        return rows

    return handler


def _rows(
    venue: Venue, params: Params, row: Callable[[Instrument, Bar, int], Json], name: str = "symbol"
) -> list[Json]:
    instrument = instrument_of(venue, params, name)
    period = params.required("period")
    if period not in PERIODS:
        raise error(-1130, "period")
    length = interval_ms(period)
    limit = params.limit(30, _MOST_ROWS)
    now = venue.feed.public_ms(instrument.symbol)
    oldest = now - _DAYS_BACK * DAY_MS
    if "startTime" in params:
        if params.integer("startTime") < oldest:
            raise error(-1130, "startTime")
        oldest = params.integer("startTime")
    # A row stands at the close of its period; bars are found by their opens.
    forward = oldest - length if "startTime" in params and "endTime" not in params else None
    end = min(params.integer("endTime", now), now) - length
    bars = venue.feed.bars(instrument.symbol, period, forward, end, limit)
    return [row(instrument, b, b.open_ms + length) for b in bars if b.open_ms + length >= oldest]


def _interest(venue: Venue, instrument: Instrument, time_ms: int) -> Decimal:
    bars = venue.feed.public_since(instrument.symbol, time_ms - DAY_MS)
    volume = sum((b.volume for b in bars if b.open_ms < time_ms), Decimal(0))
    share = _share(venue, instrument.symbol, "interest", time_ms, Decimal("0.5"))
    return ((volume / 2 + instrument.step * 1000) * (1 + share / 10) / instrument.step).to_integral_value() * (
        instrument.step
    )


def _share(venue: Venue, symbol: str, series: str, time_ms: int, middle: Decimal) -> Decimal:
    """Return a fraction within 0.05 of `middle` that only depends on seed, symbol, series and time."""
    digest = hashlib.sha256(f"{venue.config.seed}/{symbol}/{series}/{time_ms}".encode()).digest()
    return middle + (Decimal(int.from_bytes(digest[:4], "big")) / Decimal(2**32) - Decimal("0.5")) / 10
