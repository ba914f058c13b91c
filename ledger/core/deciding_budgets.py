"""Decisions on a budget's life and on stopping: renewal, closing, freezing a budget or the whole book.

Invariants: a closed budget holds nothing, has no open budget below it and renews no more, for good; a freeze stops what
is new and lets what is in flight end; each is one log record.
"""

from typing import Any, Final

from ledger.core.account import AUTHORITY_NAME, available_name, held_name
from ledger.core.budget import Budget, Renewal
from ledger.core.budget_said import budget_after
from ledger.core.command import Command
from ledger.core.command_budgets import CloseBudget, FreezeBook, FreezeBudget, SetRenewal, StopRenewal
from ledger.core.finding_budgets import existing_budget, open_budget
from ledger.core.finishing import finish
from ledger.core.moment import moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import refuse
from ledger.core.windows import calendar_bounds
from ledger.core.working import Batch, Posting, request_of

_CHILDREN_NAMED: Final = 5


def _answered(
    batch: Batch, asked: Command, who: tuple[str, str | None], request: dict[str, Any]
) -> tuple[tuple[Any, bytes], Outcome | None]:
    """The canonical request, its reason salted, and the recorded answer where there is one."""
    reason = getattr(asked, "reason", None)
    if reason is not None:
        request["reason"] = batch.salted(asked, who[0], "reason", reason)
    packed = request_of({"operation": asked.operation, **request})
    return packed, batch.answered(asked, who[0], packed[1])


def _said(budget: Budget, row: Renewal) -> dict[str, Any]:
    """A renewal's setting as bodies say it; without ``next_at`` it is stopped."""
    body: dict[str, Any] = {
        "budget": budget.name,
        "id": budget.id,
        "currency": budget.currency,
        "every": row.every,
        "amount": str(row.amount),
        "carry_over": str(row.carry_over),
    }
    if row.next_at is not None:
        body["next_at"] = moment_text(row.next_at)
    return body


def set_renewal(batch: Batch, asked: SetRenewal) -> Outcome:
    """Renew a budget from the first midnight after now that begins a period; a setting there was is replaced."""
    who = batch.admit(asked)
    amount = batch.atoms(asked.amount, asked.currency)
    carry_over = batch.atoms(asked.carry_over, asked.currency, zero_ok=True)
    request = {
        "budget": asked.budget,
        "every": asked.every,
        "amount": str(amount),
        "currency": asked.currency,
        "carry_over": str(carry_over),
    }
    packed, replay = _answered(batch, asked, who, request)
    if replay is not None:
        return replay
    budget = open_budget(batch, asked.budget, asked.currency)
    next_at = calendar_bounds(asked.every, timezone=batch.snapshot.book.timezone, now=batch.now)[1]
    if batch.fact("renewals", budget.name) is None:
        row = Renewal(
            batch.book_id, budget.name, budget.currency, asked.every, amount, carry_over, next_at, batch.index,
            batch.index,
        )  # fmt: skip
        batch.add("renewals", budget.name, row)
    else:
        row = batch.change("renewals", budget.name)
        row.every, row.amount, row.carry_over, row.next_at = asked.every, amount, carry_over, next_at
        row.changed_index = batch.index
    return finish(batch, asked, who, packed, "budget_renewal", budget.name, _said(budget, row), [])


def stop_renewal(batch: Batch, asked: StopRenewal) -> Outcome:
    """Renew a budget no more."""
    who = batch.admit(asked)
    packed, replay = _answered(batch, asked, who, {"budget": asked.budget})
    if replay is not None:
        return replay
    budget = existing_budget(batch, asked.budget, None)
    known: Renewal | None = batch.fact("renewals", budget.name)
    if known is None or known.next_at is None:
        refuse(Status.WRONG_STATE, f"budget {budget.name} does not renew", state="not_renewing")
    row = _stopped(batch, budget.name)
    return finish(batch, asked, who, packed, "budget_renewal", budget.name, _said(budget, row), [])


def _stopped(batch: Batch, name: str) -> Renewal:
    row: Renewal = batch.change("renewals", name)
    row.next_at = None
    row.changed_index = batch.index
    return row


def _open_children(batch: Batch, name: str) -> list[str]:
    """The open budgets right below one, as they stand in this batch, by name."""
    known = batch.snapshot.open_children[name] or ()
    changed: dict[str, Budget] = batch.rows["budgets"]
    found = {child for child in known if child not in changed}
    found.update(row.name for row in changed.values() if row.parent == name and row.closed_at is None)
    return sorted(found)


