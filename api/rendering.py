"""From a record's body to what the API answers, one way for fresh answers and for replays.

Owns the shapes of ``api.schemas`` as they leave the server. Invariants: an answer is a function of the record (body,
index, leaf hash) and of the scale of its currency, so a replay repeats it; the request inside a fresh body is already
bytes and is never looked into; amounts leave as decimal text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from ledger.core.money import MICRO_CODES, MICRO_DIGITS, NANO_CODES, NANO_DIGITS
from ledger.core.outcome import Outcome, Status

Scale = Mapping[str, int]
"""Currency or unit to its digits after the point; complete for the currencies of the record at hand."""
MONEY_SCALE: Final[Scale] = {
    **dict.fromkeys(NANO_CODES, NANO_DIGITS),
    **dict.fromkeys(MICRO_CODES, MICRO_DIGITS),
}

_APPROVED: Final = orjson.Fragment(b'{"outcome":"approved","reasons":[],"policies":[],"limits":[]}')
_ATOMS_OF_A_REASON: Final = ("observed", "limit", "remaining")
_NOT_PERMITTED: Final = Status.BUDGET_NOT_PERMITTED.value
_KINDS_DONE: Final = frozenset(
    ("settlement", "release", "extension", "freeze", "unfreeze", "key_revocation", "budget_agents")
)
"""Kinds of record whose answer is 200: they change what is there. Every other success answers 201."""


def decimal_text(atoms: str, digits: int) -> str:
    """Exact decimal text, at least two digits after the point where the scale has them, of atoms as text."""
    if not digits:
        return atoms
    sign = ""
    if atoms[0] == "-":
        sign, atoms = "-", atoms[1:]
    if len(atoms) <= digits:
        atoms = atoms.zfill(digits + 1)
    fraction = atoms[-digits:].rstrip("0")
    if len(fraction) < 2:
        fraction = fraction.ljust(min(2, digits), "0")
    return f"{sign}{atoms[:-digits]}.{fraction}"


def money(atoms: str, currency: str, digits: int) -> dict[str, str]:
    """An amount as answers write it."""
    return {"amount": decimal_text(atoms, digits), "currency": currency}


def answered_status(outcome: Outcome) -> Status:
    """The status that the answer shows: of a replay, the one that its record was first answered with."""
    if outcome.status is not Status.REPLAYED or outcome.body is None:
        return outcome.status
    kind = outcome.body["kind"]
    if kind == "denial":
        return Status(outcome.body["decision"]["reasons"][0]["code"])
    return Status.APPROVED if kind == "hold" else Status.DONE


def success_http(status: Status, body: Mapping[str, Any]) -> int:
    """The HTTP status of a success, by the kind of its record."""
    return 201 if status is Status.APPROVED or body["kind"] not in _KINDS_DONE else 200


def log_of(outcome: Outcome) -> dict[str, Any]:
    """Where the record stands in the log."""
    return {"index": outcome.log_index, "leaf_hash": outcome.leaf_hash.hex()}


def balances(budget: Mapping[str, str], currency: str, digits: int) -> dict[str, Any]:
    """A budget's three balances, as a body holds them, in an answer."""
    name = budget["name"]
    return {
        "id": budget.get("id", name),
        "name": name,
        "available": {"amount": decimal_text(budget["available"], digits), "currency": currency},
        "held": {"amount": decimal_text(budget["held"], digits), "currency": currency},
        "spent": {"amount": decimal_text(budget["spent"], digits), "currency": currency},
    }


def is_strangers(decision: Mapping[str, Any]) -> bool:
    """Whether the budget was not the asker's to spend from: what it has is then none of the asker's business."""
    return any(reason["code"] == _NOT_PERMITTED for reason in decision["reasons"])


def decision_of(decision: Mapping[str, Any], currency: str, digits: int) -> Any:
    """A decision in an answer: its verdicts by rule stay in the log, its reasons carry decimal text."""
    if not decision["reasons"] and not decision["policies"] and decision["outcome"] == "approved":
        return _APPROVED
    reasons = []
    without_amounts = is_strangers(decision)
    for reason in decision["reasons"]:
        if without_amounts and "observed" in reason:
            continue
        shown = {name: value for name, value in reason.items() if name != "verdict"}
        for name in _ATOMS_OF_A_REASON:
            if name in shown:
                shown[name] = decimal_text(shown[name], digits)
                shown["currency"] = currency
        reasons.append(shown)
    return {
        "outcome": decision["outcome"],
        "reasons": reasons,
        "policies": decision["policies"],
        "limits": decision["limits"],
    }


