"""Alembic's entry: runs the pending revisions on the connection (and in the transaction) it is handed."""

from alembic import context

from research.service.models import VERSION_TABLE, Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
