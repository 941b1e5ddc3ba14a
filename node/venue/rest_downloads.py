"""
Histories as files: ask for orders, trades or income of a span (``/asyn``), then for the file's address (``/asyn/id``).

A file is a zip with one CSV, its columns those of the rows of allOrders, userTrades and income. It is made when it is
asked for, from what the books hold then, and lies at ``/argonaut/download/ID.zip`` for a week of wall time.
"""

import csv
import io
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from node.venue.endpoints import EndpointTable, Handler, Security
from node.venue.errors import error
from node.venue.params import Params
from node.venue.rest_orders import check_span
from node.venue.venue import Venue

type Json = dict[str, Any]

_SIGNED = Security.SIGNED
_FIRST_ID = 545_923_594_199_212_032
_LIFE_MS = 7 * 86_400_000
_YEAR_DAYS = 366


@dataclass(frozen=True, slots=True)
class Download:
    """One file: what it holds (order, trade or income), when it was made (wall, UTC ms), how long that took (ms)."""

    kind: str
    made_ms: int
    cost_ms: float
    content: bytes


def register(table: EndpointTable) -> None:
    """Add the download endpoints to `table`."""
    for kind, rows in (("order", _orders), ("trade", _trades), ("income", _incomes)):
        table.add("GET", f"/fapi/v1/{kind}/asyn", weight=1000, security=_SIGNED)(_ask(kind, rows))
        table.add("GET", f"/fapi/v1/{kind}/asyn/id", weight=10, security=_SIGNED)(_link(kind))


def _ask(kind: str, rows: Callable[[Venue, int, int], list[Json]]) -> Handler:
    def handler(venue: Venue, params: Params) -> Json:
        params.required("startTime")
        params.required("endTime")
        check_span(params, _YEAR_DAYS)
        began = time.perf_counter()
        content = _zipped(f"{kind}.csv", rows(venue, params.integer("startTime"), params.integer("endTime")))
        cost = (time.perf_counter() - began) * 1000
        number = str(_FIRST_ID + len(venue.downloads))
        venue.downloads[number] = Download(kind, venue.clock.wall_ms(), cost, content)
        costs = [d.cost_ms for d in venue.downloads.values() if d.kind == kind]
        return {"avgCostTimestampOfLast30d": round(sum(costs) / len(costs)), "downloadId": number}

    return handler


def _link(kind: str) -> Handler:
    def handler(venue: Venue, params: Params) -> Json:
        number = params.required("downloadId")
        found = venue.downloads.get(number)
        if found is None or found.kind != kind:
            raise error(-1130, "downloadId")
        expired = is_expired(venue, found)
        return {
            "downloadId": number,
            "status": "completed",
            "url": "" if expired else f"{venue.address}/argonaut/download/{number}.zip",
            "notified": True,
            "expirationTimestamp": found.made_ms + _LIFE_MS,
            "isExpired": "true" if expired else None,
        }

    return handler


def is_expired(venue: Venue, download: Download) -> bool:
    """Return whether a file's week is over."""
    return venue.clock.wall_ms() >= download.made_ms + _LIFE_MS


def _orders(venue: Venue, start: int, end: int) -> list[Json]:
    return [venue.payloads.order(o) for o in venue.books.orders.values() if start <= o.created_ms <= end]


def _trades(venue: Venue, start: int, end: int) -> list[Json]:
    return [venue.payloads.trade(f) for f in venue.books.fills if start <= f.wall_ms <= end]


def _incomes(venue: Venue, start: int, end: int) -> list[Json]:
    return [venue.payloads.income(i) for i in venue.books.incomes if start <= i.wall_ms <= end]


def _zipped(name: str, rows: list[Json]) -> bytes:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text.getvalue())
    return packed.getvalue()