def _check_closable(batch: Batch, budget: Budget) -> int:
    """What a budget has available, once nothing stands against closing it."""
    currency = budget.currency
    held = batch.balance(held_name(budget.name), currency)
    if held:
        batch.await_expiries()
        refuse(
            Status.BUDGET_IN_USE,
            f"budget {budget.name} still holds {batch.amount_text(held, currency)}; settle or release its open holds "
            "first",
            held=str(held),
            currency=currency,
        )
    children = _open_children(batch, budget.name)
    if children:
        named = ", ".join(children[:_CHILDREN_NAMED])
        more = len(children) - _CHILDREN_NAMED
        refuse(
            Status.BUDGET_IN_USE,
            f"open budgets stand below {budget.name}: {named}{f' and {more} more' if more > 0 else ''}; close them "
            "first",
            budgets=children[:_CHILDREN_NAMED],
        )
    available = batch.balance(available_name(budget.name), currency)
    if available < 0:
        refuse(
            Status.INSUFFICIENT_AVAILABLE,
            f"budget {budget.name} stands at {batch.amount_text(available, currency)}; allocate what covers it first",
            available=str(available),
            currency=currency,
        )
    return available


def close_budget(batch: Batch, asked: CloseBudget) -> Outcome:
    """Close a budget for good; what it has available goes back to the parent (or ``authority``)."""
    who = batch.admit(asked)
    packed, replay = _answered(batch, asked, who, {"budget": asked.budget})
    if replay is not None:
        return replay
    budget = open_budget(batch, asked.budget, None)
    available = _check_closable(batch, budget)
    above = AUTHORITY_NAME if budget.parent is None else available_name(budget.parent)
    postings: list[Posting] = []
    if available:
        postings.append((above, available_name(budget.name), available, budget.currency))
    batch.check_room(postings)
    row: Budget = batch.change("budgets", budget.name)
    row.closed_at = batch.now
    row.changed_index = batch.index
    renewal: Renewal | None = batch.fact("renewals", budget.name)
    if renewal is not None and renewal.next_at is not None:
        _stopped(batch, budget.name)
    body: dict[str, Any] = {
        "closed": budget.name,
        "currency": budget.currency,
        "amount": str(available),
        "budget": budget_after(batch, budget.name, budget.currency, postings),
    }
    if budget.parent is not None:
        body["parent"] = budget_after(batch, budget.parent, budget.currency, postings)
    return finish(batch, asked, who, packed, "budget_closure", budget.name, body, postings)


def freeze_budget(batch: Batch, asked: FreezeBudget) -> Outcome:
    """Freeze or unfreeze a budget with all below it; effective for the next decision in every process."""
    who = batch.admit(asked)
    packed, replay = _answered(batch, asked, who, {"budget": asked.budget, "frozen": asked.frozen})
    if replay is not None:
        return replay
    budget = open_budget(batch, asked.budget, None)
    _check_changes(f"budget {budget.name}", budget.frozen, asked.frozen)
    row: Budget = batch.change("budgets", budget.name)
    row.frozen = asked.frozen
    row.changed_index = batch.index
    body = {"budget": row.name, "id": row.id, "frozen": asked.frozen}
    kind = "budget_freeze" if asked.frozen else "budget_unfreeze"
    return finish(batch, asked, who, packed, kind, row.name, body, [])


def freeze_book(batch: Batch, asked: FreezeBook) -> Outcome:
    """Freeze or unfreeze the whole book. It stands in the head, which every decision locks and reads."""
    who = batch.admit(asked)
    packed, replay = _answered(batch, asked, who, {"frozen": asked.frozen})
    if replay is not None:
        return replay
    _check_changes(f"book {batch.book_name}", batch.frozen, asked.frozen)
    batch.frozen = asked.frozen
    kind = "book_freeze" if asked.frozen else "book_unfreeze"
    return finish(batch, asked, who, packed, kind, batch.book_name, {"frozen": asked.frozen}, [])


def _check_changes(what: str, before: bool, after: bool) -> None:
    if before == after:
        state = "frozen" if after else "active"
        refuse(Status.WRONG_STATE, f"{what} is {state} already", state=state)
