"""
What the venue knows: wallet, positions, orders, algo orders, trades, income, and the timeline tests assert on.

All money, prices and quantities are ``Decimal``. Times are UTC ms: ``wall`` as accounts see it, ``market`` as the
replayed bars tell it (the close of the bar in which something happened).
"""

from collections import Counter
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from node.venue.clock import VenueClock

ZERO = Decimal(0)
_CENT = Decimal("0.00000001")

FIRST_ORDER_ID = 8_000_000_001
FIRST_ALGO_ID = 1_000_000_000_000_001
FIRST_TRADE_ID = 500_000_001
FIRST_TRANSACTION_ID = 9_000_000_001

HEDGE_SIDES = ("LONG", "SHORT")
OPEN_STATUSES = ("NEW", "PARTIALLY_FILLED")


def money(value: Decimal) -> Decimal:
    """Round an amount half-even to the eight digits the wallet keeps."""
    return value.quantize(_CENT, rounding=ROUND_HALF_EVEN)


@dataclass(slots=True)
class Order:
    """An order in the matching engine (``/fapi/v1/order``); `algo_id` tells which algo order it came from, if any."""

    order_id: int
    client_order_id: str
    symbol: str
    side: str
    kind: str
    quantity: Decimal
    price: Decimal
    time_in_force: str
    reduce_only: bool
    created_ms: int
    updated_ms: int
    market_ms: int
    algo_id: int = 0
    close_position: bool = False
    position_side: str = "BOTH"
    status: str = "NEW"
    executed: Decimal = ZERO
    quote: Decimal = ZERO
    good_till_ms: int = 0
    working_type: str = "CONTRACT_PRICE"
    price_match: str = "NONE"
    prevention: str = "EXPIRE_MAKER"
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether the order can still fill."""
        return self.status in OPEN_STATUSES

    @property
    def is_buy(self) -> bool:
        """Whether the order buys."""
        return self.side == "BUY"

    @property
    def leaves(self) -> Decimal:
        """Quantity not yet filled, base currency."""
        return self.quantity - self.executed

    @property
    def average(self) -> Decimal:
        """Average fill price, quote currency; 0 before the first fill."""
        return self.quote / self.executed if self.executed else ZERO


@dataclass(slots=True)
class AlgoOrder:
    """A conditional order (``/fapi/v1/algoOrder``): waits outside the matching engine until its trigger is reached."""

    algo_id: int
    client_algo_id: str
    symbol: str
    side: str
    kind: str
    quantity: Decimal
    trigger_price: Decimal
    price: Decimal
    time_in_force: str
    reduce_only: bool
    close_position: bool
    working_type: str
    created_ms: int
    updated_ms: int
    market_ms: int
    price_protect: bool = False
    position_side: str = "BOTH"
    price_match: str = "NONE"
    prevention: str = "EXPIRE_MAKER"
    activation_price: Decimal | None = None
    callback_rate: Decimal | None = None
    activated: bool = False
    extreme: Decimal | None = None
    status: str = "NEW"
    trigger_ms: int = 0
    good_till_ms: int = 0
    order_id: int = 0
    executed: Decimal = ZERO
    average: Decimal = ZERO
    fail_reason: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether the trigger is still armed."""
        return self.status == "NEW"

    @property
    def is_buy(self) -> bool:
        """Whether the order buys when triggered."""
        return self.side == "BUY"

    @property
    def is_stop(self) -> bool:
        """Whether the order protects: triggers when the market moves against the position it would close."""
        return self.kind in ("STOP", "STOP_MARKET", "TRAILING_STOP_MARKET")

    @property
    def is_limit(self) -> bool:
        """Whether the order rests at a limit price once triggered; otherwise it takes what it gets."""
        return self.kind in ("STOP", "TAKE_PROFIT")

    @property
    def protects(self) -> bool:
        """Whether the order still guards a position; a triggered market order does until it is filled."""
        return self.is_stop and (
            self.status in ("NEW", "TRIGGERING") or (self.status == "TRIGGERED" and not self.is_limit)
        )


@dataclass(slots=True)
class Fill:
    """One trade of the account."""

    trade_id: int
    order_id: int
    client_order_id: str
    algo_id: int
    symbol: str
    side: str
    kind: str
    price: Decimal
    quantity: Decimal
    commission: Decimal
    realised: Decimal
    maker: bool
    wall_ms: int
    market_ms: int
    position_side: str = "BOTH"


@dataclass(slots=True)
class Income:
    """One change of the wallet."""

    symbol: str
    kind: str
    amount: Decimal
    wall_ms: int
    market_ms: int
    transaction_id: int
    trade_id: int = 0
    info: str = ""


