"""
What this exchange or account does not have: spot and coin-margined markets, converts, portfolio margin, a brokerage.

The paths exist and answer with the exchange's own codes, so that a client is told why instead of finding nothing.
The wallet holds USDT only, so there is no pair to convert. Clients that serve several markets ask each for its symbols
before they trade in one: the others list none.
"""

from typing import Any

from node.venue import rest_public
from node.venue.endpoints import EndpointTable, Handler, Security
from node.venue.errors import error
from node.venue.params import Params
from node.venue.venue import Venue

_SIGNED = Security.SIGNED
_BROKER = (
    ("GET", "overview"),
    ("GET", "rebateVol"),
    ("GET", "tradeVol"),
    ("GET", "traderNum"),
    ("GET", "traderSummary"),
    ("GET", "customization"),
    ("POST", "customization"),
    ("GET", "userCustomization"),
    ("POST", "userCustomization"),
)


def register(table: EndpointTable) -> None:
    """Add the endpoints to `table`."""
    for market in ("/api/v3", "/dapi/v1"):
        table.add("GET", f"{market}/ping")(lambda _venue, _params: {})
        table.add("GET", f"{market}/time")(lambda venue, _params: {"serverTime": venue.clock.wall_ms()})
        table.add("GET", f"{market}/exchangeInfo")(
            lambda venue, params: rest_public.exchange_info(venue, params) | {"symbols": []},
        )
    convert = "/fapi/v1/convert"
    table.add("GET", f"{convert}/exchangeInfo", weight=20)(lambda _venue, _params: [])
    table.add("POST", f"{convert}/getQuote", weight=50, security=_SIGNED)(quote)
    table.add("POST", f"{convert}/acceptQuote", weight=200, security=_SIGNED)(accept)
    table.add("GET", f"{convert}/orderStatus", weight=50, security=_SIGNED)(status)
    table.add("GET", "/fapi/v1/pmAccountInfo", weight=5, security=_SIGNED)(_refused(-21001, "asset"))
    table.add("POST", "/fapi/v1/stock/contract", weight=50, security=_SIGNED)(_refused(-1020))
    for method, name in _BROKER:
        table.add(method, f"/fapi/v1/apiReferral/{name}", security=_SIGNED)(_refused(-1099))


def quote(_venue: Venue, params: Params) -> Any:
    """Refuse a quote: no pair of assets is convertible (-1126)."""
    params.required("fromAsset")
    params.required("toAsset")
    params.one_of("fromAmount", "toAmount")
    raise error(-1126)


def accept(_venue: Venue, params: Params) -> Any:
    """Refuse to accept a quote: none was given (-1130)."""
    params.required("quoteId")
    raise error(-1130, "quoteId")


def status(_venue: Venue, params: Params) -> Any:
    """Refuse to tell of a conversion: there is none (-2013)."""
    params.one_of("orderId", "quoteId")
    raise error(-2013)


def _refused(code: int, *needed: str) -> Handler:
    def handler(_venue: Venue, params: Params) -> Any:
        for name in needed:
            params.required(name)
        raise error(code)

    return handler
