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
    "log_archives": "a row makes verify ask for the archive with that digest; without one, records are missing",
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


_KEY = "the idempotency key is the client's secret; the log has its digest and nothing to make it from"
_CHOSEN = "chosen by whoever asked or by the server, and everything that names it is made to agree"
_TIME = "counted from what the request asked for, which the log has in its own words"
_FREE: dict[str, tuple[str, str]] = {
    "idempotency.0": (_KEY, "*"),
    "fingerprint": ("keyed with a secret of the book, of a text that may be gone", "hold denial approval_requested"),
    "adjustment": (_CHOSEN, "adjustment"),
    "allocation": (_CHOSEN, "allocation deallocation"),
    "authorization": (_CHOSEN, "denial"),
    "refund": (_CHOSEN, "refund"),
    "id": (_CHOSEN, "agent run"),
    "key": (_CHOSEN, "key_rotation"),
    "run": (_CHOSEN, "run denial run_denial"),
    "name": (_CHOSEN, "name"),
    "name_kind": (_CHOSEN, "name"),
    "agent_kind": (_CHOSEN, "agent"),
    "cause.authorization": ("which request led to a freeze by policy, said for readers", "freeze"),
    "cause.code": ("why a policy froze, said for readers", "freeze"),
    "redaction": (_CHOSEN, "redaction"),
    "url": (_CHOSEN, "webhook"),
    "secret": (_CHOSEN, "webhook_rotation"),
    "digest": ("whose key hashes to it is known to its holder alone", "key key_rotation"),
    "command": ("which of two commands was denied, both with the same verdict", "denial"),
    "quorum": ("said again for readers; what counts stands with the request", "approval_granted"),
    "role": (_CHOSEN, "delegation delegation_revocation"),
    "starts_at": (_TIME, "delegation delegation_revocation"),
    "ends_at": (_TIME, "delegation delegation_revocation"),
    "expires_at": (_TIME, "key"),
    "replaced_expires_at": (_TIME, "webhook_rotation key_rotation"),
}
FREE_FACTS = {field: frozenset(kinds.split()) for field, (_, kinds) in _FREE.items()}
"""Fields of bodies, and in which kinds of records, that a forger may change who makes every hash, every signature and
every row right again: nothing else in the log speaks against them, and only a checkpoint that somebody kept tells. No
amount, balance, decision, state, limit or vote is among them."""


def is_free(kind: str, field: str) -> bool:
    """Whether only a kept checkpoint tells that this field of a record was changed and all that follows from it."""
    kinds = FREE_FACTS.get(field, frozenset())
    return kind in kinds or "*" in kinds
