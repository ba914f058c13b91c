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
    KEY_RUN_ONLY = "key_run_only"
    # The form of what is asked, where only the book can tell.
    UNKNOWN_CURRENCY = "unknown_currency"
    AMOUNT_MALFORMED = "amount_malformed"
    AMOUNT_TOO_PRECISE = "amount_too_precise"
    AMOUNT_TOO_LARGE = "amount_too_large"
    AMOUNT_NOT_POSITIVE = "amount_not_positive"
    # The same key before.
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    RECORD_ARCHIVED = "record_archived"
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
    GATEWAY_ONLY = "gateway_only"
    UNKNOWN_AGENT = "unknown_agent"
    UNKNOWN_PERSON = "unknown_person"
    UNKNOWN_BUDGET = "unknown_budget"
    NO_BUDGET = "no_budget"
    BUDGET_AMBIGUOUS = "budget_ambiguous"
    UNKNOWN_CATEGORY = "unknown_category"
    UNKNOWN_PAYEE = "unknown_payee"
    UNKNOWN_RUN = "unknown_run"
    CURRENCY_MISMATCH = "currency_mismatch"
    RATE_INVALID = "rate_invalid"
    EFFECTIVE_AT_INVALID = "effective_at_invalid"
    DELEGATION_INVALID = "delegation_invalid"
    RECONCILIATION_INVALID = "reconciliation_invalid"
    INVOICE_UNBALANCED = "invoice_unbalanced"
    TREE_TOO_DEEP = "tree_too_deep"
    RECORD_NOT_CORRECTABLE = "record_not_correctable"
    # The state it is in.
    NAME_TAKEN = "name_taken"
    NUMBER_TAKEN = "number_taken"
    WRONG_STATE = "wrong_state"
    TTL_TOO_LONG = "ttl_too_long"
    TOO_MANY_SPLITS = "too_many_splits"
    REFUND_AMBIGUOUS = "refund_ambiguous"
    REFUND_TOO_LARGE = "refund_too_large"
    REPRICE_AMBIGUOUS = "reprice_ambiguous"
    REPRICE_STALE = "reprice_stale"
    REPRICE_UNCHANGED = "reprice_unchanged"
    REPRICE_TOO_SMALL = "reprice_too_small"
    PERIOD_NOT_OVER = "period_not_over"
    PERIOD_OUT_OF_ORDER = "period_out_of_order"
    PERIOD_CHANGED = "period_changed"
    CHECKS_FAILED = "checks_failed"
    PAYMENT_TOO_LARGE = "payment_too_large"
    POLICY_INVALID = "policy_invalid"
    POLICY_CHANGED = "policy_changed"
    POLICY_UNCHANGED = "policy_unchanged"
    FILL_NEEDED = "fill_needed"
    NOT_AN_APPROVER = "not_an_approver"
    ALREADY_VOTED = "already_voted"
    APPROVAL_MISMATCH = "approval_mismatch"
    BUDGET_IN_USE = "budget_in_use"
    RATE_NEEDED = "rate_needed"
    INSUFFICIENT_AVAILABLE = "insufficient_available"
    BALANCE_OVERFLOW = "balance_overflow"
    # Denied, on record.
    BOOK_FROZEN = "book_frozen"
    AGENT_FROZEN = "agent_frozen"
    BUDGET_FROZEN = "budget_frozen"
    BUDGET_CLOSED = "budget_closed"
    BUDGET_NOT_PERMITTED = "budget_not_permitted"
    RUN_NOT_PERMITTED = "run_not_permitted"
    # Denied because whoever would spend cannot say how much, on record.
    PRICE_UNKNOWN = "price_unknown"
    CANNOT_BOUND = "cannot_bound"
    NO_RATE = "no_rate"
    # Denied by a policy, on record.
    POLICY_ERROR = "policy_error"
    CATEGORY_NOT_ALLOWED = "category_not_allowed"
    PAYEE_NOT_ALLOWED = "payee_not_allowed"
    RESOURCE_NOT_ALLOWED = "resource_not_allowed"
    CONDITION_NOT_MET = "condition_not_met"
    RUN_REQUIRED = "run_required"
    LIMIT_CURRENCY = "limit_currency"
    LIMIT_TOO_SMALL = "limit_too_small"
    OUTSIDE_HOURS = "outside_hours"
    LOOP_DETECTED = "loop_detected"
    # Internal: whether there is money is known once all that is due has expired, so this is decided again.
    EXPIRY_BACKLOG = "expiry_backlog"
    # Denied by a limit that is used up, on record.
    LIMIT_EXCEEDED = "limit_exceeded"
    # Denied by the cap of the run, on record.
    RUN_CAP_EXCEEDED = "run_cap_exceeded"
    # Denied for lack of money, on record.
    INSUFFICIENT_BUDGET = "insufficient_budget"
    # Denied for want of a person's approval, which the caller did not accept to wait for, on record.
    APPROVAL_REQUIRED = "approval_required"
    # Internal: would be denied for what open holds reserve, and waits in line instead.
    WAITING = "waiting"
    # Denied for the moment, on record.
    LIMIT_HELD = "limit_held"
    RUN_HELD = "run_held"
    VELOCITY = "velocity"
    BUDGET_HELD = "budget_held"
    # Done, on record.
    PENDING_APPROVAL = "pending_approval"
    APPROVED = "approved"
    DONE = "done"