def authorization_answer(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    """The answer to authorize, settle, extend and release."""
    body = outcome.body
    if body is None:
        raise ValueError("an answer without its record")
    currency = body["currency"]
    digits = scale[currency]
    amount = money(body["amount"], currency, digits) if "amount" in body else None
    shown: dict[str, Any] = {"id": body["authorization"], "state": body["state"], "agent": body.get("agent")}
    if amount is not None:
        shown["amount"] = amount
    approved = body.get("approved")
    if approved is not None:
        shown["approved"] = amount if approved == body.get("amount") else money(approved, currency, digits)
    for name in ("held", "settled"):
        if name in body:
            shown[name] = money(body[name], currency, digits)
    for name in ("run", "flags", "expires_at"):
        if name in body:
            shown[name] = body[name]
    if "decision" in body:
        shown["decision"] = decision_of(body["decision"], currency, digits)
    shown["budget"] = balances(body["budget"], currency, digits)
    shown["log"] = log_of(outcome)
    return shown


def denial_facts(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    """What a denial's problem carries beside its code: the decision, the budget unless it is none of the asker's, where
    it is on record."""
    body = outcome.body or {}
    currency, decision = body["currency"], body["decision"]
    digits = scale[currency]
    facts = {
        "decision": decision_of(decision, currency, digits),
        "authorization": body["authorization"],
        "state": body["state"],
        "budget": balances(body["budget"], currency, digits),
        "log": log_of(outcome),
    }
    if is_strangers(decision):
        del facts["budget"]
    return facts


def denial_detail(outcome: Outcome) -> str:
    """The sentence of the first reason."""
    reasons = (outcome.body or {}).get("decision", {}).get("reasons", [])
    return str(reasons[0]["detail"]) if reasons else ""


def entry_answer(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    """The answer to a charge, refund, allocation, deallocation or adjustment."""
    body = outcome.body or {}
    kind = body["kind"]
    shown: dict[str, Any] = {"id": body[_ENTRY_IDS[kind]], "kind": kind}
    if kind == "refund":
        shown["authorization"] = body["authorization"]
    for name in ("state", "flags", "effective_at"):
        if name in body:
            shown[name] = body[name]
    if "amount" in body:
        shown["amount"] = money(body["amount"], body["currency"], scale[body["currency"]])
    if "budget" in body:
        shown["budget"] = balances(body["budget"], body["currency"], scale[body["currency"]])
    shown["transfers"] = [
        {"debit": debit, "credit": credit, "amount": money(atoms, currency, scale[currency])}
        for debit, credit, atoms, currency in body.get("transfers", [])
    ]
    shown["log"] = log_of(outcome)
    return shown


_ENTRY_IDS: Final = {
    "allocation": "allocation",
    "deallocation": "allocation",
    "charge": "authorization",
    "refund": "refund",
    "adjustment": "adjustment",
}


def as_evaluated(outcome: Outcome) -> Outcome:
    """The outcome of an evaluation, with the budget as it is now: nothing is held, whatever the decision would be."""
    body = outcome.body
    if body is None or body["kind"] != "hold":
        return outcome
    budget, approved = body["budget"], int(body["approved"])
    now = {
        **budget,
        "available": str(int(budget["available"]) + approved),
        "held": str(int(budget["held"]) - approved),
    }
    return replace(outcome, body={**body, "budget": now})


def _agent(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    body = outcome.body or {}
    shown = {"id": body["id"], "name": body["agent"], "kind": body.get("agent_kind"), "parent": body.get("parent")}
    if "agent_kind" not in body:
        shown = {"id": body["id"], "name": body["agent"], "kind": body["id"].partition("_")[0]}
        shown["kind"] = "team" if shown["kind"] == "team" else "agent"
    return {**shown, "frozen": body.get("frozen", False), "log": log_of(outcome)}


def _key(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    body = outcome.body or {}
    shown = {"id": body["key"], "role": body["role"], "principal": body["principal"]}
    if body["kind"] == "key_revocation":
        shown["revoked_at"] = body["time"]
    else:
        shown["created_at"] = body["time"]
    for name in ("expires_at", "replaces", "replaced_expires_at"):
        if name in body:
            shown[name] = body[name]
    return {**shown, "log": log_of(outcome)}


def _budget(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    body = outcome.body or {}
    shown = {name: body[name] for name in ("id", "currency", "agents")}
    shown["name"] = body["budget"]
    if body["kind"] == "budget":
        nothing = money("0", body["currency"], scale[body["currency"]])
        shown |= {"parent": body.get("parent"), "available": nothing, "held": nothing, "spent": nothing}
    return {**shown, "log": log_of(outcome)}


def _run(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    body = outcome.body or {}
    return {
        "id": body["id"],
        "name": body["run"],
        "agent": body["agent"],
        "opened_at": body["time"],
        "totals": [],
        "log": log_of(outcome),
    }


def _unit(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    body = outcome.body or {}
    return {"name": body["unit"], "digits": body["digits"], "log": log_of(outcome)}


def _name(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    return {"name": (outcome.body or {})["name"], "log": log_of(outcome)}


ANSWERS: Final[Mapping[str, Callable[[Outcome, Scale], dict[str, Any]]]] = {
    **dict.fromkeys(("hold", "settlement", "release", "extension"), authorization_answer),
    **dict.fromkeys(_ENTRY_IDS, entry_answer),
    **dict.fromkeys(("agent", "freeze", "unfreeze"), _agent),
    **dict.fromkeys(("key", "key_rotation", "key_revocation"), _key),
    **dict.fromkeys(("budget", "budget_agents"), _budget),
    "run": _run,
    "unit": _unit,
    "name": _name,
}
"""Kind of record to the answer of the request that wrote it."""
