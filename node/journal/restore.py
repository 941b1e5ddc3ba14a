"""
What a starting node reads from the journal: loss history, open fills, funding, the day's opening equity, latches.

Everything is derived from the recorded facts each time; nothing is stored as state, so nothing can drift from them.
"""

from decimal import Decimal
from typing import Final

import msgspec
import sqlalchemy as sa

from node.journal.models import TABLES
from strategies.records import (
    EquityRecord,
    FillRecord,
    FundingRecord,
    IncidentRecord,
    Record,
    TradeRecord,
    VerdictRecord,
)

REARM: Final = "rearm"
LATCHES: Final[dict[str, str]] = {"kill": REARM, "fast_kill": REARM, "slow_kill": REARM, "pause": "resume"}
"""Incident code that latches, to the code that releases it."""

DAILY_LOSS: Final = "daily_loss"
"""Incident code of the one latch that nobody releases: it ends with its market day."""

REBASE: Final = "ledger_mismatch"
"""Incident code after which the fills recorded before no longer explain the position: the venue's was adopted."""

PNL_LIMIT: Final = 200
KNOWN_FILLS: Final = 5_000
NEWEST_VERDICTS: Final = 50
DAY_NS: Final = 86_400_000_000_000
_MILLI_NS: Final = 1_000_000
_SIGN: Final = {"BUY": 1, "SELL": -1}


class Latch(msgspec.Struct, frozen=True, kw_only=True):
    """
    A switch that a person must release.

    Attributes
    ----------
    code : str
        ``daily_loss`` or one of :data:`LATCHES`: what was recorded when it was set.
    symbol : str or None
        The one symbol it holds; None holds all.
    market_time, wall_time : int
        When it was set first (a daily loss: last), UTC ns.
    message : str
        The reason recorded with it.

    """

    code: str
    symbol: str | None
    market_time: int | None
    wall_time: int
    message: str


