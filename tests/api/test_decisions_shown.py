"""What answers say about decisions: policies, limits, reasons, when it would fit, and what is left for an agent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from api.amounts import MONEY_SCALE
from api.rendering_decisions import decision_of, retry_after_seconds
from api.schemas.answers import Problem
from api.schemas.authorizations import AuthorizationResponse, AuthorizationView, EvaluationResponse
from api.schemas.setting_up import MeView, RunView
from tests.support.policies import day, declared, policy
from tests.support.running_app import Answer, RunningApp, authorization, usd

EACH = {"id": "each", "per": "authorization", "max": "5.00"}
RATE = {"id": "rate", "per": "day", "max_count": 3, "by": "agent"}
RUN = {"id": "run", "per": "run", "max": "4.00", "by": "payee"}
LOOPS = {"same_request": 9, "within": "10m"}


@pytest.fixture
def key(own_app: RunningApp) -> str:
    """The key of agent ``crawler``, which may spend 100 dollars from ``research``, on the app of the test."""
    return own_app.make_agent("crawler", budget="research")


def by_id(decision: Any) -> dict[str, Any]:
    """The limits of a decision by id; counts under ``ID #``."""
    return {limit["id"] + (" #" if "limit_count" in limit else ""): limit for limit in decision["limits"]}


def tomorrow(answer: Answer) -> str:
    """The next midnight in UTC."""
    return f"{datetime.now(UTC).date() + timedelta(days=1)}T00:00:00.000000Z"


def test_an_approval_shows_what_is_left_with_it(app_on: RunningApp) -> None:
    """Money and counts right after the request, on both databases; an extension adds money and counts nothing."""
    key = app_on.make_agent("crawler", budget="research")
    made = app_on.make("/v1/policies", policy(limits=[EACH, day(), RATE, RUN], loops=LOOPS))
    app_on.make("/v1/runs", {"name": "run-1"}, key=key)
    answer = app_on.post("/v1/authorizations", authorization("1.50", run="run-1"), key=key)
    assert answer.status == 201
    declared(AuthorizationResponse, answer.json)
    decision = answer.json["decision"]
    assert decision["policies"] == [{"name": "caps", "version": 1, "digest": made["digest"]}]
    assert (decision["outcome"], decision["reasons"]) == ("approved", [])
    common = {"policy": "caps", "limit": usd("10.00"), "window": "day", "resets_at": tomorrow(answer)}
    limits = by_id(decision)
    assert limits["day"] == common | {"id": "day", "used": usd("1.50"), "remaining": usd("8.50")}
    assert (limits["each"]["used"], limits["each"]["remaining"]) == (usd("1.50"), usd("3.50"))
    assert limits["run"]["key"] == ["run-1", "openai"]
    assert (limits["run"]["window"], limits["run"]["remaining"]) == ("run", usd("2.50"))
    rate = {"limit_count": 3, "used_count": 1, "remaining_count": 2, "key": ["crawler"]}
    assert limits["rate #"] == rate | {"policy": "caps", "id": "rate", "window": "day", "resets_at": tomorrow(answer)}
    assert (limits["loops #"]["window"], limits["loops #"]["used_count"]) == ("within", 1)

    more = app_on.make(f"/v1/authorizations/{answer.json['id']}/extend", {"amount": usd("1.00")}, key=key)
    declared(AuthorizationResponse, more)
    limits = by_id(more["decision"])
    assert (limits["day"]["used"], limits["each"]["used"]) == (usd("2.50"), usd("2.50"))
    assert (limits["run"]["remaining"], limits["rate #"]["used_count"]) == (usd("1.50"), 1)

    refused = app_on.post(f"/v1/authorizations/{answer.json['id']}/extend", {"amount": usd("2.60")}, key=key)
    declared(Problem, refused.json)
    assert (refused.status, refused.code, refused.json["state"]) == (403, "limit_too_small", "held")
    assert refused.json["decision"]["reasons"][0]["observed"] == usd("5.10")
    assert by_id(refused.json["decision"])["day"]["used"] == usd("2.50")

    view = app_on.get(f"/v1/authorizations/{answer.json['id']}", key=key).json
    declared(AuthorizationView, view)
    assert view["decision"] == decision


