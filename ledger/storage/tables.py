"""The tables, as SQLAlchemy Core metadata.

Owns column types, indexes and the CHECK constraints that restate the money rules; names, order and keys of columns
are the core's (``ledger.core.changeset``), and a test compares the two. Invariants: every primary key and every index
is led by ``book_id``, no constraint spans books, and ``Table.info["sort"]`` declares each table log, projection or
side.
"""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from ledger.core import account, approval, authorization, book, changeset, policy_row, principal, signing_key
from ledger.core.changeset import SIDE, TableSpec
from ledger.core.deriving import TEXT_FIELDS

metadata: Final = MetaData(naming_convention={"pk": "%(table_name)s_pkey", "ck": "%(table_name)s_%(constraint_name)s"})

# The same order of text on both databases, and the cheaper comparison: names and ids are ASCII.
_TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")
_SMALL_ROWS: Final = {"sqlite_with_rowid": False}
_BY_LOG_INDEX: Final = {"postgresql_partition_by": "RANGE (log_index)"}


def _listed(column: str, values: Iterable[str]) -> CheckConstraint:
    # SQLite fills a temporary index with the members of an IN list for each row it checks; this stops at the first.
    return CheckConstraint(" OR ".join(f"{column} = '{value}'" for value in values), name=f"{column}_listed")


def _check(name: str, rule: str) -> CheckConstraint:
    return CheckConstraint(rule, name=name)


def _big(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null, autoincrement=False)


def _small(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, autoincrement=False)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, _TEXT, nullable=null)


def _bytes(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=False)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


def _index(name: str, *columns: str, unique: bool = False, where: str | None = None) -> Index:
    partial: dict[str, Any] = {} if where is None else {"sqlite_where": text(where), "postgresql_where": text(where)}
    return Index(name, "book_id", *columns, unique=unique, **partial)


def _table(spec: TableSpec, *items: Any, **options: Any) -> Table:
    return Table(
        spec.name,
        metadata,
        _big("book_id"),
        *items,
        PrimaryKeyConstraint(*spec.key),
        info={"sort": spec.sort},
        **options,
    )


books: Final = _table(
    changeset.BOOKS, _text("name"), _text("currency"), _text("timezone"), _flag("strict_names"), _big("opened_at"),
)  # fmt: skip
"""Found by name with a scan: there are few, and an index on the name alone would span books."""

book_heads: Final = _table(
    changeset.HEADS,
    _big("size"), _bytes("root"), _bytes("frontier"), _big("recorded_at"), _big("account_count"),
    _flag("frozen"),
    _check("size_not_negative", "size >= 0"),
    _check("account_count_not_negative", "account_count >= 0"),
    _check("root_is_a_hash", "length(root) = 32"),
    # Every commit rewrites this row; free space on its page keeps the new version beside the old one.
    postgresql_with={"fillfactor": 10},
)  # fmt: skip

# Alternatives and no IN list: SQLite would make a temporary table of the list for each row it inserts.
_FINANCE: Final = ("charge", "refund", "adjustment", "allocation", "deallocation")

log_records: Final = _table(
    changeset.LOG_RECORDS,
    _big("log_index"), _text("kind"), _text("subject"), _big("recorded_at"), _big("effective_at"), _bytes("body"),
    _bytes("leaf_hash"),
    _check("log_index_not_negative", "log_index >= 0"),
    _check("leaf_hash_is_a_hash", "length(leaf_hash) = 32"),
    _index("log_records_recorded_at", "recorded_at", "log_index"),
    # Lists of what finance and admins booked. Holds and settlements, which are nearly all records, are not in it.
    _index("log_records_finance", "kind", "log_index", where=" OR ".join(f"kind = '{kind}'" for kind in _FINANCE)),
    _index("log_records_renewals", "subject", "log_index", where="kind = 'renewal'"),
    **_BY_LOG_INDEX,
)  # fmt: skip

transfers: Final = _table(
    changeset.TRANSFERS,
    _big("log_index"), _small("position"), _big("debit_no"), _big("credit_no"), _text("currency"), _big("amount"),
    _big("debit_balance"), _big("credit_balance"), _big("recorded_at"), _big("effective_at"),
    _check("amount_positive", "amount > 0"),
    _check("accounts_differ", "debit_no <> credit_no"),
    _index("transfers_debit", "debit_no", "log_index", "position"),
    _index("transfers_credit", "credit_no", "log_index", "position"),
    _index("transfers_debit_backdated", "debit_no", "effective_at", where="effective_at <> recorded_at"),
    _index("transfers_credit_backdated", "credit_no", "effective_at", where="effective_at <> recorded_at"),
    **_SMALL_ROWS,
    **_BY_LOG_INDEX,
)  # fmt: skip

