"""Names that look like ids, paths that lead nowhere, members given twice: each has its answer, and none is a 500."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from api.problems import ROWS, sentence
from api.schemas.authorizations import AuthorizationRequest, BatchRequest, SettleRequest
from api.schemas.duplicates import refuse_duplicates
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp, authorization, usd

BODY = "01jd3z8xk4t7q2m9v6b5n1c0fg"
NAMING: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/teams", {"name": f"team_{BODY}"}, "/name"),
    ("/v1/agents", {"name": f"agt_{BODY}"}, "/name"),
    ("/v1/agents", {"name": f"key_{BODY}"}, "/name"),
    ("/v1/budgets", {"name": f"bud_{BODY}", "currency": "USD"}, "/name"),
    ("/v1/runs", {"name": f"run_{BODY}"}, "/name"),
    ("/v1/units", {"name": f"run_{BODY}", "digits": 0}, "/name"),
    ("/v1/categories", {"name": f"agt_{BODY}"}, "/name"),
    ("/v1/payees", {"name": f"agt_{BODY}"}, "/name"),
    ("/v1/keys", {"role": "auditor", "person": f"key_{BODY}"}, "/person"),
    ("/v1/authorizations", authorization(category=f"agt_{BODY}"), "/category"),
    ("/v1/authorizations", authorization(payee=f"agt_{BODY}"), "/payee"),
    ("/v1/evaluations", authorization(payee=f"agt_{BODY}"), "/payee"),
    (f"/v1/authorizations/auth_{BODY}/settle", {"amount": usd("1"), "payee": f"agt_{BODY}"}, "/payee"),
]


@pytest.mark.parametrize(("path", "body", "pointer"), NAMING, ids=[row[0] + row[2] for row in NAMING])
def test_a_name_in_the_form_of_an_id_is_refused(
    acme: RunningApp, crawler: str, path: str, body: dict[str, Any], pointer: str
) -> None:
    """422 with the field and a sentence; nothing is recorded."""
    size = acme.log_size()
    key = crawler if "authorizations" in path or "evaluations" in path else None
    answer = acme.post(path, body, key=key)
    assert (answer.status, answer.code) == (422, "validation_failed")
    assert answer.json["errors"][0]["pointer"] == pointer
    assert "form of an id" in answer.json["detail"]
    assert acme.log_size() == size


def test_a_name_in_the_form_of_an_id_fails_alone_in_a_batch(acme: RunningApp, crawler: str) -> None:
    """The other items are decided."""
    items = [authorization(category=f"agt_{BODY}") | {"idempotency_key": "like-1"}]
    items.append(authorization("0.01") | {"idempotency_key": "like-2"})
    verdicts = acme.post("/v1/authorizations/batch", {"items": items}, key=crawler).json["items"]
    assert [verdict["status"] for verdict in verdicts] == [422, 201]


ABSENT: list[tuple[str, str, Any]] = [
    ("GET", "/v1/budgets/none", None),
    ("GET", "/v1/budgets/none/allocations", None),
    ("GET", "/v1/budgets/none/renewals", None),
    ("POST", "/v1/budgets/none/allocations", {"amount": usd("1")}),
    ("POST", f"/v1/budgets/bud_{BODY}/deallocations", {"amount": usd("1")}),
    ("POST", "/v1/budgets/none/agents", {"agents": ["crawler"]}),
    ("POST", f"/v1/budgets/{'x' * 300}/allocations", {"amount": usd("1")}),
    ("GET", f"/v1/agents/{'x' * 300}", None),
    ("POST", "/v1/agents/none/freeze", {}),
    ("POST", "/v1/agents/none/unfreeze", {"reason": "mended"}),
    ("POST", "/v1/budgets/none/renewal", {"every": "day", "amount": usd("1")}),
    ("POST", f"/v1/budgets/bud_{BODY}/renewal/stop", {}),
    ("POST", "/v1/budgets/none/close", {}),
    ("POST", "/v1/budgets/none/freeze", {}),
    ("POST", "/v1/budgets/none/unfreeze", {"reason": "mended"}),
    ("GET", "/v1/teams/crawler", None),
    ("GET", "/v1/keys/none", None),
    ("POST", "/v1/keys/none/rotate", {}),
    ("POST", f"/v1/keys/key_{BODY}/revoke", {}),
    ("GET", "/v1/runs/none", None),
    ("GET", "/v1/authorizations/none", None),
    ("GET", "/v1/accounts/none", None),
    ("GET", "/v1/accounts/none/balance", None),
    ("GET", "/v1/accounts/none/postings", None),
    ("GET", "/v1/log/999999", None),
    ("GET", "/v1/log/none", None),
    ("GET", "/v1/log/-1", None),
    ("GET", "/v1/budgets/", None),
    ("POST", "/v1/authorizations/", authorization()),
    ("POST", "/v1/authorizations/batch/", {"items": [authorization()]}),
    ("POST", "/v1/teams/", {"name": "slash"}),
    ("GET", "/healthz/", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ABSENT, ids=[row[0] + " " + row[1][:40] for row in ABSENT])
def test_a_path_that_leads_nowhere(acme: RunningApp, crawler: str, method: str, path: str, body: Any) -> None:
    """404 not_found, whether nothing has that name, nothing can have it, or a slash stands at the end."""
    size = acme.log_size()
    answer = acme.get(path) if method == "GET" else acme.post(path, body)
    assert (answer.status, answer.code) == (404, "not_found"), answer.body
    assert "location" not in answer.headers
    assert acme.log_size() == size


def test_what_is_anothers_is_told_as_what_is_not_there(own_app: RunningApp) -> None:
    """Byte for byte, but for the id and the request's own id."""
    first, second = own_app.make_agent("first", budget="one"), own_app.make_agent("second", budget="two")
    made = own_app.make("/v1/authorizations", authorization(), key=first)["id"]
    assert "not_yours" not in ROWS
    for verb, body in (("settle", {"amount": usd("1")}), ("extend", {"ttl_seconds": 5}), ("release", {})):
        said = []
        for reference in (made, f"auth_{BODY}"):
            answer = own_app.post(f"/v1/authorizations/{reference}/{verb}", body, key=second)
            shown = answer.json
            del shown["request_id"]
            said.append((answer.status, orjson.dumps(shown).decode().replace(reference, "ID")))
        assert said[0] == said[1]
        assert said[0][0] == 404
    runs = []
    for agent in ("first", "nobody"):
        answer = own_app.post("/v1/runs", {"name": "r", "agent": agent}, key=second)
        runs.append((answer.status, answer.code, answer.json["detail"].replace(agent, "AGENT")))
    assert runs[0] == runs[1] == (422, "unknown_agent", "there is no agent AGENT.")


