"""Errors as RFC 9457 problem details: one total table from what happened to what HTTP says.

Owns the HTTP status, code, title and standing advice of everything that is not a success, and the HTTP status of
every success. Invariants: every member of ``Status`` has exactly one row; a ``code`` means one thing for good; both
the hot handlers and the routes behind FastAPI answer from this table and from nowhere else. ``type`` is the
reference ``/problems/<code>``, relative to the server, which answers it with the row's explanation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from api.reply import PROBLEM_HEADER, Reply
from ledger.core.outcome import DENIALS, Outcome, Status

TYPE_PREFIX: Final = "/problems/"


class Row(NamedTuple):
    """What HTTP says: status, title, the sentence used when nothing more precise is known, and after how many
    seconds it is worth asking again (None: not by waiting)."""

    http: int
    title: str
    advice: str
    retry_after_seconds: int | None = None


CREATED: Final = Row(201, "Created", "The request was carried out.")
STATUS_ROWS: Final[Mapping[Status, Row]] = {
    Status.KEY_UNKNOWN: Row(401, "Unknown key", "Use a key of this server; an admin can make one."),
    Status.KEY_REVOKED: Row(401, "Key revoked", "Ask an admin for a new key."),
    Status.KEY_EXPIRED: Row(401, "Key expired", "Ask an admin for a new key, or rotate keys before they expire."),
    Status.KEY_RUN_ONLY: Row(
        403, "Key for one run only", "Use an ordinary key of the agent, or keep to the run that this key is for."
    ),
    Status.ROLE_NOT_ALLOWED: Row(403, "Role not allowed", "Use a key whose role may do this."),
    Status.UNKNOWN_CURRENCY: Row(
        422, "Unknown currency", "Use an ISO 4217 code such as USD, or a unit that this book defines."
    ),
    Status.AMOUNT_MALFORMED: Row(422, "Amount malformed", 'Write the amount as decimal text such as "12.50".'),
    Status.AMOUNT_TOO_PRECISE: Row(
        422, "Amount too precise", "Use no more digits after the point than the currency has."
    ),
    Status.AMOUNT_NOT_POSITIVE: Row(422, "Amount not positive", "Use an amount above zero."),
    Status.AMOUNT_TOO_LARGE: Row(422, "Amount too large", "Use an amount that fits 64 bits of atoms."),
    Status.IDEMPOTENCY_MISMATCH: Row(
        422, "Idempotency key used for another request", "Use a new Idempotency-Key for a new request."
    ),
    Status.RECORD_ARCHIVED: Row(
        410, "Record archived", "It was detached into an archive; whoever runs the server has it."
    ),
    Status.REPLAY_CLOSED: Row(
        409, "Already answered, hold closed", "The hold of this request is no longer open; make a new request."
    ),
    Status.REPLAYED: Row(200, "Answered before", "This is the recorded answer of the first request."),
    Status.NOT_FOUND: Row(404, "Not found", "Check the path, id or name; a key sees only its own book."),
    Status.GATEWAY_ONLY: Row(
        403, "The gateway's to end", "Wait for the gateway to settle its call; finance can end one that nobody knows."
    ),
    Status.NOT_YOURS: Row(404, "Not found", "Check the path, id or name; a key sees only its own book."),
    Status.UNKNOWN_AGENT: Row(422, "Unknown agent", "Name an agent or team of this book."),
    Status.UNKNOWN_PERSON: Row(422, "Unknown person", "Name a person who has, or had, a key of this book."),
    Status.UNKNOWN_BUDGET: Row(422, "Unknown budget", "Name a budget of this book."),
    Status.NO_BUDGET: Row(422, "No budget", "Let the agent spend from a budget first, or name one."),
    Status.BUDGET_AMBIGUOUS: Row(422, "Budget ambiguous", "Name one of the agent's budgets."),
    Status.UNKNOWN_CATEGORY: Row(422, "Unknown category", "Use a category of this book; an admin can add one."),
    Status.UNKNOWN_PAYEE: Row(422, "Unknown payee", "Use a payee of this book; an admin can add one."),
    Status.UNKNOWN_RUN: Row(422, "Unknown run", "Open the run with POST /v1/runs first."),
    Status.CURRENCY_MISMATCH: Row(
        422, "Currency mismatch", "Use the currency that was asked; a unit that is not money has no rates."
    ),
    Status.EFFECTIVE_AT_INVALID: Row(
        422,
        "Effective date not allowed",
        "Use a moment that is not in the future, nor long before the book was opened.",
    ),
    Status.RECORD_NOT_CORRECTABLE: Row(
        422, "Record not correctable", "Name an adjustment or a charge to reverse, or a record with a line to correct."
    ),
    Status.DELEGATION_INVALID: Row(
        422, "Delegation invalid", "Name another person as the receiver, and an end within 90 days of the start."
    ),
    Status.RATE_INVALID: Row(422, "Rate invalid", "Change the rate as detail says; none was recorded."),
    Status.RATE_NEEDED: Row(409, "No rate", "Give a rate for the day first, or use the budget's currency."),
    Status.RECONCILIATION_INVALID: Row(
        422, "Reconciliation does not hold", "Make the differences add up to provider less ledger; compare again."
    ),
    Status.INVOICE_UNBALANCED: Row(
        422, "Invoice does not add up", "Make the total what lines and taxes add up to, less credits."
    ),
    Status.ACCOUNT_INVALID: Row(422, "Account invalid", "Name an account as the list of accounts shows it."),
    Status.SORTS_MIXED: Row(
        422, "Sorts of account mixed", "A transfer joins two budgetary accounts or two real ones, never one of each."
    ),
    Status.HELD_UNTOUCHABLE: Row(422, "Held amounts cannot be adjusted", "Settle or release the hold instead."),
    Status.TOO_MANY_SPLITS: Row(422, "Too many splits", "Settle one hold with fewer different categories and payees."),
    Status.TTL_TOO_LONG: Row(422, "Time to live too long", "Ask for less time in all."),
    Status.TREE_TOO_DEEP: Row(422, "Tree too deep", "Use a parent nearer to the root."),
    Status.ROLE_PRINCIPAL_MISMATCH: Row(
        422, "Role and principal do not fit", "Give role agent with an agent, any other role with a person."
    ),
    Status.NAME_TAKEN: Row(409, "Name taken", "Choose another name; names are never used again."),
    Status.NUMBER_TAKEN: Row(409, "Invoice recorded already", "Look at the invoice that has this number."),
    Status.PAYMENT_TOO_LARGE: Row(
        409, "Payment too large", "Pay at most what is open, or say what becomes of the rest."
    ),
    Status.WRONG_STATE: Row(409, "Wrong state", "Look at the current state before asking again."),
    Status.REFUND_TOO_LARGE: Row(409, "Refund too large", "Refund at most what was settled and not yet refunded."),
    Status.REFUND_AMBIGUOUS: Row(409, "Refund ambiguous", "Name the category and payee to refund."),
    Status.REPRICE_AMBIGUOUS: Row(409, "Reprice ambiguous", "Name the category and payee whose price was wrong."),
    Status.REPRICE_STALE: Row(
        409, "Repriced meanwhile", "Look at the authorization again; nothing was changed. settled is what is recorded."
    ),
    Status.REPRICE_UNCHANGED: Row(409, "Nothing to reprice", "It is recorded with this amount already."),
    Status.REPRICE_TOO_SMALL: Row(409, "Repriced below refunds", "Give an amount of at least what was refunded."),
    Status.INSUFFICIENT_AVAILABLE: Row(409, "Not enough available", "Move at most what the budget has available."),
    Status.BALANCE_OVERFLOW: Row(409, "Balance overflow", "Use an amount whose balances fit 64 bits of atoms."),
    Status.PERIOD_NOT_OVER: Row(409, "Month not over", "Close it once it is over in the book's time zone."),
    Status.PERIOD_OUT_OF_ORDER: Row(
        409, "Month out of order", "Months close one after the other, and open again from the last; period is the next."
    ),
    Status.PERIOD_CHANGED: Row(
        503, "Month changed meanwhile", "Something was backdated into it; nothing was recorded; ask again.", 1
    ),
    Status.CHECKS_FAILED: Row(409, "Checks failed", "Mend or explain what checks names, or accept it with a reason."),
    Status.POLICY_INVALID: Row(422, "Policy invalid", "Change the policy as detail says; nothing was applied."),
    Status.POLICY_CHANGED: Row(409, "Policy changed meanwhile", "Look at the live version and apply again."),
    Status.POLICY_UNCHANGED: Row(409, "Policy unchanged", "The live version says the same already."),
    Status.FILL_NEEDED: Row(503, "Limits being filled", "Nothing was recorded; ask again.", 1),
    Status.NOT_AN_APPROVER: Row(
        403, "Not an approver", "Have somebody approve whom the policy names and who has no part in the request."
    ),
    Status.ALREADY_VOTED: Row(409, "Voted already", "Each person has one voice; another must approve."),
    Status.APPROVAL_MISMATCH: Row(
        409, "Not the request that was shown", "Look at the request again and send the request_digest it has now."
    ),
    Status.BUDGET_IN_USE: Row(409, "Budget in use", "End what is held, and close the budgets below it, first."),
    Status.BOOK_FROZEN: Row(403, "Denied: book frozen", "An admin can unfreeze the book."),
    Status.BUDGET_FROZEN: Row(403, "Denied: budget frozen", "An admin can unfreeze the budget or the one above it."),
    Status.BUDGET_CLOSED: Row(403, "Denied: budget closed", "Spend from another budget."),
    Status.POLICY_ERROR: Row(
        403, "Denied: policy error", "A policy could not be evaluated, so it denies; an admin must mend it."
    ),
    Status.CATEGORY_NOT_ALLOWED: Row(403, "Denied: category not allowed", "Use a category that the policy allows."),
    Status.PAYEE_NOT_ALLOWED: Row(403, "Denied: payee not allowed", "Use a payee that the policy allows."),
    Status.RESOURCE_NOT_ALLOWED: Row(403, "Denied: resource not allowed", "Name a resource that the policy allows."),
    Status.CONDITION_NOT_MET: Row(403, "Denied: condition not met", "Change what the policy's condition looks at."),
    Status.RUN_REQUIRED: Row(403, "Denied: run required", "Open a run with POST /v1/runs and name it."),
    Status.LIMIT_CURRENCY: Row(403, "Denied: limit in another currency", "Ask in the currency of the limit."),
    Status.LIMIT_TOO_SMALL: Row(403, "Denied: above the limit itself", "Ask for at most the limit; it never fits."),
    Status.OUTSIDE_HOURS: Row(403, "Denied: outside hours", "Ask again at fits_at."),
    Status.LOOP_DETECTED: Row(403, "Denied: loop detected", "Stop repeating the request; do something else."),
    Status.RUN_CAP_EXCEEDED: Row(
        403, "Denied: cap of the run", "Ask for less, or open another run with a cap of its own."
    ),
    Status.LIMIT_EXCEEDED: Row(403, "Denied: limit exceeded", "Ask for less, or again at fits_at."),
    Status.APPROVAL_REQUIRED: Row(
        403, "Denied: approval required", "Send accept_pending: true and wait until persons have decided."
    ),
    Status.LIMIT_HELD: Row(
        429, "Limit held by open holds", "It would fit once open holds are settled or released; ask again.", 2
    ),
    Status.RUN_HELD: Row(
        429,
        "Run held by its open holds",
        "It would fit once open holds of the run are settled or released; ask again.",
        2,
    ),
    Status.VELOCITY: Row(429, "Too fast", "It fits within a minute; ask again after Retry-After seconds.", 60),
    Status.PENDING_APPROVAL: Row(202, "Pending approval", "The amount is held while persons decide.", 5),
    Status.AGENT_FROZEN: Row(403, "Denied: agent frozen", "An admin can unfreeze the agent or the team above it."),
    Status.BUDGET_NOT_PERMITTED: Row(
        403, "Denied: budget not permitted", "Name a budget that this agent may spend from."
    ),
    Status.RUN_NOT_PERMITTED: Row(403, "Denied: run not permitted", "Name a run that this agent opened."),
    Status.PRICE_UNKNOWN: Row(
        403, "Denied: price unknown", "Set a price in prices.yaml, or have a policy name inference.fallback_price."
    ),
    Status.CANNOT_BOUND: Row(
        403, "Denied: cannot bound", "Leave out what cannot be bounded, or have a policy set a ceiling for it."
    ),
    Status.NO_RATE: Row(403, "Denied: no rate", "Have finance give a rate, or ask in the budget's currency."),
    Status.INSUFFICIENT_BUDGET: Row(
        403, "Denied: insufficient budget", "Ask for less, or have more allocated to the budget."
    ),
    Status.BUDGET_HELD: Row(
        429, "Budget held by others", "It would fit once open holds are settled or released; ask again.", 2
    ),
    Status.EXPIRY_BACKLOG: Row(503, "Expiring holds first", "Nothing was recorded; ask again.", 1),
    Status.WAITING: Row(503, "Waiting in line", "Nothing was recorded; ask again.", 1),
    Status.APPROVED: Row(201, "Approved", "The amount is held."),
    Status.DONE: Row(200, "Done", "The request was carried out."),
}
"""Row of every status a command can end in. A creation answers ``DONE`` with 201."""

EDGE_ROWS: Final[Mapping[str, Row]] = {
    "missing_idempotency_key": Row(
        400, "Idempotency-Key missing", "Send an Idempotency-Key header that is new for each new request."
    ),
    "idempotency_key_invalid": Row(
        422, "Idempotency-Key invalid", "Use 1 to 255 printable ASCII characters, and the header once."
    ),
    "malformed_json": Row(422, "Malformed JSON", "Send one JSON object, in UTF-8."),
    "json_too_deep": Row(422, "JSON too deep", "Nest objects and arrays less deeply."),
    "validation_failed": Row(422, "Invalid request", "Change the fields that errors names."),
    "unknown_field": Row(422, "Unknown field", "Remove or correct the fields that errors names."),
    "duplicate_field": Row(422, "Duplicate field", "Give each field of an object once."),
    "amount_not_text": Row(422, "Amount is not text", 'Send amounts as text, "12.50" and not 12.50.'),
    "control_characters": Row(422, "Control characters", "Remove control characters from the text."),
    "batch_too_large": Row(422, "Batch too large", "Send at most 1000 items in one batch."),
    "unsupported_media_type": Row(415, "Not JSON", "Send the body with Content-Type: application/json."),
    "body_too_large": Row(413, "Body too large", "Send a shorter body, or several requests."),
    "header_too_large": Row(431, "Header too large", "Send fewer or shorter headers."),
    "method_not_allowed": Row(405, "Method not allowed", "Use one of the methods in the Allow header."),
    "checkpoint_refused": Row(
        409, "Checkpoint refused", "The log, or the key, cannot be signed with; look at the server's log."
    ),
    "cosignature_invalid": Row(422, "Cosignature invalid", "Send the note as it was served, with the witness's line."),
    "proof_unavailable": Row(503, "Proof unavailable", "The proof cannot be made now; ask again, or verify.", 5),
    "statement_unavailable": Row(
        503, "Statement unavailable", "The statement cannot be made now; ask again, or verify.", 5
    ),
    "unauthenticated": Row(401, "Key missing or malformed", "Send Authorization: Bearer with a whole Bursar key."),
    "rate_limited": Row(429, "Too many requests", "Send requests with this key more slowly; nothing was recorded.", 1),
    "overloaded": Row(503, "Overloaded", "The queue is full and nothing was recorded; ask again.", 1),
    "database_unavailable": Row(
        503, "Database unavailable", "Nothing was recorded; ask again with the same Idempotency-Key.", 2
    ),
    "outcome_unknown": Row(
        503, "Outcome unknown", "It may have been recorded: repeat it with the same Idempotency-Key.", 1
    ),
    "clock_jumped": Row(
        503, "Clock out of bounds", "The server's clock is far ahead of the book; nothing was recorded.", 30
    ),
    "stopping": Row(503, "Stopping", "This server is stopping and nothing was recorded; ask again.", 1),
    "request_timeout": Row(408, "Request too slow", "Send the whole request within the server's time."),
    "internal": Row(500, "Internal error", "This is a fault of the server; report the request_id."),
}
"""Row of everything that the edge answers by itself."""

SHOWN_AS: Final[Mapping[Status, Status]] = {Status.NOT_YOURS: Status.NOT_FOUND}
"""Statuses that HTTP tells in the words of another, so that nobody learns what there is for others."""

ROWS: Final[Mapping[str, Row]] = {
    **{status.value: row for status, row in STATUS_ROWS.items() if status not in SHOWN_AS},
    **EDGE_ROWS,
}
"""Row of every code that an answer may carry."""


class ProblemError(Exception):
    """A request that ends with a problem. ``facts`` are members of the problem beside the standing ones; ``headers``
    are sent along. Raised at the edge only."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        facts: Mapping[str, Any] | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.facts = facts or {}
        self.headers = headers


