"""Filling new meters from history: what a limit has to know before it takes effect.

Owns ``Filling``, which adds up the uses of authorizations as they stood at one size of the log, and catches up with
the records behind it. Invariant: filled up to a size of the log, a counter holds what it would hold had its meter
counted from the first record on; that is what ``verify`` rebuilds from the rows at the same place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from ledger.core.authorization import FLAG_UNAUTHORIZED, Authorization
from ledger.core.canonical import parse
from ledger.core.counter import Counter
from ledger.core.planning import CounterKey, key_of, subject_of
from ledger.core.policy import RUNS, Meter, Subject
from ledger.core.policy_row import SCOPE_AGENT, SCOPE_BOOK
from ledger.core.principal import lineage
from ledger.core.uses import NO_USE, change_of, counts_as_one, uses_of
from ledger.core.windows import AUTHORIZATION, LIFETIME, RUN

COUNTERS_MAX: Final = 200_000
TAIL_MAX: Final = 2_000
"""Records that may be caught up with under the head's lock."""


class Trees(NamedTuple):
    """The ancestors of every agent and budget, root first, joined by ``/`` as their rows have them."""

    agents: Mapping[str, str]
    budgets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Filled:
    """What a service filled before it asked for a policy to be applied, as it stood at ``size`` records of the log:
    (kind, rule id) and basis of each rule filled, and per (kind, rule id, key) the sums of each slot of time."""

    size: int
    bases: Mapping[tuple[str, str], str]
    counted: Mapping[tuple[str, str, str], Mapping[int, tuple[int, int, int]]]


def in_scope(meter_scope: tuple[str, str], row: Authorization, trees: Trees) -> bool:
    """Whether an authorization is on the path that a policy is bound to."""
    kind, name = meter_scope
    if kind == SCOPE_BOOK:
        return True
    if kind == SCOPE_AGENT:
        return row.agent is not None and (row.agent == name or name in lineage(trees.agents.get(row.agent, "")))
    return row.budget == name or name in lineage(trees.budgets.get(row.budget, ""))


def earliest_moment(meters: Iterable[Meter], now: int) -> int:
    """The moment before which nothing counts in any of ``meters`` at ``now``; 0 where one never forgets."""
    moments = []
    for meter in meters:
        if meter.per in (RUN, LIFETIME, AUTHORIZATION) and not meter.rolling:
            return 0
        frame = meter.frame(now)
        moments.append(frame.first * frame.width if frame.width else frame.starts_at)
    return min(moments, default=now)


def slot_of(meter: Meter, moment: int) -> int:
    """The stretch of time of ``meter`` that ``moment`` lies in, named by its first moment; so what is kept while
    filling is bounded by windows and not by records."""
    if meter.rolling:
        width = meter.span[0]
        return moment // width * width
    return meter.bounds(moment)[0]


