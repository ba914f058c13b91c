"""The server keeps what its OpenAPI document promises, whatever is sent: schemathesis through a running server."""

from __future__ import annotations

import os
import re
import uuid

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core import NOT_SET
from schemathesis.specs.openapi import checks

from api.app import make_app
from api.settings import Settings
from tests.contract.conftest import HISTORY, INVOICE, PAYMENT, Served, waiting_approval, waiting_correction
from tests.support.witnesses import cosigned

EXAMPLES = 200 if os.environ.get("BURSAR_LONG") == "1" else 5
ROLES = ("admin", "agent", "finance")
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
# Names on which other tests of this room stand: what is asked of these must not end them.
SPARED = {
    ("/v1/keys/{key}/revoke", "key"),
    ("/v1/agents/{agent}/freeze", "agent"),
    ("/v1/budgets/{budget}/freeze", "budget"),
    ("/v1/budgets/{budget}/close", "budget"),
    ("/v1/webhooks/{webhook}", "webhook"),
}
# Sent again they do again what they did: they change nothing of the book, and take no Idempotency-Key.
REPEATED = ("batch", "/history", "evaluations", "/check", "/test", "/enable", "/replay", "/checkpoints/cosign")
CHECKPOINT = "/v1/checkpoints"
# What must be asked for: there is no default for it.
QUERIES = {
    "/v1/proofs/inclusion": {"index": 1, "position": 0},
    "/v1/proofs/consistency": {"first": 1},
    "/v1/proofs/record": {"index": 1},
    "/v1/texts": {"before": "2100-01-01"},
    "/v1/statements": {"scope": "book", "period": "2026"},
    "/v1/reconciliations/lines": {
        "payee": "openai",
        "currency": "USD",
        "starts_at": "2026-01-01",
        "ends_at": "2100-01-01",
    },
    "/v1/journal": {"format": "hledger"},
}


def operations() -> list[tuple[str, str]]:
    """(method, path) of everything in the document."""
    document = make_app(Settings(database_url="sqlite:///never-opened.db")).inner.openapi()
    return [(method, path) for path, item in document["paths"].items() for method in item]


@pytest.fixture(scope="package")
def served_document(served: Served) -> schemathesis.BaseSchema:
    """The document as the running server gives it."""
    return schemathesis.openapi.from_url(f"{served.server.url}/openapi.json")