def problem_content(
    code: str, *, request_id: str, detail: str = "", facts: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The members of a problem. Raises KeyError for a code that is not in the table."""
    row = ROWS[code]
    content: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": row.title,
        "status": row.http,
        "code": code,
        "detail": sentence(detail) if detail else row.advice,
        "request_id": request_id,
    }
    if facts:
        for name, value in facts.items():
            content.setdefault(name, value)
    return content


def sentence(text: str) -> str:
    """Text with a full stop. Its first word stays as it is: it may be a name or an id."""
    return text if text.endswith((".", "!", "?")) else text + "."


def problem_headers(code: str, retry_after_seconds: int | None = None) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that a code's answer carries: media type, Retry-After (of the row unless a better one is known),
    WWW-Authenticate."""
    row = ROWS[code]
    headers: tuple[tuple[bytes, bytes], ...] = (PROBLEM_HEADER,)
    if row.retry_after_seconds is not None:
        headers += ((b"retry-after", b"%d" % (retry_after_seconds or row.retry_after_seconds)),)
    if row.http == 401:
        challenge = b'Bearer realm="bursar"' if code == "unauthenticated" else b'Bearer error="invalid_token"'
        headers += ((b"www-authenticate", challenge),)
    if row.http in (408, 413, 431):
        headers += ((b"connection", b"close"),)
    return headers


def problem_reply(
    code: str,
    *,
    request_id: str,
    detail: str = "",
    facts: Mapping[str, Any] | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    retry_after_seconds: int | None = None,
) -> Reply:
    """The answer to a request that ended with ``code``."""
    content = problem_content(code, request_id=request_id, detail=detail, facts=facts)
    return Reply(content["status"], problem_headers(code, retry_after_seconds) + headers, orjson.dumps(content))


def is_success(outcome: Outcome) -> bool:
    """Whether an outcome is carried by its record's rendering and not by a problem."""
    return STATUS_ROWS[outcome.status].http < 400


def is_denial(outcome: Outcome) -> bool:
    """Whether an outcome is a recorded decision against the request."""
    return outcome.status in DENIALS
