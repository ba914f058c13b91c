"""The rules of a decision: facts in, rule verdicts out.

Owns the built-in rules (who may spend from where, and whether there is money) and the shape of a verdict, which
policies share. Invariant: ``evaluate`` is a pure and total function of the facts and of what policies said; deny beats
approval, approval beats allow; of several denials the one that stands first in ``Status`` is answered.
"""

from typing import Final, NamedTuple

from ledger.core.outcome import BARS, PRECEDENCE, Status

ALLOW: Final = "allow"
DENY: Final = "deny"
RULE_BOOK: Final = "book_active"
RULE_AGENT: Final = "agent_active"
RULE_BUDGET: Final = "budget_open"
RULE_PERMITTED: Final = "budget_permitted"
RULE_RUN: Final = "run_permitted"
RULE_RUN_CAP: Final = "run_cap"
RULE_AVAILABLE: Final = "budget_available"
RULE_COST: Final = "cost_known"
RULE_RATE: Final = "rate_known"
RULE_APPROVAL: Final = "approval"


class RunCap(NamedTuple):
    """The cap of the run that a request counts towards, in atoms of ``currency``. ``settled`` is what the run has
    spent, and what the hold at hand holds where one is extended; ``held`` is what its other open holds reserve. Both
    are 0 where the request is in another currency (``comparable`` is False)."""

    run: str
    maximum: int
    currency: str
    settled: int
    held: int
    comparable: bool


class Facts(NamedTuple):
    """What the built-in rules look at. Amounts in atoms of the budget's currency.

    ``frozen_by`` is the agent, or the team or agent above it, that is frozen; ``permitted`` says that the budget lists
    the agent or one above it; ``run_owner`` is the agent of a run that the asking agent may not use; ``book_frozen``
    and ``budget_frozen_by`` (the budget or one above it) stop everything; ``budget_closed`` is for good. ``cap`` is the
    run's, where it has one, and ``taken`` what would be counted towards it. Not ``convertible`` is what has no rate
    into the budget's currency, so that what there is and what is asked cannot be compared.
    """

    amount: int
    available: int
    held: int
    partial_ok: bool
    budget: str
    permitted: bool
    frozen_by: str | None
    run_owner: str | None
    book_frozen: bool = False
    budget_frozen_by: str | None = None
    budget_closed: bool = False
    cap: RunCap | None = None
    taken: int = 0
    convertible: bool = True


class Verdict(NamedTuple):
    """One rule's verdict with the value it observed, its limit and what remains, where it has such values (atoms, or
    authorizations where ``counted``). ``fits_at`` (microseconds) is when the same request would fit if nothing else
    happened; ``never`` says that it cannot."""

    rule: str
    verdict: str
    status: Status | None = None
    observed: int | None = None
    limit: int | None = None
    remaining: int | None = None
    detail: str = ""
    fits_at: int | None = None
    never: bool = False
    counted: bool = False


class Evaluation(NamedTuple):
    """All built-in verdicts, the amount that may be held (0 when denied), and the denial that is answered (None:
    approved, or to be approved by persons)."""

    verdicts: tuple[Verdict, ...]
    approved: int
    denial: Verdict | None


_BOOK_ALLOWED: Final = Verdict(RULE_BOOK, ALLOW)
_AGENT_ALLOWED: Final = Verdict(RULE_AGENT, ALLOW)
_BUDGET_ALLOWED: Final = Verdict(RULE_BUDGET, ALLOW)
_PERMITTED: Final = Verdict(RULE_PERMITTED, ALLOW)
_RUN_ALLOWED: Final = Verdict(RULE_RUN, ALLOW)


def barred_verdict(bar: str) -> Verdict:
    """The denial of a request that comes barred; ``bar`` is a status of ``BARS``. Raises ValueError for another."""
    status = Status(bar)
    if status not in BARS:
        raise ValueError(f"{bar} bars no request")
    detail = "there is no price for it" if status is Status.PRICE_UNKNOWN else "what it can cost cannot be bounded"
    return Verdict(RULE_COST, DENY, status, detail=detail, never=True)


