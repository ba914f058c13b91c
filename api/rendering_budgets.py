"""How renewal, closing and freezing are answered, from the records that they wrote.

Invariant: an answer is a function of the record and of the scale of its currency, so a replay repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from api.amounts import money
from ledger.core.canonical import parse
from ledger.core.journal import LogRecord
from ledger.core.outcome import Outcome


def _log(outcome: Outcome) -> dict[str, Any]:
    return {"index": outcome.log_index, "leaf_hash": outcome.leaf_hash.hex()}


def _renewal(outcome: Outcome, scale: Mapping[str, int]) -> dict[str, Any]:
    """The answer to setting and to stopping a renewal."""
    body = outcome.body or {}
    currency = body["currency"]
    digits = scale[currency]
    renewal = None
    if "next_at" in body:
        renewal = {
            "every": body["every"],
            "amount": money(body["amount"], currency, digits),
            "carry_over": money(body["carry_over"], currency, digits),
            "next_at": body["next_at"],
        }
    shown = {"id": body["id"], "name": body["budget"], "currency": currency, "renewal": renewal}
    return {**shown, "log": _log(outcome)}


def _closure(outcome: Outcome, scale: Mapping[str, int]) -> dict[str, Any]:
    """The answer to closing a budget."""
    body = outcome.body or {}
    currency, budget = body["currency"], body["budget"]
    digits = scale[currency]
    return {
        "id": budget["id"],
        "name": budget["name"],
        "currency": currency,
        "closed_at": body["time"],
        "returned": money(body["amount"], currency, digits),
        **{name: money(budget[name], currency, digits) for name in ("available", "held", "spent")},
        "log": _log(outcome),
    }


def _budget_freeze(outcome: Outcome, scale: Mapping[str, int]) -> dict[str, Any]:
    """The answer to freezing and to unfreezing a budget."""
    body = outcome.body or {}
    return {"id": body["id"], "name": body["budget"], "frozen": body["frozen"], "log": _log(outcome)}


def _book_freeze(outcome: Outcome, scale: Mapping[str, int]) -> dict[str, Any]:
    """The answer to freezing and to unfreezing the book."""
    body = outcome.body or {}
    return {"name": body["book"], "frozen": body["frozen"], "log": _log(outcome)}


def renewed_view(record: LogRecord, digits: int) -> dict[str, Any]:
    """A renewal in a list."""
    body = parse(record.body)
    currency, budget = body["currency"], body["budget"]
    said = {name: body[name] for name in ("amount", "carry_over", "lapsed", "carried", "allocated", "short")}
    left = {name: budget[name] for name in ("available", "held", "spent")}
    return {
        "period": body["period"],
        "every": body["every"],
        **{name: money(atoms, currency, digits) for name, atoms in (said | left).items()},
        "recorded_at": body["time"],
        "log": {"index": record.log_index, "leaf_hash": record.leaf_hash.hex()},
    }


BUDGET_ANSWERS: Final[Mapping[str, Callable[[Outcome, Mapping[str, int]], dict[str, Any]]]] = {
    "budget_renewal": _renewal,
    "budget_closure": _closure,
    **dict.fromkeys(("budget_freeze", "budget_unfreeze"), _budget_freeze),
    **dict.fromkeys(("book_freeze", "book_unfreeze"), _book_freeze),
}
"""Kind of record to the answer of the request that wrote it. All of them change what is there."""
