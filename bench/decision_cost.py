"""What one decision costs in the processor, and which part of it policies are: the core alone, in this process.

Owns the measurement of evaluation (every limit on the path judged) and of counting (every counter changed, and the
rows made of them), apart from reading, writing and HTTP. Invariant: nothing is written; what is decided is forgotten.
"""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count

from bench import sample
from bench.wire import Principal
from ledger.core import ids
from ledger.core.changeset import Changeset
from ledger.core.command import Authorize, Caller
from ledger.core.decide import accept, decide
from ledger.core.judging import Asking, judge
from ledger.core.merkle import Frontier
from ledger.core.missing import ROUNDS_MAX, missing
from ledger.core.needs import Needs
from ledger.core.outcome import Status
from ledger.core.planning import Plan
from ledger.core.policy import Subject
from ledger.core.principal import agent_name
from ledger.core.snapshot import NEVER, Snapshot
from ledger.core.working import Batch
from ledger.services.sources import Sources, parse_key
from ledger.storage.writer import BookWriter, open_writer

BATCH = 64
"""Requests decided together, as when so many connections wait for an answer."""
WARM_BATCHES = 4
ATOMS = 50_000
HASHED_BYTES = 1_500
LOCK_SECONDS = 30.0


class NotComparable(Exception):
    """The book is not as the measurement needs it: a request was not approved, or does not meet the limits it must."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor seconds for one decision, or one part of one, one figure a round.

    `saying` is what a decision under policies costs beyond one without, less `evaluation` and `counting`: what was seen
    is written into the record, and hashed with it. `hashing` is a bare SHA-256 of ``HASHED_BYTES``.
    """

    without: list[float] = field(default_factory=list)
    limited: list[float] = field(default_factory=list)
    evaluation: list[float] = field(default_factory=list)
    counting: list[float] = field(default_factory=list)
    saying: list[float] = field(default_factory=list)
    hashing: list[float] = field(default_factory=list)

    def ratio(self, part: str, yardstick: str) -> float:
        """The median over the rounds of one figure by another."""
        pairs = zip(getattr(self, part), getattr(self, yardstick), strict=True)
        return statistics.median(one / other for one, other in pairs)

    def microseconds(self, part: str) -> float:
        """The median of a figure, for the record beside a ratio."""
        return statistics.median(getattr(self, part)) * 1e6


