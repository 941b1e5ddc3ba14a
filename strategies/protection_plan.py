"""What protection is told and what it says: levels, retry budget, exit reasons, the state of a leg."""

from enum import StrEnum, unique
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from nautilus_trader.model.enums import OrderSide, OrderType, PositionSide
from nautilus_trader.model.identifiers import ClientOrderId
from nautilus_trader.model.objects import Price
from nautilus_trader.model.orders import Order
from nautilus_trader.model.position import Position

from strategies.order_ids import Leg, OrderTag, decode
from strategies.yaml_config import FrozenConfig

THROUGH_MARKET = ("-2021", "immediately trigger", "in the market", "through the market", "would trigger")
"""Fragments by which venues say that a conditional order's trigger is already behind the market."""


@unique
class ExitReason(StrEnum):
    """Why a position was closed; carried as order tag ``exit:<reason>``."""

    STOP_LOSS = "STOP_LOSS"
    TAKE_PROFIT = "TAKE_PROFIT"
    REVERSE_SIGNAL = "REVERSE_SIGNAL"
    FLATTEN = "FLATTEN"
    PROTECTION_FAILED = "PROTECTION_FAILED"
    LIQUIDATION = "LIQUIDATION"
    END_OF_DATA = "END_OF_DATA"


class ProtectionConfig(FrozenConfig, frozen=True):
    """
    How hard protection tries.

    Attributes
    ----------
    max_attempts : int
        Placements of one leg within a cycle without success before the fallback (stop: close; target: give up).
    trigger : {"last", "mark"}
        The price that triggers stop and target.
    retry_secs : float
        Wall seconds before the first retry on the timer; doubles up to a minute.

    """

    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=20)] = 4
    trigger: Literal["last", "mark"] = "last"
    retry_secs: Annotated[float, msgspec.Meta(ge=0.1, le=60.0)] = 1.0


class Plan(NamedTuple):
    """What to protect with: the cycle (signal bar's close, UTC ns) and the levels."""

    cycle: int
    stop: Price
    target: Price | None


class LegState:
    """One protective leg: the order that counts, the one replacing it, and how often we tried."""

    def __init__(self, leg: Leg) -> None:
        self.leg = leg
        self.current: ClientOrderId | None = None
        self.pending: ClientOrderId | None = None
        self.failures = 0
        self.losses = 0
        self.given_up = False

    def reset(self) -> None:
        """Forget the cycle."""
        self.current = self.pending = None
        self.failures = self.losses = 0
        self.given_up = False


def plan_of_entry(position: Position, instrument: Any) -> Plan | None:
    """Return the levels in the client order id of the entry; None when it holds none that fit."""
    tag = decode(position.opening_order_id.value)
    if tag is None or tag.stop_ticks is None or tag.target_ticks is None:
        return None
    increment = instrument.price_increment.as_decimal()
    stop = instrument.make_price(tag.stop_ticks * increment)
    target = instrument.make_price(tag.target_ticks * increment)
    plan = Plan(tag.cycle, stop, None if target == stop else target)
    return plan if fits(plan, position) else None


def plan_of_resting(resting: list[tuple[Order, OrderTag]]) -> Plan | None:
    """Return the levels of the newest stop that rests: measured, by a process that is gone, for a person's position."""
    stop = max((pair for pair in resting if pair[1].leg is Leg.STOP), key=lambda p: p[1].cycle, default=None)
    if stop is None:
        return None
    order, tag = stop
    targets = [o.trigger_price for o, t in resting if t.leg is Leg.TARGET and t.cycle == tag.cycle]
    return Plan(tag.cycle, order.trigger_price, targets[0] if targets else None)


def fits(plan: Plan, position: Position) -> bool:
    """Return whether stop and target lie on the sides this position needs."""
    return plan.target is None or (plan.target > plan.stop) is (position.side == PositionSide.LONG)


def closes(order: Order, position: Position) -> bool:
    """Return whether `order` is a conditional order that shrinks `position`."""
    return order.order_type in (OrderType.STOP_MARKET, OrderType.MARKET_IF_TOUCHED) and (
        order.side == OrderSide.SELL
    ) == (position.side == PositionSide.LONG)
