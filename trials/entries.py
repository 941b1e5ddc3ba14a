"""What a line of the ledger holds, and what verifying the ledger answers."""

import hashlib
from typing import Any, Literal

import msgspec

from strategies.yaml_config import FrozenConfig

Kind = Literal["sweep", "walkforward", "train", "backtest", "study", "examination"]
"""An examination (doubt, sizing) looks at a result again and tries nothing: it holds no trials."""


class SharpeSummary(FrozenConfig, frozen=True):
    """
    Annualised Sharpe ratios of a run's trials.

    Attributes
    ----------
    known : int
        Trials that have a ratio.
    mean, variance, best : float or None
        Over those; variance with ``ddof=1``.
    effective : float
        Number of independent trials.

    """

    known: int
    mean: float | None
    variance: float | None
    best: float | None
    effective: float


class Code(FrozenConfig, frozen=True):
    """
    What code ran.

    Attributes
    ----------
    files : str
        SHA-256 over path and content of every Python file of our packages.
    commit : str or None
        Git commit; None without git.
    dirty : bool or None
        Whether the packages differ from the commit.

    """

    files: str
    commit: str | None = None
    dirty: bool | None = None


class Entry(FrozenConfig, frozen=True):
    """
    One run.

    Attributes
    ----------
    sequence : int
        1 for the first line.
    time : str
        When it was recorded, UTC.
    kind, command : str, list[str]
        What ran.
    symbols, interval : list[str], str
        On which series.
    config_hash, data_hash : str
        SHA-256 of the full configuration, and of the values used.
    code : Code
        What code ran.
    trials : int
        Sets of parameters (or models) that were tried; 0 for an examination only.
    sharpe : SharpeSummary
        Of those trials.
    best : dict
        What was chosen.
    seed : int or None
        Seed of the run.
    result : str or None
        Where the result lies.
    previous, digest : str
        Hash of the line before, and of this one.

    """

    sequence: int
    time: str
    kind: Kind
    command: list[str]
    symbols: list[str]
    interval: str
    config_hash: str
    data_hash: str
    code: Code
    trials: int
    sharpe: SharpeSummary
    best: dict[str, Any]
    seed: int | None
    result: str | None
    previous: str
    digest: str


def digest_of(entry: Entry) -> str:
    """Return the hash a line must name: over everything in it but that."""
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(entry, digest=""))).hexdigest()


class Head(FrozenConfig, frozen=True):
    """Count of lines and digest of the newest."""

    entries: int
    digest: str


class Verification(FrozenConfig, frozen=True):
    """
    What :func:`verify` found.

    Attributes
    ----------
    passed : bool
        The ledger is whole.
    reason : str
        ``intact``, ``empty``, ``malformed``, ``edited``, ``removed``, ``truncated``, ``head_missing``, ``head_stale``
        or ``unfinished`` (a line never acknowledged; the next append cuts it off).
    entries : int
        Whole lines up to the defect.
    line : int or None
        Where the defect lies, first line is 1.
    detail : str
        For people.

    """

    passed: bool
    reason: Literal[
        "intact", "empty", "malformed", "edited", "removed", "truncated", "head_missing", "head_stale", "unfinished"
    ]
    entries: int
    line: int | None = None
    detail: str = ""
