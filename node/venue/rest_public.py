"""Market data over REST. Nothing here tells more than the market clock allows."""

from decimal import Decimal
from typing import Any

from node.venue.endpoints import EndpointTable, Security
from node.venue.errors import error
from node.venue.feed import FUNDING_HOURS
from node.venue.instruments import Instrument
from node.venue.intervals import INTERVALS
from node.venue.params import Params
from node.venue.publisher import LEVELS, LOTS, day_statistics, ladder
from node.venue.venue import Venue

type Json = dict[str, Any]

_MOST_KLINES = 1500
_HOUR_MS = 3_600_000
_KLINE_WEIGHTS = ((100, 1), (500, 2), (1000, 5))  # each up to and with that limit, as measured
_DEPTH_WEIGHTS = ((50, 2), (100, 5), (500, 10))
_DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)


def register(table: EndpointTable) -> None:
    """Add the public endpoints to `table`."""
    table.add("GET", "/fapi/v1/ping")(lambda _venue, _params: {})
    table.add("GET", "/fapi/v1/time")(lambda venue, _params: {"serverTime": venue.clock.wall_ms()})
    table.add("GET", "/fapi/v1/exchangeInfo")(exchange_info)
    table.add("GET", "/fapi/v1/klines", weight=kline_weight)(klines)
    table.add("GET", "/fapi/v1/depth", weight=_depth_weight)(depth)
    table.add("GET", "/fapi/v1/trades", weight=5)(trades)
    table.add("GET", "/fapi/v1/historicalTrades", weight=20, security=Security.KEY)(historical_trades)
    table.add("GET", "/fapi/v1/aggTrades", weight=20)(agg_trades)
    table.add("GET", "/fapi/v1/premiumIndex", weight=one_or(1, 10))(premium_index)
    table.add("GET", "/fapi/v1/fundingRate")(funding_rate)
    table.add("GET", "/fapi/v1/fundingInfo", weight=0)(funding_info)
    table.add("GET", "/fapi/v1/ticker/price", weight=one_or(1, 2))(ticker_price)
    table.add("GET", "/fapi/v2/ticker/price", weight=one_or(1, 2))(ticker_price)
    table.add("GET", "/fapi/v1/ticker/bookTicker", weight=one_or(2, 5))(book_ticker)
    table.add("GET", "/fapi/v1/ticker/24hr", weight=one_or(1, 40))(ticker_day)


def exchange_info(venue: Venue, _params: Params) -> Json:
    """Return the instruments and limits."""
    limits = venue.config.limits
    return {
        "timezone": "UTC",
        "serverTime": venue.clock.wall_ms(),
        "futuresType": "U_MARGINED",
        "rateLimits": [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, limits.weight_per_minute),
            _limit("ORDERS", "MINUTE", 1, limits.orders_per_minute),
            _limit("ORDERS", "SECOND", 10, limits.orders_per_10_secs),
        ],
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [
            i.info | {"status": venue.engine.statuses.get(i.symbol, "TRADING")} for i in venue.instruments.values()
        ],
    }


def klines(venue: Venue, params: Params) -> list[list[Any]]:
    """Return finished candles; a candle that market time has not closed does not exist yet."""
    instrument = instrument_of(venue, params)
    interval = params.required("interval")
    if interval not in INTERVALS:
        raise error(-1120)
    start = params.integer("startTime") if "startTime" in params else None
    end = params.integer("endTime") if "endTime" in params else None
    if start is not None and end is not None and start > end:
        raise error(-1023)
    return venue.feed.klines(instrument.symbol, interval, start, end, params.limit(500, _MOST_KLINES))


