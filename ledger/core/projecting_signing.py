"""The fold over keys that sign checkpoints, written from the rules and not from the code that decided."""

from hashlib import sha256
from typing import Final

from ledger.core.projecting_record import Record
from ledger.core.signing_key import SigningKey


def _signing_key(record: Record) -> None:
    body, fold = record.body, record.fold
    public_key = bytes.fromhex(body["public_key"])
    if len(public_key) != 32 or body["algorithm"] != "ed25519":
        raise ValueError("a key that signs checkpoints is an Ed25519 key of 32 bytes")
    named = sha256(body["name"].encode() + b"\n\x01" + public_key).hexdigest()[:8]
    if named != body["signing_key"]:
        record.differ("the key's id is not that of its name and bytes", named, body["signing_key"])
    before = fold.signing_key
    record.expect("replaces", before.id if before is not None else None)
    if before is not None:
        record.expect("name", before.name)
    row = SigningKey(
        fold.book_id, body["signing_key"], body["name"], body["algorithm"], public_key, body["by"]["principal"],
        record.time, record.index,
    )  # fmt: skip
    fold.signing_key = row
    record.store.signing_keys.add(row.id, row)


HANDLERS: Final = {"signing_key": _signing_key}
"""What the record of a key does."""
