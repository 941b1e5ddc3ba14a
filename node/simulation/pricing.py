"""The slippage of market orders, the same in the simulated venue and in the backtest."""

from decimal import ROUND_HALF_EVEN, Decimal

_BASIS_POINTS = Decimal(10_000)


def slipped_price(price: Decimal, is_buy: bool, bps: Decimal, tick: Decimal) -> Decimal:
    """
    Return `price` moved against the taker by `bps` basis points, rounded half-even to the tick.

    Parameters
    ----------
    price : Decimal
        Price the order would fill at without slippage, quote currency.
    is_buy : bool
        True for a buyer (pays more), False for a seller (gets less).
    bps : Decimal
        Basis points of `price`, not negative; 1 is 0.01 %.
    tick : Decimal
        Price increment; the result is a multiple of it.

    Returns
    -------
    Decimal
        Never below one tick. With `bps` of 0 and `price` on the tick grid, `price` itself.

    Raises
    ------
    ValueError
        Propagate: negative `bps` or a `tick` that is not positive.

    """
    if bps < 0 or tick <= 0:
        raise ValueError(f"bps must not be negative and tick must be positive, were {bps} and {tick}")
    moved = price * (_BASIS_POINTS + bps if is_buy else _BASIS_POINTS - bps) / _BASIS_POINTS
    ticks = (moved / tick).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
    return max(ticks, Decimal(1)) * tick
