"""Cross margin: initial and maintenance margin, available balance, liquidation price."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from node.venue.books import ZERO, Books, Position
from node.venue.instruments import Instrument


@dataclass(frozen=True, slots=True)
class SymbolMargin:
    """Margin figures of one symbol at the current mark, USDT; notionals of open orders are unsigned."""

    notional: Decimal
    unrealised: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    bid_notional: Decimal
    ask_notional: Decimal


@dataclass(frozen=True, slots=True)
class Totals:
    """Margin figures of the account, USDT."""

    unrealised: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    margin_balance: Decimal
    available: Decimal


class Account:
    """
    Margin arithmetic over the books and the last prices.

    Notes
    -----
    Initial margin of a symbol in one-way mode is the larger of ``|position + buy orders|`` and ``|position - sell
    orders|`` divided by its leverage; reduce-only orders need none.

    """

    def __init__(self, books: Books, instruments: Mapping[str, Instrument], prices: Mapping[str, Decimal]) -> None:
        self._books = books
        self._instruments = instruments
        self._prices = prices

    def symbol(self, symbol: str) -> SymbolMargin:
        """Return the margin figures of one symbol."""
        position = self._books.positions[symbol]
        price = self._prices.get(symbol, position.entry_price)
        notional = position.quantity * price
        bids = asks = ZERO
        for order in self._books.open_orders.values():
            if order.symbol == symbol and not order.reduce_only:
                if order.is_buy:
                    bids += order.leaves * order.price
                else:
                    asks += order.leaves * order.price
        own = abs(notional) / position.leverage
        worst = max(abs(notional + bids), abs(notional - asks)) / position.leverage
        return SymbolMargin(
            notional=notional,
            unrealised=position.unrealised(price),
            position_initial=own,
            order_initial=max(worst - own, ZERO),
            maintenance=self._instruments[symbol].maintenance(abs(notional)),
            bid_notional=bids,
            ask_notional=asks,
        )

    def totals(self) -> Totals:
        """Return the margin figures of the whole account."""
        parts = [self.symbol(symbol) for symbol in self._books.positions]
        unrealised = sum((p.unrealised for p in parts), ZERO)
        position_initial = sum((p.position_initial for p in parts), ZERO)
        order_initial = sum((p.order_initial for p in parts), ZERO)
        balance = self._books.wallet + unrealised
        return Totals(
            unrealised=unrealised,
            position_initial=position_initial,
            order_initial=order_initial,
            maintenance=sum((p.maintenance for p in parts), ZERO),
            margin_balance=balance,
            available=max(balance - position_initial - order_initial, ZERO),
        )

    def can_open(self, symbol: str, signed: Decimal, price: Decimal, fee_rate: Decimal) -> bool:
        """Return whether the margin balance covers the initial margin and fee of `signed` more base units."""
        position = self._books.positions[symbol]
        before = self.symbol(symbol)
        after = before.notional + signed * price
        bids, asks = before.bid_notional, before.ask_notional
        needed = max(abs(after + bids), abs(after - asks)) / position.leverage
        totals = self.totals()
        others = totals.position_initial + totals.order_initial - before.position_initial - before.order_initial
        mark = self._prices[symbol]
        loss = max(-signed * (mark - price), ZERO)  # a price worse than the mark is lost the moment it fills
        return totals.margin_balance - loss >= others + needed + abs(signed) * price * fee_rate

    def liquidation_price(self, position: Position) -> Decimal | None:
        """
        Return the price at which the margin balance meets the maintenance margin, other symbols held still.

        None if there is no position, or no positive price where that happens.
        """
        if not position.quantity:
            return None
        price = self._prices.get(position.symbol, position.entry_price)
        instrument = self._instruments[position.symbol]
        totals = self.totals()
        own = self.symbol(position.symbol)
        others = totals.margin_balance - own.unrealised - (totals.maintenance - own.maintenance)
        size = abs(position.quantity)
        direction = 1 if position.quantity > 0 else -1
        # The bracket depends on the price sought: start at the current one and settle within a few rounds.
        step = instrument.bracket(size * price)
        found = None
        for _ in range(len(instrument.brackets) + 1):
            found = (direction * size * position.entry_price - others - step.amount) / (
                direction * size - size * step.rate
            )
            again = instrument.bracket(size * max(found, ZERO))
            if again is step:
                break
            step = again
        return found if found is not None and found > 0 else None

    def in_liquidation(self) -> bool:
        """Return whether the margin balance no longer exceeds the maintenance margin of open positions."""
        if not any(p.quantity for p in self._books.positions.values()):
            return False
        totals = self.totals()
        return totals.margin_balance <= totals.maintenance
