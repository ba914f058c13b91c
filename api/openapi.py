"""The OpenAPI document: FastAPI's own, completed with the request bodies that Bursar parses itself.

Owns the document. Invariant: every route with a body shows its model, the hot routes included; keys and idempotency
keys are described once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from api.schemas.answers import Problem
from api.writing import BODY_ATTRIBUTE

_REFERENCE: Final = "#/components/schemas/{model}"
_NO_IDEMPOTENCY_KEY: Final = ("/v1/history", "/v1/authorizations/batch", "/v1/evaluations", "/v1/policies/check")
_IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "New for each new request; the same when a request is repeated.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}


def document(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _made(app)
    return app.openapi_schema


def body_model(route: APIRoute) -> tuple[Any, bool] | None:
    """(model, whether a body is required) of a route's body, or None when it has none."""
    for function in (route.endpoint, *_calls(route.dependant)):
        found: tuple[Any, bool] | None = getattr(function, BODY_ATTRIBUTE, None)
        if found is not None:
            return found
    return None


def _calls(dependant: Dependant) -> Iterator[Any]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _calls(inner)


def api_routes(app: FastAPI) -> list[APIRoute]:
    """Every route of the API, in order of declaration."""
    from api.routes import ROUTERS

    return [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]


def _made(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        separate_input_output_schemas=False,
    )
    routes = [route for route in api_routes(app) if route.include_in_schema]
    bodies = {id(route): found for route in routes if (found := body_model(route)) is not None}
    models = {Problem, *(model for model, _ in bodies.values())}
    _, schemas = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: str(model.__name__))],
        ref_template=_REFERENCE,
    )
    components = made.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas.get("$defs", {}))
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for route in routes:
        operation = made["paths"][route.path][next(iter(route.methods or {"GET"})).lower()]
        if route.path.startswith("/v1/"):
            operation["security"] = [{"key": []}]
        found = bodies.get(id(route))
        if found is None:
            continue
        model, required = found
        operation["requestBody"] = {
            "required": required,
            "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}},
        }
        if route.path not in _NO_IDEMPOTENCY_KEY:
            operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    return made
