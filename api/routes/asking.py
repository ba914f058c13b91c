"""Routes of agents that write: the hot ones as they stand in the OpenAPI document, evaluations, and runs.

Invariant: the hot routes declared here answer through the same handlers as the edge, so a server without the edge in
front would answer the same.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from api.edge_state import asked_of, context_of
from api.hot import BATCH, Hot, authorize_command
from api.rendering import as_evaluated
from api.reply import json_reply
from api.routes.answers import PROBLEMS
from api.schemas.authorizations import (
    AuthorizationRequest,
    AuthorizationResponse,
    BatchRequest,
    BatchResponse,
    EvaluationResponse,
    ExtendRequest,
    ReleaseRequest,
    SettleRequest,
    UnknownRequest,
)
from api.schemas.fields import RunReference
from api.schemas.setting_up import OutcomeRequest, OutcomeView, RunRequest, RunView
from api.writing import Writing, asking, body_of, describes_body, response_of, writing
from ledger.core import ids
from ledger.core.command import OpenRun
from ledger.core.command_outcomes import ReportOutcome
from ledger.core.outcome import Status

router = APIRouter(prefix="/v1", responses=PROBLEMS)
Write = Annotated[Writing, Depends(writing)]
Ask = Annotated[Writing, Depends(asking)]


def _hot(route: str) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def answer(request: Request) -> Response:
        hot = Hot(context_of(request))
        reference = request.path_params.get("authorization", "")
        reply = await hot.answer(route, reference, asked_of(request), request.receive)
        return Response(status_code=499) if reply is None else response_of(reply)

    return answer


def _add_hot(route: str, path: str, body: type, answer: type, *, status: int, summary: str) -> None:
    endpoint = describes_body(_hot(route), body, required=route not in ("release", "unknown"))
    endpoint.__doc__ = summary
    endpoint.__name__ = route
    router.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        status_code=status,
        response_model=answer,
        responses=_WAITING if route == "authorize" else None,
        tags=["authorizations"],
        openapi_extra=_PATH_PARAMETER if "{" in path else None,
    )


_WAITING: dict[int | str, dict[str, Any]] = {
    202: {
        "model": AuthorizationResponse,
        "description": "People must approve; the amount is held meanwhile. Only where accept_pending was sent.",
        "headers": {
            "Location": {"description": "The authorization, to be asked for.", "schema": {"type": "string"}},
            "Retry-After": {"description": "Seconds; absent once it is granted.", "schema": {"type": "integer"}},
        },
    }
}
_PATH_PARAMETER = {
    "parameters": [{"name": "authorization", "in": "path", "required": True, "schema": {"type": "string"}}]
}
_add_hot(
    "authorize",
    "/authorizations",
    AuthorizationRequest,
    AuthorizationResponse,
    status=201,
    summary="Ask to spend. 201 is the only answer that lets the agent spend.",
)
_add_hot(
    BATCH,
    "/authorizations/batch",
    BatchRequest,
    BatchResponse,
    status=200,
    summary="Ask for up to 1000 authorizations, each decided on its own. Look at each item's status.",
)
_add_hot(
    "settle",
    "/authorizations/{authorization}/settle",
    SettleRequest,
    AuthorizationResponse,
    status=200,
    summary="Record what was spent against a hold, and release the rest when final.",
)
_add_hot(
    "extend",
    "/authorizations/{authorization}/extend",
    ExtendRequest,
    AuthorizationResponse,
    status=200,
    summary="Add amount, time, or both to an open hold.",
)
_add_hot(
    "release",
    "/authorizations/{authorization}/release",
    ReleaseRequest,
    AuthorizationResponse,
    status=200,
    summary="End a hold without further cost.",
)
_add_hot(
    "unknown",
    "/authorizations/{authorization}/unknown",
    UnknownRequest,
    AuthorizationResponse,
    status=200,
    summary="Keep a hold whose outcome is not known, as if its time had run out now. For holds with on_expiry unknown.",
)


@router.post("/evaluations", response_model=EvaluationResponse, tags=["authorizations"])
async def evaluate(ask: Ask, asked: Annotated[AuthorizationRequest, body_of(AuthorizationRequest, asking)]) -> Response:
    """Say what an authorization would be answered now. Nothing is recorded, and nothing is promised."""
    command = authorize_command(asked, ask.caller, "", ask.new_id(ids.AUTHORIZATION))
    reply = await ask.reply(as_evaluated(await ask.evaluate(command)))
    content = orjson.loads(reply.body)
    shown: dict[str, Any] = {"status": reply.status}
    for name in ("decision", "approved", "exchange", "budget"):
        if name in content:
            shown[name] = content[name]
    if reply.status >= 400:
        for name in ("log", "authorization"):
            content.pop(name, None)
        shown["problem"] = content
    return response_of(json_reply(200, shown))


@router.post("/runs", status_code=201, response_model=RunView, tags=["runs"])
async def open_run(write: Write, asked: Annotated[RunRequest, body_of(RunRequest)]) -> Response:
    """Open a run on record; authorizations that name it from here on are totalled, and bounded by its cap if it has
    one."""
    cap = asked.cap
    command = OpenRun(
        **write.who,
        id=write.new_id(ids.RUN),
        name=asked.name,
        agent=asked.agent,
        cap_amount=cap.amount if cap is not None else None,
        cap_currency=cap.currency if cap is not None else None,
    )
    # An agent that is not the asker's is told of as one that is not there.
    return await write.decide(
        command, instead={Status.NOT_YOURS: (Status.UNKNOWN_AGENT, f"there is no agent {asked.agent}")}
    )


@router.post("/runs/{run}/outcome", status_code=201, response_model=OutcomeView, tags=["runs"])
async def report_outcome(
    run: RunReference, write: Write, asked: Annotated[OutcomeRequest, body_of(OutcomeRequest)]
) -> Response:
    """Say what became of a run: whether it succeeded, and how well. The last report counts; all stay on record. By the
    run's agent, one above it, a key for this run, finance or an admin."""
    command = ReportOutcome(**write.who, run=run, success=asked.success, score=asked.score)
    return await write.decide(command, instead={Status.NOT_YOURS: (Status.NOT_FOUND, f"there is no run {run}")})