def depth(venue: Venue, params: Params) -> Json:
    """Return a book of twenty levels, one tick apart, around the last price."""
    instrument = instrument_of(venue, params)
    wanted = params.integer("limit", 500)
    if wanted not in _DEPTH_LIMITS:
        raise error(-4021, wanted)
    bids, asks = ladder(instrument, _price(venue, instrument), min(wanted, LEVELS))
    now = venue.clock.wall_ms()
    return {
        "lastUpdateId": venue.replay.publisher.update_id(instrument.symbol),
        "E": now,
        "T": now,
        "bids": [list(row) for row in bids.items()],
        "asks": [list(row) for row in asks.items()],
    }


def trades(venue: Venue, params: Params) -> list[Json]:
    """Return one trade for each of the newest public bars, at its close."""
    return _trades(venue, instrument_of(venue, params), None, params.limit(500, 1000))


def historical_trades(venue: Venue, params: Params) -> list[Json]:
    """Return trades from ``fromId`` on, or the newest."""
    first = params.integer("fromId") * venue.feed.step_ms if "fromId" in params else None
    return _trades(venue, instrument_of(venue, params), first, params.limit(100, 500))


def _trades(venue: Venue, instrument: Instrument, start: int | None, limit: int) -> list[Json]:
    return [
        {
            "id": bar[0] // venue.feed.step_ms,
            "price": bar[4],
            "qty": bar[5],
            "quoteQty": bar[7],
            "time": bar[6],
            "isBuyerMaker": False,
            "isRPITrade": False,
        }
        for bar in venue.feed.klines(instrument.symbol, venue.feed.interval, start, None, limit)
    ]


def agg_trades(venue: Venue, params: Params) -> list[Json]:
    """
    Return one aggregate trade for each public bar, at its close: from an identifier or in a window, ascending.

    As at the exchange: without either the newest; a window is shorter than an hour (-1127); both at once are refused.
    """
    instrument = instrument_of(venue, params)
    step, limit = venue.feed.step_ms, params.limit(500, 1000)
    if "fromId" in params:
        if "startTime" in params or "endTime" in params:
            raise error(-1128)
        bars = venue.feed.klines(instrument.symbol, venue.feed.interval, params.integer("fromId") * step, None, limit)
    else:
        start = params.integer("startTime") if "startTime" in params else None
        end = params.integer("endTime") if "endTime" in params else None
        if start is not None and end is not None and end - start >= _HOUR_MS:
            raise error(-1127, 1)
        # Times mean those of the trades, which lie at the bars' closes.
        opens = None if start is None else start - step + 1
        bars = venue.feed.klines(
            instrument.symbol, venue.feed.interval, opens, None if end is None else end - step + 1, limit
        )
    rows = []
    for bar in bars:
        number = bar[0] // step
        row = {"a": number, "p": bar[4], "q": bar[5], "nq": bar[5], "f": number, "l": number, "T": bar[6], "m": False}
        rows.append(row)
    return rows


def premium_index(venue: Venue, params: Params) -> Json | list[Json]:
    """Return mark price (the last public close) and funding; the rate is that of the last settlement."""

    def row(instrument: Instrument) -> Json:
        now = venue.feed.public_ms(instrument.symbol)
        text = instrument.price_text(_mark(venue, instrument))
        return {
            "symbol": instrument.symbol,
            "markPrice": text,
            "indexPrice": text,
            "estimatedSettlePrice": text,
            "lastFundingRate": f"{venue.feed.last_rate(instrument.symbol, now):.8f}",
            "interestRate": "0.00010000",
            "nextFundingTime": venue.feed.next_funding_ms(instrument.symbol, now),
            "time": venue.clock.wall_ms(),
        }

    return _one_or_all(venue, params, row)


