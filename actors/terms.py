"""What limits and venue allow, as decimals worked out once: a decision must not wait for it."""

from decimal import Decimal
from typing import Any, NamedTuple, Self

from actors.risk_state import RiskLimits
from strategies.sizing import Grid, Headroom, exact


class Caps(NamedTuple):
    """The limits that shrink a size; None: not configured. Notionals in USDT, leverages in multiples of equity."""

    order_notional: Decimal | None
    total_notional: Decimal | None
    leverage: Decimal | None
    account_leverage: Decimal | None

    @classmethod
    def of(cls, limits: RiskLimits) -> Self:
        """Return those of a configuration."""
        given = (limits.max_order_notional, limits.max_total_notional, limits.max_leverage, limits.account_leverage)
        return cls(*[None if x is None else exact(x) for x in given])

    def headroom(self, used: Decimal, equity: Decimal) -> Headroom:
        """Return what is left with `used` USDT of exposure on `equity` USDT."""
        return Headroom(
            order_notional=self.order_notional,
            total_notional=None if self.total_notional is None else self.total_notional - used,
            leverage=None if self.leverage is None else self.leverage * equity - used,
            margin=None if self.account_leverage is None else self.account_leverage * equity - used,
        )


class Grids:
    """
    The venue's filters for market orders, by symbol.

    Parameters
    ----------
    market_max_quantity : dict of venue symbol to decimal string
        Largest market order, where it differs from the instrument's maximum.

    """

    def __init__(self, market_max_quantity: dict[str, str]) -> None:
        self._market_max_quantity = market_max_quantity
        self._known: dict[str, tuple[Any, Grid]] = {}

    def of(self, symbol: str, instrument: Any) -> Grid:
        """Return those of `instrument`; worked out anew when the provider has brought another."""
        known = self._known.get(symbol)
        if known is not None and known[0] is instrument:
            return known[1]
        maxima = [
            Decimal(q) if isinstance(q, str) else q.as_decimal()
            for q in (self._market_max_quantity.get(symbol), instrument.max_quantity)
            if q is not None
        ]
        minimum, notional = instrument.min_quantity, instrument.min_notional
        grid = Grid(
            quantity_step=instrument.size_increment.as_decimal(),
            min_quantity=Decimal(0) if minimum is None else minimum.as_decimal(),
            max_quantity=min(maxima, default=None),
            min_notional=Decimal(0) if notional is None else notional.as_decimal(),
        )
        self._known[symbol] = (instrument, grid)
        return grid
