"""What the gateway read from a request: everything that its cost depends on, and nothing else.

Invariant: a request that reached this form was read in full; what could cost money and could not be read is named in
``unbounded``.
"""

from typing import NamedTuple

from gateway.wires import Wire


class RequestInvalid(ValueError):
    """The provider would answer this request with 400: ``message`` says why, ``param`` names the field or is None."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class Request(NamedTuple):
    """One call, as far as its cost depends on it. Counts are tokens.

    ``texts`` are the inputs to count with ``encoding`` (the name of a public OpenAI encoding; None: bounded by bytes)
    and ``prediction`` those that may be billed as output on top; ``fixed_tokens`` bounds all other text (roles,
    wrappers, the provider's own prompt for tools), ``image_tokens`` and ``audio_tokens`` what is not text.
    ``output_limit`` is the largest that the client named, ``output_fields`` under which fields, ``new_output_field``
    where to put a limit if it named none; ``choices`` multiplies it. ``tier`` is ``standard``, ``flex``, ``priority``,
    or the provider's word where nobody here knows it. ``cache_writes`` are the lifetimes asked for (``5m``, ``1h``,
    ``24h``, …). ``hidden_output``: the answer may hold billed tokens that a stream does not show (reasoning, audio,
    rejected predictions). ``least_output`` is the smallest limit that the provider takes for this request (0: any).
    ``unbounded`` has inputs by address and by file as often as they stand there. ``usage_asked``: the client expects
    the usage in the answer without the gateway asking for it.
    """

    wire: Wire
    model: str
    encoding: str | None
    stream: bool
    usage_asked: bool
    choices: int
    output_fields: tuple[str, ...]
    output_limit: int | None
    new_output_field: str
    tier: str
    cache_writes: tuple[str, ...]
    hidden_output: bool
    audio_output: bool
    texts: tuple[str, ...]
    prediction: tuple[str, ...]
    fixed_tokens: int
    image_tokens: int
    audio_tokens: int
    unbounded: tuple[str, ...]
    least_output: int = 0

    @property
    def limit_fields(self) -> tuple[str, ...]:
        """Where a lower limit must be written so that it holds: every field that the client used, else the new one."""
        return self.output_fields or ((self.new_output_field,) if self.new_output_field else ())
