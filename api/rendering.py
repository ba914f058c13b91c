"""From a record's body to what the API answers, one way for fresh answers and for replays.

Owns the shapes of ``api.schemas`` as they leave the server. Invariants: an answer is a function of the record (body,
index, leaf hash) and of the scale of its currency, so a replay repeats it; the request inside a fresh body is already
bytes and is never looked into; amounts leave as decimal text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from api.amounts import MONEY_SCALE as MONEY_SCALE
from api.amounts import Scale as Scale
from api.amounts import decimal_text as decimal_text
from api.amounts import money as money
from api.rendering_approvals import delegation_said, tiers_said, vote_said
from api.rendering_budgets import BUDGET_ANSWERS
from api.rendering_closing import CLOSING_ANSWERS
from api.rendering_corrections import CORRECTION_ANSWERS, second_person_said
from api.rendering_decisions import EVALUATED, decision_of, is_strangers, patience_of
from api.rendering_exchange import exchange_said, rates_answer
from api.rendering_payables import PAYABLE_ANSWERS
from api.rendering_policies import policy_answer
from api.rendering_proofs import signing_key_answer
from api.rendering_reconciliations import reconciliation_answer
from api.rendering_webhooks import webhook_answer
from ledger.core.outcome import Outcome, Status
from ledger.core.run import score_text

_KINDS_DONE: Final = frozenset(
    (
        "settlement",
        "release",
        "expiry",
        "extension",
        "freeze",
        "unfreeze",
        "key_revocation",
        "budget_agents",
        "webhook_removal",
        "policy_retirement",
        "approval_vote",
        "approval_granted",
        "approval_refused",
        "delegation_revocation",
        "correction_refused",
        "correction_withdrawn",
        "period_close",
        "period_reopen_request",
        "period_reopening",
        *BUDGET_ANSWERS,
        "invoice_void",
        "payment_reversal",
        "payee_terms",
    )
)
"""Kinds of record whose answer is 200: they change what is there. Every other success answers 201."""


def answered_status(outcome: Outcome) -> Status:
    """The status that the answer shows: of a replay, the one that its record was first answered with."""
    if outcome.status is not Status.REPLAYED or outcome.body is None:
        return outcome.status
    kind = outcome.body["kind"]
    if kind in ("denial", "run_denial"):
        return Status(outcome.body["decision"]["reasons"][0]["code"])
    if kind in ("approval_requested", "correction_requested"):
        return Status.PENDING_APPROVAL
    return Status.APPROVED if kind == "hold" else Status.DONE


def success_http(status: Status, body: Mapping[str, Any]) -> int:
    """The HTTP status of a success, by the kind of its record."""
    if status is Status.PENDING_APPROVAL:
        return 202
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


def authorization_answer(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    """The answer to authorize, settle, extend, release, and to saying that an outcome is not known."""
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
    if "exchange" in body:
        shown["exchange"] = exchange_said(body["exchange"])
    if "decision" in body:
        shown["decision"] = decision_of(body["decision"], currency, digits, body)
    if body["kind"] == "approval_requested":
        shown["approvals"] = tiers_said(body)
        # A repeat of the request says how it stands now: an agent whose request was granted learns it here too.
        shown["state"] = outcome.facts.get("state", body["state"])
    shown["budget"] = balances(body["budget"], currency, digits)
    shown["log"] = log_of(outcome)
    return shown


def denial_facts(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    """What a denial's problem carries beside its code: the decision, when it would fit, the budget unless it is none of
    the asker's, where it is on record."""
    body = outcome.body or {}
    decision = body["decision"]
    if body["kind"] == "run_denial":
        return {"decision": decision_of(decision, "", 0, body), **patience_of(body), "log": log_of(outcome)}
    currency = body["currency"]
    digits = scale[currency]
    facts = {
        "decision": decision_of(decision, currency, digits, body),
        **patience_of(body),
        "authorization": body["authorization"],
        "state": body["state"],
        # What the budget has is in a currency that there is no rate to, or is nobody's business.
        "budget": balances(body["budget"], currency, digits) if "available" in body["budget"] else body["budget"],
        "log": log_of(outcome),
    }
    if is_strangers(decision):
        del facts["budget"]
    if "exchange" in body:
        facts["exchange"] = exchange_said(body["exchange"])
    return facts


def denial_detail(outcome: Outcome) -> str:
    """The sentence of the first reason."""
    reasons = (outcome.body or {}).get("decision", {}).get("reasons", [])
    return str(reasons[0]["detail"]) if reasons else ""


