"""
How large a position may be: pure arithmetic over decimals, no Nautilus, no state.

A method wishes a quantity, caps shrink it, the venue's step rounds it, the venue's minimum may refuse it. The same
inputs give the same quantity in research, backtest and live; balances are rounded first, because the simulated and the
real account differ by 1e-8 per fill and such a difference must never flip a step.
"""

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from enum import StrEnum, unique
from typing import Annotated

import msgspec

from strategies.messages import Reason, Side
from strategies.yaml_config import FrozenConfig

_ONE = Decimal(1)
_CENT = Decimal("0.01")
_BALANCE_GRID = Decimal("0.0001")

Fraction = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
PositiveAmount = Annotated[float, msgspec.Meta(gt=0.0)]
NonNegativeAmount = Annotated[float, msgspec.Meta(ge=0.0)]


class RiskFraction(FrozenConfig, frozen=True, kw_only=True, tag_field="method", tag="risk_fraction"):
    """
    Lose at most `risk_fraction` of equity when the stop fills at its price: ``equity * fraction / |reference - stop|``.

    Attributes
    ----------
    risk_fraction : float
        Share of equity (including unrealised profit, rounded to cents) put at risk per trade, 0 < x <= 1.

    """

    risk_fraction: Fraction = 0.01


class MarginRatio(FrozenConfig, frozen=True, kw_only=True, tag_field="method", tag="margin_ratio"):
    """
    The ancestor's rule: ``(balance / symbols) * ratio * leverage / close``, blind to the distance of the stop.

    ``ratio = clamp(max_ratio - (balance - start_balance) * step_per_usdt, min_ratio, max_ratio)`` on the total wallet
    balance; the quantity is rounded half-even to the step. See `knowledge/cointrader-facts.md` §5.

    Attributes
    ----------
    max_ratio, min_ratio : float
        Bounds of the share of the per-symbol balance used as margin.
    step_per_usdt : float
        Fall of the ratio per USDT of profit since the start.
    leverage : float
        Multiplies margin into notional.

    """

    max_ratio: Fraction = 0.50
    min_ratio: Fraction = 0.20
    step_per_usdt: NonNegativeAmount = 0.0006
    leverage: PositiveAmount = 10.0

    def __post_init__(self) -> None:
        if self.min_ratio > self.max_ratio:
            raise ValueError(f"min_ratio {self.min_ratio} is above max_ratio {self.max_ratio}")


Sizing = RiskFraction | MarginRatio
"""The methods a configuration may choose with the key ``method``."""


@unique
class Cap(StrEnum):
    """What bound the granted quantity; NONE when the wish was granted."""

    NONE = "none"
    ORDER_NOTIONAL = "order_notional"
    TOTAL_NOTIONAL = "total_notional"
    LEVERAGE = "leverage"
    MARGIN = "margin"
    VENUE_MAXIMUM = "venue_maximum"


