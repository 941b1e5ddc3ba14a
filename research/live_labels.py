"""Labels as the node trades: costs, levels and time stop of a node configuration."""

from pathlib import Path

import msgspec

from node.config import NodeConfig, load_config
from node.trade_costs import costs_of
from research.labels import LabelConfig
from research.train_config import TrainConfig
from strategies.errors import ConfigError
from strategies.params_file import ParamsFile, load_params_file


def labels_of(config: TrainConfig, params: ParamsFile) -> dict[str, LabelConfig]:
    """
    Return how the signals of each symbol are labelled.

    Raises
    ------
    ConfigError
        Fatal: the node trades other stops than `params`, or protects in a way no label follows.

    """
    if not config.node:
        return dict.fromkeys(config.symbols, config.label)
    node = load_config(Path(config.node))
    traded = load_params_file(Path(node.strategy.file))
    for symbol in config.symbols:
        ours, theirs = params.for_symbol(symbol), traded.for_symbol(symbol)
        if (ours.stop_atr, ours.target_atr) != (theirs.stop_atr, theirs.target_atr):
            raise ConfigError(
                f"{config.node}: {symbol} trades stop {theirs.stop_atr:g} and target {theirs.target_atr:g} ATR, "
                f"{config.strategy} says {ours.stop_atr:g} and {ours.target_atr:g}: name the same strategy file"
            )
    return {symbol: label_of(node, symbol, config.label) for symbol in config.symbols}


def label_of(node: NodeConfig, symbol: str, base: LabelConfig) -> LabelConfig:
    """
    Return `base` with the costs and the time stop of a node.

    Where the node has a time stop, what a signal pays there is its result: `no_hit` becomes ``sign``.

    Raises
    ------
    ConfigError
        Fatal: a trailing stop or break-even, which no label follows; or a symbol without figures.

    """
    protection, costs = node.strategy.protection, costs_of(node, symbol)
    changes: dict[str, object] = {
        "slippage": costs.slippage,
        "trigger_slippage": costs.trigger_slippage,
        "assumed_slippage": node.strategy.assumed_slippage,
        "fee": costs.fee,
        "funding": costs.funding,
    }
    if protection.time_stop_bars is not None:
        changes |= {"horizon_bars": protection.time_stop_bars, "no_hit": "sign"}
    return msgspec.structs.replace(base, **changes)
