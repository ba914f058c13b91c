"""Routes for whoever runs the server: is it alive, is it ready, what does it count, what does a problem mean."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.context import Context
from api.edge_state import asked_of, context_of
from api.logs import SERVER
from api.metrics import CONTENT_TYPE
from api.problems import ROWS, ProblemError
from api.reading import answer
from api.reply import Reply
from api.routes.answers import PROBLEMS
from api.writing import response_of
from ledger.storage import migrate, queries_budgets, queries_log
from ledger.storage.errors import StorageError

router = APIRouter(tags=["operations"])
Money = list[tuple[str, str, int, int]]
"""(book, currency, held atoms, spent atoms)."""


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def healthz() -> Response:
    """Whether the process answers at all."""
    return answer({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses={503: PROBLEMS[503]})
async def readyz(request: Request) -> Response:
    """Whether requests can be served: not stopping, database reachable, tables of this version."""
    context = context_of(request)
    if context.stopping.is_set():
        raise ProblemError("stopping")
    if not await asyncio.to_thread(migrate.is_current, context.engine):
        raise ProblemError("database_unavailable", "the tables are not those of this version; run bursar migrate")
    return answer({"status": "ready"})


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """What the server counts, for Prometheus. What books hold and have spent is shown to whoever has the token, and
    without a token only where the server listens on a loopback address."""
    context = context_of(request)
    if not context.settings.metrics:
        raise ProblemError("not_found", "there is nothing at this path")
    token = context.settings.metrics_token
    if token is not None:
        given = asked_of(request).authorization or b""
        if not hmac.compare_digest(given, b"Bearer " + token.get_secret_value().encode()):
            raise ProblemError("unauthenticated", "send the metrics token of this server as a bearer token")
    if context.gateway is not None:
        context.metrics.gateway.under_way.set(context.gateway.calls_under_way)
    context.metrics.queue_commands.set(context.authorizer.queue_depth)
    money: Money = []
    if token is not None or is_loopback(context.settings.host):
        money = await asyncio.to_thread(_money, context)
    return response_of(Reply(200, ((b"content-type", CONTENT_TYPE),), context.metrics.exposition(money)))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _money(context: Context) -> Money:
    """What every book holds and has spent; nothing while the database is away, so that the rest is seen."""
    try:
        with context.engine.connect() as connection:
            names = {book.book_id: book.name for book in queries_log.list_books(connection)}
            sums = queries_budgets.held_and_spent(connection)
    except StorageError as error:
        context.metrics.balance_failures.inc()
        SERVER.warning("held and spent are left out of the metrics: %s", error)
        return []
    return [(names.get(item.book_id, "?"), item.currency, item.held, item.spent) for item in sums]


@router.get("/problems/{code}", include_in_schema=False)
async def problem(code: str) -> Response:
    """What a problem's ``type`` refers to."""
    row = ROWS.get(code)
    if row is None:
        raise ProblemError("not_found", "there is no such problem")
    shown: dict[str, Any] = {"code": code, "title": row.title, "status": row.http, "advice": row.advice}
    return answer(shown)
