"""What is appended and never changed: log records, transfers, idempotency keys, and texts beside the log.

Invariant: a transfer is one row with a positive amount and two different accounts, so it balances by construction;
it stores both accounts' balances after it. Every column of a log record but its place derives from ``body``.
"""

from typing import Final, NamedTuple

FORMAT: Final = 1
"""Version of the shape of a body."""
SEMANTICS: Final = 1
"""Version of the rules that decided. Old versions stay runnable, so that honest history never looks false."""

ENTRY_KINDS: Final = (
    "allocation", "deallocation", "hold", "extension", "settlement", "release", "expiry", "refund", "charge",
    "adjustment", "approval_requested", "approval_granted", "approval_refused", "renewal", "budget_closure",
    "invoice", "invoice_void", "payment", "payment_reversal", "history",
)  # fmt: skip
OTHER_KINDS: Final = (
    "book", "denial", "agent", "freeze", "unfreeze", "key", "key_rotation", "key_revocation", "budget",
    "budget_agents", "run", "unit", "name", "approval_vote", "delegation", "delegation_revocation", "webhook",
    "webhook_rotation", "webhook_removal", "budget_renewal", "budget_freeze", "budget_unfreeze", "book_freeze",
    "book_unfreeze", "policy", "policy_retirement", "run_denial", "signing_key",
    "redaction", "reconciliation", "outcome", "correction_rule", "correction_requested", "correction_refused",
    "correction_withdrawn", "period_close", "period_reopen_request", "period_reopening", "explanation", "payee_terms",
    "rate",
)  # fmt: skip
KINDS: Final = ENTRY_KINDS + OTHER_KINDS


class LogRecord(NamedTuple):
    """One row of ``log_records``; times in microseconds since 1970 UTC, ``subject`` the id or name it is about."""

    book_id: int
    log_index: int
    kind: str
    subject: str
    recorded_at: int
    effective_at: int
    body: bytes
    leaf_hash: bytes


class Transfer(NamedTuple):
    """One row of ``transfers``; amounts and balances in atoms, balances as debits less credits."""

    book_id: int
    log_index: int
    position: int
    debit_no: int
    credit_no: int
    currency: str
    amount: int
    debit_balance: int
    credit_balance: int
    recorded_at: int
    effective_at: int


class IdempotencyKey(NamedTuple):
    """One row of ``idempotency_keys``: which record answered a principal's key. ``digest`` is 16 bytes of SHA-256
    over principal and key, ``request_digest`` 32 bytes over the canonical request."""

    book_id: int
    digest: bytes
    request_digest: bytes
    log_index: int
    recorded_at: int


class Text(NamedTuple):
    """One row of ``texts`` (side data): a free text whose salted digest stands in the log."""

    book_id: int
    log_index: int
    field: str
    salt: bytes
    content: str
