"""The fold over what moves authority and what finance books: allocations, deallocations, charges, refunds, adjustments.

Invariants: written from the accounting rules, without the code that decided; an adjustment never touches what is held;
a refund never exceeds what was settled, as repriced.
"""

from typing import Final

from ledger.core.account import (
    AUTHORITY_NAME,
    EXPENSE,
    ROLE_HELD,
    ROLE_SPENT,
    available_name,
    classify,
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
from ledger.core.exchange import asked_side
from ledger.core.metering import pairs_of
from ledger.core.moment import moment_of
from ledger.core.projecting_corrections import check_alone, opposite, remember, reverse, sums_of
from ledger.core.projecting_exchange import (
    Moved,
    cost_transfers,
    count_spend,
    expect_exchange,
    found_exchange,
    named_pair,
)
from ledger.core.projecting_policies import count_use
from ledger.core.projecting_record import Record, atoms_of
from ledger.core.projecting_spending import changed_row, expect_row, total_of
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
    if row.settled_category is None or settled != asked_side(row).cost or not difference:
        record.differ("what is repriced is not what is recorded", asked_side(row).cost, settled)
    expected = {name: request[name] for name in ("settled", "amount", "old_price", "new_price")}
    if said != {**expected, "difference": str(difference)}:
        record.differ("the reprice is not what was asked", expected, said)
    for name in ("old_price", "new_price"):
        if [list(pair) for pair in pairs_of(dict(said[name]))] != said[name]:
            record.differ(f"{name} is not in order", "sorted pairs", said[name])
    if named_pair(row, request) != (category, payee):
        record.differ("what is repriced is not what was asked", list(named_pair(row, request)), [category, payee])
    atoms, left = count_spend(row, category, payee, repriced=difference)
    check_alone(record, {asked_side(row).currency: abs(difference), row.currency: abs(atoms)})
    if left < 0:
        record.differ("less than was refunded is left of what was settled", "", amount)
    before = uses_of(row)
    row.repriced += atoms
    row.flags |= FLAG_REPRICED
    count_use(record, row, before)
    total = total_of(record, row.run, row.currency, row.created_index)
    if total is not None:
        total.spent += atoms
    available = record.account(available_name(row.budget), row.currency).balance - atoms
    explained = row.flags & (FLAG_LATE | FLAG_UNAUTHORIZED)
    side = asked_side(row)
    if difference > 0 and not explained and (side.cost > side.approved or available < 0):
        row.flags |= FLAG_OVERRUN
    record.post(_unheld(record, row, Moved(atoms, difference, category, payee)))
    expect_row(record, row, previous)


def _unheld(record: Record, row: Authorization, moved: Moved) -> list[list[str]]:
    """The transfers of spend without a hold, or of what takes it back."""
    available, spent, atoms = available_name(row.budget), spent_name(row.budget), abs(moved.atoms)
    sides = [available, spent] if moved.asked < 0 else [spent, available]
    return [[*sides, str(atoms), row.currency]][: 1 if atoms else 0] + cost_transfers(record, row, moved)


def _charge(record: Record) -> None:
    body, request = record.body, record.body["request"]
    budget, asked = body["budget"]["name"], atoms_of(request["amount"])
    atoms, currency = asked, request["currency"]
    meant = moment_of(request["effective_at"]) if "effective_at" in request else record.time
    exchange, budget_currency = found_exchange(record.fold, budget, currency, asked, meant)
    if exchange is not None:
        atoms, currency = exchange.even(asked), budget_currency
        exchange.settled = asked
    elif currency != budget_currency:
        record.differ("what has no rate is charged", "", request["currency"])
    row = Authorization(
        record.fold.book_id, body["authorization"], body.get("agent"), budget, body.get("run"), body["category"],
        body["payee"], request.get("resource"), currency, atoms, 0, 0, atoms, 0, SETTLED, FLAG_UNAUTHORIZED, None,
        ON_EXPIRY_RELEASE, record.time, None, None, body["category"], body["payee"], None, None, None,
        record.index, record.index,
    )  # fmt: skip
    row.exchange = None if exchange is None else exchange.text()
    for field in ("category", "payee"):
        record.expect(field, request[field])
    remember(record)
    check_alone(record, {request["currency"]: asked, currency: atoms})
    record.expect("amount", str(atoms))
    record.expect("currency", currency)
    expect_exchange(record, row)
    record.post(_unheld(record, row, Moved(atoms, asked, row.category, row.payee)))
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
    category, payee = body["category"], body["payee"]
    side = asked_side(row)
    if request["operation"] == "reverse":
        if reverse(record).authorization != row.id:
            record.differ("what is refunded is not the charge that is reversed", row.id, request["record"])
        asked = side.cost - side.refunded
    else:
        asked = atoms_of(request["amount"])
    if named_pair(row, request) != (category, payee):
        record.differ("what is refunded is not what was asked", list(named_pair(row, request)), [category, payee])
    atoms, left = count_spend(row, category, payee, refunded=asked)
    check_alone(record, {side.currency: asked, row.currency: atoms})
    for field, expected in (("amount", str(atoms)), ("currency", row.currency)):
        record.expect(field, expected)
    if left < 0:
        record.differ("more is refunded than was settled", "", asked)
    expect_exchange(record, row)
    before = uses_of(row)
    row.refunded += atoms
    count_use(record, row, before)
    total = total_of(record, row.run, row.currency, row.created_index)
    if total is not None:
        total.spent -= atoms
    record.post(_unheld(record, row, Moved(-atoms, -asked, category, payee)))
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
