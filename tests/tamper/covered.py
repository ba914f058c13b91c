"""What verify does not look at, each with the reason: the one list of everything beside the proof.

Owns the list. Invariant: a column of any table is attacked unless it stands here, and what stands here must say why
nobody loses anything by it.
"""

from __future__ import annotations

from ledger.core.changeset import SIDE
from ledger.storage.tables import metadata

ATTACKED_SIDE = ("texts", "merkle_tiles", "checkpoints", "checkpoint_cosignatures")
"""Side tables that verify compares with the log all the same."""

_ALERTS = "alerts are messages: no balance and no decision depends on what was told to whom"
TABLES_BESIDE = {
    "book_secrets": "it salts texts to come; the texts that are there carry their salt with them",
    "checkpoint_turns": "when the next checkpoint is due; the next turn sets it again",
    "signing_secrets": "secrets are in no proof; one that is not the log's key makes no signature that is believed",
    "webhook_secrets": "secrets are in no proof",
    "webhook_events": _ALERTS,
    "webhook_deliveries": _ALERTS,
    "webhook_health": _ALERTS,
    "watch_cursors": _ALERTS,
    "watch_states": _ALERTS,
}
COLUMNS_BESIDE = {
    ("checkpoints", "created_at"): "when it was signed is not signed: the form of checkpoints has no time",
    ("checkpoint_cosignatures", "created_at"): "when it came; when the witness saw it is in its signature",
}
MAY_GO = {
    "texts": "a text may be removed, which leaves its digest in the log",
    "merkle_tiles": "a tile is made again from the leaves",
    "checkpoints": "verify needs none; those that somebody else keeps cannot be deleted here",
    "checkpoint_cosignatures": "the witness has it",
}
"""Tables whose rows may be gone, or in another book's place, without a difference of the book."""

TABLES = tuple(name for name, table in metadata.tables.items() if table.info["sort"] != SIDE) + ATTACKED_SIDE
"""Every table that is attacked."""


def columns(table: str) -> list[str]:
    """The columns of a table that are attacked."""
    return [column.name for column in metadata.tables[table].columns if (table, column.name) not in COLUMNS_BESIDE]


FREE_FACTS: set[tuple[str, str]] = set()
