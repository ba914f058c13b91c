"""Months that are closed, what is explained before they are, and the day that a spend line was meant for.

Invariant: nothing is closed by this; no row that was there is changed. The way back drops the tables and the column,
and with them, until they are made again from the log, which months are closed.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: None = None
depends_on: None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def big(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A 64-bit column."""
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=null)


def ascii_text(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A column of text that sorts by its bytes on both databases."""
    return sa.Column(name, TEXT, nullable=null)


def hashed(name: str) -> sa.Column[Any]:
    """A column with 32 bytes or nothing."""
    return sa.Column(name, sa.LargeBinary(), nullable=True)


def check(table_name: str, name: str, rule: str) -> sa.CheckConstraint:
    """A rule that rows keep."""
    return sa.CheckConstraint(rule, name=op.f(f"{table_name}_{name}"))


def upgrade() -> None:
    """Make the tables and the column."""
    op.create_table(
        "periods",
        big("book_id"), ascii_text("period"), ascii_text("unit"), ascii_text("state"), big("starts_at"),
        big("ends_at"), big("backdated_index", null=True), big("size", null=True), hashed("root"), hashed("digest"),
        ascii_text("closed_by", null=True), big("closed_at", null=True), big("closed_index", null=True),
        ascii_text("reopen_by", null=True), ascii_text("reopen_backer", null=True), big("reopen_at", null=True),
        big("reopened_index", null=True), big("created_index"), big("changed_index"),
        check("periods", "unit_listed", "unit = 'month'"),
        check("periods", "state_listed", "state = 'open' OR state = 'closed'"),
        check("periods", "ends_after_start", "ends_at > starts_at"),
        check(
            "periods",
            "closed_has_statements",
            "(state = 'closed' AND size > 0 AND length(root) = 32 AND length(digest) = 32 AND closed_index >= size) OR "
            "(state = 'open' AND size IS NULL AND root IS NULL AND digest IS NULL AND closed_index IS NULL)",
        ),
        sa.PrimaryKeyConstraint("book_id", "period", name=op.f("periods_pkey")),
        sqlite_with_rowid=False,
    )  # fmt: skip
    op.create_index("periods_unit", "periods", ["book_id", "unit", "starts_at"], unique=False)
    op.create_table(
        "explanations",
        big("book_id"), ascii_text("authorization_id"),
        sa.Column("flags", sa.Integer(), autoincrement=False, nullable=False),
        ascii_text("explained_by"), big("created_index"), big("changed_index"),
        check("explanations", "flags_positive", "flags > 0"),
        sa.PrimaryKeyConstraint("book_id", "authorization_id", name=op.f("explanations_pkey")),
        sqlite_with_rowid=False,
    )  # fmt: skip
    op.create_index("explanations_changed", "explanations", ["book_id", "changed_index"], unique=False)
    if op.get_bind().dialect.name == "sqlite":
        rebuild(added=True)
    else:
        op.add_column("spend_lines", big("meant_for", null=True))


def downgrade() -> None:
    """Drop them; the log has all that was in them."""
    if op.get_bind().dialect.name == "sqlite":
        rebuild(added=False)
    else:
        op.drop_column("spend_lines", "meant_for")
    op.drop_index("explanations_changed", "explanations")
    op.drop_table("explanations")
    op.drop_index("periods_unit", "periods")
    op.drop_table("periods")


COLUMN = "\tmeant_for BIGINT, \n"
RULES = "\tCONSTRAINT "
"""Where the rules of a table begin, behind its columns."""


def rebuild(*, added: bool) -> None:
    """The spend lines anew with their rows, on SQLite, so that their columns stand before their rules as in a new
    database. Made of what the table says of itself, whatever else was added to it before."""
    connection = op.get_bind()
    made = connection.execute(sa.text("SELECT sql FROM sqlite_master WHERE name = 'spend_lines'")).scalar_one()
    indexes = connection.execute(
        sa.text("SELECT name, sql FROM sqlite_master WHERE tbl_name = 'spend_lines' AND type = 'index' AND sql <> ''")
    ).all()
    kept = [row[1] for row in connection.execute(sa.text("PRAGMA table_info(spend_lines)")) if row[1] != "meant_for"]
    for name, _ in indexes:
        op.drop_index(name, table_name="spend_lines")
    op.rename_table("spend_lines", "spend_lines_before")
    op.execute(made.replace(RULES, COLUMN + RULES, 1) if added else made.replace(COLUMN, "", 1))
    columns = ", ".join(kept)
    op.execute(f"INSERT INTO spend_lines ({columns}) SELECT {columns} FROM spend_lines_before")
    op.drop_table("spend_lines_before")
    for _, sql in indexes:
        op.execute(sql)
