"""The fold over who asked: by what key, in which role, and whether such a record can be asked for so at all.

Owns which operations each kind of record is the outcome of, and who besides the holder of a key may make it, written
down here and not taken from the code that decided. Invariant: nothing that a record says of itself decides what its key
must be allowed to do; the kind of the record does.
"""

from typing import Final

from ledger.core.projecting_record import Record, run_of_key
from ledger.core.roles import GATEWAY_REPORTS, allowed

OWNER: Final = "system:database-owner"
_POLICY: Final = "policy:"
_HOLDERS: Final = ("agent:", "person:")

OPERATIONS: Final[dict[str, frozenset[str]]] = {
    kind: frozenset(operations.split())
    for kind, operations in {
        "book": "",
        "hold": "authorize",
        "approval_requested": "authorize",
        "denial": "authorize extend",
        "extension": "extend",
        "settlement": "settle",
        "release": "release",
        "expiry": "mark_unknown",
        "charge": "charge",
        "refund": "refund reverse",
        "adjustment": "adjust reprice reverse",
        "allocation": "allocate",
        "deallocation": "deallocate",
        "approval_vote": "grant_approval",
        "approval_granted": "grant_approval force_approval",
        "approval_refused": "refuse_approval",
        "delegation": "delegate",
        "delegation_revocation": "revoke_delegation",
        "agent": "create_agent",
        "freeze": "freeze_agent",
        "unfreeze": "freeze_agent",
        "key": "create_key",
        "key_rotation": "rotate_key",
        "key_revocation": "revoke_key",
        "budget": "create_budget",
        "budget_agents": "assign_budget",
        "budget_renewal": "set_renewal stop_renewal",
        "renewal": "",
        "budget_closure": "close_budget",
        "budget_freeze": "freeze_budget",
        "budget_unfreeze": "freeze_budget",
        "book_freeze": "freeze_book",
        "book_unfreeze": "freeze_book",
        "run": "open_run",
        "run_denial": "open_run",
        "unit": "define_unit",
        "name": "add_name",
        "policy": "apply_policy",
        "policy_retirement": "retire_policy",
        "webhook": "register_webhook",
        "webhook_rotation": "rotate_webhook",
        "webhook_removal": "remove_webhook",
        "signing_key": "adopt_signing_key",
        "redaction": "redact",
        "rate": "give_rates",
        "correction_rule": "set_correction_rule",
        "correction_requested": "charge refund reprice adjust reverse set_correction_rule",
        "correction_refused": "refuse_correction",
        "correction_withdrawn": "withdraw_correction",
        "period_close": "close_period",
        "period_reopen_request": "request_reopening",
        "period_reopening": "approve_reopening",
        "explanation": "explain",
        "reconciliation": "reconcile",
        "outcome": "report_outcome",
        "invoice": "record_invoice",
        "invoice_void": "void_invoice",
        "payment": "record_payment",
        "payment_reversal": "reverse_payment",
        "payee_terms": "set_payee",
        "history": "take_over",
    }.items()
}
"""Kind of record to the operations whose outcome it can be."""
UNASKED: Final = frozenset(("expiry", "renewal"))
"""What time brings by itself; nobody is named then."""
OWNERS: Final = frozenset(
    (
        "book", "key", "settlement", "freeze", "unfreeze", "budget_freeze", "budget_unfreeze", "book_freeze",
        "book_unfreeze", "policy", "policy_retirement", "signing_key", "redaction", "rate",
    )
)  # fmt: skip
"""What the program lets whoever owns the database do without a key: open a book and make its admin's key, stop, govern,
sign, remove texts, give rates of exchange, and settle calls that nobody can say the end of."""
POLICIES: Final = frozenset(("freeze",))
"""What a policy does by itself."""
WITHOUT_IDEMPOTENCY_KEY: Final = frozenset(("webhook_removal",))
"""What a request without an idempotency key does, because doing it again changes nothing: HTTP's DELETE (RFC 9110,
section 9.2.2)."""
KINDS_OF_A_RUN: Final = frozenset(
    ("hold", "approval_requested", "denial", "extension", "settlement", "release", "expiry", "outcome")
)
"""Kinds of records that a key for one run may have asked for; an expiry is asked for where nobody knows what became of
a hold."""
FIRST_KEY_INDEX: Final = 1
"""Where the key stands that comes with the book, for which nobody asked apart."""


def check_asking(record: Record) -> None:
    """Note a difference unless whoever asked could: the one whom a key names that was valid, in a role that may do what
    the record is the outcome of, and within the run that the key is for; or one of those who need no key for it."""
    body, kind = record.body, record.columns.kind
    by = body.get("by")
    if by is None:
        if kind not in UNASKED:
            record.differ("nobody is named who asked for it", "", kind)
        _expect_no_request(record)
        return
    principal, key_id = by["principal"], by.get("key")
    if key_id is not None or principal.startswith(_HOLDERS):
        _check_key(record, principal, key_id)
    elif principal == OWNER:
        _check_owner(record)
    elif kind in POLICIES and principal.startswith(_POLICY):
        if record.store.policies.get(principal.removeprefix(_POLICY)) is None:
            record.differ("a policy did this that is not there", "a policy", principal)
        _expect_no_request(record)
    else:
        record.differ("who asked is nobody who could", "the holder of a key", principal)


def _check_key(record: Record, principal: str, key_id: str | None) -> None:
    """A key that could, of the one who asked. What a gateway reports is recorded although the key has ended meanwhile,
    and never in another role."""
    body, kind = record.body, record.columns.kind
    if key_id is None:
        record.differ("who asked has come without a key", "", principal)
        return
    key = record.store.api_keys.get(key_id)
    if key is None or key.principal != principal:
        expected = key.principal if key is not None else "no such key"
        record.differ("who asked is not the one whom the key names", expected, principal)
        return
    operation = body["request"]["operation"]
    ended = key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= record.time)
    if operation not in OPERATIONS[kind]:
        record.differ("this kind of record is not what was asked for", sorted(OPERATIONS[kind]), operation)
    elif ended and operation not in GATEWAY_REPORTS and "approved_by" not in body:
        # What a second person approved was asked for when the key was valid.
        record.differ("a key is used that was valid no more", "a valid key", key_id)
    elif not allowed(operation, key.role):
        record.differ("a key is used for what its role may not do", operation, key.role)
    if "idempotency" not in body and kind not in WITHOUT_IDEMPOTENCY_KEY:
        record.differ("what is asked for with a key has an idempotency key", "", key_id)
    run = run_of_key(record)
    if run is not None and (kind not in KINDS_OF_A_RUN or body.get("run") != run):
        record.differ("a key is used outside of the run that it is for", run, body.get("run"))


def _check_owner(record: Record) -> None:
    """Whoever owns the database, in what the program lets them do; the book and its first key have no request."""
    kind = record.columns.kind
    if kind not in OWNERS:
        record.differ("this is not done without a key", "the holder of a key", OWNER)
    elif kind == "book" or (kind == "key" and record.index == FIRST_KEY_INDEX):
        _expect_no_request(record)
    elif record.body["request"]["operation"] not in OPERATIONS[kind]:
        said = record.body["request"]["operation"]
        record.differ("this kind of record is not what was asked for", sorted(OPERATIONS[kind]), said)


def _expect_no_request(record: Record) -> None:
    record.expect("request", None)
    record.expect("idempotency", None)
