"""The fold over what moves authority and what finance books: allocations, deallocations, charges, refunds, adjustments.

Invariants: written from the accounting rules, without the code that decided; an adjustment never touches what is held;
a refund never exceeds what was settled, as repriced.
"""

from typing import Any, Final

from ledger.core.account import (
    AUTHORITY_NAME,
    EXPENSE,
    ROLE_HELD,
    ROLE_SPENT,
    available_name,
    classify,
    expense_name,
    spent_name,
)
from ledger.core.authorization import (
    FLAG_LATE,
    FLAG_OVERRUN,
    FLAG_REPRICED,
    FLAG_UNAUTHORIZED,
    ON_EXPIRY_RELEASE,
    SETTLED,
    Authorization,
    flag_names,
)
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.metering import pairs_of
from ledger.core.money import currency_digits
from ledger.core.projecting_corrections import check_alone, opposite, remember, reverse, sums_of
from ledger.core.projecting_policies import count_use
from ledger.core.projecting_record import Record, atoms_of, credited
from ledger.core.projecting_spending import (
    changed_row,
    count_split,
    expect_row,
    pairs_settled,
    spent_transfers,
    total_of,
)
from ledger.core.uses import NO_USE, uses_of

_NAMED_ACCOUNTS: Final = (("expenses:", CATEGORY), ("payables:", PAYEE))


def _moved(record: Record) -> None:
    """Allocation (parent's available, or authority, to the budget's available) and deallocation (back)."""
    body = record.body
    name, currency = body["budget"]["name"], body["currency"]
    budget = record.store.budgets.get(name)
    if budget is None or budget.currency != currency:
        raise LookupError(f"there is no budget {name} in {currency}")
    if budget.closed_at is not None and record.columns.kind == "allocation":
        record.differ(f"something is allocated to {name}, which is closed", "", body["amount"])
    above = AUTHORITY_NAME if budget.parent is None else available_name(budget.parent)
    own = available_name(name)
    taker, giver = (own, above) if record.columns.kind == "allocation" else (above, own)
    record.post([[taker, giver, body["amount"], currency]])
    record.expect_budget("budget", name, currency)
    if budget.parent is None:
        record.expect("parent", None)
    else:
        record.expect_budget("parent", budget.parent, currency)


def _adjustment(record: Record) -> None:
    """Balanced transfers by finance; never what is held. One that names an authorization corrects its price."""
    if "authorization" in record.body:
        _reprice(record)
        return
    if record.body["request"]["operation"] == "reverse":
        before = reverse(record)
        if before.authorization is not None:
            record.differ("a charge is reversed as if it were an adjustment", "a refund", record.columns.kind)
        record.expect("transfers", opposite(before))
    else:
        record.expect("transfers", record.body["request"]["transfers"])
    remember(record)
    check_alone(record, sums_of(record.body["transfers"]))
    record.post(None)
    for debit, credit, text, currency in record.body["transfers"]:
        for name, change in ((debit, int(text)), (credit, -int(text))):
            kind, role = classify(name) or ("", "")
            if role == ROLE_HELD:
                record.differ("an adjustment touches what open holds hold", "", name)
            spent, expense = record.fold.adjusted.get(currency, (0, 0))
            if role == ROLE_SPENT:
                record.fold.adjusted[currency] = (spent + change, expense)
            elif kind == EXPENSE:
                record.fold.adjusted[currency] = (spent, expense + change)
            for prefix, named in _NAMED_ACCOUNTS:
                if name.startswith(prefix):
                    record.meet_name(named, name.removeprefix(prefix))


