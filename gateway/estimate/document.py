"""From the bytes of a request to a JSON object that every reader reads alike.

Invariants: what is bounded here is what the provider reads: a body that two parsers may read differently (a name twice
in one object, numbers out of range, bytes that are not UTF-8) is refused, at any depth. Reading takes time in
proportion to the bytes, and objects of Python's making are bounded in number.
"""

import json
from typing import Any, NamedTuple

import orjson

from gateway.estimate.request import RequestInvalid

# The longest conversations and the largest sets of tools have a few thousand; each costs microseconds to read.
CONTAINERS_MAX = 50_000
# OpenAI takes at most 300,000 tokens in one request for embeddings, each of which may be a number.
VALUES_MAX = 500_000


class Shape(NamedTuple):
    """What stands outside of strings: objects and arrays, commas, and names (colons)."""

    containers: int
    commas: int
    names: int


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in the body. Raises RequestInvalid where it is none, could be read in two ways, or has too many
    parts.

    orjson is strict where RFC 8259 is: UTF-8 only, no NaN, no number beyond a double, no lone surrogate, at most 1,024
    levels. It keeps the last of two equal names as most parsers do; some keep the first, so names are counted: as they
    are written, and as they were read.
    """
    shape = shape_of(body)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestInvalid(f"The body of your request is not valid JSON: {error}") from None
    if type(document) is not dict:
        raise RequestInvalid("The body of your request is not a JSON object.")
    if shape.names != _names_in(document):
        try:
            _TWICE.decode(body.decode())
        except RecursionError:
            raise RequestInvalid("The body of your request is nested too deeply.") from None
        raise RequestInvalid("A name stands twice in one object of your request.")
    return document


def shape_of(body: bytes) -> Shape:
    """The shape of a JSON text, at the speed of the bytes: what is no JSON has some shape too. Raises RequestInvalid
    where there is too much of anything."""
    # Without escapes every second quote ends a string: an escaped backslash goes first, then an escaped quote.
    bare = body if b"\\" not in body else body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # A value or a name is at most one string.
    if bare.count(b'"') > 4 * VALUES_MAX:
        raise _too_many()
    outside = b"".join(bare.split(b'"')[::2])
    shape = Shape(outside.count(b"{") + outside.count(b"["), outside.count(b","), outside.count(b":"))
    if shape.containers > CONTAINERS_MAX or shape.commas > VALUES_MAX:
        raise _too_many()
    return shape


def json_text(node: object) -> str:
    """A part of the document as compact JSON text. Raises RequestInvalid where it is nested too deeply to be
    written."""
    try:
        return orjson.dumps(node).decode()
    except orjson.JSONEncodeError:
        raise RequestInvalid("The body of your request is nested too deeply.") from None


def _too_many() -> RequestInvalid:
    return RequestInvalid(
        f"The body of your request has too many parts: at most {CONTAINERS_MAX:,} objects and arrays, and "
        f"{VALUES_MAX:,} values."
    )


def _names_in(document: dict[str, Any]) -> int:
    """The names of all objects in the document."""
    names, waiting = 0, [document]
    while waiting:
        item: Any = waiting.pop()
        if type(item) is dict:
            names += len(item)
            waiting.extend(item.values())
        elif type(item) is list:
            waiting.extend(item)
    return names


def _checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One object of the document, if no name stands in it twice."""
    unique = dict(pairs)
    if len(unique) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise RequestInvalid(f"The name '{twice}' stands twice in one object.", param=twice)
    return unique


_TWICE = json.JSONDecoder(object_pairs_hook=_checked)
