"""Who may ask: agents and teams, persons, and the keys that name them.

Invariants: an agent's place in the tree never changes; a key names one principal and one role for good; only its
expiry (sooner) and its revocation change. A principal is written ``agent:NAME`` or ``person:NAME``.
"""

from dataclasses import dataclass
from typing import Final

KIND_AGENT: Final = "agent"
KIND_TEAM: Final = "team"
DEPTH_MAX: Final = 16

OWNER_PRINCIPAL: Final = "system:database-owner"


@dataclass(slots=True)
class Agent:
    """One row of ``agents``: an agent or a team. ``path`` names its ancestors, root first, joined by ``/``."""

    book_id: int
    name: str
    id: str
    kind: str
    parent: str | None
    path: str
    frozen: bool
    created_index: int
    changed_index: int


@dataclass(slots=True)
class AgentCount:
    """One row of ``agent_counts``: how many of an agent's settlements were not what it had asked for."""

    book_id: int
    agent: str
    mismatches: int
    changed_index: int


@dataclass(slots=True)
class Person:
    """One row of ``persons``: somebody who holds keys with a role other than agent."""

    book_id: int
    name: str
    created_index: int


@dataclass(slots=True)
class Key:
    """One row of ``api_keys``. ``digest`` is the SHA-256 of the whole key; times in microseconds."""

    book_id: int
    digest: bytes
    id: str
    role: str
    principal: str
    made_by: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    created_index: int
    changed_index: int


def lineage(path: str) -> list[str]:
    """The ancestors that a ``path`` names, root first."""
    return path.split("/") if path else []


def agent_name(principal: str) -> str | None:
    """The agent that a principal is, or None for a person or the system."""
    return principal[6:] if principal.startswith("agent:") else None
