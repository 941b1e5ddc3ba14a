"""
The direct way to the venue: flat without the node.

Used when the node's event loop does not answer, when it is dead, and by watchdog and supervisor. Everything sent is
idempotent: closing orders are reduce-only for what the venue reports as open at that moment, so an unknown outcome is
answered by looking again, never by assuming.

Errors: a request that fails is noted and tried again until the time is over (**degraded**); the report says what is
left. The stops of a symbol are cancelled only after it is flat: whatever fails, what protects stays.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from node.binance.rest import BinanceRest, VenueRequestError

_POSITIONS = "/fapi/v3/positionRisk"
_POLL_SECS = 0.05
_LONGEST_PAUSE_SECS = 5.0
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TOO_LARGE = -4005
_STOPS = ("STOP_MARKET", "STOP", "TRAILING_STOP_MARKET")


class FlattenReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a direct flatten did.

    Attributes
    ----------
    flat : bool
        Whether the venue reported no position and no order was left in the symbols asked for.
    closed : dict[str, str]
        Signed quantity that was found open, by symbol.
    remaining : dict[str, str]
        Signed quantity still open.
    errors : list[str]
        Requests that failed, without secrets; the newest ten.

    """

    flat: bool
    closed: dict[str, str]
    remaining: dict[str, str]
    errors: list[str]

    @property
    def text(self) -> str:
        """One sentence."""
        closed = ", ".join(f"{s} {q}" for s, q in self.closed.items()) or "nothing was open"
        if self.flat:
            return f"flat at the venue (closed: {closed})"
        left = ", ".join(f"{s} {q}" for s, q in self.remaining.items()) or "positions unknown or orders left"
        return f"NOT flat: {left}; last error: {self.errors[-1] if self.errors else 'none'}"


class VenuePosition(NamedTuple):
    """An open position as the venue reports it; quantity is signed."""

    symbol: str
    quantity: Decimal
    side: str


async def open_positions(rest: BinanceRest) -> list[VenuePosition]:
    """Return every open position of the account. Error contract: propagate :class:`VenueRequestError`."""
    rows = await rest.get(_POSITIONS, signed=True)
    found = (VenuePosition(r["symbol"], Decimal(r["positionAmt"]), r.get("positionSide", "BOTH")) for r in rows)
    return [p for p in found if p.quantity]


async def naked_positions(rest: BinanceRest, symbols: Sequence[str]) -> dict[str, Decimal]:
    """
    Return, per symbol, how much of its position no stop at the venue covers.

    Stops are looked at after positions, and a position found uncovered is looked at again: one that was closed or
    replaced between two requests is not naked.

    Error contract: propagate :class:`VenueRequestError`.
    """
    found = await _uncovered(rest, symbols)
    return await _uncovered(rest, list(found)) if found else {}


async def _uncovered(rest: BinanceRest, symbols: Sequence[str]) -> dict[str, Decimal]:
    naked = {}
    for position in [p for p in await open_positions(rest) if p.symbol in symbols]:
        algos = await rest.get("/fapi/v1/openAlgoOrders", {"symbol": position.symbol}, signed=True)
        covered = sum((_cover(row, position) for row in algos), Decimal(0))
        if covered < abs(position.quantity):
            naked[position.symbol] = abs(position.quantity) - covered
    return naked


def _cover(row: dict[str, Any], position: VenuePosition) -> Decimal:
    kind = row.get("orderType") or row.get("type")
    exit_side = "SELL" if position.quantity > 0 else "BUY"
    if kind not in _STOPS or row["side"] != exit_side:
        return Decimal(0)
    if row.get("closePosition"):
        return abs(position.quantity)
    return Decimal(row["quantity"]) if row.get("reduceOnly") or position.side != "BOTH" else Decimal(0)


async def flatten(rest: BinanceRest, symbols: Sequence[str], *, deadline_secs: float = 20.0) -> FlattenReport:
    """
    Cancel entries, close positions reduce-only, then cancel what protected them.

    Parameters
    ----------
    rest : BinanceRest
        Client with a key that may trade.
    symbols : Sequence[str]
        Symbols to flatten; positions and orders in others are left alone.
    deadline_secs : float
        When to give up, s.

    """
    return await _Flatten(rest, symbols, time.monotonic() + deadline_secs).run()


