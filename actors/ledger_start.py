"""
Bringing the ledger up to date at a start: the journal's fills, then what the venue did while nobody listened.

The venue's own trade history is asked first (``missed``). The engine's reconciliation answers with every order of the
last days and, where it cannot explain a position, with fills it invented. So new fills of a symbol are believed only if
they lead to the position the venue holds, those of the venue's history before those of the engine.
"""

from collections import defaultdict
from collections.abc import Iterable
from copy import deepcopy
from decimal import Decimal
from typing import Any

from actors.account_view import side_of, venue_symbol
from actors.ledger import OpenTrade, TradeLedger
from actors.reporting import Reporter
from strategies.records import FillRecord, FundingRecord
from strategies.sizing import exact


def catch_up(recorder: Any, reporter: Reporter, fills: Iterable[Any]) -> None:
    """
    Restore the ledger and record what is new.

    Parameters
    ----------
    recorder : Recorder
        Its ledger is filled; fills and trades that are new are published through it.
    reporter : Reporter
        Told of every symbol whose fills and position contradict each other.
    fills : iterable of OrderFilled
        All fills the engine's cache knows.

    """
    ledger: TradeLedger = recorder.ledger
    restored = recorder.config.restored
    ledger.remember_verdicts(restored.verdicts)
    for record in in_order(restored.fills, restored.funding):
        if isinstance(record, FundingRecord):
            ledger.apply_funding(record)
        elif (trade := ledger.apply(recorder.execution(record))) is not None:
            recorder.record_trade(trade)  # the process died between the fill and its trade
    ledger.declare_seen(restored.seen_fills)
    for payment in restored.missed_funding:
        recorder.record_funding(payment)

    told: dict[str, list[FillRecord]] = defaultdict(list)
    for fill in restored.missed:
        if not ledger.seen(fill.id):
            told[fill.symbol].append(fill)
    new: dict[str, list[FillRecord]] = defaultdict(list)
    for event in sorted(fills, key=lambda e: (e.ts_event, e.trade_id.value)):
        fill = recorder.fill_record(event, None)
        if not ledger.seen(fill.id):
            new[fill.symbol].append(fill)

    positions: dict[str, list[Any]] = defaultdict(list)
    for position in recorder.cache.positions_open():
        positions[venue_symbol(position.instrument_id)].append(position)
    configured = (venue_symbol(i) for i in recorder.config.instrument_ids)
    for symbol in dict.fromkeys((*configured, *told, *new, *positions, *ledger.open)):
        _settle(recorder, reporter, symbol, told[symbol], new[symbol], positions[symbol])


def in_order(fills: Iterable[FillRecord], funding: Iterable[FundingRecord]) -> list[FillRecord | FundingRecord]:
    """Merge by market time; at the same time funding comes first, and a fill without a time follows the one before."""
    keyed: list[tuple[tuple[int, int, int], FillRecord | FundingRecord]] = []
    last = 0
    for i, fill in enumerate(fills):
        last = max(last, fill.market_time or 0)
        keyed.append(((last, 1, i), fill))
    keyed += [((record.market_time or 0, 0, i), record) for i, record in enumerate(funding)]
    return [record for _, record in sorted(keyed, key=lambda item: item[0])]


def _settle(
    recorder: Any,
    reporter: Reporter,
    symbol: str,
    told: list[FillRecord],
    new: list[FillRecord],
    positions: list[Any],
) -> None:
    ledger: TradeLedger = recorder.ledger
    actual = sum((p.signed_decimal_qty() for p in positions), Decimal(0))
    for fill in told:
        recorder.record_fill(fill)
    ids = {fill.id for fill in told}
    new = [fill for fill in new if fill.id not in ids]
    if told and ledger.net(symbol) == actual:  # the venue's own history explains it: nothing the engine adds is news
        ledger.declare_seen(fill.id for fill in new)
        return
    trial = deepcopy(ledger)
    for fill in new:
        trial.apply(recorder.execution(fill))
    if trial.net(symbol) == actual:
        for fill in new:
            recorder.record_fill(fill)
        return
    if ledger.net(symbol) == actual:
        ledger.declare_seen(fill.id for fill in new)
        text = f"{len(new)} fills reported at start contradict the position of {actual}: not booked"
        reporter.incident("warning", "fills_ignored", symbol, text)
        return
    ledger.declare_seen(fill.id for fill in new)
    text = f"recorded fills lead to {trial.net(symbol)}, the venue holds {actual}: its position is adopted"
    reporter.incident("critical", "ledger_mismatch", symbol, text)
    ledger.adopt(symbol, _adopted(symbol, actual, positions))


def _adopted(symbol: str, actual: Decimal, positions: list[Any]) -> OpenTrade | None:
    if actual == 0:
        return None
    position = max(positions, key=lambda p: p.quantity)
    price = exact(position.avg_px_open)
    trade = OpenTrade(
        id=f"{symbol}/{position.opening_order_id.value}",
        symbol=symbol,
        side=side_of(position),
        entry_time=None,
        signal_id=None,
        stop=None,
        target=None,
    )
    trade.enter(abs(actual), price, Decimal(0))
    return trade
