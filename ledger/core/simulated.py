"""What a simulation found: how many of the past requests a candidate policy would have answered otherwise.

Owns the categories and their sums. Invariants: each request that was looked at is in exactly one category or
unchanged; the sums of the agents add up to the sums of the categories; what is kept is bounded by the agents and rules
there are, never by the length of the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

NEWLY_DENIED: Final = "newly_denied"
NEWLY_APPROVED: Final = "newly_approved"
NEWLY_ASKING: Final = "newly_needing_approval"
NO_LONGER_ASKING: Final = "no_longer_needing_approval"
APPROVED_FOR_LESS: Final = "approved_for_less"
CATEGORIES: Final = (NEWLY_DENIED, NEWLY_APPROVED, NEWLY_ASKING, NO_LONGER_ASKING, APPROVED_FOR_LESS)
"""What may have become of a request under the candidate, where it is not what really became of it."""

AUTHORIZATION: Final = "authorization"
EXTENSION: Final = "extension"
RUN: Final = "run"
SORTS: Final = (AUTHORIZATION, EXTENSION, RUN)
"""What was asked: to spend, to extend a hold, to open a run."""


class Example(NamedTuple):
    """One request of a category. ``moment`` in microseconds, ``amount`` in atoms (of what is concerned: all that was
    asked, or what it would have been approved for less); ``rule`` is ``policy/id``, that of the candidate, or of the
    live version where that one refused. ``observed``, ``limit`` and ``remaining`` are atoms, or requests where
    ``counted``; None where the rule looks at no value."""

    moment: int
    log_index: int
    sort: str
    reference: str
    agent: str
    amount: int
    currency: str
    code: str
    rule: str
    detail: str
    observed: int | None = None
    limit: int | None = None
    remaining: int | None = None
    counted: bool = False


@dataclass(slots=True)
class Tally:
    """Requests of one category: how many by sort, atoms asked by currency, and atoms by currency that those which
    really held went on to spend, as far as the period shows."""

    counts: dict[str, int] = field(default_factory=dict)
    amounts: dict[str, int] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many requests, of whatever sort."""
        return sum(self.counts.values())

    def add(self, sort: str, amount: int, currency: str) -> None:
        """One more."""
        self.counts[sort] = self.counts.get(sort, 0) + 1
        if amount:
            self.amounts[currency] = self.amounts.get(currency, 0) + amount

    def spend(self, atoms: int, currency: str) -> None:
        """What a request of the category really spent more (or, refunded, less)."""
        self.spent[currency] = self.spent.get(currency, 0) + atoms

    def take(self, other: "Tally") -> None:
        """Add what another tally has."""
        for own, theirs in ((self.counts, other.counts), (self.amounts, other.amounts), (self.spent, other.spent)):
            for name, value in theirs.items():
                own[name] = own.get(name, 0) + value


class AgentSums(NamedTuple):
    """One agent's requests in the policy's scope, and what became otherwise by category. The agent "" is the rest."""

    agent: str
    requests: int
    tallies: Mapping[str, Tally]


@dataclass(slots=True)
class _Agent:
    requests: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)


class Findings:
    """What a simulation has found so far. ``requests`` were in the policy's scope, ``outside`` not; ``freezes`` are the
    first (moment, agent) that a loop rule would have frozen, and ``freeze_count`` how many times."""

    def __init__(self, *, examples_max: int) -> None:
        self._examples_max = examples_max
        self._agents: dict[str, _Agent] = {}
        self.requests = Tally()
        self.outside = 0
        self.denied_by_others = 0
        self.not_offering_to_wait = 0
        self.tallies = {category: Tally() for category in CATEGORIES}
        self.rules: dict[str, dict[str, Tally]] = {category: {} for category in CATEGORIES}
        self.examples: dict[str, list[Example]] = {category: [] for category in CATEGORIES}
        self.freezes: list[tuple[int, str]] = []
        self.freeze_count = 0

    def ask(self, sort: str, agent: str, amount: int, currency: str) -> None:
        """One request in scope was looked at."""
        self.requests.add(sort, amount, currency)
        found = self._agents.get(agent)
        if found is None:
            found = self._agents[agent] = _Agent()
        found.requests += 1

    def change(self, category: str, example: Example) -> None:
        """One request would have been answered otherwise."""
        sort, amount, currency = example.sort, example.amount, example.currency
        self.tallies[category].add(sort, amount, currency)
        rules = self.rules[category]
        if example.rule not in rules:
            rules[example.rule] = Tally()
        rules[example.rule].add(sort, amount, currency)
        self._agent_tally(category, example.agent).add(sort, amount, currency)
        examples = self.examples[category]
        if len(examples) < self._examples_max:
            examples.append(example)

    def spend(self, category: str, agent: str, atoms: int, currency: str) -> None:
        """A request of a category really spent ``atoms`` more."""
        self.tallies[category].spend(atoms, currency)
        self._agent_tally(category, agent).spend(atoms, currency)

    def freeze(self, moment: int, agent: str) -> None:
        """The candidate would have frozen an agent."""
        self.freeze_count += 1
        if len(self.freezes) < self._examples_max:
            self.freezes.append((moment, agent))

    def _agent_tally(self, category: str, agent: str) -> Tally:
        found = self._agents.get(agent)
        if found is None:
            found = self._agents[agent] = _Agent()
        tally = found.tallies.get(category)
        if tally is None:
            tally = found.tallies[category] = Tally()
        return tally

    @property
    def unchanged(self) -> int:
        """Requests in scope whose answer would have been the same."""
        return self.requests.count - sum(tally.count for tally in self.tallies.values())

    def agents(self, most: int) -> list[AgentSums]:
        """The ``most`` agents of whom most would have changed, then the rest as one; nobody without a request."""
        ordered = sorted(
            self._agents.items(),
            key=lambda item: (-sum(tally.count for tally in item[1].tallies.values()), -item[1].requests, item[0]),
        )
        listed = [AgentSums(name, found.requests, found.tallies) for name, found in ordered[:most]]
        if len(ordered) > most:
            rest: dict[str, Tally] = {}
            for _, found in ordered[most:]:
                for category, tally in found.tallies.items():
                    rest.setdefault(category, Tally()).take(tally)
            listed.append(AgentSums("", sum(found.requests for _, found in ordered[most:]), rest))
        return listed
