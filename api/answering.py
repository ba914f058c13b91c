"""From what became of a command to an HTTP answer.

Owns the translation of outcomes and of failures. Invariants: a fresh answer and its replay are rendered by the same
function from the same record; whatever is raised becomes a problem of the table; 5xx says only what is true of the
book (nothing recorded, or not known).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from api.logs import SERVER
from api.problems import SHOWN_AS, STATUS_ROWS, ProblemError, problem_reply
from api.rendering import (
    ANSWERS,
    Scale,
    answered_status,
    authorization_answer,
    denial_detail,
    denial_facts,
    money,
    success_http,
)
from api.rendering_approvals import is_still_pending
from api.rendering_corrections import is_still_waiting
from api.rendering_decisions import retry_after_seconds
from api.reply import JSON_HEADER, REPLAYED_HEADER, Reply
from ledger.core.outcome import DENIALS, Outcome, Status
from ledger.services import errors as services
from ledger.storage import errors as storage

AMOUNT_FACTS: Final = (
    "available", "held", "refundable", "refunded", "settled", "total", "found", "open", "rest",
)  # fmt: skip
"""Facts of a refusal that are atoms of the currency beside them."""
_JSON: Final = (JSON_HEADER,)
_JSON_REPLAYED: Final = (JSON_HEADER, REPLAYED_HEADER)
_FAILURES: Final[Mapping[type[Exception], str]] = {
    services.Overloaded: "overloaded",
    services.Stopping: "stopping",
    services.DatabaseUnavailable: "database_unavailable",
    services.OutcomeUnknown: "outcome_unknown",
    services.ClockJumped: "clock_jumped",
    services.UnknownBook: Status.KEY_UNKNOWN.value,
    storage.Unavailable: "database_unavailable",
    storage.Busy: "database_unavailable",
    storage.Conflict: "database_unavailable",
    storage.SchemaOutdated: "database_unavailable",
    storage.BookMissing: Status.KEY_UNKNOWN.value,
}
_READ_DETAILS: Final[Mapping[str, str]] = {
    "database_unavailable": "The database cannot be read now; ask again.",
    "outcome_unknown": "This could not be answered; ask again.",
    "overloaded": "The server has too much to do; ask again.",
    "stopping": "This server is stopping; ask again.",
    "clock_jumped": "The server's clock is far ahead of the book; ask again.",
}
"""What a request that changes nothing is told instead of the standing advice."""


def authorization_reply(outcome: Outcome, scale: Scale, request_id: str) -> Reply:
    """The answer to authorize, settle, extend, release, or saying that an outcome is not known."""
    status = outcome.status
    if status is Status.APPROVED:
        return Reply(201, _JSON, orjson.dumps(authorization_answer(outcome, scale)))
    return outcome_reply(outcome, scale, request_id)


def outcome_reply(outcome: Outcome, scale: Scale, request_id: str, extra: Mapping[str, Any] | None = None) -> Reply:
    """The answer to any command. ``extra`` members are added to a fresh success and to no replay."""
    status = answered_status(outcome)
    headers = (REPLAYED_HEADER,) if outcome.replayed else ()
    if status in DENIALS:
        return problem_reply(
            status.value,
            request_id=request_id,
            detail=denial_detail(outcome),
            facts=denial_facts(outcome, scale),
            headers=headers,
            retry_after_seconds=retry_after_seconds(outcome.body) if outcome.body is not None else None,
        )
    body = outcome.body
    if STATUS_ROWS[status].http >= 400 or body is None:
        return problem_reply(
            SHOWN_AS.get(status, status).value,
            request_id=request_id,
            detail=outcome.detail,
            facts=shown_facts(outcome.facts, scale),
            headers=headers,
        )
    content = ANSWERS[body["kind"]](outcome, scale)
    if extra and not outcome.replayed:
        content |= extra
    reply_headers: tuple[tuple[bytes, bytes], ...] = _JSON_REPLAYED if outcome.replayed else _JSON
    if status is Status.PENDING_APPROVAL:
        reply_headers += _waiting_headers(outcome)
    return Reply(success_http(status, body), reply_headers, orjson.dumps(content))


def _waiting_headers(outcome: Outcome) -> tuple[tuple[bytes, bytes], ...]:
    """Where to ask how a request stands that persons were asked about, and after how many seconds."""
    body = outcome.body or {}
    if body["kind"] == "correction_requested":
        place, is_pending = f"corrections/{body['correction']}", is_still_waiting(outcome)
    else:
        place, is_pending = f"authorizations/{body['authorization']}", is_still_pending(outcome)
    location = (b"location", f"/v1/{place}".encode())
    seconds = STATUS_ROWS[Status.PENDING_APPROVAL].retry_after_seconds
    return (location, (b"retry-after", b"%d" % (seconds or 1))) if is_pending else (location,)


def shown_facts(facts: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    """The facts of a refusal, with its amounts as decimal text."""
    currency = facts.get("currency")
    if currency is None or currency not in scale:
        return dict(facts)
    return {
        name: money(value, currency, scale[currency]) if name in AMOUNT_FACTS else value
        for name, value in facts.items()
        if name != "currency"
    }


def failure_reply(error: Exception, request_id: str, *, only_reads: bool = False) -> Reply:
    """The answer when a request could not be handled: a problem of the edge, a service that could not decide, or a
    fault. A fault is logged with its trace. What ``only_reads`` is told nothing about records and keys."""
    if isinstance(error, ProblemError):
        detail = error.detail or (_READ_DETAILS.get(error.code, "") if only_reads else "")
        return problem_reply(error.code, request_id=request_id, detail=detail, facts=error.facts, headers=error.headers)
    if isinstance(error, storage.RecordArchived):
        return problem_reply(Status.RECORD_ARCHIVED.value, request_id=request_id, detail=str(error))
    for kind in type(error).__mro__:
        code = _FAILURES.get(kind)
        if code is not None:
            return problem_reply(code, request_id=request_id, detail=_READ_DETAILS.get(code, "") if only_reads else "")
    SERVER.error("a request failed", exc_info=error, extra={"request_id": request_id})
    return problem_reply("internal", request_id=request_id)


def problem_of_reply(reply: Reply) -> dict[str, Any]:
    """The content of a reply that was made here, for an item of a batch."""
    content: dict[str, Any] = orjson.loads(reply.body)
    return content