def test_a_denial_says_what_it_found(own_app: RunningApp, key: str) -> None:
    """Each reason with what it saw, its limit, and whether it ever fits; limits as they were found."""
    own_app.make("/v1/policies", policy(limits=[EACH, day()], approval=[{"above": "4.00"}]))
    own_app.make("/v1/authorizations", authorization("3.00"), key=key)
    answer = own_app.post("/v1/authorizations", authorization("12.00"), key=key)
    assert (answer.status, answer.code) == (403, "limit_too_small")
    declared(Problem, answer.json)
    first, second, third = answer.json["decision"]["reasons"]
    assert (first["rule"], first["policy"], first["never_fits"]) == ("caps/each", "caps", True)
    assert (first["observed"], first["limit"], first["remaining"]) == (usd("12.00"), usd("5.00"), usd("5.00"))
    assert (second["rule"], second["observed"], second["remaining"]) == ("caps/day", usd("15.00"), usd("7.00"))
    assert (third["code"], third["rule"], "policy" in third) == ("approval_required", "approval", False)
    assert (answer.json["never_fits"], "fits_at" in answer.json) == (True, False)
    limits = by_id(answer.json["decision"])
    assert (limits["day"]["used"], limits["day"]["remaining"]) == (usd("3.00"), usd("7.00"))
    (threshold,) = answer.json["decision"]["approvals"]
    assert threshold["asks"] is True
    assert (threshold["above"], threshold["window"]) == (usd("4.00"), "authorization")
    view = own_app.get(f"/v1/authorizations/{answer.json['authorization']}", key=key).json
    assert view["decision"] == answer.json["decision"]


def test_a_denial_says_when_it_fits(own_app: RunningApp, key: str) -> None:
    """Where every reason has a moment, the latest of them; where one has none, nothing."""
    own_app.make("/v1/policies", policy(limits=[RATE | {"max_count": 1}, day("5.00")]))
    spent = own_app.make("/v1/authorizations", authorization("4.00"), key=key)
    own_app.make(f"/v1/authorizations/{spent['id']}/settle", {"amount": usd("4.00")}, key=key)
    answer = own_app.post("/v1/authorizations", authorization("2.00"), key=key)
    assert (answer.status, answer.code) == (403, "limit_exceeded")
    assert answer.json["fits_at"] == tomorrow(answer)
    counted = next(reason for reason in answer.json["decision"]["reasons"] if reason["rule"] == "caps/rate")
    assert [counted[name] for name in ("observed_count", "limit_count", "remaining_count")] == [2, 1, 0]
    assert counted["fits_at"] == tomorrow(answer)
    more = own_app.post("/v1/authorizations", authorization("101.00"), key=key)
    assert "fits_at" not in more.json
    assert more.json["never_fits"] is True


def test_too_fast_says_how_long_to_wait(own_app: RunningApp, key: str) -> None:
    """429 with the seconds to the end of the window, at least one; the key may be used again."""
    own_app.make("/v1/policies", policy(limits=[{"id": "rate", "per": "minute", "max_count": 1}]))
    answers = [own_app.post("/v1/authorizations", authorization(), key=key) for _ in range(3)]
    # A minute may end between two of them, and not between all.
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    for answer in refused:
        declared(Problem, answer.json)
        assert answer.code == "velocity"
        fits_at = datetime.fromisoformat(answer.json["fits_at"])
        recorded = datetime.fromisoformat(own_app.get(f"/v1/log/{answer.json['log']['index']}").json["recorded_at"])
        exact = (fits_at - recorded).total_seconds()
        assert max(exact, 1) <= int(answer.headers["retry-after"]) < exact + 1 or exact < 1
        assert answer.json["fits_at"].endswith(":00.000000Z")


@pytest.mark.parametrize(
    ("moments", "seconds"),
    [
        (["2026-11-01T10:00:00.000001Z"], 1),
        (["2026-11-01T10:00:01.000000Z"], 1),
        (["2026-11-01T10:00:01.000001Z"], 2),
        (["2026-11-01T10:00:30.000000Z", "2026-11-01T10:00:59.999999Z"], 60),
        ([], None),
    ],
)
def test_the_time_to_wait_is_rounded_up(moments: list[str], seconds: int | None) -> None:
    """A second too few would be refused again."""
    reasons = [{"code": "velocity", "fits_at": moment} for moment in moments]
    reasons.append({"code": "limit_held", "fits_at": "2027-01-01T00:00:00.000000Z"})
    body = {"time": "2026-11-01T10:00:00.000000Z", "decision": {"reasons": reasons}}
    assert retry_after_seconds(body) == seconds


