"""Requests that wait for persons, over HTTP: asked, seen, voted on, forced, delegated, and waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.approval_desk import PENDING, Desk
from tests.support.approving import rule
from tests.support.databases import sqlite_url
from tests.support.running_app import Answer, RunningApp, authorization, usd


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk of a test's own."""
    with RunningApp(sqlite_url(tmp_path)) as app:
        yield Desk(app)


@pytest.mark.parametrize("behind", [False, True], ids=["hot", "FastAPI"])
def test_a_request_above_the_threshold_is_202(desk: Desk, behind: bool) -> None:
    """With where to ask and when, what it waits for, and its amount held."""
    answer = desk.ask(intent="a ticket", behind=behind)
    shown = answer.json
    assert answer.status == 202
    assert answer.headers["location"] == f"/v1/authorizations/{shown['id']}"
    assert answer.headers["retry-after"] == "5"
    assert (shown["state"], shown["approved"], shown["budget"]["held"]) == (
        "pending_approval",
        usd("5.00"),
        usd("5.00"),
    )
    (tier,) = shown["approvals"]
    assert (tier["state"], tier["approvers"], tier["quorum"], tier["tier"]) == ("open", ["approver"], 1, 1)
    assert len(tier["request_digest"]) == 64
    assert "expires_at" not in shown, "its time begins with the grant"


def test_both_ways_to_the_server_answer_the_same(desk: Desk) -> None:
    """A repeat through either is the same answer, but for being marked."""
    first = desk.ask(idempotency_key="k")
    for behind in (False, True):
        again = desk.ask(idempotency_key="k", behind=behind)
        assert (again.status, again.json) == (202, first.json)
        assert again.headers["idempotency-replayed"] == "true"
        assert (again.headers["location"], again.headers["retry-after"]) == (first.headers["location"], "5")


def test_who_does_not_accept_to_wait_is_denied(desk: Desk) -> None:
    """403, on record, nothing held; below the threshold nobody is asked."""
    denied = desk.app.post("/v1/authorizations", authorization("5.00"), key=desk.crawler)
    assert (denied.status, denied.code) == (403, "approval_required")
    assert denied.json["budget"]["held"] == usd("0.00")
    assert desk.ask("2.00").status == 201


def test_an_evaluation_says_that_persons_would_be_asked(desk: Desk) -> None:
    """And holds nothing."""
    answer = desk.app.post("/v1/evaluations", authorization("5.00", **PENDING), key=desk.crawler).json
    assert (answer["status"], answer["decision"]["outcome"]) == (202, "pending_approval")
    assert answer["budget"]["held"] == usd("0.00")
    assert desk.app.get("/v1/approvals").json["items"] == []


def test_a_batch_shows_each_pending_with_its_own_status(desk: Desk) -> None:
    """202 beside 201."""
    items = [authorization(amount, **PENDING, idempotency_key=amount) for amount in ("1.00", "5.00")]
    answer = desk.app.post("/v1/authorizations/batch", {"items": items}, key=desk.crawler).json
    assert [item["status"] for item in answer["items"]] == [201, 202]
    assert answer["items"][1]["authorization"]["approvals"][0]["state"] == "open"


def test_the_queue_shows_what_is_to_be_decided(desk: Desk) -> None:
    """With the request in full; approvers, finance, admins and auditors see it, agents do not."""
    reference, approval = desk.waiting(intent="buy a report", resource="r-1", labels={"ticket": "4711"})
    (item,) = desk.app.get("/v1/approvals", key=desk.pat).json["items"]
    assert item["id"] == approval
    request = item["request"]
    assert (request["authorization"], request["amount"], request["intent"]) == (reference, usd("5.00"), "buy a report")
    assert (request["agent"], request["budget"], request["labels"]) == ("crawler", "research", {"ticket": "4711"})
    assert (item["requested_by"], item["key_made_by"]) == ("agent:crawler", "person:owner")
    assert (item["tier"], item["tiers"], item["granted"], item["votes"]) == (1, 1, 0, [])
    assert desk.app.get(f"/v1/approvals/{approval}", key=desk.ada).json == item
    assert desk.app.get("/v1/approvals", key=desk.crawler).code == "role_not_allowed"
    assert desk.app.get("/v1/approvals?state=granted", key=desk.pat).json["items"] == []
    assert desk.app.get("/v1/approvals?state=lost", key=desk.pat).status == 422
    assert desk.app.get("/v1/approvals/apr_0", key=desk.pat).status == 404


def test_the_queue_has_pages(desk: Desk) -> None:
    """Every approval once, newest first."""
    made = [desk.waiting("3.00")[1] for _ in range(5)]
    seen: list[str] = []
    path = "/v1/approvals?limit=2"
    cursor = ""
    while True:
        page = desk.app.get(path + cursor, key=desk.pat).json
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]


