"""
The parameter file of the composite strategy: ``params`` for all symbols, ``per_symbol`` overrides of single keys.

::

    params: {signal_threshold: 3, stop_atr: 1.5}
    per_symbol:
      XRPUSDT: {stop_atr: 2.0}

A file with the parameter keys at top level means the same as one with these keys under ``params``.
"""

from pathlib import Path
from typing import Any

import msgspec

from strategies.errors import ConfigError
from strategies.kernel.params import CompositeParams
from strategies.yaml_config import FrozenConfig, convert, read_yaml


class ParamsFile(FrozenConfig, frozen=True):
    """
    A parameter file, with its overrides already laid over ``params``.

    Attributes
    ----------
    params : CompositeParams
        What holds for every symbol without an entry of its own.
    per_symbol : dict[str, CompositeParams]
        The complete parameters of the symbols that override something.

    """

    params: CompositeParams
    per_symbol: dict[str, CompositeParams]

    def for_symbol(self, symbol: str) -> CompositeParams:
        """Return the parameters of `symbol`."""
        return self.per_symbol.get(symbol, self.params)


class _Raw(FrozenConfig, frozen=True):
    params: dict[str, Any] | None = None
    per_symbol: dict[str, dict[str, Any] | None] | None = None


def load_params_file(path: Path) -> ParamsFile:
    """
    Read a parameter file; every override is checked, not only that of the symbol asked for.

    Raises
    ------
    ConfigError
        Fatal: missing file, unknown key, wrong type or value out of range; names file, key and, if near, the right key.

    """
    data = read_yaml(path)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of parameters, found {type(data).__name__}")
    if not data.keys() & {"params", "per_symbol"}:
        return ParamsFile(params=convert(data, CompositeParams, str(path)), per_symbol={})
    raw = convert(data, _Raw, str(path))
    base = raw.params or {}
    return ParamsFile(
        params=convert(base, CompositeParams, f"{path}: params"),
        per_symbol={
            symbol: convert({**base, **(override or {})}, CompositeParams, f"{path}: per_symbol.{symbol}")
            for symbol, override in (raw.per_symbol or {}).items()
        },
    )


def load_params(path: Path, symbol: str) -> CompositeParams:
    """Return the parameters :func:`load_params_file` gives for `symbol`; raises as it does."""
    return load_params_file(path).for_symbol(symbol)


def params_dict(params: CompositeParams) -> dict[str, float]:
    """Return the parameters as plain data, for storing beside a result."""
    return dict(msgspec.structs.asdict(params))
