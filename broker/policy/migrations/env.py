"""Alembic's entry: runs the migrations on the connection that `policy/database.py` opened."""

from alembic import context

from broker.policy.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
