"""
The composite strategy: a weighted vote of RSI, MACD, Bollinger, EMA and StochRSI behind an ADX gate and a volume surge.

All arithmetic is in ``strategies.kernel``; this shell turns its rows into wishes. Rules and production parameters come
from the ancestor (`knowledge/cointrader-facts.md` §1-3).
"""

import numpy as np
from nautilus_trader.model.enums import PositionSide
from nautilus_trader.model.position import Position

from strategies.bar_sync import BarRow
from strategies.base import SignalStrategy, SignalStrategyConfig, Wish
from strategies.kernel.columns import COLUMNS, EXTRAS, FEATURE_SCHEMA, FEATURES
from strategies.kernel.composite import CompositeKernel
from strategies.kernel.params import CompositeParams
from strategies.messages import Side
from strategies.protection import Plan

_AT = {name: i for i, name in enumerate(COLUMNS)}
_SIGNAL, _LONG, _SHORT, _ATR = (_AT[name] for name in ("signal", "score_long", "score_short", "atr"))
_FEATURES = np.array([_AT[name] for name in (*FEATURES, *EXTRAS)])
_NAN = float("nan")
_NO_OPEN_INTEREST = _NAN


class CompositeConfig(SignalStrategyConfig, frozen=True, kw_only=True):
    """
    Configuration of :class:`Composite`.

    Attributes
    ----------
    params : CompositeParams
        Thresholds of the vote and the distances of stop and target.
    assumed_slippage : float
        Fraction by which an entry is expected to fill worse than the signal bar's close; levels start from there.

    """

    params: CompositeParams = CompositeParams()
    assumed_slippage: float = 0.0


class Composite(SignalStrategy):
    """
    One instrument under the composite vote.

    Parameters
    ----------
    config : CompositeConfig
        The strategy's configuration.

    """

    def __init__(self, config: CompositeConfig) -> None:
        super().__init__(config)
        self._kernel = CompositeKernel(config.params)

    def on_start(self) -> None:
        """Compile the kernel before the first bar needs it."""
        from strategies.kernel.composite import warm_up  # noqa: PLC0415 - compiles on import-free demand

        warm_up()
        super().on_start()

    def on_reset(self) -> None:
        """Start over."""
        super().on_reset()
        self._kernel.reset()

    def evaluate(self, row: BarRow, funding: float) -> Wish | None:
        """Feed the kernel one row; a vote that stands becomes a wish with levels in ATR multiples."""
        btc, eth = row.context or (_NAN, _NAN)
        out = self._kernel.advance(
            row.open, row.high, row.low, row.close, row.volume, btc, eth, funding, _NO_OPEN_INTEREST
        )
        vote = out[_SIGNAL]
        if vote == 0 or not (atr := self._atr) > 0:
            return None
        out = self._kernel.complete()
        side = Side.LONG if vote > 0 else Side.SHORT
        params = self.config.params
        reference = row.close * (1.0 + side.sign * self.config.assumed_slippage)
        return Wish(
            side=side,
            strength=float(out[_LONG if vote > 0 else _SHORT]),
            reference_price=reference,
            stop_price=reference - side.sign * params.stop_atr * atr,
            target_price=reference + side.sign * params.target_atr * atr,
            atr=atr,
            features=out[_FEATURES],
            schema=FEATURE_SCHEMA,
        )

    @property
    def _atr(self) -> float:
        """ATR of the newest bar, NaN before the first."""
        return float(self._kernel.row[_ATR])

    def emergency_levels(self, position: Position) -> Plan | None:
        """Measure stop and target from the position's average price with the newest ATR."""
        if self._last is None:
            return None
        atr = self._atr
        if not atr > 0:
            return None
        sign = 1 if position.side == PositionSide.LONG else -1
        instrument = self.cache.instrument(position.instrument_id)
        params = self.config.params
        return Plan(
            self._last.close_ns,
            instrument.make_price(position.avg_px_open - sign * params.stop_atr * atr),
            instrument.make_price(position.avg_px_open + sign * params.target_atr * atr),
        )
