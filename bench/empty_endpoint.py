"""The yardstick: a FastAPI endpoint with the same models as an authorization, that does nothing.

Invariant: it parses, validates and serializes what `POST /v1/authorizations` does, through FastAPI as any
application would, and nothing else: no key check, no database, no log. One uvicorn worker on one core, with
uvloop and httptools and without an access log.

    python -m bench.empty_endpoint PORT CORE
"""

import os
import sys

import uvicorn
from fastapi import FastAPI

from api.schemas.authorizations import AuthorizationRequest, AuthorizationResponse
from bench.sample import authorization_response

app = FastAPI()
_ANSWER = AuthorizationResponse.model_validate(authorization_response())


@app.post("/v1/authorizations", status_code=201, response_model=AuthorizationResponse)
async def authorize(request: AuthorizationRequest) -> AuthorizationResponse:
    """Return the same answer to everyone."""
    return _ANSWER


def main() -> None:
    """Pin to the core, then serve."""
    os.sched_setaffinity(0, {int(sys.argv[2])})
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
