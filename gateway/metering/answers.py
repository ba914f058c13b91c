"""The usage of one whole answer, for each wire.

Invariant: an answer that carries no usage is None, and never zero tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.metering.anthropic_usage import anthropic_usage
from gateway.metering.openai_usage import openai_usage
from gateway.usage import Usage
from gateway.wires import Wire


def reported(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The usage object of an answer or of a chunk, or None: absent, null, or empty.

    Groq puts a stream's usage under ``x_groq`` as well, and only there in its older answers.
    """
    for holder in (body, body.get("x_groq")):
        usage = holder.get("usage") if isinstance(holder, Mapping) else None
        if isinstance(usage, Mapping) and any(value is not None for value in usage.values()):
            return usage
    return None


def meter_answer(wire: Wire, body: Mapping[str, Any]) -> Usage | None:
    """What an answer that was not streamed says was used; None where it says nothing.

    ``body`` is the decoded JSON of a 2xx answer. Explicit zeros are zeros. Never raises for what a provider sends.
    """
    usage = reported(body)
    if usage is None:
        return None
    if wire is Wire.MESSAGES:
        return anthropic_usage(body, usage)
    items = body.get("output") if wire is Wire.RESPONSES else None
    return openai_usage(wire, body, usage, items=items if isinstance(items, list) else ())
