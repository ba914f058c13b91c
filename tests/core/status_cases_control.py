"""``status_cases``, continued: the statuses of policies, of approvals and of a budget's life.

``ALONE``, ``BOTH`` and ``NEVER_BOTH`` are as there. A world's policies stand on the whole book unless told otherwise.
"""

from __future__ import annotations

from typing import Any

from ledger.core.canonical import canonical_bytes
from ledger.core.command import Caller, Extend, FreezeAgent
from ledger.core.command_approvals import Delegate, GrantApproval
from ledger.core.command_budgets import CloseBudget, FreezeBook, FreezeBudget
from ledger.core.command_corrections import Reverse
from ledger.core.command_policies import ApplyPolicy
from ledger.core.command_reconciliations import Reconcile
from ledger.core.line import NOBODY
from ledger.core.outcome import Outcome, Status
from tests.core.status_cases import (
    LARGEST,
    Scene,
    authorize,
    backlog,
    charge,
    command,
    foreign_run,
    frozen,
    other_budget,
)
from tests.support.policed import Policed, limit

ASKS = {"id": "two", "above": "2", "per": "authorization", "approvers": ["approver"], "quorum": 2, "expires_after": 60}


def ruled(world: Any, name: str = "caps", /, **rules: object) -> Any:
    """The same world with a policy that has these rules."""
    assert isinstance(world, Policed)
    world.policy(name, **rules)
    return world


def apply(world: Any, *, after_version: int | None = None, **rules: object) -> Outcome:
    """Ask for a version of policy ``caps`` without having filled anything."""
    document = {"policy": "caps", "applies_to": {"book": True}, "currency": "USD"} | rules
    text = canonical_bytes(document).decode()
    return command(world, ApplyPolicy, world.admin, document=text, after_version=after_version)


def reconcile(world: Any, **figures: Any) -> Outcome:
    """Put on record that a payee of the book billed nothing for a day, unless told otherwise."""
    charge(world)
    given: dict[str, Any] = {
        "payee": "openai", "currency": "USD", "source": "csv", "starts_at": 1, "ends_at": 2, "at_size": 1,
        "ledger_total": 0, "provider_total": "0", "lines": 0, "matched": 0, "id": "rcn_00000000000000000000000001",
    }  # fmt: skip
    return command(world, Reconcile, world.finance, **given | figures)


def broken(world: Any) -> Any:
    """The same world with a policy that was applied and can no longer be compiled."""
    ruled(world, "broken", deny={"payees": ["nobody"]})
    row = world.tables["policies"][1, "broken"]
    row.packed = row.packed.replace("payees", "payers").replace('["nobody"]', "7")
    row.packed = row.packed.replace('"currency":"USD"', '"currency":"USD","hours":{}')
    world._warm = None
    return world


def waiting(world: Any, **rule: object) -> str:
    """An approval that two approvers, of whom ``world.pat`` is one, must grant."""
    ruled(world, approval=[ASKS | rule])
    world.pat = world.key("approver", "pat")
    asked = world.authorize(world.crawler, "5", accept_pending=True)
    return str((asked.body or {})["approvals"][0]["id"])


def grant(world: Any, approval: str, caller: Caller | None = None, **fields: object) -> Outcome:
    """Vote for a request, as pat."""
    return command(world, GrantApproval, caller or world.pat, approval=approval, **fields)


def granted(world: Any) -> str:
    """An approval for which pat has voted."""
    approval = waiting(world)
    assert world.do(GrantApproval, world.pat, approval=approval).status is Status.DONE
    return approval


def delegate(world: Any, **fields: object) -> Outcome:
    """Let somebody approve in fred's place."""
    return command(world, Delegate, world.finance, **fields)


def stopped(world: Any) -> Any:
    """The same world, the whole book frozen."""
    assert world.do(FreezeBook, world.admin, frozen=True).status is Status.DONE
    return world


def iced(world: Any, budget: str = "research") -> Any:
    """The same world, a budget frozen."""
    assert world.do(FreezeBudget, world.admin, budget=budget, frozen=True).status is Status.DONE
    return world


def shut(world: Any, budget: str = "other") -> Any:
    """The same world, a budget closed."""
    assert world.do(CloseBudget, world.admin, budget=budget).status is Status.DONE
    return world


def close(world: Any, budget: str = "research") -> Outcome:
    """Close a budget as admin."""
    return command(world, CloseBudget, world.admin, budget=budget)


def spent(world: Any, amount: str) -> Any:
    """The same world, with this much settled."""
    world.settle(world.crawler, world.hold(world.crawler, amount), amount)
    return world


