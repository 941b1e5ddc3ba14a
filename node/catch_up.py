"""
What the venue did while the node was not running: fills and funding the journal has not heard of.

The engine's reconciliation asks only for symbols with an open order or position, so a stop that filled while the node
was dead leaves no trace in it once the symbol is flat. The journal is the truth for money, so before each start it is
brought up to date from the venue's own trade and income history.

Errors: **propagate** (the node does not start on an incomplete record).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import count
from typing import Any

import msgspec

from node.binance.funding import JOINT, UNKNOWN, explaining_anywhere
from node.binance.rest import BinanceRest
from node.binance.user_events import FUNDING_FEE, IncomeRow
from node.journal import Journal
from strategies.order_ids import decode
from strategies.records import FillRecord, FundingRecord

_PAGE = 1000
_MILLI_NS = 1_000_000
_HOUR_MS = 3_600_000
_INCOME_DAYS_MS = 7 * 24 * _HOUR_MS
_WEEK_MS = 7 * 24 * _HOUR_MS
_MARGIN_MS = 60_000
_PAUSES = (0.25, 0.5, 1.0)
"""Seconds until trades are asked for again."""
_CENT = Decimal("1e-8")


async def missed_fills(
    rest: BinanceRest, journal: Journal, symbols: Sequence[str], *, replay: bool
) -> list[FillRecord]:
    """
    Return the trades of `symbols` the venue has and the journal has not, in the order they happened.

    A journal without any record has missed nothing: the account's life before it is not imported.

    Parameters
    ----------
    rest : BinanceRest
        Client with the account's credentials.
    journal : Journal
        Open journal of this account.
    symbols : sequence of str
        Venue symbols.
    replay : bool
        Wall time says nothing about market time: the records get none.

    Raises
    ------
    VenueError
        Propagate: the venue cannot be asked.

    """
    begun, last = _first_wall_time(journal), _last_wall_time(journal)
    if begun is None or last is None:
        return []
    since_ms = max(begun // _MILLI_NS - _MARGIN_MS, last // _MILLI_NS - _WEEK_MS)
    found = []
    held = await _held(rest)
    for symbol in symbols:
        fills = journal.fills(symbol=symbol)
        for trade in await _complete(rest, symbol, fills, since_ms, held):
            client_order_id = await _client_order_id(rest, symbol, trade["orderId"])
            found.append(_fill(symbol, trade, client_order_id, replay=replay))
    return sorted(found, key=lambda f: int(f.id.rpartition("/")[2]))


async def missed_funding(
    rest: BinanceRest, journal: Journal, symbols: Sequence[str], *, now_ms: int, replay: bool
) -> list[FundingRecord]:
    """
    Return the funding payments of the last seven days the venue has and the journal has not.

    They are told apart by symbol and amount: the stream's events carry no identity. A record of several symbols
    together (``BTCUSDT+ETHUSDT``: nobody could split it when it was told) stands for the rows that add up to it.

    Raises
    ------
    VenueError
        Propagate: the venue cannot be asked.

    """
    first = _first_wall_time(journal)
    if first is None:
        return []
    since = max(now_ms - _INCOME_DAYS_MS, first // _MILLI_NS - _MARGIN_MS)
    told = [f for f in journal.funding() if f.wall_time >= (since - _MARGIN_MS) * _MILLI_NS]
    known = Counter((f.symbol, _cents(repr(f.amount))) for f in told)
    untold = []
    for row in await _funding_rows(rest, since):
        key = (row.symbol, _cents(row.income))
        if known[key] > 0:
            known[key] -= 1
        else:
            untold.append(row)
    for record in told:
        if JOINT in record.symbol or record.symbol == UNKNOWN:
            names = record.symbol.split(JOINT)
            theirs = [r for r in reversed(untold) if r.symbol in names or record.symbol == UNKNOWN]
            explained = explaining_anywhere(theirs, _cents(repr(record.amount)))
            untold = [r for r in untold if r not in explained]
    return [_funding(row, replay=replay) for row in untold if row.symbol in symbols]


async def _funding_rows(rest: BinanceRest, since_ms: int) -> list[IncomeRow]:
    """Return the payments since then, oldest first."""
    found: list[IncomeRow] = []
    for page in count(1):
        rows = await rest.get(
            "/fapi/v1/income",
            {"incomeType": FUNDING_FEE, "startTime": since_ms, "limit": _PAGE, "page": page},
            signed=True,
        )
        found += msgspec.convert(rows, list[IncomeRow])
        if len(rows) < _PAGE:
            break
    return sorted(found, key=lambda r: (r.time, r.tranId))


def _cents(amount: str) -> Decimal:
    return Decimal(amount).quantize(_CENT, ROUND_HALF_EVEN)


def _funding(row: IncomeRow, *, replay: bool) -> FundingRecord:
    settled = row.time // _HOUR_MS * _HOUR_MS
    return FundingRecord(
        id=f"{row.symbol}/transaction-{row.tranId}" if replay else f"{row.symbol}/{settled}",
        market_time=None if replay else settled * _MILLI_NS,
        wall_time=row.time * _MILLI_NS,
        symbol=row.symbol,
        amount=float(row.income),
        rate=None,
    )


def _first_wall_time(journal: Journal) -> int | None:
    """Return when the journal began to record, UTC ns; None for an empty one."""
    times = [r[0].wall_time for r in (journal.fills(), journal.signals(), journal.equity()) if r]
    return min(times, default=None)


def _last_wall_time(journal: Journal) -> int | None:
    """Return when the journal last recorded something that comes with every bar or trade, UTC ns."""
    times = [r[-1].wall_time for r in (journal.fills(), journal.signals(), journal.equity()) if r]
    return max(times, default=None)


async def _complete(
    rest: BinanceRest, symbol: str, fills: Sequence[FillRecord], since_ms: int, held: dict[str, Decimal]
) -> list[dict[str, Any]]:
    """
    Return the trades of a symbol that are not among `fills`, and ask again while they do not lead to what is `held`.

    The exchange's list of trades may be behind its positions for a moment. What still does not add up after that (a
    position older than the journal) is the ledger's to tell of.
    """
    known = {f.id for f in fills}
    before = sum((_signed(f.side, f.quantity) for f in fills), Decimal(0))
    for pause in (*_PAUSES, None):
        trades = await _trades(rest, symbol, known, since_ms)
        now = before + sum((_signed(t["side"], t["qty"]) for t in trades), Decimal(0))
        if pause is None or now == held.get(symbol, Decimal(0)):
            break
        await asyncio.sleep(pause)
        held = await _held(rest)
    return trades


async def _held(rest: BinanceRest) -> dict[str, Decimal]:
    """Return the venue's positions, signed."""
    found: dict[str, Decimal] = {}
    for row in await rest.get("/fapi/v2/positionRisk", signed=True):
        found[row["symbol"]] = found.get(row["symbol"], Decimal(0)) + Decimal(row["positionAmt"])
    return found