USD_1 = {"amount": "1.00", "currency": "USD"}
SPEND = {"amount": USD_1, "category": "inference", "payee": "openai"}
POLICY = {
    "policy": "contract",
    "applies_to": {"team": "team"},
    "currency": "USD",
    "limits": [{"id": "day", "per": "day", "max": "5.00"}],
}
ACCEPTED = dict.fromkeys(("flags", "unknown_holds", "pending_approvals", "reconciliation"), "seen")
RATE = {"base": "EUR", "quote": "USD", "rate": "1.0842", "valid_from": "2026-11-27"}
# Method and path: role, a body that is carried out, and what the path names where it is not the usual.
SUCCESSES: dict[tuple[str, str], tuple[str, object, dict[str, str]]] = {
    ("post", "/v1/authorizations"): ("agent", SPEND | {"labels": {"a": "b"}, "run": "run-1"}, {}),
    ("post", "/v1/authorizations/batch"): ("agent", {"items": [SPEND | {"idempotency_key": "one"}, SPEND]}, {}),
    ("post", "/v1/authorizations/{authorization}/settle"): ("agent", {"amount": USD_1, "final": False}, {}),
    ("post", "/v1/authorizations/{authorization}/extend"): ("agent", {"amount": USD_1, "ttl_seconds": 5}, {}),
    ("post", "/v1/authorizations/{authorization}/unknown"): ("agent", {"reason": "it timed out"}, {}),
    ("post", "/v1/authorizations/{authorization}/release"): ("agent", {"reason": "not made"}, {}),
    ("post", "/v1/evaluations"): ("agent", SPEND, {}),
    ("post", "/v1/runs"): ("agent", {"name": "run-new"}, {}),
    ("post", "/v1/runs/{run}/outcome"): ("agent", {"success": True, "score": 0.8}, {}),
    ("post", "/v1/budgets"): ("admin", {"name": "new", "currency": "USD", "parent": "research"}, {}),
    ("post", "/v1/budgets/{budget}/agents"): ("admin", {"agents": ["team"]}, {}),
    ("post", "/v1/budgets/{budget}/allocations"): ("admin", {"amount": USD_1, "reason": "more"}, {}),
    ("post", "/v1/budgets/{budget}/deallocations"): ("admin", {"amount": USD_1}, {}),
    ("post", "/v1/teams"): ("admin", {"name": "team-new", "parent": "team"}, {}),
    ("post", "/v1/agents"): ("admin", {"name": "agent-new", "parent": "team"}, {}),
    ("post", "/v1/agents/{agent}/freeze"): ("admin", {"reason": "odd"}, {"agent": "team"}),
    ("post", "/v1/agents/{agent}/unfreeze"): ("admin", {"reason": "mended"}, {"agent": "team"}),
    ("post", "/v1/budgets/{budget}/renewal"): ("admin", {"every": "week", "amount": USD_1, "carry_over": USD_1}, {}),
    ("post", "/v1/budgets/{budget}/renewal/stop"): ("admin", {"reason": "no more"}, {}),
    ("post", "/v1/budgets/{budget}/freeze"): ("admin", {"reason": "odd"}, {}),
    ("post", "/v1/budgets/{budget}/unfreeze"): ("admin", {"reason": "mended"}, {}),
    ("post", "/v1/budgets/{budget}/close"): ("admin", {"reason": "done"}, {"budget": "closing"}),
    ("post", "/v1/book/freeze"): ("admin", {"reason": "a drill"}, {}),
    ("post", "/v1/book/unfreeze"): ("admin", {"reason": "it was a drill"}, {}),
    ("post", "/v1/keys"): ("admin", {"role": "auditor", "person": "ann", "ttl_seconds": 60}, {}),
    ("post", "/v1/keys/{key}/rotate"): ("admin", {"overlap_seconds": 60}, {}),
    ("post", "/v1/keys/{key}/revoke"): ("admin", {"reason": "lost"}, {}),
    ("post", CHECKPOINT): ("auditor", None, {}),
    ("post", "/v1/checkpoints/keys"): ("admin", {}, {}),
    ("post", "/v1/checkpoints/cosignatures"): ("auditor", None, {}),
    ("post", "/v1/units"): ("admin", {"name": "credits", "digits": 2}, {}),
    ("post", "/v1/categories"): ("admin", {"name": "search"}, {}),
    ("post", "/v1/payees"): ("admin", {"name": "serp"}, {}),
    ("post", "/v1/webhooks"): ("admin", {"url": "http://127.0.0.1:65000/", "events": ["agent.frozen"]}, {}),
    ("delete", "/v1/webhooks/{webhook}"): ("admin", None, {"webhook": "SPARE"}),
    ("post", "/v1/webhooks/{webhook}/rotate"): ("admin", {"overlap_seconds": 60}, {}),
    ("post", "/v1/webhooks/{webhook}/test"): ("admin", None, {}),
    ("post", "/v1/webhooks/{webhook}/enable"): ("admin", None, {}),
    ("post", "/v1/events/{event}/replay"): ("admin", None, {}),
    ("post", "/v1/approvals/{approval}/approve"): ("approver", {"reason": "in the plan"}, {}),
    ("post", "/v1/approvals/{approval}/refuse"): ("approver", {"reason": "too dear"}, {}),
    ("post", "/v1/approvals/{approval}/force"): ("admin", {"reason": "nobody is in"}, {}),
    ("post", "/v1/policies"): ("admin", POLICY, {}),
    ("post", "/v1/policies/check"): ("admin", POLICY, {}),
    ("post", "/v1/policies/{policy}/rollback"): ("admin", {"version": 1, "reason": "a typo"}, {}),
    ("post", "/v1/policies/{policy}/retire"): ("admin", {"reason": "over"}, {"policy": "retiring"}),
    ("post", "/v1/redactions"): ("admin", {"fields": ["intent"], "ground": "erasure", "reason": "asked for"}, {}),
    ("post", "/v1/reconciliations"): (
        "finance",
        {
            "payee": "openai",
            "source": "csv",
            "starts_at": "2026-01-01",
            "ends_at": "2026-01-02",
            "lines": 1,
            "matched": 0,
            "provider_total": USD_1,
            "reason": "of no account",
            "accept": True,
            "differences": [{"kind": "missing_here", "count": 1, "amount": USD_1}],
        },
        {},
    ),
    ("post", "/v1/delegations"): ("approver", {"to": "nadia", "ttl_seconds": 60, "reason": "on leave"}, {}),
    ("post", "/v1/delegations/{delegation}/revoke"): ("approver", {"reason": "back"}, {}),
    ("post", "/v1/periods/{period}/close"): ("finance", {"accept": ACCEPTED}, {}),
    ("post", "/v1/periods/{period}/reopen"): ("finance", {"reason": "an invoice came late"}, {}),
    ("post", "/v1/periods/{period}/reopen/approve"): ("second", {"reason": "seen"}, {}),
    ("post", "/v1/explanations"): ("finance", None, {}),
    ("post", "/v1/rates"): ("finance", RATE, {}),
    ("post", "/v1/charges"): ("finance", SPEND | {"budget": "research", "evidence": {"invoice": "1"}}, {}),
    ("post", "/v1/refunds"): ("finance", {"amount": USD_1}, {}),
    ("post", "/v1/reprices"): ("finance", {"amount": USD_1}, {}),
    ("post", "/v1/invoices"): ("finance", INVOICE | {"number": "another", "evidence": {"file": "1.pdf"}}, {}),
    ("post", "/v1/invoices/{invoice}/void"): ("finance", {"reason": "entered twice"}, {"invoice": "SPARE"}),
    ("post", "/v1/payments"): ("finance", PAYMENT, {}),
    ("post", "/v1/history"): ("finance", {"items": [HISTORY]}, {}),
    ("post", "/v1/payments/{payment}/reverse"): ("finance", {"reason": "bounced"}, {"payment": "SPARE"}),
    ("post", "/v1/payees/{payee}"): ("finance", {"prepaid": True, "reason": "so they bill"}, {"payee": "set-once"}),
    ("post", "/v1/reversals"): ("finance", {"reason": "booked twice"}, {}),
    ("post", "/v1/correction-rules"): ("admin", {"currency": "GBP", "above": "5.00", "reason": "as agreed"}, {}),
    ("post", "/v1/corrections/{correction}/approve"): ("approver", {"reason": "seen"}, {}),
    ("post", "/v1/corrections/{correction}/refuse"): ("approver", {"reason": "no"}, {}),
    ("post", "/v1/corrections/{correction}/withdraw"): ("finance", {"reason": "a mistake"}, {}),
    ("post", "/v1/adjustments"): (
        "finance",
        {
            "transfers": [{"debit": "expenses:search", "credit": "expenses:inference", "amount": USD_1}],
            "reason": "booked on the wrong category",
        },
        {},
    ),
}