def tried(world: Any, **fields: object) -> Any:
    """The same world, where the crawler asked before."""
    authorize(world, **fields)
    return world


def deep_backlog(world: Any, **rules: object) -> Any:
    """The same world with a policy, and with holds due for a few batches more."""
    backlog(world)
    world.due_max = 1
    return ruled(world, **rules)


def later(world: Any) -> Any:
    """The same world two seconds on: what a rolling minute counts leaves it within one."""
    world.advance(2)
    return world


MINUTE = limit("rate", "minute", rolling=True, max_count=1)
SUNDAYS = {"days": ["sun"], "from": "00:00", "to": "24:00"}
LOOPS = {"same_request": 1, "within": 60, "then": "deny"}
SMALL = {"id": "small", "expression": "amount < 1000000000"}

ALONE: dict[Status, Scene] = {
    Status.UNKNOWN_PERSON: lambda w: delegate(w, receiver="nobody", ttl_seconds=60),
    Status.RECORD_NOT_CORRECTABLE: lambda w: command(w, Reverse, w.finance, record=0, reason="a mistake"),
    Status.DELEGATION_INVALID: lambda w: delegate(w, receiver="ada"),
    Status.RECONCILIATION_INVALID: lambda w: reconcile(w, provider_total="2"),
    Status.POLICY_INVALID: lambda w: apply(w, hours={"days": ["someday"], "from": "00:00", "to": "24:00"}),
    Status.POLICY_CHANGED: lambda w: apply(w, after_version=1),
    Status.POLICY_UNCHANGED: lambda w: apply(ruled(w, hours=SUNDAYS), hours=SUNDAYS),
    Status.FILL_NEEDED: lambda w: apply(w, limits=[limit(maximum="5")]),
    Status.NOT_AN_APPROVER: lambda w: grant(w, waiting(w), w.finance),
    Status.ALREADY_VOTED: lambda w: grant(w, granted(w)),
    Status.APPROVAL_MISMATCH: lambda w: grant(w, waiting(w), request_digest="0" * 64),
    Status.BUDGET_IN_USE: lambda w: (w.hold(w.crawler), close(w))[1],
    Status.BOOK_FROZEN: lambda w: authorize(stopped(w)),
    Status.BUDGET_FROZEN: lambda w: authorize(iced(w)),
    Status.BUDGET_CLOSED: lambda w: authorize(shut(other_budget(w, "crawler")), budget="other"),
    Status.PRICE_UNKNOWN: lambda w: authorize(w, barred="price_unknown"),
    Status.CANNOT_BOUND: lambda w: authorize(w, barred="cannot_bound"),
    Status.POLICY_ERROR: lambda w: authorize(broken(w)),
    Status.CATEGORY_NOT_ALLOWED: lambda w: authorize(ruled(w, allow={"categories": ["search"]})),
    Status.PAYEE_NOT_ALLOWED: lambda w: authorize(ruled(w, deny={"payees": ["open*"]})),
    Status.RESOURCE_NOT_ALLOWED: lambda w: authorize(ruled(w, allow={"resources": ["gpt-*"]})),
    Status.CONDITION_NOT_MET: lambda w: authorize(ruled(w, when=[SMALL])),
    Status.RUN_REQUIRED: lambda w: authorize(ruled(w, limits=[limit("each", "run", "50")]), run="made-up"),
    Status.LIMIT_CURRENCY: lambda w: authorize(ruled(w, currency="EUR", limits=[limit(maximum="50")])),
    Status.LIMIT_TOO_SMALL: lambda w: authorize(ruled(w, limits=[limit("each", "authorization", "4.99")])),
    Status.OUTSIDE_HOURS: lambda w: authorize(ruled(w, hours=SUNDAYS)),
    Status.LOOP_DETECTED: lambda w: authorize(tried(ruled(w, loops=LOOPS))),
    Status.LIMIT_EXCEEDED: lambda w: authorize(spent(ruled(w, limits=[limit(maximum="8")]), "5")),
    Status.APPROVAL_REQUIRED: lambda w: authorize(ruled(w, approval=[ASKS])),
    Status.WAITING: lambda w: (w.hold(w.writer, "60"), authorize(w, amount="60", line=NOBODY))[1],
    Status.LIMIT_HELD: lambda w: authorize(tried(ruled(w, limits=[limit(maximum="8")]))),
    Status.VELOCITY: lambda w: authorize(later(tried(ruled(w, limits=[MINUTE])))),
    Status.PENDING_APPROVAL: lambda w: authorize(ruled(w, approval=[ASKS]), accept_pending=True),
}