def _signed(side: str, quantity: str) -> Decimal:
    return Decimal(quantity) * (1 if side == "BUY" else -1)


async def _trades(rest: BinanceRest, symbol: str, known: set[str], since_ms: int) -> list[dict[str, Any]]:
    """Return the trades that are not `known`: those after the newest known, else all since then, a week at a time."""
    numbers = [int(i.rpartition("/")[2]) for i in known if i.rpartition("/")[2].isdigit()]
    found: list[dict[str, Any]] = []

    async def page(**where: int) -> list[dict[str, Any]]:
        rows = await rest.get("/fapi/v1/userTrades", {"symbol": symbol, "limit": _PAGE, **where}, signed=True)
        found.extend(t for t in rows if f"{symbol}/{t['id']}" not in known)
        return list(rows)

    after = max(numbers, default=None)
    now_ms, start = time.time_ns() // _MILLI_NS, since_ms
    while after is None and start <= now_ms + _MARGIN_MS:
        # Longer spans are cut by the exchange without a word.
        rows = await page(startTime=start, endTime=start + _WEEK_MS - 1)
        start += _WEEK_MS
        if len(rows) == _PAGE:
            after = int(rows[-1]["id"])
    while after is not None:
        rows = await page(fromId=after + 1)
        after = int(rows[-1]["id"]) if len(rows) == _PAGE else None
    return found


async def _client_order_id(rest: BinanceRest, symbol: str, order_id: int) -> str:
    order = await rest.get("/fapi/v1/order", {"symbol": symbol, "orderId": order_id}, signed=True)
    return str(order["clientOrderId"])


def _fill(symbol: str, trade: dict[str, Any], client_order_id: str, *, replay: bool) -> FillRecord:
    tag = decode(client_order_id)
    time_ns = trade["time"] * _MILLI_NS
    return FillRecord(
        id=f"{symbol}/{trade['id']}",
        market_time=None if replay else time_ns,
        wall_time=time_ns,
        client_order_id=client_order_id,
        venue_order_id=str(trade["orderId"]),
        symbol=symbol,
        leg=None if tag is None else tag.leg.name,
        side=trade["side"],
        quantity=trade["qty"],
        price=trade["price"],
        fee=trade["commission"],
        liquidity="MAKER" if trade["maker"] else "TAKER",
        event_time=time_ns,
    )
