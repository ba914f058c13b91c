"""Proof files of stored records: what is on record about an authorization, or one record, shown to be in a checkpoint.

Invariants: reads only; at most ``RECORDS_MAX`` records go into a file, the first and the newest, and what was left out
is said; every proof in a file leads to the one checkpoint in it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from ledger.core.canonical import parse
from ledger.core.journal import LogRecord
from ledger.services.cosigning import cosigned_note
from ledger.services.proof_files import RECORDS_MAX, proof_content
from ledger.services.proving import OutsideLog, Prover
from ledger.storage import checkpoint_rows
from ledger.storage.queries_authorizations import authorization
from ledger.storage.queries_log import record


class NotCovered(LookupError):
    """No checkpoint covers the record yet. The message is a sentence."""

    def __init__(self, index: int) -> None:
        super().__init__(f"no signed checkpoint covers record {index} yet; have one made, or ask again in a minute")
        self.index = index


class Subject(NamedTuple):
    """What is to be proved: records, oldest first, and how a file says what they are about."""

    records: tuple[LogRecord, ...]
    about: dict[str, Any]


def records_of_authorization(connection: Connection, book_id: int, reference: str) -> Subject:
    """Every record of an authorization or charge. Raises OutsideLog where there is none."""
    row = authorization(connection, book_id, reference)
    if row is None:
        raise OutsideLog(f"there is no authorization {reference}")
    found: list[LogRecord] = []
    index: int | None = row.changed_index
    while index is not None and index != row.created_index and len(found) < RECORDS_MAX - 1:
        found.append(_there(connection, book_id, index))
        index = parse(found[-1].body).get("previous")
    about: dict[str, Any] = {"authorization": row.id}
    if index is not None and index != row.created_index:
        about["left_out"] = {"after": row.created_index, "before": found[-1].log_index}
    return Subject((_there(connection, book_id, row.created_index), *reversed(found)), about)


def record_at(connection: Connection, book_id: int, index: int) -> Subject:
    """One record. Raises OutsideLog."""
    return Subject((_there(connection, book_id, index),), {"index": index})


def line_of(subject: Subject, position: int) -> Subject:
    """The transfer at ``position`` of the one record of ``subject``, which a line of a statement is. Raises OutsideLog:
    ask only once it is known that whoever asks may know how many transfers the record has."""
    (found,) = subject.records
    transfers = parse(found.body).get("transfers", [])
    if position >= len(transfers):
        raise OutsideLog(f"record {found.log_index} has no transfer at position {position}")
    return Subject(subject.records, subject.about | {"position": position, "transfer": transfers[position]})


def _there(connection: Connection, book_id: int, index: int) -> LogRecord:
    found = record(connection, book_id, index)
    if found is None:
        raise OutsideLog(f"there is no record {index}")
    return found


def prove_records(engine: Engine, prover: Prover, book_id: int, subject: Subject) -> dict[str, Any]:
    """A proof file's content, to the newest checkpoint. Raises NotCovered, ProofUnavailable, StorageError."""
    last = subject.records[-1].log_index
    with engine.connect() as connection:
        stored = checkpoint_rows.latest(connection, book_id)
        if stored is None or stored.size <= last:
            raise NotCovered(last)
        cosigned = checkpoint_rows.cosignatures(connection, book_id, [stored.size]).get(stored.size, [])
    made = prover.inclusions(book_id, [one.log_index for one in subject.records], stored.size)
    proofs: Sequence[tuple[int, bytes, Sequence[bytes]]] = [
        (one.log_index, one.body, proof.proof) for one, proof in zip(subject.records, made, strict=True)
    ]
    return proof_content(checkpoint=cosigned_note(stored, cosigned), records=proofs, about=subject.about)