def test_what_waits_for_people_is_counted_already(own_app: RunningApp, key: str) -> None:
    """202: the amount is held, and stands in the limits."""
    own_app.make("/v1/policies", policy(limits=[day()], approval=[{"above": "2.00", "per": "day"}]))
    answer = own_app.post("/v1/authorizations", authorization("3.00", accept_pending=True), key=key)
    assert answer.status == 202
    declared(AuthorizationResponse, answer.json)
    decision = answer.json["decision"]
    assert (decision["outcome"], by_id(decision)["day"]["used"]) == ("pending_approval", usd("3.00"))
    assert (decision["approvals"][0]["asks"], decision["approvals"][0]["used"]) == (True, usd("3.00"))


def test_a_shadow_policy_is_told_and_refuses_nothing(own_app: RunningApp, key: str) -> None:
    """Its version is marked, and what it would have said stands apart."""
    own_app.make("/v1/policies", policy("tried", shadow=True, limits=[day("1.00")], deny={"payees": ["open*"]}))
    answer = own_app.post("/v1/authorizations", authorization("2.00"), key=key)
    assert answer.status == 201
    declared(AuthorizationResponse, answer.json)
    decision = answer.json["decision"]
    assert decision["policies"][0]["shadow"] is True
    assert {reason["code"] for reason in decision["shadow"]} == {"limit_too_small", "payee_not_allowed"}
    assert all(reason["policy"] == "tried" for reason in decision["shadow"])
    assert (decision["reasons"], by_id(decision)["day"]["remaining"]) == ([], usd("0.00"))


def test_a_limit_that_could_not_be_looked_at_is_not_among_the_limits(own_app: RunningApp, key: str) -> None:
    """One in another currency would be shown in the wrong one, one per run has no run to show."""
    limits = [day(currency="JPY"), {"id": "run", "per": "run", "max": "3.00", "currency": "JPY"}]
    own_app.make("/v1/policies", policy(limits=limits))
    answer = own_app.post("/v1/authorizations", authorization("2.00"), key=key)
    assert {reason["code"] for reason in answer.json["decision"]["reasons"]} == {"run_required", "limit_currency"}
    assert answer.json["decision"]["limits"] == []


def test_a_stranger_to_a_budget_learns_nothing_about_it(own_app: RunningApp, key: str) -> None:
    """Neither what it has nor what its limits have left."""
    stranger = own_app.make_agent("stranger", budget="other")
    own_app.make("/v1/policies", policy("guard", applies_to={"budget": "research"}, limits=[day("1.00")]))
    answer = own_app.post("/v1/authorizations", authorization("2.00", budget="research"), key=stranger)
    declared(Problem, answer.json)
    assert answer.code == "budget_not_permitted"
    assert answer.json["decision"]["limits"] == []
    assert "budget" not in answer.json
    assert not any("observed" in reason for reason in answer.json["decision"]["reasons"])


def test_an_evaluation_shows_what_is_now(own_app: RunningApp, key: str) -> None:
    """Nothing is held, so nothing is used by it."""
    own_app.make("/v1/policies", policy(limits=[day()], approval=[{"above": "5.00"}]))
    for amount, pending in (("2.00", False), ("6.00", True)):
        answer = own_app.post("/v1/evaluations", authorization(amount, accept_pending=pending), key=key)
        declared(EvaluationResponse, answer.json)
        assert answer.json["status"] == (202 if pending else 201)
        assert by_id(answer.json["decision"])["day"]["used"] == usd("0.00")
        assert answer.json["budget"]["held"] == usd("0.00")
    denied = own_app.post("/v1/evaluations", authorization("11.00"), key=key).json
    assert (denied["status"], denied["problem"]["never_fits"]) == (403, True)


