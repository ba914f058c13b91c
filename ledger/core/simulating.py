"""Simulating: the requests of a book's past, judged again by a candidate policy in the place of the one of its name.

Owns ``Simulation``, fed with records in the order of the log. Invariants: the candidate judges by its own counters,
which count what it would have let through as it really went on, and nothing of what it would have denied; a request
that anything else refused stays refused; what is kept is bounded by what is open at once, by the candidate's windows
and by the agents there are, and a bit or two for each record.

What nobody can know is assumed, and said by whoever shows the findings: what only the candidate approves is held in
full until its time to live ends; persons grant what is asked of them (or refuse it, as chosen) at once; whoever may
spend less spends at most that; budgets and other policies are as they were.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from ledger.core.authorization import Authorization
from ledger.core.canonical import parse
from ledger.core.filling import CHANGING_KINDS, COUNTERS_MAX, Trees, changes_use, state_before
from ledger.core.judging import Asking, Judgement, judge
from ledger.core.moment import SECOND, moment_of
from ledger.core.money import divide_up
from ledger.core.outcome import UNBOUND_DENIALS, Status
from ledger.core.planning import Plan
from ledger.core.policy import CompiledPolicy, Subject
from ledger.core.policy_row import SCOPE_AGENT, SCOPE_BOOK
from ledger.core.principal import lineage
from ledger.core.rules import Verdict, first_denial
from ledger.core.simulated import (
    APPROVED_FOR_LESS,
    AUTHORIZATION,
    EXTENSION,
    NEWLY_APPROVED,
    NEWLY_ASKING,
    NEWLY_DENIED,
    NO_LONGER_ASKING,
    Findings,
)
from ledger.core.simulating_examples import (
    Past,
    asked_example,
    denied_example,
    fingerprints_said,
    no_longer_asked_example,
    plain_example,
    refused_example,
)
from ledger.core.simulating_following import Following
from ledger.core.simulating_reality import PLACES, Reality, reality_of
from ledger.core.simulating_runs import Runs
from ledger.core.simulating_uses import Counting

ASKING_KINDS: Final = frozenset(("hold", "denial", "approval_requested"))
RUN_KINDS: Final = frozenset(("run", "run_denial"))
KINDS: Final = CHANGING_KINDS | ASKING_KINDS | RUN_KINDS
"""Kinds of records that a simulation looks at."""
REQUESTS_PER_PLANS: Final = 20_000
"""How long plans remember kinds of requests; bounds what they remember."""
_DECISION: Final = b',"decision":{'
_BEHIND_DECISION: Final = b'},"expires_at":"'
_UNBOUND: Final = frozenset(status.value for status in UNBOUND_DENIALS)
_LOOP: Final = Status.LOOP_DETECTED.value


class Page(NamedTuple):
    """Records to be taken in, and what must be known for that: authorizations made before them (id to the index of
    the record before the first of these), and names of runs."""

    records: list[Past]
    elders: dict[str, int]
    runs: set[str]


def elder_of(row: Authorization, before: bytes) -> Authorization:
    """An authorization as it stood after the record with the body ``before``; ``row`` gives what never changes."""
    body = parse(before)
    stood = state_before(row, body)
    if stood is None:
        raise LookupError(f"there is no record before one of {row.id}")
    text = body.get("expires_at")
    return replace(stood, state=body["state"], expires_at=None if text is None else moment_of(text))


class Simulation:
    """A candidate policy against the past.

    ``candidate`` is compiled with meters of its own numbers and not shadow; ``since`` is the moment from which requests
    are judged (before it they are counted as they were); ``log_size`` bounds the indexes that will be fed;
    ``grant`` says that persons grant what they are asked.
    """

    def __init__(
        self,
        candidate: CompiledPolicy,
        trees: Trees,
        *,
        since: int,
        log_size: int,
        grant: bool = True,
        examples_max: int = 5,
        counters_max: int = COUNTERS_MAX,
    ) -> None:
        self._candidate = candidate
        self._trees = trees
        self._since = since
        self._grant = grant
        self._plans: dict[tuple[str | None, str | None], Plan | None] = {}
        self._seen = 0
        meters = {meter.number: meter for meter in (*candidate.meters, *candidate.run_limits)}
        self._counting = Counting(meters.values(), counters_max=counters_max)
        self.findings = Findings(examples_max=examples_max)
        self._following = Following(self._counting, self.findings, since=since, log_size=log_size)
        self._runs = Runs(candidate, self._counting, self.findings, since=since, log_size=log_size)

    @property
    def open_count(self) -> int:
        """How many authorizations are kept, because something of them may change."""
        return len(self._following)

    def page(self, records: Iterable[tuple[int, str, int, bytes]]) -> Page:
        """Read records (index, kind, moment, body), and say what must be known to take them in."""
        read: list[Past] = []
        elders: dict[str, int] = {}
        runs: set[str] = set()
        made: set[str] = set()
        for index, kind, moment, packed in records:
            body = parse(packed if kind != "hold" else _without_decision(packed))
            if kind == "adjustment" and not changes_use(body):
                continue
            read.append(Past(index, kind, moment, body))
            if kind in RUN_KINDS:
                continue
            if self._plan(body.get("agent"), body["budget"]["name"]) is None:
                continue
            if self._runs.needed and "run" in body and moment >= self._since:
                runs.add(body["run"])
            reference = body["authorization"]
            previous = body.get("previous")
            if previous is None:
                made.add(reference)
            elif reference not in self._following and reference not in made:
                elders.setdefault(reference, previous)
        return Page(read, elders, runs)

    def take(self, page: Page, elders: Mapping[str, Authorization], runs: Mapping[str, int | None]) -> None:
        """Take records in. ``elders`` are the authorizations that the page asks for, as ``elder_of`` has them; ``runs``
        the index of the record that opened each run (None: none did). Raises TooManyCounters."""
        following = self._following
        for row in elders.values():
            plan = self._plan(row.agent, row.budget)
            if plan is not None:
                following.take_elder(row, plan)
        self._runs.known = runs
        for record in page.records:
            kind, now = record.kind, record.moment
            following.end_approved(now)
            if kind in ASKING_KINDS:
                if record.body.get("command") == "extend":
                    self._extension(record)
                else:
                    self._authorization(record)
            elif kind == "extension":
                following.follow(record, longer=self._extension(record))
            elif kind == "charge":
                self._charge(record)
            elif kind in RUN_KINDS:
                self._runs.take(record, self._plan(record.body["agent"], None))
            else:
                following.follow(record)
        following.forget_ended()

    # Scope.

    def _plan(self, agent: str | None, budget: str | None) -> Plan | None:
        """The candidate on a path; None where it is not on it. A run has no budget."""
        key = (agent, budget)
        try:
            return self._plans[key]
        except KeyError:
            plan = self._plans[key] = Plan(agent, (self._candidate,)) if self._reaches(agent, budget) else None
            return plan

    def _reaches(self, agent: str | None, budget: str | None) -> bool:
        kind, name = self._candidate.scope_kind, self._candidate.scope
        if kind == SCOPE_BOOK:
            return True
        found, paths = (agent, self._trees.agents) if kind == SCOPE_AGENT else (budget, self._trees.budgets)
        return found is not None and (found == name or name in lineage(paths.get(found, "")))

    # Requests to spend.

    def _authorization(self, record: Past) -> None:
        """A request to spend, whatever became of it."""
        _, kind, now, body = record
        agent, denied = body["agent"], kind == "denial"
        self._seen += 1
        if self._seen % REQUESTS_PER_PLANS == 0:
            self._plans.clear()
        plan = self._plan(agent, body["budget"]["name"])
        if now < self._since:
            if plan is not None:
                self._attempt(plan, body, now, reality_of(body["decision"], "").code if denied else None)
                if not denied:
                    self._following.begin(record, plan, _subject(body))
            return
        reality = reality_of(body["decision"], self._candidate.name)
        amount = int(body["amount"] if denied else body["approved"])
        if plan is None:
            self._outside(record, reality, amount)
            return
        subject = _subject(body)
        self.findings.ask(AUTHORIZATION, agent, amount, subject.currency)
        judgement = self._judge(plan, self._asking(record, subject), body["request"].get("accept_pending", False))
        denial = first_denial(judgement.denials)
        codes = [*reality.others, *((denial.status.value,) if denial is not None and denial.status else ())]
        code = min(codes, key=lambda one: PLACES.get(one, 0)) if codes else None
        self._attempt(plan, body, now, code)
        if judgement.freezers and code == _LOOP:
            self.findings.freeze(now, agent)
        if reality.others:
            self.findings.denied_by_others += 1
        elif denied:
            if denial is None:
                self._was_denied(record, plan, subject, judgement, reality)
        else:
            self._was_approved(record, plan, subject, judgement, denial, reality)

    def _was_denied(self, record: Past, plan: Plan, subject: Subject, judgement: Judgement, reality: Reality) -> None:
        """Nothing but the policy itself refused it, and the candidate does not."""
        if judgement.tiers:
            if reality.asked:
                return
            self._newly_asking(record, judgement, judgement.amount)
            if not self._grant:
                return
        else:
            self.findings.change(NEWLY_APPROVED, refused_example(record, AUTHORIZATION, judgement.amount, reality))
        self._following.approve(record, plan, subject, judgement.amount)

    def _was_approved(
        self, record: Past, plan: Plan, subject: Subject, judgement: Judgement, denial: Verdict | None, reality: Reality
    ) -> None:
        """It held, at once or while persons were asked."""
        approved = int(record.body["approved"])
        if denial is not None:
            self.findings.change(NEWLY_DENIED, denied_example(record, AUTHORIZATION, approved, denial))
            self._following.begin(record, plan, subject, denied=NEWLY_DENIED)
            return
        less = max(approved - judgement.amount, 0)
        if judgement.tiers and record.kind != "approval_requested":
            self._newly_asking(record, judgement, approved - less)
            if not self._grant:
                self._following.begin(record, plan, subject, denied=NEWLY_ASKING)
                return
        elif reality.asked and not reality.asked_too and not judgement.tiers:
            self.findings.change(NO_LONGER_ASKING, no_longer_asked_example(record, approved, self._candidate.name))
            use = self._following.begin(record, plan, subject, less=less)
            use.unasked = True
            use.ends_at = record.moment + record.body["request"]["ttl_seconds"] * SECOND
            return
        elif less:
            said = "a limit has room for a part of the amount only"
            rule = f"{self._candidate.name}/limits"
            self.findings.change(APPROVED_FOR_LESS, plain_example(record, AUTHORIZATION, less, rule, said))
        self._following.begin(record, plan, subject, less=less)

    def _newly_asking(self, record: Past, judgement: Judgement, amount: int) -> None:
        self.findings.change(NEWLY_ASKING, asked_example(record, AUTHORIZATION, judgement, amount))
        if not record.body["request"].get("accept_pending", False):
            self.findings.not_offering_to_wait += 1

    def _outside(self, record: Past, reality: Reality, amount: int) -> None:
        """The candidate is not on the path; the live version of its name may have been."""
        body = record.body
        if reality.denied and not reality.others:
            category, example = NEWLY_APPROVED, refused_example(record, AUTHORIZATION, amount, reality)
        elif not reality.denied and reality.asked and not reality.asked_too:
            category, example = NO_LONGER_ASKING, no_longer_asked_example(record, amount, self._candidate.name)
        else:
            self.findings.outside += 1
            return
        self.findings.ask(AUTHORIZATION, body["agent"], amount, body["currency"])
        self.findings.change(category, example)

    def _asking(self, record: Past, subject: Subject) -> Asking:
        """What was asked, with the facts as they stood before its own record."""
        index, kind, now, body = record
        afford = body["request"].get("afford", False)
        partial = body["request"].get("partial_ok", False) and not afford
        if kind != "denial":
            # What was approved of it, so that a part that another policy or the budget left is judged as that.
            atoms = int(body["approved"])
        else:
            atoms = int(body["amount"])
            # Of what had no rate into the budget's currency, what that has is not said.
            available = int(body["budget"].get("available", "0")) if partial else 0
            if available > 0:
                atoms = min(atoms, available)
        in_all = None
        if afford:
            # Another's holds make nothing less; what was approved has been reduced to what there was in all.
            left = int(body["budget"].get("available", "0")) + int(body["budget"].get("held", "0"))
            in_all = left if kind == "denial" else atoms
        fingerprints = fingerprints_said(body) if self._candidate.loops is not None else ()
        run_open = self._runs.is_open(subject.run, index)
        least = int(body["request"].get("least", "0"))
        if "exchange" in body:
            numerator, denominator = map(int, body["exchange"]["per"])
            least = divide_up(least * numerator, denominator)
        return Asking(subject, atoms, atoms, 1, now, run_open, partial, fingerprints, in_all, least)

    def _judge(self, plan: Plan, asking: Asking, accept_pending: bool) -> Judgement:
        """Judge by the candidate. What may turn out otherwise once the holds that are due have ended is judged again
        when they have, as a server does."""
        counter_of = self._counting.counters.get
        found = judge(plan, asking, counter_of)
        unsure = found.denials or found.amount < asking.amount or (found.tiers and not accept_pending)
        if unsure and self._following.end_due(asking.now):
            found = judge(plan, asking, counter_of)
        return found

    def _attempt(self, plan: Plan, body: dict[str, Any], now: int, code: str | None) -> None:
        """Count an attempt towards loops, as the deciders do."""
        if plan.loops and code not in _UNBOUND:
            counted = tuple((meter, key) for _, _, meter, key in plan.loop_keys(fingerprints_said(body)))
            self._counting.count_now(counted, (0, 0, 1), now)

    # What follows a request.

    def _extension(self, record: Past) -> bool:
        """Judge an extension of an authorization that the candidate let through, before its record is followed; whether
        the hold lasts longer for it."""
        index, kind, now, body = record
        use = self._following.get(body["authorization"])
        if use is None or use.denied is not None or now < self._since:
            return True
        atoms, subject = int(body["amount"]), use.subject
        plan = self._plan(subject.agent, subject.budget)
        if plan is None:
            return True
        reality = reality_of(body["decision"], self._candidate.name)
        self.findings.ask(EXTENSION, body["agent"], atoms, subject.currency)
        asking = Asking(subject, atoms, use.allowed + atoms, 0, now, self._runs.is_open(subject.run, index))
        judgement = self._judge(plan, asking, not atoms)
        denial = first_denial(judgement.denials)
        refused = denial is not None or (bool(judgement.tiers) and atoms > 0)
        if kind == "denial":
            if reality.others:
                self.findings.denied_by_others += 1
            elif not refused:
                self.findings.change(NEWLY_APPROVED, refused_example(record, EXTENSION, atoms, reality))
                self._following.extend(use, now, atoms)
            return True
        if refused:
            example = (
                denied_example(record, EXTENSION, atoms, denial)
                if denial is not None
                else asked_example(record, EXTENSION, judgement, atoms)
            )
            self.findings.change(NEWLY_DENIED, example)
            self._following.trim(use, record, atoms)
        return not refused

    def _charge(self, record: Past) -> None:
        body = record.body
        plan = self._plan(body.get("agent"), body["budget"]["name"])
        if plan is None:
            return
        subject = Subject(
            body.get("agent"), body["budget"]["name"], body.get("run"), body["category"], body["payee"],
            body["request"].get("resource"), body["currency"],
        )  # fmt: skip
        self._following.charge(record, plan, subject)


def _without_decision(packed: bytes) -> bytes:
    """The body of a hold, its decision left empty: that it held is all that matters, and the decision is most of it.
    Quotes inside of texts are escaped, so the two marks stand nowhere but at the keys of objects; and no object inside
    of a hold's body has keys of these names."""
    start, end = packed.find(_DECISION), packed.find(_BEHIND_DECISION)
    return packed[: start + len(_DECISION)] + packed[end:] if 0 <= start < end else packed


def _subject(body: Mapping[str, Any]) -> Subject:
    request = body["request"]
    labels = tuple((key, value) for key, value in request["labels"]) if "labels" in request else ()
    return Subject(
        body["agent"], body["budget"]["name"], body.get("run"), request["category"], request["payee"],
        request.get("resource"), body["currency"], labels,
    )  # fmt: skip
