"""The Alembic migrations of the schema, shipped with the server, for SQLite and PostgreSQL."""
