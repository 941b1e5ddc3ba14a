"""Prices on their way: the points of a bar, where a level is met, and trailing stops that follow."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from node.venue.books import AlgoOrder

_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class BarPath:
    """One bar as the engine walks it. Prices USDT, volume base currency, `close_ms` UTC ms of the exact close."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    close_ms: int

    def points(self) -> tuple[Decimal, Decimal, Decimal]:
        """Return the prices after the open, in the order they are visited."""
        high_first = abs(self.high - self.open) < abs(self.low - self.open)
        return (self.high, self.low, self.close) if high_first else (self.low, self.high, self.close)


def level_on_way(price: Decimal, last: Decimal, target: Decimal, *, on_rise: bool) -> Decimal | None:
    """
    Return where on the way from `last` to `target` the market is at or beyond `price`; None if nowhere.

    `on_rise` tells on which side "beyond" lies: a buy stop waits for a rise, a sell stop for a fall.
    """
    if last >= price if on_rise else last <= price:
        return last
    if target >= price if on_rise else target <= price:
        return price
    return None


def trigger_level(algo: AlgoOrder, tick: Decimal) -> Decimal | None:
    """Return the price that triggers `algo` now; None for a trailing stop that is not active yet."""
    if algo.callback_rate is None:
        return algo.trigger_price
    if not algo.activated or algo.extreme is None:
        return None
    raw = algo.extreme * (_HUNDRED + algo.callback_rate if algo.is_buy else _HUNDRED - algo.callback_rate) / _HUNDRED
    return (raw / tick).quantize(Decimal(1), ROUND_HALF_EVEN) * tick


def trail(algo: AlgoOrder, price: Decimal, tick: Decimal) -> None:
    """Activate a trailing stop when its activation price is reached and let its trigger follow the price."""
    if algo.callback_rate is None:
        return
    if not algo.activated:
        wanted = algo.activation_price
        algo.activated = wanted is None or (price <= wanted if algo.is_buy else price >= wanted)
    if algo.activated:
        best = price if algo.extreme is None else algo.extreme
        algo.extreme = min(best, price) if algo.is_buy else max(best, price)
        algo.trigger_price = trigger_level(algo, tick) or algo.trigger_price
