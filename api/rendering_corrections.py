"""What records about corrections say, as answers write it.

Invariant: all of it comes from the record, so a replay repeats it; how a correction stands now is told beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from api.amounts import Scale, money
from ledger.core.correction import PENDING
from ledger.core.deriving import TEXT_FIELDS
from ledger.core.outcome import Outcome

_PRICES: Final = ("old_price", "new_price")


def _log(outcome: Outcome) -> dict[str, Any]:
    return {"index": outcome.log_index, "leaf_hash": outcome.leaf_hash.hex()}


def is_still_waiting(outcome: Outcome) -> bool:
    """Whether a correction waits yet; a replay knows how it stands now."""
    return outcome.facts.get("state", PENDING) == PENDING


def _correction(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    """What waits, as it was asked for; a repeat says what has become of it."""
    body = outcome.body or {}
    state = outcome.facts.get("state", body["state"])
    shown = {
        "id": body["correction"],
        "operation": body["operation"],
        "state": state,
        "amounts": amounts_said(body.get("amounts", []), scale),
        "requested_by": body.get("requested_by", body["by"]["principal"]),
    }
    if "expires_at" in body:
        shown["expires_at"] = body["expires_at"]
    if state == "approved":
        shown["entry"] = {"index": outcome.facts["decided_index"]}
    return {**shown, "log": _log(outcome)}


def amounts_said(pairs: list[list[str]], scale: Scale) -> list[dict[str, str]]:
    """[currency, atoms] pairs as amounts."""
    return [money(atoms, currency, scale[currency]) for currency, atoms in pairs]


def _rule(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    body = outcome.body or {}
    currency = body["currency"]
    above = money(body["above"], currency, scale[currency]) if "above" in body else None
    return {"currency": currency, "above": above, **second_person_said(body), "log": _log(outcome)}


def second_person_said(body: Mapping[str, Any]) -> dict[str, Any]:
    """Who approved an entry that needed a second person, and the correction that had asked for it."""
    said = body.get("approved_by")
    return {} if said is None else {"approved_by": said["principal"], "correction": said["correction"]}


def request_said(request: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    """A request as its record has it, with amounts as decimal text and without the digests of its texts."""
    shown: dict[str, Any] = {}
    for field, value in request.items():
        if field in ("operation", "currency") or field in TEXT_FIELDS:
            continue
        if field in ("amount", "settled", "above"):
            shown[field] = money(value, request["currency"], scale[request["currency"]])
        elif field in _PRICES:
            shown[field] = dict(value)
        elif field == "transfers":
            shown[field] = [
                {"debit": debit, "credit": credit, "amount": money(atoms, currency, scale[currency])}
                for debit, credit, atoms, currency in value
            ]
        else:
            shown[field] = value
    if "currency" in request and "amount" not in request:
        shown["currency"] = request["currency"]
    return shown


CORRECTION_ANSWERS: Final[Mapping[str, Callable[[Outcome, Scale], dict[str, Any]]]] = {
    **dict.fromkeys(("correction_requested", "correction_refused", "correction_withdrawn"), _correction),
    "correction_rule": _rule,
}
"""Kind of record to the answer of the request that wrote it."""
