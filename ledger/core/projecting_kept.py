"""What a fold knows beside its rows, written down and taken up again: for a pass over a log that goes on later.

Owns which part of ``Progress`` is kept. Invariant: a fold that was taken up makes of the next record exactly what the
one that was written down would have made; what is found in rows is looked up there and not kept twice.
"""

from typing import Any, Final

from ledger.core.book import Book
from ledger.core.changeset import row_of
from ledger.core.projecting_record import Progress

PLAIN: Final = (
    "size", "recorded_at", "account_count", "frozen", "open_children", "meters", "months", "begun", "payable",
    "numbers",
)  # fmt: skip
"""Kept as they are."""
CONVERTED: Final = ("book", "adjusted", "bindings", "votes", "signing_key")
"""Kept by row, or by the keys of their rows."""
NOT_KEPT: Final = ("book_id", "store", "differences", "compiled", "plans", "decides", "watcher", "month_until")
"""Given when a fold is made, empty between records, or made again when they are needed."""


def kept_of(fold: Progress) -> dict[str, Any]:
    """What is kept of a fold between two records: of JSON's types only."""
    kept: dict[str, Any] = {field: getattr(fold, field) for field in PLAIN}
    kept["book"] = None if fold.book is None else list(row_of(fold.book))
    kept["adjusted"] = {currency: list(changes) for currency, changes in fold.adjusted.items()}
    kept["bindings"] = [[*scope, [policy.name for policy in bound]] for scope, bound in fold.bindings.items()]
    kept["votes"] = {approval: [vote.seat for vote in votes] for approval, votes in fold.votes.items()}
    kept["signing_key"] = None if fold.signing_key is None else fold.signing_key.id
    return kept


def take_up(fold: Progress, kept: dict[str, Any]) -> None:
    """Make a new fold, whose rows are there, go on from what was kept. Raises KeyError, TypeError or ValueError where
    that is not what ``kept_of`` gave, or does not fit the rows."""
    for field in PLAIN:
        setattr(fold, field, kept[field])
    fold.book = None if kept["book"] is None else Book(*kept["book"])
    fold.adjusted = {currency: (spent, expense) for currency, (spent, expense) in kept["adjusted"].items()}
    fold.bindings = {
        (kind, scope): tuple(_row(fold.store.policies.get(name)) for name in names)
        for kind, scope, names in kept["bindings"]
    }
    fold.votes = {
        approval: [_row(fold.store.approval_votes.get((approval, seat))) for seat in seats]
        for approval, seats in kept["votes"].items()
    }
    named = kept["signing_key"]
    fold.signing_key = None if named is None else _row(fold.store.signing_keys.get(named))


def _row(found: Any) -> Any:
    if found is None:
        raise ValueError("a row that was kept is not there")
    return found