idempotency_keys: Final = _table(
    changeset.IDEMPOTENCY_KEYS,
    _bytes("digest"), _bytes("request_digest"), _big("log_index"), _big("recorded_at"),
    _check("digest_is_16_bytes", "length(digest) = 16"),
    _check("request_digest_is_a_hash", "length(request_digest) = 32"),
    **_SMALL_ROWS,
)  # fmt: skip

texts: Final = _table(changeset.TEXTS, _big("log_index"), _text("field"), _bytes("salt"), _text("content"))

accounts: Final = _table(
    changeset.ACCOUNTS,
    _big("account_no"), _text("name"), _text("currency"), _text("kind"), _text("role"), _big("balance"),
    _big("overdrawn_index", null=True), _big("created_index"), _big("changed_index"),
    _listed("kind", account.KINDS),
    _listed("role", account.ROLES),
    _check("role_fits_kind", "(role = 'real') = (kind <> 'budgetary')"),
    _check("held_not_negative", "role <> 'held' OR balance >= 0"),
    _check("available_not_negative", "role <> 'available' OR balance >= 0 OR overdrawn_index IS NOT NULL"),
    _index("accounts_name", "name", "currency", unique=True),
    # A few rows are updated by every batch, none of them in an indexed column.
    postgresql_with={"fillfactor": 50},
    **_SMALL_ROWS,
)  # fmt: skip

authorizations: Final = _table(
    changeset.AUTHORIZATIONS,
    _text("id"), _text("agent", null=True), _text("budget"), _text("run", null=True), _text("category"), _text("payee"),
    _text("resource", null=True), _text("currency"), _big("amount"), _big("approved"), _big("held"), _big("settled"),
    _big("refunded"), _text("state"), _small("flags"), _text("reason", null=True), _text("on_expiry"),
    _big("created_at"), _big("expires_at", null=True), _big("due_at", null=True), _text("settled_category", null=True),
    _text("settled_payee", null=True), _text("splits", null=True), _text("labels", null=True),
    _text("portions", null=True), _big("created_index"), _big("changed_index"), _text("metering", null=True),
    _big("repriced"), _text("exchange", null=True),
    _listed("state", authorization.STATES),
    _listed("on_expiry", authorization.ON_EXPIRY),
    _check("amount_positive", "amount > 0"),
    _check("approved_not_negative", "approved >= 0"),
    _check("settled_not_negative", "settled >= 0"),
    _check("refunded_within_settled", "refunded >= 0 AND refunded <= settled + repriced"),
    _check("held_only_while_open", "held = 0 OR (held > 0 AND (state = 'held' OR state = 'pending_approval'))"),
    _index("authorizations_due", "due_at", where="due_at IS NOT NULL"),
    # Lists go by the record that made the row, newest first: its index is unique, and rises with created_at.
    _index("authorizations_agent", "agent", "created_index"),
    _index("authorizations_budget", "budget", "created_index"),
    _index("authorizations_run", "run", "created_index", where="run IS NOT NULL"),
    _index("authorizations_flagged", "created_index", where="flags <> 0"),
    _index("authorizations_state", "state", "created_index"),
    **_SMALL_ROWS,
)  # fmt: skip

runs: Final = _table(
    changeset.RUNS,
    _text("name"), _text("id"), _text("agent"), _big("opened_at"), _big("created_index"), _big("cap", null=True),
    _text("cap_currency", null=True),
    _check("cap_positive", "cap > 0"),
    _check("cap_has_a_currency", "(cap IS NULL) = (cap_currency IS NULL)"),
    _index("runs_id", "id", unique=True),
    _index("runs_agent", "agent", "id"),
    # Reports take the runs that began in a period.
    _index("runs_opened", "opened_at", "name"),
    **_SMALL_ROWS,
)  # fmt: skip

run_outcomes: Final = _table(
    changeset.RUN_OUTCOMES,
    _text("run"), _big("created_index"), _text("agent"), _flag("success"), _big("score", null=True),
    _text("reported_by"), _big("recorded_at"),
    _check("score_in_range", "score >= 0 AND score <= 1000000"),
    **_SMALL_ROWS,
)  # fmt: skip

