"""Strategies that know the future, for the examinations to find."""

from pathlib import Path

import numpy as np

from catalog.instruments import interval_ns
from catalog.reader import load_bars
from strategies.composite import Composite
from strategies.messages import Side


class Peeking(Composite):
    """Reads the close of the bar to come from a catalog and wishes accordingly, every so many bars."""

    CATALOG: Path | None = None
    EVERY = 16
    AHEAD = 1

    def on_start(self):
        bars = load_bars(self.CATALOG, self._symbol, "15m")
        self._closes = dict(zip((bars.open_time + interval_ns("15m")).tolist(), bars.close.tolist(), strict=True))
        super().on_start()

    def evaluate(self, row, funding):
        super().evaluate(row, funding)
        step = interval_ns("15m")
        later = self._closes.get(row.close_ns + self.AHEAD * step)
        if later is None or (row.close_ns // step) % self.EVERY or not self._atr > 0:
            return None
        side = Side.LONG if later > row.close else Side.SHORT
        return self._wish(row, side)

    def _wish(self, row, side):
        from strategies.base import Wish
        from strategies.kernel.columns import EXTRAS, FEATURE_SCHEMA, FEATURES

        return Wish(
            side=side, strength=1.0, reference_price=row.close, stop_price=row.close - side.sign * 1.5 * self._atr,
            target_price=row.close + side.sign * 3.0 * self._atr, atr=self._atr,
            features=np.zeros(len(FEATURES) + len(EXTRAS)), schema=FEATURE_SCHEMA,
        )  # fmt: skip