@pytest.mark.parametrize("amount", ["2.00", "20.00"])
def test_fresh_replayed_and_behind_say_the_same(own_app: RunningApp, key: str, amount: str) -> None:
    """Whichever way the request came, and whether its record was just written or read again."""
    documents = [policy(limits=[EACH, day(), RATE], loops=LOOPS), policy("tried", shadow=True, limits=[day("1.00")])]
    for document in documents:
        own_app.make("/v1/policies", document)
    first = own_app.post("/v1/authorizations", authorization(amount), key=key, idempotency_key="once")
    for behind in (False, True):
        again = own_app.post(
            "/v1/authorizations", authorization(amount), key=key, idempotency_key="once", behind=behind
        )
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json["decision"] == first.json["decision"]
        assert list(again.json) == list(first.json)
        assert again.status == first.status
    behind = own_app.post("/v1/authorizations", authorization(amount), key=key, behind=True)
    assert list(behind.json["decision"]) == list(first.json["decision"])
    item = authorization(amount) | {"idempotency_key": "once"}
    (verdict,) = own_app.post("/v1/authorizations/batch", {"items": [item]}, key=key).json["items"]
    content = verdict.get("authorization") or verdict["problem"]
    assert content["decision"] == first.json["decision"]


def test_a_fingerprint_of_the_client_makes_a_loop(own_app: RunningApp, key: str) -> None:
    """Requests that differ in what they ask for are the same where the client says so; it is bounded."""
    own_app.make("/v1/policies", policy(loops={"same_request": 2, "within": "1h"}))
    for number, status in ((1, 201), (2, 201), (3, 403)):
        asked = authorization(f"{number}.00", fingerprint="step 7", intent=f"try {number}")
        answer = own_app.post("/v1/authorizations", asked, key=key, behind=number == 2)
        assert answer.status == status
    assert answer.code == "loop_detected"
    (reason,) = answer.json["decision"]["reasons"]
    assert (reason["observed_count"], reason["limit_count"], reason["remaining_count"]) == (3, 2, 0)
    assert own_app.post("/v1/authorizations", authorization("1.00", fingerprint="other"), key=key).status == 201
    for wrong in ("", "x" * 129, "a\nb", 7):
        refused = own_app.post("/v1/authorizations", authorization(fingerprint=wrong), key=key)
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/fingerprint")


def test_runs_are_limited_and_say_so(own_app: RunningApp, key: str) -> None:
    """A run that policies refuse is a denial without money; its name can be opened later."""
    limit = {"id": "runs", "per": "day", "on": "runs", "max_count": 1, "by": "agent"}
    own_app.make("/v1/policies", policy(limits=[limit]))
    made = own_app.post("/v1/runs", {"name": "one"}, key=key)
    assert made.status == 201
    declared(RunView, made.json)
    assert by_id(made.json["decision"])["runs #"]["remaining_count"] == 0
    refused = own_app.post("/v1/runs", {"name": "two"}, key=key, idempotency_key="two")
    declared(Problem, refused.json)
    assert (refused.status, refused.code, refused.json["fits_at"]) == (403, "limit_exceeded", tomorrow(refused))
    again = own_app.post("/v1/runs", {"name": "two"}, key=key, idempotency_key="two")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json["decision"] == refused.json["decision"]
    assert own_app.get("/v1/runs/two").status == 404


