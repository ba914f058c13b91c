"""The server keeps what its OpenAPI document promises, whatever is sent: schemathesis through a running server."""

from __future__ import annotations

import os
import uuid

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from api.app import make_app
from api.settings import Settings
from tests.contract.conftest import Served

EXAMPLES = 200 if os.environ.get("BURSAR_LONG") == "1" else 60
ROLES = ("admin", "agent", "finance")
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance, checks.negative_data_rejection,
]
# Names on which other tests of this room stand: what is asked of these must not end them.
SPARED = {("/v1/keys/{key}/revoke", "key"), ("/v1/agents/{agent}/freeze", "agent")}


def operations() -> list[tuple[str, str]]:
    """(method, path) of everything in the document."""
    document = make_app(Settings(database_url="sqlite:///never-opened.db")).inner.openapi()
    return [(method, path) for path, item in document["paths"].items() for method in item]


@pytest.fixture(scope="package")
def served_document(served: Served) -> schemathesis.BaseSchema:
    """The document as the running server gives it."""
    return schemathesis.openapi.from_url(f"{served.server.url}/openapi.json")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
@pytest.mark.parametrize(("method", "path"), operations(), ids=lambda part: part)
def test_the_document_is_kept(
    served: Served, served_document: schemathesis.BaseSchema, method: str, path: str, mode: GenerationMode
) -> None:
    """No 5xx, a documented status, the documented media type and shape: for an admin, an agent and finance, for names
    that exist and for names that do not."""
    operation = served_document[path][method]
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
        pytest.skip("nothing can be wrong about a request without parameters")

    @given(
        case=operation.as_strategy(generation_mode=mode),
        role=st.sampled_from(ROLES),
        fresh_key=st.booleans(),
        known=st.booleans(),
    )
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def keeps(case: schemathesis.Case, role: str, fresh_key: bool, known: bool) -> None:
        if known:
            for name in case.path_parameters:
                if (path, name) not in SPARED:
                    case.path_parameters[name] = served.known.get(name, case.path_parameters[name])
        headers = {"Authorization": f"Bearer {served.keys[role]}"}
        if fresh_key and mode is GenerationMode.POSITIVE and method == "post":
            headers["Idempotency-Key"] = uuid.uuid4().hex
        response = case.call(headers=headers)
        case.validate_response(response, checks=CHECKS)

    keeps()


def test_every_operation_is_tried() -> None:
    """A document that lost its routes would pass."""
    assert len(operations()) >= 45