class _Flatten:
    def __init__(self, rest: BinanceRest, symbols: Sequence[str], deadline: float) -> None:
        self._rest = rest
        self._symbols = tuple(dict.fromkeys(symbols))
        self._deadline = deadline
        self._errors: list[str] = []
        self._closed: dict[str, str] = {}
        self._sent: dict[str, Decimal] = {}
        self._largest: dict[str, Decimal] = {}
        self._pause = _POLL_SECS

    async def run(self) -> FlattenReport:
        entries = set(self._symbols)  # plain orders still to be cancelled
        stops = set(self._symbols)  # conditional orders still to be cancelled
        open_now: dict[str, str] = {}
        known = False
        first = True
        while first or time.monotonic() < self._deadline:
            first = False
            self._pause = _POLL_SECS
            await self._cancel(entries, "/fapi/v1/allOpenOrders")
            positions = await self._positions()
            if positions is not None:
                known = True
                open_now = {p.symbol: format(p.quantity, "f") for p in positions}
                await asyncio.gather(*(self._close(p) for p in positions))
                # What could still open a position, and what is open, keeps its stops.
                await self._cancel(stops, "/fapi/v1/algoOpenOrders", spare=entries | set(open_now))
                if not stops and not entries:
                    break
            await asyncio.sleep(min(self._pause, max(0.0, self._deadline - time.monotonic())))
        return FlattenReport(
            flat=known and not open_now and not entries and not stops,
            closed=self._closed,
            remaining=open_now,
            errors=self._errors[-10:],
        )

    async def _positions(self) -> list[VenuePosition] | None:
        try:
            return [p for p in await open_positions(self._rest) if p.symbol in self._symbols]
        except VenueRequestError as e:
            self._note(e)
            return None

    async def _cancel(self, symbols: set[str], path: str, spare: Collection[str] = ()) -> None:
        # Side by side: with twenty symbols twenty answers, one after the other, would stand before the first close.
        await asyncio.gather(*(self._cancel_one(symbols, s, path) for s in sorted(symbols.difference(spare))))

    async def _cancel_one(self, symbols: set[str], symbol: str, path: str) -> None:
        try:
            await self._rest.delete(path, {"symbol": symbol})
        except VenueRequestError as e:
            self._note(e)
        else:
            symbols.discard(symbol)

    async def _close(self, position: VenuePosition) -> None:
        self._closed.setdefault(position.symbol, format(position.quantity, "f"))
        quantity = min(abs(position.quantity), self._largest.get(position.symbol, abs(position.quantity)))
        params: dict[str, str | Decimal | bool] = {
            "symbol": position.symbol,
            "side": "SELL" if position.quantity > 0 else "BUY",
            "type": "MARKET",
            "quantity": quantity,
            "newClientOrderId": f"argonaut-direct-{_base36(time.time_ns())}",
        }
        if position.side == "BOTH":
            params["reduceOnly"] = True
        else:  # hedge mode: the side says that it closes, and reduceOnly is refused
            params["positionSide"] = position.side
        try:
            await self._rest.post("/fapi/v1/order", params)
        except VenueRequestError as e:
            self._note(e)
            if e.code == _TOO_LARGE:
                await self._learn_largest(position.symbol)

    async def _learn_largest(self, symbol: str) -> None:
        try:
            info = await self._rest.get("/fapi/v1/exchangeInfo")
        except VenueRequestError as e:
            self._note(e)
            return
        row = next((r for r in info["symbols"] if r["symbol"] == symbol), None)
        for rule in row["filters"] if row is not None else ():
            if rule["filterType"] == "MARKET_LOT_SIZE":
                self._largest[symbol] = Decimal(rule["maxQty"])

    def _note(self, error: VenueRequestError) -> None:
        self._errors.append(str(error))
        self._pause = max(self._pause, 0.25, min(error.retry_after_secs or 0.0, _LONGEST_PAUSE_SECS))


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text
