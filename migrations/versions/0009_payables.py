"""Invoices, payments, what was paid of which, and payees that are prepaid; and room for further kinds of spend lines.

Invariants: nothing that the ledger stands on is changed. The new tables begin empty; spend lines keep every row, and
what kinds of them there may be is no rule of the table any more. Lines of a book that has accounts of prepaid credit
are made again, because they now say what is owed less that credit. The way back drops the tables and the new kinds of
lines; the log has all that was in them, and an older version cannot follow it.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: None = None
depends_on: None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
LIVE = "state <> 'void'"
PAYABLE = "state <> 'void' AND paid < total"
TABLES = ("invoices", "payments", "invoice_payments", "payee_terms")
LINES = "spend_lines"
LINES_BEFORE = "spend_lines_before"
INVOICED = "kind = 'invoice' OR kind = 'invoice_void'"
KINDS = (
    "settlement", "charge", "refund", "reprice", "adjustment", "allocation", "deallocation", "renewal", "lapse",
    "budget_closure",
)  # fmt: skip
LISTED = " OR ".join(f"kind = '{kind}'" for kind in KINDS)
PLACE = ("effective_at", "log_index", "position")
LINE_INDEXES: tuple[tuple[str, tuple[str, ...], str | None], ...] = (
    ("spend_lines_effective", PLACE, None),
    ("spend_lines_agent", ("agent", *PLACE), "agent IS NOT NULL"),
    ("spend_lines_budget", ("budget", *PLACE), "budget IS NOT NULL"),
    ("spend_lines_payee", ("payee", *PLACE), "payee IS NOT NULL"),
    ("spend_lines_run", ("run", *PLACE), "run IS NOT NULL"),
    ("spend_lines_corrections", ("authorization_id", "log_index"), "corrects IS NOT NULL"),
    ("spend_lines_backdated", ("recorded_at", "log_index"), "effective_at <> recorded_at"),
)


def big(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A 64-bit column."""
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=null)


def ascii_text(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A column of text that sorts by its bytes on both databases."""
    return sa.Column(name, TEXT, nullable=null)


def table(name: str, *items: Any, key: tuple[str, ...]) -> None:
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
    table(
        "invoices",
        ascii_text("id"), ascii_text("payee"), ascii_text("number"), ascii_text("currency"), big("issued_on"),
        big("due_on"), big("starts_on"), big("ends_on"), big("billed"), big("total"), big("paid"), ascii_text("state"),
        ascii_text("posted"), big("created_index"), big("changed_index"),
        check(
            "invoices", "state_listed",
            "state = 'open' OR state = 'partly_paid' OR state = 'paid' OR state = 'void'",
        ),
        check("invoices", "paid_within_total", "paid >= 0 AND paid <= total"),
        check("invoices", "void_is_unpaid", "state <> 'void' OR paid = 0"),
        check("invoices", "period_in_order", "ends_on >= starts_on"),
        check("invoices", "billed_not_negative", "billed >= 0"),
        key=("id",),
    )  # fmt: skip
    index("invoices_number", "invoices", "payee", "number", where=LIVE)
    index("invoices_payable", "invoices", "payee", "currency", "due_on", where=PAYABLE)
    index("invoices_due", "invoices", "due_on", "created_index", where=PAYABLE)
    index("invoices_payee", "invoices", "payee", "created_index")
    index("invoices_listed", "invoices", "created_index")
    table(
        "payments",
        ascii_text("id"), ascii_text("payee"), ascii_text("source"), ascii_text("currency"), big("amount"),
        big("prepaid"), big("on_account"), ascii_text("state"), big("effective_at"), big("created_index"),
        big("changed_index"),
        check("payments", "state_listed", "state = 'made' OR state = 'reversed'"),
        check(
            "payments", "parts_within_amount", "prepaid >= 0 AND on_account >= 0 AND prepaid + on_account <= amount"
        ),
        check("payments", "amount_positive", "amount > 0"),
        key=("id",),
    )  # fmt: skip
    index("payments_payee", "payments", "payee", "created_index")
    index("payments_listed", "payments", "created_index")
    table(
        "invoice_payments",
        ascii_text("payment"), ascii_text("invoice"), big("amount"), big("created_index"),
        check("invoice_payments", "amount_positive", "amount > 0"),
        key=("payment", "invoice"),
    )  # fmt: skip
    index("invoice_payments_invoice", "invoice_payments", "invoice", "created_index")
    table(
        "payee_terms",
        ascii_text("payee"), ascii_text("turns"), big("created_index"), big("changed_index"),
        key=("payee",),
    )  # fmt: skip
    if op.get_bind().dialect.name == "sqlite":
        rebuild_lines()
    else:
        op.execute(f"ALTER TABLE {LINES} DROP CONSTRAINT {LINES}_kind_listed")
    index("spend_lines_invoiced", LINES, "payee", "effective_at", where=INVOICED)
    op.execute(
        "UPDATE spend_cursor SET next_index = -1 WHERE next_index > 0 AND EXISTS (SELECT 1 FROM accounts a"
        " WHERE a.book_id = spend_cursor.book_id AND a.name >= 'assets:prepaid:' AND a.name < 'assets:prepaid;')"
    )


def downgrade() -> None:
    """Drop the tables, and let lines be made again where they have a new kind."""
    op.execute(
        f"UPDATE spend_cursor SET next_index = -1 WHERE EXISTS (SELECT 1 FROM {LINES} l"
        f" WHERE l.book_id = spend_cursor.book_id AND NOT ({LISTED}))"
    )
    op.execute(f"DELETE FROM {LINES} WHERE NOT ({LISTED})")
    op.drop_index("spend_lines_invoiced", table_name=LINES)
    if op.get_bind().dialect.name == "sqlite":
        rebuild_lines(check(LINES, "kind_listed", LISTED))
    else:
        op.execute(f"ALTER TABLE {LINES} ADD CONSTRAINT {LINES}_kind_listed CHECK ({LISTED}) NOT VALID")
        op.execute(f"ALTER TABLE {LINES} VALIDATE CONSTRAINT {LINES}_kind_listed")
    for name in reversed(TABLES):
        op.drop_table(name)


def rebuild_lines(*rules: sa.CheckConstraint) -> None:
    """Spend lines anew with their rows, on SQLite, which changes no rule of a table that is there."""
    for name, _, _ in LINE_INDEXES:
        op.drop_index(name, table_name=LINES)
    op.rename_table(LINES, LINES_BEFORE)
    table(
        LINES,
        big("log_index"), sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        ascii_text("kind"), ascii_text("authorization_id", null=True), ascii_text("agent", null=True),
        ascii_text("budget", null=True), ascii_text("run", null=True), ascii_text("category", null=True),
        ascii_text("payee", null=True), ascii_text("resource", null=True), ascii_text("labels", null=True),
        ascii_text("approvals", null=True), sa.Column("flags", sa.Integer(), autoincrement=False, nullable=False),
        big("corrects", null=True), ascii_text("currency"), big("amount"), big("spent"), big("authority"),
        big("owed"), big("effective_at"), big("recorded_at"), *rules,
        key=("log_index", "position"),
    )  # fmt: skip
    op.execute(f"INSERT INTO {LINES} SELECT * FROM {LINES_BEFORE}")
    op.drop_table(LINES_BEFORE)
    for name, columns, where in LINE_INDEXES:
        index(name, LINES, *columns, where=where)
