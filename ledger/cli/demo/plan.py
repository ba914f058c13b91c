"""The demo's organization and its day: who may spend what, and the tasks of each agent, made from a seed.

Invariant: the same seed gives the same plan. Amounts are exact decimals of US dollars; nothing here talks to a server.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

CURRENCY = "USD"
ORGANIZATION = "organization"
MILLION = 1_000_000


class Model(NamedTuple):
    """A language model with its price in dollars for a million tokens, as providers list such prices."""

    name: str
    payee: str
    input_price: Decimal
    output_price: Decimal

    def cost(self, *, input_tokens: int, output_tokens: int) -> Decimal:
        """Dollars for one call, exactly."""
        return (input_tokens * self.input_price + output_tokens * self.output_price) / MILLION


MODELS = {
    "gpt-5": Model("gpt-5", "openai", Decimal("1.25"), Decimal("10.00")),
    "gpt-5-mini": Model("gpt-5-mini", "openai", Decimal("0.25"), Decimal("2.00")),
    "claude-sonnet-4-5": Model("claude-sonnet-4-5", "anthropic", Decimal("3.00"), Decimal("15.00")),
    "claude-haiku-4-5": Model("claude-haiku-4-5", "anthropic", Decimal("1.00"), Decimal("5.00")),
}


class Member(NamedTuple):
    """One agent as the plan begins: its team, the models it calls, what it does, and how tight its budget is."""

    name: str
    team: str
    models: tuple[str, ...]
    intents: tuple[str, ...]
    search_share: int
    budget_percent: int


MEMBERS = (
    Member("crawler", "research", ("gpt-5-mini",), ("read a page", "find sources", "extract a table"), 45, 130),
    Member("analyst", "research", ("gpt-5", "claude-sonnet-4-5"), ("compare offers", "check a claim"), 10, 130),
    Member("writer", "research", ("claude-sonnet-4-5",), ("draft a section", "shorten a report"), 5, 130),
    Member("triage", "support", ("gpt-5-mini", "claude-haiku-4-5"), ("sort a ticket", "detect a language"), 0, 85),
    Member("resolver", "support", ("gpt-5", "claude-haiku-4-5"), ("answer a ticket", "write a reply"), 10, 130),
)
TEAMS = ("research", "support")
RUNS_PER_AGENT = 3

# What a task does besides being asked for and settled; of a hundred tasks, so many are of that kind.
SHARES = {
    "call": 73,
    "partial": 8,
    "extend": 5,
    "release": 5,
    "retry": 4,
    "retry_closed": 1,
    "overrun": 2,
    "mismatch": 2,
}
# Scenes stand at fixed places of each agent's day, so that every run of the demo shows each of them.
SCENES = {0.15: "expire", 0.3: "blocked", 0.45: "too_much", 0.6: "expire_late", 0.98: "in_flight"}
FREEZE_AT = 0.5
FROZEN_AGENT = "resolver"


class Task(NamedTuple):
    """One thing an agent spends on: at most ``worst``, in the end ``actual`` dollars."""

    kind: str
    category: str
    payee: str
    resource: str
    intent: str
    worst: Decimal
    actual: Decimal
    run: str


@dataclass(frozen=True)
class AgentPlan:
    """An agent's day, and what its budget gets in the morning."""

    name: str
    team: str
    allocated: Decimal
    runs: tuple[str, ...]
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Plan:
    """The whole day. Budgets: the organization, below it a budget for each team, below that one for each agent."""

    agents: tuple[AgentPlan, ...]
    team_allocations: dict[str, Decimal]
    organization_allocation: Decimal

    @property
    def task_count(self) -> int:
        """Tasks of all agents."""
        return sum(len(agent.tasks) for agent in self.agents)


def half_dollars(amount: Decimal) -> Decimal:
    """The amount, rounded up to half dollars."""
    return (amount * 2).quantize(Decimal(1), rounding=ROUND_CEILING) / 2


def make_plan(*, seed: int, tasks_per_agent: int) -> Plan:
    """The plan of a seed."""
    agents = tuple(_agent_plan(member, seed=seed, count=tasks_per_agent) for member in MEMBERS)
    teams = {
        team: half_dollars(sum((agent.allocated for agent in agents if agent.team == team), Decimal(5)))
        for team in TEAMS
    }
    return Plan(agents, teams, half_dollars(sum(teams.values(), Decimal(0)) * Decimal("1.2")))


def _agent_plan(member: Member, *, seed: int, count: int) -> AgentPlan:
    chance = random.Random(f"{seed}:{member.name}")
    runs = tuple(f"{member.name}-{number + 1}" for number in range(RUNS_PER_AGENT))
    kinds = chance.choices(list(SHARES), weights=list(SHARES.values()), k=count)
    for place, scene in SCENES.items():
        kinds[int(place * count)] = scene
    if member.name == FROZEN_AGENT:
        kinds[int(FREEZE_AT * count)] = "frozen"
    tasks = tuple(
        _task(member, chance, kind=kind, run=runs[number * len(runs) // count]) for number, kind in enumerate(kinds)
    )
    needed = sum((task.actual for task in tasks), Decimal(0)) * member.budget_percent / 100
    return AgentPlan(member.name, member.team, half_dollars(needed), runs, tasks)


def _task(member: Member, chance: random.Random, *, kind: str, run: str) -> Task:
    intent = chance.choice(member.intents)
    if chance.randrange(100) < member.search_share:
        # A search has a fixed price, so what is held is what is spent; an overrun would not be one.
        fee = Decimal("0.0010") * chance.randint(1, 3)
        searched = "call" if kind in SHARES and kind not in ("retry", "release") else kind
        return Task(searched, "search", "serper", "web-search", intent, fee, fee, run)
    model = MODELS[chance.choice(member.models)]
    input_tokens = int(chance.lognormvariate(9.5, 0.7)) + 50
    output_tokens_max = chance.choice((800, 1500, 2500))
    output_tokens = min(int(chance.lognormvariate(5.8, 0.7)) + 10, output_tokens_max)
    worst = model.cost(input_tokens=input_tokens, output_tokens=output_tokens_max)
    actual = model.cost(input_tokens=input_tokens, output_tokens=output_tokens)
    if kind == "overrun":
        # The provider counted more input than the estimate did.
        worst, actual = actual, model.cost(input_tokens=input_tokens + 700, output_tokens=output_tokens)
    return Task(kind, "inference", model.payee, model.name, intent, worst, actual, run)
