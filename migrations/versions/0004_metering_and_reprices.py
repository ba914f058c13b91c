"""What settlements were metered from, and what repricing changed.

Invariants: rows that are there keep every value, metered from nothing and repriced by nothing; what was refunded stays
bounded by what was settled, as repriced. The way back is refused once something was repriced, because what the tables
of before would say is then not what the log says.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: None = None
depends_on: None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TABLE = "authorizations"
BEFORE = "authorizations_before"
BOUND = "authorizations_refunded_within_settled"
OLD_BOUND = "refunded >= 0 AND refunded <= settled"
NEW_BOUND = "refunded >= 0 AND refunded <= settled + repriced"
STATES = ("denied", "pending_approval", "held", "settled", "released", "expired", "refused")
COLUMNS = (
    "book_id", "id", "agent", "budget", "run", "category", "payee", "resource", "currency", "amount", "approved",
    "held", "settled", "refunded", "state", "flags", "reason", "on_expiry", "created_at", "expires_at", "due_at",
    "settled_category", "settled_payee", "splits", "labels", "portions", "created_index", "changed_index",
)  # fmt: skip
INDEXES: tuple[tuple[str, tuple[str, ...], str | None], ...] = (
    ("authorizations_agent", ("book_id", "agent", "created_index"), None),
    ("authorizations_budget", ("book_id", "budget", "created_index"), None),
    ("authorizations_due", ("book_id", "due_at"), "due_at IS NOT NULL"),
    ("authorizations_flagged", ("book_id", "created_index"), "flags <> 0"),
    ("authorizations_run", ("book_id", "run", "created_index"), "run IS NOT NULL"),
    ("authorizations_state", ("book_id", "state", "created_index"), None),
)


def big(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A 64-bit column."""
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=null)


def ascii_text(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A column of text that sorts by its bytes on both databases."""
    return sa.Column(name, TEXT, nullable=null)


def check(name: str, rule: str) -> sa.CheckConstraint:
    """A rule of the table."""
    return sa.CheckConstraint(rule, name=op.f(f"{TABLE}_{name}"))


def upgrade() -> None:
    """Add the two columns, and let the bound of refunds look at what was repriced."""
    if op.get_bind().dialect.name == "sqlite":
        rebuild(added=True)
        return
    op.add_column(TABLE, ascii_text("metering", null=True))
    # A constant default is not written into the rows that are there; it goes again, because every writer says it.
    op.execute(f"ALTER TABLE {TABLE} ADD COLUMN repriced BIGINT NOT NULL DEFAULT 0")
    op.execute(f"ALTER TABLE {TABLE} ALTER COLUMN repriced DROP DEFAULT")
    replace_bound(NEW_BOUND)


def downgrade() -> None:
    """Take the columns away again. Raises ValueError once something was repriced."""
    repriced = op.get_bind().execute(sa.text(f"SELECT id FROM {TABLE} WHERE repriced <> 0 LIMIT 1")).scalar()
    if repriced is not None:
        raise ValueError(f"{repriced} was repriced, which the tables before this revision cannot say")
    if op.get_bind().dialect.name == "sqlite":
        rebuild(added=False)
        return
    replace_bound(OLD_BOUND)
    op.drop_column(TABLE, "repriced")
    op.drop_column(TABLE, "metering")


def replace_bound(rule: str) -> None:
    """Another bound of refunds, on PostgreSQL; the rows are checked by a scan that lets others read."""
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT {BOUND}")
    op.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT {BOUND} CHECK ({rule}) NOT VALID")
    op.execute(f"ALTER TABLE {TABLE} VALIDATE CONSTRAINT {BOUND}")


def rebuild(*, added: bool) -> None:
    """The table anew with its rows, on SQLite, which changes no rule of a table that is there."""
    for name, _, _ in INDEXES:
        op.drop_index(name, table_name=TABLE)
    op.rename_table(TABLE, BEFORE)
    more = [ascii_text("metering", null=True), big("repriced")] if added else []
    op.create_table(
        TABLE,
        big("book_id"), ascii_text("id"), ascii_text("agent", null=True), ascii_text("budget"),
        ascii_text("run", null=True), ascii_text("category"), ascii_text("payee"), ascii_text("resource", null=True),
        ascii_text("currency"), big("amount"), big("approved"), big("held"), big("settled"), big("refunded"),
        ascii_text("state"), sa.Column("flags", sa.Integer(), autoincrement=False, nullable=False),
        ascii_text("reason", null=True), ascii_text("on_expiry"), big("created_at"), big("expires_at", null=True),
        big("due_at", null=True), ascii_text("settled_category", null=True), ascii_text("settled_payee", null=True),
        ascii_text("splits", null=True), ascii_text("labels", null=True), ascii_text("portions", null=True),
        big("created_index"), big("changed_index"), *more,
        check("state_listed", " OR ".join(f"state = '{state}'" for state in STATES)),
        check("on_expiry_listed", "on_expiry = 'release' OR on_expiry = 'unknown'"),
        check("amount_positive", "amount > 0"),
        check("approved_not_negative", "approved >= 0"),
        check("settled_not_negative", "settled >= 0"),
        check("refunded_within_settled", NEW_BOUND if added else OLD_BOUND),
        check("held_only_while_open", "held = 0 OR (held > 0 AND (state = 'held' OR state = 'pending_approval'))"),
        sa.PrimaryKeyConstraint("book_id", "id", name=op.f(f"{TABLE}_pkey")),
        sqlite_with_rowid=False,
    )  # fmt: skip
    kept = ", ".join(COLUMNS)
    names, values = (f"{kept}, repriced", f"{kept}, 0") if added else (kept, kept)
    op.execute(f"INSERT INTO {TABLE} ({names}) SELECT {values} FROM {BEFORE}")
    op.drop_table(BEFORE)
    for name, columns, where in INDEXES:
        partial: dict[str, Any] = {} if where is None else {"sqlite_where": sa.text(where)}
        op.create_index(name, TABLE, list(columns), unique=False, **partial)
