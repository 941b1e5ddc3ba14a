"""Parameter sets scored by the compiled simulation of :mod:`research.sweep`, which makes BacktestNode's trades."""

import math
from collections.abc import Sequence

import msgspec

from node.config import NodeConfig
from research.sweep.market import prepare
from research.sweep.simulate import simulate_many
from research.walkforward.selection import Score
from strategies.kernel.params import CompositeParams


def sweep_scores(
    base: NodeConfig, symbol: str, window: tuple[int, int], sets: Sequence[CompositeParams]
) -> list[Score]:
    """
    Return the scores of sets over ``[start, end)``; only trades closed by the window's end count.

    Raises
    ------
    ConfigError, DataError
        Propagate: the configuration uses what the simulation does not cover; data missing.

    """
    config = msgspec.structs.replace(base, symbols=(symbol,))
    grid = simulate_many(prepare(config, symbol, *window), list(sets), [window])

    def value(name: str, row: int) -> float | None:
        found = float(grid.figures[name][row, 0])
        return found if math.isfinite(found) else None

    return [
        Score(
            trades=int(grid.figures["trades"][row, 0]),
            net_pnl=float(grid.figures["net"][row, 0]),
            profit_factor=value("profit_factor", row),
            net_r=value("expectancy_r", row),
            sharpe=value("sharpe", row),
        )
        for row in range(len(sets))
    ]
