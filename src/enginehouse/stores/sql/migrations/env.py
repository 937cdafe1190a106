"""Alembic's way in: runs the migrations on the connection that it is handed, in the transaction that is open."""

from alembic import context

from enginehouse.stores.sql.metadata import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
