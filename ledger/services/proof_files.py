"""Proof files: everything that shows that records are in a signed log, in one small JSON file.

Owns the format ``bursar-proof/1`` (``docs/proofs.md`` has it), reading it and checking it. Invariant: checking takes
the file and a key, and neither a server nor a database; whatever is wrong is refused with a sentence that says what.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ledger.core.canonical import is_canonical, parse
from ledger.core.merkle import leaf_hash
from ledger.core.notes import Checkpoint, NoteInvalid, VerifierKey
from ledger.core.proofs import ProofInvalid, check_inclusion
from ledger.services.ed25519 import open_checkpoint

FORMAT: Final = "bursar-proof/1"
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
RECORDS_MAX: Final = 200


class FileInvalid(ValueError):
    """A proof file that proves nothing. The message is a sentence that says what is wrong."""


@dataclass(frozen=True, slots=True)
class ProvedRecord:
    """A record that was shown to be in the log: its index, its exact bytes, and the value they stand for."""

    index: int
    packed: bytes
    body: dict[str, Any]


class Proved(NamedTuple):
    """What a file proves: the checkpoint, which of the trusted keys signed it, the records in it, and the position of
    the transfer it is about (None: of none)."""

    checkpoint: Checkpoint
    signers: tuple[VerifierKey, ...]
    records: tuple[ProvedRecord, ...]
    position: int | None


def proof_content(
    *, checkpoint: str, records: Sequence[tuple[int, bytes, Sequence[bytes]]], about: dict[str, Any]
) -> dict[str, Any]:
    """The members of a proof file. ``records`` are (index, body, inclusion proof); ``about`` is what was asked."""
    return {
        "format": FORMAT,
        "about": about,
        "records": [
            {"index": index, "record": body.decode(), "proof": [given.hex() for given in proof]}
            for index, body, proof in records
        ],
        "checkpoint": checkpoint,
    }


def check_file(written: bytes, trusted: Sequence[VerifierKey]) -> Proved:
    """Check a proof file against keys that are trusted. Raises FileInvalid."""
    content = _content(written)
    records, note = content.get("records"), content.get("checkpoint")
    if not isinstance(records, list) or not 1 <= len(records) <= RECORDS_MAX or not isinstance(note, str):
        raise FileInvalid("the file has no records, or no checkpoint: it is not a whole proof")
    try:
        opened = open_checkpoint(note, trusted)
    except NoteInvalid as error:
        raise FileInvalid(f"the checkpoint is not good: {error}") from error
    proved = tuple(_check_record(record, opened.checkpoint) for record in records)
    about = content.get("about")
    about = about if isinstance(about, dict) else {}
    _check_about(about, proved)
    return Proved(opened.checkpoint, opened.signers, proved, about.get("position"))


def _content(written: bytes) -> dict[str, Any]:
    if len(written) > FILE_BYTES_MAX:
        raise FileInvalid(f"the file is longer than {FILE_BYTES_MAX} bytes: it is no proof")
    try:
        content = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise FileInvalid("the file is no JSON: it was cut off, or it is no proof") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileInvalid(f'the file does not say "format": "{FORMAT}": it is no proof, or one of a newer version')
    return content


def _check_record(record: Any, checkpoint: Checkpoint) -> ProvedRecord:
    if not isinstance(record, dict):
        raise FileInvalid("a record in the file is no object")
    index, text, proof = record.get("index"), record.get("record"), record.get("proof")
    if type(index) is not int or not isinstance(text, str) or not isinstance(proof, list):
        raise FileInvalid("a record in the file lacks its index, its bytes or its proof")
    try:
        packed = text.encode()
        hashes = [bytes.fromhex(given) for given in proof]
    except (ValueError, TypeError) as error:
        raise FileInvalid(f"the proof of record {index} is no list of hashes in hex") from error
    if index >= checkpoint.size:
        raise FileInvalid(
            f"record {index} is not covered: the checkpoint is of {checkpoint.size} records, so it was signed before"
        )
    try:
        check_inclusion(leaf=leaf_hash(packed), index=index, size=checkpoint.size, proof=hashes, root=checkpoint.root)
    except ProofInvalid as error:
        raise FileInvalid(
            f"record {index} is not in the signed log as the file has it: it, its index or its proof was changed "
            f"({error})"
        ) from error
    body = parse(packed) if is_canonical(packed) else None
    if not isinstance(body, dict) or body.get("index") != index:
        raise FileInvalid(f"record {index} is in the log, and does not say what a record says")
    return ProvedRecord(index, packed, body)


def _check_about(about: dict[str, Any], proved: tuple[ProvedRecord, ...]) -> None:
    """What the file says it is about must be what its records say."""
    authorization, position = about.get("authorization"), about.get("position")
    if authorization is not None and all(record.body.get("authorization") != authorization for record in proved):
        raise FileInvalid(f"no record in the file is of {authorization}, which it says it is about")
    if position is not None:
        transfers = proved[0].body.get("transfers", [])
        if type(position) is not int or not 0 <= position < len(transfers):
            raise FileInvalid(f"record {proved[0].index} has no transfer at position {position}")
