"""Ids and keys: their form, that they are unique and sort by time, and that no mistyped key passes."""

from __future__ import annotations

import hashlib
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.ids import ALPHABET, PREFIXES, is_id, is_name
from ledger.core.roles import ROLES
from ledger.services.sources import Sources, parse_key

BOOKS = st.integers(1, 2**40 - 1)


class FixedRandom(Sources):
    """Randomness that says what it was asked for, and is not random."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def random_bytes(self, count: int) -> bytes:
        self.asked.append(count)
        return os.urandom(count)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_an_id_is_valid_and_no_name(prefix: str) -> None:
    """By the grammar of the core, over more ids than one supply of randomness makes."""
    sources = Sources()
    made = [sources.new_id(prefix) for _ in range(1_100)]
    assert all(is_id(one, prefix) and not is_name(one) for one in made)
    assert len(set(made)) == len(made)


def test_ids_are_unique_over_processes_and_time() -> None:
    """No two out of a hundred thousand, by two sources."""
    pair = (Sources(), Sources())
    made = {one.new_id("auth") for one in pair for _ in range(50_000)}
    assert len(made) == 100_000


def test_ids_sort_by_the_millisecond_they_were_made_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """As text, for as long as 50 bits of milliseconds last."""
    sources = Sources()
    moments = [1, 31, 32, 1_023, 1_024, 10**12, 1_793_610_000_000, 1_793_610_000_001, 2**45, 2**50 - 1]
    made = []
    for moment in moments:
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment * 1_000_000 + 999_999)
        made.append(sources.new_id("auth"))
        assert sum(ALPHABET.index(letter) << 5 * (9 - at) for at, letter in enumerate(made[-1][5:15])) == moment
    assert made == sorted(made)


def test_no_randomness_is_used_twice() -> None:
    """Each id takes 16 characters of its own from what the system gave."""
    sources = FixedRandom()
    tails = [sources.new_id("run")[-16:] for _ in range(1_025)]
    assert len(set(tails)) == len(tails)
    assert sum(sources.asked) >= 16 * 1_025


@given(BOOKS, st.sampled_from(sorted(ROLES)))
def test_a_key_says_its_book_and_role(book_id: int, role: str) -> None:
    """What was put in comes out, and the digest is that of the whole text."""
    text, digest = Sources().new_key(book_id, role)
    assert parse_key(text) == (book_id, role, digest)
    assert digest == hashlib.sha256(text.encode()).digest()
    assert text.startswith(f"bk_{role}_")
    assert text.isascii()


def test_a_key_has_256_random_bits() -> None:
    """Asked of the system for each key, and every one of them shows in the text."""
    sources = FixedRandom()
    made = {sources.new_key(1, "agent")[0] for _ in range(100)}
    assert sources.asked == [32] * 100
    assert len(made) == 100

    class Given(Sources):
        value = 0

        def random_bytes(self, count: int) -> bytes:
            return self.value.to_bytes(count)

    given_bits = Given()
    texts = set()
    for bit in range(256):
        given_bits.value = 1 << bit
        texts.add(given_bits.new_key(1, "agent")[0])
    assert len(texts) == 256


@pytest.mark.parametrize("role", sorted(ROLES))
def test_every_mistyped_character_is_refused(role: str) -> None:
    """Any one character of the key replaced by any other that keys are written with, and some that they are not."""
    text, _ = Sources().new_key(0x0123456789, role)
    for at, right in enumerate(text):
        for wrong in ALPHABET + "_ilouABZ -.\n\0é":
            if wrong != right:
                mistyped = text[:at] + wrong + text[at + 1 :]
                assert parse_key(mistyped) is None, mistyped


def test_a_character_more_or_less_or_two_swapped_are_refused() -> None:
    """The other mistakes of whoever copies by hand."""
    text, _ = Sources().new_key(77, "finance")
    for at in range(len(text)):
        assert parse_key(text[:at] + text[at + 1 :]) is None
        assert parse_key(text[:at] + "0" + text[at:]) is None
        if at and text[at] != text[at - 1]:
            assert parse_key(text[: at - 1] + text[at] + text[at - 1] + text[at + 1 :]) is None


@given(st.text())
def test_any_text_is_read_without_a_failure(text: str) -> None:
    """Nothing that somebody sends as a key is more than no key."""
    assert parse_key(text) is None
    assert parse_key(f"bk_agent_{text}") is None


def test_a_book_id_fits_its_code_and_is_never_zero() -> None:
    """Forty bits; zero would read as no book."""

    class Zero(Sources):
        def random_bytes(self, count: int) -> bytes:
            return bytes(count)

    assert Zero().new_book_id() == 1
    made = {Sources().new_book_id() for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(0 < one < 2**40 for one in made)