def test_a_grant_makes_the_hold(desk: Desk) -> None:
    """Its time begins; the agent sees who granted and why, settles, and its own repeat tells it too."""
    reference, approval = desk.waiting(idempotency_key="k")
    digest = desk.app.get(f"/v1/approvals/{approval}", key=desk.pat).json["request_digest"]
    granted = desk.app.post(
        f"/v1/approvals/{approval}/approve", {"reason": "in the plan", "request_digest": digest}, key=desk.pat
    )
    assert (granted.status, granted.json["state"], granted.json["authorization_state"]) == (200, "granted", "held")
    shown = desk.app.get(f"/v1/authorizations/{reference}", key=desk.crawler).json
    assert (shown["state"], shown["flags"]) == ("held", [])
    assert shown["expires_at"] == granted.json["expires_at"]
    (vote,) = shown["approvals"][0]["votes"]
    assert (vote["person"], vote["verdict"], vote["reason"]) == ("pat", "grant", "in the plan")
    again = desk.ask(idempotency_key="k")
    assert (again.status, again.json["state"]) == (202, "held")
    assert "retry-after" not in again.headers, "there is nothing left to wait for"
    settled = desk.app.post(
        f"/v1/authorizations/{reference}/settle", {"amount": usd("4.00")}, key=desk.crawler
    )  # fmt: skip
    assert settled.json["state"] == "settled"
    closed = desk.ask(idempotency_key="k")
    assert (closed.status, closed.code, closed.json["state"]) == (409, "replay_closed", "settled")


def test_a_refusal_frees_the_money(desk: Desk) -> None:
    """And says why; another vote comes too late."""
    reference, approval = desk.waiting()
    refused = desk.app.post(f"/v1/approvals/{approval}/refuse", {"reason": "too dear"}, key=desk.pat)
    assert (refused.status, refused.json["state"], refused.json["authorization_state"]) == (200, "refused", "refused")
    assert refused.json["budget"]["held"] == usd("0.00")
    shown = desk.app.get(f"/v1/authorizations/{reference}", key=desk.crawler).json
    assert (shown["state"], shown["approvals"][0]["votes"][0]["reason"]) == ("refused", "too dear")
    late = desk.app.post(f"/v1/approvals/{approval}/approve", {}, key=desk.quinn)
    assert (late.status, late.code, late.json["state"]) == (409, "wrong_state", "refused")


def test_who_may_not_vote_is_told_so(desk: Desk) -> None:
    """By role, by part in the request, by digest, by having voted."""
    _, approval = desk.waiting()
    path = f"/v1/approvals/{approval}/approve"
    assert desk.app.post(path, {}, key=desk.crawler).code == "role_not_allowed"
    assert desk.app.post(path, {}, key=desk.ada).code == "role_not_allowed"
    assert desk.app.post(path, {}, key=desk.zoe).code == "not_an_approver"
    owner = desk.app.post(path, {})
    assert (owner.status, owner.code) == (403, "not_an_approver")
    assert "made the key" in owner.json["detail"]
    wrong = desk.app.post(path, {"request_digest": "0" * 64}, key=desk.pat)
    assert (wrong.status, wrong.code) == (409, "approval_mismatch")
    assert desk.app.post(path, {"request_digest": "short"}, key=desk.pat).status == 422
    assert desk.app.post(path, {"reason": "x", "because": "y"}, key=desk.pat).code == "unknown_field"
    assert desk.app.post("/v1/approvals/apr_1/approve", {}, key=desk.pat).status == 404
    desk.apply(rule(quorum=2))
    _, approval = desk.waiting()
    path = f"/v1/approvals/{approval}/approve"
    assert desk.app.post(path, {}, key=desk.pat).json["granted"] == 1
    twice = desk.app.post(path, {}, key=desk.pat)
    assert (twice.status, twice.code) == (409, "already_voted")


def test_a_vote_can_be_repeated_with_its_key(desk: Desk) -> None:
    """The same answer, marked."""
    _, approval = desk.waiting()
    path = f"/v1/approvals/{approval}/approve"
    first = desk.app.post(path, {"reason": "fine"}, key=desk.pat, idempotency_key="vote")
    again = desk.app.post(path, {"reason": "fine"}, key=desk.pat, idempotency_key="vote")
    assert (again.status, again.json, again.headers["idempotency-replayed"]) == (200, first.json, "true")
    other = desk.app.post(path, {"reason": "well"}, key=desk.pat, idempotency_key="vote")
    assert other.code == "idempotency_mismatch"


