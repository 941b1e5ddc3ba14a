"""What a round trip of a node costs, for whoever judges signals that were not traded: labels and what is followed."""

from catalog.instruments import load_instruments
from node.config import NodeConfig
from strategies.barriers import Costs
from strategies.errors import ConfigError


def costs_of(node: NodeConfig, symbol: str) -> Costs:
    """
    Return fees and slippage as the node's backtests charge them, on the symbol's price grid.

    Raises
    ------
    ConfigError
        Fatal: a trailing stop or break-even, whose course no fixed levels follow; or a symbol without figures.

    """
    protection, costs = node.strategy.protection, node.backtest
    for name in ("trailing", "break_even"):
        if getattr(protection, name) is not None:
            text = "outcomes follow fixed stops only: leave it out, or gate.mode: off and no counterfactual"
            raise ConfigError(f"strategy.protection.{name}: {text}")
    specs = load_instruments()
    if symbol not in specs:
        raise ConfigError(f"config/instruments.yaml: {symbol}: no figures for this symbol: add them")
    return Costs(
        fee=float(specs[symbol].taker_fee if costs.fees is None else costs.fees.taker),
        slippage=costs.slippage_bps / 10_000,
        trigger_slippage=costs.trigger_slippage_bps / 10_000,
        tick=float(specs[symbol].price_tick),
        funding=costs.funding,
    )
