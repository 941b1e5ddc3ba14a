"""
The endpoints: what each kind of the raw store is asked with, and how its answers read.

Limits and weights are the exchange's published ones. Statistics (open interest, ratios) reach back 30 days only; what
is older is in the archive (``catalog.raw fetch metrics``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MS = 1_000_000
DAY_MS = 86_400_000
STATISTICS_DAYS = 30
STATISTICS_PERIOD = "5m"

type Columns = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Source:
    """
    How a kind is fetched by time.

    Attributes
    ----------
    kind : str
        Of the raw store.
    paths : mapping of str to mapping
        Path to {our column: field or position in the answer}; several paths are joined by their time.
    time : str or int
        Field or position of the time, ms.
    limit : int
        Rows in one answer at most.
    weight : int
        Of a full answer; 0 for statistics.
    symbol_name : str
        ``symbol`` or ``pair``.
    days_back : int or None
        How far back the exchange answers.

    """

    kind: str
    paths: Mapping[str, Mapping[str, str | int]]
    time: str | int
    limit: int
    weight: int
    symbol_name: str = "symbol"
    days_back: int | None = None
    period: str | None = field(default=None)

    @property
    def grid(self) -> bool:
        """Whether there is one row every interval."""
        return self.kind != "funding"


_OHLC = {"open": 1, "high": 2, "low": 3, "close": 4}
_DATA = "/futures/data"


def _klines(kind: str, path: str, columns: Mapping[str, str | int], symbol_name: str = "symbol") -> Source:
    return Source(kind, {f"/fapi/v1/{path}": columns}, 0, 1500, 10, symbol_name)


_ALL = (
    _klines(
        "klines",
        "klines",
        _OHLC | {"volume": 5, "quote_volume": 7, "count": 8, "taker_buy_volume": 9, "taker_buy_quote_volume": 10},
    ),
    _klines("mark_klines", "markPriceKlines", _OHLC),
    _klines("index_klines", "indexPriceKlines", _OHLC, "pair"),
    _klines("premium_klines", "premiumIndexKlines", _OHLC),
    Source("funding", {"/fapi/v1/fundingRate": {"last_funding_rate": "fundingRate"}}, "fundingTime", 1000, 1),
    Source(
        "open_interest",
        {
            f"{_DATA}/openInterestHist": {
                "sum_open_interest": "sumOpenInterest",
                "sum_open_interest_value": "sumOpenInterestValue",
            }
        },
        "timestamp",
        500,
        0,
        days_back=STATISTICS_DAYS,
        period=STATISTICS_PERIOD,
    ),
    Source(
        "ratios",
        {
            f"{_DATA}/topLongShortAccountRatio": {"count_toptrader_long_short_ratio": "longShortRatio"},
            f"{_DATA}/topLongShortPositionRatio": {"sum_toptrader_long_short_ratio": "longShortRatio"},
            f"{_DATA}/globalLongShortAccountRatio": {"count_long_short_ratio": "longShortRatio"},
            f"{_DATA}/takerlongshortRatio": {"sum_taker_long_short_vol_ratio": "buySellRatio"},
        },
        "timestamp",
        500,
        0,
        days_back=STATISTICS_DAYS,
        period=STATISTICS_PERIOD,
    ),
)
SOURCES: dict[str, Source] = {source.kind: source for source in _ALL}

AGG_TRADES_PATH = "/fapi/v1/aggTrades"
AGG_TRADES_LIMIT, AGG_TRADES_WEIGHT = 1000, 20
AGG_TRADES_WINDOW_MS = 3_600_000 - 1
"""Between startTime and endTime, which must lie less than an hour apart."""
AGG_TRADES: Mapping[str, str] = {
    "agg_trade_id": "a",
    "price": "p",
    "quantity": "q",
    "first_trade_id": "f",
    "last_trade_id": "l",
    "is_buyer_maker": "m",
}
KINDS_FETCHED = (*SOURCES, "agg_trades")


def joined(source: Source, answers: Mapping[str, Sequence[Any]], time_name: str, low_ms: int, high_ms: int) -> Columns:
    """
    Return the rows of all paths with time in ``[low, high)`` ms as columns, joined by time, ascending.

    Raises
    ------
    KeyError, IndexError, TypeError, ValueError
        Propagate: an answer has another form than documented.

    """
    rows: dict[int, dict[str, Any]] = {}
    for path, fields in source.paths.items():
        for row in answers[path]:
            at = int(row[source.time])
            if low_ms <= at < high_ms:
                rows.setdefault(at, {}).update({name: row[place] for name, place in fields.items()})
    times = sorted(rows)
    names = [name for fields in source.paths.values() for name in fields]
    columns: Columns = {time_name: [at * MS for at in times]}
    for name in names:
        columns[name] = [rows[at].get(name) for at in times]
    return columns


def kline_weight(limit: int) -> int:
    """Return the weight of a klines request."""
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def trade_columns(rows: Sequence[Mapping[str, Any]], low_ms: int, high_ms: int) -> Columns:
    """Return aggregate trades with time in ``[low, high)`` ms as columns. Errors as :func:`joined`."""
    inside = [row for row in rows if low_ms <= int(row["T"]) < high_ms]
    columns: Columns = {"transact_time": [int(row["T"]) * MS for row in inside]}
    for name, place in AGG_TRADES.items():
        columns[name] = [row[place] for row in inside]
    return columns
