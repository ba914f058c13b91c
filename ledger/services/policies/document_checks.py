"""What the parts of a policy must keep to among each other.

Owns these checks. Invariant: each is a pure function of a well-formed document that yields a path and a sentence that
says what to change; a document without problems has exactly one meaning.
"""

from __future__ import annotations

from collections.abc import Iterator

from ledger.core.conditions import ConditionError, compile_condition
from ledger.services.policies.document_errors import Path, shown
from ledger.services.policies.document_fields import check_amount
from ledger.services.policies.document_inference import Inference
from ledger.services.policies.document_rules import Approval, Condition, Limit, PolicyFields

_ROLLING = ("minute", "hour", "day", "week", "month", "year")
_OF_ONE_REQUEST = "authorization"

Found = tuple[Path, str]


def check(document: PolicyFields) -> Iterator[Found]:
    """Every problem between the parts of a document."""
    yield from _scope(document)
    yield from _something_in_it(document)
    yield from _hours(document)
    yield from _unique_ids(document)
    for position, limit in enumerate(document.limits):
        if limit.on == "runs" and document.applies_to.budget is not None:
            yield ("limits", position, "on"), "a run belongs to no budget: bind it to the book, a team or an agent"
        if limit.id == "loops":
            yield ("limits", position, "id"), "loops is the name of the loop rule: choose another id"
        yield from _limit(limit, ("limits", position), document.currency)
    for position, rule in enumerate(document.approval):
        yield from _approval(rule, ("approval", position), document.currency)
    for position, condition in enumerate(document.when):
        yield from _condition(condition, ("when", position))
    if document.inference is not None:
        yield from _inference(document.inference, document.currency)


def _scope(document: PolicyFields) -> Iterator[Found]:
    named = [name for name, value in document.applies_to if value is not None]
    if len(named) != 1:
        reason = f"there are {len(named)}: {', '.join(named)}" if named else "there is none"
        yield ("applies_to",), f"name exactly one of book, team, agent, budget; {reason}"


def _something_in_it(document: PolicyFields) -> Iterator[Found]:
    """An object without a field says nothing, and its writer meant something."""
    for name in ("allow", "deny"):
        part = getattr(document, name)
        if part is not None and not part.model_fields_set:
            yield (name,), f"{name} is empty: name categories, payees or resources in it, or leave it out"
    if document.inference is not None and not document.inference.model_fields_set:
        yield ("inference",), "inference is empty: say how calls are treated in it, or leave it out"
    for name in ("limits", "approval"):
        for position, rule in enumerate(getattr(document, name)):
            if rule.match is not None and not rule.match.model_fields_set:
                yield (name, position, "match"), "match is empty: name what must match, or leave it out"


def _hours(document: PolicyFields) -> Iterator[Found]:
    hours = document.hours
    if hours is not None and hours.start == hours.end:
        yield ("hours", "to"), "from and to are the same: leave both out for the whole day, or write another time"


def _unique_ids(document: PolicyFields) -> Iterator[Found]:
    """One namespace, because a refusal names its rule by id alone."""
    first: dict[str, str] = {}
    for name in ("limits", "approval", "when"):
        for position, rule in enumerate(getattr(document, name)):
            place = f"{name}[{position}]"
            if rule.id in first:
                yield (name, position, "id"), f"the id {shown(rule.id)} is that of {first[rule.id]} too: choose another"
            first.setdefault(rule.id, place)


def _limit(limit: Limit, path: Path, currency: str | None) -> Iterator[Found]:
    if limit.max is None and limit.max_count is None:
        yield path, 'a limit needs max: "5.00" (money) or max_count: 10 (number of requests), or both'
    if limit.max is not None:
        yield from _money((*path, "max"), limit.max, limit.currency, currency)
    elif limit.currency is not None:
        yield (*path, "currency"), "a currency says nothing without max: remove it, or use match: {currencies: [...]}"
    if limit.rolling and limit.per not in _ROLLING:
        yield (*path, "rolling"), f"only {', '.join(_ROLLING)} can roll, not {limit.per}: remove rolling"
    if limit.per == _OF_ONE_REQUEST:
        if limit.max_count is not None:
            yield (*path, "max_count"), "one authorization is always one: write per: a window of time, such as day"
        yield from _no_counters(limit, path)
    if limit.per == "run":
        yield from _no_second_run(limit, path)
    if limit.on == "runs":
        yield from _limit_on_runs(limit, path)


def _limit_on_runs(limit: Limit, path: Path) -> Iterator[Found]:
    if limit.max is not None:
        yield (*path, "max"), "opening a run costs nothing: write max_count with on: runs"
    elif limit.max_count is None:
        yield (*path, "on"), "on: runs needs max_count, the most runs that may be opened"
    if limit.per in (_OF_ONE_REQUEST, "run"):
        yield (*path, "per"), "runs are counted in a window of time: write minute, hour, day, ... or lifetime"
    for name in sorted(limit.match.model_fields_set - {"agents"} if limit.match else ()):
        yield (*path, "match", name), "a run that is being opened has only an agent: match agents, or nothing"
    for position, key in enumerate(limit.by or ()):
        if key != "agent":
            yield (*path, "by", position), "a run that is being opened has only an agent: write by: agent, or nothing"


def _approval(rule: Approval, path: Path, currency: str | None) -> Iterator[Found]:
    yield from _money((*path, "above"), rule.above, rule.currency, currency)
    if rule.per == _OF_ONE_REQUEST:
        yield from _no_counters(rule, path)
    if rule.per == "run":
        yield from _no_second_run(rule, path)
    persons = [name for name in rule.approvers if name.startswith("person:")]
    if len(persons) == len(rule.approvers) and rule.quorum > len(persons):
        yield (
            (*path, "quorum"),
            f"{rule.quorum} people must grant it and only {len(persons)} may: name more approvers, or a role",
        )


def _no_counters(rule: Limit | Approval, path: Path) -> Iterator[Found]:
    if rule.by:
        yield (*path, "by"), "each authorization is judged by itself here: remove by, or write per: run, day, ..."


def _no_second_run(rule: Limit | Approval, path: Path) -> Iterator[Found]:
    for position, key in enumerate(rule.by or ()):
        if key == "run":
            yield (*path, "by", position), "per: run counts each run apart already: remove run from by"


def _condition(condition: Condition, path: Path) -> Iterator[Found]:
    try:
        compile_condition(condition.expression)
    except ConditionError as error:
        yield (*path, "expression"), str(error)


def _inference(section: Inference, currency: str | None) -> Iterator[Found]:
    default, floor = section.default_max_output_tokens, section.min_output_tokens
    if default is not None and floor is not None and floor > default:
        yield (
            ("inference", "min_output_tokens"),
            f"{floor} is more than default_max_output_tokens, {default}: write a smaller floor, or a larger default",
        )
    for name in ("ceilings", "fallback_price"):
        part = getattr(section, name)
        if part is None:
            continue
        if not part.model_fields_set:
            yield ("inference", name), f"{name} is empty: name an amount in it, or leave it out"
        for field, text in part:
            if text is not None:
                yield from _money(("inference", name, field), text, None, currency)


def _money(path: Path, text: str, own: str | None, general: str | None) -> Iterator[Found]:
    currency = own or general
    if currency is None:
        yield path, "the amount has no currency: add currency: USD (or another) to the policy or to this rule"
        return
    reason = check_amount(text, currency)
    if reason is not None:
        yield path, reason
