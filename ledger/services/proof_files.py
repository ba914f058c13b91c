"""Proof files: everything that shows that records are in a signed log, in one small JSON file.

Owns the format ``bursar-proof/1`` (``docs/proofs.md`` has it), reading it and checking it. Invariants: checking takes
the file and a key, and neither a server nor a database; nothing in a file is believed that does not follow from signed
records, what it is about included; whatever is wrong is refused with a sentence that says what, in which no text from
the file is that could control a terminal.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeGuard

from ledger.core.canonical import is_canonical, parse
from ledger.core.merkle import leaf_hash
from ledger.core.notes import Checkpoint, NoteInvalid, VerifierKey
from ledger.core.proofs import ProofInvalid, check_inclusion
from ledger.services.ed25519 import open_checkpoint

FORMAT: Final = "bursar-proof/1"
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
RECORDS_MAX: Final = 200
TRANSFER_PARTS: Final = 4
"""Debit, credit, atoms, currency."""


class FileInvalid(ValueError):
    """A proof file that proves nothing. The message is a sentence that says what is wrong."""


@dataclass(frozen=True, slots=True)
class ProvedRecord:
    """A record that was shown to be in the log: its index, its exact bytes, and the value they stand for."""

    index: int
    packed: bytes
    body: dict[str, Any]


class About(NamedTuple):
    """What a file is about, as its records bear it out: an authorization, whose records are all there up to the last
    one in the file but for those between the two indexes of ``left_out``; or else one record, or its transfer at
    ``position``."""

    authorization: str | None = None
    left_out: tuple[int, int] | None = None
    position: int | None = None
    transfer: tuple[str, ...] | None = None


class Proved(NamedTuple):
    """What a file proves: the checkpoint, which of the trusted keys signed it, its records, and what it is about."""

    checkpoint: Checkpoint
    signers: tuple[VerifierKey, ...]
    records: tuple[ProvedRecord, ...]
    about: About


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


def check_file(
    written: bytes, trusted: Sequence[VerifierKey], ended: Mapping[VerifierKey, int] | None = None
) -> Proved:
    """Check a proof file against keys that are trusted; ``ended`` is as in ``open_checkpoint``. Raises FileInvalid."""
    content = _content(written)
    records, note = content.get("records"), content.get("checkpoint")
    if not isinstance(records, list) or not 1 <= len(records) <= RECORDS_MAX or not isinstance(note, str):
        raise FileInvalid("the file has no records, or no checkpoint: it is not a whole proof")
    try:
        opened = open_checkpoint(note, trusted, ended)
    except NoteInvalid as error:
        raise FileInvalid(f"the checkpoint is not good: {error}") from error
    proved = tuple(_check_record(record, opened.checkpoint) for record in records)
    return Proved(opened.checkpoint, opened.signers, proved, _check_about(content.get("about"), proved))


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
    if not _is_record(body, index):
        raise FileInvalid(f"record {index} is in the log, and does not say what a record says")
    return ProvedRecord(index, packed, body)


def _is_record(body: Any, index: int) -> TypeGuard[dict[str, Any]]:
    """Whether a body has what every record has, in the form in which it is shown."""
    if not isinstance(body, dict) or body.get("index") != index:
        return False
    transfers = body.get("transfers", [])
    return (
        isinstance(body.get("kind"), str)
        and isinstance(body.get("time"), str)
        and isinstance(transfers, list)
        and all(
            isinstance(given, list) and len(given) == TRANSFER_PARTS and all(isinstance(part, str) for part in given)
            for given in transfers
        )
    )


def _check_about(about: Any, proved: tuple[ProvedRecord, ...]) -> About:
    """What the file says it is about must be what its records say, all of it."""
    members = set(about) if isinstance(about, dict) else set()
    if members - {"left_out"} == {"authorization"}:
        return _check_story(about["authorization"], about.get("left_out"), proved)
    if members not in ({"index"}, {"index", "position", "transfer"}):
        raise FileInvalid("the file does not say what it is about: an authorization, a record, or a transfer of one")
    if len(proved) != 1 or about["index"] != proved[0].index or type(about["index"]) is not int:
        raise FileInvalid(
            f"the file says that it is about record {about['index']!a}, and it has "
            + ", ".join(str(record.index) for record in proved)
        )
    if "position" not in members:
        return About()
    position, transfers = about["position"], proved[0].body.get("transfers", [])
    if type(position) is not int or not 0 <= position < len(transfers):
        raise FileInvalid(f"record {proved[0].index} has no transfer at position {position!a}")
    if about["transfer"] != transfers[position]:
        raise FileInvalid(f"transfer {position} of record {proved[0].index} is another than the file says")
    return About(position=position, transfer=tuple(transfers[position]))


def _check_story(authorization: Any, left_out: Any, proved: tuple[ProvedRecord, ...]) -> About:
    """The records are those of one authorization from its first on, each next to the one it names as the one before;
    one gap may be between them, and is told."""
    for record in proved:
        if record.body.get("authorization") != authorization or not isinstance(authorization, str):
            raise FileInvalid(f"record {record.index} is not of {authorization!a}, which the file is about")
    if proved[0].body.get("previous") is not None:
        raise FileInvalid(f"the file does not begin with the first record of {authorization}")
    gap: tuple[int, int] | None = None
    for before, record in pairwise(proved):
        previous = record.body.get("previous")
        if record.index <= before.index:
            raise FileInvalid("the records in the file are not each once and in the order of the log")
        if previous == before.index:
            continue
        if gap is not None or left_out != {"after": before.index, "before": record.index}:
            raise FileInvalid(
                f"a record of {authorization} between {before.index} and {record.index} is not in the file, and the "
                "file does not say so"
            )
        gap = (before.index, record.index)
    if left_out is not None and gap is None:
        raise FileInvalid("the file says that records were left out, and none was")
    return About(authorization=authorization, left_out=gap)
