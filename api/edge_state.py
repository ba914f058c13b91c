"""What the edge leaves with a request for the routes behind FastAPI.

Owns the two places where it stands. Invariant: a route gets the request as the edge read it, never read anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import Request

if TYPE_CHECKING:
    from api.context import Context
    from api.request import Asked

STATE_KEY: Final = "bursar.asked"


def asked_of(request: Request) -> Asked:
    """The request as the edge read it."""
    asked: Asked = request.scope[STATE_KEY]
    return asked


def context_of(request: Request) -> Context:
    """The context of the app."""
    context: Context = request.app.state.context
    return context
