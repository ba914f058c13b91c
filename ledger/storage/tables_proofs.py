"""The side tables of proofs: tiles of the Merkle tree, checkpoints and who cosigned them, and the keys that sign.

Invariants: no balance and no decision depends on a row here; tiles can be made again from the log, and checkpoints from
the log and a key; every primary key and every index is led by ``book_id``. ``signing_keys``, which is a projection,
stands with the other projections: it has the public halves.
"""

from typing import Any, Final

from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, Table

from ledger.core.changeset import SIDE
from ledger.core.tiles import TILE_BYTES
from ledger.storage.tables import _big, _bytes, _small, _text, metadata


def _side(name: str, key: str, *items: Any, **options: Any) -> Table:
    return Table(
        name,
        metadata,
        _big("book_id"),
        *items,
        PrimaryKeyConstraint("book_id", *key.split()),
        info={"sort": SIDE},
        **options,
    )


merkle_tiles: Final = _side(
    "merkle_tiles",
    "level position",
    _small("level"),
    _big("position"),
    _bytes("root"),
    _bytes("hashes"),
    CheckConstraint("length(root) = 32", name="root_is_a_hash"),
    CheckConstraint(f"length(hashes) = {TILE_BYTES}", name="hashes_are_256"),
)
"""Full tiles (``core.tiles``). ``root`` stands before the hashes, and a row has an address of its own, so that the
roots of many tiles are read without their hashes."""

checkpoints: Final = _side(
    "checkpoints",
    "size",
    _big("size"),
    _bytes("root"),
    _text("note"),
    _big("created_at"),
    CheckConstraint("size > 0", name="size_positive"),
    CheckConstraint("length(root) = 32", name="root_is_a_hash"),
)
"""Signed checkpoints, one at most for each size; ``note`` has the log's own signatures."""

checkpoint_cosignatures: Final = _side(
    "checkpoint_cosignatures",
    "size key",
    _big("size"),
    _text("key"),
    _text("name"),
    _bytes("signature"),
    _big("created_at"),
    sqlite_with_rowid=False,
)
"""What witnesses signed. ``key`` is the whole verifier key, ``signature`` its time and signature as in the line."""

checkpoint_turns: Final = _side(
    "checkpoint_turns", "", _big("next_at"), CheckConstraint("next_at >= 0", name="next_at_not_negative"),
    sqlite_with_rowid=False,
)  # fmt: skip
"""When the next checkpoint of a book is due, whichever process then writes it."""

signing_secrets: Final = _side(
    "signing_secrets", "id", _text("id"), _bytes("secret"), _big("created_at"), sqlite_with_rowid=False
)
"""Private halves that the server made itself, as PKCS#8 DER, by the hex of the public half. A key from a file or the
environment is never here."""

SIDE_TABLES: Final = (merkle_tiles, checkpoints, checkpoint_cosignatures, checkpoint_turns, signing_secrets)
