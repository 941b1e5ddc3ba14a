"""
The trade ledger: fills and funding in, open positions and closed round trips out. Pure accounting in decimals.

One net position per symbol (NETTING). A round trip begins with the fill that leaves flat and ends with the fill that
returns to it; a fill that crosses zero is split, its fee with it. The portfolio's own figures are not used: after a
restart they begin with the current position (`knowledge/live-binance.md` §6).

Invariant: closed net results plus the realised part of open positions plus funding that found no position equal the
change of the wallet, for every sequence of fills.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from strategies.messages import Side
from strategies.order_ids import Leg, decode
from strategies.records import FillRecord, FundingRecord, TradeRecord
from strategies.sizing import exact
from strategies.yaml_config import FrozenConfig

EXTERNAL = "EXTERNAL"
_ZERO = Decimal(0)
_MEMORY = 1024
_LIQUIDATIONS = ("autoclose-", "adl_autoclose", "settlement_autoclose-")
_REASON_OF_LEG = {
    Leg.ENTRY: "REVERSE_SIGNAL",
    Leg.STOP: "STOP_LOSS",
    Leg.TARGET: "TAKE_PROFIT",
    Leg.TRAIL: "TRAILING_STOP",
    Leg.EXIT: "FLATTEN",
}


class RestoredLedger(FrozenConfig, frozen=True, kw_only=True):
    """
    What the journal remembers at a restart; the default is an account without history.

    Attributes
    ----------
    fills : list of FillRecord
        All fills since each symbol was last flat, in the order they were recorded.
    funding : list of FundingRecord
        Settlements since the oldest of those fills.
    seen_fills : list of str
        Ids of every fill the venue may report again (all of the last days).
    missed : list of FillRecord
        What the venue did since and nobody recorded, in the order it happened.
    missed_funding : list of FundingRecord
        The same for funding payments.
    verdicts : dict of signal id to list of str
        ``<gate>:<reason>`` of the signals that opened those positions.

    """

    fills: list[FillRecord] = msgspec.field(default_factory=list)
    funding: list[FundingRecord] = msgspec.field(default_factory=list)
    seen_fills: list[str] = msgspec.field(default_factory=list)
    missed: list[FillRecord] = msgspec.field(default_factory=list)
    missed_funding: list[FundingRecord] = msgspec.field(default_factory=list)
    verdicts: dict[str, list[str]] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Execution:
    """
    A fill with what is known of its order.

    Attributes
    ----------
    id : str
        Unique per fill.
    is_buy : bool
        Direction.
    quantity, price, fee : Decimal
        Base units, USDT, USDT (positive when paid).
    reason : str
        Exit reason, should this fill close a position.
    market_time, wall_time : int or None, int
        UTC nanoseconds.
    signal_id, stop, target : str or None, float or None
        Of the entry, should this fill open one.

    """

    id: str
    symbol: str
    client_order_id: str
    is_buy: bool
    quantity: Decimal
    price: Decimal
    fee: Decimal
    reason: str
    market_time: int | None
    wall_time: int
    signal_id: str | None = None
    stop: float | None = None
    target: float | None = None


@dataclass(slots=True)
class OpenTrade:
    """A round trip under way. Quantities in base units, money in USDT; ``net`` is signed."""

    id: str
    symbol: str
    side: Side
    entry_time: int | None
    signal_id: str | None
    stop: float | None
    target: float | None
    net: Decimal = _ZERO
    cost: Decimal = _ZERO  # of what is still open, at average price
    entered: Decimal = _ZERO
    entry_value: Decimal = _ZERO
    exited: Decimal = _ZERO
    exit_value: Decimal = _ZERO
    gross: Decimal = _ZERO
    fees: Decimal = _ZERO
    funding: Decimal = _ZERO

    @property
    def realized(self) -> Decimal:
        """What the wallet has gained by this trade so far."""
        return self.gross - self.fees + self.funding

    def enter(self, quantity: Decimal, price: Decimal, fee: Decimal) -> None:
        """Grow by `quantity`."""
        self.net += self.side.sign * quantity
        self.cost += quantity * price
        self.entered += quantity
        self.entry_value += quantity * price
        self.fees += fee

    def leave(self, quantity: Decimal, price: Decimal, fee: Decimal) -> None:
        """Shrink by `quantity`, at most to flat."""
        is_last = quantity == abs(self.net)
        cost = self.cost if is_last else self.cost * quantity / abs(self.net)
        self.net -= self.side.sign * quantity
        self.cost -= cost
        self.exited += quantity
        self.exit_value += quantity * price
        self.gross += self.side.sign * (quantity * price - cost)
        self.fees += fee


@dataclass(slots=True)
class TradeLedger:
    """
    Open and closed round trips of one account.

    Attributes
    ----------
    open : dict of symbol to OpenTrade
        Positions as the fills tell.
    closed_net : Decimal
        Sum of all closed trades' net results, USDT.
    unattached_funding : Decimal
        Settlements that arrived when their position was already closed.

    """

    open: dict[str, OpenTrade] = field(default_factory=dict)
    closed_net: Decimal = _ZERO
    unattached_funding: Decimal = _ZERO
    _seen: set[str] = field(default_factory=set)
    _opened: dict[str, int] = field(default_factory=dict)
    _verdicts: dict[str, list[str]] = field(default_factory=dict)

    @property
    def wallet_change(self) -> Decimal:
        """What the wallet has gained by everything applied."""
        return self.closed_net + self.unattached_funding + sum((t.realized for t in self.open.values()), _ZERO)

    def net(self, symbol: str) -> Decimal:
        """Return the signed open quantity."""
        trade = self.open.get(symbol)
        return _ZERO if trade is None else trade.net

    def seen(self, record_id: str) -> bool:
        """Return whether a fill or settlement of that id was applied or declared known."""
        return record_id in self._seen

    def declare_seen(self, record_ids: Iterable[str]) -> None:
        """Treat fills of these ids as applied already."""
        self._seen.update(record_ids)

    def note_verdict(self, signal_id: str, gate: str, reason: str, *, passed: bool) -> None:
        """Remember a gate's answer for the trade that may follow; a refusal ends the signal."""
        if passed:
            self._verdicts.setdefault(signal_id, []).append(f"{gate}:{reason}")
            if len(self._verdicts) > _MEMORY:  # approved, but never filled
                del self._verdicts[next(iter(self._verdicts))]
        else:
            self._verdicts.pop(signal_id, None)

    def signal_of(self, instrument_symbol: str, cycle_ns: int, side: Side) -> str | None:
        """Return the remembered signal of that instrument, bar and direction: after a restart orders have no tags."""
        ending = f":{instrument_symbol}:{cycle_ns // 1_000_000}:{side.value}"
        return next((signal_id for signal_id in self._verdicts if signal_id.endswith(ending)), None)

    def remember_verdicts(self, verdicts: Mapping[str, list[str]]) -> None:
        """Take over the gates' answers of signals whose positions are still open."""
        self._verdicts.update({signal_id: list(answers) for signal_id, answers in verdicts.items()})

    def apply(self, fill: Execution) -> TradeRecord | None:
        """Apply a fill and return the round trip it closed, if any. A fill seen before changes nothing."""
        if fill.id in self._seen:
            return None
        self._seen.add(fill.id)
        trade = self.open.get(fill.symbol)
        side = Side.LONG if fill.is_buy else Side.SHORT
        if trade is None or trade.side is side:
            self._enter(fill, side, fill.quantity, fill.fee)
            return None
        quantity = min(fill.quantity, abs(trade.net))
        fee = fill.fee if quantity == fill.quantity else fill.fee * quantity / fill.quantity
        trade.leave(quantity, fill.price, fee)
        if trade.net != 0:
            return None
        del self.open[fill.symbol]
        self.closed_net += trade.realized
        if quantity < fill.quantity:
            self._enter(fill, side, fill.quantity - quantity, fill.fee - fee)
        return self._closed(trade, fill)

    def apply_funding(self, record: FundingRecord) -> None:
        """Attach a settlement to the position it was charged on: one opened before it, in market time."""
        if record.id in self._seen:
            return
        self._seen.add(record.id)
        trade = self.open.get(record.symbol)
        settled = settlement_ns(record)
        if trade is None or (trade.entry_time is not None and settled is not None and settled <= trade.entry_time):
            self.unattached_funding += exact(record.amount)
        else:
            trade.funding += exact(record.amount)

    def adopt(self, symbol: str, trade: OpenTrade | None) -> None:
        """Replace what the fills told of `symbol` by what the venue says; the old trade is given up unrecorded."""
        given_up = self.open.pop(symbol, None)
        if given_up is not None:
            self.closed_net += given_up.realized
        if trade is not None:
            self.open[symbol] = trade

    def _enter(self, fill: Execution, side: Side, quantity: Decimal, fee: Decimal) -> None:
        trade = self.open.get(fill.symbol)
        if trade is None:
            # One entry order can open twice (closed while partly filled): the second must not take the first's id.
            n = self._opened[fill.client_order_id] = self._opened.get(fill.client_order_id, 0) + 1
            trade = self.open[fill.symbol] = OpenTrade(
                id=f"{fill.symbol}/{fill.client_order_id}" + ("" if n == 1 else f"/{n}"),
                symbol=fill.symbol,
                side=side,
                entry_time=fill.market_time,
                signal_id=fill.signal_id,
                stop=fill.stop,
                target=fill.target,
            )
        trade.enter(quantity, fill.price, fee)

    def _closed(self, trade: OpenTrade, fill: Execution) -> TradeRecord:
        verdicts = [] if trade.signal_id is None else self._verdicts.pop(trade.signal_id, [])
        return TradeRecord(
            id=trade.id,
            market_time=fill.market_time,
            wall_time=fill.wall_time,
            symbol=trade.symbol,
            side=trade.side.value,
            entry_time=trade.entry_time,
            entry_price=float(trade.entry_value / trade.entered),
            exit_time=fill.market_time,
            exit_price=float(trade.exit_value / trade.exited),
            quantity=float(trade.entered),
            stop=trade.stop,
            target=trade.target,
            exit_reason=fill.reason,
            gross_pnl=float(trade.gross),
            fees=float(trade.fees),
            funding=float(trade.funding),
            net_pnl=float(trade.realized),
            signal_id=trade.signal_id,
            verdicts=verdicts,
        )


def exit_reason(client_order_id: str, tags: Iterable[str] = ()) -> str:
    """
    Return why an order closes a position: its tag ``exit:<reason>``, else what its id tells.

    An order of nobody known is EXTERNAL, the exchange's own are LIQUIDATION. Tags do not survive a restart; ids do.
    """
    for tag in tags:
        if tag.startswith("exit:"):
            return tag.removeprefix("exit:")
    if client_order_id.startswith(_LIQUIDATIONS):
        return "LIQUIDATION"
    ours = decode(client_order_id)
    return EXTERNAL if ours is None else _REASON_OF_LEG[ours.leg]


def settlement_ns(record: FundingRecord) -> int | None:
    """Return the settlement time in the record's id (``<symbol>/<settlement ms>``), UTC nanoseconds."""
    text = record.id.rpartition("/")[2]
    return int(text) * 1_000_000 if text.isdigit() else record.market_time
