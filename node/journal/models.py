"""
The tables: one per record kind, plus ``meta``.

Every table has ``seq`` (order of arrival), the record's fields as typed columns, and ``payload``: the record as JSON,
which is what readers decode, so a field added later is kept before it has a column. Lists (the feature row of a
signal, the verdicts of a trade) live in the payload only. Times are UTC nanoseconds; quantities and prices that came
from the venue are decimal text; money statistics are double precision USDT.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Double, Index, Integer, MetaData, Table, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from strategies import records

_SEQUENCE = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER is SQLite's row id


class Base(DeclarativeBase):
    """Declarative base; constraint names are fixed so that a later migration can address them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        },
    )
    type_annotation_map = {int: BigInteger, float: Double, str: Text, bool: Boolean}  # noqa: RUF012 - SQLAlchemy reads it from the class


class Meta(Base):
    """Facts about the journal itself: ``created``, ``journal`` (its identity), ``session``, ``previous``."""

    __tablename__ = "meta"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class RecordRow(Base):
    """Columns that every record kind has."""

    __abstract__ = True
    seq: Mapped[int] = mapped_column(_SEQUENCE, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    market_time: Mapped[int | None]
    wall_time: Mapped[int]
    payload: Mapped[str]


class SignalRow(RecordRow):
    """Published signals."""

    __tablename__ = "signals"
    __table_args__ = (Index(None, "symbol", "market_time"), Index(None, "market_time"))
    strategy: Mapped[str]
    symbol: Mapped[str]
    side: Mapped[str]
    strength: Mapped[float]
    reference_price: Mapped[float]
    stop_price: Mapped[float]
    target_price: Mapped[float]
    schema: Mapped[str]


class VerdictRow(RecordRow):
    """Answers of the gates."""

    __tablename__ = "verdicts"
    __table_args__ = (Index(None, "signal_id"), Index(None, "symbol", "market_time"), Index(None, "market_time"))
    signal_id: Mapped[str]
    symbol: Mapped[str]
    gate: Mapped[str]
    passed: Mapped[bool]
    reason: Mapped[str]
    score: Mapped[float | None]
    threshold: Mapped[float | None]
    detail: Mapped[str]


class ApprovalRow(RecordRow):
    """Granted sizes and levels."""

    __tablename__ = "approvals"
    __table_args__ = (Index(None, "symbol", "market_time"), Index(None, "market_time"))
    symbol: Mapped[str]
    side: Mapped[str]
    quantity: Mapped[str]
    stop_price: Mapped[str]
    target_price: Mapped[str]
    risk_amount: Mapped[float]


class OrderRow(RecordRow):
    """State changes of orders."""

    __tablename__ = "orders"
    __table_args__ = (Index(None, "client_order_id"), Index(None, "symbol", "market_time"), Index(None, "market_time"))
    client_order_id: Mapped[str]
    venue_order_id: Mapped[str | None]
    symbol: Mapped[str]
    leg: Mapped[str | None]
    event: Mapped[str]
    order_type: Mapped[str]
    side: Mapped[str]
    quantity: Mapped[str]
    price: Mapped[str | None]
    trigger_price: Mapped[str | None]
    reason: Mapped[str | None]


class FillRow(RecordRow):
    """Executions."""

    __tablename__ = "fills"
    __table_args__ = (
        Index(None, "client_order_id"),
        Index(None, "symbol", "event_time"),
        Index(None, "symbol", "market_time"),
        Index(None, "market_time"),
    )
    client_order_id: Mapped[str]
    venue_order_id: Mapped[str]
    symbol: Mapped[str]
    leg: Mapped[str | None]
    side: Mapped[str]
    quantity: Mapped[str]
    price: Mapped[str]
    fee: Mapped[str]
    liquidity: Mapped[str]
    event_time: Mapped[int]


class FundingRow(RecordRow):
    """Funding settlements."""

    __tablename__ = "funding"
    __table_args__ = (Index(None, "symbol", "market_time"), Index(None, "market_time"))
    symbol: Mapped[str]
    amount: Mapped[float]
    rate: Mapped[float | None]


class TradeRow(RecordRow):
    """Closed round trips."""

    __tablename__ = "trades"
    __table_args__ = (Index(None, "symbol", "market_time"), Index(None, "market_time"), Index(None, "signal_id"))
    symbol: Mapped[str]
    side: Mapped[str]
    entry_time: Mapped[int | None]
    entry_price: Mapped[float]
    exit_time: Mapped[int | None]
    exit_price: Mapped[float]
    quantity: Mapped[float]
    stop: Mapped[float | None]
    target: Mapped[float | None]
    exit_reason: Mapped[str]
    gross_pnl: Mapped[float]
    fees: Mapped[float]
    funding: Mapped[float]
    net_pnl: Mapped[float]
    signal_id: Mapped[str | None]


class EquityRow(RecordRow):
    """Account values."""

    __tablename__ = "equity"
    __table_args__ = (Index(None, "market_time"),)
    balance: Mapped[float]
    unrealized: Mapped[float]
    equity: Mapped[float]
    open_positions: Mapped[int]


class IncidentRow(RecordRow):
    """What a person should know of."""

    __tablename__ = "incidents"
    __table_args__ = (Index(None, "code", "wall_time"), Index(None, "market_time"))
    severity: Mapped[str]
    code: Mapped[str]
    symbol: Mapped[str | None]
    message: Mapped[str]


class OutcomeRow(RecordRow):
    """What blocked signals would have made."""

    __tablename__ = "outcomes"
    __table_args__ = (Index(None, "symbol", "market_time"), Index(None, "market_time"))
    symbol: Mapped[str]
    side: Mapped[str]
    blocked_by: Mapped[str]
    outcome: Mapped[str]
    net_r: Mapped[float | None]
    entry_price: Mapped[float | None]
    exit_price: Mapped[float | None]
    signal_time: Mapped[int]
    resolved_time: Mapped[int]
    score: Mapped[float | None]


def _table(row: type[RecordRow]) -> Table:
    table: Any = row.__table__
    if not isinstance(table, Table):  # pragma: no cover - a declarative class always maps a Table here
        raise TypeError(f"{row.__name__} maps no table")
    return table


META: Table = Meta.metadata.tables["meta"]
TABLES: dict[type[records.Record], Table] = {
    records.SignalRecord: _table(SignalRow),
    records.VerdictRecord: _table(VerdictRow),
    records.ApprovalRecord: _table(ApprovalRow),
    records.OrderRecord: _table(OrderRow),
    records.FillRecord: _table(FillRow),
    records.FundingRecord: _table(FundingRow),
    records.TradeRecord: _table(TradeRow),
    records.EquityRecord: _table(EquityRow),
    records.IncidentRecord: _table(IncidentRow),
    records.OutcomeRecord: _table(OutcomeRow),
}
"""Record type to its table."""

COLUMNS: dict[type[records.Record], tuple[str, ...]] = {
    kind: tuple(column.name for column in table.columns if column.name not in {"seq", "payload"})
    for kind, table in TABLES.items()
}
"""Record type to the fields that have a column of their own."""
