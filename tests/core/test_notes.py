"""Signed notes, checkpoints and keys as text: the published example, round trips, and every way to be malformed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.notes import (
    COSIGNATURE,
    ED25519,
    SIZE_MAX,
    Checkpoint,
    Note,
    NoteInvalid,
    Signature,
    VerifierKey,
    cosigned_message,
    is_key_name,
    key_id,
    pack_cosignature,
    parse_checkpoint,
    parse_note,
    parse_trusted_key,
    parse_verifier_key,
    unpack_cosignature,
)
from ledger.services.ed25519 import NotSigned, SigningPair, is_signed_by, open_checkpoint

# The example of Go's package golang.org/x/mod/sumdb/note, which the specification grew from.
PUBLISHED_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PUBLISHED_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="+"), min_size=1, max_size=40)
PAIR = SigningPair.from_seed(bytes(range(32)))
CHECKPOINT = Checkpoint("bursar/acme-0123abcd", 4711, bytes(range(32)))


def test_the_published_note_is_read_and_verifies() -> None:
    """Key, key id and signature are those of the example; a changed letter is not signed."""
    key, note = parse_verifier_key(PUBLISHED_KEY), parse_note(PUBLISHED_NOTE)
    assert key.text() == PUBLISHED_KEY
    assert note.write() == PUBLISHED_NOTE
    assert is_signed_by(key, note.text, note.signatures[0])
    assert not is_signed_by(key, note.text.replace("answer", "Answer"), note.signatures[0])


@given(name=NAMES, size=st.integers(0, SIZE_MAX), root=st.binary(min_size=32, max_size=32))
def test_what_is_written_is_read_again(name: str, size: int, root: bytes) -> None:
    """Checkpoint, note, signature and key."""
    checkpoint = Checkpoint(name, size, root)
    assert parse_checkpoint(checkpoint.text()) == checkpoint
    signature = PAIR.sign(name, checkpoint.text())
    note = Note(checkpoint.text(), (signature,)).with_signatures([PAIR.cosign("w", checkpoint.text(), 17)])
    assert parse_note(note.write()) == note
    key = PAIR.verifier(name)
    assert parse_verifier_key(key.text()) == key
    assert open_checkpoint(note.write(), [key]).checkpoint == checkpoint


def test_extension_lines_are_passed_over() -> None:
    """As tlog-checkpoint says; an empty one is not allowed."""
    assert parse_checkpoint(CHECKPOINT.text() + "extension\n") == CHECKPOINT
    with pytest.raises(NoteInvalid, match="extension"):
        parse_checkpoint(CHECKPOINT.text() + "\nx\n")


def test_a_cosignature_is_over_the_time_too() -> None:
    """What a witness signs begins with a header and when it saw the checkpoint; another time is not signed."""
    text = CHECKPOINT.text()
    assert cosigned_message(text, 1679315147).startswith(
        b"cosignature/v1\ntime 1679315147\nbursar/acme-0123abcd\n4711\n"
    )
    line = PAIR.cosign("witness.example.com", text, 1679315147)
    key = PAIR.verifier("witness.example.com", COSIGNATURE)
    assert key.algorithm == 4
    assert line.id == key_id("witness.example.com", COSIGNATURE, PAIR.public_key)
    assert unpack_cosignature(line.signature)[0] == 1679315147
    assert is_signed_by(key, text, line)
    later = Signature(line.name, line.id, pack_cosignature(1679315148, line.signature[8:]))
    assert not is_signed_by(key, text, later)
    assert not is_signed_by(key, text, Signature(line.name, line.id, b"short"))
    assert not is_signed_by(PAIR.verifier("witness.example.com"), text, line)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("no empty line", "empty line"),
        ("text\n\n", "ends with a newline"),
        ("text\n\n— name AAAAAAAA", "ends with a newline"),
        ("text\n\n- name AAAAAAAA\n", "em dash"),
        ("text\n\n— na+me AAAAAAAA\n", "em dash"),
        ("text\n\n— name AA*A\n", "not base64"),
        ("text\n\n— name AAAA\n", "key id"),
        ("text\n\n— name AAAAAAB=\n", "as its bytes are"),
        ("text\n\n— na\x1b[2Jme AAAAAAAA\n", "printable"),
        ("text\n\n— na\u00a0me AAAAAAAA\n", "printable"),
        ("te\x00xt\n\n— name AAAAAAAA\n", "control"),
        ("te\ud800xt\n\n— name AAAAAAAA\n", "half a character"),
        ("text\n\n" + "— name AAAAAAAA\n" * 65, "64 signatures"),
        ("x" * 70_000, "characters"),
    ],
)
def test_what_is_no_note(written: str, words: str) -> None:
    """A sentence for each."""
    with pytest.raises(NoteInvalid, match=words):
        parse_note(written)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("origin\n1\n", "three lines"),
        ("\n1\nAAAA\n", "origin"),
        ("o\x9bo\n1\nAAAA\n", "origin"),
        ("o\n01\nAAAA\n", "decimal"),
        (f"o\n{SIZE_MAX + 1}\nAAAA\n", "decimal"),
        (f"o\n{'9' * 5000}\nAAAA\n", "decimal"),
        ("o\n-1\nAAAA\n", "decimal"),
        ("o\n1\nAAAA\n", "3 bytes"),
        ("o\n1\n!!!!\n", "base64"),
    ],
)
def test_what_is_no_checkpoint(text: str, words: str) -> None:
    """A sentence for each."""
    with pytest.raises(NoteInvalid, match=words):
        parse_checkpoint(text)


def test_what_is_no_verifier_key() -> None:
    """A mistyped one is told from one of another kind."""
    name, identity, packed = PUBLISHED_KEY.split("+", 2)
    for text, words in (
        (f"Peter+{identity}+{packed}", "mistyped"),
        (f"{name}+00000000+{packed}", "mistyped"),
        (f"{name}+{identity}+AAAA", "copy it whole"),
        ("nothing", "copy it whole"),
        (f"{name}+{identity}+{base64.b64encode(bytes([9]) + bytes(32)).decode()}", "type 9"),
    ):
        with pytest.raises(NoteInvalid, match=words):
            parse_verifier_key(text)
    assert not is_key_name("with space")
    assert not is_key_name("with+plus")
    assert not is_key_name("")


def test_whose_signature_counts() -> None:
    """A trusted key's; unknown ones are passed over; a bad one of a trusted key is not."""
    text = CHECKPOINT.text()
    key = PAIR.verifier(CHECKPOINT.origin)
    other = SigningPair.from_seed(bytes(32))
    good = Note(text, (other.sign("someone", text), PAIR.sign(CHECKPOINT.origin, text)))
    assert open_checkpoint(good.write(), [key]).signers == (key,)
    with pytest.raises(NotSigned, match="none of the keys you trust"):
        open_checkpoint(good.write(), [VerifierKey(CHECKPOINT.origin, ED25519, other.public_key)])
    changed = Checkpoint(CHECKPOINT.origin, 4712, CHECKPOINT.root).text()
    with pytest.raises(NoteInvalid, match="changed after it was signed"):
        open_checkpoint(Note(changed, good.signatures).write(), [key])
    elsewhere = Checkpoint("another/log", 4711, CHECKPOINT.root).text()
    with pytest.raises(NoteInvalid, match="another log's key"):
        open_checkpoint(Note(elsewhere, (PAIR.sign(CHECKPOINT.origin, elsewhere),)).write(), [key])


