"""Cases: requests with the verdict that a policy must give, kept in ``NAME_cases.yaml`` beside ``NAME.yaml``.

Owns the form of a case and the comparison of what was expected with what was found. Invariant: a case says everything
that its verdict depends on (the request, the use so far, the time), so it comes out the same for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, ValidationError

from ledger.core import judging
from ledger.core.compiling import bases_of, compile_policy, currencies_of
from ledger.core.counter import Counter
from ledger.core.moment import moment_of, moment_text
from ledger.core.money import UNIT_DIGITS_MAX, currency_digits, parse_atoms
from ledger.core.outcome import PRECEDENCE, Status
from ledger.core.planning import CounterKey, Plan
from ledger.core.policy import LOOPS, CompiledPolicy, Subject
from ledger.core.windows import AUTHORIZATION
from ledger.services.policies.document import PolicyDocument
from ledger.services.policies.document_errors import (
    FieldsOf,
    Path,
    PolicyFileError,
    Problem,
    nearest,
    problems_of,
    shown,
    written,
)
from ledger.services.policies.document_fields import (
    AmountText,
    CurrencyCode,
    LabelName,
    Slug,
    StrictModel,
    check_amount,
    wrong,
)
from ledger.services.policies.document_rules import COUNT_MAX, Approval, Limit
from ledger.services.policies.document_yaml import YamlText

CASES_MAX: Final = 1000
USUAL_TIME: Final = "2026-03-02T12:00:00Z"
"""A Monday at noon: when a case happens that does not say when."""

_BOOK_ZONE: Final = "UTC"
"""Time zone of the book that a case is tried in; a policy that depends on it names its own."""
_FINGERPRINT: Final = ("case", "same")

Outcome = Literal["approved", "denied", "pending_approval"]
Line = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]


def _moment(text: str) -> str:
    try:
        moment_of(text)
    except (ValueError, OverflowError) as error:
        raise wrong(f"{shown(text)} is not a moment: write one such as 2026-03-02T10:00:00Z") from error
    return text


Moment = Annotated[str, AfterValidator(_moment)]


class CaseAmount(StrictModel):
    """How much is asked for."""

    amount: AmountText
    currency: CurrencyCode


class CaseRequest(StrictModel):
    """What an agent asks for."""

    amount: CaseAmount
    category: Slug
    payee: Slug
    resource: Line | None = None
    run: Line | None = None
    agent: Slug = "agent"
    budget: Slug = "budget"
    labels: dict[LabelName, Line] = Field(default_factory=dict)
    intent: Annotated[str, StringConstraints(max_length=2000)] | None = None
    accept_pending: bool = False
    at: Moment = USUAL_TIME


class CaseUse(StrictModel):
    """What a limit, or a rule that adds up, counts before this request: money spent, money held, requests. ``at`` is
    when that was, by default at the time of the request."""

    amount: AmountText = "0"
    held: AmountText = "0"
    count: Annotated[int, Field(ge=0, le=COUNT_MAX)] = 0
    at: Moment | None = None


class CaseFacts(StrictModel):
    """What is so before the request. ``run_open``: whether the run that the request names was opened; ``attempts``:
    same requests before this one, within the time of ``loops``."""

    run_open: bool = True
    used: dict[str, CaseUse] = Field(default_factory=dict)
    attempts: Annotated[int, Field(ge=0, le=COUNT_MAX)] = 0


class CaseExpectation(StrictModel):
    """The verdict. What is left out is not compared."""

    outcome: Outcome
    code: str | None = None
    rule: str | None = None
    fits_at: Moment | None = None


class Case(StrictModel):
    """One request and its verdict."""

    name: Line
    request: CaseRequest
    facts: CaseFacts = CaseFacts()
    expect: CaseExpectation


class _Cases(BaseModel):
    cases: list[Case]


class Judgement(NamedTuple):
    """What a policy says to a request. ``code`` and ``rule`` are None where nothing was refused or asked; ``fits_at``
    is an RFC 3339 moment, None where no time is known."""

    outcome: str
    code: str | None = None
    rule: str | None = None
    fits_at: str | None = None


class Difference(NamedTuple):
    """One case that came out in another way. ``line`` is where it begins in its file; ``field`` is what differs."""

    case: str
    line: int
    field: str
    expected: str
    found: str


class CaseFile(NamedTuple):
    """The cases of a file, in its order, and the line that each begins in."""

    cases: tuple[Case, ...]
    lines: tuple[int, ...]


_FIELDS: Final = FieldsOf(_Cases)


def load_cases(text: str, *, source: str, document: PolicyDocument) -> CaseFile:
    """Read a file of cases for ``document``. Raises PolicyFileError with place and what to change, as for policies."""
    read = YamlText(text, source=source)

    def refuse(found: list[tuple[Path, str]]) -> PolicyFileError:
        return PolicyFileError(source, [Problem(written(path), message, *read.place(path)) for path, message in found])

    if not isinstance(read.data, list):
        raise refuse([((), 'cases are a list: begin each with "- name: ..."')])
    if not 1 <= len(read.data) <= CASES_MAX:
        raise refuse([((), f"there are {len(read.data)} cases: write 1 to {CASES_MAX}")])
    try:
        cases = tuple(_Cases.model_validate({"cases": read.data}).cases)
    except ValidationError as error:
        raise refuse([(path[1:], message) for path, message in problems_of(error, _FIELDS)]) from error
    found = list(_check(cases, document))
    if found:
        raise refuse(found)
    return CaseFile(cases, tuple(read.place((position,)).line for position in range(len(cases))))


def _check(cases: Sequence[Case], document: PolicyDocument) -> Iterator[tuple[Path, str]]:
    rules: list[Limit | Approval] = [*(limit for limit in document.limits if limit.on is None), *document.approval]
    counting = {rule.id: rule.currency or document.currency for rule in rules if rule.per != AUTHORIZATION}
    names: dict[str, int] = {}
    for position, case in enumerate(cases):
        if case.name in names:
            yield (position, "name"), f"case {names[case.name] + 1} has this name too: choose another"
        names.setdefault(case.name, position)
        reason = check_amount(case.request.amount.amount, case.request.amount.currency)
        if reason is not None:
            yield (position, "request", "amount", "amount"), reason
        for name in case.facts.used:
            if name not in counting:
                meant = nearest(name, counting)
                hint = (
                    f"did you mean {meant}?" if meant else f"what counts is {', '.join(sorted(counting)) or 'nothing'}"
                )
                yield (position, "facts", "used", name), f"{shown(name)} counts nothing in this policy: {hint}"
        for name, use in case.facts.used.items():
            for field in ("amount", "held"):
                reason = check_amount(getattr(use, field), counting.get(name) or "")
                if reason is not None:
                    yield (position, "facts", "used", name, field), reason
            if use.at is not None and moment_of(use.at) > moment_of(case.request.at):
                yield (
                    (position, "facts", "used", name, "at"),
                    f"this is after the request, which is at {case.request.at}",
                )


def differences(
    document: PolicyDocument, file: CaseFile, *, judge: Callable[[PolicyDocument, Case], Judgement]
) -> list[Difference]:
    """Every way in which a case came out otherwise than it says, in the order of the file."""
    found = []
    for case, line in zip(file.cases, file.lines, strict=True):
        judgement = judge(document, case)
        for field in sorted(case.expect.model_fields_set, key=list(CaseExpectation.model_fields).index):
            expected, actual = getattr(case.expect, field), getattr(judgement, field)
            if not _same(field, expected, actual):
                found.append(Difference(case.name, line, field, expected, actual or "none"))
    return found


def judge_case(document: PolicyDocument, case: Case) -> Judgement:
    """What ``document`` by itself says to a case: no other policy, and a budget with money enough.

    A policy in shadow is judged as if it were not, since its cases say what it will do.
    """
    canonical = document.canonical()
    canonical.pop("shadow", None)
    digits = {code: _digits(code) for code in (*currencies_of(canonical), case.request.amount.currency)}
    policy = compile_policy(
        canonical,
        digits=digits,
        meters={
            (kind, name): number for number, (kind, name, _) in enumerate(bases_of(canonical, timezone=_BOOK_ZONE), 1)
        },
        version=1,
        digest=document.digest(),
        timezone=_BOOK_ZONE,
    )
    request = case.request
    atoms = parse_atoms(request.amount.amount, digits[request.amount.currency])
    asking = judging.Asking(
        subject=_subject(request),
        amount=atoms,
        total=atoms,
        ones=1,
        now=moment_of(request.at),
        run_open=request.run is not None and case.facts.run_open,
        fingerprints=(_FINGERPRINT,),
    )
    found = judging.judge(Plan(request.agent, (policy,)), asking, _counters(policy, case, digits))
    return _answered(found, accept_pending=request.accept_pending, policy=document.policy)


def _subject(request: CaseRequest) -> Subject:
    return Subject(
        agent=request.agent,
        budget=request.budget,
        run=request.run,
        category=request.category,
        payee=request.payee,
        resource=request.resource,
        currency=request.amount.currency,
        labels=tuple(sorted(request.labels.items())),
    )


def _counters(policy: CompiledPolicy, case: Case, digits: dict[str, int]) -> judging.CounterOf:
    """The counters as the facts of the case say: the use of a rule is that under the key of this request."""
    now, meters = moment_of(case.request.at), {meter.number: meter for meter in policy.meters}

    def counter_of(key: CounterKey) -> Counter | None:
        meter = meters[key[0]]
        if meter.kind == LOOPS:
            use = CaseUse(count=case.facts.attempts)
        elif (named := case.facts.used.get(meter.id)) is not None:
            use = named
        else:
            return None
        scale = digits[meter.currency] if meter.currency is not None else 0
        money = (parse_atoms(use.amount, scale), parse_atoms(use.held, scale)) if meter.currency is not None else (0, 0)
        frame = meter.frame(now)
        counter = Counter(0, meter.number, key[1], frame.starts_at, 0, 0, 0, "[]" if frame.width else None, 0)
        counter.add(frame, moment_of(use.at) if use.at is not None else now, (*money, use.count))
        return counter

    return counter_of


def _answered(found: judging.Judgement, *, accept_pending: bool, policy: str) -> Judgement:
    """The one answer of all verdicts: deny beats approval, approval beats allow."""
    if found.denials:
        first = min(found.denials, key=lambda verdict: PRECEDENCE[verdict.status or Status.APPROVED])
        return Judgement(
            "denied",
            None if first.status is None else first.status.value,
            first.rule.removeprefix(f"{policy}/"),
            None if first.fits_at is None else moment_text(first.fits_at),
        )
    if found.tiers:
        if accept_pending:
            return Judgement("pending_approval", Status.PENDING_APPROVAL.value, found.tiers[0].rule)
        return Judgement("denied", Status.APPROVAL_REQUIRED.value, found.tiers[0].rule)
    return Judgement("approved", Status.APPROVED.value)


def _digits(currency: str) -> int:
    """Of a unit of a book, whose scale only the book knows, the finest there may be."""
    known = currency_digits(currency)
    return UNIT_DIGITS_MAX if known is None else known


def _same(field: str, expected: str, found: str | None) -> bool:
    if field == "fits_at" and found is not None:
        return moment_of(expected) == moment_of(found)
    return expected == found