DENIALS = frozenset(
    (
        Status.BOOK_FROZEN,
        Status.AGENT_FROZEN,
        Status.BUDGET_FROZEN,
        Status.BUDGET_CLOSED,
        Status.BUDGET_NOT_PERMITTED,
        Status.RUN_NOT_PERMITTED,
        Status.PRICE_UNKNOWN,
        Status.CANNOT_BOUND,
        Status.NO_RATE,
        Status.POLICY_ERROR,
        Status.CATEGORY_NOT_ALLOWED,
        Status.PAYEE_NOT_ALLOWED,
        Status.RESOURCE_NOT_ALLOWED,
        Status.CONDITION_NOT_MET,
        Status.RUN_REQUIRED,
        Status.LIMIT_CURRENCY,
        Status.LIMIT_TOO_SMALL,
        Status.OUTSIDE_HOURS,
        Status.LOOP_DETECTED,
        Status.LIMIT_EXCEEDED,
        Status.RUN_CAP_EXCEEDED,
        Status.INSUFFICIENT_BUDGET,
        Status.APPROVAL_REQUIRED,
        Status.LIMIT_HELD,
        Status.RUN_HELD,
        Status.VELOCITY,
        Status.BUDGET_HELD,
    )
)
"""Decisions against a request: each is one log record."""

BARS = frozenset((Status.PRICE_UNKNOWN, Status.CANNOT_BOUND))
"""Why a request comes barred: the gateway, which would carry it out, cannot say what it costs at most."""

UNBOUND_DENIALS = frozenset((Status.LIMIT_HELD, Status.RUN_HELD, Status.VELOCITY, Status.BUDGET_HELD))
"""Denials that do not bind the idempotency key, because the same request may fit soon."""

WAITABLE = frozenset((Status.LIMIT_HELD, Status.RUN_HELD, Status.BUDGET_HELD))
"""Denials that end when open holds are settled or released: a command that may wait stands in line instead."""

AWAITING_EXPIRIES = frozenset(
    (
        Status.LIMIT_EXCEEDED,
        Status.RUN_CAP_EXCEEDED,
        Status.INSUFFICIENT_BUDGET,
        Status.APPROVAL_REQUIRED,
        Status.LIMIT_HELD,
        Status.RUN_HELD,
        Status.VELOCITY,
        Status.BUDGET_HELD,
    )
)
"""Denials that may turn out otherwise once all holds that are due have ended."""

PRECEDENCE = {status: place for place, status in enumerate(Status)}
"""The place of each status: of several, the one with the lowest is answered."""


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
