"""Edits of members of a JSON object in its bytes.

Owns the scan that finds a member without parsing what is in it. Invariant: every byte that is not part of the edited
member stays as it was (numbers, spacing, order, escapes), so that what the client wrote is what the provider reads.

The functions take one JSON object (RFC 8259) in UTF-8. They look only as deep as they must: text that is no object is a
`ValueError`, and so is an object that is broken where they look. They run in linear time and without recursion.
A name that stands twice is edited both times, because nobody knows which of the two a reader takes.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import orjson

_SPACE = rb"[ \t\n\r]*+"
_OPENING = re.compile(_SPACE + rb"\{" + _SPACE + rb"(\})?+")
_NAME = re.compile(_SPACE + rb'("(?:[^"\\]++|\\.)*+")' + _SPACE + rb":" + _SPACE, re.DOTALL)
_SCALAR = re.compile(rb'[^ \t\n\r,:"\[\]{}]++')
# Strings without an escape are passed over here; at the quote of any other one, `_end_of_string` takes over.
_MARK = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+")*+(["\[\]{}])')
_CLOSING = re.compile(_SPACE + rb"([,}])")
_NULL_USAGE = re.compile(rb'"usage"' + _SPACE + rb":" + _SPACE + rb"null")
# Only flat members follow, then the last brace: so this one belongs to the outermost object, and no scan is needed.
_LATE_NULL_USAGE = re.compile(
    rb',"usage":null((?:,"[^"\\]*+":(?:"[^"\\]*+"|[a-z0-9.E+-]++))*+\}' + _SPACE + rb")\Z",
)
_BACKSLASH = 0x5C


class Member(NamedTuple):
    """Where a member of the object stands, as offsets into the bytes.

    ``start`` to ``end`` is everything between the commas (or braces) around it, spaces too; ``value_start`` to
    ``value_end`` the value alone.
    """

    name: str
    start: int
    value_start: int
    value_end: int
    end: int


def members(body: bytes) -> Iterator[Member]:
    """Every top-level member, in order, names unescaped. Raises ValueError where the bytes are no JSON object."""
    opening = _OPENING.match(body)
    if opening is None:
        raise ValueError("not a JSON object")
    if opening.group(1):
        return
    start = body.index(b"{") + 1
    while True:
        name = _NAME.match(body, start)
        if name is None:
            raise ValueError(f"a member of the object is expected at byte {start}")
        value_end = _end_of_value(body, name.end())
        closing = _CLOSING.match(body, value_end)
        if closing is None:
            raise ValueError(f"a comma or a closing brace is expected at byte {value_end}")
        yield Member(orjson.loads(name.group(1)), start, name.end(), value_end, closing.start(1))
        if closing.group(1) == b"}":
            return
        start = closing.end()


def set_members(body: bytes, values: Mapping[str, bytes]) -> bytes:
    """The object with these members: the value is replaced where the name stands, else the member is put in front.

    ``values`` maps names to JSON text. Raises ValueError where the bytes are no JSON object.
    """
    absent = dict(values)
    pieces: list[bytes] = []
    copied = 0
    for member in members(body) if any(_may_contain(body, name) for name in values) else ():
        if member.name in values:
            pieces += (body[copied : member.value_start], values[member.name])
            copied = member.value_end
            absent.pop(member.name, None)
    edited = b"".join((*pieces, body[copied:])) if pieces else body
    return _with_front(edited, absent) if absent else edited


def without_member(body: bytes, name: str) -> bytes:
    """The object without this member, and without one of the commas around it; the same bytes where it has none."""
    if not _may_contain(body, name):
        return body
    found = list(members(body))
    kept = [body[member.start : member.end] for member in found if member.name != name]
    if len(kept) == len(found):
        return body
    return body[: found[0].start] + b",".join(kept) + body[found[-1].end :]


def set_nested(body: bytes, outer: str, name: str, value: bytes) -> bytes:
    """Set one member of the object that is the value of ``outer``; where that is absent or null, such an object is
    made.

    Raises ValueError where ``outer`` is neither an object nor null.
    """
    alone = set_members(b"{}", {name: value})
    pieces: list[bytes] = []
    copied = 0
    for member in members(body) if _may_contain(body, outer) else ():
        if member.name != outer:
            continue
        inside = body[member.value_start : member.value_end]
        if inside != b"null" and not inside.startswith(b"{"):
            raise ValueError(f"{outer} is not an object")
        edited = alone if inside == b"null" else set_members(inside, {name: value})
        pieces += (body[copied : member.value_start], edited)
        copied = member.value_end
    return b"".join((*pieces, body[copied:])) if pieces else set_members(body, {outer: alone})


def without_nested(body: bytes, outer: str, name: str) -> bytes:
    """Remove one member of the object that is the value of ``outer``; the same bytes where there is none."""
    for member in members(body) if _may_contain(body, outer) else ():
        inside = body[member.value_start : member.value_end]
        if member.name == outer and inside.startswith(b"{"):
            return set_members(body, {outer: without_member(inside, name)})
    return body


def strip_null_usage(event_data: bytes) -> bytes:
    """The data of one chat chunk without its top-level ``"usage": null``.

    OpenAI adds that member to every chunk but the last once ``stream_options.include_usage`` is on (API reference,
    chat completion chunk object). A client that did not ask for usage does not expect it. Data that is no object
    (``[DONE]``) comes back as it is.
    """
    if b'"usage"' not in event_data:
        return event_data
    late = _LATE_NULL_USAGE.match(event_data, max(event_data.rfind(b',"usage":null'), 0))
    if late is not None:
        return event_data[: late.start()] + late.group(1)
    if _NULL_USAGE.search(event_data) is None or _OPENING.match(event_data) is None:
        return event_data
    for member in members(event_data):
        if member.name == "usage":
            is_null = event_data[member.value_start : member.value_end] == b"null"
            return without_member(event_data, "usage") if is_null else event_data
    return event_data


def _may_contain(body: bytes, name: str) -> bool:
    """Whether the name can stand in the bytes, as it is or (only with a backslash somewhere) escaped."""
    return name.encode() in body or b"\\u" in body or not name.isidentifier()


def _with_front(body: bytes, values: Mapping[str, bytes]) -> bytes:
    """Put new members before all others."""
    opening = _OPENING.match(body)
    if opening is None:
        raise ValueError("not a JSON object")
    added = b",".join(orjson.dumps(name) + b":" + value for name, value in values.items())
    front = body.index(b"{") + 1
    return body[:front] + added + (b"" if opening.group(1) else b",") + body[front:]


def _end_of_value(body: bytes, start: int) -> int:
    """The offset after the value that starts here."""
    first = body[start : start + 1]
    if first == b'"':
        return _end_of_string(body, start)
    if first not in (b"{", b"["):
        scalar = _SCALAR.match(body, start)
        if scalar is None:
            raise ValueError(f"a value is expected at byte {start}")
        return scalar.end()
    position, depth = start, 0
    while True:
        mark = _MARK.match(body, position)
        if mark is None:
            raise ValueError(f"the value that starts at byte {start} has no end")
        position = mark.end()
        found = mark.group(1)
        if found == b'"':
            position = _end_of_string(body, position - 1)
        elif found in b"[{":
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                return position


def _end_of_string(body: bytes, start: int) -> int:
    """The offset after the string whose opening quote stands here: after the first quote with no odd run of
    backslashes."""
    position = start + 1
    while True:
        quote = body.find(b'"', position)
        if quote < 0:
            raise ValueError(f"the value that starts at byte {start} has no end")
        first = quote
        while first > position and body[first - 1] == _BACKSLASH:
            first -= 1
        position = quote + 1
        if (quote - first) % 2 == 0:
            return position
