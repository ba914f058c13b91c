"""What bad input gets: its own code, a sentence that says what to change, and nothing recorded."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.support.running_app import RunningApp, authorization, usd

GOOD = authorization()


def changed(**fields: Any) -> bytes:
    """The good body with fields changed."""
    return orjson.dumps({**GOOD, **fields})


BODIES: list[tuple[str, bytes, int, str]] = [
    ("nothing", b"", 422, "malformed_json"),
    ("no JSON", b"{", 422, "malformed_json"),
    ("no UTF-8", b"\xff\xfe", 422, "malformed_json"),
    ("a list", b"[]", 422, "validation_failed"),
    ("null", b"null", 422, "validation_failed"),
    ("deep JSON", b"[" * 100_000, 422, "json_too_deep"),
    ("deep objects", b'{"a":' * 5_000 + b"1" + b"}" * 5_000, 422, "json_too_deep"),
    ("a float amount", changed(amount={"amount": 1.5, "currency": "USD"}), 422, "amount_not_text"),
    ("an integer amount", changed(amount={"amount": 1, "currency": "USD"}), 422, "amount_not_text"),
    ("NaN", b'{"amount":{"amount":NaN,"currency":"USD"}}', 422, "amount_not_text"),
    ("an amount without currency", changed(amount="1.00"), 422, "validation_failed"),
    ("an unknown field", changed(colour="red"), 422, "unknown_field"),
    ("an unknown field inside", changed(amount={**usd("1"), "x": 1}), 422, "unknown_field"),
    ("a NUL", changed(intent="a\x00b"), 422, "control_characters"),
    ("an escape", changed(resource="a\x1b[31m"), 422, "control_characters"),
    ("a lone surrogate", b'{"intent":"\\ud800"}', 422, "malformed_json"),
    ("no category", orjson.dumps({"amount": usd("1"), "payee": "openai"}), 422, "validation_failed"),
    ("a name with capitals", changed(payee="OpenAI"), 422, "validation_failed"),
    ("a name too long", changed(payee="a" * 65), 422, "validation_failed"),
    ("a text too long", changed(intent="a" * 2001), 422, "validation_failed"),
    ("a run with a space", changed(run="run 42"), 422, "validation_failed"),
    ("seventeen labels", changed(labels={f"l{n}": "x" for n in range(17)}), 422, "validation_failed"),
    ("a label that is a number", changed(labels={"a": 1}), 422, "validation_failed"),
    ("a time to live of text", changed(ttl_seconds="600"), 422, "validation_failed"),
    ("no time to live", changed(ttl_seconds=0), 422, "validation_failed"),
    ("an endless time to live", changed(ttl_seconds=10**12), 422, "validation_failed"),
    ("a wait too long", changed(wait_seconds=31), 422, "validation_failed"),
    ("a flag of text", changed(partial_ok="yes"), 422, "validation_failed"),
    ("another expiry", changed(on_expiry="never"), 422, "validation_failed"),
    ("an unknown currency", changed(amount={"amount": "1", "currency": "XQZ"}), 422, "unknown_currency"),
    ("an amount of words", changed(amount=usd("one")), 422, "amount_malformed"),
    ("an exponent", changed(amount=usd("1e3")), 422, "amount_malformed"),
    ("too many digits", changed(amount=usd("0.0000000001")), 422, "amount_too_precise"),
    ("nothing asked", changed(amount=usd("0.00")), 422, "amount_not_positive"),
    ("less than nothing", changed(amount=usd("-1.00")), 422, "amount_not_positive"),
    ("an absurd amount", changed(amount=usd("99999999999.00")), 422, "amount_too_large"),
    ("an unknown budget", changed(budget="nowhere"), 422, "unknown_budget"),
    ("a run nobody opened", changed(run="run_01jd3z8xk4t7q2m9v6b5n1c0fg"), 422, "unknown_run"),
]


@pytest.mark.parametrize("behind", [False, True], ids=["hot", "behind"])
@pytest.mark.parametrize(("body", "status", "code"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_a_body_that_cannot_be_taken(
    acme: RunningApp, crawler: str, body: bytes, status: int, code: str, behind: bool
) -> None:
    """The same code on both sides; the book is as it was."""
    size = acme.log_size()
    answer = acme.post("/v1/authorizations", body, key=crawler, behind=behind)
    assert (answer.status, answer.code) == (status, code)
    problem = answer.json
    assert problem["detail"].endswith((".", "!", "?"))
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert acme.log_size() == size


@pytest.mark.parametrize(
    ("body", "status", "code"), [row[1:] for row in BODIES[:29]], ids=[row[0] for row in BODIES[:29]]
)
def test_an_evaluation_refuses_the_same_bodies(
    acme: RunningApp, crawler: str, body: bytes, status: int, code: str
) -> None:
    """A route that was never hot parses with the same code; an empty body counts as an empty object there."""
    answer = acme.post("/v1/evaluations", body, key=crawler)
    assert (answer.status, answer.code) == (status, code if body else "validation_failed")


HEADERS: list[tuple[str, list[tuple[bytes, bytes]], int, str]] = [
    ("no key", [(b"authorization", b"")], 401, "unauthenticated"),
    ("another scheme", [(b"authorization", b"Basic Zm9v")], 401, "unauthenticated"),
    ("a mistyped key", [(b"authorization", b"Bearer bk_agent_abc_123")], 401, "unauthenticated"),
    ("a key beyond ASCII", [(b"authorization", "Bearer bk_ü".encode())], 401, "unauthenticated"),
    ("no idempotency key", [(b"idempotency-key", b"")], 400, "missing_idempotency_key"),
    ("a long idempotency key", [(b"idempotency-key", b"a" * 256)], 422, "idempotency_key_invalid"),
    ("an idempotency key beyond ASCII", [(b"idempotency-key", "ü".encode())], 422, "idempotency_key_invalid"),
    ("no content type", [(b"content-type", b"")], 415, "unsupported_media_type"),
    ("a form", [(b"content-type", b"application/x-www-form-urlencoded")], 415, "unsupported_media_type"),
    ("another charset", [(b"content-type", b"application/json; charset=utf-16")], 415, "unsupported_media_type"),
    ("too many headers", [(b"x-filler", b"a" * 20_000)], 431, "header_too_large"),
    ("a body too long by its own account", [(b"content-length", b"99999999")], 413, "body_too_large"),
]


@pytest.mark.parametrize("path", ["/v1/authorizations", "/v1/runs"], ids=["hot", "behind"])
@pytest.mark.parametrize(("headers", "status", "code"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS])
def test_headers_that_cannot_be_taken(
    acme: RunningApp, crawler: str, path: str, headers: list[tuple[bytes, bytes]], status: int, code: str
) -> None:
    """The same code on both sides, with a header that says how to authenticate where that is what is wrong."""
    given = {
        b"authorization": b"Bearer " + crawler.encode(),
        b"content-type": b"application/json",
        b"idempotency-key": b"bad-headers",
        **dict(headers),
    }
    sent = [(name, value) for name, value in given.items() if value]
    answer = acme.request("POST", path, body=orjson.dumps(GOOD), headers=sent)
    assert (answer.status, answer.code) == (status, code)
    assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize(
    ("twice", "code"), [(b"idempotency-key", "idempotency_key_invalid"), (b"authorization", "unauthenticated")]
)
def test_a_header_given_twice_is_not_chosen_from(acme: RunningApp, crawler: str, twice: bytes, code: str) -> None:
    """Two proxies that disagree about which one counts must not decide who pays."""
    headers = [(b"authorization", b"Bearer " + crawler.encode()), (b"idempotency-key", b"one"), (twice, b"two")]
    answer = acme.request(
        "POST",
        "/v1/authorizations",
        body=orjson.dumps(GOOD),
        headers=[*headers, (b"content-type", b"application/json")],
    )
    assert answer.code == code


def test_a_body_over_the_bound_is_refused(acme: RunningApp, crawler: str) -> None:
    """Also when no content-length announces it."""
    answer = acme.post("/v1/authorizations", b" " * 2_097_153, key=crawler)
    assert (answer.status, answer.code, answer.headers["connection"]) == (413, "body_too_large", "close")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/authorizations/auth_0", 404, "not_found"),
        ("GET", "/v1/budgets/no\x00where", 404, "not_found"),
        ("DELETE", "/v1/authorizations", 405, "method_not_allowed"),
        ("POST", "/v1/authorizations/nonsense/settle", 404, "not_found"),
        ("GET", "/v1/authorizations?limit=201", 422, "validation_failed"),
        ("GET", "/v1/authorizations?limit=many", 422, "validation_failed"),
        ("GET", "/v1/authorizations?cursor=%%%", 422, "validation_failed"),
        ("GET", "/v1/authorizations?state=lost", 422, "validation_failed"),
        ("GET", "/v1/authorizations?from=yesterday", 422, "validation_failed"),
        ("GET", "/v1/authorizations/auth_01jd3z8xk4t7q2m9v6b5n1c0fg?wait_seconds=31", 422, "validation_failed"),
        ("GET", "/v1/authorizations?run=%00", 422, "control_characters"),
        ("GET", "/v1/runs/run-9", 404, "not_found"),
    ],
)
def test_paths_and_queries(acme: RunningApp, crawler: str, method: str, path: str, status: int, code: str) -> None:
    """What is not there is 404, what cannot be read is 422, and neither is ever 500."""
    headers = [(b"authorization", b"Bearer " + crawler.encode()), (b"idempotency-key", b"p")]
    body = b'{"amount":{"amount":"1","currency":"USD"}}' if "settle" in path else b""
    answer = acme.request(method, path, body=body, headers=[*headers, (b"content-type", b"application/json")])
    assert (answer.status, answer.code) == (status, code)


def test_a_batch_item_fails_alone(acme: RunningApp, crawler: str) -> None:
    """Each item has its own status, in order; a bad one takes nothing from the others."""
    items = [
        {**GOOD, "idempotency_key": "item-1"},
        {**GOOD},
        {**GOOD, "idempotency_key": "item-3", "amount": {"amount": 1, "currency": "USD"}},
        {**GOOD, "idempotency_key": "ü"},
        {**GOOD, "idempotency_key": "item-5", "amount": usd("100000.00")},
        {**GOOD, "idempotency_key": "item-1"},
    ]
    answer = acme.post("/v1/authorizations/batch", {"items": items}, key=crawler)
    assert answer.status == 200
    verdicts = answer.json["items"]
    assert [verdict["status"] for verdict in verdicts] == [201, 400, 422, 422, 403, 201]
    assert [verdict["replayed"] for verdict in verdicts] == [False] * 5 + [True]
    assert [verdict.get("problem", {}).get("code") for verdict in verdicts] == [
        None,
        "missing_idempotency_key",
        "amount_not_text",
        "idempotency_key_invalid",
        "insufficient_budget",
        None,
    ]
    assert verdicts[0]["authorization"] == verdicts[5]["authorization"]


@pytest.mark.parametrize(
    ("body", "code"),
    [({"items": []}, "validation_failed"), ({"items": [GOOD] * 1001}, "batch_too_large"), ({}, "validation_failed")],
)
def test_a_batch_that_cannot_be_taken(acme: RunningApp, crawler: str, body: Any, code: str) -> None:
    """Too many items, none, or no list."""
    answer = acme.post("/v1/authorizations/batch", body, key=crawler)
    assert (answer.status, answer.code) == (422, code)


def test_no_text_in_a_query_reaches_the_database_with_a_nul(app_on: RunningApp) -> None:
    """PostgreSQL takes none, and what it refuses there would be our failure and not the client's."""
    tried = 0
    for path, methods in app_on.get("/openapi.json").json["paths"].items():
        for given in methods.get("get", {}).get("parameters", []):
            named = "/".join("x" if part.startswith("{") else part for part in path.split("/"))
            if given["in"] == "query" and "{" not in given["name"]:
                tried += 1
                answer = app_on.get(f"{named}?{given['name']}=a%00b")
                assert answer.status < 500, (path, given["name"])
    assert tried > 30