def test_a_witness_does_not_stand_for_the_log() -> None:
    """Not even one whose name is the origin of what it signed."""
    key, witness = PAIR.verifier(CHECKPOINT.origin), SigningPair.from_seed(bytes(32))
    text = Checkpoint("w.example.com", 4711, CHECKPOINT.root).text()
    alone = Note(text, (witness.cosign("w.example.com", text, 17),)).write()
    with pytest.raises(NoteInvalid, match="of a witness"):
        open_checkpoint(alone, [key, witness.verifier("w.example.com", COSIGNATURE)])


def test_a_key_that_was_replaced_signs_no_longer_log() -> None:
    """Up to its last size it is good; what it signs of a longer log counts for nothing, and the new key's does."""
    old, new = PAIR.verifier(CHECKPOINT.origin), SigningPair.from_seed(bytes(32))
    text = CHECKPOINT.text()
    note = Note(text, (PAIR.sign(CHECKPOINT.origin, text),))
    assert open_checkpoint(note.write(), [old], {old: 4711}).signers == (old,)
    with pytest.raises(NotSigned, match="no log of more than 4710 records"):
        open_checkpoint(note.write(), [old], {old: 4710})
    seen = note.with_signatures([new.cosign("w", text, 17)]).write()
    with pytest.raises(NotSigned, match="no log of more than 4710 records"):
        open_checkpoint(seen, [old, new.verifier("w", COSIGNATURE)], {old: 4710})
    both = note.with_signatures([new.sign(CHECKPOINT.origin, text)]).write()
    assert open_checkpoint(both, [old, new.verifier(CHECKPOINT.origin)], {old: 4710}).signers == (
        new.verifier(CHECKPOINT.origin),
    )


def test_a_trusted_key_says_where_it_ends() -> None:
    """Behind an @; one in the key's name is none."""
    for name in ("o", "me@example.com"):
        key = PAIR.verifier(name)
        assert parse_trusted_key(key.text()) == (key, None)
        assert parse_trusted_key(f"{key.text()}@4711") == (key, 4711)
        for wrong in ("@", "@x", "@01", "@-1", f"@{SIZE_MAX + 1}"):
            with pytest.raises(NoteInvalid):
                parse_trusted_key(key.text() + wrong)
