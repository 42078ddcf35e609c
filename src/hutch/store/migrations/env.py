"""Run by Alembic, on the connection that `hutch.store.migrations.upgrade` gives it."""

from alembic import context

from hutch.store import tables

context.configure(
    connection=context.config.attributes["connection"], target_metadata=tables.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
