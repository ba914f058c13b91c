"""The decision on an adjustment: balanced transfers by finance, with a reason.

Invariants: an adjustment never touches what is held, never joins authority with money, and takes no available or spent
balance below zero.
"""

from functools import partial
from typing import Any, Final

from ledger.core.account import (
    BUDGETARY,
    ROLE_AVAILABLE,
    ROLE_HELD,
    ROLE_REAL,
    ROLE_SPENT,
    classify,
)
from ledger.core.book import CATEGORY, PAYEE, Name
from ledger.core.changeset import row_of
from ledger.core.command import Adjust
from ledger.core.earlier import earlier_body
from ledger.core.effective import effective
from ledger.core.finding_budgets import existing_budget
from ledger.core.finishing import finish, first_refusal
from ledger.core.moment import moment_text
from ledger.core.money import currency_digits
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import refuse
from ledger.core.second_person import moved, second_person
from ledger.core.spend_line import RECORD_KINDS
from ledger.core.working import Batch, Posting, request_of

_NAMED: Final = (
    ("expenses:", CATEGORY, Status.UNKNOWN_CATEGORY),
    ("payables:", PAYEE, Status.UNKNOWN_PAYEE),
)


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
    if asked.corrects is not None:
        request["corrects"] = asked.corrects
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    first_refusal(partial(_check_form, batch, posting) for posting in postings)
    corrected = earlier_body(batch, asked.corrects) if asked.corrects is not None else None
    first_refusal(partial(_check_accounts, batch, posting) for posting in postings)
    effective_at = effective(batch, asked.effective_at)
    if corrected is not None:
        _check_corrected(corrected)
    check_adjusted(batch, postings)
    batch.check_room(postings)
    waiting = second_person(batch, asked, who, packed, moved(postings))
    if waiting is not None:
        return waiting
    _meet_account_names(batch, postings)
    body: dict[str, Any] = {"adjustment": asked.id}
    if asked.corrects is not None:
        body["corrects"] = asked.corrects
    return finish(batch, asked, who, packed, "adjustment", asked.id, body, postings, effective_at)


def _check_corrected(body: dict[str, Any]) -> None:
    """What an adjustment corrects is a record that has lines on statements."""
    index, kind = body["index"], body["kind"]
    if kind not in RECORD_KINDS:
        refuse(
            Status.RECORD_NOT_CORRECTABLE,
            f"record {index} is a {kind}, which has no line to correct; name one of: {', '.join(RECORD_KINDS)}",
            record_kind=kind,
        )


def check_adjusted(batch: Batch, postings: list[Posting]) -> None:
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
