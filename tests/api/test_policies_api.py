"""Policies over HTTP: applying, checking, reading, rolling back and retiring, on the real application."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from api.schemas.policies import (
    PolicyCheckResponse,
    PolicyList,
    PolicyVersionList,
    PolicyVersionResponse,
    PolicyVersionView,
    PolicyView,
)
from ledger.core.canonical import digest_hex
from tests.support.policies import day, declared, policy
from tests.support.running_app import RunningApp, authorization


@pytest.fixture
def app(app_on: RunningApp) -> RunningApp:
    """An app on either database with agent ``crawler``."""
    app_on.make_agent("crawler", budget="research")
    return app_on


@pytest.fixture
def own(own_app: RunningApp) -> RunningApp:
    """An app on SQLite with agent ``crawler``."""
    own_app.make_agent("crawler", budget="research")
    return own_app


def versions(app: RunningApp, name: str = "caps") -> list[int]:
    """The versions of a policy, newest first."""
    return [item["version"] for item in app.get(f"/v1/policies/{name}/versions").json["items"]]


def test_a_policy_from_its_first_version_to_its_retirement(app: RunningApp) -> None:
    """Each step answers what it documents, and what is read afterwards says the same."""
    made = app.post("/v1/policies?reason=first+caps", policy(limits=[day()]))
    assert made.status == 201
    declared(PolicyVersionResponse, made.json)
    assert (made.json["name"], made.json["version"], made.json["retired"]) == ("caps", 1, False)
    assert made.json["scope"] == {"kind": "team", "name": "team-of-crawler"}
    assert made.json["digest"] == digest_hex(made.json["document"])

    second = app.make("/v1/policies?after_version=1", policy(limits=[day("20.00")], shadow=True))
    assert (second["version"], second["id"], second["shadow"]) == (2, made.json["id"], True)

    shown = app.get("/v1/policies/caps").json
    declared(PolicyView, shown)
    assert (shown["version"], shown["document"], shown["digest"]) == (2, second["document"], second["digest"])
    assert app.get(f"/v1/policies/{shown['id']}").json == shown
    first = app.get("/v1/policies/caps/versions/1").json
    declared(PolicyVersionView, first)
    assert (first["live"], first["reason"], first["document"]) == (False, "first caps", made.json["document"])

    back = app.post("/v1/policies/caps/rollback", {"version": 1, "reason": "a typo"})
    assert (back.status, back.json["version"], back.json["digest"]) == (201, 3, made.json["digest"])
    declared(PolicyVersionResponse, back.json)
    listed = app.get("/v1/policies/caps/versions").json
    declared(PolicyVersionList, listed)
    assert [(item["version"], item["live"], item.get("reason")) for item in listed["items"]] == [
        (3, True, "a typo"),
        (2, False, None),
        (1, False, "first caps"),
    ]

    gone = app.post("/v1/policies/caps/retire", {"reason": "over"})
    assert (gone.status, gone.json["retired"], gone.json["version"]) == (200, True, 3)
    declared(PolicyVersionResponse, gone.json)
    assert app.post("/v1/policies/caps/retire").code == "wrong_state"
    assert app.get("/v1/policies").json["items"] == []
    retired = app.get("/v1/policies?retired=true").json
    declared(PolicyList, retired)
    assert [(item["name"], item["retired"]) for item in retired["items"]] == [("caps", True)]
    assert app.make("/v1/policies", policy(limits=[day()]))["version"] == 4


def test_a_version_takes_effect_with_its_record(app: RunningApp) -> None:
    """What was spent before counts in a limit that is new, and an edit keeps what was counted."""
    key = app.make("/v1/keys", {"role": "agent", "agent": "crawler"})["key"]
    app.make("/v1/authorizations", authorization("6.00"), key=key)
    app.make("/v1/policies", policy(limits=[day("10.00")]))
    assert app.post("/v1/authorizations", authorization("5.00"), key=key).code == "limit_held"
    app.make("/v1/policies", policy(limits=[day("11.00")]))
    assert app.post("/v1/authorizations", authorization("5.00"), key=key).status == 201
    assert app.post("/v1/authorizations", authorization("0.01"), key=key).code == "limit_held"


def test_a_repeat_is_answered_from_the_log(own: RunningApp) -> None:
    """Same key, same document: the same bytes, and no second version; same key, another document: refused."""
    first = own.post("/v1/policies", policy(limits=[day()]), idempotency_key="once")
    again = own.post("/v1/policies", policy(limits=[day()]), idempotency_key="once")
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["idempotency-replayed"] == "true"
    other = own.post("/v1/policies", policy(limits=[day("1.00")]), idempotency_key="once")
    assert (other.status, other.code) == (422, "idempotency_mismatch")
    back = own.post("/v1/policies/caps/rollback", {"version": 1}, idempotency_key="back")
    assert back.code == "policy_unchanged"
    retired = own.post("/v1/policies/caps/retire", idempotency_key="end")
    assert own.post("/v1/policies/caps/retire", idempotency_key="end").body == retired.body
    assert versions(own) == [1]


def test_what_changed_meanwhile_is_not_overwritten(own: RunningApp) -> None:
    """``after_version`` is the version that the caller has seen."""
    own.make("/v1/policies?after_version=0", policy(limits=[day()]))
    for path, body in (
        ("/v1/policies?after_version=0", policy(limits=[day("2.00")])),
        ("/v1/policies?after_version=7", policy(limits=[day("2.00")])),
        ("/v1/policies/caps/rollback", {"version": 1, "after_version": 7}),
    ):
        answer = own.post(path, body)
        assert (answer.status, answer.code, answer.json["version"]) == (409, "policy_changed", 1)
    unchanged = own.post("/v1/policies", policy(limits=[day()]))
    assert (unchanged.status, unchanged.code) == (409, "policy_unchanged")
    assert versions(own) == [1]


def test_what_is_wrong_is_told_by_field(own: RunningApp) -> None:
    """Every field that cannot be taken, by pointer; and nothing is applied."""
    limits = [day(), {"id": "x", "per": "dy", "max": 5}, {"id": "day", "per": "hour", "max": "1"}]
    for path in ("/v1/policies", "/v1/policies/check"):
        answer = own.post(path, policy(limits=limits, colour="red"))
        assert (answer.status, answer.code) == (422, "policy_invalid")
        pointers = {error["pointer"] for error in answer.json["errors"]}
        assert {"/limits/1/per", "/limits/1/max", "/colour"} <= pointers
        assert all(error["code"] == "policy_invalid" and error["detail"] for error in answer.json["errors"])
        assert answer.json["detail"].startswith(answer.json["errors"][0]["path"])
    assert own.get("/v1/policies").json["items"] == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "malformed_json"),
        (b"", "malformed_json"),
        (b"\xff", "malformed_json"),
        (b'{"policy": NaN}', "malformed_json"),
        (b'{"policy": "a", "policy": "b", "applies_to": {"book": true}}', "duplicate_field"),
        (b'{"a":' * 100_000, "json_too_deep"),
        (b'{"policy": null}', "policy_invalid"),
        (b"[]", "policy_invalid"),
        (orjson.dumps(policy(limits=[{"id": "a", "per": "day", "max": 1.5}])), "policy_invalid"),
        (orjson.dumps(policy() | {"applies_to": {"team": "nowhere"}}), "unknown_agent"),
        (orjson.dumps(policy() | {"applies_to": {"agent": "team-of-crawler"}}), "unknown_agent"),
        (orjson.dumps(policy() | {"applies_to": {"budget": "nowhere"}}), "unknown_budget"),
        (orjson.dumps(policy(currency="TOKENS", limits=[day("1")])), "unknown_currency"),
    ],
)
def test_a_body_that_is_no_policy_is_refused(acme: RunningApp, crawler: str, body: bytes, code: str) -> None:
    """The same way by the check, which records nothing, and by the application of the document."""
    size = acme.log_size()
    for path in ("/v1/policies", "/v1/policies/check"):
        answer = acme.post(path, body)
        assert (answer.status, answer.code) == (422, code), answer.body
    assert acme.log_size() == size


def test_a_check_says_what_would_change(own: RunningApp) -> None:
    """The difference, what keeps its count, what is filled, what is dropped; nothing is recorded."""
    rate = {"id": "rate", "per": "minute", "rolling": True, "max_count": 60}
    loops = {"same_request": 10, "within": "10m"}
    own.make("/v1/policies", policy(limits=[day(), rate], approval=[{"above": "5", "per": "day"}]))
    size = own.log_size()
    new = policy(limits=[day("20.00"), rate | {"by": "agent"}], loops=loops)
    found = own.post("/v1/policies/check", new)
    assert found.status == 200
    declared(PolicyCheckResponse, found.json)
    assert (found.json["live_version"], found.json["next_version"], found.json["unchanged"]) == (1, 2, False)
    assert found.json["limits"] == [
        {"kind": "limit", "id": "day", "use": "kept"},
        {"kind": "limit", "id": "rate", "use": "filled"},
        {"kind": "loops", "id": "loops", "use": "new"},
    ]
    assert found.json["dropped"] == [{"kind": "approval", "id": "approval-1"}]
    lines = found.json["difference"].splitlines()
    assert '-  - {id: day, per: day, max: "10.00"}' in lines
    assert '+  - {id: day, per: day, max: "20.00"}' in lines
    same = own.post("/v1/policies/check", own.get("/v1/policies/caps").json["document"]).json
    assert (same["unchanged"], same["difference"]) == (True, "")
    assert {rule["use"] for rule in same["limits"]} == {"kept"}
    assert own.log_size() == size


def test_who_may_do_what(own: RunningApp) -> None:
    """Admins change, persons read, agents do neither."""
    agent = own.make("/v1/keys", {"role": "agent", "agent": "crawler"})["key"]
    auditor = own.make("/v1/keys", {"role": "auditor", "person": "olu"})["key"]
    own.make("/v1/policies", policy(limits=[day()]))
    writes: list[tuple[str, Any]] = [
        ("/v1/policies", policy(limits=[day("1.00")])),
        ("/v1/policies/caps/rollback", {"version": 1}),
        ("/v1/policies/caps/retire", {}),
    ]
    for key in (agent, auditor):
        for path, body in writes:
            answer = own.post(path, body, key=key)
            assert (answer.status, answer.code) == (403, "role_not_allowed"), path
    reads = ("/v1/policies", "/v1/policies/caps", "/v1/policies/caps/versions", "/v1/policies/caps/versions/1")
    for path in reads:
        assert own.get(path, key=auditor).status == 200
        assert own.get(path, key=agent).code == "role_not_allowed"
    assert own.post("/v1/policies/check", policy(), key=auditor).status == 200
    assert own.post("/v1/policies/check", policy(), key=agent).code == "role_not_allowed"
    assert versions(own) == [1]


def test_what_is_not_there(own: RunningApp) -> None:
    """404 for what a path names, 422 for what a body names; another book sees nothing."""
    own.make("/v1/policies", policy(limits=[day()]))
    for path in ("/v1/policies/none", "/v1/policies/none/versions", "/v1/policies/caps/versions/2"):
        assert own.get(path).code == "not_found"
    for path in ("/v1/policies/caps/versions/0", "/v1/policies/caps/versions/x", f"/v1/policies/caps/versions/{2**63}"):
        assert own.get(path).code == "not_found"
    for path in ("/v1/policies/none/retire", "/v1/policies/none/rollback"):
        assert own.post(path, {"version": 1} if "rollback" in path else {}).code == "not_found"
    missing = own.post("/v1/policies/caps/rollback", {"version": 9})
    assert (missing.status, missing.code) == (422, "policy_invalid")
    assert "from 1 to 1" in missing.json["detail"]
    other = own.open_book("elsewhere")
    assert own.get("/v1/policies/caps", key=other).code == "not_found"
    assert own.get("/v1/policies", key=other).json["items"] == []
    identity = own.get("/v1/policies/caps").json["id"]
    assert own.post(f"/v1/policies/{identity}/retire", {}).json["retired"] is True


def test_lists_go_page_by_page(own: RunningApp) -> None:
    """By name, and versions from the newest."""
    for name in ("b", "c", "a"):
        own.make("/v1/policies", policy(name, limits=[day()]))
    for amount in ("1.00", "2.00", "3.00"):
        own.make("/v1/policies", policy("a", limits=[day(amount)]))

    def walked(path: str, member: str) -> list[Any]:
        items, cursor = [], ""
        while cursor is not None:
            page = own.get(f"{path}?limit=1{cursor}").json
            items += [item[member] for item in page["items"]]
            cursor = None if page["next_cursor"] is None else f"&cursor={page['next_cursor']}"
        return items

    assert walked("/v1/policies", "name") == ["a", "b", "c"]
    assert walked("/v1/policies/a/versions", "version") == [4, 3, 2, 1]
    assert own.get("/v1/policies?cursor=x").code == "validation_failed"


def test_a_policy_counts_in_a_unit_of_the_book(own: RunningApp) -> None:
    """With the unit's own digits."""
    own.make("/v1/units", {"name": "tokens", "digits": 0})
    own.make("/v1/budgets", {"name": "quota", "currency": "tokens", "agents": ["crawler"]})
    amount = {"amount": "1000", "currency": "tokens"}
    own.make("/v1/budgets/quota/allocations", {"amount": amount})
    key = own.make("/v1/keys", {"role": "agent", "agent": "crawler"})["key"]
    own.make("/v1/policies", policy("quota", currency="tokens", limits=[day("500")]))
    asked = authorization(budget="quota") | {"amount": {"amount": "400", "currency": "tokens"}}
    made = own.make("/v1/authorizations", asked, key=key)
    assert made["decision"]["limits"][0]["remaining"] == {"amount": "100", "currency": "tokens"}
    limit = own.get("/v1/me", key=key).json["policies"][0]["limits"][0]
    assert limit["remaining"] == {"amount": "100", "currency": "tokens"}
    dollars = own.post("/v1/authorizations", authorization(budget="research"), key=key)
    assert dollars.code == "limit_currency"
    assert dollars.json["decision"]["limits"] == []
