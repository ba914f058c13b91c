"""Decisions of finance and of whoever sets budgets: allocate, deallocate, charge, refund, adjust.

Invariants: no available balance goes below zero but by spend that did happen; a refund never exceeds what was settled;
an adjustment never touches what is held and never joins authority with money.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, TypeVar

from ledger.core.account import (
    AUTHORITY_NAME,
    BUDGETARY,
    ROLE_AVAILABLE,
    ROLE_HELD,
    ROLE_REAL,
    ROLE_SPENT,
    available_name,
    classify,
    expense_name,
    payable_name,
    spent_name,
)
from ledger.core.authorization import FLAG_UNAUTHORIZED, ON_EXPIRY_RELEASE, SETTLED, Authorization, flag_names
from ledger.core.book import CATEGORY, PAYEE, Name
from ledger.core.budget_said import budget_after
from ledger.core.changeset import row_of
from ledger.core.command import Adjust, Allocate, Charge, Command, Deallocate, Refund
from ledger.core.finding_budgets import existing_budget, open_budget
from ledger.core.ids import is_id_of
from ledger.core.moment import SECOND, moment_text
from ledger.core.money import currency_digits
from ledger.core.outcome import Outcome, Status
from ledger.core.planning import subject_of
from ledger.core.refusal import Refusal, refuse
from ledger.core.splits import refund_split
from ledger.core.uses import NO_USE, uses_of
from ledger.core.working import Batch, Posting, by_of, request_of

T = TypeVar("T")
_PRECEDENCE: Final = {status: place for place, status in enumerate(Status)}
_NAMED: Final = (
    ("expenses:", CATEGORY, Status.UNKNOWN_CATEGORY),
    ("payables:", PAYEE, Status.UNKNOWN_PAYEE),
)

BACKDATED_SECONDS_MAX: Final = 366 * 24 * 3600
"""How long before its opening a book takes entries: a new book may begin with last year's invoices, and a mistyped
century is refused."""


def effective(batch: Batch, effective_at: int | None) -> int | None:
    """The backdated day of an entry, or None for now; refuses the future and what lies long before the book."""
    if effective_at is None:
        return None
    earliest = batch.snapshot.book.opened_at - BACKDATED_SECONDS_MAX * SECOND
    if not earliest <= effective_at <= batch.now:
        refuse(
            Status.EFFECTIVE_AT_INVALID,
            f"effective_at must lie between {moment_text(earliest)}, a year before the book was opened, and now "
            f"({batch.now_text})",
        )
    return effective_at


def finish(
    batch: Batch,
    asked: Command,
    who: tuple[str, str | None],
    request: tuple[Any, bytes],
    kind: str,
    subject: str,
    body: dict[str, Any],
    postings: list[Posting],
    effective_at: int | None = None,
) -> Outcome:
    """Write the record of a command that is done, and keep its idempotency key."""
    principal, key_id = who
    fragment, digest = request
    body["by"] = by_of(principal, key_id)
    body["request"] = fragment
    if asked.idempotency_key:
        body["idempotency"] = [batch.key_digest(asked, principal).hex(), digest.hex()]
    index, leaf = batch.record(kind, subject, body, postings, effective_at)
    return batch.conclude(asked, principal, digest, Outcome(Status.DONE, body, index, leaf))


def _moved(batch: Batch, asked: Allocate | Deallocate, kind: str) -> Outcome:
    who = batch.admit(asked)
    atoms = batch.atoms(asked.amount, asked.currency)
    request = {"operation": asked.operation, "budget": asked.budget, "amount": str(atoms), "currency": asked.currency}
    if asked.reason is not None:
        request["reason"] = batch.salted(asked, who[0], "reason", asked.reason)
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    # What is left of a closed budget can be taken out of it, and nothing can be put in.
    found = open_budget if kind == "allocation" else existing_budget
    budget = found(batch, asked.budget, asked.currency)
    above = AUTHORITY_NAME if budget.parent is None else available_name(budget.parent)
    own = available_name(budget.name)
    giver, taker = (above, own) if kind == "allocation" else (own, above)
    if giver != AUTHORITY_NAME and batch.balance(giver, budget.currency) < atoms:
        batch.await_expiries()
        refuse(
            Status.INSUFFICIENT_AVAILABLE,
            f"{giver} has {batch.amount_text(max(batch.balance(giver, budget.currency), 0), budget.currency)} "
            f"available, less than {batch.amount_text(atoms, budget.currency)}",
            available=str(batch.balance(giver, budget.currency)),
            currency=budget.currency,
        )
    postings: list[Posting] = [(taker, giver, atoms, budget.currency)]
    batch.check_room(postings)
    body: dict[str, Any] = {
        "allocation": asked.id,
        "amount": str(atoms),
        "currency": budget.currency,
        "budget": budget_after(batch, budget.name, budget.currency, postings),
    }
    if budget.parent is not None:
        body["parent"] = budget_after(batch, budget.parent, budget.currency, postings)
    return finish(batch, asked, who, packed, kind, asked.id, body, postings)


def allocate(batch: Batch, asked: Allocate) -> Outcome:
    """Move authority from the parent (or ``authority``) to a budget."""
    return _moved(batch, asked, "allocation")


def deallocate(batch: Batch, asked: Deallocate) -> Outcome:
    """Move available authority back to the parent (or ``authority``)."""
    return _moved(batch, asked, "deallocation")


def charge(batch: Batch, asked: Charge) -> Outcome:
    """Record spend that nobody authorized: never refused for lack of money, flagged ``unauthorized``."""
    who = batch.admit(asked)
    atoms = batch.atoms(asked.amount, asked.currency)
    request: dict[str, Any] = {"operation": "charge", "amount": str(atoms)}
    for field in ("budget", "currency", "category", "payee", "agent", "run", "resource"):
        value = getattr(asked, field)
        if value is not None:
            request[field] = value
    for field in ("reason", "evidence"):
        text = getattr(asked, field)
        if text is not None:
            request[field] = batch.salted(asked, who[0], field, text)
    if asked.effective_at is not None:
        request["effective_at"] = moment_text(asked.effective_at)
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    agent = None
    if asked.agent is not None:
        agent = batch.name_of("agents", asked.agent)
        if agent is None:
            refuse(Status.UNKNOWN_AGENT, f"there is no agent {asked.agent}")
    existing_budget(batch, asked.budget, None)
    batch.spending_names(asked.category, asked.payee)
    run = asked.run
    if run is not None and is_id_of("runs", run):
        run = batch.name_of("runs", run)
        if run is None:
            refuse(Status.UNKNOWN_RUN, f"there is no run {asked.run}")
    budget = existing_budget(batch, asked.budget, asked.currency)
    effective_at = effective(batch, asked.effective_at)
    postings: list[Posting] = [(spent_name(budget.name), available_name(budget.name), atoms, budget.currency)]
    if currency_digits(budget.currency) is not None:
        postings.append((expense_name(asked.category), payable_name(asked.payee), atoms, budget.currency))
    batch.check_room(postings)
    batch.check_run_room(run, budget.currency, batch.index, spent=atoms)
    index = batch.index
    row = Authorization(
        batch.book_id, asked.id, agent, budget.name, run, asked.category, asked.payee, asked.resource,
        budget.currency, atoms, 0, 0, atoms, 0, SETTLED, FLAG_UNAUTHORIZED, None, ON_EXPIRY_RELEASE, batch.now, None,
        None, asked.category, asked.payee, None, None, None, index, index,
    )  # fmt: skip
    plan = batch.plan(agent, budget.name)
    if plan.policies:
        batch.check_counter_room(plan.applied(subject_of(row)).counted, atoms)
    batch.authorizations[asked.id] = row
    batch.recount(row, NO_USE)
    total = batch.run_total(run, budget.currency, index)
    if total is not None:
        total.spent += atoms
    batch.meet_names(asked.category, asked.payee)
    body: dict[str, Any] = {
        "authorization": asked.id,
        "amount": str(atoms),
        "currency": budget.currency,
        "category": asked.category,
        "payee": asked.payee,
        "state": SETTLED,
        "flags": flag_names(row.flags),
        "budget": budget_after(batch, budget.name, budget.currency, postings),
    }
    if agent is not None:
        body["agent"] = agent
    if run is not None:
        body["run"] = run
    return finish(batch, asked, who, packed, "charge", asked.id, body, postings, effective_at)


def refund(batch: Batch, asked: Refund) -> Outcome:
    """Undo part or all of what was settled: the opposite transfers, linked to what they undo."""
    who = batch.admit(asked)
    atoms = batch.atoms(asked.amount, asked.currency)
    request: dict[str, Any] = {
        "operation": "refund",
        "authorization": asked.authorization,
        "amount": str(atoms),
        "currency": asked.currency,
    }
    for field in ("category", "payee"):
        value = getattr(asked, field)
        if value is not None:
            request[field] = value
    if asked.reason is not None:
        request["reason"] = batch.salted(asked, who[0], "reason", asked.reason)
    if asked.effective_at is not None:
        request["effective_at"] = moment_text(asked.effective_at)
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    found = batch.authorization(asked.authorization)
    if found is None:
        refuse(Status.NOT_FOUND, f"there is no authorization or charge {asked.authorization}")
    if found.currency != asked.currency:
        refuse(Status.CURRENCY_MISMATCH, f"{found.id} is in {found.currency}, not {asked.currency}")
    effective_at = effective(batch, asked.effective_at)
    if not found.settled and not found.repriced:
        refuse(
            Status.WRONG_STATE,
            f"nothing was settled on {found.id}, so nothing can be refunded",
            state=found.state,
            authorization=found.id,
        )
    chosen, splits = refund_split(batch, found, asked.category, asked.payee, atoms)
    postings: list[Posting] = [(available_name(found.budget), spent_name(found.budget), atoms, found.currency)]
    if currency_digits(found.currency) is not None:
        postings.append((payable_name(chosen.payee), expense_name(chosen.category), atoms, found.currency))
    batch.check_room(postings)
    row = batch.change_authorization(found.id)
    before = uses_of(row)
    row.refunded += atoms
    row.splits = splits
    batch.recount(row, before)
    total = batch.run_total(row.run, row.currency, row.created_index)
    if total is not None:
        total.spent -= atoms
    body: dict[str, Any] = {
        "refund": asked.id,
        "authorization": row.id,
        "amount": str(atoms),
        "currency": row.currency,
        "category": chosen.category,
        "payee": chosen.payee,
        "state": row.state,
        "held": str(row.held),
        "settled": str(row.settled),
        "refunded": str(row.refunded),
        "previous": row.changed_index,
        "budget": budget_after(batch, row.budget, row.currency, postings),
    }
    if row.repriced:
        body["repriced"] = str(row.repriced)
    if row.portions is not None:
        body["portions"] = row.portions
    if row.agent is not None:
        body["agent"] = row.agent
    if row.run is not None:
        body["run"] = row.run
    row.changed_index = batch.index
    return finish(batch, asked, who, packed, "refund", asked.id, body, postings, effective_at)


def _check_form(batch: Batch, posting: Posting) -> None:
    """Accounts that may exist, of one sort, none of them held."""
    debit, credit, _, currency = posting
    classified = []
    for name in (debit, credit):
        sort = classify(name)
        if sort is None:
            refuse(Status.ACCOUNT_INVALID, f"{name} cannot name an account; see the accounts of the book")
        classified.append((name, *sort))
    if debit == credit:
        refuse(Status.ACCOUNT_INVALID, f"a transfer needs two accounts, not {debit} twice")
    for name, _, role in classified:
        if role == ROLE_HELD:
            refuse(Status.HELD_UNTOUCHABLE, f"{name} belongs to open holds; settle or release them instead")
    for name, _, role in classified:
        if role == ROLE_REAL and currency_digits(currency) is None:
            refuse(Status.SORTS_MIXED, f"{currency} is not money, so it cannot be posted to {name}")
    if (classified[0][1] == BUDGETARY) != (classified[1][1] == BUDGETARY):
        refuse(Status.SORTS_MIXED, f"{debit} and {credit} are authority and money; never join them")


def _check_accounts(batch: Batch, posting: Posting) -> None:
    """Budgets, and with strict names categories and payees, that exist; in the transfer's currency."""
    debit, credit, _, currency = posting
    budgets = [name.split(":")[1] for name in (debit, credit) if name.startswith("budgets:")]
    for budget in budgets:
        existing_budget(batch, budget, None)
    if batch.snapshot.book.strict_names:
        for prefix, kind, status in _NAMED:
            for name in (debit, credit):
                rest = name.removeprefix(prefix)
                if rest != name and batch.fact("names", (kind, rest)) is None:
                    refuse(status, f"{rest} is not a {kind} of this book; an admin can add it")
    for budget in budgets:
        existing_budget(batch, budget, currency)


