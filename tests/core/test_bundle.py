"""The form of a bundle: what is written is read again, and what is anything else is refused."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.book import Book
from ledger.core.bundle import (
    BLOCK,
    CHUNK_RECORDS,
    END,
    BundleInvalid,
    Manifest,
    TextLine,
    chunks,
    gone_line,
    header_of,
    padding,
    read_header,
    read_manifest,
    read_text_line,
    records_name,
    text_line,
    texts_name,
)
from ledger.core.canonical import canonical_bytes, parse

BOOK = Book(7, "acme", "USD", "Europe/Paris", False, 1_790_000_000_000_000)
WHOLE = Manifest(BOOK, 0, 5, b"", bytes(32), True)
SPAN = Manifest(BOOK, 3, 5, bytes(64), bytes(32), False, "bursar/acme+00000000+AQ", (bytes(32), b"\1" * 32))


@pytest.mark.parametrize("manifest", [WHOLE, SPAN], ids=["whole", "span"])
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    """To the byte."""
    assert read_manifest(manifest.packed()) == manifest
    assert read_manifest(manifest.packed()).packed() == manifest.packed()


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 0}, {"size": 3}, {"size": -1}, {"size": 10**13}, {"size": "5"}, {"size": True}, {"first": -1},
        {"first": 4}, {"texts": 1}, {"texts": "true"}, {"root": "00"}, {"root": "0" * 65}, {"root": 5}, {"root": None},
        {"frontier": []}, {"frontier": ["00" * 32]}, {"frontier": "00" * 64}, {"frontier": ["zz" * 32] * 2},
        {"consistency": ["00" * 32] * 300}, {"consistency": [1]}, {"book": {}}, {"book": 5}, {"key": 5},
        {"book": {"book_id": 0}}, {"book": {"opened_at": "yesterday"}}, {"book": {"name": None}}, {"more": "x"},
        {"format": "bursar-bundle/2"}, {"format": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_manifest_that_says_something_else(changes: dict[str, object]) -> None:
    """Whatever is wrong with it, one error says so."""
    said = parse(SPAN.packed())
    book = changes.get("book")
    if isinstance(book, dict) and book:
        changes = {"book": said["book"] | book}
    with pytest.raises(BundleInvalid):
        read_manifest(canonical_bytes(said | changes) + b"\n")


@pytest.mark.parametrize("packed", [b"", b"{}", b"[]", b"7", b"{", b"\xff", b"null"], ids=repr)
def test_what_is_no_manifest(packed: bytes) -> None:
    """Not even JSON, or of another kind."""
    with pytest.raises(BundleInvalid, match="cannot be read"):
        read_manifest(packed)


def test_a_manifest_in_another_spelling() -> None:
    """One content has one spelling, so one book has one bundle."""
    for packed in (SPAN.packed()[:-1], b" " + SPAN.packed(), SPAN.packed() + b"\n", SPAN.packed().replace(b",", b", ")):
        with pytest.raises(BundleInvalid):
            read_manifest(packed)


def test_a_newer_format_is_called_newer() -> None:
    """Whoever reads it knows what to do."""
    with pytest.raises(BundleInvalid, match="a newer Bursar may have made it"):
        read_manifest(b'{"format":"bursar-bundle/2","anything":null}')


@given(st.integers(0, 10_000), st.integers(1, 5_000))
def test_chunks_cover_every_record_once(first: int, count: int) -> None:
    """And end where those of any other span end."""
    made = list(chunks(first, first + count))
    assert [index for start, stop in made for index in range(start, stop)] == list(range(first, first + count))
    assert all(stop % CHUNK_RECORDS == 0 for _, stop in made[:-1])
    assert all(stop - start <= CHUNK_RECORDS for start, stop in made)


def test_names_sort_as_their_records_do() -> None:
    """So that a shell's wildcard gives them in order."""
    starts = [0, 999, 1_000, 10_000, 123_456, 999_999_999_999]
    for name in (records_name, texts_name):
        assert sorted(map(name, starts)) == list(map(name, starts))


@given(st.integers(0, 2**53), st.text(min_size=1, max_size=8), st.binary(max_size=16), st.text(max_size=40))
def test_a_text_is_read_as_it_was_written(index: int, field: str, salt: bytes, content: str) -> None:
    """Line breaks in it are no line breaks of the member."""
    line = text_line(index, field, salt, content)
    assert line.count(b"\n") == 1
    assert read_text_line(line) == TextLine(index, field, salt, content)
    gone = gone_line(index, field, index + 1)
    assert read_text_line(gone) == TextLine(index, field, redacted=index + 1)


@pytest.mark.parametrize(
    "line",
    [
        b"{}", b"5", b'{"content":"a","field":"reason","index":1,"salt":"zz"}\n', b'{"content":"a","field":"b"}',
        b'{"field":"reason","index":1,"redacted":"2"}\n', b'{"field":"reason","index":1,"redacted":true}\n',
        b'{"content":"a","field":"reason","index":1,"redacted":2,"salt":"00"}\n',
    ],
)  # fmt: skip
def test_what_is_no_text(line: bytes) -> None:
    """Not in its form."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_text_line(line)


@given(st.lists(st.binary(max_size=1_500), max_size=4))
def test_any_program_reads_the_archive(contents: list[bytes]) -> None:
    """Python's tarfile stands for them."""
    named = {records_name(at): content for at, content in enumerate(contents)}
    parts = []
    for name, content in named.items():
        parts += [header_of(name, len(content)), content, bytes(padding(len(content)))]
        assert read_header(header_of(name, len(content))) == (name, len(content))
    with tarfile.open(fileobj=io.BytesIO(b"".join([*parts, END]))) as opened:
        read = {}
        for member in opened:
            file = opened.extractfile(member)
            assert file is not None
            read[member.name] = file.read()
    assert read == named


@given(st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_a_changed_header_is_none_of_ours(at: int, change: int) -> None:
    """Every byte of it counts: another name or length at least is another header."""
    header = bytearray(header_of("records/000000000000.ndjson", 12_345))
    header[at] ^= change
    with pytest.raises(ValueError, match=r"."):
        read_header(bytes(header))


def test_a_member_is_not_longer_than_its_header_can_say() -> None:
    """Eight gigabytes, of a thousand records."""
    with pytest.raises(ValueError, match="more than a member can have"):
        header_of("records/000000000000.ndjson", 8**11)
