"""What an agent may still spend: every limit on its paths, and what each has left now.

Owns the reading of policies and counters for one agent. Invariants: reads only, all on the caller's connection and so
of one moment; every list is bounded, and says where it was cut; of other agents' runs and keys nothing is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from ledger.core.canonical import parse
from ledger.core.counter import NOTHING, Counter, Sums
from ledger.core.planning import CounterKey, key_of, key_text, make_plan, scopes_of
from ledger.core.policy import CompiledPolicy, Meter, Subject
from ledger.core.policy_row import SCOPE_BUDGET, Policy
from ledger.core.principal import lineage
from ledger.storage.queries_authorizations import list_runs
from ledger.storage.queries_policies import bound_to, counters_at, counters_of

KEYS_MAX: Final = 20
POLICIES_MAX: Final = 100
READS_MAX: Final = 100
"""Look-ups of keys in all; limits whose keys are not looked up any more list none, and say that there are others."""
_READ_MAX: Final = 200
_AGENT: Final = "agent"
_RUN: Final = "run"


class Left(NamedTuple):
    """What a meter has counted under one key in its window now: (settled less refunded, held, count)."""

    key: tuple[str, ...]
    sums: Sums


class LimitLeft(NamedTuple):
    """A limit, or the meter of an approval threshold. ``keys`` are those with a counter, at most 20, ``more`` says that
    there are others; where the agent alone decides the key there is exactly one. ``match`` is the document's."""

    meter: Meter
    keys: tuple[Left, ...]
    more: bool
    match: dict[str, Any] | None


class PolicyLeft(NamedTuple):
    """A policy on a path of the agent. ``budgets`` are those of the agent's budgets that it judges, None for all;
    ``thresholds`` are in the order of the document's approval rules."""

    policy: CompiledPolicy
    document: dict[str, Any]
    budgets: tuple[str, ...] | None
    limits: tuple[LimitLeft, ...]
    thresholds: tuple[LimitLeft, ...]


class Holder(NamedTuple):
    """An agent or a budget, with the path of those above it, root first."""

    name: str
    path: str

    def whole(self) -> list[str]:
        """The names of those above it, and its own."""
        return [*lineage(self.path), self.name]


def what_remains(
    connection: Connection, book_id: int, *, agent: Holder, budgets: Sequence[Holder], timezone: str, now: int
) -> tuple[list[PolicyLeft], bool]:
    """(the policies that judge the agent, each with what is left of its limits; whether there are more than 100).
    ``timezone`` is the book's, ``now`` in microseconds."""
    above: dict[str, list[str]] = {}
    for budget in budgets:
        for name in budget.whole():
            above.setdefault(name, []).append(budget.name)
    scopes = scopes_of(agent.whole(), list(above))
    bound = bound_to(connection, book_id, scopes)
    plan = make_plan(agent.name, scopes, bound.get, {}, timezone=timezone)
    rows: dict[str, Policy] = {row.name: row for found in bound.values() for row in found}
    shown = plan.policies[:POLICIES_MAX]
    reader = _Reader(connection, book_id, agent.name, now)
    reader.gather(meter for policy in shown for meter in _meters(policy))
    made = []
    for policy in shown:
        document = parse(rows[policy.name].packed.encode())["document"]
        judges = tuple(above[policy.scope]) if policy.scope_kind == SCOPE_BUDGET else None
        made.append(
            PolicyLeft(
                policy,
                document,
                judges,
                reader.limits((*policy.limits, *policy.run_limits), document.get("limits", ())),
                reader.limits((rule.meter for rule in policy.approvals), document.get("approval", ())),
            )
        )
    return made, len(plan.policies) > POLICIES_MAX


def _meters(policy: CompiledPolicy) -> tuple[Meter, ...]:
    return (*policy.limits, *policy.run_limits, *(rule.meter for rule in policy.approvals))


