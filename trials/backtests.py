"""One run of the engine as a line of the ledger, by whoever it was asked for: a person, the service, a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trials.effort import summarise
from trials.entries import Entry
from trials.ledger import record


def bare(config: Any) -> dict[str, Any]:
    """Return a node configuration as plain data, without the places its files lie at: those are no part of a trial."""
    plain: dict[str, Any] = dict(msgspec.to_builtins(config))
    strategy = {k: v for k, v in plain.get("strategy", {}).items() if k != "file"}
    return {k: v for k, v in plain.items() if k not in ("catalog", "journal", "strategy")} | {"strategy": strategy}


def record_backtest(
    *,
    config: Any,
    strategy_params: Mapping[str, Any],
    data_hash: str,
    sharpe: float | None,
    command: Sequence[str],
    result: str | Path | None = None,
    ledger: Path | None = None,
) -> Entry:
    """
    Append one backtest; the same configuration, parameters, data and code repeated counts once in any deflation.

    Parameters
    ----------
    config : NodeConfig or dict
        The full node configuration.
    strategy_params : mapping
        Parameters per symbol.
    data_hash, sharpe : str, float or None
        Of the result.
    command, result, ledger
        See :func:`trials.ledger.record`.

    Raises
    ------
    DataError
        Propagate: see :func:`trials.ledger.record`.

    """
    plain = bare(config)
    return record(
        "backtest",
        command=command,
        symbols=plain["symbols"],
        interval=plain["interval"],
        config=[plain, msgspec.to_builtins(dict(strategy_params))],
        data_hash=data_hash,
        trials=1,
        sharpe=summarise([sharpe]),
        result=result,
        ledger=ledger,
        catalog=_catalog(config),
    )


def _catalog(config: Any) -> Path | None:
    place = dict(msgspec.to_builtins(config)).get("catalog")
    return Path(place) if place else None
