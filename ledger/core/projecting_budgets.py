"""The fold over a budget's life and over stopping: renewals, closings, freezes of a budget and of the book.

Invariants: written from the accounting rules, without the code that decided; a period is renewed once and in order;
what is closed was empty of holds and stays closed.
"""

from typing import Any, Final

from ledger.core.account import AUTHORITY_NAME, available_name, held_name
from ledger.core.book import Book
from ledger.core.budget import Budget, Renewal
from ledger.core.moment import moment_of, moment_text
from ledger.core.money import ATOMS_MAX
from ledger.core.projecting_record import Record, atoms_of
from ledger.core.windows import calendar_bounds


def _book(record: Record) -> Book:
    book = record.fold.book
    if book is None:
        raise LookupError("the book was not opened")
    return book


def _known(record: Record, name: str) -> Budget:
    budget = record.store.budgets.get(name)
    if budget is None:
        raise LookupError(f"there is no budget {name}")
    return budget


def _balance(record: Record, account: str, currency: str) -> int:
    found = record.store.accounts.get((account, currency))
    return 0 if found is None else found.balance


def _above(budget: Budget) -> str:
    return AUTHORITY_NAME if budget.parent is None else available_name(budget.parent)


def _expect_balances(record: Record, budget: Budget) -> None:
    record.expect_budget("budget", budget.name, budget.currency)
    if budget.parent is None:
        record.expect("parent", None)
    else:
        record.expect_budget("parent", budget.parent, budget.currency)


def _setting(record: Record) -> None:
    """How a budget renews from here on; without ``next_at``, that it does no more."""
    body = record.body
    budget = _known(record, body["budget"])
    record.expect("id", budget.id)
    record.expect("currency", budget.currency)
    stops = "next_at" not in body
    if not stops:
        if budget.closed_at is not None:
            record.differ("a closed budget is set to renew", "", budget.name)
        after = calendar_bounds(body["every"], timezone=_book(record).timezone, now=record.time)[1]
        record.expect("next_at", moment_text(after))
    next_at = None if stops else moment_of(body["next_at"])
    amount, carry_over = record.atoms("amount"), record.atoms("carry_over")
    known = record.store.renewals.get(budget.name)
    if known is None:
        if stops:
            raise LookupError(f"{budget.name} never renewed")
        record.store.renewals.add(
            budget.name,
            Renewal(
                record.fold.book_id, budget.name, budget.currency, body["every"], amount, carry_over, next_at,
                record.index, record.index,
            ),
        )  # fmt: skip
        return
    row = record.store.renewals.change(budget.name)
    if stops:
        if row.next_at is None:
            record.differ("the renewal was stopped before", "", budget.name)
        for field, expected in (("every", row.every), ("amount", str(row.amount)), ("carry_over", str(row.carry_over))):
            record.expect(field, expected)
    row.every, row.amount, row.carry_over, row.next_at = body["every"], amount, carry_over, next_at
    row.changed_index = record.index


def _renewal(record: Record) -> None:
    body = record.body
    budget = _known(record, body["renewed"])
    row = record.store.renewals.change(budget.name)
    if row.next_at is None or row.next_at > record.time:
        record.differ(f"{budget.name} renewed before its midnight", row.next_at, record.time)
    midnight = row.next_at if row.next_at is not None else record.time
    for above in budget.path.split("/") if budget.path else ():
        parent = record.store.renewals.get(above)
        if parent is not None and parent.next_at is not None and parent.next_at <= midnight:
            record.differ(f"{budget.name} renewed before {above}, which stands above it", "", midnight)
    following = calendar_bounds(row.every, timezone=_book(record).timezone, now=midnight)[1]
    record.expect("period", {"from": moment_text(midnight), "to": moment_text(following)})
    expected = _renewed(record, budget, row)
    for field, value in expected.items():
        record.expect(field, value)
    own, above = available_name(budget.name), _above(budget)
    moved = [[above, own, expected["lapsed"]], [own, above, expected["allocated"]]]
    record.post([[*one, budget.currency] for one in moved if one[2] != "0"])
    _expect_balances(record, budget)
    row.next_at = following
    row.changed_index = record.index


