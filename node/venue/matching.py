"""
The matching engine: orders in, trades and user events out, driven by a price path.

Within a bar the price walks open, then high and low (low and high), then close; the nearer extreme comes first, the low
on a tie. That is BacktestEngine's ``bar_adaptive_high_low_ordering=True``. Between two points the price is continuous:
triggers, resting limit orders and the liquidation price are met in the order in which the path reaches them. From the
previous close to the open it jumps: whatever lies between triggers at the open, in path order.

Fills: market orders at the last price moved by the configured slippage; a triggered market order at its trigger price
(at the open if the bar opened beyond it); a resting limit order at its limit price.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal

from node.simulation.pricing import slipped_price
from node.venue.account import Account
from node.venue.books import AlgoOrder, Books, Fill, Order, money
from node.venue.config import ExecutionConfig
from node.venue.errors import error
from node.venue.events import Event, EventFactory
from node.venue.instruments import Instrument
from node.venue.path import BarPath, level_on_way, trail, trigger_level
from node.venue.price_match import NONE, matched_price
from node.venue.settlement import Settlement

POST_ONLY = ("GTX", "RPI")
"""Times in force of orders that must not take: the second waits for retail orders only, which are all alike here."""

type Emit = Callable[[Event], None]


class MatchingEngine:
    """
    Fills orders, keeps positions and wallet, emits user events.

    Attributes
    ----------
    prices : dict[str, Decimal]
        Last price by symbol; it is the mark price too.
    points : list[tuple[str, Decimal]]
        Prices visited by the last walk, for trade and quote streams.
    statuses : dict[str, str]
        Trading status by symbol where it is not TRADING.
    on_status : Callable
        Called with a symbol when its trading status has changed.
    refuse_triggers : int
        Next algo orders that are refused when they trigger, as if margin were lacking.

    """

    def __init__(
        self,
        books: Books,
        instruments: Mapping[str, Instrument],
        config: ExecutionConfig,
        emit: Emit,
    ) -> None:
        self.books = books
        self.instruments = instruments
        self.prices: dict[str, Decimal] = {}
        self.points: list[tuple[str, Decimal]] = []
        self.statuses: dict[str, str] = {}
        self.refuse_triggers = 0
        self.on_status: Callable[[str], None] = lambda _symbol: None
        self.account = Account(books, instruments, self.prices)
        self.events = EventFactory(books, instruments, self.account)
        self._config = config
        self.emit = emit
        self.settlement = Settlement(self)
        self._depth: dict[str, Decimal] = {}

    def set_status(self, symbol: str, status: str) -> None:
        """Set the trading status of `symbol`, and let it be known if it is another one."""
        if self.statuses.get(symbol, "TRADING") != status:
            self.statuses[symbol] = status
            self.on_status(symbol)

    # -- price path ----------------------------------------------------------------------------------------------------

    def walk(self, symbol: str, bar: BarPath) -> None:
        """Move the price of `symbol` through one bar; everything the path reaches happens before this returns."""
        self.points = []
        instrument = self.instruments[symbol]
        quarter = max((bar.volume / 4 // instrument.step) * instrument.step, instrument.step)
        self._jump(symbol, bar.open, quarter)
        high_low = bar.points()
        self._move(symbol, high_low[0], quarter)
        self._move(symbol, high_low[1], quarter)
        self._move(symbol, high_low[2], max(bar.volume - 3 * quarter, instrument.step))

    def set_price(self, symbol: str, price: Decimal) -> None:
        """Move the price continuously from the last one to `price`, as a test or a scenario wants it."""
        self.points = []
        if symbol in self.prices:
            self._move(symbol, price, None)
        else:
            self._jump(symbol, price, None)

    def gap_price(self, symbol: str, price: Decimal) -> None:
        """Let the price jump to `price` without trading in between."""
        self.points = []
        self._jump(symbol, price, None)

    def _jump(self, symbol: str, price: Decimal, depth: Decimal | None) -> None:
        before = self.prices.get(symbol)
        if before == price:
            return
        self._visit(symbol, price, depth)
        start = price if before is None else before
        for _, _, item in self._reached(symbol, start, price):
            if item.is_open:
                self._act(item, price, price)
        self.settlement.liquidate_if_needed(symbol)
        self.settlement.warn_if_needed()
        self._trail(symbol)

    def _move(self, symbol: str, target: Decimal, depth: Decimal | None) -> None:
        start = self.prices[symbol]
        if start == target:
            return
        if depth is not None:
            self._depth[symbol] = depth
        up = target > start
        touched: set[int] = set()
        while True:
            last = self.prices[symbol]
            reached = [row for row in self._reached(symbol, last, target) if row[1] not in touched]
            level, item = (reached[0][0], reached[0][2]) if reached else (target, None)
            forced = self.settlement.liquidation_level(symbol, last, level, up=up)
            if forced is not None:
                self.prices[symbol] = forced[0]
                self.settlement.liquidate(symbol, forced[1])
                continue
            self.prices[symbol] = level
            if item is None:
                break
            self._act(item, level, target)
            if item.is_open:
                touched.add(reached[0][1])
        self.points.append((symbol, target))
        self._trail(symbol)
        self.settlement.warn_if_needed()

    def _visit(self, symbol: str, price: Decimal, depth: Decimal | None) -> None:
        self.prices[symbol] = price
        if depth is not None:
            self._depth[symbol] = depth
        self.points.append((symbol, price))

    def _reached(self, symbol: str, last: Decimal, target: Decimal) -> list[tuple[Decimal, int, Order | AlgoOrder]]:
        found: list[tuple[Decimal, int, Order | AlgoOrder]] = []
        tick = self.instruments[symbol].tick
        for algo in self.books.open_algos.values():
            trigger = trigger_level(algo, tick) if algo.symbol == symbol else None
            if trigger is not None:
                level = level_on_way(trigger, last, target, on_rise=algo.is_buy == algo.is_stop)
                if level is not None:
                    found.append((level, algo.algo_id, algo))
        for order in self.books.open_orders.values():
            # A remainder left where the price only touched it is not filled by the price moving away again.
            if order.symbol == symbol and (target <= last if order.is_buy else target >= last):
                level = level_on_way(order.price, last, target, on_rise=not order.is_buy)
                if level is not None:
                    found.append((level, order.order_id, order))
        found.sort(key=lambda row: (abs(row[0] - last), row[1]))
        return found

    def _trail(self, symbol: str) -> None:
        for algo in self.books.open_algos.values():
            if algo.symbol == symbol:
                trail(algo, self.prices[symbol], self.instruments[symbol].tick)

    def _act(self, item: Order | AlgoOrder, price: Decimal, target: Decimal) -> None:
        if isinstance(item, AlgoOrder):
            self.trigger(item, price)
        else:
            self._fill_resting(item, passed=item.price != target)

    # -- orders --------------------------------------------------------------------------------------------------------

    def submit(self, order: Order) -> None:
        """
        Accept `order` (already checked against filters and margin) and fill what can be filled now.

        Raises
        ------
        ApiError
            Propagate: reduce-only without a position to reduce, fill-or-kill or post-only that cannot be.

        """
        last = self.prices.get(order.symbol)
        if last is None:
            raise error(-1112)
        if order.reduce_only:
            self._cap_reduce_only(order)
        marketable = order.kind == "MARKET" or (order.price >= last if order.is_buy else order.price <= last)
        if order.time_in_force in POST_ONLY and marketable:
            raise error(-5022)
        if order.time_in_force == "FOK" and not marketable:
            raise error(-5021)
        self.books.add_order(order)
        self.emit(self.events.order_update(order, "NEW"))
        if order.kind == "MARKET":
            tick = self.instruments[order.symbol].tick
            bps = self._config.slippage_bps
            self._take(order, slipped_price(last, order.is_buy, bps, tick) if bps else last)
        elif marketable:
            self._take(order, last)
        elif order.time_in_force == "IOC":
            self.close_order(order, "EXPIRED")

    def submit_algo(self, algo: AlgoOrder) -> None:
        """Arm `algo` (already checked)."""
        if algo.callback_rate is not None:
            trail(algo, self.prices[algo.symbol], self.instruments[algo.symbol].tick)
        self.books.add_algo(algo)
        self.emit(self.events.algo_update(algo))

    def cancel(self, order: Order) -> None:
        """Cancel an open order."""
        self.close_order(order, "CANCELED")

    def cancel_algo(self, algo: AlgoOrder) -> None:
        """Cancel an armed algo order."""
        self._set_algo(algo, "CANCELED")

    def amend(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        """Change size and price of an open limit order; it may fill at once, or end if it must not (post-only)."""
        order.quantity = quantity
        order.price = price
        self._touch(order)
        last = self.prices[order.symbol]
        marketable = order.price >= last if order.is_buy else order.price <= last
        if order.leaves <= 0 or (marketable and order.time_in_force in POST_ONLY):
            self.close_order(order, "CANCELED")
            return
        self.books.note(order, "AMENDMENT")
        self.emit(self.events.order_update(order, "AMENDMENT"))
        if marketable:
            self._take(order, last)

    def expire_orders(self) -> None:
        """End orders whose good-till-date (wall time) has passed."""
        now = self.books.clock.wall_ms()
        for order in [o for o in self.books.open_orders.values() if 0 < o.good_till_ms <= now]:
            self.close_order(order, "EXPIRED")
        for algo in [a for a in self.books.open_algos.values() if 0 < a.good_till_ms <= now]:
            self._set_algo(algo, "EXPIRED")

    def close_order(self, order: Order, status: str) -> None:
        """End an open order with CANCELED or EXPIRED."""
        order.status = status
        self._touch(order)
        self.books.note(order, status)
        self.emit(self.events.order_update(order, status))
        if order.algo_id:
            self._finish(order)

    def trigger(self, algo: AlgoOrder, price: Decimal) -> None:
        """
        Send a reached algo order to the matching engine.

        The events are those of production: TRIGGERING, TRIGGERED with the new order id, the order's NEW and TRADE under
        the client id of the algo order, FINISHED with executed quantity. No other algo order is touched.
        """
        now = self.books.clock.event_ms()
        algo.trigger_ms = now
        self._set_algo(algo, "TRIGGERING")
        position = self.books.position(algo.symbol, algo.position_side)
        reducing = algo.reduce_only or algo.close_position
        reducible = position.closing(algo.is_buy, abs(position.quantity))
        quantity = algo.quantity
        if reducing:
            quantity = reducible if algo.close_position else min(quantity, reducible)
        if not quantity:
            self._refuse_trigger(algo)
            return
        order = Order(
            order_id=self.books.next_order_id(),
            client_order_id=algo.client_algo_id,
            symbol=algo.symbol,
            side=algo.side,
            kind="LIMIT" if algo.is_limit else "MARKET",
            quantity=quantity,
            price=algo.price
            if algo.price_match == NONE
            else matched_price(self.instruments[algo.symbol], algo.price_match, price, is_buy=algo.is_buy),
            time_in_force=algo.time_in_force,
            reduce_only=reducing,
            created_ms=now,
            updated_ms=now,
            market_ms=self.books.clock.market_ms,
            algo_id=algo.algo_id,
            position_side=algo.position_side,
            close_position=algo.close_position,
            working_type=algo.working_type,
            good_till_ms=algo.good_till_ms,
            price_match=algo.price_match,
            prevention=algo.prevention,
        )
        if self.refuse_triggers:
            self.refuse_triggers -= 1
            self._reject_trigger(algo, order, "Order would be rejected by the matching engine.")
            return
        if not reducing and not self.account.can_open(
            algo.symbol,
            quantity if algo.is_buy else -quantity,
            price,
            self.instruments[algo.symbol].taker_fee,
            algo.position_side,
        ):
            self._reject_trigger(algo, order, "Margin is insufficient.")
            return
        algo.order_id = order.order_id
        self._set_algo(algo, "TRIGGERED")
        self.books.add_order(order)
        self.emit(self.events.order_update(order, "NEW"))
        if order.kind == "MARKET":
            bps = self._config.stop_slippage_bps
            tick = self.instruments[order.symbol].tick
            self._take(order, slipped_price(price, order.is_buy, bps, tick) if bps else price)
        elif order.price >= price if order.is_buy else order.price <= price:
            self._take(order, price)

    def _reject_trigger(self, algo: AlgoOrder, order: Order, reason: str) -> None:
        algo.fail_reason = reason
        self.books.counters["trigger_refused"] += 1
        self._set_algo(algo, "REJECTED")
        self.emit(self.events.trigger_reject(algo, order.order_id, reason))

    def _refuse_trigger(self, algo: AlgoOrder) -> None:
        algo.fail_reason = "Reduce Only reject"
        self.books.counters["trigger_refused"] += 1
        self._set_algo(algo, self._config.reduce_only_trigger.upper())

    def _set_algo(self, algo: AlgoOrder, status: str) -> None:
        algo.status = status
        algo.updated_ms = self.books.clock.event_ms()
        self.books.note(algo, status)
        self.emit(self.events.algo_update(algo))

    def _finish(self, order: Order) -> None:
        algo = self.books.algos[order.algo_id]
        algo.executed = order.executed
        algo.average = order.average
        self._set_algo(algo, "FINISHED")

    def _touch(self, order: Order) -> None:
        order.updated_ms = self.books.clock.event_ms()
        order.market_ms = self.books.clock.market_ms

    def _cap_reduce_only(self, order: Order) -> None:
        position = self.books.position(order.symbol, order.position_side)
        reducible = position.closing(order.is_buy, order.quantity)
        if not reducible:
            raise error(-2022)
        order.quantity = reducible

    # -- fills ---------------------------------------------------------------------------------------------------------

    def _available(self, symbol: str) -> Decimal | None:
        """Return the quantity offered at one price; None if any."""
        found = self._depth.get(symbol) if self._config.depth == "bar_quarter" else None
        if found is None or self._config.depth_share == 1:
            return found
        step = self.instruments[symbol].step
        return max(found * self._config.depth_share // step * step, step)

    def _fill_resting(self, order: Order, *, passed: bool) -> None:
        """Fill a limit order the market came to; if it only touched the price, no more than was offered there."""
        if order.reduce_only:
            reducible = self.books.position(order.symbol, order.position_side).closing(order.is_buy, order.leaves)
            if not reducible:
                self.close_order(order, "EXPIRED")
                return
            order.quantity = order.executed + reducible
        depth = self._available(order.symbol)
        if depth is not None and order.leaves > depth:
            self.execute(order, order.price, depth, maker=True)
            if not passed:
                return
        self.execute(order, order.price, order.leaves, maker=True)

    def _take(self, order: Order, price: Decimal) -> None:
        depth = self._available(order.symbol)
        if depth is None or order.leaves <= depth:
            self.execute(order, price, order.leaves, maker=False)
            return
        tick = self.instruments[order.symbol].tick
        worse = price + tick if order.is_buy else price - tick
        if order.kind == "LIMIT":
            worse = min(worse, order.price) if order.is_buy else max(worse, order.price)
        self.execute(order, price, depth, maker=False)
        self.execute(order, worse, order.leaves, maker=False)

    def execute(self, order: Order, price: Decimal, quantity: Decimal, *, maker: bool, kind: str = "TRADE") -> None:
        """Book one trade of `order`: position, profit, fee, wallet, events."""
        books = self.books
        instrument = self.instruments[order.symbol]
        position = books.position(order.symbol, order.position_side)
        self._touch(order)
        realised = position.apply(quantity if order.is_buy else -quantity, price)
        fee = money(price * quantity * (instrument.maker_fee if maker else instrument.taker_fee))
        position.cycle_cash -= fee
        position.updated_ms = order.updated_ms
        order.executed += quantity
        order.quote += price * quantity
        order.status = "PARTIALLY_FILLED" if order.leaves else "FILLED"
        fill = Fill(
            trade_id=books.next_trade_id(),
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            algo_id=order.algo_id,
            symbol=order.symbol,
            side=order.side,
            kind=books.algos[order.algo_id].kind if order.algo_id else order.kind,
            price=price,
            quantity=quantity,
            commission=fee,
            realised=realised,
            maker=maker,
            wall_ms=order.updated_ms,
            market_ms=order.market_ms,
            position_side=order.position_side,
        )
        books.fills.append(fill)
        books.pay("REALIZED_PNL", realised, order.symbol, trade_id=fill.trade_id)
        books.pay("COMMISSION", -fee, order.symbol, trade_id=fill.trade_id)
        books.note(order, kind)
        books.note_position(position)
        books.counters["fills"] += 1
        if self._config.trade_lite and kind == "TRADE":
            self.emit(self.events.trade_lite(order, fill))
        # The account first, as production does: who hears of a fill can already size by the balance it left.
        self.emit(self.events.account_update("ORDER", [position]))
        self.emit(self.events.order_update(order, kind, fill))
        if order.algo_id and order.status == "FILLED":
            self._finish(order)
        if not position.quantity:
            self._expire_reducers(order.symbol, order.position_side)

    def _expire_reducers(self, symbol: str, side: str) -> None:
        place = (symbol, side)
        for order in [
            o for o in self.books.open_orders.values() if (o.symbol, o.position_side) == place and o.reduce_only
        ]:
            self.close_order(order, "EXPIRED")
