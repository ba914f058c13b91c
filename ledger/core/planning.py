"""The policies on one path: which rules an agent's request against a budget meets, and which counters it counts in.

Owns ``Plan``. Invariant: a plan is a function of the live policies on the path of an agent and a budget, and what it
remembers of kinds of requests is a function of those; nothing here looks at a counter or at the time.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from ledger.core.authorization import Authorization
from ledger.core.canonical import Fragment, canonical_bytes, parse
from ledger.core.compiling import compile_row
from ledger.core.outcome import Status
from ledger.core.policy import ApprovalRule, CompiledPolicy, Match, Meter, Subject
from ledger.core.policy_row import SCOPE_AGENT, SCOPE_BOOK, SCOPE_BUDGET, Policy
from ledger.core.rules import ALLOW, DENY, Verdict
from ledger.core.windows import RUN

KINDS_KEPT: Final = 4_096
CounterKey = tuple[int, str]
"""(meter, key) of a counter."""


class Applied(NamedTuple):
    """What a plan means for one kind of request.

    ``rules`` are [rule, verdict] of the lists; ``denials`` and ``shadow`` the verdicts that refuse, really or only on
    record; ``limits`` are (place of the policy, meter, counter key; None for a limit per authorization); ``approvals``
    likewise; ``counted`` are the meters that such an authorization counts in, ``keys`` all counters it needs.
    """

    rules: tuple[tuple[str, str], ...]
    denials: tuple[Verdict, ...]
    shadow: tuple[Verdict, ...]
    limits: tuple[tuple[int, Meter, CounterKey | None], ...]
    approvals: tuple[tuple[int, ApprovalRule, CounterKey | None], ...]
    counted: tuple[tuple[Meter, CounterKey], ...]
    keys: tuple[CounterKey, ...]


class Plan:
    """The policies on the path of an agent and a budget, in the order in which they are recorded: the book's, then
    those of the agent's ancestors and the agent, then those of the budget's ancestors and the budget.

    ``broken`` says that one of them could not be compiled, so that it denies; ``loops`` and ``timed`` say whether any
    counts attempts, or looks at the clock; ``varied`` whether which counters a request needs depends on more than
    its budget, run, currency, category and payee; ``unbounded`` whether a meter counts money that no limit of its own
    bounds.
    """

    __slots__ = (
        "_kinds", "_labels", "_run", "agent", "broken", "loops", "policies", "said", "timed", "unbounded", "varied",
    )  # fmt: skip

    def __init__(self, agent: str | None, policies: tuple[CompiledPolicy, ...]) -> None:
        self.agent = agent
        self.policies = policies
        said = [
            [policy.name, policy.version, policy.digest, *(("shadow",) if policy.shadow else ())] for policy in policies
        ]
        self.said: Any = Fragment(canonical_bytes(said)) if said else []
        meters = [meter for policy in policies for meter in policy.meters]
        words = {word for meter in meters for word in meter.by}
        self._run = "run" in words
        self._labels = any(word.startswith("label.") for word in words) or any(
            meter.match is not None and meter.match.labels for policy in policies for meter in _all_meters(policy)
        )
        self.broken = any(policy.error and not policy.shadow for policy in policies)
        self.loops = any(policy.loops is not None for policy in policies)
        self.timed = any(policy.hours is not None or policy.conditions for policy in policies)
        self.unbounded = any(policy.approvals or policy.shadow for policy in policies)
        self.varied = (
            self.loops
            or self._labels
            or "resource" in words
            or any(
                meter.match is not None and meter.match.resources is not None
                for policy in policies
                for meter in _all_meters(policy)
            )
        )
        self._kinds: dict[tuple[Any, ...], Applied] = {}

    def applied(self, subject: Subject) -> Applied:
        """What the plan means for a request of ``subject``'s kind."""
        kind = (
            subject.category, subject.payee, subject.resource, subject.currency,
            subject.run if self._run else None, subject.labels if self._labels else None,
        )  # fmt: skip
        found = self._kinds.get(kind)
        if found is None:
            if len(self._kinds) >= KINDS_KEPT:
                self._kinds.clear()
            found = self._kinds[kind] = self._apply(subject)
        return found

    def loop_keys(self, fingerprints: Iterable[tuple[str, str]]) -> list[tuple[int, CompiledPolicy, Meter, CounterKey]]:
        """(place of the policy, policy, meter, counter key) of each loop rule and (sort, fingerprint)."""
        sorts = list(fingerprints)
        return [
            (place, policy, policy.loops, (policy.loops.number, key_text((self.agent or "", *sort))))
            for place, policy in enumerate(self.policies)
            if policy.loops is not None and not policy.error
            for sort in sorts
        ]

    def has_loops(self) -> bool:
        """Whether any policy counts attempts."""
        return self.loops

    def _apply(self, subject: Subject) -> Applied:
        rules: list[tuple[str, str]] = []
        denials: list[Verdict] = []
        shadow: list[Verdict] = []
        limits: list[tuple[int, Meter, CounterKey | None]] = []
        approvals: list[tuple[int, ApprovalRule, CounterKey | None]] = []
        counted: list[tuple[Meter, CounterKey]] = []
        for place, policy in enumerate(self.policies):
            against = shadow if policy.shadow else denials
            if policy.error:
                against.append(Verdict(policy.name, DENY, Status.POLICY_ERROR, detail=policy.error))
                continue
            for rule, refused in (("allow", _outside(policy.allow, subject)), ("deny", _inside(policy.deny, subject))):
                if refused is None:
                    continue
                verdicts = [Verdict(f"{policy.name}/{rule}.{name}", DENY, status, detail=detail)
                            for name, status, detail in refused]  # fmt: skip
                against.extend(verdicts)
                rules.append((f"{policy.name}/{rule}", DENY if verdicts else ALLOW))
            for meter in policy.limits:
                if meter.match is None or meter.match.fits(subject):
                    limits.append((place, meter, counter_key(meter, subject)))
            for approval in policy.approvals:
                if approval.meter.match is None or approval.meter.match.fits(subject):
                    approvals.append((place, approval, counter_key(approval.meter, subject)))
            for meter in (*policy.limits, *(approval.meter for approval in policy.approvals)):
                if meter.number and meter.counts(subject) and not (meter.per == RUN and subject.run is None):
                    counted.append((meter, (meter.number, key_of(meter, subject))))
        keys = {key for _, key in counted} | {key for _, _, key in (*limits, *approvals) if key is not None}
        return Applied(
            tuple(rules), tuple(denials), tuple(shadow), tuple(limits), tuple(approvals), tuple(counted), tuple(keys)
        )


