"""Spend lines: what statements and reports read, written behind the log.

Invariant: nothing that the ledger stands on is changed. The tables begin empty and fill from the log by themselves; the
way back drops them and no other.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: None = None
depends_on: None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TABLES = ("spend_lines", "spend_days", "spend_holds", "spend_cursor")
KINDS = (
    "settlement", "charge", "refund", "reprice", "adjustment", "allocation", "deallocation", "renewal", "lapse",
    "budget_closure",
)  # fmt: skip
PLACE = ("effective_at", "log_index", "position")


def big(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A 64-bit column."""
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=null)


def small(name: str) -> sa.Column[Any]:
    """A 32-bit column."""
    return sa.Column(name, sa.Integer(), autoincrement=False, nullable=False)


def ascii_text(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A column of text that sorts by its bytes on both databases."""
    return sa.Column(name, TEXT, nullable=null)


def table(name: str, *items: Any, key: tuple[str, ...] = ()) -> None:
    """A table whose key is led by the book."""
    primary = sa.PrimaryKeyConstraint("book_id", *key, name=op.f(f"{name}_pkey"))
    op.create_table(name, big("book_id"), *items, primary, sqlite_with_rowid=False)


def check(table_name: str, name: str, rule: str) -> sa.CheckConstraint:
    """A rule that rows keep."""
    return sa.CheckConstraint(rule, name=op.f(f"{table_name}_{name}"))


def index(name: str, table_name: str, *columns: str, where: str | None = None) -> None:
    """An index led by the book."""
    partial: dict[str, Any] = (
        {} if where is None else {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}
    )
    op.create_index(name, table_name, ["book_id", *columns], unique=False, **partial)


def upgrade() -> None:
    """Make the tables."""
    listed = " OR ".join(f"kind = '{kind}'" for kind in KINDS)
    table(
        "spend_lines",
        big("log_index"), small("position"), ascii_text("kind"), ascii_text("authorization_id", null=True),
        ascii_text("agent", null=True), ascii_text("budget", null=True), ascii_text("run", null=True),
        ascii_text("category", null=True), ascii_text("payee", null=True), ascii_text("resource", null=True),
        ascii_text("labels", null=True), ascii_text("approvals", null=True), small("flags"),
        big("corrects", null=True), ascii_text("currency"), big("amount"), big("spent"), big("authority"),
        big("owed"), big("effective_at"), big("recorded_at"),
        check("spend_lines", "kind_listed", listed),
        key=("log_index", "position"),
    )  # fmt: skip
    index("spend_lines_effective", "spend_lines", *PLACE)
    for column in ("agent", "budget", "payee", "run"):
        index(f"spend_lines_{column}", "spend_lines", column, *PLACE, where=f"{column} IS NOT NULL")
    index("spend_lines_corrections", "spend_lines", "authorization_id", "log_index", where="corrects IS NOT NULL")
    index("spend_lines_backdated", "spend_lines", "recorded_at", "log_index", where="effective_at <> recorded_at")
    table(
        "spend_days",
        big("day"), ascii_text("agent"), ascii_text("budget"), ascii_text("category"), ascii_text("payee"),
        ascii_text("currency"), big("amount"), big("spent"), big("owed"), big("lines"), big("changed_index"),
        check("spend_days", "lines_positive", "lines > 0"),
        key=("day", "agent", "budget", "category", "payee", "currency"),
    )  # fmt: skip
    index("spend_days_agent", "spend_days", "agent", "day")
    table(
        "spend_holds", big("ended_index"), big("opened_index"), small("span"),
        check("spend_holds", "ended_after_opened", "ended_index > opened_index"),
        key=("ended_index",),
    )  # fmt: skip
    index("spend_holds_span", "spend_holds", "span", "opened_index")
    table("spend_cursor", big("next_index"))


def downgrade() -> None:
    """Drop the tables; the log has all that was in them."""
    for name in reversed(TABLES):
        op.drop_table(name)
