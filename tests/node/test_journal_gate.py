"""What an entry waits for, and that two nodes never write one journal."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from node.config import NodeConfig, StrategyConfig
from node.journal_gate import JournalGate
from strategies.errors import ConfigError, JournalError, UnavailableError
from strategies.records import IncidentRecord


def _gate(tmp_path: Path, durability: Any, *, run: str = "run") -> JournalGate:
    config = NodeConfig(
        strategy=StrategyConfig(file="x.yaml"),
        symbols=("XRPUSDT",),
        journal=f"sqlite:///{tmp_path / 'journal.sqlite'}",
        journal_durability=durability,
    )
    return JournalGate(config, tmp_path / run / "journal.ahead", lambda _: None)


def _incident(number: int) -> IncidentRecord:
    return IncidentRecord(
        id=f"i/{number}", market_time=None, wall_time=1, severity="info", code="x", symbol=None, message=""
    )


@pytest.mark.parametrize("durability", ["power", "process"])
async def test_an_entry_does_not_wait_for_a_database_that_is_busy(tmp_path: Path, durability: str) -> None:
    gate = _gate(tmp_path, durability)
    lock = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    gate.journal.record(_incident(1))
    assert gate.kept()
    assert await gate.written()
    assert gate.journal.waiting == 1  # the file has it, the database not yet
    lock.execute("ROLLBACK")
    lock.close()
    gate.close()


async def test_an_entry_is_denied_once_the_database_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = _gate(tmp_path, "process")
    assert await gate.written()
    assert gate.journal._writer is not None
    monkeypatch.setattr(gate.journal._writer, "failure", "disk full")
    gate.journal.record(_incident(2))
    assert not await gate.written()
    monkeypatch.undo()
    gate.close()


def test_a_gate_that_could_not_be_opened_can_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(JournalError, match="not a database") as caught:
        _gate(tmp_path, "process")
    assert not isinstance(caught.value, UnavailableError)
    (tmp_path / "journal.sqlite").unlink()
    _gate(tmp_path, "process").close()


def test_two_nodes_cannot_write_one_journal(tmp_path: Path) -> None:
    first = _gate(tmp_path, "process")
    with pytest.raises(ConfigError, match="in use by another node"):
        _gate(tmp_path, "process", run="another")
    first.close()
    _gate(tmp_path, "process", run="another").close()