def _reprice(record: Record) -> None:
    """The difference between what was settled and what should have been: as spend without a hold, or as a refund."""
    body, request = record.body, record.body["request"]
    previous, row = changed_row(record)
    said, category, payee = body["reprice"], body["category"], body["payee"]
    settled, amount = atoms_of(said["settled"]), atoms_of(said["amount"])
    difference = amount - settled
    if row.settled_category is None or settled != row.cost or not difference:
        record.differ("what is repriced is not what is recorded", row.cost, settled)
    expected = {name: request[name] for name in ("settled", "amount", "old_price", "new_price")}
    if said != {**expected, "difference": str(difference)}:
        record.differ("the reprice is not what was asked", expected, said)
    check_alone(record, {row.currency: abs(difference)})
    for name in ("old_price", "new_price"):
        if [list(pair) for pair in pairs_of(dict(said[name]))] != said[name]:
            record.differ(f"{name} is not in order", "sorted pairs", said[name])
    for name, value in (("category", category), ("payee", payee)):
        if request.get(name, value) != value:
            record.differ(f"{name} is not what was asked", request[name], value)
    if (category, payee) not in pairs_settled(row):
        record.differ("nothing was settled for what is repriced", pairs_settled(row), [category, payee])
    if count_split(row, category, payee, settled=difference) < 0:
        record.differ("less than was refunded is left of what was settled", "", amount)
    before = uses_of(row)
    row.repriced += difference
    row.flags |= FLAG_REPRICED
    count_use(record, row, before)
    total = total_of(record, row.run, row.currency, row.created_index)
    if total is not None:
        total.spent += difference
    moved = spent_transfers(record, row, category, payee, within=0, beyond=abs(difference), rest=0)
    if difference < 0:
        moved = [[credit, debit, atoms, currency] for debit, credit, atoms, currency in moved]
    available = record.account(available_name(row.budget), row.currency).balance - difference
    explained = row.flags & (FLAG_LATE | FLAG_UNAUTHORIZED)
    if difference > 0 and not explained and (row.cost > row.approved or available < 0):
        row.flags |= FLAG_OVERRUN
    record.post(moved)
    expect_row(record, row, previous)


def _charge(record: Record) -> None:
    body, request = record.body, record.body["request"]
    atoms = record.atoms("amount")
    budget, currency = body["budget"]["name"], body["currency"]
    row = Authorization(
        record.fold.book_id, body["authorization"], body.get("agent"), budget, body.get("run"), body["category"],
        body["payee"], request.get("resource"), currency, atoms, 0, 0, atoms, 0, SETTLED, FLAG_UNAUTHORIZED, None,
        ON_EXPIRY_RELEASE, record.time, None, None, body["category"], body["payee"], None, None, None,
        record.index, record.index,
    )  # fmt: skip
    for field in ("amount", "currency", "category", "payee"):
        record.expect(field, request[field])
    remember(record)
    check_alone(record, {currency: atoms})
    record.post(spent_transfers(record, row, row.category, row.payee, within=0, beyond=atoms, rest=0))
    total = total_of(record, row.run, currency, record.index)
    if total is not None:
        total.spent += atoms
    record.meet_name(CATEGORY, row.category)
    record.meet_name(PAYEE, row.payee)
    record.store.authorizations.add(row.id, row)
    count_use(record, row, NO_USE)
    record.expect("state", SETTLED)
    record.expect("flags", flag_names(row.flags))
    record.expect_budget("budget", budget, currency)


def _refund(record: Record) -> None:
    body, request = record.body, record.body["request"]
    previous, row = changed_row(record)
    atoms = record.atoms("amount")
    category, payee = body["category"], body["payee"]
    amount = request.get("amount")
    if request["operation"] == "reverse":
        if reverse(record).authorization != row.id:
            record.differ("what is refunded is not the charge that is reversed", row.id, request["record"])
        amount = str(row.cost - row.refunded)
    for field, expected in (("amount", amount), ("currency", row.currency)):
        record.expect(field, expected)
    check_alone(record, {row.currency: atoms})
    if count_split(row, category, payee, refunded=atoms) < 0:
        record.differ("more is refunded than was settled", "", atoms)
    before = uses_of(row)
    row.refunded += atoms
    count_use(record, row, before)
    total = total_of(record, row.run, row.currency, row.created_index)
    if total is not None:
        total.spent -= atoms
    moved: list[list[Any]] = [[available_name(row.budget), spent_name(row.budget), body["amount"], row.currency]]
    if currency_digits(row.currency) is not None:
        moved.append([credited(record, row, payee), expense_name(category), body["amount"], row.currency])
    record.post(moved)
    for field, expected_after in (
        ("state", row.state),
        ("held", str(row.held)),
        ("settled", str(row.settled)),
        ("refunded", str(row.refunded)),
        ("repriced", str(row.repriced) if row.repriced else None),
        ("portions", row.portions),
        ("previous", previous),
        ("agent", row.agent),
        ("run", row.run),
    ):
        record.expect(field, expected_after)
    record.expect_budget("budget", row.budget, row.currency)


HANDLERS: Final = {
    "allocation": _moved,
    "deallocation": _moved,
    "adjustment": _adjustment,
    "charge": _charge,
    "refund": _refund,
}
"""What each kind of record of finance does."""
