"""An instrument with its figures as ``Decimal``, and how the exchange prints its prices and quantities."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from catalog.instruments import InstrumentSpec, to_exchange_info
from node.venue.config import ExecutionConfig


@dataclass(frozen=True, slots=True)
class Bracket:
    """One step of the maintenance-margin table; amounts in USDT, rates as fractions."""

    floor: Decimal
    cap: Decimal
    rate: Decimal
    amount: Decimal
    max_leverage: int


@dataclass(frozen=True, slots=True)
class Instrument:
    """Figures of one contract. Prices USDT, quantities base currency, fees and rates fractions."""

    symbol: str
    tick: Decimal
    step: Decimal
    market_step: Decimal
    min_price: Decimal
    max_price: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    market_min_quantity: Decimal
    market_max_quantity: Decimal
    min_notional: Decimal
    percent_up: Decimal
    percent_down: Decimal
    maker_fee: Decimal
    taker_fee: Decimal
    liquidation_fee: Decimal
    max_open_orders: int
    price_digits: int
    quantity_digits: int
    venue_price_digits: int
    venue_quantity_digits: int
    brackets: tuple[Bracket, ...]
    info: dict[str, Any]

    def price_text(self, price: Decimal) -> str:
        """Return `price` with the digits of the tick."""
        return f"{price:.{self.price_digits}f}"

    def quantity_text(self, quantity: Decimal) -> str:
        """Return `quantity` with the digits of the step."""
        return f"{quantity:.{self.quantity_digits}f}"

    def bracket(self, notional: Decimal) -> Bracket:
        """Return the step of the margin table for an absolute notional; the last one beyond its cap."""
        return next((b for b in self.brackets if notional <= b.cap), self.brackets[-1])

    def maintenance(self, notional: Decimal) -> Decimal:
        """Return the maintenance margin of an absolute notional, USDT."""
        step = self.bracket(notional)
        return max(notional * step.rate - step.amount, Decimal(0))

    def max_notional(self, leverage: int) -> Decimal:
        """Return the largest position notional allowed at `leverage`, USDT; 0 if the leverage itself is not."""
        return max((b.cap for b in self.brackets if b.max_leverage >= leverage), default=Decimal(0))


_PERMISSIONS = ("GRID", "COPY", "DCA", "PSB")
_DEFAULT_BRACKET = Bracket(Decimal(0), Decimal(1_000_000_000), Decimal("0.004"), Decimal(0), 125)


def instrument_of(spec: InstrumentSpec, execution: ExecutionConfig) -> Instrument:
    """Return `spec` as the engine needs it, with the fees of `execution` where it sets them."""
    brackets = []
    floor = Decimal(0)
    for row in spec.brackets:
        cap = Decimal(row.cap)
        brackets.append(
            Bracket(floor, cap, Decimal(row.maintenance_rate), Decimal(row.maintenance_amount), row.max_leverage),
        )
        floor = cap
    info = to_exchange_info(spec) | {"permissionSets": list(_PERMISSIONS)}
    step = Decimal(spec.quantity_step)
    minimum = Decimal(spec.min_quantity)
    return Instrument(
        symbol=spec.symbol,
        tick=Decimal(spec.price_tick),
        step=step,
        market_step=Decimal(spec.market_quantity_step) if spec.market_quantity_step else step,
        min_price=Decimal(spec.min_price),
        max_price=Decimal(spec.max_price),
        min_quantity=minimum,
        max_quantity=Decimal(spec.max_quantity),
        market_min_quantity=Decimal(spec.market_min_quantity) if spec.market_min_quantity else minimum,
        market_max_quantity=Decimal(spec.market_max_quantity),
        min_notional=Decimal(spec.min_notional),
        percent_up=Decimal(spec.percent_price_up),
        percent_down=Decimal(spec.percent_price_down),
        maker_fee=Decimal(spec.maker_fee) if execution.maker_fee is None else execution.maker_fee,
        taker_fee=Decimal(spec.taker_fee) if execution.taker_fee is None else execution.taker_fee,
        liquidation_fee=Decimal(spec.liquidation_fee),
        max_open_orders=spec.max_open_orders,
        price_digits=spec.price_precision,
        quantity_digits=spec.quantity_precision,
        venue_price_digits=info["pricePrecision"],
        venue_quantity_digits=info["quantityPrecision"],
        brackets=tuple(brackets) or (_DEFAULT_BRACKET,),
        info=info,
    )
