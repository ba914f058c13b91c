"""The usage of one whole answer, for each wire.

Invariant: an answer that carries no usage is None, and never zero tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.metering.anthropic_usage import anthropic_usage
from gateway.metering.fields import mapping, whole
from gateway.metering.openai_usage import openai_usage
from gateway.usage import Usage
from gateway.wires import Wire

_INPUTS: Final = ("prompt_tokens", "input_tokens")
_TOTALS: Final = (*_INPUTS, "completion_tokens", "output_tokens", "total_tokens")
REASON_CHARACTERS_MAX: Final = 64
REASONS_MAX: Final = 128


def reported(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The usage object of an answer or of a chunk, or None: absent, null, or empty.

    Groq puts a stream's usage under ``x_groq`` as well, and only there in its older answers.
    """
    for holder in (body, body.get("x_groq")):
        if holder is None:
            continue
        usage = mapping(holder).get("usage")
        if isinstance(usage, Mapping) and any(value is not None for value in usage.values()):
            return usage
    return None


def is_readable(wire: Wire, usage: Mapping[str, Any]) -> bool:
    """Whether what a call used can be read from a usage object: its totals are counts, and it says what was read. What
    cannot be read has to be estimated, and never counts as nothing."""
    said = [name for name in _TOTALS if usage.get(name) is not None]
    if any(whole(usage[name]) is None for name in said):
        return False
    return any(name in said for name in _INPUTS) or (wire is not Wire.MESSAGES and "total_tokens" in said)


def meter_answer(wire: Wire, body: Mapping[str, Any]) -> Usage | None:
    """What an answer that was not streamed says was used; None where it says nothing that can be read.

    ``body`` is the decoded JSON of a 2xx answer. Explicit zeros are zeros. Never raises for what a provider sends.
    """
    usage = reported(body)
    if usage is None or not is_readable(wire, usage):
        return None
    if wire is Wire.MESSAGES:
        return anthropic_usage(body, usage)
    items = body.get("output") if wire is Wire.RESPONSES else None
    return openai_usage(wire, body, usage, items=items if isinstance(items, list) else ())


def finish_reasons(wire: Wire, body: Mapping[str, Any], choices: Iterable[Any] = ()) -> tuple[str, ...]:
    """Why an answer ended, in the provider's words, one for each choice; nothing where it does not say.

    ``body`` is the decoded JSON of an answer, or what a stream has told of it; ``choices`` the reasons of a stream's.
    Never raises for what a provider sends.
    """
    if wire is Wire.MESSAGES:
        found: Iterable[Any] = (body.get("stop_reason"),)
    elif wire is Wire.RESPONSES:
        reason = mapping(body.get("incomplete_details")).get("reason")
        found = (reason or body.get("status"),)
    else:
        listed = body.get("choices")
        told = (mapping(choice).get("finish_reason") for choice in (listed if isinstance(listed, list) else ()))
        found = (*choices, *told)
    said = [reason[:REASON_CHARACTERS_MAX] for reason in found if isinstance(reason, str) and reason]
    return tuple(said[:REASONS_MAX])
