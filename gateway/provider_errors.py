"""What a provider's error says: whether the call may be on its bill, and what of it a client may read.

Pure. Invariants: an error is taken for free only where nothing says otherwise; a provider's key stands in nothing
that is passed on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from gateway.metering import meter_answer
from gateway.metering.fields import mapping
from gateway.refusals import Refusal
from gateway.usage import Usage
from gateway.wires import Wire

SECRET_CHARACTERS_MIN: Final = 8
"""A shorter key is a word such as ``none``, which errors may have."""
_ENDED_LATE: Final = frozenset((408, 499))
_UNREAD: Final = frozenset((400, 408, 499))
_FILTERED: Final = frozenset(("content_filter", "content_policy_violation", "responsibleaipolicyviolation"))
_HIDDEN: Final = b"[key hidden by Bursar]"
_SAID_CHARACTERS_MAX: Final = 300


def usage_in_error(wire: Wire, body: bytes) -> Usage | None:
    """The usage that an error carries, or None."""
    content = _content(body)
    return meter_answer(wire, content) if content else None


def may_be_billed(status: int, body: bytes | None) -> bool:
    """Whether an error may have cost something: the provider failed or ran out of time, or its filter stopped what it
    had read, which Azure bills. ``body`` is None where it could not be read."""
    if status >= 500 or status in _ENDED_LATE:
        return True
    return status in _UNREAD if body is None else _is_filtered(_content(body))


def _is_filtered(content: Mapping[str, Any]) -> bool:
    error = mapping(content.get("error"))
    inner = mapping(error.get("innererror") or error.get("inner_error"))
    said = (error.get("code"), error.get("type"), inner.get("code"))
    return any(isinstance(word, str) and word.lower() in _FILTERED for word in said)


def hide(secret: str | None, text: bytes) -> bytes:
    """A text of a provider without its key, in whichever way JSON writes it."""
    if secret is None or len(secret) < SECRET_CHARACTERS_MIN:
        return text
    quoted = json.dumps(secret)[1:-1]
    for form in (secret, quoted, quoted.replace("/", "\\/")):
        text = text.replace(form.encode(), _HIDDEN)
    return text


def hide_in_headers(secret: str | None, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The same for headers."""
    return [(name, hide(secret, value)) for name, value in headers]


def key_refused(provider: str, body: bytes, authorization: str = "") -> Refusal:
    """The answer where a provider does not take the key that the server has for it. It is no 401: the agent's own key
    is good. ``body`` is the provider's, its key hidden."""
    content = _content(body)
    error = content.get("error")
    said = error if isinstance(error, str) else mapping(error).get("message")
    words = f": {said[:_SAID_CHARACTERS_MAX]}" if isinstance(said, str) and said else ""
    return Refusal(
        502, "provider_refused_key",
        f"Bursar: {provider} did not take this server's key for it, which the server's operator must mend{words}",
        authorization=authorization,
        is_final=True,
    )  # fmt: skip


def _content(body: bytes) -> Mapping[str, Any]:
    try:
        return mapping(orjson.loads(body))
    except orjson.JSONDecodeError:
        return {}
