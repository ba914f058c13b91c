"""Rates of exchange, and what an authorization was converted by.

Invariant: nothing that is there changes its meaning: what was authorized before was asked in its budget's currency, and
says so by an empty column.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: None = None
depends_on: None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def big(name: str) -> sa.Column[int]:
    """A 64-bit column."""
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def upgrade() -> None:
    """Make the table and the column."""
    op.create_table(
        "rates",
        big("book_id"),
        sa.Column("pair", TEXT, nullable=False),
        big("day"),
        sa.Column("rate", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("max_age_days", sa.Integer(), autoincrement=False, nullable=False),
        big("created_index"),
        big("changed_index"),
        sa.CheckConstraint("max_age_days >= 0 AND max_age_days <= 92", name=op.f("rates_max_age_days_in_range")),
        sa.CheckConstraint("changed_index >= created_index", name=op.f("rates_changed_later")),
        sa.PrimaryKeyConstraint("book_id", "pair", "day", name=op.f("rates_pkey")),
        sqlite_with_rowid=False,
    )
    op.add_column("authorizations", sa.Column("exchange", TEXT, nullable=True))


def downgrade() -> None:
    """Drop both. Raises ValueError once something was converted, because what the tables of before would say is then
    not what the log says."""
    converted = sa.text("SELECT id FROM authorizations WHERE exchange IS NOT NULL LIMIT 1")
    found = op.get_bind().execute(converted).scalar()
    if found is not None:
        raise ValueError(f"{found} was converted, which the tables before this revision cannot say")
    op.drop_column("authorizations", "exchange")
    op.drop_table("rates")
