"""From rows to what reads answer. No arithmetic on money: balances come from the database as they are shown.

Invariant: the shapes are those of ``api.schemas``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from api.rendering import Scale, decimal_text, entry_answer, money
from api.rendering_decisions import decision_of
from api.rendering_exchange import exchange_said
from ledger.core.account import BUDGETARY, Account, is_credit_normal
from ledger.core.authorization import Authorization, flag_names
from ledger.core.budget import Renewal
from ledger.core.canonical import parse
from ledger.core.journal import LogRecord, Text
from ledger.core.metering import pairs_said
from ledger.core.moment import moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.principal import Agent, Key
from ledger.core.run import RunOutcome, RunTotal, cap_left, score_text
from ledger.storage.queries_accounts import Posting, TrialBalance
from ledger.storage.queries_authorizations import RunWithTotals
from ledger.storage.queries_budgets import BudgetBalances


def moment_or_none(microseconds: int | None) -> str | None:
    """A moment as text, None for none."""
    return None if microseconds is None else moment_text(microseconds)


def amount(atoms: int, currency: str, scale: Scale) -> dict[str, str]:
    """An amount in an answer."""
    return money(str(atoms), currency, scale[currency])


def agent_view(agent: Agent) -> dict[str, Any]:
    """An agent or team."""
    return {
        "id": agent.id,
        "name": agent.name,
        "kind": agent.kind,
        "parent": agent.parent,
        "frozen": agent.frozen,
        "log": {"index": agent.created_index},
    }


def key_view(key: Key) -> dict[str, Any]:
    """A key without its secret."""
    return {
        "id": key.id,
        "role": key.role,
        "principal": key.principal,
        "made_by": key.made_by,
        "vouched_by": key.vouched_by,
        "run": key.run,
        "created_at": moment_text(key.created_at),
        "expires_at": moment_or_none(key.expires_at),
        "revoked_at": moment_or_none(key.revoked_at),
        "log": {"index": key.created_index},
    }


def budget_view(found: BudgetBalances, scale: Scale, agents: list[str] | None = None) -> dict[str, Any]:
    """A budget and what is left of it."""
    budget = found.budget
    shown: dict[str, Any] = {
        "id": budget.id,
        "name": budget.name,
        "parent": budget.parent,
        "currency": budget.currency,
        "frozen": budget.frozen,
        "closed_at": moment_or_none(budget.closed_at),
        "renewal": renewal_view(found.renewal, scale),
        "available": amount(found.available, budget.currency, scale),
        "held": amount(found.held, budget.currency, scale),
        "spent": amount(found.spent, budget.currency, scale),
        "log": {"index": budget.created_index},
    }
    if agents is not None:
        shown["agents"] = agents
    return shown


def renewal_view(row: Renewal | None, scale: Scale) -> dict[str, Any] | None:
    """How a budget renews, None where it does not."""
    if row is None or row.next_at is None:
        return None
    return {
        "every": row.every,
        "amount": amount(row.amount, row.currency, scale),
        "carry_over": amount(row.carry_over, row.currency, scale),
        "next_at": moment_text(row.next_at),
    }


def labels_made(row: Authorization, made: Mapping[int, LogRecord]) -> dict[str, str]:
    """The labels of an authorization in a list; of one whose record is archived, those that its row has kept."""
    record = made.get(row.created_index)
    if record is None:
        return dict(parse(row.labels.encode())) if row.labels else {}
    return labels_of(record.body)


def labels_of(body: bytes) -> dict[str, str]:
    """The labels that a request came with, out of its record's body."""
    request = parse(body).get("request", {})
    return dict(request.get("labels", ()))


def recorded_decision(body: bytes, scale: Scale) -> Any:
    """The decision in a record's body as answers show it; None where it carries none."""
    said = parse(body)
    if "decision" not in said:
        return None
    return decision_of(said["decision"], said["currency"], scale[said["currency"]], said)


def authorization_view(
    row: Authorization,
    scale: Scale,
    labels: dict[str, str],
    intent: str | None = None,
    redacted: dict[str, int] | None = None,
) -> dict[str, Any]:
    """An authorization or a charge as it stands now."""
    shown: dict[str, Any] = {
        "id": row.id,
        "state": row.state,
        "agent": row.agent,
        "budget": row.budget,
        "run": row.run,
        "category": row.category,
        "payee": row.payee,
        "resource": row.resource,
    }
    for name in ("amount", "approved", "held", "settled", "refunded", "repriced"):
        shown[name] = amount(getattr(row, name), row.currency, scale)
    if row.exchange is not None:
        shown["exchange"] = exchange_said(parse(row.exchange.encode()))
    return {
        **shown,
        "flags": flag_names(row.flags),
        "reason": row.reason,
        "on_expiry": row.on_expiry,
        "created_at": moment_text(row.created_at),
        "expires_at": moment_or_none(row.expires_at),
        "intent": intent,
        **redacted_view(redacted),
        "labels": labels,
        "metering": pairs_said(row.metering),
        "log": {"index": row.created_index},
        "last_log": {"index": row.changed_index},
    }


