"""The venue's state in a file (``python -m node.venue --state``): it can be killed and comes back with its books."""

import os
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from node.venue.books import AlgoOrder, Books, Fill, Income, Order, Position
from node.venue.rest_settings import MarginChange
from node.venue.venue import Amendment, Venue
from strategies.errors import ConfigError, DataError

_VERSION = 1


@dataclass
class State:
    """Everything a restart must not lose. Times UTC ms, money `Decimal`."""

    version: int
    session: str
    symbols: list[str]
    start_ms: int
    interval: str
    market_ms: int
    wallet: Decimal
    start_balance: Decimal
    hedge: bool
    positions: list[Position]
    legs: list[Position]
    orders: list[Order]
    algos: list[AlgoOrder]
    fills: list[Fill]
    incomes: list[Income]
    timeline: list[dict[str, Any]]
    incidents: list[dict[str, Any]]
    counters: dict[str, int]
    stops: list[int]
    numbers: list[int]
    prices: dict[str, Decimal]
    statuses: dict[str, str]
    walked: dict[str, int]
    bars: int
    fresh: int
    amendments: list[Amendment] = field(default_factory=list)
    margin_changes: list[MarginChange] = field(default_factory=list)
    multi_assets: bool = False
    fee_burn: bool = False
    opened_ms: int = 0


def capture(venue: Venue) -> State:
    """Return the state as it is now."""
    books = venue.books
    return State(
        version=_VERSION,
        session=venue.session,
        symbols=list(venue.instruments),
        start_ms=venue.feed.start_ms,
        interval=venue.feed.interval,
        market_ms=venue.clock.market_ms,
        wallet=books.wallet,
        start_balance=books.start_balance,
        hedge=books.hedge,
        positions=list(books.positions.values()),
        legs=list(books.legs.values()),
        orders=list(books.orders.values()),
        algos=list(books.algos.values()),
        fills=books.fills,
        incomes=books.incomes,
        timeline=books.timeline,
        incidents=books.incidents,
        counters=dict(books.counters),
        stops=sorted(books.stops),
        numbers=books.numbers(),
        prices=dict(venue.engine.prices),
        statuses=dict(venue.engine.statuses),
        walked=dict(venue.replay.walked),
        bars=venue.replay.bars,
        fresh=venue.fresh,
        amendments=venue.amendments,
        margin_changes=venue.margin_changes,
        multi_assets=books.multi_assets,
        fee_burn=books.fee_burn,
        opened_ms=books.opened_ms,
    )


def save(venue: Venue, path: Path) -> None:
    """
    Write the state beside its place and move it there: a kill at any instant leaves the old or the new one.

    Raises
    ------
    OSError
        Propagate: the file cannot be written.

    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(msgspec.json.encode(capture(venue)))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def restore(venue: Venue, path: Path) -> bool:
    """
    Put a saved state into a venue that has not started; return False if there is none yet.

    Open listen keys, connections, faults and the countdown of countdownCancelAll are gone, as after a real outage.

    Raises
    ------
    DataError
        Fatal: the file is not a state of this version.
    ConfigError
        Fatal: it belongs to other symbols, another start or another interval.

    """
    if not path.exists():
        return False
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except (msgspec.DecodeError, msgspec.ValidationError) as e:
        raise DataError(f"{path}: not a venue's state ({e}): name another --state file, or delete this one") from None
    if state.version != _VERSION:
        raise DataError(f"{path}: state of version {state.version}, this venue reads {_VERSION}: delete it")
    present = (list(venue.instruments), venue.feed.start_ms, venue.feed.interval)
    if (state.symbols, state.start_ms, state.interval) != present:
        raise ConfigError(f"{path}: made with other data.symbols, data.start or data.interval: use those, or delete it")
    venue.session = venue.replay.session = state.session
    venue.clock.advance(state.market_ms)
    venue.fresh = state.fresh
    venue.amendments[:] = state.amendments
    venue.margin_changes[:] = state.margin_changes
    _restore_books(venue.books, state)
    venue.engine.prices.update(state.prices)
    venue.engine.statuses.update(state.statuses)
    venue.replay.bars = state.bars
    for symbol, count in state.walked.items():
        venue.replay.walked[symbol] = count
        venue.feed.reveal(symbol, count - 1)
    return True


def _restore_books(books: Books, state: State) -> None:
    books.wallet, books.start_balance, books.hedge = state.wallet, state.start_balance, state.hedge
    books.opened_ms = state.opened_ms or books.opened_ms
    books.multi_assets, books.fee_burn = state.multi_assets, state.fee_burn
    books.positions.update({p.symbol: p for p in state.positions})
    books.legs.update({(p.symbol, p.position_side): p for p in state.legs})
    for order in state.orders:
        books.orders[order.order_id] = order
        books.order_by_client[order.client_order_id] = order.order_id
        if order.is_open:
            books.open_orders[order.order_id] = order
    for algo in state.algos:
        books.algos[algo.algo_id] = algo
        books.algo_by_client[algo.client_algo_id] = algo.algo_id
        if algo.is_open:
            books.open_algos[algo.algo_id] = algo
    books.fills[:], books.incomes[:] = state.fills, state.incomes
    books.timeline[:], books.incidents[:] = state.timeline, state.incidents
    books.counters = Counter(state.counters)
    books.stops = set(state.stops)
    books.continue_numbers(state.numbers)


class Keeper:
    """
    Saves a venue's state whenever it has changed.

    Parameters
    ----------
    venue : Venue
        Whose state.
    path : Path
        Where.

    """

    def __init__(self, venue: Venue, path: Path) -> None:
        self._venue = venue
        self._path = path
        self._seen: tuple[Any, ...] = ()

    def save_if_changed(self) -> None:
        """Save if orders, settings, wallet or the last price walked have changed since the last time."""
        books = self._venue.books
        now = (
            books.numbers(),
            books.wallet,
            (books.hedge, books.multi_assets, books.fee_burn),
            self._venue.replay.bars,
            len(books.timeline),
            len(self._venue.amendments),
            [(o.order_id, o.status, o.updated_ms, o.price, o.quantity) for o in books.open_orders.values()],
            [(a.algo_id, a.status, a.updated_ms, a.trigger_price) for a in books.open_algos.values()],
            [(p.leverage, p.margin_type, p.isolated_wallet) for p in books.all_positions()],
            dict(self._venue.engine.prices),
        )
        if now != self._seen:
            self._seen = now
            save(self._venue, self._path)
