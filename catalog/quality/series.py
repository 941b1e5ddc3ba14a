"""Series of a catalog, or files, through the checks: what `catalog.verify` and the survey share."""

import time as wall
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from catalog import store
from catalog.file_names import refuse_period
from catalog.instruments import interval_ns
from catalog.quality.files import RawFile, read_raw
from catalog.quality.findings import Finding, Int64s, Kind, Severity, Where, iso, scores
from catalog.quality.inspection import inspect, inspect_funding
from catalog.quality.kinds import CANDLES, inspect_kind, usual_step
from catalog.quality.recordings import inspect_book_updates, inspect_messages
from catalog.quality.report import SeriesReport
from catalog.quality.rows import BarColumns, Context, Reference, Rows, distances
from catalog.reader import BarArrays, load_bars, load_funding
from strategies.errors import DataError

_TAIL = "-LAST-EXTERNAL"
_WORDS = {"MINUTE": "m", "HOUR": "h", "DAY": "d"}
_DAY_NS = 86_400_000_000_000


def held(catalog: Path) -> list[tuple[str, str]]:
    """
    Return symbol and interval of every bar series in `catalog`.

    Raises
    ------
    DataError
        Propagate: there is no catalog.

    """
    root = catalog / "data" / store.BARS
    if not root.is_dir():
        raise DataError(f"{catalog}: holds no bars: run `python -m catalog.sample --catalog {catalog}`")
    found = []
    for folder in sorted(root.iterdir()):
        name = folder.name
        if "-PERP." not in name or not name.endswith(_TAIL):
            continue
        symbol, rest = name.removesuffix(_TAIL).split("-PERP.", 1)
        _, count, unit = rest.rsplit("-", 2)
        if unit in _WORDS:
            found.append((symbol, f"{count}{_WORDS[unit]}"))
    return found


def verify_catalog(
    catalog: Path, symbols: Sequence[str] = (), intervals: Sequence[str] = (), *, now_ns: int | None = None
) -> list[SeriesReport]:
    """
    Return a report on every bar and funding series, each checked against the others.

    Other symbols of the same interval tell outages from dead markets; the next shorter interval of the same symbol
    tells cut and restated bars.

    Raises
    ------
    DataError
        Propagate: no such series.

    """
    everything = held(catalog)
    wanted = [(s, i) for s, i in everything if (not symbols or s in symbols) and (not intervals or i in intervals)]
    if not wanted:
        known = ", ".join(f"{s} {i}" for s, i in everything)
        raise DataError(f"{catalog}: none of the series asked for; it holds {known}")
    loaded: dict[tuple[str, str], BarArrays] = {}

    def bars(key: tuple[str, str]) -> BarArrays:
        if key not in loaded:
            loaded[key] = load_bars(catalog, *key)
        return loaded[key]

    now = wall.time_ns() if now_ns is None else now_ns
    reports = []
    for symbol, interval in wanted:
        step = interval_ns(interval)
        finer = [i for s, i in everything if s == symbol and interval_ns(i) < step and step % interval_ns(i) == 0]
        references = tuple(
            Reference(name=f"the {i} bars", interval=i, bars=bars((symbol, i)))
            for i in sorted(finer, key=interval_ns)[-1:]
        )
        peers = {s: bars((s, i)) for s, i in everything if i == interval and s != symbol}
        rows = bars((symbol, interval))
        context = Context(
            symbol=symbol, interval=interval, source=str(catalog), now_ns=now, references=references, peers=peers
        )
        reports.append(report_on(context.where, rows.open_time, step, inspect(rows, context)))
    for symbol in sorted({s for s, _ in wanted}):
        if intervals or store.series_file(catalog, store.FUNDING, f"{symbol}-PERP.BINANCE") is None:
            continue
        funding = load_funding(catalog, symbol)
        where = Where(symbol, "funding", str(catalog))
        found = inspect_funding(funding.time, funding.rate, where, now_ns=now)
        reports.append(report_on(where, funding.time, 8 * 3_600_000_000_000, found))
    return reports


