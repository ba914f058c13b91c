"""Reconciliations: what a payee's own figures were compared with, and what that left open.

Invariant: nothing that the ledger stands on is changed; the way back drops this table and no other.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: None = None
depends_on: None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NAME = "reconciliations"


def _big(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False) for name in names]


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _check(name: str, rule: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(f"{NAME}_{name}"))


def upgrade() -> None:
    """Make the table and its indexes."""
    op.create_table(
        NAME,
        *_big("book_id"),
        *_text("id", "payee", "currency", "source"),
        *_big("starts_at", "ends_at", "at_size", "provider_total", "ledger_total", "open_differences", "open_amount"),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        *_text("made_by"),
        *_big("created_at", "created_index"),
        _check("ends_after_start", "ends_at > starts_at"),
        _check("stands_on_records_before", "at_size >= 0 AND at_size <= created_index"),
        _check("open_not_negative", "open_differences >= 0"),
        _check("equal_unless_open", "open_differences > 0 OR (open_amount = 0 AND accepted)"),
        sa.PrimaryKeyConstraint("book_id", "id", name=op.f(f"{NAME}_pkey")),
        sqlite_with_rowid=False,
    )
    for name, columns in (
        ("ends_at", ("ends_at",)),
        ("created", ("created_index",)),
        ("payee", ("payee", "created_index")),
    ):
        op.create_index(f"{NAME}_{name}", NAME, ["book_id", *columns], unique=False)


def downgrade() -> None:
    """Drop the table. The records of the log still say what was compared, and an older version cannot follow them."""
    op.drop_table(NAME)