# A cap that leaves less than the venue's minimum is the reason of the refusal, where it has a name of its own.
_REASON_OF_CAP = {
    Cap.TOTAL_NOTIONAL: Reason.TOTAL_NOTIONAL,
    Cap.LEVERAGE: Reason.LEVERAGE,
    Cap.MARGIN: Reason.MARGIN,
}


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is to be sized. Prices and money in USDT.

    Attributes
    ----------
    side : Side
        Direction of the position.
    reference, stop : Decimal
        Expected entry price (assumed slippage included) and protective stop, both on the tick grid.
    last_price : Decimal
        Price the market is at: the close of the signal's bar.
    equity, balance : Decimal
        Account value with and without unrealised profit.
    start_balance : Decimal
        Wallet balance at the start of the account's history.
    symbols : int
        Number of symbols the account is shared by.

    """

    side: Side
    reference: Decimal
    stop: Decimal
    last_price: Decimal
    equity: Decimal
    balance: Decimal
    start_balance: Decimal
    symbols: int


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """
    The venue's filters for market orders of one symbol.

    Attributes
    ----------
    quantity_step, min_quantity : Decimal
        In base units.
    max_quantity : Decimal or None
        The smaller of the lot and the market-lot maximum; None when the venue names none.
    min_notional : Decimal
        In USDT; 0 when the venue names none.

    """

    quantity_step: Decimal
    min_quantity: Decimal
    max_quantity: Decimal | None
    min_notional: Decimal


class Headroom(msgspec.Struct, frozen=True, kw_only=True):
    """
    Notional still allowed by each limit, USDT; None where no limit is configured.

    Attributes
    ----------
    order_notional : Decimal or None
        Largest notional of one order.
    total_notional : Decimal or None
        Limit of the sum over symbols minus what is open and pending.
    leverage : Decimal or None
        ``max_leverage * equity`` minus what is open and pending.
    margin : Decimal or None
        What the unused margin carries at the venue's leverage setting.

    """

    order_notional: Decimal | None = None
    total_notional: Decimal | None = None
    leverage: Decimal | None = None
    margin: Decimal | None = None


class Sized(msgspec.Struct, frozen=True, kw_only=True):
    """
    The outcome of :func:`size_position`.

    Attributes
    ----------
    quantity : Decimal
        Granted quantity on the venue's step; 0 when refused.
    cap : Cap
        The limit that bound, NONE if the wish was granted.
    reason : Reason
        PASSED, or why nothing was granted.
    risk_amount : Decimal
        Loss in USDT when the stop fills at its price, without fees.
    detail : str
        One sentence for people.

    """

    quantity: Decimal
    cap: Cap
    reason: Reason
    risk_amount: Decimal
    detail: str


def exact(x: float) -> Decimal:
    """Return the decimal number a person wrote: ``exact(0.1)`` is ``Decimal("0.1")``."""
    return Decimal(repr(float(x)))


def to_grid(x: Decimal, step: Decimal, rounding: str) -> Decimal:
    """
    Return `x` on the multiples of `step`, with the decimal places of `step`.

    Parameters
    ----------
    x : Decimal
        Any finite number.
    step : Decimal
        Positive, e.g. a tick of 0.0001.
    rounding : str
        A rounding mode of the decimal module.

    """
    return ((x / step).quantize(_ONE, rounding=rounding) * step).quantize(step)


def margin_ratio(method: MarginRatio, balance: Decimal, start_balance: Decimal) -> Decimal:
    """Return the share of the per-symbol balance that :class:`MarginRatio` puts up as margin."""
    high, low = exact(method.max_ratio), exact(method.min_ratio)
    return min(max(high - (balance - start_balance) * exact(method.step_per_usdt), low), high)


def size_position(method: Sizing, wish: Wish, grid: Grid, headroom: Headroom) -> Sized:
    """
    Return the quantity granted to `wish`, or the reason why none is.

    Parameters
    ----------
    method : RiskFraction or MarginRatio
        How the quantity is wished.
    wish : Wish
        Prices and account figures.
    grid : Grid
        The venue's filters.
    headroom : Headroom
        What the limits still allow.

    Returns
    -------
    Sized
        `quantity` never exceeds a cap or the venue's maximum and is never below the venue's minimum unless it is 0.

    """
    distance = abs(wish.reference - wish.stop)
    if min(wish.reference, wish.last_price) <= 0 or distance == 0:
        return _refused(Reason.BAD_LEVELS, Cap.NONE, f"no distance between {wish.reference} and stop {wish.stop}")
    rounding = ROUND_DOWN
    if isinstance(method, RiskFraction):
        equity = wish.equity.quantize(_CENT, rounding=ROUND_HALF_EVEN)
        if equity <= 0:
            return _refused(Reason.NO_EQUITY, Cap.NONE, f"equity is {equity} USDT")
        wanted = equity * exact(method.risk_fraction) / distance
    else:
        balance = wish.balance.quantize(_BALANCE_GRID, rounding=ROUND_HALF_EVEN)
        if balance <= 0:
            return _refused(Reason.NO_EQUITY, Cap.NONE, f"balance is {balance} USDT")
        ratio = margin_ratio(method, balance, wish.start_balance)
        wanted = balance / wish.symbols * ratio * exact(method.leverage) / wish.last_price
        rounding = ROUND_HALF_EVEN

    wanted_on_grid = to_grid(wanted, grid.quantity_step, rounding)
    quantity, cap = _capped(wanted_on_grid, wish.reference, grid, headroom)
    notional = quantity * wish.reference
    if quantity <= 0 or quantity < grid.min_quantity or notional < grid.min_notional:
        reason = _REASON_OF_CAP.get(cap, Reason.BELOW_MINIMUM)
        return _refused(
            reason,
            cap,
            f"{quantity} ({notional:.2f} USDT, bound by {cap.value}) is below the venue's minimum of "
            f"{grid.min_quantity} or {grid.min_notional} USDT",
        )
    detail = f"{quantity} of {wanted_on_grid} wanted" + ("" if cap is Cap.NONE else f", bound by {cap.value}")
    return Sized(quantity=quantity, cap=cap, reason=Reason.PASSED, risk_amount=quantity * distance, detail=detail)


def _capped(quantity: Decimal, price: Decimal, grid: Grid, headroom: Headroom) -> tuple[Decimal, Cap]:
    cap = Cap.NONE
    notional_caps = (
        (headroom.order_notional, Cap.ORDER_NOTIONAL),
        (headroom.total_notional, Cap.TOTAL_NOTIONAL),
        (headroom.leverage, Cap.LEVERAGE),
        (headroom.margin, Cap.MARGIN),
    )
    for allowed, name in notional_caps:
        if allowed is not None and quantity * price > allowed:
            quantity, cap = to_grid(max(allowed, Decimal(0)) / price, grid.quantity_step, ROUND_DOWN), name
    if grid.max_quantity is not None and quantity > grid.max_quantity:
        quantity, cap = to_grid(grid.max_quantity, grid.quantity_step, ROUND_DOWN), Cap.VENUE_MAXIMUM
    return quantity, cap


def _refused(reason: Reason, cap: Cap, detail: str) -> Sized:
    return Sized(quantity=Decimal(0), cap=cap, reason=reason, risk_amount=Decimal(0), detail=detail)
