"""Outcomes of runs, and an index by which the runs of a period are found.

Invariant: no row changes; the way back drops this table and this index and no other.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: None = None
depends_on: None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table and the index."""
    op.create_table(
        "run_outcomes",
        sa.Column("book_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("run", TEXT, nullable=False),
        sa.Column("created_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("agent", TEXT, nullable=False),
        sa.Column("success", sa.Boolean(), nullable=False),
        sa.Column("score", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("reported_by", TEXT, nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint("score >= 0 AND score <= 1000000", name=op.f("run_outcomes_score_in_range")),
        sa.PrimaryKeyConstraint("book_id", "run", "created_index", name=op.f("run_outcomes_pkey")),
        sqlite_with_rowid=False,
    )
    # Runs are few beside calls: while PostgreSQL reads them, which takes a moment, none can be opened.
    op.create_index("runs_opened", "runs", ["book_id", "opened_at", "name"], unique=False)


def downgrade() -> None:
    """Drop both. The records of the log still say what was reported, and an older version cannot follow them."""
    op.drop_index("runs_opened", table_name="runs")
    op.drop_table("run_outcomes")
