"""Everything the ledger stands on: the log, its projections, the side data, and the triggers that keep history.

Invariant: from this revision on, no statement changes or removes a log record or a transfer.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: None = None
depends_on: None = None

APPEND_ONLY = ("log_records", "transfers")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def big(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A 64-bit column."""
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=null)


def ascii_text(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A column of text that sorts by its bytes on both databases."""
    return sa.Column(name, TEXT, nullable=null)


def upgrade() -> None:
    """Make every table, then the triggers."""
    create_tables()
    if op.get_bind().dialect.name == "sqlite":
        protect_on_sqlite()
    else:
        protect_on_postgresql()


def protect_on_sqlite() -> None:
    """Refuse UPDATE and DELETE on append-only tables."""
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN "
                f"SELECT RAISE(ABORT, '{table} is append-only: {verb} is refused'); END"
            )


def protect_on_postgresql() -> None:
    """Refuse UPDATE, DELETE and TRUNCATE on append-only tables."""
    op.execute(
        "CREATE FUNCTION bursar_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP "
        "USING ERRCODE = 'restrict_violation'; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION bursar_refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION bursar_refuse_change()"
        )


def create_tables() -> None:
    """Make every table with its indexes."""
    op.create_table(
        "accounts",
        big("book_id"),
        big("account_no"),
        ascii_text("name"),
        ascii_text("currency"),
        ascii_text("kind"),
        ascii_text("role"),
        big("balance"),
        big("overdrawn_index", null=True),
        big("created_index"),
        big("changed_index"),
        sa.CheckConstraint("(role = 'real') = (kind <> 'budgetary')", name=op.f("accounts_role_fits_kind")),
        sa.CheckConstraint(
            "kind = 'asset' "
            "OR kind = 'liability' "
            "OR kind = 'equity' "
            "OR kind = 'income' "
            "OR kind = 'expense' "
            "OR kind = 'budgetary'",
            name=op.f("accounts_kind_listed"),
        ),
        sa.CheckConstraint(
            "role <> 'available' OR balance >= 0 OR overdrawn_index IS NOT NULL",
            name=op.f("accounts_available_not_negative"),
        ),
        sa.CheckConstraint("role <> 'held' OR balance >= 0", name=op.f("accounts_held_not_negative")),
        sa.CheckConstraint(
            "role = 'authority' OR role = 'available' OR role = 'held' OR role = 'spent' OR role = 'real'",
            name=op.f("accounts_role_listed"),
        ),
        sa.PrimaryKeyConstraint("book_id", "account_no", name=op.f("accounts_pkey")),
        postgresql_with={"fillfactor": 50},
        sqlite_with_rowid=False,
    )
    op.create_index("accounts_name", "accounts", ["book_id", "name", "currency"], unique=True)
    op.create_table(
        "agent_counts",
        big("book_id"),
        ascii_text("agent"),
        big("mismatches"),
        big("changed_index"),
        sa.CheckConstraint("mismatches >= 0", name=op.f("agent_counts_mismatches_not_negative")),
        sa.PrimaryKeyConstraint("book_id", "agent", name=op.f("agent_counts_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "agents",
        big("book_id"),
        ascii_text("name"),
        ascii_text("id"),
        ascii_text("kind"),
        ascii_text("parent", null=True),
        ascii_text("path"),
        sa.Column("frozen", sa.Boolean(), nullable=False),
        big("created_index"),
        big("changed_index"),
        sa.CheckConstraint("kind = 'agent' OR kind = 'team'", name=op.f("agents_kind_listed")),
        sa.PrimaryKeyConstraint("book_id", "name", name=op.f("agents_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("agents_id", "agents", ["book_id", "id"], unique=True)
    op.create_table(
        "api_keys",
        big("book_id"),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        ascii_text("id"),
        ascii_text("role"),
        ascii_text("principal"),
        ascii_text("made_by"),
        big("created_at"),
        big("expires_at", null=True),
        big("revoked_at", null=True),
        big("created_index"),
        big("changed_index"),
        sa.CheckConstraint("length(digest) = 32", name=op.f("api_keys_digest_is_a_hash")),
        sa.PrimaryKeyConstraint("book_id", "digest", name=op.f("api_keys_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("api_keys_id", "api_keys", ["book_id", "id"], unique=True)
    op.create_table(
        "approval_votes",
        big("book_id"),
        ascii_text("approval"),
        ascii_text("seat"),
        ascii_text("person"),
        ascii_text("verdict"),
        big("recorded_at"),
        big("created_index"),
        sa.CheckConstraint("verdict = 'grant' OR verdict = 'refuse'", name=op.f("approval_votes_verdict_listed")),
        sa.PrimaryKeyConstraint("book_id", "approval", "seat", name=op.f("approval_votes_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "approvals",
        big("book_id"),
        ascii_text("id"),
        ascii_text("authorization_id"),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        ascii_text("policy"),
        big("version"),
        ascii_text("rule"),
        ascii_text("state"),
        ascii_text("approvers"),
        sa.Column("quorum", sa.Integer(), autoincrement=False, nullable=False),
        big("expires_after"),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        ascii_text("requested_by"),
        ascii_text("key_made_by"),
        big("ttl_seconds"),
        big("opened_at", null=True),
        big("expires_at", null=True),
        big("decided_at", null=True),
        big("created_index"),
        big("changed_index"),
        sa.CheckConstraint(
            "state = 'waiting' "
            "OR state = 'open' "
            "OR state = 'granted' "
            "OR state = 'refused' "
            "OR state = 'expired' "
            "OR state = 'withdrawn' "
            "OR state = 'forced'",
            name=op.f("approvals_state_listed"),
        ),
        sa.CheckConstraint("length(request_digest) = 32", name=op.f("approvals_request_digest_is_a_hash")),
        sa.CheckConstraint("quorum > 0", name=op.f("approvals_quorum_positive")),
        sa.PrimaryKeyConstraint("book_id", "id", name=op.f("approvals_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("approvals_authorization", "approvals", ["book_id", "authorization_id", "position"], unique=True)
    op.create_index("approvals_state", "approvals", ["book_id", "state", "created_index", "position"], unique=False)
    op.create_table(
        "authorizations",
        big("book_id"),
        ascii_text("id"),
        ascii_text("agent", null=True),
        ascii_text("budget"),
        ascii_text("run", null=True),
        ascii_text("category"),
        ascii_text("payee"),
        ascii_text("resource", null=True),
        ascii_text("currency"),
        big("amount"),
        big("approved"),
        big("held"),
        big("settled"),
        big("refunded"),
        ascii_text("state"),
        sa.Column("flags", sa.Integer(), autoincrement=False, nullable=False),
        ascii_text("reason", null=True),
        ascii_text("on_expiry"),
        big("created_at"),
        big("expires_at", null=True),
        big("due_at", null=True),
        ascii_text("settled_category", null=True),
        ascii_text("settled_payee", null=True),
        ascii_text("splits", null=True),
        ascii_text("labels", null=True),
        ascii_text("portions", null=True),
        big("created_index"),
        big("changed_index"),
        sa.CheckConstraint(
            "held = 0 OR (held > 0 AND (state = 'held' OR state = 'pending_approval'))",
            name=op.f("authorizations_held_only_while_open"),
        ),
        sa.CheckConstraint(
            "on_expiry = 'release' OR on_expiry = 'unknown'", name=op.f("authorizations_on_expiry_listed")
        ),
        sa.CheckConstraint(
            "state = 'denied' "
            "OR state = 'pending_approval' "
            "OR state = 'held' "
            "OR state = 'settled' "
            "OR state = 'released' "
            "OR state = 'expired' "
            "OR state = 'refused'",
            name=op.f("authorizations_state_listed"),
        ),
        sa.CheckConstraint("amount > 0", name=op.f("authorizations_amount_positive")),
        sa.CheckConstraint("approved >= 0", name=op.f("authorizations_approved_not_negative")),
        sa.CheckConstraint(
            "refunded >= 0 AND refunded <= settled", name=op.f("authorizations_refunded_within_settled")
        ),
        sa.CheckConstraint("settled >= 0", name=op.f("authorizations_settled_not_negative")),
        sa.PrimaryKeyConstraint("book_id", "id", name=op.f("authorizations_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("authorizations_agent", "authorizations", ["book_id", "agent", "created_index"], unique=False)
    op.create_index("authorizations_budget", "authorizations", ["book_id", "budget", "created_index"], unique=False)
    op.create_index(
        "authorizations_due",
        "authorizations",
        ["book_id", "due_at"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "authorizations_flagged",
        "authorizations",
        ["book_id", "created_index"],
        unique=False,
        sqlite_where=sa.text("flags <> 0"),
        postgresql_where=sa.text("flags <> 0"),
    )
    op.create_index(
        "authorizations_run",
        "authorizations",
        ["book_id", "run", "created_index"],
        unique=False,
        sqlite_where=sa.text("run IS NOT NULL"),
        postgresql_where=sa.text("run IS NOT NULL"),
    )
    op.create_index("authorizations_state", "authorizations", ["book_id", "state", "created_index"], unique=False)
    op.create_table(
        "book_heads",
        big("book_id"),
        big("size"),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        big("recorded_at"),
        big("account_count"),
        sa.Column("frozen", sa.Boolean(), nullable=False),
        sa.CheckConstraint("account_count >= 0", name=op.f("book_heads_account_count_not_negative")),
        sa.CheckConstraint("length(root) = 32", name=op.f("book_heads_root_is_a_hash")),
        sa.CheckConstraint("size >= 0", name=op.f("book_heads_size_not_negative")),
        sa.PrimaryKeyConstraint("book_id", name=op.f("book_heads_pkey")),
        postgresql_with={"fillfactor": 10},
    )
    op.create_table(
        "book_secrets",
        big("book_id"),
        sa.Column("text_secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("book_id", name=op.f("book_secrets_pkey")),
    )
    op.create_table(
        "books",
        big("book_id"),
        ascii_text("name"),
        ascii_text("currency"),
        ascii_text("timezone"),
        sa.Column("strict_names", sa.Boolean(), nullable=False),
        big("opened_at"),
        sa.PrimaryKeyConstraint("book_id", name=op.f("books_pkey")),
    )
    op.create_table(
        "budget_agents",
        big("book_id"),
        ascii_text("agent"),
        ascii_text("budget"),
        big("created_index"),
        sa.PrimaryKeyConstraint("book_id", "agent", "budget", name=op.f("budget_agents_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("budget_agents_budget", "budget_agents", ["book_id", "budget", "agent"], unique=False)
    op.create_table(
        "budgets",
        big("book_id"),
        ascii_text("name"),
        ascii_text("id"),
        ascii_text("parent", null=True),
        ascii_text("path"),
        ascii_text("currency"),
        sa.Column("frozen", sa.Boolean(), nullable=False),
        big("closed_at", null=True),
        big("created_index"),
        big("changed_index"),
        sa.PrimaryKeyConstraint("book_id", "name", name=op.f("budgets_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("budgets_id", "budgets", ["book_id", "id"], unique=True)
    op.create_index(
        "budgets_parent",
        "budgets",
        ["book_id", "parent", "name"],
        unique=False,
        sqlite_where=sa.text("parent IS NOT NULL"),
        postgresql_where=sa.text("parent IS NOT NULL"),
    )
    op.create_table(
        "counters",
        big("book_id"),
        big("meter"),
        ascii_text("key"),
        big("starts_at"),
        big("settled"),
        big("held"),
        big("count"),
        ascii_text("buckets", null=True),
        big("changed_index"),
        sa.CheckConstraint("settled >= 0 AND held >= 0 AND count >= 0", name=op.f("counters_nothing_negative")),
        sa.PrimaryKeyConstraint("book_id", "meter", "key", name=op.f("counters_pkey")),
        postgresql_with={"fillfactor": 50},
        sqlite_with_rowid=False,
    )
    op.create_table(
        "delegations",
        big("book_id"),
        ascii_text("id"),
        ascii_text("giver"),
        ascii_text("receiver"),
        ascii_text("role"),
        ascii_text("made_by"),
        big("starts_at"),
        big("ends_at"),
        big("revoked_at", null=True),
        big("created_index"),
        big("changed_index"),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("delegations_ends_after_start")),
        sa.CheckConstraint("giver <> receiver", name=op.f("delegations_giver_is_not_receiver")),
        sa.PrimaryKeyConstraint("book_id", "id", name=op.f("delegations_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("delegations_receiver", "delegations", ["book_id", "receiver", "created_index"], unique=False)
    op.create_table(
        "idempotency_keys",
        big("book_id"),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        big("log_index"),
        big("recorded_at"),
        sa.CheckConstraint("length(digest) = 16", name=op.f("idempotency_keys_digest_is_16_bytes")),
        sa.CheckConstraint("length(request_digest) = 32", name=op.f("idempotency_keys_request_digest_is_a_hash")),
        sa.PrimaryKeyConstraint("book_id", "digest", name=op.f("idempotency_keys_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "log_records",
        big("book_id"),
        big("log_index"),
        ascii_text("kind"),
        ascii_text("subject"),
        big("recorded_at"),
        big("effective_at"),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("length(leaf_hash) = 32", name=op.f("log_records_leaf_hash_is_a_hash")),
        sa.CheckConstraint("log_index >= 0", name=op.f("log_records_log_index_not_negative")),
        sa.PrimaryKeyConstraint("book_id", "log_index", name=op.f("log_records_pkey")),
    )
    op.create_index(
        "log_records_finance",
        "log_records",
        ["book_id", "kind", "log_index"],
        unique=False,
        sqlite_where=sa.text(
            "kind = 'charge' OR kind = 'refund' OR kind = 'adjustment' OR kind = 'allocation' OR kind = 'deallocation'"
        ),
        postgresql_where=sa.text(
            "kind = 'charge' OR kind = 'refund' OR kind = 'adjustment' OR kind = 'allocation' OR kind = 'deallocation'"
        ),
    )
    op.create_index("log_records_recorded_at", "log_records", ["book_id", "recorded_at", "log_index"], unique=False)
    op.create_index(
        "log_records_renewals",
        "log_records",
        ["book_id", "subject", "log_index"],
        unique=False,
        sqlite_where=sa.text("kind = 'renewal'"),
        postgresql_where=sa.text("kind = 'renewal'"),
    )
    op.create_table(
        "names",
        big("book_id"),
        ascii_text("kind"),
        ascii_text("name"),
        big("created_index"),
        sa.CheckConstraint("kind = 'category' OR kind = 'payee'", name=op.f("names_kind_listed")),
        sa.PrimaryKeyConstraint("book_id", "kind", "name", name=op.f("names_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "persons",
        big("book_id"),
        ascii_text("name"),
        big("created_index"),
        sa.PrimaryKeyConstraint("book_id", "name", name=op.f("persons_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "policies",
        big("book_id"),
        ascii_text("name"),
        ascii_text("id"),
        big("version"),
        ascii_text("scope_kind"),
        ascii_text("scope"),
        ascii_text("digest"),
        ascii_text("packed"),
        sa.Column("retired", sa.Boolean(), nullable=False),
        big("created_index"),
        big("changed_index"),
        sa.CheckConstraint(
            "scope_kind = 'book' OR scope_kind = 'agent' OR scope_kind = 'budget'",
            name=op.f("policies_scope_kind_listed"),
        ),
        sa.CheckConstraint("version > 0", name=op.f("policies_version_positive")),
        sa.PrimaryKeyConstraint("book_id", "name", name=op.f("policies_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("policies_id", "policies", ["book_id", "id"], unique=True)
    op.create_index("policies_scope", "policies", ["book_id", "scope_kind", "scope"], unique=False)
    op.create_table(
        "policy_versions",
        big("book_id"),
        ascii_text("policy"),
        big("version"),
        ascii_text("digest"),
        ascii_text("packed"),
        ascii_text("made_by"),
        big("recorded_at"),
        big("created_index"),
        sa.PrimaryKeyConstraint("book_id", "policy", "version", name=op.f("policy_versions_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "renewals",
        big("book_id"),
        ascii_text("budget"),
        ascii_text("currency"),
        ascii_text("every"),
        big("amount"),
        big("carry_over"),
        big("next_at", null=True),
        big("created_index"),
        big("changed_index"),
        sa.CheckConstraint("every = 'day' OR every = 'week' OR every = 'month'", name=op.f("renewals_every_listed")),
        sa.CheckConstraint("amount > 0", name=op.f("renewals_amount_positive")),
        sa.CheckConstraint("carry_over >= 0", name=op.f("renewals_carry_over_not_negative")),
        sa.PrimaryKeyConstraint("book_id", "budget", name=op.f("renewals_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "renewals_next",
        "renewals",
        ["book_id", "next_at"],
        unique=False,
        sqlite_where=sa.text("next_at IS NOT NULL"),
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_table(
        "run_totals",
        big("book_id"),
        ascii_text("run"),
        ascii_text("currency"),
        big("approved_count"),
        big("denied_count"),
        big("held"),
        big("spent"),
        big("changed_index"),
        sa.CheckConstraint("approved_count >= 0 AND denied_count >= 0", name=op.f("run_totals_counts_not_negative")),
        sa.CheckConstraint("held >= 0", name=op.f("run_totals_held_not_negative")),
        sa.PrimaryKeyConstraint("book_id", "run", "currency", name=op.f("run_totals_pkey")),
        postgresql_with={"fillfactor": 70},
        sqlite_with_rowid=False,
    )
    op.create_table(
        "runs",
        big("book_id"),
        ascii_text("name"),
        ascii_text("id"),
        ascii_text("agent"),
        big("opened_at"),
        big("created_index"),
        sa.PrimaryKeyConstraint("book_id", "name", name=op.f("runs_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("runs_agent", "runs", ["book_id", "agent", "id"], unique=False)
    op.create_index("runs_id", "runs", ["book_id", "id"], unique=True)
    op.create_table(
        "texts",
        big("book_id"),
        big("log_index"),
        ascii_text("field"),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        ascii_text("content"),
        sa.PrimaryKeyConstraint("book_id", "log_index", "field", name=op.f("texts_pkey")),
    )
    op.create_table(
        "transfers",
        big("book_id"),
        big("log_index"),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        big("debit_no"),
        big("credit_no"),
        ascii_text("currency"),
        big("amount"),
        big("debit_balance"),
        big("credit_balance"),
        big("recorded_at"),
        big("effective_at"),
        sa.CheckConstraint("amount > 0", name=op.f("transfers_amount_positive")),
        sa.CheckConstraint("debit_no <> credit_no", name=op.f("transfers_accounts_differ")),
        sa.PrimaryKeyConstraint("book_id", "log_index", "position", name=op.f("transfers_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("transfers_credit", "transfers", ["book_id", "credit_no", "log_index", "position"], unique=False)
    op.create_index(
        "transfers_credit_backdated",
        "transfers",
        ["book_id", "credit_no", "effective_at"],
        unique=False,
        sqlite_where=sa.text("effective_at <> recorded_at"),
        postgresql_where=sa.text("effective_at <> recorded_at"),
    )
    op.create_index("transfers_debit", "transfers", ["book_id", "debit_no", "log_index", "position"], unique=False)
    op.create_index(
        "transfers_debit_backdated",
        "transfers",
        ["book_id", "debit_no", "effective_at"],
        unique=False,
        sqlite_where=sa.text("effective_at <> recorded_at"),
        postgresql_where=sa.text("effective_at <> recorded_at"),
    )
    op.create_table(
        "units",
        big("book_id"),
        ascii_text("name"),
        sa.Column("digits", sa.Integer(), autoincrement=False, nullable=False),
        big("created_index"),
        sa.CheckConstraint("digits >= 0 AND digits <= 9", name=op.f("units_digits_in_range")),
        sa.PrimaryKeyConstraint("book_id", "name", name=op.f("units_pkey")),
        sqlite_with_rowid=False,
    )
    # ### end Alembic commands ###
