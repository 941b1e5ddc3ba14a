"""A look at data or at a result that tries nothing: a line that holds no trial, but says who looked at what."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trials.effort import summarise
from trials.entries import Entry
from trials.ledger import read, record


def record_examination(
    command: Sequence[str],
    *,
    symbols: Sequence[str],
    interval: str,
    config: Any,
    data_hash: str,
    best: dict[str, Any] | None = None,
    seed: int | None = None,
    result: str | Path | None = None,
    ledger: Path | None = None,
) -> Entry:
    """
    Append an examination; it never counts in a deflation.

    Parameters
    ----------
    command, symbols, interval, config, data_hash, best, seed, result, ledger
        See :func:`trials.ledger.record`.

    Raises
    ------
    DataError
        Propagate: see :func:`trials.ledger.record`.

    """
    return record(
        "examination",
        command=command,
        symbols=symbols,
        interval=interval,
        config=config,
        data_hash=data_hash,
        trials=0,
        sharpe=summarise([]),
        best=best,
        seed=seed,
        result=result,
        ledger=ledger,
    )


def lines_of(digests: Sequence[str], ledger: Path | None = None) -> list[Entry]:
    """
    Return the lines of those digests that the ledger holds, oldest first: where a result says it was recorded.

    Raises
    ------
    DataError
        Fail closed: the ledger is damaged.

    """
    wanted = set(digests)
    return [e for e in read(ledger) if e.digest in wanted] if wanted else []
