"""
Public reference data about the exchange itself: insurance fund, ADL risk, asset index, schedules, deliveries.

All of it comes from the venue's own books and prices. The insurance fund begins with `insurance_fund` of the
configuration, takes the liquidation fees of the account and pays what its margin lacked. The ADL risk is that of the
market: by the range of the last day's prices, and high while the fund is empty. The venue takes no margin but USDT, at
par, so no asset index carries a haircut. It lists perpetual contracts on crypto assets only: nothing was ever
delivered, and no underlying has trading sessions.
"""

from decimal import Decimal
from typing import Any

from node.venue.endpoints import EndpointTable
from node.venue.errors import error
from node.venue.events import amount_text
from node.venue.instruments import Instrument
from node.venue.params import Params
from node.venue.publisher import DAY_MS, index_rows
from node.venue.rest_public import depth, instrument_of, one_or
from node.venue.venue import Venue

type Json = dict[str, Any]

_RISK_MS = 30 * 60_000
_RISKS = ((Decimal("0.05"), "low"), (Decimal("0.15"), "medium"))
_RPI_LIMIT = 1000


def register(table: EndpointTable) -> None:
    """Add the reference endpoints to `table`."""
    table.add("GET", "/futures/data/delivery-price", weight=0)(delivery_prices)
    table.add("GET", "/fapi/v1/assetIndex", weight=one_or(1, 10))(asset_index)
    table.add("GET", "/fapi/v1/insuranceBalance")(insurance_balance)
    table.add("GET", "/fapi/v1/symbolAdlRisk")(adl_risk)
    table.add("GET", "/fapi/v1/rpiDepth", weight=20)(rpi_depth)
    table.add("GET", "/fapi/v1/tradingSchedule", weight=5)(
        lambda venue, _params: {"updateTime": venue.clock.wall_ms(), "marketSchedules": {}},
    )


def delivery_prices(venue: Venue, params: Params) -> list[Json]:
    """Return the settlement prices of the quarterly contracts of a pair: there is none (-4144 for an unknown pair)."""
    instrument_of(venue, params, "pair")
    return []


def asset_index(venue: Venue, params: Params) -> Json | list[Json]:
    """Return the index of an asset against the dollar, e.g. BTCUSD, or of all (-1121)."""
    rows = index_rows(venue.engine, venue.clock.wall_ms())
    if "symbol" not in params:
        return rows
    wanted = params.text("symbol").upper()
    found = next((r for r in rows if r["symbol"] == wanted), None)
    if found is None:
        raise error(-1121)
    return found


def insurance_balance(venue: Venue, params: Params) -> Json | list[Json]:
    """Return the insurance fund, which all contracts share: a group of symbols and its assets, or all groups."""
    if "symbol" in params:
        instrument_of(venue, params)
    moved = [i for i in venue.books.incomes if i.kind == "INSURANCE_CLEAR"]
    group = {
        "symbols": list(venue.instruments),
        "assets": [
            {
                "asset": "USDT",
                "marginBalance": amount_text(_fund(venue)),
                "updateTime": moved[-1].wall_ms if moved else venue.books.opened_ms,
            }
        ],
    }
    return group if "symbol" in params else [group]


def adl_risk(venue: Venue, params: Params) -> Json | list[Json]:
    """Return how likely deleveraging is in a symbol, or in all: low, medium or high, as of the last half hour."""

    def row(instrument: Instrument) -> Json:
        now = venue.feed.public_ms(instrument.symbol)
        bars = venue.feed.public_since(instrument.symbol, now - DAY_MS)
        low, high = min((b.low for b in bars), default=Decimal(1)), max((b.high for b in bars), default=Decimal(1))
        swing = high / low - 1
        risk = next((name for most, name in _RISKS if swing < most), "high")
        return {
            "symbol": instrument.symbol,
            "adlRisk": risk if _fund(venue) > 0 else "high",
            "updateTime": venue.clock.wall_ms() // _RISK_MS * _RISK_MS,
        }

    if "symbol" in params:
        return row(instrument_of(venue, params))
    return [row(i) for i in venue.instruments.values()]


def rpi_depth(venue: Venue, params: Params) -> Json:
    """Return the book with retail price improvement orders: nobody rests one here, so the book (-4021)."""
    if params.integer("limit", _RPI_LIMIT) != _RPI_LIMIT:
        raise error(-4021, params.integer("limit"))
    return depth(venue, Params.of({"symbol": params.text("symbol"), "limit": str(_RPI_LIMIT)}))


def _fund(venue: Venue) -> Decimal:
    return venue.config.insurance_fund - venue.books.income_total("INSURANCE_CLEAR")
