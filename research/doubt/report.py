"""Verdicts for people (a table) and for machines (JSON)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec
from rich.console import Console
from rich.table import Table

from node.report import write_file
from research.doubt.verdict import Doubt

_WORDS = {True: "stands", False: "FALLS", None: "unknown"}
_STYLES = {True: "green", False: "bold red", None: "yellow"}


def conclude(doubts: Sequence[Doubt], json: Path | None, out: TextIO, facts: dict[str, Any] | None = None) -> int:
    """
    Print the verdicts, write them to `json`, and return the exit code: 1 when one falls.

    Raises
    ------
    ConfigError
        Fatal: the file cannot be written.

    """
    print_doubts(doubts, out)
    if json is not None:
        write_file(json, encode(doubts, facts or {}))
    return int(any(d.passed is False for d in doubts))


def encode(doubts: Sequence[Doubt], facts: dict[str, Any]) -> bytes:
    """Return the verdicts as JSON; undefined figures are null."""
    counts = {word.lower(): sum(d.passed is key for d in doubts) for key, word in _WORDS.items()}
    plain = {**facts, "counts": counts, "doubts": plain_doubts(doubts)}
    return msgspec.json.format(msgspec.json.encode(plain), indent=1)


def plain_doubts(doubts: Sequence[Doubt]) -> list[Any]:
    """Return verdicts as plain data; undefined figures are None."""
    return [_plain(msgspec.to_builtins(d)) for d in doubts]


def print_doubts(doubts: Sequence[Doubt], out: TextIO, title: str = "doubts") -> None:
    """Print one row per verdict."""
    table = Table(title=title, show_lines=False)
    table.add_column("examined")
    table.add_column("verdict")
    table.add_column("reason")
    table.add_column("figures", overflow="fold")
    for d in doubts:
        table.add_row(
            d.name, f"[{_STYLES[d.passed]}]{_WORDS[d.passed]}[/]", d.reason.value, d.detail.replace("[", r"\[")
        )
    Console(file=out, width=None if out.isatty() else 160).print(table)


def print_bars_needed(doubts: Sequence[Doubt], out: TextIO) -> None:
    """Print, per column, the bars needed until its beginning no longer matters, for each recursive analysis."""
    table = Table(title="bars until a column is exact")
    table.add_column("column")
    for d in doubts:
        table.add_column(d.name.rpartition(" ")[2], justify="right")
    for column in doubts[0].figures["bars_needed"] if doubts else ():
        needed = [d.figures["bars_needed"][column] for d in doubts]
        table.add_row(column, *("never" if n is None else str(n) for n in needed))
    Console(file=out, width=None if out.isatty() else 160).print(table)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
