"""Alembic's entry: runs the pending revisions on the connection (and in the transaction) it is handed."""

from alembic import context

from node.journal.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # also on SQLite, where the database module opens real transactions
)
with context.begin_transaction():
    context.run_migrations()
