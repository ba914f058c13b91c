"""What is asked of policies, and what they say of it without any counter: hours and conditions.

Invariant: pure, and the same for the same moment and request.
"""

from typing import NamedTuple

from ledger.core.conditions import ConditionFacts
from ledger.core.outcome import Status
from ledger.core.planning import Plan
from ledger.core.policy import CompiledPolicy, Subject
from ledger.core.rules import ALLOW, DENY, Verdict
from ledger.core.windows import hours_open, local_hour


class Asking(NamedTuple):
    """What is asked of the policies. ``amount`` is what windows would count more, ``total`` what the authorization
    would be approved for in all, ``ones`` 1 for a new authorization, else 0; ``fingerprints`` are (sort, digest);
    ``run_open`` says that the run was opened; ``partial_ok`` that less is of use. ``in_all`` is set where less is to be
    approved only where there is less in all: what budget and run have, were nothing held; less than ``least`` is then
    of no use. Atoms."""

    subject: Subject
    amount: int
    total: int
    ones: int
    now: int
    run_open: bool
    partial_ok: bool = False
    fingerprints: tuple[tuple[str, str], ...] = ()
    in_all: int | None = None
    least: int = 0


def judge_times(
    plan: Plan, asking: Asking, denials: list[Verdict], shadow: list[Verdict], rules: list[list[str]]
) -> None:
    """Hours and conditions."""
    for policy in plan.policies:
        against = shadow if policy.shadow else denials
        if policy.hours is not None:
            is_open, opens_at = hours_open(policy.hours, policy.timezone, asking.now)
            rules.append([f"{policy.name}/hours", ALLOW if is_open else DENY])
            if not is_open:
                against.append(
                    Verdict(
                        f"{policy.name}/hours", DENY, Status.OUTSIDE_HOURS, detail="outside the hours of spending",
                        fits_at=opens_at, never=opens_at is None,
                    )
                )  # fmt: skip
        if policy.conditions:
            facts = condition_facts(policy, asking)
            for name, condition in policy.conditions:
                rule = f"{policy.name}/{name}"
                found = condition.holds(facts)
                rules.append([rule, ALLOW if found.holds else DENY])
                if not found.holds:
                    why = f"the condition failed: {found.error}" if found.error else "the condition is not met"
                    against.append(Verdict(rule, DENY, Status.CONDITION_NOT_MET, detail=why))


def condition_facts(policy: CompiledPolicy, asking: Asking) -> ConditionFacts:
    """What a condition of ``policy`` may look at."""
    subject = asking.subject
    hour, weekday = local_hour(policy.timezone, asking.now)
    return ConditionFacts(
        amount=asking.total, currency=subject.currency, category=subject.category, payee=subject.payee,
        agent=subject.agent or "", budget=subject.budget, hour=hour, weekday=weekday,
        resource=subject.resource or "", run=subject.run or "", labels=subject.labels,
    )  # fmt: skip
