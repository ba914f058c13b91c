"""Books to measure: a team, agents with keys, and budgets with more than enough allocated, made over HTTP.

Invariant: no request of a measured run is denied for lack of money, so that every answer is an approval.
"""

import asyncio
import secrets
from collections.abc import Sequence

from bench.http_client import HttpClient
from bench.sample import CURRENCY
from bench.wire import Principal

SET_UP_CONNECTIONS = 16
ALLOCATED = "1000000.00"
AGENTS = 50


def set_up_book(
    url: str,
    admin_key: str,
    *,
    agents: int = AGENTS,
    budgets: int = AGENTS,
    currency: str = CURRENCY,
    teams: Sequence[str] = (),
) -> tuple[Principal, ...]:
    """Make a team with agents and budgets; return who may spend from what.

    With as many budgets as agents or more, the budgets are dealt out among the agents; with fewer, several
    agents share each. Names are new each time; but `teams` names new teams, each inside the one before, and the
    agents are in the last. Raises UnexpectedStatus when the server refuses a step.
    """
    return asyncio.run(_set_up(url, admin_key, agents=agents, budgets=budgets, currency=currency, teams=tuple(teams)))


def deal(agents: Sequence[str], budgets: Sequence[str]) -> dict[str, list[str]]:
    """Which agents may spend from each budget: none goes without, on either side.

    >>> deal(["a", "b"], ["x", "y", "z"])
    {'x': ['a'], 'y': ['b'], 'z': ['a']}
    >>> deal(["a", "b"], ["x"])
    {'x': ['a', 'b']}
    """
    holders: dict[str, list[str]] = {budget: [] for budget in budgets}
    for turn in range(max(len(agents), len(budgets))):
        holders[budgets[turn % len(budgets)]].append(agents[turn % len(agents)])
    return holders


async def _set_up(
    url: str, admin_key: str, *, agents: int, budgets: int, currency: str, teams: tuple[str, ...]
) -> tuple[Principal, ...]:
    token = secrets.token_hex(3)
    teams = teams or (f"bench-{token}",)
    agent_names = [f"agent-{token}-{number:04d}" for number in range(agents)]
    holders = deal(agent_names, [f"budget-{token}-{number:04d}" for number in range(budgets)])
    async with HttpClient(url, connections=SET_UP_CONNECTIONS) as client:

        async def make_agent(name: str) -> tuple[str, str]:
            await client.create("/v1/agents", {"name": name, "parent": teams[-1]}, key=admin_key)
            made = await client.create("/v1/keys", {"role": "agent", "agent": name}, key=admin_key)
            return name, str(made["key"])

        async def make_budget(name: str) -> None:
            body = {"name": name, "currency": currency, "parent": None, "agents": holders[name]}
            await client.create("/v1/budgets", body, key=admin_key)
            amount = {"amount": {"amount": ALLOCATED, "currency": currency}}
            await client.create(f"/v1/budgets/{name}/allocations", amount, key=admin_key)

        for parent, team in zip((None, *teams), teams, strict=False):
            await client.create("/v1/teams", {"name": team} | ({"parent": parent} if parent else {}), key=admin_key)
        keys = dict(await asyncio.gather(*map(make_agent, agent_names)))
        await asyncio.gather(*map(make_budget, holders))
    return tuple(
        Principal(keys[agent], tuple(budget for budget, several in holders.items() if agent in several))
        for agent in agent_names
    )
