"""What Alembic runs for each command: over the connection, and in the transaction, that it was given."""

from alembic import context

from verifier.storage.schema import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
