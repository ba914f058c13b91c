"""What a whole answer says was used, or else what can be seen of that.

Pure. Invariant: every byte of an answer that does not say what was used is counted or bounded.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from gateway.metering import TEXT_CHARACTERS_MAX, finish_reasons, meter_answer
from gateway.streaming import meter_events
from gateway.usage import Usage
from gateway.wires import Wire


class Whole(NamedTuple):
    """``usage`` is what the answer says in the end, ``begun`` what it said before, if it was a stream. For an estimate:
    its ``text``, how many bytes follow on it (``rest``), and the ``model`` that answered, "" where it does not say."""

    usage: Usage | None
    begun: Usage | None
    text: str
    rest: int
    model: str
    finish_reasons: tuple[str, ...]


def read_whole(wire: Wire, raw: bytes, choices: int) -> Whole:
    """Read an answer that was not sent as a stream; what is no JSON may be one all the same. Never raises."""
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError:
        content = None
    begun: Usage | None = None
    model = None
    if isinstance(content, dict):
        usage, model, reasons = meter_answer(wire, content), content.get("model"), finish_reasons(wire, content)
    else:
        meter = meter_events(wire, raw, choices)
        usage, begun, reasons = meter.usage if meter.usage_is_final else None, meter.usage_so_far, meter.finish_reasons
    text = raw.decode("utf-8", "replace") if usage is None else ""
    rest = len(text[TEXT_CHARACTERS_MAX:].encode())
    return Whole(usage, begun, text[:TEXT_CHARACTERS_MAX], rest, model if isinstance(model, str) else "", reasons)
