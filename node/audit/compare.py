"""Venue, node and journal side by side: what differs, in words. Pure; nothing here asks or sends anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum, unique

import msgspec

from strategies.order_ids import Leg, decode

_NOTHING = Decimal(0)
_PROTECTIVE = (Leg.STOP, Leg.TARGET, Leg.TRAIL)


@unique
class Kind(StrEnum):
    """How things can differ."""

    POSITION_MISMATCH = "position_mismatch"
    MISSING_STOP = "missing_stop"
    WRONG_SIZE_STOP = "wrong_size_stop"
    ORPHAN_ORDER = "orphan_order"
    FOREIGN_ORDER = "foreign_order"
    FOREIGN_POSITION = "foreign_position"
    JOURNAL_GAP = "journal_gap"


REPAIRABLE = frozenset({Kind.MISSING_STOP, Kind.WRONG_SIZE_STOP, Kind.ORPHAN_ORDER})


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """
    One difference.

    Attributes
    ----------
    kind : Kind
        What differs.
    symbol : str
        Venue symbol.
    order : str or None
        Client order id, where one order is the matter.
    harmless : bool
        Worth knowing, no reason to stop entering (a person's reduce-only order).
    text : str
        Both sides, in words.

    """

    kind: Kind
    symbol: str
    order: str | None = None
    harmless: bool = False
    text: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same difference at the next look."""
        return (self.kind, self.symbol, self.order or "")


@dataclass(frozen=True, kw_only=True)
class VenueOrder:
    """An open order at the venue; `quantity` is what is left of it; `conditional` orders are kept apart there."""

    symbol: str
    client_id: str
    side: str
    kind: str
    quantity: Decimal
    reduce_only: bool
    close_position: bool
    conditional: bool


@dataclass(frozen=True, kw_only=True)
class VenueState:
    """What the venue says: signed net quantities, open orders, and the newest trade numbers of each symbol."""

    positions: Mapping[str, Decimal]
    orders: Sequence[VenueOrder]
    trades: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class JournalState:
    """What the journal says: net quantity and known trade numbers of each symbol it can speak of."""

    positions: Mapping[str, Decimal]
    trades: Mapping[str, frozenset[int]]


def compare(
    venue: VenueState,
    symbols: Sequence[str],
    *,
    node: Mapping[str, Decimal] | None = None,
    journal: JournalState | None = None,
) -> list[Difference]:
    """
    Return every difference.

    Parameters
    ----------
    venue : VenueState
        The venue's account.
    symbols : sequence of str
        What the node trades.
    node : mapping or None
        The node's own net quantities; None where no node runs.
    journal : JournalState or None
        None where there is no journal to compare.

    """
    found: list[Difference] = []
    for symbol in symbols:
        size = venue.positions.get(symbol, _NOTHING)
        orders = [o for o in venue.orders if o.symbol == symbol]
        if node is not None and node.get(symbol, _NOTHING) != size:
            text = f"{symbol}: the venue holds {size}, the node believes {node.get(symbol, _NOTHING)}"
            found.append(Difference(kind=Kind.POSITION_MISMATCH, symbol=symbol, text=text))
        found += _cover(symbol, size, orders)
        found += [d for order in orders if (d := _judge(order, size)) is not None]
        if journal is not None:
            found += _journal(symbol, size, venue.trades.get(symbol, ()), journal)
    for symbol, size in venue.positions.items():
        if symbol not in symbols and size:
            text = f"{symbol}: a position of {size} in a symbol this node does not trade; it shares the margin"
            found.append(Difference(kind=Kind.FOREIGN_POSITION, symbol=symbol, text=text))
    return found


def _closes(order: VenueOrder, size: Decimal) -> bool:
    return bool(size) and (order.side == "SELL") == (size > 0)


def _cover(symbol: str, size: Decimal, orders: Sequence[VenueOrder]) -> list[Difference]:
    if not size:
        return []
    stops = [o for o in orders if o.kind == "STOP_MARKET" and _closes(o, size)]
    if any(o.close_position for o in stops):
        return []
    covering = [o for o in stops if o.reduce_only]
    covered = sum((o.quantity for o in covering), _NOTHING)
    if not covered:
        text = f"{symbol}: a position of {size} and no stop at the venue"
        return [Difference(kind=Kind.MISSING_STOP, symbol=symbol, text=text)]
    ours = sum((o.quantity for o in covering if decode(o.client_id) is not None), _NOTHING)
    if covered < abs(size) or ours > abs(size):
        what = f"cover {covered}" if covered < abs(size) else f"of ours are for {ours}"
        text = f"{symbol}: a position of {size}, stops at the venue {what}"
        return [Difference(kind=Kind.WRONG_SIZE_STOP, symbol=symbol, text=text)]
    return []


def _judge(order: VenueOrder, size: Decimal) -> Difference | None:
    tag = decode(order.client_id)
    what = f"{order.symbol}: {order.side} {order.kind} for {order.quantity} ({order.client_id})"
    if tag is None:
        reduces = order.reduce_only or order.close_position
        text = f"{what} was not sent by this node"
        return Difference(
            kind=Kind.FOREIGN_ORDER, symbol=order.symbol, order=order.client_id, harmless=reduces, text=text
        )
    if tag.leg in _PROTECTIVE and not _closes(order, size):
        text = f"{what} protects nothing: the venue holds {size}"
        return Difference(kind=Kind.ORPHAN_ORDER, symbol=order.symbol, order=order.client_id, text=text)
    return None


def _journal(symbol: str, size: Decimal, trades: Sequence[int], journal: JournalState) -> list[Difference]:
    if symbol not in journal.positions:
        return []
    known = journal.trades.get(symbol, frozenset())
    missing = [number for number in trades if number not in known]
    told = journal.positions[symbol]
    if not missing and told == size:
        return []
    parts = [f"the venue holds {size}, the journal's fills add up to {told}"] if told != size else []
    if missing:
        parts.append(f"{len(missing)} trade(s) not in the journal, the first is {missing[0]}")
    return [Difference(kind=Kind.JOURNAL_GAP, symbol=symbol, text=f"{symbol}: {'; '.join(parts)}")]
