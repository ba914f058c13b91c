"""Alerts: the endpoints they go to, what was told, to whom, and what signs it.

Invariant: nothing that the ledger stands on is changed; the way back drops these tables and no other.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: None = None
depends_on: None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
PENDING_ONLY = "state = 'pending'"
STATES = "state = 'pending' OR state = 'delivered' OR state = 'failed' OR state = 'dropped'"
TABLES = (
    "webhook_endpoints", "webhook_secrets", "webhook_events", "webhook_deliveries", "webhook_health", "watch_cursors",
    "watch_states",
)  # fmt: skip


def big(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A 64-bit column."""
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=null)


def small(name: str) -> sa.Column[Any]:
    """A 32-bit column."""
    return sa.Column(name, sa.Integer(), autoincrement=False, nullable=False)


def ascii_text(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A column of text that sorts by its bytes on both databases."""
    return sa.Column(name, TEXT, nullable=null)


def raw(name: str) -> sa.Column[Any]:
    """A column of bytes."""
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def table(name: str, *items: Any, key: tuple[str, ...] = ()) -> None:
    """A table whose key is led by the book."""
    primary = sa.PrimaryKeyConstraint("book_id", *key, name=op.f(f"{name}_pkey"))
    op.create_table(name, big("book_id"), *items, primary, sqlite_with_rowid=False)


def upgrade() -> None:
    """Make the tables."""
    table(
        "webhook_endpoints", ascii_text("id"), ascii_text("url"), ascii_text("events"), ascii_text("secret"),
        ascii_text("previous_secret", null=True), big("previous_until", null=True), ascii_text("registered_by"),
        big("created_at"), big("removed_at", null=True), big("created_index"), big("changed_index"), key=("id",),
    )  # fmt: skip
    table("webhook_secrets", ascii_text("id"), raw("secret"), big("created_at"), key=("id",))
    table(
        "webhook_events", ascii_text("id"), big("log_index"), small("ordinal"), ascii_text("type"), big("created_at"),
        raw("payload"), key=("id",),
    )  # fmt: skip
    op.create_index("webhook_events_log_index", "webhook_events", ["book_id", "log_index", "id"], unique=False)
    table(
        "webhook_deliveries", ascii_text("webhook"), ascii_text("event"), big("log_index"), ascii_text("state"),
        small("attempts"), big("next_at"), big("attempted_at", null=True), ascii_text("result", null=True),
        sa.CheckConstraint(STATES, name=op.f("webhook_deliveries_state_listed")),
        sa.CheckConstraint("attempts >= 0", name=op.f("webhook_deliveries_attempts_not_negative")),
        key=("webhook", "event"),
    )  # fmt: skip
    op.create_index(
        "webhook_deliveries_due",
        "webhook_deliveries",
        ["book_id", "webhook", "next_at"],
        unique=False,
        sqlite_where=sa.text(PENDING_ONLY),
        postgresql_where=sa.text(PENDING_ONLY),
    )
    op.create_index(
        "webhook_deliveries_log_index",
        "webhook_deliveries",
        ["book_id", "webhook", "log_index", "event"],
        unique=False,
    )
    op.create_index("webhook_deliveries_event", "webhook_deliveries", ["book_id", "event"], unique=False)
    table(
        "webhook_health", ascii_text("webhook"), big("failing_since", null=True), big("disabled_at", null=True),
        ascii_text("reason", null=True), key=("webhook",),
    )  # fmt: skip
    table("watch_cursors", big("next_index"), ascii_text("holder"), big("held_until"), big("swept_at"))
    table(
        "watch_states", ascii_text("kind"), ascii_text("name"), ascii_text("value"), big("changed_at"),
        key=("kind", "name"),
    )  # fmt: skip
    op.create_index("watch_states_changed_at", "watch_states", ["book_id", "kind", "changed_at"], unique=False)


def downgrade() -> None:
    """Drop the tables, with what was told and the secrets."""
    for name in reversed(TABLES):
        op.drop_table(name)
