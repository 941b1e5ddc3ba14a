"""
What there is to compare: the venue's account over REST, and the journal's account of it.

Errors: **propagate** (``VenueRequestError``): half a picture would look like a difference.
"""

import asyncio
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from node.audit.compare import JournalState, VenueOrder, VenueState
from node.binance.rest import BinanceRest
from node.journal import Journal

_RECENT_TRADES = 50
_RECENT_FILLS = 200
_MILLI_NS = 1_000_000


async def venue_state(rest: BinanceRest, symbols: Sequence[str], *, trades_since_ms: int | None = None) -> VenueState:
    """
    Ask the venue for positions, open orders of both kinds and, if asked for, the newest trades.

    Parameters
    ----------
    rest : BinanceRest
        Client with the account's credentials.
    symbols : sequence of str
        Whose orders are asked for; positions come for all.
    trades_since_ms : int or None
        Trades at or after this wall time (UTC ms) count; None: none are asked for.

    """
    positions: dict[str, Decimal] = {}
    for row in await rest.get("/fapi/v2/positionRisk", signed=True):
        size = Decimal(row["positionAmt"])
        if size:
            positions[row["symbol"]] = positions.get(row["symbol"], Decimal(0)) + size
    orders: list[VenueOrder] = []
    trades: dict[str, list[int]] = {}
    for symbol in symbols:
        plain, algos = await asyncio.gather(
            rest.get("/fapi/v1/openOrders", {"symbol": symbol}, signed=True),
            rest.get("/fapi/v1/openAlgoOrders", {"symbol": symbol}, signed=True),
        )
        orders += [_plain(row) for row in plain]
        orders += [_algo(row) for row in (algos["orders"] if isinstance(algos, dict) else algos)]
        if trades_since_ms is not None:
            rows = await rest.get("/fapi/v1/userTrades", {"symbol": symbol, "limit": _RECENT_TRADES}, signed=True)
            trades[symbol] = [int(row["id"]) for row in rows if int(row["time"]) >= trades_since_ms]
    return VenueState(positions=positions, orders=orders, trades=trades)


def _plain(row: dict[str, Any]) -> VenueOrder:
    return VenueOrder(
        symbol=row["symbol"],
        client_id=row["clientOrderId"],
        side=row["side"],
        kind=row["type"],
        quantity=Decimal(row["origQty"]) - Decimal(row["executedQty"]),
        reduce_only=bool(row.get("reduceOnly")),
        close_position=bool(row.get("closePosition")),
        conditional=False,
    )


def _algo(row: dict[str, Any]) -> VenueOrder:
    return VenueOrder(
        symbol=row["symbol"],
        client_id=row["clientAlgoId"],
        side=row["side"],
        kind=row["orderType"],
        quantity=Decimal(row["quantity"] or 0),
        reduce_only=bool(row.get("reduceOnly")),
        close_position=bool(row.get("closePosition")),
        conditional=True,
    )


class JournalBooks:
    """
    The journal's account of positions; reads everything once and then only what is new.

    Parameters
    ----------
    journal : Journal
        Open for writing or reading.
    symbols : sequence of str
        Venue symbols.

    """

    def __init__(self, journal: Journal, symbols: Sequence[str]) -> None:
        self._journal = journal
        self._symbols = symbols
        self._net: dict[str, Decimal] = {}
        self._known: dict[str, set[str]] = {}
        self._before: dict[str, Decimal] = {}
        self._noted_ns: dict[str, int] = {}

    @property
    def since_ms(self) -> int | None:
        """Wall time (UTC ms) of the first fill, None where there is none."""
        fills = self._journal.fills()
        return fills[0].wall_time // _MILLI_NS if fills else None

    def note_earlier_position(self, symbol: str, size: Decimal) -> None:
        """
        Take `size`, held now, as held before the journal began, if it has no fill of `symbol` made by now.

        Of a symbol with fills it must know all. A fill may be made already and not be written yet: when it comes, its
        time tells.
        """
        if not self._journal.fills(symbol=symbol, limit=1):
            self._before[symbol] = size
            self._noted_ns[symbol] = time.time_ns()

    def state(self) -> JournalState:
        """Return what the journal says now."""
        for symbol in self._symbols:
            self._catch_up(symbol)
        return JournalState(
            positions={s: self._net[s] + self._before.get(s, Decimal(0)) for s in self._symbols},
            trades={s: frozenset(_number(i) for i in self._known[s]) for s in self._symbols},
        )

    def _catch_up(self, symbol: str) -> None:
        known = self._known.setdefault(symbol, set())
        fills = self._journal.fills(symbol=symbol, limit=_RECENT_FILLS)
        if len(fills) == _RECENT_FILLS and not any(f.id in known for f in fills):
            fills = self._journal.fills(symbol=symbol)
        noted_ns = self._noted_ns.pop(symbol, None) if fills else None
        if noted_ns is not None and min(f.wall_time for f in fills) <= noted_ns:
            self._before[symbol] = Decimal(0)  # what was held is what this fill opened
        net = self._net.get(symbol, Decimal(0))
        for fill in fills:
            if fill.id not in known:
                known.add(fill.id)
                net += Decimal(fill.quantity) * (1 if fill.side == "BUY" else -1)
        self._net[symbol] = net


def _number(fill_id: str) -> int:
    text = fill_id.rpartition("/")[2]
    return int(text) if text.isdigit() else -1
