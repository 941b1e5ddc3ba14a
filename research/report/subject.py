"""What a page is about: one or more runs, whatever made them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from catalog.instruments import interval_ns
from catalog.reader import BarArrays, load_bars
from node.statistics import Statistics
from research.walkforward.outcome import GateFigures
from research.walkforward.trial import Judged, Trade
from strategies.errors import ArgonautError

type Terciles = dict[str, dict[int, int]]
CHART_POINTS = 3_000


class Prices(msgspec.Struct, frozen=True):
    """Prices for a chart: times UTC ns and, per time, low, high and last close of the bars since the time before."""

    time: list[int]
    low: list[float]
    high: list[float]
    close: list[float]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """
    One run of one account.

    Attributes
    ----------
    title : str
        What a person calls it.
    intervals : dict of str to (float, float) or None
        95 % intervals of ``profit_factor, expectancy, sharpe, max_drawdown``.
    tested_share : float or None
        Share of the history at hand that was tested; None where the run does not know its history.
    tried, tuned : int
        Parameter sets tried in all folds together, and parameters varied.
    folds : list of dict
        Rows of the fold table.
    prices, regimes : dict
        Per symbol; empty where the catalog is not at hand. Regimes as :func:`research.doubt.regimes.terciles`.
    synthetic : bool or None
        None: the origin of the data is not recorded.
    recorded : bool
        The run stands in the trial ledger.

    """

    title: str
    symbols: list[str]
    start: str
    end: str
    start_balance: float
    statistics: Statistics
    intervals: dict[str, tuple[float, float] | None]
    equity: list[tuple[int, float, float]]
    funding: list[tuple[int, str, float]]
    trades: list[Trade]
    judged: list[Judged]
    gate_figures: GateFigures | None
    verdicts: dict[str, int]
    incidents: dict[str, int]
    prices: dict[str, Prices]
    regimes: dict[str, Terciles]
    daily_returns: list[float]
    synthetic: bool | None
    data_source: str
    recorded: bool = True
    tested_share: float | None = None
    tried: int = 1
    tuned: int = 0
    ended: str = "complete"
    folds: list[dict[str, Any]] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)


class Section(msgspec.Struct, frozen=True):
    """A table of its own on a page: title, a sentence below it, rows with the same keys."""

    title: str
    note: str
    rows: list[dict[str, Any]]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """
    A whole page.

    Attributes
    ----------
    config : dict
        The full configuration.
    hashes : dict of str to str
        Of configuration, data, code, versions.
    compared : list of dict
        Rows of the table "the ancestor and ours"; may be empty.
    paths : list of dict
        Rows of the table of cross-validated paths; may be empty.
    sections : list of Section
        Further tables before the runs: what was tried, and the doubt on choosing from it.

    """

    title: str
    subtitle: str
    runs: list[Run]
    config: dict[str, Any]
    hashes: dict[str, str]
    compared: list[dict[str, Any]] = msgspec.field(default_factory=list)
    paths: list[dict[str, Any]] = msgspec.field(default_factory=list)
    compared_notes: list[str] = msgspec.field(default_factory=list)
    sections: list[Section] = msgspec.field(default_factory=list)
    effort: tuple[float, float] | None = None
    seed: int = 7


def market(
    catalog: Path, symbols: list[str], interval: str, span: tuple[int, int]
) -> tuple[dict[str, Prices], dict[str, Terciles]]:
    """Return prices and regimes; empty where the catalog is not at hand (degraded: no price line, no regimes)."""
    from research.doubt.regimes import daily_closes, terciles  # noqa: PLC0415 - slow import

    prices, regimes = {}, {}
    for symbol in symbols:
        try:
            bars = load_bars(catalog, symbol, interval, None, span[1])
        except (ArgonautError, OSError):
            return {}, {}
        prices[symbol] = thinned(bars, span, interval_ns(interval))
        regimes[symbol] = terciles(*daily_closes(bars.open_time + interval_ns(interval), bars.close))
    return prices, regimes


def thinned(bars: BarArrays, span: tuple[int, int], step: int) -> Prices:
    """Return at most :data:`CHART_POINTS` groups of consecutive bars; extremes are kept."""
    inside = np.flatnonzero((bars.open_time >= span[0]) & (bars.open_time < span[1]))
    if not len(inside):
        return Prices([], [], [], [])
    first = inside[:: -(-len(inside) // CHART_POINTS)]
    last = np.append(first[1:], inside[-1] + 1) - 1
    return Prices(
        time=(bars.open_time[last] + step).tolist(),
        low=np.minimum.reduceat(bars.low[: inside[-1] + 1], first).tolist(),
        high=np.maximum.reduceat(bars.high[: inside[-1] + 1], first).tolist(),
        close=bars.close[last].tolist(),
    )
