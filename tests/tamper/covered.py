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
_SAID = "said in the request alone: a denial moves nothing, and no rule that decided it looks at this"
_METERED = "what the provider counted, which the log has from nobody else; the amount stands beside it"
_FREE: dict[str, tuple[str, str]] = {
    "idempotency.0": (_KEY, "*"),
    "fingerprint": ("keyed with a secret of the book, of a text that may be gone", "hold denial approval_requested"),
    "adjustment": (_CHOSEN, "adjustment"),
    "allocation": (_CHOSEN, "allocation deallocation"),
    "authorization": (_CHOSEN, "denial"),
    "refund": (_CHOSEN, "refund"),
    "id": (_CHOSEN, "agent run"),
    "key": (_CHOSEN, "key_rotation"),
    "request.category": (_SAID, "denial"),
    "request.resource": (_SAID, "denial"),
    "request.ttl_seconds": (_SAID, "denial"),
    "request.labels.#.#": (_SAID, "denial"),
    "request.metering.#.#": (_METERED, "settlement"),
    "request.evidence": ("the salted digest of a text that was redacted: there is nothing left to compare", "charge"),
    "request.before": ("which texts were old enough; those that were removed are named one by one", "redaction"),
    "cause.authorization": ("which request led to a freeze by policy, said for readers", "freeze"),
    "cause.code": ("why a policy froze, said for readers", "freeze"),
    "redaction": (_CHOSEN, "redaction"),
    "reconciliation": (_CHOSEN, "reconciliation"),
    "rate": (_CHOSEN, "rate"),
    "payment": (_CHOSEN, "payment"),
    "history": (_CHOSEN, "history"),
    "secret": (_CHOSEN, "webhook_rotation"),
    "digest": ("whose key hashes to it is known to its holder alone", "key key_rotation"),
    "checks.#.#.#": ("what fails a check, named for readers; how many do is counted beside it", "period_close"),
    "quorum": ("said again for readers; what counts stands with the request", "approval_granted"),
}
FREE_FACTS = {field: frozenset(kinds.split()) for field, (_, kinds) in _FREE.items()}
"""Fields of bodies, and in which kinds of records, that a forger may change who makes every hash, every signature and
every row right again: nothing else in the log speaks against them, and only a checkpoint that somebody kept tells. No
amount, balance, decision, state, limit or vote is among them. One field is changed at a time, and the digest of a
request made right again; a forger who changes what was asked together with what was done writes another log."""


def is_free(kind: str, field: str) -> bool:
    """Whether only a kept checkpoint tells that this field of a record was changed and all that follows from it."""
    kinds = FREE_FACTS.get(field, frozenset())
    return kind in kinds or "*" in kinds
