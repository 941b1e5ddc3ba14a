"""Cross and isolated margin: initial and maintenance margin, available balance, liquidation price."""

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
    cross_unrealised: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    cross_maintenance: Decimal
    cross_balance: Decimal
    margin_balance: Decimal
    available: Decimal


class Account:
    """
    Margin arithmetic over the books and the last prices.

    Notes
    -----
    Initial margin of a symbol in one-way mode is the larger of ``|position + buy orders|`` and ``|position - sell
    orders|`` divided by its leverage; reduce-only orders need none. In hedge mode each side of a symbol counts by
    itself. An isolated position stands on what was set aside for it; the cross figures leave it out.

    """

    def __init__(self, books: Books, instruments: Mapping[str, Instrument], prices: Mapping[str, Decimal]) -> None:
        self._books = books
        self._instruments = instruments
        self._prices = prices

    def symbol(self, symbol: str, side: str = "BOTH") -> SymbolMargin:
        """Return the margin figures of one position and the open orders that act on it."""
        position = self._books.position(symbol, side)
        price = self._prices.get(symbol, position.entry_price)
        notional = position.quantity * price
        bids = asks = ZERO
        for order in self._books.open_orders.values():
            if (order.symbol, order.position_side) == (symbol, side) and not order.reduce_only:
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
        parts = [(p, self.symbol(p.symbol, p.position_side)) for p in self._books.all_positions()]
        cross = [m for p, m in parts if not p.isolated]
        unrealised = sum((m.unrealised for _, m in parts), ZERO)
        cross_unrealised = sum((m.unrealised for m in cross), ZERO)
        position_initial = sum((m.position_initial for _, m in parts), ZERO)
        order_initial = sum((m.order_initial for _, m in parts), ZERO)
        cross_initial = sum((m.position_initial for m in cross), ZERO)
        cross_balance = self._books.cross_wallet + cross_unrealised
        return Totals(
            unrealised=unrealised,
            cross_unrealised=cross_unrealised,
            position_initial=position_initial,
            order_initial=order_initial,
            maintenance=sum((m.maintenance for _, m in parts), ZERO),
            cross_maintenance=sum((m.maintenance for m in cross), ZERO),
            cross_balance=cross_balance,
            margin_balance=self._books.wallet + unrealised,
            available=max(cross_balance - cross_initial - order_initial, ZERO),
        )

    def can_open(self, symbol: str, signed: Decimal, price: Decimal, fee_rate: Decimal, side: str = "BOTH") -> bool:
        """Return whether the margin balance covers the initial margin and fee of `signed` more base units."""
        position = self._books.position(symbol, side)
        before = self.symbol(symbol, side)
        after = before.notional + signed * price
        bids, asks = before.bid_notional, before.ask_notional
        needed = max(abs(after + bids), abs(after - asks)) / position.leverage
        totals = self.totals()
        used = totals.cross_balance - self._free()  # what cross positions and all open orders hold already
        if position.isolated:
            others = used - before.order_initial
            needed = max(needed - before.position_initial, ZERO)
        else:
            others = used - before.position_initial - before.order_initial
        mark = self._prices[symbol]
        loss = max(-signed * (mark - price), ZERO)  # a price worse than the mark is lost the moment it fills
        return totals.cross_balance - loss >= others + needed + abs(signed) * price * fee_rate

    def _free(self) -> Decimal:
        """Return the cross balance that nothing uses; negative if too much is used."""
        free = self._books.cross_wallet
        for position in self._books.all_positions():
            margin = self.symbol(position.symbol, position.position_side)
            free -= margin.order_initial
            if not position.isolated:
                free += margin.unrealised - margin.position_initial
        return free

    def liquidation_price(self, position: Position) -> Decimal | None:
        """
        Return the price at which the margin meets the maintenance margin, other symbols held still.

        That is the position's own margin if it is isolated, else the cross balance, on which both sides of a hedged
        symbol stand together. None if there is no position, or no positive price where that happens.
        """
        if not position.quantity:
            return None
        symbol = position.symbol
        price = self._prices.get(symbol, position.entry_price)
        instrument = self._instruments[symbol]
        if position.isolated:
            group, others = [position], position.isolated_wallet
        else:
            group = [p for p in self._books.of_symbol(symbol) if p.quantity and not p.isolated]
            totals = self.totals()
            own = [self.symbol(symbol, p.position_side) for p in group]
            others = totals.cross_balance - totals.cross_maintenance
            others += sum((m.maintenance - m.unrealised for m in own), ZERO)
        # The bracket depends on the price sought: start at the current one and settle within a few rounds.
        steps = [instrument.bracket(abs(p.quantity) * price) for p in group]
        found = None
        for _ in range(len(instrument.brackets) + 1):
            paid = sum((p.quantity * p.entry_price for p in group), ZERO)
            slope = sum((p.quantity - abs(p.quantity) * s.rate for p, s in zip(group, steps, strict=True)), ZERO)
            if not slope:
                return None
            found = (paid - others - sum((s.amount for s in steps), ZERO)) / slope
            again = [instrument.bracket(abs(p.quantity) * max(found, ZERO)) for p in group]
            if all(a is s for a, s in zip(again, steps, strict=True)):
                break
            steps = again
        return found if found is not None and found > 0 else None

    def quantile(self, position: Position) -> int:
        """Return the place in the queue for automatic deleveraging, 0 to 4: by profit per margin, 0 without profit."""
        margin = self.symbol(position.symbol, position.position_side)
        if not margin.position_initial or margin.unrealised <= 0:
            return 0
        return min(4, 1 + int(margin.unrealised / margin.position_initial * 4))

    def falls_short(self) -> list[Position]:
        """Return the positions whose margin no longer exceeds their maintenance margin: all cross ones, or isolated."""
        held = [p for p in self._books.all_positions() if p.quantity]
        found = []
        for position in held:
            if position.isolated:
                margin = self.symbol(position.symbol, position.position_side)
                if position.isolated_wallet + margin.unrealised <= margin.maintenance:
                    found.append(position)
        cross = [p for p in held if not p.isolated]
        if cross:
            totals = self.totals()
            if totals.cross_balance <= totals.cross_maintenance:
                found += cross
        return found

    def endangered(self, ratio: Decimal) -> list[Position]:
        """Return the positions whose maintenance margin is at least `ratio` of the margin they stand on."""
        held = [p for p in self._books.all_positions() if p.quantity]
        if not held:
            return []
        found = []
        totals = self.totals()
        for position in held:
            margin = self.symbol(position.symbol, position.position_side)
            if position.isolated:
                short = margin.maintenance >= ratio * (position.isolated_wallet + margin.unrealised)
            else:
                short = totals.cross_maintenance >= ratio * totals.cross_balance
            if short:
                found.append(position)
        return found
