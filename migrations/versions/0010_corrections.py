"""Corrections: rules, sums, what waits for a second person, reversals; and an index on what lines correct.

Invariant: nothing that the ledger stands on is changed. The new tables begin empty, and the index of corrections is
made again by what is corrected, because an adjustment that corrects a line is of no authorization.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: None = None
depends_on: None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TABLES = ("correction_rules", "correction_sums", "corrections", "reversals")
OPERATIONS = ("charge", "refund", "reprice", "adjust", "reverse", "set_correction_rule")
STATES = ("pending", "approved", "refused", "withdrawn")


def big(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A 64-bit column."""
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=null)


def ascii_text(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A column of text that sorts by its bytes on both databases."""
    return sa.Column(name, TEXT, nullable=null)


def table(name: str, *items: Any, key: tuple[str, ...], small: bool = True) -> None:
    """A table whose key is led by the book."""
    primary = sa.PrimaryKeyConstraint("book_id", *key, name=op.f(f"{name}_pkey"))
    rows: dict[str, Any] = {"sqlite_with_rowid": False} if small else {}
    op.create_table(name, big("book_id"), *items, primary, **rows)


def check(table_name: str, name: str, rule: str) -> sa.CheckConstraint:
    """A rule that rows keep."""
    return sa.CheckConstraint(rule, name=op.f(f"{table_name}_{name}"))


def listed(table_name: str, column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    """A column that has one of some values."""
    return check(table_name, f"{column}_listed", " OR ".join(f"{column} = '{value}'" for value in values))


def upgrade() -> None:
    """Make the tables, and the index anew."""
    table(
        "correction_rules", ascii_text("currency"), big("above", null=True), big("created_index"), big("changed_index"),
        check("correction_rules", "above_not_negative", "above >= 0"),
        key=("currency",),
    )  # fmt: skip
    table(
        "correction_sums", ascii_text("person"), ascii_text("currency"), big("day"), big("amount"),
        big("changed_index"),
        check("correction_sums", "amount_not_negative", "amount >= 0"),
        key=("person", "currency"),
    )  # fmt: skip
    table(
        "corrections", ascii_text("id"), ascii_text("operation"), ascii_text("state"), ascii_text("request"),
        ascii_text("amounts"), ascii_text("requested_by"), ascii_text("requested_key"), ascii_text("key_made_by"),
        big("created_at"), big("expires_at"), big("decided_at", null=True), ascii_text("decided_by", null=True),
        big("created_index"), big("changed_index"),
        listed("corrections", "operation", OPERATIONS),
        listed("corrections", "state", STATES),
        check("corrections", "approved_by_another", "state <> 'approved' OR decided_by <> requested_by"),
        check("corrections", "decided_or_pending", "(decided_at IS NULL) = (state = 'pending')"),
        key=("id",),
        small=False,
    )  # fmt: skip
    op.create_index("corrections_created", "corrections", ["book_id", "created_index"], unique=False)
    op.create_index("corrections_state", "corrections", ["book_id", "state", "created_index"], unique=False)
    table(
        "reversals", big("log_index"), big("created_index"),
        check("reversals", "reversed_later", "created_index > log_index"),
        key=("log_index",),
    )  # fmt: skip
    op.create_index("reversals_created", "reversals", ["book_id", "created_index"], unique=True)
    index_corrections("corrects", "log_index")


def index_corrections(*columns: str) -> None:
    """Make the index of the lines that correct others anew."""
    where = sa.text("corrects IS NOT NULL")
    op.drop_index("spend_lines_corrections", "spend_lines")
    op.create_index(
        "spend_lines_corrections", "spend_lines", ["book_id", *columns], unique=False, sqlite_where=where,
        postgresql_where=where,
    )  # fmt: skip


def downgrade() -> None:
    """Drop the tables; the log has all that was in them."""
    index_corrections("authorization_id", "log_index")
    for name in reversed(TABLES):
        op.drop_table(name)
