"""Runs with a cap, and keys that are for one run only.

Invariants: every row stays as it is, with nothing in the new columns; on PostgreSQL no table is rewritten and none is
locked while its rows are checked. SQLite adds no constraint to a table that exists, so there both tables, which are
small, are made anew from their own rows.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: None = None
depends_on: None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NEW: dict[str, tuple[tuple[str, sa.types.TypeEngine[Any]], ...]] = {
    "runs": (("cap", sa.BigInteger()), ("cap_currency", TEXT)),
    "api_keys": (("run", TEXT), ("vouched_by", TEXT)),
}
RULES: dict[str, tuple[tuple[str, str], ...]] = {
    "runs": (
        ("runs_cap_positive", "cap > 0"),
        ("runs_cap_has_a_currency", "(cap IS NULL) = (cap_currency IS NULL)"),
    ),
    "api_keys": (("api_keys_run_is_an_agents", "run IS NULL OR role = 'agent'"),),
}
INDEXES: dict[str, tuple[tuple[str, tuple[str, ...], bool], ...]] = {
    "runs": (("runs_agent", ("book_id", "agent", "id"), False), ("runs_id", ("book_id", "id"), True)),
    "api_keys": (("api_keys_id", ("book_id", "id"), True),),
}
BEFORE = "_before_0003"


def big(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A 64-bit column."""
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=null)


def ascii_text(name: str) -> sa.Column[Any]:
    """A column of text that sorts by its bytes on both databases."""
    return sa.Column(name, TEXT, nullable=False)


def old_columns(table: str) -> list[sa.Column[Any]]:
    """The columns that a table has without this revision."""
    if table == "runs":
        return [
            big("book_id"), ascii_text("name"), ascii_text("id"), ascii_text("agent"), big("opened_at"),
            big("created_index"),
        ]  # fmt: skip
    return [
        big("book_id"), sa.Column("digest", sa.LargeBinary(), nullable=False), ascii_text("id"), ascii_text("role"),
        ascii_text("principal"), ascii_text("made_by"), big("created_at"), big("expires_at", null=True),
        big("revoked_at", null=True), big("created_index"), big("changed_index"),
    ]  # fmt: skip


def old_rules(table: str) -> list[sa.Constraint]:
    """The constraints that a table has without this revision."""
    if table == "runs":
        return [sa.PrimaryKeyConstraint("book_id", "name", name=op.f("runs_pkey"))]
    return [
        sa.CheckConstraint("length(digest) = 32", name=op.f("api_keys_digest_is_a_hash")),
        sa.PrimaryKeyConstraint("book_id", "digest", name=op.f("api_keys_pkey")),
    ]


def make_anew(table: str, columns: Sequence[sa.Column[Any]], rules: Sequence[sa.Constraint]) -> None:
    """Make a table of SQLite anew, under its own name, and take over what its rows have of the old columns."""
    kept = ", ".join(column.name for column in old_columns(table))
    for name, _, _ in INDEXES[table]:
        op.drop_index(name, table_name=table)
    op.rename_table(table, table + BEFORE)
    op.create_table(table, *columns, *rules, sqlite_with_rowid=False)
    op.execute(sa.text(f"INSERT INTO {table} ({kept}) SELECT {kept} FROM {table}{BEFORE}"))
    op.drop_table(table + BEFORE)
    for name, indexed, unique in INDEXES[table]:
        op.create_index(name, table, list(indexed), unique=unique)


def upgrade() -> None:
    """Add the columns, and the rules that they keep."""
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, added in NEW.items():
        columns = [sa.Column(name, kind, autoincrement=False, nullable=True) for name, kind in added]
        if on_sqlite:
            rules = [sa.CheckConstraint(rule, name=op.f(name)) for name, rule in RULES[table]]
            make_anew(table, [*old_columns(table), *columns], [*old_rules(table), *rules])
            continue
        for column in columns:
            op.add_column(table, column)
        for name, rule in RULES[table]:
            op.execute(sa.text(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({rule}) NOT VALID"))
            op.execute(sa.text(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"))


def downgrade() -> None:
    """Drop the columns, with the caps of runs and what keys are for. A key for one run would be good for everything its
    agent may do, so such keys are ended."""
    op.execute(sa.text("UPDATE api_keys SET revoked_at = created_at WHERE run IS NOT NULL AND revoked_at IS NULL"))
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, added in NEW.items():
        if on_sqlite:
            make_anew(table, old_columns(table), old_rules(table))
            continue
        for name, _ in RULES[table]:
            op.drop_constraint(op.f(name), table, type_="check")
        for column, _ in added:
            op.drop_column(table, column)