def first_refusal(checks: Iterable[Callable[[], T]]) -> list[T]:
    """What the checks return; of several that refuse, the one whose status stands first is answered."""
    done, refusals = [], []
    for check in checks:
        try:
            done.append(check())
        except Refusal as refusal:
            refusals.append(refusal)
    if refusals:
        raise min(refusals, key=lambda refusal: _PRECEDENCE[refusal.status])
    return done


def _meet_account_names(batch: Batch, postings: list[Posting]) -> None:
    for debit, credit, _, _ in postings:
        for name in (debit, credit):
            for prefix, kind in (("expenses:", CATEGORY), ("payables:", PAYEE)):
                rest = name.removeprefix(prefix)
                if rest != name and batch.fact("names", (kind, rest)) is None:
                    met = Name(batch.book_id, kind, rest, batch.index)
                    batch.make("names", (kind, rest), met)
                    batch.inserts["names"].append(row_of(met))


def adjust(batch: Batch, asked: Adjust) -> Outcome:
    """Balanced transfers by finance, with a reason; history itself is never edited."""
    who = batch.admit(asked)
    amounts = first_refusal(partial(batch.atoms, moved.amount, moved.currency) for moved in asked.transfers)
    postings: list[Posting] = [
        (moved.debit, moved.credit, atoms, moved.currency)
        for moved, atoms in zip(asked.transfers, amounts, strict=True)
    ]
    request: dict[str, Any] = {
        "operation": "adjust",
        "transfers": [[debit, credit, str(atoms), currency] for debit, credit, atoms, currency in postings],
        "reason": batch.salted(asked, who[0], "reason", asked.reason),
    }
    if asked.effective_at is not None:
        request["effective_at"] = moment_text(asked.effective_at)
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    first_refusal(partial(_check_form, batch, posting) for posting in postings)
    first_refusal(partial(_check_accounts, batch, posting) for posting in postings)
    effective_at = effective(batch, asked.effective_at)
    _check_adjusted(batch, postings)
    batch.check_room(postings)
    _meet_account_names(batch, postings)
    body: dict[str, Any] = {"adjustment": asked.id}
    return finish(batch, asked, who, packed, "adjustment", asked.id, body, postings, effective_at)


def _check_adjusted(batch: Batch, postings: list[Posting]) -> None:
    """No available or spent balance may end below zero by an adjustment, unless it was there and rises."""
    after: dict[tuple[str, str], int] = {}
    for debit, credit, atoms, currency in postings:
        for name, change in ((debit, atoms), (credit, -atoms)):
            key = (name, currency)
            after[key] = after.get(key, batch.balance(name, currency)) + change
    for (name, currency), balance in after.items():
        classified = classify(name)
        if (
            classified is not None
            and classified[1] in (ROLE_AVAILABLE, ROLE_SPENT)
            and balance < min(0, batch.balance(name, currency))
        ):
            batch.await_expiries()
            refuse(
                Status.INSUFFICIENT_AVAILABLE,
                f"{name} would stand at {batch.amount_text(balance, currency)}, below zero",
                available=str(batch.balance(name, currency)),
                currency=currency,
            )
