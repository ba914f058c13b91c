"""Who may ask: agents and teams, persons, and the keys that name them.

Invariants: an agent's place in the tree never changes; a key names one principal, one role and at most one run for
good; only its expiry (sooner) and its revocation change. A principal is written ``agent:NAME`` or ``person:NAME``.
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
    """One row of ``api_keys``. ``digest`` is the SHA-256 of the whole key; times in microseconds. ``run`` is the only
    run that a key of an agent is for (None: any). Where an agent made it, ``vouched_by`` is who made the key that it
    was made with, so that who stands behind a key is a person or the system."""

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
    run: str | None = None
    vouched_by: str | None = None

    @property
    def backer(self) -> str:
        """Who stands behind the key, and so has no voice in what is asked with it."""
        return self.vouched_by or self.made_by


def lineage(path: str) -> list[str]:
    """The ancestors that a ``path`` names, root first."""
    return path.split("/") if path else []


def agent_name(principal: str) -> str | None:
    """The agent that a principal is, or None for a person or the system."""
    return principal[6:] if principal.startswith("agent:") else None
