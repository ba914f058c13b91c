"""Everything that is on record about one authorization, gathered for a person who asks why.

Owns the walk along the records of an authorization. Invariants: reads only, on one connection; at most so many records
are read, newest first, and what was cut off is said.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from ledger.core.approval import Approval, Vote
from ledger.core.authorization import Authorization
from ledger.core.canonical import parse
from ledger.core.journal import LogRecord
from ledger.core.money import currency_digits
from ledger.storage.queries_approvals import approvals_of, votes_on
from ledger.storage.queries_authorizations import authorization
from ledger.storage.queries_log import record, texts_of, unit
from ledger.storage.queries_policies import policy, policy_version
from ledger.storage.queries_texts import redacted_at

RECORDS_MAX: Final = 200


class Told(NamedTuple):
    """One record about the authorization: its body, the free texts beside it by field, and by field the record that
    redacted another."""

    record: LogRecord
    body: dict[str, Any]
    texts: dict[str, str]
    redacted: dict[str, int]


class PolicyThen(NamedTuple):
    """A policy as it was asked: its version then, the record that made that version, and the version that decides now
    (None: it was retired). ``document`` is that of the version then, None where it is not kept."""

    name: str
    version: int
    digest: str
    shadow: bool
    log_index: int | None
    live_version: int | None
    document: dict[str, Any] | None


class Explanation(NamedTuple):
    """An authorization or charge, the record that made it, and what happened since, oldest first. ``cut`` says that
    there are more records than are told; ``digits`` are those of its currency."""

    row: Authorization
    digits: int
    made: Told
    since: tuple[Told, ...]
    cut: bool
    policies: tuple[PolicyThen, ...]
    approvals: tuple[tuple[Approval, tuple[Vote, ...]], ...]


def explain(connection: Connection, book_id: int, reference: str) -> Explanation | None:
    """What is on record about the authorization or charge of that id, or None where there is none."""
    row = authorization(connection, book_id, reference)
    if row is None:
        return None
    made = _told(connection, book_id, row.created_index)
    since: list[Told] = []
    index: int | None = row.changed_index
    while index is not None and index != row.created_index and len(since) < RECORDS_MAX:
        told = _told(connection, book_id, index)
        since.append(told)
        index = told.body.get("previous")
    digits = currency_digits(row.currency)
    if digits is None:
        known = unit(connection, book_id, row.currency)
        digits = known.digits if known is not None else 0
    said = made.body.get("decision", {}).get("policies", ())
    tiers = approvals_of(connection, book_id, [row.id]).get(row.id, [])
    votes = votes_on(connection, book_id, [tier.id for tier in tiers]) if tiers else {}
    return Explanation(
        row,
        digits,
        made,
        tuple(reversed(since)),
        index is not None and index != row.created_index,
        tuple(_then(connection, book_id, *item) for item in said),
        tuple((tier, tuple(votes.get(tier.id, ()))) for tier in tiers),
    )


def _told(connection: Connection, book_id: int, index: int) -> Told:
    found = record(connection, book_id, index)
    if found is None:
        raise LookupError(f"record {index} is named by the one after it and is not there")
    texts = {text.field: text.content for text in texts_of(connection, book_id, index)}
    return Told(found, parse(found.body), texts, redacted_at(connection, book_id, [index]).get(index, {}))


def _then(connection: Connection, book_id: int, name: str, version: int, digest: str, *rest: str) -> PolicyThen:
    row = policy_version(connection, book_id, name, version)
    live = policy(connection, book_id, name)
    return PolicyThen(
        name,
        version,
        digest,
        bool(rest),
        row.created_index if row is not None else None,
        live.policy.version if live is not None and not live.policy.retired else None,
        parse(row.packed.encode())["document"] if row is not None else None,
    )