BOTH: dict[tuple[Status, Status], Scene] = {
    (Status.UNKNOWN_PAYEE, Status.RECONCILIATION_INVALID): lambda w: reconcile(w, payee="none", provider_total="2"),
    (Status.ROLE_NOT_ALLOWED, Status.UNKNOWN_PERSON): lambda w: delegate(w, giver="ada", receiver="x", ttl_seconds=60),
    (Status.UNKNOWN_PERSON, Status.DELEGATION_INVALID): lambda w: delegate(w, receiver="nobody"),
    (Status.UNKNOWN_AGENT, Status.POLICY_CHANGED): lambda w: apply(w, applies_to={"agent": "none"}, after_version=1),
    (Status.WRONG_STATE, Status.NOT_AN_APPROVER): lambda w: grant(stopped_after(w), w.approval, w.finance),
    (Status.POLICY_INVALID, Status.POLICY_CHANGED): lambda w: apply(w, hours={}, after_version=1),
    (Status.POLICY_CHANGED, Status.POLICY_UNCHANGED): lambda w: apply(
        ruled(w, hours=SUNDAYS), hours=SUNDAYS, after_version=7
    ),
    (Status.POLICY_CHANGED, Status.FILL_NEEDED): lambda w: apply(w, limits=[limit(maximum="5")], after_version=1),
    (Status.NOT_AN_APPROVER, Status.ALREADY_VOTED): lambda w: grant(w, granted(w), w.key("finance", "pat")),
    (Status.ALREADY_VOTED, Status.APPROVAL_MISMATCH): lambda w: grant(w, granted(w), request_digest="0" * 64),
    (Status.BUDGET_IN_USE, Status.INSUFFICIENT_AVAILABLE): lambda w: (
        w.hold(w.crawler),
        charge(w, amount="96"),
        close(w),
    )[2],
    (Status.BALANCE_OVERFLOW, Status.BOOK_FROZEN): lambda w: (
        reference := w.hold(w.crawler),
        command(stopped(w), Extend, w.crawler, authorization=reference, amount=LARGEST, currency="USD"),
    )[1],
    (Status.BOOK_FROZEN, Status.AGENT_FROZEN): lambda w: authorize(stopped(frozen(w))),
    (Status.AGENT_FROZEN, Status.BUDGET_FROZEN): lambda w: authorize(iced(frozen(w))),
    (Status.BUDGET_FROZEN, Status.BUDGET_CLOSED): lambda w: authorize(
        shut(iced(other_budget(w, "crawler"), "other")), budget="other"
    ),
    (Status.BUDGET_CLOSED, Status.BUDGET_NOT_PERMITTED): lambda w: authorize(shut(other_budget(w)), budget="other"),
    (Status.RUN_NOT_PERMITTED, Status.PRICE_UNKNOWN): lambda w: authorize(
        foreign_run(w), run="run-w", barred="price_unknown"
    ),
    (Status.CANNOT_BOUND, Status.POLICY_ERROR): lambda w: authorize(broken(w), barred="cannot_bound"),
    (Status.CANNOT_BOUND, Status.NO_RATE): lambda w: authorize(w, currency="EUR", barred="cannot_bound"),
    (Status.NO_RATE, Status.POLICY_ERROR): lambda w: authorize(broken(w), currency="EUR"),
    (Status.POLICY_ERROR, Status.CATEGORY_NOT_ALLOWED): lambda w: authorize(
        ruled(broken(w), deny={"categories": ["inference"]})
    ),
    (Status.CATEGORY_NOT_ALLOWED, Status.PAYEE_NOT_ALLOWED): lambda w: authorize(
        ruled(w, deny={"payees": ["openai"], "categories": ["INFERENCE"]})
    ),
    (Status.PAYEE_NOT_ALLOWED, Status.RESOURCE_NOT_ALLOWED): lambda w: authorize(
        ruled(w, allow={"resources": ["gpt-*"], "payees": []})
    ),
    (Status.RESOURCE_NOT_ALLOWED, Status.CONDITION_NOT_MET): lambda w: authorize(
        ruled(w, when=[SMALL], deny={"resources": ["gpt-*"]}), resource="gpt-5"
    ),
    (Status.CONDITION_NOT_MET, Status.RUN_REQUIRED): lambda w: authorize(
        ruled(w, limits=[limit("each", "run", "50")], when=[SMALL])
    ),
    (Status.RUN_REQUIRED, Status.LIMIT_CURRENCY): lambda w: authorize(
        ruled(w, limits=[limit(maximum="50", currency="EUR"), limit("each", "run", "50")])
    ),
    (Status.LIMIT_CURRENCY, Status.LIMIT_TOO_SMALL): lambda w: authorize(
        ruled(w, limits=[limit(maximum="1"), limit("euros", "day", "50", currency="EUR")])
    ),
    (Status.LIMIT_TOO_SMALL, Status.OUTSIDE_HOURS): lambda w: authorize(
        ruled(w, hours=SUNDAYS, limits=[limit(maximum="1")])
    ),
    (Status.OUTSIDE_HOURS, Status.LOOP_DETECTED): lambda w: authorize(tried(ruled(w, hours=SUNDAYS, loops=LOOPS))),
    (Status.LOOP_DETECTED, Status.EXPIRY_BACKLOG): lambda w: authorize(
        tried(deep_backlog(w, loops=LOOPS), amount="1", fingerprint="same"), amount="1000", fingerprint="same"
    ),
    (Status.LOOP_DETECTED, Status.LIMIT_EXCEEDED): lambda w: authorize(
        spent(ruled(w, loops=LOOPS, limits=[limit(maximum="8")]), "5")
    ),
    (Status.EXPIRY_BACKLOG, Status.LIMIT_EXCEEDED): lambda w: authorize(
        deep_backlog(spent(w, "5"), limits=[limit(maximum="88")]), amount="84"
    ),
    (Status.LIMIT_EXCEEDED, Status.INSUFFICIENT_BUDGET): lambda w: authorize(
        spent(ruled(w, limits=[limit(maximum="150")]), "60"), amount="100"
    ),
    (Status.INSUFFICIENT_BUDGET, Status.APPROVAL_REQUIRED): lambda w: authorize(
        ruled(w, approval=[ASKS]), amount="1000"
    ),
    (Status.APPROVAL_REQUIRED, Status.LIMIT_HELD): lambda w: authorize(
        tried(ruled(w, approval=[ASKS], limits=[limit(maximum="6")]), amount="2")
    ),
    (Status.APPROVAL_REQUIRED, Status.WAITING): lambda w: authorize(
        tried(ruled(w, approval=[ASKS], limits=[limit(maximum="6")]), amount="2"), line=NOBODY
    ),
    (Status.WAITING, Status.LIMIT_HELD): lambda w: authorize(tried(ruled(w, limits=[limit(maximum="8")])), line=NOBODY),
    (Status.LIMIT_HELD, Status.VELOCITY): lambda w: authorize(
        later(tried(ruled(w, limits=[limit(maximum="8"), MINUTE])))
    ),
    (Status.VELOCITY, Status.BUDGET_HELD): lambda w: authorize(
        later(tried(ruled(w, limits=[MINUTE]), amount="60")), amount="60"
    ),
    (Status.BUDGET_HELD, Status.PENDING_APPROVAL): lambda w: (
        w.hold(w.writer, "60"),
        authorize(ruled(w, approval=[ASKS]), amount="60", accept_pending=True),
    )[1],
}