def _all_meters(policy: CompiledPolicy) -> tuple[Meter, ...]:
    return (*policy.limits, *(approval.meter for approval in policy.approvals))


def key_text(values: Iterable[str]) -> str:
    """The key of a counter: a canonical JSON list."""
    return canonical_bytes(list(values)).decode()


def key_of(meter: Meter, subject: Subject) -> str:
    """The key under which ``meter`` counts ``subject``."""
    return key_text(subject.value(word) for word in meter.by) if meter.by else "[]"


def counter_key(meter: Meter, subject: Subject) -> CounterKey | None:
    """The counter that a limit looks at; None where it counts nothing."""
    return (meter.number, key_of(meter, subject)) if meter.number else None


def subject_of(row: Authorization) -> Subject:
    """What globs are matched against, as a row keeps it: what was asked, whatever it was settled as."""
    labels: tuple[tuple[str, str], ...] = ()
    if row.labels is not None:
        labels = tuple((key, value) for key, value in parse(row.labels.encode()))
    return Subject(row.agent, row.budget, row.run, row.category, row.payee, row.resource, row.currency, labels)


_CODES: Final = (
    ("categories", "category", Status.CATEGORY_NOT_ALLOWED),
    ("payees", "payee", Status.PAYEE_NOT_ALLOWED),
    ("resources", "resource", Status.RESOURCE_NOT_ALLOWED),
)
Refused = list[tuple[str, Status, str]]


def _outside(allow: Match | None, subject: Subject) -> Refused | None:
    """What is on none of the allowed lists."""
    if allow is None:
        return None
    refused: Refused = []
    for field, name, status in _CODES:
        globs = getattr(allow, field)
        value = getattr(subject, name)
        if globs is not None and not globs.match(value):
            named = f"{name} {value} is not" if value is not None else f"the request names no {name}, and it must be"
            refused.append((field, status, f"{named} among what is allowed: {', '.join(globs.patterns[:20])}"))
    return refused


def _inside(deny: Match | None, subject: Subject) -> Refused | None:
    """What is on a denied list."""
    if deny is None:
        return None
    refused: Refused = []
    for field, name, status in _CODES:
        globs = getattr(deny, field)
        value = getattr(subject, name)
        if globs is not None and globs.match(value):
            refused.append((field, status, f"{name} {value} is denied"))
    return refused


def run_meters(plan: Plan, agent: str) -> list[tuple[Meter, CounterKey]]:
    """The meters that count the opening of a run for ``agent``."""
    subject = Subject(agent, "", None, "", "", None, "")
    return [
        (meter, (meter.number, key_of(meter, subject)))
        for policy in plan.policies
        for meter in policy.run_limits
        if meter.match is None or meter.match.agents is None or meter.match.agents.match(agent)
    ]


def would_refuse(plan: Plan, subject: Subject) -> bool:
    """Whether the lists of the plan refuse ``subject``: what a settlement is measured against."""
    return any(verdict.status is not Status.POLICY_ERROR for verdict in plan.applied(subject).denials)


def scopes_of(agent_path: list[str], budget_path: list[str]) -> list[tuple[str, str]]:
    """The scopes of a path, in the order of a plan. A path lists the ancestors, root first, and the thing itself."""
    return [
        (SCOPE_BOOK, ""),
        *((SCOPE_AGENT, name) for name in agent_path),
        *((SCOPE_BUDGET, name) for name in budget_path),
    ]


def make_plan(
    agent: str | None,
    scopes: list[tuple[str, str]],
    bound: Callable[[tuple[str, str]], tuple[Policy, ...] | None],
    compiled: dict[tuple[str, int], CompiledPolicy],
    *,
    timezone: str,
) -> Plan:
    """The plan of a path. ``bound`` gives the live policies of a scope; ``compiled`` keeps what was compiled."""
    policies: list[CompiledPolicy] = []
    for scope in scopes:
        for row in bound(scope) or ():
            key = (row.name, row.version)
            found = compiled.get(key)
            if found is None or found.digest != row.digest:
                found = compiled[key] = compile_row(row, timezone=timezone)
            policies.append(found)
    return Plan(agent, tuple(policies))