def test_a_sentence_begins_with_the_name_as_it_is(own_app: RunningApp) -> None:
    """A capital would make it another name."""
    assert sentence("bot.v2 is frozen already") == "bot.v2 is frozen already."
    own_app.make("/v1/agents", {"name": "bot.v2"})
    own_app.make("/v1/agents/bot.v2/freeze", {})
    assert own_app.post("/v1/agents/bot.v2/freeze", {}).json["detail"] == "bot.v2 is frozen already."


TWICE: list[tuple[str, bytes]] = [
    ("authorize", b'{"amount":%s,"amount":%s,"category":"c","payee":"p"}'),
    ("authorize", b'{"amount" : %s, "amount":%s,"category":"c","payee":"p"}'),
    ("authorize", b'{"amount"\n:%s,"amount":%s,"category":"c","payee":"p"}'),
    ("authorize", b'{"\\u0061mount":%s,"amount":%s,"category":"c","payee":"p"}'),
    ("authorize", b'{"amount":%s,"amount":%s,"category":"c","payee":"p","intent":"a: b \\": c"}'),
    ("settle", b'{"amount":%s,"amount":%s}'),
    ("settle", b'{"amount":%s,"final":true,"final":false,"resource":"%s"}'),
]
ONE = b'{"amount":"1","currency":"USD"}'


@pytest.mark.parametrize(("route", "template"), TWICE)
def test_a_member_given_twice_is_not_chosen_from(acme: RunningApp, crawler: str, route: str, template: bytes) -> None:
    """However it is spelled and laid out."""
    path = "/v1/authorizations" if route == "authorize" else f"/v1/authorizations/auth_{BODY}/settle"
    second = b"x" if b'"%s"' in template else ONE
    answer = acme.post(path, template % (ONE, second), key=crawler)
    assert (answer.status, answer.code) == (422, "duplicate_field"), answer.body


