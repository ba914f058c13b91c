"""Editing members of a JSON object in its bytes: tables, then properties against json.loads."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.splice import members, set_members, set_nested, strip_null_usage, without_member, without_nested

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
names = st.text(max_size=8) | st.sampled_from(["a", "usage", "n", 'q"u', "é", "back\\slash", "", "x y"])
spaces = st.sampled_from(["", " ", "\n", "\t \r\n"])


@st.composite
def objects(draw: st.DrawFn) -> tuple[bytes, dict[str, object]]:
    """The bytes of an object, in one of the many ways to write it, and what they mean."""
    meaning = draw(st.dictionaries(names, values, max_size=5))
    written = []
    for name, value in meaning.items():
        key = json.dumps(name, ensure_ascii=draw(st.booleans()))
        if name and name.isascii() and name.isalnum() and draw(st.booleans()):
            key = f'"\\u{ord(name[0]):04x}{name[1:]}"'
        text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
        written.append(f"{draw(spaces)}{key}{draw(spaces)}:{draw(spaces)}{text}{draw(spaces)}")
    inside = ",".join(written) or draw(spaces)
    return f"{draw(spaces)}{{{inside}}}{draw(spaces)}".encode(), meaning


@pytest.mark.parametrize(
    ("body", "changes", "edited"),
    [
        (b'{"n":1}', {"n": b"2"}, b'{"n":2}'),
        (b'{ "n" : 1 , "t": 1.50 }', {"n": b"2"}, b'{ "n" : 2 , "t": 1.50 }'),
        (b'{"m":"x"}', {"n": b"2"}, b'{"n":2,"m":"x"}'),
        (b"{}", {"n": b"2"}, b'{"n":2}'),
        (b" { } ", {"n": b"2"}, b' {"n":2 } '),
        (b'{"m":{"n":1}}', {"n": b"2"}, b'{"n":2,"m":{"n":1}}'),
        (b'{"m":"\\"n\\":1"}', {"n": b"2"}, b'{"n":2,"m":"\\"n\\":1"}'),
        (b'{"\\u006e":1,"t":"\\u00e9"}', {"n": b"2"}, b'{"\\u006e":2,"t":"\\u00e9"}'),
        (b'{"n":1,"n":3}', {"n": b"2"}, b'{"n":2,"n":2}'),
        (b'{"n":[{"n":"]}"}],"m":0}', {"n": b"2", "k": b"[]"}, b'{"k":[],"n":2,"m":0}'),
    ],
)
def test_setting(body: bytes, changes: dict[str, bytes], edited: bytes) -> None:
    """In place where the name stands, in front where it does not, nothing else touched."""
    assert set_members(body, changes) == edited


@pytest.mark.parametrize(
    ("body", "edited"),
    [
        (b'{"n":1}', b"{}"),
        (b'{"n":1,"m":2}', b'{"m":2}'),
        (b'{ "m" : 2 , "n":1}', b'{ "m" : 2 }'),
        (b'{"a":0,"n":[1,{"n":2}], "m":2.0}', b'{"a":0, "m":2.0}'),
        (b'{"m":{"n":1}}', b'{"m":{"n":1}}'),
        (b'{"n":1,"m":2,"n":3}', b'{"m":2}'),
    ],
)
def test_removing(body: bytes, edited: bytes) -> None:
    """The member goes with one comma; what is nested stays."""
    assert without_member(body, "n") == edited


@pytest.mark.parametrize(
    ("body", "edited"),
    [
        (b'{"m":1}', b'{"o":{"i":true},"m":1}'),
        (b'{"m":1,"o":null}', b'{"m":1,"o":{"i":true}}'),
        (b'{"o": {"x":1.0} }', b'{"o": {"i":true,"x":1.0} }'),
        (b'{"o":{"i":false,"x":1}}', b'{"o":{"i":true,"x":1}}'),
    ],
)
def test_setting_one_level_down(body: bytes, edited: bytes) -> None:
    """The outer object is made where it is absent or null."""
    assert set_nested(body, "o", "i", b"true") == edited
    assert "i" not in json.loads(without_nested(edited, "o", "i"))["o"]


def test_a_nested_member_of_something_else_is_refused() -> None:
    """A value that is no object is not overwritten."""
    with pytest.raises(ValueError, match="o is not an object"):
        set_nested(b'{"o":[1]}', "o", "i", b"true")
    assert without_nested(b'{"o":[1]}', "o", "i") == b'{"o":[1]}'
    assert without_nested(b'{"m":1}', "o", "i") == b'{"m":1}'


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"a"', b'{"a":', b'{"a":1', b'{"a":[1}', b'{"a":"x', b"{1:2}"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    """Broken as far as one has to look."""
    with pytest.raises(ValueError, match=r"expected|not a JSON object|no end"):
        list(members(body))


@given(objects())
def test_members_are_those_of_the_object(case: tuple[bytes, dict[str, object]]) -> None:
    """Names and values as json.loads reads them, in order."""
    body, meaning = case
    found = [(member.name, json.loads(body[member.value_start : member.value_end])) for member in members(body)]
    assert found == list(meaning.items())


@given(objects(), st.dictionaries(names, values, max_size=3))
def test_setting_changes_what_it_says_and_no_byte_else(
    case: tuple[bytes, dict[str, object]], changes: dict[str, object]
) -> None:
    """The result means the object with the changes; the text of each other member is still there."""
    body, meaning = case
    edited = set_members(body, {name: json.dumps(value).encode() for name, value in changes.items()})
    assert json.loads(edited) == {**meaning, **changes}
    for member in members(body):
        if member.name not in changes:
            assert body[member.start : member.end] in edited
    if not changes:
        assert edited == body


@given(objects(), names)
def test_removing_takes_one_member_and_no_byte_else(case: tuple[bytes, dict[str, object]], name: str) -> None:
    """The result means the object without the member; its length is that of what was left."""
    body, meaning = case
    edited = without_member(body, name)
    assert json.loads(edited) == {other: value for other, value in meaning.items() if other != name}
    if name not in meaning:
        assert edited == body
    assert all(body[m.start : m.end] in edited for m in members(body) if m.name != name)


@pytest.mark.parametrize(
    ("data", "stripped"),
    [
        (b'{"id":"1","choices":[],"usage":null}', b'{"id":"1","choices":[]}'),
        (b'{"id":"1","usage":null,"obfuscation":"x"}', b'{"id":"1","obfuscation":"x"}'),
        (b'{"id":"1", "usage" : null , "o":1}', b'{"id":"1", "o":1}'),
        (b'{"usage":null}', b"{}"),
        (b'{"id":"1","usage":null,"o":"a\\"b"}', b'{"id":"1","o":"a\\"b"}'),
        (b'{"id":"1","usage":null,"o":{}}\n', b'{"id":"1","o":{}}\n'),
        (b'{"id":"1","usage":null,"t":1.5E+3,"o":"x"} ', b'{"id":"1","t":1.5E+3,"o":"x"} '),
        (b'{"x":[{"y":1,"usage":null,"z":2}]}', b'{"x":[{"y":1,"usage":null,"z":2}]}'),
        (b'{"a":"1","usage":null,"c":",\\"usage\\":null"}', b'{"a":"1","c":",\\"usage\\":null"}'),
        (b'{"id":"1","usage":{"total_tokens":3}}', b'{"id":"1","usage":{"total_tokens":3}}'),
        (b'{"x":{"usage":null},"id":"1"}', b'{"x":{"usage":null},"id":"1"}'),
        (b'{"x":{"y":1,"usage":null}}', b'{"x":{"y":1,"usage":null}}'),
        (b'{"c":"\\"usage\\":null","n":1}', b'{"c":"\\"usage\\":null","n":1}'),
        (b"[DONE]", b"[DONE]"),
        (b'"usage": null', b'"usage": null'),
        (b"", b""),
    ],
)
def test_null_usage_is_stripped(data: bytes, stripped: bytes) -> None:
    """Only the top-level member, only where it is null."""
    assert strip_null_usage(data) == stripped


@given(objects())
def test_stripping_never_loses_anything_else(case: tuple[bytes, dict[str, object]]) -> None:
    """Against json.loads: the member goes if it is null, and nothing else does."""
    body, meaning = case
    expected = {name: value for name, value in meaning.items() if name != "usage" or value is not None}
    if b'"usage"' in body:
        assert json.loads(strip_null_usage(body)) == expected
    else:
        assert strip_null_usage(body) == body


@pytest.mark.parametrize(
    "filling",
    [
        b'"' + b"\\n" * 500_000 + b'"',
        b'"' + b"\\" * 1_000_000 + b'"',
        b'["' + b'\\"' * 500_000 + b'"]',
        b"[" * 100_000 + b"]" * 100_000,
        b"[" + b'"a" ,' * 200_000 + b"0]",
    ],
    ids=["escapes", "backslashes", "quotes", "nesting", "items"],
)
def test_large_values_take_linear_time_and_no_recursion(filling: bytes) -> None:
    """A megabyte of what is hard to skip; the bound is wide because the machine may be busy."""
    body = b'{"a":' + filling + b',"usage":1}'
    start = time.perf_counter()
    assert set_members(body, {"usage": b"2"}) == body[:-2] + b"2}"
    assert time.perf_counter() - start < 3
