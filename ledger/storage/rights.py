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
_CURRENT: Final = text("SELECT current_user")
_SUPERUSERS: Final = text(
    """
    SELECT rolname FROM pg_roles
     WHERE rolsuper AND pg_has_role(CAST(:role AS name), oid, 'MEMBER')
     ORDER BY rolname <> :role, rolname LIMIT 1
    """
)
_EXCESS: Final = text(
    """
    SELECT c.relname, min(r.rolname) FILTER (WHERE r.oid = c.relowner),
           bool_or(has_any_column_privilege(r.oid, c.oid, 'UPDATE')),
           bool_or(has_table_privilege(r.oid, c.oid, 'DELETE')),
           bool_or(has_table_privilege(r.oid, c.oid, 'TRUNCATE'))
      FROM pg_class c CROSS JOIN pg_roles r
     WHERE pg_has_role(CAST(:role AS name), r.oid, 'MEMBER') AND (
           c.oid IN ('log_records'::regclass, 'transfers'::regclass) OR c.oid IN (
           SELECT inhrelid FROM pg_inherits WHERE inhparent IN ('log_records'::regclass, 'transfers'::regclass)))
     GROUP BY c.relname
     ORDER BY c.relname
    """
)
"""Over the role and every role that it is a member of, whether it inherits what they may or takes it by SET ROLE."""


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
    """Give a role what ``statements`` says, on every partition too; what was run. What it has by another role or by
    PUBLIC stays, and ``excess`` tells it. Raises RoleUnfit, StorageError."""
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


def excess(connection: Connection, role: str | None = None) -> list[str]:
    """Why a role (None: the connected one) could change history, a sentence each; none where it cannot, or on SQLite.
    What it may do as another role that it is a member of counts, and what everybody may."""
    if connection.dialect.name != "postgresql":
        return []
    role = role if role is not None else str(connection.execute(_CURRENT).scalar_one())
    superuser = connection.execute(_SUPERUSERS, {"role": role}).scalar()
    if superuser == role:
        return [f'the database role "{role}" is a superuser, whom no grant and no trigger binds']
    if superuser is not None:
        named = f'"{role}" can become the superuser "{superuser}"'
        return [f"the database role {named}, whom no grant and no trigger binds"]
    found = []
    for name, owner, updates, deletes, truncates in connection.execute(_EXCESS, {"role": role}):
        if owner is not None:
            owns = f"owns {name}" if owner == role else f'can become "{owner}", which owns {name}'
            found.append(f'the database role "{role}" {owns}, and can drop what protects it')
        elif updates or deletes or truncates:
            verbs = [verb for verb, may in (("UPDATE", updates), ("DELETE", deletes), ("TRUNCATE", truncates)) if may]
            found.append(f'the database role "{role}" has the right to {", ".join(verbs)} on {name}')
    return found
