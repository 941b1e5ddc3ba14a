"""What was known at an instant, for every kind of the raw store: nothing later, and no correction applied backwards."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from catalog.asof import known_from, raw_asof
from catalog.checks import Grid
from catalog.instruments import interval_ns
from catalog.raw.days import days, load, verify
from catalog.raw.kinds import KINDS
from catalog.raw.writer import put_rows
from catalog.types.tables import CONVERTERS, Source

MINUTE = 60_000_000_000
START = 1_741_132_800_000_000_000
KEYED = [kind for kind in KINDS.values() if kind.key]


def make(kind: Any, count: int, source: random.Random, first: int = 0) -> dict[str, list[Any]]:
    """Return rows of any kind that its rules accept, a few minutes apart, over midnight."""
    step = interval_ns("15m") if kind.interval else 7 * MINUTE
    columns: dict[str, list[Any]] = {}
    for column in kind.columns:
        if column is kind.columns[0]:
            columns[column.name] = [START + (first + n) * step for n in range(count)]
        elif column.name == kind.rising or column.form == "integer":
            base = 8 if column.name == "funding_interval_hours" else None
            columns[column.name] = [base or first + n + 1 for n in range(count)]
            if column.name == "event_time":
                columns[column.name] = [(START + (first + n) * step) // 1_000_000 + 3 for n in range(count)]
        elif column.form == "flag":
            columns[column.name] = [bool(n % 2) for n in range(count)]
        elif column.form == "text":
            columns[column.name] = ["SELL"] * count
        elif column.name == "last_funding_rate":
            columns[column.name] = [f"0.000{source.randint(0, 9)}" for _ in range(count)]
        elif column.name == "high" or "ask_price" in column.name:
            columns[column.name] = [f"3.{source.randint(0, 9)}" for _ in range(count)]
        elif column.name == "low":
            columns[column.name] = [f"1.{source.randint(0, 9)}" for _ in range(count)]
        elif "taker_buy" in column.name:
            columns[column.name] = ["0.5"] * count
        else:
            columns[column.name] = [f"2.{source.randint(0, 9)}" for _ in range(count)]
    return columns


def bring(root: Path, kind: Any, columns: dict[str, list[Any]], now: int = 0, *, replace: bool = False) -> None:
    put_rows(
        columns,
        source="test",
        root=root,
        kind=kind.name,
        symbol="XRPUSDT",
        interval="15m" if kind.interval else None,
        replace=replace,
        now_ns=now or START * 2,
    )


def known(root: Path, kind: Any, time: int) -> list[dict[str, Any]]:
    table = raw_asof(root, kind.name, "XRPUSDT", time, "15m" if kind.interval else None)
    return [] if table is None else table.to_pylist()


@pytest.mark.parametrize("kind", KEYED, ids=lambda kind: kind.name)
def test_at_any_instant_only_what_could_be_known_and_never_less_later(kind: Any, tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    bring(tmp_path, kind, make(kind, 300, source))
    everything = [
        row for t in load(tmp_path, kind.name, "XRPUSDT", "15m" if kind.interval else None) for row in t.to_pylist()
    ]
    whole = pa.Table.from_pylist(everything, schema=raw_schema(tmp_path, kind))
    moments = known_from(kind.name, whole, "15m" if kind.interval else None)
    before: list[dict[str, Any]] = []
    for time in sorted(source.randint(START - MINUTE, START + 4 * 1440 * MINUTE) for _ in range(25)):
        found = known(tmp_path, kind, time)
        assert found == [row for row, at in zip(everything, moments.tolist(), strict=True) if at <= time], seed
        assert found[: len(before)] == before, f"what was known is forgotten, seed {seed}"
        before = found


def raw_schema(root: Path, kind: Any) -> pa.Schema:
    return next(load(root, kind.name, "XRPUSDT", "15m" if kind.interval else None)).schema


@pytest.mark.parametrize("kind", KEYED, ids=lambda kind: kind.name)
def test_a_correction_is_not_applied_backwards(kind: Any, tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    first = make(kind, 150, source)
    bring(tmp_path, kind, first)
    versions = [(START, first)]
    changed = next(c.name for c in reversed(kind.columns) if c.form in ("price", "amount", "wide"))
    at = START
    for number in range(3):
        at += 200 * 1440 * MINUTE
        correction = {name: list(values) for name, values in versions[-1][1].items()}
        for row in source.sample(range(150), 20):
            value = "0.0007" if changed == "last_funding_rate" else f"2.{number}1"
            if changed in ("taker_buy_quote_volume", "taker_buy_volume"):
                value = f"0.{number}1"
            correction[changed][row] = value
        bring(tmp_path, kind, correction, at, replace=True)
        versions.append((at, correction))
    moments = [START + 300 * 1440 * MINUTE * 5, *(a + d for a, _ in versions for d in (-1, 0, 1))]
    for time in moments:
        current = [columns for since, columns in versions if since <= time] or [first]
        shown = known(tmp_path, kind, time)
        wanted = current[-1][changed][: len(shown)]
        assert [float(row[changed]) for row in shown] == [float(x) for x in wanted], f"seed {seed}"
    for day in days(tmp_path, kind.name, "XRPUSDT", "15m" if kind.interval else None):
        assert verify(day) is None


def test_a_completed_bar_was_never_known_half(tmp_path: Path) -> None:
    kind = KINDS["klines"]
    whole = make(kind, 3, random.Random(1))
    half = {name: list(values) for name, values in whole.items()}
    half["volume"] = ["0.6"] * 3
    bring(tmp_path, kind, half)
    bring(tmp_path, kind, whole, START + 10**18)
    shown = [float(row["volume"]) for row in known(tmp_path, kind, START + 60 * MINUTE)]
    assert shown == [float(x) for x in whole["volume"]]
    assert not (tmp_path / "revisions").exists()


@pytest.mark.parametrize("name", sorted(set(CONVERTERS) - {"book_snapshots"}))
def test_the_catalog_says_the_same(name: str, tmp_path: Path) -> None:
    """`ts_init` of what backtests are given is when the row could be known."""
    kind = KINDS[name]
    bring(tmp_path, kind, make(kind, 60, random.Random(2)))
    interval = "15m" if kind.interval else None
    grid = Grid("XRPUSDT", 4, 1, 1)
    for table in load(tmp_path, name, "XRPUSDT", interval):
        expected = known_from(name, table, interval)
        if name == "funding":
            expected = (expected + 30 * MINUTE) // (60 * MINUTE) * (60 * MINUTE)
        for _, made in CONVERTERS[name](table, Source(grid, interval, "test")):
            np.testing.assert_array_equal(made["ts_init"].to_numpy().astype(np.int64), expected)
