"""Websocket recordings: broken chains, missing ids, and a receiver's clock that disagrees with the exchange's."""

from collections import Counter
from typing import Any

import numpy as np

from catalog.quality.files import RawFile
from catalog.quality.findings import Finding, Int64s, Kind, Severity, iso
from catalog.quality.report import SeriesReport
from catalog.quality.row_checks import check_clock


def inspect_book_updates(raw: RawFile, time: Int64s) -> list[Finding]:
    """Return what is wrong with book updates as a table: broken chains of update ids, impossible prices and sizes."""
    where, frame = raw.where, raw.frame
    price = raw.floats("price")
    size = raw.floats("qty" if "qty" in frame else "quantity")
    bad = ~np.isfinite(price) | ~np.isfinite(size) | (price <= 0) | (size < 0)
    text = "price or quantity is empty, or below zero"
    findings = where.rows(Kind.BROKEN_RULE, Severity.ERROR, time, bad, text, "take a new snapshot")
    first = np.concatenate([[True], np.diff(raw.floats("last_update_id")) != 0])
    ids, before = raw.floats("last_update_id")[first], raw.floats("pu")[first] if "pu" in frame else None
    if before is not None:
        broken = np.concatenate([[False], (before[1:] != ids[:-1]) & (before[1:] >= 0)])
        text = "the chain of update ids is broken"
        findings += where.rows(Kind.GAP, Severity.WARNING, time[first], broken, text, "take a new snapshot")
    backwards = np.concatenate([[False], np.diff(time) < 0])
    text = "earlier than the row before"
    return findings + where.rows(Kind.OUT_OF_ORDER, Severity.ERROR, time, backwards, text, "sort the rows")


def inspect_messages(raw: RawFile) -> SeriesReport:
    """Return what is wrong with a recording: lines of receive time and message."""
    where, events, received = raw.where, [], []
    last_depth: dict[str, int] = {}
    last_trade: dict[str, int] = {}
    broken: Counter[str] = Counter()
    for stamp, message in raw.messages:
        data: Any = message.get("data", message)
        if not isinstance(data, dict):
            continue
        if isinstance(data.get("E"), int):
            events.append(data["E"] * 1_000_000)
            received.append(stamp)
        symbol = str(data.get("s"))
        if data.get("e") == "depthUpdate" and "pu" in data:
            if symbol in last_depth and data["pu"] != last_depth[symbol]:
                broken["depth"] += 1
            last_depth[symbol] = data["u"]
        number = data.get("t") if data.get("e") == "trade" else data.get("a") if data.get("e") == "aggTrade" else None
        if isinstance(number, int):
            if symbol in last_trade and number != last_trade[symbol] + 1:
                broken["trade"] += 1
            last_trade[symbol] = number
    findings: list[Finding] = check_clock(np.array(events, np.int64), np.array(received, np.int64), where)
    for what, count in broken.items():
        text = f"{count} breaks in the chain of {what} messages"
        findings.append(where.whole(Kind.GAP, Severity.WARNING, count, text, "take a new snapshot after each break"))
    times = [stamp for stamp, _ in raw.messages]
    first, last = (iso(min(times)), iso(max(times))) if times else ("", "")
    return SeriesReport(where.symbol, where.interval, where.source, len(raw.messages), first, last, findings)
