"""Every series of a raw store through the checks: what ``catalog.verify --raw`` reports."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalog.instruments import interval_ns
from catalog.quality.findings import Kind, Severity, Where, iso
from catalog.quality.kinds import TICKS
from catalog.quality.report import SeriesReport
from catalog.quality.rows import Context, Reference, Rows
from catalog.raw import days as raw_days
from catalog.raw.day_files import DAY_NS, Day, tables
from catalog.raw.kinds import KINDS
from catalog.raw.quality import columns_of, inspect_columns
from strategies.errors import DataError


def verify_raw(
    root: Path,
    kinds: Sequence[str] = (),
    symbols: Sequence[str] = (),
    intervals: Sequence[str] = (),
    *,
    now_ns: int | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> list[SeriesReport]:
    """
    Return a report on every raw series, each checked against the others; every row's hash is compared too.

    Candles are held to the next shorter interval and to other symbols, trades to candles of the symbol. Series of
    trades, quotes and books are read a day at a time.

    Raises
    ------
    DataError
        Propagate: no raw store, no such series.

    """
    if not root.is_dir():
        raise DataError(f"{root}: no raw store: bring data with `python -m catalog.raw fetch` or `put`")
    found = [
        (kind, symbol, step)
        for kind, symbol, step in held(root)
        if (not kinds or kind in kinds)
        and (not symbols or symbol in symbols)
        and (not intervals or step is None or step in intervals)
    ]
    if not found:
        known = ", ".join(sorted({kind for kind, _, _ in held(root)})) or "nothing"
        raise DataError(f"{root}: none of the series asked for; it holds {known}")
    return [_report(root, *key, now_ns=now_ns, advance=advance) for key in found]


def held(root: Path) -> Iterator[tuple[str, str, str | None]]:
    """Yield kind, symbol and interval of every series."""
    for kind in KINDS.values():
        for folder in sorted(p for p in (root / kind.name).glob("*") if p.is_dir()):
            if not kind.interval:
                yield kind.name, folder.name, None
                continue
            for step in sorted((p.name for p in folder.iterdir() if p.is_dir()), key=interval_ns):
                yield kind.name, folder.name, step


def _report(
    root: Path, kind: str, symbol: str, step: str | None, *, now_ns: int | None, advance: Callable[[int], object]
) -> SeriesReport:
    days = raw_days.days(root, kind, symbol, step)
    where = Where(symbol, step or kind, str(root / kind))
    findings = []
    good = []
    for day, fault in raw_days.verified(days):
        if fault is None:
            good.append(day)
            continue
        at = Where(where.symbol, where.interval, str(day.path))
        findings.append(at.whole(Kind.UNREADABLE, Severity.ERROR, day.rows, fault, "remove it, bring it again"))
    scores: dict[str, float] = {}
    for part in [[day] for day in good] if kind in TICKS else [good]:
        if not part:
            continue
        span = (min(day.day for day in part), max(day.day for day in part))
        table = _joined(part, good, kind)
        references, peers = _beside(root, kind, symbol, step, span)
        context = Context(
            symbol=symbol, interval=step or kind, source=where.source, now_ns=now_ns, references=references, peers=peers
        )
        told, scored = inspect_columns(columns_of(kind, table), context, step)
        findings += told
        scores |= {day: score for day, score in scored.items() if span[0] <= day <= span[1]}
        advance(sum(day.rows for day in part))
    first = iso(_edge(good[0], kind, 0)) if good else ""
    last = iso(_edge(good[-1], kind, -1)) if good else ""
    return SeriesReport(symbol, where.interval, where.source, sum(d.rows for d in days), first, last, findings, scores)


def _joined(part: list[Day], days: list[Day], kind: str) -> pa.Table:
    """Return the rows of `part`; of ticks, with the last row of the day before, so that a hole at midnight shows."""
    rows = [table for _, table in tables(part)]
    at = days.index(part[0])
    if kind in TICKS and at:
        ((_, before),) = tables([days[at - 1]])
        rows.insert(0, before.slice(before.num_rows - 1))
    return pa.concat_tables(rows)


def _edge(day: Day, kind: str, row: int) -> int:
    ((_, rows),) = tables([day])
    return int(rows[KINDS[kind].columns[0].name].to_numpy()[row])


def _beside(
    root: Path, kind: str, symbol: str, step: str | None, span: tuple[str, str]
) -> tuple[tuple[Reference, ...], dict[str, Rows]]:
    there = [(s, i) for k, s, i in held(root) if k == "klines" and i is not None]
    finest = sorted((i for s, i in there if s == symbol), key=interval_ns)
    if kind in ("agg_trades", "trades"):
        return tuple(_reference(root, symbol, i, span) for i in finest[:1]), {}
    if kind != "klines" or step is None:
        return (), {}
    whole = [i for i in finest if interval_ns(i) < interval_ns(step) and interval_ns(step) % interval_ns(i) == 0]
    peers = {s: _rows(root, s, step, span) for s, i in there if i == step and s != symbol}
    return (
        tuple(_reference(root, symbol, i, span) for i in whole[-1:]),
        {s: rows for s, rows in peers.items() if len(rows)},
    )


def _reference(root: Path, symbol: str, interval: str, span: tuple[str, str]) -> Reference:
    return Reference(name=f"the {interval} bars", interval=interval, bars=_rows(root, symbol, interval, span))


def _rows(root: Path, symbol: str, interval: str, span: tuple[str, str]) -> Rows:
    start, end = (int(np.datetime64(day, "ns").astype(np.int64)) for day in span)
    found = list(raw_days.load(root, "klines", symbol, interval, start, end + DAY_NS))
    if not found:
        nothing = np.empty(0)
        return Rows(np.empty(0, np.int64), nothing, nothing, nothing, nothing, nothing)
    columns = columns_of("klines", pa.concat_tables(found))
    o, h, low, c, volume = (columns.values[name] for name in ("open", "high", "low", "close", "volume"))
    return Rows(columns.time, o, h, low, c, volume)
