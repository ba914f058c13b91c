"""From the bytes of a request to a JSON object that every reader reads alike.

Invariant: what is bounded here is what the provider reads. A body that two parsers may read differently (a name twice
in one object, numbers out of range, bytes that are not UTF-8) is refused, at any depth.
"""

import json
from typing import Any

import orjson

from gateway.estimate.request import RequestInvalid


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in the body. Raises RequestInvalid where it is none, or could be read in two ways.

    orjson is strict where RFC 8259 is: UTF-8 only, no NaN, no number beyond a double, no lone surrogate, at most 1,024
    levels. It keeps the last of two equal names as most parsers do; some keep the first, so a second pass looks for
    them.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestInvalid(f"The body of your request is not valid JSON: {error}") from None
    if type(document) is not dict:
        raise RequestInvalid("The body of your request is not a JSON object.")
    try:
        _TWICE.decode(body.decode())
    except RecursionError:
        raise RequestInvalid("The body of your request is nested too deeply.") from None
    return document


def json_text(node: object) -> str:
    """A part of the document as compact JSON text. Raises RequestInvalid where it is nested too deeply to be
    written."""
    try:
        return orjson.dumps(node).decode()
    except orjson.JSONEncodeError:
        raise RequestInvalid("The body of your request is nested too deeply.") from None


def _checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One object of the document, if no name stands in it twice."""
    unique = dict(pairs)
    if len(unique) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise RequestInvalid(f"The name '{twice}' stands twice in one object.", param=twice)
    return unique


_TWICE = json.JSONDecoder(object_pairs_hook=_checked)