def evaluate(facts: Facts, denials: list[Verdict] | None = None) -> Evaluation:
    """Judge one request by the built-in rules, beside what policies deny."""
    book, agent, budget, permitted, run = _BOOK_ALLOWED, _AGENT_ALLOWED, _BUDGET_ALLOWED, _PERMITTED, _RUN_ALLOWED
    if facts.book_frozen:
        book = Verdict(RULE_BOOK, DENY, Status.BOOK_FROZEN, detail="the whole book is frozen")
    if facts.frozen_by is not None:
        agent = Verdict(RULE_AGENT, DENY, Status.AGENT_FROZEN, detail=f"{facts.frozen_by} is frozen")
    if facts.budget_frozen_by is not None:
        budget = Verdict(RULE_BUDGET, DENY, Status.BUDGET_FROZEN, detail=f"budget {facts.budget_frozen_by} is frozen")
    elif facts.budget_closed:
        budget = Verdict(RULE_BUDGET, DENY, Status.BUDGET_CLOSED, detail=f"budget {facts.budget} is closed")
    if not facts.permitted:
        permitted = Verdict(
            RULE_PERMITTED, DENY, Status.BUDGET_NOT_PERMITTED, detail=f"the agent may not spend from {facts.budget}"
        )
    if facts.run_owner is not None:
        run = Verdict(RULE_RUN, DENY, Status.RUN_NOT_PERMITTED, detail="the run belongs to another agent")
    verdicts: tuple[Verdict, ...] = (book, agent, budget, permitted, run)
    if facts.cap is not None:
        verdicts += (_judge_cap(facts.cap, facts.taken),)
    if not facts.permitted or not facts.convertible:
        # What a budget has is nobody's business who may not spend from it.
        return _first_denial(verdicts, 0, denials)
    available, approved = _judge_available(facts)
    return _first_denial((*verdicts, available), approved, denials)


def _first_denial(verdicts: tuple[Verdict, ...], approved: int, denials: list[Verdict] | None) -> Evaluation:
    refusing = [verdict for verdict in verdicts if verdict.status is not None]
    if denials:
        refusing += denials
    if not refusing:
        return Evaluation(verdicts, approved, None)
    return Evaluation(verdicts, 0, first_denial(refusing))


def first_denial(refusing: list[Verdict]) -> Verdict | None:
    """The denial that is answered, of several; None where there is none."""
    return min(refusing, key=_precedence) if refusing else None


def _precedence(verdict: Verdict) -> int:
    return PRECEDENCE[verdict.status] if verdict.status is not None else len(PRECEDENCE)


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


def _judge_cap(cap: RunCap, amount: int) -> Verdict:
    """The same three answers of a run's cap; nothing comes back to a run but by a refund, so what it has spent is gone.
    What is observed has the amount in it."""
    if not cap.comparable:
        detail = f"the cap of run {cap.run} is in {cap.currency}, which the request cannot be converted to"
        return Verdict(RULE_RUN_CAP, DENY, Status.LIMIT_CURRENCY, detail=detail)
    free = cap.maximum - cap.settled - cap.held
    observed = cap.settled + cap.held + amount
    if amount <= free or not amount:
        return Verdict(RULE_RUN_CAP, ALLOW, None, observed, cap.maximum, max(free - amount, 0))
    if cap.settled + amount <= cap.maximum:
        status, detail = Status.RUN_HELD, f"run {cap.run} has room under its cap only once its open holds end"
    else:
        status, detail = Status.RUN_CAP_EXCEEDED, f"run {cap.run} has too little left under its cap"
    return Verdict(
        RULE_RUN_CAP, DENY, status, observed, cap.maximum, max(free, 0), detail, never=status is Status.RUN_CAP_EXCEEDED
    )
