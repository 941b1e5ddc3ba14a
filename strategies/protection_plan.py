"""What protection is told and what it says: levels, retry budget, exit reasons, the state of a leg."""

from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum, unique
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from nautilus_trader.model.enums import OrderSide, OrderType, PositionSide, TrailingOffsetType
from nautilus_trader.model.identifiers import ClientOrderId
from nautilus_trader.model.objects import Price
from nautilus_trader.model.orders import Order
from nautilus_trader.model.position import Position

from strategies.order_ids import Leg, OrderTag, decode
from strategies.yaml_config import FrozenConfig

THROUGH_MARKET = ("-2021", "immediately trigger", "in the market", "through the market", "would trigger")
"""Fragments by which venues say that a conditional order's trigger is already behind the market."""

_CONDITIONAL = (OrderType.STOP_MARKET, OrderType.MARKET_IF_TOUCHED, OrderType.TRAILING_STOP_MARKET)


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
    TIME_STOP = "TIME_STOP"
    TRAILING_STOP = "TRAILING_STOP"


REASON_OF_LEG = {
    Leg.STOP: ExitReason.STOP_LOSS,
    Leg.TARGET: ExitReason.TAKE_PROFIT,
    Leg.TRAIL: ExitReason.TRAILING_STOP,
}

Multiple = Annotated[float, msgspec.Meta(gt=0, le=100)]


class BarTrailing(FrozenConfig, frozen=True, tag_field="by", tag="bars"):
    """
    The stop follows the best price since the entry, once per finished bar.

    Attributes
    ----------
    distance : float
        Kept between the best price and the stop, in `unit`.
    unit : {"r", "atr"}
        ``r``: the distance between entry and first stop; ``atr``: the mean true range of the last `atr_bars` bars.
    activate_r : float
        Profit, in R, the best price must have shown before the stop begins to move.
    step_r : float
        Smallest move worth an order, in R.
    atr_bars : int
        Bars in the mean true range.

    """

    distance: Multiple
    unit: Literal["r", "atr"] = "r"
    activate_r: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0.0
    step_r: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.1
    atr_bars: Annotated[int, msgspec.Meta(ge=1, le=500)] = 14


class VenueTrailing(FrozenConfig, frozen=True, tag_field="by", tag="venue"):
    """
    A TRAILING_STOP_MARKET at the venue, beside the fixed stop, which stays where it is.

    Attributes
    ----------
    callback : float
        Fraction of the best price the market must come back (0.01 is 1 %), a multiple of 0.001.
    activate_r : float
        Profit, in R, at which the venue begins to follow; 0 for at once.

    """

    callback: Annotated[float, msgspec.Meta(ge=0.001, le=0.1)]
    activate_r: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0.0

    def __post_init__(self) -> None:
        if abs(self.callback * 1000 - round(self.callback * 1000)) > 1e-9:
            raise ValueError(f"callback: {self.callback} is not a multiple of 0.001, the finest the venue knows")


class BreakEven(FrozenConfig, frozen=True):
    """
    The stop moves to the entry price once, after a profit of `at_r`.

    Attributes
    ----------
    at_r : float
        Profit the best price must have shown, in R.
    offset_bps : float
        Beyond the entry price, in the direction of profit: what fees cost.

    """

    at_r: Multiple = 1.0
    offset_bps: Annotated[float, msgspec.Meta(ge=0, le=500)] = 0.0


class ProtectionConfig(FrozenConfig, frozen=True):
    """
    How hard protection tries, and what it does beyond a fixed stop and target (all of it off by default).

    Attributes
    ----------
    max_attempts : int
        Placements of one leg within a cycle without success before the fallback (stop: close; target: give up).
    trigger : {"last", "mark"}
        The price that triggers stop and target.
    retry_secs : float
        Wall seconds before the first retry on the timer; doubles up to a minute.
    trailing : BarTrailing or VenueTrailing or None
        Chosen with ``by: bars`` or ``by: venue``.
    break_even : BreakEven or None
        Whether the stop moves to the entry price.
    time_stop_bars : int or None
        Bars after the signal's bar at whose close the position is closed at market.
    accept_foreign_stop : bool
        Count a person's reduce-only stop-market orders as cover: while they cover the position, none of ours is added.

    """

    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=20)] = 4
    trigger: Literal["last", "mark"] = "last"
    retry_secs: Annotated[float, msgspec.Meta(ge=0.1, le=60.0)] = 1.0
    trailing: BarTrailing | VenueTrailing | None = None
    break_even: BreakEven | None = None
    time_stop_bars: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    accept_foreign_stop: bool = True


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
        self.at_once = False

    def reset(self) -> None:
        """Forget the cycle."""
        self.current = self.pending = None
        self.failures = self.losses = 0
        self.given_up = self.at_once = False


def trailing_order(
    fields: dict[str, Any],
    factory: Any,
    rule: VenueTrailing,
    plan: Plan,
    position: Position,
    tick: Decimal,
    *,
    at_once: bool,
) -> Any:
    """Return the venue-native trailing stop of `position`; `at_once`: its activation price lies behind the market."""
    activation = None
    if rule.activate_r > 0 and not at_once:
        entry = Decimal(repr(position.avg_px_open))
        profit = (entry - plan.stop.as_decimal()) * Decimal(repr(rule.activate_r))
        if (profit > 0) == (position.side == PositionSide.LONG):
            activation = Price(
                ((entry + profit) / tick).quantize(Decimal(1), ROUND_HALF_EVEN) * tick, plan.stop.precision
            )
    return factory.trailing_stop_market(
        trailing_offset=(Decimal(repr(rule.callback)) * 10_000).quantize(Decimal(1), ROUND_HALF_EVEN),
        trailing_offset_type=TrailingOffsetType.BASIS_POINTS,
        activation_price=activation,
        **fields,
    )


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
    return order.order_type in _CONDITIONAL and (order.side == OrderSide.SELL) == (position.side == PositionSide.LONG)
