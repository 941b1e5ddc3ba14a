"""The one list of strategies a configuration may name, by import path so that naming one imports nothing."""

from typing import NamedTuple

from strategies.errors import ConfigError


class StrategyEntry(NamedTuple):
    """Where a strategy and its configuration live, and the three characters that open its client order ids."""

    strategy_path: str
    config_path: str
    code: str


STRATEGIES = {
    "composite": StrategyEntry("strategies.composite:Composite", "strategies.composite:CompositeConfig", "CMP"),
}


def lookup(name: str) -> StrategyEntry:
    """
    Return the entry of `name`.

    Raises
    ------
    ConfigError
        Fatal: no strategy of that name; the message lists those there are.

    """
    try:
        return STRATEGIES[name]
    except KeyError:
        raise ConfigError(f"strategy.name: {name!r} is unknown (known: {', '.join(sorted(STRATEGIES))})") from None
