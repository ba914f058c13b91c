"""Canonical bytes against the reference implementation of RFC 8785, and what the subset refuses."""

from __future__ import annotations

import hashlib

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.canonical import (
    Fragment,
    canonical_bytes,
    check_value,
    digest_hex,
    idempotency_digest,
    is_canonical,
    parse,
    text_digest,
    text_salt,
)

ASCII_KEYS = st.text(st.characters(min_codepoint=0, max_codepoint=127), max_size=8)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ASCII_KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_the_bytes_are_those_of_rfc_8785(value: object) -> None:
    """Over the whole subset, control characters and all; and they are read back to the same value."""
    packed = canonical_bytes(value)
    assert packed == rfc8785.dumps(value)
    assert parse(packed) == value
    assert is_canonical(packed)
    check_value(value)


@given(VALUES, VALUES)
def test_a_fragment_is_taken_over_as_it_is(outer: object, inner: object) -> None:
    """A request's bytes inside a body are what they would be if it were written out."""
    assert canonical_bytes({"a": outer, "b": Fragment(canonical_bytes(inner))}) == rfc8785.dumps(
        {"a": outer, "b": inner}
    )


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (1.0, "$"),
        ({"a": [1, 0.5]}, "$.a[1]"),
        (None, "$"),
        ({"a": None}, "$.a"),
        (2**53, "$"),
        ([-(2**53)], "$[0]"),
        ({"é": 1}, "$"),
        ({"a": {1: 2}}, "$.a"),
        (b"bytes", "$"),
        ({"a": {"b": [{"c": float("nan")}]}}, "$.a.b[0].c"),
    ],
)
def test_what_leaves_the_subset_is_refused_where_it_stands(value: object, place: str) -> None:
    """No float, null, big integer, nor key that is not ASCII."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        check_value(value)
    assert str(caught.value).startswith(place + ":")


@pytest.mark.parametrize(
    "body",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1.0}',
        b'{"a":null}',
        b'"\\u0041"',
        b"{",
        b"",
        b'{"a":1}\n',
        b"9007199254740992",
    ],
)
def test_bytes_that_are_not_canonical(body: bytes) -> None:
    """Another order, white space, an escape that is not needed, or a value outside the subset."""
    assert not is_canonical(body)


def test_digests() -> None:
    """SHA-256 over what they say they are over; a salt depends on everything that it is made from."""
    assert digest_hex({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    salts = {text_salt(s, p, k, f) for s in (b"1", b"2") for p in ("p", "q") for k in ("k", "") for f in ("i", "r")}
    assert len(salts) == 16
    assert {len(salt) for salt in salts} == {16}
    assert text_digest(b"salt", "é") == hashlib.sha256(b"salt\xc3\xa9").hexdigest()
    assert idempotency_digest("agent:a", "bc") != idempotency_digest("agent:ab", "c"), "no ambiguous join"
    assert len(idempotency_digest("agent:a", "k")) == 16
