"""What a strategy wishes on a bar, before anybody has allowed it."""

from typing import NamedTuple

import numpy as np

from strategies.messages import Side


class Wish(NamedTuple):
    """
    What :meth:`strategies.base.SignalStrategy.evaluate` returns: direction, strength, levels and the features it saw.

    Prices in quote currency; `strength` in points of the vote; `features` float64, in the order of `schema`.
    """

    side: Side
    strength: float
    reference_price: float
    stop_price: float
    target_price: float
    atr: float
    features: np.ndarray
    schema: str
