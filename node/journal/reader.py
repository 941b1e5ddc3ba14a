"""Reading the journal: records as the structs they were written as, filtered by symbol and market time."""

from typing import Final

import msgspec
import sqlalchemy as sa

from node.journal.database import Database
from node.journal.models import META, TABLES
from node.journal.restore import Restore, read_restore
from strategies.errors import JournalError
from strategies.records import (
    ApprovalRecord,
    EquityRecord,
    FillRecord,
    FundingRecord,
    IncidentRecord,
    OrderRecord,
    OutcomeRecord,
    Record,
    SignalRecord,
    TradeRecord,
    VerdictRecord,
)

KINDS: Final[dict[str, type[Record]]] = {kind.kind: kind for kind in TABLES}
"""Kind name (``trade``) to record type."""


class JournalReader:
    """
    Read access to a journal, safe beside a writing node: each call reads one moment and never blocks the writer.

    All readers take the same filters. ``symbol`` keeps records of that venue symbol. ``start`` and ``end`` (UTC ns)
    keep records with ``start <= market_time < end``, which leaves out those recorded before the first bar. ``limit``
    keeps the newest. Records come back in the order they arrived. Every method raises `JournalError` (propagate) when
    the database cannot be read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def label(self) -> str:
        """The journal's address without its password."""
        return self._database.label

    def records[R: Record](
        self,
        kind: type[R],
        *,
        symbol: str | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int | None = None,
    ) -> list[R]:
        """Return the records of one type."""
        table = TABLES[kind]
        query = sa.select(table.c.payload).order_by(table.c.seq.desc() if limit is not None else table.c.seq)
        if symbol is not None:
            if "symbol" not in table.c:
                return []
            query = query.where(table.c.symbol == symbol)
        if start is not None:
            query = query.where(table.c.market_time >= start)
        if end is not None:
            query = query.where(table.c.market_time < end)
        if limit is not None:
            query = query.limit(limit)
        decoder = msgspec.json.Decoder(kind)
        with self._database.reading() as connection:
            payloads = connection.execute(query).scalars().all()
        if limit is not None:
            payloads = payloads[::-1]
        try:
            return [decoder.decode(payload) for payload in payloads]
        except msgspec.MsgspecError as e:
            raise self._database.error(f"a {kind.kind} cannot be decoded", e) from None

    def signals(
        self, symbol: str | None = None, start: int | None = None, end: int | None = None, limit: int | None = None
    ) -> list[SignalRecord]:
        """Return signals."""
        return self.records(SignalRecord, symbol=symbol, start=start, end=end, limit=limit)

    def verdicts(
        self, symbol: str | None = None, start: int | None = None, end: int | None = None, limit: int | None = None
    ) -> list[VerdictRecord]:
        """Return verdicts."""
        return self.records(VerdictRecord, symbol=symbol, start=start, end=end, limit=limit)

    def approvals(
        self, symbol: str | None = None, start: int | None = None, end: int | None = None, limit: int | None = None
    ) -> list[ApprovalRecord]:
        """Return approvals."""
        return self.records(ApprovalRecord, symbol=symbol, start=start, end=end, limit=limit)

    def orders(
        self, symbol: str | None = None, start: int | None = None, end: int | None = None, limit: int | None = None
    ) -> list[OrderRecord]:
        """Return state changes of orders."""
        return self.records(OrderRecord, symbol=symbol, start=start, end=end, limit=limit)

    def fills(
        self, symbol: str | None = None, start: int | None = None, end: int | None = None, limit: int | None = None
    ) -> list[FillRecord]:
        """Return fills."""
        return self.records(FillRecord, symbol=symbol, start=start, end=end, limit=limit)

    def funding(
        self, symbol: str | None = None, start: int | None = None, end: int | None = None, limit: int | None = None
    ) -> list[FundingRecord]:
        """Return funding settlements."""
        return self.records(FundingRecord, symbol=symbol, start=start, end=end, limit=limit)

    def trades(
        self, symbol: str | None = None, start: int | None = None, end: int | None = None, limit: int | None = None
    ) -> list[TradeRecord]:
        """Return closed trades."""
        return self.records(TradeRecord, symbol=symbol, start=start, end=end, limit=limit)

    def equity(self, start: int | None = None, end: int | None = None, limit: int | None = None) -> list[EquityRecord]:
        """Return equity points (they have no symbol)."""
        return self.records(EquityRecord, start=start, end=end, limit=limit)

    def incidents(
        self, symbol: str | None = None, start: int | None = None, end: int | None = None, limit: int | None = None
    ) -> list[IncidentRecord]:
        """Return incidents."""
        return self.records(IncidentRecord, symbol=symbol, start=start, end=end, limit=limit)

    def outcomes(
        self, symbol: str | None = None, start: int | None = None, end: int | None = None, limit: int | None = None
    ) -> list[OutcomeRecord]:
        """Return what blocked signals would have made."""
        return self.records(OutcomeRecord, symbol=symbol, start=start, end=end, limit=limit)

    def counts(self) -> dict[str, int]:
        """Return the number of records of every kind."""
        with self._database.reading() as connection:
            return {
                name: connection.execute(sa.select(sa.func.count()).select_from(TABLES[kind])).scalar_one()
                for name, kind in KINDS.items()
            }

    def meta(self) -> dict[str, str]:
        """Return what the journal says about itself: ``created``, ``journal``, ``session``, ``previous``."""
        with self._database.reading() as connection:
            return {row.key: row.value for row in connection.execute(sa.select(META.c.key, META.c.value))}

    def restore(self, symbols: list[str], market_time: int | None = None) -> Restore:
        """
        Return what a starting node must know; see :class:`node.journal.restore.Restore`.

        Parameters
        ----------
        symbols : list[str]
            Venue symbols the node trades.
        market_time : int, optional
            UTC ns that tells the current day and hides equity points after it; the last equity point's if not given.

        Raises
        ------
        JournalError
            Fail closed: the journal cannot be read or holds a record that makes no sense.

        """
        with self._database.reading() as connection:
            try:
                return read_restore(connection, symbols, market_time)
            except (msgspec.MsgspecError, ArithmeticError, LookupError, ValueError) as e:
                raise self._database.error("cannot be restored from", e) from None

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


def kind_named(name: str) -> type[Record]:
    """
    Return the record type of that kind name.

    Raises
    ------
    JournalError
        Propagate: no such kind; the message lists the known ones.

    """
    if name not in KINDS:
        raise JournalError(f"no records of kind {name!r}; known kinds: {', '.join(KINDS)}")
    return KINDS[name]
