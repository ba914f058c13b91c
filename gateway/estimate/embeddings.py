"""Reading an Embeddings request: no output, and inputs that are texts or tokens (OpenAI API reference, "Create
embeddings").

Invariant: an input that is neither text nor tokens (images of multimodal models) counts as a file.
"""

from typing import Any

from gateway.estimate.fields import Fields, model_in
from gateway.estimate.models import family_of
from gateway.estimate.openai import read_extras, read_tier
from gateway.estimate.reading import FILE_INPUT, Reading
from gateway.estimate.request import Request
from gateway.wires import Wire

_PLAIN = frozenset("model input dimensions encoding_format user service_tier input_type truncate".split())
# Models of the BERT kind put a mark at both ends of each input, and instructed ones a short task prefix.
_INPUT_TOKENS_OTHERS = 64


def read_embeddings(document: dict[str, Any], body: bytes) -> Request:
    """The request in this document. Raises RequestInvalid where a field that is read here has a wrong type."""
    fields = Fields(document)
    model = model_in(fields)
    reading = Reading(family_of(model))
    given = document.get("input")
    if given is None:
        raise fields.missing("input")
    if type(given) is str:
        given = [given]
    elif type(given) is not list:
        raise fields.wrong_type("input", str)
    elif given and type(given[0]) is int:
        given = [given]
    each = 0 if reading.family.known else _INPUT_TOKENS_OTHERS
    reading.fixed_tokens += each * len(given)
    for index, item in enumerate(given):
        if type(item) is str:
            reading.texts.append(item)
        elif type(item) is list:
            if any(type(token) is not int for token in item):
                place = f"input[{index}]"
                raise Fields({place: item}).wrong_type(place, int)
            reading.fixed_tokens += len(item)
        elif type(item) is dict:
            reading.unbounded.add(FILE_INPUT)
            reading.anything(item)
        else:
            raise Fields({f"input[{index}]": item}).wrong_type(f"input[{index}]", str)
    read_extras(document, reading, plain=_PLAIN)
    return Request(
        wire=Wire.EMBEDDINGS,
        model=model,
        encoding=reading.family.encoding,
        stream=False,
        usage_asked=True,
        choices=1,
        output_fields=(),
        output_limit=0,
        new_output_field="",
        tier=read_tier(fields, reading),
        cache_writes=(),
        hidden_output=False,
        audio_output=False,
        texts=tuple(reading.texts),
        prediction=(),
        fixed_tokens=reading.fixed_tokens,
        image_tokens=0,
        audio_tokens=0,
        unbounded=reading.unbounded.names,
    )