class _Reader:
    """Reads the counters of one agent's limits."""

    def __init__(self, connection: Connection, book_id: int, agent: str, now: int) -> None:
        self._connection = connection
        self._book_id = book_id
        self._agent = agent
        self._subject = Subject(agent, "", None, "", "", None, "")
        self._now = now
        self._known: dict[CounterKey, Counter] = {}
        self._runs: list[str] | None = None
        self._reads_left = READS_MAX

    def gather(self, meters: Iterable[Meter]) -> None:
        """Read at once the counters whose key the agent alone decides."""
        keys = [(meter.number, key_of(meter, self._subject)) for meter in meters if meter.number and _is_own(meter)]
        self._known = counters_at(self._connection, self._book_id, keys)

    def limits(self, meters: Iterable[Meter], items: Iterable[dict[str, Any]]) -> tuple[LimitLeft, ...]:
        """What is left of the limits that can concern the agent. ``items`` are the document's rules."""
        matches = {item["id"]: item.get("match") for item in items}
        return tuple(
            self._limit(meter, matches.get(meter.id))
            for meter in meters
            if meter.match is None or meter.match.agents is None or meter.match.agents.match(self._agent)
        )

    def _limit(self, meter: Meter, match: dict[str, Any] | None) -> LimitLeft:
        if not meter.number:
            return LimitLeft(meter, (Left((), NOTHING),), False, match)
        if _is_own(meter):
            text = key_of(meter, self._subject)
            return LimitLeft(meter, (self._left(meter, text, self._known.get((meter.number, text))),), False, match)
        found, more = self._counters(meter)
        # What has left the window is as if it had never been counted.
        lefts = [self._left(meter, counter.key, counter) for counter in found]
        return LimitLeft(meter, tuple(left for left in lefts if left.sums != NOTHING), more, match)

    def _left(self, meter: Meter, text: str, counter: Counter | None) -> Left:
        sums = NOTHING if counter is None else counter.seen(meter.frame(self._now))
        return Left(tuple(parse(text.encode())), sums)

    def _counters(self, meter: Meter) -> tuple[list[Counter], bool]:
        """The counters of a meter that the agent may see, and whether there are more."""
        if meter.by[0] == _RUN:
            return self._of_runs(meter)
        prefix = f"{key_text((self._agent,))[:-1]}," if meter.by[0] == _AGENT else ""
        place = meter.by.index(_AGENT) if _AGENT in meter.by else None
        if place is None and _RUN not in meter.by and any(word.startswith("label.") for word in meter.by):
            # Labels are what other agents wrote: a customer's name is not for everybody under the same limit.
            return [], True
        most = KEYS_MAX + 1 if place in (None, 0) and _RUN not in meter.by else _READ_MAX
        if not self._reads_left:
            return [], True
        found = self._read(meter, prefix, most)
        more = len(found) == most
        if place is not None:
            found = [counter for counter in found if parse(counter.key.encode())[place] == self._agent]
        if _RUN in meter.by:
            runs, at = set(self._own_runs()), meter.by.index(_RUN)
            found = [counter for counter in found if parse(counter.key.encode())[at] in runs]
        return found[:KEYS_MAX], more or len(found) > KEYS_MAX

    def _of_runs(self, meter: Meter) -> tuple[list[Counter], bool]:
        runs = self._own_runs()
        if not self._reads_left:
            return [], True
        if len(meter.by) == 1:
            self._reads_left -= 1
            keys = [(meter.number, key_text((run,))) for run in runs]
            known = counters_at(self._connection, self._book_id, keys)
            return [known[key] for key in keys if key in known], len(runs) >= KEYS_MAX
        found: list[Counter] = []
        more = len(runs) >= KEYS_MAX
        for run in runs:
            if not self._reads_left or len(found) > KEYS_MAX:
                more = True
                break
            found += self._read(meter, f"{key_text((run,))[:-1]},", KEYS_MAX + 1)
        if _AGENT in meter.by:
            place = meter.by.index(_AGENT)
            found = [counter for counter in found if parse(counter.key.encode())[place] == self._agent]
        return found[:KEYS_MAX], more or len(found) > KEYS_MAX

    def _read(self, meter: Meter, prefix: str, limit: int) -> list[Counter]:
        self._reads_left -= 1
        return counters_of(self._connection, self._book_id, meter.number, prefix=prefix, limit=limit)

    def _own_runs(self) -> list[str]:
        """The newest runs of the agent."""
        if self._runs is None:
            page = list_runs(self._connection, self._book_id, agent=self._agent, limit=KEYS_MAX)
            self._runs = [item.run.name for item in page.items]
        return self._runs


def _is_own(meter: Meter) -> bool:
    """Whether the agent alone decides under which key the meter counts it."""
    return all(word == _AGENT for word in meter.by)