def test_an_admin_may_force(desk: Desk) -> None:
    """With a reason, flagged for ever, listed by the flag; approvers may not."""
    reference, approval = desk.waiting()
    path = f"/v1/approvals/{approval}/force"
    assert desk.app.post(path, {"reason": "now"}, key=desk.pat).code == "role_not_allowed"
    assert desk.app.post(path, {}).status == 422
    forced = desk.app.post(path, {"reason": "nobody is in"})
    assert (forced.status, forced.json["state"], forced.json["flags"]) == (200, "forced", ["forced"])
    desk.app.make(f"/v1/authorizations/{reference}/settle", {"amount": usd("5.00")}, key=desk.crawler)
    (listed,) = desk.app.get("/v1/authorizations?flag=forced").json["items"]
    assert (listed["id"], listed["state"], listed["flags"]) == (reference, "settled", ["forced"])
    shown = desk.app.get(f"/v1/approvals/{approval}").json
    assert (shown["forced"]["by"], shown["forced"]["reason"]) == ("person:owner", "nobody is in")
    by_authorization, _ = desk.waiting()
    assert desk.app.post(f"/v1/approvals/{by_authorization}/force", {"reason": "again"}).status == 200


def test_a_frozen_agent_gets_no_grant(desk: Desk) -> None:
    """409 with the reason; nothing changes, and after the freeze it can be granted."""
    reference, approval = desk.waiting()
    desk.app.make("/v1/agents/crawler/freeze", {})
    size = desk.app.log_size()
    for verb, key, body in (("approve", desk.pat, {}), ("force", desk.zoe, {"reason": "now"})):
        refused = desk.app.post(f"/v1/approvals/{approval}/{verb}", body, key=key)
        assert (refused.status, refused.code, refused.json["reason"]) == (409, "wrong_state", "agent_frozen")
    assert (desk.app.log_size(), desk.state(reference)) == (size, "pending_approval")
    desk.app.make("/v1/agents/crawler/unfreeze", {"reason": "mended"})
    assert desk.app.post(f"/v1/approvals/{approval}/approve", {}, key=desk.pat).status == 200


def test_the_requester_may_withdraw(desk: Desk) -> None:
    """By releasing it."""
    reference, approval = desk.waiting()
    released = desk.app.make(f"/v1/authorizations/{reference}/release", {}, key=desk.crawler)
    assert released["state"] == "released"
    assert desk.app.get(f"/v1/approvals/{approval}", key=desk.pat).json["state"] == "withdrawn"
    for verb, body in (("settle", {"amount": usd("1.00")}), ("extend", {"ttl_seconds": 5})):
        pending, _ = desk.waiting("3.00")
        answer = desk.app.post(f"/v1/authorizations/{pending}/{verb}", body, key=desk.crawler)
        assert (answer.status, answer.json["state"]) == (409, "pending_approval")


def test_the_long_poll_wakes_on_a_decision(desk: Desk) -> None:
    """Well before its time is over."""
    for verb, state in (("approve", "held"), ("refuse", "refused")):
        reference, approval = desk.waiting("3.00")
        timer = threading.Timer(0.3, desk.app.post, (f"/v1/approvals/{approval}/{verb}", {}), {"key": desk.pat})
        began = time.monotonic()
        timer.start()
        shown = desk.app.get(f"/v1/authorizations/{reference}?wait_seconds=20", key=desk.crawler).json
        assert shown["state"] == state
        assert time.monotonic() - began < 10
        timer.join()


def test_tiers_are_asked_one_after_the_other(desk: Desk) -> None:
    """The second opens with the grant of the first."""
    desk.apply(rule(), rule(id="boss", approvers=["person:zoe"]))
    reference, first = desk.waiting()
    second = desk.app.get("/v1/approvals?state=waiting", key=desk.zoe).json["items"][0]
    assert (second["tier"], second["tiers"], second["expires_at"]) == (2, 2, None)
    early = desk.app.post(f"/v1/approvals/{second['id']}/approve", {}, key=desk.zoe)
    assert (early.status, early.json["state"]) == (409, "waiting")
    granted = desk.app.post(f"/v1/approvals/{first}/approve", {}, key=desk.pat).json
    assert granted["changed"] == [{"id": first, "state": "granted"}, {"id": second["id"], "state": "open"}]
    assert granted["authorization_state"] == "pending_approval"
    last = desk.app.post(f"/v1/approvals/{second['id']}/approve", {}, key=desk.zoe).json
    assert (last["authorization_state"], desk.state(reference)) == ("held", "held")


