"""The rules of a decision: facts in, rule verdicts out.

Owns the built-in rules (who may spend from where, and whether there is money) and the shape of a verdict, which
policies share. Invariant: ``evaluate`` is a pure and total function of the facts; deny beats allow; of several
denials the one that stands first in ``Status`` is answered.
"""

from typing import Final, NamedTuple

from ledger.core.outcome import Status

ALLOW: Final = "allow"
DENY: Final = "deny"
RULE_AGENT: Final = "agent_active"
RULE_PERMITTED: Final = "budget_permitted"
RULE_RUN: Final = "run_permitted"
RULE_AVAILABLE: Final = "budget_available"


class Facts(NamedTuple):
    """What the built-in rules look at. Amounts in atoms of the request's currency.

    ``frozen_by`` is the agent, or the team or agent above it, that is frozen; ``permitted`` says that the budget lists
    the agent or one above it; ``run_owner`` is the agent of a run that the asking agent may not use.
    """

    amount: int
    available: int
    held: int
    partial_ok: bool
    budget: str
    permitted: bool
    frozen_by: str | None
    run_owner: str | None


class Verdict(NamedTuple):
    """One rule's verdict with the value it observed, its limit and what remains, where it has such values (atoms)."""

    rule: str
    verdict: str
    status: Status | None = None
    observed: int | None = None
    limit: int | None = None
    remaining: int | None = None
    detail: str = ""


class Evaluation(NamedTuple):
    """All verdicts, the amount that may be held (0 when denied), and the denial that is answered (None: approved)."""

    verdicts: tuple[Verdict, ...]
    approved: int
    denial: Verdict | None


_AGENT_ALLOWED: Final = Verdict(RULE_AGENT, ALLOW)
_PERMITTED: Final = Verdict(RULE_PERMITTED, ALLOW)
_RUN_ALLOWED: Final = Verdict(RULE_RUN, ALLOW)


def evaluate(facts: Facts) -> Evaluation:
    """Judge one request by the built-in rules."""
    agent, permitted, run = _AGENT_ALLOWED, _PERMITTED, _RUN_ALLOWED
    if facts.frozen_by is not None:
        agent = Verdict(RULE_AGENT, DENY, Status.AGENT_FROZEN, detail=f"{facts.frozen_by} is frozen")
    if not facts.permitted:
        permitted = Verdict(
            RULE_PERMITTED, DENY, Status.BUDGET_NOT_PERMITTED, detail=f"the agent may not spend from {facts.budget}"
        )
    if facts.run_owner is not None:
        run = Verdict(RULE_RUN, DENY, Status.RUN_NOT_PERMITTED, detail="the run belongs to another agent")
    if not facts.permitted:
        # What a budget has is nobody's business who may not spend from it.
        return _first_denial((agent, permitted, run), 0)
    available, approved = _judge_available(facts)
    return _first_denial((agent, permitted, run, available), approved)


def _first_denial(verdicts: tuple[Verdict, ...], approved: int) -> Evaluation:
    for verdict in verdicts:
        if verdict.verdict == DENY:
            return Evaluation(verdicts, 0, verdict)
    return Evaluation(verdicts, approved, None)


def _judge_available(facts: Facts) -> tuple[Verdict, int]:
    """Three answers: it fits; it would fit but for holds that may come free; it does not fit."""
    amount, available = facts.amount, facts.available
    if amount <= available:
        return Verdict(RULE_AVAILABLE, ALLOW, None, amount, available, available - amount), amount
    if facts.partial_ok and available > 0:
        return Verdict(RULE_AVAILABLE, ALLOW, None, amount, available, 0), available
    remaining = available if available > 0 else 0
    if amount <= available + facts.held:
        status, detail = Status.BUDGET_HELD, "the budget has room only once open holds are settled or released"
    else:
        status, detail = Status.INSUFFICIENT_BUDGET, "the budget has too little left, open holds included"
    return Verdict(RULE_AVAILABLE, DENY, status, amount, available, remaining, detail), 0
