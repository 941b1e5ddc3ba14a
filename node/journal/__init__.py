"""
The durable record: what was signalled, judged, ordered, filled and earned. The truth for money and kill-switch state.

The only room that writes to the journal database. Nothing heavy is loaded until a name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from node.journal.journal import Journal, open_journal
    from node.journal.reader import JournalReader
    from node.journal.restore import LATCHES, Latch, Restore, SymbolRestore

__all__ = ["LATCHES", "Journal", "JournalReader", "Latch", "Restore", "SymbolRestore", "open_journal"]

_HOMES = {
    "Journal": "journal",
    "open_journal": "journal",
    "JournalReader": "reader",
    "LATCHES": "restore",
    "Latch": "restore",
    "Restore": "restore",
    "SymbolRestore": "restore",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