@dataclass(slots=True)
class Position:
    """
    The net position in one symbol.

    Attributes
    ----------
    quantity : Decimal
        Signed base quantity; negative is short.
    entry_price : Decimal
        Average price of the open quantity.
    realised : Decimal
        Realised profit before fees, accumulated over the life of the account.
    cycle_cash : Decimal
        Cash paid (negative) and received, fees included, since the position was last flat: gives the break-even price.
    isolated_wallet : Decimal
        Margin set aside for an isolated position, USDT; part of the wallet, not of the cross wallet.

    """

    symbol: str
    leverage: int
    quantity: Decimal = ZERO
    entry_price: Decimal = ZERO
    realised: Decimal = ZERO
    cycle_cash: Decimal = ZERO
    margin_type: str = "CROSSED"
    updated_ms: int = 0
    position_side: str = "BOTH"
    isolated_wallet: Decimal = ZERO

    @property
    def isolated(self) -> bool:
        """Whether the position stands on its own margin."""
        return self.margin_type == "ISOLATED"

    def unrealised(self, price: Decimal) -> Decimal:
        """Return the unrealised profit at `price`, USDT."""
        return self.quantity * (price - self.entry_price)

    def break_even(self) -> Decimal:
        """Return the price at which closing would give back all cash of this cycle, fees so far included."""
        return -self.cycle_cash / self.quantity if self.quantity else ZERO

    def closing(self, is_buy: bool, quantity: Decimal) -> Decimal:
        """Return how much of an order of that side and size would reduce the position."""
        opposite = self.quantity < 0 if is_buy else self.quantity > 0
        return min(quantity, abs(self.quantity)) if opposite else ZERO

    def apply(self, signed: Decimal, price: Decimal) -> Decimal:
        """Add a signed fill; return its realised profit before fees, rounded to the wallet's digits."""
        realised = ZERO
        before = self.quantity
        after = before + signed
        if before * signed >= 0:
            self.entry_price = (self.entry_price * abs(before) + price * abs(signed)) / abs(after) if after else ZERO
        else:
            closed = min(abs(signed), abs(before))
            realised = money((price - self.entry_price) * closed * (1 if before > 0 else -1))
            if after * before < 0:
                self.entry_price = price
            elif not after:
                self.entry_price = ZERO
        if self.isolated:
            self._shift_margin(before, after, price)
        if before * after <= 0:
            self.cycle_cash = -after * price
        else:
            self.cycle_cash -= signed * price
        self.quantity = after
        self.realised += realised
        return realised

    def _shift_margin(self, before: Decimal, after: Decimal, price: Decimal) -> None:
        """Release margin with what was closed, set margin aside for what was opened."""
        kept = max(min(abs(after), abs(before)), ZERO) if before * after > 0 else ZERO
        if before:
            self.isolated_wallet = money(self.isolated_wallet * kept / abs(before))
        self.isolated_wallet += money((abs(after) - kept) * price / self.leverage)