def test_an_agent_reads_what_is_left_for_it(app_on: RunningApp) -> None:
    """Every limit on its path, those that count keys apart with the keys of its own; hours and thresholds."""
    key = app_on.make_agent("crawler", budget="research")
    app_on.make("/v1/agents", {"name": "other", "parent": "team-of-crawler"})
    app_on.make("/v1/budgets/research/agents", {"agents": ["other"]})
    other = app_on.make("/v1/keys", {"role": "agent", "agent": "other"})["key"]
    payee = {"id": "payee", "per": "month", "max": "9.00", "by": ["agent", "payee"], "match": {"payees": ["o*"]}}
    theirs = {"id": "theirs", "per": "day", "max": "1.00", "match": {"agents": ["other"]}}
    hours = {"days": ["mon"], "from": "07:00", "to": "20:00"}
    tiers = [{"above": "5.00", "per": "day", "approvers": ["finance"], "quorum": 2, "expires_after": "1h"}]
    limits = [EACH, day(), RATE, {"id": "run", "per": "run", "max": "4.00", "max_count": 7}, payee, theirs]
    app_on.make("/v1/policies", policy(limits=limits, approval=tiers))
    app_on.make("/v1/policies", policy("open", applies_to={"budget": "research"}, shadow=True, hours=hours))
    for name, secret in (("run-1", key), ("run-2", other)):
        app_on.make("/v1/runs", {"name": name}, key=secret)
        app_on.make("/v1/authorizations", authorization("1.00", run=name), key=secret)
    me = app_on.get("/v1/me", key=key).json
    declared(MeView, me)
    caps, opened = me["policies"]
    left = {limit["id"]: limit for limit in caps["limits"]}
    assert list(left) == ["each", "day", "rate", "run", "payee"]
    assert (left["each"]["remaining"], left["day"]["remaining"]) == (usd("5.00"), usd("8.00"))
    assert (left["rate"]["used_count"], left["rate"]["remaining_count"], left["rate"]["limit_count"]) == (1, 2, 3)
    (run,) = left["run"]["keys"]
    assert run == {
        "key": ["run-1"], "used": usd("1.00"), "remaining": usd("3.00"), "used_count": 1, "remaining_count": 6,
    }  # fmt: skip
    (paid,) = left["payee"]["keys"]
    assert (paid["key"], paid["remaining"]) == (["crawler", "openai"], usd("8.00"))
    assert (left["payee"]["by"], left["payee"]["match"]) == (["agent", "payee"], {"payees": ["o*"]})
    (tier,) = caps["approval"]
    assert (tier["above"], tier["used"], tier["quorum"], tier["expires_after"]) == (usd("5.00"), usd("2.00"), 2, 3600)
    assert (opened["budgets"], opened["shadow"]) == (["research"], True)
    assert opened["hours"]["timezone"] == "UTC"
    assert (opened["hours"]["days"], opened["hours"]["open"]) == (["mon"], "opens_at" not in opened["hours"])
    assert app_on.get("/v1/me").json["policies"] == []


def test_what_is_left_is_bounded(own_app: RunningApp, key: str) -> None:
    """Twenty keys of a limit, and a word that there are more."""
    own_app.make("/v1/policies", policy(limits=[day(by="payee")]))
    for number in range(22):
        own_app.make("/v1/authorizations", authorization("0.10", payee=f"shop-{number:02d}"), key=key)
    (limit,) = own_app.get("/v1/me", key=key).json["policies"][0]["limits"]
    assert [item["key"] for item in limit["keys"]] == [[f"shop-{number:02d}"] for number in range(20)]
    assert limit["more_keys"] is True


def test_reading_what_is_left_reads_a_bounded_number_of_times(own_app: RunningApp, key: str) -> None:
    """However many limits count keys apart: the last ones list no key, and say that there may be some."""
    for name in ("a", "b"):
        limits = [day("90.00", id=f"day-{number}", by="payee") for number in range(60)]
        own_app.make("/v1/policies", policy(name, limits=limits))
    own_app.make("/v1/authorizations", authorization("0.10"), key=key)
    policies = own_app.get("/v1/me", key=key).json["policies"]
    shown = [limit for item in policies for limit in item["limits"]]
    assert [len(limit["keys"]) for limit in shown] == [1] * 100 + [0] * 20
    assert [limit.get("more_keys", False) for limit in shown] == [False] * 100 + [True] * 20


@pytest.mark.parametrize(
    ("limit", "before", "approved", "currency", "used", "remaining"),
    [
        ("1", "0", "1", "USD", "0.000000001", "0.00"),
        ("5000000000", "1", "4999999998", "USD", "4.999999999", "0.000000001"),
        ("9223372036854775807", "0", "9223372036854775807", "USD", "9223372036.854775807", "0.00"),
        ("1000000", "250000", "500000", "JPY", "0.75", "0.25"),
        ("7", "3", "4", "tokens", "7", "0"),
        ("5", "9", "1", "tokens", "10", "0"),
    ],
)
def test_amounts_are_exact(limit: str, before: str, approved: str, currency: str, used: str, remaining: str) -> None:
    """To the atom, in every scale; never below nothing."""
    decision = {
        "outcome": "approved",
        "reasons": [],
        "policies": [["caps", 1, "d"]],
        "limits": [[0, "day", "money", "day", limit, before, 0, 0, ""]],
    }
    digits = MONEY_SCALE.get(currency, 0)
    body = {"kind": "hold", "approved": approved}
    shown = orjson.loads(orjson.dumps(decision_of(decision, currency, digits, body)))["limits"][0]
    assert shown["used"] == {"amount": used, "currency": currency}
    assert shown["remaining"] == {"amount": remaining, "currency": currency}