@pytest.mark.parametrize(
    "body",
    [
        b'{"amount":{"amount":"1","amount":"2","currency":"USD"},"category":"c","payee":"p"}',
        b'{"amount":%s,"category":"c","payee":"p","labels":{"a":"1","a":"2"}}' % ONE,
    ],
)
def test_a_member_given_twice_inside(acme: RunningApp, crawler: str, body: bytes) -> None:
    """In an amount and in labels; in one item of a batch it is the whole batch that is refused."""
    assert acme.post("/v1/authorizations", body, key=crawler).code == "duplicate_field"
    for more in (b"", b',{"payee":"p"}'):
        batch = b'{"items":[%s%s]}' % (body, more)
        assert acme.post("/v1/authorizations/batch", batch, key=crawler).code == "duplicate_field"


def test_evidence_may_not_name_a_member_twice(acme: RunningApp, crawler: str) -> None:
    """Its own nesting included; the same name in two objects is no duplicate."""
    path = f"/v1/authorizations/auth_{BODY}/settle"
    twice = b'{"amount":%s,"evidence":{"a":{"b":1,"b":2},"c":"x: \\": y"}}' % ONE
    fine = b'{"amount":%s,"evidence":{"a":{"b":1},"c":{"b":2},"d":"x: \\": y"}}' % ONE
    assert acme.post(path, twice, key=crawler).code == "duplicate_field"
    assert acme.post(path, fine, key=crawler).code == "not_found"


def test_members_are_never_counted_too_many() -> None:
    """Then a body without duplicates is cleared by its count, and one with a duplicate is always read again."""
    asked = authorization(labels={"a": "1", "b": "x: y"}, intent='say "a": b', run="a:b")
    settled = {"amount": usd("1"), "evidence": {"a\\": 1, "b": [{"c": '"d": e'}], '"': 2}}
    for model, content, exact in (
        (AuthorizationRequest, asked, 10),
        (BatchRequest, {"items": [asked, authorization()]}, 16),
        (SettleRequest, settled, 8),
    ):
        body = orjson.dumps(content)
        members = model.model_validate_json(body).members()
        assert members <= exact
        refuse_duplicates(body, members)


@pytest.mark.parametrize("count", [5, 20, 50])
def test_a_batch_takes_its_tokens_once(tmp_path: Path, count: int) -> None:
    """As many as it has items, and at most a full bucket: a larger one passes from a full one."""
    with RunningApp(sqlite_url(tmp_path), rate_limit_per_second=1, rate_limit_burst=20) as app:
        key = app.make_agent("crawler", budget="research")
        items = [authorization("0.01") | {"idempotency_key": f"k{number}"} for number in range(count)]
        answer = app.post("/v1/authorizations/batch", {"items": items}, key=key)
        assert [verdict["status"] for verdict in answer.json["items"]] == [201] * count
        left = [app.post("/v1/authorizations", authorization("0.01"), key=key).status for _ in range(20)]
        # A second or two may have passed, and with each a token came.
        assert max(0, 20 - count) <= left.count(201) <= max(0, 20 - count) + 2


def test_a_batch_that_cannot_be_taken_takes_a_token(tmp_path: Path) -> None:
    """Nobody sends nonsense at any rate."""
    with RunningApp(sqlite_url(tmp_path), rate_limit_per_second=1, rate_limit_burst=3) as app:
        statuses = [app.post("/v1/authorizations/batch", {"items": []}).status for _ in range(8)]
    assert statuses[:3] == [422] * 3
    assert 429 in statuses[3:]


def test_a_rotation_takes_one_token(tmp_path: Path) -> None:
    """Looking up the role of the key that is rotated is no request of its own."""
    with RunningApp(sqlite_url(tmp_path), rate_limit_per_second=1, rate_limit_burst=4) as app:
        statuses = [app.post("/v1/keys/key_none/rotate", {}).status for _ in range(4)]
    assert statuses == [404] * 4
