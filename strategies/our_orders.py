"""What the engine's cache knows of one instrument: its position, and which orders there are ours."""

from decimal import Decimal
from typing import Any

from nautilus_trader.model.enums import OrderType
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId
from nautilus_trader.model.orders import Order
from nautilus_trader.model.position import Position

from strategies.order_ids import Leg, OrderTag, decode
from strategies.protection_plan import closes

PROTECTIVE = (Leg.STOP, Leg.TARGET, Leg.TRAIL)


class OurOrders:
    """
    A view of the cache; it keeps nothing of it, so it is never out of date.

    Parameters
    ----------
    strategy : Strategy
        Whose cache is looked at.
    instrument_id : InstrumentId
        The instrument.

    """

    def __init__(self, strategy: Any, instrument_id: InstrumentId) -> None:
        self._strategy = strategy
        self._instrument_id = instrument_id
        self._newest_cycle: int | None = None

    @property
    def instrument(self) -> Any:
        """The instrument with its tick and step."""
        return self._strategy.cache.instrument(self._instrument_id)

    def position(self) -> Position | None:
        """Return the open position (one-way mode: there is one at most)."""
        positions = self._strategy.cache.positions_open(instrument_id=self._instrument_id)
        return positions[0] if positions else None

    def order(self, client_order_id: ClientOrderId | None) -> Order | None:
        """Return an order, or None if there is no such order."""
        return None if client_order_id is None else self._strategy.cache.order(client_order_id)

    def nothing_open(self) -> bool:
        """Return whether no order rests and no position is open, in any instrument: cheap, as on most bars it is so."""
        cache = self._strategy.cache
        return not (cache.orders_open_count() or cache.positions_open_count())

    def open_count(self) -> int:
        """Return how many orders rest in the instrument, a person's among them."""
        return int(self._strategy.cache.orders_open_count(instrument_id=self._instrument_id))

    def resting(self) -> list[tuple[Order, OrderTag]]:
        """Return our protective orders at the venue; a person's orders are theirs to manage."""
        orders = self._tagged(self._strategy.cache.orders_open(instrument_id=self._instrument_id))
        return [(order, tag) for order, tag in orders if tag.leg in PROTECTIVE]

    def foreign_cover(self, position: Position) -> Decimal:
        """Return the quantity a person's reduce-only stop-market orders would close of `position`."""
        orders = self._strategy.cache.orders_open(instrument_id=self._instrument_id)
        theirs = [
            order
            for order in orders
            if order.order_type == OrderType.STOP_MARKET
            and decode(order.client_order_id.value) is None
            and order.is_reduce_only
            and closes(order, position)
        ]
        return sum((order.leaves_qty.as_decimal() for order in theirs), Decimal(0))

    def entry_under_way(self) -> bool:
        """Return whether an entry of ours may still fill."""
        cache = self._strategy.cache
        orders = (
            *cache.orders_open(instrument_id=self._instrument_id),
            *cache.orders_inflight(instrument_id=self._instrument_id),
        )
        return any(tag.leg is Leg.ENTRY for _, tag in self._tagged(orders))

    def attempts_of(self, cycle: int) -> dict[Leg, int]:
        """Return the next free attempt of every leg of `cycle`: ids used before a restart must not be used again."""
        free: dict[Leg, int] = {}
        if self._newest_cycle is not None and cycle > self._newest_cycle:
            # Ids of a cycle are given out by this process from its beginning on: nothing to look for, and looking
            # through every order there ever was would cost more with each trade.
            self._newest_cycle = cycle
            return free
        newest = cycle
        for _, tag in self._tagged(self._strategy.cache.orders(instrument_id=self._instrument_id)):
            newest = max(newest, tag.cycle)
            if tag.cycle == cycle:
                free[tag.leg] = max(free.get(tag.leg, 0), tag.attempt + 1)
        self._newest_cycle = newest
        return free

    @staticmethod
    def _tagged(orders: Any) -> list[tuple[Order, OrderTag]]:
        tagged = [(order, decode(order.client_order_id.value)) for order in orders]
        return [(order, tag) for order, tag in tagged if tag is not None]