class Filling:
    """Counters of new meters of one scope while they are filled."""

    def __init__(self, book_id: int, scope: tuple[str, str], meters: Iterable[Meter], trees: Trees) -> None:
        self._book_id = book_id
        self._scope = scope
        self._meters = tuple(meters)
        self._trees = trees
        self.counted: dict[CounterKey, dict[int, list[int]]] = {}

    def add(self, row: Authorization, *, sign: int = 1) -> None:
        """Count the use of an authorization as the row has it (or take it away again)."""
        if not in_scope(self._scope, row, self._trees):
            return
        changes = change_of(NO_USE, uses_of(row))
        if counts_as_one(row):
            changes = [*changes, (row.created_at, (0, 0, 1))]
        if not changes:
            return
        subject = subject_of(row)
        for meter in self._meters:
            if meter.kind == RUNS or not meter.counts(subject) or (meter.per == RUN and subject.run is None):
                continue
            moments = self.counted.setdefault((meter.number, key_of(meter, subject)), {})
            for moment, change in changes:
                sums = moments.setdefault(slot_of(meter, moment), [0, 0, 0])
                if meter.currency is not None:
                    sums[0] += sign * change[0]
                    sums[1] += sign * change[1]
                sums[2] += sign * change[2]

    def add_run(self, agent: str, opened_at: int) -> None:
        """Count the opening of a run."""
        kind, name = self._scope
        if kind == SCOPE_AGENT and agent != name and name not in lineage(self._trees.agents.get(agent, "")):
            return
        subject = Subject(agent, "", None, "", "", None, "")
        for meter in self._meters:
            if meter.kind != RUNS:
                continue
            if meter.match is not None and meter.match.agents is not None and not meter.match.agents.match(agent):
                continue
            moments = self.counted.setdefault((meter.number, key_of(meter, subject)), {})
            moments.setdefault(slot_of(meter, opened_at), [0, 0, 0])[2] += 1

    def take(self, filled: Filled, meters: Iterable[Meter]) -> None:
        """Begin with what a service has filled."""
        numbers = {(meter.kind, meter.id): meter.number for meter in meters}
        for (kind, rule, key), slots in filled.counted.items():
            number = numbers.get((kind, rule))
            if number is not None:
                self.counted[number, key] = {slot: list(sums) for slot, sums in slots.items()}

    def filled(self, size: int, bases: Mapping[tuple[str, str], str]) -> Filled:
        """What was filled up to ``size``, to be handed to the decision."""
        named = {meter.number: (meter.kind, meter.id) for meter in self._meters}
        return Filled(
            size,
            bases,
            {
                (*named[number], key): {slot: (sums[0], sums[1], sums[2]) for slot, sums in slots.items() if any(sums)}
                for (number, key), slots in self.counted.items()
            },
        )

    def counters(self, now: int, index: int) -> list[Counter]:
        """The counters at ``now``, of what is still in their windows, made by the record at ``index``."""
        by_number = {meter.number: meter for meter in self._meters}
        made: list[Counter] = []
        for (number, key), moments in sorted(self.counted.items()):
            frame = by_number[number].frame(now)
            counter = Counter(
                self._book_id, number, key, frame.starts_at, 0, 0, 0, "[]" if frame.width else None, index
            )  # fmt: skip
            counts = False
            for moment in sorted(moments):
                sums = moments[moment]
                if any(sums) and frame.has(moment):
                    counter.add(frame, moment, (sums[0], sums[1], sums[2]))
                    counts = True
            if counts:
                made.append(counter)
        return made


def state_before(row: Authorization, body: Mapping[str, Any] | None) -> Authorization | None:
    """An authorization as it stood after the record with ``body``; None when there was none before (``body`` None).
    ``row`` gives what never changes."""
    if body is None:
        return None
    if body["kind"] == "denial" and body.get("command") == "authorize":
        return replace(row, approved=0, held=0, settled=0, refunded=0, repriced=0, portions=None)
    if body["kind"] == "charge":
        return replace(row, held=0, settled=int(body["amount"]), refunded=0, repriced=0, portions=None)
    held = body["approved"] if body["kind"] in ("hold", "approval_requested") else body["held"]
    return replace(
        row,
        approved=int(body.get("approved", row.approved)),
        held=int(held),
        settled=int(body.get("settled", "0")),
        refunded=int(body.get("refunded", "0")),
        repriced=int(body.get("repriced", "0")),
        portions=body.get("portions"),
        flags=row.flags & FLAG_UNAUTHORIZED,
    )


CHANGING_KINDS: Final = frozenset(
    (
        "hold", "approval_requested", "extension", "settlement", "release", "expiry", "refund", "charge",
        "adjustment", "approval_granted", "approval_refused",
    )
)  # fmt: skip
"""Records after which an authorization may use something else than before; an adjustment where it names one."""


def changes_use(body: Mapping[str, Any]) -> bool:
    """Whether a record may change what an authorization uses."""
    return body["kind"] in CHANGING_KINDS and "authorization" in body


def changed_since(bodies: Iterable[bytes]) -> tuple[dict[str, int | None], list[tuple[str, int]]]:
    """What records of the log change: authorization id to the index of the record before the first of these (None:
    there was none), and (agent, index of the record) of runs that were opened."""
    previous: dict[str, int | None] = {}
    runs: list[tuple[str, int]] = []
    for packed in bodies:
        body = parse(packed)
        kind = body["kind"]
        if changes_use(body):
            previous.setdefault(body["authorization"], body.get("previous"))
        elif kind == "run":
            runs.append((body["agent"], body["index"]))
    return previous, runs
