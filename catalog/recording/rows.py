"""Records as rows of the raw store: what a stream's or an answer's JSON says, by kind, symbol and interval."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from catalog.recording.segments import Entry

MS = 1_000_000

FUNDING, INTEREST, RATIOS = "fundingRate", "openInterestHist", "ratios"
"""What is asked for instead of streamed, behind ``#`` in the stream's name."""
RATIO_FIELDS = {
    "topLongShortAccountRatio": ("count_toptrader_long_short_ratio", "longShortRatio"),
    "topLongShortPositionRatio": ("sum_toptrader_long_short_ratio", "longShortRatio"),
    "globalLongShortAccountRatio": ("count_long_short_ratio", "longShortRatio"),
    "takerlongshortRatio": ("sum_taker_long_short_vol_ratio", "buySellRatio"),
}
"""Endpoint to column of the raw store and field of its answer."""

type Columns = dict[str, list[Any]]


class Target(NamedTuple):
    """A series of the raw store."""

    kind: str
    symbol: str
    interval: str | None


_ORDER = {"klines": "open_time", "agg_trades": "agg_trade_id", "book_ticker": "update_id", "funding": "calc_time"}


def rows_of(entries: Iterable[Entry]) -> dict[Target, Columns]:
    """
    Return the rows in the records by series, each in the order its kind wants, the same row once.

    What the raw store has no kind for (mark prices) and what cannot be read is left out; the tape keeps it.
    """
    found: dict[Target, dict[Any, dict[str, Any]]] = {}
    for entry in entries:
        row = row_of(entry)
        if row is not None:
            target, values = row
            key = values[_ORDER[target.kind]] if target.kind in _ORDER else tuple(values.values())
            found.setdefault(target, {})[key] = values
    result: dict[Target, Columns] = {}
    for target, rows in found.items():
        ordered = [rows[key] for key in sorted(rows, key=lambda k: k if isinstance(k, int) else k[0])]
        result[target] = {name: [row[name] for row in ordered] for name in ordered[0]}
    return result


def row_of(entry: Entry) -> tuple[Target, dict[str, Any]] | None:
    """Return one record's row, None when there is none in it."""
    try:
        body = msgspec.json.decode(entry.message)
        name, _, what = entry.stream.replace("#", "@#").partition("@")
        symbol = name.upper()
        match what.partition("_")[0]:
            case "aggTrade":
                return Target("agg_trades", symbol, None), _trade(body)
            case "bookTicker":
                return Target("book_ticker", symbol, None), _quote(body)
            case "kline" if body["k"]["x"]:
                return Target("klines", symbol, body["k"]["i"]), _kline(body["k"])
            case "forceOrder":
                return Target("liquidations", symbol, None), _forced(body["o"])
            case "#fundingRate":
                return Target("funding", symbol, None), {
                    "calc_time": int(body["fundingTime"]) * MS,
                    "last_funding_rate": body["fundingRate"],
                }
            case "#openInterestHist":
                return Target("open_interest", symbol, None), {
                    "time": int(body["timestamp"]) * MS,
                    "sum_open_interest": body["sumOpenInterest"],
                    "sum_open_interest_value": body["sumOpenInterestValue"],
                }
            case "#ratios":
                figures = {column: body.get(column) for column, _ in RATIO_FIELDS.values()}
                return Target("ratios", symbol, None), {"time": int(body["timestamp"]) * MS, **figures}
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return None
    return None


def _trade(body: Any) -> dict[str, Any]:
    return {
        "transact_time": body["T"] * MS,
        "agg_trade_id": body["a"],
        "price": body["p"],
        "quantity": body["q"],
        "first_trade_id": body["f"],
        "last_trade_id": body["l"],
        "is_buyer_maker": body["m"],
    }


def _quote(body: Any) -> dict[str, Any]:
    return {
        "transaction_time": body["T"] * MS,
        "update_id": body["u"],
        "best_bid_price": body["b"],
        "best_bid_quantity": body["B"],
        "best_ask_price": body["a"],
        "best_ask_quantity": body["A"],
        "event_time": body["E"],
    }


def _kline(k: Any) -> dict[str, Any]:
    return {
        "open_time": k["t"] * MS,
        "open": k["o"],
        "high": k["h"],
        "low": k["l"],
        "close": k["c"],
        "volume": k["v"],
        "quote_volume": k["q"],
        "count": k["n"],
        "taker_buy_volume": k["V"],
        "taker_buy_quote_volume": k["Q"],
    }


def _forced(order: Any) -> dict[str, Any]:
    return {
        "time": order["T"] * MS,
        "side": order["S"],
        "order_type": order["o"],
        "time_in_force": order["f"],
        "original_quantity": order["q"],
        "price": order["p"],
        "average_price": order["ap"],
        "order_status": order["X"],
        "last_fill_quantity": order["l"],
        "accumulated_fill_quantity": order["z"],
    }
