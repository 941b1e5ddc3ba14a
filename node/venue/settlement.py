"""What happens to positions without an order of the account: liquidation and funding."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from node.venue.books import ZERO, Order, Position, money
from node.venue.events import LIQUIDATED

if TYPE_CHECKING:
    from node.venue.matching import MatchingEngine

_DELEVERAGED = "adl_autoclose-"
_SETTLED = "settlement_autoclose-"
_CALL_RATIO = Decimal("0.8")


class Settlement:
    """Liquidation at the maintenance margin, funding at its times; acts through the engine's own trades and events."""

    def __init__(self, engine: "MatchingEngine") -> None:
        self._engine = engine
        self._warned: set[tuple[str, str]] = set()
        self.on_forced: Callable[[Order], None] = lambda _order: None

    def liquidation_level(
        self, symbol: str, last: Decimal, level: Decimal, *, up: bool
    ) -> tuple[Decimal, list[Position]] | None:
        """Return where between `last` and `level` somebody is liquidated first, and who; None if nobody."""
        engine = self._engine
        tick = engine.instruments[symbol].tick
        found: tuple[Decimal, list[Position]] | None = None
        held = [p for p in engine.books.of_symbol(symbol) if p.quantity]
        cross = [p for p in held if not p.isolated]
        groups = [[p] for p in held if p.isolated] + ([cross] if cross else [])
        for group in groups:
            if all((p.quantity > 0) == up for p in group):
                continue
            if len(group) > 1 and (sum((p.quantity for p in group), ZERO) > 0) == up:
                continue
            price = engine.account.liquidation_price(group[0])
            if price is None or (price > level if up else price < level):
                continue
            rounded = (price / tick).to_integral_value("ROUND_UP" if up else "ROUND_DOWN") * tick
            rounded = min(max(rounded, last), level) if up else max(min(rounded, last), level)
            if found is None or (rounded < found[0] if up else rounded > found[0]):
                found = rounded, group if group[0].isolated else self._cross()
        return found

    def _cross(self) -> list[Position]:
        return [p for p in self._engine.books.all_positions() if p.quantity and not p.isolated]

    def liquidate_if_needed(self, symbol: str) -> None:
        """Liquidate whatever no longer exceeds its maintenance margin."""
        short = self._engine.account.falls_short()
        for position in (p for p in short if p.isolated):
            self.liquidate(position.symbol, [position])
        if any(not p.isolated for p in short):
            self.liquidate(symbol)

    def warn_if_needed(self) -> None:
        """Send MARGIN_CALL when a position comes near its liquidation; again only after it was out of danger."""
        endangered = self._engine.account.endangered(_CALL_RATIO)
        keys = {(p.symbol, p.position_side) for p in endangered}
        fresh = [p for p in endangered if (p.symbol, p.position_side) not in self._warned]
        self._warned = keys
        if fresh:
            self._engine.emit(self._engine.events.margin_call(fresh, self._engine.prices))

    def liquidate(self, symbol: str, positions: list[Position] | None = None) -> None:
        """
        Close positions at their last price, as the exchange does with an account (or isolated position) out of margin.

        `positions` is one isolated position, or all cross ones (the default). Plain orders are cancelled first (all of
        a cross account, those of the symbol otherwise), algo orders are left to fail at their trigger. Each position
        pays taker and liquidation fee; what its margin lacks the insurance fund covers: an isolated position never
        costs more than its margin, and the cross wallet ends at zero, not below.
        """
        self.warn_if_needed()
        engine, books = self._engine, self._engine.books
        chosen = self._cross() if positions is None else positions
        isolated = next((p for p in chosen if p.isolated), None)
        margin = isolated.isolated_wallet if isolated is not None else ZERO
        before = books.wallet
        books.incident("liquidation", symbol=symbol, wallet=str(books.wallet), isolated=isolated is not None)
        for order in list(books.open_orders.values()):
            if isolated is None or order.symbol == symbol:
                engine.close_order(order, "CANCELED")
        for position in chosen:
            if not position.quantity:
                continue
            size = abs(position.quantity)
            price = engine.prices[position.symbol]
            self.force(position, size, LIQUIDATED)
            fee = size * price * engine.instruments[position.symbol].liquidation_fee
            books.pay("INSURANCE_CLEAR", -fee, position.symbol, info="liquidation fee")
        if isolated is not None and before - books.wallet > margin:
            books.pay("INSURANCE_CLEAR", before - books.wallet - margin, symbol, info="insurance fund")
        elif isolated is None and books.cross_wallet < 0:
            books.pay("INSURANCE_CLEAR", -books.cross_wallet, symbol, info="insurance fund")
        told = chosen if isolated is not None else [p for p in chosen if p.symbol == symbol]
        engine.emit(engine.events.account_update("INSURANCE_CLEAR", told or books.of_symbol(symbol)))

    def force(self, position: Position, size: Decimal, prefix: str) -> Order:
        """Close `size` of a position at the last price by an order of the exchange, its client id led by `prefix`."""
        engine, books = self._engine, self._engine.books
        now = books.clock.event_ms()
        number = books.next_order_id()
        order = Order(
            order_id=number,
            client_order_id=f"{prefix}{number}",
            symbol=position.symbol,
            side="SELL" if position.quantity > 0 else "BUY",
            kind="LIMIT",
            quantity=size,
            price=engine.prices[position.symbol],
            time_in_force="IOC",
            reduce_only=True,
            created_ms=now,
            updated_ms=now,
            market_ms=books.clock.market_ms,
            position_side=position.position_side,
        )
        books.add_order(order)
        engine.emit(engine.events.order_update(order, "NEW"))
        engine.execute(order, engine.prices[position.symbol], size, maker=False, kind="CALCULATED")
        self.on_forced(order)
        return order

    def deleverage(self, position: Position, size: Decimal) -> None:
        """Close part of a winning position against somebody's bankruptcy (ADL): the exchange's order, no extra fee."""
        self._engine.books.incident("adl", symbol=position.symbol, quantity=str(size))
        self.force(position, min(size, abs(position.quantity)), _DELEVERAGED)

    def settle(self, symbol: str) -> None:
        """Delist `symbol`: orders are cancelled, positions closed at the mark, nothing is traded any more."""
        engine, books = self._engine, self._engine.books
        engine.set_status(symbol, "SETTLING")
        for order in [o for o in books.open_orders.values() if o.symbol == symbol]:
            engine.close_order(order, "CANCELED")
        for algo in [a for a in books.open_algos.values() if a.symbol == symbol]:
            engine.cancel_algo(algo)
        for position in books.of_symbol(symbol):
            if position.quantity:
                self.force(position, abs(position.quantity), _SETTLED)

    def fund(self, symbol: str, rate: Decimal, price: Decimal) -> Decimal:
        """
        Charge one funding settlement and return what the wallet received (negative: paid), USDT.

        The rule, the same in the backtest: whoever holds a position when the bar that closes exactly at the settlement
        time has finished, and before any order sent on that close, pays ``quantity * close * rate``, i.e. receives
        ``-quantity * close * rate`` rounded half-even to eight digits; `quantity` is signed, so shorts receive a
        positive rate. A position closed inside that bar pays nothing, one opened on its close pays at the next time.
        """
        total = ZERO
        for position in self._engine.books.of_symbol(symbol):
            amount = money(-position.quantity * price * rate)
            if not amount:
                continue
            self._engine.books.pay("FUNDING_FEE", amount, symbol)
            position.cycle_cash += amount
            if position.isolated:
                position.isolated_wallet += amount
            self._engine.emit(self._engine.events.funding_update(amount, position))
            total += amount
        if total:
            self.liquidate_if_needed(symbol)
        return total
