"""Every status a command can end in, in order of precedence, and the outcome that carries it.

Invariant: when several statuses apply to a command, the one that stands first here is answered. ``Status`` members
are in that order; ``docs/statuses.md`` shows it and a test walks it row by row.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Status(Enum):
    """Status and its stable code. The order of the members is the order of precedence."""

    # Who asks.
    KEY_UNKNOWN = "key_unknown"
    KEY_REVOKED = "key_revoked"
    KEY_EXPIRED = "key_expired"
    ROLE_NOT_ALLOWED = "role_not_allowed"
    # The form of what is asked, where only the book can tell.
    UNKNOWN_CURRENCY = "unknown_currency"
    AMOUNT_MALFORMED = "amount_malformed"
    AMOUNT_TOO_PRECISE = "amount_too_precise"
    AMOUNT_TOO_LARGE = "amount_too_large"
    AMOUNT_NOT_POSITIVE = "amount_not_positive"
    # The same key before.
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    REPLAY_CLOSED = "replay_closed"
    REPLAYED = "replayed"
    # The form of what is asked, where its parts do not fit each other.
    ROLE_PRINCIPAL_MISMATCH = "role_principal_mismatch"
    ACCOUNT_INVALID = "account_invalid"
    HELD_UNTOUCHABLE = "held_untouchable"
    SORTS_MIXED = "sorts_mixed"
    # What it refers to.
    NOT_FOUND = "not_found"
    NOT_YOURS = "not_yours"
    UNKNOWN_AGENT = "unknown_agent"
    UNKNOWN_BUDGET = "unknown_budget"
    NO_BUDGET = "no_budget"
    BUDGET_AMBIGUOUS = "budget_ambiguous"
    UNKNOWN_CATEGORY = "unknown_category"
    UNKNOWN_PAYEE = "unknown_payee"
    UNKNOWN_RUN = "unknown_run"
    CURRENCY_MISMATCH = "currency_mismatch"
    EFFECTIVE_AT_INVALID = "effective_at_invalid"
    TREE_TOO_DEEP = "tree_too_deep"
    # The state it is in.
    NAME_TAKEN = "name_taken"
    WRONG_STATE = "wrong_state"
    TTL_TOO_LONG = "ttl_too_long"
    TOO_MANY_SPLITS = "too_many_splits"
    REFUND_AMBIGUOUS = "refund_ambiguous"
    REFUND_TOO_LARGE = "refund_too_large"
    INSUFFICIENT_AVAILABLE = "insufficient_available"
    BALANCE_OVERFLOW = "balance_overflow"
    # Denied, on record.
    AGENT_FROZEN = "agent_frozen"
    BUDGET_NOT_PERMITTED = "budget_not_permitted"
    RUN_NOT_PERMITTED = "run_not_permitted"
    # Internal: whether there is money is known once all that is due has expired, so this is decided again.
    EXPIRY_BACKLOG = "expiry_backlog"
    # Denied for lack of money, on record.
    INSUFFICIENT_BUDGET = "insufficient_budget"
    BUDGET_HELD = "budget_held"
    # Done, on record.
    APPROVED = "approved"
    DONE = "done"


DENIALS = frozenset(
    (
        Status.AGENT_FROZEN,
        Status.BUDGET_NOT_PERMITTED,
        Status.RUN_NOT_PERMITTED,
        Status.INSUFFICIENT_BUDGET,
        Status.BUDGET_HELD,
    )
)
"""Decisions against a request: each is one log record."""

UNBOUND_DENIALS = frozenset((Status.BUDGET_HELD,))
"""Denials that do not bind the idempotency key, because the same request may fit soon."""


@dataclass(slots=True)
class Outcome:
    """What became of one command.

    ``body``, ``log_index`` and ``leaf_hash`` are the answering record's, where there is one; ``replayed`` says that it
    was written before. ``detail`` is a sentence for people that says what to change; ``facts`` are values an answer
    carries beside it (the current state, the names to choose from).
    """

    status: Status
    body: dict[str, Any] | None = None
    log_index: int = -1
    leaf_hash: bytes = b""
    replayed: bool = False
    detail: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
