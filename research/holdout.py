"""
The hold-out: looked at once, and the trial ledger remembers.

A window that has been looked at before choosing again is no hold-out any more, however often it is called one. Each
use is a line of the ledger *before* the figures are computed, so that a run that is killed has used it too. A second
look at any part of it, by whatever model on any of its symbols, is refused unless it is asked for, and is counted.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import trials
from actors.model_folder import format_time, parse_time
from strategies.errors import DataError
from trials import SharpeSummary

_NO_RATIO = SharpeSummary(known=0, mean=None, variance=None, best=None, effective=1.0)


class Use(NamedTuple):
    """How often the window has now been looked at, this time included, and the ledger's line of this time."""

    look: int
    digest: str


def earlier_uses(symbols: Sequence[str], interval: str, window: tuple[int, int], ledger: Path | None = None) -> int:
    """
    Return how often a part of the window was looked at before on any of the symbols.

    Raises
    ------
    DataError
        Fail closed: the ledger is damaged.

    """
    count = 0
    for entry in trials.read(ledger):
        held = entry.best.get("holdout")
        if held is None or entry.interval != interval or not set(entry.symbols) & set(symbols):
            continue
        count += parse_time(held["start"]) < window[1] and parse_time(held["end"]) > window[0]
    return count


def consume(
    *,
    command: Sequence[str],
    symbols: Sequence[str],
    interval: str,
    window: tuple[int, int],
    model: str,
    config: str,
    data_hash: str,
    again: bool,
    ledger: Path | None = None,
) -> Use:
    """
    Record that the window is about to be looked at.

    Parameters
    ----------
    command, symbols, interval, config, data_hash : see :func:`trials.record`
        Who looks at what.
    window : (start, end)
        UTC ns.
    model : str
        Fingerprint of the model that is judged.
    again : bool
        Look although it was looked at before.
    ledger : Path, optional
        Ledger file.

    Raises
    ------
    DataError
        Propagate: it was looked at before and `again` is not set; the ledger is damaged or cannot be written.

    """
    before = earlier_uses(symbols, interval, window, ledger)
    text = f"{format_time(window[0])} to {format_time(window[1])}"
    if before and not again:
        raise DataError(
            f"hold-out {text}: looked at {before} time(s) before (python -m research.trials): choose a later window, "
            "or pass --again, which is counted and told in the verdict"
        )
    held = {"start": format_time(window[0]), "end": format_time(window[1]), "model": model, "use": before + 1}
    entry = trials.record(
        "study",
        command=command,
        symbols=symbols,
        interval=interval,
        config=config,
        data_hash=data_hash,
        trials=1,
        sharpe=_NO_RATIO,
        best={"holdout": held},
        ledger=ledger,
    )
    return Use(before + 1, entry.digest)