def test_a_delegate_votes_in_anothers_place(desk: Desk) -> None:
    """For the time it was given, on record with both names."""
    desk.apply(rule(approvers=["person:pat"]))
    _, approval = desk.waiting()
    path = f"/v1/approvals/{approval}/approve"
    assert desk.app.post(path, {}, key=desk.quinn).code == "not_an_approver"
    given = desk.app.post(
        "/v1/delegations", {"to": "quinn", "ttl_seconds": 3600, "reason": "on leave"}, key=desk.pat
    )  # fmt: skip
    assert (given.status, given.json["from"], given.json["role"]) == (201, "pat", "approver")
    (listed,) = desk.app.get("/v1/delegations?live=true&person=quinn", key=desk.ada).json["items"]
    assert (listed["id"], listed["live"], listed["made_by"]) == (given.json["id"], True, "person:pat")
    vote = desk.app.post(path, {}, key=desk.quinn).json["vote"]
    assert (vote["person"], vote["seat"], vote["delegation"]) == ("quinn", "pat", given.json["id"])
    revoked = desk.app.post(f"/v1/delegations/{given.json['id']}/revoke", {"reason": "back"}, key=desk.pat)
    assert revoked.status == 200
    assert revoked.json["revoked_at"]
    assert desk.app.get("/v1/delegations?live=true", key=desk.ada).json["items"] == []
    again = desk.app.post(f"/v1/delegations/{given.json['id']}/revoke", {}, key=desk.pat)
    assert (again.status, again.json["state"]) == (409, "revoked")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"to": "quinn"}, "validation_failed"),
        ({"to": "quinn", "ttl_seconds": 60, "ends_at": "2030-01-01"}, "validation_failed"),
        ({"to": "quinn", "ttl_seconds": 91 * 86_400}, "validation_failed"),
        ({"to": "nobody", "ttl_seconds": 60}, "unknown_person"),
        ({"to": "pat", "ttl_seconds": 60}, "delegation_invalid"),
        ({"to": "quinn", "ends_at": "2001-01-01"}, "delegation_invalid"),
        ({"to": "quinn", "ttl_seconds": 60, "role": "finance"}, "delegation_invalid"),
        ({"to": "pat", "from": "quinn", "role": "approver", "ttl_seconds": 60}, "role_not_allowed"),
    ],
)
def test_bad_delegations_say_what_to_change(desk: Desk, body: dict[str, Any], code: str) -> None:
    """Nothing is recorded."""
    size = desk.app.log_size()
    answer = desk.app.post("/v1/delegations", body, key=desk.pat)
    assert (answer.code, desk.app.log_size()) == (code, size), answer.body


def test_many_votes_at_once_count_each_person_once(app_on: RunningApp) -> None:
    """From many threads, on both databases: one vote a person, one grant, one hold, and a withdrawal or none."""
    desk = Desk(app_on, rule(quorum=2))
    reference, approval = desk.waiting()
    path = f"/v1/approvals/{approval}/approve"
    answers: list[Answer] = []

    def vote(key: str) -> None:
        answers.append(app_on.post(path, {}, key=key))

    threads = [threading.Thread(target=vote, args=(key,)) for key in (desk.pat, desk.quinn) * 6]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [answer.json["granted"] for answer in answers if answer.status == 200]
    assert sorted(done) == [1, 2]
    assert {answer.code for answer in answers if answer.status != 200} <= {"already_voted", "wrong_state"}
    shown = app_on.get(f"/v1/authorizations/{reference}").json
    assert (shown["state"], len(shown["approvals"][0]["votes"])) == ("held", 2)
    assert app_on.get("/v1/budgets/research").json["held"] == usd("5.00")


def test_a_grant_that_races_a_withdrawal_has_one_winner(app_on: RunningApp) -> None:
    """Whichever is first, nothing is granted that was withdrawn, and the balances are those of what happened."""
    desk = Desk(app_on)
    for _ in range(8):
        reference, approval = desk.waiting()
        answers: dict[str, Answer] = {}

        def grant(approval: str = approval, answers: dict[str, Answer] = answers) -> None:
            answers["grant"] = app_on.post(f"/v1/approvals/{approval}/approve", {}, key=desk.pat)

        thread = threading.Thread(target=grant)
        thread.start()
        released = app_on.post(f"/v1/authorizations/{reference}/release", {}, key=desk.crawler)
        thread.join()
        assert released.status == 200, "what waits and what is held can both be released"
        tier = app_on.get(f"/v1/approvals/{approval}").json
        if answers["grant"].status == 200:
            assert tier["state"] == "granted"
        else:
            assert (answers["grant"].code, tier["state"]) == ("wrong_state", "withdrawn")
        assert app_on.get("/v1/budgets/research").json["held"] == usd("0.00")
