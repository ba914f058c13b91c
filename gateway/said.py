"""What a client says to Bursar beside its call: the ``x-bursar-…`` headers.

Owns their names and forms. Invariant: what gets past here has the form that the ledger's own routes ask for; a header
that nobody knows is refused, because a misspelled cap must not be no cap.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from gateway.refusals import Refusal
from ledger.core.ids import BUDGET, RUN, is_id, is_name, is_run_name

PREFIX: Final = b"x-bursar-"
LABELS_MAX: Final = 16
INTENT_LENGTH_MAX: Final = 2000
_LABEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")
_LINE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
_TEXT: Final = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f]*")


@dataclass(frozen=True, slots=True)
class Said:
    """The budget to spend from, the run the call belongs to, what it is for, and labels, where the client says so."""

    budget: str | None = None
    run: str | None = None
    intent: str | None = None
    labels: tuple[tuple[str, str], ...] = ()


NOTHING_SAID: Final = Said()


def said_in(headers: Sequence[tuple[bytes, bytes]]) -> Said:
    """What the headers say. Raises Refusal (400) for a header of a wrong form, of an unknown name, or given twice."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name.startswith(PREFIX):
            field = name[len(PREFIX) :].decode("latin-1")
            if field in found:
                raise _invalid(field, "is given twice")
            found[field] = value.decode("utf-8", "replace").strip()
    if not found:
        return NOTHING_SAID
    unknown = found.keys() - {"budget", "run", "intent", "labels"}
    if unknown:
        raise _invalid(min(unknown)[:64], "is not one that Bursar knows: budget, run, intent, labels")
    budget, run, intent = found.get("budget"), found.get("run"), found.get("intent")
    if budget is not None and not (is_name(budget) or is_id(budget, BUDGET)):
        raise _invalid("budget", "is neither a budget's name nor its id")
    if run is not None and not (is_run_name(run) or is_id(run, RUN)):
        raise _invalid("run", "is neither a run's name nor its id")
    if intent is not None and (len(intent) > INTENT_LENGTH_MAX or _TEXT.fullmatch(intent) is None):
        raise _invalid("intent", f"has at most {INTENT_LENGTH_MAX} characters, none of them control characters")
    return Said(budget, run, intent, labels_in(found.get("labels", "")))


def labels_in(text: str) -> tuple[tuple[str, str], ...]:
    """Labels from form-encoded text such as ``prompt=v7&customer=acme``, sorted. Raises Refusal."""
    advice = f"is form-encoded, such as prompt=v7&customer=acme, with at most {LABELS_MAX} labels"
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=LABELS_MAX) if text else []
    except ValueError as error:
        raise _invalid("labels", advice) from error
    if len(dict(pairs)) < len(pairs):
        raise _invalid("labels", "names a label twice")
    for name, value in pairs:
        if _LABEL_NAME.fullmatch(name) is None or _LINE.fullmatch(value) is None:
            raise _invalid("labels", advice)
    return tuple(sorted(pairs))


def _invalid(field: str, why: str) -> Refusal:
    return Refusal(400, "header_invalid", f"Bursar: the header x-bursar-{field} {why}", param=f"x-bursar-{field}")
