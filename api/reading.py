"""Requests that read a book: who asks, what they may see, and one moment of the database to see it in.

Owns ``Reading``. Invariants: the key is looked up anew for every read, so a revoked one ends at once in every process;
everything a request reads comes from one transaction and from its key's own book; an agent sees only what is its own.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Query, Request
from fastapi.responses import Response
from sqlalchemy import Connection

from api.context import Context
from api.edge_state import asked_of, context_of
from api.problems import ProblemError
from api.rendering import Scale
from api.reply import json_reply
from api.writing import response_of
from ledger.core import roles
from ledger.core.outcome import Status
from ledger.core.principal import Agent, Key, agent_name, lineage
from ledger.storage import queries_principals
from ledger.storage.paging import LIMIT_MAX, Page

Item = TypeVar("Item")
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Items on a page.")]
Cursor = Annotated[
    str | None, Query(max_length=512, description="next_cursor of the page before; left out for the first page.")
]


class Reading:
    """One authenticated read. ``agent`` is the asking agent, None for a person."""

    def __init__(self, context: Context, connection: Connection, book_id: int, key: Key) -> None:
        self.context = context
        self.connection = connection
        self.book_id = book_id
        self.key = key
        name = agent_name(key.principal)
        self.agent: Agent | None = None
        if name is not None:
            self.agent = queries_principals.agent(connection, book_id, name)

    def own_agents(self) -> list[str]:
        """The asking agent and everyone above it: whose budgets and runs it may see."""
        if self.agent is None:
            return []
        return [self.agent.name, *lineage(self.agent.path)]

    def scale(self, currencies: Iterable[str]) -> Scale:
        """The digits of currencies and units that are known to exist."""
        return self.context.scale_in(self.connection, self.book_id, set(currencies))

    def agent_named(self, reference: str) -> str:
        """The name behind a name or id of an agent. Raises ProblemError ``not_found``."""
        return found(queries_principals.agent(self.connection, self.book_id, reference), f"agent {reference}").name


@contextlib.contextmanager
def reading(request: Request, operation: str, *, again: bool = False, of_run: bool = False) -> Iterator[Reading]:
    """Let a read in: its headers, its key's rate (but not ``again``), its key, its role. A key that is for one run
    reads only what says ``of_run``, and there only what is its run's. Raises ProblemError."""
    context, asked = context_of(request), asked_of(request)
    parsed = context.admit(asked, 0 if again else 1)
    with context.engine.connect() as connection:
        key = queries_principals.key_by_digest(connection, parsed.book_id, parsed.digest)
        if key is None:
            raise ProblemError(Status.KEY_UNKNOWN.value)
        if key.revoked_at is not None:
            raise ProblemError(Status.KEY_REVOKED.value)
        if key.expires_at is not None and key.expires_at <= context.sources.now_us():
            raise ProblemError(Status.KEY_EXPIRED.value)
        if not roles.allowed(operation, key.role):
            raise ProblemError(
                Status.ROLE_NOT_ALLOWED.value,
                f"a key with role {key.role} may not read this; roles that may: "
                + ", ".join(sorted(roles.PERMISSIONS[operation])),
            )
        if key.run is not None and not of_run:
            raise ProblemError(
                Status.KEY_RUN_ONLY.value,
                f"the key is for run {key.run} only: it reads /v1/me, the run, its spending",
            )
        yield Reading(context, connection, parsed.book_id, key)


def role_of_key(key: str, request: Request) -> str:
    """The role of the key that a path names, for its successor's text; of an unknown key, any role, because the core
    will refuse."""
    context, asked = context_of(request), asked_of(request)
    # The command itself takes the token of this request.
    parsed = context.admit(asked, 0)
    with context.engine.connect() as connection:
        old = queries_principals.key_by_id(connection, parsed.book_id, key)
    return old.role if old is not None else roles.AGENT


def found(thing: Item | None, what: str) -> Item:
    """The thing, if it is there. Raises ProblemError ``not_found``."""
    if thing is None:
        raise ProblemError(Status.NOT_FOUND.value, f"there is no {what[:160]}")
    return thing


def answer(content: Any) -> Response:
    """An answer to a read."""
    return response_of(json_reply(200, content))


def answer_page(page: Page[Item], show: Callable[[Item], Any]) -> Response:
    """An answer with one page of a list."""
    after = page.after
    return answer(
        {"items": [show(item) for item in page.items], "next_cursor": None if after is None else cursor_text(after)}
    )


def cursor_text(after: Sequence[int | str]) -> str:
    """Where the next page begins, as a client sends it back."""
    return base64.urlsafe_b64encode(orjson.dumps(list(after))).rstrip(b"=").decode()


def cursor_parts(cursor: str | None, *kinds: type) -> Any:
    """The parts of a cursor, of these kinds (one kind: the part itself), or None without a cursor. Raises ProblemError
    for one that no list gave out."""
    if cursor is None:
        return None
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error) as error:
        raise _bad_cursor() from error
    if (
        not isinstance(parts, list)
        or len(parts) != len(kinds)
        or not all(type(part) is kind for part, kind in zip(parts, kinds, strict=True))
        or any(isinstance(part, int) and not 0 <= part < 2**62 for part in parts)
        or any(isinstance(part, str) and not part.isprintable() for part in parts)
    ):
        raise _bad_cursor()
    return parts[0] if len(parts) == 1 else tuple(parts)


def _bad_cursor() -> ProblemError:
    errors = [{"pointer": "/cursor", "code": "validation_failed", "detail": "This is no cursor of this list"}]
    return ProblemError("validation_failed", "cursor: use next_cursor of the page before", facts={"errors": errors})
