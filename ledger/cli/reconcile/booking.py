"""Booking what was accepted: each charge and reprice is a request of its own, with a key that a second run repeats.

Invariant: one request that is refused does not stop the rest; what waits for a second person is told apart from what is
booked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bursar import Refused, Remote
from ledger.cli.reconcile.sides import Question
from ledger.core.money import format_atoms, parse_atoms
from ledger.core.reconciling_booking import Booking, about
from ledger.core.reconciling_lines import day_text

DEFAULT_CATEGORY = "inference"


@dataclass(slots=True)
class Booked:
    """What became of bookings: log indexes of those that are done, those that wait for a second person (id, booking),
    and those that were refused (booking, why)."""

    done: list[int] = field(default_factory=list)
    pending: list[tuple[str, Booking]] = field(default_factory=list)
    refused: list[tuple[Booking, str]] = field(default_factory=list)


def send(server: Remote, bookings: list[Booking], question: Question, *, category: str, reason: str | None) -> Booked:
    """Have them booked. Raises CannotAsk; then a second run goes on from there."""
    made = Booked()
    for one in bookings:
        key = one.key(question.payee, question.currency, question.period.text)
        why = reason or f"reconciliation with {question.payee}, {question.period.text}: {about(one.difference)}"
        try:
            if one.target is not None:
                answer = server.post(
                    "/v1/charges", _charge(one, question, category=category, reason=why), idempotency_key=key
                )
            else:
                answer = server.post("/v1/reprices", _reprice(server, one, question, why), idempotency_key=key)
        except Refused as refused:
            made.refused.append((one, refused.message))
            continue
        _note(made, one, answer)
    return made


def _note(made: Booked, one: Booking, answer: dict[str, Any]) -> None:
    """What became of a booking that was asked for now or before: booked, or what a second person made of it."""
    if not str(answer.get("id", "")).startswith("cor_"):
        made.done.append(answer["log"]["index"])
    elif answer["state"] == "pending":
        made.pending.append((answer["id"], one))
    elif answer["state"] == "approved":
        made.done.append(answer["entry"]["index"])
    else:
        made.refused.append((one, f"{answer['id']} waited for a second person and is {answer['state']}"))


def _charge(one: Booking, question: Question, *, category: str, reason: str) -> dict[str, Any]:
    target = one.target
    return {
        "budget": target.budget if target is not None else "",
        "agent": (target.agent or None) if target is not None else None,
        "category": (target.category if target is not None else "") or category,
        "payee": question.payee,
        "resource": one.model or None,
        "amount": _money(one.amount, question),
        "reason": reason[:2000],
        "evidence": {
            "reconciliation": question.period.text,
            "about": one.difference.identity[:256],
            "places": [line.place[:128] for line in one.difference.their_lines[:5]],
        },
        "effective_at": _moment(one.day),
    }


def _reprice(server: Remote, one: Booking, question: Question, reason: str) -> dict[str, Any]:
    """The correction of what the authorization is recorded with now."""
    said = server.get(f"/v1/authorizations/{one.authorization}")
    # What was converted is billed, and repriced, in the currency that was asked for.
    asked = said.get("exchange", said)
    settled = sum(parse_atoms(asked[name]["amount"], question.digits) for name in ("settled", "repriced"))
    amount = settled + one.amount
    return {
        "authorization": one.authorization,
        "settled": _money(settled, question),
        "amount": _money(amount, question),
        "old_price": {"recorded": format_atoms(settled, question.digits)},
        "new_price": {
            "billed": format_atoms(amount, question.digits),
            "billed_by": question.payee,
            "billed_for": question.period.text,
        },
        "category": one.category or None,
        "payee": question.payee,
        "reason": reason[:2000],
        "effective_at": _moment(one.day),
    }


def _money(atoms: int, question: Question) -> dict[str, str]:
    return {"amount": format_atoms(atoms, question.digits), "currency": question.currency}


def _moment(day: int) -> str:
    """Noon of UTC, which is of the same date nearly everywhere."""
    return f"{day_text(day)}T12:00:00Z"