@pytest.mark.parametrize(("method", "path"), operations(), ids=lambda part: part)
def test_a_success_is_as_documented(
    served: Served, served_document: schemathesis.BaseSchema, method: str, path: str
) -> None:
    """Every operation is carried out once, with the documented status for success, and answers in its shape; so does
    the repeat of a request that changes the book."""
    role, body, names = ("admin", None, {}) if method == "get" else SUCCESSES[method, path]
    operation = served_document[path][method]
    given = {name: names.get(name, served.known[name]) for name in re.findall(r"\{(\w+)\}", path)}
    if "authorization" in given:
        asked = SPEND | ({"on_expiry": "unknown"} if path.endswith("/unknown") else {})
        given["authorization"] = served.office.make("/v1/authorizations", asked, key=served.keys["agent"])["id"]
    if "key" in given:
        given["key"] = served.office.make("/v1/keys", {"role": "agent", "agent": "crawler"})["id"]
    if given.get("webhook") == "SPARE":
        given["webhook"] = served.office.make("/v1/webhooks", {"url": "http://127.0.0.1:65000/"})["id"]
    for name, (made, asked) in {"invoice": ("/v1/invoices", INVOICE), "payment": ("/v1/payments", PAYMENT)}.items():
        if given.get(name) == "SPARE":
            asked = asked | ({"number": "spare"} if name == "invoice" else {})
            given[name] = served.office.make(made, asked, key=served.keys["finance"])["id"]
    if "approval" in given:
        given["approval"] = waiting_approval(served.office, served.keys["agent"])
    if "correction" in given:
        given["correction"] = waiting_correction(served.office, served.keys["finance"])
    if path == "/v1/reversals" and method == "post":
        adjustment = SUCCESSES["post", "/v1/adjustments"][1]
        made = served.office.make("/v1/adjustments", adjustment, key=served.keys["finance"])
        body = {"record": made["log"]["index"], "reason": "booked twice"}
    if "delegation" in given:
        asked = {"to": "nadia", "ttl_seconds": 3600}
        given["delegation"] = served.office.make("/v1/delegations", asked, key=served.keys["approver"])["id"]
    if path == "/v1/refunds":
        body = {"authorization": served.known["settled"], "amount": USD_1}
    if path == "/v1/reprices":
        spent = served.office.make("/v1/authorizations", SPEND, key=served.keys["agent"])["id"]
        served.office.make(f"/v1/authorizations/{spent}/settle", {"amount": USD_1}, key=served.keys["agent"])
        prices = {"old_price": {"output": "2"}, "new_price": {"output": "1"}, "reason": "mistyped"}
        body = {"authorization": spent, "settled": USD_1, "amount": USD_1 | {"amount": "0.50"}} | prices
    if path == "/v1/redactions":
        spoken = served.office.make("/v1/authorizations", SPEND | {"intent": "a name"}, key=served.keys["agent"])
        body = {**SUCCESSES[method, path][1], "authorization": spoken["id"]}
    if "period" in given and method == "post":
        # Whatever the others left: open; to be opened again, closed; and for the second person, asked about.
        finance, month = served.keys["finance"], f"/v1/periods/{given['period']}"
        served.office.send("POST", f"{month}/reopen", {"reason": "first"}, key=finance)
        served.office.send("POST", f"{month}/reopen/approve", {}, key=served.keys["second"])
        if "reopen" in path:
            served.office.make(f"{month}/close", {"accept": ACCEPTED}, key=finance)
        if role == "second":
            served.office.make(f"{month}/reopen", {"reason": "again"}, key=finance)
    if path == "/v1/explanations":
        charge = served.office.make("/v1/charges", SPEND | {"budget": "research"}, key=served.keys["finance"])
        body = {"authorization": charge["id"], "reason": "on the invoice"}
    if path == "/v1/checkpoints/cosignatures":
        body = cosigned(served.office.send("GET", "/v1/checkpoints/latest").json["note"])
    headers = {"Authorization": f"Bearer {served.keys[role]}"}
    if method == "post":
        headers["Idempotency-Key"] = f"success-{path}"
    media_type = None if body is None else "application/json"
    query = dict(QUERIES.get(path, {}))
    if "position" in query:
        log = served.office.send("GET", "/v1/log?kind=hold&limit=1").json
        query["index"] = log["items"][0]["index"]
    case = operation.Case(
        path_parameters=given, query=query, body=NOT_SET if body is None else body, media_type=media_type
    )
    documented = {int(status) for status in operation.definition.raw["responses"] if status.startswith("2")}
    answers = [case.call(headers=headers) for _ in range(2)]
    assert answers[0].status_code in documented, answers[0].text
    for answer in answers:
        case.validate_response(answer, checks=CHECKS)
    if method == "post" and path != CHECKPOINT and not any(part in path for part in REPEATED):
        assert answers[1].headers.get("idempotency-replayed") == ["true"]


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
