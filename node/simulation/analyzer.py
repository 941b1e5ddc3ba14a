"""
The engine's trade recording without its quadratic cost.

Nautilus 1.231.0 keeps the realised result of every closed position in two pandas series per currency and appends to
them by `pandas.concat`, which copies everything recorded so far: a backtest of n trades copies n²/2 rows
(`knowledge/engine-v1-v2.md` §2). It does so even where nobody asks for the analysis. Here the results go to a list, and
the series are made from it when somebody reads them: the same values, index and types, for a cost that is linear.

Fills, balances and statistics are untouched; ``tests/node/test_engine_cure.py`` holds every figure of both against each
other. The cure knows the code it replaces by version and by the attributes it stands on, and refuses any other.
"""

from typing import Any

import nautilus_trader
import pandas as pd
from nautilus_trader.analysis.analyzer import PortfolioAnalyzer
from nautilus_trader.model.identifiers import PositionId
from nautilus_trader.model.objects import Currency, Money

from strategies.errors import RuntimeVersionError
from strategies.startup import NAUTILUS_VERSION

type _Record = tuple[str, float, int | None]


class LinearAnalyzer(PortfolioAnalyzer):
    """A PortfolioAnalyzer that appends to a list and makes series on demand. Made by :func:`cure`, never by itself."""

    _buffer: dict[Currency, list[_Record]]
    _series: dict[Currency, tuple[int, pd.Series, pd.Series]]

    def record_trade(self, position_id: PositionId, realized_pnl: Money, ts_event: int | None = None) -> None:
        """Record a realised result; see the base class."""
        time = None if ts_event is None else int(ts_event)
        records = self._buffer.setdefault(realized_pnl.currency, [])
        records.append((position_id.value, realized_pnl.as_double(), time))

    def reset(self) -> None:
        """Forget the run."""
        super().reset()
        self._buffer = {}
        self._series = {}

    @property
    def _recorded_realized_pnls(self) -> dict[Currency, pd.Series]:
        return {currency: self._made(currency)[1] for currency in self._buffer}

    @_recorded_realized_pnls.setter
    def _recorded_realized_pnls(self, value: dict[Currency, pd.Series]) -> None:
        """The base class empties it in ``reset``; :meth:`reset` empties what stands behind it."""

    @property
    def _recorded_realized_pnl_timestamps(self) -> dict[Currency, pd.Series]:
        return {currency: self._made(currency)[2] for currency in self._buffer}

    @_recorded_realized_pnl_timestamps.setter
    def _recorded_realized_pnl_timestamps(self, value: dict[Currency, pd.Series]) -> None:
        """As above."""

    def _made(self, currency: Currency) -> tuple[int, pd.Series, pd.Series]:
        records = self._buffer[currency]
        made = self._series.get(currency)
        if made is None or made[0] != len(records):
            names = [r[0] for r in records]
            pnls = pd.Series([r[1] for r in records], index=names, dtype="float64")
            times = pd.Series([r[2] for r in records], index=names, dtype=object)
            made = self._series[currency] = (len(records), pnls, times)
        return made


def cure(analyzer: Any, version: str = nautilus_trader.__version__) -> None:
    """
    Make the recording of `analyzer` linear, in place; once cured, nothing happens.

    Parameters
    ----------
    analyzer : PortfolioAnalyzer
        That of an engine that has not run yet (``engine.kernel.portfolio.analyzer``).
    version : str
        Of the engine.

    Raises
    ------
    RuntimeVersionError
        Fatal: another version of Nautilus, or an analyzer that is not the one known or has recorded already.

    """
    if isinstance(analyzer, LinearAnalyzer):
        return
    if version != NAUTILUS_VERSION:
        raise RuntimeVersionError(
            f"nautilus_trader {version} found, the cure of its trade recording knows {NAUTILUS_VERSION} only: "
            "run `make setup`"
        )
    own = vars(analyzer)
    names = ("_recorded_realized_pnls", "_recorded_realized_pnl_timestamps")
    if type(analyzer) is not PortfolioAnalyzer or any(own.get(name) != {} for name in names):
        raise RuntimeVersionError("the engine's analyzer is not the one known, or has recorded trades already")
    for name in names:
        del own[name]
    own |= {"_buffer": {}, "_series": {}}
    analyzer.__class__ = LinearAnalyzer
