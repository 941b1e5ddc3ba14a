"""What happens to positions without an order of the account: liquidation and funding."""

from decimal import Decimal
from typing import TYPE_CHECKING

from node.venue.books import Order, money

if TYPE_CHECKING:
    from node.venue.matching import MatchingEngine

_FORCED = "autoclose-"


class Settlement:
    """Liquidation at the maintenance margin, funding at its times; acts through the engine's own trades and events."""

    def __init__(self, engine: "MatchingEngine") -> None:
        self._engine = engine

    def liquidation_level(self, symbol: str, last: Decimal, level: Decimal, *, up: bool) -> Decimal | None:
        """Return the price between `last` and `level` at which the account is liquidated, if there is one."""
        position = self._engine.books.positions[symbol]
        if not position.quantity or (position.quantity > 0) == up:
            return None
        price = self._engine.account.liquidation_price(position)
        if price is None:
            return None
        if price > level if up else price < level:
            return None
        tick = self._engine.instruments[symbol].tick
        rounded = (price / tick).to_integral_value("ROUND_UP" if up else "ROUND_DOWN") * tick
        return min(max(rounded, last), level) if up else max(min(rounded, last), level)

    def liquidate_if_needed(self, symbol: str) -> None:
        """Liquidate if the margin balance no longer exceeds the maintenance margin."""
        if self._engine.account.in_liquidation():
            self.liquidate(symbol)

    def liquidate(self, symbol: str) -> None:
        """
        Close every position at its last price, as the exchange does with a cross account that ran out of margin.

        Plain orders are cancelled first, algo orders are left to fail at their trigger. Each position pays taker and
        liquidation fee; what the wallet lacks the insurance fund covers: the wallet ends at zero, not below.
        """
        books = self._engine.books
        books.incident("liquidation", symbol=symbol, wallet=str(books.wallet))
        for order in list(books.open_orders.values()):
            self._engine.close_order(order, "CANCELED")
        for position in books.positions.values():
            if not position.quantity:
                continue
            size = abs(position.quantity)
            now = books.clock.event_ms()
            number = books.next_order_id()
            order = Order(
                order_id=number,
                client_order_id=f"{_FORCED}{number}",
                symbol=position.symbol,
                side="SELL" if position.quantity > 0 else "BUY",
                kind="LIMIT",
                quantity=size,
                price=self._engine.prices[position.symbol],
                time_in_force="IOC",
                reduce_only=True,
                created_ms=now,
                updated_ms=now,
                market_ms=books.clock.market_ms,
            )
            books.add_order(order)
            self._engine.emit(self._engine.events.order_update(order, "NEW"))
            price = self._engine.prices[position.symbol]
            self._engine.execute(order, price, size, maker=False, kind="CALCULATED")
            fee = size * price * self._engine.instruments[position.symbol].liquidation_fee
            books.pay("INSURANCE_CLEAR", -fee, position.symbol, info="liquidation fee")
        if books.wallet < 0:
            books.pay("INSURANCE_CLEAR", -books.wallet, symbol, info="insurance fund")
        self._engine.emit(self._engine.events.account_update("INSURANCE_CLEAR", [books.positions[symbol]]))

    def fund(self, symbol: str, rate: Decimal, price: Decimal) -> Decimal:
        """
        Charge one funding settlement and return what the wallet received (negative: paid), USDT.

        The rule, the same in the backtest: whoever holds a position when the bar that closes exactly at the settlement
        time has finished, and before any order sent on that close, pays ``quantity * close * rate``, i.e. receives
        ``-quantity * close * rate`` rounded half-even to eight digits; `quantity` is signed, so shorts receive a
        positive rate. A position closed inside that bar pays nothing, one opened on its close pays at the next time.
        """
        position = self._engine.books.positions[symbol]
        amount = money(-position.quantity * price * rate)
        if amount:
            self._engine.books.pay("FUNDING_FEE", amount, symbol)
            position.cycle_cash += amount
            self._engine.emit(self._engine.events.funding_update(amount))
            self.liquidate_if_needed(symbol)
        return amount