class Books:
    """
    Wallet, positions, orders and everything that ever happened to them.

    Attributes
    ----------
    wallet : Decimal
        USDT wallet balance: start plus realised profit minus fees plus funding plus insurance.
    hedge : bool
        Whether the account is in hedge mode: orders then act on `legs`, else on `positions`.
    multi_assets : bool
        Whether the account is in multi-assets mode: no isolated margin; USDT stays the only asset.
    fee_burn : bool
        Whether fees may be paid in BNB; the wallet holds none, so that they are paid in USDT all the same.
    opened_ms : int
        When the account got its first money, wall, UTC ms.
    positions, legs : dict
        One-way positions by symbol; LONG and SHORT positions by symbol and side.
    timeline : list[dict]
        Every change of a position's size and of a protective algo order, in order, with wall and market time.
    incidents : list[dict]
        Refused requests and other things a test may want to see: endpoint, code, message.
    stops : set[int]
        Algo orders that protect now.
    counters : Counter
        Requests by endpoint, user events by type, fills, rejects.

    """

    def __init__(self, clock: VenueClock, balance: Decimal, leverages: dict[str, int]) -> None:
        self.clock = clock
        self.start_balance = balance
        self.wallet = balance
        self.hedge = False
        self.opened_ms = clock.wall_ms()
        self.multi_assets = False
        self.fee_burn = False
        self.positions = {symbol: Position(symbol, leverage) for symbol, leverage in leverages.items()}
        self.legs = {
            (symbol, side): Position(symbol, leverage, position_side=side)
            for symbol, leverage in leverages.items()
            for side in HEDGE_SIDES
        }
        self.orders: dict[int, Order] = {}
        self.open_orders: dict[int, Order] = {}
        self.algos: dict[int, AlgoOrder] = {}
        self.open_algos: dict[int, AlgoOrder] = {}
        self.order_by_client: dict[str, int] = {}
        self.algo_by_client: dict[str, int] = {}
        self.fills: list[Fill] = []
        self.incomes: list[Income] = []
        self.timeline: list[dict[str, Any]] = []
        self.incidents: list[dict[str, Any]] = []
        self.counters: Counter[str] = Counter()
        self.stops: set[int] = set()
        self._next_order = FIRST_ORDER_ID
        self._next_algo = FIRST_ALGO_ID
        self._next_trade = FIRST_TRADE_ID
        self._next_transaction = FIRST_TRANSACTION_ID

    @property
    def cross_wallet(self) -> Decimal:
        """The wallet without what isolated positions have set aside, USDT."""
        return self.wallet - sum((p.isolated_wallet for p in self.all_positions()), ZERO)

    def position(self, symbol: str, side: str = "BOTH") -> Position:
        """Return the position an order with that position side acts on."""
        return self.positions[symbol] if side == "BOTH" else self.legs[symbol, side]

    def all_positions(self) -> list[Position]:
        """Return every position of the present mode, flat ones included."""
        return list(self.legs.values()) if self.hedge else list(self.positions.values())

    def of_symbol(self, symbol: str) -> list[Position]:
        """Return the positions of one symbol in the present mode."""
        return [self.legs[symbol, side] for side in HEDGE_SIDES] if self.hedge else [self.positions[symbol]]

    def settings(self, symbol: str) -> list[Position]:
        """Return all positions of a symbol, whatever the mode: leverage and margin type are the same in each."""
        return [self.positions[symbol], *(self.legs[symbol, side] for side in HEDGE_SIDES)]

    def numbers(self) -> list[int]:
        """Return the next order, algo order, trade and transaction ids."""
        return [self._next_order, self._next_algo, self._next_trade, self._next_transaction]

    def continue_numbers(self, numbers: list[int]) -> None:
        """Go on counting from what :meth:`numbers` returned."""
        self._next_order, self._next_algo, self._next_trade, self._next_transaction = numbers

    def next_order_id(self) -> int:
        """Return a fresh order id."""
        self._next_order += 1
        return self._next_order - 1

    def next_algo_id(self) -> int:
        """Return a fresh algo order id (a different range from order ids, as in production)."""
        self._next_algo += 1
        return self._next_algo - 1

    def next_trade_id(self) -> int:
        """Return a fresh trade id."""
        self._next_trade += 1
        return self._next_trade - 1

    def add_order(self, order: Order) -> None:
        """Store a new open order; a later order may reuse the client id of a closed one, as on the exchange."""
        self.orders[order.order_id] = order
        self.open_orders[order.order_id] = order
        self.order_by_client[order.client_order_id] = order.order_id
        self.note(order, order.status)

    def add_algo(self, algo: AlgoOrder) -> None:
        """Store a new armed algo order."""
        self.algos[algo.algo_id] = algo
        self.open_algos[algo.algo_id] = algo
        self.algo_by_client[algo.client_algo_id] = algo.algo_id
        self.note(algo, algo.status)

    def note(self, order: Order | AlgoOrder, what: str) -> None:
        """Append to the history of `order` and keep the indices of open orders true."""
        order.history.append({"what": what, "wall_ms": order.updated_ms, "market_ms": self.clock.market_ms})
        if isinstance(order, AlgoOrder) and order.protects != (order.algo_id in self.stops):
            self._note_stop(order)
        if order.is_open:
            return
        if isinstance(order, Order):
            self.open_orders.pop(order.order_id, None)
        else:
            self.open_algos.pop(order.algo_id, None)

    def pay(self, kind: str, amount: Decimal, symbol: str, *, trade_id: int = 0, info: str = "") -> None:
        """Change the wallet by `amount` (rounded to eight digits) and record why; zero amounts leave no trace."""
        amount = money(amount)
        if not amount:
            return
        self.wallet += amount
        self._next_transaction += 1
        self.incomes.append(
            Income(
                symbol=symbol,
                kind=kind,
                amount=amount,
                wall_ms=self.clock.event_ms(),
                market_ms=self.clock.market_ms,
                transaction_id=self._next_transaction - 1,
                trade_id=trade_id,
                info=info or kind,
            ),
        )

    def note_position(self, position: Position) -> None:
        """Record the position's new size on the timeline."""
        self._at(
            {
                "kind": "position",
                "symbol": position.symbol,
                "position_side": position.position_side,
                "quantity": str(position.quantity),
            },
        )

    def incident(self, what: str, **details: Any) -> None:
        """Record something a person or a test may ask about later."""
        self.incidents.append(
            {"what": what, "wall_ms": self.clock.wall_ms(), "market_ms": self.clock.market_ms, **details},
        )

    def income_total(self, kind: str) -> Decimal:
        """Return the sum of all income of one kind, USDT."""
        return sum((i.amount for i in self.incomes if i.kind == kind), ZERO)

    def _note_stop(self, algo: AlgoOrder) -> None:
        self.stops ^= {algo.algo_id}
        self._at(
            {
                "kind": "stop",
                "symbol": algo.symbol,
                "algo_id": algo.algo_id,
                "side": algo.side,
                "position_side": algo.position_side,
                "quantity": str(algo.quantity),
                "close_position": algo.close_position,
                "reduce_only": algo.reduce_only,
                "live": algo.protects,
                "status": algo.status,
            },
        )

    def _at(self, entry: dict[str, Any]) -> None:
        self.timeline.append({**entry, "wall_ms": self.clock.wall_ms(), "market_ms": self.clock.market_ms})
