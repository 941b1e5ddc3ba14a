"""
The paper account on disk: read at start, written whenever something happened, whole or not at all.

Errors: a file that cannot be read is **fatal** (an account must not be forgotten silently); one that cannot be written
is **fatal** too: the venue ends rather than tell of orders it would not remember.
"""

import asyncio
import dataclasses
import os
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from node.venue.books import AlgoOrder, Books, Fill, Income, Order, Position
from node.venue.venue import Venue
from strategies.errors import DataError

VERSION = 1
_KEPT_INCIDENTS = 2_000
_REGULARLY_SECS = 5.0


class PaperState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of the books that a restart must not change."""

    version: int
    session: str
    market_ms: int
    start_balance: str
    wallet: str
    hedge: bool
    positions: list[dict[str, Any]]
    legs: list[dict[str, Any]]
    orders: list[dict[str, Any]]
    algos: list[dict[str, Any]]
    fills: list[dict[str, Any]]
    incomes: list[dict[str, Any]]
    timeline: list[dict[str, Any]]
    incidents: list[dict[str, Any]]
    counters: dict[str, int]
    next_ids: dict[str, int]
    prices: dict[str, str]


_NEXT = ("_next_order", "_next_algo", "_next_trade", "_next_transaction")


def read_state(path: Path) -> PaperState | None:
    """
    Return what is on disk; None if there is no file.

    Raises
    ------
    DataError
        Fatal: unreadable, or of another version.

    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=PaperState)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as e:
        raise DataError(f"{path}: not the state of a paper account ({e}); move it away to open a new one") from None
    if found.version != VERSION:
        raise DataError(f"{path}: state of version {found.version}, this program reads {VERSION}; move it away")
    return found


def restore(venue: Venue, state: PaperState) -> None:
    """Put `state` into the books of a venue that has not started."""
    books = venue.books
    venue.session = state.session
    books.start_balance = Decimal(state.start_balance)
    books.wallet = Decimal(state.wallet)
    books.hedge = state.hedge
    for position in _load(state.positions, Position):
        books.positions[position.symbol] = position
    for position in _load(state.legs, Position):
        books.legs[position.symbol, position.position_side] = position
    for order in _load(state.orders, Order):
        books.orders[order.order_id] = order
        books.order_by_client[order.client_order_id] = order.order_id
        if order.is_open:
            books.open_orders[order.order_id] = order
    for algo in _load(state.algos, AlgoOrder):
        books.algos[algo.algo_id] = algo
        books.algo_by_client[algo.client_algo_id] = algo.algo_id
        if algo.is_open:
            books.open_algos[algo.algo_id] = algo
        if algo.protects:
            books._stops.add(algo.algo_id)  # noqa: SLF001 - the books keep no public count of it
    books.fills.extend(_load(state.fills, Fill))
    books.incomes.extend(_load(state.incomes, Income))
    books.timeline.extend(state.timeline)
    books.incidents.extend(state.incidents)
    books.counters.update(state.counters)
    for name in _NEXT:
        setattr(books, name, state.next_ids[name])
    for symbol, price in state.prices.items():
        if symbol in venue.instruments:
            venue.engine.prices[symbol] = Decimal(price)


def capture(venue: Venue) -> PaperState:
    """Return the state of a venue."""
    books: Books = venue.books
    return PaperState(
        version=VERSION,
        session=venue.session,
        market_ms=venue.clock.market_ms,
        start_balance=str(books.start_balance),
        wallet=str(books.wallet),
        hedge=books.hedge,
        positions=_dump(books.positions.values()),
        legs=_dump(books.legs.values()),
        orders=_dump(books.orders.values()),
        algos=_dump(books.algos.values()),
        fills=_dump(books.fills),
        incomes=_dump(books.incomes),
        timeline=books.timeline,
        incidents=books.incidents[-_KEPT_INCIDENTS:],
        counters=dict(books.counters),
        next_ids={name: getattr(books, name) for name in _NEXT},
        prices={symbol: str(price) for symbol, price in venue.engine.prices.items()},
    )


def write_state(path: Path, state: PaperState) -> None:
    """
    Replace the file.

    Raises
    ------
    DataError
        Fatal: the disk refuses.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as e:
        raise DataError(f"{path}: the paper account cannot be written: {e.strerror or e}") from None


class Keeper:
    """
    Writes the state whenever the account was told something, at least every few seconds, and at the end.

    The write happens at the end of the same turn of the event loop, before any socket is written to: nobody is told of
    what a restart would not remember. When the disk refuses, the venue ends.

    Parameters
    ----------
    path : Path
        The file.
    venue : Venue
        Whose books.

    """

    def __init__(self, path: Path, venue: Venue) -> None:
        self._path = path
        self._venue = venue
        self._pending = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """
        Write for the first time, and go on.

        Raises
        ------
        DataError
            Fatal: see :func:`write_state`.

        """
        write_state(self._path, capture(self._venue))
        hear = self._venue.users.on_event

        def on_event(event: dict[str, Any]) -> None:
            if hear is not None:
                hear(event)
            if not self._pending:
                self._pending = True
                asyncio.get_running_loop().call_soon(self._save)

        self._venue.users.on_event = on_event
        self._task = asyncio.create_task(self._regularly())

    def stop(self) -> None:
        """Write for the last time. Raises DataError (fatal)."""
        if self._task is not None:
            self._task.cancel()
        write_state(self._path, capture(self._venue))

    async def _regularly(self) -> None:
        while True:
            await asyncio.sleep(_REGULARLY_SECS)
            self._save()

    def _save(self) -> None:
        self._pending = False
        try:
            write_state(self._path, capture(self._venue))
        except DataError as e:
            sys.stderr.write(f"paper: {e}\n")
            self._venue.stopping.set()


def _dump(rows: Any) -> list[dict[str, Any]]:
    return [dataclasses.asdict(row) for row in rows]


def _load[T](rows: list[dict[str, Any]], kind: type[T]) -> list[T]:
    return msgspec.convert(rows, type=list[kind])  # type: ignore[valid-type]  # a type known at run time
