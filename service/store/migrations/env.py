"""Run by alembic: migrates over the connection that `database.migrate` hands in."""

from alembic import context

from service.store.database import VERSION_TABLE
from service.store.tables import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=Base.metadata, render_as_batch=True, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
connection.commit()
