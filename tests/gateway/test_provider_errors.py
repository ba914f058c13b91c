"""What a provider's errors cost, and what of them comes down; and what else a provider says that changes the cost."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.provider_errors import hide, may_be_billed
from gateway.spend import decimal_text
from tests.gateway.failing import BODY, USAGE
from tests.support.databases import sqlite_url
from tests.support.fake_provider import KEY, FakeProvider
from tests.support.gateway import GatewayWorld, chat, error_of, gateway_world
from tests.support.raw_upstream import RawUpstream, head_of, whole

PATH = "/openai/v1/chat/completions"
NEGOTIATED = 'prices:\n  - {model: gpt-4o-mini, prices: {input_mtok: "0.01", output_mtok: "0.02"}}\n'
COST = 10 * 10 + 4 * 20
"""Atoms that the usage costs at negotiated prices."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(whole("200 OK", BODY)) as made:
        yield made


@pytest.fixture(scope="module")
def world(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    directory = tmp_path_factory.mktemp("errors")
    (directory / "prices.yaml").write_text(NEGOTIATED, encoding="utf-8")
    options = {"base_url": f"http://127.0.0.1:{upstream.port}/v1"}
    with (
        FakeProvider() as fake,
        gateway_world(
            sqlite_url(directory), directory, provider=fake, provider_options=options,
            config={"idle_seconds": 2, "prices": "prices.yaml"},
        ) as made,
    ):  # fmt: skip
        yield made


def ask(world: GatewayWorld, path: str = PATH) -> Any:
    return world.office.send("POST", path, chat("hello", max_tokens=20), key=world.key)


def record(world: GatewayWorld, answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = world.office.get(f"/v1/authorizations/{answer.headers['x-bursar-authorization']}")
    return found


def state(found: dict[str, Any]) -> str:
    return "unknown" if "unknown" in found["flags"] else str(found["state"])


def error(**fields: Any) -> bytes:
    return json.dumps({"error": {"message": "no"} | fields}).encode()


ERRORS = {
    "a plain one": ("400 Bad Request", error(code="invalid"), "released"),
    "one with a usage": ("400 Bad Request", json.dumps({"error": {}, "usage": USAGE}).encode(), "settled"),
    "a filter": ("400 Bad Request", error(code="content_filter"), "unknown"),
    "a filter of Azure's": (
        "400 Bad Request", error(innererror={"code": "ResponsibleAIPolicyViolation"}), "unknown"),
    "out of time": ("408 Request Timeout", error(), "unknown"),
    "closed": ("499 Client Closed Request", error(), "unknown"),
    "no JSON": ("404 Not Found", b"<html>", "released"),
    "JSON of another shape": ("422 Unprocessable", b'{"error": "no", "usage": []}', "released"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_free_only_where_nothing_says_otherwise(
    world: GatewayWorld, upstream: RawUpstream, name: str
) -> None:
    status, body, expected = ERRORS[name]
    upstream.answer = whole(status, body)
    answer = ask(world)
    assert (answer.status, answer.body) == (int(status[:3]), body)
    found = record(world, answer)
    assert state(found) == expected
    assert ("x-bursar-cost-at-most" in answer.headers) == (expected == "unknown")
    if expected == "settled":
        assert found["settled"]["amount"] == "0.00000018"
        assert answer.headers["x-bursar-cost"] == "0.00000018"


@pytest.mark.parametrize(("status", "expected"), [("400 Bad Request", "unknown"), ("404 Not Found", "released")])
def test_an_error_that_breaks_off_may_have_been_a_filters(
    world: GatewayWorld, upstream: RawUpstream, status: str, expected: str
) -> None:
    upstream.answer = (
        head_of(status, "content-type: application/json", "content-length: 99", "connection: close") + b"{"
    )
    answer = ask(world)
    assert answer.status in (502, 504)
    assert state(record(world, answer)) == expected


def test_an_error_repeats_no_key(world: GatewayWorld, upstream: RawUpstream) -> None:
    said = error(code="no_access", message=f"the key {KEY} may not")
    for path in (PATH, "/openai/v1/models"):
        upstream.answer = whole("403 Forbidden", said, f"x-seen: Bearer {KEY}", "openai-organization: ours")
        method = "GET" if path.endswith("models") else "POST"
        body = chat("hello", max_tokens=20) if method == "POST" else None
        answer = world.office.send(method, path, body, key=world.key)
        assert answer.status == 403
        assert KEY not in answer.body.decode() + str(answer.headers)
        assert "openai-organization" not in answer.headers
        assert error_of(answer.body)["message"] == "the key [key hidden by Bursar] may not"


def test_a_server_key_that_is_refused_is_not_the_agents(world: GatewayWorld, upstream: RawUpstream) -> None:
    upstream.answer = whole("401 Unauthorized", error(code="invalid_api_key", message=f"Incorrect API key: {KEY}"))
    answer = ask(world)
    listed = world.office.send("GET", "/openai/v1/models", key=world.key)
    for got in (answer, listed):
        said = error_of(got.body)
        assert (got.status, said["code"]) == (502, "provider_refused_key")
        assert "Incorrect API key" in said["message"]
        assert KEY not in got.body.decode()
        assert got.headers["x-should-retry"] == "false"
    assert state(record(world, answer)) == "released"


@pytest.mark.parametrize("query", ["fast=1", "beta=true&x=1", "api-version=1;x=2", "%62eta=1&%78=1"])
def test_a_query_that_nobody_knows_is_refused(world: GatewayWorld, upstream: RawUpstream, query: str) -> None:
    before = len(upstream.requests)
    answer = ask(world, f"{PATH}?{query}")
    assert (answer.status, error_of(answer.body)["code"]) == (400, "query_not_allowed")
    assert error_of(answer.body)["param"]
    assert len(upstream.requests) == before


def test_negotiated_prices_hold_for_what_answered_under_its_date(world: GatewayWorld, upstream: RawUpstream) -> None:
    upstream.answer = whole("200 OK", BODY.replace(b'"gpt-4o-mini"', b'"gpt-4o-mini-2024-07-18"'))
    answer = ask(world)
    found = record(world, answer)
    assert found["settled"]["amount"] == decimal_text(COST, "USD")


def test_a_usage_key_with_a_control_character_is_flagged(world: GatewayWorld, upstream: RawUpstream) -> None:
    content = json.loads(BODY) | {"usage": USAGE | {"odd\x00\x1b_tokens": 7, "line\nbreak": 3}}
    upstream.answer = whole("200 OK", json.dumps(content).encode())
    answer = ask(world)
    assert answer.status == 200
    found = record(world, answer)
    assert (state(found), found["flags"]) == ("settled", ["unpriced", "gateway"])


def test_a_client_that_leaves_the_line_with_a_request_behind_it_is_not_forwarded(
    world: GatewayWorld, upstream: RawUpstream
) -> None:
    upstream.answer = whole("200 OK", BODY)
    before = len(upstream.requests)
    # All the money is held by somebody else for a while.
    amount = world.office.get("/v1/budgets/research")["available"]["amount"]
    held = {"amount": {"amount": amount, "currency": "USD"}, "category": "inference", "payee": "x", "ttl_seconds": 600}
    sent = world.office.send("POST", "/v1/authorizations", held, key=world.key)
    assert sent.status == 201, sent.body
    body = json.dumps(chat("hello", max_tokens=20)).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {world.key}\r\n"
    call = head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body
    with socket.create_connection(("127.0.0.1", world.server.port)) as connection:
        connection.sendall(call + b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(1)
    time.sleep(1)
    name = json.loads(sent.body)["id"]
    released = world.office.send("POST", f"/v1/authorizations/{name}/release", {}, key=world.key)
    assert released.status in (200, 201), released.body
    time.sleep(1)
    assert len(upstream.requests) == before


def test_a_short_key_is_no_secret_to_look_for() -> None:
    assert hide("none", b"there is none") == b"there is none"
    assert hide("sk/ab\"cd/ef", b'{"m": "sk\\/ab\\"cd\\/ef"}') == b'{"m": "[key hidden by Bursar]"}'  # fmt: skip
    assert [status for status in range(400, 600) if may_be_billed(status, b"{}")] == [408, 499, *range(500, 600)]