run_totals: Final = _table(
    changeset.RUN_TOTALS,
    _text("run"), _text("currency"), _big("approved_count"), _big("denied_count"), _big("held"), _big("spent"),
    _big("changed_index"),
    _check("counts_not_negative", "approved_count >= 0 AND denied_count >= 0"),
    _check("held_not_negative", "held >= 0"),
    postgresql_with={"fillfactor": 70},
    **_SMALL_ROWS,
)  # fmt: skip

agents: Final = _table(
    changeset.AGENTS,
    _text("name"), _text("id"), _text("kind"), _text("parent", null=True), _text("path"), _flag("frozen"),
    _big("created_index"), _big("changed_index"),
    _listed("kind", (principal.KIND_AGENT, principal.KIND_TEAM)),
    _index("agents_id", "id", unique=True),
    **_SMALL_ROWS,
)  # fmt: skip

agent_counts: Final = _table(
    changeset.AGENT_COUNTS,
    _text("agent"), _big("mismatches"), _big("changed_index"),
    _check("mismatches_not_negative", "mismatches >= 0"),
    **_SMALL_ROWS,
)  # fmt: skip

persons: Final = _table(changeset.PERSONS, _text("name"), _big("created_index"), **_SMALL_ROWS)

api_keys: Final = _table(
    changeset.KEYS,
    _bytes("digest"), _text("id"), _text("role"), _text("principal"), _text("made_by"), _big("created_at"),
    _big("expires_at", null=True), _big("revoked_at", null=True), _big("created_index"), _big("changed_index"),
    _text("run", null=True), _text("vouched_by", null=True),
    _check("digest_is_a_hash", "length(digest) = 32"),
    _check("run_is_an_agents", "run IS NULL OR role = 'agent'"),
    _index("api_keys_id", "id", unique=True),
    **_SMALL_ROWS,
)  # fmt: skip

budgets: Final = _table(
    changeset.BUDGETS,
    _text("name"), _text("id"), _text("parent", null=True), _text("path"), _text("currency"), _flag("frozen"),
    _big("closed_at", null=True), _big("created_index"), _big("changed_index"),
    _index("budgets_id", "id", unique=True),
    _index("budgets_parent", "parent", "name", where="parent IS NOT NULL"),
    **_SMALL_ROWS,
)  # fmt: skip

renewals: Final = _table(
    changeset.RENEWALS,
    _text("budget"), _text("currency"), _text("every"), _big("amount"), _big("carry_over"), _big("next_at", null=True),
    _big("created_index"), _big("changed_index"),
    _listed("every", ("day", "week", "month")),
    _check("amount_positive", "amount > 0"),
    _check("carry_over_not_negative", "carry_over >= 0"),
    _index("renewals_next", "next_at", where="next_at IS NOT NULL"),
    **_SMALL_ROWS,
)  # fmt: skip

budget_agents: Final = _table(
    changeset.BUDGET_AGENTS,
    _text("agent"), _text("budget"), _big("created_index"),
    _index("budget_agents_budget", "budget", "agent"),
    **_SMALL_ROWS,
)  # fmt: skip

units: Final = _table(
    changeset.UNITS,
    _text("name"), _small("digits"), _big("created_index"),
    _check("digits_in_range", "digits >= 0 AND digits <= 9"),
    **_SMALL_ROWS,
)  # fmt: skip

names: Final = _table(
    changeset.NAMES,
    _text("kind"), _text("name"), _big("created_index"),
    _listed("kind", (book.CATEGORY, book.PAYEE)),
    **_SMALL_ROWS,
)  # fmt: skip

policies: Final = _table(
    changeset.POLICIES,
    _text("name"), _text("id"), _big("version"), _text("scope_kind"), _text("scope"), _text("digest"), _text("packed"),
    _flag("retired"), _big("created_index"), _big("changed_index"),
    _listed("scope_kind", policy_row.SCOPES),
    _check("version_positive", "version > 0"),
    _index("policies_scope", "scope_kind", "scope"),
    _index("policies_id", "id", unique=True),
    **_SMALL_ROWS,
)  # fmt: skip

policy_versions: Final = _table(
    changeset.POLICY_VERSIONS,
    _text("policy"), _big("version"), _text("digest"), _text("packed"), _text("made_by"), _big("recorded_at"),
    _big("created_index"),
    **_SMALL_ROWS,
)  # fmt: skip