class SymbolRestore(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is known of one symbol.

    Attributes
    ----------
    closed_pnls : list[float]
        Net PnL (USDT) of the trades closed since the last ``rearm`` for this symbol or for all; newest last, at
        most 200.
    position : str
        Signed quantity that the fills add up to, as a decimal string; "0" when flat.
    open_fills : list[FillRecord]
        Fills since the symbol was last flat, in venue order: what the open position consists of. Those recorded before
        a ``ledger_mismatch`` (the venue's position was adopted) are left out: they add up to something else.
    known_fill_ids : list[str]
        Ids of the newest 5,000 fills and of all open ones: a fill reported again is recognised by them.
    open_funding : list[FundingRecord]
        Settlements the open position has paid or received; empty when flat.
    verdicts : dict[str, list[str]]
        Signal id to ``<gate>:<reason>``, for the signals since a day before the open position's entry (when flat: the
        newest signals), so that the trade they led to can name them.

    """

    closed_pnls: list[float]
    position: str
    open_fills: list[FillRecord]
    known_fill_ids: list[str]
    open_funding: list[FundingRecord]
    verdicts: dict[str, list[str]]


class Restore(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything a starting node needs from the journal; encodes to JSON.

    Attributes
    ----------
    market_time : int or None
        The time the day was told from (UTC ns); None if there is no equity point and none was given.
    symbols : dict[str, SymbolRestore]
        One entry for each symbol asked for.
    day_start : EquityRecord or None
        The last point at or before the start of the UTC day of `market_time`, else the first of that day.
    last_equity : EquityRecord or None
        The newest point, not after `market_time` if that was given.
    latches : list[Latch]
        Switches set and not released since, oldest first.

    """

    market_time: int | None
    symbols: dict[str, SymbolRestore]
    day_start: EquityRecord | None
    last_equity: EquityRecord | None
    latches: list[Latch]

    @property
    def day_start_equity(self) -> float | None:
        """Equity (USDT, including unrealised) at the start of the day; None if unknown."""
        return None if self.day_start is None else self.day_start.equity

    def latched(self, code: str, symbol: str | None = None) -> Latch | None:
        """Return the latch of that code that holds `symbol` (one of its own or one for all), if any."""
        return next((x for x in self.latches if x.code == code and x.symbol in {None, symbol}), None)


def read_restore(connection: sa.Connection, symbols: list[str], market_time: int | None) -> Restore:
    """Return the :class:`Restore` that the journal behind `connection` gives at this moment."""
    last_equity = _equity_before(connection, None if market_time is None else market_time + 1)
    now = market_time if market_time is not None else (last_equity.market_time if last_equity else None)
    return Restore(
        market_time=now,
        symbols={symbol: _symbol(connection, symbol) for symbol in symbols},
        day_start=None if now is None else _day_start(connection, now),
        last_equity=last_equity,
        latches=[latch for latch in _latches(connection) if not _ended_with_its_day(latch, now)],
    )


def _day_start(connection: sa.Connection, now: int) -> EquityRecord | None:
    midnight = now // DAY_NS * DAY_NS
    before = _equity_before(connection, midnight + 1)
    if before is not None:
        return before
    table = TABLES[EquityRecord]
    query = sa.select(table.c.payload).where(table.c.market_time > midnight, table.c.market_time <= now)
    payload = connection.execute(query.order_by(table.c.market_time, table.c.seq).limit(1)).scalar()
    return None if payload is None else msgspec.json.decode(payload, type=EquityRecord)


def _equity_before(connection: sa.Connection, end: int | None) -> EquityRecord | None:
    table = TABLES[EquityRecord]
    query = sa.select(table.c.payload).where(table.c.market_time.is_not(None))
    if end is not None:
        query = query.where(table.c.market_time < end)
    payload = connection.execute(query.order_by(table.c.market_time.desc(), table.c.seq.desc()).limit(1)).scalar()
    return None if payload is None else msgspec.json.decode(payload, type=EquityRecord)


def _latches(connection: sa.Connection) -> list[Latch]:
    table = TABLES[IncidentRecord]
    query = sa.select(table.c.payload).where(table.c.code.in_({DAILY_LOSS, *LATCHES, *LATCHES.values()}))
    held: dict[tuple[str, str | None], Latch] = {}
    for payload in connection.execute(query.order_by(table.c.wall_time, table.c.seq)).scalars():
        incident = msgspec.json.decode(payload, type=IncidentRecord)
        key = (incident.code, incident.symbol)
        if incident.code in LATCHES.values():
            for code, symbol in list(held):
                if LATCHES.get(code) == incident.code and incident.symbol in {None, symbol}:
                    del held[code, symbol]
        elif key not in held or incident.code == DAILY_LOSS:  # each day's loss is a new one
            held[key] = Latch(
                code=incident.code,
                symbol=incident.symbol,
                market_time=incident.market_time,
                wall_time=incident.wall_time,
                message=incident.message,
            )
    return list(held.values())


def _ended_with_its_day(latch: Latch, now: int | None) -> bool:
    if latch.code != DAILY_LOSS or latch.market_time is None or now is None:
        return False
    return latch.market_time // DAY_NS < now // DAY_NS


def _symbol(connection: sa.Connection, symbol: str) -> SymbolRestore:
    position, open_fills, ids = _open_fills(connection, symbol)
    return SymbolRestore(
        closed_pnls=_closed_pnls(connection, symbol),
        position=format(position, "f"),
        open_fills=open_fills,
        known_fill_ids=ids,
        open_funding=_funding_since(connection, symbol, open_fills[0]) if open_fills else [],
        verdicts=_verdicts(connection, symbol, _entered(open_fills[0]) - DAY_NS if open_fills else None),
    )


def _closed_pnls(connection: sa.Connection, symbol: str) -> list[float]:
    trades = TABLES[TradeRecord]
    since = _last_incident(connection, REARM, symbol)
    query = sa.select(trades.c.net_pnl).where(trades.c.symbol == symbol)
    if since is not None:
        # The host's clock orders the two: a rearm given while no bar has come yet has no market time.
        query = query.where(trades.c.wall_time > since)
    newest_first = connection.execute(query.order_by(trades.c.wall_time.desc(), trades.c.seq.desc()).limit(PNL_LIMIT))
    return list(newest_first.scalars())[::-1]


def _last_incident(connection: sa.Connection, code: str, symbol: str) -> int | None:
    """Return the wall time of the newest incident of that code for `symbol` or for all."""
    table = TABLES[IncidentRecord]
    query = sa.select(sa.func.max(table.c.wall_time))
    query = query.where(table.c.code == code, sa.or_(table.c.symbol.is_(None), table.c.symbol == symbol))
    return connection.execute(query).scalar()


def _open_fills(connection: sa.Connection, symbol: str) -> tuple[Decimal, list[FillRecord], list[str]]:
    table = TABLES[FillRecord]
    query = sa.select(table.c.id, table.c.side, table.c.quantity, table.c.event_time, table.c.seq, table.c.wall_time)
    fills = connection.execute(query.where(table.c.symbol == symbol)).all()
    fills = sorted(fills, key=lambda fill: (fill.event_time, _venue_number(fill.id), fill.seq))
    adopted = _last_incident(connection, REBASE, symbol)
    counted = [fill for fill in fills if adopted is None or fill.wall_time > adopted]
    position = Decimal(0)
    flat_after = 0
    for count, fill in enumerate(counted, start=1):
        position += Decimal(fill.quantity) * _SIGN[fill.side]
        if position == 0:
            position, flat_after = Decimal(0), count
    open_ids = [fill.id for fill in counted[flat_after:]]
    known = dict.fromkeys([*(fill.id for fill in fills[-KNOWN_FILLS:]), *open_ids])
    return position, _fills(connection, open_ids), list(known)


def _fills(connection: sa.Connection, ids: list[str]) -> list[FillRecord]:
    found = {fill.id: fill for fill in _by_id(connection, FillRecord, ids)}
    return [found[identity] for identity in ids]


def _by_id[R: Record](connection: sa.Connection, kind: type[R], ids: list[str]) -> list[R]:
    table = TABLES[kind]
    decoder = msgspec.json.Decoder(kind)
    out: list[R] = []
    for start in range(0, len(ids), 500):
        query = sa.select(table.c.payload).where(table.c.id.in_(ids[start : start + 500]))
        out.extend(decoder.decode(payload) for payload in connection.execute(query).scalars())
    return out


def _funding_since(connection: sa.Connection, symbol: str, entry: FillRecord) -> list[FundingRecord]:
    entered = _entered(entry)
    table = TABLES[FundingRecord]
    query = sa.select(table.c.payload).where(table.c.symbol == symbol).order_by(table.c.seq)
    decoder = msgspec.json.Decoder(FundingRecord)
    out = []
    for payload in connection.execute(query).scalars():
        funding = decoder.decode(payload)
        settled = _settlement(funding)
        # On the very boundary the order of observation decides whose settlement it was.
        if settled > entered or (settled == entered and funding.wall_time >= entry.wall_time):
            out.append(funding)
    return sorted(out, key=_settlement)


def _entered(fill: FillRecord) -> int:
    # A replay stamps executions with wall time, years after its market time; a fill reported late, after a restart,
    # has a late market time. The earlier of the two is the entry on the market's time axis in both cases.
    return fill.event_time if fill.market_time is None else min(fill.event_time, fill.market_time)


def _verdicts(connection: sa.Connection, symbol: str, since: int | None) -> dict[str, list[str]]:
    table = TABLES[VerdictRecord]
    query = sa.select(table.c.signal_id, table.c.gate, table.c.reason).where(table.c.symbol == symbol)
    if since is None:
        query = query.order_by(table.c.seq.desc()).limit(NEWEST_VERDICTS)
    else:
        query = query.where(table.c.market_time >= since).order_by(table.c.seq.desc())
    found: dict[str, list[str]] = {}
    for row in reversed(connection.execute(query).all()):
        found.setdefault(row.signal_id, []).append(f"{row.gate}:{row.reason}")
    return found


def _settlement(funding: FundingRecord) -> int:
    number = _venue_number(funding.id)
    return number * _MILLI_NS if number else (funding.market_time or funding.wall_time)


def _venue_number(identity: str) -> int:
    last = identity.rpartition("/")[2]
    return int(last) if last.isascii() and last.isdigit() else 0
