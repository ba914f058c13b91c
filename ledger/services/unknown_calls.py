"""What becomes of calls whose outcome nobody knows, where a policy says ``unknown: settle``.

Owns which holds are settled without a person. Invariants: only a hold that is flagged ``unknown`` and whose time has
run out, at what it still holds, flagged ``estimated``; two processes that find the same one settle it once, because the
second finds it settled.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Engine

from ledger.core.authorization import Authorization
from ledger.core.command import Caller, Settle
from ledger.core.inference import UNKNOWN_SETTLE
from ledger.core.metering import pairs_of
from ledger.core.money import currency_digits, format_atoms
from ledger.services.asker import rules_for
from ledger.storage.queries_log import list_books
from ledger.storage.queries_unknown import PAGE_ROWS, unknown_and_overdue

ESTIMATED = "estimated"


def settlements_by_policy(engine: Engine, now: int, *, category: str) -> Iterator[tuple[int, Settle]]:
    """(book id, settlement) of every call (hold of ``category``) that a policy has settled at its amount. ``now`` in
    microseconds.

    Reads in short transactions of a page each. Raises StorageError.
    """
    with engine.connect() as connection:
        books = [book.book_id for book in list_books(connection)]
    for book_id in books:
        after = -1
        while True:
            with engine.connect() as connection:
                rows = unknown_and_overdue(connection, book_id, now, after=after)
                ready = [row for row in rows if row.category == category and _is_settled_by_policy(connection, row)]
            yield from ((book_id, _settlement(row)) for row in ready)
            if len(rows) < PAGE_ROWS:
                break
            after = rows[-1].created_index


def _is_settled_by_policy(connection: Connection, row: Authorization) -> bool:
    if row.agent is None or currency_digits(row.currency) is None:
        return False
    rules = rules_for(connection, row.book_id, agent=row.agent, budget=row.budget, currency=row.currency)
    return rules.unknown == UNKNOWN_SETTLE


def _settlement(row: Authorization) -> Settle:
    digits = currency_digits(row.currency)
    if digits is None:
        raise ValueError(f"{row.currency} is not money")
    return Settle(
        caller=Caller(None, as_owner=True),
        authorization=row.id,
        amount=format_atoms(row.held, digits),
        currency=row.currency,
        metering=pairs_of({"settled_by": "policy", "provider": row.payee, "model": row.resource or ""}),
        flags=(ESTIMATED,),
    )
