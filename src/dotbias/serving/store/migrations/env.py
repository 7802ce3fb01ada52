"""What Alembic runs to migrate: on the connection that ``database.upgrade`` has opened."""

from alembic import context

from dotbias.serving.store.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
