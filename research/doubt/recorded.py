"""
Who looked at what: a line of the trial ledger for every examination, and the line of the run that was looked at.

Such a line holds no trial: nothing was tried that could have been chosen. It names the lines of the runs it looked at,
so that a figure seen twice is traced to the one run that counts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from catalog.reader import data_hash
from node.backtest_run import resolve_window
from node.config import NodeConfig
from research.doubt.result import result_file
from research.train_config import TrainConfig, windows_of
from strategies.errors import DataError
from trials import bare, config_hash, lines_of, record_examination

NOT_RECORDED = "the run is in no line of this trial ledger: how many were tried before it is not known"


class Origin(NamedTuple):
    """What a result file says of itself: series, hashes, and the digests of its lines in the trial ledger."""

    symbols: list[str]
    interval: str
    config: Any
    data_hash: str
    digests: list[str]


def origin(path: Path) -> Origin:
    """
    Return what a backtest's, walk-forward's or sweep's result says of itself; what it leaves out is empty.

    Raises
    ------
    DataError
        Propagate: no result there.

    """
    file = result_file(path)
    try:
        plain = msgspec.json.decode(file.read_bytes())
        if "variants" in plain:
            return _walk(file, plain)
        if isinstance(plain.get("symbols"), list) and "checks" in plain:
            return _sweep(plain)
        config = plain["config"]
        digest = plain.get("trial")
        return Origin(
            list(config["symbols"]),
            str(config.get("interval", "")),
            config,
            str(plain.get("data_hash", "")),
            [digest] if digest else [],
        )
    except (OSError, msgspec.MsgspecError, KeyError, TypeError, AttributeError) as e:
        raise DataError(f"{file}: cannot be read as a result: {type(e).__name__}: {e}") from None


def _walk(file: Path, plain: dict[str, Any]) -> Origin:
    ran = file.parent / "run.json"
    digest = msgspec.json.decode(ran.read_bytes()).get("trial_digest") if ran.is_file() else None
    return Origin(
        sorted({s for v in plain["variants"] for s in v["symbols"]}),
        str(plain.get("interval", "")),
        plain.get("key", ""),
        config_hash(plain.get("data", {})),
        [digest] if digest else [],
    )


def _sweep(plain: dict[str, Any]) -> Origin:
    symbols = plain["symbols"]
    return Origin(
        [s["symbol"] for s in symbols],
        str(plain.get("node", {}).get("interval", "")),
        plain.get("config", {}),
        config_hash([s.get("data_hash", "") for s in symbols]),
        [s["ledger"] for s in symbols if s.get("ledger")],
    )


def record_look(
    command: Sequence[str],
    path: Path,
    options: Sequence[Any],
    ledger: Path | None,
    *,
    seed: int | None = None,
    found: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """
    Append the line of a look at a stored result, and return what refers to it: own line, and those of the run.

    Parameters
    ----------
    command, options
        Who looked, and how.
    path : Path
        The result, or its folder.
    ledger : Path or None
        Trial ledger.
    seed, found
        Seed of the resampling; what was concluded, if anything.

    Raises
    ------
    DataError
        Propagate: no result there; the ledger is damaged or cannot be written.

    """
    of = origin(path)
    lines = lines_of(of.digests, ledger)
    best = {"of": [e.digest for e in lines], **(found or {})}
    entry = record_examination(
        command,
        symbols=of.symbols,
        interval=of.interval,
        config=[of.config, *options],
        data_hash=of.data_hash,
        best=best,
        seed=seed,
        result=result_file(path),
        ledger=ledger,
    )
    return {"ledger": entry.digest, "run_lines": [e.sequence for e in lines]}


def record_node(
    command: Sequence[str],
    config: NodeConfig,
    ledger: Path | None,
    *,
    seed: int | None = None,
    options: Sequence[Any] = (),
) -> None:
    """
    Append the line of an examination of a node's strategy over its catalog.

    Raises
    ------
    DataError
        Propagate: the catalog lacks a series; the ledger is damaged or cannot be written.

    """
    window = resolve_window(config)
    record_examination(
        command,
        symbols=config.symbols,
        interval=config.interval,
        config=[bare(config), *options],
        data_hash=data_hash(
            Path(config.catalog), config.all_symbols, config.interval, window.data_start_ns, window.end_ns
        ),
        seed=seed,
        ledger=ledger,
    )


def record_training(
    command: Sequence[str], config: TrainConfig, catalog: Path, ledger: Path | None, *, model: Path | None
) -> None:
    """
    Append the line of an examination of a training set, and of a model where one was given.

    Raises
    ------
    DataError
        Propagate: see :func:`record_node`.

    """
    windows = windows_of(config)
    record_examination(
        command,
        symbols=config.symbols,
        interval=config.interval,
        config=config,
        data_hash=data_hash(catalog, config.symbols, config.interval, windows.train[0], windows.report[1]),
        seed=config.model.seed,
        result=model,
        ledger=ledger,
    )
