"""Members that one JSON object has twice: refused, because which of the two was meant is anybody's guess.

Invariant: no body passes in which an object names a member twice. Nearly every body is cleared by counting colons,
since the parsed request tells how many members it has at least; only one with more is read again, slowly.
"""

from __future__ import annotations

import json
from typing import Any

from api.problems import ProblemError


def refuse_duplicates(body: bytes, members: int) -> None:
    """Raise ProblemError ``duplicate_field`` for JSON in which an object names a member twice. ``members`` is how many
    members the parsed request has at every level together, or fewer."""
    # Each member brings a colon of its own, after its quote or after a space; texts can only bring more.
    if body.count(b":") <= members:
        return
    # Tabs and line ends stand between members only, because a text must write them otherwise.
    laid_out = b"\n" in body or b"\t" in body or b"\r" in body
    if not laid_out and body.count(b'":') <= members and b" :" not in body:
        return
    json.loads(body, object_pairs_hook=_once)


def members_of_text(text: str) -> int:
    """How many members compact JSON text has, or fewer."""
    return text.count('":') - text.count('\\":')


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ProblemError("duplicate_field")
