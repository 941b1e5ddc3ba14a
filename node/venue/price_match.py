"""Orders that take their price from the book (``priceMatch``) instead of naming one."""

from decimal import Decimal

from node.venue.errors import error
from node.venue.instruments import Instrument
from node.venue.params import Params

NONE = "NONE"
_LEVELS = {"": 1, "5": 5, "10": 10, "20": 20}
_MATCHES = {
    f"{side}{'_' if level else ''}{level}": (side, number)
    for side in ("OPPONENT", "QUEUE")
    for level, number in _LEVELS.items()
}


def match_of(params: Params, kind: str) -> str:
    """Return the ``priceMatch`` of an order of that type, NONE if it names its price (-5037, -5038, -1106)."""
    match = params.text("priceMatch", NONE).upper()
    if match == NONE:
        return NONE
    if match not in _MATCHES:
        raise error(-5037)
    if kind not in ("LIMIT", "STOP", "TAKE_PROFIT"):
        raise error(-5038)
    if "price" in params:
        raise error(-1106, "price")
    return match


def matched_price(instrument: Instrument, match: str, last: Decimal, *, is_buy: bool) -> Decimal:
    """
    Return the price of a level of the book around `last`, whose levels lie one tick apart.

    OPPONENT is the other side's best price, OPPONENT_5 its fifth; QUEUE is the own side's, QUEUE_5 its fifth. Bid and
    ask are one price here, at which an order would take: whoever queues stands a tick behind it, and is a maker.
    """
    side, level = _MATCHES[match]
    worse = (side == "OPPONENT") == is_buy  # buying from the offers goes up, as does selling behind other offers
    steps = (level - 1 if side == "OPPONENT" else level) * instrument.tick
    return max(last + steps if worse else last - steps, instrument.min_price)