counters: Final = _table(
    changeset.COUNTERS,
    _big("meter"), _text("key"), _big("starts_at"), _big("settled"), _big("held"), _big("count"),
    _text("buckets", null=True), _big("changed_index"),
    _check("nothing_negative", "settled >= 0 AND held >= 0 AND count >= 0"),
    # A few rows are updated by every batch, none of them in an indexed column.
    postgresql_with={"fillfactor": 50},
    **_SMALL_ROWS,
)  # fmt: skip

approvals: Final = _table(
    changeset.APPROVALS,
    _text("id"), _text("authorization_id"), _small("position"), _text("policy"), _big("version"), _text("rule"),
    _text("state"), _text("approvers"), _small("quorum"), _big("expires_after"), _bytes("request_digest"),
    _text("requested_by"), _text("key_made_by"), _big("ttl_seconds"), _big("opened_at", null=True),
    _big("expires_at", null=True), _big("decided_at", null=True), _big("created_index"), _big("changed_index"),
    _listed("state", approval.STATES),
    _check("quorum_positive", "quorum > 0"),
    _check("request_digest_is_a_hash", "length(request_digest) = 32"),
    _index("approvals_authorization", "authorization_id", "position", unique=True),
    _index("approvals_state", "state", "created_index", "position"),
    **_SMALL_ROWS,
)  # fmt: skip

approval_votes: Final = _table(
    changeset.VOTES,
    _text("approval"), _text("seat"), _text("person"), _text("verdict"), _big("recorded_at"), _big("created_index"),
    _listed("verdict", (approval.GRANT, approval.REFUSE)),
    **_SMALL_ROWS,
)  # fmt: skip

delegations: Final = _table(
    changeset.DELEGATIONS,
    _text("id"), _text("giver"), _text("receiver"), _text("role"), _text("made_by"), _big("starts_at"), _big("ends_at"),
    _big("revoked_at", null=True), _big("created_index"), _big("changed_index"),
    _check("giver_is_not_receiver", "giver <> receiver"),
    _check("ends_after_start", "ends_at > starts_at"),
    _index("delegations_receiver", "receiver", "created_index"),
    **_SMALL_ROWS,
)  # fmt: skip

signing_keys: Final = _table(
    changeset.SIGNING_KEYS,
    _text("id"), _text("name"), _text("algorithm"), _bytes("public_key"), _text("made_by"), _big("created_at"),
    _big("created_index"),
    _listed("algorithm", signing_key.ALGORITHMS),
    _check("public_key_is_32_bytes", "length(public_key) = 32"),
    _index("signing_keys_algorithm", "algorithm", "created_index"),
    **_SMALL_ROWS,
)  # fmt: skip

redactions: Final = _table(
    changeset.REDACTIONS,
    _big("log_index"), _text("field"), _big("created_index"),
    _listed("field", TEXT_FIELDS),
    _check("redacted_later", "created_index > log_index"),
    **_SMALL_ROWS,
)  # fmt: skip

webhook_endpoints: Final = _table(
    changeset.WEBHOOKS,
    _text("id"), _text("url"), _text("events"), _text("secret"), _text("previous_secret", null=True),
    _big("previous_until", null=True), _text("registered_by"), _big("created_at"), _big("removed_at", null=True),
    _big("created_index"), _big("changed_index"),
    **_SMALL_ROWS,
)  # fmt: skip
"""Found with a scan: a book has few, and most books have none."""

book_secrets: Final = Table(
    "book_secrets",
    metadata,
    _big("book_id"),
    _bytes("text_secret"),
    PrimaryKeyConstraint("book_id"),
    info={"sort": SIDE},
)
"""What salts a book's free texts. Lost, new texts get other salts; what is in the log stays provable."""

APPEND_ONLY: Final = tuple(spec.name for spec in changeset.APPEND_ONLY)
"""Tables whose rows triggers on both databases protect against UPDATE and DELETE."""

# At the end, because it declares its tables in the metadata above.
from ledger.storage import (  # noqa: E402
    tables_archives,  # noqa: F401
    tables_closing,  # noqa: F401
    tables_corrections,  # noqa: F401
    tables_finance,  # noqa: F401
    tables_payables,  # noqa: F401
    tables_proofs,  # noqa: F401
    tables_rates,  # noqa: F401
    tables_reconciliations,  # noqa: F401
    tables_webhooks,  # noqa: F401
)
