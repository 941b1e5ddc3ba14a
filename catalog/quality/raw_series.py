"""Every series of a raw store through the checks: what ``catalog.verify --raw`` reports."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalog.instruments import interval_ns
from catalog.quality.findings import Finding, Kind, Severity, Where, iso
from catalog.quality.kinds import TICKS
from catalog.quality.report import SeriesReport
from catalog.quality.rows import Context, Reference, Rows
from catalog.raw import days as raw_days
from catalog.raw.days import Day
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
    findings = _damaged(days, where)
    scores: dict[str, float] = {}
    bad = {f.source for f in findings}
    good = [day for day in days if str(day.path) not in bad]
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


def _damaged(days: list[Day], where: Where) -> list[Finding]:
    findings = []
    for day in days:
        fault = raw_days.verify(day)
        if fault is not None:
            at = Where(where.symbol, where.interval, str(day.path))
            findings.append(at.whole(Kind.UNREADABLE, Severity.ERROR, day.rows, fault, "remove it, bring it again"))
    return findings


def _joined(part: list[Day], days: list[Day], kind: str) -> pa.Table:
    """Return the rows of `part`; of ticks, with the last row of the day before, so that a hole at midnight shows."""
    tables = [raw_days.read(day.path).replace_schema_metadata() for day in part]
    at = days.index(part[0])
    if kind in TICKS and at:
        before = raw_days.read(days[at - 1].path).replace_schema_metadata()
        tables.insert(0, before.slice(before.num_rows - 1))
    return pa.concat_tables(tables)


def _edge(day: Day, kind: str, row: int) -> int:
    return int(raw_days.read(day.path)[KINDS[kind].columns[0].name].to_numpy()[row])


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
    tables = [
        table.replace_schema_metadata()
        for table in raw_days.load(root, "klines", symbol, interval, start, end + raw_days.DAY_NS)
    ]
    if not tables:
        nothing = np.empty(0)
        return Rows(np.empty(0, np.int64), nothing, nothing, nothing, nothing, nothing)
    columns = columns_of("klines", pa.concat_tables(tables))
    o, h, low, c, volume = (columns.values[name] for name in ("open", "high", "low", "close", "volume"))
    return Rows(columns.time, o, h, low, c, volume)
