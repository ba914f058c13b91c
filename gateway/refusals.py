"""What a client is told when its call is not forwarded, or ends before its time, in its provider's own words.

Owns the shape of errors and of a stream's last events. Invariants: a refusal that may not be repeated has a status
that SDKs do not repeat (403), one that may has 429 or 503 with ``Retry-After``; no message carries a provider's key or
what another agent did.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

import orjson

from gateway.wires import Wire
from ledger.core.moment import SECOND, moment_of
from ledger.core.money import currency_digits, format_atoms
from ledger.core.outcome import DENIALS, UNBOUND_DENIALS, Outcome, Status

OPENAI: Final = "openai"
ANTHROPIC: Final = "anthropic"
RETRY_AFTER_HELD_SECONDS: Final = 1
RETRY_AFTER_SECONDS_MAX: Final = 60
"""The SDKs obey no longer wait, and come again at once instead; after this one they learn what is left of it."""
CUT_AT_CAP: Final = "cut_at_cap"

_OPENAI_TYPES: Final = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "invalid_request_error",
    408: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "invalid_request_error",
    409: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
}
_WHO: Final = frozenset((Status.KEY_UNKNOWN, Status.KEY_REVOKED, Status.KEY_EXPIRED))


class Refusal(Exception):
    """Why a call is not forwarded. ``code`` is stable; ``message`` says what to change; ``param`` is the request's
    field at fault; ``authorization`` the id of the decision on record, where there is one; ``amount`` what the call
    costs at most, as far as that is known (atoms); ``is_final`` that no SDK is to repeat it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: int = 0,
        authorization: str = "",
        amount: int = 1,
        is_final: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.authorization = authorization
        self.amount = amount
        self.is_final = is_final


def error_body(family: str, refusal: Refusal, request_id: str) -> bytes:
    """The body of an error as providers of this family (``openai`` or ``anthropic``) send it, and its SDK reads it."""
    if family == ANTHROPIC:
        kind = _ANTHROPIC_TYPES.get(refusal.status, "api_error")
        # The code stands where people look for it too, because Anthropic's form has no place for it.
        error: dict[str, Any] = {"type": kind, "message": f"{refusal.message} [{refusal.code}]"}
        return orjson.dumps({"type": "error", "error": error, "request_id": request_id})
    kind = _OPENAI_TYPES.get(refusal.status, "server_error")
    message = {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}
    return orjson.dumps({"error": message})


def refusal_headers(refusal: Refusal) -> list[tuple[bytes, bytes]]:
    """The headers that go with a refusal."""
    headers = [(b"content-type", b"application/json"), (b"x-bursar-code", refusal.code.encode())]
    if refusal.is_final or (refusal.status < 500 and refusal.status != 429):
        # The OpenAI SDK repeats 408 and 409 too, and obeys this header whatever the status.
        headers.append((b"x-should-retry", b"false"))
    if refusal.retry_after_seconds:
        headers.append((b"retry-after", b"%d" % refusal.retry_after_seconds))
    if refusal.authorization:
        headers.append((b"x-bursar-authorization", refusal.authorization.encode()))
    return headers


def redirected(provider: str, status: int, authorization: str = "") -> Refusal:
    """The answer to a call that its provider sent elsewhere. Where to is not passed on: a client that went there would
    take its key along, and leave the ledger behind."""
    return Refusal(
        502, "upstream_redirects",
        f"Bursar: {provider} answered {status}, which sends the call elsewhere; its operator must set another base_url",
        authorization=authorization,
    )  # fmt: skip


def amount_text(atoms: int, currency: str) -> str:
    """An amount for people: ``0.0125 USD``."""
    digits = currency_digits(currency)
    return f"{format_atoms(atoms, digits)} {currency}" if digits is not None else f"{atoms} {currency}"