def _renewed(record: Record, budget: Budget, row: Renewal) -> dict[str, str]:
    """What the amounts of a renewal must be: what is above the bound lapses, then the parent gives what it has."""
    currency = budget.currency
    has = _balance(record, available_name(budget.name), currency)
    holds = _balance(record, held_name(budget.name), currency)
    giver = _balance(record, _above(budget), currency)
    giver_holds = 0 if budget.parent is None else _balance(record, held_name(budget.parent), currency)
    lapsed = has - row.carry_over if has > row.carry_over else 0
    if giver + giver_holds + lapsed > ATOMS_MAX:
        lapsed = max(ATOMS_MAX - giver - giver_holds, 0)
    allocated = row.amount
    floor = -ATOMS_MAX if budget.parent is None else 0
    if giver + lapsed - allocated < floor:
        allocated = max(giver + lapsed - floor, 0)
    if has - lapsed + holds + allocated > ATOMS_MAX:
        allocated = ATOMS_MAX - holds - has + lapsed
    return {
        "currency": currency,
        "every": row.every,
        "amount": str(row.amount),
        "carry_over": str(row.carry_over),
        "lapsed": str(lapsed),
        "carried": str(has - lapsed),
        "allocated": str(allocated),
        "short": str(row.amount - allocated),
    }


def _open(record: Record, name: str) -> Budget:
    """A budget that was not closed, to be changed."""
    row = record.store.budgets.change(name)
    if row.closed_at is not None:
        record.differ(f"{name} was closed before", "", record.columns.kind)
    row.changed_index = record.index
    return row


def _closure(record: Record) -> None:
    budget = _open(record, record.body["closed"])
    currency = budget.currency
    record.expect("currency", currency)
    if _balance(record, held_name(budget.name), currency):
        record.differ(f"{budget.name} is closed while something is held in it", "0", record.body["budget"]["held"])
    own = available_name(budget.name)
    rest = _balance(record, own, currency)
    if rest < 0:
        record.differ(f"{budget.name} is closed below zero", "0 or more", rest)
    children = record.fold.open_children
    if children.get(budget.name):
        record.differ(f"{budget.name} is closed while budgets below it are open", "0", children[budget.name])
    if budget.parent is not None:
        children[budget.parent] = children.get(budget.parent, 0) - 1
    record.expect("amount", str(rest))
    record.post([[_above(budget), own, record.body["amount"], currency]] if atoms_of(record.body["amount"]) else [])
    _expect_balances(record, budget)
    budget.closed_at = record.time
    renewal = record.store.renewals.get(budget.name)
    if renewal is not None and renewal.next_at is not None:
        stopped = record.store.renewals.change(budget.name)
        stopped.next_at = None
        stopped.changed_index = record.index


def _changes_freeze(record: Record, before: bool, *, after: bool) -> None:
    record.expect("frozen", after)
    if before == after:
        record.differ("nothing is changed by this", not after, before, field="frozen")


def _budget_freeze(record: Record) -> None:
    budget = _open(record, record.body["budget"])
    after = record.columns.kind == "budget_freeze"
    record.expect("id", budget.id)
    _changes_freeze(record, budget.frozen, after=after)
    budget.frozen = after


def _book_freeze(record: Record) -> None:
    after = record.columns.kind == "book_freeze"
    _changes_freeze(record, record.fold.frozen, after=after)
    record.fold.frozen = after


HANDLERS: Final[dict[str, Any]] = {
    "budget_renewal": _setting,
    "renewal": _renewal,
    "budget_closure": _closure,
    "budget_freeze": _budget_freeze,
    "budget_unfreeze": _budget_freeze,
    "book_freeze": _book_freeze,
    "book_unfreeze": _book_freeze,
}
"""What each kind of record about a budget's life, and about stopping, does."""
