"""Webhooks over HTTP: endpoints and their secrets, events, deliveries, and what a receiver gets."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from standardwebhooks import Webhook

from ledger.core.webhook import ENDPOINTS_MAX, EVENT_TYPES
from ledger.storage.tables_webhooks import webhook_secrets
from tests.support.databases import sqlite_url
from tests.support.documents import table_under
from tests.support.receiver import Receiver, receiver
from tests.support.running_app import Answer, RunningApp, authorization

LOCAL = {"webhook_allow_http": True, "webhook_allow_private": True}


@pytest.fixture
def app(database_url: str) -> Iterator[RunningApp]:
    """An app that may send to this machine, on either database."""
    with RunningApp(database_url, **LOCAL) as made:
        yield made


@pytest.fixture
def there() -> Iterator[Receiver]:
    """A receiver on this machine."""
    with receiver() as made:
        yield made


def delete(app: RunningApp, path: str, key: str | None = None) -> Answer:
    """Send DELETE."""
    return app.request("DELETE", path, headers=[(b"authorization", f"Bearer {key or app.admin_key}".encode())])


def delivered(app: RunningApp, webhook: str, count: int) -> list[dict[str, Any]]:
    """The deliveries to an endpoint, once so many were taken."""
    deadline = time.monotonic() + 20
    while True:
        items = app.get(f"/v1/webhooks/{webhook}/deliveries?state=delivered").json["items"]
        if len(items) >= count or time.monotonic() > deadline:
            assert len(items) == count
            return list(items)
        time.sleep(0.05)


def test_from_a_decision_to_a_receiver(app: RunningApp, there: Receiver) -> None:
    """Registered, spent, told, verified, listed: in a running server, by itself."""
    key = app.make_agent("crawler", budget="research")
    made = app.make("/v1/webhooks", {"url": there.url, "events": ["budget.threshold", "agent.frozen"]})
    assert made["secret"].startswith("whsec_")
    app.make("/v1/authorizations", authorization("80.00"), key=key)
    app.make("/v1/agents/crawler/freeze", {})
    requests = there.wait_for(2)
    for request in requests:
        Webhook(made["secret"]).verify(request.body, request.headers)
    assert {request.type for request in requests} == {"budget.threshold", "agent.frozen"}
    items = delivered(app, made["id"], 2)
    assert {item["result"] for item in items} == {"http_204"}
    listed = app.get("/v1/events").json["items"]
    assert [item["type"] for item in listed] == ["agent.frozen", "budget.threshold"]
    assert [item["type"] for item in app.get("/v1/events?type=agent.frozen").json["items"]] == ["agent.frozen"]
    event = app.get(f"/v1/events/{listed[1]['id']}").json
    assert event["data"]["held"] == {"amount": "80.00", "currency": "USD"}
    assert event["deliveries"][0]["state"] == "delivered"
    text = app.request("GET", "/metrics").body.decode()
    assert 'bursar_alerts_total{type="budget.threshold"} 1.0' in text
    assert 'bursar_webhook_attempts_total{result="delivered"} 2.0' in text


def test_a_secret_is_shown_once(app: RunningApp, there: Receiver) -> None:
    """In no list, no record and no repeated answer; a repeat leaves no second secret behind."""
    body = {"url": there.url, "events": ["*"]}
    made = app.post("/v1/webhooks", body, idempotency_key="once")
    again = app.post("/v1/webhooks", body, idempotency_key="once")
    assert (made.status, again.status) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json["id"] == made.json["id"]
    assert "secret" not in again.json
    secret = made.json["secret"]
    shown = app.get("/v1/webhooks").body + app.get(f"/v1/webhooks/{made.json['id']}").body + app.get("/v1/log").body
    assert secret.encode() not in shown
    assert b"whsec_" not in shown
    with app.app.context.engine.connect() as connection:
        assert len(connection.execute(select(webhook_secrets)).all()) == 1


def test_an_endpoint_is_shown_as_it_is(app: RunningApp, there: Receiver) -> None:
    """Active, rotated, removed; listed while it is not removed."""
    made = app.make("/v1/webhooks", {"url": there.url + "/a", "events": ["agent.frozen"]})
    path = f"/v1/webhooks/{made['id']}"
    shown = app.get(path).json
    assert (shown["state"], shown["events"], shown["url"]) == ("active", ["agent.frozen"], there.url + "/a")
    assert shown["registered_by"] == "person:owner"
    rotated = app.post(f"{path}/rotate", {"overlap_seconds": 3600})
    assert rotated.status == 201
    assert rotated.json["secret"] not in (made["secret"], None)
    assert app.get(path).json["previous_secret_until"] == rotated.json["previous_secret_until"]
    removed = delete(app, path)
    assert (removed.status, removed.json["state"]) == (200, "removed")
    assert app.get("/v1/webhooks").json["items"] == []
    assert app.get(path).json["state"] == "removed"
    for again in (delete(app, path), app.post(f"{path}/rotate"), app.post(f"{path}/test"), app.post(f"{path}/enable")):
        assert (again.status, again.code, again.json["state"]) == (409, "wrong_state", "removed")


def test_both_secrets_verify_while_one_is_replaced(app: RunningApp, there: Receiver) -> None:
    """Over the wire."""
    made = app.make("/v1/webhooks", {"url": there.url})
    rotated = app.make(f"/v1/webhooks/{made['id']}/rotate", {"overlap_seconds": 3600})
    assert app.post(f"/v1/webhooks/{made['id']}/test").status == 202
    (request,) = there.wait_for(1)
    for secret in (made["secret"], rotated["secret"]):
        assert Webhook(secret).verify(request.body, request.headers)["type"] == "webhook.test"


def test_an_event_can_be_sent_again(app: RunningApp, there: Receiver) -> None:
    """Under its id, to all that ask for its type or to one; nothing of another book."""
    app.make_agent("crawler")
    first = app.make("/v1/webhooks", {"url": there.url + "/first", "events": ["agent.frozen"]})
    app.make("/v1/agents/crawler/freeze", {})
    there.wait_for(1)
    delivered(app, first["id"], 1)
    second = app.make("/v1/webhooks", {"url": there.url + "/second", "events": ["book.frozen"]})
    (event,) = app.get("/v1/events").json["items"]
    answer = app.post(f"/v1/events/{event['id']}/replay")
    assert (answer.status, answer.json["id"]) == (202, event["id"])
    there.wait_for(2)
    delivered(app, first["id"], 1)
    assert app.post(f"/v1/events/{event['id']}/replay?webhook={second['id']}").status == 202
    requests = there.wait_for(3)
    assert [request.path for request in requests] == ["/first", "/first", "/second"]
    assert {request.headers["webhook-id"] for request in requests} == {event["id"]}
    assert app.post("/v1/events/evt_none/replay").code == "not_found"
    assert app.post(f"/v1/events/{event['id']}/replay?webhook=whk_none").code == "not_found"
    other = app.open_book("globex")
    for path in (f"/v1/events/{event['id']}", f"/v1/webhooks/{first['id']}", f"/v1/webhooks/{first['id']}/deliveries"):
        assert app.get(path, key=other).status == 404
    assert app.post(f"/v1/events/{event['id']}/replay", key=other).status == 404
    assert delete(app, f"/v1/webhooks/{first['id']}", other).status == 404


def test_a_disabled_endpoint_is_enabled_by_an_admin(app: RunningApp, there: Receiver) -> None:
    """It is told of nothing until then."""
    made = app.make("/v1/webhooks", {"url": there.url})
    path = f"/v1/webhooks/{made['id']}"
    there.answer = lambda request: 410
    app.post(f"{path}/test")
    deadline = time.monotonic() + 20
    while app.get(path).json["state"] != "disabled" and time.monotonic() < deadline:
        time.sleep(0.05)
    shown = app.get(path).json
    assert (shown["state"], shown["reason"]) == ("disabled", "gone")
    assert app.post(f"{path}/test").code == "wrong_state"
    there.answer = lambda request: 204
    assert app.post(f"{path}/enable").json["state"] == "active"
    app.post(f"{path}/test")
    delivered(app, made["id"], 1)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:8000/", "url_scheme"),
        ("https://127.0.0.1/", "address_refused"),
        ("https://localhost/", "address_refused"),
        ("https://[::1]/", "address_refused"),
        ("https://169.254.169.254/latest/meta-data/", "address_refused"),
        ("https://10.0.0.1:8443/", "address_refused"),
        ("https://[::ffff:10.0.0.1]/", "address_refused"),
        ("https://[64:ff9b::a00:1]/", "address_refused"),
        ("https://user:word@example.com/", "url_userinfo"),
        ("https://example.com:25/", "url_port"),
        ("https://no-such-host.invalid/", "no_address"),
    ],
)
def test_an_address_inside_is_not_registered(own_app: RunningApp, url: str, code: str) -> None:
    """Refused with the field, a code and a sentence; nothing on record, no secret kept."""
    size = own_app.log_size()
    answer = own_app.post("/v1/webhooks", {"url": url})
    assert (answer.status, answer.code) == (422, "validation_failed")
    (error,) = answer.json["errors"]
    assert (error["pointer"], error["code"]) == ("/url", code)
    assert own_app.log_size() == size
    with own_app.app.context.engine.connect() as connection:
        assert connection.execute(select(webhook_secrets)).all() == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"),
        ({"url": "https://a.example/\u00fc"}, "/url"),
        ({"url": "https://a.example/", "events": []}, "/events"),
        ({"url": "https://a.example/", "events": ["no.such"]}, "/events/0"),
        ({"url": "https://a.example/", "events": ["webhook.test"]}, "/events/0"),
        ({"url": "https://a.example/", "secret": "mine"}, "/secret"),
    ],
)
def test_a_bad_request_is_told_where(own_app: RunningApp, body: dict[str, Any], pointer: str) -> None:
    """Before any name is looked up."""
    answer = own_app.post("/v1/webhooks", body)
    assert answer.status == 422
    assert pointer in [error["pointer"] for error in answer.json["errors"]]


def test_who_may_not_makes_the_server_look_up_nothing(own_app: RunningApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """The role is checked before the address is; and a book has a bounded number of endpoints."""
    asked = []

    def resolver(target: Any, **settings: Any) -> list[str]:
        asked.append(target.host)
        return ["1.1.1.1"]

    monkeypatch.setattr("api.routes.webhooks.checked_addresses", resolver)
    auditor = own_app.make("/v1/keys", {"role": "auditor", "person": "ann"})["key"]
    body = {"url": "https://alerts.example.com/"}
    assert own_app.post("/v1/webhooks", body, key=auditor).code == "role_not_allowed"
    assert asked == []
    for _ in range(ENDPOINTS_MAX):
        own_app.make("/v1/webhooks", body)
    full = own_app.post("/v1/webhooks", body)
    assert (full.status, full.code, full.json["state"]) == (409, "wrong_state", "full")
    first = own_app.get("/v1/webhooks?limit=1").json
    assert len(first["items"]) == 1
    rest = own_app.get(f"/v1/webhooks?limit=200&cursor={first['next_cursor']}").json["items"]
    assert len(rest) == ENDPOINTS_MAX - 1
    assert first["items"][0]["id"] not in {item["id"] for item in rest}


def test_pages_of_events_join_up(app: RunningApp, there: Receiver) -> None:
    """Newest first, each once, and so for deliveries."""
    app.make_agent("crawler")
    made = app.make("/v1/webhooks", {"url": there.url})
    for number in range(6):
        app.make(f"/v1/agents/crawler/{'unfreeze' if number % 2 else 'freeze'}", {"reason": "to and fro"})
    there.wait_for(6)
    for path in ("/v1/events", f"/v1/webhooks/{made['id']}/deliveries"):
        whole = app.get(f"{path}?limit=200").json["items"]
        pieces, cursor = [], ""
        while True:
            page = app.get(f"{path}?limit=4{cursor}").json
            pieces += page["items"]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert len(pieces) == len(whole) == 6
        names = [item.get("event") or item["id"] for item in pieces]
        assert names == [item.get("event") or item["id"] for item in whole]


def test_a_server_with_alerts_switched_off_sends_nothing(tmp_path: Path, there: Receiver) -> None:
    """It records and answers; another process would send."""
    with RunningApp(sqlite_url(tmp_path), **LOCAL, webhook_poll_seconds=0) as app:
        made = app.make("/v1/webhooks", {"url": there.url})
        assert app.post(f"/v1/webhooks/{made['id']}/test").status == 202
        time.sleep(1.2)
        assert there.received == []
        assert len(app.get(f"/v1/webhooks/{made['id']}/deliveries?state=pending").json["items"]) == 1


def test_the_page_has_every_type() -> None:
    """docs/webhooks.md, in the order of the code; and the pauses it names are those that are made."""
    rows = table_under("webhooks.md", "type")
    assert [row["type"] for row in rows] == list(EVENT_TYPES)
    assert all(row["when"] and row["data"] for row in rows)
    page = (Path(__file__).resolve().parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
    assert re.search(r"5 seconds, 5 minutes, 30 minutes, 2, 5, 10 and 14\s+hours", page)
