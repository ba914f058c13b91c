"""Redactions: which free texts were removed from beside the log, and by which record.

Invariant: nothing that the ledger stands on is changed; the way back drops this table and no other.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: None = None
depends_on: None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "redactions",
        sa.Column("book_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("log_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("field", TEXT, nullable=False),
        sa.Column("created_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint(
            "field = 'evidence' OR field = 'intent' OR field = 'reason'", name=op.f("redactions_field_listed")
        ),
        sa.CheckConstraint("created_index > log_index", name=op.f("redactions_redacted_later")),
        sa.PrimaryKeyConstraint("book_id", "log_index", "field", name=op.f("redactions_pkey")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the table. The records of the log still say what was removed, and an older version cannot follow them."""
    op.drop_table("redactions")