def report_on(where: Where, time: Int64s, step: int, findings: list[Finding]) -> SeriesReport:
    """Return the report on one series."""
    sensible = time[(time > 0)] if len(time) else time
    first, last = (iso(int(sensible.min())), iso(int(sensible.max()))) if len(sensible) else ("", "")
    per_day = scores(sensible, step, findings) if not any(f.kind is Kind.WRONG_UNIT for f in findings) else {}
    return SeriesReport(where.symbol, where.interval, where.source, len(time), first, last, findings, per_day)


def verify_file(
    path: Path,
    *,
    symbol: str = "",
    interval: str = "",
    references: tuple[Reference, ...] = (),
    peers: Mapping[str, BarColumns] | None = None,
) -> tuple[SeriesReport, str]:
    """
    Return the report on one file of any kind, and what kind of file it is.

    A file that cannot be read is a finding, not an exception: that is what is asked.
    """
    try:
        raw = read_raw(path, symbol=symbol, interval=interval)
        report = _verify_raw(raw, references, {} if peers is None else peers)
        if report.first and raw.kind not in ("other", "messages"):
            first = int(np.datetime64(report.first[:-1], "ns").astype(np.int64))
            refuse_period(path, first)
    except DataError as e:
        where = Where(symbol, interval, path.name)
        text = str(e).removeprefix(f"{path}: ")
        finding = where.whole(Kind.UNREADABLE, Severity.ERROR, 1, text, "see the message")
        return SeriesReport(symbol, interval, path.name, 0, "", "", [finding]), "unreadable"
    else:
        return report, raw.note or raw.kind


def _verify_raw(raw: RawFile, references: tuple[Reference, ...], peers: Mapping[str, BarColumns]) -> SeriesReport:
    where = raw.where
    if raw.kind in ("bars", "mark"):
        rows, findings = raw.rows()
        interval = raw.interval or _interval_from(rows)
        where = Where(raw.symbol, interval, raw.path.name)
        context = Context(
            symbol=raw.symbol, interval=interval, source=raw.path.name, references=references, peers=peers
        )
        if not any(f.severity is Severity.ERROR for f in findings):
            findings += inspect(rows, context, mark=raw.kind == "mark")
        findings += raw.strange()
        return report_on(where, rows.open_time, interval_ns(interval), findings)
    if raw.kind == "messages":
        return inspect_messages(raw)
    if raw.kind == "other":
        return SeriesReport(raw.symbol, raw.interval, raw.path.name, len(raw.frame), "", "", [])
    if raw.kind == "funding":
        time, findings = raw.times()
        findings += inspect_funding(time, raw.floats("last_funding_rate"), where) + raw.strange()
        return report_on(where, time, 8 * 3_600_000_000_000, findings)
    if raw.kind == "book updates":
        time, findings = raw.times()
        findings += inspect_book_updates(raw, time)
        return report_on(where, time, max(_DAY_NS // max(len(time), 1), 1), findings)
    columns, findings = raw.columns()
    interval = raw.interval
    if raw.kind in CANDLES and not interval:
        interval = _interval_from(raw.rows()[0])
    context = Context(symbol=raw.symbol, interval=interval, source=raw.path.name, references=references)
    if not any(f.severity is Severity.ERROR for f in findings):
        findings += inspect_kind(columns, context)
    findings += raw.strange()
    return report_on(where, columns.time, usual_step(columns), findings)


def _interval_from(rows: Rows) -> str:
    time = rows.open_time
    steps, counts = distances(time)
    usual = int(steps[np.argmax(counts)]) if len(steps) else 0
    if not usual and rows.close_time is not None:
        usual = int(rows.close_time[0] - time[0]) + 1_000_000
    for name in ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"):
        if interval_ns(name) == usual:
            return name
    apart = f"{usual / 3_600_000_000_000:g} hours apart" if usual else "too few to tell"
    raise DataError(f"the rows are {apart}, which is no interval taken here: give --interval if you know better")
