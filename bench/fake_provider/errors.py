"""Errors in each provider's own shape.

Invariant: an error is parsed by the provider's own client into the exception that the real one would cause.
"""

from typing import Any

import orjson

from bench.fake_provider.calls import MESSAGES, RESPONSES

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OPENAI_TYPES = {429: "rate_limit_exceeded", 401: "invalid_request_error", 403: "invalid_request_error"}
_OPENAI_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
_MESSAGES = {
    401: "Incorrect API key provided.",
    429: "Rate limit reached for requests.",
    500: "The server had an error while processing your request.",
    503: "The engine is currently overloaded, please try again later.",
    529: "Overloaded",
}


def error_of(wire: str, status: int, *, message: str = "", param: str | None = None, request_id: str) -> dict[str, Any]:
    """The error's JSON in the shape of the provider who speaks the wire."""
    text = message or _MESSAGES.get(status, f"The fake provider was told to answer {status}.")
    if wire == MESSAGES:
        kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": text}, "request_id": request_id}
    kind = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": text, "type": kind, "param": param, "code": _OPENAI_CODES.get(status)}}


def error_event(wire: str, *, sequence: int, request_id: str) -> bytes:
    """The event that tells of an error after the answer had begun."""
    if wire == MESSAGES:
        return b"event: error\ndata: %s\n\n" % orjson.dumps(error_of(wire, 529, request_id=request_id))
    if wire == RESPONSES:
        event = {
            "type": "error",
            "code": "server_error",
            "message": _MESSAGES[500],
            "param": None,
            "sequence_number": sequence,
        }
        return b"event: error\ndata: %s\n\n" % orjson.dumps(event)
    return b"data: %s\n\n" % orjson.dumps(error_of(wire, 500, request_id=request_id))
