"""
The trial ledger: every study ever run, so that a good figure can be judged by how many were tried before it.

One JSON line per run, chained by SHA-256, appended and flushed under a lock (:mod:`trials.ledger`);
:mod:`trials.effort` counts what was tried on a symbol or on a set of data, for the deflated Sharpe ratio.
"""

from trials.backtests import bare, record_backtest
from trials.effort import Effort, effective_number, effective_trials, search_effort, summarise
from trials.entries import Code, Entry, Kind, SharpeSummary, Verification
from trials.examinations import lines_of, record_examination
from trials.ledger import (
    LEDGER_VARIABLE,
    code_version,
    config_hash,
    ledger_path,
    read,
    ready,
    record,
    verify,
)

__all__ = [
    "LEDGER_VARIABLE",
    "Code",
    "Effort",
    "Entry",
    "Kind",
    "SharpeSummary",
    "Verification",
    "bare",
    "code_version",
    "config_hash",
    "effective_number",
    "effective_trials",
    "ledger_path",
    "lines_of",
    "read",
    "ready",
    "record",
    "record_backtest",
    "record_examination",
    "search_effort",
    "summarise",
    "verify",
]
