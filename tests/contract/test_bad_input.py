"""What bad input gets, on every kind of route through a running server: a problem with its own code and a sentence
that says what to change, never a 500, and nothing recorded.

The rows are the items of the promise; the columns are hot routes and routes behind FastAPI.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.contract.conftest import Served
from tests.support.clients import Answer

BODY_BYTES_MAX = 2_097_152
ABSURD = "99999999999.00"


@dataclass(frozen=True)
class Request:
    """A request that would be carried out; ``body`` may be bytes, to be sent as they are."""

    path: str
    role: str
    body: Any
    headers: tuple[tuple[str, str], ...] = ()
    refused_role: str = "auditor"


def good(amount: str = "1.00", **more: Any) -> dict[str, Any]:
    """An authorization that would be approved."""
    return {"amount": {"amount": amount, "currency": "USD"}, "category": "inference", "payee": "openai", **more}


ROUTES: dict[str, Request] = {
    "authorize (hot)": Request("/v1/authorizations", "agent", good()),
    "settle (hot)": Request("/v1/authorizations/{authorization}/settle", "agent", {"amount": good()["amount"]}),
    "extend (hot)": Request("/v1/authorizations/{authorization}/extend", "agent", {"amount": good()["amount"]}),
    "evaluate": Request("/v1/evaluations", "agent", good()),
    "charge": Request("/v1/charges", "finance", good(budget="research")),
    "refund": Request("/v1/refunds", "finance", {"authorization": "{settled}", "amount": good("0.01")["amount"]}),
    "allocate": Request("/v1/budgets/research/allocations", "admin", {"amount": good()["amount"]}),
    "open a run": Request("/v1/runs", "agent", {"name": "run-of-bad-input"}),
}
WITH_AMOUNT = [name for name, request in ROUTES.items() if "amount" in request.body]
WITHOUT_KEY = ("evaluate",)

Change = Callable[[Request], Request]


def amount(text: Any, currency: str = "USD") -> Change:
    """With another amount."""
    return lambda request: replace(request, body=request.body | {"amount": {"amount": text, "currency": currency}})


def field(**more: Any) -> Change:
    """With fields added or changed."""
    return lambda request: replace(request, body=request.body | more)


def header(name: str, value: str) -> Change:
    """With a header changed; an empty one is not sent."""
    return lambda request: replace(request, headers=(*request.headers, (name, value)))


def raw(body: bytes) -> Change:
    """With a body of bytes."""
    return lambda request: replace(request, body=body)


def padded(request: Request) -> Request:
    """With a body that is one byte too long, and good otherwise."""
    text = json.dumps(request.body)
    return replace(request, body=(text + " " * (BODY_BYTES_MAX + 1 - len(text))).encode())


def wrong_role(request: Request) -> Request:
    """With the key of somebody who may not."""
    return replace(request, role=request.refused_role)


AMOUNTS: list[tuple[str, Change, int, str]] = [
    ("an unknown currency", amount("1.00", "XQZ"), 422, "unknown_currency"),
    ("more digits than the scale", amount("0.0000000001"), 422, "amount_too_precise"),
    ("a negative amount", amount("-1.00"), 422, "amount_not_positive"),
    ("an absurd amount", amount(ABSURD), 422, "amount_too_large"),
    ("an amount beyond all digits", amount("9" * 64), 422, "amount_too_large"),
    ("an amount of too many characters", amount("9" * 65), 422, "validation_failed"),
    ("a float amount", amount(1.5), 422, "amount_not_text"),
    ("an integer amount", amount(1), 422, "amount_not_text"),
    ("an exponent", amount("1e2"), 422, "amount_malformed"),
    ("a comma", amount("1,00"), 422, "amount_malformed"),
    ("digits of another script", amount("١"), 422, "amount_malformed"),
    ("not a number", amount("NaN"), 422, "amount_malformed"),
    ("endless", amount("Infinity"), 422, "amount_malformed"),
]
BODIES: list[tuple[str, Change, int, str]] = [
    ("an unknown field", field(colour="red"), 422, "unknown_field"),
    ("deep JSON", raw(b'{"a":' * 5_000 + b"1" + b"}" * 5_000), 422, "json_too_deep"),
    ("deep arrays", raw(b"[" * 200_000), 422, "json_too_deep"),
    ("no JSON", raw(b'{"amount":'), 422, "malformed_json"),
    ("no UTF-8", raw(b'{"a":"\xff"}'), 422, "malformed_json"),
    ("a lone surrogate", raw(b'{"a":"\\ud800"}'), 422, "malformed_json"),
    ("a list", raw(b"[]"), 422, "validation_failed"),
    ("a body over the bound", padded, 413, "body_too_large"),
    ("a wrong content type", header("Content-Type", "text/plain"), 415, "unsupported_media_type"),
    ("no content type", header("Content-Type", ""), 415, "unsupported_media_type"),
    ("a key of no book", header("Authorization", "Bearer bk_agent_abc_def"), 401, "unauthenticated"),
    ("no key", header("Authorization", ""), 401, "unauthenticated"),
    ("the wrong role", wrong_role, 403, "role_not_allowed"),
]
KEYS: list[tuple[str, Change, int, str]] = [
    ("no idempotency key", header("Idempotency-Key", ""), 400, "missing_idempotency_key"),
    ("an oversized idempotency key", header("Idempotency-Key", "k" * 256), 422, "idempotency_key_invalid"),
    ("a non-ASCII idempotency key", header("Idempotency-Key", "schlüssel"), 422, "idempotency_key_invalid"),
    ("an idempotency key with a tab", header("Idempotency-Key", "a\tb"), 422, "idempotency_key_invalid"),
]
ZERO = ("a zero amount", amount("0.00"), 422, "amount_not_positive")
ROWS = [
    *((route, *row) for route in WITH_AMOUNT for row in AMOUNTS),
    # A final settlement of zero is a call that cost nothing, and allowed.
    *((route, *ZERO) for route in WITH_AMOUNT if not route.startswith("settle")),
    *((route, *row) for route in ROUTES for row in BODIES),
    *((route, *row) for route in ROUTES if route not in WITHOUT_KEY for row in KEYS),
    # A request to spend in another currency is decided, and so on record, whether there is a rate or not.
    *(
        (route, "another currency", amount("1.00", "CHF"), 422, "currency_mismatch")
        for route in ("settle (hot)", "extend (hot)", "refund", "allocate")
    ),
    ("charge", "a currency without a rate", amount("1.00", "CHF"), 409, "rate_needed"),
    ("authorize (hot)", "an unknown budget", field(budget="nowhere"), 422, "unknown_budget"),
    ("charge", "an unknown budget", field(budget="nowhere"), 422, "unknown_budget"),
    ("charge", "an unknown agent", field(agent="nobody"), 422, "unknown_agent"),
    ("open a run", "an unknown agent", field(agent="nobody"), 422, "unknown_agent"),
    ("authorize (hot)", "NUL bytes", field(resource="a\x00b"), 422, "control_characters"),
    ("authorize (hot)", "NUL bytes in a text", field(intent="a\x00b"), 422, "control_characters"),
    ("authorize (hot)", "NUL bytes in a label", field(labels={"a": "\x00"}), 422, "control_characters"),
    ("settle (hot)", "NUL bytes", field(resource="a\x00b"), 422, "control_characters"),
    ("settle (hot)", "NUL bytes in the evidence", field(evidence={"a": "\x00"}), 422, "control_characters"),
    ("charge", "NUL bytes", field(reason="a\x00b"), 422, "control_characters"),
    ("allocate", "NUL bytes", field(reason="a\x00b"), 422, "control_characters"),
    ("settle (hot)", "deep evidence", field(evidence=json.loads('{"a":' * 9 + "1" + "}" * 9)), 422, "json_too_deep"),
]


def ask(served: Served, request: Request) -> Answer:
    """Send a request with the ids of this book in it."""
    path = request.path.format(**served.known)
    body = request.body
    if isinstance(body, dict) and body.get("authorization") == "{settled}":
        body = body | {"authorization": served.known["settled"]}
    return served.office.send("POST", path, body, key=served.keys[request.role], headers=dict(request.headers))


def check_refused(answer: Answer, *, status: int, code: str) -> None:
    """A problem with this code and with a sentence."""
    problem = answer.json
    if "problem" in problem:
        # An evaluation answers 200 and says inside what the authorization would have been answered.
        assert answer.status == 200
        problem = problem["problem"]
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.status == status, answer.body.decode()
    assert problem["code"] == code, answer.body.decode()
    assert (problem["type"], problem["status"]) == (f"/problems/{code}", status)
    assert problem["detail"].endswith((".", "!", "?"))
    assert len(problem["detail"]) > 15
    assert len(answer.body) < 5_000, "a problem must not quote what it was sent"
    assert problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("route", "change", "status", "code"),
    [(route, change, status, code) for route, _, change, status, code in ROWS],
    ids=[f"{route}: {what}" for route, what, *_ in ROWS],
)
def test_bad_input_is_refused_and_leaves_nothing(
    served: Served, route: str, change: Change, status: int, code: str
) -> None:
    """Each row: the status, the code, and a log as long as before."""
    size = served.office.log_size()
    answer = ask(served, change(ROUTES[route]))
    check_refused(answer, status=status, code=code)
    assert served.office.log_size() == size


def test_a_refused_request_does_not_bind_its_key(served: Served) -> None:
    """A client that corrects its request may use the same key."""
    headers = {"Idempotency-Key": "corrected"}
    wrong = served.office.send("POST", "/v1/authorizations", good("1.5.0"), key=served.keys["agent"], headers=headers)
    check_refused(wrong, status=422, code="amount_malformed")
    right = served.office.send("POST", "/v1/authorizations", good("1.50"), key=served.keys["agent"], headers=headers)
    assert (right.status, right.replayed) == (201, False)


@pytest.mark.parametrize(
    ("method", "path", "role", "body", "status"),
    [
        ("GET", "/v1/authorizations/{authorization}", "admin", None, 404),
        ("GET", "/v1/authorizations/{authorization}", "agent", None, 404),
        ("POST", "/v1/authorizations/{authorization}/settle", "finance", {"amount": good()["amount"]}, 404),
        ("POST", "/v1/authorizations/{authorization}/settle", "agent", {"amount": good()["amount"]}, 404),
        ("POST", "/v1/authorizations/{authorization}/extend", "agent", {"ttl_seconds": 5}, 404),
        ("POST", "/v1/authorizations/{authorization}/release", "agent", {}, 404),
        ("POST", "/v1/refunds", "finance", {"authorization": "{authorization}", "amount": good()["amount"]}, 404),
        ("GET", "/v1/budgets/{budget}", "admin", None, 404),
        ("POST", "/v1/budgets/{budget}/allocations", "admin", {"amount": good()["amount"]}, 404),
        ("POST", "/v1/authorizations", "agent", good(budget="{budget}"), 422),
        ("GET", "/v1/agents/{agent}", "admin", None, 404),
        ("POST", "/v1/agents/{agent}/freeze", "admin", {}, 404),
        ("POST", "/v1/keys", "admin", {"role": "agent", "agent": "{agent}"}, 422),
        ("GET", "/v1/keys/{key}", "admin", None, 404),
        ("POST", "/v1/keys/{key}/revoke", "admin", {}, 404),
        ("POST", "/v1/keys/{key}/rotate", "admin", {}, 404),
    ],
)
def test_an_id_of_another_book_does_not_exist(
    served: Served, method: str, path: str, role: str, body: Any, status: int
) -> None:
    """The same answer as for an id that nobody has, but for the id and the request's own id; neither book changes."""
    other = served.other
    size = served.office.log_size()
    answers = []
    for ids in (other, {name: text[:-3] + "zzz" for name, text in other.items()}):
        text = json.dumps(body)
        for name in ("authorization", "budget", "agent"):
            text = text.replace("{" + name + "}", ids[name])
        given = None if body is None else json.loads(text)
        answer = served.office.send(method, path.format(**ids), given, key=served.keys[role])
        said = answer.json
        check_refused(answer, status=status, code=said["code"])
        answers.append(
            {
                key: str(value).replace(ids["agent"], "").replace(ids["budget"], "")
                for key, value in said.items()
                if key not in ("request_id", "detail")
            }
        )
    assert answers[0] == answers[1]
    assert served.office.log_size() == size