def entry_view(
    record: LogRecord,
    body: dict[str, Any],
    scale: Scale,
    reason: str | None,
    redacted: dict[str, int] | None = None,
    reversed_by: int | None = None,
) -> dict[str, Any]:
    """A charge, refund, adjustment, allocation or deallocation in a list: what its request was answered, who asked,
    when and why."""
    outcome = Outcome(Status.DONE, body, record.log_index, record.leaf_hash)
    shown = entry_answer(outcome, scale)
    for name in ("agent", "run", "category", "payee"):
        if name in body:
            shown[name] = body[name]
    if reason is not None:
        shown["reason"] = reason
    if reversed_by is not None:
        shown["reversed_by"] = reversed_by
    shown |= redacted_view(redacted)
    return {**shown, "by": body["by"]["principal"], "recorded_at": moment_text(record.recorded_at)}


def run_view(found: RunWithTotals, scale: Scale) -> dict[str, Any]:
    """A run with its totals."""
    run = found.run
    return {
        "id": run.id,
        "name": run.name,
        "agent": run.agent,
        "opened_at": moment_text(run.opened_at),
        **_cap_view(found, scale),
        "totals": [_total_view(total, scale) for total in found.totals],
        **({"outcome": _outcome_view(found.outcome)} if found.outcome is not None else {}),
        "log": {"index": run.created_index},
    }


def _outcome_view(outcome: RunOutcome) -> dict[str, Any]:
    return {
        "success": outcome.success,
        **({"score": score_text(outcome.score)} if outcome.score is not None else {}),
        "reported_by": outcome.reported_by,
        "recorded_at": moment_text(outcome.recorded_at),
        "log": {"index": outcome.created_index},
    }


def run_currencies(found: RunWithTotals) -> set[str]:
    """The currencies that a run is shown in."""
    capped = {found.run.cap_currency} if found.run.cap_currency is not None else set()
    return capped | {total.currency for total in found.totals}


def _cap_view(found: RunWithTotals, scale: Scale) -> dict[str, Any]:
    run, left = found.run, cap_left(found.run, found.totals)
    if run.cap is None or run.cap_currency is None or left is None:
        return {}
    return {"cap": amount(run.cap, run.cap_currency, scale), "remaining": amount(left, run.cap_currency, scale)}


def _total_view(total: RunTotal, scale: Scale) -> dict[str, Any]:
    return {
        "currency": total.currency,
        "approved_count": total.approved_count,
        "denied_count": total.denied_count,
        "held": amount(total.held, total.currency, scale),
        "spent": amount(total.spent, total.currency, scale),
    }


def account_view(account: Account, scale: Scale) -> dict[str, Any]:
    """An account and its balance, debits less credits."""
    return {
        "name": account.name,
        "kind": account.kind,
        "normal_side": "credit" if is_credit_normal(account.kind, account.role) else "debit",
        "currency": account.currency,
        "balance": amount(account.balance, account.currency, scale),
    }


def posting_view(posting: Posting, currency: str, scale: Scale) -> dict[str, Any]:
    """One side of a transfer."""
    return {
        "log_index": posting.log_index,
        "position": posting.position,
        "kind": posting.kind,
        "subject": posting.subject,
        "side": "debit" if posting.amount > 0 else "credit",
        "amount": amount(abs(posting.amount), currency, scale),
        "other": posting.other_account,
        "balance": amount(posting.balance, currency, scale),
        "recorded_at": moment_text(posting.recorded_at),
        "effective_at": moment_text(posting.effective_at),
    }


def redacted_view(redacted: dict[str, int] | None) -> dict[str, Any]:
    """The fields whose free text was redacted, each with the index of the record that did; nothing where none was."""
    return {"redacted": redacted} if redacted else {}


def record_view(
    record: LogRecord,
    body: Any,
    texts: Iterable[Text] | None = None,
    redacted: dict[str, int] | None = None,
) -> dict[str, Any]:
    """One record of the log, and the free texts beside it where they were asked for. The body stands last."""
    shown: dict[str, Any] = {
        "index": record.log_index,
        "kind": record.kind,
        "subject": record.subject,
        "recorded_at": moment_text(record.recorded_at),
        "effective_at": moment_text(record.effective_at),
        "leaf_hash": record.leaf_hash.hex(),
    }
    if texts is not None:
        shown["texts"] = {text.field: text.content for text in texts}
    return {**shown, **redacted_view(redacted), "body": body}


def trial_balance_view(found: TrialBalance, scale: Scale) -> dict[str, Any]:
    """Every account, and the sums of each sort in each currency."""
    sums: dict[tuple[str, str], list[int]] = {}
    lines = []
    for line in found.lines:
        sort = BUDGETARY if line.kind == BUDGETARY else "real"
        total = sums.setdefault((sort, line.currency), [0, 0])
        total[0] += line.debit
        total[1] += line.credit
        lines.append(
            {
                "account": line.account,
                "kind": line.kind,
                "currency": line.currency,
                "debit": decimal_text(str(line.debit), scale[line.currency]),
                "credit": decimal_text(str(line.credit), scale[line.currency]),
            }
        )
    totals = [
        {
            "sort": sort,
            "currency": currency,
            "debit": decimal_text(str(debit), scale[currency]),
            "credit": decimal_text(str(credit), scale[currency]),
        }
        for (sort, currency), (debit, credit) in sorted(sums.items())
    ]
    return {"lines": lines, "totals": totals, "log_size": found.size, "root": found.root.hex()}
