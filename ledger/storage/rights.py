"""What the server's role may do on PostgreSQL: the grants it needs and no more, and what it may do beyond them.

Owns the table of rights. Invariants: nothing in an append-only table is updated, deleted or truncated by the role; a
column that no decision changes is not updated either; the role owns nothing and makes nothing, but partitions by the
owner's function. A table of this schema that has no line here gets what its sort needs.
"""

from typing import Final

from sqlalchemy import Connection, Table, text

from ledger.core.changeset import SIDE, TABLES
from ledger.storage.errors import StorageError
from ledger.storage.tables import APPEND_ONLY, metadata

_MUTABLE: Final = {spec.name: spec.mutable for spec in TABLES}
_SIDE_VERBS: Final = {
    # A free text can be removed without touching the log; the others are written once.
    "texts": "DELETE",
    "book_secrets": "",
    "signing_secrets": "",
    "checkpoints": "",
    "checkpoint_cosignatures": "",
    "checkpoint_turns": "UPDATE",
    "merkle_tiles": "DELETE",
    # Rows come with a detachment, which is the owner's.
    "log_archives": None,
}
"""What beyond SELECT and INSERT; None: SELECT alone. A side table without a line is written in every way."""

_ROLE: Final = text("SELECT rolsuper FROM pg_roles WHERE rolname = :role")
_CURRENT: Final = text("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user")
_EXCESS: Final = text(
    """
    SELECT c.relname, pg_has_role(current_user, c.relowner, 'USAGE'),
           has_any_column_privilege(c.oid, 'UPDATE'), has_table_privilege(c.oid, 'DELETE'),
           has_table_privilege(c.oid, 'TRUNCATE')
      FROM pg_class c
     WHERE c.oid IN ('log_records'::regclass, 'transfers'::regclass) OR c.oid IN (
           SELECT inhrelid FROM pg_inherits WHERE inhparent IN ('log_records'::regclass, 'transfers'::regclass))
     ORDER BY c.relname
    """
)


class RoleUnfit(StorageError):
    """A role that rights cannot be given to. The message says what to do."""


def statements(role: str) -> list[str]:
    """The SQL that gives a role, already quoted, what a server needs and takes from it whatever else it had on the
    tables; to be run by the owner of the tables, with their schema first on the search path."""
    made = []
    for table in metadata.sorted_tables:
        made.append(f"REVOKE ALL ON {table.name} FROM {role}")
        made += [f"GRANT {verb} ON {table.name} TO {role}" for verb in _verbs(table)]
    made.append(f"GRANT SELECT ON alembic_version TO {role}")
    made.append(f"GRANT EXECUTE ON FUNCTION bursar_add_partitions(bigint) TO {role}")
    return made


def _verbs(table: Table) -> list[str]:
    name = table.name
    if name in APPEND_ONLY:
        return ["SELECT, INSERT"]
    if table.info["sort"] != SIDE and name not in _MUTABLE:
        # Written behind the log, and made again from it when what was there is taken away.
        return ["SELECT, INSERT, UPDATE, DELETE"]
    if table.info["sort"] != SIDE:
        columns = ", ".join(_MUTABLE[name])
        return ["SELECT, INSERT"] + ([f"UPDATE ({columns})"] if columns else [])
    verb = _SIDE_VERBS.get(name, "UPDATE, DELETE")
    if verb is None:
        return ["SELECT"]
    return [f"SELECT, INSERT, {verb}" if verb else "SELECT, INSERT"]


def grant(connection: Connection, role: str) -> list[str]:
    """Give a role what ``statements`` says, on every partition too; what was run. Raises RoleUnfit, StorageError."""
    if connection.dialect.name != "postgresql":
        raise RoleUnfit("SQLite has no roles: whoever may write the file may write all of it; see docs/security.md")
    row = connection.execute(_ROLE, {"role": role}).one_or_none()
    if row is None:
        raise RoleUnfit(f'there is no role "{role}": make it first, with CREATE ROLE "{role}" LOGIN')
    if row[0]:
        raise RoleUnfit(f'"{role}" is a superuser, whom no grant binds: give the server a role of its own')
    if role == connection.execute(text("SELECT current_user")).scalar_one():
        raise RoleUnfit(f'"{role}" owns the tables, and an owner can give itself anything: grant to another role')
    quoted, schema = connection.execute(
        text("SELECT quote_ident(:role), quote_ident(current_schema())"), {"role": role}
    ).one()
    parts = connection.execute(
        text(
            "SELECT inhrelid::regclass::text FROM pg_inherits"
            " WHERE inhparent IN ('log_records'::regclass, 'transfers'::regclass) ORDER BY 1"
        )
    ).scalars()
    run = [f"GRANT USAGE ON SCHEMA {schema} TO {quoted}", f"REVOKE CREATE ON SCHEMA {schema} FROM {quoted}"]
    # Rows reach a partition through its parent, whose rights count then.
    run += [f"REVOKE ALL ON {part} FROM {quoted}" for part in parts]
    run += statements(quoted)
    for statement in run:
        connection.exec_driver_sql(statement)
    return run


def excess(connection: Connection) -> list[str]:
    """Why the connected role could change history, a sentence each; none where it cannot, or on SQLite."""
    if connection.dialect.name != "postgresql":
        return []
    role, is_superuser = connection.execute(_CURRENT).one()
    if is_superuser:
        return [f'the database role "{role}" is a superuser, whom no grant and no trigger binds']
    found = []
    for name, owns, updates, deletes, truncates in connection.execute(_EXCESS):
        if owns:
            found.append(f'the database role "{role}" owns {name}, and can drop what protects it')
        elif updates or deletes or truncates:
            verbs = [verb for verb, may in (("UPDATE", updates), ("DELETE", deletes), ("TRUNCATE", truncates)) if may]
            found.append(f'the database role "{role}" has the right to {", ".join(verbs)} on {name}')
    return found