def test_a_batch_over_its_bound(served: Served) -> None:
    """1,001 items are refused as one; 1,000 are not, and what is wrong with one is that one's alone."""
    size = served.office.log_size()
    send = served.office.send
    items = [good() | {"idempotency_key": f"over-{number}"} for number in range(1001)]
    answer = send("POST", "/v1/authorizations/batch", {"items": items}, key=served.keys["agent"])
    check_refused(answer, status=422, code="batch_too_large")
    assert served.office.log_size() == size
    bad = [
        good("0") | {"idempotency_key": "b1"},
        good(),
        good(colour="red") | {"idempotency_key": "b2"},
        good(budget="nowhere") | {"idempotency_key": "b3"},
        good() | {"idempotency_key": "k" * 256},
        good() | {"idempotency_key": "ü"},
        good("1.00") | {"amount": {"amount": 1.0, "currency": "USD"}, "idempotency_key": "b4"},
        good(resource="\x00") | {"idempotency_key": "b5"},
    ]
    answer = send("POST", "/v1/authorizations/batch", {"items": bad}, key=served.keys["agent"])
    assert answer.status == 200
    assert [verdict["problem"]["code"] for verdict in answer.json["items"]] == [
        "amount_not_positive",
        "missing_idempotency_key",
        "unknown_field",
        "unknown_budget",
        "idempotency_key_invalid",
        "idempotency_key_invalid",
        "amount_not_text",
        "control_characters",
    ]
    assert served.office.log_size() == size