class Decider:
    """A book's facts as a warm server knows them, and a batch of requests that can be decided again and again."""

    def __init__(self, database_url: str, principals: Sequence[Principal], *, limits: int) -> None:
        """Read what a batch of the principals' requests needs. Each must meet ``limits`` limits. Raises NotComparable,
        StorageError."""
        self._sources = Sources()
        self._numbers = count(1)
        self._principals = principals
        writer = open_writer(database_url, lock_timeout_seconds=LOCK_SECONDS)
        try:
            self.snapshot = self._read_book(writer)
            for _ in range(WARM_BATCHES):
                commands = self._commands()
                self._read(writer, commands)
                accept(self.snapshot, self._decided(commands))
                self._note_nothing_due()
            self.commands = self._commands()
            self._read(writer, self.commands)
        finally:
            writer.rollback()
            writer.close()
        self.now = self.snapshot.head.recorded_at
        self.asked = self._asked(limits)

    def _read_book(self, writer: BookWriter) -> Snapshot:
        parsed = parse_key(self._principals[0].key)
        opening = writer.begin(parsed.book_id, Needs()) if parsed is not None else None
        known = writer.read_book()
        if opening is None or opening.head is None or known is None:
            raise NotComparable("the database has no book that the keys are of")
        head = opening.head
        snapshot = Snapshot(known[0], head, Frontier.from_bytes(head.size, head.frontier), known[1])
        self.now = max(opening.clock_us, head.recorded_at)
        self.snapshot = snapshot
        self._note_nothing_due()
        return snapshot

    def _note_nothing_due(self) -> None:
        """Expiries and renewals are work of their own."""
        self.snapshot.due_complete = self.snapshot.renewals_complete = True
        self.snapshot.next_due_at = self.snapshot.next_renewal_at = NEVER

    def _commands(self) -> list[Authorize]:
        body = sample.authorization_request()
        commands = []
        for _ in range(BATCH):
            number = next(self._numbers)
            principal = self._principals[number % len(self._principals)]
            parsed = parse_key(principal.key)
            commands.append(
                Authorize(
                    caller=Caller(parsed.digest if parsed is not None else None),
                    idempotency_key=f"cost-{number:012d}",
                    id=self._sources.new_id(ids.AUTHORIZATION),
                    amount=body["amount"]["amount"],
                    currency=body["amount"]["currency"],
                    category=body["category"],
                    payee=body["payee"],
                    resource=body["resource"],
                    budget=principal.budgets[0],
                    intent=body["intent"],
                    ttl_seconds=body["ttl_seconds"],
                    labels=tuple(sorted(body["labels"].items())),
                )
            )
        return commands

    def _read(self, writer: BookWriter, commands: Sequence[Authorize]) -> None:
        for _ in range(ROUNDS_MAX):
            needs = missing(self.snapshot, commands)
            if not needs:
                return
            writer.read(needs).put_into(self.snapshot)

    def _decided(self, commands: Sequence[Authorize]) -> Changeset:
        outcomes, changeset = decide(self.snapshot, commands, self.now)
        for outcome in outcomes:
            if outcome.status is not Status.APPROVED:
                raise NotComparable(f"a request was not approved: {outcome.status.value} {outcome.detail or ''}")
        return changeset

    def _asked(self, limits: int) -> list[tuple[Plan, Asking]]:
        """What the batch asks of the policies on each path."""
        batch = Batch(self.snapshot, self.now)
        asked = []
        for command in self.commands:
            agent = agent_name(batch.admit(command)[0])
            standing = batch.standing((agent or "", command.budget))
            if agent is None or standing is None:
                raise NotComparable("a caller is no agent that has spent before")
            subject = Subject(
                agent, standing.budget.name, None, command.category, command.payee, command.resource,
                command.currency, command.labels,
            )  # fmt: skip
            found = len(standing.plan.applied(subject).limits)
            if found != limits:
                raise NotComparable(f"a request meets {found} limits, and must meet {limits}")
            asked.append((standing.plan, Asking(subject, ATOMS, ATOMS, 1, self.now, False)))
        return asked

    def decide(self) -> None:
        """Decide the batch."""
        decide(self.snapshot, self.commands, self.now)

    def evaluate(self) -> None:
        """Judge the batch by the policies, and no more."""
        counter_of = Batch(self.snapshot, self.now).counter
        for plan, asking in self.asked:
            judge(plan, asking, counter_of)

    def count(self) -> None:
        """Count the batch in every counter, and make the rows that are to be written."""
        batch = Batch(self.snapshot, self.now)
        for plan, asking in self.asked:
            batch.count_hold(plan.applied(asking.subject).counted, ATOMS)
        batch.changeset()

    def nothing(self) -> None:
        """What ``count`` does beside counting."""
        Batch(self.snapshot, self.now).changeset()


def measure(without: Decider, limited: Decider, *, rounds: int, seconds: float) -> Costs:
    """Measure every part once a round, each for about ``seconds`` of processor time."""
    costs = Costs()
    data = bytes(HASHED_BYTES)

    def hashing() -> None:
        for _ in range(BATCH):
            sha256(data).digest()

    for _ in range(rounds):
        costs.hashing.append(_seconds_each(hashing, seconds))
        costs.without.append(_seconds_each(without.decide, seconds))
        costs.limited.append(_seconds_each(limited.decide, seconds))
        costs.evaluation.append(_seconds_each(limited.evaluate, seconds))
        beside = _seconds_each(limited.nothing, seconds / 4)
        costs.counting.append(_seconds_each(limited.count, seconds) - beside)
        costs.saying.append(costs.limited[-1] - costs.without[-1] - costs.evaluation[-1] - costs.counting[-1])
    return costs


def _seconds_each(work: Callable[[], None], seconds: float) -> float:
    """Processor seconds of this process for one of the ``BATCH`` things that ``work`` does."""
    gc.collect()
    times = 0
    started = time.process_time()
    ends = started + seconds
    while (now := time.process_time()) < ends or not times:
        work()
        times += 1
    return (now - started) / times / BATCH
