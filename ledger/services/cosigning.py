"""Cosignatures of witnesses, as the server takes, keeps and shows them.

Invariants: what is kept was signed by the key beside it, over the text of a checkpoint, at a time that is not later
than the server's by more than ``COSIGNED_AHEAD_SECONDS_MAX``; no witness bears the name of a log, so that its line is
never taken for the log's own; what stands in the table and is not so is left out of what is shown, and never keeps a
checkpoint from being served.
"""

from typing import NamedTuple

from ledger.core.moment import MOMENT_MAX, SECOND
from ledger.core.notes import (
    COSIGNATURE,
    COSIGNED_AHEAD_SECONDS_MAX,
    Checkpoint,
    NoteInvalid,
    Signature,
    VerifierKey,
    parse_checkpoint,
    parse_note,
    parse_verifier_key,
    unpack_cosignature,
)
from ledger.services.ed25519 import is_signed_by
from ledger.storage.checkpoint_rows import StoredCheckpoint, StoredCosignature


class CosignatureInvalid(ValueError):
    """What was sent is no cosignature that can be kept. The message is a sentence."""


class Cosigned(NamedTuple):
    """A cosignature that was checked: the note's text and what it says, the witness's key, and its line."""

    text: str
    checkpoint: Checkpoint
    key: VerifierKey
    signature: Signature


class Seen(NamedTuple):
    """A stored cosignature as it is shown: its line, and when the witness saw the checkpoint, in microseconds."""

    line: Signature
    key: str
    seen_at: int


def check_cosignature(key_text: str, note_text: str, *, now: int) -> Cosigned:
    """Read and check what a witness sent at ``now`` (microseconds). Raises CosignatureInvalid."""
    try:
        key, note = parse_verifier_key(key_text), parse_note(note_text)
        checkpoint = parse_checkpoint(note.text)
    except NoteInvalid as error:
        raise CosignatureInvalid(str(error)) from error
    if key.algorithm != COSIGNATURE:
        raise CosignatureInvalid("the key is not one of a witness: its type is cosignature/v1")
    if key.name == checkpoint.origin:
        raise CosignatureInvalid(f"{key.name} is the name of the log; give the witness another name")
    line = next((line for line in note.signatures if is_signed_by(key, note.text, line)), None)
    if line is None:
        raise CosignatureInvalid(f"the note has no valid signature of {key.name}+{key.id.hex()}")
    if _seen_at(line.signature) > now + COSIGNED_AHEAD_SECONDS_MAX * SECOND:
        raise CosignatureInvalid(
            "the signature says that the checkpoint was seen more than an hour from now; set the witness's clock"
        )
    return Cosigned(note.text, checkpoint, key, line)


def _seen_at(packed: bytes) -> int:
    return unpack_cosignature(packed)[0] * SECOND


def readable(one: StoredCosignature) -> Seen | None:
    """A stored cosignature as it is shown, None for what was not stored by ``check_cosignature``'s rules."""
    try:
        key, seen_at = parse_verifier_key(one.key), _seen_at(one.signature)
    except NoteInvalid:
        return None
    latest = min(one.created_at + COSIGNED_AHEAD_SECONDS_MAX * SECOND, MOMENT_MAX)
    if (key.text(), key.name) != (one.key, one.name) or seen_at > latest:
        return None
    return Seen(Signature(key.name, key.id, one.signature), one.key, seen_at)


def is_good(one: StoredCosignature, text: str) -> bool:
    """Whether a stored cosignature is one that the server would have kept, over a checkpoint's text."""
    seen = readable(one)
    return (
        seen is not None
        and seen.line.name != text.partition("\n")[0]
        and is_signed_by(parse_verifier_key(one.key), text, seen.line)
    )


def cosigned_note(stored: StoredCheckpoint, cosigned: list[StoredCosignature]) -> str:
    """A checkpoint's note with the lines of the witnesses behind those of the log."""
    seen = [readable(one) for one in cosigned]
    return parse_note(stored.note).with_signatures([one.line for one in seen if one is not None]).write()
