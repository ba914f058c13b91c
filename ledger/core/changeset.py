"""What one batch writes: the tables, declared once, and the rows to insert and to update.

Owns the declaration of every table that a decision writes: its row type, its key and the columns that may change.
The columns of a table are the fields of its row type, in that order; the storage room's tables are tested against it.
Invariant: rows of append-only tables are only ever inserted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Final, NamedTuple

from ledger.core.account import Account
from ledger.core.approval import Approval, Delegation, Vote
from ledger.core.authorization import Authorization
from ledger.core.book import Book, Head, Name, Unit
from ledger.core.budget import Budget, BudgetAgent, Renewal
from ledger.core.closing import Explanation, Month
from ledger.core.correction import Correction, CorrectionRule, CorrectionSum, Reversal, Reversible
from ledger.core.counter import Counter
from ledger.core.invoice import Invoice, InvoicePayment, PayeeTerms, Payment
from ledger.core.journal import IdempotencyKey, LogRecord, Text, Transfer
from ledger.core.policy_row import Policy, PolicyVersion
from ledger.core.principal import Agent, AgentCount, Key, Person
from ledger.core.rate import Rate
from ledger.core.reconciliation import Reconciliation
from ledger.core.redaction import Redaction
from ledger.core.run import Run, RunOutcome, RunTotal
from ledger.core.signing_key import SigningKey
from ledger.core.webhook import Webhook

LOG: Final = "log"
PROJECTION: Final = "projection"
SIDE: Final = "side"


class TableSpec(NamedTuple):
    """A table: its name, sort (log, projection or side), columns in order, key columns, columns that may change."""

    name: str
    sort: str
    row_type: type
    columns: tuple[str, ...]
    key: tuple[str, ...]
    mutable: tuple[str, ...]


_COUNTER_COLUMNS: Final = (
    "book_id", "meter", "key", "starts_at", "settled", "held", "count", "buckets", "changed_index",
)  # fmt: skip


def _columns(row_type: type) -> tuple[str, ...]:
    if row_type is Counter:
        return _COUNTER_COLUMNS
    named: tuple[str, ...] | None = getattr(row_type, "_fields", None)
    return named if named is not None else tuple(column.name for column in fields(row_type))


def _spec(name: str, sort: str, row_type: type, key: str, mutable: str = "") -> TableSpec:
    return TableSpec(name, sort, row_type, _columns(row_type), ("book_id", *key.split()), tuple(mutable.split()))


BOOKS: Final = _spec("books", PROJECTION, Book, "")
HEADS: Final = _spec("book_heads", PROJECTION, Head, "", "size root frontier recorded_at account_count frozen")
LOG_RECORDS: Final = _spec("log_records", LOG, LogRecord, "log_index")
TRANSFERS: Final = _spec("transfers", PROJECTION, Transfer, "log_index position")
IDEMPOTENCY_KEYS: Final = _spec("idempotency_keys", PROJECTION, IdempotencyKey, "digest")
TEXTS: Final = _spec("texts", SIDE, Text, "log_index field")
ACCOUNTS: Final = _spec("accounts", PROJECTION, Account, "account_no", "balance overdrawn_index changed_index")
AUTHORIZATIONS: Final = _spec(
    "authorizations",
    PROJECTION,
    Authorization,
    "id",
    "approved held settled refunded state flags expires_at due_at settled_category settled_payee splits "
    "portions changed_index metering repriced exchange",
)
RUNS: Final = _spec("runs", PROJECTION, Run, "name")
RUN_TOTALS: Final = _spec(
    "run_totals", PROJECTION, RunTotal, "run currency", "approved_count denied_count held spent changed_index"
)
AGENTS: Final = _spec("agents", PROJECTION, Agent, "name", "frozen changed_index")
PERSONS: Final = _spec("persons", PROJECTION, Person, "name")
KEYS: Final = _spec("api_keys", PROJECTION, Key, "digest", "expires_at revoked_at changed_index")
AGENT_COUNTS: Final = _spec("agent_counts", PROJECTION, AgentCount, "agent", "mismatches changed_index")
BUDGETS: Final = _spec("budgets", PROJECTION, Budget, "name", "frozen closed_at changed_index")
RENEWALS: Final = _spec("renewals", PROJECTION, Renewal, "budget", "every amount carry_over next_at changed_index")
BUDGET_AGENTS: Final = _spec("budget_agents", PROJECTION, BudgetAgent, "agent budget")
UNITS: Final = _spec("units", PROJECTION, Unit, "name")
NAMES: Final = _spec("names", PROJECTION, Name, "kind name")
WEBHOOKS: Final = _spec(
    "webhook_endpoints", PROJECTION, Webhook, "id", "secret previous_secret previous_until removed_at changed_index"
)
SIGNING_KEYS: Final = _spec("signing_keys", PROJECTION, SigningKey, "id")
POLICIES: Final = _spec(
    "policies", PROJECTION, Policy, "name", "version scope_kind scope digest packed retired changed_index"
)
POLICY_VERSIONS: Final = _spec("policy_versions", PROJECTION, PolicyVersion, "policy version")
COUNTERS: Final = _spec(
    "counters", PROJECTION, Counter, "meter key", "starts_at settled held count buckets changed_index"
)
APPROVALS: Final = _spec("approvals", PROJECTION, Approval, "id", "state opened_at expires_at decided_at changed_index")
VOTES: Final = _spec("approval_votes", PROJECTION, Vote, "approval seat")
DELEGATIONS: Final = _spec("delegations", PROJECTION, Delegation, "id", "revoked_at changed_index")
RATES: Final = _spec("rates", PROJECTION, Rate, "pair day", "rate source max_age_days changed_index")
REDACTIONS: Final = _spec("redactions", PROJECTION, Redaction, "log_index field")
CORRECTIONS: Final = _spec("corrections", PROJECTION, Correction, "id", "state decided_at decided_by changed_index")
CORRECTION_RULES: Final = _spec("correction_rules", PROJECTION, CorrectionRule, "currency", "above changed_index")
CORRECTION_SUMS: Final = _spec(
    "correction_sums", PROJECTION, CorrectionSum, "person currency", "day amount changed_index"
)
REVERSALS: Final = _spec("reversals", PROJECTION, Reversal, "log_index")
REVERSIBLE: Final = _spec("reversible", SIDE, Reversible, "log_index")
"""What a verifier remembers of adjustments while it follows the log; no table of a database."""
PERIODS: Final = _spec(
    "periods",
    PROJECTION,
    Month,
    "period",
    "state backdated_index size root digest closed_by closed_at closed_index reopen_by reopen_backer reopen_at "
    "reopened_index changed_index",
)
EXPLANATIONS: Final = _spec(
    "explanations", PROJECTION, Explanation, "authorization_id", "flags explained_by changed_index"
)
RECONCILIATIONS: Final = _spec("reconciliations", PROJECTION, Reconciliation, "id")
RUN_OUTCOMES: Final = _spec("run_outcomes", PROJECTION, RunOutcome, "run created_index")
INVOICES: Final = _spec("invoices", PROJECTION, Invoice, "id", "paid state changed_index")
PAYMENTS: Final = _spec("payments", PROJECTION, Payment, "id", "state changed_index")
INVOICE_PAYMENTS: Final = _spec("invoice_payments", PROJECTION, InvoicePayment, "payment invoice")
PAYEE_TERMS: Final = _spec("payee_terms", PROJECTION, PayeeTerms, "payee", "turns changed_index")

TABLES: Final = (
    BOOKS, HEADS, LOG_RECORDS, TRANSFERS, IDEMPOTENCY_KEYS, TEXTS, ACCOUNTS, AUTHORIZATIONS, RUNS, RUN_TOTALS,
    AGENTS, AGENT_COUNTS, PERSONS, KEYS, BUDGETS, RENEWALS, BUDGET_AGENTS, UNITS, NAMES, WEBHOOKS, POLICIES,
    POLICY_VERSIONS, COUNTERS, APPROVALS, VOTES, DELEGATIONS, SIGNING_KEYS, REDACTIONS, RECONCILIATIONS, RUN_OUTCOMES,
    CORRECTION_RULES, CORRECTION_SUMS, CORRECTIONS, REVERSALS, PERIODS, EXPLANATIONS, INVOICES, PAYMENTS,
    INVOICE_PAYMENTS, PAYEE_TERMS, RATES,
)  # fmt: skip
"""In the order in which rows are written."""
APPEND_ONLY: Final = (LOG_RECORDS, TRANSFERS)
DELETABLE: Final = (TEXTS,)
"""Side tables of which a batch may delete rows, by key."""

_ROW_GETTERS: Final[dict[type, Callable[[Any], tuple[Any, ...]]]] = {
    spec.row_type: attrgetter(*spec.columns) for spec in (*TABLES, REVERSIBLE) if not hasattr(spec.row_type, "_fields")
}
_UPDATE_GETTERS: Final[dict[str, Callable[[Any], tuple[Any, ...]]]] = {
    spec.name: attrgetter(*spec.mutable, *spec.key) for spec in TABLES if spec.mutable
}


_MONEY_FACTS: Final = frozenset(
    (
        "accounts", "authorizations", "run_totals", "counters", "agent_counts", "approvals", "approvals_of", "votes",
        "renewals", "redactions", "corrections", "correction_rules", "correction_sums", "reversals",
        "periods", "periods_of", "explanations", "invoices", "payments", "paid_invoices", "rates",
    )
)  # fmt: skip


def row_of(entity: Any) -> tuple[Any, ...]:
    """The row of an entity, in column order."""
    return _ROW_GETTERS[type(entity)](entity)


def update_of(spec: TableSpec, entity: Any) -> tuple[Any, ...]:
    """The values of an update: the mutable columns in order, then the key columns."""
    return _UPDATE_GETTERS[spec.name](entity)


def copy_of(entity: Any) -> Any:
    """An independent copy of an entity."""
    kind = type(entity)
    if kind is Counter:
        return entity.copy()
    return kind(*_ROW_GETTERS[kind](entity))


@dataclass(slots=True)
class Changeset:
    """All that one batch writes, in one transaction, to one book.

    ``inserts`` maps a table name to full rows in column order; ``updates`` maps it to rows as ``update_of`` makes
    them; ``deletes`` maps a side table to the keys of rows that go.
    ``previous_size`` and ``previous_root`` are what the head must still be; ``head`` is what it becomes.
    ``touched`` are the entities as they are after the batch, for the snapshot to take over once committed; ``answers``
    maps each (principal, idempotency key) that the batch binds to the leaf hash of the answering record;
    ``standings`` is what the batch found out and the snapshot may remember.
    """

    book_id: int
    previous_size: int
    previous_root: bytes
    head: Head
    inserts: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    updates: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    deletes: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    touched: dict[str, dict[Any, Any]] = field(default_factory=dict)
    answers: dict[tuple[str, str], bytes] = field(default_factory=dict)
    standings: dict[tuple[str, str | None], Any] = field(default_factory=dict)

    @property
    def touches_settings(self) -> bool:
        """Whether who may spend from where is not what it was: agents, keys, budgets, runs or names changed."""
        return any(entities and kind not in _MONEY_FACTS for kind, entities in self.touched.items())

    @property
    def is_empty(self) -> bool:
        """Whether the batch leaves the book as it was."""
        return self.head.size == self.previous_size