def entry_answer(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    """The answer to a charge, refund, reprice, allocation, deallocation or adjustment."""
    body = outcome.body or {}
    kind = body["kind"]
    shown: dict[str, Any] = {"id": body[_ENTRY_IDS[kind]], "kind": kind}
    if kind == "refund":
        shown["authorization"] = body["authorization"]
    for name in ("state", "flags", "effective_at", "reverses", "corrects", "meant_for", "closed_by"):
        if name in body:
            shown[name] = body[name]
    if "amount" in body:
        shown["amount"] = money(body["amount"], body["currency"], scale[body["currency"]])
    if "exchange" in body:
        shown["exchange"] = exchange_said(body["exchange"])
    if "reprice" in body:
        shown |= {"authorization": body["authorization"], "reprice": _reprice(body, scale)}
    if "budget" in body:
        shown["budget"] = balances(body["budget"], body["currency"], scale[body["currency"]])
    shown |= second_person_said(body)
    shown["transfers"] = [
        # Beside the currency of a budget, which may be a unit of the book, there is money only.
        {"debit": debit, "credit": credit, "amount": money(atoms, currency, scale[currency])}
        for debit, credit, atoms, currency in body.get("transfers", [])
    ]
    shown["log"] = log_of(outcome)
    return shown


def _reprice(body: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    """What a reprice corrected, from what to what."""
    said, currency = body["reprice"], body.get("exchange", body)["currency"]
    amounts = {name: money(said[name], currency, scale[currency]) for name in ("settled", "amount", "difference")}
    return {**amounts, "old_price": dict(said["old_price"]), "new_price": dict(said["new_price"])}


_ENTRY_IDS: Final = {
    "allocation": "allocation",
    "deallocation": "allocation",
    "charge": "authorization",
    "refund": "refund",
    "adjustment": "adjustment",
}


def as_evaluated(outcome: Outcome) -> Outcome:
    """The outcome of an evaluation, with the budget and the limits as they are now: nothing is held, whatever the
    decision would be."""
    body = outcome.body
    if body is None or body["kind"] not in ("hold", "approval_requested"):
        return outcome
    budget, approved = body["budget"], int(body["approved"])
    now = {
        **budget,
        "available": str(int(budget["available"]) + approved),
        "held": str(int(budget["held"]) - approved),
    }
    return replace(outcome, body={**body, "budget": now, EVALUATED: True})


def _vote(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    body = outcome.body or {}
    budget = balances(body["budget"], body["currency"], scale[body["currency"]])
    return {**vote_said(body), "budget": budget, "log": log_of(outcome)}


def _delegation(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    return {**delegation_said(outcome.body or {}), "log": log_of(outcome)}


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
    for name in ("expires_at", "run", "vouched_by", "replaces", "replaced_expires_at"):
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
    cap = None
    if "cap" in body:
        cap = money(body["cap"], body["cap_currency"], scale[body["cap_currency"]])
    return {
        "id": body["id"],
        "name": body["run"],
        "agent": body["agent"],
        "opened_at": body["time"],
        **({"cap": cap, "remaining": cap} if cap is not None else {}),
        "totals": [],
        **({"decision": decision_of(body["decision"], "", 0, body)} if "decision" in body else {}),
        "log": log_of(outcome),
    }


def _outcome(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    body = outcome.body or {}
    return {
        "run": body["run"],
        "agent": body["agent"],
        "success": body["success"],
        **({"score": score_text(body["score_millionths"])} if "score_millionths" in body else {}),
        "reported_by": body["by"]["principal"],
        "recorded_at": body["time"],
        "log": log_of(outcome),
    }


def _unit(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    body = outcome.body or {}
    return {"name": body["unit"], "digits": body["digits"], "log": log_of(outcome)}


def _name(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    return {"name": (outcome.body or {})["name"], "log": log_of(outcome)}


def _redaction(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    body = outcome.body or {}
    return {
        "id": body["redaction"],
        "ground": body["ground"],
        "texts": [{"index": index, "field": field} for index, field in body["texts"]],
        "recorded_at": body["time"],
        "log": log_of(outcome),
    }


ANSWERS: Final[Mapping[str, Callable[[Outcome, Scale], dict[str, Any]]]] = {
    **dict.fromkeys(
        ("hold", "approval_requested", "settlement", "release", "extension", "expiry"), authorization_answer
    ),
    **dict.fromkeys(("approval_vote", "approval_granted", "approval_refused"), _vote),
    **dict.fromkeys(("delegation", "delegation_revocation"), _delegation),
    **dict.fromkeys(_ENTRY_IDS, entry_answer),
    **dict.fromkeys(("agent", "freeze", "unfreeze"), _agent),
    **dict.fromkeys(("key", "key_rotation", "key_revocation"), _key),
    **dict.fromkeys(("budget", "budget_agents"), _budget),
    "run": _run,
    "outcome": _outcome,
    "unit": _unit,
    "name": _name,
    **dict.fromkeys(("webhook", "webhook_rotation", "webhook_removal"), webhook_answer),
    "signing_key": signing_key_answer,
    "redaction": _redaction,
    "rate": rates_answer,
    "reconciliation": reconciliation_answer,
    **dict.fromkeys(("policy", "policy_retirement"), policy_answer),
    **BUDGET_ANSWERS,
    **CORRECTION_ANSWERS,
    **CLOSING_ANSWERS,
    **PAYABLE_ANSWERS,
}
"""Kind of record to the answer of the request that wrote it."""