def refusal_of(outcome: Outcome, currency: str) -> Refusal:
    """The refusal that an outcome of the ledger stands for, with the rule, what it saw and what remains."""
    status = outcome.status
    if status in _WHO:
        return Refusal(401, status.value, f"Bursar: {outcome.detail}")
    if status not in DENIALS:
        return Refusal(403, status.value, f"Bursar did not allow this call: {outcome.detail or status.value}")
    body = outcome.body or {}
    reasons = body.get("decision", {}).get("reasons", ())
    message = "Bursar denied this call: " + ("; ".join(_said(reason, currency) for reason in reasons) or status.value)
    soon = status in UNBOUND_DENIALS
    return Refusal(
        429 if soon else 403,
        status.value,
        message,
        retry_after_seconds=_seconds_until_it_fits(body) if soon else 0,
        authorization=str(body.get("authorization", "")),
    )


def _seconds_until_it_fits(body: Mapping[str, Any]) -> int:
    """Whole seconds until every rate that is too fast lets the call through. An SDK that came back sooner would be
    refused again, and give up with the window still closed. What others hold may come free at any moment."""
    moments = [
        moment_of(reason["fits_at"])
        for reason in body.get("decision", {}).get("reasons", ())
        if reason["code"] == Status.VELOCITY.value and "fits_at" in reason
    ]
    if not moments or "time" not in body:
        return RETRY_AFTER_HELD_SECONDS
    seconds = ceil((max(moments) - moment_of(body["time"])) / SECOND)
    return min(max(seconds, RETRY_AFTER_HELD_SECONDS), RETRY_AFTER_SECONDS_MAX)


def _said(reason: dict[str, Any], currency: str) -> str:
    text = f"{reason['rule']}: {reason['detail']}" if reason.get("detail") else f"{reason['rule']}: {reason['code']}"
    if "observed" in reason:
        values = [
            f"{name} {reason[field] if reason.get('unit') == 'count' else amount_text(int(reason[field]), currency)}"
            for name, field in (("asked", "observed"), ("limit", "limit"), ("remaining", "remaining"))
        ]
        text += f" ({', '.join(values)})"
    if "fits_at" in reason:
        text += f"; it would fit at {reason['fits_at']}"
    return text


def ending_events(wire: Wire, reason: str, seen: dict[str, Any]) -> list[tuple[str, bytes]]:
    """(name, data) of the events that end a stream which was cut because its money ran out, well-formed for the SDK.

    ``seen`` is what the stream showed so far: ``id``, ``model``, ``created`` and, for Anthropic's wire, ``block`` (the
    index of a content block that is open, or -1) and ``output_tokens`` (an estimate).
    """
    note = {"bursar": {"code": CUT_AT_CAP, "reason": reason}}
    if wire is Wire.CHAT:
        chunk = {
            "id": seen.get("id", ""),
            "object": "chat.completion.chunk",
            "created": seen.get("created", 0),
            "model": seen.get("model", ""),
            "choices": [
                {"index": index, "delta": {}, "finish_reason": "length"} for index in sorted(seen.get("open", {0}))
            ],
            **note,
        }
        return [("", orjson.dumps(chunk)), ("", b"[DONE]")]
    if wire is Wire.MESSAGES:
        events: list[tuple[str, dict[str, Any]]] = []
        if seen.get("block", -1) >= 0:
            events.append(("content_block_stop", {"type": "content_block_stop", "index": seen["block"]}))
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
            "usage": {"output_tokens": seen.get("output_tokens", 0)},
            **note,
        }
        events += [("message_delta", delta), ("message_stop", {"type": "message_stop"})]
        return [(name, orjson.dumps(data)) for name, data in events]
    response = dict(seen.get("response") or {"id": seen.get("id", ""), "object": "response", "output": []})
    response |= {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    incomplete = {
        "type": "response.incomplete",
        "sequence_number": seen.get("sequence", 0) + 1,
        "response": response,
        **note,
    }
    return [("response.incomplete", orjson.dumps(incomplete))]


def failing_event(wire: Wire, refusal: Refusal, sequence: int) -> tuple[str, bytes]:
    """(name, data) of the event that tells a client in mid-stream that the call failed."""
    if wire is Wire.MESSAGES:
        return "error", error_body(ANTHROPIC, refusal, "")
    if wire is Wire.RESPONSES:
        data = {
            "type": "error",
            "code": refusal.code,
            "message": refusal.message,
            "param": None,
            "sequence_number": sequence + 1,
        }
        return "error", orjson.dumps(data)
    return "", error_body(OPENAI, refusal, "")
