"""The composition root: settings in, one ASGI application out.

Owns what is made once per process and in which order it starts and stops. Invariant: this is the only module that
knows both sides; handlers get what they need from ``Context``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import NamedTuple

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.answering import failure_reply
from api.context import Context
from api.edge import Edge
from api.edge_state import asked_of
from api.gateway_mount import make_gateway
from api.logs import SERVER
from api.metrics import FLUSH_SECONDS, Metrics
from api.openapi import document
from api.problems import ProblemError
from api.routes import ROUTERS
from api.schemas.validation import problem_of
from api.settings import Settings
from api.writing import response_of
from gateway.facts import Telemetry
from ledger.core.command import Caller, Command, ExpireDue, Settle
from ledger.services.authorizer import Authorizer, AuthorizerSettings
from ledger.services.errors import ServiceError
from ledger.services.sources import Sources
from ledger.services.unknown_calls import settlements_by_policy
from ledger.storage.engine import create_engine
from ledger.storage.errors import StorageError
from ledger.storage.queries_due import books_due

ALERTS_STOP_SECONDS = 2.0
"""Time that webhooks which are being sent have at the end; what is not done by then is sent again later."""
SETTLEMENTS_AT_ONCE = 200
"""Settlements of a sweep in memory at a time."""


class App(NamedTuple):
    """The application to serve, FastAPI behind it, and the context they share."""

    edge: Edge
    inner: FastAPI
    context: Context


def make_app(settings: Settings, *, sources: Sources | None = None, telemetry: Telemetry | None = None) -> App:
    """Everything for one process. Nothing is connected or started before the lifespan begins."""
    metrics = Metrics()
    own_sources = sources or Sources()
    authorizer = Authorizer(
        settings.database_url,
        sources=own_sources,
        settings=AuthorizerSettings(
            queue_commands_max=settings.queue_commands_max,
            waiting_commands_max=settings.waiting_commands_max,
            batch_commands_max=settings.batch_commands_max,
            writers=settings.postgresql_writers,
            clock_jump_seconds=float(settings.clock_jump_seconds),
        ),
        on_batch=metrics.batch,
        on_waited=metrics.waited,
    )
    context = Context(
        settings,
        authorizer=authorizer,
        engine=create_engine(settings.database_url, pool_size=settings.read_connections_max),
        sources=own_sources,
        metrics=metrics,
    )
    inner = FastAPI(
        title="Bursar",
        description="The ledger an AI agent must ask before it spends.",
        version="1",
        lifespan=_lifespan,
        docs_url="/docs",
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    inner.state.context = context
    context.gateway = make_gateway(context, telemetry) if settings.gateway else None
    for router in ROUTERS:
        inner.include_router(router)
    inner.openapi = lambda: document(inner)  # type: ignore[method-assign]
    inner.add_exception_handler(Exception, _answer_failure)
    inner.add_exception_handler(ProblemError, _answer_failure)
    inner.add_exception_handler(ServiceError, _answer_failure)
    inner.add_exception_handler(StorageError, _answer_failure)
    inner.add_exception_handler(RequestValidationError, _answer_invalid)
    inner.add_exception_handler(HTTPException, _answer_http)
    return App(Edge(context, inner), inner, context)


@contextlib.asynccontextmanager
async def _lifespan(inner: FastAPI) -> AsyncIterator[None]:
    context: Context = inner.state.context
    context.begin()
    context.authorizer.start()
    context.alerting.start()
    context.checkpointing.start()
    context.growing.start()
    context.lining.start()
    if context.gateway is not None:
        await context.gateway.start()
    tasks = [
        asyncio.create_task(context.deadlines.run()),
        asyncio.create_task(_flush(context)),
        asyncio.create_task(_sweep(context)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if context.gateway is not None:
            await context.gateway.stop(float(context.settings.shutdown_seconds))
        await asyncio.to_thread(context.lining.stop, deadline_seconds=ALERTS_STOP_SECONDS)
        await asyncio.to_thread(context.checkpointing.stop, deadline_seconds=ALERTS_STOP_SECONDS)
        await asyncio.to_thread(context.growing.stop, deadline_seconds=ALERTS_STOP_SECONDS)
        await asyncio.to_thread(context.authorizer.stop, deadline_seconds=float(context.settings.shutdown_seconds))
        await asyncio.to_thread(context.alerting.stop, deadline_seconds=ALERTS_STOP_SECONDS)
        context.metrics.flush()
        context.engine.dispose()


async def _flush(context: Context) -> None:
    """Hand tallies to prometheus_client, so that a scrape of another worker sees them."""
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        if context.gateway is not None:
            context.metrics.gateway.under_way.set(context.gateway.calls_under_way)
        context.metrics.queue_commands.set(context.authorizer.queue_depth)
        context.metrics.waiting_commands.set(context.authorizer.line_length)
        context.metrics.rate_limited.inc(context.rate.take_refused())
        context.metrics.flush()


async def _sweep(context: Context) -> None:
    """Record expiries of holds that no decision has come across."""
    seconds = context.settings.sweep_interval_seconds
    while seconds:
        await asyncio.sleep(seconds)
        try:
            due = await asyncio.to_thread(_books_due, context)
            await _decide_each(context, ((book_id, ExpireDue(caller=Caller(None))) for book_id in due))
            if context.gateway is not None:
                await _settle_by_policy(context, context.gateway.category)
        except StorageError as error:
            SERVER.warning("the sweep for expired holds will be tried again: %s", error)
        except Exception as error:
            # Holds have to expire whatever else is wrong.
            SERVER.error("the sweep for expired holds failed, and will be tried again", exc_info=error)


async def _settle_by_policy(context: Context, category: str) -> None:
    """Settle the calls whose outcome nobody knows and that a policy does not want kept."""
    found = settlements_by_policy(context.engine, context.sources.now_us(), category=category)

    def read() -> list[tuple[int, Settle]]:
        return list(islice(found, SETTLEMENTS_AT_ONCE))

    while page := await asyncio.to_thread(read):
        await _decide_each(context, page)


async def _decide_each(context: Context, commands: Iterable[tuple[int, Command]]) -> None:
    """Have each command of a sweep decided; one that cannot be does not stop those behind it."""
    failed, last = 0, None
    for book_id, command in commands:
        try:
            await context.handover.decide(book_id, command)
        except ServiceError as error:
            failed, last = failed + 1, error
    if failed:
        SERVER.warning("the sweep could not decide %d commands, and will try them again: %s", failed, last)


def _books_due(context: Context) -> list[int]:
    with context.engine.connect() as connection:
        return books_due(connection, context.sources.now_us())


def _request_id(request: Request) -> str:
    return asked_of(request).id_text()


def _only_reads(request: Request) -> bool:
    return request.method in ("GET", "HEAD") or request.url.path == "/v1/evaluations"


async def _answer_failure(request: Request, error: Exception) -> Response:
    return response_of(failure_reply(error, _request_id(request), only_reads=_only_reads(request)))


async def _answer_invalid(request: Request, error: Exception) -> Response:
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    if any(found["loc"][0] == "path" for found in errors):
        # What has not the form of an id, a name or an index is not there.
        return response_of(failure_reply(ProblemError("not_found"), _request_id(request)))
    problem = problem_of([{**found, "loc": found["loc"][1:]} for found in errors])
    return response_of(failure_reply(problem, _request_id(request)))


async def _answer_http(request: Request, error: Exception) -> Response:
    """What the router itself refuses: a path or a method that does not exist."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        allow = (getattr(error, "headers", None) or {}).get("Allow", "")
        problem = ProblemError("method_not_allowed", headers=((b"allow", allow.encode()),))
    elif status == 404:
        problem = ProblemError("not_found", "there is nothing at this path")
    else:
        problem = ProblemError("internal")
    return response_of(failure_reply(problem, _request_id(request)))