def stopped_after(world: Any) -> Any:
    """The same world with an approval, ``world.approval``, and an agent that is frozen since it asked."""
    world.approval = waiting(world)
    assert world.do(FreezeAgent, world.admin, agent="crawler", frozen=True).status is Status.DONE
    return world


NEVER_BOTH: dict[tuple[Status, Status], str] = {
    (Status.PRICE_UNKNOWN, Status.CANNOT_BOUND): "a request comes barred for one reason",
    (Status.UNKNOWN_AGENT, Status.UNKNOWN_PERSON): "only a delegation names persons, and it names no agent",
    (Status.UNKNOWN_PERSON, Status.UNKNOWN_BUDGET): "a delegation names no budget",
    (Status.EFFECTIVE_AT_INVALID, Status.DELEGATION_INVALID): "a delegation books nothing",
    (Status.DELEGATION_INVALID, Status.RECONCILIATION_INVALID): "a delegation compares nothing",
    (Status.TREE_TOO_DEEP, Status.RECORD_NOT_CORRECTABLE): "a correction makes no agent and no budget",
    (Status.RECORD_NOT_CORRECTABLE, Status.NAME_TAKEN): "a correction names nothing new",
    (Status.POLICY_UNCHANGED, Status.FILL_NEEDED): "a version that says the same has no new limits",
    (Status.FILL_NEEDED, Status.NOT_AN_APPROVER): "a policy is applied by an admin and voted on by nobody",
    (Status.BUDGET_IN_USE, Status.RATE_NEEDED): "closing a budget converts nothing",
    (Status.APPROVAL_MISMATCH, Status.BUDGET_IN_USE): "a vote closes no budget",
    (Status.PENDING_APPROVAL, Status.APPROVED): "persons must be asked, or need not be",
}