def funding_rate(venue: Venue, params: Params) -> list[Json]:
    """Return past settlements (market time), ascending."""
    chosen = [instrument_of(venue, params)] if "symbol" in params else list(venue.instruments.values())
    limit = params.limit(100, 1000)
    start = params.integer("startTime") if "startTime" in params else None
    end = params.integer("endTime") if "endTime" in params else None
    rows: list[Json] = []
    for instrument in chosen:
        now = venue.feed.public_ms(instrument.symbol)
        until = now if end is None else min(end, now)
        for time_ms, rate in venue.feed.settlements(instrument.symbol, -1 if start is None else start - 1, until):
            mark = venue.feed.close_at(instrument.symbol, time_ms)
            rows.append(
                {
                    "symbol": instrument.symbol,
                    "fundingTime": time_ms,
                    "fundingRate": f"{rate:.8f}",
                    "markPrice": f"{mark:.8f}" if mark is not None else "",
                    "rateType": "Regular",
                },
            )
    rows.sort(key=lambda r: r["fundingTime"])
    return rows[:limit] if start is not None else rows[-limit:]


def funding_info(venue: Venue, _params: Params) -> list[Json]:
    """Return the funding interval of every symbol."""
    return [
        {
            "symbol": symbol,
            "adjustedFundingRateCap": "0.02000000",
            "adjustedFundingRateFloor": "-0.02000000",
            "fundingIntervalHours": FUNDING_HOURS,
            "disclaimer": False,
            "updateTime": venue.feed.start_ms,
        }
        for symbol in venue.instruments
    ]


def ticker_price(venue: Venue, params: Params) -> Json | list[Json]:
    """Return last prices."""

    def row(instrument: Instrument) -> Json:
        price = instrument.price_text(_price(venue, instrument))
        return {"symbol": instrument.symbol, "price": price, "time": venue.clock.wall_ms()}

    return _one_or_all(venue, params, row)


def book_ticker(venue: Venue, params: Params) -> Json | list[Json]:
    """Return best quotes: both sides at the last price."""

    def row(instrument: Instrument) -> Json:
        price = instrument.price_text(_price(venue, instrument))
        size = instrument.quantity_text(instrument.step * LOTS)
        return {
            "symbol": instrument.symbol,
            "bidPrice": price,
            "bidQty": size,
            "askPrice": price,
            "askQty": size,
            "time": venue.clock.wall_ms(),
            "lastUpdateId": venue.replay.publisher.update_id(instrument.symbol),
        }

    return _one_or_all(venue, params, row)


def ticker_day(venue: Venue, params: Params) -> Json | list[Json]:
    """Return statistics over the last 24 hours of market time."""
    return _one_or_all(venue, params, lambda i: day_statistics(venue.feed, venue.engine, i.symbol))


def _one_or_all(venue: Venue, params: Params, row: Any) -> Any:
    if "symbol" in params:
        return row(instrument_of(venue, params))
    return [row(i) for i in venue.instruments.values()]


def instrument_of(venue: Venue, params: Params, name: str = "symbol") -> Instrument:
    """Return the instrument a request names by its symbol (-1121) or its pair (-4144)."""
    found = venue.instruments.get(params.required(name).upper())
    if found is None:
        raise error(-1121 if name == "symbol" else -4144)
    return found


def _price(venue: Venue, instrument: Instrument) -> Decimal:
    return venue.engine.prices.get(instrument.symbol, instrument.tick)


def _mark(venue: Venue, instrument: Instrument) -> Decimal:
    bar = venue.feed.last_public(instrument.symbol)
    return bar.close if bar is not None else _price(venue, instrument)


def _limit(kind: str, interval: str, number: int, limit: int) -> Json:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def kline_weight(params: Params) -> int:
    """Return the weight of a klines request, which depends on its limit; five without one."""
    if "limit" not in params:
        return 5
    return next((w for most, w in _KLINE_WEIGHTS if params.integer("limit") <= most), 10)


def _depth_weight(params: Params) -> int:
    if "limit" not in params:
        return 1
    return next((w for most, w in _DEPTH_WEIGHTS if params.integer("limit") <= most), 20)


def one_or(one: int, everything: int) -> Any:
    """Return the weight of a request for one symbol or for all."""
    return lambda params: one if "symbol" in params else everything
