"""Renewals: what falls due at a midnight of the book, before anything else is decided.

Owns the record ``renewal``. Invariants: each period of a budget is renewed by exactly one record, because the record
and the next midnight are written in one transaction; missed periods follow one another in the order of their midnights,
a budget after those above it; no renewal takes a balance below zero.
"""

from heapq import heappop, heappush
from typing import Any, Final

from ledger.core.account import AUTHORITY_NAME, available_name, held_name
from ledger.core.budget import Budget, Renewal
from ledger.core.budget_said import budget_after
from ledger.core.moment import moment_text
from ledger.core.money import ATOMS_MAX
from ledger.core.principal import lineage
from ledger.core.windows import calendar_bounds
from ledger.core.working import Batch, Posting

RENEWALS_MAX: Final = 100
"""Records of renewals that one batch writes at most; the rest follows in the next batches."""


def renew_due(batch: Batch) -> bool:
    """Renew what is due, oldest midnight first. Returns False while more is due than this batch may renew."""
    snapshot = batch.snapshot
    if not snapshot.due_renewals:
        return snapshot.renewals_complete
    waiting: list[tuple[int, int, str]] = []
    horizon = batch.now
    for name in snapshot.due_renewals:
        for one in (*lineage(batch.fact("budgets", name).path), name):
            _await(batch, waiting, one)
    if not snapshot.renewals_complete:
        # What was not read is due no earlier than the last that was; to go beyond it would be out of order.
        horizon = max(_renewal(batch, name).next_at or 0 for name in snapshot.due_renewals)
    for _ in range(RENEWALS_MAX):
        if not waiting or waiting[0][0] > horizon:
            break
        _, _, name = heappop(waiting)
        _renew(batch, name)
        _await(batch, waiting, name)
    return snapshot.renewals_complete and not waiting


def _renewal(batch: Batch, name: str) -> Renewal:
    found: Renewal | None = batch.fact("renewals", name)
    if found is None:
        raise LookupError(f"the renewal of {name} vanished from the facts")
    return found


def _await(batch: Batch, waiting: list[tuple[int, int, str]], name: str) -> None:
    """Queue a budget's next renewal if it is due: by its midnight, then by its depth, so that what gives comes before
    what is given to."""
    found: Renewal | None = batch.fact("renewals", name)
    if found is None or found.next_at is None or found.next_at > batch.now:
        return
    entry = (found.next_at, len(lineage(batch.fact("budgets", name).path)), name)
    if entry not in waiting:
        heappush(waiting, entry)


def _room(batch: Batch, name: str, budget: str | None, currency: str) -> int:
    """How many atoms an account can still take, so that what a budget has and what it holds fit 64 bits together."""
    room = ATOMS_MAX - batch.balance(name, currency)
    if budget is not None:
        room -= batch.balance(held_name(budget), currency)
    return max(room, 0)


def _renew(batch: Batch, name: str) -> None:
    """One period of one budget: the rest above ``carry_over`` lapses, then as much of the amount as there is comes."""
    row: Renewal = batch.change("renewals", name)
    budget: Budget = batch.fact("budgets", name)
    currency, starts_at = budget.currency, row.next_at
    if starts_at is None:
        raise LookupError(f"{name} does not renew")
    ends_at = calendar_bounds(row.every, timezone=batch.snapshot.book.timezone, now=starts_at)[1]
    own = available_name(name)
    above = AUTHORITY_NAME if budget.parent is None else available_name(budget.parent)
    rest, behind = batch.balance(own, currency), batch.balance(above, currency)
    lapsed = min(max(rest - row.carry_over, 0), _room(batch, above, budget.parent, currency))
    # Authority may be given away down to what 64 bits hold, a parent's money down to nothing.
    given_at_most = behind + lapsed + (ATOMS_MAX if budget.parent is None else 0)
    allocated = min(row.amount, max(given_at_most, 0), _room(batch, own, name, currency) + lapsed)
    postings: list[Posting] = []
    if lapsed:
        postings.append((above, own, lapsed, currency))
    if allocated:
        postings.append((own, above, allocated, currency))
    body: dict[str, Any] = {
        "renewed": name,
        "currency": currency,
        "every": row.every,
        "period": {"from": moment_text(starts_at), "to": moment_text(ends_at)},
        "amount": str(row.amount),
        "carry_over": str(row.carry_over),
        "lapsed": str(lapsed),
        "carried": str(rest - lapsed),
        "allocated": str(allocated),
        "short": str(row.amount - allocated),
        "budget": budget_after(batch, name, currency, postings),
    }
    if budget.parent is not None:
        body["parent"] = budget_after(batch, budget.parent, currency, postings)
    row.next_at = ends_at
    row.changed_index = batch.index
    batch.record("renewal", name, body, postings)
