"""Policies to measure under: three, on the book and on two teams, whose twelve limits every request of a bench meets.

Owns the documents and the way they are applied. Invariants: four of the twelve limits count each agent apart; every
kind of window is among them, calendar and rolling, money and count; nothing that a bench asks for is ever refused.
"""

import asyncio
from typing import Any

from bench.http_client import HttpClient
from bench.sample import CURRENCY

TEAMS = ("bench-company", "bench-team")
"""Teams to put the agents of a bench in: the second is inside the first."""
LIMITS = 12
LIMITS_PER_AGENT = 4
MUCH = "1000000.00"
MANY = 1_000_000_000


def documents() -> list[dict[str, Any]]:
    """The three policies, as JSON documents."""
    money, count, both = {"max": MUCH}, {"max_count": MANY}, {"max": MUCH, "max_count": MANY}
    rolling, each_agent = {"rolling": True}, {"by": ["agent"]}
    return [
        _policy(
            "bench-book",
            {"book": True},
            {"id": "each", "per": "authorization", **money},
            {"id": "minute", "per": "minute", **rolling, **count},
            {"id": "day", "per": "day", **money},
            {"id": "agent-day", "per": "day", **both, **each_agent},
        ),
        _policy(
            "bench-company",
            {"team": TEAMS[0]},
            {"id": "last-hour", "per": "hour", **rolling, **money},
            {"id": "week", "per": "week", **money},
            {"id": "month", "per": "month", **both},
            {"id": "agent-hour", "per": "hour", **rolling, **money, **each_agent},
        ),
        _policy(
            "bench-team",
            {"team": TEAMS[1]},
            {"id": "hour", "per": "hour", **both},
            {"id": "lifetime", "per": "lifetime", **money},
            {"id": "agent-minute", "per": "minute", **rolling, **count, **each_agent},
            {"id": "agent-month", "per": "month", **money, **each_agent},
        ),
    ]


def _policy(name: str, scope: dict[str, Any], *limits: dict[str, Any]) -> dict[str, Any]:
    return {"policy": name, "applies_to": scope, "currency": CURRENCY, "limits": list(limits)}


def apply_policies(url: str, admin_key: str) -> None:
    """Apply the three to a book whose agents are in `TEAMS`. Raises UnexpectedStatus when the server refuses one."""
    asyncio.run(_apply(url, admin_key))


async def _apply(url: str, admin_key: str) -> None:
    async with HttpClient(url, connections=1) as client:
        for document in documents():
            await client.create("/v1/policies", document, key=admin_key)
