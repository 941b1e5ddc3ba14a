"""The first schema: one table per record kind, and ``meta``."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _records(name: str, *columns: sa.Column[object], indices: list[list[str]]) -> None:
    op.create_table(
        name,
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("market_time", sa.BigInteger(), nullable=True),
        sa.Column("wall_time", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("seq", name=f"pk_{name}"),
        sa.UniqueConstraint("id", name=f"uq_{name}_id"),
    )
    for index in indices:
        op.create_index(f"ix_{name}_{'_'.join(index)}", name, index)


def upgrade() -> None:
    """Create every table and index."""
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )
    _records(
        "signals",
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("strength", sa.Double(), nullable=False),
        sa.Column("reference_price", sa.Double(), nullable=False),
        sa.Column("stop_price", sa.Double(), nullable=False),
        sa.Column("target_price", sa.Double(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        indices=[["market_time"], ["symbol", "market_time"]],
    )
    _records(
        "verdicts",
        sa.Column("signal_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        indices=[["market_time"], ["signal_id"], ["symbol", "market_time"]],
    )
    _records(
        "approvals",
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("stop_price", sa.Text(), nullable=False),
        sa.Column("target_price", sa.Text(), nullable=False),
        sa.Column("risk_amount", sa.Double(), nullable=False),
        indices=[["market_time"], ["symbol", "market_time"]],
    )
    _records(
        "orders",
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("venue_order_id", sa.Text(), nullable=True),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("leg", sa.Text(), nullable=True),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("order_type", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("price", sa.Text(), nullable=True),
        sa.Column("trigger_price", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        indices=[["client_order_id"], ["market_time"], ["symbol", "market_time"]],
    )
    _records(
        "fills",
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("venue_order_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("leg", sa.Text(), nullable=True),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("price", sa.Text(), nullable=False),
        sa.Column("fee", sa.Text(), nullable=False),
        sa.Column("liquidity", sa.Text(), nullable=False),
        sa.Column("event_time", sa.BigInteger(), nullable=False),
        indices=[["client_order_id"], ["market_time"], ["symbol", "event_time"], ["symbol", "market_time"]],
    )
    _records(
        "funding",
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("amount", sa.Double(), nullable=False),
        sa.Column("rate", sa.Double(), nullable=True),
        indices=[["market_time"], ["symbol", "market_time"]],
    )
    _records(
        "trades",
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("entry_time", sa.BigInteger(), nullable=True),
        sa.Column("entry_price", sa.Double(), nullable=False),
        sa.Column("exit_time", sa.BigInteger(), nullable=True),
        sa.Column("exit_price", sa.Double(), nullable=False),
        sa.Column("quantity", sa.Double(), nullable=False),
        sa.Column("stop", sa.Double(), nullable=True),
        sa.Column("target", sa.Double(), nullable=True),
        sa.Column("exit_reason", sa.Text(), nullable=False),
        sa.Column("gross_pnl", sa.Double(), nullable=False),
        sa.Column("fees", sa.Double(), nullable=False),
        sa.Column("funding", sa.Double(), nullable=False),
        sa.Column("net_pnl", sa.Double(), nullable=False),
        sa.Column("signal_id", sa.Text(), nullable=True),
        indices=[["market_time"], ["signal_id"], ["symbol", "market_time"]],
    )
    _records(
        "equity",
        sa.Column("balance", sa.Double(), nullable=False),
        sa.Column("unrealized", sa.Double(), nullable=False),
        sa.Column("equity", sa.Double(), nullable=False),
        sa.Column("open_positions", sa.BigInteger(), nullable=False),
        indices=[["market_time"]],
    )
    _records(
        "incidents",
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        indices=[["code", "wall_time"], ["market_time"]],
    )


def downgrade() -> None:
    """Refuse: going back would drop money records. Open the journal with the version that wrote it."""
    raise NotImplementedError("the journal is never downgraded")
