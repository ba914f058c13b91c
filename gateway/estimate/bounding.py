"""From what was read of a request to how many tokens it can be billed at most.

Invariant: a bound is never below what the provider bills for what was read; what it cannot cover stays named in
``unbounded``.
"""

from typing import NamedTuple

from gateway.estimate.chat import read_chat
from gateway.estimate.document import read_object
from gateway.estimate.embeddings import read_embeddings
from gateway.estimate.messages import read_messages
from gateway.estimate.request import Request
from gateway.estimate.responses import read_responses
from gateway.wires import Wire

_READERS = {
    Wire.CHAT: read_chat,
    Wire.RESPONSES: read_responses,
    Wire.EMBEDDINGS: read_embeddings,
    Wire.MESSAGES: read_messages,
}


class Counts(NamedTuple):
    """Tokens of a request's ``texts`` and of its ``prediction``: exact, or more."""

    texts: int
    prediction: int = 0


class Bound(NamedTuple):
    """Tokens that one call is billed at most, where nothing is ``unbounded``.

    ``input_tokens`` has text, images and audio in it, ``audio_input_tokens`` only the last (it has a price of its own).
    ``output_tokens`` covers all ``choices``; ``output_limit`` is the limit for each, ``predicted_tokens`` what each may
    add.
    """

    input_tokens: int
    audio_input_tokens: int
    output_tokens: int
    output_limit: int
    choices: int
    predicted_tokens: int
    unbounded: tuple[str, ...]

    def limit_within(self, output_tokens: int) -> int:
        """The largest limit for each choice with which all choices together stay within these tokens; below 0: none
        does."""
        return output_tokens // self.choices - self.predicted_tokens


def read_request(wire: Wire, body: bytes) -> Request:
    """Read a request of this wire from its bytes. Pure; a few microseconds for a short one.

    Raises RequestInvalid where the provider would answer 400: no JSON object, a name twice, a field of a wrong type.
    """
    return _READERS[wire](read_object(body), body)


def bound(request: Request, counts: Counts, *, default_output_tokens: int) -> Bound:
    """How much the call can be billed at most. ``default_output_tokens`` is the limit where the client named none."""
    limit = default_output_tokens if request.output_limit is None else request.output_limit
    return Bound(
        input_tokens=counts.texts + request.fixed_tokens + request.image_tokens + request.audio_tokens,
        audio_input_tokens=request.audio_tokens,
        output_tokens=request.choices * (limit + counts.prediction),
        output_limit=limit,
        choices=request.choices,
        predicted_tokens=counts.prediction,
        unbounded=request.unbounded,
    )
