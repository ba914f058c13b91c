"""What the columns of a log record derive from: its body, and nothing else.

Owns reading a body back (canonical or refused) and the derivation of ``kind``, ``subject``, ``recorded_at`` and
``effective_at``. Invariant: two records with the same body have the same columns, so that a changed column shows.
"""

from typing import Any, Final, NamedTuple

from ledger.core.canonical import canonical_bytes, check_value, parse
from ledger.core.journal import FORMAT
from ledger.core.moment import moment_of, moment_text

SUBJECT_FIELDS: Final = {
    "allocation": "allocation",
    "deallocation": "allocation",
    "hold": "authorization",
    "denial": "authorization",
    "extension": "authorization",
    "settlement": "authorization",
    "release": "authorization",
    "expiry": "authorization",
    "charge": "authorization",
    "approval_requested": "authorization",
    "approval_vote": "authorization",
    "approval_granted": "authorization",
    "approval_refused": "authorization",
    "delegation": "delegation",
    "delegation_revocation": "delegation",
    "refund": "refund",
    "adjustment": "adjustment",
    "book": "book",
    "agent": "agent",
    "freeze": "agent",
    "unfreeze": "agent",
    "renewal": "renewed",
    "budget_closure": "closed",
    "budget_renewal": "budget",
    "budget_freeze": "budget",
    "budget_unfreeze": "budget",
    "book_freeze": "book",
    "book_unfreeze": "book",
    "key": "key",
    "key_rotation": "key",
    "key_revocation": "key",
    "budget": "budget",
    "budget_agents": "budget",
    "run": "run",
    "unit": "unit",
    "name": "name",
    "webhook": "webhook",
    "webhook_rotation": "webhook",
    "webhook_removal": "webhook",
    "signing_key": "signing_key",
    "policy": "policy",
    "policy_retirement": "policy",
    "run_denial": "run",
    "redaction": "redaction",
    "rate": "rate",
    "correction_rule": "currency",
    "correction_requested": "correction",
    "correction_refused": "correction",
    "correction_withdrawn": "correction",
    "period_close": "period",
    "period_reopen_request": "period",
    "period_reopening": "period",
    "explanation": "authorization",
    "reconciliation": "reconciliation",
    "outcome": "run",
    "invoice": "invoice",
    "invoice_void": "invoice",
    "payment": "payment",
    "payment_reversal": "payment",
    "payee_terms": "payee",
    "history": "history",
}
"""Kind of record to the field of its body that names what it is about."""

TEXT_FIELDS: Final = ("evidence", "intent", "reason")
"""Fields of a request that hold the salted digest of a text, never the text."""


class Columns(NamedTuple):
    """The columns of ``log_records`` that derive from a body; times in microseconds."""

    kind: str
    subject: str
    recorded_at: int
    effective_at: int


def read_body(packed: bytes) -> dict[str, Any]:
    """The object that canonical bytes stand for. Raises ValueError, saying why, for anything else."""
    body = parse(packed)
    if not isinstance(body, dict):
        raise ValueError("the body is no object")
    if canonical_bytes(body) != packed:
        raise ValueError("the body is not in canonical form")
    if not (packed.isascii() and _is_plain(body)):
        check_value(body)
    return body


_TEXTS: Final = frozenset((str, bool))
_PLAIN: Final = frozenset((str, bool, int, list, dict))


def _is_plain(value: Any) -> bool:
    """Whether a value is surely inside the canonical subset: texts, booleans and small integers, nested. False sends it
    to the full check, which is slower."""
    items = value.values() if type(value) is dict else value
    kinds = set(map(type, items))
    if kinds <= _TEXTS:
        return True
    if not kinds <= _PLAIN:
        return False
    for item in items:
        kind = type(item)
        if kind is int:
            if not -1_000_000_000_000 < item < 1_000_000_000_000:
                return False
        elif (kind is list or kind is dict) and not _is_plain(item):
            return False
    return True


class Clock:
    """Reads the times of bodies. A batch's records share their time, so the last one read is kept."""

    __slots__ = ("_moment", "_text")

    def __init__(self) -> None:
        self._text = ""
        self._moment = 0

    def read(self, text: Any) -> int:
        """Microseconds of a body's time. Raises ValueError unless it is written as bodies write times."""
        if text != self._text:
            moment = moment_of(text)
            if moment_text(moment) != text:
                raise ValueError(f'"{text}" is not how a body writes a time')
            self._text, self._moment = text, moment
        return self._moment


def columns_of(body: dict[str, Any], clock: Clock) -> Columns:
    """The columns that ``body`` gives. Raises ValueError, KeyError or TypeError when it lacks what they derive from."""
    kind = body["kind"]
    field = SUBJECT_FIELDS.get(kind)
    if field is None:
        raise ValueError(f'"{kind}" is no kind of record')
    if body["format"] != FORMAT:
        raise ValueError(f"format {body['format']} is not known to this version")
    subject = body[field]
    recorded_at = clock.read(body["time"])
    effective_text = body.get("effective_at")
    return Columns(kind, subject, recorded_at, recorded_at if effective_text is None else moment_of(effective_text))


def text_digests(body: dict[str, Any]) -> dict[str, str]:
    """Field to salted digest of the texts that a record's request came with; where a second person approved it, of
    that person's, because those of the first stand with what was asked for."""
    request = body["approved_by"].get("request") if "approved_by" in body else body.get("request")
    if not request:
        return {}
    return {field: request[field] for field in TEXT_FIELDS if field in request}
