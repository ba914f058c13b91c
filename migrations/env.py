"""How Alembic runs our revisions: on the connection it is handed, inside that connection's transaction.

Invariant: the caller (``ledger.storage.migrate``) owns the transaction, so an upgrade happens whole or not at all.
"""

from alembic import context

from ledger.storage.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("run `bursar migrate`: it knows the database and hands over its connection")
context.configure(
    connection=connection,
    target_metadata=metadata,
    compare_type=True,
    compare_server_default=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
