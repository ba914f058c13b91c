"""Policies as they are kept: the live version of each, and every version there was.

Invariant: a version's document never changes; the live row points at the version that decides now.
"""

from dataclasses import dataclass
from typing import Final

SCOPE_BOOK: Final = "book"
SCOPE_AGENT: Final = "agent"
SCOPE_BUDGET: Final = "budget"
SCOPES: Final = (SCOPE_BOOK, SCOPE_AGENT, SCOPE_BUDGET)
"""A team's policy has scope ``agent``: teams and agents share their names."""


@dataclass(slots=True)
class Policy:
    """One row of ``policies``: what is live under a name. ``packed`` is canonical JSON of the compiled inputs
    (``document``, ``digits`` of each currency, ``meters``); ``retired`` policies bind nobody."""

    book_id: int
    name: str
    id: str
    version: int
    scope_kind: str
    scope: str
    digest: str
    packed: str
    retired: bool
    created_index: int
    changed_index: int


@dataclass(slots=True)
class PolicyVersion:
    """One row of ``policy_versions``."""

    book_id: int
    policy: str
    version: int
    digest: str
    packed: str
    made_by: str
    recorded_at: int
    created_index: int
